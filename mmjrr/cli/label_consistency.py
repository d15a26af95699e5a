r"""Test whether subjects' joints are labeled at the same positions, from refined fits.

    mmjrr label-consistency work_dirs/refinement --body-model data/smpl \
        --out label_consistency.json --figure label_consistency.png --regressor-out J_consistent.npy

Reads the fits that a refinement exported (pseudo_gt.npz, or its work directory) and fits a
regressor together with an offset of each subject and joint, in the frame of the body part that
carries the joint. Prints the offsets, and which are significantly different from zero. With
--test-fits and --predictions, also measures what part of a model's MPJPE is due to the offsets of
the test subjects. Everything else is written before that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmjrr.cli.evaluation_options import GENDERS, add_mapping_options, chosen_regressors
from mmjrr.cli.options import OptionError, add_body_model, add_joint_order, parse, run_command

if TYPE_CHECKING:
    from mmjrr.evaluation.label_consistency import LabelConsistency, LabeledFits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument('fits', type=Path, help='work directory of a refinement, or pseudo_gt.npz')
    add_body_model(parser, required=True)
    parser.add_argument(
        '--gender', choices=GENDERS, help="gender of the fits' bodies, instead of the files' own"
    )
    parser.add_argument(
        '--root',
        help="joint that is subtracted from each frame, or 'none' for bodies refined from several "
        'views (default: as J_opt next to the fits, or pelvis)',
    )
    parser.add_argument(
        '--alpha', type=float, default=0.01, help='significance level (default: %(default)s)'
    )
    parser.add_argument(
        '--min-offset',
        type=float,
        default=5.0,
        metavar='MM',
        help='length below which offsets are not significant, mm (default: %(default)s)',
    )
    parser.add_argument('--out', type=Path, help='.json file of the results')
    parser.add_argument('--figure', type=Path, help='.png, .pdf or .svg file to write')
    parser.add_argument(
        '--regressor-out', type=Path, help='.npy file for the regressor fitted with the offsets'
    )
    parser.add_argument('--offsets-out', type=Path, help='.npz file for the significant offsets')
    parser.add_argument(
        '--bootstrap',
        type=int,
        default=0,
        metavar='N',
        help='also fit regressors to N draws of the subjects with replacement, and tell how far '
        'their joints are apart (default: 0)',
    )
    group = parser.add_argument_group('effect on a model')
    group.add_argument('--test-fits', type=Path, help='refined fits of the test subjects')
    group.add_argument('--predictions', nargs='+', help="files of the model's predictions")
    group.add_argument(
        '--regressor', help='regressor for the effect (default: the one fitted with the offsets)'
    )
    add_joint_order(group)
    group.add_argument('--protocol', help='protocol (default: paper)')
    add_mapping_options(group)


def run(args: argparse.Namespace) -> None:
    """Fit the offsets; print and write the results."""
    from dataclasses import replace

    from mmjrr.evaluation.evaluate_predictions import body_config, read_parts
    from mmjrr.evaluation.label_consistency import (
        LabeledFits,
        label_consistency,
        offset_effect,
        table_of_joints,
    )
    from mmjrr.evaluation.predicted_body import body_of
    from mmjrr.evaluation.protocols import get_protocol
    from mmjrr.evaluation.regressed_joints import load_regressors
    from mmjrr.io.paths import check_suffix
    from mmjrr.regressors.fitting.subject_bootstrap import bootstrap_over_subjects
    from mmjrr.visualization.matplotlib_figure import CHART_SUFFIXES, new_figure

    for path, suffixes in (
        (args.out, ('.json',)), (args.figure, CHART_SUFFIXES),
        (args.regressor_out, ('.npy',)), (args.offsets_out, ('.npz',)),
    ):  # fmt: skip
        if path is not None:
            check_suffix(path, *suffixes)
    if args.figure is not None:
        new_figure(1, 1)  # so that a missing matplotlib is found before the fit
    _check_effect_options(args)
    protocol = get_protocol(args.protocol or 'paper')
    config = body_config(args.body_model, {})
    assert isinstance(config, dict)
    fits = LabeledFits(args.fits, config, args.gender)
    fits.check_subjects()
    test_fits = None
    if args.test_fits is not None:
        test_fits = LabeledFits(args.test_fits, config, args.gender)
        test_fits.check_boxes()
        for part in read_parts(args.predictions):  # a broken file is found before the fit
            body_of(part, config)
    for remark in (*fits.remarks, *(() if test_fits is None else test_fits.remarks)):
        print(f'warning: {remark}', file=sys.stderr)
    chosen: list[Any] = []
    if args.regressor is not None:
        chosen = chosen_regressors([args.regressor], args.joint_order, args.body_model)
        load_regressors(chosen)  # so that a broken file is found before the fit
    root = fits.default_root() if args.root is None else args.root
    root = None if root == 'none' else root
    options: dict[str, Any] = dict(root=root, alpha=args.alpha, min_offset=args.min_offset / 1000)
    result = label_consistency(fits, **options)
    print(result)
    _write(args, fits, result)
    if args.bootstrap > 0:
        bootstrap = bootstrap_over_subjects(
            fits, result.result.fit_without_offsets.regressor, fits.body.v_template, root,
            bad_frames=result.result.fit_without_offsets.bad_frames, n_resamples=args.bootstrap,
        )  # fmt: skip
        result = replace(result, bootstrap=bootstrap)
        print(f'\n{table_of_joints(bootstrap)}')
        if args.out is not None:
            result.save(args.out)
    if test_fits is not None:
        (regressor,) = chosen or [result.result.fit.regressor]
        effect = offset_effect(
            test_fits, args.predictions, regressor, protocol, **options,
            title=Path(args.predictions[0]).stem, body_model=config, mapping=args.mapping,
            faces=args.faces,
        )  # fmt: skip
        print(f'\n{effect}')
        if args.out is not None:
            replace(result, effect=effect).save(args.out)


def _write(args: argparse.Namespace, fits: LabeledFits, result: LabelConsistency) -> None:
    """Write the files that are asked for."""
    from mmjrr.io import sha256
    from mmjrr.visualization.label_consistency_figure import draw_label_offsets

    if args.out is not None:
        print(f'Wrote {result.save(args.out)}')
    fitted = result.result.fit.regressor
    if args.offsets_out is not None:
        print(f'Wrote {result.result.offsets.save(args.offsets_out)}')
        fitted.provenance['label_offsets_sha256'] = sha256(args.offsets_out)
    if args.regressor_out is not None:
        print(f'Wrote {fitted.save(args.regressor_out)}')
    if args.figure is not None:
        print(f'Wrote {draw_label_offsets(fits, result.result, args.figure)}')


def _check_effect_options(args: argparse.Namespace) -> None:
    """Check that the options of the effect on a model are complete.

    Raises:
        OptionError: Fits or predictions are missing.
    """
    if args.test_fits is not None and args.predictions is not None:
        return
    if args.test_fits is not None or args.predictions is not None:
        raise OptionError('--test-fits and --predictions belong together')
    names = ('regressor', 'joint_order', 'protocol', 'mapping', 'faces')
    given = [f'--{name.replace("_", "-")}' for name in names if getattr(args, name) is not None]
    if given:
        raise OptionError(f'{", ".join(given)}: needs --test-fits and --predictions')


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv, prog))


if __name__ == '__main__':
    sys.exit(main())
