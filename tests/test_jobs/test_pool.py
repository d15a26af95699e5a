"""Tasks give the same results in any number of processes, and no process stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mmjrr.jobs import TaskPool


def square(value: float, wait: float = 0.0) -> tuple[float, int]:
    time.sleep(wait)
    return value**2, torch.get_num_threads()


def fail(value: int) -> int:
    if value == 1:
        raise ValueError(f'task {value}')
    return value


def write_pid(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(60)


@pytest.mark.slow
@pytest.mark.parametrize('workers', [1, 2])
def test_results_come_in_order_from_one_thread_each(workers: int) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with TaskPool(workers) as pool:
            results = pool.run(square, [(3, 0.2), (2,), (1,)], 'numbers')
        assert results == [(9, 1), (4, 1), (1, 1)]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize('workers', [1, 2])
def test_the_first_error_ends_it(workers: int) -> None:
    with TaskPool(workers) as pool, pytest.raises(ValueError, match='task 1'):
        pool.run(fail, [(0,), (1,), (2,)], 'tasks')


def test_no_workers_are_refused() -> None:
    with pytest.raises(ValueError, match='workers: found 0, expected at least 1'):
        TaskPool(0)


@pytest.mark.slow
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_pool import write_pid
from mmjrr.jobs import TaskPool
if __name__ == '__main__':
    with TaskPool(2) as pool:
        pool.run(write_pid, [({str(tmp_path)!r},)] * 2, 'tasks')
"""
    script = tmp_path.with_suffix('.py')
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, str(script)])
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.iterdir()):
            assert time.monotonic() < deadline and parent.poll() is None
            time.sleep(0.05)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    deadline = time.monotonic() + 20
    while any(Path(f'/proc/{worker}').exists() for worker in workers):
        assert time.monotonic() < deadline, 'a worker outlives its parent'
        time.sleep(0.05)
