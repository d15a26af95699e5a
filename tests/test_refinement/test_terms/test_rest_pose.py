"""The term of the rest pose: its unit is half of a joint's limit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmjrr.geometry import PerspectiveCamera, axis_angle_to_matrix
from mmjrr.joints import SMPL_JOINTS
from mmjrr.refinement import FitEnergy, Observations, PosedBodies
from mmjrr.refinement.terms import JointLimitsTerm, RestPoseTerm
from mmjrr.refinement.terms.joint_limits import JOINT_LIMITS
from mmjrr.refinement.terms.rest_pose import UNLIMITED_DEVIATION

CAMERA = PerspectiveCamera(torch.ones(1, 2), torch.zeros(1, 2))


def value_of(term: JointLimitsTerm, **degrees: tuple[float, float, float]) -> float:
    """Evaluate the term on a body whose named joints have these rotation vectors."""
    pose = torch.zeros(1, 24, 3)
    for joint, vector in degrees.items():
        pose[0, SMPL_JOINTS.index(joint)] = torch.deg2rad(torch.tensor(vector))
    bodies = PosedBodies(
        rotations=axis_angle_to_matrix(pose),
        betas=torch.zeros(1, 10),
        transl=torch.zeros(1, 3),
        vertices=torch.zeros(1, 1, 3),
        camera=CAMERA,
        image_size=(8, 8),
    )
    weight = torch.ones(1, 17)
    joints = [torch.zeros(1, 17, n) for n in (3, 2)]
    observed = Observations(joints[0], weight, joints[1], weight, CAMERA, None)
    return float(term(bodies, observed))


def test_a_joint_at_its_limit_is_two_standard_deviations_off() -> None:
    term = RestPoseTerm()
    knee, elbow = JOINT_LIMITS['left_knee'], JOINT_LIMITS['left_elbow']
    assert value_of(term) == 0
    assert value_of(term, left_knee=(knee[0][1], 0, 0)) == pytest.approx(4, rel=1e-4)
    assert value_of(term, left_knee=(knee[0][0], 0, 0)) == pytest.approx(4, rel=1e-4)
    assert value_of(term, left_elbow=(0, elbow[1][0], 0)) == pytest.approx(4, rel=1e-4)
    # The right side is the mirror image of the left.
    assert value_of(term, right_elbow=(0, -elbow[1][0], 0)) == pytest.approx(4, rel=1e-4)


def test_hands_and_feet_have_a_deviation_and_the_root_is_free() -> None:
    term = RestPoseTerm()
    assert value_of(term, pelvis=(100, 30, 0)) == 0
    assert value_of(term, left_foot=(0, 2 * UNLIMITED_DEVIATION, 0)) == pytest.approx(4, rel=1e-4)
    assert value_of(term, right_hand=(0, 0, -UNLIMITED_DEVIATION)) == pytest.approx(1, rel=1e-4)


def test_values_of_joints_add_up_and_limits_may_be_replaced() -> None:
    term = RestPoseTerm(limits=dict(head=((-20, 20), (-40, 40), (-20, 20))))
    both = value_of(term, head=(10, 0, 0), left_foot=(10, 0, 0))
    assert both == pytest.approx(1 + 1, rel=1e-4)
    assert np.isfinite(value_of(RestPoseTerm(limits=dict(head=None)), head=(10, 0, 0)))


@pytest.mark.parametrize(
    ('limits', 'free'),
    [
        (dict(right_elbow=None), {'right_elbow'}),
        (dict(left_elbow=None), {'left_elbow', 'right_elbow'}),
        (dict(left_elbow=None, right_elbow=((-90, 90), (-5, 155), (-45, 45))), {'left_elbow'}),
        (dict(right_elbow=None, left_elbow=((-9, 9), (-9, 9), (-9, 9))), {'right_elbow'}),
        (dict(head=None), {'head'}),
        (dict(right_hand=None), set()),
        ({}, set()),
    ],
)
@pytest.mark.parametrize('kind', [JointLimitsTerm, RestPoseTerm])
def test_none_frees_a_joint_of_either_side(
    kind: type[JointLimitsTerm], limits: dict, free: set[str]
) -> None:
    term, shipped = kind(limits=limits), kind()
    for number, joint in enumerate(SMPL_JOINTS[1:]):
        if joint in free:
            assert (term.low[number] == -np.inf).all() and (term.high[number] == np.inf).all()
        elif joint not in limits:
            assert torch.equal(term.low[number], shipped.low[number]), joint
            assert torch.equal(term.high[number], shipped.high[number]), joint
    elbows = {name: (0, -90, 90) for name in ('left_elbow', 'right_elbow')}
    assert np.isfinite(value_of(term, **elbows))


def test_a_freed_right_elbow_bends_backward() -> None:
    backward = (0, -90, 0)
    assert value_of(JointLimitsTerm(), right_elbow=backward) > 1
    assert value_of(JointLimitsTerm(limits=dict(right_elbow=None)), right_elbow=backward) == 0


def test_limits_without_the_rest_pose_are_refused_and_the_term_is_balanced() -> None:
    with pytest.raises(ValueError, match='each low limit below'):
        RestPoseTerm(limits=dict(head=((5, 20), (-40, 40), (-20, 20))))
    energy = FitEnergy(dict(rest_pose=dict(scale=2.0)))
    assert energy.balance(dict(rest_pose=8.0)) == dict(rest_pose=0.25)
