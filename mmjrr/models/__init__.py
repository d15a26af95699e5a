"""Models for MMEngine's Runner: discriminators, losses, mesh estimators, stored predictions."""

from .discriminators import FitDiscriminator, PoseDiscriminator, ShapeDiscriminator
from .estimators import MEVA, SPIN, VIBE, MeshEstimator
from .losses import JointRegressorLoss, LSGANLoss, MeshLoss, SilhouetteLoss
from .stored_predictions import StoredPredictions

__all__ = [
    'MEVA',
    'SPIN',
    'VIBE',
    'FitDiscriminator',
    'JointRegressorLoss',
    'LSGANLoss',
    'MeshEstimator',
    'MeshLoss',
    'PoseDiscriminator',
    'ShapeDiscriminator',
    'SilhouetteLoss',
    'StoredPredictions',
]
