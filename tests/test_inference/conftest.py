"""Random weights in the layout of SPIN's released file, and images of persons' size."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import torch

from mmjrr.models import SPIN

from .random_pictures import pictures


@pytest.fixture(scope='session')
def spin_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in SPIN's layout: one network, under 'model', with an unused body beside it."""
    torch.manual_seed(0)
    weights = {name.split('.', 1)[1]: value for name, value in SPIN().state_dict().items()}
    weights['smpl.betas'] = torch.zeros(1, 10)
    path = tmp_path_factory.mktemp('spin') / 'model_checkpoint.pt'
    torch.save(dict(model=weights), path)
    return path


@pytest.fixture(scope='session')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images, one in a subfolder."""
    root = tmp_path_factory.mktemp('images') / 'walk'
    (root / 'more').mkdir(parents=True)
    for name, picture in zip(('p2.png', 'p10.png', 'more/p1.png'), pictures(3), strict=True):
        cv2.imwrite(str(root / name), picture)
    return root


@pytest.fixture(scope='session')
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames, written by OpenCV."""
    path = tmp_path_factory.mktemp('video') / 'run.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), 10.0, (60, 72))
    for picture in pictures(5, seed=1):
        writer.write(picture)
    writer.release()
    return path
