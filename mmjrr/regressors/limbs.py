"""Order of a regressor's rows along the limbs, to detect exchanged rows such as hip and ankle.

With a template in SMPL's rest pose (T-pose, y up), joints of a limb lie in a known order: hip above
knee above ankle, shoulder nearer to the middle than elbow than wrist, pelvis below spine below
thorax below head. SMPL's template is licensed and not part of this package. For SMPL the check
therefore uses the ranges of vertex numbers of feet and hands, which contain the landmarks of
smplx's ``vertex_ids``: heels, toes and fingers. The row of a hip or knee has less weight on the
foot than that of the ankle.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmjrr.array_types import Array
from mmjrr.regressors.sides import known_template

#: Vertices of SMPL's feet with ankles, and hands with wrists: first, and one past the last.
_SMPL_ENDS = {
    'left_ankle': (3190, 3470),
    'right_ankle': (6590, 6870),
    'left_wrist': (1915, 2755),
    'right_wrist': (5375, 6200),
}

#: Joints of a limb, the proximal one first.
_LIMBS = tuple(
    tuple(f'{side}_{joint}' for joint in joints)
    for side in ('left', 'right')
    for joints in (('hip', 'knee', 'ankle'), ('shoulder', 'elbow', 'wrist'))
)
_TRUNK = ('pelvis', 'spine', 'thorax', 'head')

#: Two joints are compared only if they are farther apart along the limb than this, in meters.
_MIN_DISTANCE = 0.02
#: Difference of the weights on a foot or hand at which two rows are taken for exchanged.
_MIN_SHARE = 0.5


def exchanged_joints(
    weight: Array,  # (J, V)
    joint_names: Sequence[str],
    body_model: str,
    template: Array | None = None,  # (V, 3), meters, y up, x towards the body's left
) -> list[tuple[str, str]]:
    """Return pairs (proximal joint, distal joint) whose rows lie in the reverse order.

    Args:
        weight: ``(J, V)`` rows on the simplex.
        joint_names: Name of each row.
        body_model: Name of the body whose vertices are the columns.
        template: Rest-pose vertices of the body. Default: None, unknown.

    Returns:
        The pairs; an empty list if the body is unknown and there is no template, or the template
        does not stand upright along y.
    """
    row_of = {name: row for row, name in enumerate(joint_names)}
    if template is None:
        template = known_template(body_model)
    if template is not None:
        if np.ptp(template[:, 1]) < 1.5 * np.ptp(template[:, 2]):
            return []
        return _by_template(weight @ template, row_of, float(np.median(template[:, 0])))
    if body_model in ('smpl', 'smplh'):
        return _by_numbers(weight, row_of)
    return []


def _by_template(joints: Array, row_of: dict[str, int], middle: float) -> list[tuple[str, str]]:
    along_leg = -joints[:, 1]
    along_arm = np.abs(joints[:, 0] - middle)
    pairs = []
    for limb in (*_LIMBS, _TRUNK):
        position = along_arm if limb[-1].endswith('wrist') else along_leg
        if limb is _TRUNK:
            position = joints[:, 1]
        present = [name for name in limb if name in row_of]
        pairs += [
            (proximal, distal)
            for index, proximal in enumerate(present)
            for distal in present[index + 1 :]
            if position[row_of[distal]] - position[row_of[proximal]] < -_MIN_DISTANCE
        ]
    return pairs


def _by_numbers(weight: Array, row_of: dict[str, int]) -> list[tuple[str, str]]:
    pairs = []
    for limb in _LIMBS:
        distal = limb[-1]
        if distal not in row_of:
            continue
        first, end = _SMPL_ENDS[distal]
        share = weight[:, first:end].sum(1)
        pairs += [
            (proximal, distal)
            for proximal in limb[:-1]
            if proximal in row_of and share[row_of[proximal]] - share[row_of[distal]] > _MIN_SHARE
        ]
    return pairs
