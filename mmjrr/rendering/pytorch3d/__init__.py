"""PyTorch3D's soft silhouettes behind the renderers' interface."""

from mmjrr.rendering.pytorch3d.silhouette import PyTorch3DSilhouette

__all__ = ['PyTorch3DSilhouette']
