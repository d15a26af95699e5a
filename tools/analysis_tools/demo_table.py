"""Print the summaries of several demos as Markdown tables.

python tools/analysis_tools/demo_table.py work_dirs/demo_*
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(
        description='Print the summaries of several demos as Markdown tables.'
    )
    parser.add_argument('demos', nargs='+', type=Path, help='folders with a summary.json')
    args = parser.parse_args()
    summaries = []
    for folder in args.demos:
        path = folder / 'summary.json'
        if not path.is_file():
            parser.error(f'{path}: no such file; has the demo finished?')
        summaries.append((folder.name, json.loads(path.read_text())))
    print('\n'.join(fits_table(summaries) + [''] + estimators_table(summaries)))


def fits_table(summaries: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Return the table of the errors of pseudo ground truth and regressors, line by line."""
    lines = [
        (
            '| demo | seed | PVE, mm | IoU | J_std | J_spin | J_opt | floor | J_opt / J_spin '
            '| feet PVE, mm | pose distance, deg |'
        ),
        '|---|---|---|---|---|---|---|---|---|---|---|',
    ]
    for name, summary in summaries:
        fits, errors, more = (
            summary[key] for key in ('pseudo_gt', 'regressor_error_mm', 'ablation')
        )
        lines.append(
            f'| {name} | {summary["seed"]} '
            f'| {fits["pve_init_mm"]:.1f} → {fits["pve_opt_mm"]:.1f} '
            f'(−{100 * (1 - fits["pve_opt_mm"] / fits["pve_init_mm"]):.0f} %) '
            f'| {fits["iou_init"]:.3f} → {fits["iou_opt"]:.3f} '
            + ''.join(f'| {errors[key]:.1f} ' for key in ('J_std', 'J_spin', 'J_opt', 'floor'))
            + f'| {errors["J_opt"] / errors["J_spin"]:.2f} '
            f'| {more["feet_pve_init_mm"]:.1f} → {more["feet_pve_opt_mm"]:.1f} '
            f'| {more["pose_distance_init_deg"]:.2f} → {more["pose_distance_opt_deg"]:.2f} |'
        )
    return lines


def estimators_table(summaries: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Return the table of MPJPE / PA-MPJPE of each estimator and regressor, line by line."""
    lines = [
        '| demo | estimator | J_std | J_spin | J_opt |',
        '|---|---|---|---|---|',
    ]
    for name, summary in summaries:
        for estimator, row in summary['table'].items():
            cells = [
                f'{row[r]["mpjpe"]:.1f} / {row[r]["pa_mpjpe"]:.1f}'
                for r in ('J_std', 'J_spin', 'J_opt')
            ]
            lines.append(f'| {name} | {estimator} | ' + ' | '.join(cells) + ' |')
    return lines


if __name__ == '__main__':
    main()
