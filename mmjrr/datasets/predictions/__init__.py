"""The one reader of results files: any model's predictions, in any format and layout.

``files`` opens them, ``layouts`` holds tables of where fields lie, ``parse`` turns fields into
arrays, ``matching`` finds the frame of each image name.
"""

from .matching import match_names
from .parse import Predictions, predictions_from, read_predictions

__all__ = ['Predictions', 'match_names', 'predictions_from', 'read_predictions']
