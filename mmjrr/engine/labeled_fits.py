"""Refined fits and their labels, from which a regressor is fitted together with label offsets."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjrr.array_types import Array
from mmjrr.body_models import VertexMaker
from mmjrr.datasets.image_names import parse_image_name
from mmjrr.io import sha256, versions
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement.label_weights import WeightedLabels
from mmjrr.refinement.regressor_fit import PARAMETERS, FitBatches, FitProgress
from mmjrr.regressors import GroupedBatch, LabelOffsets, fit_label_offsets
from mmjrr.regressors.fitting.untested_offsets import untested_pairs
from mmjrr.regressors.label_offsets import part_rotations

#: Entry of the offsets' provenance that says which could not be tested; missing if all could.
UNTESTED = 'untested'


def fit_regressor_and_offsets(
    batches: FitBatches,
    body: Any,
    path: Path,
    *,
    offsets_path: Path,
    count: int,
    root: str | None,
    provenance: dict[str, Any],
    log: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """Fit a regressor together with label offsets, and save both, the offsets first.

    The regressor is fitted to labels from which the significant offsets are subtracted.
    The sums over frames are computed on the CPU.

    Args:
        batches: As in :func:`~mmjrr.refinement.fit_regressor`, with ``imgname`` (B,), which tells
            subject and sequence.
        body: The body model of the fits.
        path: The regressor's file to write.
        offsets_path: The file of offsets to write.
        count: The number of frames.
        root: How frames are aligned: a joint's name, or None for absolute positions.
        provenance: Further entries of the provenance of both.
        log: A function that takes lines about the result and the progress.
        warn: A function that takes a warning about offsets that could not be tested.
    """
    fits = GroupedFits(batches, copy.deepcopy(body).cpu())
    label_fit = fit_label_offsets(
        fits,
        H36M_JOINTS_MMPOSE,
        root,
        body_model=body.name,
        progress=FitProgress(count, path.stem, log),
    )
    lengths = 1000 * np.linalg.norm(label_fit.estimates, axis=-1)
    flagged = [
        f'{label_fit.offsets.subjects[s]} {label_fit.offsets.joint_names[j]} {lengths[s, j]:.1f} mm'
        for s, j in np.argwhere(label_fit.significant)
    ]
    untested = untested_pairs(label_fit)
    none = 'none of the tested' if untested else 'none'
    log(
        f'{path.stem}: {1000 * label_fit.fit.rmse:.1f} mm rms, significant label offsets: '
        f'{", ".join(flagged) or none}'
    )
    if fits.labels.left_out:
        log(f'{path.stem}: {fits.labels}')
    described = dict(provenance, root=root, versions=versions())
    label_fit.offsets.provenance.update(described)
    if untested:
        warn(f'{path.stem}: label offsets: {untested}')
        label_fit.offsets.provenance[UNTESTED] = untested
    label_fit.offsets.save(offsets_path)
    regressor = label_fit.fit.regressor
    regressor.provenance.update(
        described,
        relative_gap=float(label_fit.fit.dual_gap),
        label_offsets_sha256=sha256(offsets_path),
    )
    regressor.save(path)


class GroupedFits:
    """Re-iterable batches of refined fits for :func:`~mmjrr.regressors.fit_label_offsets`."""

    def __init__(self, batches: FitBatches, body: Any) -> None:
        self.batches, self.vertices = batches, VertexMaker(body)
        self.labels = WeightedLabels(batches())

    def __iter__(self) -> Iterator[GroupedBatch]:
        for batch in self.batches():
            names = [parse_image_name(name) for name in batch['imgname'].tolist()]
            yield GroupedBatch(
                self.vertices(**{name: batch[name] for name in PARAMETERS}),
                self.labels.of(batch).double(),
                _rotations(self.vertices.body, batch),
                [name.subject for name in names],
                [name.sequence for name in names],
            )


def without_label_offsets(batches: FitBatches, body: Any, offsets: LabelOffsets) -> FitBatches:
    """Return the batches with label offsets subtracted from their labels.

    Args:
        batches: As in :func:`fit_regressor_and_offsets`.
        body: The body model of the fits.
        offsets: The offsets.
    """
    return partial(_corrected, batches, VertexMaker(body).body, offsets)


def _corrected(batches: FitBatches, body: Any, offsets: LabelOffsets) -> Iterator[dict[str, Array]]:
    for batch in batches():
        subjects = [parse_image_name(name).subject for name in batch['imgname'].tolist()]
        shift = offsets.displacements(_rotations(body, batch), offsets.index_of(subjects))
        labels = batch['keypoints_3d'] - shift.cpu().numpy()
        yield dict(batch, keypoints_3d=labels.astype(np.float32))


def _rotations(body: Any, batch: dict[str, Array]) -> torch.Tensor:  # (B, 24, 3, 3), float64
    like = body.v_template
    pose = {name: torch.from_numpy(batch[name]).to(like) for name in ('global_orient', 'body_pose')}
    return part_rotations(body, **pose)
