"""The fit of a joint regressor to SMPL fits and annotated joints, with its log and provenance."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mmjrr.array_types import Array
from mmjrr.body_models import LazyVertices, VertexMaker
from mmjrr.io import versions
from mmjrr.jobs import Progress
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement.label_weights import WeightedLabels
from mmjrr.regressors import fit_joint_regressor

#: Fields of a SMPL fit.
PARAMETERS = ('global_orient', 'body_pose', 'betas', 'transl')

#: Largest number of bad frames that the log lists.
MAX_LISTED = 20

FitBatches = Callable[[], Iterator[dict[str, Array]]]


def fit_regressor(
    batches: FitBatches,
    body: Any,
    path: Path,
    *,
    count: int,
    root: str | None,
    provenance: dict[str, Any],
    log: Callable[[str], None],
) -> None:
    """Fit a regressor from the vertices of SMPL fits to annotated joints, and save it.

    Args:
        batches: A function that is called for each pass over the frames and yields batches of
            :data:`PARAMETERS`, ``keypoints_3d`` (B, 17, 3) in meters in the camera frame, and
            ``keypoints_3d_weight`` (B, 17).
        body: The body model of the fits.
        path: The file to write.
        count: The number of frames.
        root: How frames are aligned: a joint's name, ``'mean'``, or None for absolute positions.
        provenance: Further entries of the file's provenance.
        log: A function that takes lines about the result and the progress.
    """
    meshes = FittedMeshes(batches, body)
    fit = fit_joint_regressor(
        meshes,
        joint_names=H36M_JOINTS_MMPOSE,
        root=root,
        body_model=body.name,
        progress=FitProgress(count, path.stem, log),
    )
    log(
        f'{path.stem}: {fit.n_frames} frames, {1000 * fit.rmse:.1f} mm rms, '
        f'{int(np.sum(fit.regressor.weight.cpu().numpy() > 0))} weights, '
        f'relative gap {fit.dual_gap:.1e}{"" if fit.converged else ", above the tolerance"}'
    )
    if meshes.labels.left_out:
        log(f'{path.stem}: {meshes.labels}')
    if fit.bad_frames:
        shown = [f'frame {frame}: {problem}' for frame, problem in fit.bad_frames.items()]
        more = [f'and {len(shown) - MAX_LISTED} more'] if len(shown) > MAX_LISTED else []
        log(
            f'{path.stem}: left out {len(shown)} bad frames, numbered in the order of the fits:\n  '
            + '\n  '.join(shown[:MAX_LISTED] + more)
        )
    fit.regressor.provenance.update(
        **provenance, root=root, relative_gap=float(fit.dual_gap), versions=versions()
    )
    fit.regressor.save(path)


class FittedMeshes:
    """Re-iterable batches of the fits' vertices and the annotated joints.

    Joints of weight zero, and those whose weight is too small, are NaN
    (:class:`~mmjrr.refinement.label_weights.WeightedLabels`).
    """

    def __init__(self, batches: FitBatches, body: Any) -> None:
        self.batches, self.vertices = batches, VertexMaker(body)
        self.labels = WeightedLabels(batches())

    def __iter__(self) -> Iterator[tuple[LazyVertices, Tensor]]:
        for batch in self.batches():
            vertices = self.vertices(**{name: batch[name] for name in PARAMETERS})
            yield vertices, self.labels.of(batch)


class FitProgress:
    """A display of a regressor fit's progress, which starts again for each pass over the frames."""

    def __init__(self, count: int, name: str, log: Callable[[str], None]) -> None:
        self.count, self.name, self.log = count, name, log
        self.last = time.monotonic()
        self.stage, self.done = '', 0
        self.progress: Progress | None = None

    def __call__(self, stage: str, done: int) -> None:
        """Display that ``done`` frames of a stage are done."""
        if self.progress is None or stage != self.stage or done <= self.done:  # another pass
            if self.progress is not None:
                self.progress.close()
            unit = f'frames ({self.name}, {stage})'
            self.progress = Progress(self.count, unit, self.log, self.last)
        self.progress(done)
        self.stage, self.done, self.last = stage, done, time.monotonic()
