"""Options of the commands that read a config."""

from __future__ import annotations

import argparse
from typing import Any

from mmjrr.cli.shipped import config_file

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


def add_run_options(
    parser: argparse.ArgumentParser,
    results: str,
    checkpoint: str = '',
    config: str = 'config file',
) -> None:
    """Add the config, ``--work-dir``, ``--cfg-options`` and the launcher's options.

    Args:
        parser: The parser.
        results: What is written into the work directory.
        checkpoint: Help of the argument ``checkpoint``. Default: the command has no such argument.
        config: Help of the argument ``config``. Default: ``'config file'``.
    """
    parser.add_argument('config', type=config_file, help=config)
    if checkpoint:
        parser.add_argument('checkpoint', nargs='?', help=checkpoint)
    parser.add_argument('--work-dir', help=f'folder for {results} (default: work_dirs/<config>)')
    add_config_options(parser)
    add_launcher_options(parser)


def add_dataset_options(
    parser: argparse.ArgumentParser,
    checkpoint: str,
    out: str,
    batch_size: str = "the config's",
    config: str = 'config file',
) -> None:
    """Add the options of a resumable job over the images of the config's ``test_dataloader``.

    Args:
        parser: The parser.
        checkpoint: Help of the argument ``checkpoint``.
        out: Help of ``--out``.
        batch_size: The default of ``--batch-size``, in words.
        config: As in :func:`add_run_options`.
    """
    add_run_options(parser, 'unfinished results', checkpoint, config)
    parser.add_argument('--out', help=out)
    parser.add_argument(
        '--batch-size',
        type=int,
        help=f'images per batch (default: {batch_size})',
    )
    parser.add_argument(
        '--skip-unreadable',
        action='store_true',
        help='skip, count and list images that cannot be read, instead of stopping',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='start again and replace earlier results'
    )


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


def enable_pictures(hook: Any, args: argparse.Namespace, show: bool) -> None:
    """Set up MMPose's ``PoseVisualizationHook`` by the options of :func:`add_picture_options`.

    Args:
        hook: The hook's config.
        args: The options.
        show: Whether the hook shows windows.
    """
    hook.update(enable=True, show=show, interval=args.interval)
    if args.show:
        hook.wait_time = args.wait_time
    if args.show_dir is not None:
        hook.out_dir = args.show_dir
