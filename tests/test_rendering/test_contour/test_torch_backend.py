"""Drawing with preallocated buffers, without making the host wait for the device."""

from __future__ import annotations

import copy

import pytest
import torch

from mmjrr.geometry import PerspectiveCamera
from mmjrr.rendering import ContourSilhouette
from mmjrr.rendering.silhouette_renderer import DeferredChecks

from .scenes import MESHES, drawn, posed, small_camera


@pytest.mark.parametrize('shift', [(0.0, 0.0, 5.0), (-1.3, 0.4, 4.0)])
@pytest.mark.parametrize('supersampling', [1, 2, 3])
@pytest.mark.parametrize('name', MESHES)
def test_without_host_sync_values_and_gradients_are_the_same(name, supersampling, shift):
    vertices, faces, _ = MESHES[name]
    camera = small_camera()
    renderer = ContourSilhouette(faces, (10, 12), supersampling=supersampling, compiled=False)
    # Buffers are sized for some bodies; others, and fewer of them, are drawn.
    sized_for, shown = (
        torch.cat([posed(vertices, seed + start, shift) for seed in range(3)]) for start in (0, 7)
    )
    with renderer.without_host_sync(sized_for, camera) as all_valid:
        drawings = [drawn(renderer, bodies, camera) for bodies in (shown, shown[:1])]
    assert all_valid()
    for (alpha, grad), bodies in zip(drawings, (shown, shown[:1]), strict=True):
        expected, expected_grad = drawn(renderer, bodies, camera)
        torch.testing.assert_close(alpha, expected, rtol=0, atol=1e-13)
        torch.testing.assert_close(grad, expected_grad, rtol=0, atol=1e-12)


def test_without_host_sync_a_capacity_that_is_too_small_is_reported_afterwards(monkeypatch):
    monkeypatch.setattr('mmjrr.rendering.contour.torch_backend._CAPACITY_FACTOR', 0.0)
    monkeypatch.setattr('mmjrr.rendering.contour.torch_backend._EXTRA_CAPACITY', 4)
    vertices, faces, _ = MESHES['torus']
    renderer, bodies = ContourSilhouette(faces, (10, 12), compiled=False), posed(vertices, 0)
    with renderer.without_host_sync(bodies, small_camera()) as all_valid:
        assert renderer(bodies, small_camera()).shape == (1, 10, 12)
    assert not all_valid()


@pytest.mark.parametrize(
    'wrong', [float('nan'), float('inf'), -float('inf'), 1e30], ids=['nan', 'inf', '-inf', 'far']
)
@pytest.mark.parametrize('axis', [0, 2])
def test_without_host_sync_invalid_coordinates_are_reported_afterwards(wrong, axis):
    vertices, faces, _ = MESHES['octahedron']
    renderer, bodies = ContourSilhouette(faces, (10, 12), compiled=False), posed(vertices, 0)
    broken = bodies.clone()
    broken[0, 0, axis] = wrong
    if axis == 2 and wrong > 0:
        broken[0, 0, axis] = -wrong  # far away is valid, behind the camera is not
    with renderer.without_host_sync(bodies, small_camera()) as all_valid:
        alpha, _ = drawn(renderer, broken, small_camera())
    assert not all_valid() and torch.isfinite(alpha).all()
    with renderer.without_host_sync(bodies, small_camera()) as all_valid:
        renderer(bodies, small_camera())
    assert all_valid()


def test_without_host_sync_an_empty_batch_and_a_camera_with_gradient_are_drawn():
    vertices, faces, _ = MESHES['octahedron']
    renderer, bodies = ContourSilhouette(faces, (10, 12), compiled=False), posed(vertices, 0)
    with renderer.without_host_sync(bodies[:0], small_camera()) as all_valid:
        assert renderer(bodies[:0], small_camera()).shape == (0, 10, 12)
    assert all_valid()
    focal_length = torch.tensor([[19.0, 20.0]], dtype=torch.float64, requires_grad=True)
    camera = PerspectiveCamera(focal_length, small_camera().principal_point)
    expected = torch.autograd.grad(renderer(bodies, camera).sum(), focal_length)[0]
    with renderer.without_host_sync(bodies, camera) as all_valid:
        gradient = torch.autograd.grad(renderer(bodies, camera).sum(), focal_length)[0]
    assert all_valid()
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


def test_after_an_error_without_host_sync_values_are_checked_again():
    vertices, faces, _ = MESHES['octahedron']
    renderer, bodies = ContourSilhouette(faces, (10, 12), compiled=False), posed(vertices, 0)
    with pytest.raises(KeyboardInterrupt), renderer.without_host_sync(bodies, small_camera()):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match='behind the camera'):
        renderer(-bodies, small_camera())


def test_without_host_sync_no_value_is_read():
    """Tensors on the device 'meta' have no values; reading one raises."""
    vertices, faces, _ = MESHES['torus']
    renderer, bodies = ContourSilhouette(faces, (10, 12), compiled=False), posed(vertices, 0)
    camera = small_camera()
    with renderer.without_host_sync(bodies, camera):
        meta_renderer, meta_camera = copy.deepcopy(renderer).to('meta'), copy.copy(camera)
    meta_renderer._deferred = DeferredChecks('meta')
    for name in ('focal_length', 'principal_point'):
        setattr(meta_camera, name, getattr(camera, name).to('meta'))
    meta_bodies = bodies.to('meta').requires_grad_()
    alpha = meta_renderer(meta_bodies, meta_camera)
    assert torch.autograd.grad(alpha.sum(), meta_bodies)[0].shape == bodies.shape
    meta_renderer._capacity = meta_renderer._deferred = None
    with pytest.raises((RuntimeError, NotImplementedError)):
        meta_renderer(meta_bodies, meta_camera)
