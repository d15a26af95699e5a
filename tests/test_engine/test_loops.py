"""The loop goes through the data once, and a resumed one loads only what is left."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch.utils.data import DataLoader, SequentialSampler

from mmjrr.engine import FrameBatchSampler, MomentBatchSampler, RefinementLoop, ResumableSampler


class Numbers:
    """A data set that remembers what was loaded."""

    metainfo = dict(dataset_name='numbers')

    def __init__(self, count: int) -> None:
        self.count = count
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        self.loaded.append(index)
        return index


class Runner:
    """Writes down what a loop asks of a runner."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.visualizer = SimpleNamespace(dataset_meta=None)
        self.model = SimpleNamespace(train=lambda: None, train_step=self.train_step)
        self.optim_wrapper = 'optimizer'
        self.loop: RefinementLoop | None = None
        self.stop_at: int | None = None

    def call_hook(self, name: str, batch_idx=None, data_batch=None, outputs=None) -> None:
        self.calls.append((name, batch_idx, data_batch, outputs))
        if name == 'after_train_iter' and batch_idx == self.stop_at:
            assert self.loop is not None
            self.loop.stop_training = True

    def train_step(self, batch: list[int], optim_wrapper: str) -> int:
        assert optim_wrapper == 'optimizer'
        return sum(batch)

    def batches(self) -> list[list[int]]:
        return [batch for name, _, batch, _ in self.calls if name == 'before_train_iter']


def make(count: int = 10, batch_size: int = 4, **options) -> tuple[Runner, RefinementLoop, Numbers]:
    data = Numbers(count)
    sampler = ResumableSampler(data, shuffle=True, seed=1)
    batches = FrameBatchSampler(sampler, batch_size)
    loader = DataLoader(data, batch_sampler=batches, collate_fn=list)
    runner = Runner()
    runner.loop = RefinementLoop(runner, loader, **options)
    return runner, runner.loop, data


def test_each_sample_is_refined_once_between_the_hooks() -> None:
    runner, loop, _ = make()
    assert (loop.max_iters, loop.max_epochs, loop.iter) == (3, 1, 0)
    assert runner.visualizer.dataset_meta == dict(dataset_name='numbers')
    loop.run()
    assert [len(batch) for batch in runner.batches()] == [4, 4, 2]
    assert sorted(sum(runner.batches(), [])) == list(range(10))
    one = ['before_train_iter', 'after_train_iter']
    assert [call[0] for call in runner.calls] == [
        'before_train', 'before_train_epoch', *one, *one, *one, 'after_train_epoch', 'after_train',
    ]  # fmt: skip
    after = [call for call in runner.calls if call[0] == 'after_train_iter']
    assert [call[1] for call in after] == [0, 1, 2]
    assert all(outputs == sum(batch) for _, _, batch, outputs in after)


@pytest.mark.parametrize('done', [1, 2])
def test_a_resumed_loop_sees_the_rest_and_loads_nothing_else(done: int) -> None:
    whole, loop, _ = make()
    loop.run()
    resumed, loop, data = make()
    loop._iter = done  # what Runner.resume sets
    loop.run()
    assert resumed.batches() == whole.batches()[done:]
    assert data.loaded == sum(resumed.batches(), [])
    assert next(call[1] for call in resumed.calls if call[1] is not None) == done


def test_a_finished_loop_only_lets_the_hooks_finish() -> None:
    runner, loop, data = make()
    loop._iter = 3
    loop.run()
    assert not data.loaded
    assert [call[0] for call in runner.calls] == [
        'before_train', 'before_train_epoch', 'after_train_epoch', 'after_train',
    ]  # fmt: skip


@pytest.mark.parametrize(('max_batches', 'expected'), [(1, 1), (2, 2), (99, 3)])
def test_a_trial_stops_early(max_batches: int, expected: int) -> None:
    runner, loop, _ = make(max_batches=max_batches)
    loop.run()
    assert loop.max_iters == loop.iter == len(runner.batches()) == expected


def test_a_hook_can_stop_the_loop() -> None:
    runner, loop, _ = make()
    runner.stop_at = 1
    loop.run()
    assert len(runner.batches()) == 2
    assert runner.calls[-1][0] == 'after_train'


def test_other_samplers_are_refused() -> None:
    data = Numbers(3)
    loader = DataLoader(data, sampler=SequentialSampler(data))
    with pytest.raises(ValueError, match='SequentialSampler, expected ResumableSampler'):
        RefinementLoop(Runner(), loader)
    for batch_size in (2, None):
        with pytest.raises(ValueError, match='expected FrameBatchSampler or MomentBatchSampler'):
            RefinementLoop(
                Runner(), DataLoader(data, batch_size=batch_size, sampler=ResumableSampler(data))
            )


def test_a_process_without_a_part_of_the_last_batch_calls_the_hooks_with_an_empty_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    for rank in range(3):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 3))
        monkeypatch.setattr('mmjrr.engine.loops.get_rank', lambda rank=rank: rank)
        runner, loop, _ = make(count=10, batch_size=4)
        loop.trains_model = False
        loop.run()
        assert loop.max_iters == loop.iter == 3
        seen.append(runner.batches())
    assert {'inputs': {}, 'data_samples': []} in [batches[-1] for batches in seen]
    frames = [
        frame for batches in seen for batch in batches if type(batch) is list for frame in batch
    ]
    assert sorted(frames) == list(range(10))


@pytest.mark.parametrize('max_batches', [0, -1])
def test_a_trial_of_no_batches_is_refused(max_batches: int) -> None:
    with pytest.raises(ValueError, match='max_batches'):
        make(max_batches=max_batches)


def test_a_resumed_loop_over_moments_loads_only_the_rest() -> None:
    def run(done: int) -> tuple[Runner, Numbers]:
        data = Numbers(10)
        data.moments = lambda: [index // 2 for index in range(10)]  # type: ignore[attr-defined]
        batches = MomentBatchSampler(ResumableSampler(data, seed=1), batch_size=5)
        runner = Runner()
        loader = DataLoader(data, batch_sampler=batches, collate_fn=list)
        runner.loop = RefinementLoop(runner, loader)
        assert runner.loop.max_iters == 3
        runner.loop._iter = done
        runner.loop.run()
        return runner, data

    whole, _ = run(0)
    resumed, data = run(1)
    assert [len(batch) for batch in whole.batches()] == [4, 4, 2]
    assert resumed.batches() == whole.batches()[1:]
    assert data.loaded == sum(resumed.batches(), [])


def test_a_model_that_no_term_needs_takes_no_step() -> None:
    runner, loop, _ = make()
    loop.trains_model = False
    runner.model.train_step = None  # type: ignore[assignment]
    loop.run()
    assert sorted(sum(runner.batches(), [])) == list(range(10))
    after = [call for call in runner.calls if call[0] == 'after_train_iter']
    assert [outputs for _, _, _, outputs in after] == [{}] * 3
