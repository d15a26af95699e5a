"""Download files that other projects publish and mmjrr uses, by name, into one folder.

    python tools/download.py                       # list all files, and which are in the folder
    python tools/download.py J_opt smpl_mean_params spin --into data

Without --into, files go to $MMJRR_HOME (default: ~/.cache/mmjrr). The configs look in data. To
resume an interrupted download, run the command again. Files behind registration are not
downloaded; the command prints where to get them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmjrr.cli.options import OptionError, parse, run_command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument(
        'names', nargs='*', metavar='NAME', help='file to download; without names, list the files'
    )
    parser.add_argument(
        '--into', type=Path, help='folder to write (default: $MMJRR_HOME or ~/.cache/mmjrr)'
    )


def run(args: argparse.Namespace) -> int:
    """Download the files; return 1 if a download fails, else 0."""
    from mmjrr.downloads import FILES, download
    from mmjrr.errors import DataError
    from mmjrr.regressors.zoo import search_folders

    unknown = [name for name in args.names if name not in FILES]
    if unknown:
        raise OptionError(f'unknown: {", ".join(unknown)}; there are {", ".join(FILES)}')
    folder = args.into or search_folders()[0]
    if not args.names:
        print(overview(folder))
        return 0
    failed = 0
    for name in args.names:
        try:
            print(download(FILES[name], folder))
        except (DataError, OSError) as error:
            failed += 1
            print(f'error: {error}', file=sys.stderr)
    return int(failed > 0)


def overview(folder: Path) -> str:
    """Return a table of all files: which are in the folder, and which can be downloaded."""
    from mmjrr.downloads import FILES

    rows = [('', 'Name', 'File', '')]
    for item in FILES.values():
        here = 'here' if (folder / item.path).exists() else 'fetch' if item.url else 'by hand'
        rows.append((here, item.name, item.path, item.about))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        '  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    note = (
        'fetch: NAME downloads it; by hand: it needs registration, and NAME prints where to get it'
    )
    return '\n'.join([f'In {folder}:', *lines, note])


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv, prog))


if __name__ == '__main__':
    sys.exit(main())
