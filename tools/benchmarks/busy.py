"""Measure refinement beside other work: threads by busy processes.

    python tools/benchmarks/busy.py [--batch 64] [--threads-of-torch 1 2 4] [--busy 0 1 2]

Each cell is a process of its own that refines batches of the synthetic set while other processes
compute without end. All numbers of threads take turns within a round, so that further load on the
machine falls on each of them. The fair share of t threads beside n busy processes on c cores is
``min(t, c, c t / (t + n))`` cores; a configuration that gets less than its share of the speed of
one undisturbed thread loses time by waiting.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import Record, arguments, parse, positive, synthetic_data
from refinement import FREE_BODY, Case

from mmjrr.refinement.allocator import keep_freed_memory

#: Iterations of a batch; all that a batch does besides them is timed, too.
ITERATIONS = 20


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument('--batch', type=positive, default=64)
    parser.add_argument('--threads-of-torch', type=positive, nargs='+', default=[1, 2, 4])
    parser.add_argument('--busy', type=int, nargs='+', default=[0, 1, 2], help='busy processes')
    parser.add_argument(
        '--wait-policy',
        choices=('PASSIVE', 'ACTIVE'),
        default='PASSIVE',
        help="OpenMP's, which mmjrr's commands set to PASSIVE (default)",
    )
    parser.add_argument('--alone', action='store_true', help=argparse.SUPPRESS)
    parser.set_defaults(rounds=3)
    args = parse(parser)
    args.device, args.iterations = 'cpu', ITERATIONS
    if args.alone:
        _serve(args)
        return
    synthetic_data(args.out, args.seed)
    record = Record('busy', 'Refinement beside other work', vars(args) | {'out': ''})
    cores = len(os.sched_getaffinity(0))
    speeds = {}
    with _workers(args) as workers:
        for busy in args.busy:
            with _busy_processes(busy):
                rounds = [[_ask(worker) for worker in workers] for _ in range(args.rounds)]
            for threads, values in zip(
                args.threads_of_torch, zip(*rounds, strict=True), strict=True
            ):
                speeds[busy, threads] = args.batch / statistics.median(values)
    alone = speeds[args.busy[0], args.threads_of_torch[0]]
    rows = []
    for threads in args.threads_of_torch:
        cells = [str(threads)]
        for busy in args.busy:
            share = min(threads, cores, cores * threads / (threads + busy))
            ratio = speeds[busy, threads] / alone
            cells.append(f'{speeds[busy, threads] * ITERATIONS / 100:.1f} ({ratio / share:.2f})')
        rows.append(cells)
    record.table(
        ['threads', *(f'{busy} busy processes' for busy in args.busy)],
        rows,
        f'{args.batch} frames at once, {FREE_BODY}, on {cores} cores: frames a second for 100 '
        'iterations and, in brackets, the speed as a part of the fair share.',
    )
    record.write(args.out)


def _serve(args: argparse.Namespace) -> None:
    """Refine a batch for each line of the input, and print the seconds."""
    import time

    keep_freed_memory()
    case = Case(args, args.batch, False)
    case.refine(1)
    for _ in sys.stdin:
        start = time.perf_counter()
        case.refine(ITERATIONS)
        print(f'seconds {time.perf_counter() - start}', flush=True)


@contextmanager
def _workers(args: argparse.Namespace) -> Iterator[list[subprocess.Popen[str]]]:
    """Start a process for each number of threads."""
    command = [
        sys.executable, str(Path(__file__)), '--alone', '--out', str(args.out), '--seed',
        str(args.seed), '--batch', str(args.batch),
    ]  # fmt: skip
    workers = [
        subprocess.Popen(
            [*command, '--threads', str(threads)],
            env={
                **os.environ,
                'OMP_NUM_THREADS': str(threads),
                'MKL_NUM_THREADS': str(threads),
                'OMP_WAIT_POLICY': args.wait_policy,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for threads in args.threads_of_torch
    ]
    try:
        for worker in workers:
            _ask(worker)  # loads, and is not counted
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _ask(worker: subprocess.Popen[str]) -> float:
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write('\n')
    worker.stdin.flush()
    for line in worker.stdout:
        if line.startswith('seconds '):
            return float(line.split()[1])
    raise RuntimeError('the process that refines ended')


@contextmanager
def _busy_processes(count: int) -> Iterator[None]:
    busy = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


if __name__ == '__main__':
    main()
