"""Generate the synthetic H36M in MMPose's layout: images, annotations, cameras, masks, fits.

python tools/dataset_converters/make_synthetic_h36m.py --out data/synthetic_h36m --seed 0
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from mmjrr.datasets.synthetic.settings import PEOPLE, Settings
from mmjrr.errors import LockedError


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Settings()
    parser.add_argument('--out', type=Path, required=True, help='data root to write')
    parser.add_argument(
        '--seed', type=int, default=default.seed, help='seed of the data (default: %(default)s)'
    )
    parser.add_argument(
        '--frames-per-subject',
        type=int,
        default=default.frames_per_subject,
        help='images of each subject from each of the four cameras (default: %(default)s)',
    )
    parser.add_argument(
        '--subjects',
        nargs='+',
        default=list(default.subjects),
        help=f'subjects to generate (default: {" ".join(default.subjects)})',
    )
    parser.add_argument(
        '--actions',
        nargs='+',
        default=list(default.actions),
        help='actions that each subject performs; few give longer sequences (default: all fifteen)',
    )
    parser.add_argument(
        '--frame-step',
        type=int,
        default=default.frame_step,
        help='video frames (50 per second) between moments of a sequence (default: %(default)s)',
    )
    parser.add_argument(
        '--synchronous',
        action='store_true',
        help='have all cameras show the same moments, as Human3.6M does, instead of in turns; '
        'configs with "4view" in their names need it',
    )
    parser.add_argument(
        '--jpeg-quality',
        type=int,
        default=default.jpeg_quality,
        help='JPEG quality of the images (default: %(default)s)',
    )
    parser.add_argument(
        '--no-ankle-offsets',
        action='store_true',
        help='label the ankles of all subjects at the same place',
    )
    parser.add_argument(
        '--label-noise',
        type=float,
        default=default.label_noise,
        help='factor on the noise of the labels, 3 mm per axis (default: %(default)s)',
    )
    parser.add_argument(
        '--camera-error',
        type=float,
        default=default.camera_error,
        metavar='PIXELS',
        help="by how much the images' principal points differ from the calibration "
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--camera-rotation-error',
        type=float,
        default=default.camera_rotation_error,
        metavar='DEGREES',
        help="by how much the images' cameras are turned from the calibration "
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--camera-position-error',
        type=float,
        default=default.camera_position_error,
        metavar='METERS',
        help='the same for their positions (default: %(default)s)',
    )
    parser.add_argument(
        '--late-frames',
        type=int,
        default=default.late_frames,
        help='video frames by which the images of the last camera are late (default: %(default)s)',
    )
    parser.add_argument(
        '--people',
        choices=PEOPLE,
        default=default.people,
        help='body model of the people; anny needs its package (default: %(default)s)',
    )
    parser.add_argument(
        '--clothes',
        type=float,
        default=default.clothes,
        metavar='MM',
        help='thickness of clothes outside the skin (default: %(default)s)',
    )
    parser.add_argument('--no-images', action='store_true', help='write everything except images')
    parser.add_argument('--workers', type=int, default=2, help='processes (default: %(default)s)')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace a synthetic set with other settings'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    args = parse_args(argv)
    from mmjrr.datasets.synthetic import generate, is_complete

    start = time.perf_counter()
    try:
        settings = Settings(
            seed=args.seed,
            subjects=tuple(args.subjects),
            actions=tuple(args.actions),
            frames_per_subject=args.frames_per_subject,
            frame_step=args.frame_step,
            synchronous=args.synchronous,
            ankle_offsets=not args.no_ankle_offsets,
            label_noise=args.label_noise,
            camera_error=args.camera_error,
            camera_rotation_error=args.camera_rotation_error,
            camera_position_error=args.camera_position_error,
            late_frames=args.late_frames,
            people=args.people,
            clothes=args.clothes,
            images=not args.no_images,
            jpeg_quality=args.jpeg_quality,
        )
        if is_complete(args.out, settings):
            print(f'{args.out} is complete already')
            return 0
        generate(args.out, settings, workers=args.workers, overwrite=args.overwrite)
    except (ImportError, LockedError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    report = json.loads((args.out / 'truth' / 'report.json').read_text())
    print(f'Wrote {args.out} in {time.perf_counter() - start:.0f} s: frames {report["frames"]}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
