"""Options that several commands share, and the function that runs a command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from mmjrr.errors import DataError, LockedError
from mmjrr.package_versions import check_package_versions

#: How MMEngine starts the processes of a distributed run.
LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


class ConfigOptions(argparse.Action):
    """MMEngine's ``DictAction``, imported only when the option is given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add KEY=VALUE pairs to the namespace."""
        from mmengine.config import DictAction

        action = DictAction(self.option_strings, self.dest, nargs='+')
        action(parser, namespace, values, option_string)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='override settings of the config; lists as key="[a,b]" or key=a,b',
    )


def add_launcher_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher`` and the rank that launchers pass."""
    parser.add_argument(
        '--launcher',
        choices=LAUNCHERS,
        default='none',
        help='how the processes of a distributed run are started',
    )
    # torch.distributed.launch passes it as --local-rank, older versions as --local_rank.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_picture_options(parser: argparse.ArgumentParser, unit: str) -> None:
    """Add MMPose's options for pictures of a run.

    Args:
        parser: The parser.
        unit: Unit of ``--interval``, in the plural: ``'samples'`` or ``'batches'``.
    """
    parser.add_argument('--show-dir', help='folder for pictures')
    parser.add_argument('--show', action='store_true', help='show pictures in a window')
    parser.add_argument(
        '--interval', type=int, default=1, help=f'{unit} from picture to picture (default: 1)'
    )
    parser.add_argument(
        '--wait-time', type=float, default=1, help='seconds to show a picture (default: 1)'
    )


def parse(
    add_arguments: Callable[[argparse.ArgumentParser], None],
    description: str | None,
    argv: Sequence[str] | None = None,
    prog: str | None = None,
) -> argparse.Namespace:
    """Parse the arguments of a command.

    Args:
        add_arguments: Function that defines the arguments.
        description: Description of the command, shown without reformatting.
        argv: The arguments. Defaults to None, which takes them from ``sys.argv``.
        prog: The command's name in messages. Defaults to None, the script's name.

    Raises:
        SystemExit: The arguments are wrong, or the installed PyTorch and NumPy do not work
            together.
    """
    parser = argparse.ArgumentParser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        check_package_versions()
    except ImportError as error:
        parser.exit(1, f'error: {error}\n')
    if hasattr(args, 'local_rank'):
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


class OptionError(ValueError):
    """An option that does not fit the config or the other options."""


#: Errors that a command prints as one sentence, even if the model is from another package.
EXPECTED = (DataError, LockedError, OptionError, FileNotFoundError, FileExistsError)


def run_command(
    run: Callable[[argparse.Namespace], int | None],
    args: argparse.Namespace,
    errors: tuple[type[Exception], ...] = (*EXPECTED, ImportError, OSError, ValueError),
) -> int:
    """Run a command, and print an expected error as one sentence.

    Args:
        run: Function of the command. It returns the exit status, or None for 0.
        args: Its arguments.
        errors: Types of expected errors. Any other error is raised, with its traceback.

    Returns:
        The exit status: 2 after an ``OptionError``, 1 after any other expected error.
    """
    try:
        return run(args) or 0
    except errors as error:
        print(f'error: {error}', file=sys.stderr)
        return 2 if isinstance(error, OptionError) else 1
