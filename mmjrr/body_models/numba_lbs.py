"""Linear blend skinning on a CPU: loops over bodies, compiled by Numba, with their derivatives.

:mod:`mmjrr.body_models.lbs` describes the method and has the PyTorch implementation that serves as
reference. A vertex depends on a few joints only, so the loops visit its nonzero weights. The
derivative visits only vertices whose gradient is not zero: those near the contour and those of the
regressor. Importing this module imports Numba.
"""

from __future__ import annotations

from functools import partial
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
_vectorized = partial(LOOPS.compiled, reorder_sums=True)


class SparseWeights(NamedTuple):
    """Nonzero skinning weights, with vertices grouped by the joints that move them.

    The vertices of a group have the same joints, so that loops over them compute several at once.
    """

    vertex: Array  # (V,) uint32, vertices in the order of their groups
    starts: Array  # (G + 1,) uint32, where each group begins in that order, and V
    num_joints: Array  # (G,) uint32
    joint: Array  # (G, N) uint32: unsigned indices need no test for negative ones
    weight: Array  # (N, V), of the body's type, in the order of the groups

    @classmethod
    def from_dense(cls, weights: Tensor) -> SparseWeights:  # (J, V)
        """Convert a matrix of weights."""
        dense = weights.detach().cpu().numpy()
        sets, group = np.unique(dense != 0, axis=1, return_inverse=True)  # (J, G), (V,)
        group = group.reshape(-1)  # of another shape in some versions of NumPy
        vertex = np.argsort(group, kind='stable')
        joint = np.argsort(~sets, 0, kind='stable')[: max(sets.sum(0).max(initial=0), 1)]  # (N, G)
        weight = dense[joint[:, group[vertex]], vertex]
        return cls(
            vertex.astype(np.uint32),
            np.concatenate([[0], np.cumsum(np.bincount(group))]).astype(np.uint32),
            sets.sum(0).astype(np.uint32),
            np.ascontiguousarray(joint.T, np.uint32),
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


@_vectorized
def _skin(
    shaped: Array,
    transforms: Array,
    vertex: Array,
    starts: Array,
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
    rest, moved = np.empty((3, len(vertex)), shaped.dtype), np.empty((3, len(vertex)), shaped.dtype)
    for body in range(begin, end):
        from_shape, to_vertices = shaped[min(body, len(shaped) - 1)], vertices[body]
        for i in range(len(vertex)):
            v = vertex[i]
            rest[0, i], rest[1, i], rest[2, i] = (
                from_shape[0, v],
                from_shape[1, v],
                from_shape[2, v],
            )
        for axis in range(3):
            moved[axis] = transl[body, axis]
        for group in range(len(num_joints)):
            for n in range(num_joints[group]):
                j = joint[group, n]
                xx, xy, xz = transforms[body, j, 0], transforms[body, j, 1], transforms[body, j, 2]
                yx, yy, yz = transforms[body, j, 4], transforms[body, j, 5], transforms[body, j, 6]
                zx, zy, zz = transforms[body, j, 8], transforms[body, j, 9], transforms[body, j, 10]
                xt, yt, zt = transforms[body, j, 3], transforms[body, j, 7], transforms[body, j, 11]
                for i in range(starts[group], starts[group + 1]):
                    x, y, z, w = rest[0, i], rest[1, i], rest[2, i], weight[n, i]
                    moved[0, i] += w * (xx * x + xy * y + xz * z + xt)
                    moved[1, i] += w * (yx * x + yy * y + yz * z + yt)
                    moved[2, i] += w * (zx * x + zy * y + zz * z + zt)
        for i in range(len(vertex)):
            v = vertex[i]
            to_vertices[0, v], to_vertices[1, v], to_vertices[2, v] = (
                moved[0, i], moved[1, i], moved[2, i],
            )  # fmt: skip


@_vectorized
def _skin_backward(
    shaped: Array,
    transforms: Array,
    vertex: Array,
    starts: Array,
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
    count = len(vertex)
    listed = np.empty(count, np.uint32)  # vertices with a gradient, in the order of the groups
    rest, upstream = np.empty((3, count), shaped.dtype), np.empty((3, count), shaped.dtype)
    result = np.empty((3, count), shaped.dtype)
    for body in range(begin, end):
        from_shape, from_vertices = shaped[min(body, len(shaped) - 1)], grad[body]
        of_transforms[body], of_shaped[body], of_transl[body] = 0, 0, 0
        to_shape = of_shaped[body]
        for group in range(len(num_joints)):
            length = 0
            for i in range(starts[group], starts[group + 1]):
                v = vertex[i]
                gx, gy, gz = from_vertices[0, v], from_vertices[1, v], from_vertices[2, v]
                listed[length] = i  # overwritten unless the length grows
                upstream[0, length], upstream[1, length], upstream[2, length] = gx, gy, gz
                length += (gx != 0) | (gy != 0) | (gz != 0)
            if length == 0:
                continue
            for m in range(length):
                v = vertex[listed[m]]
                rest[0, m], rest[1, m], rest[2, m] = (
                    from_shape[0, v],
                    from_shape[1, v],
                    from_shape[2, v],
                )
            result[:, :length] = 0
            for n in range(num_joints[group]):
                j = joint[group, n]
                xx, xy, xz = transforms[body, j, 0], transforms[body, j, 1], transforms[body, j, 2]
                yx, yy, yz = transforms[body, j, 4], transforms[body, j, 5], transforms[body, j, 6]
                zx, zy, zz = transforms[body, j, 8], transforms[body, j, 9], transforms[body, j, 10]
                of_xx = of_xy = of_xz = of_xt = shaped.dtype.type(0)
                of_yx = of_yy = of_yz = of_yt = shaped.dtype.type(0)
                of_zx = of_zy = of_zz = of_zt = shaped.dtype.type(0)
                for m in range(length):
                    w = weight[n, listed[m]]
                    x, y, z = rest[0, m], rest[1, m], rest[2, m]
                    gx, gy, gz = w * upstream[0, m], w * upstream[1, m], w * upstream[2, m]
                    result[0, m] += xx * gx + yx * gy + zx * gz
                    result[1, m] += xy * gx + yy * gy + zy * gz
                    result[2, m] += xz * gx + yz * gy + zz * gz
                    of_xx += gx * x
                    of_xy += gx * y
                    of_xz += gx * z
                    of_xt += gx
                    of_yx += gy * x
                    of_yy += gy * y
                    of_yz += gy * z
                    of_yt += gy
                    of_zx += gz * x
                    of_zy += gz * y
                    of_zz += gz * z
                    of_zt += gz
                to_joint = of_transforms[body, j]
                to_joint[0] += of_xx
                to_joint[1] += of_xy
                to_joint[2] += of_xz
                to_joint[3] += of_xt
                to_joint[4] += of_yx
                to_joint[5] += of_yy
                to_joint[6] += of_yz
                to_joint[7] += of_yt
                to_joint[8] += of_zx
                to_joint[9] += of_zy
                to_joint[10] += of_zz
                to_joint[11] += of_zt
            for m in range(length):
                v = vertex[listed[m]]
                to_shape[0, v], to_shape[1, v], to_shape[2, v] = (
                    result[0, m],
                    result[1, m],
                    result[2, m],
                )
                for axis in range(3):
                    of_transl[body, axis] += upstream[axis, m]
