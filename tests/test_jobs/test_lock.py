"""A work directory has one run at a time, and a dead run does not keep it locked."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mmjrr.jobs import LockedError, WorkDirLock, lock, lock_work_dir
from mmjrr.jobs.lock import LOCK_FILE, LOST

HOLDER = """
import sys, time
from mmjrr.jobs import lock_work_dir
lock_work_dir(sys.argv[1])
print('locked', flush=True)
time.sleep(60)
"""


@contextmanager
def another_run(folder: Path) -> Iterator[subprocess.Popen]:
    """A process that holds the lock."""
    command = [sys.executable, '-c', HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == 'locked\n'
            yield process
        finally:
            process.kill()


def test_a_second_run_is_refused_with_host_process_and_start_time(tmp_path: Path) -> None:
    with another_run(tmp_path) as process:
        with pytest.raises(LockedError) as error:
            lock_work_dir(tmp_path)
        started = json.loads((tmp_path / LOCK_FILE).read_text())['started']
    text = str(error.value)
    assert f'host {socket.gethostname()}, process {process.pid}, since {started}' in text


def test_the_lock_of_a_killed_process_is_taken_over_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(lock, '_log', lambda text, level: said.append(text))
    with another_run(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with lock_work_dir(tmp_path) as held:
            assert held.previous is not None and held.previous['pid'] == process.pid
    assert 'taken over' in said[0] and f'process {process.pid}' in said[0]


def test_a_released_lock_leaves_no_file_and_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, '_log', lambda text, level: pytest.fail(text))
    for _ in range(2):
        with lock_work_dir(tmp_path):
            assert (tmp_path / LOCK_FILE).exists()
        assert not list(tmp_path.iterdir())


def test_the_end_of_a_process_releases_its_lock(tmp_path: Path) -> None:
    code = 'import sys; from mmjrr.jobs import lock_work_dir; lock_work_dir(sys.argv[1]); 1 / 0'
    done = subprocess.run([sys.executable, '-c', code, str(tmp_path)], capture_output=True)
    assert done.returncode == 1
    assert not list(tmp_path.iterdir())


def test_a_process_gets_its_own_lock_again(tmp_path: Path) -> None:
    """A failed cell of a notebook can be run again."""
    with lock_work_dir(tmp_path) as first:
        assert lock_work_dir(tmp_path) is first
        with pytest.raises(LockedError, match=f'process {os.getpid()}'):
            WorkDirLock(tmp_path).acquire()
        assert first.held


def test_a_forked_worker_neither_holds_nor_releases_the_lock(tmp_path: Path) -> None:
    with lock_work_dir(tmp_path) as held:
        child = os.fork()
        if child == 0:
            held.release()
            os._exit(int(held.held))
        assert os.waitpid(child, 0)[1] == 0
        assert (tmp_path / LOCK_FILE).exists()
        with another_attempt(tmp_path) as output:
            assert 'LockedError' in output


@contextmanager
def another_attempt(folder: Path) -> Iterator[str]:
    code = 'import sys; from mmjrr.jobs import lock_work_dir; lock_work_dir(sys.argv[1])'
    done = subprocess.run([sys.executable, '-c', code, str(folder)], capture_output=True, text=True)
    yield done.stderr


def write_record(folder: Path, seconds_ago: float, **changes: object) -> None:
    """Write the record of a run that did not release its lock."""
    record = {'host': 'elsewhere', 'pid': 1, 'started': 'then', 'process_start': '0', **changes}
    path = folder / LOCK_FILE
    path.write_text(json.dumps(record))
    os.utime(path, (path.stat().st_mtime - seconds_ago,) * 2)


def test_a_run_on_another_host_is_believed_alive_while_its_heartbeat_is_young(
    tmp_path: Path,
) -> None:
    write_record(tmp_path, seconds_ago=LOST - 60)
    with pytest.raises(LockedError, match=r'host elsewhere, .* last sign of life was 12\d s ago'):
        lock_work_dir(tmp_path)
    write_record(tmp_path, seconds_ago=LOST + 1)
    with lock_work_dir(tmp_path) as held:
        assert held.previous is not None and held.previous['host'] == 'elsewhere'


def test_the_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, 'HEARTBEAT', 0.01)
    beats: list[int] = []
    touched = lock.threading.Event()
    monkeypatch.setattr(
        lock.os, 'utime', lambda file: (beats.append(file), touched.set()) if file else None
    )
    with lock_work_dir(tmp_path):
        assert touched.wait(10)


def test_without_record_locks_the_record_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(lock, '_log', lambda text, level: said.append(text))
    monkeypatch.setattr(lock, 'fcntl', NoLocks)
    alive = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
    try:
        start = lock._process_start(alive.pid)
        host = socket.gethostname()
        write_record(tmp_path, 0, host=host, pid=alive.pid, process_start=start)
        with pytest.raises(LockedError, match=f'process {alive.pid}'):
            lock_work_dir(tmp_path)
        assert 'no record locks' in said[0]
        # The same number, given to another process since.
        write_record(tmp_path, 0, host=host, pid=alive.pid, process_start='1')
        lock_work_dir(tmp_path).release()
    finally:
        alive.kill()
        alive.wait()
    write_record(tmp_path, 0, host=host, pid=alive.pid, process_start=start)
    lock_work_dir(tmp_path).release()


class NoLocks:
    LOCK_EX = LOCK_NB = 0

    @staticmethod
    def lockf(file: int, operation: int) -> None:
        raise OSError(lock.errno.ENOLCK, 'No locks available')


@pytest.mark.parametrize('content', [b'', b'{"host": "a', b'\xff\xfe', b'[1]'])
def test_a_broken_record_is_no_obstacle(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LOCK_FILE).write_bytes(content)
    lock_work_dir(tmp_path).release()


def test_an_empty_directory_that_was_made_for_the_lock_goes(tmp_path: Path) -> None:
    with lock_work_dir(tmp_path / 'new'):
        pass
    assert not (tmp_path / 'new').exists()
    with lock_work_dir(tmp_path / 'new'):
        (tmp_path / 'new' / 'result').touch()
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['result']
