"""Data sets: Human3.6M with SMPL fits and masks. The synthetic set is in :mod:`.synthetic`."""

from .h36m import H36MFitsDataset

__all__ = ['H36MFitsDataset']
