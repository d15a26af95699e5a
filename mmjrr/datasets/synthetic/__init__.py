"""Synthetic H36M in MMPose's layout, with known truth. See :mod:`.generator`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmjrr.lazy_names import lazy_names

if TYPE_CHECKING:
    from mmjrr.datasets.synthetic.generator import generate, is_complete
    from mmjrr.datasets.synthetic.settings import Settings

__all__ = ['Settings', 'generate', 'is_complete']

__getattr__, __dir__ = lazy_names(__name__)
