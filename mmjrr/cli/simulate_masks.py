r"""Write masks with the errors of a network's masks, simulated from a dataset's exact ones.

    python tools/analysis_tools/simulate_masks.py data/synthetic_h36m --mask-head \
        --out masks/h36m_train_28x28.json
    python tools/analysis_tools/simulate_masks.py data/synthetic_h36m --cut 0.6 \
        --out masks/h36m_train_cut.json

``--out`` is relative to the data root, as the dataset's ``mask_file`` is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmjrr.cli.options import parse, run_command
from mmjrr.io.paths import check_suffix


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument('data_root', type=Path, help="folder of the dataset, in MMPose's layout")
    parser.add_argument('--out', required=True, help='JSON file to write, below the data root')
    parser.add_argument('--split', default='train', help='train or test (default: %(default)s)')
    parser.add_argument(
        '--mask-head',
        action='store_true',
        help="reduce each mask to the 28 x 28 cells of its box, as Mask R-CNN's mask head does",
    )
    parser.add_argument(
        '--soft',
        action='store_true',
        help='with --mask-head, keep the pasted values instead of thresholding them at one half',
    )
    parser.add_argument(
        '--cut',
        type=float,
        default=0.0,
        metavar='PROBABILITY',
        help='cut off each hand and foot with this probability (default: %(default)s)',
    )
    parser.add_argument(
        '--occluder',
        type=float,
        default=0.0,
        metavar='PROBABILITY',
        help='hide a square around a joint with this probability (default: %(default)s)',
    )
    parser.add_argument(
        '--neighbor',
        type=float,
        default=0.0,
        metavar='PROBABILITY',
        help='add a disc on the outline, as a part of another person, with this probability '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--grow',
        type=float,
        default=0.0,
        metavar='PIXELS',
        help='move outlines outwards by pixels of the crop of 224; negative: inwards '
        '(default: %(default)s)',
    )
    parser.add_argument('--seed', type=int, default=0, help='(default: %(default)s)')


def run(args: argparse.Namespace) -> None:
    """Write the masks, and print their IoU with the exact ones."""
    from mmjrr.datasets import H36MFitsDataset
    from mmjrr.segmentation.simulated_masks import (
        MaskErrors,
        check_replaceable,
        mean_iou,
        simulate_masks,
    )

    out = args.data_root / check_suffix(args.out, '.json', option='--out')
    errors = MaskErrors(
        args.grow, args.cut, args.mask_head, args.soft, args.seed, args.occluder, args.neighbor
    )
    dataset = H36MFitsDataset(
        data_root=str(args.data_root),
        ann_file=f'annotation_body3d/fps10/h36m_{args.split}.npz',
        mask_file=f'masks/h36m_{args.split}.json',
    )
    assert dataset.masks is not None
    if out.resolve() == dataset.masks.paths[0].resolve():
        raise ValueError(
            f'--out: found {args.out}, expected another file than that of the exact masks'
        )
    check_replaceable(out)
    count = simulate_masks(out, dataset, errors)
    iou = mean_iou(out, dataset.masks)
    print(f'Wrote {count} masks to {out}; mean IoU with the exact ones: {iou:.4f}')


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv, prog))


if __name__ == '__main__':
    sys.exit(main())
