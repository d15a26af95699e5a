"""Versions of what a result depends on."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any


def versions() -> dict[str, Any]:
    """Versions of what a result depends on, for the provenance of result files."""
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


def _installed(package: str) -> str | None:
    """Return a package's version without importing it; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
