"""Corrections of what the data say about cameras and outlines: small variables with priors.

A correction is zero where nothing is wrong. The annotated 3D joints of a frame are in its
calibrated camera's frame, and bodies stay there; what the image shows goes through the corrected
camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import degrees

import torch
from torch import Tensor


@dataclass(frozen=True)
class Correction:
    """A kind of correction.

    Attributes:
        share: Entry of ``share`` that sets its level.
        size: Number of its coordinates.
        lr_mult: Default factor on the learning rate.
        deviation: Default standard deviation of its prior around zero.
        unit: Unit in which it is reported.
        factor: The unit's number in the variable's own unit; None for the focal length in pixels.
    """

    share: str
    size: int
    lr_mult: float
    deviation: float
    unit: str
    factor: float | None

    def reported(self, values: Tensor, focal_length: Tensor) -> list[float] | float:
        """Convert one value, (``size``,), to the unit in which it is reported.

        Args:
            values: The value.
            focal_length: Focal lengths of its camera, (2,) pixels; of any of several.
        """
        factor = focal_length if self.factor is None else self.factor
        rounded = [round(value, 2) for value in (values * factor).tolist()]
        return rounded[0] if self.size == 1 else rounded


#: Corrections by variable. A step of 1e-2 moves what the image shows by 0.3 pixels of a Human3.6M
#: camera, or 1 to 2 mm. Deviations are 10 pixels, half a degree (10 pixels too), and 2 cm.
CORRECTIONS: dict[str, Correction] = dict(
    principal_point=Correction('principal_point', 2, 0.026, 0.0087, 'px', None),
    extrinsic_rotation=Correction('extrinsics', 3, 0.026, 0.0087, 'deg', degrees(1)),
    extrinsic_translation=Correction('extrinsics', 3, 0.1, 0.02, 'mm', 1000.0),
    outline_offset=Correction('outline_offset', 1, 0.2, 0.02, 'mm', 1000.0),
)


@dataclass
class RigidMotion:
    """Rigid motions ``R x + t``, one for each frame."""

    rotation: Tensor  # (B, 3, 3)
    translation: Tensor  # (B, 3), meters

    def apply(self, points: Tensor) -> Tensor:  # (B, N, 3) twice, meters
        """Move points, stored as contiguous planes of x, y and z, as vertices are."""
        planes = points.transpose(1, 2)
        return torch.baddbmm(self.translation[:, :, None], self.rotation, planes).transpose(1, 2)
