"""Measure which part of an iteration of refinement takes how much processor time.

    python tools/benchmarks/profile_refinement.py [--batches 16 64]

A profile of 50 iterations with one view and all terms, on one thread. Python's profiler makes calls
from Python look somewhat more expensive than they are.
"""

from __future__ import annotations

import cProfile
import pstats
import time

import torch
from common import Record, arguments, parse, positive, synthetic_data
from refinement import Case

#: Parts of an iteration, by the end of a function's file and by its name; the first match counts.
PARTS = (
    ('silhouettes and their comparison with masks', 'numba_backend.py', ''),
    ('posing and skinning, with derivatives', 'numba_lbs.py', ''),
    ('posing and skinning, with derivatives', 'mmjrr/body_models/lbs.py', ''),
    ('discriminators', '~', 'linear'),
    ("autograd's operations", '~', 'run_backward'),
    ("calls of Numba's loops", 'numba/', ''),
    ("calls of Numba's loops", 'mmjrr/compiled_loops.py', ''),
)
REST = 'everything else: Adam, the other terms, Python'


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument('--batches', type=positive, nargs='+', default=[16, 64])
    parser.add_argument('--iterations', type=positive, default=50)
    parser.set_defaults(threads=1)
    args = parse(parser)
    args.device = 'cpu'
    torch.manual_seed(args.seed)
    record = Record('refinement_profile', 'Profile of an iteration', vars(args) | {'out': ''})
    synthetic_data(args.out, args.seed)
    shares = {batch: _profile(Case(args, batch, False), args.iterations) for batch in args.batches}
    parts = list(dict.fromkeys(part for part, _, _ in PARTS)) + [REST]
    rows = []
    for part in parts:
        cells = (shares[batch][part] / sum(shares[batch].values()) for batch in args.batches)
        rows.append([part, *(f'{share:.0%}' for share in cells)])
    totals = [
        f'{1000 * sum(shares[batch].values()) / args.iterations:.1f} ms' for batch in args.batches
    ]
    rows.append(['one iteration', *totals])
    record.table(
        ['', *(f'{batch} frames at once' for batch in args.batches)],
        rows,
        'One view, free body, all terms: processor time of one thread.',
    )
    record.write(args.out)


def _profile(case: Case, iterations: int) -> dict[str, float]:
    case.refine(2)
    profiler = cProfile.Profile(time.process_time)
    profiler.runcall(case.refine, iterations)
    seconds = dict.fromkeys([part for part, _, _ in PARTS] + [REST], 0.0)
    for (file, _, name), (_, _, own, _, _) in pstats.Stats(profiler).stats.items():
        matching = (p for p, end, text in PARTS if end in file and text in name)
        seconds[next(matching, REST)] += own
    return seconds


if __name__ == '__main__':
    main()
