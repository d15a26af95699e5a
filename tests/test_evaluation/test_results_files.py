"""Results files of many layouts score as the same bodies in SPIN's layout, or are refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

import mmjrr
from mmjrr.body_models import free_body
from mmjrr.datasets.image_names import ACTIONS, CAMERAS, parse_image_name
from mmjrr.errors import DataError
from mmjrr.evaluation import EvaluationResult

REGRESSOR = 'free_body_h36m'


class Stored:
    """The estimator's bodies and the true ones of the test frames."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with np.load(folder / 'fits' / 'spin_like_test.npz') as file:
            self.names: list[str] = file['imgname'].tolist()
            self.pose, self.betas = file['pose'], file['betas']
        with np.load(folder / 'truth' / 'h36m_test.npz') as file:
            rows = [file['imgname'].tolist().index(name) for name in self.names]
            self.true_pose, self.true_betas = file['pose'][rows], file['betas'][rows]
        self.count = len(self.names)
        rotations = Rotation.from_rotvec(self.pose.reshape(-1, 3)).as_matrix()
        self.matrices = rotations.reshape(self.count, 24, 3, 3).astype(np.float32)

    def content(self, **changes: Any) -> dict[str, Any]:
        """SPIN's layout, changed."""
        return {'imgname': self.names, 'pose': self.pose, 'betas': self.betas, **changes}


@pytest.fixture(scope='module')
def stored(tiny_set: Path) -> Stored:
    return Stored(tiny_set)


@pytest.fixture(scope='module')
def evaluate(tiny_set: Path):
    def evaluate(predictions: Any, **options: Any) -> EvaluationResult:
        return mmjrr.evaluate(predictions, tiny_set, REGRESSOR, **options)

    return evaluate


@pytest.fixture(scope='module')
def plain(stored: Stored, evaluate) -> EvaluationResult:
    return evaluate(stored.content())


def assert_same(result: EvaluationResult, plain: EvaluationResult) -> None:
    assert result.frames == plain.frames and not result.skipped and not result.unmatched
    for key, value in plain.metrics().items():
        assert result.metrics()[key] == pytest.approx(value, abs=1e-4)  # mm


def notes_on(result: EvaluationResult) -> str:
    return '\n'.join(note for part in result.provenance['predictions'] for note in part['notes'])


# -- the same bodies -----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_prediction_is_scored_and_not_the_ground_truth_beside_it(stored, evaluate, plain):
    result = evaluate(
        {
            'imgname': stored.names,
            'pose': stored.true_pose,
            'betas': stored.true_betas,
            'pred_pose': stored.matrices,
            'pred_shape': stored.betas,
            'pred_cam': np.ones((stored.count, 3)),
        }
    )
    assert_same(result, plain)
    assert (
        'pred_pose, pred_shape are taken for the prediction; pose, betas are ignored'
        in notes_on(result)
    )
    truth = evaluate(stored.content(pose=stored.true_pose, betas=stored.true_betas))
    assert truth.metrics()[f'{REGRESSOR}/paper/MPJPE'] < 30


@pytest.mark.slow
def test_easymocaps_files_score_as_the_same_bodies(stored, evaluate, plain, tmp_path):
    content = {
        Path(name).name: [
            dict(
                id=0,
                Rh=stored.pose[i : i + 1, :3].tolist(),
                Th=[[0, 0, 3.0]],
                poses=[[0.0] * 3 + stored.pose[i, 3:].tolist()],
                shapes=stored.betas[i : i + 1].tolist(),
            )
        ]
        for i, name in enumerate(stored.names)
    }
    (tmp_path / 'results.json').write_text(json.dumps(content))
    assert_same(evaluate(tmp_path / 'results.json'), plain)
    for name, persons in content.items():  # as EasyMocap itself, a file for each image
        (tmp_path / 'smpl').mkdir(exist_ok=True)
        (tmp_path / 'smpl' / Path(name).with_suffix('.json')).write_text(json.dumps(persons))
    assert_same(evaluate(tmp_path / 'smpl'), plain)


@pytest.mark.slow
def test_folders_and_patterns_score_as_one_file(stored, evaluate, plain, tmp_path):
    for i, name in enumerate(stored.names):
        file = tmp_path / Path(name).with_suffix('.npz').name
        np.savez(file, pose=stored.pose[i : i + 1], betas=stored.betas[i : i + 1])
    assert_same(evaluate(tmp_path), plain)
    assert_same(evaluate(f'{tmp_path}/S9_*.npz'), plain)
    (part,) = evaluate(tmp_path).provenance['predictions']
    assert part['bodies'] == stored.count and f'{stored.count} files' in part['notes']


@pytest.mark.slow
def test_npy_nested_and_torch_files_score_as_one_file(stored, evaluate, plain, tmp_path):
    np.save(tmp_path / 'dict.npy', stored.content())
    assert_same(evaluate(tmp_path / 'dict.npy'), plain)
    np.save(tmp_path / 'theta.npy', np.concatenate([stored.pose, stored.betas], 1))
    assert_same(evaluate(tmp_path / 'theta.npy', match='order'), plain)
    fields = {'pose': '[0:72]', 'betas': '[72:82]'}
    assert_same(evaluate(tmp_path / 'theta.npy', match='order', fields=fields), plain)
    nested = {'imgname': stored.names, 'pred': {'pose': stored.pose, 'betas': stored.betas}}
    (tmp_path / 'nested.pkl').write_bytes(pickle.dumps(nested))
    assert_same(evaluate(tmp_path / 'nested.pkl'), plain)
    fields = {'imgname': 'imgname', 'pose': 'pred.pose', 'betas': 'pred.betas'}
    assert_same(evaluate(tmp_path / 'nested.pkl', fields=fields), plain)
    torch.save(stored.content(imgname=np.array(stored.names)), tmp_path / 'numpy.pt')
    assert_same(evaluate(tmp_path / 'numpy.pt'), plain)


def numbered(name: str, subaction: int | None = None) -> str:
    image = parse_image_name(name)
    take = image.sequence.rsplit('_', 1)[-1]
    subaction = subaction or (int(take) if take.isdigit() else 2)
    return (
        f's_{int(image.subject[1:]):02d}_act_{ACTIONS.index(image.action) + 2:02d}_subact_'
        f'{subaction:02d}_ca_{CAMERAS.index(image.camera) + 1:02d}_{image.frame:06d}.jpg'
    )


@pytest.mark.slow
def test_other_spellings_of_the_names_score_the_same(stored, evaluate, plain):
    aliases = {'Photo': 'TakingPhoto', 'WalkDog': 'WalkingDog', 'WalkTogether': 'WalkingTogether'}
    names = stored.names
    for short, long in aliases.items():
        names = [name.replace(short, long) for name in names]
    assert_same(evaluate(stored.content(imgname=names)), plain)
    assert_same(evaluate(stored.content(imgname=[numbered(n) for n in stored.names])), plain)


@pytest.mark.slow
def test_where_two_takes_are_annotated_metadata_names_that_of_a_subaction(
    stored, tiny_set, evaluate, plain, tmp_path
):
    """The annotation of another set, in which each action has a second take."""
    with np.load(tiny_set / 'annotation_body3d/fps10/h36m_test.npz') as file:
        arrays = dict(file)
    other = [take_two(name) for name in arrays['imgname'].tolist()]
    arrays = {name: np.concatenate([value, value]) for name, value in arrays.items()}
    arrays['imgname'] = np.array([*arrays['imgname'][: len(other)].tolist(), *other])
    np.savez(tmp_path / 'two_takes.npz', **arrays)
    content = stored.content(imgname=[numbered(name, 1) for name in stored.names])
    with pytest.raises(DataError, match=r'are annotated; metadata=.*--metadata'):
        mmjrr.evaluate(content, tmp_path / 'two_takes.npz', REGRESSOR)
    metadata = tmp_path / 'metadata.xml'
    metadata.write_text(metadata_with(stored.names))
    result = mmjrr.evaluate(content, tmp_path / 'two_takes.npz', REGRESSOR, metadata=metadata)
    assert result.metrics() == pytest.approx(plain.metrics(), abs=1e-4)
    assert set(result.skipped) == set(other)


def take_two(name: str) -> str:
    sequence = parse_image_name(name).sequence
    return name.replace(sequence, '_'.join(sequence.split('_')[:2]) + '_7')


def metadata_with(names: list[str]) -> str:
    """A metadata.xml in which subaction 1 is the take of the names, and 2 the other."""
    takes = {}
    for name in names:
        image = parse_image_name(name)
        take = image.sequence.partition('_')[2].replace('_', ' ')
        takes[image.subject, ACTIONS.index(image.action) + 2] = (take, take.split()[0] + ' 7')
    subjects = [f'S{number}' for number in range(1, 12)]
    rows = [['', '', *subjects]]
    for action in range(2, 17):
        for subaction in (1, 2):
            row = [takes.get((s, action), ('-', '-'))[subaction - 1] for s in subjects]
            rows.append([str(action), str(subaction), *row])
    table = ''.join('<tr>' + ''.join(f'<td>{cell}</td>' for cell in row) + '</tr>' for row in rows)
    numbers = ' '.join(['0.5'] * (4 * (11 * 6 + 9)))
    cameras = ''.join(f'<item>{camera}</item>' for camera in CAMERAS)
    return (
        f'<m><mapping>{table}</mapping><dbcameras><index2id>{cameras}</index2id></dbcameras>'
        f'<w0>[{numbers}]</w0></m>'
    )


@pytest.mark.slow
@pytest.mark.parametrize('first', [True, False])
def test_the_annotated_one_of_several_persons_is_scored(stored, evaluate, plain, first):
    content = {}
    for i, name in enumerate(stored.names):
        poses = [stored.matrices[i], np.roll(stored.matrices[i], 1, 0)]
        poses = poses[:: 1 if first else -1] if i % 3 == 0 else poses[:1]
        content[name] = dict(pose=np.stack(poses), betas=np.stack([stored.betas[i]] * len(poses)))
    result = evaluate(content)
    assert_same(result, plain)
    several = len(range(0, stored.count, 3))
    assert f'{several} frames have several persons; the one nearest' in notes_on(result)
    with pytest.raises(DataError, match=r"2 predictions.*person='nearest'"):
        evaluate(content, person=None)


def test_equal_repetitions_count_once(stored, evaluate, plain):
    twice = {name: np.concatenate([value, value]) for name, value in stored.content().items()}
    result = evaluate(twice)
    assert_same(result, plain)
    assert f'{stored.count} frames have equal bodies, counted once' in notes_on(result)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['columns', 'rows'])
def test_6d_rotations_are_decided_by_the_annotated_joints(stored, evaluate, plain, kind):
    columns = stored.matrices[..., :2].swapaxes(-1, -2)
    pairs = {'columns': columns, 'rows': stored.matrices[..., :2, :]}
    content = stored.content(pose=pairs[kind].reshape(stored.count, 24, 6))
    result = evaluate(content)
    assert_same(result, plain)
    assert f'6D rotations are read as {kind} (' in notes_on(result)
    assert_same(evaluate(content, rotation_6d=kind), plain)
    other = evaluate(content, rotation_6d='rows' if kind == 'columns' else 'columns')
    key = f'{REGRESSOR}/paper/MPJPE'
    assert other.metrics()[key] > 2 * plain.metrics()[key]


@pytest.mark.slow
def test_6d_rotations_that_the_joints_do_not_tell_apart_are_refused(stored, evaluate):
    """Turns by 180° about x, the same matrices transposed, but for a finger's breadth."""
    half = Rotation.from_euler('x', 180, degrees=True).as_matrix()
    tilt = Rotation.from_euler('z', 0.5, degrees=True).as_matrix()
    pose = np.tile((tilt @ half).astype(np.float32), (stored.count, 24, 1, 1))
    content = stored.content(pose=pose[..., :2, :].reshape(stored.count, 24, 6))
    with pytest.raises(DataError, match=r'columns or rows, and the annotated joints do not tell'):
        evaluate(content)


# -- frames without a body -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize('value', [0, np.nan])
def test_rows_of_zeros_or_nan_are_missing_frames(stored, evaluate, value):
    pose, betas = stored.pose.copy(), stored.betas.copy()
    pose[[1, 4]] = value
    betas[[1, 4]] = 0
    result = evaluate(stored.content(pose=pose, betas=betas))
    assert sorted(result.skipped) == sorted([stored.names[1], stored.names[4]])
    assert result.unmatched == () and result.frames == stored.count - 2
    rest = [i for i in range(stored.count) if i not in (1, 4)]
    alone = evaluate({n: [v[i] for i in rest] for n, v in stored.content().items()})
    assert result.metrics() == alone.metrics()
    assert f'2 of {stored.count} rows hold no body (2 all' in notes_on(result)
    with pytest.raises(DataError, match=r'2 of 8 annotated frames have no prediction.*2 of 8 rows'):
        evaluate(stored.content(pose=pose, betas=betas), missing='raise')
    ordered = evaluate({'pose': pose, 'betas': betas}, match='order')
    assert ordered.metrics() == result.metrics()


@pytest.mark.slow
def test_images_with_nobody_are_missing_frames(stored, evaluate):
    content = {
        name: dict(pose=stored.pose[i : i + 1], betas=stored.betas[i : i + 1])
        for i, name in enumerate(stored.names)
    }
    content[stored.names[0]] = dict(pose=np.zeros((0, 72)), betas=np.zeros((0, 10)))
    result = evaluate(content)
    assert result.skipped == (stored.names[0],) and result.frames == stored.count - 1
    with pytest.raises(DataError, match='1 of 8 annotated frames have no prediction'):
        evaluate(content, missing='raise')
    with pytest.raises(DataError, match=r'no frame has a prediction: 8 of 8 rows hold no body'):
        evaluate(stored.content(pose=np.zeros_like(stored.pose)))


# -- another body --------------------------------------------------------------------------------


@pytest.mark.slow
def test_gendered_parameters_are_refused_on_the_free_body_which_has_none(stored, evaluate, plain):
    content = stored.content(gender=np.array(['male'] * stored.count))
    with pytest.raises(DataError, match=r"gender: found 'male', but the free body.*--gender neu"):
        evaluate(content)
    assert_same(evaluate(content, gender='neutral'), plain)
    assert_same(evaluate(stored.content(gender='neutral')), plain)
    mixed = ['male', *['female'] * (stored.count - 1)]
    with pytest.raises(DataError, match='found 7 female and 1 male bodies'):
        evaluate(stored.content(gender=mixed))
    vertices = bodies(stored)
    assert_same(evaluate({'imgname': stored.names, 'vertices': vertices, 'gender': 'male'}), plain)


def bodies(stored: Stored) -> np.ndarray:
    pose = torch.from_numpy(stored.pose).double()
    betas = torch.from_numpy(stored.betas).double()
    body = free_body(dtype=torch.float64)
    return body(betas, pose[:, 3:], pose[:, :3]).vertices.numpy().astype(np.float32)


@pytest.mark.slow
def test_more_betas_than_the_body_has_are_refused_and_cut_when_asked_for(stored, evaluate, plain):
    more = np.concatenate([stored.betas, np.ones((stored.count, 1), np.float32)], 1)
    with pytest.raises(DataError, match=r'betas: found 11 .*at most 10.*free body.*--num-betas 10'):
        evaluate(stored.content(betas=more))
    assert_same(evaluate(stored.content(betas=more), num_betas=10), plain)
    with pytest.raises(DataError, match='betas: found 10, expected at least num_betas=12'):
        evaluate(stored.content(), num_betas=12)


@pytest.mark.slow
def test_fewer_betas_are_those_of_a_body_with_fewer(stored, evaluate):
    zeros = stored.betas.copy()
    zeros[:, 6:] = 0
    few = evaluate(stored.content(betas=stored.betas[:, :6]))
    assert few.metrics() == pytest.approx(evaluate(stored.content(betas=zeros)).metrics(), abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('count', 'name'), [(10475, "SMPL-X's"), (18439, "MHR's"), (778, 'MANO'), (4321, 'no known')]
)
def test_vertices_of_other_meshes_are_recognized(stored, evaluate, count, name):
    vertices = np.random.default_rng(0).random((2, count, 3), np.float32)
    with pytest.raises(DataError, match=rf'vertices: found {count} .*{name}.*expected 6890, SMPL'):
        evaluate({'imgname': stored.names[:2], 'vertices': vertices})


# -- frame numbers -------------------------------------------------------------------------------


@pytest.mark.slow
def test_frames_counted_from_0_are_reported(stored, evaluate):
    def earlier(name: str) -> str:
        return f'{name[:-10]}{int(name[-10:-4]) - 1:06d}.jpg'

    names = [earlier(name) for name in stored.names]
    with pytest.raises(DataError, match=r'with \+1 on the frame numbers, 8 would match.*from 0'):
        evaluate(stored.content(imgname=names))
    some = evaluate(
        {n: np.concatenate([v, v]) for n, v in stored.content().items()}
        | {'imgname': [*stored.names, *names]}
    )
    assert 'frame numbers in image names start at 0' in notes_on(some)


def test_neuralannots_bodies_in_the_world_score_as_those_of_a_camera(
    stored, evaluate, tmp_path
) -> None:
    names = [parse_image_name(name) for name in stored.names]
    camera = names[0].camera
    rows = [row for row, name in enumerate(names) if name.camera == camera]
    turn = Rotation.random(random_state=8)
    bodies: dict[str, Any] = {}
    for row in rows:
        action = str(ACTIONS.index(names[row].action) + 2)
        pose = stored.pose[row].astype(np.float64)
        pose[:3] = (turn.inv() * Rotation.from_rotvec(pose[:3])).as_rotvec()
        body = {
            'pose': pose.tolist(),
            'shape': stored.betas[row].tolist(),
            'trans': [0.0, 0.0, 0.0],
        }
        bodies.setdefault(action, {'1': {}})['1'][str(names[row].frame - 1)] = body
    number = str(CAMERAS.index(camera) + 1)
    subject = names[0].subject[1:]
    cameras = {number: {'R': turn.as_matrix().tolist(), 't': [0.0, 0.0, 0.0]}}
    (tmp_path / f'Human36M_subject{subject}_camera.json').write_text(json.dumps(cameras))
    file = tmp_path / f'Human36M_subject{subject}_SMPL_NeuralAnnot.json'
    file.write_text(json.dumps(bodies))
    result = evaluate(file)
    expected = evaluate(
        {
            'imgname': [stored.names[row] for row in rows],
            'pose': stored.pose[rows],
            'betas': stored.betas[rows],
        }
    )
    assert result.frames == expected.frames == len(rows)
    assert result.metrics() == pytest.approx(expected.metrics(), abs=1e-3)
