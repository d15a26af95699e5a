"""Small inputs of the resumable jobs: refinement, person masks and inference."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.synthetic import Settings, generate
from mmjrr.regressors import JointRegressor

ROOT = Path(__file__).resolve().parents[1]

# -- refinement ------------------------------------------------------------------------------------


def synthetic_set(
    folder: Path,
    subjects: tuple[str, ...] = ('S1', 'S5', 'S6', 'S9'),
    frames_per_subject: int = 2,
    synchronous: bool = False,
) -> Path:
    """Write frames without pictures: by default 24 for training, of three subjects."""
    settings = Settings(
        seed=3, subjects=subjects, frames_per_subject=frames_per_subject,
        synchronous=synchronous, images=False,
    )  # fmt: skip
    generate(folder, settings, workers=1, progress=False)
    return folder


def fits_and_masks(data: Path) -> H36MFitsDataset:
    """Read the training frames of such a set with initial fits and masks of 64 x 64 pixels."""
    return H36MFitsDataset(
        data_root=str(data),
        fits_file='fits/spin_like_train.npz',
        mask_file='masks/h36m_train.json',
        load_mask=True,
        crop_size=(64, 64),
    )


def refinement_config(data: Path, folder: Path) -> Path:
    """Write the synthetic config with fewer and smaller steps."""
    path = folder / 'tiny.py'
    path.write_text(
        f"""
_base_ = [{str(ROOT / 'configs/refinement/contour_100it_synthetic.py')!r}]
data_root = {str(data)!r}
train_dataloader = dict(batch_size=4, dataset=dict(data_root=data_root, crop_size=(64, 64)))
default_hooks = dict(checkpoint=dict(interval=2))
custom_hooks = [
    dict(
        type='SMPLPseudoGTHook',
        body_model=dict(type='FreeBody'),
        renderer=dict(type='ContourSilhouette', image_size=(64, 64)),
        refiner=dict(num_iters=4),
    ),
]
"""
    )
    return path


def several_views(folder: Path, subjects: tuple[str, ...] = ('S1', 'S5'), moments: int = 4) -> Path:
    """Write a set with moments of each subject in four views: by default 32 training frames."""
    return synthetic_set(folder, subjects, moments, synchronous=True)


def unnamed_regressor(path: Path) -> Path:
    """Write the free body's regressor without the name of its body, for copies of that body."""
    regressor = JointRegressor.load('free_body_h36m')
    return JointRegressor(regressor.weight, regressor.joint_names, body_model='unnamed').save(path)


def calibration_config(data: Path, folder: Path) -> Path:
    """Write a config that fits bodies to the joints first, then calibrates with label offsets."""
    path = folder / 'tiny.py'
    path.write_text(
        f"""
_base_ = [{str(ROOT / 'configs/refinement/contour-4view_5x80it_synthetic.py')!r}]
data_root = {str(data)!r}
train_dataloader = dict(
    batch_size=8, dataset=dict(data_root=data_root, crop_size=(64, 64), fits_file=None)
)
custom_hooks = [_base_.custom_hooks[0]]
custom_hooks[0].update(
    renderer=dict(type='ContourSilhouette', image_size=(64, 64)),
    initial_fits=dict(num_iters=40, num_starts=1),
    calibration=dict(rounds=2, moments=6, label_offsets=True),
    check_inputs=False,
)
custom_hooks[0].refiner.num_iters = 2
"""
    )
    return path


# -- inference -------------------------------------------------------------------------------------

#: An estimator that sees only the mean color; of sequences, that of all their frames.
TINY_MODEL = """
import time
import torch
from mmengine.model import BaseModel
from mmjrr.geometry import axis_angle_to_matrix
from mmjrr.registry import MODELS

@MODELS.register_module()
class TinyEstimator(BaseModel):
    def __init__(self, seconds=0.0):
        super().__init__()
        self.layer = torch.nn.Linear(3, 85)
        self.seconds = seconds

    def forward(self, inputs, data_samples, mode):
        time.sleep(self.seconds)
        image = inputs['img']
        assert image.dtype == torch.float32 and image.shape[-3:] == (3, 224, 224)
        color = image.mean((-1, -2))
        if image.ndim == 5:
            color = color.mean(1, keepdim=True).expand(color.shape).flatten(0, 1)
        for sample, found in zip(data_samples, self.layer(color), strict=True):
            matrices = axis_angle_to_matrix(found[:72].view(24, 3))
            sample.set_field(matrices[0], 'pred_global_orient')
            sample.set_field(matrices[1:], 'pred_body_pose')
            sample.set_field(found[72:82], 'pred_betas')
            sample.set_field(found[82:].abs() + 0.5, 'pred_camera')
        return data_samples
"""
VIDEOS = ('S9_Walking_1.54138969', 'S9_Eating.60457274')
NAMES = [f'S9/{video}/{video}_{frame:06d}.jpg' for video in VIDEOS for frame in (1, 6, 11, 16)]


def make_h36m(root: Path) -> None:
    """Eight frames in MMPose's layout: blurred noise, a camera, boxes within the image."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        (root / 'images' / name).parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.uniform(0, 255, (6, 5, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((100, 120)).save(root / 'images' / name)
    folder = root / 'annotation_body3d/fps10'
    folder.mkdir(parents=True)
    joints = np.concatenate([rng.normal([0, 0, 5], 0.1, (8, 17, 3)), np.ones((8, 17, 1))], 2)
    np.savez(
        folder / 'h36m_test.npz', imgname=np.array(NAMES), center=rng.uniform(45, 55, (8, 2)),
        scale=rng.uniform(0.3, 0.4, 8), part=np.ones((8, 17, 3)), S=joints,
    )  # fmt: skip
    camera = dict(
        R=np.eye(3), T=np.zeros((3, 1)), c=np.array([[50.0], [60.0]]),
        f=np.array([[114.0], [114.0]]), k=np.zeros((3, 1)), p=np.zeros((2, 1)), w=100, h=120,
    )  # fmt: skip
    cameras = {('S9', camera_id): camera for camera_id in ('54138969', '60457274')}
    (root / 'annotation_body3d/cameras.pkl').write_bytes(pickle.dumps(cameras))


def inference_files(folder: Path) -> Path:
    """Write images in MMPose's layout, the estimator, its weights and a config; return the config.

    The folder must be on Python's path.
    """
    make_h36m(folder / 'data')
    (folder / 'tiny_estimator.py').write_text(TINY_MODEL)
    torch.manual_seed(1)
    layer = torch.nn.Linear(3, 85)
    weights = {f'layer.{name}': value for name, value in layer.state_dict().items()}
    torch.save(dict(state_dict=weights), folder / 'tiny.pth')
    (folder / 'tiny.py').write_text(
        f"""
_base_ = [{str(ROOT / 'configs/_base_/default_runtime.py')!r},
          {str(ROOT / 'configs/_base_/h36m_images.py')!r}]
custom_imports = dict(imports=['mmjrr', 'tiny_estimator'])
model = dict(type='TinyEstimator')
test_dataloader = dict(
    batch_size=3, num_workers=0, dataset=dict(data_root={str(folder / 'data')!r})
)
"""
    )
    return folder / 'tiny.py'


# -- masks -----------------------------------------------------------------------------------------

SIZE = (96, 80)
OPTIONS = dict(num_classes=2, min_size=64, max_size=64, rpn_post_nms_top_n_test=10)


def pictures(root: Path, frames: int) -> Path:
    """Write pictures of bright rectangles on dark ground, annotated in H36M's layout."""
    rng = np.random.default_rng(0)
    names, joints = [], rng.uniform((30, 20), (50, 70), (frames, 17, 2))
    for frame in range(frames):
        names.append(f'S1/S1_Walking.54138969/S1_Walking.54138969_{frame + 1:06d}.png')
        picture = np.full((*SIZE, 3), 60, np.uint8)
        picture[20:70, 30:50] = rng.integers(100, 256, 3)
        path = root / 'images' / names[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture)
    (root / 'annotation_body3d').mkdir()
    np.savez(
        root / 'annotation_body3d' / 'h36m_train.npz',
        imgname=np.array(names),
        center=joints.mean(1),
        scale=np.full(frames, 0.3),
        part=np.concatenate([joints, np.ones((frames, 17, 1))], 2),
        S=np.ones((frames, 17, 4)),
    )
    return root


def masks_config(data: Path, folder: Path) -> Path:
    """Write a config of a small network and the network's random weights."""
    from mmjrr.segmentation import MaskRCNN  # needs torchvision

    torch.manual_seed(1)
    model = MaskRCNN(None, backend='torchvision', options=OPTIONS)
    torch.save(model.network.state_dict(), folder / 'weights.pth')
    base = ROOT / 'configs' / 'segmentation' / 'mask-rcnn_r50_fpn-torchvision_h36m.py'
    path = folder / 'tiny.py'
    path.write_text(
        f"""
_base_ = [{str(base)!r}]
model = dict(
    checkpoint={str(folder / 'weights.pth')!r}, max_instances=3, options=dict({OPTIONS!r}))
test_dataloader = dict(num_workers=0, dataset=dict(
    data_root={str(data)!r}, ann_file='annotation_body3d/h36m_train.npz', camera_param_file=None))
person = dict(min_overlap=0.0)
frames_per_shard = 2
"""
    )
    return path
