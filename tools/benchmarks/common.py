"""Timing, machine description, tables and JSON files that the benchmarks share.

The compared programs run alternately, round by round, so that other load on the machine affects
them equally. The result is the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjrr.io import atomic_write, versions
from mmjrr.io.provenance import processor

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / 'work_dirs/benchmarks'
ON_GPU = '_gpu'  # in the names of files
_PROCESSOR_TIME = False  # set by --processor-time


@dataclass(frozen=True)
class Timing:
    """Seconds of the rounds of one program.

    Attributes:
        median: Median over the rounds.
        spread: Interquartile range.
        all: All rounds.
    """

    median: float
    spread: float
    all: tuple[float, ...]

    def __str__(self) -> str:
        return f'{seconds(self.median)} ± {seconds(self.spread / 2)}'


def interleaved(
    sides: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int = 1
) -> dict[str, Timing]:
    """Run each program once per round, after ``warm_up`` rounds that are not timed.

    Raises:
        ValueError: There is no program, or fewer than one round.
    """
    if rounds < 1 or not sides:
        raise ValueError(f'found sides {list(sides)}, {rounds} rounds, expected at least one each')
    durations: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(warm_up + rounds):
        for name, side in sides.items():
            _wait_for_gpu()
            start = clock()
            side()
            _wait_for_gpu()
            if number >= warm_up:
                durations[name].append(clock() - start)
    return {name: _timing(values) for name, values in durations.items()}


def clock() -> float:
    """Return seconds of time, or, with ``--processor-time``, of this process's processor time."""
    return time.process_time() if _PROCESSOR_TIME else time.perf_counter()


def _timing(values: Sequence[float]) -> Timing:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return Timing(float(middle), float(high - low), tuple(values))


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def machine(device: str = 'cpu') -> dict[str, Any]:
    """Describe the machine: processor, threads, load, versions, and the GPU if it is used."""
    import scipy

    return {
        'cpu': processor(),
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'load': round(os.getloadavg()[0], 1),
        'gpu': None if device == 'cpu' else torch.cuda.get_device_name(device),
        'scipy': scipy.__version__,
        **versions(),
    }


def peak_memory() -> float:
    """Return the peak memory of this process in MiB.

    ``ru_maxrss`` is not usable, since it starts at the parent process's memory.

    Raises:
        OSError: The system is not Linux.
    """
    with open('/proc/self/status') as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM')) / 1024


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write a JSON file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + '\n')


def table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = '') -> str:
    """Format a Markdown table, with the first column left-aligned and the others right-aligned.

    >>> print(table(['batch', 'ours'], [['1', '2 ms'], ['16', '30 ms']]))
    | batch |  ours |
    |:------|------:|
    | 1     |  2 ms |
    | 16    | 30 ms |
    """
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return '| ' + ' | '.join(padded) + ' |'

    rule = '|' + '|'.join(
        ':' + '-' * (width + 1) if i == 0 else '-' * (width + 1) + ':'
        for i, width in enumerate(widths)
    )
    head = [caption, ''] if caption else []
    return '\n'.join([*head, line(header), rule + '|', *map(line, rows)])


def seconds(value: float) -> str:
    """Format a duration in milliseconds or seconds.

    >>> seconds(0.01234), seconds(12.34), seconds(123.4)
    ('12.3 ms', '12.3 s', '123 s')
    """
    if value < 1:
        return f'{value * 1e3:.3g} ms'
    return f'{value:.3g} s' if value < 1000 else f'{value:.0f} s'


class Record:
    """Record of one benchmark: tables, targets and notes, each printed when it is added.

    Args:
        name: Name of the benchmark and its JSON file.
        title: Title of its section.
        settings: Sizes and other settings that are needed to repeat it.
        device: Device on which it runs; file and title of a GPU's record name the GPU.
    """

    def __init__(
        self, name: str, title: str, settings: Mapping[str, Any], device: str = 'cpu'
    ) -> None:
        on_gpu = device != 'cpu'
        self._where = ', on a GPU' if on_gpu else ''
        self.content: dict[str, Any] = {
            'name': f'{name}{ON_GPU}' if on_gpu else name,
            'title': title + self._where,
            'settings': dict(settings),
            'machine': machine(device),
            'tables': [],
            'targets': [],
            'notes': [],
            'timings': {},
        }
        print(f'\n== {self.content["title"]}', flush=True)
        if settings.get('processor_time'):
            self.note('Processor time of one thread.')

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = ''
    ) -> None:
        """Add a table, and print it."""
        self.content['tables'].append(
            {'header': list(header), 'rows': [list(row) for row in rows], 'caption': caption}
        )
        print('\n' + table(header, rows, caption), flush=True)

    def timings(self, case: str, timings: Mapping[str, Timing]) -> None:
        """Keep every round's seconds."""
        self.content['timings'][case] = {name: asdict(value) for name, value in timings.items()}

    def target(self, what: str, target: str, measured: str, met: bool) -> None:
        """Add a target, and whether the measurement meets it."""
        what += self._where
        self.content['targets'].append(
            {'what': what, 'target': target, 'measured': measured, 'met': bool(met)}
        )
        print(f'{what}: {measured} (target {target}: {"met" if met else "NOT met"})', flush=True)

    def note(self, text: str) -> None:
        """Add a sentence, and print it."""
        self.content['notes'].append(text)
        print(text, flush=True)

    def write(self, out: Path) -> None:
        """Write the record to ``out`` as a JSON file."""
        path = out / f'{self.content["name"]}.json'
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, self.content)
        print(f'written: {path}', flush=True)


def arguments(doc: str | None, on_gpu_too: bool = False) -> argparse.ArgumentParser:
    """Return a parser of the options of all benchmarks, with ``--device`` if one can use a GPU."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, default=OUT, help='folder of the JSON files')
    parser.add_argument('--rounds', type=positive, default=5)
    parser.add_argument('--threads', type=int, default=0, help="torch's threads; 0: its default")
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--processor-time',
        action='store_true',
        help='time the processor of one thread, for a machine with other work',
    )
    if on_gpu_too:
        parser.add_argument('--device', type=device, default='cpu', help='cpu, or cuda')
    return parser


def positive(text: str) -> int:
    """Parse a positive whole number.

    Raises:
        argparse.ArgumentTypeError: The text is something else.
    """
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f'found {text!r}, expected a whole number above 0')
    return value


def device(text: str) -> str:
    """Parse the name of an available device.

    Raises:
        argparse.ArgumentTypeError: PyTorch cannot use the device.
    """
    try:
        torch.empty(0, device=text)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise argparse.ArgumentTypeError(f'found {text!r}: {reason}') from error
    return text


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line, and set what times are measured and PyTorch's threads."""
    args = parser.parse_args()
    global _PROCESSOR_TIME
    _PROCESSOR_TIME = args.processor_time
    if args.processor_time and not args.threads:
        args.threads = 1
    if args.threads:
        torch.set_num_threads(args.threads)
    return args


def synthetic_data(out: Path, seed: int = 0, frames_per_subject: int = 4, workers: int = 2) -> Path:
    """Return the folder of a small synthetic Human3.6M without pictures, made at the first call."""
    from mmjrr.datasets.synthetic import Settings, generate

    folder = out / ('data' if frames_per_subject == 4 else f'data_{frames_per_subject}')
    settings = Settings(seed=seed, frames_per_subject=frames_per_subject, images=False)
    generate(folder, settings, workers, progress=False)
    return folder


def check_same(what: str, ours: Any, theirs: Any, tolerance: float) -> float:
    """Return the largest difference of tensors or arrays, relative to the largest of ``theirs``.

    Raises:
        AssertionError: The difference is above the tolerance.
    """
    ours, theirs = (
        np.asarray(value.cpu() if isinstance(value, torch.Tensor) else value, dtype=np.float64)
        for value in (ours, theirs)
    )
    difference = float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-12))
    if not difference <= tolerance:
        raise AssertionError(
            f'{what}: the sides differ by {difference:.1e} of the largest value, expected at most '
            f'{tolerance:.0e}'
        )
    return difference
