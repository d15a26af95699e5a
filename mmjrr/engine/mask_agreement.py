"""Agreement of masks with annotated 2D joints, and what explains a lack of it.

Annotated joints lie inside the person. Masks that are inverted, in the wrong run-length order, of
other frames or turned over miss them, and trying the common mistakes tells which was made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmjrr.engine.frame_groups import frame_groups
from mmjrr.errors import DataError

#: Share of annotated joints on the mask below which masks are refused. Exact masks hold nearly all
#: joints; masks without hands, feet and head hold 12 of 17.
REFUSED_BELOW = 0.5
#: The same, below which a warning is logged.
WARNED_BELOW = 0.65
#: Mistakes are looked for below this share. One that adds at least :data:`EXPLAINED_BY` to it is
#: named, and the masks are refused: those of a neighboring frame hold many joints, too.
DOUBTFUL_BELOW = 0.9
EXPLAINED_BY = 0.1
#: Share of the image that a person covers at most.
MAX_COVERAGE = 0.5


@dataclass(frozen=True)
class MaskAgreement:
    """Agreement of the masks of one subject and camera.

    Attributes:
        group: Subject and camera.
        frames: Number of frames looked at.
        share: Share of the annotated joints, of those inside the image, that lie on the mask. 0
            where all masks cover the whole image.
        empty: Number of masks without foreground.
        full: Number of masks that cover the whole image.
    """

    group: str
    frames: int
    share: float
    empty: int
    full: int


@dataclass(frozen=True)
class MaskReport:
    """Agreement of masks with annotated joints.

    Attributes:
        groups: By subject and camera.
        reason: What explains the share of the groups below :data:`DOUBTFUL_BELOW`, or ''.
        explained_share: Their share once that is undone.
    """

    groups: tuple[MaskAgreement, ...]
    reason: str = ''
    explained_share: float = 0.0


def measure_masks(dataset: Any, seed: int = 0) -> MaskReport:
    """Compare masks with annotated 2D joints, for each subject and camera.

    Args:
        dataset: An ``H36MFitsDataset`` with masks.
        seed: Seed of the sample of frames.
    """
    groups, doubtful = [], []
    for group in frame_groups(dataset, seed, lambda index: _row(dataset, index) >= 0):
        masks = [_mask(dataset, index) for index in group.indices]
        full = sum(bool(mask.all()) for mask in masks)
        share = _share(masks, [_joints(dataset, index) for index in group.indices])
        one = MaskAgreement(
            group=group.name,
            frames=len(masks),
            share=0.0 if full == len(masks) else share,
            empty=sum(not mask.any() for mask in masks),
            full=full,
        )
        groups.append(one)
        if one.share < DOUBTFUL_BELOW:
            doubtful += group.indices
    reason, explained = _explain(dataset, sorted(doubtful)) if doubtful else ('', 0.0)
    return MaskReport(tuple(groups), reason, explained)


def check_masks(report: MaskReport, where: str) -> list[str]:
    """Refuse masks that do not belong to their frames.

    Args:
        report: What :func:`measure_masks` returned.
        where: The file of the masks, for messages.

    Returns:
        Warnings, a sentence each.

    Raises:
        DataError: The masks of a subject and camera are below :data:`REFUSED_BELOW`, or a mistake
            explains their share.
    """
    limit = DOUBTFUL_BELOW if report.reason else WARNED_BELOW
    doubtful = [one for one in report.groups if one.share < limit]
    if not doubtful:
        return []
    worst = min(doubtful, key=lambda one: one.share)
    if worst.empty == worst.frames:
        reason = 'all masks are empty'
    elif worst.full == worst.frames:
        reason = 'all masks cover the whole image'
    elif report.reason:
        reason = f'{report.reason} ({report.explained_share:.0%} once that is undone)'
    else:
        reason = 'they may miss hands, feet or heads, or be of other frames or another person'
    text = (
        f'{where}: {worst.share:.0%} of the annotated joints of {worst.group} lie on the masks '
        f'(mean over {worst.frames} frames), expected at least {REFUSED_BELOW:.0%}; {reason}. '
        f'{len(doubtful)} of {len(report.groups)} subjects and cameras are affected'
    )
    if report.reason or worst.share < REFUSED_BELOW:
        raise DataError(text)
    return [text]


def _explain(dataset: Any, indices: list[int]) -> tuple[str, float]:
    """Return the mistake that explains the share of these frames best, and the share without it."""
    masks = [_mask(dataset, index) for index in indices]
    joints = [_joints(dataset, index) for index in indices]
    shares = {
        reason: _share([undo(mask) for mask in masks], joints) for reason, undo in _MISTAKES.items()
    }
    if np.mean([mask.mean() for mask in masks]) > MAX_COVERAGE:
        inverted = 'they are inverted (the person is the background)'
        shares[inverted] = _share([~mask for mask in masks], joints)
    for step in (-2, -1, 1, 2):
        what = f'they are those of the frame {abs(step)} {"before" if step < 0 else "after"}'
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
                shares[f'{what} in the {order}'] = _share(
                    [np.asarray(dataset.masks.decode(row)) > 0.5 for row in rows], list(points)
                )
    reason = max(shares, key=shares.__getitem__)
    if shares[reason] < _share(masks, joints) + EXPLAINED_BY:
        return '', 0.0
    return reason, shares[reason]


def _shifted(indices: list[int], step: int, dataset: Any) -> list[int]:
    """Return the neighbors of frames in the dataset; at its ends the frames themselves."""
    return [index + step if 0 <= index + step < len(dataset) else index for index in indices]


def _row_major(mask: np.ndarray) -> np.ndarray:
    """Return what a run-length code that was written along rows means."""
    return np.ravel(mask, order='F').reshape(mask.shape)


#: What undoes each mistake.
_MISTAKES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'their run-length codes run along rows, expected along columns': _row_major,
    'they are mirrored': lambda mask: mask[:, ::-1],
    'they are upside down': lambda mask: mask[::-1],
    'they are turned by 180°': lambda mask: mask[::-1, ::-1],
}


def _mask(dataset: Any, index: int) -> np.ndarray:  # (h, w) bool
    return np.asarray(dataset.masks.decode(_row(dataset, index))) > 0.5


def _row(dataset: Any, index: int) -> int:
    return dataset.masks.row(dataset.imgname(index))


def _joints(dataset: Any, index: int) -> np.ndarray:  # (J, 2) pixels, the labeled ones
    info = dataset.get_data_info(index)
    points = np.asarray(info['keypoints'], dtype=np.float64)[0]
    return points[np.asarray(info['keypoints_visible'])[0] > 0]


def _share(masks: list[np.ndarray], joints: list[np.ndarray]) -> float:
    on_mask = inside = 0
    for mask, points in zip(masks, joints, strict=True):
        height, width = mask.shape
        column, row = np.floor(points).astype(np.int64).T
        visible = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        inside += int(visible.sum())
        on_mask += int(mask[row[visible], column[visible]].sum())
    return on_mask / inside if inside else 0.0
