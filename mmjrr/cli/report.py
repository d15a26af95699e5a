r"""Write a report: tables, charts, regressors and frames in one HTML file.

    mmjrr report work_dirs/demo
    mmjrr report work_dirs/contour_100it_h36m --no-photos --out report.html
    mmjrr report results.json

The file opens from disk, without a network. SOURCE is the demo's folder, the work directory of a
refinement, or a JSON file that "mmjrr evaluate --out" wrote. "mmjrr evaluate --report" makes a
report with the frames of stored predictions. docs/report.md describes the page, docs/sharing.md
what of it may be shared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmjrr.cli.options import OptionError, add_body_model, parse, run_command

if TYPE_CHECKING:
    from mmjrr.visualization.report import GalleryOptions

#: Names of the options that choose what a report shows of frames.
GALLERY_OPTIONS = ('frames', 'no_photos', 'images', 'masks', 'cameras')
#: Default number of frames.
_FRAMES = 200
#: Largest number of frames: the page holds all of them, and a browser must stay quick.
_MOST_FRAMES = 2000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument(
        'source',
        type=Path,
        metavar='SOURCE',
        help='work directory of the demo or of a refinement, or a JSON file of results',
    )
    parser.add_argument(
        '--out', type=Path, help='file to write (default: report.html in or next to SOURCE)'
    )
    parser.add_argument(
        '--data-root', type=Path, help='folder of the data set, if it is not where the run had it'
    )
    add_body_model(parser, ' (default: the body of the refinement)')
    add_gallery_options(parser)


def add_gallery_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose what a report shows of frames."""
    parser.add_argument(
        '--frames',
        type=int,
        metavar='N',
        help=f'largest number of frames in the report, the worst ones (default: {_FRAMES})',
    )
    parser.add_argument(
        '--no-photos', action='store_true', help='leave photographs out of the report'
    )
    parser.add_argument(
        '--images', type=Path, help="folder of the photographs (default: the data set's images)"
    )
    parser.add_argument(
        '--masks', type=Path, help="file of person masks (default: the refinement's, if any)"
    )
    parser.add_argument(
        '--cameras',
        type=Path,
        help="MMPose's cameras.pkl (default: the file next to the annotation)",
    )


def gallery_options(args: argparse.Namespace) -> GalleryOptions:
    """Return the options of :func:`add_gallery_options`, after checking them.

    Raises:
        OptionError: The number of frames is out of range.
        FileNotFoundError: A file or folder does not exist.
    """
    from mmjrr.visualization.report import GalleryOptions

    frames = _FRAMES if args.frames is None else args.frames
    if not 0 <= frames <= _MOST_FRAMES:
        raise OptionError(f'--frames {frames}: expected 0 to {_MOST_FRAMES}')
    for option in ('images', 'masks', 'cameras'):
        path = getattr(args, option)
        if path is not None and not path.exists():
            raise FileNotFoundError(f'--{option} {path}: no such file or folder')
    return GalleryOptions(
        frames=frames,
        images=args.images,
        masks=args.masks,
        cameras=args.cameras,
        photos=not args.no_photos,
    )


def run(args: argparse.Namespace) -> None:
    """Make the report and write it."""
    from mmjrr.visualization.report import (
        check_report_path,
        report_results_file,
        report_work_dir,
        write_report,
    )

    source: Path = args.source
    if not source.exists():
        raise FileNotFoundError(f'{source}: no such file or folder')
    default = source / 'report.html' if source.is_dir() else source.with_suffix('.html')
    out = check_report_path(args.out or default)
    if not source.is_dir():
        _check_no_frame_options(args)
    options = gallery_options(args)
    if source.is_dir():
        body = None
        if args.body_model == 'free_body':
            body = dict(type='FreeBody')
        elif args.body_model is not None:
            body = dict(type='SMPL', model_path=args.body_model)
        report = report_work_dir(source, options, args.data_root, body)
    else:
        report = report_results_file(source)
    write_report(report, out)
    for note in report.notes:
        print(f'  note: {note}')
    size = out.stat().st_size / 1e6
    print(f'Wrote {out} ({len(report.frames)} frames, {size:.1f} MB); open it in a browser.')


def _check_no_frame_options(args: argparse.Namespace) -> None:
    """Refuse options that a file of results, which has neither frames nor bodies, cannot use."""
    for name in (*GALLERY_OPTIONS, 'data_root', 'body_model'):
        if getattr(args, name) not in (None, False):
            raise OptionError(
                f'--{name.replace("_", "-")}: {args.source} is a file of results, which has '
                'neither frames nor bodies; expected a work directory'
            )


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv, prog))


if __name__ == '__main__':
    sys.exit(main())
