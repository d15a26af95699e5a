"""PyTorch3D's soft silhouettes behind the interface of silhouette renderers."""

from mmjrr.rendering.pytorch3d.soft_silhouette import PyTorch3DSilhouette

__all__ = ['PyTorch3DSilhouette']
