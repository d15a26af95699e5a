"""Term of person masks: rendered silhouettes match them (paper, Section 3.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement.terms.energy_term import EnergyTerm, PosedBodies
from mmjrr.registry import ENERGY_TERMS
from mmjrr.rendering.mask_cells_energy import mask_in_cells

if TYPE_CHECKING:
    from mmjrr.refinement.observations import Observations

#: Radii of the discs of ``gate`` by joint, in parts of the crop's side: 26 pixels of 224 for a foot
#: and 20 for a hand.
GATE_RADII = dict(
    right_ankle=26 / 224, left_ankle=26 / 224, left_wrist=20 / 224, right_wrist=20 / 224
)
#: The same for ``gate='limbs'``, against objects that hide more than hands and feet.
LIMB_GATE_RADII = {
    **{
        f'{side}_{joint}': 26 / 224
        for side in ('left', 'right')
        for joint in ('hip', 'knee', 'shoulder', 'elbow')
    },
    **GATE_RADII,
}


def tight_boxes(mask: Tensor) -> Tensor:  # (B, H, W) -> (B, 4)
    """Return the boxes around pixels of at least one half; the whole image if there are none."""
    on = mask >= 0.5
    edges = []
    for along in (on.any(1), on.any(2)):  # (B, W) and (B, H)
        first = along.to(mask.dtype).argmax(1)
        last = along.shape[1] - along.flip(1).to(mask.dtype).argmax(1)
        edges.append((first, last))
    (x0, x1), (y0, y1) = edges
    return torch.stack([x0, y0, x1, y1], 1).to(mask.dtype)


def gate_weight(
    mask: Tensor,  # (B, H, W)
    keypoints_2d: Tensor,  # (B, J, 2), pixels of the crop
    keypoints_2d_weight: Tensor,  # (B, J)
    radii: Mapping[int, float],
) -> Tensor:  # (B, H, W), 0 or 1
    """Return 0 within discs around annotated joints that are not on the mask, 1 elsewhere.

    A mask without a hand where a wrist is annotated has lost the hand, so it is not trusted there.
    A joint is on the mask if the mask's mean within a hundredth of the crop's side is at least one
    half. Joints without weight, and those outside the crop, have no disc.

    Args:
        mask: Person masks in [0, 1].
        keypoints_2d: Annotated joints.
        keypoints_2d_weight: Their weights.
        radii: Radius of the disc, in parts of the crop's longer side, by the joint's index.
    """
    height, width = mask.shape[1:]
    side = max(height, width)
    rows = torch.arange(height, dtype=mask.dtype, device=mask.device) + 0.5
    columns = torch.arange(width, dtype=mask.dtype, device=mask.device) + 0.5
    weight = torch.ones_like(mask)
    for joint, radius in radii.items():
        x, y = keypoints_2d[:, joint].to(mask.dtype).unbind(1)
        squared = (columns - x[:, None]).square()[:, None] + (rows - y[:, None]).square()[
            :, :, None
        ]
        near = (squared <= (max(0.01 * side, 1)) ** 2).to(mask.dtype)
        count = near.sum((1, 2))
        missed = (keypoints_2d_weight[:, joint] > 0) & (count > 0)
        missed &= (near * mask).sum((1, 2)) < 0.5 * count
        weight = weight * ~(missed[:, None, None] & (squared <= (radius * side) ** 2))
    return weight


@ENERGY_TERMS.register_module()
class SilhouetteTerm(EnergyTerm):
    """Squared differences of rendered silhouettes and masks.

    The term is zero in frames whose mask has no foreground in the crop: a detector that found
    nobody does not tell where the person is.

    Args:
        levels: Sides in pixels of the blocks over which silhouette and mask are averaged before
            they are compared (:func:`silhouette_energy`). Default: (1, 4).
        mask_cells: Number of cells along each side of the mask's box in which silhouette and mask
            are compared instead (:func:`mask_cells_energy`): 28 for Mask R-CNN. The box is the
            detector's if the mask file has it, else the one around the mask. The mask's values are
            the network's own probabilities if the file has them for as many cells, else means of
            the mask. Default: None, which compares blocks of pixels.
        gate: Whether to leave out a disc around each annotated wrist or ankle that is not on the
            mask (:func:`gate_weight`). ``'limbs'`` does so around hips, knees, shoulders and elbows
            too. A dict gives the radius by joint, in parts of the crop's side; True stands for
            :data:`GATE_RADII`, ``'limbs'`` for :data:`LIMB_GATE_RADII`. Default: False.
        mask_blur: How sure the network is of its outlines: the standard deviation, in cells, by
            which silhouettes are blurred in the cells before they are compared. It needs
            ``mask_cells`` and the network's probabilities: beside sharp masks, blurred silhouettes
            make bodies thinner. Default: 0.
        name: As in :class:`EnergyTerm`, and so are ``weight`` and ``scale``.

    Raises:
        ValueError: A level or ``mask_cells`` is not a positive integer, a joint is unknown, a
            radius is not positive, or ``mask_blur`` is negative or without ``mask_cells``.
            :meth:`check_batch` and :meth:`prepare` raise it if ``mask_blur`` is set and the masks
            have no probabilities.
    """

    requires = ('silhouette', 'mask')

    def __init__(
        self,
        levels: Sequence[int] = (1, 4),
        mask_cells: int | None = None,
        gate: bool | str | Mapping[str, float] = False,
        mask_blur: float = 0.0,
        name: str | None = None,
        weight: float | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__(name, weight, scale)
        if not levels or any(int(side) != side or side < 1 for side in levels):
            raise ValueError(f'levels: found {levels}, expected sides of at least 1 pixel')
        if mask_cells is not None and (int(mask_cells) != mask_cells or mask_cells < 1):
            raise ValueError(f'mask_cells: found {mask_cells}, expected a positive number or None')
        if not 0 <= mask_blur < float('inf') or (mask_blur and mask_cells is None):
            raise ValueError(
                f'mask_blur: found {mask_blur} with mask_cells={mask_cells}, expected 0 or a '
                'positive number of cells with mask_cells'
            )
        if isinstance(gate, str) and gate != 'limbs':
            raise ValueError(
                f"gate: found {gate!r}, expected True, False, 'limbs' or radii by joint"
            )
        if isinstance(gate, Mapping):
            radii = dict(gate)
        else:
            radii = dict({True: GATE_RADII, 'limbs': LIMB_GATE_RADII}.get(gate, {}))
        unknown = sorted(set(radii) - set(H36M_JOINTS_MMPOSE))
        if unknown:
            raise ValueError(f'gate: unknown {unknown}, expected some of {H36M_JOINTS_MMPOSE}')
        if not all(0 < radius < float('inf') for radius in radii.values()):
            raise ValueError(f'gate: found {radii}, expected positive radii')
        self.levels = tuple(int(side) for side in levels)
        self.mask_cells = None if mask_cells is None else int(mask_cells)
        self.mask_blur = float(mask_blur)
        self.gate = {H36M_JOINTS_MMPOSE.index(name): float(r) for name, r in radii.items()}

    def prepare(self, observed: Observations) -> Observations:
        """Compute where masks are not trusted, and their means in cells."""
        mask = observed.mask
        assert mask is not None
        shown = observed.has_foreground
        if not bool(shown.all()):
            weight = shown.to(mask)[:, None, None].expand_as(mask)
            if observed.mask_weight is not None:
                weight = weight * observed.mask_weight
            observed = dataclasses.replace(observed, mask_weight=weight)
        if self.gate:
            weight = gate_weight(
                mask, observed.keypoints_2d, observed.keypoints_2d_weight, self.gate
            )
            if observed.mask_weight is not None:
                weight = weight * observed.mask_weight
            observed = dataclasses.replace(observed, mask_weight=weight)
        if self.mask_cells is not None:
            self._check_blur(observed)
            box, cells = tight_boxes(mask), observed.mask_cells
            if observed.mask_box is not None:
                box = torch.where(observed.mask_box.isfinite(), observed.mask_box, box)
            if cells is None or not self._has_cells(observed):
                cells = mask_in_cells(mask, box, self.mask_cells)
            observed = dataclasses.replace(observed, mask_box=box, mask_cells=cells)
        return observed

    def _has_cells(self, observed: Observations) -> bool:
        """Return whether there are probabilities in ``mask_cells`` cells whose place is known."""
        if observed.mask_cells is None or observed.mask_box is None:
            return False
        return observed.mask_cells.shape[-1] == self.mask_cells

    def _check_blur(self, observed: Observations) -> None:
        """Refuse to compare blurred silhouettes with means of a mask, which is sharp."""
        if not self.mask_blur or self._has_cells(observed):
            return
        cells, count = observed.mask_cells, self.mask_cells
        if cells is None:
            found = 'masks without cells, or with different numbers of them'
        elif observed.mask_box is None:
            found = 'cells without the box in which they lie'
        else:
            found = f'{cells.shape[-1]} x {cells.shape[-1]} cells'
        raise ValueError(
            f"{self.name}: mask_blur={self.mask_blur:g} needs the network's probabilities in "
            f'{count} x {count} cells, found {found}: write the masks with generate_masks.py '
            '--soft, or set mask_blur=0'
        )

    def forward(self, bodies: PosedBodies, observed: Observations) -> Tensor:  # (B,)
        """Return the values, in parts of the image's area."""
        mask, weight = observed.mask, observed.mask_weight
        assert mask is not None
        if self.mask_cells is not None:
            if observed.mask_cells is None or observed.mask_box is None:
                raise ValueError(f'{self.name}: the observations lack what prepare() computes')
            return bodies.mask_cells_energy(
                observed.mask_cells, observed.mask_box, weight, self.mask_blur
            )
        return bodies.silhouette_energy(mask, self.levels, weight)

    def check_batch(self, observed: Observations) -> None:
        """Refuse a blur without the network's probabilities."""
        if observed.mask is not None:
            self._check_blur(observed)

    def check_balance(self, observed: Observations) -> None:
        """Refuse frames none of whose masks shows a person: the term is zero there."""
        if not bool(observed.has_foreground.any()):
            raise ValueError(
                f"terms['{self.name}'] cannot be balanced on the first frames, whose masks are all "
                'empty: correct the masks, or give weight=...'
            )

    def check_image_size(self, image_size: tuple[int, int]) -> None:
        """Refuse blocks that are larger than the image."""
        if self.mask_cells is None and max(self.levels) > min(image_size):
            raise ValueError(
                f'{self.name}: levels: found {self.levels}, expected blocks within the image of '
                f'{image_size}'
            )
