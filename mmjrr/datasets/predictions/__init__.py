"""Reader of results files: any model's predictions, in any format and layout.

``results_files`` opens files, ``layouts`` lists where each layout keeps its fields, ``parse``
converts the fields to the arrays of ``bodies``, ``matching`` finds the predictions of each
annotated frame, and ``persons`` chooses the annotated person among them. ``read`` combines the
steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmjrr.lazy_names import lazy_names

if TYPE_CHECKING:
    from mmjrr.datasets.predictions.bodies import Predictions
    from mmjrr.datasets.predictions.matching import match_frames, match_names
    from mmjrr.datasets.predictions.persons import match_bodies
    from mmjrr.datasets.predictions.read import predictions_from, read_predictions

__all__ = [
    'Predictions',
    'match_bodies',
    'match_frames',
    'match_names',
    'predictions_from',
    'read_predictions',
]

__getattr__, __dir__ = lazy_names(__name__)
