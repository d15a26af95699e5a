"""Choice of the checkpoint from which a run in a work directory is resumed."""

from __future__ import annotations

import logging
import os
import zipfile
from pathlib import Path

from mmengine.logging import print_log

from mmjrr.errors import DataError
from mmjrr.io import atomic_write

#: MMEngine's file that names the last checkpoint.
POINTER = 'last_checkpoint'


def repair_last_checkpoint(work_dir: str | Path) -> None:
    """Make ``last_checkpoint`` name an intact checkpoint of a work directory.

    If the file is missing, empty, or names a checkpoint that is missing or damaged, log a warning
    and make it name the newest intact ``iter_N.pth`` of the folder. If there is none, remove the
    file, so that a resumed run starts at the first iteration. If the folder was moved, update the
    path. A path outside the work directory is left for :func:`latest_checkpoint` to refuse.
    """
    work_dir = Path(work_dir)
    pointer = work_dir / POINTER
    saved = saved_checkpoints(work_dir)
    named: Path | None = None
    if not pointer.is_file():
        if not saved:
            return
        fault: str | None = f'{pointer}: missing'
    elif not (text := _text(pointer)):
        fault = f'{pointer}: empty'
    else:
        moved = work_dir / Path(text).name
        if moved.is_file() and not moved.is_symlink() and not Path(text).exists():
            named = moved  # the folder was moved or renamed after the run wrote the path
            _point(pointer, named)
        else:
            try:
                named = latest_checkpoint(work_dir)
            except FileNotFoundError:
                named = moved
        fault = _fault(named) if named is not None else None
    if fault is None:
        return
    for path in saved:
        if path != named and _fault(path) is None:
            _warn(f'{fault}; the run is resumed from {path.name}')
            _point(pointer, path)
            return
    _warn(f'{fault}; without a checkpoint the run starts at the first iteration')
    pointer.unlink(missing_ok=True)


def latest_checkpoint(work_dir: str | os.PathLike[str]) -> Path | None:
    """Return the checkpoint that ``last_checkpoint`` names; None if that file does not exist.

    Raises:
        DataError: The file is empty, or names a file outside the work directory.
        FileNotFoundError: The checkpoint that it names is missing.
    """
    folder = Path(work_dir)
    pointer = folder / POINTER
    if not pointer.is_file():
        return None
    with open(pointer, 'rb') as file:
        text = file.read(4096).decode(errors='replace').strip()
    if not text or '\0' in text or '\n' in text:
        raise DataError(
            f'{pointer}: found {text!r:.80}, expected the name of a checkpoint; name one yourself: '
            '--resume CHECKPOINT'
        )
    path = folder / text if '/' not in text and os.sep not in text else Path(text)
    if '..' in path.parts or not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f'{pointer}: found {text!r:.200}, expected a file in {folder}; if you trust that file, '
            f'name it yourself: --resume {text:.200}'
        )
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such checkpoint, though {pointer} names it; name another one: '
            '--resume CHECKPOINT'
        )
    return path


def discard_after(work_dir: str | Path, iteration: int) -> None:
    """Remove the checkpoints after an iteration, so that a run resumes from an earlier one."""
    for path in saved_checkpoints(work_dir):
        if iteration_of(path) > iteration:
            path.unlink()


def saved_checkpoints(work_dir: str | Path) -> list[Path]:
    """List the files ``iter_N.pth`` of a folder, the last iteration first."""
    saved = [path for path in Path(work_dir).glob('iter_*.pth') if iteration_of(path) >= 0]
    return sorted(saved, key=iteration_of, reverse=True)


def iteration_of(path: Path) -> int:
    """Return N of ``iter_N.pth``; -1 for any other name."""
    number = path.stem.removeprefix('iter_')
    return int(number) if number.isdecimal() else -1


def _text(pointer: Path) -> str:
    with open(pointer, 'rb') as file:
        return file.read(4096).decode(errors='replace').strip(' \t\r\n\0')


def _fault(path: Path) -> str | None:
    """Return what is wrong with a checkpoint; None if it is intact."""
    if not path.is_file():
        return f'{path}: missing'
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError):
        return f'{path}: not a whole checkpoint, truncated perhaps'
    return None if broken is None else f'{path}: {broken}: damaged'


def _point(pointer: Path, checkpoint: Path) -> None:
    with atomic_write(pointer) as temporary:
        temporary.write_text(str(checkpoint))


def _warn(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)
