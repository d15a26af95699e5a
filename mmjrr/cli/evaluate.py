r"""Evaluate stored predictions of any model with any joint regressors.

    python tools/eval_predictions.py results.npz --annotations data/h36m \
        --regressor J_std J_opt --protocol paper spin-p1 --body-model data/smpl --out results.json

Several FILEs are parts of one set of predictions. NAME=FILE adds a file to the set of that name,
and each set is evaluated on its own. docs/evaluate_your_model.md describes formats, layouts and
--fields.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmjrr.cli.evaluation_options import (
    ROTATIONS_6D,
    add_annotations,
    add_frame_options,
    add_protocols,
    add_reading_options,
    chosen_protocols,
    chosen_regressors,
    named_sets,
    pair,
    reading_options,
    what_was_read,
)
from mmjrr.cli.options import add_body_model, add_joint_order, parse, run_command
from mmjrr.cli.report import GALLERY_OPTIONS, add_gallery_options, gallery_options

if TYPE_CHECKING:
    from mmjrr.evaluation import EvaluationResult
    from mmjrr.regressors import JointRegressor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    from mmjrr.datasets.units import METERS
    from mmjrr.evaluation.result import BREAKDOWNS, ERRORS
    from mmjrr.regressors.zoo import ZOO

    parser.add_argument('files', nargs='+', metavar='FILE', help='predictions: FILE or NAME=FILE')
    add_annotations(parser)
    parser.add_argument(
        '--annotated-meshes',
        nargs='+',
        metavar='FILE',
        help='annotated bodies in any layout, not --annotations: joints regressed from them '
        'are the target, and vertices are compared',
    )
    parser.add_argument(
        '--annotated-fields',
        nargs='+',
        default=[],
        metavar='FIELD=PATH',
        help='path of a field in the files of --annotated-meshes, as in --fields',
    )
    parser.add_argument(
        '--annotated-rotation-6d',
        choices=ROTATIONS_6D,
        help='storage order of 6D rotations in the files of --annotated-meshes, as --rotation-6d',
    )
    parser.add_argument(
        '--annotated-unit',
        choices=METERS,
        help='unit of vertices and transl in the files of --annotated-meshes (default: m)',
    )
    parser.add_argument(
        '--regressor',
        nargs='+',
        required=True,
        metavar='J',
        help=f'regressors: names ({", ".join(ZOO)}), FILE or NAME=FILE',
    )
    add_joint_order(parser)
    add_protocols(parser)
    parser.add_argument(
        '--all-protocols',
        action='store_true',
        help='print one table of all protocols whose joints are annotated and whose frames are '
        'among the annotated ones',
    )
    parser.add_argument(
        '--errors',
        nargs='+',
        default=['MPJPE', 'PA-MPJPE'],
        choices=list(ERRORS),
        help='errors to print (default: %(default)s)',
    )
    add_body_model(
        parser, ', for predictions that are parameters (default: the body of the regressors)'
    )
    add_reading_options(parser)
    parser.add_argument(
        '--missing',
        default='skip',
        choices=['skip', 'raise'],
        help='skip and list frames whose prediction is missing, all zeros or NaN, or raise an '
        'error (default: %(default)s)',
    )
    add_frame_options(parser)
    parser.add_argument(
        '--by',
        nargs='+',
        default=[],
        choices=BREAKDOWNS,
        help='print further tables, broken down by these',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='.json or .csv file to write; with several sets, one OUT.NAME.json per set',
    )
    parser.add_argument(
        '--report',
        type=Path,
        metavar='HTML',
        help='page to write: tables, charts and the worst frames with their bodies, for a browser',
    )
    add_gallery_options(parser)
    parser.add_argument(
        '--unmatched-out',
        type=Path,
        help='text file to write: names of frames without a prediction, and of predictions '
        'without an annotation',
    )


def run(args: argparse.Namespace) -> None:
    """Evaluate each set of predictions, print the results and write the files."""
    from mmjrr.evaluation import load_regressors
    from mmjrr.io.paths import check_writable

    _check_options(args)
    sets = named_sets(args.files)
    out_files = {} if args.out is None else _result_files(args.out, list(sets))
    for option, path in {'--report': args.report, '--unmatched-out': args.unmatched_out}.items():
        if path is not None:
            check_writable(path, option)
    page = None if args.report is None else EvaluationReport(args)
    reading = reading_options(args)
    regressors = load_regressors(
        chosen_regressors(args.regressor, args.joint_order, args.body_model)
    )
    protocols = _protocols(args)
    lines: list[str] = []
    done: list[str] = []
    try:
        for name, files in sets.items():
            result = _evaluate(args, name, files, regressors, protocols, reading, page)
            if args.annotated_meshes is None:
                print(f'{what_was_read(result)}\n')
            else:
                print(*(f'  {note}' for note in result.provenance['notes']), '', sep='\n')
            print(f'{_table(result, args)}\n')
            lines += [f'{name}\tno prediction\t{image}' for image in result.skipped]
            lines += [f'{name}\tnot annotated\t{image}' for image in result.unmatched]
            if name in out_files:
                print(f'Wrote {result.save(out_files[name])}')
            done.append(name)
    except Exception:
        if done:
            _write_unmatched(args, lines)
            if page is not None:
                page.write(args.report, done)
        raise
    _write_unmatched(args, lines)
    if page is not None:
        page.check()
        page.write(args.report, done)


def _evaluate(
    args: argparse.Namespace,
    name: str,
    files: list[Path],
    regressors: Mapping[str, JointRegressor],
    protocols: list[Any],
    reading: Mapping[str, Any],
    page: EvaluationReport | None,
) -> EvaluationResult:
    """Evaluate a set of predictions."""
    from mmjrr.evaluation import evaluate

    if args.annotated_meshes is not None:
        return _evaluate_meshes(args, name, files, regressors, reading)
    options: dict[str, Any] = dict(reading, missing=args.missing, progress=True)
    if page is not None:
        return page.evaluate(name, files, regressors, protocols, options)
    return evaluate(
        files,
        args.annotations,
        regressors,
        protocols,
        body_model=args.body_model,
        title=name,
        **options,
    )


def _write_unmatched(args: argparse.Namespace, lines: Sequence[str]) -> None:
    from mmjrr.io import atomic_write

    if args.unmatched_out is not None:
        with atomic_write(args.unmatched_out) as temporary:
            temporary.write_text(''.join(f'{line}\n' for line in lines), encoding='utf-8')
        print(f'Wrote {args.unmatched_out} ({len(lines)} names)')


def _check_options(args: argparse.Namespace) -> None:
    """Refuse options that have no use with the others.

    Raises:
        ValueError: One is given.
    """
    if (args.annotations is None) == (args.annotated_meshes is None):
        raise ValueError('expected one of --annotations and --annotated-meshes')
    if args.annotated_meshes is not None:
        _check_no_annotation_options(args)
    else:
        for name in ('annotated_fields', 'annotated_rotation_6d', 'annotated_unit'):
            if getattr(args, name):
                raise ValueError(f'--{name.replace("_", "-")}: needs --annotated-meshes')
    if args.report is None:
        for name in GALLERY_OPTIONS:
            if getattr(args, name) not in (None, False):
                raise ValueError(f'--{name.replace("_", "-")}: needs --report, which shows frames')
    for option, is_given in {'--protocol': args.protocol is not None, '--by': args.by}.items():
        if args.all_protocols and is_given:
            raise ValueError(f'{option}: found with --all-protocols, expected one of them')


def _result_files(out: Path, names: Sequence[str]) -> dict[str, Path]:
    """Return the file of the result of each set.

    Raises:
        ValueError: The suffix is another one, a set's name cannot be part of a file's name, or
            files cannot be written there.
    """
    from mmjrr.evaluation.result import check_result_path
    from mmjrr.io.paths import check_writable

    check_writable(check_result_path(out), '--out')
    if len(names) == 1:
        return {names[0]: out}
    for name in names:
        if any(character in name for character in '/\\\0'):
            raise ValueError(
                f'--out: found the set {name!r}, expected a name without slashes, as it becomes '
                'part of a file name'
            )
    return {name: out.with_name(f'{out.stem}.{name}{out.suffix}') for name in names}


def _protocols(args: argparse.Namespace) -> list[Any]:
    """Return the protocols; with ``--all-protocols`` print which have none of the frames."""
    from mmjrr.evaluation import get_protocol
    from mmjrr.evaluation.annotated_frames import AnnotatedFrames
    from mmjrr.evaluation.protocol_table import protocols_of_joints, protocols_of_labels

    chosen = chosen_protocols(args.protocol, args.subjects, args.exclude)
    if not args.all_protocols:
        return list(chosen)
    protocols = protocols_of_joints(frames_of=get_protocol(chosen[0]))
    if args.annotations is not None:
        labels = AnnotatedFrames(args.annotations, {}).labels
        protocols, left_out = protocols_of_labels(protocols, labels)
        for reason, names in left_out.items():
            print(f'{", ".join(names)} left out: {reason}\n')
    return list(protocols.values())


def _check_no_annotation_options(args: argparse.Namespace) -> None:
    """Refuse options that have a use with ``--annotations`` only.

    Raises:
        ValueError: One is given.
    """
    for option, is_given in {
        '--report': args.report is not None,
        '--match order': args.match == 'order',
        '--metadata': args.metadata is not None,
        '--missing raise': args.missing == 'raise',
        '--all-protocols with --subjects': args.all_protocols and args.subjects is not None,
        '--all-protocols with --exclude': args.all_protocols and args.exclude is not None,
    }.items():
        if is_given:
            raise ValueError(f'{option}: needs --annotations, found --annotated-meshes')


def _evaluate_meshes(
    args: argparse.Namespace,
    name: str,
    files: list[Path],
    regressors: Mapping[str, JointRegressor],
    reading: Mapping[str, Any],
) -> EvaluationResult:
    from mmjrr.evaluation import evaluate_meshes

    options = {key: value for key, value in reading.items() if key not in ('match', 'metadata')}
    return evaluate_meshes(
        files,
        args.annotated_meshes,
        regressors,
        None
        if args.all_protocols
        else chosen_protocols(args.protocol, args.subjects, args.exclude),
        body_model=args.body_model,
        annotated_fields=dict(pair(text) for text in args.annotated_fields) or None,
        annotated_rotation_6d=args.annotated_rotation_6d,
        annotated_unit=args.annotated_unit or 'm',
        title=name,
        **options,
    )


def _table(result: EvaluationResult, args: argparse.Namespace) -> str:
    from mmjrr.evaluation.protocol_table import format_protocol_table

    if args.all_protocols:
        return format_protocol_table(result, args.errors)
    without = set(args.by) - {score.by for score in result.scores}
    sentences = [f'No table by {kind}: image names do not tell it' for kind in sorted(without)]
    return '\n\n'.join([result.format(args.by, args.errors), *sentences])


class EvaluationReport:
    """The report of all sets of predictions, to which each evaluation adds its part.

    Args:
        args: The command's arguments.

    Raises:
        ValueError: The path has another suffix than ``.html``.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        from mmjrr.visualization.report import Report, check_report_path

        check_report_path(args.report)
        self.args = args
        self.options = gallery_options(args)
        self.report = Report(
            title='',
            summary='Stored predictions, evaluated under each joint regressor.',
        )

    def evaluate(
        self,
        name: str,
        files: Sequence[Path],
        regressors: Mapping[str, JointRegressor],
        protocols: Sequence[Any],
        options: dict[str, Any],
    ) -> EvaluationResult:
        """Evaluate a set of predictions and add it to the report."""
        from mmjrr.visualization.report import PredictionSet, add_predictions

        self.report.regressors = dict(regressors)
        return add_predictions(
            self.report,
            PredictionSet(name, list(files), Path(self.args.annotations), options),
            regressors,
            list(protocols),
            self.args.body_model,
            self.options,
            self.options.frames // len(named_sets(self.args.files)),
        )

    def check(self) -> None:
        """Check that the photographs and masks that are named are of some frame.

        Raises:
            DataError: They are of none.
        """
        self.options.check_used(self.report.frames)

    def write(self, path: Path, names: Sequence[str]) -> None:
        """Write the page of the sets ``names``, and print its path."""
        from mmjrr.visualization.report import write_report

        self.report.title = 'Evaluation of ' + ', '.join(names)
        self.report.frames.sort(key=lambda frame: -frame.worst)
        print(f'Wrote {write_report(self.report, path)}; open it in a browser.')


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv, prog))


if __name__ == '__main__':
    sys.exit(main())
