"""Shards that are incomplete, of another run or misnamed are errors with their path."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from mmjrr.errors import DataError
from mmjrr.jobs import ShardFolder


def content(suffix: str, number: int) -> dict:
    if suffix == '.json':
        return {'masks': {f'image {number}': [number]}}
    return {'index': np.array([number, number + 1]), 'names': np.array(['a', 'ü'])}


@pytest.fixture(params=['.npz', '.json'])
def shards(request: pytest.FixtureRequest, tmp_path: Path) -> ShardFolder:
    return ShardFolder(tmp_path / 'shards', 'run a', request.param)


def fill(shards: ShardFolder, count: int = 3) -> None:
    for number in range(count):
        shards.put(number, content(shards.suffix, number))


def test_stored_arrays_come_back(shards: ShardFolder) -> None:
    shards.put(2, content(shards.suffix, 2))
    assert shards.missing(4) == [0, 1, 3]
    arrays = shards.get(2)
    expected = content(shards.suffix, 2)
    assert list(arrays) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(arrays[name], value)


def test_the_same_shard_has_the_same_bytes(shards: ShardFolder) -> None:
    first = shards.put(1, content(shards.suffix, 1)).read_bytes()
    assert shards.put(1, content(shards.suffix, 1)).read_bytes() == first


def test_processes_have_shards_of_their_own(tmp_path: Path) -> None:
    shards = ShardFolder(tmp_path, 'run', '.npz', 'batch')
    for number, rank in ((1, 0), (0, 1), (0, 0)):
        path = shards.put(number, {'a': np.array([number, rank])}, rank)
        assert path.name == f'batch_{number:07d}_rank_{rank:03d}.npz'
    assert shards.keys() == [(0, 0), (0, 1), (1, 0)]
    assert shards.get(0, 1)['a'].tolist() == [0, 1]
    (tmp_path / 'batch_notes.npz').touch()
    assert len(shards.keys()) == 3


def test_a_missing_shard_is_named(shards: ShardFolder) -> None:
    fill(shards)
    shards.path(1).unlink()
    keys = [(number, None) for number in range(3)]
    with pytest.raises(DataError, match=f'{shards.path(1).name}: missing; give the same command'):
        list(shards.read_all(keys))
    shards.path(2).unlink()
    with pytest.raises(DataError, match=r'shard_0000001.*as are 1 more of 3'):
        shards.check(keys)
    with pytest.raises(DataError, match='missing'):
        shards.get(1)


def test_a_moved_shard_is_named(shards: ShardFolder) -> None:
    fill(shards)
    shutil.copy(shards.path(2), shards.path(1))
    with pytest.raises(DataError, match=r'shard_0000001.*found shard 2 of .* expected shard 1'):
        list(shards.read_all([(number, None) for number in range(3)]))


def test_a_shard_of_another_run_is_named(shards: ShardFolder) -> None:
    fill(shards)
    ShardFolder(shards.folder, 'run b', shards.suffix).put(1, content(shards.suffix, 1))
    with pytest.raises(DataError, match=r'shard_0000001.*: belongs to another run'):
        shards.get(1)


def test_a_shard_beyond_the_last_is_named(shards: ShardFolder) -> None:
    fill(shards, 4)
    with pytest.raises(DataError, match=r'shard_0000003.*not a shard of this run, which has 3'):
        shards.check([(number, None) for number in range(3)])


@pytest.mark.parametrize('cut', [0, 1, 40, -1])
def test_a_broken_shard_is_named(shards: ShardFolder, cut: int) -> None:
    fill(shards)
    path = shards.path(1)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=f'{path.name}: not a readable shard'):
        shards.get(1)


def test_a_file_that_is_no_shard_is_of_another_run(tmp_path: Path) -> None:
    shards = ShardFolder(tmp_path, 'run', '.json')
    shards.path(0).write_text('{"masks": {}}')
    with pytest.raises(DataError, match='belongs to another run'):
        shards.get(0)
    shards.path(0).write_text('[1, 2]')
    with pytest.raises(DataError, match='not a readable shard'):
        shards.get(0)


def test_no_folder_holds_more_than_a_thousand_shards_of_a_process(tmp_path: Path) -> None:
    shards = ShardFolder(tmp_path / 'shards', 'run', '.json', 'batch')
    numbers = [0, 999, 1000, 1001, 12_345, 9_999_999]
    for number in numbers:
        shards.put(number, {'content': number}, rank=1)
    assert [number for number, _ in shards.keys()] == numbers
    assert shards.get(12_345, 1) == {'content': 12_345}
    assert shards.path(12_345, 1).relative_to(tmp_path) == Path(
        'shards/from_0012000/batch_0012345_rank_001.json'
    )
    assert len({shards.path(number).parent for number in range(156_000)}) == 156
    # A shard in a folder where it does not belong is none.
    shards.path(1000, 1).rename(tmp_path / 'shards/batch_0001000_rank_001.json')
    assert (1000, 1) not in shards.keys()
