"""The regressor with which refinement ends: J_opt, fitted to the refined fits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mmjrr.array_types import Array
from mmjrr.engine.labeled_fits import without_label_offsets
from mmjrr.io import sha256
from mmjrr.refinement import fit_regressor
from mmjrr.refinement.regressor_fit import FitBatches
from mmjrr.refinement.store import batches_of
from mmjrr.regressors import LabelOffsets
from mmjrr.regressors.checks import FEW_FRAMES


def fit_last_regressor(
    arrays: dict[str, Array],
    body: Any,
    work_dir: Path,
    label_offsets: LabelOffsets | None,
    *,
    frames_in_dataset: int,
    root: str | None,
    batch_size: int,
    provenance: dict[str, Any],
    log: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """Fit J_opt to the refined fits, and write ``J_opt.npy``.

    Args:
        arrays: Refined fits and their annotations, as the store has them.
        body: The body model of the fits.
        work_dir: The folder in which files are written.
        label_offsets: Offsets to subtract from the labels, written to ``label_offsets.npz``. None:
            there are none.
        frames_in_dataset: Number of frames of the data set.
        root: How frames are aligned.
        batch_size: Number of frames per batch of vertices.
        provenance: Further entries of the file's provenance.
        log: A function that takes lines about progress and result.
        warn: A function that takes warnings.
    """
    count = len(arrays['sample_idx'])
    log(f'Fitting J_opt on {count} refined fits of {frames_in_dataset} ...')
    if count < FEW_FRAMES:
        warn(
            f'{count} frames are too few for a regressor: J_opt overfits their poses and noise and '
            'does not generalize'
        )
    batches: FitBatches = partial(batches_of, arrays, batch_size)
    subtracted: dict[str, Any] = {}
    if label_offsets is not None:
        path = label_offsets.save(work_dir / 'label_offsets.npz')
        subtracted = dict(label_offsets_sha256=sha256(path))
        batches = without_label_offsets(batches, body, label_offsets)
    fit_regressor(
        batches,
        body,
        work_dir / 'J_opt.npy',
        count=count,
        root=root,
        provenance=dict(source='refined fits', **subtracted, **provenance),
        log=log,
    )
