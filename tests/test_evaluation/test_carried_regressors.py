"""Vertices of other meshes, recognized by their number, score as the same bodies do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.sparse.linalg import spsolve

import mmjrr
from mmjrr.body_models import free_body
from mmjrr.cli.evaluate import main
from mmjrr.errors import DataError
from mmjrr.evaluation import EvaluationResult, evaluate_meshes
from mmjrr.evaluation.carried_remarks import carried_remarks
from mmjrr.regressors import JointRegressor, MeshMapping, find_mapping

pytestmark = pytest.mark.slow
REGRESSOR = 'free_body_h36m'
SMPL, SMPLX, MHR = 6890, 10475, 18439


@pytest.fixture(scope='module')
def bodies(tiny_set: Path) -> tuple[list[str], np.ndarray]:
    """Image names and vertices of the simulated estimator."""
    with np.load(tiny_set / 'fits' / 'spin_like_test.npz') as file:
        names, pose, betas = file['imgname'].tolist(), file['pose'], file['betas']
    out = free_body()(
        betas=torch.from_numpy(betas),
        body_pose=torch.from_numpy(pose[:, 3:]),
        global_orient=torch.from_numpy(pose[:, :3]),
    )
    return names, out.vertices.numpy().astype(np.float64)


@pytest.fixture(scope='module')
def plain(tiny_set: Path, bodies: Any) -> EvaluationResult:
    names, vertices = bodies
    return mmjrr.evaluate({'imgname': names, 'vertices': vertices}, tiny_set, REGRESSOR)


def assert_same(result: EvaluationResult, plain: EvaluationResult) -> None:
    assert result.frames == plain.frames
    for key, value in plain.metrics().items():
        assert result.metrics()[key] == pytest.approx(value, abs=1e-3)  # mm


def carried_to(mapping: scipy.sparse.csr_matrix, vertices: np.ndarray) -> np.ndarray:
    """Return vertices of the other mesh that the mapping takes to these."""
    product = (mapping @ mapping.T).tocsc()
    columns = vertices.transpose(1, 0, 2).reshape(SMPL, -1)
    solved = mapping.T @ spsolve(product, columns)
    return solved.reshape(mapping.shape[1], len(vertices), 3).transpose(1, 0, 2)


def test_smplx_sized_vertices_score_by_a_transfer_matrix(
    tiny_set: Path, tmp_path: Path, bodies: Any, plain: EvaluationResult
) -> None:
    names, vertices = bodies
    rows = np.random.default_rng(0).permutation(SMPLX)[:SMPL]
    matrix = scipy.sparse.csr_matrix((np.ones(SMPL), (np.arange(SMPL), rows)), (SMPL, SMPLX))
    path = MeshMapping(matrix, 'smplx', 'free_body').save(tmp_path / 'm.npz')
    others = np.random.default_rng(1).normal(size=(len(names), SMPLX, 3))
    others[:, rows] = vertices
    result = mmjrr.evaluate(
        {'imgname': names, 'vertices': others}, tiny_set, REGRESSOR, mapping=path
    )
    assert_same(result, plain)
    remark = "carried from the mesh 'free_body' to 'smplx' by m.npz; the error that this adds"
    assert remark in result.format() and 'is not measured' in result.format()


def test_mhr_sized_vertices_in_centimeters_score_by_barycentric_coordinates(
    tiny_set: Path, tmp_path: Path, bodies: Any, plain: EvaluationResult,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    names, vertices = bodies
    rng = np.random.default_rng(2)
    rows = rng.permutation(MHR)[:SMPL]
    faces = np.stack([rows, np.roll(rows, 1), np.roll(rows, 2)], 1)
    faces = np.concatenate([faces, [[0, 1, MHR - 1]]])
    coordinates = np.tile([1.0, 0, 0], (SMPL, 1))
    np.savez(tmp_path / 'm.npz', triangle_ids=np.arange(SMPL), baryc_coords=coordinates)
    np.save(tmp_path / 'faces.npy', faces)
    mapping = MeshMapping.load(tmp_path / 'm.npz', faces, 'mhr', 'free_body')
    mapping.save(tmp_path / 'named.npz')
    others = rng.normal(size=(len(names), MHR, 3))
    others[:, rows] = vertices
    np.savez(tmp_path / 'results.npz', imgname=names, vertices=(100 * others).astype(np.float32))
    arguments = [str(tmp_path / 'results.npz'), '--annotations', str(tiny_set)]
    arguments += ['--regressor', REGRESSOR, '--mapping', str(tmp_path / 'named.npz')]
    assert main(arguments) == 1
    assert "unit='cm'" in capsys.readouterr().err
    out = tmp_path / 'out.json'
    assert main([*arguments, '--unit', 'cm', '--out', str(out)]) == 0
    assert "to 'mhr' by named.npz" in capsys.readouterr().out
    metrics = json.loads(out.read_text())['metrics']
    for key, value in plain.metrics().items():
        assert metrics[key] == pytest.approx(value, abs=1e-2)


def test_anny_sized_vertices_score_by_the_shipped_mapping(
    tiny_set: Path, bodies: Any, plain: EvaluationResult
) -> None:
    names, vertices = bodies
    others = carried_to(find_mapping('anny', 'free_body').matrix, vertices)
    result = mmjrr.evaluate({'imgname': names, 'vertices': others}, tiny_set, REGRESSOR)
    assert_same(result, plain)
    assert 'there and back, free body' in result.format()
    assert result.to_dict()['provenance']['regressors'][REGRESSOR]['provenance']['carried']


def test_annys_parameters_score_by_one_command(tiny_set: Path, bodies: Any) -> None:
    pytest.importorskip('anny', reason='anny is optional: pip install anny==0.6.2')
    with np.load(tiny_set / 'fits' / 'spin_like_test.npz') as file:
        content = {'imgname': file['imgname'], 'pose': file['pose']}
    phenotypes = np.full((len(content['pose']), 11), 0.5, np.float32)
    result = mmjrr.evaluate(
        {**content, 'betas': phenotypes}, tiny_set, REGRESSOR, body_model='anny', num_betas=11
    )
    values = result.metrics()
    assert all(np.isfinite(value) and value < 200 for value in values.values())


def test_a_mesh_without_a_mapping_is_named(tiny_set: Path, bodies: Any) -> None:
    names, _ = bodies
    others = np.zeros((len(names), SMPLX, 3)) + np.random.default_rng(0).normal(size=(SMPLX, 3))
    content = {'imgname': names, 'vertices': others}
    with pytest.raises(DataError, match=r"found 10475 .*SMPL-X's.*--mapping"):
        mmjrr.evaluate(content, tiny_set, REGRESSOR)
    with pytest.raises(ValueError, match=r"from the mesh 'anny' with 13718 .* which has 10475"):
        mmjrr.evaluate(content, tiny_set, REGRESSOR, mapping=find_mapping('anny', 'free_body'))


def test_a_mapping_is_read_even_if_it_is_not_needed(tiny_set: Path, tmp_path: Path) -> None:
    fits = tiny_set / 'fits' / 'spin_like_test.npz'
    with pytest.raises(FileNotFoundError, match='nowhere.npz'):
        mmjrr.evaluate(fits, tiny_set, REGRESSOR, mapping=tmp_path / 'nowhere.npz')


def test_remarks_state_the_measured_error() -> None:
    step = {'from': 'a', 'to': 'b', 'mapping': {'made_by': 'hand'}}
    error = {'mean': 0.5, 'aligned': 0.4, 'bodies': 7}
    (remark,) = carried_remarks('J', {'carried': [{**step, 'error_mm': error}]})
    assert "'a' to 'b' by hand" in remark and '0.50 mm in the mean (measured on 7' in remark
    (remark,) = carried_remarks('J', {'carried': [{**step, 'error_mm': {'walks': error}}]})
    assert '0.50 mm (walks)' in remark


# -- the same option in every command that takes meshes ------------------------------------------


@pytest.fixture(scope='module')
def smplx_sized(tmp_path_factory: pytest.TempPathFactory, bodies: Any) -> tuple[Path, Path]:
    """A results file of SMPL-X-sized vertices in which the bodies are, and its mapping's file."""
    folder = tmp_path_factory.mktemp('smplx_sized')
    names, vertices = bodies
    rows = np.random.default_rng(0).permutation(SMPLX)[:SMPL]
    matrix = scipy.sparse.csr_matrix((np.ones(SMPL), (np.arange(SMPL), rows)), (SMPL, SMPLX))
    others = np.random.default_rng(1).normal(size=(len(names), SMPLX, 3))
    others[:, rows] = vertices
    np.savez(folder / 'results.npz', imgname=names, vertices=(100 * others).astype(np.float32))
    np.savez(folder / 'plain.npz', imgname=names, vertices=vertices.astype(np.float32))
    return folder / 'results.npz', MeshMapping(matrix, 'smplx', 'free_body').save(folder / 'm.npz')


def test_table_1_takes_a_mapping(
    tiny_set: Path, smplx_sized: tuple[Path, Path], plain: EvaluationResult, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from mmjrr.cli.table1 import main as table1

    results, mapping = smplx_sized
    arguments = [f'SMPLX={results}', '--annotations', str(tiny_set), '--regressor', REGRESSOR]
    arguments += ['--mapping', str(mapping), '--unit', 'cm', '--out', str(tmp_path / 'table.csv')]
    assert table1(arguments) == 0
    printed = capsys.readouterr().out
    assert f"SMPLX, {REGRESSOR}: carried from the mesh 'free_body' to 'smplx' by m.npz" in printed
    line = (tmp_path / 'table.csv').read_text().splitlines()[1].split(',')
    expected = [plain.metrics()[f'{REGRESSOR}/paper/{error}'] for error in ('MPJPE', 'PA-MPJPE')]
    assert [float(value) for value in line[4:6]] == pytest.approx(expected, abs=1e-3)


def test_a_report_takes_a_mapping(
    tiny_set: Path, smplx_sized: tuple[Path, Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    results, mapping = smplx_sized
    faces = np.random.default_rng(3).permutation(SMPLX)[:300].reshape(-1, 3)
    np.save(tmp_path / 'faces.npy', faces)
    arguments = [str(results), '--annotations', str(tiny_set), '--regressor', REGRESSOR]
    arguments += ['--mapping', str(mapping), '--unit', 'cm', '--frames', '2', '--no-photos']
    page = tmp_path / 'report.html'
    arguments += ['--faces', str(tmp_path / 'faces.npy'), '--report', str(page)]
    assert main(arguments) == 0
    assert 'S9' in page.read_text(encoding='utf-8')
    assert "to 'smplx' by m.npz" in capsys.readouterr().out


def annotated_meshes(smplx_sized: tuple[Path, Path], folder: Path) -> tuple[Path, Path, Path]:
    """Write annotated meshes beside predictions in meters; return predictions of both sizes."""
    results, mapping = smplx_sized
    plain, meters = results.with_name('plain.npz'), folder / 'meters.npz'
    with np.load(plain) as file:
        moved = file['vertices'] + np.random.default_rng(4).normal(size=(SMPL, 3)) * 0.01
        np.savez(folder / 'truth.npz', imgname=file['imgname'], vertices=moved)
    with np.load(results) as file:
        np.savez(meters, imgname=file['imgname'], vertices=file['vertices'] / 100)
    return plain, meters, mapping


def test_annotated_meshes_are_compared_by_a_mapping(
    smplx_sized: tuple[Path, Path], tmp_path: Path
) -> None:
    plain, meters, mapping = annotated_meshes(smplx_sized, tmp_path)
    expected = evaluate_meshes(plain, tmp_path / 'truth.npz', REGRESSOR, 'bedlam')
    result = evaluate_meshes(meters, tmp_path / 'truth.npz', REGRESSOR, 'bedlam', mapping=mapping)
    (one,), (other,) = result.select('bedlam'), expected.select('bedlam')
    for error in ('mpjpe', 'pa_mpjpe', 'pve', 'pa_pve'):
        assert getattr(one, error) == pytest.approx(getattr(other, error), abs=1e-3)
    assert any("'smplx' are compared as those of 'free_body'" in note
               for note in result.provenance['notes'])  # fmt: skip
    with pytest.raises(DataError, match=r'found 10475 .*--mapping'):
        evaluate_meshes(meters, tmp_path / 'truth.npz', REGRESSOR, 'bedlam')


def test_joints_off_the_surface_are_regressed_from_mapped_vertices(
    smplx_sized: tuple[Path, Path], tmp_path: Path
) -> None:
    plain, meters, mapping = annotated_meshes(smplx_sized, tmp_path)
    on_surface = JointRegressor.load(REGRESSOR)
    off_surface = JointRegressor(
        on_surface.weight,
        on_surface.joint_names,
        'free_body',
        normal_offsets=np.full(len(on_surface.joint_names), 0.02),
        faces=free_body().faces,
    )
    expected = evaluate_meshes(plain, tmp_path / 'truth.npz', off_surface, 'bedlam')
    result = evaluate_meshes(meters, tmp_path / 'truth.npz', off_surface, 'bedlam', mapping=mapping)
    (one,), (other,) = result.select('bedlam'), expected.select('bedlam')
    for error in ('mpjpe', 'pa_mpjpe', 'pve'):
        assert getattr(one, error) == pytest.approx(getattr(other, error), abs=1e-3)


def test_the_metric_of_configs_takes_a_mapping(
    tiny_set: Path, smplx_sized: tuple[Path, Path], plain: EvaluationResult
) -> None:
    from mmjrr.datasets.h36m import H36MFitsDataset
    from mmjrr.evaluation import JointRegressorMetric

    results, mapping = smplx_sized
    with np.load(results) as file:
        vertices = dict(zip(file['imgname'].tolist(), file['vertices'] / 100, strict=True))
    metric = JointRegressorMetric([REGRESSOR], mapping=str(mapping), by=[])
    data = H36MFitsDataset(
        data_root=str(tiny_set), ann_file='annotation_body3d/fps10/h36m_test.npz', test_mode=True
    )
    metric.dataset_meta = data.metainfo
    for index in range(len(data)):
        frame = data.get_data_info(index)
        sample = dict(
            imgname=frame['imgname'],
            keypoints_3d=frame['keypoints_3d'],
            pred_vertices=vertices[frame['imgname']],
        )
        metric.process(None, [sample])
    assert metric.evaluate(len(data)) == pytest.approx(plain.metrics(), abs=1e-3)
