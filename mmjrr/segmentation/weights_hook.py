"""Hook that saves only the weights of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmjrr.io import atomic_write
from mmjrr.registry import HOOKS


@HOOKS.register_module()
class SaveWeightsHook(Hook):
    """Hook that writes weights and class names to ``<work_dir>/<filename>`` after training.

    Checkpoints of the Runner also contain the optimizer's state and the history of logs.

    Args:
        filename: Name of the file. Default: ``'weights.pth'``.
    """

    def __init__(self, filename: str = 'weights.pth') -> None:
        self.filename = filename

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Write the file in the main process."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        meta: dict[str, Any] = getattr(runner.train_dataloader.dataset, 'metainfo', {})
        content = {
            'meta': {'dataset_meta': {'classes': tuple(meta.get('classes', ()))}},
            'state_dict': {name: value.cpu() for name, value in model.state_dict().items()},
        }
        path = Path(runner.work_dir) / self.filename
        with atomic_write(path) as temporary:
            torch.save(content, temporary)
        runner.logger.info(f'Wrote the weights to {path}')
