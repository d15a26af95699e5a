"""The one reader of results files: any model's predictions, in any format and layout.

``files`` opens them, ``layouts`` holds tables of where fields lie, ``parse`` turns fields into
the arrays of ``bodies``, ``matching`` finds the predictions of each annotated frame and
``persons`` the annotated person among them.
"""

from .bodies import Predictions
from .matching import match_frames, match_names
from .persons import match_bodies
from .read import predictions_from, read_predictions

__all__ = [
    'Predictions',
    'match_bodies',
    'match_frames',
    'match_names',
    'predictions_from',
    'read_predictions',
]
