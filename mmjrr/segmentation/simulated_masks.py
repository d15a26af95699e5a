"""Masks with the errors of a network's masks, simulated from exact ones.

With them, the effect of such errors on refinement, and of the options of its silhouette term, is
measured without a network. Lengths are in pixels of a crop of 224 pixels, the size at which
refinement compares masks.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from mmjrr.array_types import Array
from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.area_crop import area_average_crop
from mmjrr.datasets.masks import Masks, save_masks
from mmjrr.errors import DataError
from mmjrr.io import read_json
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.segmentation.mask_cells import MASK_HEAD_CELLS, paste_cells

#: Joints beyond which a limb is cut off, the joint before each, and the radius of the cut.
CUTS = {
    'right_ankle': ('right_knee', 22.0),
    'left_ankle': ('left_knee', 22.0),
    'left_wrist': ('left_elbow', 16.0),
    'right_wrist': ('right_elbow', 16.0),
}
#: Side of the square that an object hides, and radius of the disc that another person adds.
OCCLUDER_SIDE = 48.0
NEIGHBOR_RADIUS = 16.0
#: Side in pixels of the crop in whose pixels lengths are given.
CROP_SIDE = 224


@dataclass
class MaskErrors:
    """Errors of simulated masks.

    Attributes:
        grow: Pixels of the crop by which the outline lies outside the true one; negative inside.
        cut: Probability with which each hand and each foot is cut off.
        occluder: Probability with which an object hides a part of the person: a square of 48 pixels
            around one of the annotated joints.
        neighbor: Probability with which a part of another person is taken for this one's: a disc
            with a radius of 16 pixels whose center lies on the outline.
        mask_head: Whether a mask head sees the mask: its cells hold the mask's means, and the mask
            is what pasting them into the image and thresholding at one half gives.
        soft: Whether a mask head's mask keeps the pasted values instead of being thresholded.
        seed: Seed of the choice of hands, feet and places.
    """

    grow: float = 0.0
    cut: float = 0.0
    mask_head: bool = False
    soft: bool = False
    seed: int = 0
    occluder: float = 0.0
    neighbor: float = 0.0

    def __post_init__(self) -> None:
        if not np.isfinite(self.grow):
            raise ValueError(f'grow: found {self.grow}, expected a number of pixels')
        for name in ('cut', 'occluder', 'neighbor'):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f'{name}: found {value}, expected a probability, 0 to 1')
        if self.soft and not self.mask_head:
            raise ValueError('soft: found True without mask_head, whose values a soft mask has')


def simulate_masks(path: str | Path, dataset: H36MFitsDataset, errors: MaskErrors) -> int:
    """Write a file of masks with errors; return the number of masks.

    Equal arguments give equal bytes. Masks that become empty are not written.

    Args:
        path: JSON file to write.
        dataset: Frames with exact masks and annotated joints.
        errors: Errors of the masks.

    Raises:
        ValueError: With these errors, all masks are empty.
    """
    assert dataset.masks is not None
    masks: dict[str, Array] = {}
    boxes: dict[str, list[float]] = {}
    cells: dict[str, Array] = {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        name = info['imgname']
        rng = np.random.default_rng([errors.seed, index])
        mask = with_errors(dataset.masks[name], info['keypoints'][0], info['box'], errors, rng)
        if not mask.any():
            continue
        boxes[name] = tight_box(mask)
        if errors.mask_head:
            cells[name] = area_average_crop(
                mask.astype(np.float64), boxes[name], (MASK_HEAD_CELLS, MASK_HEAD_CELLS)
            )
            pasted = paste_cells(cells[name], boxes[name], (mask.shape[0], mask.shape[1]))
            mask = pasted if errors.soft else (pasted >= 0.5).astype(np.uint8)
        masks[name] = mask
    if not masks:
        raise ValueError(
            f'{path}: not written, since all {len(dataset)} masks are empty with {errors}'
        )
    save_masks(
        path,
        masks,
        info=dict(simulated=asdict(errors)),
        boxes=boxes,
        cells=cells if errors.mask_head else None,
        soft=errors.soft,
    )
    return len(masks)


def check_replaceable(path: str | Path) -> None:
    """Check that a file of simulated masks can be written without replacing another file.

    Raises:
        FileExistsError: The file exists, and :func:`simulate_masks` did not write it.
    """
    if not Path(path).exists():
        return
    try:
        content = read_json(path)
    except DataError:
        content = None
    info = content.get('info') if isinstance(content, dict) else None
    if not isinstance(info, dict) or 'simulated' not in info:
        raise FileExistsError(
            f'{path}: found a file that holds no simulated masks, expected a new file or one of '
            'simulated masks to replace'
        )


def with_errors(
    mask: Array,  # (h, w), 0 to 1
    keypoints_2d: Array,  # (17, 2), pixels of the image, MMPose's order
    box: Array,  # (4,): x0, y0, x1, y1 of the crop
    errors: MaskErrors,
    rng: np.random.Generator,
) -> Array:  # (h, w) uint8, 0 or 1
    """Grow a mask, cut off hands and feet, hide a part, and add a part of another person."""
    unit = float(max(box[2] - box[0], box[3] - box[1])) / CROP_SIDE
    result = mask >= 0.5
    if errors.grow:
        # The outline lies half a pixel from the centers of the pixels next to it.
        outside = ndimage.distance_transform_edt(~result) - 0.5
        inside = ndimage.distance_transform_edt(result) - 0.5
        result = np.where(result, -inside, outside) <= errors.grow * unit
    rows, columns = (np.arange(length) + 0.5 for length in result.shape)
    for name, (before, radius) in CUTS.items():
        if not rng.random() < errors.cut:
            continue
        x, y = keypoints_2d[H36M_JOINTS_MMPOSE.index(name)].astype(float)
        along = (x, y) - keypoints_2d[H36M_JOINTS_MMPOSE.index(before)].astype(float)
        along = along / max(float(np.linalg.norm(along)), 1e-9)
        right, down = columns - x, (rows - y)[:, None]
        beyond = right * along[0] + down * along[1] > -3 * unit
        result &= ~(beyond & (right**2 + down**2 < (radius * unit) ** 2))
    if rng.random() < errors.occluder:
        x, y = keypoints_2d[rng.integers(len(keypoints_2d))].astype(float)
        half = OCCLUDER_SIDE / 2 * unit
        result &= ~((np.abs(columns - x) < half) & (np.abs(rows - y)[:, None] < half))
    if rng.random() < errors.neighbor:
        outline = np.argwhere(result & ~ndimage.binary_erosion(result))
        if len(outline):
            y, x = outline[rng.integers(len(outline))] + 0.5
            squared = (columns - x) ** 2 + ((rows - y) ** 2)[:, None]
            result |= squared < (NEIGHBOR_RADIUS * unit) ** 2
    return result.astype(np.uint8)


def tight_box(mask: Array) -> list[float]:  # x0, y0, x1, y1
    """Return the box around the nonzero pixels of a mask that has any."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [float(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]


def mean_iou(path: str | Path, truth: Masks) -> float:
    """Return the mean IoU of a file's masks with the true ones of the same images."""
    from mmjrr.segmentation.mask_comparison import compare_masks

    return float(compare_masks(Masks(path), truth)['iou'])
