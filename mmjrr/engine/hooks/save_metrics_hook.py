"""Hook that saves the metrics of a test run."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmjrr.io import write_json
from mmjrr.io.json_files import json_number
from mmjrr.registry import HOOKS


@HOOKS.register_module()
class SaveMetricsHook(Hook):
    """Hook that writes the metrics of a test run to a JSON file.

    A metric that is not finite, such as that of a protocol without predictions, is ``null``.

    Args:
        path: The JSON file.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the file in the main process."""
        if metrics is not None and runner.rank == 0:
            write_json(self.path, {name: json_number(value) for name, value in metrics.items()})
