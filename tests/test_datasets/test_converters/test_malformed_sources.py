"""Other layouts of Human3.6M, damaged: converted, or refused by an error that names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from malformed import FEW, damaged, disfigured, only_its_own_errors
from source_loaders import WRITERS


@pytest.fixture
def source(request, tmp_path) -> tuple[Path, bytes, Callable[[Path], Any]]:
    """A valid file: its path, its bytes, and its reader."""
    if request.param == 'h36m-fetch':
        pytest.importorskip('h5py')
    if request.param == 'joints of the release':
        pytest.importorskip('cdflib')
    name, write, load = WRITERS[request.param]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    load(path)
    return path, path.read_bytes(), load


@pytest.mark.slow
@pytest.mark.parametrize('source', WRITERS, indirect=True)
def test_damaged_bytes(source):
    path, whole, load = source

    @FEW
    @given(damaged(whole))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        with only_its_own_errors(path):
            load(path)

    check()


@pytest.mark.parametrize('source', ['SPIN, training', 'HumanData'], indirect=True)
def test_disfigured_content(source):
    path, _, load = source
    with np.load(path, allow_pickle=True) as file:  # made here
        whole = {name: file[name] for name in file.files}
    whole = {name: value.item() if value.ndim == 0 else value for name, value in whole.items()}

    @FEW
    @given(disfigured(whole))
    def check(content: dict[str, Any]) -> None:
        try:
            np.savez(path, **content)
        except (TypeError, ValueError, AttributeError):
            return  # no such file can be written
        with only_its_own_errors(path):
            load(path)

    check()
