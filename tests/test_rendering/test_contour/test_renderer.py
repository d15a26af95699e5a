"""Values, gradients and checks of the contour silhouette."""

from __future__ import annotations

import copy
import sys

import cv2
import numpy as np
import pytest
import torch
from shapely.geometry import Polygon, box
from shapely.ops import unary_union

from mmjrr.geometry import PerspectiveCamera
from mmjrr.registry import RENDERERS
from mmjrr.rendering import ContourSilhouette

from .. import meshes, reference
from .scenes import MESHES, at_depth_one, image_plane, posed, small_camera

# --- closed forms ---------------------------------------------------------------------------------


def test_rectangle_at_subpixel_position_has_the_area_of_its_overlaps(contour):
    x0, y0, x1, y1 = 1.3, 0.6, 4.2, 3.7
    rectangle = at_depth_one([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    alpha = contour([[0, 1, 2], [0, 2, 3]], (5, 6))(rectangle, image_plane())
    in_column = [max(0, min(x1, c + 1) - max(x0, c)) for c in range(6)]
    in_row = [max(0, min(y1, r + 1) - max(y0, r)) for r in range(5)]
    np.testing.assert_allclose(alpha[0], np.outer(in_row, in_column), atol=1e-14)


@pytest.mark.parametrize('turned', [False, True])
@pytest.mark.parametrize('shift', [(0, 0), (3.3, 2.2), (-3, 0.3), (-2, -4), (-5.7, 1), (0, 6.5)])
def test_triangle_has_the_area_of_its_intersection_with_every_pixel(contour, shift, turned):
    corners = np.array([[1.1, 0.2], [5.7, 2.3], [2.2, 6.6]]) + shift
    polygon = Polygon(corners)
    expected = [
        [polygon.intersection(box(c, r, c + 1, r + 1)).area for c in range(7)] for r in range(8)
    ]
    faces = [[0, 2, 1]] if turned else [[0, 1, 2]]
    alpha = contour(faces, (8, 7))(at_depth_one(corners.tolist()), image_plane())
    np.testing.assert_allclose(alpha[0], expected, atol=1e-13)


@pytest.mark.parametrize(('supersampling', 'seen'), [(1, 1.0), (2, 0.5)])
def test_layers_over_each_other_count_twice_only_within_a_part_of_a_pixel(
    contour, supersampling, seen
):
    """Two sheets over the same left half of a pixel cover half of it."""
    sheet = torch.tensor([[0, 0, 1], [0.5, 0, 1], [0.5, 1, 1], [0, 1, 1]], dtype=torch.float64)
    sheets = torch.cat([sheet, 2 * sheet])[None]
    faces = [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]]
    alpha = contour(faces, (1, 1), supersampling=supersampling)(sheets, image_plane())
    assert float(alpha) == pytest.approx(seen)


def test_edges_on_the_pixel_grid_cover_whole_pixels(contour):
    square = at_depth_one([[1, 1], [3, 1], [3, 4], [1, 4]])
    alpha = contour([[0, 1, 2], [0, 2, 3]], (5, 5))(square, image_plane())
    expected = np.zeros((5, 5))
    expected[1:4, 1:3] = 1
    np.testing.assert_array_equal(alpha[0], expected)


@pytest.mark.slow
def test_sphere_covers_the_ellipse_it_projects_to(contour):
    """On the optical axis: a circle of radius f r / sqrt(z^2 - r^2)."""
    polar, around = np.meshgrid(
        np.linspace(0, np.pi, 200), np.arange(400) * 2 * np.pi / 400, indexing='ij'
    )
    vertices = 0.5 * np.stack(
        [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1
    ).reshape(-1, 3)
    vertices[:400], vertices[-400:] = vertices[0], vertices[-1]
    faces = meshes._grid_faces(200, 400, wrap_rings=False)
    camera = PerspectiveCamera([[200.0, 200.0]], [[50.0, 50.0]]).to(torch.float64)
    placed = torch.tensor(vertices[None] + [0, 0, 3.0])
    alpha = contour(faces, (100, 100))(placed, camera)
    radius = 200 * 0.5 / np.sqrt(9 - 0.25)
    assert float(alpha.sum()) == pytest.approx(np.pi * radius**2, rel=3e-4)


# --- the reference implementation -----------------------------------------------------------------
# Compared with the compiled loops; test_numba_backend.py compares those with the PyTorch backend.


@pytest.mark.slow
@pytest.mark.parametrize('shift', [(0.0, 0.0, 5.0), (-1.3, 0.4, 4.0), (1.2, -1.1, 4.0)])
@pytest.mark.parametrize('supersampling', [1, 2])
@pytest.mark.parametrize('name', MESHES)
def test_values_and_gradients_agree_with_faces_clipped_to_pixels(name, supersampling, shift):
    vertices, faces, closed = MESHES[name]
    camera = small_camera()
    upstream = torch.randn(10, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    placed = posed(vertices, 3, shift).requires_grad_()
    silhouette = ContourSilhouette(faces, (10, 12), supersampling=supersampling)
    # The reference expects faces that are oriented consistently; three pages cannot be.
    fast = silhouette(placed, camera)[0]
    pixels = camera.project(placed)[0]
    slow = reference.clipped_coverage(pixels, faces, 10, 12, closed, supersampling)
    assert silhouette.closed == closed
    torch.testing.assert_close(fast, slow, atol=1e-12, rtol=0)
    assert 0.5 < float(fast.sum()) < 119
    (fast_grad,) = torch.autograd.grad((fast * upstream).sum(), placed)
    (slow_grad,) = torch.autograd.grad((slow * upstream).sum(), placed)
    torch.testing.assert_close(fast_grad, slow_grad, atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize(('seed', 'supersampling'), [(0, 1), (1, 2), (2, 2), (3, 3)])
def test_gradients_agree_with_finite_differences(contour, seed, supersampling):
    vertices, faces = meshes.torus(6, 5)
    silhouette = contour(faces, (10, 12), supersampling=supersampling)

    def coverage(vertices, focal_length, principal_point, distortion):
        return silhouette(vertices, PerspectiveCamera(focal_length, principal_point, distortion))

    camera = small_camera()
    lens = torch.tensor([[-0.2, 0.25, 0.01, 0.002, -0.001]], dtype=torch.float64)
    inputs = (posed(vertices, seed), camera.focal_length, camera.principal_point, lens)
    inputs = tuple(value.clone().requires_grad_() for value in inputs)
    assert torch.autograd.gradcheck(coverage, inputs, eps=1e-7, atol=1e-5, rtol=1e-4)


def test_horizontal_and_vertical_edges_pass_gradients_on(contour):
    """Moving a rectangle's side by d changes its area by d times the side's length."""
    rectangle = at_depth_one([[1.3, 0.6], [4.2, 0.6], [4.2, 3.7], [1.3, 3.7]]).requires_grad_()
    contour([[0, 1, 2], [0, 2, 3]], (5, 6))(rectangle, image_plane()).sum().backward()
    expected = [[-3.1 / 2, -2.9 / 2], [3.1 / 2, -2.9 / 2], [3.1 / 2, 2.9 / 2], [-3.1 / 2, 2.9 / 2]]
    np.testing.assert_allclose(rectangle.grad[0, :, :2], expected, atol=1e-12)


# --- the image's border, batches, open meshes -----------------------------------------------------


@pytest.mark.parametrize('scale', [1, 1e6, 1e12, 1e20, 1e30])
def test_part_left_of_the_image_still_covers_what_lies_right_of_it(contour, scale):
    square = scale * at_depth_one([[-40, -30], [50, -30], [50, 60], [-40, 60]])
    square[..., 2] = 1
    alpha = contour([[0, 1, 2], [0, 2, 3]], (4, 5))(square, image_plane())
    np.testing.assert_allclose(alpha[0], np.ones((4, 5)), atol=1e-12)


@pytest.mark.parametrize('shift', [(-9, 0, 5), (9, 0, 5), (0, -9, 5), (0, 9, 5)])
def test_body_wholly_outside_covers_nothing_and_gets_no_gradient(contour, shift):
    vertices, faces = meshes.torus(6, 5)
    placed = posed(vertices, 0, shift).requires_grad_()
    alpha = contour(faces, (10, 12))(placed, small_camera())
    alpha.sum().backward()
    assert float(alpha.detach().abs().max()) < 1e-12
    assert float(placed.grad.abs().max()) == 0


def test_body_right_at_the_camera_stays_cheap_and_exact(contour):
    """Edges thousands of pixels long make no more pieces than there are pixels on their way."""
    vertices, faces = meshes.octahedron()
    placed = torch.tensor((vertices * [1, 1, 0.49] + [0, 0, 0.5])[None]).requires_grad_()
    camera = PerspectiveCamera([[2000.0, 2000.0]], [[16.0, 16.0]]).to(torch.float64)
    alpha = contour(faces, (32, 32), near=0.005)(placed, camera)
    alpha.sum().backward()
    np.testing.assert_allclose(alpha[0].detach(), np.ones((32, 32)), atol=1e-9)


def test_image_is_a_window_into_a_larger_one(contour):
    vertices, faces = meshes.torus(12, 9)
    placed, camera = posed(vertices, 5), small_camera(40, 40)
    whole = contour(faces, (40, 40))(placed, camera)
    window = contour(faces, (9, 11))(placed, camera.crop([15, 14, 26, 23], (9, 11)))
    torch.testing.assert_close(window, whole[:, 14:23, 15:26], atol=1e-12, rtol=0)


@pytest.mark.parametrize('name', ['torus', 'open_cylinder'])
def test_batch_with_own_cameras_is_drawn_as_one_by_one(contour, name):
    vertices, faces, _ = MESHES[name]
    placed = torch.cat([posed(vertices, seed) for seed in range(3)]).requires_grad_()
    focal = torch.tensor([[19.0, 20], [14, 15], [30, 28]], dtype=torch.float64)
    center = torch.tensor([[6.0, 5], [2, 3], [9, 4]], dtype=torch.float64)
    camera = PerspectiveCamera(focal, center)
    silhouette = contour(faces, (10, 12))
    together = silhouette(placed, camera)
    apart = torch.cat([silhouette(placed[i : i + 1], camera[i]) for i in range(3)])
    torch.testing.assert_close(together, apart, atol=1e-13, rtol=0)
    upstream = torch.arange(360, dtype=torch.float64).view(3, 10, 12).sin()
    gradients = [
        torch.autograd.grad((alpha * upstream).sum(), placed)[0] for alpha in (together, apart)
    ]
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=0)


@pytest.mark.parametrize('name', ['torus', 'open_cylinder', 'open_hemisphere'])
@pytest.mark.parametrize('seed', range(3))
def test_faces_turned_at_random_change_nothing(contour, name, seed):
    vertices, faces, closed = MESHES[name]
    turn = np.random.default_rng(seed).random(len(faces)) < 0.5
    turned = np.where(turn[:, None], faces[:, ::-1], faces)
    silhouette = contour(turned, (10, 12))
    assert silhouette.closed == closed
    placed, camera = posed(vertices, seed), small_camera()
    expected = contour(faces, (10, 12))(placed, camera)
    torch.testing.assert_close(silhouette(placed, camera), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('name', ['open_cylinder', 'open_hemisphere'])
def test_open_meshes_are_solid_from_every_side(contour, name, seed):
    """Against the exact union of all faces; layers that share a pixel are the only difference."""
    vertices, faces, _ = MESHES[name]
    camera = PerspectiveCamera([[130.0, 130.0]], [[32.2, 31.9]]).to(torch.float64)
    placed = posed(vertices, seed)
    alpha = contour(faces, (64, 64))(placed, camera)[0].numpy()
    union = unary_union([Polygon(t) for t in camera.project(placed)[0].numpy()[faces]])
    assert alpha.sum() == pytest.approx(union.area, rel=0.01)
    filled = reference.filled(camera.project(placed)[0].numpy(), faces, 64, 16)
    assert np.abs(alpha - filled).mean() < 0.002


def test_bowl_seen_from_inside_and_outside_is_the_same_disc(contour):
    vertices, faces = meshes.open_hemisphere(5, 24)
    camera = PerspectiveCamera([[1e5, 1e5]], [[16.0, 16.0]]).to(torch.float64)  # nearly parallel
    turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0.0]])
    silhouette = contour(faces, (32, 32))
    views = [
        silhouette(torch.tensor((vertices @ t.T)[None] + [0, 0, 8000.0]), camera)
        for t in (turn, turn * [[1], [1], [-1]])
    ]
    torch.testing.assert_close(*views, atol=2e-3, rtol=0)


def test_faces_without_area_draw_nothing(contour):
    square = at_depth_one([[1.3, 0.6], [4.2, 0.6], [4.2, 3.7], [1.3, 3.7]])
    plain = contour([[0, 1, 2], [0, 2, 3]], (5, 6))
    odd = contour([[0, 1, 2], [0, 2, 3], [1, 1, 3], [2, 2, 2]], (5, 6))
    torch.testing.assert_close(odd(square, image_plane()), plain(square, image_plane()))


# --- precision and the real size ------------------------------------------------------------------


@pytest.mark.parametrize('seed', range(3))
def test_float32_is_within_a_thousandth_of_float64(contour, seed):
    vertices, faces = meshes.torus(106, 65)
    camera = PerspectiveCamera([[700.0, 700.0]], [[112.0, 112.0]])
    silhouette = contour(faces)
    upstream = torch.randn(1, 224, 224, generator=torch.Generator().manual_seed(seed))
    results = []
    for dtype in (torch.float64, torch.float32):
        placed = posed(vertices, seed).to(dtype).requires_grad_()
        alpha = silhouette(placed, camera.to(dtype))
        (gradient,) = torch.autograd.grad((alpha * upstream.to(dtype)).sum(), placed)
        results.append((alpha.double(), gradient.double()))
    (alpha, gradient), (alpha32, gradient32) = results
    assert float((alpha - alpha32).detach().abs().max()) < 1e-3
    assert float((gradient - gradient32).norm() / gradient.norm()) < 1e-2


def test_agrees_with_opencvs_polygon_fill(contour):
    vertices, faces = meshes.torus(40, 20)
    camera = PerspectiveCamera([[400.0, 400.0]], [[112.0, 112.0]]).to(torch.float64)
    placed = posed(vertices, 1)
    alpha = contour(faces)(placed, camera)[0].numpy()
    pixels = camera.project(placed)[0].numpy()
    factor, bits = 16, 8
    canvas = np.zeros((224 * factor,) * 2, np.uint8)
    for triangle in np.round((pixels[faces] * factor - 0.5) * 2**bits).astype(np.int32):
        cv2.fillPoly(canvas, [triangle], 1, shift=bits)
    drawn = canvas.reshape(224, factor, 224, factor).mean((1, 3))
    assert np.abs(alpha - drawn).mean() < 0.002
    assert np.minimum(alpha, drawn).sum() / np.maximum(alpha, drawn).sum() > 0.99


# --- what is refused ------------------------------------------------------------------------------


def test_vertices_behind_the_camera_raise_and_are_counted(contour):
    vertices, faces = meshes.octahedron()
    placed = torch.cat([posed(vertices, 0), posed(vertices, 0)])
    placed[1, 2, 2] = -0.1
    placed[1, 4, 2] = 0.0
    with pytest.raises(ValueError, match='2 of 12 vertices lie behind .*: 2 in sample 1'):
        contour(faces)(placed, small_camera())


@pytest.mark.parametrize('axis', [0, 2])
def test_coordinates_that_are_not_finite_raise(contour, axis):
    vertices, faces = meshes.octahedron()
    placed = posed(vertices, 0)
    placed[0, 1, axis] = float('nan')
    with pytest.raises(ValueError, match='finite'):
        contour(faces)(placed, small_camera())


@pytest.mark.parametrize(
    ('vertices', 'message'),
    [
        (torch.ones(6, 3), r'found \(6, 3\), expected a tensor of shape'),
        (torch.ones(1, 6, 3, dtype=torch.float16), 'float16, expected float32 or float64'),
        (torch.ones(1, 5, 3, dtype=torch.float64), 'found 5, expected at least 6'),
        (torch.ones(1, 6, 3, device='meta'), 'vertices: found on meta, expected on cpu'),
        (np.ones((1, 6, 3)), 'expected a tensor'),
        (torch.ones(1, 6, 3), 'found torch.float32 .* expected torch.float64'),
    ],
)
def test_vertices_that_do_not_fit_are_refused(contour, vertices, message):
    with pytest.raises(ValueError, match=message):
        contour(meshes.octahedron()[1])(vertices, small_camera())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(faces=[[0, 1]]), r'found shape \(1, 2\), expected \(F, 3\) with F > 0'),
        (dict(faces=np.zeros((0, 3), int)), r'\(F, 3\) with F > 0'),
        (dict(faces=[[0.0, 1.0, 2.0]]), 'faces: found .*, expected integers'),
        (dict(faces=[[0, 1, -2]]), 'found the index -2'),
        (dict(faces=[[0, 1, 2]], image_size=(0, 5)), r'positive \(height, width\)'),
        (dict(faces=[[0, 1, 2]], near=0.0), 'near: found 0.0, expected a positive depth'),
        (dict(faces=[[0, 1, 2]], supersampling=0), 'supersampling: found 0, expected at least 1'),
    ],
)
def test_faces_and_sizes_without_sense_are_refused(contour, arguments, message):
    with pytest.raises(ValueError, match=message):
        contour(**arguments)


def test_builds_from_a_config():
    silhouette = RENDERERS.build(
        dict(type='ContourSilhouette', faces=[[0, 1, 2]], image_size=(4, 6))
    )
    assert silhouette.image_size == (4, 6)
    assert copy.deepcopy(silhouette).state_dict() == {}


def test_empty_batch_gives_an_empty_image(contour):
    faces = meshes.octahedron()[1]
    alpha = contour(faces, (4, 6))(torch.ones(0, 6, 3), PerspectiveCamera([1.0, 1], [0.0, 0]))
    assert alpha.shape == (0, 4, 6)


# --- special inputs -------------------------------------------------------------------------------


@pytest.mark.parametrize('supersampling', [3, 5, 6, 7, 10])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_full_pixels_are_exactly_one(contour, supersampling, dtype):
    square = at_depth_one([[-40, -30], [50, -30], [50, 60], [-40, 60]]).to(dtype)
    renderer = contour([[0, 1, 2], [0, 2, 3]], (4, 5), supersampling=supersampling)
    assert (renderer(square, image_plane().to(dtype)) == 1).all()


def test_a_gradient_that_needs_one_itself_and_another_default_device_are_taken(contour):
    vertices, faces, _ = MESHES['torus']
    renderer, camera = contour(faces, (10, 12)), small_camera()
    bodies = posed(vertices, 0).requires_grad_()
    score = renderer(bodies, camera).square().sum()
    expected = torch.autograd.grad(score, bodies, retain_graph=True)[0]
    gradient = torch.autograd.grad(score, bodies, create_graph=True)[0]
    assert torch.equal(gradient, expected)
    with torch.device('meta'):
        assert renderer(bodies, camera).device.type == 'cpu'


@pytest.mark.parametrize('faces', [meshes.octahedron()[1], [[1, 1, 3], [2, 2, 2]]])
def test_nothing_drawn_gives_a_gradient_of_its_shape(contour, faces):
    for count in (0, 2):
        bodies = torch.ones(count, 6, 3, requires_grad=True)
        contour(faces, (4, 6))(bodies, PerspectiveCamera([1.0, 1], [0.0, 0])).sum().backward()
        assert bodies.grad.shape == (count, 6, 3) and not bodies.grad.any()


# --- a missing or broken Numba --------------------------------------------------------------------


@pytest.fixture
def _numba_not_imported(monkeypatch):
    backend = 'mmjrr.rendering.contour.numba_backend'
    for name in [name for name in sys.modules if name == backend or name.split('.')[0] == 'numba']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr('mmjrr.rendering.contour.numba_backend', raising=False)


@pytest.mark.usefixtures('_numba_not_imported')
@pytest.mark.parametrize(
    ('content', 'cause'),
    [
        (None, 'ModuleNotFoundError'),
        ("raise ImportError('Numba needs NumPy 2.1 or less')", 'NumPy 2.1 or less'),
        ("raise SystemError('initialization of _internal failed')", '_internal failed'),
    ],
    ids=['missing', 'wrong NumPy', 'broken binary'],
)
def test_without_a_working_numba_the_error_says_what_to_do(content, cause, tmp_path, monkeypatch):
    if content is None:
        monkeypatch.setitem(sys.modules, 'numba', None)
    else:
        (tmp_path / 'numba.py').write_text(content)
        monkeypatch.syspath_prepend(str(tmp_path))
    vertices, faces, _ = MESHES['torus']
    with pytest.raises(ImportError, match=f'{cause}.*pip install numba .*compiled=False'):
        ContourSilhouette(faces)
    plain = ContourSilhouette(faces, (10, 12), compiled=False)
    assert plain(posed(vertices, 0), small_camera()).shape == (1, 10, 12)
