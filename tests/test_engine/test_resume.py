"""A run that is killed and resumed ends with the same bytes as one that is not."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ('J_spin.npy', 'J_spin.json', 'J_opt.npy', 'J_opt.json', 'pseudo_gt.npz')


def command(config: Path, work_dir: Path, *arguments: str) -> list[str]:
    tool = str(ROOT / 'tools' / 'train.py')
    return [sys.executable, tool, str(config), '--work-dir', str(work_dir), *arguments]


def finish(config: Path, work_dir: Path, env: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        command(config, work_dir, *arguments), env=env, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def kill_when(
    config: Path, work_dir: Path, env: dict[str, str], ready, delay: float, *arguments: str
) -> bool:
    """Kill the run ``delay`` seconds after ``ready()``; return whether it was still running."""
    with open(work_dir.with_suffix('.log'), 'a') as log:
        process = subprocess.Popen(
            command(config, work_dir, *arguments), env=env, stdout=log, stderr=log
        )
        deadline = time.monotonic() + 120
        while not ready() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(delay)
        running = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    return running


@pytest.fixture(scope='module')
def uninterrupted(tiny_config: Path, tmp_path_factory, one_thread) -> Path:
    work_dir = tmp_path_factory.mktemp('uninterrupted') / 'run'
    output = finish(tiny_config, work_dir, one_thread)
    assert 'J_opt.npy' in output and 'pseudo_gt.npz' in output
    return work_dir


def assert_same_results(work_dir: Path, expected: Path) -> None:
    for name in (*RESULTS, 'refinement.json'):
        assert (work_dir / name).read_bytes() == (expected / name).read_bytes(), name
    assert not [p for p in work_dir.rglob('.*') if p.is_file()], 'a temporary file was left'


def test_killed_in_every_stage_and_resumed_ends_in_the_same_bytes(
    tiny_config: Path, tmp_path: Path, one_thread, uninterrupted: Path
) -> None:
    work_dir = tmp_path / 'run'
    moments = random.Random(0)

    def shards() -> int:
        return len(list((work_dir / 'pseudo_gt').glob('batch_*.npz')))

    stages = {
        'while J_spin is fitted': work_dir.exists,
        'while the first batches are refined': lambda: shards() >= 1,
        'while a checkpoint is written': lambda: shards() >= 4,
        'while J_opt is fitted': lambda: shards() >= 6,
        'while results are exported': (work_dir / 'J_opt.npy').exists,
    }
    killed = 0
    for number, ready in enumerate(stages.values()):
        arguments = ('--resume',) if number else ()
        delay = moments.uniform(0, 0.15)
        killed += kill_when(tiny_config, work_dir, one_thread, ready, delay, *arguments)
    assert killed >= 3
    finish(tiny_config, work_dir, one_thread, '--resume')
    assert_same_results(work_dir, uninterrupted)


def test_a_second_run_does_not_touch_the_first(
    tiny_config: Path, one_thread, uninterrupted: Path
) -> None:
    before = {name: (uninterrupted / name).read_bytes() for name in RESULTS}
    done = subprocess.run(
        command(tiny_config, uninterrupted), env=one_thread, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert 'add --resume' in done.stderr
    assert before == {name: (uninterrupted / name).read_bytes() for name in RESULTS}


def test_same_seed_same_bytes(
    tiny_config: Path, tmp_path: Path, one_thread, uninterrupted: Path
) -> None:
    finish(tiny_config, tmp_path / 'again', one_thread, '--resume')  # nothing to resume yet
    assert_same_results(tmp_path / 'again', uninterrupted)


def test_two_processes_share_the_frames(tiny_config: Path, tmp_path: Path, run_processes) -> None:
    work_dir = tmp_path / 'two'
    run_processes(command(tiny_config, work_dir, '--launcher', 'pytorch'), 2)
    shards = sorted(path.name for path in (work_dir / 'pseudo_gt').glob('batch_*'))
    assert shards == [
        f'batch_{batch:07d}_rank_{rank:03d}.npz' for batch in range(6) for rank in range(2)
    ]
    with np.load(work_dir / 'pseudo_gt.npz') as file:
        assert len(set(file['imgname'].tolist())) == len(file['imgname']) == 24
    results = {name: (work_dir / name).read_bytes() for name in (*RESULTS, 'refinement.json')}
    # Killed when one process had stored its second batch and the other had not; no checkpoint.
    for path in (
        work_dir / 'last_checkpoint', *work_dir.glob('iter_*.pth'), work_dir / 'J_opt.npy',
        *(work_dir / 'pseudo_gt').glob('batch_0000001_rank_001.npz'),
        *(work_dir / 'pseudo_gt').glob('batch_000000[2-5]_*'),
    ):  # fmt: skip
        path.unlink()
    run_processes(command(tiny_config, work_dir, '--launcher', 'pytorch', '--resume'), 2)
    assert results == {name: (work_dir / name).read_bytes() for name in results}
