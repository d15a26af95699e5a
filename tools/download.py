"""Fetch files of others that mmjrr works with, by name, into one folder.

    python tools/download.py                       # which there are, and which are here
    python tools/download.py J_opt smpl_mean_params spin --into data

Without --into, files go to $MMJRR_HOME (~/.cache/mmjrr); the configs look in data. The same command
continues a broken download. Files behind registration are not downloaded; the tool prints where to
get them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmjrr.downloads import FILES, download
from mmjrr.errors import DataError
from mmjrr.regressors.zoo import search_folders


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'some of {", ".join(FILES)}')
    parser.add_argument('--into', type=Path, help='folder; default: $MMJRR_HOME')
    args = parser.parse_args(argv)
    unknown = [name for name in args.names if name not in FILES]
    if unknown:
        parser.error(f'unknown: {", ".join(unknown)}; there are {", ".join(FILES)}')
    folder = args.into or search_folders()[0]
    if not args.names:
        print(overview(folder))
        return
    failed = 0
    for name in args.names:
        try:
            print(download(FILES[name], folder))
        except (DataError, OSError) as error:
            failed += 1
            print(f'error: {error}', file=sys.stderr)
    if failed:
        sys.exit(1)


def overview(folder: Path) -> str:
    rows = [('', 'Name', 'File', '')]
    for item in FILES.values():
        here = 'here' if (folder / item.path).exists() else 'fetch' if item.url else 'by hand'
        rows.append((here, item.name, item.path, item.about))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        '  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    note = 'fetch: fetched by its name; by hand: its name says from where'
    return '\n'.join([f'In {folder}:', *lines, note])


if __name__ == '__main__':
    main()
