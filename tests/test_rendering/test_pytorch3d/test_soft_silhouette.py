"""PyTorch3D's renderer against the contour renderer, through the same cameras."""

from __future__ import annotations

import sys

import pytest
import torch
from shapely.geometry import Point, Polygon
from torch import Tensor

from mmjrr.body_models import free_body
from mmjrr.geometry import PerspectiveCamera
from mmjrr.registry import RENDERERS
from mmjrr.rendering import ContourSilhouette, PyTorch3DSilhouette
from mmjrr.rendering.pytorch3d.rasterizer import Tiles, squared_distance

from .. import meshes

TRIANGLE = [[0, 1, 2]]


def bodies(batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        return (
            free_body()
            .double()(
                betas=torch.randn(batch, 10, generator=generator, dtype=torch.float64),
                body_pose=0.3 * torch.randn(batch, 69, generator=generator, dtype=torch.float64),
                global_orient=torch.tensor([[torch.pi, 0.3, 0.0]]).double(),
                transl=torch.tensor([[0.1, -0.2, 4.0]]).double(),
            )
            .vertices
        )


#: image size (height, width), and a camera that shows the body on it
VIEWS = {
    'square': ((96, 96), PerspectiveCamera([[180.0, 180.0]], [[44.0, 57.0]])),
    'wide': ((80, 144), PerspectiveCamera([[150.0, 150.0]], [[60.0, 47.3]])),
    'tall': ((144, 80), PerspectiveCamera([[260.0, 240.0]], [[30.6, 80.0]])),
    'partly outside': ((96, 96), PerspectiveCamera([[400.0, 380.0]], [[70.0, 20.0]])),
    'distorted': (
        (96, 112),
        PerspectiveCamera(
            [[180.0, 182.0]], [[52.0, 57.0]], distortion=[[-0.2, 0.25, -0.01, -0.001, -0.003]]
        ),
    ),
}


def test_without_pytorch3d_the_error_names_the_page_that_helps(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pytorch3d.renderer', None)
    monkeypatch.setitem(sys.modules, 'pytorch3d', None)
    with pytest.raises(ImportError, match=r'needs PyTorch3D.*INSTALL\.md'):
        RENDERERS.build(dict(type='mmjrr.PyTorch3DSilhouette', faces=TRIANGLE))


@pytest.mark.parametrize(
    'wrong',
    [dict(faces_per_pixel=0), dict(blur_radius=-1.0), dict(sigma=0.0), dict(tile_size=0)],
    ids=str,
)
def test_wrong_settings_are_refused_before_pytorch3d_is_looked_for(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PyTorch3DSilhouette(TRIANGLE, **wrong)


@pytest.mark.parametrize('blur', [0.0, 0.02])
@pytest.mark.parametrize('side', [4, 7, 16, 200])
def test_tiles_hold_the_faces_that_reach_a_pixels_centre(side, blur, monkeypatch):
    """Against every face's box, held against every pixel."""
    monkeypatch.setattr('mmjrr.rendering.pytorch3d.rasterizer._MARGIN', 0.0)
    generator = torch.Generator().manual_seed(0)
    # Some outside the image, and some too small to hold a center.
    around = 80 * torch.rand(2, 20, 1, 3, generator=generator) - 20
    points = (around + 4 * torch.randn(2, 20, 3, 3, generator=generator)).flatten(1, 2)
    points[:, :15] = points[:, :15] * 0.05 + 20
    faces = torch.cat([torch.arange(60).view(20, 3), torch.tensor([[0, 0, 1], [2, 3, 2]])])
    height, width = 37, 45
    tiles = Tiles.for_faces(points, faces, (height, width), side, blur)
    rows, columns = tiles.shape
    assert (rows - 1) * side < height <= rows * side
    assert (columns - 1) * side < width <= columns * side
    reach = blur**0.5 * height / 2  # squared distance, the image's shorter side is 2 long
    expected: dict[int, list[int]] = {}
    for image in range(2):
        for number, face in enumerate(faces[:20]):  # the others have no area
            low, high = (
                points[image, face, :2].amin(0) - reach,
                points[image, face, :2].amax(0) + reach,
            )
            reached = {
                (image * rows + y // side) * columns + x // side
                for y in range(height)
                for x in range(width)
                if low[0] <= x + 0.5 <= high[0] and low[1] <= y + 0.5 <= high[1]
            }
            for tile in sorted(reached):
                expected.setdefault(tile, []).append(image * len(faces) + number)
    faces_of_tiles = dict(
        zip(
            tiles.numbers.tolist(),
            [part.tolist() for part in tiles.faces.split(tiles.counts)],
            strict=True,
        )
    )
    assert faces_of_tiles == expected


def test_squared_distance_is_shapelys():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    triangles = torch.randn(200, 3, 2, generator=generator, dtype=torch.float64)
    for point, triangle, distance in zip(
        points, triangles, squared_distance(points, triangles).tolist(), strict=True
    ):
        polygon, place = Polygon(triangle.numpy()), Point(point.numpy())
        expected = polygon.exterior.distance(place) ** 2
        assert distance == pytest.approx(-expected if polygon.contains(place) else expected)


def test_gradient_of_the_squared_distance_agrees_with_finite_differences():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(30, 2, generator=generator, dtype=torch.float64)
    triangles = torch.randn(30, 3, 2, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(squared_distance, (points, triangles.requires_grad_()))


def test_tiles_are_joined_where_they_were_cut():
    image = torch.rand(2, 37, 45, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(image, (0, 3, 0, 3))  # to 40 x 48
    cut = padded.view(2, 5, 8, 6, 8).transpose(2, 3).reshape(-1, 8, 8)
    kept = torch.tensor([0, 3, 31, 59])
    tiles = Tiles(2, (37, 45), 8, kept, [1] * 4, kept)
    joined = tiles.join(cut[kept])
    shown = joined != 0
    assert torch.equal(joined[shown], image[shown])
    for pixel in ((0, 0, 0), (0, 5, 30), (1, 3, 9), (1, 36, 44)):
        assert shown[pixel]
    assert shown.sum() == 64 + 64 + 64 + 5 * 5


class TestWithPyTorch3D:
    @pytest.fixture(autouse=True)
    def _pytorch3d(self) -> None:
        pytest.importorskip('pytorch3d', reason='PyTorch3D is not installed')

    @pytest.mark.parametrize('view', VIEWS)
    def test_its_hard_outline_lies_within_half_a_pixel_of_ours(self, view):
        size, camera = VIEWS[view]
        vertices, camera = bodies(), camera.to(torch.float64)
        ours = ContourSilhouette(free_body().faces, size)(vertices, camera)
        covered = PyTorch3DSilhouette(free_body().faces, size).covered(vertices, camera)
        assert 0.05 < ours.mean() < 0.95
        # Where ours is full the center is covered, where it is empty it is not: the outlines
        # differ within one pixel at most.
        assert covered[ours > 1 - 1e-6].all()
        assert not covered[ours < 1e-6].any()
        # Nor is it grown or shrunk by a tenth of a pixel on average, or shifted by a quarter.
        rows, columns = (torch.arange(n, dtype=torch.float64) for n in size)
        for a, b in zip(ours, covered.double(), strict=True):
            outline = ((a > 1e-6) & (a < 1 - 1e-6)).sum()
            assert abs(a.sum() - b.sum()) < 0.1 * outline
            for axis, weights in ((1, rows), (0, columns)):
                middle_a = (a.sum(axis) * weights).sum() / a.sum()
                middle_b = (b.sum(axis) * weights).sum() / b.sum()
                assert abs(middle_a - middle_b) < 0.25

    @pytest.mark.parametrize('tile_size', [8, 16, 50])
    @pytest.mark.parametrize('view', VIEWS)
    def test_in_tiles_values_and_gradients_are_pytorch3ds(self, view, tile_size):
        size, camera = VIEWS[view]
        whole, tiled = (
            self._drawn(bodies(1), free_body().faces, size, camera, tile_size=side)
            for side in (None, tile_size)
        )
        # PyTorch3D takes sides of 1e-4 of the image as points, which moves a border by as much.
        off = (tiled[0] - whole[0]).abs()
        assert off.max() < 1e-3 and (off > 1e-5).sum() <= 5
        assert (tiled[1] - whole[1]).norm() < 5e-3 * whole[1].norm()
        assert (tiled[2] != whole[2]).sum() <= 1

    @pytest.mark.parametrize('tile_size', [5, 16])
    @pytest.mark.parametrize('name', ['octahedron', 'torus', 'open_cylinder'])
    def test_in_tiles_blurred_values_and_gradients_are_pytorch3ds(self, name, tile_size):
        """No more faces than a pixel blends: else depths decide, and they are not so exact."""
        mesh = {
            'octahedron': meshes.octahedron(),
            'torus': meshes.torus(6, 5),
            'open_cylinder': meshes.open_cylinder(3, 6),
        }[name]
        vertices = torch.tensor(mesh[0] @ meshes.rotation(1).T + [0.1, 0.2, 6.0])[None]
        camera = PerspectiveCamera([[60.0, 60.0]], [[22.0, 19.0]])
        whole, tiled = (
            self._drawn(
                vertices, mesh[1], (38, 45), camera, tile_size=side, faces_per_pixel=80,
                blur_radius=9e-3, sigma=1e-3,
            )
            for side in (None, tile_size)
        )  # fmt: skip
        assert 0.01 < whole[0].mean() < 0.9
        torch.testing.assert_close(tiled[0], whole[0], rtol=0, atol=1e-4)
        assert (tiled[1] - whole[1]).norm() < 1e-3 * whole[1].norm()

    @staticmethod
    def _drawn(vertices, faces, size, camera, **options):
        """Return values, gradient and coverage."""
        camera, vertices = camera.to(torch.float64), vertices.clone().requires_grad_()
        renderer = PyTorch3DSilhouette(faces, size, **options)
        alpha = renderer(vertices, camera)
        (alpha * torch.linspace(0.5, 1, alpha[0].numel()).view(size)).sum().backward()
        return alpha.detach(), vertices.grad, renderer.covered(vertices, camera)

    def test_a_body_outside_the_image_is_not_seen_and_gets_no_gradient(self):
        size, camera = VIEWS['square']
        vertices = (bodies() + torch.tensor([50.0, 0, 0])).requires_grad_()
        alpha = PyTorch3DSilhouette(free_body().faces, size)(vertices, camera.to(torch.float64))
        assert alpha.shape == (2, *size) and not alpha.any()
        alpha.sum().backward()
        assert not vertices.grad.any()

    def test_coordinates_that_are_not_finite_raise_as_ours_do(self):
        vertices = torch.tensor([[[0.0, 0, 1], [float('nan'), 0, 1], [0, 1, 1]]])
        with pytest.raises(ValueError, match='not finite'):
            PyTorch3DSilhouette(TRIANGLE)(vertices, VIEWS['square'][1])

    def test_a_triangle_is_where_the_camera_says(self):
        corners = torch.tensor([[[2.0, 1.0, 1.0], [6.0, 1.0, 1.0], [2.0, 4.0, 1.0]]])
        camera = PerspectiveCamera([[1.0, 1.0]], [[0.0, 0.0]])
        covered = PyTorch3DSilhouette(TRIANGLE, (5, 8)).covered(corners, camera)[0]
        expected = [[j > 1 and i > 0 and (j - 1.5) / 4 + (i - 0.5) / 3 < 1 for j in range(8)]
                    for i in range(5)]  # fmt: skip
        assert covered.tolist() == expected

    def test_values_are_the_shaders(self):
        """Against the formula of SoftRasterizer at one pixel of one triangle."""
        corners = torch.tensor([[[1.0, 1.0, 1.0], [7.0, 1.0, 1.0], [1.0, 7.0, 1.0]]])
        camera = PerspectiveCamera([[1.0, 1.0]], [[0.0, 0.0]])
        alpha = PyTorch3DSilhouette(TRIANGLE, (8, 8), sigma=1e-2)(corners, camera)[0]
        # The center (2.5, 1.5) is half a pixel below the upper side: 0.5 * 2 / 8 normalized.
        assert float(alpha[1, 2]) == pytest.approx(
            1 / (1 + float(torch.tensor(-1.5625).exp())), 1e-4
        )
        assert float(alpha[6, 6]) == 0

    def test_blurred_gradients_pull_the_body_towards_the_mask(self):
        size, camera = VIEWS['square']
        faces = free_body().faces
        vertices = bodies(1).float()
        mask = ContourSilhouette(faces, size)(vertices + torch.tensor([0.05, 0, 0]), camera)
        renderer = PyTorch3DSilhouette(faces, size, faces_per_pixel=20, blur_radius=9.2e-4)
        shift = torch.zeros(3, requires_grad=True)
        (renderer(vertices + shift, camera) - mask).square().sum().backward()
        assert shift.grad[0] < 0 and abs(shift.grad[0]) > 3 * abs(shift.grad[1])

    def test_dtype_follows_the_vertices_and_gradients_are_finite(self):
        size, camera = VIEWS['wide']
        vertices = bodies().requires_grad_()
        alpha = PyTorch3DSilhouette(free_body().faces, size)(vertices, camera.to(torch.float64))
        assert alpha.dtype == torch.float64 and alpha.shape == (2, *size)
        assert alpha.min() >= 0 and alpha.max() <= 1
        alpha.sum().backward()
        assert torch.isfinite(vertices.grad).all() and vertices.grad.abs().sum() > 0

    def test_vertices_behind_the_camera_raise_as_ours_do(self):
        vertices = torch.tensor([[[0.0, 0, 1], [1, 0, 1], [0, 1, -1]]])
        with pytest.raises(ValueError, match='behind the camera'):
            PyTorch3DSilhouette(TRIANGLE)(vertices, VIEWS['square'][1])
