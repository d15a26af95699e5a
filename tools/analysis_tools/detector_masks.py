"""Compare masks of mediapipe's pose model with those of a data set, in place and shifted.

    python tools/dataset_converters/pose2sim_detections.py data/h36m_mini/images detections
    python tools/analysis_tools/detector_masks.py detections data/h36m_mini --out masks.json

The first command runs in the detector's environment. A mask is the largest connected part at a
probability of one half. *IoU* is that of the two masks of an image. Two shifts of the data set's
mask, by whole pixels to the right and down, tell whether it is displaced: the one that overlaps
most with the detector's mask, and the one that brings the outline onto the strongest edges of the
photograph, which knows nothing of the detector. A body that is right on the photograph overlaps a
displaced mask only as much as the mask overlaps itself after the shift onto the edges.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.cli.options import parse, run_command
from mmjrr.errors import DataError
from mmjrr.segmentation.mask_comparison import mask_iou

#: Largest shift along an axis that is tried, in pixels.
FARTHEST = 16


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(run, parse(add_arguments, __doc__, argv))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument('detections', type=Path, help='folder of pose2sim_detections.py')
    parser.add_argument('data', type=Path, help='folder of the data set')
    parser.add_argument('--out', type=Path, help='file to write, JSON')


def run(args: argparse.Namespace) -> None:
    """Compare the masks, print them and write the file."""
    from mmjrr.io import versions, write_json
    from mmjrr.io.paths import check_suffix

    if args.out is not None:
        check_suffix(args.out, '.json')
    images = compare(args.detections, args.data)
    for name, row in images.items():
        print(
            f'{name}: IoU {row["iou"]:.3f}, {row["iou_shifted"]:.3f} after a shift by '
            f'{row["shift_px"]} px; onto edges by {row["edge_shift_px"]} px, '
            f'IoU with itself {row["iou_with_itself"]:.3f}'
        )
    if args.out is not None:
        write_json(args.out, {'images': images, 'versions': versions()})
        print(f'Wrote {args.out}')


def compare(detections: Path, data: Path) -> dict[str, dict[str, Any]]:
    """Compare masks of all images.

    Args:
        detections: Folder with an npz for each folder of images.
        data: Folder of the data set, whose images were given to the detector.

    Returns:
        By image name ``iou``, ``shift_px`` (x, y), ``iou_shifted``, ``edge_shift_px``, and
        ``iou_with_itself``, that of the mask before and after this last shift.

    Raises:
        FileNotFoundError: A file is missing.
        DataError: The numbers of images and of detections differ, or sizes of masks do, or an image
            is not readable.
    """
    import cv2

    from mmjrr.datasets.converters.pose2sim import largest_component, read_detections
    from mmjrr.datasets.masks import Masks

    masks = Masks(data / 'masks/h36m_train.json')
    folders = sorted({path.parent for path in (data / 'images').rglob('*.jpg')})
    if not folders:
        raise FileNotFoundError(f'{data / "images"}: found no file that ends in .jpg')
    result: dict[str, dict[str, Any]] = {}
    for folder in folders:
        path = detections / f'{folder.name}.npz'
        found = read_detections(path).masks
        images = sorted(folder.glob('*.jpg'))
        if len(found) != len(images):
            raise DataError(f'{path}: masks: found {len(found)}, expected {len(images)}')
        for image, probability in zip(images, found, strict=True):
            name = image.relative_to(data / 'images').as_posix()
            if name not in masks:
                raise DataError(f'{data}/masks/h36m_train.json: found no mask of {name!r}')
            mask, other = masks[name] >= 0.5, largest_component(probability >= 128)
            if mask.shape != other.shape:
                raise DataError(f'{path}: masks: found {other.shape}, expected {mask.shape}')
            photo = cv2.imread(str(image))
            if photo is None or photo.shape[:2] != mask.shape:
                raise DataError(f'{image}: not a readable image of the size of its mask')
            shift, overlap = best_shift(mask, other, FARTHEST)
            onto_edges = edge_shift(mask, photo, FARTHEST)
            result[name] = dict(
                iou=round(mask_iou(mask, other), 4),
                shift_px=list(shift),
                iou_shifted=round(overlap, 4),
                edge_shift_px=list(onto_edges),
                iou_with_itself=round(mask_iou(mask, shifted(mask, *onto_edges)), 4),
            )
    return result


def best_shift(
    mask: Array,  # (h, w) bool
    other: Array,  # (h, w) bool
    farthest: int,
) -> tuple[tuple[int, int], float]:
    """Return the shift (x, y) in pixels of ``mask`` that overlaps most with ``other``, and the IoU.

    Shifts of up to ``farthest`` pixels along each axis are tried. Among equal ones the smallest is
    taken.
    """
    either = mask | other
    # Nothing lies outside this window, whatever the shift.
    window = tuple(
        slice(max(int(on[0]) - farthest, 0), int(on[-1]) + farthest + 1) if len(on) else slice(1)
        for on in (np.flatnonzero(either.any(axis)) for axis in (1, 0))
    )
    mask, other = mask[window], other[window]
    best = max(_shifts(farthest), key=lambda shift: mask_iou(shifted(mask, *shift), other))
    return best, mask_iou(shifted(mask, *best), other)


def shifted(mask: Array, x: int, y: int) -> Array:  # (h, w) bool -> (h, w) bool
    """Move a mask by whole pixels to the right and down; what leaves the image is lost."""
    height, width = mask.shape
    result = np.zeros_like(mask)
    result[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)] = mask[
        max(-y, 0) : height + min(-y, 0), max(-x, 0) : width + min(-x, 0)
    ]
    return result


def edge_shift(
    mask: Array,  # (h, w) bool
    photo: Array,  # (h, w, 3) uint8
    farthest: int,
) -> tuple[int, int]:
    """Return the shift (x, y) in pixels that brings a mask's outline onto the strongest edges.

    The strength of an edge is the square root of the gradient's magnitude, so that few strong edges
    do not decide; of the three channels the strongest counts.
    """
    import cv2

    smooth = cv2.GaussianBlur(photo.astype(np.float32), (0, 0), 1)
    gradients = [cv2.Sobel(smooth, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1))]
    strength = np.sqrt(np.hypot(*gradients).max(-1))
    padded = np.pad(strength, farthest, mode='edge')
    square = np.ones((3, 3), np.uint8)
    outline = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, square)
    rows, columns = np.nonzero(outline)
    return max(
        _shifts(farthest),
        key=lambda shift: float(
            padded[rows + farthest + shift[1], columns + farthest + shift[0]].mean()
        ),
    )


def _shifts(farthest: int) -> list[tuple[int, int]]:
    """Return all shifts of up to ``farthest`` pixels along each axis, the smallest first."""
    steps = range(-farthest, farthest + 1)
    return sorted(
        ((x, y) for x in steps for y in steps), key=lambda step: (step[0] ** 2 + step[1] ** 2, step)
    )


if __name__ == '__main__':
    sys.exit(main())
