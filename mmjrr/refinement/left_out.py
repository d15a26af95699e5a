"""Stored arrays of frames of which some are left out, since they cannot be refined."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmjrr.array_types import Array
from mmjrr.io.mapped import take

#: Name of the stored array that holds, for each frame, why it is left out; '' if it is refined.
LEFT_OUT = 'left_out'


def with_left_out(
    refined: Mapping[str, Array], annotations: Mapping[str, Array], errors: Mapping[int, str]
) -> dict[str, Array]:
    """Return the arrays of a batch: those of its refined frames, with NaN for the others.

    Args:
        refined: Arrays of the frames that are refined, in order.
        annotations: Arrays that all frames of the batch have.
        errors: Why each of the other frames is left out, by position.
    """
    count = len(annotations['sample_idx'])
    reasons = np.array([errors.get(row, '') for row in range(count)], dtype=np.str_)
    arrays = dict(annotations)
    for name, values in refined.items():
        if name not in arrays:
            arrays[name] = np.full((count, *values.shape[1:]), np.nan, values.dtype)
            arrays[name][reasons == ''] = values
    return {**arrays, LEFT_OUT: reasons}


def without_nan(values: Array) -> Array:  # (N,) -> (M,)
    """Return the values that are not NaN, as IoUs are of frames whose mask has no foreground."""
    known: Array = values[~np.isnan(values)]
    return known


def split_left_out(arrays: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the arrays of refined frames, and by image name why the others are left out."""
    refined = arrays[LEFT_OUT] == ''
    if refined.all():
        return {name: array for name, array in arrays.items() if name != LEFT_OUT}, {}
    left_out = zip(
        arrays['imgname'][~refined].tolist(), arrays[LEFT_OUT][~refined].tolist(), strict=True
    )
    rows = np.flatnonzero(refined)
    return (
        {name: take(array, rows) for name, array in arrays.items() if name != LEFT_OUT},
        dict(left_out),
    )
