"""Silhouettes with exact pixel coverage, drawn from a mesh's contour edges."""

from mmjrr.rendering.contour.renderer import ContourSilhouette

__all__ = ['ContourSilhouette']
