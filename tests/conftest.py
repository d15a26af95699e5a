"""Fixtures shared by all tests."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import small_jobs
import torch
from mmengine.registry import DefaultScope

ROOT = Path(__file__).resolve().parents[1]

#: Imported by configs of MMPose, where it is installed.
collect_ignore = ['test_evaluation/mmpose_mesh_models.py']

#: Deterministic, so that a failure is the same everywhere.
hypothesis.settings.register_profile(
    'everywhere', derandomize=True, database=None, deadline=None, print_blob=True
)
hypothesis.settings.load_profile('everywhere')


@pytest.fixture(autouse=True, scope='module')
def same_default_scope() -> Iterator[None]:
    """Take back the default scope that a file's runners and inferencers leave behind."""
    before = DefaultScope._instance_dict.copy()
    yield
    DefaultScope._instance_dict = before


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Folder with real frames and released files that cannot be part of the project.

    ``MMJRR_SHARED_DATA`` names it; by default ``shared/data`` beside the checkout.
    """
    default = ROOT.parent / 'shared' / 'data'
    folder = Path(os.environ.get('MMJRR_SHARED_DATA', default))
    if not folder.is_dir():
        pytest.skip(f'real data not found: {folder} is not a folder (set MMJRR_SHARED_DATA)')
    return folder


@pytest.fixture(scope='session')
def mmpose_folder() -> Path:
    """MMPose's own tools and configs, as its wheel installs them."""
    if sys.version_info >= (3, 12):
        version = '.'.join(map(str, sys.version_info[:2]))
        pytest.skip(f'MMPose needs xtcocotools, which has no wheel for Python {version}')
    if np.lib.NumpyVersion(np.__version__) >= '2.0.0':
        pytest.skip(f'MMPose needs xtcocotools, built for NumPy 1; found NumPy {np.__version__}')
    spec = importlib.util.find_spec('mmpose')
    if spec is None or spec.origin is None:
        pytest.skip('MMPose is not installed: make env installs requirements/mmpose.txt')
    return Path(spec.origin).parent / '.mim'


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def run_processes():
    """Run a command in several processes that find each other, as ``torchrun`` starts them.

    ``torchrun`` itself is left out: its rendezvous crashes in PyTorch 2.2 on Python 3.12.
    """

    def run(
        command: list[str], count: int, timeout: float = 150, status_of_first: int = 0
    ) -> list[str]:
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = probe.getsockname()[1]
        processes = []
        for rank in range(count):
            env = {
                **os.environ,
                'MASTER_ADDR': '127.0.0.1',
                'MASTER_PORT': str(port),
                'RANK': str(rank),
                'LOCAL_RANK': str(rank),
                'WORLD_SIZE': str(count),
                'OMP_NUM_THREADS': '1',
            }
            processes.append(
                subprocess.Popen(
                    command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
                )
            )
        try:
            outputs = [process.communicate(timeout=timeout)[0] for process in processes]
        finally:
            for process in processes:
                process.kill()
        for rank, (process, output) in enumerate(zip(processes, outputs, strict=True)):
            assert process.returncode == (0 if rank else status_of_first), output[-3000:]
        return outputs

    return run


@pytest.fixture(scope='session')
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 training frames of three subjects, without pictures."""
    return small_jobs.synthetic_set(tmp_path_factory.mktemp('tiny_set'))


@pytest.fixture(scope='session')
def tiny_config(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic config with fewer and smaller steps."""
    return small_jobs.refinement_config(tiny_set, tmp_path_factory.mktemp('config'))


@pytest.fixture(scope='session')
def one_thread() -> dict[str, str]:
    """Environment of a process that shares the machine with others."""
    return {**os.environ, 'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}
