"""Linear blend skinning on a CPU: loops over bodies, compiled by Numba, with their derivatives.

:mod:`mmjrr.body_models.lbs` describes the method and has the PyTorch implementation that serves as
reference. A vertex depends on a few joints only, so the loops visit its nonzero weights. The
derivative visits only vertices whose gradient is not zero: those near the contour and those of the
regressor. Importing this module imports Numba.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmjrr.array_types import Array
from mmjrr.compiled_loops import CompiledLoops

#: Largest number of joints of a vertex for which the loops are faster than a matrix product.
MAX_JOINTS = 8

LOOPS = CompiledLoops(__file__, 'the body models')
_compiled = LOOPS.compiled


class SparseWeights(NamedTuple):
    """Nonzero skinning weights of each vertex, the largest first.

    Vertices are sorted by the number of their joints, so that loops over joints are predictable.
    """

    vertex: Array  # (V,) uint32
    num_joints: Array  # (V,) int32
    joint: Array  # (V, N) uint32: unsigned indices need no test for negative ones
    weight: Array  # (V, N), of the body's type

    @classmethod
    def from_dense(cls, weights: Tensor) -> SparseWeights:  # (J, V)
        """Convert a matrix of weights."""
        dense = weights.detach().cpu().numpy().T
        count = (dense != 0).sum(1)
        vertex = np.argsort(count, kind='stable')
        dense, count = dense[vertex], count[vertex]
        joint = np.argsort(-np.abs(dense), 1, kind='stable')[:, : max(count.max(initial=0), 1)]
        weight = np.take_along_axis(dense, joint, 1)
        return cls(
            vertex.astype(np.uint32),
            count.astype(np.int32),
            np.ascontiguousarray(joint, np.uint32),
            np.ascontiguousarray(weight),
        )


def pose(
    rotations: Tensor,  # (B, J, 3, 3), relative to the parent
    joints: Tensor,  # (B, J, 3), rest pose
    parents: Array,  # (J,) int64, each smaller than its child's index
) -> tuple[Tensor, Tensor]:  # (B, J, 3), (B, J, 3, 4)
    """Compute what :class:`~mmjrr.body_models.lbs.KinematicTree` does."""
    positions, transforms = _CompiledPose.apply(rotations, joints, parents)  # type: ignore[no-untyped-call]
    return positions, transforms


def skin(
    shaped: Tensor,  # (B, 3, V)
    transforms: Tensor,  # (B, J, 3, 4)
    weights: SparseWeights,
    transl: Tensor,  # (B, 3)
) -> Tensor:  # (B, 3, V)
    """Compute what :func:`mmjrr.body_models.lbs.skin` does."""
    vertices: Tensor = _CompiledSkin.apply(shaped, transforms, weights, transl)  # type: ignore[no-untyped-call]
    return vertices


class _CompiledPose(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rotations: Tensor, joints: Tensor, parents: Array
    ) -> tuple[Tensor, Tensor]:
        rotations, joints = rotations.detach().contiguous(), joints.detach().contiguous()
        positions = torch.empty_like(joints)
        transforms = joints.new_empty(*joints.shape[:2], 3, 4)
        LOOPS.run(
            '_pose', len(joints), rotations.numpy(), joints.numpy(), parents, positions.numpy(),
            transforms.numpy(),
        )  # fmt: skip
        ctx.parents = parents
        ctx.save_for_backward(rotations, joints, transforms)
        return positions, transforms

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_positions: Tensor, of_transforms: Tensor
    ) -> tuple[Tensor, Tensor, None]:
        rotations, joints, transforms = ctx.saved_tensors
        of_rotations, of_joints = torch.empty_like(rotations), torch.empty_like(joints)
        LOOPS.run(
            '_pose_backward', len(joints), rotations.numpy(), joints.numpy(), ctx.parents,
            transforms.numpy(), of_positions.contiguous().numpy(),
            of_transforms.contiguous().numpy(), of_rotations.numpy(), of_joints.numpy(),
        )  # fmt: skip
        return of_rotations, of_joints, None


class _CompiledSkin(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, shaped: Tensor, transforms: Tensor, weights: SparseWeights, transl: Tensor
    ) -> Tensor:
        # One shape for all bodies is stored once.
        shaped = shaped.detach()[:1] if shaped.stride(0) == 0 else shaped.detach()
        shaped, transforms = shaped.contiguous(), transforms.detach().contiguous()
        vertices = shaped.new_empty(len(transforms), *shaped.shape[1:])
        LOOPS.run(
            '_skin', len(transforms), shaped.numpy(), transforms.flatten(2).numpy(), *weights,
            transl.detach().contiguous().numpy(), vertices.numpy(),
        )  # fmt: skip
        ctx.weights = weights
        ctx.save_for_backward(shaped, transforms)
        return vertices

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, Tensor]:
        shaped, transforms = ctx.saved_tensors
        grad = grad.contiguous()
        of_shaped, of_transforms = torch.empty_like(grad), torch.empty_like(transforms)
        of_transl = grad.new_empty(len(grad), 3)
        LOOPS.run(
            '_skin_backward', len(grad), shaped.numpy(), transforms.flatten(2).numpy(),
            *ctx.weights, grad.numpy(), of_shaped.numpy(), of_transforms.flatten(2).numpy(),
            of_transl.numpy(),
        )  # fmt: skip
        return of_shaped, of_transforms, None, of_transl


# --- the loops ------------------------------------------------------------------------------------


@_compiled
def _pose(
    rotations: Array,
    joints: Array,
    parents: Array,
    positions: Array,
    transforms: Array,
    begin: int,
    end: int,
) -> None:
    """Pose bodies begin to end - 1; positions (B, J, 3), transforms (B, J, 3, 4)."""
    for body in range(begin, end):
        for j in range(joints.shape[1]):
            parent = parents[j]
            for row in range(3):
                if j == 0:
                    for column in range(3):
                        transforms[body, j, row, column] = rotations[body, j, row, column]
                    positions[body, j, row] = joints[body, j, row]
                else:
                    a = transforms[body, parent, row, 0]
                    b = transforms[body, parent, row, 1]
                    c = transforms[body, parent, row, 2]
                    for column in range(3):
                        transforms[body, j, row, column] = (
                            a * rotations[body, j, 0, column]
                            + b * rotations[body, j, 1, column]
                            + c * rotations[body, j, 2, column]
                        )
                    positions[body, j, row] = (
                        a * (joints[body, j, 0] - joints[body, parent, 0])
                        + b * (joints[body, j, 1] - joints[body, parent, 1])
                        + c * (joints[body, j, 2] - joints[body, parent, 2])
                        + positions[body, parent, row]
                    )
            for row in range(3):
                transforms[body, j, row, 3] = positions[body, j, row] - (
                    transforms[body, j, row, 0] * joints[body, j, 0]
                    + transforms[body, j, row, 1] * joints[body, j, 1]
                    + transforms[body, j, row, 2] * joints[body, j, 2]
                )


@_compiled
def _pose_backward(
    rotations: Array,
    joints: Array,
    parents: Array,
    transforms: Array,
    of_positions: Array,
    of_transforms: Array,
    of_rotations: Array,
    of_joints: Array,
    begin: int,
    end: int,
) -> None:
    """Compute gradients of rotations and joints from those of positions and transforms."""
    count = joints.shape[1]
    # Gradients of each joint's rotation and position in the body's frame.
    turned, placed = np.empty((count, 3, 3)), np.empty((count, 3))
    for body in range(begin, end):
        of_joints[body] = 0
        for j in range(count):
            for row in range(3):
                g = of_transforms[body, j, row, 3]
                placed[j, row] = of_positions[body, j, row] + g
                for column in range(3):
                    turned[j, row, column] = (
                        of_transforms[body, j, row, column] - g * joints[body, j, column]
                    )
                    of_joints[body, j, column] -= transforms[body, j, row, column] * g
        for j in range(count - 1, 0, -1):
            parent = parents[j]
            for row in range(3):
                a = transforms[body, parent, 0, row]
                b = transforms[body, parent, 1, row]
                c = transforms[body, parent, 2, row]
                for column in range(3):
                    of_rotations[body, j, row, column] = (
                        a * turned[j, 0, column]
                        + b * turned[j, 1, column]
                        + c * turned[j, 2, column]
                    )
                    turned[parent, row, column] += placed[j, row] * (
                        joints[body, j, column] - joints[body, parent, column]
                    )
                    for i in range(3):
                        turned[parent, row, column] += (
                            turned[j, row, i] * rotations[body, j, column, i]
                        )
                offset = a * placed[j, 0] + b * placed[j, 1] + c * placed[j, 2]
                of_joints[body, j, row] += offset
                of_joints[body, parent, row] -= offset
                placed[parent, row] += placed[j, row]
        of_rotations[body, 0] = turned[0]
        for row in range(3):
            of_joints[body, 0, row] += placed[0, row]


@_compiled
def _blend(
    transforms: Array, num_joints: Array, joint: Array, weight: Array, i: int
) -> tuple[float, ...]:
    """Blend the transforms (J, 12) of the joints of the vertex in row i, in registers."""
    j, w = joint[i, 0], weight[i, 0]
    xx, xy, xz, xt = (
        w * transforms[j, 0],
        w * transforms[j, 1],
        w * transforms[j, 2],
        w * transforms[j, 3],
    )
    yx, yy, yz, yt = (
        w * transforms[j, 4],
        w * transforms[j, 5],
        w * transforms[j, 6],
        w * transforms[j, 7],
    )
    zx, zy, zz, zt = (
        w * transforms[j, 8],
        w * transforms[j, 9],
        w * transforms[j, 10],
        w * transforms[j, 11],
    )
    for n in range(1, num_joints[i]):
        j, w = joint[i, n], weight[i, n]
        xx += w * transforms[j, 0]
        xy += w * transforms[j, 1]
        xz += w * transforms[j, 2]
        xt += w * transforms[j, 3]
        yx += w * transforms[j, 4]
        yy += w * transforms[j, 5]
        yz += w * transforms[j, 6]
        yt += w * transforms[j, 7]
        zx += w * transforms[j, 8]
        zy += w * transforms[j, 9]
        zz += w * transforms[j, 10]
        zt += w * transforms[j, 11]
    return xx, xy, xz, xt, yx, yy, yz, yt, zx, zy, zz, zt


@_compiled
def _skin(
    shaped: Array,
    transforms: Array,
    vertex: Array,
    num_joints: Array,
    joint: Array,
    weight: Array,
    transl: Array,
    vertices: Array,
    begin: int,
    end: int,
) -> None:
    """Skin bodies begin to end - 1.

    shaped (B or 1, 3, V), transforms (B, J, 12), transl (B, 3), vertices (B, 3, V).
    """
    for body in range(begin, end):
        rest, result = shaped[min(body, len(shaped) - 1)], vertices[body]
        of_joints, moved = transforms[body], transl[body]
        for i in range(len(vertex)):
            v = vertex[i]
            xx, xy, xz, xt, yx, yy, yz, yt, zx, zy, zz, zt = _blend(
                of_joints, num_joints, joint, weight, i
            )
            x, y, z = rest[0, v], rest[1, v], rest[2, v]
            result[0, v] = xx * x + xy * y + xz * z + xt + moved[0]
            result[1, v] = yx * x + yy * y + yz * z + yt + moved[1]
            result[2, v] = zx * x + zy * y + zz * z + zt + moved[2]


@_compiled
def _skin_backward(
    shaped: Array,
    transforms: Array,
    vertex: Array,
    num_joints: Array,
    joint: Array,
    weight: Array,
    grad: Array,
    of_shaped: Array,
    of_transforms: Array,
    of_transl: Array,
    begin: int,
    end: int,
) -> None:
    """Compute the gradients of the first, second and last argument of :func:`_skin`."""
    for body in range(begin, end):
        rest, upstream, result = shaped[min(body, len(shaped) - 1)], grad[body], of_shaped[body]
        of_joints, to_joints = transforms[body], of_transforms[body]
        to_joints[:] = 0
        for i in range(len(vertex)):
            v = vertex[i]
            gx, gy, gz = upstream[0, v], upstream[1, v], upstream[2, v]
            if gx == 0 and gy == 0 and gz == 0:
                result[0, v], result[1, v], result[2, v] = 0, 0, 0
                continue
            xx, xy, xz, _, yx, yy, yz, _, zx, zy, zz, _ = _blend(
                of_joints, num_joints, joint, weight, i
            )
            result[0, v] = xx * gx + yx * gy + zx * gz
            result[1, v] = xy * gx + yy * gy + zy * gz
            result[2, v] = xz * gx + yz * gy + zz * gz
            x, y, z = rest[0, v], rest[1, v], rest[2, v]
            for n in range(num_joints[i]):
                j, w = joint[i, n], weight[i, n]
                wx, wy, wz = w * gx, w * gy, w * gz
                to_joints[j, 0] += wx * x
                to_joints[j, 1] += wx * y
                to_joints[j, 2] += wx * z
                to_joints[j, 3] += wx
                to_joints[j, 4] += wy * x
                to_joints[j, 5] += wy * y
                to_joints[j, 6] += wy * z
                to_joints[j, 7] += wy
                to_joints[j, 8] += wz * x
                to_joints[j, 9] += wz * y
                to_joints[j, 10] += wz * z
                to_joints[j, 11] += wz
        for i in range(3):
            total = 0.0
            for v in range(rest.shape[1]):
                total += upstream[i, v]
            of_transl[body, i] = total
