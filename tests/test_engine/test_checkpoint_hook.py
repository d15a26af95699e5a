"""Checkpoints are complete or absent, and the newest one is removed last."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.runner import EpochBasedTrainLoop

from mmjrr.engine import ResumableCheckpointHook
from mmjrr.engine.hooks import checkpoint_hook
from mmjrr.jobs import LockedError, WorkDirLock


class Runner:
    """Saves its step; on request the save fails with half of the file written."""

    param_schedulers: list = []

    def __init__(self, work_dir: Path, max_iters: int) -> None:
        self.work_dir = str(work_dir)
        self.max_iters = max_iters
        self.iter = 0
        self.breaks = False

    def save_checkpoint(self, out_dir: str, filename: str, **options) -> None:
        assert options['by_epoch'] is False
        (Path(out_dir) / filename).write_text('half')
        if self.breaks:
            raise OSError('no space left')
        (Path(out_dir) / filename).write_text(f'after {self.iter + 1} batches')

    def run(self, hook: ResumableCheckpointHook, start: int, stop: int) -> None:
        for self.iter in range(start, stop):
            hook.after_train_iter(self, self.iter)


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_newest_is_kept_and_named(tmp_path: Path) -> None:
    runner, hook = Runner(tmp_path, 7), ResumableCheckpointHook(interval=3)
    runner.run(hook, 0, 2)
    assert files(tmp_path) == {}
    runner.run(hook, 2, 5)
    assert files(tmp_path) == {
        'iter_3.pth': 'after 3 batches',
        'last_checkpoint': str(tmp_path / 'iter_3.pth'),
    }
    runner.run(hook, 5, 7)  # the last batch is saved though it is not due
    assert files(tmp_path) == {
        'iter_7.pth': 'after 7 batches',
        'last_checkpoint': str(tmp_path / 'iter_7.pth'),
    }


def test_as_many_as_wanted_are_kept(tmp_path: Path) -> None:
    runner = Runner(tmp_path, 12)
    runner.run(ResumableCheckpointHook(interval=1, max_keep_ckpts=2), 0, 12)
    assert sorted(files(tmp_path)) == ['iter_11.pth', 'iter_12.pth', 'last_checkpoint']


def test_a_save_that_breaks_leaves_the_last_one_whole(tmp_path: Path) -> None:
    runner, hook = Runner(tmp_path, 9), ResumableCheckpointHook(interval=2)
    runner.run(hook, 0, 3)
    before = files(tmp_path)
    runner.breaks = True
    with pytest.raises(OSError, match='no space left'):
        runner.run(hook, 3, 4)
    assert files(tmp_path) == before


def test_later_checkpoints_of_an_earlier_run_do_not_push_out_the_new_one(tmp_path: Path) -> None:
    (tmp_path / 'iter_20.pth').write_text('of an earlier run')
    Runner(tmp_path, 30).run(ResumableCheckpointHook(interval=5), 0, 5)
    assert files(tmp_path)['last_checkpoint'] == str(tmp_path / 'iter_5.pth')
    assert (tmp_path / 'iter_5.pth').is_file()


def test_a_training_locks_its_folder_and_removes_what_a_kill_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_hook, 'secure_run', lambda runner: None)
    leftover, other = tmp_path / '.iter_5.tmp-a1b2c3d4.pth', tmp_path / '.gitignore'
    leftover.write_text('22 MB')
    other.touch()
    runner, hook = Runner(tmp_path, 9), ResumableCheckpointHook()
    runner._train_loop = {}
    hook.before_run(runner)  # a test run
    assert not (tmp_path / 'run.lock').exists() and leftover.exists()
    runner._train_loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    hook.before_run(runner)
    assert (tmp_path / 'run.lock').exists() and not leftover.exists() and other.exists()
    with pytest.raises(LockedError):
        WorkDirLock(tmp_path).acquire()
    hook.after_run(runner)
    assert not (tmp_path / 'run.lock').exists()


@pytest.mark.parametrize('option', ['interval', 'max_keep_ckpts'])
def test_less_than_one_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f'{option}: found 0'):
        ResumableCheckpointHook(**{option: 0})
