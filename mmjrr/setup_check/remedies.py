"""Commands and pages that provide what is missing."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from mmjrr.downloads import FILES, RemoteFile, by_hand

PREPARE = 'docs/prepare_h36m.md says how to make it'

_SYNTHETIC = 'python tools/dataset_converters/make_synthetic_h36m.py --out {root}'

#: Commands that make datasets, by the name of the folder.
MADE_BY = {
    'synthetic_h36m': _SYNTHETIC,
    'synthetic_h36m_4view': f'{_SYNTHETIC} --synchronous',
    'h36m_mini': 'python tools/dataset_converters/h36m_mini.py SRC {root} (docs/real_frames.md)',
}

#: Folder of a config, and the folder that replaces it for a check; None if none does.
_REPLACED: ContextVar[tuple[Path, Path] | None] = ContextVar('_REPLACED', default=None)

SEGMENTATION_PACKAGES = 'pip install --no-deps -r requirements/segmentation.txt'


@contextmanager
def replaced_folder(old: str, new: str) -> Iterator[None]:
    """Within this context, what is missing in ``new`` is made as for a config's folder ``old``."""
    token = _REPLACED.set((Path(old), Path(new)))
    try:
        yield
    finally:
        _REPLACED.reset(token)


def remedy(path: str | Path, root: str | Path = '', otherwise: str = PREPARE) -> str:
    """Return the command or page that provides a missing file.

    Args:
        path: The file.
        root: Folder of the dataset to which the file belongs.
        otherwise: Command or page for files that this module does not know.
    """
    folder = _kind_of(Path(root))
    if folder in MADE_BY:
        return MADE_BY[folder].format(root=shlex.quote(str(root).rstrip('/')))
    if Path(path).parts[:1] == ('work_dirs',):
        return f'python tools/train.py with the config {Path(path).parts[1]}.py writes it'
    item = next((f for f in FILES.values() if Path(path).as_posix().endswith('/' + f.path)), None)
    return otherwise if item is None else download_command(item, path)


def _kind_of(root: Path) -> str:
    """Return the key of :data:`MADE_BY` for a folder, or its name if there is none."""
    old, new = _REPLACED.get() or (root, root)
    if root == new and old.name in MADE_BY:
        return old.name
    is_synthetic = root.name not in MADE_BY and (root / 'synthetic.json').is_file()
    return 'synthetic_h36m' if is_synthetic else root.name


def download_command(item: RemoteFile, path: str | Path) -> str:
    """Return the command or page from which a file is downloaded to a path."""
    if item.url is None:
        return by_hand(item, path)
    folder = Path(path).as_posix()[: -len(item.path)].rstrip('/') or '.'
    return f'python tools/download.py {item.name} --into {shlex.quote(folder)}'
