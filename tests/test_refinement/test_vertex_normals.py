"""Normals of vertices: the compiled loops and the sums of PyTorch against a slow reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmjrr.body_models import free_body
from mmjrr.geometry.surface import vertex_normals
from mmjrr.refinement.vertex_normals import VertexNormals

CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def bodies() -> tuple[torch.Tensor, np.ndarray]:
    """Vertices (3, 3, V) of three bodies in float64, and faces."""
    body = free_body()
    generator = torch.Generator().manual_seed(0)
    pose = 0.3 * torch.randn(3, 72, generator=generator)
    vertices = body(torch.randn(3, 10, generator=generator), pose[:, 3:], pose[:, :3]).vertices
    return vertices.detach().double().transpose(1, 2).contiguous(), body.faces


@pytest.mark.parametrize('way', ['__call__', 'summed'])
def test_normals_are_those_of_a_slow_reference(
    bodies: tuple[torch.Tensor, np.ndarray], way: str
) -> None:
    planes, faces = bodies
    found = getattr(VertexNormals(faces, planes.shape[2], CPU), way)(planes)
    for body, normals in zip(planes.numpy(), found.numpy(), strict=True):
        expected = vertex_normals(body.T, faces).T
        np.testing.assert_allclose(normals, expected, atol=1e-12)


@pytest.mark.parametrize('way', ['__call__', 'summed'])
def test_a_bodys_digits_do_not_depend_on_the_batch(
    bodies: tuple[torch.Tensor, np.ndarray], way: str
) -> None:
    planes, faces = bodies
    compute = getattr(VertexNormals(faces, planes.shape[2], CPU), way)
    together = compute(planes.float())
    for row in range(len(planes)):
        assert torch.equal(compute(planes[row : row + 1].float())[0], together[row])


@pytest.mark.parametrize('way', ['__call__', 'summed'])
def test_a_vertex_without_an_area_has_no_normal(way: str) -> None:
    planes = torch.tensor([[[0.0, 1, 0, 5, 2], [0, 0, 1, 5, 2], [0, 0, 0, 5, 2]]])
    faces = np.array([[0, 1, 2], [4, 4, 3]])
    found = getattr(VertexNormals(faces, 5, CPU), way)(planes)[0].T
    assert found.tolist() == [[0, 0, 1]] * 3 + [[0, 0, 0]] * 2


def test_normals_without_numba_are_summed(
    bodies: tuple[torch.Tensor, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    planes, faces = bodies
    monkeypatch.setattr('mmjrr.refinement.vertex_normals._import_loops', lambda: None)
    normals = VertexNormals(faces, planes.shape[2], CPU)
    assert torch.equal(normals(planes), normals.summed(planes))


def test_normals_count_as_constant(bodies: tuple[torch.Tensor, np.ndarray]) -> None:
    planes, faces = bodies
    assert not VertexNormals(faces, planes.shape[2], CPU)(planes.requires_grad_()).requires_grad


def test_normals_of_a_sphere_point_outwards() -> None:
    trimesh = pytest.importorskip('trimesh')
    sphere = trimesh.creation.icosphere(3)
    planes = torch.from_numpy(np.asarray(sphere.vertices).T.copy()).float()[None]
    normals = VertexNormals(np.asarray(sphere.faces), planes.shape[2], CPU)(planes)
    torch.testing.assert_close(normals, planes, atol=0.02, rtol=0)
