"""Comparison of silhouettes with masks: the compiled loops against drawing and comparing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mmjrr.geometry import PerspectiveCamera
from mmjrr.rendering import ContourSilhouette

from .test_contour.scenes import MESHES, posed, small_camera

LENS = torch.tensor([[-0.2, 0.25, -0.1, 0.003, -0.004]], dtype=torch.float64)


def camera_of(vertices: Tensor, kind: str) -> PerspectiveCamera:
    camera = small_camera()
    lens = None if kind == 'pinhole' else LENS
    model = 'opencv' if kind == 'opencv' else 'h36m'
    return PerspectiveCamera(camera.focal_length, camera.principal_point, lens, model)


def compared(
    compiled: bool, name: str, kind: str, levels: tuple[int, ...], weighted: bool, k: int = 2
) -> list[Tensor]:
    """Return values, and gradients of vertices, focal lengths and principal points."""
    vertices, faces, _ = MESHES[name]
    bodies = torch.cat([posed(vertices, seed) for seed in range(3)])
    generator = torch.Generator().manual_seed(2)
    mask = torch.rand(3, 10, 12, generator=generator, dtype=torch.float64)
    weight = torch.rand(3, 10, 12, generator=generator, dtype=torch.float64) if weighted else None
    bodies.requires_grad_()
    camera = camera_of(bodies, kind)
    focal = (camera.focal_length * torch.tensor([[1.0], [1.1], [0.9]])).requires_grad_()
    center = camera.principal_point.clone().requires_grad_()
    camera = PerspectiveCamera(focal, center, camera.distortion, camera.distortion_model)
    renderer = ContourSilhouette(faces, (10, 12), supersampling=k, compiled=compiled)
    value = renderer.compare(bodies, camera, mask, levels, weight)
    upstream = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    return [value.detach(), *torch.autograd.grad(value, [bodies, focal, center], upstream)]


@pytest.mark.parametrize('kind', ['pinhole', 'h36m', 'opencv'])
@pytest.mark.parametrize('name', ['torus', 'open_hemisphere', 'three_pages'])
def test_the_compiled_loops_compare_as_drawing_does(name: str, kind: str) -> None:
    comparison = compared(True, name, kind, (1, 4), weighted=False)
    expected = compared(False, name, kind, (1, 4), weighted=False)
    for a, b in zip(comparison, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert all(float(value.abs().max()) > 1e-3 for value in comparison)


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize(
    ('levels', 'k'), [((1,), 1), ((4,), 2), ((3, 1, 5), 3), ((1, 1, 10), 2), ((2, 7), 2)]
)
def test_levels_and_weights_of_the_compiled_loops(
    levels: tuple[int, ...], k: int, weighted: bool
) -> None:
    comparison = compared(True, 'torus', 'h36m', levels, weighted, k)
    expected = compared(False, 'torus', 'h36m', levels, weighted, k)
    for a, b in zip(comparison, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_edges_of_more_pieces_than_expected_are_drawn_whole() -> None:
    vertices, faces, _ = MESHES['torus']
    side, k = 640, 4  # 11,000 pieces
    scale = torch.tensor([side / 10, side / 12], dtype=torch.float64)
    small = small_camera()
    camera = PerspectiveCamera(small.focal_length * scale, small.principal_point * scale)
    mask = torch.rand(1, side, side, generator=torch.Generator().manual_seed(0)).double()
    energies = []
    for compiled in (True, False):
        bodies = posed(vertices, 1).requires_grad_()
        renderer = ContourSilhouette(faces, (side, side), supersampling=k, compiled=compiled)
        value = renderer.compare(bodies, camera, mask, (1, 4))
        energies.append([value.detach(), *torch.autograd.grad(value, bodies)])
    for a, b in zip(*energies, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_buffers_that_grow_serve_the_images_before_and_after() -> None:
    """The second of three images has more pieces than there is space for at first."""
    vertices, faces, _ = MESHES['torus']
    side, k = 640, 4
    scale = torch.tensor([side / 10, side / 12], dtype=torch.float64)
    small = small_camera()
    camera = PerspectiveCamera(small.focal_length * scale, small.principal_point * scale)
    shifts = (0.0, 0.0, 40.0), (0.0, 0.0, 0.0), (0.0, 0.0, 30.0)
    placed = torch.cat([posed(vertices, 1) + torch.tensor(shift) for shift in shifts])
    upstream = torch.rand(3, side, side, generator=torch.Generator().manual_seed(0)).double()
    energies = []
    for compiled in (True, False):
        bodies = placed.clone().requires_grad_()
        renderer = ContourSilhouette(faces, (side, side), supersampling=k, compiled=compiled)
        coverage = renderer(bodies, camera)
        energies.append([coverage.detach(), *torch.autograd.grad(coverage, bodies, upstream)])
    for a, b in zip(*energies, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_arrays_that_are_not_contiguous_are_compared_as_their_copies(dtype: torch.dtype) -> None:
    vertices, faces, _ = MESHES['torus']
    renderer, camera = ContourSilhouette(faces, (10, 12)), small_camera().to(dtype)
    bodies = posed(vertices, 0).to(dtype).transpose(1, 2).contiguous().transpose(1, 2)
    bodies = bodies.expand(2, -1, -1)
    mask, weight = torch.rand(2, 2, 12, 10, generator=torch.Generator().manual_seed(0)).to(dtype)
    mask, weight = mask.transpose(1, 2), weight.transpose(1, 2)
    energies = []
    for copied in (False, True):
        images = (mask.contiguous(), weight.contiguous()) if copied else (mask, weight)
        leaf = (bodies.contiguous() if copied else bodies).detach().requires_grad_()
        value = renderer.compare(leaf, camera, images[0], (1, 4), images[1])
        energies.append([value.detach(), *torch.autograd.grad(value.sum(), leaf)])
    assert all(torch.equal(a, b) for a, b in zip(*energies, strict=True))


def test_the_gradient_is_the_slope_of_the_value() -> None:
    vertices, faces, _ = MESHES['octahedron']
    bodies = posed(vertices, 1).requires_grad_()
    renderer = ContourSilhouette(faces, (10, 12))
    mask = torch.rand(1, 10, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    camera = camera_of(bodies, 'h36m')
    assert torch.autograd.gradcheck(
        lambda v: renderer.compare(v, camera, mask, (1, 2)), (bodies,), eps=1e-7, atol=1e-5
    )


@pytest.mark.parametrize('compiled', [False, True])
def test_what_cannot_be_drawn_is_refused(compiled: bool) -> None:
    vertices, faces, _ = MESHES['torus']
    renderer = ContourSilhouette(faces, (10, 12), compiled=compiled)
    camera, mask = small_camera(), torch.zeros(1, 10, 12, dtype=torch.float64)
    bodies = posed(vertices, 0)
    for place, message in ((-5.0, 'behind the camera'), (np.nan, 'no finite depth')):
        moved = bodies.clone()
        moved[0, 1, 2] = place
        with pytest.raises(ValueError, match=message):
            renderer.compare(moved, camera, mask, (1,))
    moved = bodies.clone()
    moved[0, 1, 0] = np.inf
    with pytest.raises(ValueError, match='not finite'):
        renderer.compare(moved, camera, mask, (1,))


def test_a_mask_of_another_size_is_refused_before_loops_read_it() -> None:
    vertices, faces, _ = MESHES['torus']
    renderer = ContourSilhouette(faces, (10, 12))
    for shape in ((1, 10, 11), (2, 10, 12), (10, 12)):
        with pytest.raises(ValueError, match=r'mask: found shape .*, expected \(1, 10, 12\)'):
            renderer.compare(posed(vertices, 0), small_camera(), torch.zeros(shape), (1,))


@pytest.mark.parametrize('count', [0, 2])
def test_bodies_outside_the_image_have_the_value_of_an_empty_one(count: int) -> None:
    vertices, faces, _ = MESHES['torus']
    bodies = posed(vertices, 0, (50.0, 0.0, 5.0)).expand(count, -1, -1).clone().requires_grad_()
    mask = torch.full((count, 10, 12), 0.5, dtype=torch.float64)
    value = ContourSilhouette(faces, (10, 12)).compare(bodies, small_camera(), mask, (1, 2))
    assert value.tolist() == [0.5] * count  # 0.25 at each level
    assert not torch.autograd.grad(value.sum(), bodies)[0].any()
