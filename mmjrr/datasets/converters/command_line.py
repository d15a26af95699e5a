"""Arguments and output that the converters' commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmjrr.datasets.converters import CAMERA_FILE
from mmjrr.datasets.image_names import SPLITS
from mmjrr.errors import LockedError

if TYPE_CHECKING:
    from mmjrr.datasets.converters.conversion import Conversion
    from mmjrr.datasets.converters.source import Source
    from mmjrr.geometry import PerspectiveCamera


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every converter, including the release's."""
    parser.add_argument('--out', type=Path, required=True, help='folder of the dataset to write')
    parser.add_argument(
        '--tolerance-px',
        type=float,
        default=2.0,
        help='largest mean distance of projected 3D joints from 2D joints of a frame, in pixels '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--on-error',
        choices=['raise', 'exclude'],
        default='raise',
        help='stop at a problem, or exclude, count and list the frames that have it (default: '
        '%(default)s)',
    )


def add_subjects(parser: argparse.ArgumentParser) -> None:
    """Add the argument of converters that read a folder for each subject."""
    subjects = [subject for members in SPLITS.values() for subject in members]
    parser.add_argument(
        '--subjects',
        nargs='+',
        default=subjects,
        choices=subjects,
        help='subjects to convert (default: all seven)',
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of converters of other layouts."""
    add_common_arguments(parser)
    parser.add_argument(
        '--cameras',
        type=Path,
        help=f"MMPose's cameras.pkl (default: {CAMERA_FILE} under --out, if it exists)",
    )
    parser.add_argument(
        '--metadata', type=Path, help="the release's metadata.xml, instead of --cameras"
    )
    parser.add_argument(
        '--body-model',
        type=Path,
        help='SMPL file of the fits; with it, the converter computes the translations that '
        'refinement needs',
    )
    parser.add_argument(
        '--boxes',
        choices=['joints', 'source'],
        default='joints',
        help="boxes around the 2D joints, as in MMPose's files, or the source's boxes, which can "
        'cut off hands and feet (default: %(default)s)',
    )
    parser.add_argument(
        '--images',
        choices=['link', 'copy'],
        default='link',
        help='link to the images, or copy them (default: %(default)s)',
    )


def selected_cameras(args: argparse.Namespace) -> dict[tuple[str, str], PerspectiveCamera] | None:
    """Read cameras from the file of an argument, or from the existing dataset.

    Raises:
        ValueError: Both files are given.
    """
    if args.cameras is not None and args.metadata is not None:
        raise ValueError('--cameras, --metadata: found both, expected one')
    from mmjrr.datasets.converters.metadata import read_metadata
    from mmjrr.geometry import load_cameras

    if args.metadata is not None:
        return read_metadata(args.metadata).cameras
    if args.cameras is not None:
        return load_cameras(args.cameras)
    path = args.out / CAMERA_FILE
    return load_cameras(path) if path.is_file() else None


def make_conversion(
    args: argparse.Namespace, ann_file: str, fits_file: str, **options: Any
) -> Conversion:
    """Build the conversion from the arguments."""
    from mmjrr.body_models import SMPL
    from mmjrr.datasets.converters.conversion import Conversion

    return Conversion(
        out=args.out,
        ann_file=ann_file,
        fits_file=fits_file,
        cameras=selected_cameras(args),
        boxes=args.boxes,
        body=None if args.body_model is None else SMPL(args.body_model),
        images=args.images,
        on_error=args.on_error,
        tolerance_px=args.tolerance_px,
        **options,
    )


def convert_files(doc: str | None, what: str, layout: str, read: Callable[[Path], Source]) -> None:
    """Run the command of a layout of self-contained files.

    Args:
        doc: Help of the command.
        what: Help of its files.
        layout: Name of the layout, part of the results' names.
        read: Function that reads one file.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('files', nargs='+', type=Path, help=what)
    add_arguments(parser)
    parser.add_argument(
        '--image-root', type=Path, help="folder under which the files' image names lie"
    )
    parser.add_argument(
        '--without-cameras',
        action='store_true',
        help='keep 3D joints relative to the pelvis, which is enough for evaluation',
    )
    args = parser.parse_args()
    for path in args.files:
        conversion = make_conversion(
            args,
            ann_file=f'annotation_body3d/{layout}/{path.stem}.npz',
            fits_file=f'fits/{layout}_{path.stem}.npz',
            image_root=args.image_root,
            without_cameras=args.without_cameras,
        )
        convert_and_report(conversion, read(path))


def convert_and_report(conversion: Conversion, source: Source) -> None:
    """Convert, and print where the results are and what to put into a config."""
    result = conversion.run(source)
    settings = report(conversion.out, conversion.out / conversion.ann_file, result)
    if not (conversion.out / CAMERA_FILE).is_file():
        settings.append('camera_param_file=None')
    if result['fits']:
        has_transl = source.transl is not None
        print(
            f'{result["fits"]} fits are in {conversion.out / conversion.fits_file}'
            + ('' if has_transl else ', without translations: for refinement add --body-model')
        )
        if result['fits_to_labels_mm'] is not None:
            print(f'limb joints of the fits are {result["fits_to_labels_mm"]} mm from the labels')
        if has_transl:
            settings.append(f'fits_file={conversion.fits_file!r}')
    if result['about_pelvis']:
        print('3D joints are relative to the pelvis: use them for evaluation only')
    print_config(settings)


def report(out: Path, file: Path, result: Mapping[str, Any]) -> list[str]:
    """Print the check of an annotation file, and the number of excluded frames by reason.

    Returns:
        Settings that name the file in a config.
    """
    print(result['check'].table())
    print(f'{result["frames"]} frames are in {file}')
    for reason, count in result['left_out'].items():
        print(f'excluded {count}: {reason} (listed in {file.with_suffix(".json")})')
    return [f'data_root={str(out)!r}', f'ann_file={file.relative_to(out).as_posix()!r}']


def print_config(settings: Sequence[str]) -> None:
    """Print the line for a config."""
    print(f"in a config: dict(type='H36MFitsDataset', {', '.join(settings)})")


def run(main: Callable[[], None]) -> int:
    """Run a command, printing errors that the user can fix as one sentence.

    Returns:
        Exit status.
    """
    try:
        main()
    except (ImportError, FileNotFoundError, LockedError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0
