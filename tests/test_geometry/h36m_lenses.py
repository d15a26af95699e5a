"""Two cameras with lenses like those of Human3.6M, and points that they show."""

from __future__ import annotations

import torch
from torch import Tensor

from mmjrr.geometry import PerspectiveCamera

FOCAL_LENGTH = [[1145.05, 1143.78], [1149.7, 1147.6]]
PRINCIPAL_POINT = [[512.5, 515.5], [508.8, 508.1]]
DISTORTION = [
    [-0.207, 0.248, -0.0031, -0.00142, -0.00098],
    [-0.194, 0.24, 0.0068, -0.0028, -0.0016],
]


def two_cameras(
    distortion: list[list[float]] | None = None, model: str = 'h36m'
) -> PerspectiveCamera:
    """Float64 cameras without a pose in the world."""
    parameters = [
        None if value is None else torch.tensor(value, dtype=torch.float64)
        for value in (FOCAL_LENGTH, PRINCIPAL_POINT, distortion)
    ]
    return PerspectiveCamera(*parameters, model)


def points_in_view() -> Tensor:  # (2, 50, 3)
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(2, 50, 3, generator=generator, dtype=torch.float64)
    return unit * 3 + torch.tensor([-1.5, -1.5, 3.5])
