r"""Measure how much of a model's error is due to the joint regressor, and at which joints.

    python tools/analysis_tools/attribute_error.py results.npz --annotations data/h36m \
        --original J_std --corrected J_opt --body-model data/smpl \
        --out attribution.json --figure attribution.png

Reads the same files as tools/eval_predictions.py. Compares the errors of the predictions under the
regressor with which the model was reported, under corrected regressors, and under regressors fitted
to these meshes: each is fitted to all subjects but one and evaluated on that one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmjrr.cli.evaluation_options import (
    add_annotations,
    add_frame_options,
    add_reading_options,
    chosen_protocols,
    chosen_regressors,
    reading_options,
)
from mmjrr.cli.options import add_body_model, add_joint_order
from mmjrr.evaluation.protocols import PROTOCOLS


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'files', nargs='+', metavar='FILE', help='predictions; several files are parts of one set'
    )
    add_annotations(parser, required=True)
    parser.add_argument(
        '--original',
        default='J_std',
        help='regressor with which the model was reported (default: %(default)s)',
    )
    parser.add_argument(
        '--corrected',
        nargs='*',
        default=['J_opt'],
        metavar='J',
        help='corrected regressors (default: J_opt)',
    )
    add_joint_order(parser)
    parser.add_argument(
        '--protocol',
        default='paper',
        help=f'one of {", ".join(PROTOCOLS)} (default: %(default)s)',
    )
    add_body_model(parser)
    add_reading_options(parser)
    add_frame_options(parser)
    parser.add_argument('--title', help="title of the results (default: the file's name)")
    parser.add_argument('--out', type=Path, help='.json file to write')
    parser.add_argument('--figure', type=Path, help='.png, .pdf or .svg file to write')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run the command; end with one line for an error of the user."""
    args = parse_args(argv)
    try:
        run(args)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f'error: {error}')


def run(args: argparse.Namespace) -> None:
    """Attribute the error, print the tables, and write the files that are asked for."""
    from mmjrr.evaluation.attribution import attribute_error
    from mmjrr.io.paths import check_suffix
    from mmjrr.visualization.attribution_figure import draw_attribution
    from mmjrr.visualization.matplotlib_figure import CHART_SUFFIXES

    for path, suffixes in ((args.out, ('.json',)), (args.figure, CHART_SUFFIXES)):
        if path is not None:
            check_suffix(path, *suffixes)
    original, *corrected = chosen_regressors(
        [args.original, *args.corrected], args.joint_order, args.body_model
    )
    attribution = attribute_error(
        args.files,
        args.annotations,
        original,
        corrected,
        chosen_protocols([args.protocol], args.subjects, args.exclude)[0],
        body_model=args.body_model,
        **reading_options(args),
        title=args.title or Path(args.files[0]).stem,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(attribution)
    if args.out is not None:
        print(f'Wrote {attribution.save(args.out)}')
    if args.figure is not None:
        print(f'Wrote {draw_attribution(attribution, args.figure)}')


if __name__ == '__main__':
    main()
