"""Checkpoints of MMEngine pass PyTorch's safe loader, and nothing else does."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch.torch_version import TorchVersion

from mmjrr.engine import allow_mmengine_checkpoints

SAFE_LOADING = TorchVersion(torch.__version__) >= (2, 6)


@pytest.mark.skipif(not SAFE_LOADING, reason='this PyTorch loads without a list of safe types')
def test_only_types_of_arrays_and_the_history_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[list] = []
    monkeypatch.setattr(torch.serialization, 'add_safe_globals', named.append)
    allow_mmengine_checkpoints()
    (types,) = named
    assert HistoryBuffer in types
    assert getattr not in types
    plain = [kind for kind in types if not isinstance(kind, tuple)]
    assert all(kind is HistoryBuffer or kind.__module__.startswith('numpy') for kind in plain)


def test_pytorch_without_a_safe_list_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.serialization, 'add_safe_globals', raising=False)
    allow_mmengine_checkpoints()


@pytest.mark.skipif(not SAFE_LOADING, reason='this PyTorch loads without a list of safe types')
def test_a_message_hub_comes_back_through_the_safe_loader(tmp_path: Path) -> None:
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    hub = dict(
        log_scalars={'loss': history}, runtime_info={'iter': np.float64(3), 'n': np.int64(2)}
    )
    allow_mmengine_checkpoints()
    torch.save(dict(message_hub=hub), tmp_path / 'a.pth')
    found = torch.load(tmp_path / 'a.pth', weights_only=True)['message_hub']
    np.testing.assert_array_equal(found['log_scalars']['loss'].data[0], [1.0, 2.0])
    assert found['runtime_info'] == {'iter': 3.0, 'n': 2}


class Command:
    def __reduce__(self):
        return os.system, ('true',)


@pytest.mark.skipif(not SAFE_LOADING, reason='this PyTorch loads without a list of safe types')
def test_a_checkpoint_that_names_a_command_is_refused(tmp_path: Path) -> None:
    torch.save(dict(message_hub=Command()), tmp_path / 'bad.pth')
    with pytest.raises(pickle.UnpicklingError, match='system'):
        torch.load(tmp_path / 'bad.pth', weights_only=True)


class Attribute:
    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


@pytest.mark.skipif(not SAFE_LOADING, reason='this PyTorch loads without a list of safe types')
def test_a_checkpoint_may_name_no_attribute_but_the_statistics(tmp_path: Path) -> None:
    allow_mmengine_checkpoints()
    torch.save(dict(message_hub=Attribute()), tmp_path / 'bad.pth')
    with pytest.raises(pickle.UnpicklingError, match='__init__'):
        torch.load(tmp_path / 'bad.pth', weights_only=True)
