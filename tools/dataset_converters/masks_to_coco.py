"""Write the masks of a dataset as COCO annotations for training a detector.

    python tools/dataset_converters/masks_to_coco.py data/synthetic_h36m

writes ``annotations/person_{train,test}.json`` under the data root.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data_root', type=Path, help="folder of the dataset, in MMPose's layout")
    parser.add_argument('--splits', nargs='+', default=['train', 'test'])
    parser.add_argument(
        '--margin',
        type=float,
        default=0.1,
        help='margin of boxes around masks on each side, relative to their longer side, so that '
        'an inaccurate box does not cut off hands (default: %(default)s)',
    )
    args = parser.parse_args()

    from mmjrr.datasets import H36MFitsDataset
    from mmjrr.segmentation import write_coco

    for split in args.splits:
        out = args.data_root / 'annotations' / f'person_{split}.json'
        try:
            dataset = H36MFitsDataset(
                data_root=str(args.data_root),
                ann_file=f'annotation_body3d/fps10/h36m_{split}.npz',
                mask_file=f'masks/h36m_{split}.json',
            )
            print(f'{out}: {write_coco(out, dataset, args.margin)} images')
        except (ValueError, FileNotFoundError) as error:
            print(f'error: {error}', file=sys.stderr)
            return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
