"""A tiny synthetic set, and a config that refines it in seconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmjrr.datasets.synthetic import Settings, generate

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='session')
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 training frames of three subjects, without pictures."""
    folder = tmp_path_factory.mktemp('tiny_set')
    settings = Settings(
        seed=3, subjects=('S1', 'S5', 'S6', 'S9'), frames_per_subject=2, images=False
    )
    generate(folder, settings, workers=1, progress=False)
    return folder


@pytest.fixture(scope='session')
def tiny_config(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic config with fewer and smaller steps."""
    path = tmp_path_factory.mktemp('config') / 'tiny.py'
    path.write_text(
        f"""
_base_ = [{str(ROOT / 'configs/refinement/contour_100it_synthetic.py')!r}]
data_root = {str(tiny_set)!r}
train_dataloader = dict(batch_size=4, dataset=dict(data_root=data_root, crop_size=(64, 64)))
default_hooks = dict(checkpoint=dict(interval=2))
custom_hooks = [
    dict(
        type='SMPLPseudoGTHook',
        body_model=dict(type='FreeBody'),
        renderer=dict(type='ContourSilhouette', image_size=(64, 64)),
        num_iters=4,
    ),
]
"""
    )
    return path


@pytest.fixture(scope='session')
def one_thread() -> dict[str, str]:
    """Environment of a process that shares the machine with others."""
    return {**os.environ, 'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}
