"""Agreement of masks with annotated 2D joints, and the likely reason of a disagreement.

Annotated joints lie inside the person, so a correct mask covers them. Masks that are inverted, in
the wrong run-length order, flipped, or of other frames miss many joints. Undoing each common
mistake in turn shows which one explains the misses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.engine.agreement import AgreementReport, report_agreement
from mmjrr.engine.frame_groups import FrameGroup, frame_groups
from mmjrr.errors import DataError

#: Masks are refused if they cover less than this fraction of the annotated joints. Exact masks
#: cover nearly all joints; masks without hands, feet and head cover 12 of 17.
REFUSED_BELOW = 0.5
#: A warning is logged if masks cover less than this fraction.
WARNED_BELOW = 0.65
#: Common mistakes are tried if masks cover less than this fraction. Masks of a neighboring frame
#: cover many joints, so this limit is higher.
DOUBTFUL_BELOW = 0.9
#: A mistake explains the misses, and the masks are refused, if undoing it adds at least this much
#: to the fraction.
EXPLAINED_BY = 0.1
#: Largest plausible fraction of the image that a person covers.
MAX_COVERAGE = 0.5


@dataclass(frozen=True)
class MaskAgreement:
    """Agreement of the masks of one subject and camera.

    Attributes:
        group: Subject and camera.
        frames: Number of frames measured.
        share: Fraction of the annotated joints inside the image that lie on the mask, over masks
            with foreground. 0 if most masks are empty, or all cover the whole image.
        empty: Number of masks without foreground.
        full: Number of masks that cover the whole image.
    """

    group: str
    frames: int
    share: float
    empty: int
    full: int


def measure_masks(dataset: Any, seed: int = 0) -> AgreementReport[MaskAgreement]:
    """Compare masks with annotated 2D joints, for each subject and camera.

    Args:
        dataset: An ``H36MFitsDataset`` with masks.
        seed: Seed of the sample of frames.

    Returns:
        The agreement; :attr:`AgreementReport.explained` is a fraction of the joints.
    """

    def measure(group: FrameGroup) -> MaskAgreement:
        masks = [_mask(dataset, index) for index in group.indices]
        full = sum(bool(mask.all()) for mask in masks)
        empty = sum(not mask.any() for mask in masks)
        share = _share(masks, [_joints(dataset, index) for index in group.indices])
        return MaskAgreement(
            group=group.name,
            frames=len(masks),
            share=0.0 if full == len(masks) or 2 * empty > len(masks) else share,
            empty=empty,
            full=full,
        )

    return report_agreement(
        frame_groups(dataset, seed, lambda index: _row(dataset, index) >= 0),
        measure,
        lambda masks: masks.share < DOUBTFUL_BELOW,
        lambda indices: _explain(dataset, indices),
    )


def check_masks(report: AgreementReport[MaskAgreement], where: str) -> list[str]:
    """Refuse masks that do not belong to their frames.

    Args:
        report: What :func:`measure_masks` returned.
        where: The file of the masks, for messages.

    Returns:
        Warnings, a sentence each.

    Raises:
        DataError: The masks of a subject and camera are below :data:`REFUSED_BELOW`, or a mistake
            explains their misses.
    """
    limit = DOUBTFUL_BELOW if report.reason else WARNED_BELOW
    doubtful = [entry for entry in report.groups if entry.share < limit]
    warnings = _about_empty(report, where)
    if not doubtful:
        return warnings
    worst = min(doubtful, key=lambda entry: entry.share)
    if worst.empty == worst.frames:
        reason = 'all masks are empty'
    elif 2 * worst.empty > worst.frames:
        reason = f'{worst.empty} of these masks are empty'
    elif worst.full == worst.frames:
        reason = 'all masks cover the whole image'
    elif report.reason:
        reason = f'{report.reason} ({report.explained:.0%} with that undone)'
    else:
        reason = 'they may miss hands, feet or heads, or be of other frames or another person'
    text = (
        f'{where}: {worst.share:.0%} of the annotated joints of {worst.group} lie on the masks '
        f'(mean over {worst.frames} frames), expected at least {limit:.0%}; {reason}. '
        f'{report.extent(doubtful)}'
    )
    if report.reason or worst.share < REFUSED_BELOW:
        raise DataError(text)
    return [text, *warnings]


def _about_empty(report: AgreementReport[MaskAgreement], where: str) -> list[str]:
    """Return a warning that counts empty masks; nothing if there are none."""
    affected = [entry for entry in report.groups if entry.empty]
    if not affected:
        return []
    empty, frames = (
        sum(counts) for counts in zip(*((e.empty, e.frames) for e in report.groups), strict=True)
    )
    text = (
        f'{where}: {empty} of {frames} masks that were looked at are empty, expected a person in '
        'each. These frames are refined without a mask; to leave them out, leave their masks out '
        f'of the file. {report.extent(affected)}'
    )
    return [text]


def _explain(dataset: Any, indices: list[int]) -> tuple[str, float]:
    """Return the mistake that best explains the misses, and the share of joints without it.

    Empty masks, which are no mistake of these, do not count.
    """
    indices = [index for index in indices if _mask(dataset, index).any()]
    if not indices:
        return '', 0.0
    masks = [_mask(dataset, index) for index in indices]
    joints = [_joints(dataset, index) for index in indices]
    shares = {
        reason: _share([undo(mask) for mask in masks], joints) for reason, undo in _MISTAKES.items()
    }
    if np.mean([mask.mean() for mask in masks]) > MAX_COVERAGE:
        inverted = 'they are inverted (the person is the background)'
        shares[inverted] = _share([~mask for mask in masks], joints)
    for step in (-2, -1, 1, 2):
        explanation = f'they are those of the frame {abs(step)} {"before" if step < 0 else "after"}'
        for order, neighbors in (
            ('annotation file', [_row(dataset, i) for i in _shifted(indices, -step, dataset)]),
            ('file of the masks', [_row(dataset, index) - step for index in indices]),
        ):
            pairs = [
                (row, points)
                for row, points in zip(neighbors, joints, strict=True)
                if 0 <= row < len(dataset.masks)
            ]
            if pairs:
                rows, points = zip(*pairs, strict=True)
                shares[f'{explanation} in the {order}'] = _share(
                    [np.asarray(dataset.masks.decode(row)) > 0.5 for row in rows], list(points)
                )
    reason = max(shares, key=shares.__getitem__)
    if shares[reason] < _share(masks, joints) + EXPLAINED_BY:
        return '', 0.0
    return reason, shares[reason]


def _shifted(indices: list[int], step: int, dataset: Any) -> list[int]:
    """Return the neighbors of frames in the dataset; at its ends the frames themselves."""
    return [index + step if 0 <= index + step < len(dataset) else index for index in indices]


def _row_major(mask: Array) -> Array:
    """Return the mask whose run-length code was written along rows but read along columns."""
    return np.ravel(mask, order='F').reshape(mask.shape)


#: Functions that undo each mistake.
_MISTAKES: dict[str, Callable[[Array], Array]] = {
    'their run-length codes run along rows, expected along columns': _row_major,
    'they are mirrored': lambda mask: mask[:, ::-1],
    'they are upside down': lambda mask: mask[::-1],
    'they are rotated by 180°': lambda mask: mask[::-1, ::-1],
}


def _mask(dataset: Any, index: int) -> Array:  # (h, w) bool
    return np.asarray(dataset.masks.decode(_row(dataset, index))) > 0.5


def _row(dataset: Any, index: int) -> int:
    return dataset.masks.row(dataset.imgname(index))


def _joints(dataset: Any, index: int) -> Array:  # (J, 2) pixels, the labeled ones
    info = dataset.get_data_info(index)
    points = np.asarray(info['keypoints'], dtype=np.float64)[0]
    return points[np.asarray(info['keypoints_visible'])[0] > 0]


def _share(masks: list[Array], joints: list[Array]) -> float:
    """Return the fraction of the joints inside the images that lie on the masks with foreground."""
    on_mask = inside = 0
    for mask, points in zip(masks, joints, strict=True):
        if not mask.any():
            continue
        height, width = mask.shape
        column, row = np.floor(points).astype(np.int64).T
        visible = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        inside += int(visible.sum())
        on_mask += int(mask[row[visible], column[visible]].sum())
    return on_mask / inside if inside else 0.0
