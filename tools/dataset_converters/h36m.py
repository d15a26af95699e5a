"""Bring Human3.6M as it is released into MMPose's layout.

    python tools/dataset_converters/h36m.py h36m_release --metadata metadata.xml --out data/h36m

reads, for each subject, the archives of D2_Positions, D3_Positions_mono and Videos in the folder
h36m_release, packed or unpacked, and writes annotation_body3d/fps10/h36m_{train,test}.npz,
annotation_body3d/cameras.pkl and images/ under --out. Archives may be named as on the site
(Poses/D2_Positions/SubjectSpecific_1.tgz), as by h36m-fetch (Poses_D2_Positions_S1.tgz), or as for
MMPose's script (s1/D2_Positions.tgz). It may be stopped at any time: the same command goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmjrr.datasets.converters.command_line import run
from mmjrr.datasets.converters.h36m_release import SPLITS, VIDEO_FPS, ReleaseConversion


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='folder of the release')
    parser.add_argument('--out', type=Path, required=True, help='folder of the data set to write')
    parser.add_argument(
        '--metadata',
        type=Path,
        help="metadata.xml of the release's code, also in h36m-fetch (default: the one in root)",
    )
    parser.add_argument(
        '--subjects',
        nargs='+',
        default=[subject for subjects in SPLITS.values() for subject in subjects],
        help='subjects to convert (default: all seven)',
    )
    parser.add_argument(
        '--fps',
        type=int,
        default=10,
        help=f'frames a second to keep, a divisor of {VIDEO_FPS} (default: %(default)s)',
    )
    parser.add_argument('--workers', type=int, default=2, help='processes (default: %(default)s)')
    parser.add_argument(
        '--unpacked',
        type=Path,
        help='where archives are unpacked; may be removed afterwards (default: .h36m_release '
        'under --out)',
    )
    parser.add_argument(
        '--on-error',
        choices=['raise', 'exclude'],
        default='raise',
        help='stop at what is wrong, or leave it out, counted and listed (default: %(default)s)',
    )
    parser.add_argument(
        '--every-image',
        action='store_true',
        help="look at every image's size in the end, not at one of each video",
    )
    parser.add_argument(
        '--tolerance-px',
        type=float,
        default=2.0,
        help='mean distance of projected 3D joints from 2D joints of a frame that is let pass '
        '(default: %(default)s)',
    )
    args = parser.parse_args()
    convert = ReleaseConversion(
        root=args.root,
        out=args.out,
        metadata=args.metadata or args.root / 'metadata.xml',
        subjects=args.subjects,
        fps=args.fps,
        workers=args.workers,
        unpacked=args.unpacked,
        on_error=args.on_error,
        every_image=args.every_image,
        tolerance_px=args.tolerance_px,
    )
    for split, result in convert.run().items():
        print(f'{split}:\n{result["check"].table()}')
        for reason, count in result['left_out'].items():
            print(f'left out: {count}: {reason} (listed in {result["file"].with_suffix(".json")})')
        ann_file = result['file'].relative_to(args.out)
        print(
            f'{result["frames"]} frames are in {result["file"]}\n'
            f"in a config: dict(type='H36MFitsDataset', data_root={str(args.out)!r}, "
            f'ann_file={str(ann_file)!r})'
        )


if __name__ == '__main__':
    sys.exit(run(main))
