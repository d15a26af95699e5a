"""Generator of the synthetic H36M in MMPose's layout; settings determine every byte.

Files in the output folder::

    annotation_body3d/fps10/h36m_{train,test}.npz   imgname, center, scale, part, S
    annotation_body3d/cameras.pkl                   {(subject, camera): R, T, c, f, k, p, w, h}
    images/S1/S1_Walking_1.54138969/S1_Walking_1.54138969_000001.jpg
    masks/h36m_{train,test}.json                    COCO RLE by image name
    fits/spin_like_train.npz                        initial fits, SPIN's layout
    fits/{spin,vibe,meva}_like_test.npz             the estimators' predictions
    regressors/J_std.npy (and its sidecar)          the biased regressor
    truth/                                          the truth, only for checks
    synthetic.json                                  settings and checksums, written last

``truth/`` holds ``h36m_{train,test}.npz`` (``imgname``, ``pose``, ``betas``, ``transl``, camera
frame; ``phenotypes`` of Anny's people), ``J_true.npy``, and ``report.json`` with the measured
errors of simulated estimates.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.datasets.synthetic import camera_rig
from mmjrr.datasets.synthetic.dataset_files import (
    FOLDERS,
    MANIFEST,
    PARTS,
    assemble,
    read_manifest,
)
from mmjrr.datasets.synthetic.people import anny_mesh
from mmjrr.datasets.synthetic.sequence_plan import Take, plan_sequences
from mmjrr.datasets.synthetic.settings import Settings, settings_as_json
from mmjrr.datasets.synthetic.simulated_regressors import fit_standard_regressor
from mmjrr.datasets.synthetic.true_bodies import TrueBodies, make_true_bodies, make_world
from mmjrr.datasets.synthetic.views import make_view
from mmjrr.errors import DataError
from mmjrr.io import remove_temporary_files
from mmjrr.jobs import Identity, Job, ShardFolder, TaskPool


def generate(
    out: str | Path,
    settings: Settings | None = None,
    workers: int = 2,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write the dataset, or do nothing if it is complete.

    The bytes depend only on the settings, not on the number of workers. An interrupted run resumes
    with the missing sequences.

    Args:
        out: Folder to write to, the data root.
        settings: Settings of the dataset. Default: None, 320 training and 128 test images.
        workers: Number of processes. Default: 2.
        overwrite: Whether to replace a dataset with other settings instead of raising.
            Default: False.
        progress: Whether to display progress. Default: True.

    Returns:
        ``out``.

    Raises:
        LockedError: Another run writes to ``out``.
        DataError: ``out`` contains a dataset with other settings, or other files.
        ImportError: The package that the people need is not installed.
        ValueError: ``workers`` is below 1.
    """
    out, settings = Path(out), settings or Settings()
    if workers < 1:
        raise ValueError(f'workers: found {workers}, expected at least 1')
    if is_complete(out, settings):
        return out
    if settings.people == 'anny':
        anny_mesh()  # before any work; its package fills a cache when it is first used
    job = Job(
        out,
        PARTS,
        Identity(dict(settings=settings_as_json(settings))),
        '.npz',
        stem='sequence',
        remedy='choose another folder, or overwrite',
    )
    _begin(job, overwrite)
    try:
        sequences = plan_sequences(settings)
        parts = [None, *sequences]  # None: the regressors
        tasks = [
            (out, settings, parts[number], job.shards, number)
            for number in job.shards.missing(len(parts))
        ]
        with TaskPool(workers) as pool:
            pool.run(_write_part, tasks, 'parts', show_progress=progress)
        assemble(out, settings, sequences, job.shards)
        job.remove_shards()
    finally:
        job.end()
    return out


def is_complete(out: str | Path, settings: Settings) -> bool:
    """Return whether ``out`` has all files for these settings, without reading their contents."""
    manifest = read_manifest(Path(out))
    return (
        manifest is not None
        and manifest['settings'] == settings_as_json(settings)
        and all((Path(out) / name).is_file() for name in manifest['files'])
    )


def _begin(job: Job, overwrite: bool) -> None:
    """Empty the folder, or keep the parts of an earlier run with the same settings."""
    out = job.work_dir
    with job.locked():
        parts, manifest = job.recorded(), read_manifest(out)
        recorded = parts if parts is not None or manifest is None else manifest
        if recorded is None and any((out / name).exists() for name in FOLDERS):
            raise DataError(f'{out}: found data that this generator did not write; {job.remedy}')
        differs = recorded is not None and bool(job.identity.differences(recorded))
        if differs and not overwrite:
            job.identity.check(out, recorded, job.remedy)
        if differs or parts is None:
            for name in FOLDERS:  # parts and manifest last: they identify the folder
                shutil.rmtree(out / name, ignore_errors=True)
            (out / MANIFEST).unlink(missing_ok=True)
        for folder in FOLDERS:
            for path in [out / folder, *(out / folder).rglob('*')]:
                if path.is_dir():
                    remove_temporary_files(path)
        job.begin()


def _write_part(
    out: Path, settings: Settings, sequence: Take | None, shards: ShardFolder, number: int
) -> None:
    """Write the files of a sequence, or, for None, the regressors; then the shard."""
    if sequence is None:
        _write_regressors(out, settings)
        shards.put(number, {})
    else:
        shards.put(number, _write_sequence(out, settings, sequence))


def _write_regressors(out: Path, settings: Settings) -> None:
    world = make_world(settings.seed, settings.people)
    (out / 'truth').mkdir(exist_ok=True)
    (out / 'regressors').mkdir(exist_ok=True)
    world.truth.save(out / 'truth' / 'J_true.npy')
    fit_standard_regressor(
        settings.seed, world.body, world.people, settings.ankle_offsets, settings.label_noise
    ).save(out / 'regressors' / 'J_std.npy')


def _write_sequence(out: Path, settings: Settings, sequence: Take) -> dict[str, Any]:
    """Write the images of a sequence; return the arrays of its four views."""
    world = make_world(settings.seed, settings.people)
    cameras = camera_rig.make_cameras(settings.seed, sequence.subject)
    views: list[dict[str, Any]] = []
    bodies: dict[tuple[int, ...], TrueBodies] = {}  # synchronous cameras have the same frames
    for frames, (camera_id, camera) in zip(sequence.frames, cameras.items(), strict=True):
        if frames not in bodies:
            bodies[frames] = make_true_bodies(
                world, settings.seed, sequence, frames, settings.ankle_offsets, settings.label_noise
            )
        truth = bodies[frames]
        drawn = truth
        if settings.late_frames and camera_id == camera_rig.CAMERA_IDS[-1]:
            later = tuple(frame + settings.late_frames for frame in frames)
            drawn = make_true_bodies(world, settings.seed, sequence, later)
        views.append(make_view(out, settings, sequence, world, truth, drawn, camera_id, camera))
    return {key: np.concatenate([view[key] for view in views]) for key in views[0]}
