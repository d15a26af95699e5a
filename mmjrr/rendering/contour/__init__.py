"""Silhouettes with exact pixel coverage, drawn from the edges where a mesh turns away."""

from mmjrr.rendering.contour.renderer import ContourSilhouette

__all__ = ['ContourSilhouette']
