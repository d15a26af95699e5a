"""Refine SMPL fits and learn a joint regressor from them.

    python tools/train.py configs/refinement/contour_100it_h36m.py
    python tools/train.py CONFIG --cfg-options train_dataloader.batch_size=32
    python tools/train.py CONFIG --resume

Takes what MMPose's ``tools/train.py`` takes.
"""

from __future__ import annotations

import argparse
import os
import os.path as osp

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from mmjrr.engine import SafeCheckpointHook, distribute_on_cpu
from mmjrr.refinement.allocator import keep_freed_memory


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Refine SMPL fits and learn a joint regressor')
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder for logs, checkpoints and results')
    parser.add_argument(
        '--resume',
        nargs='?',
        type=str,
        const='auto',
        help='continue: from the given checkpoint, or from the latest in the work directory',
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision (GPU)')
    parser.add_argument('--no-validate', action='store_true', help='leave validation out')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate with the batch size; needs the config's auto_scale_lr",
    )
    parser.add_argument('--show-dir', help='folder for pictures of fits')
    parser.add_argument('--show', action='store_true', help='show pictures in a window')
    parser.add_argument('--interval', type=int, default=1, help='a picture every so many batches')
    parser.add_argument('--wait-time', type=float, default=1, help='seconds to show a picture')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value; lists as key="[a,b]" or key=a,b',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of a distributed run are started',
    )
    # torch.distributed.launch passes it as --local-rank, older versions as --local_rank.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """The command line over the config."""
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    if args.resume == 'auto':
        cfg.resume = True
        cfg.load_from = None
    elif args.resume is not None:
        cfg.resume = True
        cfg.load_from = args.resume
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        if cfg.optim_wrapper.get('type', 'OptimWrapper') not in ('OptimWrapper', 'AmpOptimWrapper'):
            raise SystemExit(f'--amp: not possible with optim_wrapper {cfg.optim_wrapper.type!r}')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if cfg.get('auto_scale_lr') is None:
            raise SystemExit(f'--auto-scale-lr: {args.config} has no auto_scale_lr')
        cfg.auto_scale_lr.enable = True
    if args.show or args.show_dir is not None:
        _enable_visualization(cfg, args)
    return cfg


def _enable_visualization(cfg: Config, args: argparse.Namespace) -> None:
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook:  # of a model that is trained
        hook.update(enable=True, show=args.show, interval=args.interval, out_dir=args.show_dir)
        if args.show:
            hook.wait_time = args.wait_time
        return
    hooks = [
        hook
        for hook in cfg.get('custom_hooks', [])
        if hook.type.rsplit('.', 1)[-1] == 'RefinementVisualizationHook'
    ]
    if not hooks:
        raise SystemExit(
            f'--show and --show-dir: {args.config} has neither default_hooks.visualization nor a '
            'RefinementVisualizationHook among its custom_hooks'
        )
    if args.show:
        raise SystemExit('--show: fits are drawn into files and backends, use --show-dir')
    hooks[0].update(enable=True, interval=args.interval)
    cfg.visualizer.save_dir = args.show_dir


def main() -> None:
    args = parse_args()
    cfg = merge_args(Config.fromfile(args.config), args)
    distribute_on_cpu(cfg)
    keep_freed_memory()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(SafeCheckpointHook())
    runner.train()


if __name__ == '__main__':
    main()
