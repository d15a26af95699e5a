"""Seeding by iteration, with which a resumed training ends the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner, set_random_seed

from mmjrr.registry import HOOKS


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seeds Python, NumPy and PyTorch with the run's seed and the iteration, before each iteration.

    On resume MMEngine iterates over the skipped data, which restores the random state of the
    loader's workers, but not that of the main process, which samples proposals.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed all random generators."""
        sequence = np.random.SeedSequence([runner.seed, get_rank(), runner.iter])
        set_random_seed(int(sequence.generate_state(1)[0]))
