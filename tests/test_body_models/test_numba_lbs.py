"""Compiled posing and skinning against PyTorch's operations, values and gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from mmjrr.body_models import lbs
from mmjrr.body_models.free_body import free_body
from mmjrr.body_models.lbs import KinematicTree, skin
from mmjrr.body_models.numba_lbs import SparseWeights

MIXED = [-1, 0, 1, 1, 2, 0, 5, 3, 4]


def without_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lbs, '_import_numba_lbs', lambda: None)


def sparse_weights(vertices: int, joints: int, per_vertex: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    weights = torch.rand(vertices, joints, dtype=torch.float64, generator=generator)
    order = weights.argsort(1, descending=True)
    weights.scatter_(1, order[:, per_vertex:], 0.0)
    return (weights / weights.sum(1, keepdim=True)).T


def gradients(outputs: tuple[Tensor, ...], inputs: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(out.shape, generator=generator, dtype=out.dtype) for out in outputs]
    return [*outputs, *torch.autograd.grad(outputs, inputs, upstream)]


@pytest.mark.parametrize('parents', [[-1], [-1, 0, 1, 2], MIXED])
def test_posing_agrees_with_the_reference(
    parents: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = KinematicTree(parents)
    # Any matrices: the derivative does not rest on rotations being orthogonal.
    inputs = [
        torch.randn(4, len(parents), 3, 3, dtype=torch.float64, requires_grad=True),
        torch.randn(4, len(parents), 3, dtype=torch.float64, requires_grad=True),
    ]
    fast = gradients(tree(*inputs), inputs)
    without_loops(monkeypatch)
    for a, b in zip(fast, gradients(tree(*inputs), inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_the_gradient_of_posing_is_its_slope() -> None:
    tree = KinematicTree(MIXED)
    rotations = torch.randn(2, 9, 3, 3, dtype=torch.float64, requires_grad=True)
    joints = torch.randn(2, 9, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(tree, (rotations, joints))


@pytest.mark.parametrize('one_shape', [False, True])
@pytest.mark.parametrize(('batch', 'per_vertex'), [(1, 1), (3, 4), (2, 8)])
def test_skinning_agrees_with_the_reference(batch: int, per_vertex: int, one_shape: bool) -> None:
    weights = sparse_weights(vertices=11, joints=9, per_vertex=per_vertex)
    shapes = 1 if one_shape else batch
    inputs = [
        torch.randn(shapes, 3, 11, dtype=torch.float64, requires_grad=True),
        torch.randn(batch, 9, 3, 4, dtype=torch.float64, requires_grad=True),
        torch.randn(batch, 3, dtype=torch.float64, requires_grad=True),
    ]
    outputs = []
    for sparse in (SparseWeights.from_dense(weights), None):
        shaped, transforms, transl = inputs
        shaped = shaped.expand(batch, -1, -1)
        outputs.append(gradients((skin(shaped, transforms, weights, transl, sparse),), inputs))
    for a, b in zip(*outputs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_the_gradient_of_skinning_is_its_slope() -> None:
    weights = sparse_weights(vertices=5, joints=4, per_vertex=2)
    sparse = SparseWeights.from_dense(weights)
    inputs = (
        torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True),
        torch.randn(2, 4, 3, 4, dtype=torch.float64, requires_grad=True),
        torch.randn(2, 3, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(lambda s, t, p: skin(s, t, weights, p, sparse), inputs)


def test_vertices_that_nothing_reads_have_no_gradient_and_change_none() -> None:
    weights = sparse_weights(vertices=11, joints=9, per_vertex=3)
    shaped = torch.randn(2, 3, 11, dtype=torch.float64, requires_grad=True)
    transforms = torch.randn(2, 9, 3, 4, dtype=torch.float64, requires_grad=True)
    transl = torch.zeros(2, 3, dtype=torch.float64)
    outputs = []
    for sparse in (SparseWeights.from_dense(weights), None):
        moved = skin(shaped, transforms, weights, transl, sparse)[:, :, [2, 7]]
        outputs.append(torch.autograd.grad(moved.square().sum(), [shaped, transforms]))
    for a, b in zip(*outputs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert not outputs[0][0][:, :, [0, 1, 3, 4, 5, 6, 8, 9, 10]].any()


@pytest.mark.parametrize('value', [float('inf'), float('nan')])
def test_a_gradient_that_is_not_finite_reaches_what_moves_the_vertex_and_nothing_else(
    value: float,
) -> None:
    weights = sparse_weights(vertices=11, joints=9, per_vertex=3)
    shaped = torch.randn(2, 3, 11, dtype=torch.float64, requires_grad=True)
    transforms = torch.randn(2, 9, 3, 4, dtype=torch.float64, requires_grad=True)
    moved = skin(
        shaped, transforms, weights, shaped.new_zeros(2, 3), SparseWeights.from_dense(weights)
    )
    upstream = torch.ones_like(moved)
    upstream[1, 0, 4] = value
    of_shaped, of_transforms = torch.autograd.grad(moved, [shaped, transforms], upstream)
    assert (~of_shaped.isfinite()).nonzero().tolist() == [[1, axis, 4] for axis in range(3)]
    joints = (~of_transforms.isfinite()).flatten(2).any(2)
    assert torch.equal(joints, torch.stack([torch.zeros(9, dtype=torch.bool), weights[:, 4] != 0]))


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('how', ['whole', 'restricted', 'copied'])
def test_a_body_agrees_with_itself_without_loops(
    how: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = free_body().to(dtype)
    inputs = [
        (0.3 * torch.randn(3, width, dtype=dtype)).requires_grad_() for width in (10, 69, 3, 3)
    ]
    body(*inputs)  # finds the sparse weights, which must not survive a change of the body
    if how == 'restricted':
        body = body.restrict_to([5, 3000, 17, 6889])
    elif how == 'copied':
        body = copy.deepcopy(body)
    fast = gradients((body(*inputs).vertices, body(*inputs).joints), inputs)
    without_loops(monkeypatch)
    slow = gradients((body(*inputs).vertices, body(*inputs).joints), inputs)
    for a, b in zip(fast, slow, strict=True):
        tolerance = 1e-12 if dtype == torch.float64 else 2e-5
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))


def test_a_body_that_changes_its_type_forgets_its_sparse_weights() -> None:
    body = free_body()
    pose = torch.zeros(1, 69, requires_grad=True)
    body(body_pose=pose)
    assert body.double()(body_pose=pose.double()).vertices.dtype == torch.float64


def test_without_gradients_the_loops_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lbs, '_import_numba_lbs', lambda: pytest.fail('imported'))
    free_body()(body_pose=torch.zeros(1, 69))
    with torch.no_grad():
        free_body()(body_pose=torch.zeros(1, 69, requires_grad=True))
