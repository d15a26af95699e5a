"""Models of MMEngine's Runner."""

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
