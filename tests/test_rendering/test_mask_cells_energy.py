"""Comparison of silhouettes with the cells of a mask head, against a slow reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmjrr.geometry import PerspectiveCamera
from mmjrr.rendering import ContourSilhouette
from mmjrr.rendering.mask_cells_energy import mask_cells_energy, normal_weights
from mmjrr.rendering.silhouette_energy import silhouette_energy

from .test_contour.scenes import MESHES, posed, small_camera
from .test_silhouette_energy import camera_of

BOXES = torch.tensor(
    [[2.3, 1.2, 9.9, 8.1], [-3.0, 2.0, 9.0, 14.5], [4.0, 3.0, 5.0, 4.5]], dtype=torch.float64
)


def slow_mask_cells(
    silhouette: Tensor, cells: Tensor, box: Tensor, weight: Tensor, blur: float = 0.0
) -> Tensor:
    """Loop over cells and pixels, whose overlaps are products of intervals."""
    height, width = silhouette.shape[1:]
    values = []
    for s, m, (x0, y0, x1, y1), w in zip(silhouette, cells, box.tolist(), weight, strict=True):
        n = len(m)
        tall, wide = (y1 - y0) / n, (x1 - x0) / n
        covered = torch.zeros(height, width, dtype=s.dtype)
        means, weights = [], []
        for i in range(n):
            for j in range(n):
                mean, mean_weight = s.new_zeros(()), s.new_zeros(())
                for r in range(height):
                    for c in range(width):
                        high = min(y0 + (i + 1) * tall, r + 1) - max(y0 + i * tall, r)
                        broad = min(x0 + (j + 1) * wide, c + 1) - max(x0 + j * wide, c)
                        overlap = max(high, 0) * max(broad, 0)
                        if overlap == 0:
                            continue
                        covered[r, c] += overlap
                        mean = mean + s[r, c] * overlap / (tall * wide)
                        mean_weight = mean_weight + w[r, c] * overlap / (tall * wide)
                means.append(mean)
                weights.append(mean_weight)
        blurred = torch.stack(means).reshape(n, n)
        if blur:
            spread = normal_weights(blur, n, s.device, s.dtype)
            blurred = spread @ blurred @ spread.T
        in_cells = torch.stack(weights).reshape(n, n) * (blurred - m) ** 2
        values.append(tall * wide * in_cells.sum() + ((1 - covered) * w * s**2).sum())
    return torch.stack(values) / (height * width)


def compared(
    way: str, name: str, count: int = 4, weighted: bool = True, blur: float = 0.0, k: int = 2
) -> list[Tensor]:
    """Return values, and gradients of vertices, focal lengths and principal points, of 3 bodies."""
    vertices, faces, _ = MESHES[name]
    bodies = torch.cat([posed(vertices, seed) for seed in range(3)]).requires_grad_()
    generator = torch.Generator().manual_seed(2)
    cells = torch.rand(3, count, count, generator=generator, dtype=torch.float64)
    weight = torch.rand(3, 10, 12, generator=generator, dtype=torch.float64) if weighted else None
    camera = camera_of(bodies, 'h36m')
    focal = (camera.focal_length * torch.tensor([[1.0], [1.1], [0.9]])).requires_grad_()
    center = camera.principal_point.clone().requires_grad_()
    camera = PerspectiveCamera(focal, center, camera.distortion, camera.distortion_model)
    renderer = ContourSilhouette(faces, (10, 12), supersampling=k, compiled=way == 'loops')
    if way == 'slow':
        ones = torch.ones(3, 10, 12, dtype=torch.float64)
        drawn = renderer(bodies, camera)
        value = slow_mask_cells(drawn, cells, BOXES, ones if weight is None else weight, blur)
    else:
        value = renderer.compare_in_cells(bodies, camera, cells, BOXES, weight, blur)
    upstream = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    return [value.detach(), *torch.autograd.grad(value, [bodies, focal, center], upstream)]


@pytest.mark.parametrize('way', ['loops', 'operations'])
@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('torus', {}),
        ('torus', dict(weighted=False, k=1)),
        ('open_hemisphere', dict(count=3, blur=0.7)),
        ('three_pages', dict(count=1)),
        ('torus', dict(count=13, weighted=False, k=3)),
    ],
)
def test_silhouettes_in_cells_agree_with_a_slow_reference(
    name: str, options: dict, way: str
) -> None:
    comparison, expected = (compared(each, name, **options) for each in (way, 'slow'))
    for a, b in zip(comparison, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert all(float(value.abs().max()) > 1e-3 for value in expected)


def test_the_gradient_is_the_slope_of_the_value() -> None:
    generator = torch.Generator().manual_seed(0)
    cells = torch.rand(3, 3, 3, dtype=torch.float64, generator=generator)
    weight = (torch.rand(3, 10, 12, generator=generator) < 0.7).double()
    silhouette = torch.rand(3, 10, 12, dtype=torch.float64, generator=generator).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: mask_cells_energy(s, cells, BOXES, weight), (silhouette,)
    )
    vertices, faces, _ = MESHES['octahedron']
    renderer = ContourSilhouette(faces, (10, 12))
    assert torch.autograd.gradcheck(
        lambda v: renderer.compare_in_cells(
            v, small_camera(), cells[:1], BOXES[:1], weight[:1], 0.5
        ),
        (posed(vertices, 1).requires_grad_(),),
        eps=1e-7,
        atol=1e-5,
    )


def test_cells_that_are_pixels_give_the_energy_of_pixels() -> None:
    silhouette, mask = torch.rand(2, 4, 10, 10, dtype=torch.float64)
    box = torch.tensor([[0.0, 0.0, 10.0, 10.0]], dtype=torch.float64).expand(4, -1)
    torch.testing.assert_close(
        mask_cells_energy(silhouette, mask, box), silhouette_energy(silhouette, mask, (1,))
    )


def test_any_number_of_threads_gives_the_same_bytes() -> None:
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            results.append(compared('loops', 'torus', blur=0.5))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_single_precision_agrees_with_double() -> None:
    vertices, faces, _ = MESHES['torus']
    renderer = ContourSilhouette(faces, (10, 12))
    cells = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    results = []
    for dtype in (torch.float32, torch.float64):
        bodies = posed(vertices, 0).to(dtype).requires_grad_()
        value = renderer.compare_in_cells(
            bodies, small_camera().to(dtype), cells.to(dtype), BOXES[:1].to(dtype)
        )
        assert value.dtype == dtype
        results.append([value.detach(), *torch.autograd.grad(value.sum(), bodies)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)


def test_boxes_and_cells_that_need_gradients_have_them() -> None:
    vertices, faces, _ = MESHES['torus']
    bodies, renderer = posed(vertices, 0), ContourSilhouette(faces, (10, 12))
    box = BOXES[:1].clone().requires_grad_()
    cells = torch.full((1, 4, 4), 0.5, dtype=torch.float64, requires_grad=True)
    camera = small_camera()
    value = renderer.compare_in_cells(bodies, camera, cells, box)
    gradients = torch.autograd.grad(value, [cells, box])
    again = mask_cells_energy(renderer(bodies, camera), cells, box)
    for a, b in zip(gradients, torch.autograd.grad(again, [cells, box]), strict=True):
        torch.testing.assert_close(a, b)
        assert a.any()


@pytest.mark.parametrize('place', [1e30, -1e30])
def test_a_box_far_outside_leaves_the_silhouette(place: float) -> None:
    vertices, faces, _ = MESHES['torus']
    bodies, renderer = posed(vertices, 0), ContourSilhouette(faces, (10, 12))
    start, stop = sorted([place, 1.5 * place])
    box = torch.tensor([[start, start, stop, stop]], dtype=torch.float64)
    cells = torch.zeros(1, 4, 4, dtype=torch.float64)
    value = renderer.compare_in_cells(bodies, small_camera(), cells, box)
    expected = renderer(bodies, small_camera()).square().mean((1, 2))
    torch.testing.assert_close(value, expected)


def test_a_box_that_is_no_number_gives_none() -> None:
    vertices, faces, _ = MESHES['torus']
    cells = torch.zeros(1, 4, 4, dtype=torch.float64)
    value = ContourSilhouette(faces, (10, 12)).compare_in_cells(
        posed(vertices, 0), small_camera(), cells, torch.full((1, 4), torch.nan).double()
    )
    assert value.isnan().all()


@pytest.mark.parametrize(
    ('name', 'shape'), [('cells', (2, 4, 4)), ('cells', (1, 4, 5)), ('box', (1, 3)),
                        ('weight', (1, 10, 11))],
)  # fmt: skip
def test_tensors_of_other_shapes_are_refused_before_loops_read_them(
    name: str, shape: tuple[int, ...]
) -> None:
    vertices, faces, _ = MESHES['torus']
    given = dict(
        cells=torch.zeros(1, 4, 4), box=torch.zeros(1, 4), weight=torch.zeros(1, 10, 12)
    )  # fmt: skip
    given[name] = torch.zeros(shape)
    with pytest.raises(ValueError, match=f'{name}: found shape .*, expected'):
        ContourSilhouette(faces, (10, 12)).compare_in_cells(
            posed(vertices, 0), small_camera(), **given
        )


@pytest.mark.parametrize('count', [0, 2])
def test_bodies_outside_the_image_have_the_value_of_empty_cells(count: int) -> None:
    vertices, faces, _ = MESHES['torus']
    bodies = posed(vertices, 0, (50.0, 0.0, 5.0)).expand(count, -1, -1).clone().requires_grad_()
    cells = torch.full((count, 3, 3), 0.5, dtype=torch.float64)
    box = torch.tensor([[2.0, 1, 11, 7]], dtype=torch.float64).expand(count, 4)
    value = ContourSilhouette(faces, (10, 12)).compare_in_cells(bodies, small_camera(), cells, box)
    torch.testing.assert_close(value, torch.full((count,), 0.25 * 54 / 120, dtype=torch.float64))
    assert not torch.autograd.grad(value.sum(), bodies)[0].any()
