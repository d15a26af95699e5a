"""People whom the fitted model can match, and Anny's, whom it cannot."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tool_modules import load_tool

from mmjrr.body_models import SMPL, free_body
from mmjrr.datasets.masks import Masks
from mmjrr.datasets.synthetic import Settings, generate
from mmjrr.datasets.synthetic.dataset_files import MANIFEST
from mmjrr.datasets.synthetic.nearest_bodies import fit_to_meshes, nearest_shapes
from mmjrr.datasets.synthetic.people import AnnyPeople, anny_mesh, make_people
from mmjrr.datasets.synthetic.settings import settings_as_json
from mmjrr.datasets.synthetic.simulated_regressors import make_true_regressor
from mmjrr.datasets.synthetic.subjects import SUBJECTS
from mmjrr.datasets.synthetic.truth import SyntheticTruth
from mmjrr.geometry import load_cameras
from mmjrr.io import read_npz
from mmjrr.joints import H36M_JOINTS_MMPOSE

#: Exact labels, so that the labels are the true joints.
EXACT = Settings(
    seed=4, subjects=('S1', 'S9'), frames_per_subject=3, images=False, people='anny',
    label_noise=0.0, ankle_offsets=False,
)  # fmt: skip


@pytest.fixture(scope='module')
def body() -> SMPL:
    return free_body()


def posed(body: SMPL, pose: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return body(global_orient=pose[:, :3], body_pose=pose[:, 3:], betas=betas).vertices


# -- settings --------------------------------------------------------------------------------------


def test_the_settings_of_free_people_without_clothes_name_neither() -> None:
    assert not {'people', 'clothes'} & set(settings_as_json(Settings()))
    dressed = settings_as_json(Settings(people='anny', clothes=10))
    assert (dressed['people'], dressed['clothes']) == ('anny', 10)


def test_unknown_people_and_impossible_clothes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"people: found 'smpl', expected one of \['free_body'"):
        Settings(people='smpl')
    with pytest.raises(ValueError, match='clothes: found -1, expected 0 to 100'):
        Settings(clothes=-1)


def test_a_missing_package_is_named_with_its_command_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anny_mesh.cache_clear()
    monkeypatch.setitem(sys.modules, 'anny', None)
    with pytest.raises(ImportError, match='needs the package anny; install it with: pip install'):
        generate(tmp_path / 'set', EXACT, workers=1, progress=False)
    assert not (tmp_path / 'set').exists()


def test_the_command_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    anny_mesh.cache_clear()
    monkeypatch.setitem(sys.modules, 'anny', None)
    tool = load_tool('dataset_converters/make_synthetic_h36m.py')
    assert tool.main(['--out', str(tmp_path / 'set'), '--people', 'anny', '--clothes', '10']) == 2
    assert capsys.readouterr().err == (
        'error: AnnyBody needs the package anny; install it with: pip install anny==0.6.2\n'
    )


# -- nearest bodies --------------------------------------------------------------------------------


def test_the_nearest_shape_of_a_free_body_is_its_own(body: SMPL) -> None:
    betas = torch.randn(3, 10, generator=torch.Generator().manual_seed(0))
    rest = posed(body, torch.zeros(3, 72), betas)
    np.testing.assert_allclose(nearest_shapes(body, rest.numpy()), betas, atol=1e-3)


def test_what_the_nearest_shape_leaves_is_perpendicular_to_all_shapes(body: SMPL) -> None:
    noise = torch.randn(1, 6890, 3, generator=torch.Generator().manual_seed(1))
    mesh = body.v_template + 0.01 * noise
    fitted = posed(body, torch.zeros(1, 72), torch.from_numpy(nearest_shapes(body, mesh)).float())
    rest = (mesh - fitted)[0].T.flatten().double()
    shapes = body.blend_planes[:10].flatten(1).double()
    cosine = shapes @ rest / (shapes.norm(dim=1) * rest.norm())
    assert float(cosine.abs().max()) < 1e-4


@pytest.mark.slow
def test_bodies_fitted_to_free_bodies_reach_them(body: SMPL) -> None:
    draw = torch.Generator().manual_seed(2)
    pose = 0.3 * torch.randn(4, 72, generator=draw)
    betas = torch.randn(2, 10, generator=draw)[[0, 1, 1, 0]]
    place = torch.randn(4, 1, 3, generator=draw)
    meshes = posed(body, pose, betas) + place
    start = pose + 0.1 * torch.randn(4, 72, generator=draw)
    fits = fit_to_meshes(
        body, meshes, start, np.zeros((4, 10)), np.array(['b', 'a', 'a', 'b']), 400
    )
    fitted = posed(body, *(torch.from_numpy(fits[key]).float() for key in ('pose', 'betas')))
    fitted = fitted + torch.from_numpy(fits['transl'][:, None]).float()
    assert 1000 * float((fitted - meshes).norm(dim=-1).mean()) < 1
    np.testing.assert_array_equal(fits['betas'][0], fits['betas'][3])
    np.testing.assert_array_equal(fits['betas'][1], fits['betas'][2])


# -- Anny's people ---------------------------------------------------------------------------------
# Slow, since the package builds its model on first use, which takes a minute.


@pytest.fixture(scope='module')
def people(body: SMPL) -> AnnyPeople:
    pytest.importorskip('anny', reason='anny is optional: pip install anny==0.6.2')
    anny_mesh.cache_clear()
    made = make_people('anny', 4, make_true_regressor(4, body), body)
    assert isinstance(made, AnnyPeople)
    return made


@pytest.fixture(scope='module')
def root(people: AnnyPeople, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp('anny') / 'set', EXACT, workers=1, progress=False)


@pytest.mark.slow
def test_subjects_are_different_adults_that_free_bodies_come_near(people: AnnyPeople) -> None:
    subjects = [people.subject(name) for name in SUBJECTS]
    phenotypes = np.stack([subject.phenotypes for subject in subjects])
    assert np.ptp(phenotypes, axis=0).min() > 0.05
    rest = np.concatenate([people.vertices(s, np.zeros((1, 24, 3))) for s in subjects])
    heights = np.ptp(rest[:, :, 1], axis=1)
    assert 1.45 < heights.min() < heights.max() < 2.0 and np.ptp(heights) > 0.1
    betas = torch.from_numpy(np.stack([subject.betas for subject in subjects])).float()
    free = posed(people.free_body, torch.zeros(7, 72), betas)
    distances = np.linalg.norm(people.on_free_body(rest) - free.numpy(), axis=2).mean(1)
    assert 0.0005 < distances.min() < distances.max() < 0.02


@pytest.mark.slow
def test_exact_labels_are_the_true_joints_on_annys_mesh(root: Path, people: AnnyPeople) -> None:
    """Barycentric coordinates of the shipped mapping give the supporting vertices by hand."""
    truth = SyntheticTruth(root, people.free_body)
    weight = truth.regressor.reorder(H36M_JOINTS_MMPOSE).weight.double().numpy()
    for split in ('train', 'test'):
        true = truth.parameters(split)
        annotation = read_npz(root / 'annotation_body3d' / 'fps10' / f'h36m_{split}.npz')
        with torch.no_grad():
            meshes = people.mesh.body(
                betas=torch.from_numpy(true['phenotypes']).float(),
                global_orient=torch.from_numpy(true['pose'][:, :3]).float(),
                body_pose=torch.from_numpy(true['pose'][:, 3:]).float(),
                transl=torch.from_numpy(true['transl']).float(),
            ).vertices.numpy()
        on_free_body = np.stack([people.mesh.mapping.matrix @ mesh for mesh in meshes])
        np.testing.assert_allclose(weight @ on_free_body, annotation['S'][..., :3], atol=1e-5)


@pytest.mark.slow
def test_masks_are_those_of_annys_mesh(root: Path, people: AnnyPeople) -> None:
    """All of its vertices project into the mask or within a pixel of it."""
    from scipy.ndimage import binary_dilation

    cameras = load_cameras(root / 'annotation_body3d' / 'cameras.pkl')
    masks = Masks(root / 'masks' / 'h36m_train.json')
    true = read_npz(root / 'truth' / 'h36m_train.npz')
    for row in (0, 7):
        name = str(true['imgname'][row])
        with torch.no_grad():
            vertices = people.mesh.body(
                betas=torch.from_numpy(true['phenotypes'][[row]]).float(),
                global_orient=torch.from_numpy(true['pose'][[row], :3]).float(),
                body_pose=torch.from_numpy(true['pose'][[row], 3:]).float(),
                transl=torch.from_numpy(true['transl'][[row]]).float(),
            ).vertices
        camera = cameras[name.split('/')[0], name.split('.')[1].split('/')[0]]
        x, y = np.floor(camera.project(vertices.double())[0].numpy()).astype(int).T
        assert binary_dilation(masks[name], iterations=2)[y, x].all()


@pytest.mark.slow
def test_the_truth_is_annys_mesh_carried_to_the_free_body(root: Path, people: AnnyPeople) -> None:
    truth = SyntheticTruth(root, people.free_body)
    assert truth.regressor_error_mm(truth.regressor) < 1e-3
    true = truth.parameters('train')
    assert truth.vertex_error_mm(true) < 1e-3
    subject = people.subject('S1')
    np.testing.assert_allclose(true['phenotypes'][0], subject.phenotypes)
    expected = people.on_free_body(people.vertices(subject, true['pose'][:1].reshape(1, 24, 3)))[0]
    mesh = next(truth.vertices(true))[0].numpy() - true['transl'][0]
    np.testing.assert_allclose(mesh, expected, atol=1e-5)


@pytest.mark.slow
def test_no_free_body_equals_annys_people_but_a_fitted_one_comes_nearer(
    root: Path, people: AnnyPeople
) -> None:
    limits = SyntheticTruth(root, people.free_body).limits_mm(max_iter=25)
    assert 1 < limits['fitted'] < 0.8 * limits['posed'] < 20
    # Of Anny's own meshes, exact labels leave only what three moments of a person leave open.
    assert SyntheticTruth(root, people.free_body).floor_mm() < limits['fitted_regressor']


@pytest.mark.slow
def test_the_bytes_depend_on_the_settings_and_not_on_the_workers(
    root: Path, tmp_path: Path
) -> None:
    generate(tmp_path / 'again', EXACT, workers=2, progress=False)
    files = {
        folder: json.loads((folder / MANIFEST).read_text())['files']
        for folder in (root, tmp_path / 'again')
    }
    assert files[root] == files[tmp_path / 'again']
