"""``mmjrr.evaluate``: the digits of the Runner, frames matched by name, everything counted."""

from __future__ import annotations

import builtins
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config

import mmjrr
from mmjrr.body_models import free_body
from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.predictions import match_names
from mmjrr.errors import DataError
from mmjrr.evaluation import PROTOCOLS, JointRegressorMetric, predictions_from
from mmjrr.evaluation.annotated_frames import TEST_ANNOTATION
from mmjrr.io.texts import TextColumn
from mmjrr.regressors import JointRegressor

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = ['paper', 'spin-p1', 'spin-p2']


@pytest.fixture(scope='module')
def stored(tiny_set: Path) -> dict[str, np.ndarray]:
    with np.load(tiny_set / 'fits' / 'spin_like_test.npz') as file:
        return {name: file[name] for name in ('imgname', 'pose', 'betas')}


@pytest.fixture(scope='module')
def regressors(tiny_set: Path) -> dict[str, str]:
    return {'J_std': str(tiny_set / 'regressors' / 'J_std.npy'), 'true': 'free_body_h36m'}


@pytest.fixture(scope='module')
def result(tiny_set: Path, stored: dict, regressors: dict) -> Any:
    return mmjrr.evaluate(stored, tiny_set, regressors, PROTOCOL)


@pytest.mark.slow
def test_the_numbers_are_the_runners_and_the_commands_to_the_last_digit(
    tiny_set: Path, regressors: dict, result: Any, tmp_path: Path, one_thread: dict[str, str]
) -> None:
    file = tiny_set / 'fits' / 'spin_like_test.npz'
    config = Config.fromfile(str(ROOT / 'configs/evaluation/stored-spin-like_synthetic.py'))
    config.test_dataloader.dataset.data_root = str(tiny_set)
    config.test_dataloader.batch_size = 3
    config.model.predictions = str(file)
    config.test_evaluator.update(
        regressors=regressors, protocol=PROTOCOL, out_file=str(tmp_path / 'runner.json')
    )
    config.dump(str(tmp_path / 'config.py'))
    for command in (
        ['tools/test.py', str(tmp_path / 'config.py'), '--work-dir', str(tmp_path / 'work')],
        ['tools/eval_predictions.py', str(file), '--annotations', str(tiny_set),
         '--regressor', *(f'{k}={v}' for k, v in regressors.items()),
         '--protocol', *PROTOCOL, '--out', str(tmp_path / 'command.json')],
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=one_thread, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
    runner, command_ = (
        json.loads((tmp_path / f'{name}.json').read_text()) for name in ('runner', 'command')
    )
    python = json.loads(json.dumps(result.to_dict()))
    assert runner['scores'] == command_['scores'] == python['scores']
    assert runner['metrics'] == python['metrics']
    assert len(python['metrics']) == 2 * 2 * len(PROTOCOL)


@pytest.mark.slow
def test_frames_in_any_order_give_the_metrics_bits(tmp_path: Path) -> None:
    """More frames than are computed at once, neither file in the order of the names."""
    rng = np.random.default_rng(0)
    count = 300
    numbers = rng.permutation(count)
    names = np.array([
        f'S9/S9_Walking.54138969/S9_Walking.54138969_{number:06d}.jpg' for number in numbers
    ])  # fmt: skip
    pose = (0.3 * rng.normal(size=(count, 72))).astype(np.float32)
    betas = rng.normal(size=(count, 10)).astype(np.float32)
    joints = rng.normal(size=(count, 17, 4))
    joints[..., 3] = 1
    np.savez(
        tmp_path / 'annotation.npz',
        imgname=names,
        center=np.full((count, 2), 500.0),
        scale=np.full(count, 4.0),
        part=np.zeros((count, 17, 3)),
        S=joints,
    )
    metric = JointRegressorMetric('free_body_h36m')
    for start in range(0, count, 7):
        metric.process(
            None,
            [
                dict(
                    imgname=names[row],
                    keypoints_3d=joints[row, :, :3].astype(np.float32),
                    pred_global_orient=pose[row, :3],
                    pred_body_pose=pose[row, 3:],
                    pred_betas=betas[row],
                )
                for row in range(start, min(start + 7, count))
            ],
        )
    metric.evaluate(count)
    order = rng.permutation(count)
    halves = [
        dict(imgname=names[rows], pose=pose[rows], betas=betas[rows])
        for rows in np.array_split(order, 2)
    ]
    result = mmjrr.evaluate(halves, tmp_path / 'annotation.npz', 'free_body_h36m')
    assert metric.result is not None
    assert repr(result.scores) == repr(metric.result.scores)


def videos_from(number: int) -> np.ndarray:
    """Names of three frames of two videos each, whose frames are counted from a number."""
    videos = (
        'S9/S9_Walking.54138969/S9_Walking.54138969',
        'S11/S11_Eating.54138969/S11_Eating.54138969',
    )
    return np.array([f'{video}_{number + frame:06d}.jpg' for video in videos for frame in range(3)])


@pytest.fixture
def ordered(tmp_path: Path):
    """Evaluate six bodies by their order, with names that count from a number, if any."""
    rng = np.random.default_rng(0)
    bodies = dict(
        pose=(0.3 * rng.normal(size=(6, 72))).astype(np.float32),
        betas=rng.normal(size=(6, 10)).astype(np.float32),
    )
    joints = np.ones((6, 17, 4))
    joints[..., :3] = rng.normal(size=(6, 17, 3))

    def evaluate(annotated_from: int, names: np.ndarray | None) -> Any:
        np.savez(
            tmp_path / 'annotation.npz',
            imgname=videos_from(annotated_from), center=np.full((6, 2), 500.0),
            scale=np.full(6, 4.0), part=np.zeros((6, 17, 3)), S=joints,
        )  # fmt: skip
        content = bodies if names is None else {**bodies, 'imgname': names}
        return mmjrr.evaluate(content, tmp_path / 'annotation.npz', 'free_body_h36m', match='order')

    return evaluate


@pytest.mark.parametrize(('annotated_from', 'named_from'), [(1, 0), (0, 1), (1, 1), (5, 0)])
def test_names_that_count_frames_from_0_do_not_contradict_the_order(
    ordered, annotated_from: int, named_from: int
) -> None:
    nameless = ordered(annotated_from, None)
    named = ordered(annotated_from, videos_from(named_from))
    assert named.frames == 6 and repr(named.scores) == repr(nameless.scores)
    notes = named.provenance['predictions'][0]['notes']
    note = 'bodies are matched by their order alone'
    assert sum(note in text for text in notes) == (annotated_from != named_from)
    assert nameless.provenance['predictions'][0]['notes'] == []


def test_names_of_frames_in_another_order_contradict_the_order(ordered) -> None:
    zero = videos_from(0)
    for names in (videos_from(2), zero[[1, 0, 2, 3, 4, 5]], np.roll(videos_from(1), -1)):
        with pytest.raises(DataError, match='names in another order than the annotation'):
            ordered(1, names)


@pytest.mark.parametrize(
    'name', ['fits/spin_like_test.npz', 'annotation_body3d/fps10/h36m_test.npz']
)
def test_large_files_whose_names_stay_in_a_file_give_the_same_bits(
    tiny_set: Path, regressors: dict, result: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    columns = []

    def texts_of(array: Any) -> TextColumn:
        columns.append(TextColumn.of(array))
        return columns[-1]

    module = 'datasets.predictions.parse' if 'fits' in name else 'evaluation.annotated_frames'
    monkeypatch.setattr(f'mmjrr.{module}.texts_of', texts_of)
    evaluated = mmjrr.evaluate(
        tiny_set / 'fits/spin_like_test.npz', tiny_set, regressors, PROTOCOL, keep_joints=True
    )
    assert len(columns) == 1
    assert repr(evaluated.scores) == repr(result.scores)
    assert repr(evaluated.intervals) == repr(result.intervals)
    assert list(evaluated.regressed.imgname) == sorted(evaluated.regressed.imgname)


def test_a_results_file_is_opened_once_for_its_bodies_and_its_checksum(
    tiny_set: Path, regressors: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened = tiny_set / 'fits/spin_like_test.npz', []
    load = builtins.open

    def counted(file: Any, *arguments: Any, **options: Any) -> Any:
        opened.append(str(file))
        return load(file, *arguments, **options)

    monkeypatch.setattr(builtins, 'open', counted)
    result = mmjrr.evaluate(path, tiny_set, regressors, 'paper')
    assert opened.count(str(path)) == 1
    about = result.provenance['predictions'][0]
    assert about['sha256'] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_vertices_and_parameters_may_be_parts_of_one_set(
    tiny_set: Path, stored: dict, regressors: dict, result: Any
) -> None:
    pose, betas = torch.from_numpy(stored['pose'][:3]), torch.from_numpy(stored['betas'][:3])
    vertices = free_body()(betas, pose[:, 3:], pose[:, :3]).vertices.numpy()
    parts = [
        {'imgname': stored['imgname'][:3], 'vertices': vertices},
        {name: values[3:] for name, values in stored.items()},
    ]
    evaluated = mmjrr.evaluate(parts, tiny_set, regressors, PROTOCOL)
    assert evaluated.metrics() == pytest.approx(result.metrics(), abs=1e-3)


def test_vertices_in_files_of_a_pattern_give_the_digits_of_one_file(
    tiny_set: Path, stored: dict, regressors: dict, tmp_path: Path
) -> None:
    pose, betas = torch.from_numpy(stored['pose']), torch.from_numpy(stored['betas'])
    vertices = free_body()(betas, pose[:, 3:], pose[:, :3]).vertices.numpy()
    whole = {'imgname': stored['imgname'], 'vertices': vertices}
    np.savez(tmp_path / 'whole.npz', **whole)
    for part, rows in enumerate((slice(0, 2), slice(2, 3), slice(3, None))):
        np.savez(tmp_path / f'part_{part}.npz', **{name: v[rows] for name, v in whole.items()})
    results = [
        mmjrr.evaluate(tmp_path / name, tiny_set, regressors, PROTOCOL)
        for name in ('whole.npz', 'part_*.npz')
    ]
    assert repr(results[0].scores) == repr(results[1].scores)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_tensors_give_what_arrays_of_their_values_give(
    tiny_set: Path, stored: dict, regressors: dict, dtype: torch.dtype
) -> None:
    tensors = {name: torch.from_numpy(stored[name]).to(dtype) for name in ('pose', 'betas')}
    arrays = {name: tensor.float().numpy() for name, tensor in tensors.items()}
    names = {'imgname': stored['imgname'].tolist()}
    passed = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
    evaluated = mmjrr.evaluate({**names, **passed}, tiny_set, regressors)
    assert (
        evaluated.metrics() == mmjrr.evaluate({**names, **arrays}, tiny_set, regressors).metrics()
    )


def test_the_error_is_the_mean_distance_from_the_annotation(
    tiny_set: Path, stored: dict, result: Any
) -> None:
    """From the whole mesh, without the package's own metric."""
    pose, betas = torch.from_numpy(stored['pose']), torch.from_numpy(stored['betas'])
    vertices = free_body()(betas, pose[:, 3:], pose[:, :3]).vertices
    joints = JointRegressor.load('free_body_h36m')(vertices).numpy()
    with np.load(tiny_set / TEST_ANNOTATION) as file:
        assert file['imgname'].tolist() == stored['imgname'].tolist()
        target = file['S'][..., :3]
    error = (joints - joints[:, :1]) - (target - target[:, :1])
    expected = 1000 * np.linalg.norm(error, axis=-1).mean()
    assert result.metrics()['true/paper/MPJPE'] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_vertices_give_what_their_parameters_give(
    tiny_set: Path, stored: dict, regressors: dict, result: Any
) -> None:
    pose, betas = torch.from_numpy(stored['pose']), torch.from_numpy(stored['betas'])
    vertices = free_body()(betas, pose[:, 3:], pose[:, :3]).vertices.numpy()
    for unit, scale in (('m', 1), ('mm', 1000)):
        evaluated = mmjrr.evaluate(
            {'imgname': stored['imgname'], 'vertices': scale * vertices},
            tiny_set,
            regressors,
            PROTOCOL,
            unit=unit,
        )
        assert evaluated.metrics() == pytest.approx(result.metrics(), abs=1e-3)
    with pytest.raises(ValueError, match="say unit='mm'"):
        mmjrr.evaluate(
            {'imgname': stored['imgname'], 'vertices': 1000 * vertices}, tiny_set, regressors
        )


@pytest.mark.slow
def test_order_and_folders_of_names_do_not_matter_and_order_alone_must_be_asked_for(
    tiny_set: Path, stored: dict, regressors: dict, result: Any
) -> None:
    turned = {name: values[::-1] for name, values in stored.items()}
    turned['imgname'] = np.array([f'/data/crops/{Path(n).stem}.png' for n in turned['imgname']])
    again = mmjrr.evaluate(turned, tiny_set, regressors, PROTOCOL)
    assert repr(again.scores) == repr(result.scores)  # NaN does not equal itself
    nameless = {'pose': stored['pose'], 'betas': stored['betas']}
    with pytest.raises(DataError, match=r"no image names.*match='order'"):
        mmjrr.evaluate(nameless, tiny_set, regressors)
    evaluated = mmjrr.evaluate(nameless, tiny_set, regressors, PROTOCOL, match='order')
    assert repr(evaluated.scores) == repr(result.scores)
    short = {name: values[1:] for name, values in nameless.items()}
    with pytest.raises(DataError, match=r'7 bodies for 8 frames'):
        mmjrr.evaluate(short, tiny_set, regressors, match='order')


@pytest.mark.slow
def test_order_counts_from_the_whole_annotation_where_sequences_are_left_out(
    tiny_set: Path, stored: dict, regressors: dict
) -> None:
    camera = Path(stored['imgname'][0]).parent.name
    protocol = dict(type='paper', exclude_sequences=[camera])
    named = mmjrr.evaluate(stored, tiny_set, regressors, protocol)
    nameless = {'pose': stored['pose'], 'betas': stored['betas']}
    ordered = mmjrr.evaluate(nameless, tiny_set, regressors, protocol, match='order')
    assert repr(ordered.scores) == repr(named.scores)
    count = sum(Path(name).parent.name == camera for name in stored['imgname'])
    assert (named.frames, len(named.unmatched)) == (8 - count, count)
    assert named.provenance['annotations']['predictions_left_out'] == count


@pytest.mark.slow
def test_unmatched_frames_of_both_sides_are_counted_and_listed(
    tiny_set: Path, stored: dict, regressors: dict
) -> None:
    content = {name: values[2:] for name, values in stored.items()}
    content['imgname'] = content['imgname'].copy()
    content['imgname'][0] = 'elsewhere/image_1.jpg'
    result = mmjrr.evaluate(content, tiny_set, regressors)
    assert result.frames == 5
    assert sorted(result.skipped) == sorted(stored['imgname'][:3])
    assert result.unmatched == ('elsewhere/image_1.jpg',)
    assert '3 frames had no prediction: S9' in str(result)
    assert '1 predictions belong to no frame that is evaluated: elsewhere' in str(result)
    rest = {name: values[:2] for name, values in stored.items()}
    alone = {name: values[3:] for name, values in stored.items()}
    both = mmjrr.evaluate([alone, rest], tiny_set, regressors)
    assert (both.frames, both.unmatched, len(both.skipped)) == (7, (), 1)
    with pytest.raises(DataError, match='and 0 more images have predictions'):
        mmjrr.evaluate([alone, {n: v[3:4] for n, v in stored.items()}], tiny_set, regressors)
    with pytest.raises(DataError, match=r"none of 1 .*'x.jpg'.*'S9/.*--match order"):
        one = {name: values[:1] for name, values in stored.items()}
        mmjrr.evaluate({**one, 'imgname': ['x.jpg']}, tiny_set, regressors)


def test_a_protocol_without_predictions_has_dashes_and_the_reason(
    tiny_set: Path, stored: dict, regressors: dict
) -> None:
    rows = [row for row, name in enumerate(stored['imgname']) if '.60457274' not in name]
    content = {name: values[rows] for name, values in stored.items()}
    result = mmjrr.evaluate(content, tiny_set, regressors, ['spin-p2', 'paper'])
    alone = mmjrr.evaluate(content, tiny_set, regressors, 'paper')
    assert result.without_prediction == ('spin-p2',) and alone.without_prediction == ()
    assert result.to_dict()['without_prediction'] == ['spin-p2']
    assert repr(result.select('paper')) == repr(alone.select('paper'))
    assert [score.frames for score in result.select('spin-p2')] == [0, 0]
    assert re.search('^J_std +– +–$', str(result), re.MULTILINE)
    assert result.undefined(['MPJPE']) == [
        'No scores under spin-p2: no frame that counts has a prediction'
    ]


def test_names_match_by_their_folders_where_the_files_names_are_not_enough() -> None:
    predicted = ['/data/cam1/0001.jpg', '/data/cam2/0001.jpg', 'cam2/0002.png']
    annotated = ['images/cam2/0001.png', 'images/cam1/0001.png', 'cam1/0002.png', 'cam1/0003.png']
    assert match_names(predicted, annotated).tolist() == [1, 0, 2, -1]
    with pytest.raises(DataError, match=r'mine: .*0001.png has 2 predictions.*keep one'):
        match_names(['a/0001.jpg', 'b/0001.jpg'], ['c/0001.png'], 'mine')


@pytest.mark.slow
def test_sequences_with_names_and_matrices(
    tiny_set: Path, stored: dict, regressors: dict, result: Any
) -> None:
    from mmjrr.geometry import axis_angle_to_matrix

    matrices = axis_angle_to_matrix(torch.from_numpy(stored['pose']).reshape(8, 24, 3).double())
    evaluated = mmjrr.evaluate(
        {
            'imgname': stored['imgname'].reshape(2, 4),
            'pose': matrices.reshape(2, 4, 24, 3, 3).numpy(),
            'betas': stored['betas'].reshape(2, 4, 10),
        },
        tiny_set,
        regressors,
        PROTOCOL,
    )
    assert evaluated.metrics() == pytest.approx(result.metrics(), abs=1e-3)


@pytest.mark.slow
def test_parameters_need_a_body_and_annotations_a_file(
    tiny_set: Path, stored: dict, regressors: dict, tmp_path: Path, result: Any
) -> None:
    weight = np.zeros((17, 6890), np.float32)
    weight[range(17), range(17)] = 1
    plain = JointRegressor(torch.from_numpy(weight), 'mmpose', 'smpl')
    with pytest.raises(ValueError, match=r"SMPL parameters.*'free_body' is the free one"):
        mmjrr.evaluate(stored, tiny_set, plain)
    with pytest.raises(FileNotFoundError, match='SMPL_NEUTRAL'):
        mmjrr.evaluate(stored, tiny_set, plain, body_model=tmp_path)
    with pytest.raises(FileNotFoundError, match='h36m_test.npz'):
        mmjrr.evaluate(stored, tmp_path, regressors)
    with pytest.raises(ValueError, match='annotations: found int'):
        mmjrr.evaluate(stored, 5, regressors)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='predictions: found none'):
        mmjrr.evaluate([], tiny_set, regressors)
    with pytest.raises(ValueError, match="match: found 'nome'"):
        mmjrr.evaluate(stored, tiny_set, regressors, match='nome')
    broken = {**stored, 'betas': stored['betas'].copy()}
    broken['betas'][3, 1] = np.nan
    with pytest.raises(ValueError, match=rf'{stored["imgname"][3]}: betas: found NaN'):
        mmjrr.evaluate(broken, tiny_set, regressors)
    data_set = H36MFitsDataset(TEST_ANNOTATION, str(tiny_set), test_mode=True)
    evaluated = mmjrr.evaluate(
        predictions_from(stored), data_set, regressors, PROTOCOL, body_model='free_body'
    )
    assert repr(evaluated.scores) == repr(result.scores)


def test_the_configs_data_leave_out_what_has_no_images_and_no_protocol_counts() -> None:
    config = Config.fromfile(str(ROOT / 'configs/_base_/h36m_evaluation.py'))
    assert tuple(config.test_dataloader.dataset.exclude_sequences) == (
        PROTOCOLS['paper'].exclude_sequences
    )
    assert config.test_dataloader.dataset.ann_file == TEST_ANNOTATION


def test_the_result_is_a_table_a_dict_a_file_and_a_dataframe(
    result: Any, stored: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = json.loads(result.save(tmp_path / 'result.json').read_text())
    assert saved['metrics'] == result.metrics()
    about = saved['provenance']
    assert about['predictions'][0]['layout'] == 'spin'
    assert about['predictions'][0]['bodies'] == about['predictions'][0]['matched'] == 8
    assert len(about['annotations']['sha256']) == 64
    assert set(about['regressors']) == {'J_std', 'true'} and about['versions']['mmjrr']
    rows = result.save(tmp_path / 'result.csv').read_text().splitlines()
    assert len(rows) == 1 + len(result.scores)
    text = str(result)
    for protocol in PROTOCOL:
        assert f'protocol {protocol} ({PROTOCOLS[protocol].summary})' in text
    assert f'{result.metrics()["true/paper/MPJPE"]:.1f}' in text

    load = builtins.__import__

    def without_pandas(name: str, *arguments: Any, **more: Any) -> Any:
        if name.split('.')[0] == 'pandas':
            raise ImportError('No module named pandas')
        return load(name, *arguments, **more)

    monkeypatch.setattr(builtins, '__import__', without_pandas)
    with pytest.raises(ImportError, match='pip install pandas'):
        result.to_dataframe()


def test_the_dataframe_has_a_row_for_each_score(result: Any) -> None:
    pytest.importorskip('pandas', reason='the dataframe needs pandas')
    frame = result.to_dataframe()
    assert len(frame) == len(result.scores)
    chosen = frame[(frame.by == 'all') & (frame.protocol == 'paper') & (frame.regressor == 'true')]
    assert chosen.mpjpe.item() == result.metrics()['true/paper/MPJPE']
