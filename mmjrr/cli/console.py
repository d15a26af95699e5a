"""The terminal of the demo: plain lines, while MMEngine's descriptions go to the log file only."""

from __future__ import annotations

import io
import logging
import sys
import textwrap
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from mmengine.hooks import Hook
from mmengine.logging import MMLogger

from mmjrr.jobs import Progress

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

#: Beginnings of messages of MMEngine on which a user cannot act.
_NOT_FOR_USERS = (
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    'Did not find last_checkpoint',
)


def build_runner(cfg: Config) -> Runner:
    """Build a runner whose terminal has plain lines only; its log file has everything.

    MMEngine describes the environment, the config and the hooks there, and each iteration.
    """
    from mmengine.runner import Runner

    with redirect_stdout(io.StringIO()):  # the handler of the terminal keeps this stream
        runner = Runner.from_cfg(cfg)
    write_plainly(runner.logger)
    runner.register_hook(_ProgressHook())
    return runner


def write_plainly(logger: MMLogger) -> None:
    """Let a logger write plain lines to the terminal, without MMEngine's own messages."""
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(
            handler, logging.FileHandler
        ):
            handler.setStream(sys.stdout)
            handler.setFormatter(_PlainFormatter())
            handler.addFilter(_is_for_users)


class _PlainFormatter(logging.Formatter):
    """A message, with its level if it is a warning or an error."""

    def format(self, record: logging.LogRecord) -> str:
        level = '' if record.levelno < logging.WARNING else f'{record.levelname.lower()}: '
        return textwrap.indent(f'{level}{record.getMessage()}', '  ')


def _is_for_users(record: logging.LogRecord) -> bool:
    if record.getMessage().startswith(_NOT_FOR_USERS):
        return False
    # print_log, through which components of every package write, is in mmengine.logging.
    described = '/mmengine/' in record.pathname and '/mmengine/logging/' not in record.pathname
    return record.levelno >= logging.WARNING or not described


class _ProgressHook(Hook):
    """A display of the batches of a training loop, in place of MMEngine's lines."""

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._first = 0

    def after_train_iter(self, runner: Runner, batch_idx: int, *_: Any, **__: Any) -> None:
        """Show how many batches are done."""
        if self._progress is None:
            self._progress = Progress(runner.max_iters - batch_idx, 'batches')
            self._first = batch_idx
        self._progress(batch_idx - self._first + 1)

    def after_train(self, runner: Runner) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.close()
