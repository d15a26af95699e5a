"""A synthetic H36M in MMPose's layout, for which everything is known. See :mod:`.generator`."""

from mmjrr.datasets.synthetic.generator import generate, is_complete
from mmjrr.datasets.synthetic.settings import Settings

__all__ = ['Settings', 'generate', 'is_complete']
