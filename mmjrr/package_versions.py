"""Versions of PyTorch and NumPy that do not work together."""

from __future__ import annotations

from importlib import metadata


def check_package_versions() -> None:
    """Refuse a PyTorch that cannot exchange arrays with the installed NumPy.

    Neither package is imported.

    Raises:
        ImportError: The two do not work together; the message says what to install.
    """
    try:
        conflict = version_conflict(metadata.version('torch'), metadata.version('numpy'))
    except metadata.PackageNotFoundError:
        return  # importing the package says so
    if conflict is not None:
        raise ImportError(conflict)


def version_conflict(torch: str, numpy: str) -> str | None:
    """Return what to install if these versions do not work together; None if they do.

    Args:
        torch: Version of PyTorch.
        numpy: Version of NumPy.

    >>> version_conflict('2.1.2+cpu', '1.26.4')
    >>> version_conflict('2.13.0', '2.5.5')
    """
    if _release(torch) >= (2, 3) or _release(numpy) < (2, 0):
        return None
    return (
        f'PyTorch {torch} cannot use NumPy {numpy}: install an older NumPy '
        "(pip install 'numpy<2'), or PyTorch 2.3 or newer"
    )


def _release(version: str) -> tuple[int, int]:
    major, minor = version.split('.')[:2]
    return int(major), int(minor)
