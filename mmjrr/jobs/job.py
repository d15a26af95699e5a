"""A resumable job: a locked work directory, the identity of its run, and its shards."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from mmjrr.errors import DataError
from mmjrr.io import remove_temporary_files
from mmjrr.jobs.distributed import on_main_process, wait_for_all
from mmjrr.jobs.identity import Identity, IdentityError
from mmjrr.jobs.lock import WorkDirLock, lock_work_dir
from mmjrr.jobs.progress import with_progress
from mmjrr.jobs.record import Record
from mmjrr.jobs.shards import ShardFolder

#: File in a job's folder that records the settings with which the job was begun.
RECORD = 'identity.json'


class Job:
    """A resumable job with its own folder in a work directory.

    :meth:`begin` locks the directory against other runs, refuses to continue a job that was begun
    with other settings, and removes the half-written files of killed runs. In a distributed run
    only the main process begins and ends a job; the others use :attr:`shards`.

    Args:
        work_dir: The work directory. :meth:`begin` locks it.
        name: Name of the job's folder in the work directory.
        identity: The identity of this run.
        suffix: Suffix of the shards, ``'.npz'`` or ``'.json'``.
        stem: First part of the shards' names. Default: ``'shard'``.
        output: The file into which the shards are merged. The job is finished if it exists.
            Default: None, the job has no such file.
        read_output_record: A function that reads the identity recorded in ``output``. Required
            with ``output``.
        remedy: What a user can do if settings differ, as in :meth:`Identity.check`.
    """

    def __init__(
        self,
        work_dir: str | Path,
        name: str,
        identity: Identity,
        suffix: str,
        *,
        stem: str = 'shard',
        output: str | Path | None = None,
        read_output_record: Callable[[Path], Any] | None = None,
        remedy: str = 'choose another work directory, or start again with --overwrite',
    ) -> None:
        self.work_dir, self.folder = Path(work_dir), Path(work_dir) / name
        self.identity = identity
        self.record = Record(self.folder / RECORD, identity)
        self.shards = ShardFolder(self.folder, identity.digest, suffix, stem)
        self.output = None if output is None else Path(output)
        self.read_output_record = read_output_record
        self.remedy = remedy
        self.lock: WorkDirLock | None = None

    @property
    def finished(self) -> bool:
        """Whether the output exists."""
        return self.output is not None and self.output.exists()

    def recorded(self) -> dict[str, Any] | None:
        """Return the identity with which the job was begun; None if it was not begun.

        Raises:
            DataError: The record is unreadable.
        """
        return self.record.read()

    def results(self) -> dict[str, Any]:
        """Return the values that :meth:`record_result` recorded for this job, by name."""
        return self.record.results()

    def record_result(self, name: str, value: Any) -> None:
        """Record an intermediate result on which the rest of the job depends.

        Args:
            name: The result's name.
            value: A JSON value that identifies the result, such as its checksum.

        Raises:
            IdentityError: Another value is already recorded under this name.
        """
        results = self.results()
        if name in results:
            Identity({name: value}).check(self.folder, results, self.remedy)
        else:
            self.record.write({**results, name: value})

    def begin(self, overwrite: bool = False) -> None:
        """Lock the work directory, compare settings, and remove half-written files of killed runs.

        Args:
            overwrite: Whether to remove the output and the shards first, also those of other
                settings.

        Raises:
            LockedError: Another run works in the directory.
            IdentityError: The output or the shards were made with other settings.
            DataError: The record is unreadable, or there are shards without a record.
        """
        with self.locked():
            if overwrite:
                self.remove()
            self._check()
            self._remove_leftovers()
            if self.finished:
                self.remove_shards()
                return
            self.record.write(self.results())

    @contextmanager
    def begun(self) -> Iterator[bool]:
        """Begin the job for the length of a block, after removing what other settings made.

        The folder may hold any files, not only shards.

        Yields:
            Whether the folder holds what an earlier run with the same settings made.

        Raises:
            LockedError: Another run works in the directory.
            DataError: As in :meth:`check_folder`.
        """
        self.check_folder()
        same = self.recorded() is not None
        try:
            self.begin()
        except IdentityError:
            same = False
            _log(f'{self.folder}: removed, since it was made with other settings')
            self.begin(overwrite=True)
        try:
            yield same
        finally:
            self.end()

    def check_folder(self) -> None:
        """Refuse a folder of files that this job has not made: they are never removed.

        Raises:
            DataError: The folder is not empty and has no record of this job, or the record is
                unreadable.
        """
        recorded = self.recorded()
        if recorded is not None and self.identity.settings.keys() <= recorded.keys():
            return
        # A run that was killed while it wrote the record leaves this temporary file.
        half_written = f'.{self.record.path.stem}.tmp-'
        found = sorted(
            path.name for path in _entries(self.folder) if not path.name.startswith(half_written)
        )
        if found:
            raise DataError(
                f'{self.folder}: found {found[0]}, expected an empty folder or one with the record '
                f'{RECORD} of an earlier run; move the folder away, or choose another place'
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the work directory, and unlock it only if the block raises an error.

        The block checks and removes files before the job begins.

        Raises:
            LockedError: Another run works in the directory.
        """
        self.lock = lock_work_dir(self.work_dir)
        try:
            yield
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Unlock the work directory."""
        if self.lock is not None:
            self.lock.release()
            self.lock = None

    def run(
        self,
        count: int,
        make: Callable[[list[int]], Iterable[dict[str, Any]]],
        write_output: Callable[[], None],
        *,
        unit: str = 'shards',
        overwrite: bool = False,
        redo: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None:
        """Make the missing shards, divided among the processes, and then the output.

        Every process of a distributed run calls this method. If the output exists, it does nothing
        after comparing settings.

        Args:
            count: The number of shards.
            make: A function of shard numbers that yields the shards' contents, in that order.
            write_output: A function that writes the output from the shards. The main process
                calls it.
            unit: What a shard holds, in the plural, for messages.
            overwrite: As in :meth:`begin`.
            redo: A function of an existing shard's content that tells whether to make the shard
                again. Default: None, keep all existing shards.

        Raises:
            LockedError: Another run works in the directory.
            DataError: The output or the shards were made with other settings, or a shard is broken.
        """

        def begin() -> list[int] | None:
            self.begin(overwrite)
            if self.finished:
                return None
            if redo is not None:
                for number, rank in self.shards.keys():
                    if redo(self.shards.get(number, rank)):
                        self.shards.path(number, rank).unlink()
            return self.shards.missing(count)

        def finish() -> None:
            write_output()
            self.remove_shards()

        try:
            missing = on_main_process(begin)
            if missing is None:
                return
            if len(missing) < count:
                _log(f'{count - len(missing)} of {count} {unit} exist already')
            rank, processes = _rank_and_processes()
            own = missing[rank::processes]
            for number, content in zip(own, with_progress(make(own), len(own), unit), strict=True):
                self.shards.put(number, content)
            wait_for_all()
            on_main_process(finish)
        finally:
            self.end()

    def remove(self) -> None:
        """Remove the output, the shards and the record."""
        if self.output is not None:
            self.output.unlink(missing_ok=True)
        self.remove_shards()

    def remove_shards(self) -> None:
        """Remove the folder, its record last: a kill in between leaves no file without it."""
        for path in _entries(self.folder):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path != self.record.path:
                path.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _check(self) -> None:
        if self.finished:
            assert self.output is not None and self.read_output_record is not None
            self.identity.check(self.output, self.read_output_record(self.output), self.remedy)
            return
        recorded = self.recorded()
        if recorded is not None:
            self.identity.check(self.folder, recorded, self.remedy)
        elif self.shards.keys():
            raise DataError(
                f'{self.folder}: holds shards, but no {RECORD} that says which settings made them; '
                f'{self.remedy}'
            )

    def _remove_leftovers(self) -> None:
        removed = remove_temporary_files(self.work_dir)
        for folder in self.shards.folders():
            removed += remove_temporary_files(folder)
        if self.output is not None:
            removed += remove_temporary_files(self.output.parent, self.output)
        if removed:
            _log(f'{self.work_dir}: removed {len(removed)} half-written files of a killed run')


def _entries(folder: Path) -> list[Path]:
    """List files and folders in a folder; [] if it does not exist."""
    return list(folder.iterdir()) if folder.is_dir() else []


def _rank_and_processes() -> tuple[int, int]:
    from mmengine.dist import get_dist_info

    return get_dist_info()


def _log(text: str) -> None:
    print_log(text, logger='current', level=logging.INFO)
