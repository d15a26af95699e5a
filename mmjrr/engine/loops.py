"""The training loop of refinement: every sample once, resumable at every batch."""

from __future__ import annotations

from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from mmjrr.registry import LOOPS

from .samplers import ResumableSampler


@LOOPS.register_module()
class RefinementLoop(BaseLoop):
    """Goes through the training data once; an iteration is a batch.

    It differs from ``IterBasedTrainLoop`` in that the number of iterations follows from the data,
    and that a resumed run starts at its batch without loading the earlier ones.

    Args:
        runner: The runner.
        dataloader: A dataloader or its config. Its sampler is a ``ResumableSampler``.
        max_batches: Stop after so many batches, for a trial. ``None`` is all.
    """

    def __init__(
        self, runner: Runner, dataloader: DataLoader | dict, max_batches: int | None = None
    ) -> None:
        super().__init__(runner, dataloader)
        if not isinstance(self.dataloader.sampler, ResumableSampler):
            raise ValueError(
                'RefinementLoop: train_dataloader.sampler is '
                f'{type(self.dataloader.sampler).__name__}, expected ResumableSampler'
            )
        if self.dataloader.batch_size is None:
            raise ValueError('RefinementLoop: train_dataloader needs a batch_size')
        if max_batches is not None and max_batches < 1:
            raise ValueError(f'RefinementLoop: max_batches={max_batches}, expected at least 1')
        self._max_iters = len(self.dataloader)
        if max_batches is not None:
            self._max_iters = min(self._max_iters, int(max_batches))
        self._iter = 0
        self._epoch = 0
        self.stop_training = False
        self.runner.visualizer.dataset_meta = getattr(self.dataloader.dataset, 'metainfo', None)

    @property
    def max_iters(self) -> int:
        """Batches in all."""
        return self._max_iters

    @property
    def max_epochs(self) -> int:
        """The data are gone through once."""
        return 1

    @property
    def iter(self) -> int:
        """Batches done."""
        return self._iter

    @property
    def epoch(self) -> int:
        """Rounds through the data done."""
        return self._epoch

    def run(self):
        """Refine what is left, then let the hooks finish."""
        runner = self.runner
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        self.dataloader.sampler.skip = self._iter * self.dataloader.batch_size
        batches = iter(self.dataloader) if self._iter < self._max_iters else iter(())
        for data_batch in batches:
            if self._iter >= self._max_iters or self.stop_training:
                break
            runner.model.train()
            runner.call_hook('before_train_iter', batch_idx=self._iter, data_batch=data_batch)
            outputs = runner.model.train_step(data_batch, optim_wrapper=runner.optim_wrapper)
            runner.call_hook(
                'after_train_iter', batch_idx=self._iter, data_batch=data_batch, outputs=outputs
            )
            self._iter += 1
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        return runner.model
