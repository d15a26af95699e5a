"""Files are complete or absent."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from mmjrr.io import atomic_write, sha256, versions


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with atomic_write(path) as temporary:
        temporary.write_text('half')
        assert path.read_text() == 'old'
        temporary.write_text('new')
    assert path.read_text() == 'new'
    assert names(tmp_path) == ['a.txt']


def test_a_block_that_raises_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(RuntimeError, match='mid-way'), atomic_write(path) as temporary:
        temporary.write_text('half')
        raise RuntimeError('mid-way')
    assert path.read_text() == 'old'
    assert names(tmp_path) == ['a.txt']


def test_folders_are_made_and_the_suffix_is_kept(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'folder' / 'a.npz'
    with atomic_write(path) as temporary:
        assert temporary.suffix == '.npz' and temporary.parent == path.parent
        assert temporary.name.startswith('.')  # a glob for the real names does not find it
        np.savez(temporary, x=np.arange(3))
    np.testing.assert_array_equal(np.load(path)['x'], [0, 1, 2])


@pytest.mark.parametrize(('umask', 'mode'), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / 'a') as temporary:
            temporary.write_text('x')
    finally:
        assert os.umask(before) == umask
    assert (tmp_path / 'a').stat().st_mode & 0o777 == mode


def test_sha256_is_that_of_the_standard(tmp_path: Path) -> None:
    # FIPS 180-2, examples B.1 and B.3: 'abc', and a million times 'a' (more than one block).
    (tmp_path / 'abc').write_bytes(b'abc')
    (tmp_path / 'million').write_bytes(b'a' * 1_000_000)
    assert sha256(tmp_path / 'abc') == (
        'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    )
    assert sha256(tmp_path / 'million') == (
        'cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0'
    )


def test_versions_name_what_a_result_depends_on() -> None:
    listed = versions()
    assert listed['numpy'] == np.__version__
    assert {'mmjrr', 'python', 'torch'} <= set(listed)
    assert listed['numba'] == metadata.version('numba')
