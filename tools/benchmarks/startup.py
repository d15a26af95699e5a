"""Measure how long commands take before they work: their help, and a run on few frames.

    python tools/benchmarks/startup.py [--rounds 5]

Each command runs in a process of its own, as from a shell, with bytecode as an installation has it;
the first round may compile it. The tables show the processor time, which other work on the machine
affects far less than the elapsed time; the JSON file has both, as medians over the rounds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import ROOT, Record, arguments, parse, seconds, synthetic_data

from mmjrr.cli.main import COMMANDS

#: Longest processor time of a command's help, and of a run on few frames, in seconds.
HELP, WORK = 1.0, 2.0


def main() -> None:
    parser = arguments(__doc__)
    args = parse(parser)
    record = Record('startup', 'Start of the commands', vars(args) | {'out': ''})
    data = synthetic_data(args.out, args.seed)
    cases = {f'mmjrr {name} --help': ([name, '--help'], HELP) for name in COMMANDS}
    cases |= {name: (command, WORK) for name, command in _small_work(data).items()}
    taken = {name: measure(command, args.rounds) for name, (command, _) in cases.items()}
    record.content['timings'] = {
        name: {'elapsed': elapsed, 'processor': processor}
        for name, (elapsed, processor) in taken.items()
    }
    record.table(
        ['command', 'processor time'],
        [[f'`{name}`', seconds(processor)] for name, (_, processor) in taken.items()],
    )
    for kind, limit in (('--help of the slowest command', HELP), ('slowest small run', WORK)):
        slowest = max(taken[name][1] for name, (_, of) in cases.items() if of == limit)
        record.target(
            f'{kind}, processor time', f'<= {limit:g} s', seconds(slowest), slowest <= limit
        )
    record.write(args.out)


def _small_work(data: Path) -> dict[str, list[str]]:
    """Return runs that take little beyond their start."""
    fits = data / 'fits/spin_like_test.npz'
    return {
        'mmjrr inspect free_body_h36m': ['inspect', 'free_body_h36m'],
        'mmjrr evaluate, the test frames of the synthetic set': [
            'evaluate', str(fits), '--annotations', str(data),
            '--regressor', 'free_body_h36m', '--body-model', 'free_body',
        ],
        'mmjrr test stored-spin-like_synthetic': [
            'test', 'stored-spin-like_synthetic', '--work-dir', str(data.parent / 'startup'),
            '--cfg-options', f'model.predictions={fits}',
            f'test_dataloader.dataset.data_root={data}',
            f'test_evaluator.regressors.J_std={data}/regressors/J_std.npy',
        ],
    }  # fmt: skip


def measure(command: Sequence[str], rounds: int) -> tuple[float, float]:
    """Return the medians of a command's elapsed and processor time in seconds.

    Raises:
        RuntimeError: The command fails.
    """
    times = []
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONDONTWRITEBYTECODE'}
    for _ in range(rounds):
        start, before = time.perf_counter(), os.times()
        done = subprocess.run(
            [sys.executable, '-m', 'mmjrr.cli.main', *command],
            cwd=ROOT, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        elapsed, after = time.perf_counter() - start, os.times()
        if done.returncode != 0:
            raise RuntimeError(f'{" ".join(command)}: {done.stderr or done.stdout}')
        user = after.children_user - before.children_user
        times.append((elapsed, user + after.children_system - before.children_system))
    elapsed, processor = np.median(times, axis=0)
    return float(elapsed), float(processor)


if __name__ == '__main__':
    main()
