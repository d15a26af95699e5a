"""Estimators of SMPL parameters from images, which load their authors' checkpoint files."""

from .hmr import SPIN
from .mesh_estimator import MeshEstimator
from .meva import MEVA
from .vibe import VIBE

__all__ = ['MEVA', 'SPIN', 'VIBE', 'MeshEstimator']
