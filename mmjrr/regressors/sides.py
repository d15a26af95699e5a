"""Which side of the body a regressor's row lies on, to catch legs in the wrong order.

With a template at hand, the answer is geometric: the x coordinate (towards the body's left in
SMPL's rest pose) of the point that the row weighs. SMPL's own template is under a licence and not
in this package; there, its vertex numbering serves: SMPL's mesh is mirror-symmetric, and the
vertices of its left half (with the midline) come before those of its right half. smplx's
landmark table and SMPL's published part segmentation agree: parts of the left limbs lie wholly
below 3512, parts of the right limbs wholly at or above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from mmjrr.joints import swap_sides

#: SMPL and SMPL-H: ids from here on are the right half's.
SMPL_FIRST_RIGHT_VERTEX = 3512

#: Points closer than this (metres along x) are on no particular side.
_UNDECIDED = 0.01


def swapped_pairs(
    weight: np.ndarray,  # (J, V)
    joint_names: Sequence[str],
    body_model: str,
    template: np.ndarray | None = None,  # (V, 3), metres, x towards the body's left
) -> list[tuple[str, str]]:
    """Pairs (left joint, right joint) whose rows lie the wrong way round.

    Args:
        weight: ``(J, V)`` rows on the simplex.
        joint_names: their names; pairs are those named ``left_*`` and ``right_*``.
        body_model: name of the body the columns belong to.
        template: the body's rest-pose vertices, where known.

    Returns:
        The swapped pairs; none where the body is unknown and no template is given, so that
        nothing can be said.
    """
    leftness = _leftness(weight, body_model, template)
    if leftness is None:
        return []
    of = dict(zip(joint_names, leftness.tolist(), strict=True))
    pairs = [(name, swap_sides(name)) for name in joint_names if name.startswith('left_')]
    return [(a, b) for a, b in pairs if b in of and of[a] - of[b] < -_UNDECIDED]


def _leftness(
    weight: np.ndarray, body_model: str, template: np.ndarray | None
) -> np.ndarray | None:
    """How far to the left each row lies, ``(J,)``: in metres, or as a balance of weights."""
    if template is None and body_model == 'free_body':
        template = _free_body_template()
    if template is not None:
        return weight @ template[:, 0]
    if body_model in ('smpl', 'smplh'):
        left, right = np.split(weight, [SMPL_FIRST_RIGHT_VERTEX], axis=1)
        return left.sum(1) - right.sum(1)
    return None


@lru_cache(maxsize=1)
def _free_body_template() -> np.ndarray:
    from mmjrr.body_models import free_body

    return free_body().v_template.detach().cpu().numpy()
