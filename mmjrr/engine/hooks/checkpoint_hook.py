"""Checkpoints that survive a kill at any moment."""

from __future__ import annotations

from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmjrr.engine.checkpoint import secure_run
from mmjrr.io import atomic_write
from mmjrr.registry import HOOKS


@HOOKS.register_module()
class ResumableCheckpointHook(Hook):
    """Saves a checkpoint every ``interval`` batches, whole or not at all.

    MMEngine's ``CheckpointHook`` writes under the final name and removes older checkpoints first;
    a kill in between leaves a truncated file. Here the checkpoint and the file ``last_checkpoint``
    (by which ``--resume`` finds it) are each written beside and renamed, and older checkpoints go
    last. Checkpoints are loaded as :class:`SafeCheckpointHook` has it.

    Args:
        interval: Batches between checkpoints. Defaults to 10.
        max_keep_ckpts: Checkpoints to keep. Defaults to 1.
    """

    priority = 'VERY_LOW'

    def __init__(self, interval: int = 10, max_keep_ckpts: int = 1) -> None:
        for name, value in (('interval', interval), ('max_keep_ckpts', max_keep_ckpts)):
            if value < 1:
                raise ValueError(f'ResumableCheckpointHook: {name}={value}, expected at least 1')
        self.interval = interval
        self.max_keep_ckpts = max_keep_ckpts

    def before_run(self, runner: Runner) -> None:
        """Register the reader of checkpoints; find the latest one of a resumed run."""
        secure_run(runner)

    def after_train_iter(self, runner: Runner, batch_idx: int, *args, **kwargs) -> None:
        """Save when due, and after the last batch."""
        if self.every_n_train_iters(runner, self.interval) or batch_idx + 1 == runner.max_iters:
            self._save(runner, batch_idx + 1)

    @master_only
    def _save(self, runner: Runner, step: int) -> None:
        work_dir = Path(runner.work_dir)
        path = work_dir / f'iter_{step}.pth'
        with atomic_write(path) as temporary:
            runner.save_checkpoint(
                str(work_dir),
                temporary.name,
                save_param_scheduler=bool(runner.param_schedulers),
                by_epoch=False,
                backend_args=dict(backend='local'),
            )
        with atomic_write(work_dir / 'last_checkpoint') as temporary:
            temporary.write_text(str(path))
        saved = sorted(work_dir.glob('iter_*.pth'), key=lambda p: int(p.stem.split('_')[1]))
        for old in saved[: -self.max_keep_ckpts]:
            if int(old.stem.split('_')[1]) < step:
                old.unlink()
