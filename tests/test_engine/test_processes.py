"""Without discriminators, the number of processes does not change the regressor."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mmjrr.body_models import free_body
from mmjrr.io import read_npz

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def test_one_and_two_processes_give_joints_within_a_hundredth_of_a_millimeter(
    tiny_config: Path, tmp_path: Path, run_processes
) -> None:
    config = tmp_path / 'config.py'
    config.write_text(
        tiny_config.read_text().replace(
            'refiner=dict(num_iters=4),',
            'refiner=dict(num_iters=4), energy=dict(terms=dict(adv_pose=False, adv_shape=False)),',
        )
    )
    assert 'adv_pose' in config.read_text()
    regressors, fits = [], []
    for count in (1, 2):
        work_dir = tmp_path / str(count)
        command = [sys.executable, str(ROOT / 'tools/train.py'), str(config), '--work-dir',
                   str(work_dir), '--launcher', 'pytorch']  # fmt: skip
        run_processes(command, count, timeout=400)
        regressors.append(np.load(work_dir / 'J_opt.npy'))
        fits.append(read_npz(work_dir / 'pseudo_gt.npz'))
    np.testing.assert_array_equal(fits[0]['imgname'], fits[1]['imgname'])
    np.testing.assert_allclose(fits[0]['pose'], fits[1]['pose'], atol=1e-5)
    count = len(fits[0]['pose'])
    with torch.no_grad():
        vertices = free_body()(
            global_orient=torch.zeros(count, 3),
            body_pose=torch.from_numpy(fits[0]['pose'][:, 3:]),
            betas=torch.from_numpy(fits[0]['betas']),
            transl=torch.zeros(count, 3),
        ).vertices.numpy()
    one, two = (regressor @ vertices for regressor in regressors)
    assert 1000 * np.linalg.norm(one - two, axis=-1).max() < 0.01
