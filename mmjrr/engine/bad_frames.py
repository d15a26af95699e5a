"""Frames that cannot be refined: found one by one, and listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from mmjrr.refinement.terms.energy_term import Discriminator

#: Treatments of a frame that cannot be refined.
ON_BAD_FRAME = ('skip', 'raise')
#: Errors by which a refinement ends if a fit or annotation is impossible.
ERRORS = (FloatingPointError, ValueError)
#: Largest number of frames that the log lists.
_MAX_LISTED = 20


def find_bad_frames(attempt: Callable[[int], Any], count: int) -> dict[int, str]:
    """Try frames one by one, and return the error of each that fails.

    Args:
        attempt: A function of a frame's position that raises one of :data:`ERRORS` if the frame
            cannot be refined by itself.
        count: Number of frames.
    """
    errors: dict[int, str] = {}
    for row in range(count):
        try:
            attempt(row)
        except ERRORS as error:
            errors[row] = str(error).splitlines()[0]
    return errors


def check_finite_weights(model: Discriminator | None) -> None:
    """Check that a batch of only bad frames is not due to the discriminators.

    Raises:
        FloatingPointError: A weight is not finite.
    """
    parameters = [] if model is None else model.named_parameters()
    for name, value in parameters:
        if not bool(torch.isfinite(value).all()):
            raise FloatingPointError(
                f'discriminators: {name}: found NaN or infinity; no frame can be refined with '
                'them: lower optim_wrapper.optimizer.lr, and start again'
            )


def part_of_batch(batch: Mapping[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """Return a collated batch of only these frames."""
    inputs = batch.get('inputs') or {}
    return {
        'inputs': {name: [values[row] for row in rows] for name, values in inputs.items()},
        'data_samples': [batch['data_samples'][row] for row in rows],
    }


def listed(left_out: Mapping[str, str]) -> str:
    """Describe frames that are left out, a line each."""
    lines = [f'{name}: {reason}' for name, reason in left_out.items()]
    more = [f'and {len(lines) - _MAX_LISTED} more'] if len(lines) > _MAX_LISTED else []
    return '\n  '.join([f'{len(lines)} bad frames are left out:', *lines[:_MAX_LISTED], *more])
