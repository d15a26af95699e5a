"""Error that carrying a regressor to another mesh adds to its joints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mmjrr.array_types import Array
from mmjrr.regressors.joint_regressor import JointRegressor


@dataclass(frozen=True)
class MappingError:
    """Distances between the joints of a regressor and of the carried one, in millimeters.

    Attributes:
        mean: Mean over bodies and joints.
        aligned: The same with the first joint of both, the pelvis, moved to the origin, as
            MPJPE aligns it.
        largest: Largest distance of any joint of any body.
        joints: Mean over bodies by joint name.
        bodies: Number of bodies.
    """

    mean: float
    aligned: float
    largest: float
    joints: dict[str, float]
    bodies: int

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers, rounded to micrometers, as plain values for JSON."""
        return {
            'mean': round(self.mean, 3),
            'aligned': round(self.aligned, 3),
            'largest': round(self.largest, 3),
            'joints': {name: round(value, 3) for name, value in self.joints.items()},
            'bodies': self.bodies,
        }


def mapping_error(
    original: JointRegressor,
    carried: JointRegressor,
    vertices: Array,  # (N, V, 3), meters
    carried_vertices: Array,  # (N, V', 3), meters
) -> MappingError:
    """Compare the joints of a regressor and of the carried one on the same bodies.

    Args:
        original: Regressor for the first mesh.
        carried: Regressor for the second mesh.
        vertices: Bodies as vertices of the first mesh.
        carried_vertices: The same bodies, in the same places, as vertices of the second mesh.

    Raises:
        ValueError: The regressors have other joints, or the vertices another shape.
    """
    if original.joint_names != carried.joint_names or len(vertices) != len(carried_vertices):
        raise ValueError(
            f'found {original.joint_names} of {len(vertices)} bodies and {carried.joint_names} of '
            f'{len(carried_vertices)}, expected the same joints of the same bodies'
        )
    first = original(torch.from_numpy(np.asarray(vertices, np.float64))).numpy()
    second = carried(torch.from_numpy(np.asarray(carried_vertices, np.float64))).numpy()
    distance = 1000 * np.linalg.norm(first - second, axis=2)
    aligned = np.linalg.norm((first - first[:, :1]) - (second - second[:, :1]), axis=2)
    return MappingError(
        mean=float(distance.mean()),
        aligned=float(1000 * aligned.mean()),
        largest=float(distance.max()),
        joints=dict(zip(original.joint_names, distance.mean(0).tolist(), strict=True)),
        bodies=len(vertices),
    )
