"""Measure how the time of each stage grows with the number of frames, and the start-up time.

    python tools/benchmarks/linear.py [--largest 2048] [--plot docs/images/linear_time.png]

The numbers of frames span a factor of 32; the result is a table and a plot. Refinement runs 5
iterations instead of 100, on a quarter of the frames of the other stages.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from common import ROOT, Record, arguments, parse, positive, seconds, synthetic_data
from evaluation import evaluate, repeated_frames, three_regressors
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter
from refinement import Case
from solver import Fits

from mmjrr.io import atomic_write
from mmjrr.regressors import fit_joint_regressor

SPAN = 32  # a decade and a half
ITERATIONS = 5


def main() -> None:
    """Run the benchmark and write its record."""
    parser = arguments(__doc__)
    parser.add_argument('--largest', type=positive, default=2048, help='largest number of frames')
    parser.add_argument('--plot', type=Path, help='default: linear_time.png in --out')
    parser.set_defaults(rounds=2)
    args = parse(parser)
    args.iterations, args.device = ITERATIONS, 'cpu'
    if args.largest < 4 * 16 * SPAN:  # one batch of 16 is refined at least
        parser.error(f'--largest {args.largest}: expected at least {4 * 16 * SPAN}')
    record = Record('linear', 'Time over frames', vars(args) | {'out': '', 'plot': ''})
    stages = _stages(args)
    stage_times: dict[str, dict[int, float]] = {}
    for name, (stage, part) in stages.items():
        sizes = [args.largest // part // SPAN * 2**k for k in range(6)]
        stage_times[name] = _times(stage, sizes, args.rounds)
        print(f'{name}: {seconds(stage_times[name][sizes[-1]])} for {sizes[-1]} frames', flush=True)
    record.content['timings'] = {
        name: {str(n): t for n, t in times.items()} for name, times in stage_times.items()
    }
    rows = []
    for name, times in stage_times.items():
        sizes = list(times)
        growth = times[sizes[-1]] / times[sizes[0]]
        rows.append([
            name, f'{sizes[0]} to {sizes[-1]}', seconds(times[sizes[0]]),
            seconds(times[sizes[-1]]), f'{growth:.1f}', f'{exponent(times):.2f}',
        ])  # fmt: skip
        # Over all sizes, a fixed cost would hide a growth that is faster than linear.
        power = exponent(times)
        record.target(f'{name}: exponent of the frames', '<= 1.15', f'{power:.2f}', power <= 1.15)
    record.table(
        ['stage', 'frames', 'smallest', 'largest', f'growth over {SPAN}x', 'exponent'],
        rows,
        'Exponent: of the frames, over the last two doublings; 1 is linear, less a fixed cost.',
    )
    plot(stage_times, args.plot or args.out / 'linear_time.png')
    start = min(
        start_up(synthetic_data(args.out, args.seed), args.out / 'start_up')
        for _ in range(args.rounds)
    )
    record.target('tools/test.py on 32 frames, start to end', '< 10 s', seconds(start), start < 10)
    record.write(args.out)


def _stages(args: argparse.Namespace) -> dict[str, tuple[Callable[[int], Any], int]]:
    """Return each stage as a function of the number of frames, and the fraction that it uses."""
    data = synthetic_data(args.out, args.seed)
    case = Case(args, 16, False)
    regressors = three_regressors(data, args.seed)
    files = {}

    def load(frames: int) -> None:
        for i in range(frames):
            case.dataset[i % len(case.dataset)]

    def refine(frames: int) -> None:
        for _ in range(frames // 16):
            case.refine(ITERATIONS)

    def fit(frames: int) -> None:
        fits = Fits(frames, args.seed)
        fit_joint_regressor(fits, fits.truth.joint_names, 'mean', body_model='free_body')

    def score(frames: int) -> None:
        evaluate(*files[frames], regressors)

    for k in range(6):
        frames = args.largest // SPAN * 2**k
        files[frames] = repeated_frames(data, args.out / 'evaluation', frames)
    return {
        'data loading': (load, 1),
        f'refinement ({ITERATIONS} iterations)': (refine, 4),
        'regressor fit': (fit, 1),
        'evaluation': (score, 1),
    }


def _times(stage: Callable[[int], Any], sizes: list[int], rounds: int) -> dict[int, float]:
    """Return the seconds of the fastest round at each size; slow stages run only once."""
    stage(sizes[0])
    times: dict[int, float] = {}
    for size in sizes:
        for number in range(rounds):
            start = time.perf_counter()
            stage(size)
            taken = time.perf_counter() - start
            times[size] = min(times.get(size, taken), taken)
            if number == 0 and taken > 5:
                break
    return times


def exponent(times: dict[int, float]) -> float:
    """Return the exponent with which the time grows over the last two doublings of frames.

    >>> exponent({1: 5.0, 2: 6.0, 4: 12.0, 8: 24.0})
    1.0
    """
    (n1, t1), _, (n2, t2) = list(times.items())[-3:]
    return float(np.log(t2 / t1) / np.log(n2 / n1))


def plot(stage_times: dict[str, dict[int, float]], path: Path) -> None:
    """Draw times over numbers of frames on logarithmic axes."""
    matplotlib.use('Agg')
    figure, axes = pyplot.subplots(figsize=(6, 4.2), layout='constrained')
    for name, times in stage_times.items():
        frames, taken = np.array(list(times)), np.array(list(times.values()))
        (line,) = axes.loglog(frames, taken, 'o-', label=name, markersize=4, linewidth=1.5)
        axes.loglog(
            frames, taken[-1] * frames / frames[-1], ':', color=line.get_color(), linewidth=1
        )
    axes.set_xlabel('frames')
    axes.set_ylabel('seconds')
    plain = FuncFormatter(lambda value, _: f'{value:g}')
    axes.xaxis.set_major_formatter(plain)
    axes.yaxis.set_major_formatter(plain)
    axes.grid(True, which='major', color='0.9')
    axes.plot([], [], ':', color='0.4', linewidth=1, label='linear')
    axes.legend(fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120, format='png')
    pyplot.close(figure)
    print(f'plot: {path}', flush=True)


def start_up(data: Path, work_dir: Path) -> float:
    """Measure the seconds that tools/test.py takes for the few frames of the synthetic set."""
    command = [
        sys.executable, str(ROOT / 'tools/test.py'),
        str(ROOT / 'configs/evaluation/stored-spin-like_synthetic.py'),
        '--work-dir', str(work_dir), '--cfg-options',
        f'model.predictions={data}/fits/spin_like_test.npz',
        f'test_dataloader.dataset.data_root={data}',
        f'test_evaluator.regressors.J_std={data}/regressors/J_std.npy',
    ]  # fmt: skip
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


if __name__ == '__main__':
    main()
