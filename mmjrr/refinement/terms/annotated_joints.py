"""Terms of annotated joints, in 3D and in the image (paper, Section 3.1)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement.terms.energy_term import EnergyTerm, PosedBodies
from mmjrr.registry import ENERGY_TERMS

if TYPE_CHECKING:
    from mmjrr.refinement.observations import Observations


def joint_3d_energy(
    predicted: Tensor,  # (B, J, 3), meters
    target: Tensor,  # (B, J, 3), meters
    weight: Tensor,  # (B, J)
    root: int | tuple[int, ...] | None = 0,
) -> Tensor:  # (B,)
    """Sum the weighted squared distances of root-aligned joints over joints, in square meters.

    Args:
        predicted: Joints of the fits.
        target: Annotated joints.
        weight: Weights of the joints. The root's weight multiplies all others.
        root: Index of the root joint, or None for absolute positions. With several indices, the
            weighted mean of these joints is aligned. Default: 0.
    """
    if isinstance(root, tuple):
        # Not weight[:, root], which copies the index to the device: the host would wait.
        of_root = torch.stack([weight[:, joint] for joint in root], 1)
        share = of_root / of_root.sum(1, keepdim=True).clamp_min(1e-12)
        errors = torch.stack([(predicted - target)[:, joint] for joint in root], 1)
        center = (share[..., None] * errors).sum(1, keepdim=True)
        usable = (share > 0).any(1, keepdim=True)
        return (weight * usable * (predicted - target - center).square().sum(-1)).sum(1)
    if root is None:
        return (weight * (predicted - target).square().sum(-1)).sum(1)
    difference = (predicted - predicted[:, root : root + 1]) - (target - target[:, root : root + 1])
    # Joints cannot be aligned if the sample's root is not annotated.
    weight = weight * weight[:, root : root + 1]
    return (weight * difference.square().sum(-1)).sum(1)


def joint_2d_energy(
    predicted: Tensor,  # (B, J, 2), pixels of the crop
    target: Tensor,  # (B, J, 2), pixels of the crop
    weight: Tensor,  # (B, J)
    size: float,
) -> Tensor:  # (B,)
    """Sum the weighted squared distances of projected joints over joints.

    Distances are in units of ``size``, the crop's side in pixels.
    """
    return (weight * ((predicted - target) / size).square().sum(-1)).sum(1)


@ENERGY_TERMS.register_module()
class Joint3DTerm(EnergyTerm):
    """Squared distances of regressed from annotated 3D joints: :func:`joint_3d_energy`.

    Args:
        root: The joint at which both are aligned, by name or by index in MMPose's order; several
            joints, whose weighted mean is aligned, ``'mean'`` for all; or None for absolute
            positions. Default: 0, the pelvis.
        name: As in :class:`EnergyTerm`, and so are ``weight`` and ``scale``.

    Raises:
        ValueError: ``root`` is none of these.
    """

    def __init__(
        self,
        root: int | str | Sequence[int | str] | None = 0,
        name: str | None = None,
        weight: float | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__(name, weight, scale)
        self.root = _root_index(root)

    def forward(self, bodies: PosedBodies, observed: Observations) -> Tensor:  # (B,)
        """Return the values in square meters."""
        return joint_3d_energy(
            bodies.joints, observed.keypoints_3d, observed.keypoints_3d_weight, self.root
        )


def _root_index(
    root: int | str | Sequence[int | str] | None,
) -> int | tuple[int, ...] | None:
    """Return a root as :func:`joint_3d_energy` takes it."""
    names = H36M_JOINTS_MMPOSE
    if root is None:
        return None
    if root == 'mean':
        return tuple(range(len(names)))
    several = isinstance(root, Sequence) and not isinstance(root, str)
    chosen: tuple[Any, ...] = tuple(root) if several else (root,)  # type: ignore[arg-type]
    known: dict[int | str, int] = {name: index for index, name in enumerate(names)}
    known.update((index, index) for index in range(len(names)))
    is_known = [isinstance(joint, Hashable) and joint in known for joint in chosen]
    if not chosen or not all(is_known):
        raise ValueError(
            f"root: found {root!r}, expected None, 'mean', or one or several of the joints "
            f'{list(names)} by name or index'
        )
    index = tuple(known[joint] for joint in chosen)
    return index if several else index[0]


@ENERGY_TERMS.register_module()
class Joint2DTerm(EnergyTerm):
    """Squared distances of projected from annotated 2D joints: :func:`joint_2d_energy`."""

    requires = ('joints_2d',)

    def forward(self, bodies: PosedBodies, observed: Observations) -> Tensor:  # (B,)
        """Return the values in squares of the crop's side."""
        return joint_2d_energy(
            bodies.joints_2d,
            observed.keypoints_2d,
            observed.keypoints_2d_weight,
            float(max(bodies.image_size)),
        )
