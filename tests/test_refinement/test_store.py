"""The store keeps each sample once, in order, and names every wrong shard."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmjrr.errors import DataError
from mmjrr.jobs import ShardFolder
from mmjrr.refinement import PseudoGTStore
from mmjrr.refinement.store import batches_of


def make_store(folder: Path, run: str = 'run') -> PseudoGTStore:
    return PseudoGTStore(ShardFolder(folder, run, '.npz', 'batch'))


def batch(*indices: int) -> dict[str, np.ndarray]:
    index = np.array(indices)
    return dict(sample_idx=index, betas=np.repeat(index[:, None], 10, 1).astype(np.float32))


def test_samples_come_back_sorted_and_once(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.put(1, batch(5, 0))
    store.put(0, batch(3, 1))
    store.put(1, batch(1, 4), rank=1)  # a sampler of two processes repeats sample 1
    loaded = store.load({(0, 0): [3, 1], (1, 0): [5, 0], (1, 1): [1, 4]})
    assert loaded['sample_idx'].tolist() == [0, 1, 3, 4, 5]
    assert loaded['betas'][:, 0].tolist() == [0, 1, 3, 4, 5]
    assert [len(part['betas']) for part in batches_of(loaded, 2)] == [2, 2, 1]


def test_the_same_batch_gives_the_same_bytes(tmp_path: Path) -> None:
    stores = [make_store(tmp_path / name) for name in 'ab']
    for store in stores:
        store.put(0, batch(1, 2))
    first, second = (store.shards.path(0, 0).read_bytes() for store in stores)
    assert first == second


def test_a_batch_comes_back_or_is_not_there(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.put(2, batch(7, 3), rank=1)
    assert store.get(2, [7, 3]) is None and store.get(1, [7, 3], rank=1) is None
    stored = store.get(2, [7, 3], rank=1)
    assert stored is not None and stored['betas'][0].tolist() == [7] * 10


def test_a_batch_of_other_samples_is_named(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.put(0, batch(1, 2))
    message = r'batch_0000000_rank_000.npz: sample_idx: found \[1, 2\], expected \[2, 1\]'
    with pytest.raises(DataError, match=message):
        store.get(0, [2, 1])
    with pytest.raises(DataError, match=message):
        store.load({(0, 0): [2, 1]})


def test_missing_moved_foreign_and_broken_shards_are_named(tmp_path: Path) -> None:
    store, expected = make_store(tmp_path), {(number, 0): [number] for number in range(3)}
    for number in range(3):
        store.put(number, batch(number))
    path = store.shards.path(1, 0)
    content = path.read_bytes()

    path.unlink()
    with pytest.raises(DataError, match=f'{path.name}: missing'):
        store.load(expected)
    path.write_bytes(store.shards.path(2, 0).read_bytes())
    with pytest.raises(DataError, match=f'{path.name}: found shard 2 of process 0'):
        store.load(expected)
    make_store(tmp_path, 'another run').put(1, batch(1))
    with pytest.raises(DataError, match=f'{path.name}: belongs to another run'):
        store.load(expected)
    path.write_bytes(content[:100])
    with pytest.raises(DataError, match=f'{path.name}: not a readable shard'):
        store.load(expected)
    store.put(1, dict(sample_idx=np.array([1]), betas=np.zeros((1, 9), np.float32)))
    with pytest.raises(DataError, match=f'{path.name}: found .* expected the layout of the first'):
        store.load(expected)
    path.write_bytes(content)
    store.put(3, batch(3))
    with pytest.raises(DataError, match='batch_0000003_rank_000.npz: not a shard of this run'):
        store.load(expected)


def test_wrong_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='no batches'):
        make_store(tmp_path).load({})
    with pytest.raises(ValueError, match='sample_idx'):
        make_store(tmp_path).put(0, dict(betas=np.zeros((2, 10))))
    with pytest.raises(ValueError, match='one length'):
        make_store(tmp_path).put(0, dict(sample_idx=np.arange(3), betas=np.zeros((2, 10))))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_all_shards_are_merged_in_the_memory_of_a_piece(tmp_path: Path) -> None:
    """A hundred megabytes of shards, in a process of its own."""
    program = f"""
import numpy as np
from mmjrr.jobs import ShardFolder
from mmjrr.refinement.store import PseudoGTStore, batches_of
def peak():
    with open('/proc/self/status') as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM')) // 1024
store = PseudoGTStore(ShardFolder({str(tmp_path)!r}, 'run', '.npz', 'batch'))
expected = {{}}
for number in range(100):
    rows = np.arange(250) * 100 + number
    values = np.repeat(rows[:, None], 1000, 1).astype(np.float32)
    store.put(number, dict(sample_idx=rows, pose=values))
    expected[number, 0] = rows.tolist()
before = peak()
merged = store.load(expected)
sums = [float(batch['pose'].sum(dtype=np.float64)) for batch in batches_of(merged, 250)]
assert merged['sample_idx'].tolist() == list(range(25_000))
assert sum(sums) == 1000 * 25_000 * 24_999 / 2
print(peak() - before)
"""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sum(path.stat().st_size for path in tmp_path.rglob('batch_*')) > 95 << 20
    assert int(done.stdout) < 40
