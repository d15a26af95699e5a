"""A file is opened once, for its checksum, its format and its content."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmjrr.datasets.predictions.results_files import load_results
from mmjrr.errors import DataError
from mmjrr.io import open_input, read_json, read_npy, read_npz, read_pickle, read_torch, sha256
from mmjrr.regressors import JointRegressor

_opened: list[str] = []


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == 'open' and isinstance(arguments[0], (str, os.PathLike)):
        _opened.append(os.fspath(arguments[0]))


@pytest.fixture(scope='module')
def audit_hook() -> None:
    sys.addaudithook(_note)  # hooks stay until the interpreter ends


@pytest.fixture
def opened(audit_hook: None) -> Iterator[list[str]]:
    _opened.clear()
    yield _opened
    _opened.clear()


ARRAY = np.arange(6.0).reshape(2, 3)
WRITERS: dict[str, Callable[[Path], None]] = {
    'a.npy': lambda path: np.save(path, ARRAY),
    'a.npz': lambda path: np.savez(path, vertices=ARRAY),
    'a.pt': lambda path: torch.save({'vertices': torch.from_numpy(ARRAY)}, path),
    'a.json': lambda path: path.write_text(json.dumps({'vertices': ARRAY.tolist()})) and None,
    'a.pkl': lambda path: path.write_bytes(pickle.dumps({'vertices': ARRAY})) and None,
    'a.obj': lambda path: path.write_text('v 0 1 2\nv 3 4 5\n') and None,
}


@pytest.mark.parametrize('name', WRITERS)
def test_a_results_file_of_any_format_is_opened_once(
    tmp_path: Path, opened: list[str], name: str
) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    opened.clear()
    content = load_results(path)
    assert opened.count(str(path)) == 1
    np.testing.assert_array_equal(
        content['vertices'] if isinstance(content, dict) else content, ARRAY
    )


@pytest.mark.parametrize('suffix', ['.npy', '.pt', '.npz'])
def test_a_regressor_is_opened_once_for_checksum_and_weights(
    tmp_path: Path, opened: list[str], suffix: str
) -> None:
    regressor = JointRegressor(torch.eye(2, 4), ['a', 'b'], body_model='toy')
    path = regressor.save(tmp_path / 'J.npy')
    if suffix == '.pt':
        path = tmp_path / 'J.pt'
        torch.save(regressor.weight, path)
    elif suffix == '.npz':
        path = tmp_path / 'J.npz'
        np.savez(path, weight=regressor.weight.numpy())
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    opened.clear()
    loaded = JointRegressor.load(path, joint_order=['a', 'b'], body_model='toy')
    assert opened.count(str(path)) == 1
    assert loaded.provenance['file_sha256'] == checksum
    assert torch.equal(loaded.weight, regressor.weight)


def test_readers_and_checksum_share_an_open_file_in_any_order(tmp_path: Path) -> None:
    readers = {'a.npy': read_npy, 'a.npz': read_npz, 'a.pt': read_torch, 'a.json': read_json,
               'a.pkl': read_pickle}  # fmt: skip
    for name, read in readers.items():
        path = tmp_path / name
        WRITERS[name](path)
        with open_input(path) as file:
            first = read(file)
            checksum = file.sha256()
            second = read(file)
        assert checksum == sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
        assert str(first) == str(second)


def test_an_absent_file_and_a_folder_are_no_files(tmp_path: Path) -> None:
    for path in (tmp_path / 'absent.npy', tmp_path):
        with pytest.raises(FileNotFoundError, match='no such file'):
            sha256(path)


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read every file')
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'a.npy'
    np.save(path, ARRAY)
    path.chmod(0)
    with pytest.raises(DataError, match=r'a\.npy: cannot be opened'):
        read_npy(path)
