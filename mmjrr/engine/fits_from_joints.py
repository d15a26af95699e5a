"""Initial fits that a run makes itself: bodies fitted to the data set's 3D joints."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.logging import print_log

from mmjrr.array_types import Array
from mmjrr.datasets.fits import save_fits
from mmjrr.engine.first_regressor import load_named_regressor, weights_digest
from mmjrr.errors import DataError, check_count
from mmjrr.evaluation.predicted_body import gender_of_body
from mmjrr.io import sha256, versions
from mmjrr.jobs import Job, ShardFolder, on_main_process, wait_for_all
from mmjrr.jobs.progress import with_progress
from mmjrr.joints import H36M_JOINTS_MMPOSE, TRUNK_JOINTS
from mmjrr.refinement.inverse_kinematics import MIN_TRUNK_JOINTS, fit_to_joints
from mmjrr.regressors import JointRegressor

#: Folder of the finished parts, and the file of all fits, in the work directory.
FOLDER = 'initial_fits'
FILE = 'initial_fits.npz'
#: Frames of a part, which are fitted as one batch.
FRAMES_PER_SHARD = 64
#: The file's name among the results that a job records.
_RESULT = 'initial_fits'


@dataclass(frozen=True)
class FitsFromJoints:
    """Options of ``initial_fits`` in :class:`~mmjrr.engine.SMPLPseudoGTHook`.

    Attributes:
        regressor: Name or file of the regressor that is compared with the joints. None: the hook's
            ``regressor`` or, without one, the free body's own or SMPL's J_std.
        num_iters: Number of Adam steps from each start.
        num_starts: Number of starts of a frame, of which the best is kept.

    Raises:
        ValueError: A number is not an integer, or below 1.
    """

    regressor: str | None = None
    num_iters: int = 150
    num_starts: int = 3

    def __post_init__(self) -> None:
        for name in ('num_iters', 'num_starts'):
            check_count(f'initial_fits: {name}', getattr(self, name))

    def load_regressor(self, named: str | None, body: Any) -> JointRegressor:
        """Load the regressor.

        Args:
            named: The hook's ``regressor``.
            body: The body model.

        Raises:
            FileNotFoundError: There is no such file; the message says where to get it.
            ValueError: The regressor is for another body.
        """
        default = 'free_body_h36m' if body.name == 'free_body' else 'J_std'
        return load_named_regressor(self.regressor or named or default, body)


def make_initial_fits(
    job: Job,
    dataset: Any,
    body: Any,
    regressor: JointRegressor,
    options: FitsFromJoints,
    seed: int,
    provenance: Mapping[str, Any],
) -> None:
    """Fit bodies to the 3D joints of all samples, and have the data set read them.

    Every process of a distributed run calls this function; each fits a part of the frames. Finished
    parts are stored, and a resumed run makes the others.

    Args:
        job: The job, which records the fits' checksum.
        dataset: An ``H36MFitsDataset`` without fits.
        body: The body model.
        regressor: The regressor that is compared with the joints, in the order of the annotation.
        options: Options of the fits.
        seed: Seed of the random starts.
        provenance: Further entries of the file's provenance.

    Raises:
        DataError: A frame has fewer than three joints of the trunk in 3D.
    """
    path = job.work_dir / FILE
    if not on_main_process(lambda: is_stored(job)):
        shards = ShardFolder(job.work_dir / FOLDER, job.identity.digest, '.npz')
        count = -(-len(dataset) // FRAMES_PER_SHARD)
        missing = on_main_process(lambda: _checked_missing(dataset, shards, count))
        rank, processes = get_dist_info()
        own = missing[rank::processes]

        def parts() -> Iterator[Mapping[str, Array]]:
            for number in own:
                first = number * FRAMES_PER_SHARD
                rows = range(first, min(first + FRAMES_PER_SHARD, len(dataset)))
                yield fit_rows(
                    body, regressor, dataset.labeled_joints(rows),
                    num_iters=options.num_iters, num_starts=options.num_starts, seed=seed,
                )  # fmt: skip

        unit = f'parts of {FRAMES_PER_SHARD} frames (initial fits)'
        for number, content in zip(own, with_progress(parts(), len(own), unit), strict=True):
            shards.put(number, dict(content))
        wait_for_all()
        described = dict(
            provenance,
            method='fitted to 3D joints',
            regressor_sha256=weights_digest(regressor),
            num_iters=options.num_iters,
            num_starts=options.num_starts,
            seed=seed,
            versions=versions(),
        )
        gender = gender_of_body(body)
        on_main_process(lambda: _merge(job, dataset, shards, count, path, gender, described))
    # Also the folder of a run that was killed after it had recorded the fits.
    on_main_process(lambda: shutil.rmtree(job.work_dir / FOLDER, ignore_errors=True))
    dataset.read_fits(path)


def is_stored(job: Job) -> bool:
    """Return whether the job has recorded the file of all fits, and the file is unchanged."""
    path = job.work_dir / FILE
    return path.is_file() and job.results().get(_RESULT) == sha256(path)


def fit_rows(
    body: Any, regressor: JointRegressor, joints: Array, **options: Any
) -> dict[str, Array]:
    """Fit bodies to labels (N, 17, 4); options are those of :func:`fit_to_joints`."""
    labels = torch.from_numpy(np.asarray(joints, dtype=np.float32))
    fits = fit_to_joints(body, regressor, labels[..., :3], labels[..., 3], **options)
    return {name: value.cpu().numpy() for name, value in fits.items()}


def check_trunk(
    file: str | Path, imgname: Callable[[int], str], joints: Array, remedy: str
) -> None:
    """Check that frames have enough labeled joints of the trunk to fit bodies to them.

    Args:
        file: The annotation file, for the message.
        imgname: A function that returns a frame's image name.
        joints: (N, 17, 4) labels in MMPose's order, with their weights.
        remedy: What the user can do; the end of the message.

    Raises:
        DataError: A frame has fewer than three.
    """
    trunk = [H36M_JOINTS_MMPOSE.index(name) for name in TRUNK_JOINTS]
    labeled = (joints[:, trunk, 3] > 0).sum(1)
    bad = np.flatnonzero(labeled < MIN_TRUNK_JOINTS)
    if len(bad):
        raise DataError(
            f'{file}: S: {len(bad)} of {len(joints)} frames, the first is {imgname(int(bad[0]))}, '
            f'have fewer than {MIN_TRUNK_JOINTS} joints of the trunk, to which a body could be '
            f'fitted: {remedy}'
        )


def _checked_missing(dataset: Any, shards: ShardFolder, count: int) -> list[int]:
    """Check that all frames have enough joints, and return the numbers of the parts to make."""
    check_trunk(
        dataset.ann_file,
        dataset.imgname,
        dataset.labeled_joints(range(len(dataset))),
        "set the dataset's fits_file or, with several calibrated views, triangulate=True",
    )
    return shards.missing(count)


def _merge(
    job: Job,
    dataset: Any,
    shards: ShardFolder,
    count: int,
    path: Path,
    gender: str | None,
    provenance: dict[str, Any],
) -> None:
    parts = list(shards.read_all((number, None) for number in range(count)))
    fits = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    save_fits(
        path,
        imgname=[dataset.imgname(index) for index in range(len(dataset))],
        pose=np.concatenate([fits['global_orient'], fits['body_pose']], 1),
        betas=fits['betas'],
        transl=fits['transl'],
        gender=gender,
        provenance=provenance,
    )
    error = 1000 * float(np.sqrt(np.square(fits['error']).mean()))
    print_log(
        f'Initial fits: {len(dataset)} bodies fitted to 3D joints, {error:.1f} mm rms\n  {path}',
        logger='current',
        level=logging.INFO,
    )
    job.record_result(_RESULT, sha256(path))
