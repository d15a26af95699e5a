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
    """What mmjrr itself asks for, in the ranges that it declares."""
    try:
        declared = importlib.metadata.requires('mmjrr') or []
    except importlib.metadata.PackageNotFoundError:
        declared = []
        yield Finding(WRONG, 'package', 'mmjrr', 'is not installed', 'pip install -e .')
    for line in declared:
        if 'extra ==' not in line:
            yield look_up('package', line, partial(_version, line), f"pip install '{line}'")


def _version(line: str) -> str:
    from packaging.requirements import Requirement

    wanted = Requirement(line)
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        raise ModuleNotFoundError('is not installed') from None
    if not wanted.specifier.contains(version, prereleases=True):
        raise DataError(f'found {version}, expected {wanted.specifier}')
    return version


def import_version(name: str) -> str:
    module = importlib.import_module(name)
    return str(getattr(module, '__version__', ''))


def check_opencv() -> Finding:
    return look_up(
        'package', 'cv2', lambda: import_version('cv2'), "pip install 'opencv-python-headless<4.12'"
    )


def check_gpu() -> Finding:
    def look() -> str:
        import torch

        if not torch.cuda.is_available():
            raise FileNotFoundError(f'PyTorch {torch.__version__} sees none')
        about = torch.cuda.get_device_properties(0)
        torch.ones(1, device='cuda').sum().item()  # a driver that is too old shows here
        return (
            f'{about.name}, {about.total_memory / 2**30:.0f} GiB, one of '
            f'{torch.cuda.device_count()}'
        )

    return look_up('GPU', 'cuda', look, 'a driver, and a PyTorch built for it: https://pytorch.org')
