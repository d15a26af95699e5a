"""The dataset among MMPose's own transforms, wrappers, visualizers and tools."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.synthetic import Settings, generate

pytest.importorskip('mmpose', reason='MMPose is not installed')

SIZE = 224
TOP_DOWN = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.0),
    dict(type='TopdownAffine', input_size=(SIZE, SIZE)),
    dict(type='PackPoseInputs', pack_transformed=True),
]
LIFTING = [
    dict(
        type='GenerateTarget',
        encoder=dict(type='ImagePoseLifting', num_keypoints=17, root_index=0, remove_root=True),
    ),
    dict(type='PackPoseInputs', meta_keys=('id', 'target_img_path', 'target_root')),
]


@pytest.fixture(scope='module')
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('with_images')
    settings = Settings(seed=5, subjects=('S1', 'S9'), frames_per_subject=1)
    generate(folder, settings, workers=1, progress=False)
    return folder


@pytest.fixture
def in_mmpose() -> Any:
    from mmjrr.segmentation import ensure_mmcv_ops

    ensure_mmcv_ops()  # MMPose's models import mmcv.ops, which mmcv-lite does not have
    from mmpose.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmpose'):
        yield


def build(root: Path, **arguments: Any) -> H36MFitsDataset:
    return H36MFitsDataset(data_root=str(root), **arguments)


def test_the_skeleton_is_that_of_mmpose(in_mmpose: None) -> None:
    from mmpose.datasets.datasets.utils import parse_pose_metainfo

    expected = parse_pose_metainfo(dict(from_file='configs/_base_/datasets/h36m.py'))
    metainfo = H36MFitsDataset.METAINFO
    assert set(expected) - {'stats_info'} <= set(metainfo)
    for name in ('dataset_name', 'num_keypoints', 'flip_indices', 'num_skeleton_links'):
        assert metainfo[name] == expected[name], name
    for name in ('lower_body_ids', 'upper_body_ids'):
        assert sorted(metainfo[name]) == sorted(expected[name])
    for name in ('skeleton_links', 'flip_pairs'):
        assert {frozenset(pair) for pair in metainfo[name]} == {
            frozenset(pair) for pair in expected[name]
        }, name
    for name in ('keypoint_colors', 'skeleton_link_colors', 'dataset_keypoint_weights'):
        assert metainfo[name].shape == expected[name].shape
        assert metainfo[name].dtype == expected[name].dtype
    assert metainfo['sigmas'].shape == (17,)


def test_a_top_down_crop_and_its_joints(images: Path, in_mmpose: None) -> None:
    item = build(images, pipeline=TOP_DOWN)[0]
    expected = build(images)[0]['data_samples']
    assert item['inputs'].shape == (3, SIZE, SIZE) and item['inputs'].dtype == torch.uint8
    instances = item['data_samples'].gt_instances
    box = np.array(expected.box)
    side = box[2] - box[0]
    joints = (expected.keypoints_2d.numpy() - box[:2]) * SIZE / side
    np.testing.assert_allclose(instances.transformed_keypoints[0], joints, atol=1e-2)
    np.testing.assert_allclose(instances.bboxes[0], box, atol=1e-3)
    assert instances.keypoints_visible.tolist() == [[1.0] * 17]
    assert item['data_samples'].img_path == expected.img_path
    assert item['data_samples'].dataset_name == 'h36m'


def test_a_lifting_target_is_relative_to_the_root(images: Path, in_mmpose: None) -> None:
    item = build(images, pipeline=LIFTING)[1]
    joints = build(images)[1]['data_samples'].keypoints_3d.numpy()
    labels = item['data_samples'].gt_instance_labels
    np.testing.assert_allclose(
        labels.lifting_target_label[0].numpy(), (joints - joints[0])[1:], atol=1e-6
    )
    np.testing.assert_allclose(item['data_samples'].target_root[0], joints[0], atol=1e-6)
    assert item['inputs'].shape == (34, 1)


def test_a_flip_with_its_camera_leaves_the_dataset_as_it_was(images: Path, in_mmpose: None) -> None:
    flip = dict(
        type='RandomFlipAroundRoot', keypoints_flip_cfg=dict(), target_flip_cfg=dict(),
        flip_prob=1.0, flip_camera=True,
    )  # fmt: skip
    dataset = build(images, pipeline=[flip])
    flipped, again = dataset[0], dataset[0]
    original = build(images, pipeline=[])[0]
    index = original['flip_indices']
    np.testing.assert_allclose(
        flipped['keypoints'][0, index, 1], original['keypoints'][0, :, 1], atol=1e-4
    )
    np.testing.assert_array_equal(flipped['keypoints'], again['keypoints'])
    np.testing.assert_array_equal(flipped['camera_param']['c'], again['camera_param']['c'])
    assert flipped['camera_param']['c'][0] == -original['camera_param']['c'][0]


def test_a_preprocessor_batches_the_items(images: Path, in_mmpose: None) -> None:
    from mmengine.dataset import pseudo_collate
    from mmpose.models import PoseDataPreprocessor

    dataset = build(images, pipeline=TOP_DOWN)
    preprocess = PoseDataPreprocessor(mean=[0.0] * 3, std=[1.0] * 3, bgr_to_rgb=True)
    batch = preprocess(pseudo_collate([dataset[0], dataset[1]]))
    assert batch['inputs'].shape == (2, 3, SIZE, SIZE)
    assert torch.equal(batch['inputs'][0], dataset[0]['inputs'].flip(0).float())
    assert len(batch['data_samples']) == 2


def test_datasets_are_combined(images: Path, in_mmpose: None) -> None:
    from mmpose.datasets import CombinedDataset

    part = dict(type='mmjrr.H36MFitsDataset', data_root=str(images), pipeline=[])
    test = dict(part, ann_file='annotation_body3d/fps10/h36m_test.npz', test_mode=True)
    combined = CombinedDataset(
        metainfo=dict(from_file='configs/_base_/datasets/h36m.py'),
        datasets=[part, test],
        pipeline=TOP_DOWN,
    )
    assert len(combined) == 8
    paths = [Path(combined[i]['data_samples'].img_path).name for i in range(8)]
    assert [path.split('_')[0] for path in paths] == ['S1'] * 4 + ['S9'] * 4


@pytest.mark.slow
@pytest.mark.parametrize('mode', ['original', 'transformed'])
def test_mmposes_browser_shows_the_dataset(images: Path, tmp_path: Path, mode: str) -> None:
    import mmpose

    config = tmp_path / 'browse.py'
    config.write_text(
        f"""
default_scope = 'mmpose'
custom_imports = dict(
    imports=['mmjrr', 'mmjrr.segmentation.with_mmdet'], allow_failed_imports=False
)
visualizer = dict(type='PoseLocalVisualizer', vis_backends=[], name='visualizer')
train_dataloader = dict(
    dataset=dict(type='mmjrr.H36MFitsDataset', data_root={str(images)!r}, pipeline={TOP_DOWN!r})
)
"""
    )
    tool = Path(mmpose.__file__).parent / '.mim/tools/misc/browse_dataset.py'
    run = subprocess.run(
        [
            sys.executable, str(tool), str(config), '--output-dir', str(tmp_path / 'out'),
            '--not-show', '--phase', 'train', '--mode', mode,
        ],
        env={**os.environ, 'OMP_NUM_THREADS': '1'}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    assert len(list((tmp_path / 'out').glob('S1_*.jpg'))) == 4


def test_the_3d_visualizer_draws_the_skeleton(images: Path, in_mmpose: None) -> None:
    from mmengine.structures import InstanceData
    from mmpose.structures import PoseDataSample
    from mmpose.visualization import Pose3dLocalVisualizer

    dataset = build(images, pipeline=[])
    info = dataset[0]
    visualizer = Pose3dLocalVisualizer()
    visualizer.set_dataset_meta(dataset.metainfo)
    sample = PoseDataSample()
    joints = info['keypoints_3d'] - info['keypoints_3d'][:, :1]
    sample.pred_instances = InstanceData(keypoints=joints, keypoint_scores=np.ones((1, 17)))
    drawn = visualizer.add_datasample(
        'sample', np.full((200, 200, 3), 255, np.uint8), sample, draw_gt=False, draw_2d=False,
        convert_keypoint=False,
    )  # fmt: skip
    colors = {tuple(color) for color in drawn.reshape(-1, 3).tolist()}
    assert {tuple(c) for c in dataset.metainfo['skeleton_link_colors'].tolist()} <= colors
