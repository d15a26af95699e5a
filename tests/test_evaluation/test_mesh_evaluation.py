"""Evaluation against annotated meshes, against formulas written out."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.multiprocessing.reductions import StorageWeakRef

from mmjrr.body_models import free_body
from mmjrr.body_models.free_body import FREE_BODY_FILE
from mmjrr.body_models.smpl_files import load_smpl_file
from mmjrr.datasets.predictions import predictions_from
from mmjrr.errors import DataError
from mmjrr.evaluation import evaluate_meshes, mesh_evaluation
from mmjrr.regressors import JointRegressor

COUNT = 5
NAMES = [f'anna/run/{number:06d}.jpg' for number in range(10, 10 + COUNT)]


def bodies(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        'imgname': np.array(NAMES),
        'pose': (0.3 * rng.normal(size=(COUNT, 72))).astype(np.float32),
        'betas': rng.normal(size=(COUNT, 10)).astype(np.float32),
    }


def vertices(content: dict[str, np.ndarray]) -> np.ndarray:
    pose, betas = (torch.from_numpy(content[name]).double() for name in ('pose', 'betas'))
    posed = free_body(dtype=torch.float64)(
        global_orient=pose[:, :3], body_pose=pose[:, 3:], betas=betas
    )
    return posed.vertices.numpy()


def slow_similarity(points: np.ndarray, goal: np.ndarray) -> np.ndarray:
    source, target = points - points.mean(0), goal - goal.mean(0)
    u, s, vt = np.linalg.svd(source.T @ target)
    flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    scale = np.trace(np.diag(s) @ flip) / (source**2).sum()
    return scale * source @ u @ flip @ vt + goal.mean(0)


@pytest.fixture(scope='module')
def result():
    return evaluate_meshes(bodies(0), bodies(1), 'free_body_h36m', ['bedlam', 'vibe', 'emdb'])


def scores_of(result, regressor: str, protocol: str):
    return next(s for s in result.select(protocol) if s.regressor == regressor)


def test_the_24_joints_of_the_body_are_compared_at_the_middle_of_the_hips(result):
    points, goal = vertices(bodies(0)), vertices(bodies(1))
    weight = load_smpl_file(FREE_BODY_FILE)['J_regressor']
    joints, goals = weight @ points, weight @ goal
    middle = joints[:, [1, 2]].mean(1, keepdims=True)
    goal_middle = goals[:, [1, 2]].mean(1, keepdims=True)
    score = scores_of(result, 'body', 'emdb')
    expected = np.linalg.norm((joints - middle) - (goals - goal_middle), axis=-1).mean()
    assert score.mpjpe == pytest.approx(1000 * expected, abs=1e-4)
    pve = np.linalg.norm((points - middle) - (goal - goal_middle), axis=-1).mean()
    assert score.pve == pytest.approx(1000 * pve, abs=1e-4)
    aligned = [slow_similarity(p, g) for p, g in zip(points, goal, strict=True)]
    pa_pve = np.linalg.norm(np.stack(aligned) - goal, axis=-1).mean()
    assert score.pa_pve == pytest.approx(1000 * pa_pve, abs=1e-4)
    change = np.diff(joints - middle, 2, axis=0) - np.diff(goals - goal_middle, 2, axis=0)
    acceleration = np.linalg.norm(change, axis=-1).mean()
    assert score.acceleration == pytest.approx(1000 * acceleration, abs=1e-4)


def test_a_regressor_is_scored_under_the_protocols_whose_joints_it_has(result):
    scored = {(s.regressor, s.protocol) for s in result.scores}
    assert scored == {
        ('free_body_h36m', 'bedlam'), ('free_body_h36m', 'vibe'), ('body', 'emdb'),
    }  # fmt: skip


def test_both_meshes_go_through_the_regressor(result):
    regressor = JointRegressor.load('free_body_h36m', dtype=torch.float64)
    joints, goals = (regressor(torch.from_numpy(vertices(bodies(seed)))).numpy() for seed in (0, 1))
    lsp = [regressor.joint_names.index(j) for j in result.protocols['bedlam'].joints]
    error = (joints - joints[:, :1]) - (goals - goals[:, :1])
    expected = np.linalg.norm(error[:, lsp], axis=-1).mean()
    score = scores_of(result, 'free_body_h36m', 'bedlam')
    assert score.mpjpe == pytest.approx(1000 * expected, abs=1e-4)


def test_vertices_score_as_the_parameters_that_they_were_made_from(result):
    content = {'imgname': np.array(NAMES), 'vertices': vertices(bodies(0))}
    evaluated = evaluate_meshes(content, bodies(1), 'free_body_h36m', ['vibe'])
    score = scores_of(evaluated, 'free_body_h36m', 'vibe')
    assert score.pve == pytest.approx(scores_of(result, 'free_body_h36m', 'vibe').pve, abs=1e-2)


def test_two_annotated_persons_in_an_image_get_the_nearest_prediction_each():
    first, second = bodies(0), bodies(1)
    both = {name: np.concatenate([first[name], second[name]]) for name in first}
    swapped = {name: np.concatenate([second[name], first[name]]) for name in first}
    result = evaluate_meshes(both, swapped, 'free_body_h36m', ['vibe'])
    assert result.frames == 2 * COUNT
    assert scores_of(result, 'free_body_h36m', 'vibe').mpjpe < 1e-6


def both(*people: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([person[name] for person in people]) for name in people[0]}


def with_tracks(*people: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**both(*people), 'track': np.repeat(['anna', 'ben'], COUNT)}


TRACK = dict(track='track')


def acceleration(
    points: dict[str, np.ndarray], goal: dict[str, np.ndarray], middle: tuple[int, ...]
) -> float:
    """Mean acceleration error of the body's joints in some frames of a person, in mm."""
    weight = load_smpl_file(FREE_BODY_FILE)['J_regressor']
    joints, goals = (weight @ vertices(content) for content in (points, goal))
    error = (joints - joints[:, [1, 2]].mean(1, keepdims=True)) - (
        goals - goals[:, [1, 2]].mean(1, keepdims=True)
    )
    errors = [np.linalg.norm(error[t - 1] - 2 * error[t] + error[t + 1], axis=-1) for t in middle]
    return float(1000 * np.mean(errors))


@pytest.mark.parametrize('person', ['nearest', None])
@pytest.mark.parametrize('seeds', [(0, 1), (1, 0)])
def test_an_annotated_person_whom_nobody_predicts_is_skipped(person, seeds):
    target = both(bodies(seeds[0]), bodies(seeds[1]))
    result = evaluate_meshes(bodies(0), target, 'free_body_h36m', ['vibe'], person=person)
    assert result.frames == COUNT and result.skipped == tuple(NAMES)
    assert scores_of(result, 'free_body_h36m', 'vibe').mpjpe < 1e-6
    note = 'are nearer to other annotated bodies'
    assert any(note in text for text in result.provenance['notes'])


def test_a_person_not_nearest_to_any_prediction_gets_the_one_that_is_left():
    anna, far = bodies(0), bodies(7)
    rng = np.random.default_rng(3)
    ben = {**anna, 'pose': anna['pose'] + (0.02 * rng.normal(size=(COUNT, 72))).astype(np.float32)}
    alone = evaluate_meshes(far, ben, 'free_body_h36m', ['vibe'])
    result = evaluate_meshes(both(far, anna), both(ben, anna), 'free_body_h36m', ['vibe'])
    assert result.frames == 2 * COUNT and result.skipped == ()
    expected = scores_of(alone, 'free_body_h36m', 'vibe').mpjpe / 2  # the other half has no error
    assert expected > 20
    assert scores_of(result, 'free_body_h36m', 'vibe').mpjpe == pytest.approx(expected, abs=1e-6)


def test_an_annotated_person_who_does_not_count_takes_no_prediction():
    target = with_tracks(bodies(0), bodies(1))
    target['pose'][COUNT:] = np.nan
    result = evaluate_meshes(bodies(1), target, 'free_body_h36m', ['vibe'], annotated_fields=TRACK)
    alone = evaluate_meshes(bodies(1), bodies(0), 'free_body_h36m', ['vibe'])
    assert result.frames == COUNT
    score = scores_of(result, 'free_body_h36m', 'vibe')
    assert score.mpjpe == scores_of(alone, 'free_body_h36m', 'vibe').mpjpe


def test_an_annotated_body_that_is_stored_twice_counts_once(result):
    target = both(bodies(1), bodies(1))
    twice = evaluate_meshes(bodies(0), target, 'free_body_h36m', ['bedlam', 'vibe', 'emdb'])
    assert twice.frames == COUNT and twice.skipped == ()
    assert scores_of(twice, 'body', 'emdb') == scores_of(result, 'body', 'emdb')


def test_the_acceleration_error_compares_a_track_with_itself():
    anna, ben, nearly_anna, nearly_ben = bodies(0), bodies(1), bodies(0), bodies(1)
    rng = np.random.default_rng(5)
    for content in (nearly_anna, nearly_ben):
        content['pose'] += (0.03 * rng.normal(size=(COUNT, 72))).astype(np.float32)
    predicted, target = both(nearly_anna, nearly_ben), with_tracks(anna, ben)

    def found() -> float:
        result = evaluate_meshes(
            predicted, target, 'free_body_h36m', ['emdb'], annotated_fields=TRACK
        )
        return scores_of(result, 'body', 'emdb').acceleration

    of_anna = acceleration(nearly_anna, anna, (1, 2, 3))
    of_ben = acceleration(nearly_ben, ben, (1, 2, 3))
    assert found() == pytest.approx((of_anna + of_ben) / 2, abs=1e-4)
    target['pose'][COUNT] = np.nan  # Ben is not seen in the first frame
    of_ben = acceleration(nearly_ben, ben, (2, 3))
    assert found() == pytest.approx((3 * of_anna + 2 * of_ben) / 5, abs=1e-4)


def test_several_people_without_tracks_have_no_acceleration_error():
    people = both(bodies(0), bodies(1))
    result = evaluate_meshes(people, people, 'free_body_h36m', ['emdb'])
    assert np.isnan(scores_of(result, 'body', 'emdb').acceleration)
    notes = result.provenance['notes']
    assert any('1 videos have no acceleration error' in text for text in notes)


def sequence_of_3dpw(*people: dict[str, np.ndarray]) -> dict[str, object]:
    return {
        'poses': [person['pose'] for person in people],
        'betas': [np.pad(person['betas'][0], (0, 290)) for person in people],
        'genders': ['n' for _ in people],
        'cam_poses': np.tile(np.eye(4), (COUNT, 1, 1)),
        'campose_valid': [np.ones(COUNT, np.int64) for _ in people],
        'sequence': 'downtown_run_00',
    }


def predicted_on_3dpw(person: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = np.array([f'predictions/image_{frame:05d}.jpg' for frame in range(COUNT)])
    return {**person, 'imgname': names}


def test_people_of_a_sequence_file_of_3dpw_are_tracks():
    people = [bodies(0), bodies(1)]
    for person in people:
        person['betas'][:] = person['betas'][0]
    noisy = [dict(person) for person in people]
    rng = np.random.default_rng(5)
    for content in noisy:
        content['pose'] = content['pose'] + (0.03 * rng.normal(size=(COUNT, 72))).astype(np.float32)
    tree = sequence_of_3dpw(*people)
    assert predictions_from(tree).track == COUNT * ['0'] + COUNT * ['1']
    predicted = [predicted_on_3dpw(content) for content in noisy]
    result = evaluate_meshes(both(*predicted), tree, 'free_body_h36m', ['emdb'])
    of_each = [acceleration(a, b, (1, 2, 3)) for a, b in zip(noisy, people, strict=True)]
    score = scores_of(result, 'body', 'emdb')
    assert score.acceleration == pytest.approx(np.mean(of_each), abs=1e-3)
    alone = evaluate_meshes(predicted[0], sequence_of_3dpw(people[0]), 'free_body_h36m', ['emdb'])
    score = scores_of(alone, 'body', 'emdb')
    assert score.acceleration == pytest.approx(of_each[0], abs=1e-3)
    half = evaluate_meshes(predicted[1], tree, 'free_body_h36m', ['emdb'])
    score = scores_of(half, 'body', 'emdb')
    assert half.frames == COUNT and len(half.skipped) == COUNT
    assert score.acceleration == pytest.approx(of_each[1], abs=1e-3)


def test_annotations_with_and_without_tracks_can_be_evaluated_together():
    other = bodies(1)
    other['imgname'] = np.array([f'ben/jump/{number:06d}.jpg' for number in range(COUNT)])
    tracked = predictions_from(with_tracks(bodies(0), bodies(2)), fields=TRACK)
    predicted = both(bodies(0), bodies(2), other)
    result = evaluate_meshes(predicted, [tracked, other], 'free_body_h36m', ['emdb'])
    assert result.frames == 3 * COUNT
    assert scores_of(result, 'body', 'emdb').acceleration < 1e-6


ABSOLUTE = dict(name='absolute', joints=['left_knee', 'right_knee', 'head'], root=None)


def at(content: dict[str, np.ndarray], *position: float) -> dict[str, np.ndarray]:
    return {**content, 'transl': np.tile(np.float32(position), (COUNT, 1))}


@pytest.mark.parametrize(('unit', 'meter'), [('m', 1.0), ('mm', 1000.0)])
def test_absolute_positions_include_translations(unit, meter):
    near = at(bodies(0), 0.0, 0.0, 3 * meter)
    far = at(bodies(0), 0.6 * meter, 0.0, 3.8 * meter)  # 1 m apart
    result = evaluate_meshes(
        near, far, 'free_body_h36m', [ABSOLUTE, 'vibe'], unit=unit, annotated_unit=unit
    )
    score = scores_of(result, 'free_body_h36m', 'absolute')
    assert (score.mpjpe, score.pve) == pytest.approx((1000, 1000), abs=1e-3)
    assert score.pa_mpjpe == pytest.approx(0, abs=1e-4)
    assert scores_of(result, 'free_body_h36m', 'vibe').mpjpe == pytest.approx(0, abs=1e-3)


def test_absolute_positions_of_vertices_need_no_translations():
    meshes = {'imgname': np.array(NAMES), 'vertices': vertices(bodies(0)) + [0.0, 0.0, 4.0]}
    result = evaluate_meshes(meshes, at(bodies(0), 0.0, 0.0, 3.0), 'free_body_h36m', [ABSOLUTE])
    score = scores_of(result, 'free_body_h36m', 'absolute')
    assert score.mpjpe == pytest.approx(1000, abs=1e-2)


@pytest.mark.parametrize('without', ['predictions', 'annotation'])
def test_absolute_positions_without_translations_are_refused(without):
    pair = [bodies(0), at(bodies(0), 0.0, 0.0, 3.0)]
    predicted, target = pair if without == 'predictions' else pair[::-1]
    with pytest.raises(DataError, match='has no transl, and a protocol without a root compares'):
        evaluate_meshes(predicted, target, 'free_body_h36m', [ABSOLUTE])


def test_predictions_of_other_images_are_refused():
    other = {**bodies(0), 'imgname': np.array([f'x/{i}.jpg' for i in range(COUNT)])}
    with pytest.raises(DataError, match='none of its 5 bodies is of an annotated image'):
        evaluate_meshes(other, bodies(1), 'free_body_h36m')


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="unit: found 'km', expected one of"):
        evaluate_meshes(bodies(0), bodies(1), 'free_body_h36m', unit='km')


def test_a_chosen_sequence_that_excludes_no_frame_is_refused():
    excluding = dict(type='bedlam', exclude_sequences=['S9_Greting'])
    with pytest.raises(ValueError, match="'S9_Greting' excludes no frame; sequences are named"):
        evaluate_meshes(bodies(0), bodies(1), 'free_body_h36m', excluding)


def meters(seed: int, scale: float = 1.0) -> dict[str, np.ndarray]:
    return {'imgname': np.array(NAMES), 'vertices': scale * vertices(bodies(seed))}


def meters_of(content: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {'imgname': content['imgname'], 'vertices': vertices(content)}


def test_an_image_with_predictions_in_two_files_is_refused():
    first, second = bodies(0), bodies(1)
    message = 'anna/run/000010.jpg and 4 more images have predictions .*a single quoted pattern'
    with pytest.raises(DataError, match=message):
        evaluate_meshes([first, second], bodies(2), 'free_body_h36m', ['vibe'])
    rest = {name: value[3:] for name, value in first.items()}
    parts = [{name: value[:3] for name, value in first.items()}, rest]
    whole = evaluate_meshes(first, bodies(2), 'free_body_h36m', ['vibe'])
    joined = evaluate_meshes(parts, bodies(2), 'free_body_h36m', ['vibe'])
    assert joined.metrics() == whole.metrics()


def test_files_with_a_person_each_are_one_set(tmp_path):
    """Of the second person's predictions, one is of an image where only the first is seen."""
    anna, ben = bodies(0), bodies(1)
    for number, person in enumerate((anna, ben)):
        np.savez(tmp_path / f'track_{number}.npz', **person)
    target = both(bodies(2), bodies(3))
    target['pose'][COUNT] = np.nan
    files = sorted(tmp_path.iterdir())
    listed = evaluate_meshes(files, target, 'free_body_h36m', ['vibe'])
    pattern = evaluate_meshes(f'{tmp_path}/track_*.npz', target, 'free_body_h36m', ['vibe'])
    assert listed.frames == 2 * COUNT - 1 and listed.metrics() == pattern.metrics()
    with pytest.raises(DataError, match='000010.jpg and 4 more images have predictions in'):
        evaluate_meshes([*files, bodies(4)], target, 'free_body_h36m', ['vibe'])


def saved(folder: Path, *parts: dict[str, np.ndarray]) -> list[Path]:
    folder.mkdir()
    files = [folder / f'{number}.npz' for number in range(len(parts))]
    for file, part in zip(files, parts, strict=True):
        np.savez(file, **part)
    return files


def rows_of(content: dict[str, np.ndarray], *rows: slice) -> list[dict[str, np.ndarray]]:
    return [{name: value[of_part] for name, value in content.items()} for of_part in rows]


@pytest.mark.parametrize('kind', ['vertices', 'parameters'])
def test_bodies_in_several_files_score_as_those_in_one(kind, tmp_path):
    """Some images have two people, and one file has names only."""
    predicted, target = both(bodies(0), bodies(1)), both(bodies(2), bodies(3))
    if kind == 'vertices':
        predicted, target = meters_of(predicted), meters_of(target)
    without = {name: np.zeros((0,)) for name in predicted} | {'imgname': np.array(NAMES[:1])}
    missing = {name: np.full_like(value[:1], np.nan) for name, value in predicted.items()
               if name != 'imgname'} | {'imgname': np.array(NAMES[:1])}  # fmt: skip
    sides = []
    for side, content in (('predicted', predicted), ('target', target)):
        (whole,) = saved(tmp_path / f'{side}_whole', both(missing, content))
        parts = rows_of(content, slice(0, 3), slice(3, 7), slice(7, None))
        sides.append((whole, saved(tmp_path / side, without, *parts)))
    (whole, files), (target_whole, target_files) = sides
    expected = evaluate_meshes(whole, target_whole, 'free_body_h36m', ['vibe', 'emdb'])
    assert expected.frames == 2 * COUNT
    for several in (files, f'{tmp_path}/predicted/*.npz'):
        for target_several in (target_files, f'{tmp_path}/target/*.npz'):
            result = evaluate_meshes(several, target_several, 'free_body_h36m', ['vibe', 'emdb'])
            assert repr(result.scores) == repr(expected.scores)
            assert result.intervals == expected.intervals
            assert (result.frames, result.skipped) == (expected.frames, expected.skipped)


def test_vertices_in_several_files_may_have_tracks_in_some_only(tmp_path):
    content = {**meters_of(both(bodies(0), bodies(1))), 'track': np.repeat(['anna', ''], COUNT)}
    target = meters_of(both(bodies(2), bodies(3)))
    first, second = rows_of(content, slice(0, COUNT), slice(COUNT, None))
    del second['track']
    parts = [predictions_from(first, fields=TRACK), predictions_from(second)]
    whole = predictions_from(content, fields=TRACK)
    for person in ('nearest', 'anna'):
        expected = evaluate_meshes(whole, target, 'free_body_h36m', ['emdb'], person=person)
        result = evaluate_meshes(parts, target, 'free_body_h36m', ['emdb'], person=person)
        assert repr(result.scores) == repr(expected.scores)
        assert result.frames == expected.frames


def test_files_of_meshes_of_different_kinds_are_refused(tmp_path):
    small = {'imgname': np.array(['anna/run/000001.jpg']), 'vertices': np.ones((1, 100, 3))}
    files = saved(tmp_path / 'files', meters(0), small)
    for pair in ((files, meters(1)), (meters(1), files), (f'{tmp_path}/files/*', meters(1))):
        with pytest.raises(DataError, match=r'vertices: found shapes \[\(100, 3\), \(6890, 3\)\]'):
            evaluate_meshes(*pair, 'free_body_h36m', ['vibe'])


@pytest.mark.slow
def test_vertices_in_several_files_take_the_memory_of_a_piece(tmp_path):
    """Over a hundred megabytes of meshes, in a process of its own.

    Chunks are small, so that their intermediate arrays do not hide those of a file.
    """
    count = 240
    template = free_body().v_template.numpy().astype(np.float32)
    for side in ('predicted', 'target'):
        parts = [
            {
                'imgname': np.array([f'video_{part}/{frame:06d}.jpg' for frame in range(count)]),
                'vertices': np.linspace(0.9, 1.1, count, dtype=np.float32)[:, None, None]
                * template,
            }
            for part in range(3)
        ]
        saved(tmp_path / side, *parts)
    program = f"""
from pathlib import Path
from mmjrr.evaluation import evaluate_meshes, mesh_evaluation
mesh_evaluation._CHUNK = 8
def peak():
    with open('/proc/self/status') as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM')) // 1024
def frames(*sides):
    return evaluate_meshes(*sides, 'free_body_h36m', ['vibe']).frames
folder = Path({str(tmp_path)!r})
files, target = (sorted((folder / side).iterdir()) for side in ('predicted', 'target'))
assert frames(files[0], target[0]) == {count}
before = peak()
assert frames(files, {str(tmp_path / 'target/*.npz')!r}) == 3 * {count}
print(peak() - before)
"""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sum(path.stat().st_size for path in tmp_path.rglob('*.npz')) > 100 << 20
    assert int(done.stdout) < 40


def test_each_side_has_its_own_unit():
    expected = evaluate_meshes(meters(0), meters(1), 'free_body_h36m', ['vibe']).metrics()
    for unit, annotated_unit in ('mm', 'm'), ('m', 'cm'):
        scales = [{'m': 1, 'cm': 100, 'mm': 1000}[name] for name in (unit, annotated_unit)]
        result = evaluate_meshes(
            meters(0, scales[0]), meters(1, scales[1]), 'free_body_h36m', ['vibe'],
            unit=unit, annotated_unit=annotated_unit,
        )  # fmt: skip
        assert result.metrics() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(('scales', 'option'), [((1000, 1), 'unit'), ((1, 1000), 'annotated_unit')])
def test_meshes_in_another_unit_than_was_said_are_refused(scales, option):
    pair = [meters(seed, scale) for seed, scale in enumerate(scales)]
    said = option.replace('_', '-')
    with pytest.raises(ValueError, match=f"lie .* m from their mean; .*{option}='mm'.*--{said} mm"):
        evaluate_meshes(*pair, 'free_body_h36m', ['vibe'])


def test_implausible_predictions_are_noted():
    turned, degrees = meters(1), bodies(1)
    turned['vertices'] *= [1, -1, -1]
    degrees['pose'] = np.rad2deg(degrees['pose'])
    for predicted, reason in (turned, 'turned by 180° about x'), (degrees, 'degrees in place of'):
        result = evaluate_meshes(predicted, bodies(1), 'free_body_h36m', ['vibe'])
        assert reason in result.notes[0]
    assert evaluate_meshes(bodies(1), bodies(1), 'free_body_h36m', ['vibe']).notes == ()


def on_h36m(seed: int, *videos: str) -> dict[str, np.ndarray]:
    names = [f'{video}_{number:06d}.jpg' for video in videos for number in range(1, 1 + COUNT)]
    content = bodies(seed)
    repeated = {name: np.concatenate([content[name]] * len(videos)) for name in content}
    return {**repeated, 'imgname': np.array(names)}


VIDEOS = ['S9_Walking_1.60457274', 'S9_Eating_1.54138969', 'S1_Walking_1.60457274']


def test_frames_that_a_protocol_leaves_out_are_counted():
    result = evaluate_meshes(
        on_h36m(0, *VIDEOS), on_h36m(1, *VIDEOS), 'free_body_h36m', ['paper', 'spin-p2']
    )
    assert result.frames == 2 * COUNT and len(result.unmatched) == COUNT
    assert result.left_out == {
        'paper': {'subject': {'S1': COUNT}},
        'spin-p2': {'subject': {'S1': COUNT}, 'camera': {'54138969': COUNT}},
    }
    assert scores_of(result, 'free_body_h36m', 'spin-p2').frames == COUNT


def test_annotated_vertices_are_not_copied_where_frames_are_left_out(monkeypatch):
    monkeypatch.setattr(mesh_evaluation, '_CHUNK', 2)
    actions = ('Eating', 'Photo', 'Posing', 'Sitting', 'Smoking')
    videos = [f'{person}_{action}.60457274' for person in ('S9', 'S1') for action in actions]
    content = on_h36m(0, *videos)
    mesh = {'imgname': content['imgname'], 'vertices': vertices(content).astype(np.float32)}

    def peak(names: np.ndarray) -> int:
        target = predictions_from({**mesh, 'imgname': names})
        tracemalloc.start()
        try:
            evaluate_meshes(content, target, 'free_body_h36m', ['paper'])
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    all_count = np.char.replace(mesh['imgname'], 'S1_', 'S11_')
    peak(all_count)  # the regressor and the body are loaded
    assert peak(mesh['imgname']) - peak(all_count) < 0.1 * mesh['vertices'].nbytes


def test_the_errors_of_a_chunk_do_not_stay_in_memory_of_their_own(result, monkeypatch):
    monkeypatch.setattr(mesh_evaluation, '_CHUNK', 1)
    stored: list[StorageWeakRef] = []

    def recorded(error):
        def of_chunk(points: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
            assert all(storage.expired() for storage in stored[:-2])
            errors = error(points, goal)
            stored.append(StorageWeakRef(errors.untyped_storage()))
            return errors

        return of_chunk

    for name in ('mpjpe', 'pa_mpjpe'):
        monkeypatch.setattr(mesh_evaluation, name, recorded(getattr(mesh_evaluation, name)))
    protocols = ['bedlam', 'vibe', 'emdb']
    again = evaluate_meshes(bodies(0), bodies(1), 'free_body_h36m', protocols)
    assert len(stored) == COUNT * (1 + len(protocols))
    for key, value in result.metrics().items():
        assert again.metrics()[key] == pytest.approx(value, rel=1e-9)


def test_a_protocol_without_annotated_frames_names_their_subjects():
    pair = (on_h36m(seed, VIDEOS[2]) for seed in (0, 1))
    with pytest.raises(ValueError, match=r"counts none of the 5 frames, .* subjects \['S1'\]"):
        evaluate_meshes(*pair, 'free_body_h36m', ['paper'])


def test_a_protocol_without_predictions_has_dashes_and_the_reason():
    result = evaluate_meshes(
        on_h36m(0, VIDEOS[1]), on_h36m(1, *VIDEOS), 'free_body_h36m', ['paper', 'spin-p2']
    )
    assert result.without_prediction == ('spin-p2',)
    assert 'No scores under spin-p2: no frame that counts has a prediction' in str(result)
    assert scores_of(result, 'free_body_h36m', 'spin-p2').frames == 0
    assert scores_of(result, 'free_body_h36m', 'paper').frames == COUNT


def test_all_breakdowns_with_labels_and_intervals_are_computed():
    both = evaluate_meshes(on_h36m(0, *VIDEOS[:2]), on_h36m(1, *VIDEOS[:2]), 'free_body_h36m')
    assert {score.by for score in both.scores} == {'all', 'joint', 'action', 'subject', 'camera'}
    (mpjpe,) = (
        interval for interval in both.intervals
        if (interval.protocol, interval.error) == ('paper', 'mpjpe')
        and interval.regressor == 'free_body_h36m'
    )  # fmt: skip
    score = scores_of(both, 'free_body_h36m', 'paper')
    assert score.mpjpe == pytest.approx(mpjpe.value)
    assert mpjpe.low <= score.mpjpe <= mpjpe.high
    unlabeled = evaluate_meshes(bodies(0), bodies(1), 'free_body_h36m', ['vibe'])
    assert 'camera' not in {score.by for score in unlabeled.scores}
    with pytest.raises(ValueError, match=r"by: found \['cameras'\], expected some of"):
        evaluate_meshes(bodies(0), bodies(1), 'free_body_h36m', by=['cameras'])


def test_annotated_6d_rotations_are_read_in_the_order_that_is_said(result):
    pose = bodies(1)['pose'].reshape(-1, 3)
    matrices = Rotation.from_rotvec(pose).as_matrix().reshape(COUNT, 24, 3, 3).astype(np.float32)
    target = {**bodies(1), 'pose': matrices[:, :, :2].reshape(COUNT, 24, 6)}
    with pytest.raises(DataError, match=r'set annotated_rotation_6d .*--annotated-rotation-6d'):
        evaluate_meshes(bodies(0), target, 'free_body_h36m', ['vibe'])
    read = evaluate_meshes(
        bodies(0), target, 'free_body_h36m', ['vibe'], annotated_rotation_6d='rows'
    )
    expected = scores_of(result, 'free_body_h36m', 'vibe').mpjpe
    assert scores_of(read, 'free_body_h36m', 'vibe').mpjpe == pytest.approx(expected, abs=1e-2)
