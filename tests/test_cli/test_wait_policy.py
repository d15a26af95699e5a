"""Commands have OpenMP's threads sleep while they wait, unless the user decides otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PRINT = """
import os
import sys
import {module}
print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules)
"""


@pytest.mark.parametrize(
    ('module', 'setting', 'expected'),
    [
        # PyTorch is imported afterwards: its OpenMP reads the environment once.
        ('mmjrr.cli.main', None, 'PASSIVE False'),
        ('mmjrr.cli.train', None, 'PASSIVE False'),
        ('mmjrr.cli.main', 'ACTIVE', 'ACTIVE False'),
        ('mmjrr', None, 'None False'),  # a library leaves the process to its owner
    ],
)
def test_commands_set_the_wait_policy(module: str, setting: str | None, expected: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != 'OMP_WAIT_POLICY'}
    if setting is not None:
        environment['OMP_WAIT_POLICY'] = setting
    done = subprocess.run(
        [sys.executable, '-c', PRINT.format(module=module)],
        env=environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == expected
