"""Data sets: Human3.6M with SMPL fits and masks, and folders of images.

Transforms are in :mod:`.transforms`, the synthetic set in :mod:`.synthetic`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmjrr.lazy_names import lazy_names

if TYPE_CHECKING:
    from mmjrr.datasets.h36m import H36MFitsDataset
    from mmjrr.datasets.image_folder import ImageFolderDataset
    from mmjrr.datasets.transforms import (
        CacheImage,
        CropPerson,
        LoadImage,
        NormalizeImage,
        PackMeshInputs,
    )

__all__ = [
    'CacheImage',
    'CropPerson',
    'H36MFitsDataset',
    'ImageFolderDataset',
    'LoadImage',
    'NormalizeImage',
    'PackMeshInputs',
]

__getattr__, __dir__ = lazy_names(__name__)
