"""The store keeps each sample once, in order, and never half a shard."""

from __future__ import annotations

import numpy as np
import pytest

from mmjrr.refinement import PseudoGTStore


def shard(*indices: int) -> dict[str, np.ndarray]:
    index = np.array(indices)
    return dict(sample_idx=index, betas=np.repeat(index[:, None], 10, 1).astype(np.float32))


def test_samples_come_back_sorted_and_once(tmp_path) -> None:
    store = PseudoGTStore(tmp_path)
    store.put(1, shard(5, 0))
    store.put(0, shard(3, 1))
    store.put(1, shard(1, 4), rank=1)  # a sampler of two processes repeats sample 1
    loaded = store.load()
    assert loaded['sample_idx'].tolist() == [0, 1, 3, 4, 5]
    assert loaded['betas'][:, 0].tolist() == [0, 1, 3, 4, 5]
    assert [len(batch['betas']) for batch in store.batches(loaded, 2)] == [2, 2, 1]


def test_the_same_batch_gives_the_same_bytes(tmp_path) -> None:
    paths = [PseudoGTStore(tmp_path / name).put(0, shard(1, 2)) for name in 'ab']
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_later_batches_can_be_dropped(tmp_path) -> None:
    store = PseudoGTStore(tmp_path)
    for batch in range(4):
        store.put(batch, shard(batch))
    assert store.drop_from(2) == 2
    assert store.load()['sample_idx'].tolist() == [0, 1]


def test_a_broken_shard_is_named(tmp_path) -> None:
    store = PseudoGTStore(tmp_path)
    path = store.put(0, shard(1))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=path.name):
        store.load()


def test_wrong_use_is_refused(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match='no refined fits'):
        PseudoGTStore(tmp_path).load()
    with pytest.raises(ValueError, match='sample_idx'):
        PseudoGTStore(tmp_path).put(0, dict(betas=np.zeros((2, 10))))
    with pytest.raises(ValueError, match='one length'):
        PseudoGTStore(tmp_path).put(0, dict(sample_idx=np.arange(3), betas=np.zeros((2, 10))))
    assert not list(tmp_path.iterdir())
