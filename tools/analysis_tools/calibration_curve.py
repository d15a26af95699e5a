"""Measure on a synthetic set how errors depend on rounds and moments of the calibration.

    python tools/dataset_converters/make_synthetic_h36m.py --out data/synthetic_h36m --synchronous
    python tools/analysis_tools/calibration_curve.py --out work_dirs/curve --moments 10 20 40 80

For each number of moments, a refinement runs from beginning to end. Its errors after each round of
the calibration and at the end are printed, and written to ``OUT/curve.json``. Finished runs are
kept. ``--rounds 10`` shows whether a run drifts.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

CONFIG = (
    Path(__file__).resolve().parents[2] / 'configs/refinement/contour-4view_5x80it_synthetic.py'
)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, default=Path('data/synthetic_h36m'))
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument('--config', default=str(CONFIG), help='config (default: %(default)s)')
    parser.add_argument('--moments', type=int, nargs='+', default=[10, 20, 40, 80])
    parser.add_argument('--rounds', type=int, help="rounds (default: the config's)")
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    from mmengine.runner import Runner

    from mmjrr.io import atomic_write, versions

    rows = []
    for moments in args.moments:
        work_dir = args.out / f'moments_{moments}'
        start = time.perf_counter()
        if not (work_dir / 'refinement.json').is_file():
            Runner.from_cfg(_config(args, work_dir, moments)).train()
        row = _measure(args.data, work_dir, moments)
        row['seconds'] = round(time.perf_counter() - start, 1)
        rows.append(row)
        print(json.dumps(row), flush=True)
    curve = dict(rows=rows, config=Path(args.config).name, seed=args.seed, versions=versions())
    with atomic_write(args.out / 'curve.json') as temporary:
        temporary.write_text(json.dumps(curve, indent=2) + '\n')
    return 0


def _config(args: argparse.Namespace, work_dir: Path, moments: int) -> Any:
    from mmengine.config import Config

    cfg = Config.fromfile(args.config)
    cfg.work_dir = str(work_dir)
    cfg.train_dataloader.dataset.data_root = str(args.data)
    cfg.randomness.seed = args.seed
    cfg.experiment_name = cfg.visualizer.name = f'curve_{time.time_ns()}'
    cfg.resume = (work_dir / 'pseudo_gt').is_dir()
    calibration = cfg.custom_hooks[0].calibration
    calibration.moments = moments
    calibration.rounds = args.rounds or calibration.rounds
    return cfg


def _measure(data: Path, work_dir: Path, moments: int) -> dict[str, Any]:
    from mmjrr.cli.demo import compare_rounds, compare_with_truth

    fits, errors, _ = compare_with_truth(data, work_dir)
    return dict(
        moments=moments,
        rounds=compare_rounds(data, work_dir),
        pve_mm=fits['pve_opt_mm'],
        regressor_error_mm=errors['J_opt'],
        floor_mm=errors['floor'],
    )


if __name__ == '__main__':
    sys.exit(main())
