"""Hook that seeds each iteration, so that a resumed training gives the same result."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner, set_random_seed

from mmjrr.registry import HOOKS


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Hook that seeds Python, NumPy and PyTorch before each iteration.

    The seed depends on the run's seed, the process and the iteration. When a run resumes, MMEngine
    iterates over the skipped data, which restores the random state of the loader's workers, but not
    that of the main process, which samples proposals.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed all random generators."""
        sequence = np.random.SeedSequence([runner.seed, get_rank(), runner.iter])
        set_random_seed(int(sequence.generate_state(1)[0]))
