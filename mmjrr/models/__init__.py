"""Models for MMEngine's Runner: discriminators, mesh estimators and stored predictions."""

from .discriminators import FitDiscriminator, PoseDiscriminator, ShapeDiscriminator
from .estimators import MEVA, SPIN, VIBE, MeshEstimator
from .stored_predictions import StoredPredictions

__all__ = [
    'MEVA',
    'SPIN',
    'VIBE',
    'FitDiscriminator',
    'MeshEstimator',
    'PoseDiscriminator',
    'ShapeDiscriminator',
    'StoredPredictions',
]
