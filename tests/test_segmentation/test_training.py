"""From a data set's masks to a detector that the mask tool takes: two steps of training."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmjrr.datasets.masks import save_masks
from mmjrr.segmentation import MaskRCNN
from mmjrr.segmentation.mmcv_ops import INSTALL

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SIZE = (96, 80)


def write_set(root: Path, split: str, subject: str, count: int) -> None:
    """Bright rectangles on dark ground, in H36M's layout, with their masks."""
    rng = np.random.default_rng(count)
    masks: dict[str, np.ndarray] = {}
    for frame in range(1, count + 1):
        name = f'{subject}/{subject}_Walking.54138969/{subject}_Walking.54138969_{frame:06d}.jpg'
        x, y = rng.integers((10, 5), (40, 30)).tolist()
        masks[name] = np.zeros(SIZE, np.uint8)
        masks[name][y : y + 50, x : x + 25] = 1
        picture = (40 + 180 * masks[name])[..., None].repeat(3, 2)
        (root / 'images' / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / 'images' / name), picture)
    save_masks(root / 'masks' / f'h36m_{split}.json', masks)
    path = root / 'annotation_body3d' / 'fps10' / f'h36m_{split}.npz'
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        imgname=np.array(list(masks)),
        center=np.full((count, 2), 40.0),
        scale=np.full(count, 0.3),
        part=np.ones((count, 17, 3)),
        S=np.ones((count, 17, 4)),
    )
    with open(root / 'annotation_body3d' / 'cameras.pkl', 'wb') as file:
        camera = dict(
            R=np.eye(3), T=np.zeros((3, 1)), f=np.ones((2, 1)), c=np.ones((2, 1)),
            k=np.zeros((3, 1)), p=np.zeros((2, 1)), w=SIZE[1], h=SIZE[0],
        )  # fmt: skip
        pickle.dump({(s, '54138969'): camera for s in ('S1', 'S9')}, file)


def run(*arguments: object, **env: str) -> str:
    command = [sys.executable, '-W', 'ignore', *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=env or None
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_training_ends_in_weights_alone(tmp_path: Path, one_thread: dict[str, str]) -> None:
    for package in ('torchvision', 'mmdet', 'mmcv'):
        pytest.importorskip(package, reason=f'{package} is not installed: {INSTALL}')
    data, work_dir = tmp_path / 'data', tmp_path / 'work'
    write_set(data, 'train', 'S1', 4)
    write_set(data, 'test', 'S9', 2)
    said = run('tools/dataset_converters/masks_to_coco.py', data, **one_thread)
    assert 'person_train.json: 4 images' in said and 'person_test.json: 2 images' in said
    config = ROOT / 'configs' / 'segmentation' / 'mask-rcnn_small_synthetic.py'

    def train(folder: Path, iterations: int, *more: str) -> None:
        run(
            'tools/train.py', config, '--work-dir', folder, *more, '--cfg-options',
            f'train_dataloader.dataset.data_root={data}', 'train_dataloader.batch_size=2',
            f'train_cfg.max_iters={iterations}', 'default_hooks.checkpoint.interval=1',
            **one_thread,
        )  # fmt: skip

    train(work_dir, 3)
    weights = work_dir / 'weights.pth'
    content = torch.load(weights, weights_only=True)
    assert set(content) == {'meta', 'state_dict'}
    assert content['meta']['dataset_meta']['classes'] == ('person',)
    model = MaskRCNN(str(weights), config=str(config))
    assert model.person == 0

    # Stopped after two iterations, and resumed, it ends the same.
    train(tmp_path / 'stopped', 2)
    (tmp_path / 'stopped' / 'weights.pth').unlink()
    train(tmp_path / 'stopped', 3, '--resume')
    again = torch.load(tmp_path / 'stopped' / 'weights.pth', weights_only=True)['state_dict']
    for name, value in content['state_dict'].items():
        assert torch.equal(value, again[name]), name
