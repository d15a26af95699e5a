"""Term of person masks: rendered silhouettes match them (paper, Section 3.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement.terms.energy_term import EnergyTerm, PosedBodies
from mmjrr.registry import ENERGY_TERMS

if TYPE_CHECKING:
    from mmjrr.refinement.observations import Observations

#: Radii of the discs of ``gate`` by joint, in parts of the crop's side: 26 pixels of 224 for a foot
#: and 20 for a hand.
GATE_RADII = dict(
    right_ankle=26 / 224, left_ankle=26 / 224, left_wrist=20 / 224, right_wrist=20 / 224
)


def mask_cells_energy(
    silhouette: Tensor,  # (B, H, W)
    cells: Tensor,  # (B, N, N)
    box: Tensor,  # (B, 4): x0, y0, x1, y1 in pixels
    weight: Tensor | None = None,  # (B, H, W)
    blur: float = 0.0,
) -> Tensor:  # (B,)
    r"""Sum squared differences in the cells of a mask head, and the silhouette outside its box.

    A mask head (He et al., Mask R-CNN, ICCV 2017) predicts one probability for each of N x N cells
    of a person's box. With :math:`s_c` the silhouette's mean over a cell of area :math:`a`, and
    :math:`o_p` the part of pixel :math:`p` outside the box, the energy is

    .. math:: \frac{1}{H W} \left( a \sum_c w_c (s_c - m_c)^2 + \sum_p o_p w_p s_p^2 \right)

    where :math:`w_c` is the weight's mean over the cell, 0 outside the image. It equals
    :func:`silhouette_energy` at level 1 if the cells are pixels and the box is the image.

    A network that is not sure where an outline lies gives probabilities that rise slowly across it:
    the mean of the masks that it considers. Thin parts, such as hands, then have small
    probabilities, and a sharp silhouette would shrink away from them. With ``blur``, :math:`s_c` is
    the mean over neighboring cells too, with the weights of a normal distribution.

    Args:
        silhouette: Rendered coverage in [0, 1].
        cells: The mask's probabilities in the cells of the box, top row first.
        box: Box of the mask head, which may extend beyond the image.
        weight: Weight of each pixel. Default: None, 1.
        blur: Standard deviation, in cells, by which the silhouette is blurred. Default: 0.
    """
    height, width = silhouette.shape[1:]
    count = cells.shape[-1]
    rows = _cells_of_pixels(box[:, 1], box[:, 3], count, height)  # (B, N, H)
    columns = _cells_of_pixels(box[:, 0], box[:, 2], count, width)  # (B, N, W)
    inside = (rows.sum(1) * ((box[:, 3] - box[:, 1]) / count)[:, None])[:, :, None] * (
        columns.sum(1) * ((box[:, 2] - box[:, 0]) / count)[:, None]
    )[:, None]
    outside = 1 - inside
    if weight is None:
        cell_weight = rows.sum(2)[:, :, None] * columns.sum(2)[:, None]
    else:
        cell_weight = mask_in_cells(weight, box, count)
        outside = outside * weight
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) / count**2
    if blur:
        spread = _normal_weights(blur, count, rows.device, rows.dtype)
        rows, columns = spread @ rows, spread @ columns
    difference = rows @ silhouette @ columns.transpose(1, 2) - cells
    in_cells = area * (cell_weight * difference.square()).sum((1, 2))
    return (in_cells + (outside * silhouette.square()).sum((1, 2))) / (height * width)


def mask_in_cells(
    mask: Tensor,  # (B, H, W)
    box: Tensor,  # (B, 4)
    count: int,
) -> Tensor:  # (B, count, count)
    """Return the exact means of images over the cells of boxes; outside the image they are 0."""
    rows = _cells_of_pixels(box[:, 1], box[:, 3], count, mask.shape[1])
    columns = _cells_of_pixels(box[:, 0], box[:, 2], count, mask.shape[2])
    return rows @ mask @ columns.transpose(1, 2)


def _cells_of_pixels(start: Tensor, stop: Tensor, count: int, length: int) -> Tensor:
    """Return the part (B, count, length) of each of ``count`` equal cells that lies in a pixel."""
    steps = torch.arange(count + 1, dtype=start.dtype, device=start.device) / count
    edges = start[:, None] + (stop - start)[:, None] * steps
    left = torch.arange(length, dtype=start.dtype, device=start.device)
    overlap = torch.minimum(edges[:, 1:, None], left + 1) - torch.maximum(edges[:, :-1, None], left)
    return overlap.clamp_min(0) / (edges[:, 1:, None] - edges[:, :-1, None])


@lru_cache
def _normal_weights(
    deviation: float, count: int, device: torch.device, dtype: torch.dtype
) -> Tensor:  # (count, count)
    """Return what each of ``count`` cells takes from each; beyond the edges everything is 0.

    The weights are copied to a device once, since a copy makes the host wait.
    """
    steps = torch.arange(1 - count, count, dtype=torch.float64)
    weights = torch.exp(-0.5 * (steps / deviation).square())
    weights /= weights.sum()
    cells = torch.arange(count)
    return weights[cells[:, None] - cells + count - 1].to(device, dtype)


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

    Args:
        levels: Sides in pixels of the blocks over which silhouette and mask are averaged before
            they are compared (:func:`silhouette_energy`). Default: (1, 4).
        mask_cells: Number of cells along each side of the mask's box in which silhouette and mask
            are compared instead (:func:`mask_cells_energy`): 28 for Mask R-CNN. The box is the
            detector's if the mask file has it, else the one around the mask. The mask's values are
            the network's own probabilities if the file has them for as many cells, else means of
            the mask. Default: None, which compares blocks of pixels.
        gate: Whether to leave out a disc around each annotated wrist or ankle that is not on the
            mask (:func:`gate_weight`). A dict gives the radius by joint, in parts of the crop's
            side; True stands for :data:`GATE_RADII`. Default: False.
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
        gate: bool | Mapping[str, float] = False,
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
        radii = dict(GATE_RADII if gate is True else gate or {})
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
            return mask_cells_energy(
                bodies.silhouette,
                observed.mask_cells,
                observed.mask_box,
                weight,
                self.mask_blur,
            )
        return bodies.silhouette_energy(mask, self.levels, weight)

    def check_batch(self, observed: Observations) -> None:
        """Refuse a blur without the network's probabilities."""
        if observed.mask is not None:
            self._check_blur(observed)

    def check_image_size(self, image_size: tuple[int, int]) -> None:
        """Refuse blocks that are larger than the image."""
        if self.mask_cells is None and max(self.levels) > min(image_size):
            raise ValueError(
                f'{self.name}: levels: found {self.levels}, expected blocks within the image of '
                f'{image_size}'
            )
