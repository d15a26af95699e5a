"""Files of a refinement's work directory: its record, data set, regressors and fits.

A work directory may be unfinished, of another version, or from another person. Results that it does
not have are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjrr.array_types import Array, FloatArray
from mmjrr.body_models import SMPL
from mmjrr.datasets.fits import load_fits
from mmjrr.errors import DataError
from mmjrr.io import read_json, read_npz, sha256
from mmjrr.refinement.left_out import LEFT_OUT, split_left_out
from mmjrr.refinement.regressor_fit import PARAMETERS
from mmjrr.registry import BODY_MODELS
from mmjrr.regressors import JointRegressor

#: Names of regressors' files, in the order of the tables.
REGRESSORS = ('J_std', 'J_spin', 'J_opt')
#: Frames are posed in batches of this size.
_CHUNK = 64


def read_record(work_dir: Path) -> dict[str, Any]:
    """Read the settings with which a refinement was begun.

    Args:
        work_dir: The refinement's work directory.

    Raises:
        DataError: The folder is no work directory, or the record is broken.
    """
    path = work_dir / 'pseudo_gt' / 'identity.json'
    if not path.is_file():
        raise DataError(
            f'{work_dir}: found no pseudo_gt/identity.json, expected the --work-dir of "mmjrr '
            'refine", the --out folder of the demo, or a JSON file that "mmjrr evaluate --out" '
            'wrote'
        )
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get('refinement'), dict):
        raise DataError(
            f'{path}: found no settings of a refinement; another version of mmjrr may have '
            'written it'
        )
    return record


def body_of_work_dir(work_dir: Path) -> dict[str, Any]:
    """Return the config of the body of a refinement.

    The record is not trusted: MMEngine's registries import any module that a name with dots leads
    to, so only names of registered bodies are accepted.

    Args:
        work_dir: The refinement's work directory.

    Raises:
        DataError: The record is broken, or names no registered body.
    """
    config = read_record(work_dir)['refinement'].get('body_model')
    name = str(config.get('type', '')) if isinstance(config, Mapping) else ''
    BODY_MODELS.import_from_location()
    registered = sorted(BODY_MODELS.module_dict)
    if not isinstance(config, Mapping) or name.removeprefix('mmjrr.') not in registered:
        raise DataError(
            f'{work_dir / "pseudo_gt" / "identity.json"}: body_model: found type {name!r}, '
            f'expected one of {registered}; --body-model names the body'
        )
    return dict(config)


class DatasetFiles:
    """Files of the data set on which a refinement ran."""

    def __init__(self, config: Mapping[str, Any], data_root: Path | None, work_dir: Path) -> None:
        self.root = data_root or Path(str(config.get('data_root') or ''))
        if not self.root.is_absolute() and not self.root.is_dir():
            # Paths in configs are relative to the folder in which the run was started.
            self.root = next(
                (
                    parent / self.root
                    for parent in work_dir.resolve().parents
                    if (parent / self.root).is_dir()
                ),
                self.root,
            )
        self.annotation = self.root / str(
            config.get('ann_file') or 'annotation_body3d/fps10/h36m_train.npz'
        )
        prefix = config.get('data_prefix')
        self.images = self.root / str((prefix or {}).get('img', 'images/'))
        cameras = config.get('camera_param_file')
        self.cameras = existing_file(self.root / str(cameras or 'annotation_body3d/cameras.pkl'))
        masks = config.get('mask_file')
        files = [masks] if isinstance(masks, str) else list(masks or [])
        self.masks = [path for name in files if (path := existing_file(self.root / name))]
        self.fits = config.get('fits_file') and self.root / str(config['fits_file'])


def changed_files(record: Mapping[str, Any], files: Mapping[str, Sequence[Path]]) -> list[Path]:
    """Return the files that are not those with which a refinement was begun.

    Args:
        record: Settings of :func:`read_record`. Files whose checksum it lacks are left out.
        files: Existing files by the data set's option, such as ``'mask_file'``.
    """
    recorded = record.get('files')
    digests = recorded if isinstance(recorded, Mapping) else {}
    changed = []
    for option, paths in files.items():
        # Several files of an option are numbered: 'mask_file[0]'.
        known = {digest for name, digest in digests.items() if name.split('[')[0] == option}
        changed += [path for path in paths if known and sha256(path) not in known]
    return changed


def existing_file(path: Path) -> Path | None:
    """Return the path if there is such a file, otherwise None."""
    return path if path.is_file() else None


def load_regressors(
    work_dir: Path, data_root: Path, body: str, notes: list[str]
) -> dict[str, JointRegressor]:
    """Load the regressors of a refinement, and the one in common use for its body.

    Args:
        work_dir: The work directory.
        data_root: Folder of the data set, which can have a J_std of its own.
        body: Name of the body.
        notes: Receives a sentence for each regressor that is missing.

    Returns:
        The regressors by name, float64, in the order of the tables.
    """
    own = data_root / 'regressors' / 'J_std.npy'
    standard = 'J_std' if body == 'smpl' else 'free_body_h36m'
    candidates: dict[str, str | Path] = {'J_std' if own.is_file() else standard: standard}
    if own.is_file():
        candidates['J_std'] = own
    candidates |= {name: work_dir / f'{name}.npy' for name in REGRESSORS[1:]}
    loaded: dict[str, JointRegressor] = {}
    for name, path in candidates.items():
        try:
            regressor = JointRegressor.load(path, dtype=torch.float64)
        except FileNotFoundError:
            notes.append(f'{name} was not found, so it is not compared.')
            continue
        if regressor.body_model in (body, 'unnamed'):
            loaded[name] = regressor
    return loaded


def stored_fits(work_dir: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Read the refined fits, and the initial ones where shards have them, ordered by image name.

    Without shards, the refined fits are those of ``pseudo_gt.npz``.

    Returns:
        The arrays by name, empty if no frame is refined; and by image name why frames are left out,
        where shards say so.

    Raises:
        DataError: A file is broken.
    """
    shards = sorted((work_dir / 'pseudo_gt').rglob('batch_*.npz'))
    parts = [read_npz(path) for path in shards]
    parts = [part for part in parts if {'imgname', *PARAMETERS} <= set(part)]
    if parts:
        refined = []
        left_out: dict[str, str] = {}
        for part in parts:
            arrays, reasons = _refined_rows(part)
            refined.append(arrays)
            left_out |= reasons
        names = set.intersection(*(set(part) for part in refined))
        merged = {name: np.concatenate([part[name] for part in refined]) for name in sorted(names)}
        # Later rounds replace earlier ones, and samplers may repeat frames.
        keys = merged['imgname'][::-1]
        _, first = np.unique(keys, return_index=True)
        rows = len(keys) - 1 - first
        merged = {name: values[rows] for name, values in merged.items()}
        return merged if len(rows) else {}, left_out
    path = work_dir / 'pseudo_gt.npz'
    if not path.is_file():
        return {}, {}
    fits = load_fits(path)
    fits['global_orient'], fits['body_pose'] = fits['pose'][:, :3], fits['pose'][:, 3:]
    needed = ('imgname', *PARAMETERS)
    if not set(needed) <= set(fits):
        return {}, {}
    order = np.argsort(fits['imgname'], kind='stable')
    return {name: fits[name][order] for name in needed}, {}


def left_out_note(left_out: Mapping[str, str], refined: int) -> str:
    """Return a sentence about frames that are left out, and their number beside the refined."""
    name, reason = next(iter(left_out.items()))
    more = f', and {len(left_out) - 1} more' if len(left_out) > 1 else ''
    return (
        f'{len(left_out)} of {len(left_out) + refined} frames could not be refined and are left '
        f'out: {name} ({reason}){more}.'
    )


def _refined_rows(part: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the refined frames of a shard, and by image name why the others are left out."""
    count = len(part['imgname'])
    arrays = {name: array for name, array in part.items() if array.ndim and len(array) == count}
    return split_left_out(arrays) if LEFT_OUT in arrays else (arrays, {})


def fitted_vertices(fits: Mapping[str, Array], prefix: str, body: SMPL) -> FloatArray:
    """Pose the body by each fit.

    Args:
        fits: Arrays of :func:`stored_fits`.
        prefix: ``''`` for the refined fits, ``'init_'`` for the initial ones.
        body: The body.

    Returns:
        (N, V, 3), meters, camera frame.
    """
    parts = []
    count = len(fits['imgname'])
    with torch.no_grad():
        for start in range(0, count, _CHUNK):
            parameters = {
                name: torch.from_numpy(
                    np.asarray(fits[f'{prefix}{name}'][start : start + _CHUNK])
                ).to(body.v_template)
                for name in PARAMETERS
            }
            parts.append(body(**parameters).vertices.double().numpy())
    vertices: FloatArray = np.concatenate(parts) if parts else np.zeros((0, body.num_vertices, 3))
    return vertices


def regressed_joints(
    fits: Mapping[str, Array],
    prefix: str,
    body: SMPL,
    weights: Mapping[str, FloatArray],
) -> dict[str, FloatArray]:
    """Return the joints (N, 17, 3) of all fits under each regressor."""
    used = np.flatnonzero(np.any([weight.any(0) for weight in weights.values()], axis=0))
    part = body.restrict_to(torch.from_numpy(used))
    vertices = fitted_vertices(fits, prefix, part)
    return {name: weight[:, used] @ vertices for name, weight in weights.items()}
