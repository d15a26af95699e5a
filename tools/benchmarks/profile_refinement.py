"""Measure which part of an iteration of refinement takes how much processor time.

    python tools/benchmarks/profile_refinement.py [--batches 16 64]

A profile of 50 iterations, on one thread: one view with all terms, and four views of 20 moments as
one problem (``contour-4view_5x80it_synthetic.py``), also with an outline offset of each part of a
subject's body. Python's profiler makes calls from Python look somewhat more expensive than they
are.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import shutil
import time
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from typing import Any
from unittest import mock

import torch
from common import ROOT, Record, arguments, parse, positive, synthetic_data
from large_runs import FOUR_VIEWS, HOOK
from refinement import Case

from mmjrr.cli import train
from mmjrr.datasets.synthetic import Settings, generate
from mmjrr.refinement import FitRefiner

#: Parts of an iteration, by the end of a function's file and by its name; the first match counts.
PARTS = (
    ('silhouettes and their comparison with masks', 'numba_backend.py', ''),
    ('posing and skinning, with derivatives', 'numba_lbs.py', ''),
    ('posing and skinning, with derivatives', 'mmjrr/body_models/lbs.py', ''),
    ('normals of outlines', 'normal_loops.py', ''),
    ('products of matrices: shapes, discriminators', '~', 'torch.mm'),
    ('products of matrices: shapes, discriminators', '~', 'torch.addmm'),
    ("autograd's operations", '~', 'run_backward'),
    ("calls of Numba's loops", 'numba/', ''),
    ("calls of Numba's loops", 'mmjrr/compiled_loops.py', ''),
)
REST = 'everything else: Adam, the other terms, Python'


def main() -> None:
    """Run the benchmark and write its record."""
    parser = arguments(__doc__)
    parser.add_argument('--batches', type=positive, nargs='+', default=[16, 64])
    parser.add_argument('--iterations', type=positive, default=50)
    parser.set_defaults(threads=1)
    args = parse(parser)
    args.device = 'cpu'
    torch.manual_seed(args.seed)
    record = Record('refinement_profile', 'Profile of an iteration', vars(args) | {'out': ''})
    synthetic_data(args.out, args.seed)
    shares = {
        f'one view, {batch} at once': _profile(Case(args, batch, False), args.iterations)
        for batch in args.batches
    }
    shares['four views, 80 images'] = _profile_four_views(args, 'fixed')
    shares['the same with outline offsets'] = _profile_four_views(args, 'subject')
    parts = list(dict.fromkeys(part for part, _, _ in PARTS)) + [REST]
    rows = []
    for part in parts:
        rows.append([part, *(f'{each[part] / sum(each.values()):.0%}' for each in shares.values())])
    totals = (1000 * sum(each.values()) / args.iterations for each in shares.values())
    rows.append(['one iteration', *(f'{total:.1f} ms' for total in totals)])
    record.table(['', *shares], rows, 'Free body: processor time of one thread.')
    record.write(args.out)


def _profile(case: Case, iterations: int) -> dict[str, float]:
    case.refine(2)
    profiler = cProfile.Profile(time.process_time)
    profiler.runcall(case.refine, iterations)
    return _by_part(profiler)


def _profile_four_views(args: argparse.Namespace, outlines: str) -> dict[str, float]:
    data = args.out / 'synchronous_4'
    settings = Settings(seed=args.seed, frames_per_subject=4, synchronous=True, images=False)
    generate(data, settings, 1, progress=False)
    work_dir = args.out / f'profile_{outlines}'
    shutil.rmtree(work_dir, ignore_errors=True)
    profiler = cProfile.Profile(time.process_time)
    refine_jointly = FitRefiner.refine_jointly

    def profiled(*arguments: Any, **options: Any) -> Any:
        return profiler.runcall(refine_jointly, *arguments, **options)

    # Chunks run in this thread: a profiler sees no other.
    with (
        mock.patch.object(FitRefiner, 'refine_jointly', profiled),
        mock.patch.object(FitRefiner, '_pool', return_value=nullcontext(_InThisThread())),
    ):
        train.main([
            str(ROOT / FOUR_VIEWS), '--work-dir', str(work_dir), '--cfg-options',
            f'train_dataloader.dataset.data_root={data}/', f'{HOOK}.calibration.rounds=1',
            f'{HOOK}.refiner.num_iters={args.iterations}',
            f'{HOOK}.refiner.share.part_outline_offset={outlines}',
            f'experiment_name=profile_{outlines}', f'visualizer.name=profile_{outlines}',
        ])  # fmt: skip
    return _by_part(profiler)


class _InThisThread(Executor):
    """An executor that calls functions when they are submitted."""

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*arguments, **options))
        return future


def _by_part(profiler: cProfile.Profile) -> dict[str, float]:
    seconds = dict.fromkeys([part for part, _, _ in PARTS] + [REST], 0.0)
    for (file, _, name), (_, _, own, _, _) in pstats.Stats(profiler).stats.items():
        matching = (p for p, end, text in PARTS if end in file and text in name)
        seconds[next(matching, REST)] += own
    return seconds


if __name__ == '__main__':
    main()
