"""Which instance is the annotated person."""

from __future__ import annotations

import numpy as np
import pytest

from mmjrr.segmentation import choose_person

LEFT, RIGHT = (10.0, 10, 30, 60), (50.0, 10, 70, 60)
#: Inside RIGHT, a tenth of 50 from its edges.
JOINTS = np.array([[55.0, 15], [65, 15], [60, 30], [60, 55]])


def masks_of(*boxes: tuple[float, ...]) -> np.ndarray:
    masks = np.zeros((len(boxes), 80, 90), np.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[int(y0) : int(y1), int(x0) : int(x1)] = 255
    return masks


@pytest.mark.parametrize('with_masks', [True, False])
def test_the_person_under_the_joints_wins_against_a_surer_one(with_masks: bool) -> None:
    boxes = np.array([LEFT, RIGHT])
    masks = masks_of(LEFT, RIGHT) if with_masks else None
    choice = choose_person(boxes, np.array([0.99, 0.06]), masks, JOINTS)
    assert choice is not None and choice.instance == 1
    # All joints inside; the joints' box, 4 wider on each side, is (51, 11, 69, 59).
    assert choice.overlap == pytest.approx((1 + 18 * 48 / 1000) / 2)


def test_of_two_overlapping_boxes_the_mask_decides() -> None:
    both = np.array([RIGHT, RIGHT])
    masks = masks_of((50.0, 10, 70, 20), RIGHT)
    assert choose_person(both, np.array([0.9, 0.5]), masks, JOINTS).instance == 1
    assert (
        choose_person(both, np.array([0.9, 0.5]), None, JOINTS).instance == 0
    )  # equals: the surest


def test_joints_of_weight_zero_do_not_count() -> None:
    joints = np.concatenate([JOINTS, [[12.0, 12], [np.nan, np.nan]]])
    weights = np.array([1, 1, 1, 1, 0, 0])
    choice = choose_person(np.array([LEFT, RIGHT]), np.ones(2), None, joints, weights)
    assert choice.instance == 1 and choice.overlap > 0.9


def test_joints_outside_the_image_lie_on_no_mask() -> None:
    everything = np.full((1, 80, 90), 255, np.uint8)
    joints = np.array([[-0.5, 5.0], [90, 5], [5, 80], [89.9, 79.9]])
    choice = choose_person(np.array([[0.0, 0, 90, 80]]), np.ones(1), everything, joints)
    inside = 0.25
    margin = 0.1 * 90.5
    joint_box = (-0.5 - margin, 5 - margin, 90 + margin, 80 + margin)
    shared = 90 * (80 - max(0, 5 - margin))
    union = (joint_box[2] - joint_box[0]) * (joint_box[3] - joint_box[1]) + 90 * 80 - shared
    assert choice.overlap == pytest.approx((inside + shared / union) / 2)


def test_without_joints_the_box_decides_and_without_a_box_the_score() -> None:
    boxes = np.array([LEFT, RIGHT])
    scores = np.array([0.9, 0.5])
    choice = choose_person(boxes, scores, box=(50, 10, 70, 85))
    assert choice.instance == 1 and choice.overlap == pytest.approx(50 / 75)
    assert choose_person(boxes, scores) == (0, 1.0)
    unlabelled = choose_person(boxes, scores, None, JOINTS, np.zeros(4), box=(50, 10, 70, 85))
    assert unlabelled == choice


def test_nobody_found_is_none_and_nobody_near_overlaps_by_zero() -> None:
    assert choose_person(np.zeros((0, 4)), np.zeros(0), None, JOINTS) is None
    assert choose_person(np.array([LEFT]), np.ones(1), masks_of(LEFT), JOINTS).overlap == 0
