"""Measure how long commands take before they work: their help, and a run on few frames.

    python tools/benchmarks/startup.py [--rounds 5]

Each command runs in a process of its own, as from a shell, with bytecode as an installation has it;
the first round, which may compile it, is not counted. The commands take turns in each round, so
that other work on the machine affects all of them. Beside the commands stand the packages that
they start: the imports of PyTorch and MMEngine, and a test by MMEngine's Runner of a model that
does nothing. The tables show the processor time, which other work affects far less than the
elapsed time; the JSON file has both, as medians over the rounds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from common import ROOT, Record, arguments, parse, seconds, synthetic_data

from mmjrr.cli.main import COMMANDS

#: Longest processor time of a command's help, and of a run on few frames, in seconds.
HELP, WORK = 1.0, 2.0


def main() -> None:
    """Run the benchmark and write its record."""
    parser = arguments(__doc__)
    args = parse(parser)
    record = Record('startup', 'Start of the commands', vars(args) | {'out': ''})
    data = synthetic_data(args.out, args.seed)
    mmjrr = ['-m', 'mmjrr.cli.main']
    help_of = {f'mmjrr {name} --help': [*mmjrr, name, '--help'] for name in COMMANDS}
    work = {name: [*mmjrr, *command] for name, command in _small_work(data).items()}
    taken = measure({**help_of, **_packages(data.parent), **work}, args.rounds)
    record.content['timings'] = {
        name: {'elapsed': elapsed, 'processor': processor}
        for name, (elapsed, processor) in taken.items()
    }
    record.table(
        ['command', 'processor time'],
        [[f'`{name}`', seconds(processor)] for name, (_, processor) in taken.items()],
    )
    for kind, names, limit in (
        ('--help of the slowest command', help_of, HELP),
        ('slowest small run', work, WORK),
    ):
        slowest = max(taken[name][1] for name in names)
        record.target(
            f'{kind}, processor time', f'<= {limit:g} s', seconds(slowest), slowest <= limit
        )
    record.write(args.out)


def _packages(work_dir: Path) -> dict[str, list[str]]:
    """Return runs of what the commands build on, without mmjrr."""
    empty = str(Path(__file__).with_name('empty_runner.py'))
    return {
        'python -c "import torch"': ['-c', 'import torch'],
        'python -c "import torch, mmengine.registry"': ['-c', 'import torch, mmengine.registry'],
        'python -c "import mmengine.runner"': ['-c', 'import mmengine.runner'],
        "MMEngine's Runner tests a model that does nothing": [
            empty,
            str(work_dir / 'empty_runner'),
        ],
    }


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


def measure(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the medians of each command's elapsed and processor time in seconds.

    Raises:
        RuntimeError: A command fails.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            taken = _seconds_of(command)
            if number:
                times[name].append(taken)
    return {name: tuple(np.median(values, axis=0).tolist()) for name, values in times.items()}


def _seconds_of(command: Sequence[str]) -> tuple[float, float]:
    """Run Python with arguments; return the elapsed and the processor time in seconds."""
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONDONTWRITEBYTECODE'}
    start, before = time.perf_counter(), os.times()
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    elapsed, after = time.perf_counter() - start, os.times()
    if done.returncode != 0:
        raise RuntimeError(f'{" ".join(command)}: {done.stderr or done.stdout}')
    user = after.children_user - before.children_user
    return elapsed, user + after.children_system - before.children_system


if __name__ == '__main__':
    main()
