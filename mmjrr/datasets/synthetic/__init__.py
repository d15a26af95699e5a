"""A synthetic H36M in MMPose's layout, for which everything is known. See :mod:`.generator`."""

from mmjrr.datasets.synthetic.generator import Settings, generate, is_complete

__all__ = ['Settings', 'generate', 'is_complete']
