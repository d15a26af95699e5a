"""Print the tables of all benchmarks as Markdown, from their JSON files, or write them to a page.

    python tools/benchmarks/report.py work_dirs/benchmarks
    python tools/benchmarks/report.py work_dirs/benchmarks --into docs/performance.md

With ``--into``, the tables replace the text between the page's two marker lines.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from common import ON_GPU, table

from mmjrr.io import atomic_write

BEGIN, END = '<!-- tables: begin -->', '<!-- tables: end -->'
ORDER = ('silhouette', 'worth', 'refinement', 'body', 'solver', 'evaluation', 'linear')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, help='folder of the JSON files')
    parser.add_argument('--into', type=Path, help='page to update')
    args = parser.parse_args()
    try:
        text = report(read_records(args.folder))
    except FileNotFoundError as error:
        parser.error(str(error))
    if args.into is None:
        print(text)
        return
    with atomic_write(args.into) as temporary:
        temporary.write_text(filled(args.into.read_text(), text, str(args.into)))
    print(f'Wrote {args.into}')


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
    """Markdown: the marks of all, then a section for each."""
    parts = ['## Marks', '']
    marks = [mark for record in records for mark in record['marks']]
    parts.append(
        table(
            ['what', 'wanted', 'found', ''],
            [
                [
                    _plain(m['what']),
                    _plain(m['wanted']),
                    _plain(m['found']),
                    'met' if m['met'] else '**not met**',
                ]
                for m in marks
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


def filled(page: str, text: str, where: str) -> str:
    """Replace the text between the markers of a page.

    >>> filled(f'a\\n{BEGIN}\\nold\\n{END}\\nb\\n', 'new\\n', 'page') == (
    ...     f'a\\n{BEGIN}\\n\\nnew\\n\\n{END}\\nb\\n'
    ... )
    True
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f'{where}: expected one line {BEGIN!r} and below it one {END!r}')
    before, rest = page.split(BEGIN)
    return f'{before}{BEGIN}\n\n{text}\n{END}{rest.split(END)[1]}'


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
