r"""Convert Human3.6M of any layout into MMPose's layout.

    mmjrr convert h36m h36m_release --metadata metadata.xml --out data/h36m
    mmjrr convert h36m-fetch h36m-fetch --out data/h36m
    mmjrr convert spin h36m_train.npz --out data/h36m --metadata metadata.xml
    mmjrr convert human-data h36m_mosh_train.npz --out data/h36m
    mmjrr convert h36m-mini MMPOSE/tests/data/h36m data/h36m_mini

``mmjrr convert LAYOUT --help`` describes a layout's arguments. The scripts in
tools/dataset_converters call the same functions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmjrr.cli.options import OptionError, parse, run_command
from mmjrr.datasets.converters import CAMERA_FILE
from mmjrr.datasets.image_names import SPLITS

if TYPE_CHECKING:
    from mmjrr.datasets.converters.conversion import Conversion
    from mmjrr.datasets.converters.source import Source
    from mmjrr.geometry import PerspectiveCamera


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument(
        'layout', choices=LAYOUTS, metavar='LAYOUT', help=f'one of {", ".join(LAYOUTS)}'
    )
    parser.add_argument(
        'arguments', nargs=argparse.REMAINDER, help='arguments; LAYOUT --help lists them'
    )


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    args = parse(add_arguments, __doc__, argv, prog)
    return convert(args.layout, args.arguments, f'{prog or "convert"} {args.layout}')


def convert(layout: str, argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the converter of a layout; return its exit status.

    Args:
        layout: Name of the layout, a key of :data:`LAYOUTS`.
        argv: The arguments. Default: None, which takes them from ``sys.argv``.
        prog: The command's name in messages. Default: None, the script's name.
    """
    converter = LAYOUTS[layout]
    return run_command(
        converter.run, parse(converter.add_arguments, converter.description, argv, prog)
    )


# ------------------------------------------------------------------ the release


_RELEASE = """Convert Human3.6M's release into MMPose's layout.

    mmjrr convert h36m h36m_release --metadata metadata.xml --out data/h36m

reads each subject's archives D2_Positions, D3_Positions_mono and Videos in the folder h36m_release,
packed or unpacked, and writes annotation_body3d/fps10/h36m_{train,test}.npz,
annotation_body3d/cameras.pkl and images/ under --out. Archives can have the names of the website
(Poses/D2_Positions/SubjectSpecific_1.tgz), of h36m-fetch (Poses_D2_Positions_S1.tgz) or of MMPose's
script (s1/D2_Positions.tgz). To resume after an interruption, give the same command again.
"""


def add_release_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the release's converter."""
    from mmjrr.datasets.converters.h36m_release.videos import VIDEO_FPS

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


def convert_release(args: argparse.Namespace) -> None:
    """Convert the release's archives."""
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


# ------------------------------------------------------------------ h36m-fetch


_H36M_FETCH = """Convert h36m-fetch's files of Human3.6M into MMPose's layout.

    mmjrr convert h36m-fetch h36m-fetch --out data/h36m

reads h36m-fetch/processed/S*/*/annot.h5 and h36m-fetch/metadata.xml, and writes
annotation_body3d/h36m_fetch/h36m_{train,test}.npz, the cameras that
annotation_body3d/cameras.pkl lacks, and links to the images under --out. --metadata names another
metadata.xml; with --cameras, it only states the names of takes. h36m-fetch keeps the frames in
which the person moves, and every 64th frame of the test subjects, so its number of frames differs
from that of files with 10 frames per second.
"""


def add_h36m_fetch_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of h36m-fetch's converter."""
    parser.add_argument('root', type=Path, help="h36m-fetch's folder, or its subfolder processed")
    add_source_arguments(parser)
    add_subjects(parser)
    parser.add_argument(
        '--no-images', action='store_true', help='write only annotations, no links to images'
    )


def convert_h36m_fetch(args: argparse.Namespace) -> None:
    """Convert h36m-fetch's files."""
    from mmjrr.datasets.converters.h36m_fetch import find_h36m_fetch, read_h36m_fetch
    from mmjrr.datasets.converters.metadata import read_metadata

    root = args.root.resolve()
    root = root.parent if root.name == 'processed' else root
    metadata = args.metadata or root / 'metadata.xml'
    if not metadata.is_file():
        raise FileNotFoundError(f'{metadata}: no such file; --metadata says where the takes are')
    takes = read_metadata(metadata).takes
    args.metadata = metadata if args.cameras is None else None
    for split, members in SPLITS.items():
        subjects = [subject for subject in members if subject in args.subjects]
        if not subjects:
            continue
        files = find_h36m_fetch(root, subjects)
        conversion = make_conversion(
            args,
            ann_file=f'annotation_body3d/h36m_fetch/h36m_{split}.npz',
            fits_file=f'fits/h36m_fetch_{split}.npz',
            image_root=None if args.no_images else root,
        )
        convert_and_report(conversion, read_h36m_fetch(files, takes, root, args.on_error))


# ------------------------------------------------------------------ self-contained files


_HUMAN_DATA = """Convert MMHuman3D's HumanData npz files of Human3.6M into MMPose's layout.

    mmjrr convert human-data h36m_mosh_train.npz --out data/h36m \\
        --body-model data/smpl

writes annotation_body3d/human_data/<name>.npz, fits/human_data_<name>.npz if the file has SMPL
parameters, and the cameras that annotation_body3d/cameras.pkl lacks. HumanData stores 3D joints
relative to the pelvis; the converter uses the 2D joints to bring them into the camera frame.
--image-root links the images too.
"""
_SPIN = """Convert SPIN's npz files of Human3.6M into MMPose's layout.

    mmjrr convert spin h36m_train.npz --out data/h36m \\
        --metadata metadata.xml --body-model data/smpl
    mmjrr convert spin h36m_valid_protocol1.npz --out data/h36m

writes annotation_body3d/spin/<name>.npz and, if the file has SMPL parameters,
fits/spin_<name>.npz under --out. SPIN stores 3D joints relative to the pelvis. For its training
file, the converter uses the cameras and the 2D joints to bring them into the camera frame. Its
validation files have no 2D joints and serve evaluation only. --image-root links the images too.
SPIN's own script extracts each image one video frame late (20 ms).
"""


def add_file_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of converters that read one file at a time."""
    parser.add_argument('files', nargs='+', type=Path, help='npz files of the layout')
    add_source_arguments(parser)
    parser.add_argument(
        '--image-root', type=Path, help="folder under which the files' image names lie"
    )
    parser.add_argument(
        '--without-cameras',
        action='store_true',
        help='keep 3D joints relative to the pelvis, which is enough for evaluation',
    )


def convert_human_data(args: argparse.Namespace) -> None:
    """Convert HumanData files."""
    from mmjrr.datasets.converters.human_data import read_human_data

    _convert_files(args, 'human_data', read_human_data)


def convert_spin(args: argparse.Namespace) -> None:
    """Convert npz files of SPIN's layout."""
    from mmjrr.datasets.converters.spin import read_spin

    _convert_files(args, 'spin', read_spin)


def _convert_files(args: argparse.Namespace, layout: str, read: Callable[[Path], Source]) -> None:
    for path in args.files:
        conversion = make_conversion(
            args,
            ann_file=f'annotation_body3d/{layout}/{path.stem}.npz',
            fits_file=f'fits/{layout}_{path.stem}.npz',
            image_root=args.image_root,
            without_cameras=args.without_cameras,
        )
        convert_and_report(conversion, read(path))


# ------------------------------------------------------------------ MMPose's test frames


_H36M_MINI = """Convert MMPose's four Human3.6M test frames into the layout that mmjrr reads.

    mmjrr convert h36m-mini MMPOSE/tests/data/h36m data/h36m_mini
"""


def add_h36m_mini_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the test frames' converter."""
    parser.add_argument('source', type=Path, help="MMPose's tests/data/h36m")
    parser.add_argument('target', type=Path, help='data root to write')
    parser.add_argument('--body-model', help='SMPL file; with it, the MoSh shapes are kept')


def convert_h36m_mini(args: argparse.Namespace) -> None:
    """Convert the test frames."""
    from mmjrr.body_models import SMPL
    from mmjrr.datasets.converters.mmpose_test_frames import convert_test_frames

    body = SMPL(args.body_model) if args.body_model else None
    fits = convert_test_frames(args.source, args.target, body)
    print(f'{args.target}: {len(fits["pose"])} frames')


class Layout(NamedTuple):
    """Converter of a layout.

    Attributes:
        description: Help of the command.
        add_arguments: Function that defines the arguments.
        run: Function that converts.
    """

    description: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


#: Converters by the name of their layout.
LAYOUTS = {
    'h36m': Layout(_RELEASE, add_release_arguments, convert_release),
    'h36m-fetch': Layout(_H36M_FETCH, add_h36m_fetch_arguments, convert_h36m_fetch),
    'spin': Layout(_SPIN, add_file_arguments, convert_spin),
    'human-data': Layout(_HUMAN_DATA, add_file_arguments, convert_human_data),
    'h36m-mini': Layout(_H36M_MINI, add_h36m_mini_arguments, convert_h36m_mini),
}


# ------------------------------------------------------------------ shared arguments and output


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


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of converters of other layouts."""
    add_common_arguments(parser)
    parser.add_argument(
        '--cameras',
        type=Path,
        help="MMPose's cameras.pkl (default: the source's cameras, and those of "
        f'{CAMERA_FILE} under --out)',
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
    """Read cameras from the file of an argument; return None if there is no such argument.

    Raises:
        OptionError: Both files are given.
    """
    if args.cameras is not None and args.metadata is not None:
        raise OptionError('--cameras, --metadata: found both, expected one')
    from mmjrr.datasets.converters.metadata import read_metadata
    from mmjrr.geometry import load_cameras

    if args.metadata is not None:
        return read_metadata(args.metadata).cameras
    return None if args.cameras is None else load_cameras(args.cameras)


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


if __name__ == '__main__':
    sys.exit(main())
