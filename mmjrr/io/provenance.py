"""The versions and the machine on which a result depends."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any


def versions() -> dict[str, Any]:
    """Return the versions of Python and the packages on which a result depends, by name.

    Result files record them as provenance. The version of a package that is not installed is None.
    """
    import numpy
    import torch

    from mmjrr.version import __version__

    return {
        'mmjrr': __version__,
        'python': platform.python_version(),
        'torch': torch.__version__,
        'numpy': numpy.__version__,
        'numba': _installed('numba'),
    }


def processor() -> str:
    """Return the name of this machine's processor."""
    if Path('/proc/cpuinfo').is_file():
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.processor() or platform.machine()


def _installed(package: str) -> str | None:
    """Return a package's version without importing it; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
