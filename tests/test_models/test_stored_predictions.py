"""Stored estimates, looked up by image name, and evaluated by ``tools/test.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement

import mmjrr
from mmjrr.body_models import free_body
from mmjrr.datasets.fits import save_fits
from mmjrr.datasets.h36m import H36MFitsDataset
from mmjrr.errors import DataError
from mmjrr.evaluation import JointRegressorMetric
from mmjrr.models import StoredPredictions

ROOT = Path(__file__).resolve().parents[2]
NAMES = [
    f'{s}/{s}_Walking_1.60457274/{s}_Walking_1.60457274_{f:06d}.jpg'
    for s in ('S9', 'S11')
    for f in (1, 6, 11)
]


def predictions(path: Path, names: list[str] = NAMES, transl: bool = True, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    count = len(names)
    save_fits(
        path,
        imgname=names,
        pose=0.2 * rng.normal(size=(count, 72)),
        betas=rng.normal(size=(count, 10)),
        transl=rng.normal(size=(count, 3)) if transl else None,
    )
    return path


def sample(name: str) -> BaseDataElement:
    return BaseDataElement(metainfo=dict(imgname=name))


def test_predictions_are_found_by_name_whatever_the_order_and_folder(tmp_path):
    path = predictions(tmp_path / 'spin.npz')
    stored = np.load(path)
    batch = dict(inputs={}, data_samples=[sample(NAMES[4]), sample('x/' + NAMES[1])])
    for row, answer in zip((4, 1), StoredPredictions(path).test_step(batch), strict=True):
        np.testing.assert_array_equal(answer.pred_global_orient, stored['pose'][row, :3])
        np.testing.assert_array_equal(answer.pred_body_pose, stored['pose'][row, 3:])
        np.testing.assert_array_equal(answer.pred_betas, stored['betas'][row])
        np.testing.assert_array_equal(answer.pred_transl, stored['transl'][row])


def test_vertices_are_returned(tmp_path):
    vertices = np.random.default_rng(0).normal(size=(6, 20, 3))
    np.savez(tmp_path / 'v.npz', imgname=NAMES, vertices=vertices)
    answer = StoredPredictions(tmp_path / 'v.npz')(data_samples=[sample(NAMES[2])])[0]
    torch.testing.assert_close(answer.pred_vertices, torch.from_numpy(vertices[2]).float())
    assert 'pred_betas' not in answer


def test_several_files_are_one_set(tmp_path):
    model = StoredPredictions(
        [
            predictions(tmp_path / 'a.npz', NAMES[:3]),
            predictions(tmp_path / 'b.npz', NAMES[3:], transl=False),
        ]
    )
    assert len(model) == 6
    answers = model(data_samples=[sample(NAMES[0]), sample(NAMES[5])])
    assert 'pred_transl' in answers[0] and 'pred_transl' not in answers[1]


def test_missing_images_raise_or_are_skipped(tmp_path):
    path = predictions(tmp_path / 'a.npz', NAMES[:3])
    with pytest.raises(ValueError, match='S11_Walking_1.60457274_000011.jpg: no prediction in .*a'):
        StoredPredictions(path)(data_samples=[sample(NAMES[5])])
    answer = StoredPredictions(path, missing='skip')(data_samples=[sample(NAMES[5])])[0]
    assert not [key for key in answer.all_keys() if key.startswith('pred_')]


def test_bad_files_and_arguments_are_refused(tmp_path):
    path = predictions(tmp_path / 'a.npz')
    with pytest.raises(DataError, match='a.npz: imgname: .* is also in .*a.npz'):
        StoredPredictions([path, path])
    with pytest.raises(FileNotFoundError):
        StoredPredictions(tmp_path / 'none.npz')
    np.savez(tmp_path / 'v.npz', imgname=NAMES, vertices=np.zeros((5, 20, 3)))
    with pytest.raises(DataError, match=r'imgname: found shape \(6,\), .* each of 5 bodies'):
        StoredPredictions(tmp_path / 'v.npz')
    np.savez(tmp_path / 'w.npz', vertices=np.zeros((5, 20, 3)))
    with pytest.raises(DataError, match='imgname: missing'):
        StoredPredictions(tmp_path / 'w.npz')
    with pytest.raises(ValueError, match='expected at least one'):
        StoredPredictions([])
    with pytest.raises(ValueError, match="missing: found 'nan'"):
        StoredPredictions(path, missing='nan')
    with pytest.raises(ValueError, match='has no imgname'):
        StoredPredictions(path)(data_samples=[BaseDataElement()])
    with pytest.raises(ValueError, match="mode: found 'loss', expected 'predict'"):
        StoredPredictions(path)(data_samples=[sample(NAMES[0])], mode='loss')


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config of ``configs/evaluation`` on six frames with the free body."""
    rng = np.random.default_rng(1)
    folder = tmp_path / 'annotation_body3d' / 'fps10'
    folder.mkdir(parents=True)
    joints = np.concatenate([rng.normal(size=(6, 17, 3)) + [0, 0, 5], np.ones((6, 17, 1))], 2)
    np.savez(
        folder / 'h36m_test.npz',
        imgname=NAMES,
        center=np.full((6, 2), 500.0),
        scale=np.full(6, 2.0),
        part=np.ones((6, 17, 3)),
        S=joints,
    )
    predictions(tmp_path / 'fits.npz')
    path = tmp_path / 'stored_free-body.py'
    path.write_text(
        f"""
_base_ = ['{ROOT}/configs/evaluation/stored-spin_h36m.py']
model = dict(predictions='{tmp_path}/fits.npz')
test_dataloader = dict(
    batch_size=4, num_workers=0,
    dataset=dict(data_root='{tmp_path}/', camera_param_file=None))
test_evaluator = dict(
    regressors='free_body_h36m', protocol=['paper', 'spin-p2'],
    collect_dir='{tmp_path}/collect', body_model=dict(_delete_=True, type='FreeBody'))
work_dir = '{tmp_path}/work'
""",
        encoding='utf-8',
    )
    return path


def run(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_tool_evaluates_stored_predictions_in_one_process_and_in_two(
    config, tmp_path, run_processes
):
    output = run(
        ROOT / 'tools' / 'test.py', config, '--out', tmp_path / 'one.json',
        '--dump', tmp_path / 'dump.pkl', '--cfg-options', 'test_evaluator.title=Stored',
    )  # fmt: skip
    assert 'Stored: protocol paper (17 joints, pelvis-aligned, S9 and S11' in output
    assert 'all cameras), 6 frames' in output
    assert (tmp_path / 'dump.pkl').is_file()
    one = json.loads((tmp_path / 'one.json').read_text())
    assert set(one) == {
        f'free_body_h36m/{protocol}/{key}'
        for protocol in ('paper', 'spin-p2')
        for key in ('MPJPE', 'PA-MPJPE')
    }
    tool = str(ROOT / 'tools' / 'test.py')
    run_processes(
        [sys.executable, tool, str(config), 'none', '--launcher', 'pytorch']
        + ['--out', str(tmp_path / 'two.json')],
        2,
    )
    assert json.loads((tmp_path / 'two.json').read_text()) == one


@pytest.mark.parametrize(('first', 'vertices'), [(True, False), (False, True)])
def test_the_person_nearest_to_the_annotation_is_evaluated(first, vertices, tiny_set, tmp_path):
    with np.load(tiny_set / 'fits' / 'spin_like_test.npz') as file:
        right = {name: file[name] for name in ('imgname', 'pose', 'betas')}
    wrong = {'imgname': right['imgname'], 'pose': -right['pose'][::-1], 'betas': right['betas']}
    if vertices:
        body = free_body()
        for people in (right, wrong):
            pose, betas = (
                torch.from_numpy(people.pop('pose')),
                torch.from_numpy(people.pop('betas')),
            )
            with torch.no_grad():
                posed = body(global_orient=pose[:, :3], body_pose=pose[:, 3:], betas=betas)
            people['vertices'] = posed.vertices.numpy()
    expected = mmjrr.evaluate(right, tiny_set, 'free_body_h36m')
    pair = (right, wrong) if first else (wrong, right)
    both = {name: np.concatenate([people[name] for people in pair]) for name in right}
    np.savez(tmp_path / 'both.npz', **both)
    model = StoredPredictions(tmp_path / 'both.npz', person='nearest', regressor='free_body_h36m')
    data = H36MFitsDataset(
        data_root=str(tiny_set), ann_file='annotation_body3d/fps10/h36m_test.npz', test_mode=True
    )
    metric = JointRegressorMetric(['free_body_h36m'], by=[])
    metric.dataset_meta = data.metainfo
    for index in range(len(data)):
        frame = data.get_data_info(index)
        joints = torch.from_numpy(frame['keypoints_3d'])
        element = BaseDataElement(metainfo=dict(imgname=frame['imgname']), keypoints_3d=joints)
        metric.process(None, [answer.to_dict() for answer in model(data_samples=[element])])
    assert metric.evaluate(len(data)) == pytest.approx(expected.metrics(), abs=1e-3)


def test_the_nearest_person_needs_a_regressor_and_annotated_joints(tmp_path):
    path = predictions(tmp_path / 'both.npz', NAMES[:1] * 2)
    with pytest.raises(ValueError, match='regressor: missing'):
        StoredPredictions(path, person='nearest')
    model = StoredPredictions(path, person='nearest', regressor='free_body_h36m')
    with pytest.raises(DataError, match="keypoints_3d: missing, and person='nearest'"):
        model(data_samples=[sample(NAMES[0])])
