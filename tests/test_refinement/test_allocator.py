"""Memory that is freed is kept for what comes next."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from mmjrr.refinement.allocator import keep_freed_memory

torch.set_num_threads(1)
changed = keep_freed_memory() if {keep} else None


def work():
    several = [torch.ones(2**20, 2) for _ in range(8)]  # 8 MB each
    del several


work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    work()
print(changed, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool, **environment: str) -> tuple[str, int]:
    """What the function said, and how often a page was asked of the system."""
    env = {name: value for name, value in os.environ.items() if not name.startswith('MALLOC_')}
    command = [sys.executable, '-c', FAULTS.format(keep=keep)]
    done = subprocess.run(
        command, env={**env, **environment}, capture_output=True, text=True, check=True
    )
    said, number = done.stdout.split()
    return said, int(number)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the C library is not glibc')
def test_pages_are_not_asked_for_again() -> None:
    _, given_back = faults(False)
    said, kept = faults(True)
    assert said == 'True'
    assert kept < given_back / 4


def test_what_the_environment_says_stays() -> None:
    assert faults(True, MALLOC_TRIM_THRESHOLD_='100000')[0] == 'False'
