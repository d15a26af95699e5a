"""Hook that loads checkpoints from any source without running code from them."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmjrr.engine.checkpoint import secure_run
from mmjrr.registry import HOOKS


@HOOKS.register_module()
class SafeCheckpointHook(Hook):
    """Hook that makes a run load its checkpoints without running any code from them.

    It applies to ``load_from``, ``resume``, ``init_cfg`` of models, and the checkpoint that the
    file ``last_checkpoint`` in the work directory names, which must be in that directory.
    ``tools/train.py`` and ``tools/test.py`` add this hook. Configs for MMPose's own tools can name
    it::

        custom_hooks = [dict(type='mmjrr.SafeCheckpointHook')]

    A run with ``resume=True`` that finds no checkpoint begins with the weights that the config's
    ``begin_from`` names. ``tools/train.py --resume`` sets it to the config's ``load_from``.

    Checkpoints that contain objects of unknown classes are refused;
    ``tools/model_converters/rewrite_checkpoint.py`` extracts their weights.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Register the safe reader, and select the latest checkpoint of a resumed run."""
        secure_run(runner)
