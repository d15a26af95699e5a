"""Several processes without a GPU; elsewhere MMEngine's launchers are left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmjrr.engine import distribute_on_cpu


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Backends of the process groups that were started."""
    backends: list[str] = []
    monkeypatch.setattr(torch.distributed, 'init_process_group', backends.append)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    return backends


def test_without_a_gpu_the_processes_meet_on_the_cpu(started: list[str]) -> None:
    cfg = Config(dict(launcher='pytorch'))
    distribute_on_cpu(cfg)
    assert started == ['gloo']
    assert cfg.model_wrapper_cfg == dict(type='mmengine.MMDistributedDataParallel', device_ids=None)


def test_a_wrapper_of_the_config_is_kept(started: list[str]) -> None:
    cfg = Config(dict(launcher='pytorch', model_wrapper_cfg=dict(type='Mine')))
    distribute_on_cpu(cfg)
    assert cfg.model_wrapper_cfg == dict(type='Mine')


@pytest.mark.parametrize('launcher', ['none', 'mpi', None])
def test_other_launchers_are_left_alone(started: list[str], launcher: str | None) -> None:
    cfg = Config({} if launcher is None else dict(launcher=launcher))
    distribute_on_cpu(cfg)
    assert not started and 'model_wrapper_cfg' not in cfg


def test_with_a_gpu_nothing_is_done(started: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = Config(dict(launcher='pytorch'))
    distribute_on_cpu(cfg)
    assert not started and 'model_wrapper_cfg' not in cfg


def test_slurms_processes_meet_on_the_first_node(
    started: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames a[7-8]" ] && printf "a7\\na8\\n"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}{os.pathsep}{os.environ["PATH"]}')
    for name in ('MASTER_ADDR', 'MASTER_PORT', 'RANK', 'WORLD_SIZE', 'LOCAL_RANK'):
        monkeypatch.setenv(name, '')  # restored after the test
        monkeypatch.delenv(name)
    for name, value in dict(PROCID='3', NTASKS='4', LOCALID='1', NODELIST='a[7-8]').items():
        monkeypatch.setenv(f'SLURM_{name}', value)
    distribute_on_cpu(Config(dict(launcher='slurm')))
    assert started == ['gloo']
    assert (os.environ['MASTER_ADDR'], os.environ['MASTER_PORT']) == ('a7', '29500')
    assert (os.environ['RANK'], os.environ['LOCAL_RANK']) == ('3', '1')
    assert os.environ['WORLD_SIZE'] == '4'


def test_without_srun_the_variable_is_named(
    started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv('SLURM_PROCID', raising=False)
    with pytest.raises(RuntimeError, match=r"'SLURM_PROCID' is not set; start the command with sr"):
        distribute_on_cpu(Config(dict(launcher='slurm')))
    assert not started


LOAD = """
import sys, torch
from torch.utils.data import DataLoader
from mmjrr.engine.launch import allow_open_files


class Frames(torch.utils.data.Dataset):
    def __len__(self):
        return 512

    def __getitem__(self, number):
        return torch.full((4,), number)


allow_open_files()
(batch,) = DataLoader(Frames(), batch_size=512, num_workers=1, collate_fn=list)
print(sum(int(frame[0]) for frame in batch))
"""


@pytest.mark.slow
@pytest.mark.parametrize('limits', ['ulimit -Sn 256', 'ulimit -n 256'], ids=['soft', 'hard'])
def test_workers_pass_more_tensors_than_files_may_be_open(limits: str) -> None:
    command = f'{limits} && exec "$0" -c "$1"'
    done = subprocess.run(
        ['bash', '-c', command, sys.executable, LOAD], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == f'{511 * 512 // 2}\n', done.stderr
