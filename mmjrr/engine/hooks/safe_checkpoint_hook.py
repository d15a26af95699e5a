"""Checkpoints of strangers run nothing."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmjrr.engine.checkpoint import secure_run
from mmjrr.registry import HOOKS


@HOOKS.register_module()
class SafeCheckpointHook(Hook):
    """Has a run load its checkpoints without running anything in them.

    That covers ``load_from``, ``resume``, ``init_cfg`` of models, and what ``last_checkpoint`` in
    the work directory names, which must lie in that directory. ``tools/train.py`` and
    ``tools/test.py`` add this hook. Configs for MMPose's own tools may name it::

        custom_hooks = [dict(type='mmjrr.SafeCheckpointHook')]

    Checkpoints that hold objects of unknown classes are refused;
    ``tools/model_converters/rewrite_checkpoint.py`` takes their weights out.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Register the reader; find the latest checkpoint of a resumed run."""
        secure_run(runner)
