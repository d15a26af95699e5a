"""Clothes of the synthetic people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmjrr.datasets.masks import Masks
from mmjrr.datasets.synthetic import Settings, generate
from mmjrr.datasets.synthetic.clothes import dress, thickness_of_clothes
from mmjrr.io import read_npz
from mmjrr.joints import SMPL_JOINTS

OCTAHEDRON = np.array(
    [[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]
)  # fmt: skip
FACES = np.array(
    [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
)


def test_an_octahedron_grows_at_each_corner_by_the_thickness_there() -> None:
    thickness = np.array([0.1, 0.2, 0.3, 0.0, 0.5, 0.6])
    grown = dress(OCTAHEDRON, FACES, thickness)
    np.testing.assert_allclose(grown, OCTAHEDRON * (1 + thickness)[:, None], atol=1e-12)


def test_no_single_offset_describes_a_subjects_clothes() -> None:
    """One vertex for each joint."""
    weights = np.eye(len(SMPL_JOINTS))
    by_joint = dict(zip(SMPL_JOINTS, thickness_of_clothes(0, 'S1', weights, 10.0), strict=True))
    assert by_joint['left_hand'] == by_joint['right_wrist'] == 0
    for name in ('left_hip', 'left_knee', 'left_foot', 'left_shoulder'):
        assert by_joint[name] == by_joint[name.replace('left', 'right')]
        assert 6 <= by_joint[name] <= 17.5
    assert by_joint['spine2'] > 2 * by_joint['left_elbow'] > 0
    assert max(by_joint.values()) <= 21


def test_clothes_come_from_seed_and_subject_and_grow_with_the_setting() -> None:
    weights = np.full((len(SMPL_JOINTS), 3), 1 / len(SMPL_JOINTS))
    one = thickness_of_clothes(0, 'S1', weights, 10.0)
    np.testing.assert_array_equal(one, thickness_of_clothes(0, 'S1', weights, 10.0))
    np.testing.assert_allclose(thickness_of_clothes(0, 'S1', weights, 20.0), 2 * one)
    for seed, subject in ((1, 'S1'), (0, 'S5')):
        assert not np.allclose(thickness_of_clothes(seed, subject, weights, 10.0), one)


@pytest.mark.slow
def test_clothes_change_the_masks_alone(tmp_path: Path) -> None:
    options = dict(seed=4, subjects=('S1',), frames_per_subject=1, images=False)
    bare = generate(tmp_path / 'bare', Settings(**options), workers=1, progress=False)
    dressed = generate(
        tmp_path / 'dressed', Settings(clothes=10.0, **options), workers=1, progress=False
    )
    name = 'annotation_body3d/fps10/h36m_train.npz'
    for key, value in read_npz(bare / name).items():
        np.testing.assert_array_equal(value, read_npz(dressed / name)[key])
    skin, clothes = (Masks(root / 'masks' / 'h36m_train.json') for root in (bare, dressed))
    for image in read_npz(bare / name)['imgname'].tolist():
        assert not (skin[image].astype(bool) & ~clothes[image].astype(bool)).any()
        assert 1.05 < clothes[image].sum() / skin[image].sum() < 1.4
