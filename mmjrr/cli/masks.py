"""Generate person masks of a dataset's images by Mask R-CNN, in the format refinement reads.

    python tools/generate_masks.py configs/segmentation/mask-rcnn_r50_fpn_h36m.py
    python tools/generate_masks.py CONFIG CHECKPOINT --out data/h36m/masks/h36m_train.json

To resume a killed run, give the same command again; it writes the same bytes. To use several
processes, run ``torchrun --nproc_per_node 4 tools/generate_masks.py CONFIG --launcher pytorch``;
their number does not change the result.
"""

from __future__ import annotations

import argparse
import os.path as osp
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmjrr.cli.config_options import add_dataset_options
from mmjrr.cli.options import parse, run_command

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmjrr.datasets.masks import Masks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    add_dataset_options(
        parser,
        checkpoint="file of the weights (default: the config's)",
        out='JSON file to write (default: <data_root>/masks/<name of the ann_file>.json)',
        batch_size="the config's; 1 without a GPU",
    )
    parser.add_argument(
        '--soft', action='store_true', help='also write soft masks, in steps of one eighth'
    )
    parser.add_argument(
        '--compare', metavar='FILE', help='file of true masks; print the IoU with them at the end'
    )


def merge_arguments(cfg: Config, args: argparse.Namespace) -> Config:
    """Apply the command's own options to the config.

    Raises:
        ValueError: An option is wrong.
    """
    from mmengine.device import get_device

    from mmjrr.segmentation.mask_generation import check_settings

    if args.checkpoint is not None:
        cfg.model.checkpoint = args.checkpoint
    if args.soft:
        cfg.model.soft = True
    if args.batch_size is not None:
        cfg.test_dataloader.batch_size = args.batch_size
    elif 'test_dataloader.batch_size' not in (args.cfg_options or {}) and get_device() == 'cpu':
        # On a CPU, larger batches cost memory and save no time.
        cfg.test_dataloader.batch_size = 1
    dataset = cfg.test_dataloader.dataset
    name = Path(dataset.get('ann_file', args.config)).stem
    cfg.out = args.out or osp.join(dataset.get('data_root', ''), 'masks', f'{name}.json')
    cfg.person = {'min_overlap': 0.3, **cfg.get('person', {})}
    check_settings(cfg)
    return cfg


def run(args: argparse.Namespace) -> None:
    """Generate the masks, and compare them with true masks if ``--compare`` names any."""
    from mmengine.device import get_device
    from mmengine.dist import is_main_process

    from mmjrr.cli.runtime import read_config, set_up
    from mmjrr.datasets.masks import Masks
    from mmjrr.jobs import leave_process_group
    from mmjrr.registry import DATASETS, MODELS
    from mmjrr.segmentation import generate_masks

    cfg = merge_arguments(read_config(args), args)
    truth = None if args.compare is None else Masks(args.compare)  # read before long work
    set_up(cfg, seed=False)
    counts = generate_masks(
        DATASETS.build(cfg.test_dataloader.dataset),
        MODELS.build(cfg.model).to(get_device()),
        cfg,
        skip_unreadable=args.skip_unreadable,
        overwrite=args.overwrite,
    )
    if is_main_process():
        print(
            f'Wrote {counts["masks"]} masks to {cfg.out}; {counts["without_person"]} images show '
            f'no person, {counts["excluded"]} are excluded'
        )
        if truth is not None:
            _compare(cfg.out, args.compare, truth)
    leave_process_group()


def _compare(out: str, name: str, truth: Masks) -> None:
    from mmjrr.datasets.masks import Masks
    from mmjrr.segmentation import compare_masks

    agreement = compare_masks(Masks(out), truth)
    print(
        f'Mean IoU with {name}: {agreement["iou"]:.4f} over {agreement["frames"]} '
        f'frames, {agreement["missing"]} of them without a mask; lowest: '
        f'{agreement["worst_iou"]:.4f} at {agreement["worst"]}'
    )


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv, prog))


if __name__ == '__main__':
    sys.exit(main())
