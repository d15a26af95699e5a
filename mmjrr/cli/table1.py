r"""Table I of the paper: models by row, regressors by column, as text, Markdown, LaTeX and CSV.

    python tools/table1.py SPIN=spin.npz VIBE=vibe.npz MEVA=meva.npz --annotations data/h36m \
        --regressor J_std J_spin J_opt --body-model data/smpl --out table1.md table1.tex table1.csv

NAME=FILE is a model and its stored predictions, as tools/eval_predictions.py takes them (a name
several times: parts of one set); or the JSON file of an evaluation that was made before (its
``--out``, or ``test_evaluator.out_file`` of tools/test.py). SPIN, VIBE and MEVA have the paper's
numbers beside theirs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmjrr.cli.evaluation_options import (
    add_frame_options,
    chosen_protocols,
    chosen_regressors,
    named_sets,
    what_was_read,
)
from mmjrr.cli.options import parse, run_command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    from mmjrr.evaluation.protocols import PROTOCOLS

    parser.add_argument('files', nargs='+', metavar='NAME=FILE', help='a row of the table')
    parser.add_argument(
        '--annotations',
        help="MMPose's Human3.6M npz, or the folder with annotation_body3d/fps10/h36m_test.npz; "
        'for stored predictions',
    )
    parser.add_argument(
        '--regressor',
        nargs='+',
        default=['J_std', 'J_spin', 'J_opt'],
        metavar='J',
        help='columns: names, FILE or NAME=FILE; default: those of the paper',
    )
    parser.add_argument(
        '--joint-order', help="rows of regressor files that do not say: 'spin', 'mmpose'"
    )
    parser.add_argument(
        '--protocol', nargs='+', default=['paper'], help=f'some of {", ".join(PROTOCOLS)}'
    )
    parser.add_argument('--body-model', help="a SMPL file or folder, or 'free_body'")
    parser.add_argument('--match', default='name', choices=['name', 'order'])
    parser.add_argument('--unit', default='m', choices=['m', 'mm'], help='of stored vertices')
    add_frame_options(parser)
    parser.add_argument(
        '--out',
        nargs='+',
        type=Path,
        default=[],
        help='.txt, .md, .tex or .csv; of several protocols, OUT.PROTOCOL.md each',
    )


def run(args: argparse.Namespace) -> None:
    """Evaluate what has yet to be, and print and write the tables."""
    from mmjrr.evaluation import EvaluationResult, evaluate, load_regressors
    from mmjrr.evaluation.paper_table import check_table_path, read_result, tables_of

    for path in args.out:
        check_table_path(path)
    sets = named_sets(args.files)
    results: dict[str, EvaluationResult | dict[str, Any]] = {}
    waiting: dict[str, list[Path]] = {}
    for name, files in sets.items():
        content = read_result(files[0]) if len(files) == 1 else None
        if content is not None:
            results[name] = content
        else:
            waiting[name] = files
    if waiting and args.annotations is None:
        raise ValueError(f'--annotations is needed to evaluate {", ".join(waiting)}')
    regressors = (
        load_regressors(chosen_regressors(args.regressor, args.joint_order, args.body_model))
        if waiting
        else None
    )
    for name, files in waiting.items():
        assert regressors is not None
        result = evaluate(
            files,
            args.annotations,
            regressors,
            chosen_protocols(args.protocol, args.subjects, args.exclude),
            body_model=args.body_model,
            match=args.match,
            unit=args.unit,
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
