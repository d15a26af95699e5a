"""Refine SMPL fits and learn a joint regressor from them.

    python tools/train.py configs/refinement/contour_100it_h36m.py
    python tools/train.py CONFIG --cfg-options train_dataloader.batch_size=32
    python tools/train.py CONFIG --resume

Accepts the arguments of MMPose's ``tools/train.py``, and any config with a training loop. The exit
status is 3 if a refinement wrote its results but left out bad frames, which the summary lists.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmjrr.cli.config_errors import ConfigError, told_in_a_sentence
from mmjrr.cli.config_options import add_picture_options, add_run_options, enable_pictures
from mmjrr.cli.options import EXPECTED, OptionError, parse, run_command

if TYPE_CHECKING:
    from mmengine.config import Config

#: Exit status of a refinement that wrote its results but left frames out.
INCOMPLETE = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    add_run_options(parser, 'logs, checkpoints and results')
    parser.add_argument(
        '--resume',
        nargs='?',
        type=str,
        const='auto',
        metavar='CHECKPOINT',
        help='resume from CHECKPOINT (default: the latest one in the work directory)',
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision (GPU)')
    parser.add_argument('--no-validate', action='store_true', help='skip validation')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate with the batch size; needs the config's auto_scale_lr",
    )
    add_picture_options(parser, 'batches')


def merge_arguments(cfg: Config, args: argparse.Namespace) -> Config:
    """Apply the command's own options to the config.

    Raises:
        OptionError: An option does not fit the config.
    """
    if args.resume is not None:
        if not cfg.get('resume'):
            cfg.begin_from = cfg.get('load_from')
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        if cfg.optim_wrapper.get('type', 'OptimWrapper') not in ('OptimWrapper', 'AmpOptimWrapper'):
            raise OptionError(f'--amp: not possible with optim_wrapper {cfg.optim_wrapper.type!r}')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if cfg.get('auto_scale_lr') is None:
            raise OptionError(f'--auto-scale-lr: {args.config} has no auto_scale_lr')
        cfg.auto_scale_lr.enable = True
    if args.show or args.show_dir is not None:
        _enable_visualization(cfg, args)
    return cfg


def _enable_visualization(cfg: Config, args: argparse.Namespace) -> None:
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook:  # a config of MMPose that trains a model
        enable_pictures(hook, args, args.show)
        return
    hooks = [
        hook
        for hook in cfg.get('custom_hooks', [])
        if hook.type.rsplit('.', 1)[-1] == 'RefinementVisualizationHook'
    ]
    if not hooks:
        raise OptionError(
            f'--show and --show-dir: {args.config} has neither default_hooks.visualization nor a '
            'RefinementVisualizationHook among its custom_hooks'
        )
    if args.show:
        raise OptionError('--show: refinement draws into files, not windows; use --show-dir')
    hooks[0].update(enable=True, interval=args.interval)
    cfg.visualizer.save_dir = args.show_dir


def run(args: argparse.Namespace) -> int:
    """Run MMEngine's training loop on the config, and return the exit status."""
    from mmjrr.cli.runtime import read_config

    cfg = merge_arguments(read_config(args), args)

    from mmjrr.engine import distribute_on_cpu
    from mmjrr.engine.launch import allow_open_files
    from mmjrr.jobs import leave_process_group
    from mmjrr.refinement.allocator import keep_freed_memory

    keep_freed_memory()
    allow_open_files()
    distribute_on_cpu(cfg)
    status = _train(cfg)
    leave_process_group()
    return status


def _train(cfg: Config) -> int:
    from mmengine.runner import Runner

    from mmjrr.engine import SafeCheckpointHook

    with told_in_a_sentence(cfg):
        runner = Runner.from_cfg(cfg)
        runner.register_hook(SafeCheckpointHook())
        runner.train()
    frames = runner.message_hub.get_info('mmjrr_frames', None)
    return 0 if frames is None or frames['frames'] == frames['frames_expected'] else INCOMPLETE


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(
        run,
        parse(add_arguments, __doc__, argv, prog),
        (*EXPECTED, ConfigError),
        'Interrupted. The same command with --resume continues.',
    )


if __name__ == '__main__':
    sys.exit(main())
