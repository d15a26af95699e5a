"""SMPL-H, SMPL-X and kids against smplx, from files of each format with random values."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import smplx
import torch
from torch import Tensor

from mmjrr.body_models import SMPL, SMPLH, SMPLX, VertexMaker, from_smplx
from mmjrr.errors import DataError
from mmjrr.geometry import axis_angle_to_matrix
from mmjrr.joints import SMPL_PARENTS
from mmjrr.registry import BODY_MODELS

#: Parents of SMPL's first 22 joints; the hands hang on the wrists, jaw and eyes on the head.
_HAND = [-1, 0, 1, -1, 3, 4, -1, 6, 7, -1, 9, 10, -1, 12, 13]
_TOLERANCE = 1e-6  # meters


def parents_of(kind: str) -> list[int]:
    parents = list(SMPL_PARENTS) if kind == 'smpl' else list(SMPL_PARENTS[:22])
    if kind == 'smplx':
        parents += [15, 15, 15]
    for wrist in (20, 21) if kind != 'smpl' else ():
        first = len(parents)
        parents += [wrist if parent < 0 else first + parent for parent in _HAND]
    return parents


def random_body(kind: str, components: int, vertices: int | None = None) -> dict[str, Any]:
    """Random arrays of a kind of body, as its official files hold them."""
    rng = np.random.default_rng(7)
    parents = parents_of(kind)
    vertices, joints = vertices or (10475 if kind == 'smplx' else 6890), len(parents)
    weights = scipy.sparse.random(vertices, joints, 0.1, random_state=rng).toarray() + 1e-3
    regressor = scipy.sparse.random(joints, vertices, 14 / vertices, format='csc', random_state=rng)
    arrays: dict[str, Any] = dict(
        v_template=rng.normal(size=(vertices, 3)) * [0.3, 0.6, 0.1],
        shapedirs=0.03 * rng.standard_normal((vertices, 3, components), dtype=np.float32),
        posedirs=0.003 * rng.standard_normal((vertices, 3, 9 * (joints - 1)), dtype=np.float32),
        weights=weights / weights.sum(1, keepdims=True),
        J_regressor=(scipy.sparse.diags(1 / regressor.sum(1).A1) @ regressor).tocsc(),
        kintree_table=np.array([[2**32 - 1, *parents[1:]], range(joints)], np.uint32),
        f=rng.integers(0, vertices, (20, 3)).astype(np.uint32),
    )
    if kind != 'smpl':
        for side in 'lr':
            arrays[f'hands_components{side}'] = rng.normal(size=(45, 45)) * 0.1
            arrays[f'hands_mean{side}'] = rng.normal(size=45) * 0.2
    if kind == 'smplx':
        arrays['J_regressor'] = arrays['J_regressor'].toarray()
        arrays['lmk_faces_idx'] = np.arange(17)
        arrays['lmk_bary_coords'] = np.full((17, 3), 1 / 3)
    return arrays


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``smplx.create`` takes, with random bodies under their official names."""
    root = tmp_path_factory.mktemp('models')
    for kind in ('smpl', 'smplh', 'smplx'):
        (root / kind).mkdir()
    for kind, name, components in (
        ('smpl', 'SMPL_NEUTRAL.pkl', 300),
        ('smpl', 'SMPL_MALE.pkl', 10),
        ('smplh', 'SMPLH_MALE.pkl', 10),
    ):
        with (root / kind / name).open('wb') as file:
            pickle.dump(random_body(kind, components), file, protocol=2)
    np.savez(root / 'smplx' / 'SMPLX_NEUTRAL.npz', **random_body('smplx', 400))
    np.savez(root / 'smplx' / 'SMPLX_FEMALE.npz', **random_body('smplx', 20))
    rng = np.random.default_rng(1)
    np.save(root / 'smil.npy', rng.normal(size=(6890, 3)) * 0.1)
    np.save(root / 'smilx.npy', rng.normal(size=(10475, 3)) * 0.1)
    return root


@pytest.fixture(scope='module')
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bodies of 80 vertices."""
    root = tmp_path_factory.mktemp('small')
    for kind in ('smpl', 'smplh', 'smplx'):
        np.savez(root / f'{kind.upper()}_MALE.npz', **compact(random_body(kind, 20, 80)))
    return root


def compact(arrays: dict[str, Any]) -> dict[str, Any]:
    return {k: v.toarray() if scipy.sparse.issparse(v) else v for k, v in arrays.items()}


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    'SMPL with 10 betas': ('smpl', dict(gender='male')),
    'SMPL with 300 betas': ('smpl', dict(num_betas=300)),
    'SMPL of a kid': ('smpl', dict(num_betas=11, age='kid', kid_template_path='smil.npy')),
    'SMPL-H with principal components': ('smplh', dict(gender='male', num_pca_comps=12)),
    'SMPL-H with hands': ('smplh', dict(gender='male', use_pca=False)),
    'SMPL-H with flat hands': ('smplh', dict(gender='male', use_pca=False, flat_hand_mean=True)),
    'SMPL-X': ('smplx', dict()),
    'SMPL-X with hands': ('smplx', dict(use_pca=False, num_betas=16)),
    'SMPL-X with many components': (
        'smplx', dict(num_betas=300, num_expression_coeffs=100, num_pca_comps=45)
    ),
    'SMPL-X of ten components': ('smplx', dict(gender='female')),
    'SMPL-X of a kid': ('smplx', dict(age='kid', kid_template_path='smilx.npy')),
}  # fmt: skip


def smplx_model(folder: Path, kind: str, arguments: dict[str, Any]) -> Any:
    arguments = dict(arguments)
    if 'kid_template_path' in arguments:
        arguments['kid_template_path'] = str(folder / arguments['kid_template_path'])
    ext = 'npz' if kind == 'smplx' else 'pkl'
    return smplx.create(str(folder), kind, ext=ext, batch_size=2, dtype=torch.float64, **arguments)


def random_parameters(model: Any) -> dict[str, Tensor]:
    """Random values of every parameter that the model of smplx has."""
    draw = torch.Generator().manual_seed(3)
    return {
        name: 0.4 * torch.randn(value.shape, generator=draw, dtype=torch.float64)
        for name, value in model.named_parameters()
    }


@pytest.mark.slow
@pytest.mark.parametrize(('kind', 'arguments'), CASES.values(), ids=CASES)
def test_vertices_and_joints_agree_with_smplx(
    folder: Path, kind: str, arguments: dict[str, Any]
) -> None:
    reference = smplx_model(folder, kind, arguments)
    parameters = random_parameters(reference)
    expected = reference(**parameters)
    ours = dict(arguments)
    if 'kid_template_path' in ours:
        ours['kid_template_path'] = folder / ours['kid_template_path']
    bodies = [
        BODY_MODELS.build(dict(type=kind.upper(), model_path=folder, dtype=torch.float64, **ours)),
        from_smplx(reference),
    ]
    for body in bodies:
        assert body.num_betas == reference.num_betas
        assert body.num_expression_coeffs == reference.num_expression_coeffs
        assert type(body) is {'smpl': SMPL, 'smplh': SMPLH, 'smplx': SMPLX}[kind]
        out = body(**parameters)
        joints = out.joints.shape[1]
        assert joints == len(parents_of(kind))
        torch.testing.assert_close(out.vertices, expected.vertices, atol=_TOLERANCE, rtol=0)
        torch.testing.assert_close(out.joints, expected.joints[:, :joints], atol=_TOLERANCE, rtol=0)
    rest, body = reference(transl=torch.zeros(2, 3)), bodies[0]
    torch.testing.assert_close(
        body().vertices, rest.vertices[:1], atol=_TOLERANCE, rtol=0, check_stride=False
    )


def test_smplx_agrees_with_the_skinning_of_smplx(small_folder: Path) -> None:
    body = SMPLX(small_folder, gender='male', dtype=torch.float64, flat_hand_mean=True)
    arrays = compact(random_body('smplx', 20, 80))
    draw = torch.Generator().manual_seed(2)
    pose = 0.4 * torch.randn(3, 165, generator=draw, dtype=torch.float64)
    shape = torch.randn(3, 20, generator=draw, dtype=torch.float64)
    names = ('v_template', 'shapedirs', 'J_regressor', 'weights')
    template, shapedirs, regressor, weights = (
        torch.from_numpy(arrays[name].astype(np.float64)) for name in names
    )
    posedirs = torch.from_numpy(arrays['posedirs'].astype(np.float64)).reshape(-1, 486).T
    vertices, joints = smplx.lbs.lbs(
        shape, pose, template, shapedirs, posedirs, regressor,
        torch.tensor(parents_of('smplx')), weights,
    )  # fmt: skip
    splits = pose.split([3, 63, 3, 3, 3, 45, 45], 1)
    out = body(
        betas=shape[:, :10],
        expression=shape[:, 10:],
        **dict(zip(SMPLX.ROTATIONS, splits, strict=True)),
    )
    torch.testing.assert_close(out.vertices, vertices, atol=_TOLERANCE, rtol=0)
    torch.testing.assert_close(out.joints, joints, atol=_TOLERANCE, rtol=0)


@pytest.mark.parametrize('kind', ['smplh', 'smplx'])
def test_lazy_vertices_and_moments_agree_with_all_vertices(small_folder: Path, kind: str) -> None:
    body = BODY_MODELS.build(dict(type=kind.upper(), model_path=small_folder, gender='male'))
    draw = torch.Generator().manual_seed(5)
    parameters = dict(betas=(10,), body_pose=(21, 3), left_hand_pose=(6,), transl=(3,))
    if kind == 'smplx':
        parameters.update(expression=(10,), jaw_pose=(3,))
    values = {
        name: 0.3 * torch.randn(4, *shape, generator=draw, dtype=torch.float64)
        for name, shape in parameters.items()
    }
    maker = VertexMaker(body)
    lazy, whole = maker(**values), maker.body(**values).vertices
    ids = torch.tensor([5, 60, 17])
    torch.testing.assert_close(lazy.of(ids), whole[:, ids], atol=1e-12, rtol=0)
    vectors = torch.randn(4, 2, 3, generator=draw, dtype=torch.float64)
    products = maker.products_of(lazy.moments(vectors))
    expected = torch.einsum('njc,nvc->jv', vectors, whole - values['transl'][:, None])
    torch.testing.assert_close(products, expected, atol=1e-10, rtol=0)


def test_rotation_matrices_of_a_hand_are_complete(small_folder: Path) -> None:
    body = SMPLH(small_folder, gender='male', dtype=torch.float64)
    components = torch.full((1, 6), 0.3, dtype=torch.float64)
    assert body.left_hand_components is not None
    angles = components @ body.left_hand_components + body.left_hand_mean
    matrices = axis_angle_to_matrix(angles.reshape(1, 15, 3))
    expected = body(left_hand_pose=components).vertices
    for pose in (matrices, (angles - body.left_hand_mean).reshape(1, 15, 3)):
        vertices = body(left_hand_pose=pose).vertices
        torch.testing.assert_close(vertices, expected, atol=1e-12, rtol=0)


def test_a_wrong_hand_pose_lists_what_is_possible(small_folder: Path) -> None:
    body = SMPLH(small_folder, gender='male')
    with pytest.raises(ValueError, match=r'left_hand_pose: found .*7.*or principal .*\(B, 6\)'):
        body(left_hand_pose=torch.zeros(1, 7))
    with pytest.raises(ValueError, match='num_pca_comps: found 46, expected 1 to 45'):
        SMPLH(small_folder, gender='male', num_pca_comps=46)


def test_files_without_hand_components_need_none_for_flat_hands(tmp_path: Path) -> None:
    """AMASS's SMPL-H files have 16 betas, and neither components nor means of the hands."""
    arrays = random_body('smplh', 16, 80)
    arrays = {name: value for name, value in arrays.items() if not name.startswith('hands')}
    arrays['J_regressor'] = arrays['J_regressor'].toarray()
    (tmp_path / 'smplh' / 'female').mkdir(parents=True)
    np.savez(tmp_path / 'smplh' / 'female' / 'model.npz', **arrays)
    arguments: dict[str, Any] = dict(gender='female', num_betas=16)
    body = SMPLH(tmp_path, use_pca=False, flat_hand_mean=True, **arguments)
    assert body().vertices.shape == (1, 80, 3)
    with pytest.raises(DataError, match=r'model\.npz: hands_componentsl: missing; use_pca=False'):
        SMPLH(tmp_path, flat_hand_mean=True, **arguments)
    with pytest.raises(DataError, match=r'hands_meanl: missing; flat_hand_mean=True'):
        SMPLH(tmp_path, use_pca=False, **arguments)


def test_a_file_of_another_body_is_named(small_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"of SMPL-H \(52 joints\), .*SMPL \(24 .*type='SMPLH'"):
        SMPL(small_folder / 'SMPLH_MALE.npz')
    with pytest.raises(DataError, match=r"SMPL \(24 joints\), expected SMPL-X .*type='SMPL'"):
        SMPLX(small_folder / 'SMPL_MALE.npz')
    np.savez(tmp_path / 'mano.npz', kintree_table=np.zeros((2, 16)))
    with pytest.raises(DataError, match=r'MANO \(a hand\), expected SMPL-H \(52 joints\)'):
        SMPLH(tmp_path / 'mano.npz')
    np.savez(tmp_path / 'mean.npz', pose=np.zeros(144), shape=np.zeros(10), cam=np.zeros(3))
    with pytest.raises(DataError, match="SPIN's mean parameters, expected SMPL"):
        SMPL(tmp_path / 'mean.npz')


def test_models_that_are_no_bodies_are_refused() -> None:
    with pytest.raises(ValueError, match='found Linear, expected a model of smplx'):
        from_smplx(torch.nn.Linear(1, 1))  # type: ignore[arg-type]


def test_a_kid_needs_its_template(small_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="age: found 'kid' with kid_template_path=None"):
        SMPL(small_folder, gender='male', age='kid')
    np.save(tmp_path / 'kid.npy', np.zeros((79, 3)))
    with pytest.raises(DataError, match=r'kid\.npy: found shape \(79, 3\)'):
        SMPL(small_folder, gender='male', age='kid', kid_template_path=tmp_path / 'kid.npy')


@pytest.mark.parametrize('kind', ['smplh', 'smplx'])
def test_no_persons_give_no_vertices(small_folder: Path, kind: str) -> None:
    body = BODY_MODELS.build(dict(type=kind.upper(), model_path=small_folder, gender='male'))
    widths = dict(betas=10, left_hand_pose=45, right_hand_pose=6, body_pose=63)
    for name, width in widths.items():
        assert body(**{name: torch.zeros(0, width)}).vertices.shape == (0, 80, 3)
