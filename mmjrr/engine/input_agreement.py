"""Agreement of a data set's initial fits and masks with its annotated joints."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from mmengine.logging import print_log

from mmjrr.engine.fit_agreement import check_fits, measure_fits
from mmjrr.engine.mask_agreement import check_masks, measure_masks


def check_inputs(dataset: Any, body: Any) -> dict[str, Any]:
    """Refuse fits and masks that cannot belong to their frames, and warn of doubtful ones.

    Args:
        dataset: The data set. Fits are checked if it has ``fit_sample``, masks if it has any.
        body: The body model of the fits.

    Returns:
        JSON values that describe the agreement, under ``'fits'`` and ``'masks'``.

    Raises:
        DataError: Fits or masks are not those of the frames.
    """
    agreement: dict[str, Any] = {}
    warnings = []
    if hasattr(dataset, 'fit_sample') and hasattr(body, 'articulate'):
        fits = measure_fits(dataset, body)
        warnings += check_fits(fits, 'initial fits')
        agreement['fits'] = asdict(fits)
    if getattr(dataset, 'masks', None) is not None:
        masks = measure_masks(dataset)
        warnings += check_masks(masks, 'masks')
        agreement['masks'] = asdict(masks)
    for warning in warnings:
        print_log(warning, logger='current', level=logging.WARNING)
    return agreement
