"""A lock on a work directory, held by one process at a time.

The lock is a POSIX record lock (``fcntl.lockf``) on ``run.lock`` in the directory. The kernel
releases it whenever the process ends, also when it is killed, and a forked worker that outlives its
parent does not keep it. Creating a file exclusively (``link``, ``O_EXCL``) has neither property: a
second process can only guess whether the file's creator is dead, and if two processes guess at the
same time, both take the lock.

The holder also writes its host, process id and start time into the file, as a record, and touches
the file every :data:`HEARTBEAT` seconds. The record and the touch, the heartbeat, serve network
file systems:

- NFS 4, NFS 3 with its lock service, GPFS, and Lustre mounted with ``-o flock`` pass record locks
  between hosts: two runs on two hosts exclude each other.
- NFS mounted with ``nolock`` or ``local_lock=posix``, and Lustre with ``-o localflock``, grant
  record locks on each host separately. There a run is refused while the record names another host
  and the last heartbeat is less than :data:`LOST` seconds old. Both times in this comparison are
  the file server's, so the hosts' clocks do not matter. Two runs that start at the same moment on
  two such hosts can both take the lock.
- If the file system refuses record locks, the record alone decides, and a warning says so.

A run that was killed on one host can be continued on another once its last heartbeat is
:data:`LOST` seconds old.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import logging
import os
import socket
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from mmjrr.errors import LockedError

try:
    import fcntl
except ImportError:  # Windows: the record alone decides
    fcntl = None  # type: ignore[assignment]

#: Name of the lock file in the work directory.
LOCK_FILE = 'run.lock'
#: Seconds between two heartbeats of the holder.
HEARTBEAT = 20.0
#: Seconds without a heartbeat after which a holder on another host counts as dead.
LOST = 180.0

#: Errors of file systems that have no record locks.
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
#: Locks that this process holds, by lock file.
_held: dict[Path, WorkDirLock] = {}


class WorkDirLock:
    """The lock on a work directory; :func:`lock_work_dir` returns this process's lock.

    Args:
        folder: The work directory; :meth:`acquire` creates it if it is missing.

    Attributes:
        path: The lock file.
        previous: The record of a dead process from which the lock was taken over, or None.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder).resolve() / LOCK_FILE
        self.previous: dict[str, Any] | None = None
        self._file: int | None = None
        self._pid = 0
        self._created = False
        self._ended = threading.Event()

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        # A forked child inherits this object, but not the lock.
        return self._file is not None and self._pid == os.getpid()

    def acquire(self) -> None:
        """Take the lock; if its holder is dead, take it over and keep the record in ``previous``.

        Raises:
            LockedError: Another run holds the lock.
        """
        if self.held:
            return
        other = _held.get(self.path)
        if other is not None and other.held:
            raise LockedError(self._refusal(_own_record()))
        self._created = not self.path.parent.exists()
        file, locked = self._open_locked()
        try:
            record = _read(file)
            if record is not None:
                self._check_dead(file, record, locked)
            _write(file, _own_record())
        except BaseException:
            os.close(file)
            raise
        self._file, self._pid, self.previous = file, os.getpid(), record
        _held[self.path] = self
        if record is not None:
            _log(
                f'{self.path}: taken over from a run that did not end properly: {_text(record)}',
                logging.INFO,
            )
        self._ended.clear()
        threading.Thread(target=self._beat, args=(file,), daemon=True).start()

    def release(self) -> None:
        """Release the lock and remove its file; do nothing if this object does not hold it."""
        if self._file is None or not self.held:
            return
        file, self._file = self._file, None
        self._ended.set()
        _held.pop(self.path, None)
        # Remove the file while the lock is held: a process that has opened it finds that the name
        # is gone or names another file, and opens it again (see _open_locked).
        with contextlib.suppress(OSError):
            if os.fstat(file).st_ino == os.stat(self.path).st_ino:
                self.path.unlink()
        os.close(file)
        if self._created:
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()  # fails, as it should, if the run wrote anything there

    def __enter__(self) -> WorkDirLock:
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def _open_locked(self) -> tuple[int, bool]:
        """Open and lock the lock file; return its descriptor and whether locks are supported."""
        while True:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:
                continue  # another run removed the empty directory in between
            locked = self._lock(file)
            try:
                current = os.stat(self.path).st_ino == os.fstat(file).st_ino
            except FileNotFoundError:
                current = False
            if current:
                return file, locked
            os.close(file)  # another run removed the file between opening and locking

    def _lock(self, file: int) -> bool:
        if fcntl is None:
            return False
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                _log(
                    f'{self.path}: this file system has no record locks ({error.strerror}): two '
                    'runs that start here at the same moment do not notice each other',
                    logging.WARNING,
                )
                return False
            record = _read(file)
            os.close(file)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise LockedError(self._refusal(record)) from error
            raise
        return True

    def _check_dead(self, file: int, record: dict[str, Any], locked: bool) -> None:
        """Raise LockedError unless the process that wrote the record is dead."""
        if record.get('host') == socket.gethostname():
            if not locked and _alive(record):
                raise LockedError(self._refusal(record))
            return
        age = self._seconds_since_heartbeat(file)
        if age < LOST:
            raise LockedError(
                f'{self._refusal(record)} Its last sign of life was {age:.0f} s ago; if it was '
                f'killed, the directory is free in {LOST - age:.0f} s'
            )

    def _seconds_since_heartbeat(self, file: int) -> float:
        """Return the age of the last heartbeat by the file server's clock, not by this host's."""
        probe = self.path.with_name(f'{LOCK_FILE}.{os.getpid()}')
        probe.touch()
        try:
            return probe.stat().st_mtime - os.fstat(file).st_mtime
        finally:
            probe.unlink(missing_ok=True)

    def _refusal(self, record: dict[str, Any] | None) -> str:
        return (
            f'{self.path.parent}: in use by another run: {_text(record)}. Wait for it, stop it, or '
            'choose another work directory.'
        )

    def _beat(self, file: int) -> None:
        while not self._ended.wait(HEARTBEAT):
            with contextlib.suppress(OSError):
                os.utime(file)


def lock_work_dir(folder: str | os.PathLike[str]) -> WorkDirLock:
    """Lock a work directory until :meth:`WorkDirLock.release` or the end of this process.

    A second call for the same directory in the same process returns the same lock. A run that
    failed in an interactive session can therefore be started again there.

    Raises:
        LockedError: Another run holds the lock.
    """
    lock = WorkDirLock(folder)
    held_lock = _held.get(lock.path)
    if held_lock is not None and held_lock.held:
        return held_lock
    lock.acquire()
    return lock


@atexit.register
def _release_all() -> None:
    for lock in list(_held.values()):
        lock.release()


def _own_record() -> dict[str, Any]:
    return {
        'host': socket.gethostname(),
        'pid': os.getpid(),
        'started': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'process_start': _process_start(os.getpid()),
    }


def _text(record: dict[str, Any] | None) -> str:
    if record is None:
        return 'it has not written its record'
    return f'host {record.get("host")}, process {record.get("pid")}, since {record.get("started")}'


def _read(file: int) -> dict[str, Any] | None:
    """Return the holder's record; None if the file is empty or the record incomplete."""
    try:
        record = json.loads(os.pread(file, 4096, 0))
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _write(file: int, record: dict[str, Any]) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(record).encode(), 0)
    os.fsync(file)


def _alive(record: dict[str, Any]) -> bool:
    """Tell whether the process that wrote a record on this host is running."""
    pid = record.get('pid')
    if not isinstance(pid, int) or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return _process_start(pid) == record.get('process_start')


def _process_start(pid: int) -> str | None:
    """Return a process's start time in clock ticks since boot; None where /proc lacks it."""
    try:
        # The process's name, in parentheses, may contain spaces; the start time is field 22.
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]
    except (OSError, IndexError):
        return None


def _log(text: str, level: int) -> None:
    print_log(text, logger='current', level=level)
