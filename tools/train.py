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

from mmjrr.engine import distribute_on_cpu


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
    return cfg


def main() -> None:
    args = parse_args()
    cfg = merge_args(Config.fromfile(args.config), args)
    distribute_on_cpu(cfg)
    Runner.from_cfg(cfg).train()


if __name__ == '__main__':
    main()
