"""Chance in a training as a function of the iteration, so that a resumed one ends the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner, set_random_seed

from mmjrr.registry import HOOKS


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seeds Python, NumPy and PyTorch with the run's seed and the iteration, before each.

    MMEngine goes through the data again on resume, which brings the loader's workers to where they
    were, but the main process, which draws proposals, would start at another place.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        sequence = np.random.SeedSequence([runner.seed, get_rank(), runner.iter])
        set_random_seed(int(sequence.generate_state(1)[0]))
