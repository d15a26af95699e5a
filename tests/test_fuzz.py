"""Randomly changed files raise the project's own errors, and the harness detects other results."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from fuzz import LOADERS, case_of, change_inside, failures_of, fuzz, summary
from loaders import CASES, pickled, torch_file

from mmjrr.errors import DataError

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='limits are those of Linux')


@pytest.mark.slow
def test_two_thousand_changed_files_are_taken_or_refused() -> None:
    # CDF files are read by a process of their own, a third of a second each: make fuzz tries them.
    slow = frozenset({'joints of the release'})
    results = fuzz(2100, seed=0, skip=slow)
    assert len(results) == 2065
    assert not failures_of(results), summary(results, seed=0)
    assert {result.loader for result in results} == set(LOADERS) - slow
    # Changes that nobody notices, or that everybody refuses, would test nothing.
    taken = sum(result.outcome == 'ok' for result in results)
    assert 200 < taken < 1200


def checksums(seed: int) -> list[int]:
    """Return the checksums of the files of the first 200 cases."""
    return [zlib.crc32((case_of(seed, number, CASES)[1] or ('', b''))[1]) for number in range(200)]


@pytest.mark.slow
def test_a_case_is_the_same_in_every_process() -> None:
    done = subprocess.run(
        [sys.executable, '-c', 'from test_fuzz import checksums; print(checksums(3))'],
        env={**os.environ, 'PYTHONHASHSEED': '5'},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(checksums(3))
    assert checksums(3) != checksums(4)


def end(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def ask_for_memory(path: Path) -> None:
    np.zeros(1 << 40, np.uint8)


def turn(path: Path) -> None:
    while True:
        pass


def raise_it(path: Path) -> None:
    raise KeyError('x')


def refuse_without_name(path: Path) -> None:
    raise DataError('something is wrong')


def refuse(path: Path) -> None:
    raise DataError(f'{path}: something is wrong')


def unfound(path: Path) -> None:
    raise FileNotFoundError(f'{path}: not there')


def sleep(path: Path) -> None:
    time.sleep(100)


@pytest.mark.slow
def test_every_kind_of_failure_is_seen_and_the_next_cases_run() -> None:
    loads = dict(
        crash=end, memory=ask_for_memory, timeout=turn, raised=raise_it, other=refuse_without_name,
        refused=refuse, unfound=unfound, ok=lambda path: None, sleep=sleep,
    )  # fmt: skip
    cases = {
        name: ('a.bin', lambda: None, lambda _: b'content', load) for name, load in loads.items()
    }
    results = fuzz(2 * len(cases), seed=0, workers=2, loaders=cases, seconds=1)
    assert [result.number for result in results] == list(range(2 * len(cases)))
    expected = {**{name: name for name in loads}, 'other': 'raised', 'unfound': 'refused',
                'sleep': 'timeout'}  # fmt: skip
    assert [result.outcome for result in results] == 2 * list(expected.values())
    text = summary(results, seed=0)
    assert 'python tests/fuzz.py --seed 0 --case 0' in text and "KeyError: 'x'" in text


@pytest.mark.parametrize('write', [pickled, torch_file])
def test_changes_inside_keep_the_frame(write) -> None:
    """Most changed pickles and archives are read up to the change, not refused at the door."""
    whole = write(dict(a=np.arange(3).tolist(), b='text'))
    changed = {change_inside(whole, random.Random(seed)) for seed in range(50)}
    assert len(changed) > 25
    if whole[:2] == b'PK':
        for content in changed:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                assert archive.testzip() is None
