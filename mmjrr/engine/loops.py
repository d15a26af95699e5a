"""Training loop of refinement, which visits every sample once and can resume at any batch."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.runner import BaseLoop, Runner
from torch import Tensor, distributed
from torch.nn import Module
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from mmjrr.registry import LOOPS

from .samplers import batch_sampler_of, batches_of_process, skip_batches


@LOOPS.register_module()
class RefinementLoop(BaseLoop):
    """Training loop that visits every sample once; an iteration is a batch.

    In contrast to ``IterBasedTrainLoop``, the number of iterations follows from the data, and a
    resumed run does not load the batches that are done.

    Args:
        runner: The runner.
        dataloader: Dataloader or its config. Its sampler must be a ``ResumableSampler``, its batch
            sampler a ``FrameBatchSampler``, which a config need not name, or a
            ``MomentBatchSampler``. Its ``batch_size`` is that of all processes together.
        max_batches: Number of batches after which to stop, for a trial. Default: None, all.

    Raises:
        ValueError: A sampler is of another type, or the batch size or ``max_batches`` is wrong.
    """

    #: Whether the runner's model takes a step after the batch. ``SMPLPseudoGTHook`` clears it if no
    #: term needs the discriminators, or no frame of the batch could be refined.
    trains_model: bool = True

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader[Any] | dict[str, Any],
        max_batches: int | None = None,
    ) -> None:
        if isinstance(dataloader, dict):
            dataloader = {'batch_sampler': dict(type='mmjrr.FrameBatchSampler'), **dataloader}
        super().__init__(runner, dataloader)
        batch_sampler_of(self.dataloader)  # refuses other samplers
        if max_batches is not None and max_batches < 1:
            raise ValueError(
                f'RefinementLoop: max_batches: found {max_batches}, expected at least 1'
            )
        self._max_iters = len(self.dataloader)
        if max_batches is not None:
            self._max_iters = min(self._max_iters, int(max_batches))
        self._iter = 0
        self._epoch = 0
        self.stop_training = False
        self.runner.visualizer.dataset_meta = getattr(self.dataloader.dataset, 'metainfo', None)

    @property
    def max_iters(self) -> int:
        """Number of batches of the run."""
        return self._max_iters

    @property
    def max_epochs(self) -> int:
        """Number of passes over the data, which is 1."""
        return 1

    @property
    def iter(self) -> int:
        """Number of batches done."""
        return self._iter

    @property
    def epoch(self) -> int:
        """Number of completed passes over the data, which is 0 during the run."""
        return self._epoch

    def run(self) -> Module:
        """Process the remaining batches, call the hooks after them, and return the model."""
        runner = self.runner
        if isinstance(runner.model, DistributedDataParallel):
            # A lambda, since DDP compares annotations, which are strings in this module.
            runner.model.register_comm_hook(None, lambda _, bucket: _of_main_process(bucket))
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        skip_batches(self.dataloader, self._iter)
        parts = batches_of_process(self.dataloader, get_rank())[: self._max_iters]
        batches = iter(self.dataloader) if any(parts[self._iter :]) else iter(())
        while self._iter < self._max_iters and not self.stop_training:
            # A process whose part of a batch is empty calls the hooks like the others.
            data_batch = next(batches) if parts[self._iter] else {'inputs': {}, 'data_samples': []}
            runner.model.train()
            runner.call_hook('before_train_iter', batch_idx=self._iter, data_batch=data_batch)
            outputs = {}
            if self.trains_model:
                outputs = runner.model.train_step(data_batch, optim_wrapper=runner.optim_wrapper)
            runner.call_hook(
                'after_train_iter', batch_idx=self._iter, data_batch=data_batch, outputs=outputs
            )
            self._iter += 1
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        return runner.model


def _of_main_process(bucket: distributed.GradBucket) -> torch.futures.Future[Tensor]:
    """Take the main process's gradients in place of the mean of all.

    All processes train the discriminators on the same fits and have the same gradients. Their mean
    over three processes has other last digits.
    """
    sent = distributed.broadcast(bucket.buffer(), 0, async_op=True)
    return sent.get_future().then(lambda future: future.value()[0])
