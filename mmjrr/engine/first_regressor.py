"""The regressor with which refinement begins: J_spin, fitted to initial fits, or a named one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.jobs import Job
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement import fit_regressor
from mmjrr.refinement.regressor_fit import PARAMETERS
from mmjrr.regressors import JointRegressor


def load_named_regressor(name: str, body: Any) -> JointRegressor:
    """Load a regressor by name or file, with its rows in the order of the annotated joints.

    Raises:
        ValueError: The regressor is for another body.
    """
    regressor = JointRegressor.load(name).reorder(H36M_JOINTS_MMPOSE)
    if regressor.body_model not in (body.name, 'unnamed'):
        raise ValueError(
            f'regressor {name!r} is for the body {regressor.body_model!r}, but body_model is '
            f'{body.name!r}'
        )
    return regressor


def fit_first_regressor(
    job: Job,
    dataset: Any,
    body: Any,
    path: Path,
    *,
    root: str | None,
    batch_size: int,
    provenance: dict[str, Any],
    log: Callable[[str], None],
) -> None:
    """Fit J_spin if this run has none; record its checksum, since all batches depend on it.

    Args:
        job: The job that records the checksum.
        dataset: The data set of initial fits.
        body: The body model.
        path: The file to write.
        root: How frames are aligned.
        batch_size: Number of frames per batch of vertices.
        provenance: Further entries of the file's provenance.
        log: A function that takes lines about progress and result.
    """
    if not ('J_spin' in job.results() and path.is_file()):
        log(f'Fitting J_spin on {len(dataset)} initial fits ...')
        fit_regressor(
            partial(initial_fits, dataset, batch_size),
            body,
            path,
            count=len(dataset),
            root=root,
            provenance=dict(source='initial fits', **provenance),
            log=log,
        )
    job.record_result('J_spin', weights_digest(JointRegressor.load(path)))


def initial_fits(dataset: Any, batch_size: int) -> Iterator[dict[str, Array]]:
    """Yield batches of a data set's initial fits and annotated 3D joints."""
    for start in range(0, len(dataset), batch_size):
        samples = [
            dataset.fit_sample(index)
            for index in range(start, min(start + batch_size, len(dataset)))
        ]
        yield {
            name: np.stack([np.asarray(sample[name]) for sample in samples])
            for name in (*PARAMETERS, 'keypoints_3d', 'keypoints_3d_weight')
        }


def weights_digest(regressor: JointRegressor) -> str:
    """Return the SHA-256 of a regressor's weights and joint names."""
    digest = hashlib.sha256(regressor.weight.detach().cpu().contiguous().numpy().tobytes())
    digest.update(' '.join(regressor.joint_names).encode())
    return digest.hexdigest()
