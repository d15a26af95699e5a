"""Protocols against explicit index arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmjrr.evaluation import PROTOCOLS, Protocol, frame_errors, get_protocol
from mmjrr.evaluation.core import count_left_out
from mmjrr.evaluation.protocol_table import protocols_of_joints, protocols_of_labels
from mmjrr.evaluation.regressed_frames import find_neighbors
from mmjrr.joints import H36M_JOINTS_MMPOSE, H36M_JOINTS_SPIN, SMPL_JOINTS, reorder_index

#: H36M_TO_J14 in SPIN's constants.py.
SPIN_ROWS = [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]


#: Protocols of joints that Human3.6M annotates.
ON_H36M = sorted(protocols_of_joints())


def pair(count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 17, 3)), rng.normal(size=(count, 17, 3))


def slow_pa_error(pred: np.ndarray, target: np.ndarray) -> float:
    """Orthogonal Procrustes of one frame, written as in textbooks (columns are points)."""
    source, goal = pred.T, target.T
    center, goal_centre = source.mean(1, keepdims=True), goal.mean(1, keepdims=True)
    source, goal = source - center, goal - goal_centre
    u, _, vt = np.linalg.svd(source @ goal.T)
    z = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = vt.T @ z @ u.T
    scale = np.trace(rotation @ source @ goal.T) / (source**2).sum()
    return float(np.linalg.norm(scale * rotation @ source - goal, axis=0).mean())


@pytest.mark.parametrize('name', ['spin-p1', 'spin-p2'])
def test_spin_protocols_are_spins_rows_with_the_pelvis_row_subtracted_first(name):
    pred, target = pair()
    selected = (pred - pred[:, [0]])[:, SPIN_ROWS]
    selected_target = (target - target[:, [0]])[:, SPIN_ROWS]
    expected = np.linalg.norm(selected - selected_target, axis=-1)
    expected_pa = [slow_pa_error(p, t) for p, t in zip(selected, selected_target, strict=True)]
    errors = frame_errors(pred, target, 'spin', name)
    np.testing.assert_allclose(errors.mpjpe, expected.mean(1))
    np.testing.assert_allclose(errors.joints, expected)
    np.testing.assert_allclose(errors.pa_mpjpe, expected_pa)
    assert PROTOCOLS[name].joints == tuple(H36M_JOINTS_SPIN[row] for row in SPIN_ROWS)
    assert 'pelvis' not in PROTOCOLS[name].joints


@pytest.mark.parametrize('name', ['paper', 'mmpose'])
def test_paper_and_mmpose_take_all_17_joints_root_aligned(name):
    pred, target = pair()
    difference = (pred - pred[:, [0]]) - (target - target[:, [0]])
    errors = frame_errors(pred, target, 'mmpose', name)
    np.testing.assert_allclose(errors.mpjpe, np.linalg.norm(difference, axis=-1).mean(1))
    expected_pa = [slow_pa_error(p, t) for p, t in zip(pred, target, strict=True)]
    np.testing.assert_allclose(errors.pa_mpjpe, expected_pa)


def test_tensors_that_require_gradients_have_the_errors_of_arrays():
    arrays = (*pair(), np.ones((6, 17)))
    tensors = [torch.from_numpy(values).requires_grad_() for values in arrays]
    errors, expected = (
        frame_errors(pred, target, 'mmpose', 'spin-p1', weight)
        for pred, target, weight in (tensors, arrays)
    )
    np.testing.assert_array_equal(errors.pa_joints, expected.pa_joints)


@pytest.mark.parametrize('name', ON_H36M)
def test_any_order_of_the_joints_gives_the_same_errors(name):
    pred, target = pair()
    index = reorder_index('mmpose', 'spin')
    by_mmpose = frame_errors(pred, target, 'mmpose', name)
    by_spin = frame_errors(pred[:, index], target[:, index], 'spin', name)
    np.testing.assert_array_equal(by_mmpose.mpjpe, by_spin.mpjpe)
    np.testing.assert_array_equal(by_mmpose.joints, by_spin.joints)


def test_only_human36ms_protocol_2_is_of_one_camera():
    of_one = {name: protocol.cameras for name, protocol in PROTOCOLS.items() if protocol.cameras}
    assert of_one == {'spin-p2': ('60457274',), 'hmr2': ('60457274',)}


@pytest.mark.parametrize('name', ['vibe', 'wham'])
def test_vibe_and_wham_subtract_the_middle_of_lsps_third_and_fourth_joint(name):
    pred, target = (joints[:, SPIN_ROWS] for joints in pair())
    middle, target_middle = (joints[:, [2, 3]].mean(1, keepdims=True) for joints in (pred, target))
    expected = np.linalg.norm((pred - middle) - (target - target_middle), axis=-1).mean(1)
    names = [H36M_JOINTS_SPIN[row] for row in SPIN_ROWS]
    errors = frame_errors(pred, target, names, name)
    np.testing.assert_allclose(errors.mpjpe, expected)
    np.testing.assert_allclose(
        errors.pa_mpjpe, [slow_pa_error(p, t) for p, t in zip(pred, target, strict=True)]
    )


@pytest.mark.parametrize('name', ['bedlam', 'camerahmr', 'multi-hmr', 'hmr2', 'tokenhmr'])
def test_the_others_on_3dpw_subtract_the_pelvis_row(name):
    pred, target = pair()
    expected = frame_errors(pred, target, 'spin', 'spin-p1')
    np.testing.assert_array_equal(frame_errors(pred, target, 'spin', name).mpjpe, expected.mpjpe)


@pytest.mark.parametrize('name', ['emdb', 'rich'])
def test_emdb_and_rich_compare_24_smpl_joints_at_the_middle_of_joints_1_and_2(name):
    rng = np.random.default_rng(1)
    pred, target = rng.normal(size=(2, 5, 24, 3))
    middle, target_middle = (joints[:, [1, 2]].mean(1, keepdims=True) for joints in (pred, target))
    expected = np.linalg.norm((pred - middle) - (target - target_middle), axis=-1)
    np.testing.assert_allclose(frame_errors(pred, target, SMPL_JOINTS, name).joints, expected)


@pytest.mark.parametrize('name', sorted(PROTOCOLS))
def test_every_protocol_names_its_source(name):
    protocol = PROTOCOLS[name]
    assert protocol.description
    assert protocol.source.startswith('arXiv') or len(protocol.source.split(', ')) == 3


def test_a_frame_without_one_joint_of_the_root_has_no_mpjpe():
    pred, target = pair(2)
    weight = np.ones((2, 17))
    weight[1, H36M_JOINTS_SPIN.index('left_hip')] = 0
    errors = frame_errors(pred, target, 'spin', 'vibe', weight)
    assert np.isnan(errors.mpjpe).tolist() == [False, True]
    assert not np.isnan(errors.pa_mpjpe).any()


def test_missing_joints_do_not_make_a_frame_count_less():
    pred, target = np.zeros((2, 2, 3)), np.zeros((2, 2, 3))
    target[0, :, 0], target[1, 0, 0] = 2.0, 6.0
    protocol = Protocol('two', joints=('head', 'left_hip'), root=None)
    errors = frame_errors(pred, target, ('head', 'left_hip'), protocol, np.array([[1, 1], [1, 0]]))
    assert errors.mpjpe.tolist() == [2.0, 6.0]


def test_scale_normalized_error_is_that_of_the_best_scale_of_many():
    pred, target = pair(3)
    errors = frame_errors(pred, target, 'mmpose', 'paper').n_mpjpe
    offset, goal = pred - pred[:, :1], target - target[:, :1]
    for frame in range(3):
        scales = np.linspace(-2, 2, 400001)
        squares = [(offset[frame] ** 2).sum(), (offset[frame] * goal[frame]).sum()]
        best = scales[np.argmin(scales**2 * squares[0] - 2 * scales * squares[1])]
        expected = np.linalg.norm(best * offset[frame] - goal[frame], axis=-1).mean()
        assert errors is not None and abs(errors[frame] - expected) < 1e-4


def test_acceleration_error_is_that_of_the_second_difference_of_consecutive_frames():
    pred, target = pair(6)
    labels = [dict(sequence='S9_Walking', camera='1', subject='S9', action='Walking')] * 6
    neighbors = find_neighbors(labels, [1, 6, 11, 16, 26, 31])
    errors = frame_errors(pred, target, 'mmpose', 'paper', neighbors=neighbors).acceleration
    offset, goal = pred - pred[:, :1], target - target[:, :1]
    change = np.diff(offset, 2, axis=0) - np.diff(goal, 2, axis=0)
    expected = np.linalg.norm(change, axis=-1).mean(1)
    np.testing.assert_allclose(errors, [np.nan, expected[0], expected[1], np.nan, np.nan, np.nan])


def test_frames_of_two_cameras_are_not_consecutive():
    labels = [dict(sequence='S9_Walking', camera=camera) for camera in '121']
    assert find_neighbors(labels, [1, 6, 11]) is None


def test_frames_of_many_videos_with_large_numbers_have_their_own_neighbors():
    """Videos numbered by time: keys of video and frame need more than 32 bits."""
    labels = [dict(sequence=f'S9_{video}', camera='1') for video in range(8) for _ in range(3)]
    start = np.repeat(np.linspace(0, 10**9, 8).astype(int), 3)
    neighbors = find_neighbors(labels, start + np.tile([0, 5, 10], 8))
    first = 3 * np.arange(8)[:, None]
    expected = np.stack(
        [np.hstack([0 * first - 1, first + 1]), np.hstack([first, first + 2]),
         np.hstack([first + 1, 0 * first - 1])], 1,
    )  # fmt: skip
    np.testing.assert_array_equal(neighbors, expected.reshape(-1, 2))


#: Of a frame that the tests below change.
FRAME = dict(subject='S9', action='Walking', sequence='S9_Walking_1', camera='60457274')


@pytest.mark.parametrize('name', ON_H36M)
@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({}, None),
        (dict(subject='S1', sequence='S1_Walking_1'), ('subject', 'S1')),
        (dict(subject='S11', sequence='S11_Directions'), None),
        (
            dict(subject='S11', sequence='S11_Directions', camera='54138969'),
            ('sequence', 'S11_Directions.54138969'),
        ),
    ],
)
def test_every_known_protocol_counts_s9_and_s11_where_there_are_images(name, changes, reason):
    assert protocols_of_joints()[name].leaves_out({**FRAME, **changes}) == reason


def test_all_protocols_count_the_frames_of_one():
    frames = get_protocol(dict(type='paper', subjects=['S9'], exclude_sequences=['S9_Greeting']))
    protocols = protocols_of_joints(frames_of=frames)
    assert sorted(protocols) == ON_H36M
    assert {protocol.subjects for protocol in protocols.values()} == {('S9',)}
    assert {protocol.exclude_sequences for protocol in protocols.values()} == {('S9_Greeting',)}
    for name, protocol in protocols.items():
        assert protocol.cameras == PROTOCOLS[name].cameras


def test_cameras_sequences_and_subjects_say_which_frames_count():
    assert get_protocol('spin-p2').leaves_out({**FRAME, 'camera': '54138969'}) == (
        ('camera', '54138969')
    )
    greeting = {**FRAME, 'sequence': 'S9_Greeting'}
    strict = get_protocol(dict(type='paper', exclude_sequences='known_bad'))
    assert strict.leaves_out(greeting) == ('sequence', 'S9_Greeting')
    assert get_protocol('paper').leaves_out(greeting) is None
    everyone = get_protocol(dict(type='paper', subjects='all'))
    assert everyone.leaves_out({**FRAME, 'subject': 'S1', 'sequence': 'S1_Walking'}) is None
    assert everyone.leaves_out({}) is None


@pytest.mark.parametrize(
    ('unknown', 'message'),
    [('subject', 'the subject of the frame'), ('camera', 'the camera of the frame')],
)
def test_a_frame_of_which_too_little_is_known_is_no_frame_of_the_protocol(unknown, message):
    with pytest.raises(ValueError, match=message):
        get_protocol('spin-p2').leaves_out({**FRAME, unknown: None})
    with pytest.raises(ValueError, match='which sequence of S11'):
        get_protocol('paper').leaves_out({**FRAME, 'subject': 'S11', 'sequence': None})


@pytest.mark.parametrize(
    ('variant', 'name'),
    [
        (dict(type='paper'), 'paper'),
        (dict(type='paper', subjects=['S9', 'S11']), 'paper'),
        (dict(type='paper', subjects='all'), 'paper-subjects-all'),
        (dict(type='paper', cameras=[60457274]), 'paper-cameras-60457274'),
        (dict(type='paper', exclude_sequences=[]), 'paper-without-none'),
        (
            dict(type='spin-p1', subjects=['S9'], exclude_sequences='known_bad'),
            'spin-p1-subjects-S9-without-known_bad',
        ),
        (dict(type='paper', joints=['head'], pa_joints=[], name='head'), 'head'),
    ],
)
def test_a_protocol_of_other_frames_has_another_name(variant, name):
    assert get_protocol(variant).name == name


def test_other_joints_need_a_name():
    with pytest.raises(ValueError, match="'paper' with other joints: found no name"):
        get_protocol(dict(type='paper', joints=['head']))


def test_frame_without_its_root_has_no_mpjpe_but_a_pa_mpjpe():
    pred, target = pair(2)
    weight = np.ones((2, 17))
    weight[1, 0] = 0
    target[1, 0] = np.nan
    errors = frame_errors(pred, target, 'mmpose', 'paper', weight)
    assert np.isnan(errors.mpjpe).tolist() == [False, True]
    np.testing.assert_allclose(errors.pa_mpjpe[1], slow_pa_error(pred[1, 1:], target[1, 1:]))


def test_protocol_without_a_root_compares_absolute_positions():
    pred, target = pair(1)
    head = Protocol('head', joints=('head',), root=None)
    errors = frame_errors(pred, target, 'mmpose', head)
    np.testing.assert_allclose(errors.mpjpe, np.linalg.norm(pred[:, 10] - target[:, 10], axis=-1))


def test_joints_of_pa_may_differ():
    protocol = get_protocol(dict(name='mine', joints=['head'], pa_joints=['head', 'left_hip']))
    assert protocol.needed_joints == ('pelvis', 'head', 'left_hip')
    assert protocol.summary == '1 joints, PA over 2, pelvis-aligned, all cameras'


def test_bad_protocols_are_refused():
    with pytest.raises(ValueError, match="unknown protocol 'p1'; known: .*'paper'"):
        get_protocol('p1')
    with pytest.raises(ValueError, match='names joints twice'):
        Protocol('x', joints=('head', 'head'))
    with pytest.raises(ValueError, match='names no joints'):
        Protocol('x', joints=())
    with pytest.raises(ValueError, match="exclude_sequences: found 'S9_Greeting', expected 'known"):
        Protocol('x', joints=('head',), exclude_sequences='S9_Greeting')  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="joints='head', expected a list"):
        Protocol('x', joints='head')  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='joint_names'):
        get_protocol(dict(name='x', joint_names=['head']))
    with pytest.raises(ValueError, match=r"found \['head'\], expected joints of"):
        frame_errors(*[np.zeros((1, 2, 3))] * 2, ['pelvis', 'spine'], Protocol('x', ('head',)))


def test_protocols_that_count_no_frame_are_told_from_the_others():
    protocols = protocols_of_joints()
    kept, left_out = protocols_of_labels(protocols, [FRAME, {**FRAME, 'camera': '54138969'}])
    assert list(kept) == list(protocols) and not left_out
    other = {**FRAME, 'camera': '54138969'}
    kept, left_out = protocols_of_labels(protocols, [other])
    assert left_out == {'no frame is of camera 60457274': ['spin-p2', 'hmr2']}
    assert set(protocols) - set(kept) == {'spin-p2', 'hmr2'}
    _, left_out = protocols_of_labels(protocols, [{**other, 'camera': None}])
    (reason,) = left_out
    assert reason == 'the subject, sequence or camera of a frame is not known'
    # An error that names the subjects follows if none is left.
    assert protocols_of_labels(protocols, [{**FRAME, 'subject': 'S1'}]) == (protocols, {})


@pytest.mark.parametrize(
    ('changes', 'advice'),
    [
        (dict(camera='54138969'), "cameras='all'\\) counts every camera's"),
        (dict(subject='S1'), "subjects='all'\\) counts every subject's"),
    ],
)
def test_the_advice_for_no_frame_is_about_what_leaves_them_out(changes, advice):
    with pytest.raises(ValueError, match=f"counts none of the 1 frames.*type='spin-p2', {advice}"):
        count_left_out([{**FRAME, **changes}], {'spin-p2': get_protocol('spin-p2')})


def test_the_advice_for_no_frame_of_a_variant_is_about_the_protocol_that_it_varies():
    variant = get_protocol(dict(type='paper', subjects=['s9']))
    with pytest.raises(ValueError, match=r"subjects \['S9'\]") as raised:
        count_left_out([FRAME], {variant.name: variant})
    said = str(raised.value)
    assert 'none is of the subject s9' in said and '--subjects all' in said
    advised = said.partition('protocol=')[2].partition(' counts')[0]
    assert advised == "dict(type='paper', subjects='all')"
    changed = get_protocol(dict(type='paper', subjects='all'))
    assert count_left_out([FRAME], {'all': changed}) == {'all': {}}


def test_a_protocol_of_ones_own_is_no_variant_of_a_known_one():
    own = get_protocol(dict(name='paper-subjects-S1', joints=['head'], subjects=['S1']))
    with pytest.raises(ValueError, match="the protocol with subjects='all' counts every"):
        count_left_out([FRAME], {own.name: own})


@pytest.mark.parametrize(
    ('excluded', 'sentence'),
    [
        (['S9_Greting'], "'S9_Greting' excludes no frame; sequences are named like S9_Greeting_1"),
        (['S9_Greeting'], "'S9_Greeting' excludes no frame; sequences are named like S9_Greeting_"),
        (['S9_Greeting_1.1'], 'since S9_Greeting_1 has no frame of the camera 1'),
        (['S9_Greeting_1', 'S11_Directions.54138969'], None),
        (['S9_Greeting_1.60457274'], None),
        ('known_bad', None),
    ],
)
def test_a_chosen_sequence_that_excludes_no_frame_is_named(excluded, sentence):
    protocol = get_protocol(dict(type='paper', exclude_sequences=excluded))
    frames = [{**FRAME, 'sequence': name} for name in ('S9_Greeting_1', 'S9_Walking_1')]
    found = protocol.unmatched_choices(frames)
    assert len(found) == (sentence is not None)
    assert sentence is None or sentence in found[0]
    assert get_protocol('paper').unmatched_choices(frames) == []


@pytest.mark.parametrize('field', ['subjects', 'cameras'])
def test_a_chosen_subject_or_camera_without_frames_is_named(field):
    present = str(FRAME[field[:-1]])
    protocol = get_protocol(dict(type='paper', **{field: ['none', present]}))
    (sentence,) = protocol.unmatched_choices([FRAME])
    assert f'{field}{" (on the command line, --subjects)" * (field == "subjects")}: ' in sentence
    assert f"found 'none', of which there is no frame, expected some of {present}" in sentence
    assert get_protocol('paper').unmatched_choices([{**FRAME, 'subject': 'S11'}]) == []


@pytest.mark.parametrize(('annotated', 'is_defined'), [(2, False), (3, True)])
def test_fewer_than_three_joints_have_no_pa_mpjpe(annotated, is_defined):
    rng = np.random.default_rng(0)
    pred, target = rng.normal(size=(2, 4, 17, 3))
    names = ['left_hip', 'left_knee', 'left_ankle']
    few = frame_errors(pred, target, 'mmpose', Protocol('few', tuple(names[:annotated])))
    weight = np.zeros((4, 17))
    weight[:, [H36M_JOINTS_MMPOSE.index(name) for name in names[:annotated]]] = 1
    partly = frame_errors(pred, target, 'mmpose', 'paper', weight)
    for errors in (few, partly):
        assert (np.isfinite(errors.pa_mpjpe) == is_defined).all()
        assert np.isfinite(errors.pa_joints).any() == is_defined
    assert np.isfinite(few.mpjpe).all()
    assert not is_defined or (few.pa_mpjpe > 1e-3).all()
