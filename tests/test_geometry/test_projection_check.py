"""Distances of projected 3D joints from 2D joints, and the detection of swapped sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from h36m_lenses import DISTORTION, two_cameras

from mmjrr.geometry import projection_errors
from mmjrr.joints import H36M_JOINTS_MMPOSE, H36M_JOINTS_SPIN

LEFT_RIGHT = 'left and right'
LEGS = "the legs (as in SPIN's joint order)"
FRAMES = 6


@pytest.fixture
def joints_3d() -> np.ndarray:  # (FRAMES, 17, 3)
    rng = np.random.default_rng(0)
    return rng.normal([0, 0, 5], [0.4, 0.4, 0.2], (FRAMES, 17, 3))


def pixels_of(joints_3d: np.ndarray) -> np.ndarray:
    return two_cameras(DISTORTION)[0].project(torch.from_numpy(joints_3d)).numpy()


def everywhere() -> np.ndarray:
    return np.ones((FRAMES, 17), dtype=bool)


def mirrored(pixels: np.ndarray) -> np.ndarray:
    other = {'left': 'right', 'right': 'left'}
    names = [
        '_'.join(other.get(word, word) for word in name.split('_')) for name in H36M_JOINTS_MMPOSE
    ]
    return pixels[:, [H36M_JOINTS_MMPOSE.index(name) for name in names]]


def with_spins_legs(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, [H36M_JOINTS_MMPOSE.index(name) for name in H36M_JOINTS_SPIN]]


def test_exact_projections_have_no_error(joints_3d: np.ndarray) -> None:
    camera = two_cameras(DISTORTION)[0]
    errors = projection_errors(camera, joints_3d, pixels_of(joints_3d), everywhere())
    assert errors.mean == errors.max == 0
    assert errors.find_swap() is None
    assert all(len(frames) == 0 for frames in errors.mismatches(2.0).values())


def test_errors_are_distances_over_the_valid_joints(joints_3d: np.ndarray) -> None:
    pixels, valid = pixels_of(joints_3d), everywhere()
    pixels[0, 3] += [3, 4]
    pixels[1, 2] += [300, 400]
    valid[1, 2] = False
    errors = projection_errors(two_cameras(DISTORTION)[0], joints_3d, pixels, valid)
    assert errors.max == pytest.approx(5)
    assert errors.mean == pytest.approx(5 / (FRAMES * 17 - 1))


def test_a_camera_for_each_frame_is_used_for_its_frame(joints_3d: np.ndarray) -> None:
    both = two_cameras(DISTORTION)
    points = torch.from_numpy(joints_3d)
    index = [0, 1] * (FRAMES // 2)
    pixels = np.concatenate(
        [both[i].project(points[k : k + 1]).numpy() for k, i in enumerate(index)]
    )
    assert projection_errors(both[index], joints_3d, pixels, everywhere()).max < 1e-9


@pytest.mark.parametrize(('swap', 'name'), [(mirrored, LEFT_RIGHT), (with_spins_legs, LEGS)])
def test_sides_swapped_in_all_frames_are_named(joints_3d, swap, name: str) -> None:
    camera = two_cameras(DISTORTION)[0]
    errors = projection_errors(camera, joints_3d, swap(pixels_of(joints_3d)), everywhere())
    assert errors.find_swap() == (name, 0)


@pytest.mark.parametrize(('swap', 'name'), [(mirrored, LEFT_RIGHT), (with_spins_legs, LEGS)])
def test_swapped_and_shifted_frames_are_told_apart(joints_3d, swap, name: str) -> None:
    pixels = pixels_of(joints_3d)
    pixels[1:3] = swap(pixels[1:3])
    pixels[4] += 50
    errors = projection_errors(two_cameras(DISTORTION)[0], joints_3d, pixels, everywhere())
    frames_by_cause = {cause: frames.tolist() for cause, frames in errors.mismatches(2.0).items()}
    assert frames_by_cause == {LEFT_RIGHT: [], LEGS: [], None: [4], name: [1, 2]}


def test_frames_without_valid_joints_match(joints_3d: np.ndarray) -> None:
    valid = everywhere()
    valid[2] = False
    pixels = pixels_of(joints_3d)
    pixels[2] = np.nan
    errors = projection_errors(two_cameras(DISTORTION)[0], joints_3d, pixels, valid)
    assert errors.mean == 0
    assert all(len(frames) == 0 for frames in errors.mismatches(2.0).values())


def test_one_labeled_side_cannot_be_called_swapped(joints_3d: np.ndarray) -> None:
    valid = np.zeros((FRAMES, 17), dtype=bool)
    valid[:, [name.startswith('left') for name in H36M_JOINTS_MMPOSE]] = True
    pixels = pixels_of(joints_3d) + 50
    errors = projection_errors(two_cameras(DISTORTION)[0], joints_3d, pixels, valid)
    assert errors.find_swap() is None
    assert errors.mismatches(2.0)[None].tolist() == list(range(FRAMES))
