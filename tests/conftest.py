"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Folder with real frames and released files that cannot be part of the project.

    ``MMJRR_SHARED_DATA`` names it; by default ``shared/data`` beside the checkout.
    """
    default = Path(__file__).resolve().parents[2] / 'shared' / 'data'
    folder = Path(os.environ.get('MMJRR_SHARED_DATA', default))
    if not folder.is_dir():
        pytest.skip(f'real data not found: {folder} is not a folder (set MMJRR_SHARED_DATA)')
    return folder


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def run_processes():
    """Run a command in several processes that find each other, as ``torchrun`` starts them.

    ``torchrun`` itself is left out: its rendezvous crashes in PyTorch 2.2 on Python 3.12.
    """

    def run(command: list[str], count: int, timeout: float = 150) -> list[str]:
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
        for process, output in zip(processes, outputs, strict=True):
            assert process.returncode == 0, output[-3000:]
        return outputs

    return run
