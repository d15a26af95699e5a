"""Side of the body on which each row of a regressor lies, to detect left and right swapped.

With a template, a row's side is the x coordinate of its joint in the rest pose, where x points
towards the body's left. SMPL's template is licensed and not part of this package, so for SMPL the
vertex numbers decide: its mesh is mirror-symmetric, and the vertices of the left half and the
midline precede those of the right half. smplx's landmark table and SMPL's published part
segmentation agree: all vertices of left limbs are below 3512, all of right limbs at or above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from mmjrr.array_types import Array
from mmjrr.joints import swap_sides

#: First vertex of the right half of SMPL and SMPL-H.
SMPL_FIRST_RIGHT_VERTEX = 3512
_SMPL_MESHES = ('smpl', 'smplh')

#: Sides of two joints are compared only if they are farther apart along x than this, in meters.
_MIN_DISTANCE = 0.01


def swapped_pairs(
    weight: Array,  # (J, V)
    joint_names: Sequence[str],
    body_model: str,
    template: Array | None = None,  # (V, 3), meters, x towards the body's left
) -> list[tuple[str, str]]:
    """Return the pairs (left joint, right joint) whose rows are swapped.

    Args:
        weight: ``(J, V)`` rows on the simplex.
        joint_names: Name of each row; pairs are those named ``left_*`` and ``right_*``.
        body_model: Name of the body whose vertices are the columns.
        template: Rest-pose vertices (V, 3) of the body. Default: None, unknown.

    Returns:
        The swapped pairs; an empty list if the body is unknown and there is no template.
    """
    leftness = _leftness(weight, body_model, template)
    if leftness is None:
        return []
    leftness_of = dict(zip(joint_names, leftness.tolist(), strict=True))
    pairs = [
        (name, swap_sides(name))
        for name in joint_names
        if name.startswith('left_') and swap_sides(name) in leftness_of
    ]
    return [
        (left, right)
        for left, right in pairs
        if leftness_of[left] - leftness_of[right] < -_MIN_DISTANCE
    ]


def _leftness(weight: Array, body_model: str, template: Array | None) -> Array | None:
    """Return the position of each row (J,), larger to the left; None for unknown bodies.

    It is in meters with a template; otherwise it is the weight on the left half minus that on the
    right half.
    """
    if template is None:
        template = known_template(body_model)
    if template is not None:
        return weight @ template[:, 0]
    if body_model in _SMPL_MESHES:
        left, right = np.split(weight, [SMPL_FIRST_RIGHT_VERTEX], axis=1)
        return left.sum(1) - right.sum(1)
    return None


def has_known_sides(body_model: str) -> bool:
    """Tell whether left and right of a body are known without its template.

    >>> has_known_sides('smpl'), has_known_sides('smplx')
    (True, False)
    """
    return body_model in _SMPL_MESHES or known_template(body_model) is not None


def known_template(body_model: str) -> Array | None:
    """Return the rest-pose vertices of a body that ships with the package; None for others."""
    return _free_body_template() if body_model == 'free_body' else None


@lru_cache(maxsize=1)
def _free_body_template() -> Array:
    from mmjrr.body_models.free_body import FREE_BODY_FILE
    from mmjrr.io import read_npz

    name = 'v_template'
    template: Array = read_npz(FREE_BODY_FILE, select=lambda field: field == name)[name]
    return template.astype(np.float32)
