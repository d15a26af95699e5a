r"""Draw the paper's figures from a refinement.

    mmjrr figures work_dirs/contour_100it_h36m --out figures \
        --without-discriminator work_dirs/contour_100it_h36m_wo-discriminator \
        --without-silhouette work_dirs/contour_100it_h36m_wo-silhouette

1 and 7: labels and the joints of two regressors; 2: a body with its joints; 3: photograph, mask and
rendered body; 4 and 6: with and without a term; 5: before and after; 8: the ankle labels of two
subjects. docs/figures.md shows them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmjrr.cli.options import parse, run_command

#: Numbers of the figures; :data:`mmjrr.visualization.paper_figures.FIGURES` says what they show.
NUMBERS = tuple(range(1, 9))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument('work_dir', type=Path, help='work directory of the refinement')
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument(
        '--figures',
        type=int,
        nargs='+',
        default=NUMBERS,
        choices=NUMBERS,
        metavar='N',
        help='numbers of the figures, as in the paper (default: all)',
    )
    for term, number in (('discriminator', 4), ('silhouette', 6)):
        parser.add_argument(
            f'--without-{term}',
            type=Path,
            metavar='DIR',
            help=f'work directory of the same refinement without this term, for figure {number}',
        )
    parser.add_argument(
        '--images',
        nargs='+',
        default=[],
        metavar='NAME',
        help='frames to draw, by a part of their image names (default: chosen by rule)',
    )
    parser.add_argument(
        '--data-root', type=Path, help='folder of the data set, if it is not where the run had it'
    )
    parser.add_argument('--no-photos', action='store_true', help='leave photographs out')


def run(args: argparse.Namespace) -> None:
    """Draw the figures and print their paths."""
    from mmjrr.visualization.paper_figures import FIGURES, draw_figures

    for folder in (args.work_dir, args.without_discriminator, args.without_silhouette):
        if folder is not None and not folder.is_dir():
            raise FileNotFoundError(f'{folder}: no such folder')
    pictures = draw_figures(
        args.work_dir,
        args.out,
        args.figures,
        args.without_discriminator,
        args.without_silhouette,
        args.images,
        args.data_root,
        not args.no_photos,
    )
    missing = {
        3: 'there are no masks',
        4: '--without-discriminator names no run',
        5: 'the run stores no initial fits',
        6: '--without-silhouette names no run',
        8: 'fewer than two subjects have labels of both ankles',
    }
    for number in sorted(set(args.figures)):
        if number in pictures:
            print(f'Figure {number}: {FIGURES[number]}: {pictures[number]}')
        else:
            print(f'Figure {number}: not drawn, because {missing.get(number, "nothing is there")}')


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv, prog))


if __name__ == '__main__':
    sys.exit(main())
