"""Small regressors for the tests of this folder."""

from __future__ import annotations

import numpy as np

from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.regressors import JointRegressor

NAMES = ('left_knee', 'right_knee', 'head')
#: x towards the left: vertices 0-2 on the left, 3-5 on the right.
TEMPLATE = np.array([0.1, 0.2, 0.3, -0.1, -0.2, -0.3])[:, None] * [1.0, 0.0, 0.0]
WEIGHT = np.array([[0.5, 0.5, 0, 0, 0, 0], [0, 0, 0, 0.25, 0, 0.75], [0.5, 0, 0, 0, 0.5, 0]])


def make():
    return JointRegressor(WEIGHT, NAMES, body_model='toy', provenance={'made_by': 'hand'})


def smpl_like(order):
    """(17, 6890): limbs on their own half of SMPL's numbering, the trunk on both."""
    weight = np.zeros((17, 6890))
    for row, name in enumerate(order):
        column = H36M_JOINTS_MMPOSE.index(name)
        if not name.startswith('right_'):
            weight[row, 100 + column] = 0.5
        if not name.startswith('left_'):
            weight[row, 4000 + column] = 0.5
    return weight / weight.sum(1, keepdims=True)
