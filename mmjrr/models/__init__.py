"""Models of MMEngine's Runner."""

from .discriminators import FitDiscriminator, PoseDiscriminator, ShapeDiscriminator
from .stored_predictions import StoredPredictions

__all__ = ['FitDiscriminator', 'PoseDiscriminator', 'ShapeDiscriminator', 'StoredPredictions']
