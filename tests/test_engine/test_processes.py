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


@pytest.fixture(scope='module')
def one_process(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory, run_processes):
    """The regressor, fits and work directory of a run with discriminators in one process."""
    return refined(tiny_config, tmp_path_factory.mktemp('one'), 1, run_processes)


def refined(config: Path, work_dir: Path, count: int, run_processes):
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(config), '--work-dir',
               str(work_dir), '--launcher', 'pytorch']  # fmt: skip
    run_processes(command, count, timeout=900)
    return np.load(work_dir / 'J_opt.npy'), read_npz(work_dir / 'pseudo_gt.npz'), work_dir


@pytest.fixture(scope='module')
def first_batch(one_process) -> list[str]:
    """Names of the images of the first batch, which is refined before a discriminator learns."""
    (shard,) = (one_process[2] / 'pseudo_gt').rglob('batch_0000000_rank_000.npz')
    with np.load(shard) as file:
        return file['imgname'].tolist()


@pytest.mark.parametrize('count', [2, 4])
def test_any_number_of_processes_gives_the_same_joints_but_for_rounding(
    tiny_config: Path,
    tmp_path: Path,
    run_processes,
    one_process,
    first_batch: list[str],
    count: int,
) -> None:
    regressors, fits, _ = zip(
        one_process, refined(tiny_config, tmp_path, count, run_processes), strict=True
    )
    np.testing.assert_array_equal(fits[0]['imgname'], fits[1]['imgname'])
    first = np.isin(fits[0]['imgname'], first_batch)
    assert first.sum() == 4
    np.testing.assert_allclose(fits[0]['pose'][first], fits[1]['pose'][first], rtol=0, atol=1e-5)
    # Adam divides by the size of a gradient, and so enlarges the rounding of one close to zero:
    # the discriminators of later batches differ, and fits follow them.
    np.testing.assert_allclose(fits[0]['pose'], fits[1]['pose'], rtol=0, atol=2e-3)
    with torch.no_grad():
        vertices = free_body()(
            global_orient=torch.zeros(len(fits[0]['pose']), 3),
            body_pose=torch.from_numpy(fits[0]['pose'][:, 3:]),
            betas=torch.from_numpy(fits[0]['betas']),
            transl=torch.zeros(len(fits[0]['pose']), 3),
        ).vertices.numpy()
    one, several = (regressor @ vertices for regressor in regressors)
    assert 1000 * np.linalg.norm(one - several, axis=-1).max() < 0.05
