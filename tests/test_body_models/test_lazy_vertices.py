"""Lazy vertices against those of the body, and their products against plain sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_body import NUM_VERTICES, small_body
from torch import Tensor

from mmjrr.body_models import SMPL, LazyVertices, VertexMaker
from mmjrr.geometry import axis_angle_to_matrix, matrix_to_rotation_6d

DEVICES = [
    'cpu',
    pytest.param(
        'cuda', marks=pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
    ),
]


@pytest.fixture(params=[True, False], ids=['pose blend shapes', 'shapes alone'])
def body(request: pytest.FixtureRequest, tmp_path: Path) -> SMPL:
    arrays = small_body()
    if not request.param:
        arrays['posedirs'] *= 0
    np.savez(tmp_path / 'SMPL_NEUTRAL.npz', **arrays)
    return SMPL(tmp_path / 'SMPL_NEUTRAL.npz', dtype=torch.float64)


def parameters(frames: int = 3) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(5)
    shapes = dict(betas=(10,), body_pose=(23, 3), global_orient=(3,), transl=(3,))
    return {
        name: 0.5 * torch.randn(frames, *shape, generator=draw, dtype=torch.float64)
        for name, shape in shapes.items()
    }


def plain_products(vectors: Tensor, vertices: Tensor) -> Tensor:
    """``sum_n vectors[n, j] . vertices[n, v]`` frame by frame, joint by joint."""
    total = vertices.new_zeros(vectors.shape[1], vertices.shape[1])
    for frame, points in zip(vectors, vertices, strict=True):
        for j, vector in enumerate(frame):
            total[j] += (points * vector).sum(1)
    return total


def without_transl(arguments: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in arguments.items() if name != 'transl'}


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize(('frames', 'joints'), [(1, 1), (3, 17), (40, 4)])
def test_products_agree_with_those_of_the_vertices(
    body: SMPL, frames: int, joints: int, device: str
) -> None:
    body = body.to(device)
    arguments = {name: value.to(device) for name, value in parameters(frames).items()}
    vectors = torch.randn(frames, joints, 3, dtype=torch.float64, device=device)
    maker = VertexMaker(body)
    lazy = maker(**arguments)
    expected = plain_products(vectors, body(**without_transl(arguments)).vertices)
    products = maker.products_of(lazy.moments(vectors))
    torch.testing.assert_close(products, expected, rtol=0, atol=1e-11)
    # The omitted translation adds the same product to all vertices of a frame.
    omitted = plain_products(vectors, body(**arguments).vertices) - products
    torch.testing.assert_close(omitted, omitted[:, :1].expand_as(omitted), rtol=0, atol=1e-11)
    assert omitted.abs().max() > 1e-3


def test_moments_of_parts_add_up(body: SMPL) -> None:
    vectors = torch.randn(10, 5, 3, dtype=torch.float64)
    maker = VertexMaker(body)
    lazy = maker(**parameters(10))
    total = lazy[:4].moments(vectors[:4]) + lazy[4:].moments(vectors[4:])
    torch.testing.assert_close(total, lazy.moments(vectors), rtol=1e-12, atol=1e-12)


def test_selected_vertices_are_those_of_the_body(body: SMPL) -> None:
    arguments = parameters(5)
    maker = VertexMaker(body)
    lazy = maker(**arguments)
    vertices = body(**arguments).vertices
    assert lazy.shape == (5, NUM_VERTICES, 3) and len(lazy) == 5
    torch.testing.assert_close(lazy.of(), vertices, rtol=0, atol=1e-13)
    for ids in ([3, 41, 7], [0], [7, 41, 3]):
        points = lazy.of(torch.tensor(ids))
        torch.testing.assert_close(points, vertices[:, ids], rtol=0, atol=1e-13)
    some = lazy[torch.tensor([4, 1])]
    torch.testing.assert_close(some.of(), vertices[[4, 1]], rtol=0, atol=1e-13)
    again = LazyVertices.cat([lazy[1:], lazy[:1]])
    torch.testing.assert_close(again.of(), vertices[[1, 2, 3, 4, 0]], rtol=0, atol=1e-13)


def test_vertices_are_float64_for_any_body(body: SMPL) -> None:
    arguments = parameters()
    exact = body(**arguments).vertices
    single = body.float()
    maker = VertexMaker(single)
    vertices = maker(**{name: value.numpy() for name, value in arguments.items()}).of()
    assert vertices.dtype == torch.float64 and not vertices.requires_grad
    assert single.v_template.dtype == torch.float32  # the maker has a copy
    torch.testing.assert_close(vertices, exact, rtol=0, atol=1e-6)  # the file was read as float32


def test_all_representations_of_rotations_are_accepted(body: SMPL) -> None:
    arguments = parameters()
    expected = body(**arguments).vertices
    maker = VertexMaker(body)
    matrices = {
        name: axis_angle_to_matrix(arguments[name]) for name in ('global_orient', 'body_pose')
    }
    rotations_6d = {name: matrix_to_rotation_6d(value) for name, value in matrices.items()}
    lazy = [maker(**{**arguments, **change}) for change in ({}, matrices, rotations_6d)]
    for vertices in lazy:
        torch.testing.assert_close(vertices.of(), expected, rtol=0, atol=1e-12)
    assert lazy[0].is_compatible_with(lazy[0][:1]) and not lazy[0].is_compatible_with(lazy[1])
    assert not lazy[0].is_compatible_with(VertexMaker(body)(**arguments))


def test_bad_parameters_are_named(body: SMPL) -> None:
    maker = VertexMaker(body)
    arguments = parameters()
    with pytest.raises(ValueError, match=r"batch sizes: found .*'betas': 2"):
        maker(**{**arguments, 'betas': arguments['betas'][:2]})
    with pytest.raises(ValueError, match='batch sizes'):
        maker()
    arguments['body_pose'][1, 2, 0] = torch.nan
    with pytest.raises(ValueError, match='body_pose: found NaN or infinity'):
        maker(**arguments).check_finite()
