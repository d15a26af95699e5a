"""The four real frames, through the converter."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmjrr.body_models import free_body
from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.converters.mmpose_test_frames import convert_test_frames
from mmjrr.geometry import PerspectiveCamera
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS
from mmjrr.rendering import ContourSilhouette


@pytest.fixture(scope='module')
def real_frames(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> H36MFitsDataset:
    target = tmp_path_factory.mktemp('mini')
    convert_test_frames(shared_data / 'h36m_mini', target)
    return H36MFitsDataset(
        data_root=str(target), fits_file='fits/mosh_train.npz', mask_file='masks/*.json',
        load_mask=True,
    )  # fmt: skip


def test_all_four_frames_have_fit_and_mask(real_frames: H36MFitsDataset) -> None:
    subjects = [real_frames[i]['data_samples'].subject for i in range(len(real_frames))]
    assert subjects == ['S1', 'S5', 'S7', 'S8']
    assert real_frames.report['dropped'] == 0


def test_3d_joints_project_onto_2d_joints(real_frames: H36MFitsDataset) -> None:
    assert max(v['max_px'] for v in real_frames.check_projection().values()) < 1e-3


def test_masks_lie_on_the_joints(real_frames: H36MFitsDataset, shared_data: Path) -> None:
    assert real_frames.masks is not None
    for index in range(len(real_frames)):
        sample = real_frames[index]['data_samples']
        mask = real_frames.masks[sample.imgname]
        assert mask.shape == cv2.imread(sample.img_path).shape[:2]
        x, y = np.floor(sample.keypoints_2d.numpy()).astype(int).T
        assert mask[y, x].mean() >= 0.9


def test_mosh_limbs_point_as_the_3d_joints_do(real_frames: H36MFitsDataset) -> None:
    """So the orientation is in the camera frame: otherwise the angles are 55 degrees and more."""
    body = free_body()
    bones = [
        (f'{side}_{upper}', f'{side}_{lower}')
        for side in ('left', 'right')
        for upper, lower in (('hip', 'knee'), ('knee', 'ankle'), ('shoulder', 'elbow'),
                             ('elbow', 'wrist'))
    ]  # fmt: skip
    for index in range(len(real_frames)):
        fit = {k: torch.from_numpy(v)[None] for k, v in real_frames.fit_sample(index).items()}
        labels = fit.pop('keypoints_3d')[0]
        del fit['keypoints_3d_weight']
        joints = body(**fit).joints[0]
        angles = []
        for upper, lower in bones:
            a = joints[SMPL_JOINTS.index(lower)] - joints[SMPL_JOINTS.index(upper)]
            b = labels[H36M_JOINTS_MMPOSE.index(lower)] - labels[H36M_JOINTS_MMPOSE.index(upper)]
            angles.append(float(torch.rad2deg(torch.arccos(a @ b / a.norm() / b.norm()))))
        assert np.mean(angles) < 12
        pelvis = joints[0]
        assert float((pelvis - labels[0]).norm()) < 0.5


@pytest.mark.slow
def test_initial_silhouettes_overlap_the_masks(real_frames: H36MFitsDataset) -> None:
    body = free_body()
    renderer = ContourSilhouette(body.faces, image_size=(224, 224))
    for index in range(len(real_frames)):
        item = real_frames[index]
        sample, mask = item['data_samples'], item['inputs']['mask']
        fit = {k: torch.from_numpy(v)[None] for k, v in real_frames.fit_sample(index).items()
               if not k.startswith('keypoints')}  # fmt: skip
        camera = PerspectiveCamera(
            sample.focal_length, sample.principal_point, sample.distortion
        ).crop(torch.tensor([sample.box]), (224, 224))
        alpha = renderer(body(**fit).vertices, camera)[0]
        iou = torch.minimum(alpha, mask).sum() / torch.maximum(alpha, mask).sum()
        assert float(iou) > 0.6  # the free body is of mean shape; refinement has to do the rest
