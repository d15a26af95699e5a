"""Data sets: Human3.6M with SMPL fits and masks, and folders of images.

Transforms are in :mod:`.transforms`, the synthetic set in :mod:`.synthetic`.
"""

from .h36m import H36MFitsDataset
from .image_folder import ImageFolderDataset
from .transforms import CropPerson, LoadImage, NormalizeImage, PackMeshInputs

__all__ = [
    'CropPerson',
    'H36MFitsDataset',
    'ImageFolderDataset',
    'LoadImage',
    'NormalizeImage',
    'PackMeshInputs',
]
