"""Comparison of projected 3D joints with 2D joints, which reveals swapped joint orders.

Joints are in MMPose's order of Human3.6M.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mmjrr.array_types import Array
from mmjrr.geometry.cameras import PerspectiveCamera
from mmjrr.joints import H36M_JOINTS_MMPOSE, reorder_index, swap_sides

#: Mean distance in pixels above which swapped joints are considered.
_MIN_SWAP_ERROR = 2.0
#: Swaps that are considered: name -> index that swaps the joints back.
SIDE_SWAPS: dict[str, list[int]] = {
    'left and right': [H36M_JOINTS_MMPOSE.index(swap_sides(name)) for name in H36M_JOINTS_MMPOSE],
    "the legs (as in SPIN's joint order)": reorder_index('mmpose', 'spin'),
}
#: Joints count as swapped if swapping them back reduces the distance below this fraction.
_SWAP_RATIO = 0.5
_CHUNK = 4096  # frames projected at once


@dataclass(frozen=True)
class ProjectionErrors:
    """Distances in pixels between projected 3D joints and 2D joints.

    Attributes:
        distance: (N, J), with the joints in the annotated order.
        valid: (N, J) bool, whether a joint is annotated in both 2D and 3D; other distances are
            meaningless.
        swapped_distance: By name of :data:`SIDE_SWAPS`, (N, J), with the 2D joints swapped back.
        swapped_valid: By name of :data:`SIDE_SWAPS`, (N, J) bool, as ``valid``.
    """

    distance: Array
    valid: Array
    swapped_distance: dict[str, Array]
    swapped_valid: dict[str, Array]

    @property
    def mean(self) -> float:
        """Mean over all valid joints; NaN if there are none."""
        return _mean(self.distance, self.valid)

    @property
    def max(self) -> float:
        """Maximum over all valid joints, of which there must be at least one."""
        return float(self.distance[self.valid].max())

    def find_swap(self) -> tuple[str, float] | None:
        """Decide for all frames together whether joints are swapped.

        Returns:
            Name of the swap and mean distance in pixels with the joints swapped back, or None.
        """
        for name, distance in self.swapped_distance.items():
            swapped_back = _mean(distance, self.swapped_valid[name])
            if self.mean > _MIN_SWAP_ERROR and swapped_back < _SWAP_RATIO * self.mean:
                return name, swapped_back
        return None

    def mismatches(self, tolerance: float) -> dict[str | None, Array]:
        """Find the frames whose mean distance exceeds ``tolerance`` pixels, grouped by cause.

        Returns:
            Indices of frames by name of :data:`SIDE_SWAPS`. The key None has the frames whose
            distance no swap explains.
        """
        mean = _frame_means(self.distance, self.valid)
        unexplained = self.valid.any(1) & ~(mean <= tolerance)
        causes: dict[str | None, Array] = {}
        for name, distance in self.swapped_distance.items():
            swapped_back = _frame_means(distance, self.swapped_valid[name])
            swapped = unexplained & (swapped_back < _SWAP_RATIO * mean)
            causes[name] = np.flatnonzero(swapped)
            unexplained &= ~swapped
        causes[None] = np.flatnonzero(unexplained)
        return causes


def projection_errors(
    camera: PerspectiveCamera,
    keypoints_3d: Array,  # (N, J, 3), meters, camera frame
    keypoints_2d: Array,  # (N, J, 2), pixels
    valid: Array,  # (N, J) bool, joints annotated in both
) -> ProjectionErrors:
    """Project 3D joints in float64 and measure their distances from 2D joints in pixels.

    Args:
        camera: One camera, or one for each frame; float64.
        keypoints_3d: 3D joints.
        keypoints_2d: 2D joints, in the same order.
        valid: Whether to compare a joint.
    """
    points = torch.from_numpy(np.asarray(keypoints_3d, dtype=np.float64))
    chunks = [slice(start, start + _CHUNK) for start in range(0, len(points), _CHUNK)]
    projected = np.concatenate([
        (camera if len(camera) == 1 else camera[chunk]).project(points[chunk]).numpy()
        for chunk in chunks
    ])  # fmt: skip
    return ProjectionErrors(
        distance=np.linalg.norm(projected - keypoints_2d, axis=-1),
        valid=valid,
        swapped_distance={
            name: np.linalg.norm(projected - keypoints_2d[:, index], axis=-1)
            for name, index in SIDE_SWAPS.items()
        },
        swapped_valid={name: valid & valid[:, index] for name, index in SIDE_SWAPS.items()},
    )


def _mean(distance: Array, valid: Array) -> float:
    return float(distance[valid].mean()) if valid.any() else float('nan')


def _frame_means(distance: Array, valid: Array) -> Array:  # (N,), NaN: none valid
    mean = np.where(valid, distance, 0).sum(1) / np.maximum(valid.sum(1), 1)
    return np.where(valid.any(1), mean, np.nan)
