"""Posed vertices of predictions."""

from __future__ import annotations

import numpy as np
import torch

from mmjrr.array_types import FloatArray
from mmjrr.body_models import SMPL
from mmjrr.datasets.predictions import Predictions
from mmjrr.evaluation.predicted_body import body_parameters


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
    if body is None or not part.has_parameters:
        raise ValueError(f'{part.name}: has SMPL parameters, for which a body is needed')
    with torch.no_grad():
        parameters = body_parameters(part, body)
        output = body(
            **{name: torch.from_numpy(v).to(body.v_template) for name, v in parameters.items()}
        )
    vertices: FloatArray = output.vertices.double().numpy()
    if translate and part.transl is not None:
        vertices = vertices + part.transl[:, None].astype(np.float64) * scale
    return list(vertices)
