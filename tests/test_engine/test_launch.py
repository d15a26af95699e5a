"""Several processes without a GPU; elsewhere MMEngine's launchers are left alone."""

from __future__ import annotations

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


@pytest.mark.parametrize('launcher', ['none', 'slurm', None])
def test_other_launchers_are_left_alone(started: list[str], launcher: str | None) -> None:
    cfg = Config({} if launcher is None else dict(launcher=launcher))
    distribute_on_cpu(cfg)
    assert not started and 'model_wrapper_cfg' not in cfg


def test_with_a_gpu_nothing_is_done(started: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = Config(dict(launcher='pytorch'))
    distribute_on_cpu(cfg)
    assert not started and 'model_wrapper_cfg' not in cfg
