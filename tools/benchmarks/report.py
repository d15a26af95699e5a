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
    'device', 'silhouette', 'gradient_quality', 'refinement', 'refinement_profile', 'body',
    'solver', 'evaluation', 'memory', 'json_reader', 'linear', 'busy', 'one_view', 'four_views',
    'large_runs', 'peers', 'small', 'startup',
)  # fmt: skip


def main() -> None:
    """Print the records as one page."""
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
    records = [json.loads(path.read_text()) for path in paths if path.is_file()]
    if not records:
        raise FileNotFoundError(f'{folder}: has none of {[path.name for path in paths]}')
    return [record for record in records if 'tables' in record]


def report(records: list[dict[str, Any]]) -> str:
    """Return Markdown with the targets of all records, then a section for each record."""
    parts = ['## Targets', '']
    targets = [target for record in records for target in record['targets']]
    parts.append(
        table(
            ['', 'target', 'measured', ''],
            [
                [
                    _plain(target['what']),
                    _plain(target['target']),
                    _plain(target['measured']),
                    'met' if target['met'] else '**not met**',
                ]
                for target in targets
            ],
        )
    )
    for record in records:
        parts += ['', f'## {record["title"]}', '', _machine(record['machine']), '']
        for part in record['tables']:
            parts += [table(part['header'], part['rows'], part['caption']), '']
        # Several cases can add the same note.
        parts += [note + '\n' for note in dict.fromkeys(record['notes'])]
    return '\n'.join(parts).rstrip() + '\n'


def _plain(text: str) -> str:
    return text.replace('<=', '≤').replace('>=', '≥').replace('|', '/')


def _machine(machine: dict[str, Any]) -> str:
    gpu = machine['gpu'] or 'no GPU'
    return (
        f'*{machine["cpu"]}, {machine["cores"]} cores, threads: {machine["threads"]}, {gpu}; load '
        f'{machine["load"]} at the start; PyTorch {machine["torch"]}, NumPy {machine["numpy"]}, '
        f'SciPy {machine["scipy"]}, Numba {machine.get("numba")}.*'
    )


if __name__ == '__main__':
    main()
