"""Checks of packages and of the machine."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from functools import partial

from mmjrr.errors import DataError
from mmjrr.setup_check.finding import WRONG, Finding, look_up


def check_packages() -> Iterator[Finding]:
    """Check the packages that mmjrr requires, and their versions."""
    try:
        declared = importlib.metadata.requires('mmjrr') or []
    except importlib.metadata.PackageNotFoundError:
        declared = []
        yield Finding(WRONG, 'package', 'mmjrr', 'is not installed', 'pip install -e .')
    for line in declared:
        if 'extra ==' not in line:
            yield look_up('package', line, partial(_version, line), f"pip install '{line}'")


def _version(line: str) -> str:
    """Return the installed version of a requirement; raise if it is missing or does not fit."""
    from packaging.requirements import Requirement

    requirement = Requirement(line)
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        raise ModuleNotFoundError('is not installed') from None
    if not requirement.specifier.contains(version, prereleases=True):
        raise DataError(f'found {version}, expected {requirement.specifier}')
    return version


def import_version(name: str) -> str:
    """Import a module and return its version; '' if it states none."""
    module = importlib.import_module(name)
    return str(getattr(module, '__version__', ''))


def check_opencv() -> Finding:
    """Check OpenCV, which reads images."""
    return look_up(
        'package', 'cv2', lambda: import_version('cv2'), "pip install 'opencv-python-headless<4.12'"
    )


def check_gpu() -> Finding:
    """Check that PyTorch can use a GPU."""

    def look() -> str:
        import torch

        if not torch.cuda.is_available():
            raise FileNotFoundError(f'PyTorch {torch.__version__} finds no GPU')
        properties = torch.cuda.get_device_properties(0)
        torch.ones(1, device='cuda').sum().item()  # fails if the driver is too old
        return (
            f'{properties.name}, {properties.total_memory / 2**30:.0f} GiB, one of '
            f'{torch.cuda.device_count()}'
        )

    return look_up('GPU', 'cuda', look, 'a driver, and a PyTorch built for it: https://pytorch.org')
