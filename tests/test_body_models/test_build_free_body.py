"""The script that rebuilds the free body: its geometry, and, where anny is, its result."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from mmjrr.body_models import FREE_BODY_FILE

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'build_free_body.py'
TETRAHEDRON = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
OUTWARDS = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


@pytest.fixture(scope='module')
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location('build_free_body', TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_only_closed_outward_spheres_pass(tool: ModuleType) -> None:
    tool.check_closed(TETRAHEDRON, OUTWARDS)
    with pytest.raises(ValueError, match='inwards'):
        tool.check_closed(TETRAHEDRON, OUTWARDS[:, ::-1])
    with pytest.raises(ValueError, match='edge'):
        tool.check_closed(TETRAHEDRON, OUTWARDS[:3])
    with pytest.raises(ValueError, match='edge'):
        tool.check_closed(TETRAHEDRON, np.concatenate([OUTWARDS[:3], OUTWARDS[3:, ::-1]]))
    with pytest.raises(ValueError, match='Euler'):
        two = np.concatenate([OUTWARDS, OUTWARDS + 4])
        tool.check_closed(np.concatenate([TETRAHEDRON, TETRAHEDRON + 3]), two)


def test_rotation_between_directions_is_the_smallest(tool: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for source, target in rng.normal(size=(20, 2, 3)):
        turn = tool.between(source, target)
        unit = target / np.linalg.norm(target)
        np.testing.assert_allclose(turn @ source / np.linalg.norm(source), unit, atol=1e-12)
        cosine = source @ unit / np.linalg.norm(source)
        assert Rotation.from_matrix(turn).magnitude() == pytest.approx(np.arccos(cosine))
    np.testing.assert_array_equal(tool.between(source, 2 * source), np.eye(3))


def test_nearest_place_on_a_triangle_beats_a_dense_search(tool: ModuleType) -> None:
    rng = np.random.default_rng(1)
    grid = np.array([(a, b, 60 - a - b) for a in range(61) for b in range(61 - a)]) / 60
    triangles = rng.normal(size=(30, 3, 3))
    for point in 2 * rng.normal(size=(5, 3)):
        shares, distance = tool.nearest_on_triangles(point, triangles)
        assert shares.min() >= -1e-12
        np.testing.assert_allclose(shares.sum(1), 1)
        places = np.einsum('tk,tkc->tc', shares, triangles)
        np.testing.assert_allclose(np.linalg.norm(places - point, axis=1), distance)
        searched = np.linalg.norm(np.einsum('gk,tkc->tgc', grid, triangles) - point, axis=2)
        assert (distance <= searched.min(1) + 1e-12).all()
        np.testing.assert_allclose(distance, searched.min(1), atol=0.03)


def test_spreading_on_a_sphere_decays_as_the_heat_equation_says(tool: ModuleType) -> None:
    """On the unit sphere z is an eigenfunction: one implicit step divides it by 1 + 2 t."""
    turns = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    heights = np.cos(np.linspace(0, np.pi, 30)[1:-1])
    ring = np.stack([np.cos(turns), np.sin(turns)], 1)
    layers = [np.column_stack([np.sqrt(1 - z * z) * ring, np.full(60, z)]) for z in heights]
    vertices = np.concatenate([*layers, [[0, 0, 1]], [[0, 0, -1]]])
    hull = ConvexHull(vertices)
    values = np.column_stack([vertices[:, 2], np.ones(len(vertices)), vertices[:, 2] > 0])
    found = tool.spread_along_surface(values, vertices, hull.simplices, 0.3)
    np.testing.assert_allclose(found[:, 0], vertices[:, 2] / (1 + 2 * 0.3**2), atol=0.01)
    np.testing.assert_allclose(found[:, 1], 1, atol=1e-12)
    assert found[:, 2].min() >= 0 and found[:, 2].max() <= 1


def test_rebuilding_gives_the_shipped_file(tool: ModuleType) -> None:
    pytest.importorskip('anny', reason='anny is needed only to rebuild the free body')
    pytest.importorskip('fast_simplification')
    rebuilt = tool.build(tool.sample_anny(320, 0))
    with np.load(FREE_BODY_FILE) as shipped:
        assert sorted(shipped.files) == sorted(rebuilt)
        for name in shipped.files:
            assert shipped[name].dtype == rebuilt[name].dtype
            np.testing.assert_allclose(shipped[name], rebuilt[name], atol=5e-4, err_msg=name)
