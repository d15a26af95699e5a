"""Files of the synthetic H36M, assembled from the parts of its sequences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjrr.array_types import Array
from mmjrr.datasets.fits import save_fits
from mmjrr.datasets.image_names import parse_image_name
from mmjrr.datasets.synthetic import camera_rig
from mmjrr.datasets.synthetic.sequence_plan import Take
from mmjrr.datasets.synthetic.settings import Settings, settings_as_json
from mmjrr.datasets.synthetic.simulated_fits import ESTIMATORS
from mmjrr.datasets.synthetic.subjects import TRAIN_SUBJECTS
from mmjrr.datasets.synthetic.true_bodies import make_world, root_aligned_distances_mm
from mmjrr.geometry import H36M_IMAGE_SIZES, save_cameras
from mmjrr.io import atomic_write, read_json, sha256
from mmjrr.jobs import ShardFolder
from mmjrr.jobs.pool import single_threaded
from mmjrr.regressors import JointRegressor

#: File of settings and checksums, written last.
MANIFEST = 'synthetic.json'
#: Folder of finished parts.
PARTS = '.parts'
#: All folders of the dataset.
FOLDERS = ('annotation_body3d', 'images', 'masks', 'fits', 'regressors', 'truth', PARTS)


def read_manifest(out: Path) -> dict[str, Any] | None:
    """Read the manifest of a finished dataset; None if there is none."""
    path = out / MANIFEST
    return read_json(path) if path.is_file() else None


def assemble(out: Path, settings: Settings, sequences: list[Take], shards: ShardFolder) -> None:
    """Write the files of the dataset, the manifest last.

    Args:
        out: The data root.
        settings: Settings of the dataset.
        sequences: Its sequences.
        shards: Finished parts: the regressors, then the sequences in their order.
    """
    _, *contents = shards.read_all([(number, None) for number in range(1 + len(sequences))])
    parts = dict(zip(sequences, contents, strict=True))
    report: dict[str, Any] = {'frames': {}, 'mpjpe_mm': {}}
    for split in ('train', 'test'):
        chosen = [
            parts[s] for s in sequences if (s.subject in TRAIN_SUBJECTS) == (split == 'train')
        ]
        if chosen:
            _write_split(
                out,
                settings,
                split,
                {k: np.concatenate([p[k] for p in chosen]) for k in chosen[0]},
                report,
            )
    rig = {
        (subject, camera_id): camera
        for subject in settings.subjects
        for camera_id, camera in camera_rig.make_cameras(settings.seed, subject).items()
    }
    save_cameras(out / 'annotation_body3d' / 'cameras.pkl', rig)
    report['J_std_distance_mm'] = single_threaded(_standard_error, out, settings, parts)
    write_json(out / 'truth' / 'report.json', report)
    files = [
        path
        for path in sorted(out.rglob('*'))
        if path.is_file() and path.relative_to(out).parts[0] in FOLDERS[:-1]
    ]
    manifest = {
        'settings': settings_as_json(settings),
        'files': {path.relative_to(out).as_posix(): sha256(path) for path in files},
    }
    write_json(out / MANIFEST, manifest)


def _write_split(
    out: Path,
    settings: Settings,
    split: str,
    arrays: dict[str, Array],
    report: dict[str, Any],
) -> None:
    for folder in ('annotation_body3d/fps10', 'masks', 'fits', 'truth'):
        (out / folder).mkdir(parents=True, exist_ok=True)
    names = arrays['imgname']
    annotations = {key: arrays[key] for key in ('imgname', 'center', 'scale', 'part', 'S')}
    write_npz(out / 'annotation_body3d' / 'fps10' / f'h36m_{split}.npz', annotations)
    write_npz(
        out / 'truth' / f'h36m_{split}.npz',
        {k: arrays[k] for k in ('imgname', 'pose', 'betas', 'transl', 'phenotypes') if k in arrays},
    )
    report['frames'][split] = len(names)
    for estimator in ESTIMATORS:
        if f'{estimator}_pose' in arrays:
            save_fits(
                out / 'fits' / f'{estimator}_{split}.npz',
                imgname=names,
                pose=arrays[f'{estimator}_pose'],
                betas=arrays[f'{estimator}_betas'],
                camera=arrays[f'{estimator}_camera'],
                provenance={'made_by': 'mmjrr.datasets.synthetic', 'seed': settings.seed},
            )
            report['mpjpe_mm'][f'{estimator}_{split}'] = float(arrays[f'{estimator}_error'].mean())
    masks = {
        name: {
            'size': list(H36M_IMAGE_SIZES[parse_image_name(name).camera]),
            'counts': counts,
            'score': 1.0,
        }
        for name, counts in zip(names.tolist(), arrays['mask'].tolist(), strict=True)
    }
    info = {'description': 'synthetic H36M: exact masks', 'settings': settings_as_json(settings)}
    write_json(out / 'masks' / f'h36m_{split}.json', {'info': info, 'masks': masks})


def _standard_error(
    out: Path, settings: Settings, parts: dict[Take, dict[str, Array]]
) -> float | None:
    """Measure the mean distance of J_std's joints from true ones on true test meshes, in mm."""
    world = make_world(settings.seed, settings.people)
    standard = JointRegressor.load(out / 'regressors' / 'J_std.npy', joint_order='mmpose')
    errors = []
    for sequence, part in parts.items():
        if sequence.subject not in TRAIN_SUBJECTS:
            pose = part['pose'].reshape(-1, 24, 3)
            meshes = world.people.vertices(world.people.subject(sequence.subject), pose)
            vertices = torch.from_numpy(world.people.on_free_body(meshes))
            errors.append(
                root_aligned_distances_mm(standard(vertices).numpy(), world.truth(vertices).numpy())
            )
    return float(np.concatenate(errors).mean()) if errors else None


def write_npz(path: Path, arrays: dict[str, Array]) -> None:
    """Write a compressed npz whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, open(temporary, 'wb') as file:
        np.savez_compressed(file, **arrays)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all."""
    with atomic_write(path) as temporary:
        Path(temporary).write_text(json.dumps(content, indent=1, sort_keys=True) + '\n')
