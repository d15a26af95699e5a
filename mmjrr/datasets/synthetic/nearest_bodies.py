"""Bodies of the fitted model that come nearest to meshes which it cannot match."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import Array, FloatArray
from mmjrr.geometry import axis_angle_to_matrix, matrix_to_axis_angle

if TYPE_CHECKING:
    from mmjrr.body_models import SMPL

#: Every how manyth vertex is fitted: neighbors move nearly alike.
_VERTEX_STEP = 6
#: Standard deviations of the shape that change the body about as much as a radian of pose.
_SHAPE_SCALE = 10.0


def nearest_shapes(body: SMPL, rest_vertices: Array) -> FloatArray:  # (N, 10)
    """Return the shapes with which a body in its rest pose is nearest to meshes, in least squares.

    Args:
        body: The body.
        rest_vertices: (N, V, 3), meshes of the body's topology, place and rest pose, meters.
    """
    shapes = body.blend_planes[: body.num_betas].double().flatten(1).T  # (3 V, 10)
    offsets = torch.from_numpy(np.asarray(rest_vertices, np.float64)) - body.v_template.double()
    columns = offsets.transpose(1, 2).flatten(1).T
    return torch.linalg.lstsq(shapes, columns).solution.T.contiguous().numpy()


def fit_to_meshes(
    body: SMPL,
    vertices: Tensor,  # (N, V, 3)
    pose: Array,  # (N, 72)
    betas: Array,  # (N, 10)
    persons: Array,  # (N,)
    max_iter: int = 300,
) -> dict[str, FloatArray]:
    """Fit bodies to meshes: least squares over every sixth vertex, with L-BFGS.

    Args:
        body: The body.
        vertices: Meshes of the body's topology, meters.
        pose: Start, axis-angle.
        betas: Start of the shapes.
        persons: Person of each mesh; meshes of one person share the shape.
        max_iter: Most iterations. Default: 300.

    Returns:
        ``pose`` (N, 72), ``betas`` (N, 10) and ``transl`` (N, 3) of the fitted bodies.
    """
    _, first, person = np.unique(persons, return_index=True, return_inverse=True)
    chosen = torch.arange(0, body.num_vertices, _VERTEX_STEP)
    part, target = body.restrict_to(chosen), vertices[:, chosen]
    axis_angles = torch.from_numpy(np.asarray(pose, np.float32)).unflatten(1, (-1, 3))
    start = axis_angle_to_matrix(axis_angles)
    initial_shapes = torch.from_numpy(np.asarray(betas, np.float32)[first])
    row = torch.from_numpy(person)

    def posed(turn: Tensor, shape_change: Tensor, transl: Tensor) -> Tensor:
        rotations = start @ axis_angle_to_matrix(turn)
        return part(
            global_orient=rotations[:, :1],
            body_pose=rotations[:, 1:],
            betas=(initial_shapes + _SHAPE_SCALE * shape_change)[row],
            transl=transl,
        ).vertices

    turn, shape_change = torch.zeros_like(axis_angles), torch.zeros_like(initial_shapes)
    with torch.no_grad():
        place = (target - posed(turn, shape_change, torch.zeros(1, 3))).mean(1)
    shift = torch.zeros_like(place)
    variables = [value.requires_grad_() for value in (turn, shape_change, shift)]
    optimizer = torch.optim.LBFGS(
        variables, max_iter=max_iter, history_size=20, line_search_fn='strong_wolfe',
        tolerance_grad=1e-6, tolerance_change=1e-10,
    )  # fmt: skip

    def objective() -> float:
        optimizer.zero_grad()
        distance = posed(turn, shape_change, place + shift) - target
        loss = 1e4 * distance.square().sum(-1).mean(1).sum()  # square centimeters
        loss.backward()
        return float(loss)

    optimizer.step(objective)
    with torch.no_grad():
        turned = matrix_to_axis_angle(start @ axis_angle_to_matrix(turn)).flatten(1)
        shapes = (initial_shapes + _SHAPE_SCALE * shape_change)[row]
        return {
            'pose': turned.double().numpy(),
            'betas': shapes.double().numpy(),
            'transl': (place + shift).double().numpy(),
        }
