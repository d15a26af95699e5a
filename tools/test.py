"""Evaluate a model, or stored predictions, with any joint regressors.

    python tools/test.py configs/evaluation/stored-spin_h36m.py
    python tools/test.py CONFIG CHECKPOINT --out result.json --dump predictions.pkl
    tools/dist_test.sh CONFIG CHECKPOINT 4

Takes what MMPose's ``tools/test.py`` takes. The checkpoint may be left out, or be ``none``, for
models that need none (``StoredPredictions``).
"""

from __future__ import annotations

import argparse
import json
import os
import os.path as osp

from mmengine.config import Config, DictAction
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmjrr.engine import SafeCheckpointHook, distribute_on_cpu
from mmjrr.io import atomic_write
from mmjrr.models import MeshEstimator
from mmjrr.registry import MODELS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate with any joint regressors')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help="checkpoint; 'none' where none is needed")
    parser.add_argument('--work-dir', help='folder for logs and results')
    parser.add_argument('--out', help='JSON file to write the metrics to')
    parser.add_argument('--dump', help='pickle file to write the predictions to')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value; lists as key="[a,b]" or key=a,b',
    )
    parser.add_argument('--show-dir', help='folder for pictures of predictions')
    parser.add_argument('--show', action='store_true', help='show pictures of predictions')
    parser.add_argument('--interval', type=int, default=1, help='a picture every so many samples')
    parser.add_argument('--wait-time', type=float, default=1, help='seconds to show a picture')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of a distributed run are started',
    )
    parser.add_argument('--badcase', action='store_true', help='analyse the worst predictions')
    # torch.distributed.launch passes it as --local-rank, older versions as --local_rank.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """The command line over the config."""
    if args.cfg_options:  # first: --dump makes a list of the evaluator
        cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    if args.checkpoint not in (None, 'none'):
        cfg.load_from = args.checkpoint
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    if (args.show and not args.badcase) or args.show_dir is not None:
        _enable_visualization(cfg, args)
    if args.badcase:
        _enable_badcase(cfg, args)
    if args.dump is not None:
        if not args.dump.endswith(('.pkl', '.pickle')):
            raise SystemExit(f'--dump: found {args.dump!r}, expected a file ending in .pkl')
        evaluators = cfg.test_evaluator
        if not isinstance(evaluators, (list, tuple)):
            evaluators = [evaluators]
        dump = dict(type='mmengine.DumpResults', out_file_path=args.dump)
        cfg.test_evaluator = [*evaluators, dump]
    return cfg


def _enable_visualization(cfg: Config, args: argparse.Namespace) -> None:
    hook = cfg.get('default_hooks', {}).get('visualization')
    if not hook:
        raise SystemExit(
            f'--show and --show-dir: {args.config} has no default_hooks.visualization to switch on'
        )
    hook.enable = True
    hook.interval = args.interval
    hook.show = args.show and not args.badcase
    if args.show:
        hook.wait_time = args.wait_time
    if args.show_dir is not None:
        hook.out_dir = args.show_dir


def _enable_badcase(cfg: Config, args: argparse.Namespace) -> None:
    """MMPose's hook of that name, where the config has it."""
    hook = cfg.get('default_hooks', {}).get('badcase')
    if not hook:
        raise SystemExit(f'--badcase: {args.config} has no default_hooks.badcase to switch on')
    hook.update(enable=True, show=args.show, interval=args.interval)
    if args.show:
        hook.wait_time = args.wait_time
    if not hook.get('metric'):
        by_loss = hook.get('metric_type', 'loss') == 'loss'
        hook.metric = cfg.model.head.loss if by_loss else cfg.test_evaluator


def load_by_the_model(cfg: Config) -> None:
    """Let SPIN, VIBE and MEVA load the checkpoint themselves: strictly, and running nothing."""
    kind = MODELS.get(cfg.model.type)
    if isinstance(kind, type) and issubclass(kind, MeshEstimator) and cfg.get('load_from'):
        cfg.model.checkpoint, cfg.load_from = cfg.load_from, None


class SaveMetricsHook(Hook):
    """Writes the metrics of a test run to a JSON file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if metrics is not None and runner.rank == 0:
            with atomic_write(self.path) as temporary:
                temporary.write_text(json.dumps(metrics, indent=2) + '\n', encoding='utf-8')


def main() -> None:
    args = parse_args()
    cfg = merge_args(Config.fromfile(args.config), args)
    load_by_the_model(cfg)
    distribute_on_cpu(cfg)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(SafeCheckpointHook())
    if args.out is not None:
        runner.register_hook(SaveMetricsHook(args.out), 'LOWEST')
    runner.test()


if __name__ == '__main__':
    main()
