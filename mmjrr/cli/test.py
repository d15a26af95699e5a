"""Evaluate a config's model, or its stored predictions, with any joint regressors.

    python tools/test.py configs/evaluation/stored-spin_h36m.py
    python tools/test.py CONFIG CHECKPOINT --out result.json --dump predictions.pkl
    tools/dist_test.sh CONFIG CHECKPOINT 4

Accepts the arguments of MMPose's ``tools/test.py``. For models without weights, such as
``StoredPredictions``, omit the checkpoint or give ``none``.
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    add_run_options(parser, 'logs and results', "file of the weights; 'none' for none")
    parser.add_argument('--out', help='JSON file to write the metrics to')
    parser.add_argument('--dump', help='pickle file to write the predictions to')
    parser.add_argument(
        '--badcase', action='store_true', help="enable the config's default_hooks.badcase"
    )
    add_picture_options(parser, 'samples')


def merge_arguments(cfg: Config, args: argparse.Namespace) -> Config:
    """Apply the command's own options to the config.

    Raises:
        OptionError: An option does not fit the config.
    """
    if args.checkpoint not in (None, 'none'):
        cfg.load_from = args.checkpoint
    if (args.show and not args.badcase) or args.show_dir is not None:
        _enable_visualization(cfg, args)
    if args.badcase:
        _enable_badcase(cfg, args)
    if args.dump is not None:
        if not args.dump.endswith(('.pkl', '.pickle')):
            raise OptionError(f'--dump: found {args.dump!r}, expected a file ending in .pkl')
        evaluators = cfg.test_evaluator
        if not isinstance(evaluators, (list, tuple)):
            evaluators = [evaluators]
        # First, so that a metric that fails at the end leaves the predictions.
        dump = dict(type='mmengine.DumpResults', out_file_path=args.dump)
        cfg.test_evaluator = [dump, *evaluators]
    _check_outputs(cfg, args)
    return cfg


def _check_outputs(cfg: Config, args: argparse.Namespace) -> None:
    """Check that the files of the results can be written.

    Raises:
        OptionError: One cannot.
    """
    from mmjrr.io.paths import check_writable

    evaluators = cfg.get('test_evaluator') or []
    if not isinstance(evaluators, (list, tuple)):
        evaluators = [evaluators]
    outputs = [('--out', args.out), ('--dump', args.dump)]
    outputs += [('test_evaluator.out_file', one.get('out_file')) for one in evaluators]
    for option, path in outputs:
        if isinstance(path, str):
            try:
                check_writable(path, option)
            except ValueError as error:
                raise OptionError(str(error)) from error


def _enable_visualization(cfg: Config, args: argparse.Namespace) -> None:
    hook = cfg.get('default_hooks', {}).get('visualization')
    if not hook:
        raise OptionError(
            f'--show and --show-dir: {args.config} has no default_hooks.visualization to enable'
        )
    enable_pictures(hook, args, args.show and not args.badcase)


def _enable_badcase(cfg: Config, args: argparse.Namespace) -> None:
    """Enable MMPose's ``BadCaseAnalysisHook``; the config must have it as ``badcase``."""
    hook = cfg.get('default_hooks', {}).get('badcase')
    if not hook:
        raise OptionError(f'--badcase: {args.config} has no default_hooks.badcase to enable')
    hook.update(enable=True, show=args.show, interval=args.interval)
    if args.show:
        hook.wait_time = args.wait_time
    if not hook.get('metric'):
        by_loss = hook.get('metric_type', 'loss') == 'loss'
        hook.metric = cfg.model.head.loss if by_loss else cfg.test_evaluator


def _let_the_model_load(cfg: Config) -> None:
    """Let SPIN, VIBE and MEVA load the checkpoint: their loader is strict and runs no code."""
    from mmjrr.models import MeshEstimator
    from mmjrr.registry import MODELS

    kind = MODELS.get(cfg.model.type)
    if isinstance(kind, type) and issubclass(kind, MeshEstimator) and cfg.get('load_from'):
        cfg.model.checkpoint, cfg.load_from = cfg.load_from, None


def run(args: argparse.Namespace) -> None:
    """Run MMEngine's test loop on the config."""
    from mmjrr.cli.runtime import read_config

    cfg = merge_arguments(read_config(args), args)

    from mmjrr.engine import distribute_on_cpu
    from mmjrr.jobs import leave_process_group

    _let_the_model_load(cfg)
    distribute_on_cpu(cfg)
    _test(cfg, args.out)
    leave_process_group()


def _test(cfg: Config, out: str | None) -> None:
    from mmengine.runner import Runner

    from mmjrr.engine import SafeCheckpointHook, SaveMetricsHook

    with told_in_a_sentence(cfg):
        runner = Runner.from_cfg(cfg)
        runner.register_hook(SafeCheckpointHook())
        if out is not None:
            runner.register_hook(SaveMetricsHook(out), 'LOWEST')
        runner.test()


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv, prog), (*EXPECTED, ConfigError))


if __name__ == '__main__':
    sys.exit(main())
