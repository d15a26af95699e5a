"""Measure time and memory of the JSON reader on texts that take the most of both.

    python tools/benchmarks/json_reader.py [--megabytes 4 16]

Each text is read in a process of its own, and compared with the stated bound of memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import Record, arguments, parse, peak_memory, positive, seconds

from mmjrr.errors import DataError
from mmjrr.io import read_json
from mmjrr.io.json_files import most_memory
from mmjrr.io.limits import ALLOWANCE, EXPANSION, unpacked_limit

#: Seconds of processor time that 4 MB may take.
LIMIT = 5.0


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument('--megabytes', type=positive, nargs='+', default=[4, 16])
    parser.add_argument('--alone', type=Path, help=argparse.SUPPRESS)
    args = parse(parser)
    if args.alone:
        print(json.dumps(read_alone(args.alone)))
        return
    record = Record('json_reader', 'JSON files', vars(args) | {'out': '', 'alone': None})
    rows = []
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for megabytes in args.megabytes:
            for name, text in texts(megabytes * 1_000_000).items():
                path = Path(folder, 'text.json')
                path.write_text(text, encoding='utf-8')
                size, bound = path.stat().st_size, most_memory(path.read_bytes())
                command = [sys.executable, __file__, '--alone', str(path)]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
                measured = json.loads(done.stdout.splitlines()[-1])
                rows.append([
                    name, f'{size / 1e6:.0f} MB', seconds(measured['seconds']),
                    f'{measured["megabytes"]:.0f} MB', f'{bound / 1e6:.0f} MB',
                    f'{unpacked_limit(size) / 1e6:.0f} MB',
                    'refused' if measured['refused'] else 'read',
                ])  # fmt: skip
                if size <= 4_100_000:
                    slowest = max(slowest, measured['seconds'])
    record.table(
        ['text', 'file', 'processor time', 'memory', 'bound', 'limit', 'outcome'],
        rows,
        f'A file is refused if the bound on its memory, known before it is read, is above the '
        f'limit, {ALLOWANCE >> 20} MiB and {EXPANSION} times its size.',
    )
    if slowest:
        record.target(
            'processor time of the slowest JSON text of 4 MB', f'<= {LIMIT:.0f} s',
            seconds(slowest), slowest <= LIMIT,
        )  # fmt: skip
    record.write(args.out)


def texts(size: int) -> dict[str, str]:
    """Return texts of about ``size`` bytes, by what they repeat."""

    def repeated(unit: str, start: str = '[', end: str = ']') -> str:
        return start + ','.join([unit] * (size // (len(unit.encode()) + 1))) + end

    return {
        'numbers': repeated('0.12345678'),
        'small objects': repeated('{"":0}'),
        'small objects beside a wide character': repeated('{"":0}', '["\U0001f600",'),
        'members of one object': '{' + ','.join(f'"{n}":0' for n in range(size // 11)) + '}',
        'lists in lists': repeated('[[[[]]]]'),
        'lists in 100 lists': repeated('[' * 100 + ']' * 100),
    }


def read_alone(path: Path) -> dict[str, float | bool]:
    """Read a file; return the processor time and memory that it takes."""
    imported, start, refused = peak_memory(), time.process_time(), False
    try:
        read_json(path)
    except DataError:
        refused = True
    taken = time.process_time() - start
    return {'seconds': taken, 'megabytes': peak_memory() - imported, 'refused': refused}


if __name__ == '__main__':
    main()
