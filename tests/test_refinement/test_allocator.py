"""Freed memory stays with the process on request."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FREE = """
import torch
from mmjrr.refinement.allocator import keep_freed_memory


def resident():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * 4096 / 2**20


torch.set_num_threads(1)
changed = keep_freed_memory() if {keep} else None
before = resident()
blocks = [torch.ones(5 * 2**20) for _ in range(10)]  # 20 MB each
held = resident()
del blocks
print(changed, held - before, resident() - before)
"""


def megabytes(keep: bool, **environment: str) -> tuple[str, float, float]:
    """Return the function's result, and how 200 MB of tensors grow the process, held and freed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith('MALLOC_')}
    command = [sys.executable, '-c', FREE.format(keep=keep)]
    done = subprocess.run(
        command, env={**env, **environment}, capture_output=True, text=True, check=True
    )
    changed, held, left = done.stdout.split()
    return changed, float(held), float(left)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the C library is not glibc')
def test_freed_memory_stays_with_the_process() -> None:
    _, held, left = megabytes(False)
    assert held > 190 and left < 60
    changed, held, left = megabytes(True)
    assert changed == 'True'
    assert held > 190 and left > 150


@pytest.mark.slow
def test_settings_of_the_environment_stay() -> None:
    assert megabytes(True, MALLOC_TRIM_THRESHOLD_='100000')[0] == 'False'
