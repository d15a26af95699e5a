"""Writes the synthetic H36M: MMPose's layout, every byte decided by the settings.

Under the output folder::

    annotation_body3d/fps10/h36m_{train,test}.npz   imgname, center, scale, part, S
    annotation_body3d/cameras.pkl                   {(subject, camera): R, T, c, f, k, p, w, h}
    images/S1/S1_Walking_1.54138969/S1_Walking_1.54138969_000001.jpg
    masks/h36m_{train,test}.json                    COCO RLE by image name
    fits/spin_like_train.npz                        initial fits, SPIN's layout
    fits/{spin,vibe,meva}_like_test.npz             the estimators' predictions
    regressors/J_std.npy (and its sidecar)          the biased regressor, to be replaced
    truth/                                          what only checks may read
    synthetic.json                                  settings and checksums, written last

``truth/`` holds ``h36m_{train,test}.npz`` (``imgname``, ``pose``, ``betas``, ``transl``, camera
frame), ``J_true.npy``, and ``report.json`` with the measured errors of what was simulated.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.utils import ProgressBar

from mmjrr.datasets.synthetic import camera_rig
from mmjrr.datasets.synthetic.simulated_regressors import (
    fit_standard_regressor,
)

if TYPE_CHECKING:
    pass
from mmjrr.datasets.synthetic.dataset_files import (
    FOLDERS,
    MANIFEST,
    PARTS,
    assemble,
    part_path,
    read_manifest,
    write_json,
    write_npz,
)
from mmjrr.datasets.synthetic.process_pool import Pool
from mmjrr.datasets.synthetic.sequence_plan import Take, plan_sequences
from mmjrr.datasets.synthetic.settings import Settings, settings_as_json
from mmjrr.datasets.synthetic.true_bodies import make_true_bodies, make_world
from mmjrr.datasets.synthetic.views import make_view


def generate(
    out: str | Path,
    settings: Settings | None = None,
    workers: int = 2,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write the data set, or do nothing where it is complete already.

    The bytes depend on the settings alone, not on the number of workers. A run that was cut short
    goes on where it stopped.

    Args:
        out: the folder to write to; becomes the data root.
        settings: what to write; the defaults give 320 training and 128 test images.
        workers: processes.
        overwrite: replace a data set of other settings instead of refusing.
        progress: show a progress bar.

    Returns:
        ``out``.

    Raises:
        ValueError: ``out`` holds a data set of other settings, or files that are none.
    """
    out, settings = Path(out), settings or Settings()
    if workers < 1:
        raise ValueError(f'workers must be 1 or more, found {workers}')
    if is_complete(out, settings):
        return out
    _prepare(out, settings, overwrite)
    sequences = plan_sequences(settings)
    tasks: list[Callable[[], Any]] = []
    with Pool(workers) as pool:
        if not (out / PARTS / 'J_std.npy').is_file():
            tasks.append(pool.submit(_write_regressors, out, settings))
        for sequence in sequences:
            if not part_path(out, sequence).is_file():
                tasks.append(pool.submit(_write_sequence, out, settings, sequence))
        bar = ProgressBar(len(tasks)) if progress and tasks else None
        for result in tasks:
            result()
            if bar is not None:
                bar.update()
        if bar is not None:
            print()
    assemble(out, settings, sequences)
    return out


def is_complete(out: str | Path, settings: Settings) -> bool:
    """Whether ``out`` holds the whole data set of these settings (files are looked for only)."""
    manifest = read_manifest(Path(out))
    return (
        manifest is not None
        and manifest['settings'] == settings_as_json(settings)
        and all((Path(out) / name).is_file() for name in manifest['files'])
    )


def _prepare(out: Path, settings: Settings, overwrite: bool) -> None:
    """Leave a folder that holds nothing, or the parts of an earlier run of the same settings."""
    begun = out / PARTS / 'settings.json'
    found = None
    if begun.is_file():
        found = json.loads(begun.read_text())
    elif (manifest := read_manifest(out)) is not None:
        found = manifest['settings']
    if found is None and any((out / name).exists() for name in FOLDERS):
        raise ValueError(
            f'{out}: holds data that this generator did not write; choose another folder'
        )
    if found is not None and found != settings_as_json(settings) and not overwrite:
        raise ValueError(
            f'{out}: holds the synthetic set of {found}, expected {settings_as_json(settings)}; '
            'choose another folder, or overwrite'
        )
    if not begun.is_file() or found != settings_as_json(settings):
        for name in FOLDERS:  # the parts last but the manifest: they say whose folder it is
            shutil.rmtree(out / name, ignore_errors=True)
        (out / MANIFEST).unlink(missing_ok=True)
    for folder in FOLDERS:
        for temporary in (out / folder).rglob('.*'):  # of files that a killed run was writing
            temporary.unlink()
    write_json(begun, settings_as_json(settings))


def _write_regressors(out: Path, settings: Settings) -> None:
    world = make_world(settings.seed)
    (out / 'truth').mkdir(exist_ok=True)
    (out / 'regressors').mkdir(exist_ok=True)
    world.truth.save(out / 'truth' / 'J_true.npy')
    fit_standard_regressor(settings.seed, world.body, world.truth).save(
        out / 'regressors' / 'J_std.npy'
    )
    (out / PARTS / 'J_std.npy').touch()


def _write_sequence(out: Path, settings: Settings, sequence: Take) -> None:
    """Everything of one sequence: its images, and one part with the arrays of its four views."""
    world = make_world(settings.seed)
    cameras = camera_rig.make_cameras(settings.seed, sequence.subject)
    views = []
    for frames, (camera_id, camera) in zip(sequence.frames, cameras.items(), strict=True):
        truth = make_true_bodies(world, settings.seed, sequence, frames)
        views.append(make_view(out, settings, sequence, world, truth, camera_id, camera))
    part = {key: np.concatenate([view[key] for view in views]) for key in views[0]}
    write_npz(part_path(out, sequence), part)
