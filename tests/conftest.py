"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Folder with real frames and released files that cannot be part of the project.

    ``MMJRR_SHARED_DATA`` names it; by default ``shared/data`` beside the checkout.
    """
    default = Path(__file__).resolve().parents[2] / 'shared' / 'data'
    folder = Path(os.environ.get('MMJRR_SHARED_DATA', default))
    if not folder.is_dir():
        pytest.skip(f'real data not found: {folder} is not a folder (set MMJRR_SHARED_DATA)')
    return folder


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
