"""Checkpoints are complete or absent, and the newest one is removed last."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import EpochBasedTrainLoop
from mmengine.runner import Runner as MMEngineRunner

from mmjrr.engine import ResumableCheckpointHook
from mmjrr.engine.checkpoint import load_from_local
from mmjrr.engine.hooks import checkpoint_hook
from mmjrr.jobs import LockedError, WorkDirLock


class Runner:
    """Saves its step; on request the save fails with half of the file written."""

    param_schedulers: list = []
    train_loop = None

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


def test_files_of_other_names_are_left_alone(tmp_path: Path) -> None:
    others = ('iter_1_backup.pth', 'iter_best.pth', 'iter_1².pth', 'epoch_1.pth')
    for name in others:
        (tmp_path / name).write_text('of the user')
    Runner(tmp_path, 4).run(ResumableCheckpointHook(interval=1), 0, 4)
    assert sorted(files(tmp_path)) == sorted([*others, 'iter_4.pth', 'last_checkpoint'])


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


# ---------------------------------------------------------------------- loops of MMEngine


class Toy(BaseModel):
    """A linear layer, trained on numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, inputs: list[torch.Tensor], mode: str = 'tensor') -> Any:
        return dict(loss=self.layer(torch.stack(inputs)).square().mean())


def runner(work_dir: Path, train_cfg: dict, resume: bool = False) -> Any:
    """A training on four batches."""
    torch.manual_seed(1)
    return MMEngineRunner(
        model=Toy(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=[dict(inputs=row) for row in torch.randn(4, 2)],
            batch_size=1,
            sampler=dict(type='DefaultSampler', shuffle=True, seed=0),
        ),
        train_cfg=train_cfg,
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
        param_scheduler=dict(type='StepLR', step_size=1, by_epoch=train_cfg['by_epoch']),
        default_hooks=dict(
            checkpoint=dict(type='mmjrr.ResumableCheckpointHook', interval=5), logger=None
        ),
        experiment_name=f'toy_{os.urandom(8).hex()}',
        resume=resume,
        log_level='ERROR',
    )


def assert_final(work_dir: Path, trained: Any, name: str) -> None:
    """The one checkpoint has the weights and the state at the end of the training."""
    assert [path.name for path in work_dir.glob('*.pth')] == [name]
    content = load_from_local(str(work_dir / name))
    for key, value in trained.model.state_dict().items():
        assert torch.equal(content['state_dict'][key], value), key
    assert (content['meta']['iter'], content['meta']['epoch']) == (trained.iter, trained.epoch)
    (scheduler,) = content['param_schedulers']
    assert scheduler['last_step'] == trained.param_schedulers[0].last_step


@pytest.mark.parametrize(
    ('train_cfg', 'name'),
    [
        (dict(by_epoch=True, max_epochs=3), 'iter_12.pth'),
        (dict(by_epoch=False, max_iters=7), 'iter_7.pth'),
    ],
)
def test_the_last_checkpoint_has_the_final_weights(
    tmp_path: Path, train_cfg: dict, name: str
) -> None:
    run = runner(tmp_path, train_cfg)
    run.train()
    assert_final(tmp_path, run, name)


def test_a_training_in_epochs_resumes_at_the_end_of_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints are due after batches 5, 10 and 15 of four epochs of four batches."""
    warnings: list[str] = []
    monkeypatch.setattr(checkpoint_hook, 'print_log', lambda text, **_: warnings.append(text))
    whole = runner(tmp_path / 'whole', dict(by_epoch=True, max_epochs=4))
    whole.train()
    assert len(warnings) == 1 and 'cannot resume inside an epoch' in warnings[0]

    class Killed(Exception):
        pass

    def kill(self: Toy, *arguments: Any, **options: Any) -> Any:
        if killed.iter == 10:
            raise Killed
        return forward(self, *arguments, **options)

    forward = Toy.forward
    killed = runner(tmp_path / 'killed', dict(by_epoch=True, max_epochs=4))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Toy, 'forward', kill)
        killed.train()
    assert [path.name for path in (tmp_path / 'killed').glob('*.pth')] == ['iter_8.pth']
    for hook in killed.hooks:
        hook.after_run(killed)
    resumed = runner(tmp_path / 'killed', dict(by_epoch=True, max_epochs=4), resume=True)
    resumed.train()
    assert (resumed.iter, resumed.epoch) == (whole.iter, whole.epoch) == (16, 4)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value), key
    assert_final(tmp_path / 'killed', resumed, 'iter_16.pth')
    # A finished training has nothing left to do.
    again = runner(tmp_path / 'killed', dict(by_epoch=True, max_epochs=4), resume=True)
    again.train()
    assert again.iter == 16
