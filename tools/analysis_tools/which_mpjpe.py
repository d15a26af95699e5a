"""Evaluate the synthetic estimators under all protocols and regressors, for docs/which_mpjpe.md.

    python tools/analysis_tools/which_mpjpe.py data/synthetic_h36m
    python tools/analysis_tools/result_pages.py collect work_dirs/results
    python tools/analysis_tools/result_pages.py write

The set is that of tools/dataset_converters/make_synthetic_h36m.py. Two tables are made: one against
the annotated joints, and one against joints regressed from the true meshes by the same regressor.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmjrr.cli.options import parse, run_command

if TYPE_CHECKING:
    from mmjrr.evaluation import EvaluationResult

ESTIMATORS = ('spin_like', 'vibe_like', 'meva_like')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(run, parse(add_arguments, __doc__, argv))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument('set', type=Path, help='folder of the synthetic set')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/results/benchmarks'))


def run(args: argparse.Namespace) -> None:
    """Evaluate the estimators and write the tables."""
    import mmjrr
    from mmjrr.evaluation import evaluate_meshes, protocols_of_joints
    from mmjrr.evaluation.protocol_table import spread
    from mmjrr.io import atomic_write, versions
    from mmjrr.io.provenance import processor

    regressors = {
        'J_std': str(args.set / 'regressors' / 'J_std.npy'),
        'free_body_h36m': 'free_body_h36m',
        'J_true': str(args.set / 'truth' / 'J_true.npy'),
    }
    tables, notes = [], []
    for estimator in ESTIMATORS:
        predictions = args.set / 'fits' / f'{estimator}_test.npz'
        annotated = mmjrr.evaluate(
            predictions, args.set, regressors, list(protocols_of_joints().values()), by=()
        )
        meshes = evaluate_meshes(
            predictions, args.set / 'truth' / 'h36m_test.npz', regressors, body_model='free_body'
        )
        tables += [
            table(annotated, f'**{estimator}**, against annotated joints: MPJPE / PA-MPJPE, mm'),
            table(
                meshes,
                f'**{estimator}**, against true meshes: MPJPE / PA-MPJPE / PVE / PA-PVE, mm',
                ('MPJPE', 'PA-MPJPE', 'PVE', 'PA-PVE'),
            ),
        ]
        for what, result in (('annotated joints', annotated), ('true meshes', meshes)):
            notes += [f'{estimator}, {what}: {sentence}' for sentence in spread(result)]
    record = {
        'title': 'The same predictions under all protocols and regressors',
        'machine': {'cpu': processor(), 'cores': os.cpu_count(), **versions()},
        'tables': tables,
        'targets': [],
        'notes': notes,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / 'protocols.json'
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + '\n', encoding='utf-8')
    print(f'Wrote {path}')


def table(
    result: EvaluationResult, caption: str, errors: tuple[str, ...] = ('MPJPE', 'PA-MPJPE')
) -> dict[str, Any]:
    """Return the table of a result, as the records of benchmarks hold tables."""
    from mmjrr.evaluation.protocol_table import table_cells

    header, rows = table_cells(result, errors)
    return {'caption': caption, 'header': header, 'rows': rows}


if __name__ == '__main__':
    sys.exit(main())
