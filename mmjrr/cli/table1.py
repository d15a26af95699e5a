r"""Print the paper's Table I for any models: one row per model, one column per regressor.

    python tools/table1.py SPIN=spin.npz VIBE=vibe.npz MEVA=meva.npz --annotations data/h36m \
        --regressor J_std J_spin J_opt --body-model data/smpl --out table1.md table1.tex table1.csv

NAME=FILE names a model and its stored predictions, in any format that tools/eval_predictions.py
reads. Several files with one name are parts of one set. FILE can also be the JSON result of an
evaluation: ``--out`` of tools/eval_predictions.py or ``test_evaluator.out_file`` of tools/test.py.
For SPIN, VIBE and MEVA the table shows the paper's numbers too. --out writes text, Markdown, LaTeX
or CSV.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmjrr.cli.evaluation_options import (
    add_annotations,
    add_frame_options,
    add_protocols,
    add_reading_options,
    chosen_protocols,
    chosen_regressors,
    named_sets,
    reading_options,
    what_was_read,
)
from mmjrr.cli.options import add_body_model, add_joint_order, parse, run_command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument('files', nargs='+', metavar='NAME=FILE', help='a row of the table')
    add_annotations(parser, '; needed for stored predictions')
    parser.add_argument(
        '--regressor',
        nargs='+',
        default=['J_std', 'J_spin', 'J_opt'],
        metavar='J',
        help="regressors, one a column: names, FILE or NAME=FILE (default: the paper's, J_std, "
        'J_spin and J_opt)',
    )
    add_joint_order(parser)
    add_protocols(parser)
    add_body_model(parser)
    add_reading_options(parser)
    add_frame_options(parser)
    parser.add_argument(
        '--out',
        nargs='+',
        type=Path,
        default=[],
        help='.txt, .md, .tex or .csv files to write; with several protocols, one '
        'OUT.PROTOCOL.md per protocol',
    )


def run(args: argparse.Namespace) -> None:
    """Evaluate stored predictions, and print and write the tables."""
    from mmjrr.evaluation import EvaluationResult, evaluate, load_regressors
    from mmjrr.evaluation.paper_table import check_table_path, read_result, tables_of

    for path in args.out:
        check_table_path(path)
    reading = reading_options(args)
    sets = named_sets(args.files)
    results: dict[str, EvaluationResult | dict[str, Any]] = {}
    to_evaluate: dict[str, list[Path]] = {}
    for name, files in sets.items():
        content = read_result(files[0]) if len(files) == 1 else None
        if content is not None:
            results[name] = content
        else:
            to_evaluate[name] = files
    if to_evaluate and args.annotations is None:
        raise ValueError(f'--annotations is needed to evaluate {", ".join(to_evaluate)}')
    regressors = (
        load_regressors(chosen_regressors(args.regressor, args.joint_order, args.body_model))
        if to_evaluate
        else None
    )
    for name, files in to_evaluate.items():
        assert regressors is not None
        result = evaluate(
            files,
            args.annotations,
            regressors,
            chosen_protocols(args.protocol, args.subjects, args.exclude),
            body_model=args.body_model,
            **reading,
            by=[],
            title=name,
            progress=True,
        )
        print(f'{name}: {what_was_read(result)}', file=sys.stderr)
        results[name] = result
    tables = tables_of({name: results[name] for name in sets})
    for table in tables:
        print(table.to_text())
    for path in args.out:
        for table in tables:
            target = path
            if len(tables) > 1:
                target = path.with_name(f'{path.stem}.{table.protocol}{path.suffix}')
            print(f'Wrote {table.save(target)}')


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv, prog))


if __name__ == '__main__':
    sys.exit(main())
