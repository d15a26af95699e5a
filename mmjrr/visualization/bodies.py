"""Bodies to draw: the body of a refinement, and the posed vertices of predictions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjrr.array_types import FloatArray
from mmjrr.body_models import SMPL
from mmjrr.datasets.predictions import Predictions
from mmjrr.errors import DataError
from mmjrr.io import read_json
from mmjrr.registry import BODY_MODELS


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

    A record may be a stranger's. MMEngine's registries import any module that a name with dots
    leads to, so only names of registered bodies are accepted.

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


def posed_bodies(
    part: Predictions, body: SMPL | None, scale: float = 1.0, translate: bool = False
) -> list[FloatArray]:
    """Return the vertices (V, 3) of each predicted body, meters, axes of the camera frame.

    Args:
        part: The predictions.
        body: The body of predicted parameters; not needed for vertices.
        scale: Meters per unit of stored vertices and translations. Default: 1.
        translate: Whether parameters' translations are applied where there are any.
            Default: False.

    Raises:
        ValueError: The predictions are parameters and there is no body.
    """
    if not len(part):
        return []
    if part.vertices is not None:
        return [np.asarray(mesh, dtype=np.float64) * scale for mesh in part.vertices]
    if body is None or part.global_orient is None or part.body_pose is None or part.betas is None:
        raise ValueError(f'{part.name}: has SMPL parameters, for which a body is needed')
    with torch.no_grad():
        output = body(
            global_orient=torch.from_numpy(part.global_orient[:, None]).to(body.v_template),
            body_pose=torch.from_numpy(part.body_pose).to(body.v_template),
            betas=torch.from_numpy(part.betas).to(body.v_template),
        )
    vertices: FloatArray = output.vertices.double().numpy()
    if translate and part.transl is not None:
        vertices = vertices + part.transl[:, None].astype(np.float64) * scale
    return list(vertices)
