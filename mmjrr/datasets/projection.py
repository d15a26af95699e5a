"""Comparison of the 3D joints of annotations with their 2D joints, by camera."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.annotations import Annotations
from mmjrr.datasets.image_names import parse_image_name
from mmjrr.errors import DataError
from mmjrr.geometry import PerspectiveCamera, projection_errors


def check_projection(
    annotations: Annotations,
    cameras: Mapping[tuple[str, str], PerspectiveCamera],
    tolerance: float | None = None,
    where: str = 'annotations',
) -> dict[str, dict[str, float]]:
    """Measure the distance between projected 3D joints and 2D joints by subject and camera.

    Args:
        annotations: The frames.
        cameras: Cameras by subject and camera name, including all that show a frame.
        tolerance: Largest mean distance in pixels; a larger one raises. Default: None, only
            measure.
        where: Beginning of error messages.

    Returns:
        ``{'S1 54138969': {'mean_px': ..., 'max_px': ..., 'frames': ...}}``.

    Raises:
        DataError: All joints or only the legs (as in SPIN's order) are swapped left and right
            between ``S`` and ``part``, or a mean distance is above the tolerance or NaN.
    """
    distances = {}
    for key, rows in rows_by_camera(annotations).items():
        part, joints = annotations.part[rows], annotations.S[rows]
        labeled = (joints[..., 3] > 0) & (part[..., 2] > 0)
        if not labeled.any():
            continue
        errors = projection_errors(cameras[key], joints[..., :3], part[..., :2], labeled)
        name = ' '.join(key)
        if (swap := errors.find_swap()) is not None:
            raise DataError(
                f'{where}: {name}: {swap[0]} are swapped between S and part: projected joints are '
                f'{errors.mean:.1f} px from part, {swap[1]:.1f} px when swapped back'
            )
        if tolerance is not None and not errors.mean <= tolerance:
            raise DataError(
                f'{where}: {name}: projected S is {errors.mean:.1f} px from part, expected at most '
                f'{tolerance}'
            )
        distances[name] = dict(mean_px=errors.mean, max_px=errors.max, frames=len(rows))
    return distances


def rows_by_camera(table: Annotations) -> dict[tuple[str, str], Array]:
    """Return the rows of each (subject, camera), sorted by subject and camera."""
    rows_of: dict[tuple[str, str], list[int]] = {}
    for row, name in enumerate(map(parse_image_name, table.imgname.tolist())):
        rows_of.setdefault((name.subject, name.camera), []).append(row)
    return {key: np.array(rows_of[key]) for key in sorted(rows_of)}
