"""Silhouette renderers: their interface, the contour renderer, and PyTorch3D's."""

from mmjrr.rendering.base import SilhouetteRenderer
from mmjrr.rendering.contour.renderer import ContourSilhouette
from mmjrr.rendering.pytorch3d.silhouette import PyTorch3DSilhouette

__all__ = [
    'ContourSilhouette',
    'PyTorch3DSilhouette',
    'SilhouetteRenderer',
]
