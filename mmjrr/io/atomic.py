"""Files that appear whole under their final name, or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path next to ``path``; rename it to ``path`` when the block succeeds.

    If the block raises, the temporary file is removed and ``path`` is left as it was. The
    temporary name keeps the suffix of ``path``, because some writers (``numpy.savez``) add one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        prefix=f'.{path.stem}.tmp-', suffix=path.suffix, dir=path.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())
        # mkstemp makes the file private; give it the mode an ordinary open() would have.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


#: The name that :func:`atomic_write` gives a temporary file: ``mkstemp`` draws eight characters.
#: ``tmp-`` tells it from a user's hidden file such as ``.editor.settings``.
_TEMPORARY = re.compile(r'\.(?P<stem>.+)\.tmp-[a-z0-9_]{8}(?P<suffix>\.[^.]*)?')


def remove_temporary_files(
    folder: str | os.PathLike[str], target: str | os.PathLike[str] | None = None
) -> list[Path]:
    """Remove the temporary files that killed calls of :func:`atomic_write` left in a folder.

    Call it only where no other process writes: it also removes files that are being written.

    Args:
        folder: The folder to clean; its subfolders are left alone.
        target: Remove only the temporary files of this file. Default: None, those of every file.

    Returns:
        The paths of the removed files.
    """
    removed = []
    for path in sorted(Path(folder).glob('.*')):
        parts = _TEMPORARY.fullmatch(path.name)
        if parts is None or not path.is_file():
            continue
        name = parts['stem'] + (parts['suffix'] or '')
        if target is None or name == Path(target).name:
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed
