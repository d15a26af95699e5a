"""The number of processes does not change the regressor, with discriminators."""

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
#: Whether results are equal to the last digit: other libraries than MKL may round by batch size.
EXACT = torch.backends.mkl.is_available()


@pytest.fixture(scope='module')
def one_process(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory, run_processes):
    """The regressor and the fits of a run with discriminators in one process."""
    return refined(tiny_config, tmp_path_factory.mktemp('one'), 1, run_processes)


def refined(config: Path, work_dir: Path, count: int, run_processes):
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(config), '--work-dir',
               str(work_dir), '--launcher', 'pytorch']  # fmt: skip
    run_processes(command, count, timeout=900)
    return np.load(work_dir / 'J_opt.npy'), read_npz(work_dir / 'pseudo_gt.npz')


@pytest.mark.parametrize('count', [2, 3, 4])
def test_any_number_of_processes_gives_the_same_fits_and_regressor(
    tiny_config: Path, tmp_path: Path, run_processes, one_process, count: int
) -> None:
    regressors, fits = zip(
        one_process, refined(tiny_config, tmp_path, count, run_processes), strict=True
    )
    assert fits[0].keys() == fits[1].keys()
    for name, array in fits[0].items():
        if EXACT or array.dtype.kind not in 'f':
            np.testing.assert_array_equal(array, fits[1][name], err_msg=name)
    if EXACT:
        np.testing.assert_array_equal(*regressors)
    np.testing.assert_allclose(fits[0]['pose'], fits[1]['pose'], rtol=0, atol=1e-4)
    with torch.no_grad():
        vertices = free_body()(
            global_orient=torch.zeros(len(fits[0]['pose']), 3),
            body_pose=torch.from_numpy(fits[0]['pose'][:, 3:]),
            betas=torch.from_numpy(fits[0]['betas']),
            transl=torch.zeros(len(fits[0]['pose']), 3),
        ).vertices.numpy()
    one, several = (regressor @ vertices for regressor in regressors)
    assert 1000 * np.linalg.norm(one - several, axis=-1).max() < 0.01
