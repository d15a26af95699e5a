"""Measure refinement, evaluation and regressor fit beside other work: threads by busy processes.

    python tools/benchmarks/busy.py [--threads-of-torch 1 2 3 4] [--busy 0 1 2] [--rounds 3]

A process for each number of threads does the same work while other processes compute without end.
All numbers of threads take turns within a round, so that further load on the machine falls on each
of them. Their elapsed and their processor times are divided by those of one thread beside the same
busy processes: threads that wait for each other show in either. About eight minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import Record, arguments, parse, positive, seconds, synthetic_data
from evaluation import evaluate, repeated_frames, three_regressors
from refinement import Case
from solver import Fits

from mmjrr.refinement.allocator import keep_freed_memory
from mmjrr.regressors import fit_joint_regressor

#: Iterations of a batch of 64 frames; all that a batch does besides them is timed, too.
ITERATIONS, BATCH = 10, 64
#: Frames of the test set that are evaluated, and bodies that a regressor is fitted to.
EVALUATED, FITTED = 1000, 128
#: What the elapsed time may be, relative to one thread's beside the same busy processes.
LIMIT = 1.2


def main() -> None:
    """Run the benchmark and write its record."""
    parser = arguments(__doc__)
    parser.add_argument('--threads-of-torch', type=positive, nargs='+', default=[1, 2, 3, 4])
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
    if args.threads_of_torch[0] != 1:
        parser.error(f'--threads-of-torch {args.threads_of_torch}: expected 1 as the first')
    if args.alone:
        _serve(args)
        return
    data = synthetic_data(args.out, args.seed)
    repeated_frames(data, args.out / 'busy', EVALUATED)
    before = os.getloadavg()[0]
    record = Record('busy', 'Beside other work', vars(args) | {'out': ''})
    times = _measure(args)
    record.content['timings'] = {
        f'{stage}, {busy} busy processes, {threads} threads': rounds
        for (stage, busy, threads), rounds in times.items()
    }
    record.note(f'Load of the machine at the start, without the busy processes: {before:.1f}.')
    _report(record, args, times)
    record.write(args.out)


#: Elapsed and processor seconds of each round by stage, busy processes and threads.
Times = dict[tuple[str, int, int], list[tuple[float, float]]]


def _measure(args: argparse.Namespace) -> Times:
    times: Times = {}
    with _workers(args) as workers:
        stages = {name: None for worker in workers for name in _ask(worker, 'stages')}
        for busy in args.busy:
            with _busy_processes(busy):
                for stage in stages:
                    for _ in range(args.rounds):
                        for threads, worker in zip(args.threads_of_torch, workers, strict=True):
                            key = stage, busy, threads
                            times.setdefault(key, []).append(tuple(_ask(worker, stage)))
    return times


def _report(record: Record, args: argparse.Namespace, times: Times) -> None:
    rows = []
    slowest: dict[str, tuple[float, str]] = {}
    for stage in dict.fromkeys(stage for stage, _, _ in times):
        for busy in args.busy:
            one, one_processor = _medians(times[stage, busy, 1])
            cells = []
            for threads in args.threads_of_torch[1:]:
                elapsed, processor = _medians(times[stage, busy, threads])
                cells.append(f'{elapsed / one:.2f} ({processor / one_processor:.2f})')
                case = f'{threads} threads, {busy} busy'
                slowest[stage] = max(slowest.get(stage, (0.0, '')), (elapsed / one, case))
            rows.append([stage, str(busy), seconds(one), *cells])
    record.table(
        ['', 'busy processes', '1 thread', *(f'{t} threads' for t in args.threads_of_torch[1:])],
        rows,
        f'Elapsed time, and in brackets processor time, relative to one thread beside the same '
        f'busy processes, on {len(os.sched_getaffinity(0))} cores; medians of {args.rounds} rounds '
        f"in turn. OpenMP's waiting policy is {args.wait_policy}.",
    )
    for stage, (ratio, case) in slowest.items():
        record.target(
            f'{stage} beside other work: slowest number of threads / one thread',
            f'<= {LIMIT}', f'{ratio:.2f} ({case})', ratio <= LIMIT,
        )  # fmt: skip


def _medians(rounds: list[tuple[float, float]]) -> tuple[float, float]:
    elapsed, processor = zip(*rounds, strict=True)
    return statistics.median(elapsed), statistics.median(processor)


def _stages(args: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    keep_freed_memory()
    case = Case(args, BATCH, False)
    data = args.out / 'data'
    names = 'h36m_test.npz', 'spin_like_test.npz'
    annotation, predictions = (args.out / f'busy/{EVALUATED}_{name}' for name in names)
    regressors = three_regressors(data, args.seed)
    fits = Fits(FITTED, args.seed)

    def fit() -> None:
        fit_joint_regressor(fits, fits.truth.joint_names, 'mean', body_model='free_body')

    return {
        f'refinement, {BATCH} frames, {ITERATIONS} iterations': lambda: case.refine(ITERATIONS),
        f'evaluation, {EVALUATED:,} frames': lambda: evaluate(annotation, predictions, regressors),
        f'regressor fit, {FITTED} frames': fit,
    }


def _serve(args: argparse.Namespace) -> None:
    """Run the stage that each line of the input names, and print its seconds."""
    stages = _stages(args)
    for stage in stages.values():
        stage()
    for line in sys.stdin:
        name = line.rstrip('\n')
        if name == 'stages':
            print(f'answer {json.dumps(list(stages))}', flush=True)
            continue
        elapsed, processor = time.perf_counter(), time.process_time()
        stages[name]()
        taken = time.perf_counter() - elapsed, time.process_time() - processor
        print(f'answer {json.dumps(taken)}', flush=True)


@contextmanager
def _workers(args: argparse.Namespace) -> Iterator[list[subprocess.Popen[str]]]:
    """Start a process for each number of threads."""
    command = [
        sys.executable, str(Path(__file__)), '--alone', '--out', str(args.out), '--seed',
        str(args.seed),
    ]  # fmt: skip
    workers = []
    for threads in map(str, args.threads_of_torch):
        limits = {f'{name}_NUM_THREADS': threads for name in ('OMP', 'MKL', 'NUMBA')}
        environment = {**os.environ, **limits, 'OMP_WAIT_POLICY': args.wait_policy}
        workers.append(
            subprocess.Popen(
                [*command, '--threads', threads],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _ask(worker: subprocess.Popen[str], question: str) -> Any:
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(f'{question}\n')
    worker.stdin.flush()
    for line in worker.stdout:
        if line.startswith('answer '):
            return json.loads(line.removeprefix('answer '))
    raise RuntimeError('the process that works beside others ended')


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
