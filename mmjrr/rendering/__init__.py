"""From posed vertices to silhouettes: cameras, the renderers' interface, the contour renderer."""

from mmjrr.rendering.base import SilhouetteRenderer
from mmjrr.rendering.cameras import (
    PerspectiveCamera,
    crop_weak_perspective_to_transl,
    transl_to_crop_weak_perspective,
    transl_to_weak_perspective,
    weak_perspective_to_transl,
)
from mmjrr.rendering.contour import ContourSilhouette
from mmjrr.rendering.pytorch3d_silhouette import PyTorch3DSilhouette

__all__ = [
    'ContourSilhouette',
    'PerspectiveCamera',
    'PyTorch3DSilhouette',
    'SilhouetteRenderer',
    'crop_weak_perspective_to_transl',
    'transl_to_crop_weak_perspective',
    'transl_to_weak_perspective',
    'weak_perspective_to_transl',
]
