"""Silhouette renderers: their interface, the contour renderer, and PyTorch3D's."""

from mmjrr.rendering.contour.renderer import ContourSilhouette
from mmjrr.rendering.pytorch3d.soft_silhouette import PyTorch3DSilhouette
from mmjrr.rendering.silhouette_renderer import SilhouetteRenderer

__all__ = [
    'ContourSilhouette',
    'PyTorch3DSilhouette',
    'SilhouetteRenderer',
]
