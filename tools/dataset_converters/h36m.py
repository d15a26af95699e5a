"""Convert Human3.6M's release into MMPose's layout.

    python tools/dataset_converters/h36m.py h36m_release --metadata metadata.xml --out data/h36m

reads each subject's archives D2_Positions, D3_Positions_mono and Videos in the folder h36m_release,
packed or unpacked, and writes annotation_body3d/fps10/h36m_{train,test}.npz,
annotation_body3d/cameras.pkl and images/ under --out. Archives can have the names of the website
(Poses/D2_Positions/SubjectSpecific_1.tgz), of h36m-fetch (Poses_D2_Positions_S1.tgz) or of MMPose's
script (s1/D2_Positions.tgz). To resume after an interruption, give the same command again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmjrr.datasets.converters.command_line import (
    add_common_arguments,
    add_subjects,
    print_config,
    report,
    run,
)
from mmjrr.datasets.converters.h36m_release.videos import VIDEO_FPS


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='folder of the release')
    add_common_arguments(parser)
    parser.add_argument(
        '--metadata',
        type=Path,
        help="metadata.xml of the release's code, also in h36m-fetch (default: the one in root)",
    )
    add_subjects(parser)
    parser.add_argument(
        '--fps',
        type=int,
        default=10,
        help=f'frames per second to keep, a divisor of {VIDEO_FPS} (default: %(default)s)',
    )
    parser.add_argument('--workers', type=int, default=2, help='processes (default: %(default)s)')
    parser.add_argument(
        '--unpacked',
        type=Path,
        help='folder for the unpacked archives, not needed after the conversion (default: '
        '.h36m_release under --out)',
    )
    parser.add_argument(
        '--every-image',
        action='store_true',
        help='check the size of every image, instead of one image per video',
    )
    args = parser.parse_args()

    from mmjrr.datasets.converters.h36m_release.release_conversion import ReleaseConversion

    conversion = ReleaseConversion(
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
    for split, result in conversion.run().items():
        print(f'{split}:')
        print_config(report(args.out, result['file'], result))


if __name__ == '__main__':
    sys.exit(run(main))
