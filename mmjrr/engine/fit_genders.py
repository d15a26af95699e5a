"""Check of the genders that a file of initial fits states against the body's gender."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmjrr.body_models import SMPL
from mmjrr.datasets.predictions import Predictions
from mmjrr.errors import DataError
from mmjrr.evaluation.predicted_body import body_of


def check_genders(dataset: Any, body: Any) -> None:
    """Refuse fits of another gender than the body's, as evaluation does.

    Args:
        dataset: The data set. Only one with ``fit_genders()`` knows the genders of its fits.
        body: The body model.

    Raises:
        DataError: Fits have another gender; the message says how to refine them all the same.
    """
    genders = dataset.fit_genders() if hasattr(dataset, 'fit_genders') else None
    if not genders or not isinstance(body, SMPL):
        return
    fits = Predictions(
        gender=genders,
        betas=np.zeros((len(genders), body.num_betas), np.float32),
        body_pose=np.zeros((len(genders), 23, 3), np.float32),
        source=dataset.fits_file,
    )
    try:
        body_of(fits, body)
    except DataError as error:
        raise DataError(
            f'{error}. For a refinement, set train_dataloader.dataset.fits_reading.gender in place '
            'of --gender'
        ) from error
