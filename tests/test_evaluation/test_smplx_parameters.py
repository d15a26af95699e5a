"""Parameters of SMPL-H and SMPL-X score as the vertices that smplx computes from them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from mmengine.structures import BaseDataElement

import mmjrr
from mmjrr.body_models import SMPLH, SMPLX
from mmjrr.datasets.annotations import Annotations
from mmjrr.errors import DataError
from mmjrr.evaluation import JointRegressorMetric
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_PARENTS
from mmjrr.models import StoredPredictions
from mmjrr.regressors import JointRegressor, MeshMapping

pytestmark = pytest.mark.slow
_HAND = [-1, 0, 1, -1, 3, 4, -1, 6, 7, -1, 9, 10, -1, 12, 13]


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random bodies of both kinds, without pose blend shapes, in one folder."""
    root = tmp_path_factory.mktemp('bodies')
    rng = np.random.default_rng(0)
    for kind, count, components in (('smplh', 6890, 16), ('smplx', 10475, 20)):
        parents = [*SMPL_PARENTS[:22], *([15] * 3 if kind == 'smplx' else [])]
        for wrist in (20, 21):
            first = len(parents)
            parents += [wrist if parent < 0 else first + parent for parent in _HAND]
        joints = len(parents)
        weights = scipy.sparse.random(count, joints, 0.1, random_state=rng).toarray() + 1e-3
        regressor = scipy.sparse.random(joints, count, 14 / count, random_state=rng).toarray()
        np.savez_compressed(
            root / f'{kind.upper()}_MALE.npz',
            v_template=rng.normal(size=(count, 3)) * [0.3, 0.6, 0.1],
            shapedirs=0.03 * rng.standard_normal((count, 3, components), np.float32),
            posedirs=np.zeros((count, 3, 9 * (joints - 1)), np.float32),
            weights=weights / weights.sum(1, keepdims=True),
            J_regressor=regressor / regressor.sum(1, keepdims=True),
            kintree_table=np.array([[0, *parents[1:]], range(joints)]),
            f=np.array([[0, 1, 2]]),
            hands_componentsl=rng.normal(size=(45, 45)) * 0.1,
            hands_componentsr=rng.normal(size=(45, 45)) * 0.1,
            hands_meanl=rng.normal(size=45) * 0.2,
            hands_meanr=rng.normal(size=45) * 0.2,
        )
    return root


def regressor() -> JointRegressor:
    weight = np.zeros((17, 6890))
    for row, name in enumerate(H36M_JOINTS_MMPOSE):
        weight[row, 4000 + row if name.startswith('right_') else row] = 1
    return JointRegressor(weight, H36M_JOINTS_MMPOSE, 'smpl')


def parameters(tiny_set: Path, **shapes: int) -> dict[str, Any]:
    with np.load(tiny_set / 'fits' / 'spin_like_test.npz') as file:
        names = file['imgname'].tolist()
    rng = np.random.default_rng(1)
    shapes = dict(global_orient=3, body_pose=63, **shapes)
    values = {
        name: (0.3 * rng.normal(size=(len(names), size))).astype(np.float32)
        for name, size in shapes.items()
    }
    return {'imgname': names, **values}


def posed(body: Any, content: dict[str, Any]) -> np.ndarray:
    values = {k: torch.from_numpy(v).double() for k, v in content.items() if k != 'imgname'}
    with torch.no_grad():
        return body.double()(**values).vertices.contiguous().numpy()


@pytest.mark.parametrize('num_betas', [10, 16])
def test_parameters_of_smplh_score_as_their_vertices(
    tiny_set: Path, folder: Path, num_betas: int
) -> None:
    content = parameters(tiny_set, betas=num_betas, left_hand_pose=45, right_hand_pose=45)
    body = SMPLH(folder, 'male', num_betas=num_betas, use_pca=False)
    expected = mmjrr.evaluate(
        {'imgname': content['imgname'], 'vertices': posed(body, content)}, tiny_set, regressor()
    )
    genders = np.array(['male'] * len(content['imgname']))
    result = mmjrr.evaluate(
        {**content, 'gender': genders}, tiny_set, regressor(), body_model=folder
    )
    assert result.metrics() == pytest.approx(expected.metrics(), abs=1e-2)
    with pytest.raises(DataError, match='SMPL-H.*SMPLH_NEUTRAL|no file of it is in'):
        mmjrr.evaluate(content, tiny_set, regressor(), body_model=folder)


def test_parameters_of_smplx_score_by_a_mapping(
    tiny_set: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = parameters(tiny_set, betas=10, expression=10, jaw_pose=3, left_hand_pose=12)
    rows = np.random.default_rng(2).permutation(10475)[:6890]
    matrix = scipy.sparse.csr_matrix((np.ones(6890), (np.arange(6890), rows)), (6890, 10475))
    path = MeshMapping(matrix).save(tmp_path / 'smplx2smpl.npz')
    body = SMPLX(folder, 'male', num_pca_comps=12)
    expected = mmjrr.evaluate(
        {'imgname': content['imgname'], 'vertices': posed(body, content)[:, rows]},
        tiny_set,
        regressor(),
    )
    file = folder / 'SMPLX_MALE.npz'
    result = mmjrr.evaluate(content, tiny_set, regressor(), body_model=file, mapping=path)
    assert result.metrics() == pytest.approx(expected.metrics(), abs=1e-2)
    assert "to 'smplx' by smplx2smpl.npz" in result.format()


def test_a_body_of_another_kind_is_refused(tiny_set: Path, folder: Path) -> None:
    content = parameters(tiny_set, betas=10, jaw_pose=3)
    with pytest.raises(DataError, match='21 rotations, those of SMPL-X, but the body is FreeBody'):
        mmjrr.evaluate(content, tiny_set, regressor(), body_model='free_body')
    body = SMPLH(folder, 'male')
    with pytest.raises(DataError, match='those of SMPL-X, expected those of SMPL-H'):
        mmjrr.evaluate(content, tiny_set, regressor(), body_model=body)


@pytest.fixture(scope='module')
def mapping(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, Path]:
    """The vertices of SMPL-X that stand for SMPL's, and a mapping's file that says so."""
    rows = np.random.default_rng(2).permutation(10475)[:6890]
    matrix = scipy.sparse.csr_matrix((np.ones(6890), (np.arange(6890), rows)), (6890, 10475))
    path = tmp_path_factory.mktemp('mapping') / 'smplx2smpl.npz'
    return rows, MeshMapping(matrix).save(path)


def video_of(name: str) -> tuple[str, int]:
    video, _, number = Path(name).stem.rpartition('_')
    return video, int(number)


def rows_by_video(names: list[str]) -> dict[str, tuple[list[int], list[int]]]:
    """Rows and frame numbers, from 1, of each video."""
    videos: dict[str, tuple[list[int], list[int]]] = {}
    for row, name in enumerate(names):
        video, number = video_of(name)
        videos.setdefault(video, ([], []))[0].append(row)
        videos[video][1].append(number)
    return videos


def write_gvhmr(folder: Path, content: dict[str, Any]) -> str:
    """One file a video, with a body for each frame from the first."""
    for video, (rows, numbers) in rows_by_video(content['imgname']).items():
        body = {}
        for name in ('global_orient', 'body_pose', 'betas', 'transl'):
            values = np.ones((max(numbers), content[name].shape[1]), np.float32)
            values[np.array(numbers) - 1] = content[name][rows]
            body[name] = torch.from_numpy(values)
        (folder / video).mkdir()
        file = folder / video / 'hmr4d_results.pt'
        torch.save({'smpl_params_incam': body, 'smpl_params_global': body}, file)
    return f'{folder}/*/hmr4d_results.pt'


def write_smpler_x(folder: Path, content: dict[str, Any]) -> str:
    """One file a person, beside the pictures and descriptions that the repository writes too."""
    for row, name in enumerate(content['imgname']):
        video, number = video_of(name)
        (folder / video / 'smplx').mkdir(parents=True, exist_ok=True)
        (folder / video / 'meta').mkdir(parents=True, exist_ok=True)
        (folder / video / 'meta' / f'{number:05}_0.json').write_text('{"bbox_id": 0}')
        fields = {key: value[row].reshape(-1, 3) for key, value in content.items()
                  if key not in ('imgname', 'betas', 'expression')}  # fmt: skip
        fields |= {'leye_pose': np.zeros((1, 3)), 'reye_pose': np.zeros((1, 3))}
        fields |= {key: content[key][[row]] for key in ('betas', 'expression')}
        np.savez(folder / video / 'smplx' / f'{number:05}_0.npz', **fields)
    return f'{folder}/*/smplx/*.npz'


def write_prompthmr(folder: Path, content: dict[str, Any]) -> str:
    """One file a video, in which the matrices of the hands are zeros."""
    for video, (rows, numbers) in rows_by_video(content['imgname']).items():
        pose = np.concatenate([content['global_orient'], content['body_pose']], 1)[rows]
        camera = {
            'rotmat': np.zeros((len(rows), 55, 3, 3), np.float32),
            'pose': np.concatenate([pose, np.zeros((len(rows), 9), np.float32)], 1),
            'shape': content['betas'][rows],
            'trans': content['transl'][rows],
        }
        (folder / video).mkdir()
        person = {'frames': np.array(numbers) - 1, 'smplx_cam': camera}
        (folder / video / 'results.pkl').write_bytes(pickle.dumps({'people': {1: person}}))
    return f'{folder}/*/results.pkl'


BODY = dict(betas=10, transl=3)
WHOLE = dict(BODY, expression=10, jaw_pose=3, left_hand_pose=45, right_hand_pose=45)


@pytest.mark.parametrize(
    ('write', 'fields'),
    [(write_gvhmr, BODY), (write_smpler_x, WHOLE), (write_prompthmr, BODY)],
    ids=['gvhmr', 'smpler-x', 'prompthmr'],
)
def test_files_of_smplx_parameters_score_as_their_vertices(
    write: Any, fields: dict[str, int], tiny_set: Path, folder: Path, tmp_path: Path,
    mapping: tuple[np.ndarray, Path],
) -> None:  # fmt: skip
    content = parameters(tiny_set, **fields)
    rows, path = mapping
    body = SMPLX(folder, 'male', use_pca=False)
    vertices = posed(body, content)[:, rows]
    expected = mmjrr.evaluate(
        {'imgname': content['imgname'], 'vertices': vertices}, tiny_set, regressor()
    )
    order = np.random.default_rng(5).permutation(len(vertices))
    shuffled = {
        key: [value[row] for row in order] if isinstance(value, list) else value[order]
        for key, value in content.items()
    }
    pattern = write(tmp_path, shuffled)
    result = mmjrr.evaluate(
        pattern, tiny_set, regressor(), body_model=folder / 'SMPLX_MALE.npz', mapping=path
    )
    assert result.frames == expected.frames and not result.skipped
    assert result.metrics() == pytest.approx(expected.metrics(), abs=1e-2)
    assert 'the error that this adds' in result.format()


def test_files_of_smplx_parameters_are_not_evaluated_with_smplh(
    tiny_set: Path, folder: Path, tmp_path: Path
) -> None:
    pattern = write_gvhmr(tmp_path, parameters(tiny_set, **BODY))
    with pytest.raises(DataError, match='parameters of SMPL-X .* no file of it is in'):
        mmjrr.evaluate(pattern, tiny_set, regressor(), body_model=folder, gender='neutral')


def samples_of(root: Path) -> list[BaseDataElement]:
    """The annotated frames of the test set as data samples."""
    table = Annotations.load(root / 'annotation_body3d/fps10/h36m_test.npz')
    names, joints = table.imgname.tolist(), torch.from_numpy(table.S)
    return [
        BaseDataElement(
            metainfo=dict(imgname=name), keypoints_3d=of[:, :3], keypoints_3d_weight=of[:, 3]
        )
        for name, of in zip(names, joints, strict=True)
    ]


@pytest.mark.parametrize(
    ('shapes', 'options'),
    [
        (dict(betas=10, expression=10, jaw_pose=3, left_hand_pose=12), dict(num_pca_comps=12)),
        (
            dict(betas=10, jaw_pose=3, left_hand_pose=45, right_hand_pose=45),
            dict(use_pca=False),
        ),
        (dict(betas=10), {}),
    ],
    ids=['components of hands and expression', 'rotations of hands', 'body alone'],
)
def test_the_metric_scores_stored_parameters_of_smplx_as_evaluation_does(
    tiny_set: Path,
    folder: Path,
    mapping: tuple[np.ndarray, Path],
    tmp_path: Path,
    shapes: dict[str, int],
    options: dict[str, Any],
) -> None:
    content = parameters(tiny_set, **shapes)
    np.savez(tmp_path / 'p.npz', **content)
    file = folder / 'SMPLX_MALE.npz'
    expected = mmjrr.evaluate(
        tmp_path / 'p.npz', tiny_set, regressor(), body_model=file, gender='male',
        mapping=mapping[1],
    )  # fmt: skip
    metric = JointRegressorMetric(
        {'regressor': regressor()}, body_model=dict(type='SMPLX', model_path=str(file), **options),
        mapping=str(mapping[1]),
    )  # fmt: skip
    samples = samples_of(tiny_set)
    metric.process(
        None, StoredPredictions(tmp_path / 'p.npz').test_step(dict(data_samples=samples))
    )
    result = metric.evaluate(len(samples))
    assert result == pytest.approx(expected.metrics(), abs=1e-6)


def test_hands_of_some_samples_only_are_refused(
    tiny_set: Path, folder: Path, mapping: tuple[np.ndarray, Path]
) -> None:
    content = parameters(tiny_set, betas=10, jaw_pose=3)
    del content['imgname']
    samples = [
        {'imgname': s.imgname, 'keypoints_3d': s.keypoints_3d}
        | {f'pred_{name}': values[row] for name, values in content.items()}
        for row, s in enumerate(samples_of(tiny_set)[:2])
    ]
    body = dict(type='SMPLX', model_path=str(folder / 'SMPLX_MALE.npz'))
    metric = JointRegressorMetric({'r': regressor()}, body_model=body, mapping=str(mapping[1]))
    without = [{key: value for key, value in s.items() if key != 'pred_jaw_pose'} for s in samples]
    with pytest.raises(ValueError, match='no jaw_pose, which .* has; expected it of all samples'):
        metric.process(None, [samples[0], without[1]])
    metric.process(None, samples[:1])
    metric.process(None, without[1:])
    with pytest.raises(ValueError, match=r"some batches have \['jaw_pose'\], others have not"):
        metric.evaluate(2)
    wrong = [dict(samples[0], pred_jaw_pose=np.zeros(4))]
    with pytest.raises(ValueError, match='pred_jaw_pose: found shape .* expected 1 rotations'):
        metric.process(None, wrong)
