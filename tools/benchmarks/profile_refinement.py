"""Measure which part of an iteration of refinement takes how much processor time.

    python tools/benchmarks/profile_refinement.py [--batches 16 64]

A profile of 50 iterations, on one thread: one view with all terms, and four views of 20 moments as
one problem. These compare pixels (``contour-4view_5x80it_synthetic.py``), have also an outline
offset of each part of a subject's body, or have all options of ``contour-4view_5x80it_h36m.py``: a
mask head's cells, the gate, priors of poses and the offsets. Python's profiler makes calls from
Python look somewhat more expensive than they are.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time

import torch
from common import Record, arguments, parse, positive, synthetic_data
from large_runs import FOUR_VIEWS, HOOK, FourViews, h36m_options
from refinement import Case

from mmjrr.datasets.synthetic import Settings, generate

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
    shares |= _profile_four_views(args)
    parts = list(dict.fromkeys(part for part, _, _ in PARTS)) + [REST]
    rows = []
    for part in parts:
        rows.append([part, *(f'{each[part] / sum(each.values()):.0%}' for each in shares.values())])
    totals = (1000 * sum(each.values()) / args.iterations for each in shares.values())
    rows.append(['one iteration', *(f'{total:.1f} ms' for total in totals)])
    record.table(['', *shares], rows, 'Free body: processor time of one thread.')
    record.write(args.out)


def _profile(problem: Case | FourViews, iterations: int) -> dict[str, float]:
    problem.refine(2)
    profiler = cProfile.Profile(time.process_time)
    profiler.runcall(problem.refine, iterations)
    return _by_part(profiler)


def _profile_four_views(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    data = args.out / 'synchronous_4'
    settings = Settings(seed=args.seed, frames_per_subject=4, synchronous=True, images=False)
    generate(data, settings, 1, progress=False)
    offsets = [f'{HOOK}.refiner.share.part_outline_offset=subject']
    cases: dict[str, tuple[str, list[str]]] = {
        'four views, 80 images': (FOUR_VIEWS, []),
        'the same with outline offsets': (FOUR_VIEWS, offsets),
        'with all options for Human3.6M': (h36m_options(args.out), []),
    }
    return {
        name: _profile(FourViews(config, data, args.out / f'profile_{i}', options), args.iterations)
        for i, (name, (config, options)) in enumerate(cases.items())
    }


def _by_part(profiler: cProfile.Profile) -> dict[str, float]:
    seconds = dict.fromkeys([part for part, _, _ in PARTS] + [REST], 0.0)
    for (file, _, name), (_, _, own, _, _) in pstats.Stats(profiler).stats.items():
        matching = (p for p, end, text in PARTS if end in file and text in name)
        seconds[next(matching, REST)] += own
    return seconds


if __name__ == '__main__':
    main()
