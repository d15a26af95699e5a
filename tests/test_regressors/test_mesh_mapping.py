"""Regressors carried between meshes by files of each kind, and by mappings of templates."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from mmjrr.body_models import free_body
from mmjrr.errors import DataError
from mmjrr.joints import H36M_JOINTS_SPIN, SMPL_JOINTS
from mmjrr.regressors import (
    JointRegressor,
    MeshMapping,
    Template,
    find_mapping,
    mapping_error,
    match_meshes,
)
from mmjrr.regressors.mesh_matching import parts_of

SMPL, SMPLX, MHR = 6890, 10475, 18439


def random_matrix(rows: int, columns: int) -> scipy.sparse.csr_matrix:
    """Rows of three weights that sum to one."""
    rng = np.random.default_rng(1)
    weights = rng.dirichlet(np.ones(3), rows)
    index = rng.integers(0, columns, (rows, 3))
    return scipy.sparse.csr_matrix(
        (weights.ravel(), (np.repeat(np.arange(rows), 3), index.ravel())), shape=(rows, columns)
    )


def random_regressor(columns: int = SMPL, body: str = 'smpl') -> JointRegressor:
    rng = np.random.default_rng(2)
    weight = np.zeros((17, columns))
    for row in weight:
        row[rng.choice(columns, 5, replace=False)] = rng.dirichlet(np.ones(5))
    return JointRegressor(weight, H36M_JOINTS_SPIN, body)


def with_normals(matrix: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    """The official form: weights of vertices, then of normals."""
    rng = np.random.default_rng(3)
    rows, columns = matrix.shape
    normals = scipy.sparse.random(rows, columns, 1e-4, random_state=rng)
    return scipy.sparse.hstack([matrix, normals]).tocsc()


def write_official(path: Path, matrix: Any) -> Path:
    path.write_bytes(pickle.dumps({'mtx': with_normals(matrix), 'other': 'text'}, protocol=2))
    return path


def write_matrix_pickle(path: Path, matrix: Any) -> Path:
    path.write_bytes(pickle.dumps({'matrix': matrix.toarray().astype(np.float32)}, protocol=2))
    return path


def write_bare_pickle(path: Path, matrix: Any) -> Path:
    path.write_bytes(pickle.dumps(matrix.tocoo()))
    return path


def write_scipy(path: Path, matrix: Any) -> Path:
    scipy.sparse.save_npz(path.with_suffix('.npz'), matrix)
    return path.with_suffix('.npz')


def write_dense(path: Path, matrix: Any) -> Path:
    np.save(path.with_suffix('.npy'), matrix.toarray().astype(np.float32))
    return path.with_suffix('.npy')


def write_sparse_tensor(path: Path, matrix: Any) -> Path:
    """The form of GVHMR's ``smplx2smpl_sparse.pt``."""
    matrix = matrix.tocoo()
    indices = torch.from_numpy(np.stack([matrix.row, matrix.col]))
    values = torch.from_numpy(matrix.data)
    tensor = torch.sparse_coo_tensor(indices, values, matrix.shape, check_invariants=True)
    torch.save(tensor.float().coalesce(), path.with_suffix('.pt'))
    return path.with_suffix('.pt')


def write_ours(path: Path, matrix: Any) -> Path:
    return MeshMapping(matrix).save(path.with_suffix('.npz'))


@pytest.mark.parametrize(
    'write',
    [
        write_official,
        write_bare_pickle,
        write_scipy,
        write_ours,
        write_sparse_tensor,
        pytest.param(write_matrix_pickle, marks=pytest.mark.slow),
        pytest.param(write_dense, marks=pytest.mark.slow),
    ],
)
def test_a_carried_regressor_gives_the_joints_of_the_carried_vertices(
    tmp_path: Path, write: Any
) -> None:
    matrix = random_matrix(SMPL, SMPLX)
    mapping = MeshMapping.load(write(tmp_path / 'smplx2smpl.pkl', matrix))
    assert (mapping.source, mapping.target) == ('smplx', 'smpl')
    regressor = random_regressor()
    carried = regressor.to_mesh(mapping)
    assert (carried.body_model, carried.num_vertices) == ('smplx', SMPLX)
    vertices = np.random.default_rng(4).normal(size=(SMPLX, 3))
    expected = regressor.weight.double().numpy() @ (matrix @ vertices)
    np.testing.assert_allclose(carried.weight.numpy() @ vertices, expected, atol=1e-6)
    np.testing.assert_allclose(mapping.carry(vertices[None])[0], matrix @ vertices, atol=1e-6)
    assert carried.provenance['carried'][0]['error_mm'] == 'not measured'
    assert carried.provenance['carried'][0]['to'] == 'smplx'


def mhr_faces() -> np.ndarray:
    rng = np.random.default_rng(5)
    faces = rng.integers(0, MHR, (36874, 3))
    faces[0] = [0, 1, MHR - 1]
    return faces


def write_barycentric(path: Path, **extra: Any) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(6)
    ids = rng.integers(0, 36874, SMPL)
    coordinates = rng.dirichlet(np.ones(3), SMPL).astype(np.float32)
    np.savez(path, triangle_ids=ids, baryc_coords=coordinates, **extra)
    return ids, coordinates


def test_barycentric_coordinates_are_means_of_the_triangles_corners(tmp_path: Path) -> None:
    ids, coordinates = write_barycentric(tmp_path / 'mhr2smpl_mapping.npz')
    mapping = MeshMapping.load(tmp_path / 'mhr2smpl_mapping.npz', mhr_faces())
    assert (mapping.source, mapping.target) == ('mhr', 'smpl')
    vertices = np.random.default_rng(7).normal(size=(MHR, 3))
    corners = vertices[mhr_faces()[ids]]
    expected = (coordinates[:, :, None] * corners).sum(1)
    np.testing.assert_allclose(mapping.carry(vertices), expected, atol=1e-6)


def test_a_mesh_is_not_taken_for_a_known_one_that_is_larger(tmp_path: Path) -> None:
    """MHR's last vertices may be in no triangle, which only the name or the mesh's file tells."""
    faces = mhr_faces()
    faces[faces >= MHR - 5] = 0
    write_barycentric(tmp_path / 'm.npz')
    mapping = MeshMapping.load(tmp_path / 'm.npz', faces)
    assert (mapping.source, mapping.num_source_vertices) == ('unnamed', int(faces.max()) + 1)
    named = MeshMapping.load(tmp_path / 'm.npz', faces, source='mhr')
    assert named.num_source_vertices == MHR
    write_ply(tmp_path / 'mhr.ply', np.zeros((MHR, 3)), faces)
    assert MeshMapping.load(tmp_path / 'm.npz', tmp_path / 'mhr.ply').source == 'mhr'


def test_barycentric_coordinates_need_the_triangles(tmp_path: Path) -> None:
    write_barycentric(tmp_path / 'm.npz')
    with pytest.raises(DataError, match=r'triangle_ids are numbers of triangles .*--faces'):
        MeshMapping.load(tmp_path / 'm.npz')
    with pytest.raises(DataError, match=r'triangle_ids: found \d+ to \d+, expected 0 to 9'):
        MeshMapping.load(tmp_path / 'm.npz', mhr_faces()[:10])
    write_barycentric(tmp_path / 'whole.npz', faces=mhr_faces())
    assert MeshMapping.load(tmp_path / 'whole.npz').source == 'mhr'


def write_ply(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Write a binary mesh with colors, as ``mhr_face_mask.ply`` has them."""
    kinds = [('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('red', 'u1')]
    table = np.zeros(len(vertices), kinds)
    for axis, values in zip('xyz', vertices.T, strict=True):
        table[axis] = values
    polygons = np.zeros(len(faces), [('count', 'u1'), ('corners', '<i4', 3)])
    polygons['count'], polygons['corners'] = 3, faces
    header = (
        f'ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\n'
        'property float x\nproperty float y\nproperty float z\nproperty uchar red\n'
        f'element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n'
    )
    path.write_bytes(header.encode() + table.tobytes() + polygons.tobytes())


def test_the_zoo_carries_the_standard_regressor_to_smplx_and_mhr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('MMJRR_HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    weight = np.zeros((17, SMPL))
    for row, name in enumerate(H36M_JOINTS_SPIN):
        weight[row, 4000 + row if name.startswith('right_') else row] = 1
    np.save(tmp_path / 'J_regressor_h36m.npy', weight)
    with pytest.raises(FileNotFoundError, match=r'smplx2smpl_deftrafo_setup\.pkl.*registration'):
        JointRegressor.load('J_std_smplx')
    matrix = random_matrix(SMPL, SMPLX)
    write_official(tmp_path / 'smplx2smpl_deftrafo_setup.pkl', matrix)
    carried = JointRegressor.load('J_std_smplx')
    np.testing.assert_allclose(carried.weight.numpy(), weight @ matrix, atol=1e-6)
    assert carried.joint_names == H36M_JOINTS_SPIN and carried.body_model == 'smplx'
    assert find_mapping('smplx', 'smplh').num_target_vertices == SMPL

    write_barycentric(tmp_path / 'mhr2smpl_mapping.npz')
    with pytest.raises(FileNotFoundError, match=r'mhr_face_mask\.ply'):
        JointRegressor.load('J_std_mhr')
    write_ply(tmp_path / 'mhr_face_mask.ply', np.zeros((MHR, 3)), mhr_faces())
    assert JointRegressor.load('J_std_mhr').num_vertices == MHR
    with pytest.raises(DataError, match="none from the mesh 'smplx' to 'free_body'"):
        find_mapping('smplx', 'free_body')


def test_the_reverse_mapping_is_refused() -> None:
    smpl2smplx = MeshMapping(random_matrix(SMPLX, SMPL))
    with pytest.raises(ValueError, match=r"computes 10475 vertices of 'smplx' \(it is the rev"):
        random_regressor().to_mesh(smpl2smplx)
    other = MeshMapping(random_matrix(SMPL, SMPLX), target='free_body')
    with pytest.raises(ValueError, match=r"6890 vertices of 'free_body', expected .*'smpl'"):
        random_regressor().to_mesh(other)


@pytest.mark.parametrize(
    ('matrix', 'message'),
    [
        (np.array([[0.5, 0.4]]), 'row 0 sums to 0.9, expected one'),
        (np.array([[np.nan, 1.0]]), 'found NaN or infinity'),
        (np.array([[9.0, -8.0]]), 'large weights of both signs'),
    ],
)
def test_numbers_that_are_no_mapping_are_refused(
    tmp_path: Path, matrix: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MeshMapping(matrix)
    np.save(tmp_path / 'm.npy', matrix)
    with pytest.raises(DataError, match=rf'm\.npy: .*{message}'):
        MeshMapping.load(tmp_path / 'm.npy')


def test_other_files_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / 'other.npz', pose=np.zeros(3), shape=np.zeros(3))
    with pytest.raises(DataError, match=r"other\.npz: found \['pose', 'shape'\], expected a map"):
        MeshMapping.load(tmp_path / 'other.npz')
    with pytest.raises(ValueError, match="'smplx' has 10475 vertices"):
        MeshMapping(np.eye(3), source='smplx')
    np.savez(tmp_path / 'huge.npz', data=np.ones(1), row=[0], col=[0], shape=[1, 2**40],
             format=b'coo')  # fmt: skip
    with pytest.raises(DataError, match=r'huge\.npz: shape: found .*at most 1000000'):
        MeshMapping.load(tmp_path / 'huge.npz')
    huge = torch.sparse_coo_tensor([[0], [0]], [1.0], (2**40, 1), check_invariants=True)
    torch.save(huge, tmp_path / 'huge.pt')
    with pytest.raises(DataError, match=r'huge\.pt: shape: found .*at most 1000000'):
        MeshMapping.load(tmp_path / 'huge.pt')


def test_numbers_of_one_byte_count_as_the_float64_that_they_become(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / 'm.npz', matrix=np.zeros((6000, 6000), np.int8))
    with pytest.raises(DataError, match=r'm\.npz: matrix: found shape .*288000000 bytes'):
        MeshMapping.load(tmp_path / 'm.npz')


def test_a_saved_mapping_loads_with_its_description(tmp_path: Path) -> None:
    mapping = MeshMapping(random_matrix(40, 60), 'a', 'b', {'made_by': 'hand'})
    first = mapping.save(tmp_path / 'first.npz').read_bytes()
    assert mapping.save(tmp_path / 'second.npz').read_bytes() == first
    loaded = MeshMapping.load(tmp_path / 'first.npz')
    assert (loaded.source, loaded.target) == ('a', 'b')
    assert loaded.provenance['made_by'] == 'hand'
    np.testing.assert_array_equal(loaded.matrix.toarray(), mapping.matrix.toarray())
    with pytest.raises(ValueError, match='in lower case'):
        mapping.save(tmp_path / 'third.NPZ')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['first.npz', 'second.npz']


@pytest.mark.parametrize(
    'description',
    [
        {'source': 3}, {'target': ['a']}, {'provenance': {'error_mm': {'walks': 3}}},
        {'provenance': {'error_mm': {'mean': 1.0}}},
    ],
)  # fmt: skip
def test_a_damaged_description_is_refused(tmp_path: Path, description: dict[str, Any]) -> None:
    path = MeshMapping(random_matrix(40, 60), 'a', 'b').save(tmp_path / 'm.npz')
    fields = dict(np.load(path))
    np.savez(path, **{**fields, 'description': np.array(json.dumps(description))})
    with pytest.raises(DataError, match=r'm\.npz: description: .*expected'):
        MeshMapping.load(path)


def template(subdivided: bool = False) -> Template:
    body = free_body()
    vertices = body.v_template.double().numpy()
    parts = parts_of(body.weight_planes.numpy(), SMPL_JOINTS)
    if not subdivided:
        return Template('free_body', vertices, body.faces, parts)
    # Another mesh of the same surface: each triangle is cut into three at its center.
    faces, count = body.faces, len(vertices)
    centers = count + np.arange(len(faces))
    split = [np.stack([faces[:, i], faces[:, (i + 1) % 3], centers], 1) for i in range(3)]
    middle = vertices[faces].mean(1)
    return Template(
        'subdivided',
        np.concatenate([vertices, middle]),
        np.concatenate(split),
        np.concatenate([parts, parts[faces[:, 0]]]),
    )


@pytest.mark.parametrize('subdivided', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_meshes_of_one_surface_are_matched_to_rounding(subdivided: bool) -> None:
    source, target = template(subdivided), template(not subdivided)
    mapping = match_meshes(source, target)
    distance = np.linalg.norm(mapping.carry(source.vertices) - target.vertices, axis=1)
    assert distance.max() < 1e-6
    assert mapping.provenance['distance_mm']['largest'] < 1e-3


@pytest.mark.slow
def test_a_regressor_survives_the_way_to_another_mesh_and_back() -> None:
    one, other = template(), template(subdivided=True)
    regressor = JointRegressor.load('free_body_h36m')
    there = regressor.to_mesh(match_meshes(other, one))
    back = there.to_mesh(match_meshes(one, other))
    assert [step['to'] for step in back.provenance['carried']] == ['subdivided', 'free_body']
    bodies = np.stack([one.vertices, one.vertices * [1.1, 0.9, 1.0]])
    error = mapping_error(regressor, back, bodies, bodies)
    assert error.largest < 1e-2 and error.bodies == 2
    assert set(error.joints) == set(regressor.joint_names)


def test_the_error_of_a_mapping_is_a_distance_in_millimeters() -> None:
    regressor = random_regressor(60, 'toy')
    vertices = np.random.default_rng(8).normal(size=(4, 60, 3))
    moved = vertices + [0.003, 0.004, 0]
    error = mapping_error(regressor, regressor, vertices, moved)
    assert error.mean == pytest.approx(5, abs=1e-4)
    assert error.aligned == pytest.approx(0, abs=1e-4)
    assert error.largest == pytest.approx(5, abs=1e-4)
    assert error.as_dict()['joints']['pelvis'] == pytest.approx(5, abs=1e-3)


@pytest.mark.slow
def test_templates_in_other_places_are_refused() -> None:
    far = template()
    far.vertices = 100 * far.vertices  # centimeters
    with pytest.raises(ValueError, match='expected the same pose, place and unit'):
        match_meshes(template(), far)


@pytest.mark.slow
def test_hands_beside_the_hips_are_not_taken_for_legs() -> None:
    """Arms that hang down touch the thighs; the parts keep them apart."""
    body = free_body()
    pose = torch.zeros(1, 23, 3)
    pose[0, 15, 2], pose[0, 16, 2] = -1.45, 1.45  # both shoulders
    hanging = body(body_pose=pose).vertices[0].double().numpy()
    one = template()
    one.vertices = hanging
    other = template(subdivided=True)
    other.vertices = np.concatenate([hanging, hanging[body.faces].mean(1)])
    shifted = Template('shifted', other.vertices + [0.01, 0, 0], other.faces, other.parts)
    mapping = match_meshes(one, shifted)
    assert one.parts is not None and shifted.parts is not None
    arms = np.flatnonzero(shifted.parts == 2)
    landed = np.asarray(mapping.matrix[arms] @ (one.parts == 3).astype(float))
    assert landed.max() == 0
