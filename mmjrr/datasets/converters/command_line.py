"""What the converters' commands have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmjrr.body_models import SMPL
from mmjrr.datasets.cameras_file import CameraParameters, load_cameras
from mmjrr.datasets.converters.metadata import read_metadata
from mmjrr.datasets.converters.source import CAMERAS, Conversion, Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of every converter into MMPose's layout."""
    parser.add_argument('--out', type=Path, required=True, help='folder of the data set to write')
    parser.add_argument(
        '--cameras',
        type=Path,
        help=f"MMPose's cameras.pkl (default: {CAMERAS} under --out, where there is one)",
    )
    parser.add_argument(
        '--metadata', type=Path, help="the release's metadata.xml, instead of --cameras"
    )
    parser.add_argument(
        '--body-model',
        type=Path,
        help='SMPL file of the fits; gives them the translation that refinement needs',
    )
    parser.add_argument(
        '--boxes',
        choices=['joints', 'source'],
        default='joints',
        help="boxes about the 2D joints, as in MMPose's files, or the source's, which may cut off "
        'hands and feet (default: %(default)s)',
    )
    parser.add_argument(
        '--images',
        choices=['link', 'copy'],
        default='link',
        help='how images get their new names (default: %(default)s)',
    )
    parser.add_argument(
        '--tolerance-px',
        type=float,
        default=2.0,
        help='mean distance of projected 3D joints from 2D joints of a frame that is let pass '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--on-error',
        choices=['raise', 'exclude'],
        default='raise',
        help='stop at rows that are wrong, or leave them out, counted and listed '
        '(default: %(default)s)',
    )


def known_cameras(args: argparse.Namespace) -> dict[tuple[str, str], CameraParameters] | None:
    """Cameras of the files given, or of the data set that is there already.

    Raises:
        ValueError: two files are given.
    """
    if args.cameras is not None and args.metadata is not None:
        raise ValueError('give --cameras or --metadata, not both')
    if args.metadata is not None:
        return read_metadata(args.metadata).cameras
    if args.cameras is not None:
        return load_cameras(args.cameras)
    there = args.out / CAMERAS
    return load_cameras(there) if there.is_file() else None


def conversion(args: argparse.Namespace, ann_file: str, fits_file: str, **more: Any) -> Conversion:
    """The conversion that the arguments ask for."""
    return Conversion(
        out=args.out,
        ann_file=ann_file,
        fits_file=fits_file,
        cameras=known_cameras(args),
        boxes=args.boxes,
        body=None if args.body_model is None else SMPL(args.body_model),
        images=args.images,
        on_error=args.on_error,
        tolerance_px=args.tolerance_px,
        **more,
    )


def convert_and_report(convert: Conversion, source: Source) -> None:
    """Convert, and say what is where and what to put into a config."""
    result = convert.run(source)
    print(result['check'].table())
    written = convert.out / convert.ann_file
    print(f'{result["frames"]} frames are in {written}')
    for reason, count in result['left_out'].items():
        print(f'left out: {count}: {reason} (listed in {written.with_suffix(".json")})')
    settings = [f'data_root={str(convert.out)!r}', f'ann_file={convert.ann_file!r}']
    if not (convert.out / CAMERAS).is_file():
        settings.append('camera_param_file=None')
    if result['fits']:
        placed = source.transl is not None
        print(
            f'{result["fits"]} fits are in {convert.out / convert.fits_file}'
            + ('' if placed else ', without a translation: for refinement add --body-model')
        )
        if result['fits_to_labels_mm'] is not None:
            print(f'limb joints of the fits are {result["fits_to_labels_mm"]} mm from the labels')
        if placed:
            settings.append(f'fits_file={convert.fits_file!r}')
    if result['about_pelvis']:
        print('3D joints are about the pelvis: they serve evaluation alone')
    print(f'in a config: dict(type="H36MFitsDataset", {", ".join(settings)})')


def run(main: Callable[[], None]) -> int:
    """Run a command; what the user can mend is one sentence. Returns the exit status."""
    try:
        main()
    except (ImportError, FileNotFoundError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0
