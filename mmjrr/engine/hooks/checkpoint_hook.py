"""Hook that saves checkpoints so that a run killed at any moment can resume."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner

from mmjrr.engine.checkpoint import secure_run
from mmjrr.engine.last_checkpoint import iteration_of, saved_checkpoints
from mmjrr.io import atomic_write, remove_temporary_files
from mmjrr.jobs import WorkDirLock, lock_work_dir, on_main_process
from mmjrr.registry import HOOKS


@HOOKS.register_module()
class ResumableCheckpointHook(Hook):
    """Hook that saves a checkpoint every ``interval`` batches, whole or not at all.

    MMEngine's ``CheckpointHook`` removes older checkpoints first and writes under the final name,
    so a kill during the write leaves no intact checkpoint. This hook writes the checkpoint, and the
    file ``last_checkpoint`` by which ``--resume`` finds it, under temporary names, renames them,
    and removes older checkpoints last. It locks the work directory while a training runs, and loads
    checkpoints as :class:`SafeCheckpointHook` does.

    An ``EpochBasedTrainLoop`` cannot resume inside an epoch. With it, a checkpoint that is due is
    saved at the end of the epoch.

    Args:
        interval: Number of batches from one checkpoint to the next. Default: 10.
        max_keep_ckpts: Number of checkpoints to keep. Default: 1.

    Raises:
        ValueError: An argument is less than 1.
    """

    priority = 'VERY_LOW'

    def __init__(self, interval: int = 10, max_keep_ckpts: int = 1) -> None:
        for name, value in (('interval', interval), ('max_keep_ckpts', max_keep_ckpts)):
            if value < 1:
                raise ValueError(
                    f'ResumableCheckpointHook: {name}: found {value}, expected at least 1'
                )
        self.interval = interval
        self.max_keep_ckpts = max_keep_ckpts
        self._lock_held: WorkDirLock | None = None

    def before_run(self, runner: Runner) -> None:
        """Lock the work directory of a training, and select the checkpoint of a resumed run."""
        if isinstance(runner._train_loop, BaseLoop):
            on_main_process(lambda: self._lock(Path(runner.work_dir)))
        if isinstance(runner._train_loop, EpochBasedTrainLoop):
            print_log(
                'ResumableCheckpointHook: an EpochBasedTrainLoop cannot resume inside an epoch, so '
                'checkpoints are saved at the ends of epochs; for one every '
                f'{self.interval} batches, use train_cfg=dict(by_epoch=False, max_iters=...)',
                logger='current',
                level=logging.WARNING,
            )
        secure_run(runner)

    def after_run(self, runner: Runner) -> None:
        """Unlock the work directory."""
        if self._lock_held is not None:
            self._lock_held.release()
            self._lock_held = None

    def _lock(self, work_dir: Path) -> None:
        """Lock the work directory, and remove temporary files of killed runs."""
        self._lock_held = lock_work_dir(work_dir)
        remove_temporary_files(work_dir)

    def after_train_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint after every ``interval``-th batch and after the last one."""
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            return
        step = runner.iter + 1
        if step % self.interval == 0 or step == runner.max_iters:
            self._save(runner, step)

    def after_train_epoch(self, runner: Runner) -> None:
        """Save a checkpoint of an ``EpochBasedTrainLoop`` if one was due during the epoch."""
        loop = runner.train_loop
        if not isinstance(loop, EpochBasedTrainLoop):
            return
        step, before = runner.iter, runner.iter - len(loop.dataloader)
        if step // self.interval > before // self.interval or step == runner.max_iters:
            self._save(runner, step, by_epoch=True)

    @master_only
    def _save(self, runner: Runner, step: int, by_epoch: bool = False) -> None:
        work_dir = Path(runner.work_dir)
        path = work_dir / f'iter_{step}.pth'
        with atomic_write(path) as temporary:
            runner.save_checkpoint(
                str(work_dir),
                temporary.name,
                save_param_scheduler=bool(runner.param_schedulers),
                by_epoch=by_epoch,
                backend_args=dict(backend='local'),
            )
        with atomic_write(work_dir / 'last_checkpoint') as temporary:
            temporary.write_text(str(path))
        for old in saved_checkpoints(work_dir)[self.max_keep_ckpts :]:
            if iteration_of(old) < step:
                old.unlink()
