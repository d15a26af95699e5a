"""Print the tables of all benchmarks as Markdown, from their JSON files.

    python tools/benchmarks/report.py work_dirs/benchmarks

``tools/analysis_tools/result_pages.py`` writes them into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from common import ON_GPU, table

ORDER = (
    'device', 'silhouette', 'gradient_quality', 'refinement', 'body', 'solver', 'evaluation',
    'memory', 'linear', 'busy', 'startup',
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, help='folder of the JSON files')
    args = parser.parse_args()
    try:
        text = report(read_records(args.folder))
    except FileNotFoundError as error:
        parser.error(str(error))
    print(text)


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Read the records in a folder, in the page's order.

    Raises:
        FileNotFoundError: The folder has no record.
    """
    paths = [folder / f'{name}{where}.json' for name in ORDER for where in ('', ON_GPU)]
    found = [json.loads(path.read_text()) for path in paths if path.is_file()]
    if not found:
        raise FileNotFoundError(f'{folder}: has none of {[path.name for path in paths]}')
    return [record for record in found if 'tables' in record]


def report(records: list[dict[str, Any]]) -> str:
    """Markdown: the targets of all, then a section for each."""
    parts = ['## Targets', '']
    targets = [target for record in records for target in record['targets']]
    parts.append(
        table(
            ['', 'target', 'measured', ''],
            [
                [
                    _plain(one['what']),
                    _plain(one['target']),
                    _plain(one['measured']),
                    'met' if one['met'] else '**not met**',
                ]
                for one in targets
            ],
        )
    )
    for record in records:
        parts += ['', f'## {record["title"]}', '', _machine(record['machine']), '']
        for one in record['tables']:
            parts += [table(one['header'], one['rows'], one['caption']), '']
        # Several cases can add the same note.
        parts += [note + '\n' for note in dict.fromkeys(record['notes'])]
    return '\n'.join(parts).rstrip() + '\n'


def _plain(text: str) -> str:
    return text.replace('<=', '≤').replace('>=', '≥').replace('|', '/')


def _machine(found: dict[str, Any]) -> str:
    gpu = found['gpu'] or 'no GPU'
    return (
        f'*{found["cpu"]}, {found["cores"]} cores, threads: {found["threads"]}, {gpu}; load '
        f'{found["load"]} at the start; PyTorch {found["torch"]}, NumPy {found["numpy"]}, '
        f'SciPy {found["scipy"]}, Numba {found.get("numba")}.*'
    )


if __name__ == '__main__':
    main()
