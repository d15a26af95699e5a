"""Tell where masks of a synthetic set are wrong: by part of the body and by camera.

    python tools/analysis_tools/mask_errors.py data/synthetic_h36m masks.json --out errors.json

Each pixel of the exact mask or of the other one belongs to the part whose vertex is nearest in the
image. *Recall* is the fraction of a part's exact pixels that the mask has, *precision* the fraction
of the mask's pixels that are exact. *Offset* is how far the mask's outline lies outside the exact
one (negative: inside), in pixels of the crop of 224, and *distance* its absolute value, means over
the exact outline where it is below 8. *IoU* is that of the exact masks with the others: refined
fits whose silhouettes overlap the others more than this follow their errors.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.cli.options import parse, run_command
from mmjrr.errors import DataError
from mmjrr.joints import BODY_PARTS

#: Outlines that are farther apart, in pixels, count as missing or extra parts.
FARTHEST = 8.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(run, parse(add_arguments, __doc__, argv))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument('data', type=Path, help='folder of a synthetic set')
    parser.add_argument('masks', type=Path, help='masks of its training images')
    parser.add_argument('--out', type=Path, help='file to write, JSON')


def run(args: argparse.Namespace) -> None:
    """Compare the masks, print the table and write the file."""
    from mmjrr.io import versions, write_json
    from mmjrr.io.paths import check_suffix

    if args.out is not None:
        check_suffix(args.out, '.json')
    result = mask_errors(args.data, args.masks)
    print(f'IoU {result["iou"]:.3f}; by camera: {result["iou_by_camera"]}')
    print(f'{"":10} {"pixels":>7} {"recall":>7} {"precision":>9} {"offset":>7} {"distance":>8}')
    for name, part in result['parts'].items():
        print(
            f'{name:10} {part["pixels"]:7.3f} {part["recall"]:7.3f} {part["precision"]:9.3f} '
            f'{part["offset_px"]:+7.2f} {part["distance_px"]:8.2f}'
        )
    if args.out is not None:
        write_json(args.out, {**result, 'versions': versions()})
        print(f'Wrote {args.out}')


def mask_errors(data: Path, masks: Path) -> dict[str, Any]:
    """Compare masks with exact ones.

    Args:
        data: Folder of a synthetic set.
        masks: File of the masks of its training images.

    Returns:
        ``iou``, ``iou_by_camera``, and by part ``pixels`` (fraction of the exact masks' pixels),
        ``recall``, ``precision``, ``offset_px`` and ``distance_px``.
    """
    from mmjrr.datasets.image_names import parse_image_name

    counts = {name: np.zeros(6) for name in BODY_PARTS}
    ious: dict[str, list[float]] = {}
    for imgname, vertices, part_of_vertex, exact, mask in _frames(data, masks):
        camera = parse_image_name(imgname).camera
        ious.setdefault(camera, []).append((exact & mask).sum() / (exact | mask).sum())
        for name, numbers in frame_errors(vertices, part_of_vertex, exact, mask).items():
            counts[name] += numbers
    total = sum(numbers[0] for numbers in counts.values())
    parts = {}
    for name, (pixels, hit, extra, outline, offset, distance) in counts.items():
        parts[name] = dict(
            pixels=round(pixels / total, 4),
            recall=round(hit / max(pixels, 1), 4),
            precision=round(hit / max(hit + extra, 1), 4),
            offset_px=round(offset / max(outline, 1), 3),
            distance_px=round(distance / max(outline, 1), 3),
        )
    return dict(
        iou=round(float(np.mean([iou for of_camera in ious.values() for iou in of_camera])), 4),
        iou_by_camera={name: round(float(np.mean(ious[name])), 4) for name in sorted(ious)},
        parts=parts,
    )


def frame_errors(
    vertices: Array, part_of_vertex: Array, exact: Array, mask: Array
) -> dict[str, Array]:
    """Count what a mask gets wrong, by the part whose vertex is nearest.

    Args:
        vertices: (V, 2) vertices in the image, pixels.
        part_of_vertex: (V,) number of each vertex's part in :data:`~mmjrr.joints.BODY_PARTS`.
        exact: (H, W) bool, the exact mask.
        mask: (H, W) bool, the mask.

    Returns:
        By part: number of pixels of the exact mask, of both masks, and of the mask alone; number of
        pixels on the exact outline near the mask's, and sums over these of the signed and absolute
        distances to the mask's outline.
    """
    from scipy.ndimage import distance_transform_edt
    from scipy.spatial import cKDTree

    tree = cKDTree(vertices)

    def parts_at(rows: Array, columns: Array) -> Array:
        nearest = tree.query(np.stack([columns + 0.5, rows + 0.5], axis=1))[1]
        return part_of_vertex[nearest]

    def sums(parts: Array, values: Array) -> Array:
        return np.bincount(parts, values.astype(np.float64), minlength=len(BODY_PARTS))

    rows, columns = np.nonzero(exact | mask)
    parts = parts_at(rows, columns)
    inside, covered = exact[rows, columns], mask[rows, columns]
    areas = [inside, inside & covered, ~inside & covered]
    # A pixel next to an outline is half a pixel away from it; the transforms give 1.
    inward, outward = distance_transform_edt(mask), distance_transform_edt(~mask)
    signed = np.where(mask, inward - 0.5, 0.5 - outward)
    rows, columns = np.nonzero(distance_transform_edt(exact) == 1)
    offset = signed[rows, columns] - 0.5
    near = np.abs(offset) < FARTHEST
    on_outline = parts_at(rows[near], columns[near])
    offset = offset[near]
    table = np.stack(
        [sums(parts, area) for area in areas]
        + [sums(on_outline, value) for value in (np.ones_like(offset), offset, np.abs(offset))]
    )
    return {name: table[:, number] for number, name in enumerate(BODY_PARTS)}


def _frames(data: Path, masks: Path) -> Iterator[tuple[str, Array, Array, Array, Array]]:
    """Yield image name, projected vertices, their parts, exact mask and mask of each frame."""
    from mmjrr.body_models import free_body
    from mmjrr.datasets import H36MFitsDataset
    from mmjrr.datasets.synthetic.truth import SyntheticTruth
    from mmjrr.geometry import PerspectiveCamera
    from mmjrr.joints import SMPL_JOINTS

    options: dict[str, Any] = dict(
        data_root=str(data), fits_file='fits/spin_like_train.npz', load_mask=True
    )
    exact = H36MFitsDataset(mask_file='masks/h36m_train.json', **options)
    other = H36MFitsDataset(mask_file=str(masks.resolve()), **options)
    body = free_body()
    truth = SyntheticTruth(data, body)
    parameters = truth.parameters('train')
    row = {name: number for number, name in enumerate(parameters['imgname'].tolist())}
    part_of_joint = np.array(
        [
            next(i for i, names in enumerate(BODY_PARTS.values()) if name in names)
            for name in SMPL_JOINTS
        ]
    )
    part_of_vertex = part_of_joint[body.weight_planes.argmax(0).numpy()]
    exact_of = {exact.get_data_info(i)['imgname']: i for i in range(len(exact))}
    for element in (other[i] for i in range(len(other))):
        sample = element['data_samples']
        if sample.imgname not in exact_of:
            raise DataError(
                f'{data}/masks/h36m_train.json: found no mask of {sample.imgname}, expected one of '
                f'each image in {masks}'
            )
        mask = exact[exact_of[sample.imgname]]['inputs']['mask']
        one = {name: value[[row[sample.imgname]]] for name, value in parameters.items()}
        camera = PerspectiveCamera(
            sample.focal_length, sample.principal_point, sample.distortion
        ).crop(np.asarray(sample.box, dtype=np.float32), tuple(mask.shape))
        vertices = camera.project(next(truth.vertices(one)))[0].numpy()
        yield (
            sample.imgname,
            vertices,
            part_of_vertex,
            mask.numpy() >= 0.5,
            element['inputs']['mask'].numpy() >= 0.5,
        )


if __name__ == '__main__':
    sys.exit(main())
