"""What importing the package loads."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_geometry_loads_neither_scipy_nor_opencv_nor_mmengine() -> None:
    code = 'import sys, mmjrr.geometry; print(*sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert not {'scipy', 'cv2', 'mmengine', 'numba'} & set(done.stdout.split())
