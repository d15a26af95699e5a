"""Options that several commands share, and the function that runs a command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from mmjrr.errors import DataError, LockedError
from mmjrr.package_versions import check_package_versions


def add_body_model(
    parser: argparse._ActionsContainer, note: str = '', required: bool = False
) -> None:
    """Add ``--body-model``.

    Args:
        parser: The parser, or a group of its arguments.
        note: What to add to the help, such as the default.
        required: Whether the option is required.
    """
    help_text = f"SMPL file or folder, or 'free_body'{note}"
    parser.add_argument('--body-model', required=required, help=help_text)


def add_joint_order(parser: argparse._ActionsContainer) -> None:
    """Add ``--joint-order``, of regressor files.

    Args:
        parser: The parser, or a group of its arguments.
    """
    from mmjrr.joints import JOINT_ORDERS

    parser.add_argument(
        '--joint-order',
        choices=sorted(JOINT_ORDERS),
        help='row order of regressor files that do not state it',
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
        argv: The arguments. Default: None, which takes them from ``sys.argv``.
        prog: The command's name in messages. Default: None, the script's name.

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
    interrupted: str = 'Interrupted.',
) -> int:
    """Run a command, and print an expected error as one sentence.

    Args:
        run: Function of the command. It returns the exit status, or None for 0.
        args: Its arguments.
        errors: Types of expected errors. Any other error is raised, with its traceback.
        interrupted: Sentence after Ctrl-C, which says how to go on.

    Returns:
        The exit status: 2 after an ``OptionError``, 1 after any other expected error, 130 after
        Ctrl-C.
    """
    try:
        return run(args) or 0
    except errors as error:
        print(f'error: {error}', file=sys.stderr)
        return 2 if isinstance(error, OptionError) else 1
    except KeyboardInterrupt:
        print(f'\n{interrupted}', file=sys.stderr)
        return 130
