"""Term of smooth motion: each joint lies between its positions in the neighboring frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmjrr.errors import check_count
from mmjrr.refinement.terms.energy_term import EnergyTerm, PosedBodies
from mmjrr.registry import ENERGY_TERMS

if TYPE_CHECKING:
    from mmjrr.refinement.observations import Observations


def smoothness_energy(
    joints: Tensor,  # (B, J, 3), meters
    video: Tensor,  # (B,) int64
    frame: Tensor,  # (B,) int64
    max_gap: int,
) -> Tensor:  # (B,)
    """Sum the squared distances of joints from the line between their neighbors in time.

    A frame's neighbors are the frames of the batch before and after it in the same video. A
    joint's position is compared with the linear interpolation between theirs, in square meters.
    Frames without two neighbors have the value 0.

    Args:
        joints: Joints, in one frame of reference for each video.
        video: Equal for frames of one video.
        frame: Number of the frame in its video.
        max_gap: Largest number of frames between neighbors.
    """
    order, has_neighbors = _in_time(video, frame, max_gap)
    time = frame[order].to(joints.dtype)
    part = (time[1:-1] - time[:-2]) / (time[2:] - time[:-2]).clamp_min(1)
    ordered = joints[order]
    expected = torch.lerp(ordered[:-2], ordered[2:], part[:, None, None])
    squares = (ordered[1:-1] - expected).square().sum((1, 2))
    values = torch.where(has_neighbors, squares, torch.zeros_like(squares))
    return joints.new_zeros(len(joints)).index_add(0, order[1:-1], values)


def _in_time(video: Tensor, frame: Tensor, max_gap: int) -> tuple[Tensor, Tensor]:
    """Return the order in time (B,), and whether each inner frame (B - 2,) has two neighbors."""
    order = torch.argsort(frame, stable=True)
    order = order[torch.argsort(video[order], stable=True)]
    gap = frame[order].diff()
    close = (video[order].diff() == 0) & (gap > 0) & (gap <= max_gap)
    return order, close[:-1] & close[1:]


@ENERGY_TERMS.register_module()
class SmoothnessTerm(EnergyTerm):
    """Deviation of regressed joints from uniform motion: :func:`smoothness_energy`.

    Frames of a video are compared in the frame of its camera, so a batch must hold consecutive
    frames: set the sampler's ``shuffle=False``, or, with a calibration, its ``moments=None``, which
    refines all frames together. The term is not balanced unless ``scale`` is given.

    Args:
        max_gap: Largest number of frames between neighbors. Default: 10; Human3.6M has 50 frames
            per second, of which MMPose's ``fps10`` takes every fifth.
        name: As in :class:`EnergyTerm`, and so are ``weight`` (default: 10) and ``scale``.

    Raises:
        ValueError: ``max_gap`` is not a positive integer.
    """

    couples_frames = True
    default_weight = 10.0

    def __init__(
        self,
        max_gap: int = 10,
        name: str | None = None,
        weight: float | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__(name, weight, scale)
        check_count('max_gap', max_gap)
        self.max_gap = max_gap

    def forward(self, bodies: PosedBodies, observed: Observations) -> Tensor:  # (B,)
        """Return the values in square meters."""
        video, frame = self._times(observed)
        return smoothness_energy(bodies.joints, video, frame, self.max_gap)

    def check_batch(self, observed: Observations) -> None:
        """Refuse a batch in which no frame has two neighbors."""
        video, frame = self._times(observed)
        if len(frame) < 3 or not bool(_in_time(video, frame, self.max_gap)[1].any()):
            raise ValueError(
                f'{self.name}: no frame of the first batch has a frame of its video before and '
                f"after it within max_gap={self.max_gap}: set the sampler's shuffle=False, and a "
                'batch_size of at least 3'
            )

    def _times(self, observed: Observations) -> tuple[Tensor, Tensor]:
        if observed.video is None or observed.frame is None:
            raise ValueError(f'{self.name}: the frames have no video and frame number')
        return observed.video, observed.frame
