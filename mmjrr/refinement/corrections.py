"""Corrections of cameras, outlines and joints: small variables with priors.

A correction is zero where nothing is wrong. The annotated 3D joints of a frame are in its
calibrated camera's frame, and bodies stay there; what the image shows goes through the corrected
camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import degrees
from typing import Any

import torch
from torch import Tensor

from mmjrr.joints import BODY_PARTS, H36M_JOINTS_MMPOSE


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
        names: Names of the coordinates, by which they are reported.
        of_regressor: Whether it corrects the regressor with which bodies are refined, so that it
            has no meaning with another one.
        seen_by: Quantities of :attr:`~.terms.EnergyTerm.requires` that depend on it. A term that
            needs none of them does not see it. Empty: not restricted.
    """

    share: str
    size: int
    lr_mult: float
    deviation: float
    unit: str
    factor: float | None
    names: tuple[str, ...] | None = None
    of_regressor: bool = False
    seen_by: tuple[str, ...] = ()

    def reported(self, values: Tensor, focal_length: Tensor) -> Any:
        """Convert one value, (``size``,), to the unit in which it is reported.

        Returns:
            A number if the size is 1, a dict if the coordinates have names, else a list.

        Args:
            values: The value.
            focal_length: Focal lengths of its camera, (2,) pixels; of any of several.
        """
        factor = focal_length if self.factor is None else self.factor
        rounded = [round(value, 2) for value in (values * factor).tolist()]
        if self.names is not None:
            return dict(zip(self.names, rounded, strict=True))
        return rounded[0] if self.size == 1 else rounded


_OF_OUTLINE = ('silhouette', 'outline')
_OF_CAMERA = (*_OF_OUTLINE, 'joints_2d')
#: Corrections by variable. A step of 1e-2 moves what the image shows by 0.3 pixels of a Human3.6M
#: camera, or 1 to 2 mm. Deviations are 10 pixels, half a degree (10 pixels too), 2 cm, and 3 cm of
#: joints.
CORRECTIONS: dict[str, Correction] = dict(
    principal_point=Correction('principal_point', 2, 0.026, 0.0087, 'px', None, seen_by=_OF_CAMERA),
    extrinsic_rotation=Correction(
        'extrinsics', 3, 0.026, 0.0087, 'deg', degrees(1), seen_by=_OF_CAMERA
    ),
    extrinsic_translation=Correction('extrinsics', 3, 0.1, 0.02, 'mm', 1000.0, seen_by=_OF_CAMERA),
    outline_offset=Correction('outline_offset', 1, 0.2, 0.02, 'mm', 1000.0, seen_by=_OF_OUTLINE),
    part_outline_offset=Correction(
        'part_outline_offset',
        len(BODY_PARTS),
        0.2,
        0.02,
        'mm',
        1000.0,
        tuple(BODY_PARTS),
        seen_by=_OF_OUTLINE,
    ),
    joint_offset=Correction(
        'joint_offset', 3 * len(H36M_JOINTS_MMPOSE), 0.2, 0.03, 'mm', 1000.0, of_regressor=True
    ),
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
