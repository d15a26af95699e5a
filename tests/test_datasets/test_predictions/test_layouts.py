"""Fields are found by paths, by tables and by their names; ambiguous fields are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mmjrr.datasets.predictions import predictions_from
from mmjrr.datasets.predictions.layouts import FIELDS, LAYOUTS, follow, recognize
from mmjrr.errors import DataError

from .bodies import (
    BETAS,
    COUNT,
    MATRICES,
    NAMES,
    OTHER_BETAS,
    OTHER_POSE,
    POSE,
    VERTICES,
    assert_is_the_set,
)

THETA = np.concatenate([np.zeros((COUNT, 3), np.float32), POSE, BETAS], 1)  # (N, 85), HMR's


# -- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('tree', 'fields'),
    [
        ({'names': NAMES, 'theta_': THETA},
         {'imgname': 'names', 'pose': 'theta_[3:75]', 'betas': 'theta_[75:85]'}),
        ({'names': NAMES, 'theta_': THETA[:, 3:]},
         {'imgname': 'names', 'pose': 'theta_[:-10]', 'betas': 'theta_[-10:]'}),
        ({'a': {0: {'p': POSE}}, 'b': {'7': BETAS}}, {'pose': 'a.0.p', 'betas': 'b.7'}),
        ({'smpl.pose': POSE, 'smpl.betas': BETAS}, {'pose': 'smpl.pose', 'betas': 'smpl.betas'}),
        ({'out': {'smpl.p': POSE, 'b': BETAS}}, {'pose': 'out.smpl.p', 'betas': 'out.b'}),
        ({'r': POSE[:, :3], 'p': POSE[:, 3:], 'b': BETAS}, {'pose': 'r+p', 'betas': 'b'}),
        ({'r': MATRICES[:, :1], 'p': MATRICES[:, 1:], 'b': BETAS}, {'pose': 'r+p', 'betas': 'b'}),
        ({'r': POSE[:, :3], 'p': POSE, 'b': BETAS}, {'pose': 'r+p[3:72]', 'betas': 'b'}),
        ({'p': POSE, 'b': BETAS}, {'pose': 'q|p', 'betas': 'c|b'}),
        (THETA, {'pose': '[3:75]', 'betas': '[75:85]'}),
        ([[POSE, BETAS]], {'pose': '0.0', 'betas': '0.1'}),
    ],
    ids=['columns', 'negative columns', 'integer keys', 'dotted keys', 'dotted inside',
         'joined', 'joined matrices', 'joined columns', 'alternatives', 'bare array', 'lists'],
)  # fmt: skip
def test_named_fields_lead_to_columns_keys_and_joined_arrays(
    tree: Any, fields: dict[str, str]
) -> None:
    predictions = predictions_from(tree, fields=fields)
    assert_is_the_set(predictions)
    assert predictions.layout == 'fields'
    assert predictions.imgname == (NAMES if 'imgname' in fields else None)


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('theta_[3:175]', r'theta_\[3:175\]: found shape \(6, 85\), whose last axis has 85'),
        ('theta_[90]', r'theta_\[90\]: found .*whose last axis has 85'),
        ('theta_+short', r'theta_\+short: found shapes .*\(6, 85\), \(5, 2\).* side by side'),
    ],
)
def test_columns_and_joins_that_do_not_fit_are_refused(path: str, message: str) -> None:
    tree = {'theta_': THETA, 'short': np.zeros((5, 2))}
    with pytest.raises(DataError, match=f'mine.npz: {message}'):
        predictions_from(tree, 'mine.npz', fields={'pose': path, 'betas': 'theta_[75:85]'})


def test_layouts_name_fields_that_exist_and_paths_that_parse() -> None:
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS)
    for layout in LAYOUTS:
        assert set(layout.fields) <= set(FIELDS)
        for path in (*layout.fields.values(), *(need.partition(':')[0] for need in layout.needs)):
            assert list(follow(None, path)) in ([], [((), None)])


# -- fields by their names -----------------------------------------------------------------------


@pytest.mark.parametrize(
    'tree',
    [
        {'imgname': NAMES, 'pred': {'pose': POSE, 'betas': BETAS}},
        {'meta': {'image_path': NAMES}, 'output': {'smpl': {'pose': MATRICES, 'shape': BETAS}}},
        {'imgname': NAMES, 'pred_rotmat': MATRICES, 'pred_betas': BETAS},
        {'img_path': NAMES, 'smpl_thetas': POSE, 'smpl_shape': BETAS},
        {'img_name': NAMES, 'theta': THETA},
        {'img_name': NAMES, 'theta': THETA[:, 3:]},
        {'imgname': NAMES, 'root_orient': POSE[:, :3], 'pose_body': POSE[:, 3:], 'betas': BETAS},
        {'results': [{'image_name': n, 'poses': POSE[i], 'betas': BETAS[i]}
                     for i, n in enumerate(NAMES)]},
        {name: {'prediction': {'pose': POSE[i], 'betas': BETAS[i]}}
         for i, name in enumerate(NAMES)},
        {'imgname': NAMES, 'pose_hat': POSE, 'betas_hat': BETAS},
        {'fps': 25, 'meta': {'model': 'mine'},
         **{name: {'pose': POSE[i], 'betas': BETAS[i]} for i, name in enumerate(NAMES)}},
        {'imgname': NAMES, 'joints2d': [[0.0]] * COUNT, 'joints3d': [[0.0]] * COUNT,
         'out': {'pose': POSE.tolist(), 'betas': BETAS.tolist()}},
    ],
    ids=['nested', 'deeply nested', 'rotmat', 'smpl_', 'theta 85', 'theta 82', 'AMASS',
         'list in a dict', 'nested by image', 'hat', 'metadata beside images', 'names with digits'],
)  # fmt: skip
def test_fields_are_recognized_by_the_names_that_repositories_use(tree: Any) -> None:
    predictions = predictions_from(tree)
    assert_is_the_set(predictions)
    assert predictions.imgname == NAMES


@pytest.mark.parametrize(
    'tree',
    [
        {'pose': OTHER_POSE, 'betas': OTHER_BETAS, 'pred_pose': MATRICES, 'pred_shape': BETAS},
        {'pose': POSE, 'betas': BETAS, 'gt_pose': OTHER_POSE, 'gt_betas': OTHER_BETAS},
        {'gt': {'pose': OTHER_POSE, 'betas': OTHER_BETAS}, 'pred': {'pose': POSE, 'betas': BETAS}},
        {'target_pose': OTHER_POSE, 'target_shape': OTHER_BETAS, 'pose': POSE, 'shape': BETAS},
        {'smpl_pose': OTHER_POSE, 'smpl_betas': OTHER_BETAS, 'smpl_pose_pred': POSE,
         'smpl_betas_pred': BETAS},
        {n: {'pose': OTHER_POSE[i], 'betas': OTHER_BETAS[i], 'pred_pose': POSE[i],
             'pred_betas': BETAS[i]} for i, n in enumerate(NAMES)},
    ],
    ids=['pred_ beside', 'gt_ beside', 'gt and pred', 'target_', '_pred', 'by image'],
)  # fmt: skip
def test_of_prediction_and_ground_truth_the_prediction_is_read_and_said(tree: Any) -> None:
    predictions = predictions_from(tree)
    assert_is_the_set(predictions)
    (note,) = predictions.notes
    assert 'the prediction' in note and 'are ignored' in note


@pytest.mark.parametrize(
    ('tree', 'message'),
    [
        ({'pose': POSE, 'betas': BETAS, 'smpl_pose': OTHER_POSE, 'smpl_betas': BETAS},
         "pose: found '(smpl_)?pose' and '(smpl_)?pose', which differ.*fields"),
        ({'vertices': VERTICES, 'verts': VERTICES + 1}, "vertices: found 'vertices' and 'verts'"),
        ({'pose': POSE, 'betas': BETAS, 'shape': OTHER_BETAS}, "found 'betas' and 'shape'"),
        ({'spin': {'pose': POSE, 'betas': BETAS}, 'vibe': {'pose': OTHER_POSE, 'betas': BETAS}},
         "pose: found 'spin.pose' and 'vibe.pose'"),
        ({'gt_pose': POSE, 'gt_betas': BETAS}, 'gt_pose, .* by name are the ground truth'),
        ({'pose': POSE, 'body_pose': OTHER_POSE[:, 3:], 'global_orient': POSE[:, :3],
          'betas': BETAS}, "found 'pose' and 'body_pose'"),
    ],
)  # fmt: skip
def test_two_candidates_that_differ_are_refused_by_name(tree: Any, message: str) -> None:
    with pytest.raises(DataError, match=f'mine.npz: .*{message}'):
        predictions_from(tree, 'mine.npz')


def test_equal_candidates_count_once() -> None:
    body = {'pose': POSE, 'betas': BETAS, 'shape': BETAS.astype(np.float64)}
    split = {'global_orient': POSE[:, :3], 'body_pose': POSE[:, 3:]}
    assert_is_the_set(predictions_from(body))
    assert_is_the_set(predictions_from({**body, **split}))


def test_naming_the_fields_decides() -> None:
    tree = {'pose': POSE, 'betas': BETAS, 'smpl_pose': OTHER_POSE, 'smpl_betas': BETAS}
    assert_is_the_set(predictions_from(tree, fields={'pose': 'pose', 'betas': 'betas'}))
    truth = {'gt_pose': POSE, 'gt_betas': BETAS}
    assert_is_the_set(predictions_from(truth, fields={'pose': 'gt_pose', 'betas': 'gt_betas'}))


# -- EasyMocap, HMR's theta ----------------------------------------------------------------------


def easymocap(row: int, root: np.ndarray, first: np.ndarray) -> dict[str, Any]:
    pose = np.concatenate([first, POSE[row, 3:]])
    return dict(
        id=0, Rh=root[None], Th=[[0, 0, 3.0]], poses=pose[None], shapes=BETAS[row : row + 1]
    )


def test_the_root_rotation_that_easymocap_keeps_apart_is_put_before_the_pose() -> None:
    zero = np.zeros(3, np.float32)
    apart = {n: [easymocap(i, POSE[i, :3], zero)] for i, n in enumerate(NAMES)}
    predictions = predictions_from(apart)
    assert_is_the_set(predictions)
    assert (predictions.layout, predictions.imgname, predictions.track) == (
        'easymocap',
        NAMES,
        ['0'] * COUNT,
    )
    # In its root, the pose is applied first: R(Rh) R(poses[:3]), here with the root in `poses`.
    together = {n: [easymocap(i, zero, POSE[i, :3])] for i, n in enumerate(NAMES)}
    assert_is_the_set(predictions_from(together))
    without = {n: [{**easymocap(i, POSE[i, :3], zero), 'poses': POSE[i : i + 1, 3:]}]
               for i, n in enumerate(NAMES)}  # fmt: skip
    assert_is_the_set(predictions_from(without))


def test_a_bare_array_of_82_or_85_columns_is_pose_and_betas() -> None:
    assert predictions_from(THETA).layout == 'theta-85'
    assert_is_the_set(predictions_from(THETA))
    assert predictions_from(THETA[:, 3:]).layout == 'theta-82'
    assert_is_the_set(predictions_from(THETA[:, 3:]))
    with pytest.raises(DataError, match=r'found no bodies.*no known layout.*float32 \(6, 72\)'):
        predictions_from(POSE)


def test_a_file_of_another_kind_is_refused_in_a_short_sentence() -> None:
    frames = {f'S9/S9_Walking_1.54138969/S9_Walking_1.54138969_{i:06d}.jpg': {} for i in range(90)}
    with pytest.raises(DataError, match='found no bodies') as raised:
        predictions_from({'info': {'seed': 0}, 'masks': frames})
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(
    ('rotations', 'kinds', 'widths'),
    [
        (52, ('smplh',), {'left_hand_pose': 45, 'right_hand_pose': 45}),
        (55, ('smplx',), {'jaw_pose': 3, 'leye_pose': 3, 'reye_pose': 3, 'left_hand_pose': 45}),
        (22, ('smplx', 'smplh'), {}),
    ],
)
@pytest.mark.parametrize('size', [3, 9])
def test_poses_of_smplh_and_smplx_are_split_into_their_parts(
    rotations: int, kinds: tuple[str, ...], widths: dict[str, int], size: int
) -> None:
    pose = np.arange(COUNT * 3 * rotations, dtype=np.float32).reshape(COUNT, -1) / 1000
    value = pose
    if size == 9:
        matrices = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix()
        value = matrices.reshape(COUNT, rotations, 3, 3).astype(np.float32)
    predictions = predictions_from({'pose': value, 'betas': BETAS})
    assert predictions.body_kinds == kinds
    assert predictions.body_pose is not None and predictions.body_pose.shape[1] == 21
    for name, width in widths.items():
        assert getattr(predictions, name).reshape(COUNT, -1).shape == (COUNT, width * size // 3)
    if size == 3 and rotations > 22:  # the right hand is last in both
        assert predictions.right_hand_pose is not None
        np.testing.assert_array_equal(predictions.right_hand_pose, pose[:, -45:])
        np.testing.assert_array_equal(predictions.body_pose.reshape(COUNT, -1), pose[:, 3:66])
    if size == 3 and rotations == 55:
        assert predictions.jaw_pose is not None
        np.testing.assert_array_equal(predictions.jaw_pose, pose[:, 66:69])


def test_hands_and_face_are_read_from_beside_the_body() -> None:
    tree = {
        'smplx': {
            'body_pose': np.full((COUNT, 63), 0.1, np.float32),
            'global_orient': np.zeros((COUNT, 3), np.float32),
            'betas': BETAS,
            'left_hand_pose': np.full((COUNT, 15, 3), 0.2, np.float32),
            'expression': np.full((COUNT, 10), 0.3, np.float32),
        }
    }
    predictions = predictions_from(tree)
    assert predictions.body_kinds == ('smplx',)
    assert predictions.left_hand_pose is not None and predictions.left_hand_pose.shape == (
        COUNT,
        45,
    )
    assert (
        predictions.expression is not None
        and predictions.select(np.array([1])).expression is not None
    )
    with pytest.raises(DataError, match=r"body_pose: found 21 rotations.*SMPL's 23"):
        predictions.pose()


class CountedList(list):
    """A list that counts how often its items are gone through."""

    passes = 0

    def __iter__(self):
        self.passes += 1
        return super().__iter__()


def test_lists_of_numbers_are_iterated_once() -> None:
    numbers = CountedList([1, 2.5, 'text', None])
    lists = CountedList([numbers, CountedList([numbers])])
    assert recognize(lists) is None
    assert lists.passes <= 2 and numbers.passes <= 4  # each time it is in a list
    pose = CountedList([[0.0] * 72])
    layout = recognize({'pose': pose, 'betas': [[0.0] * 10]})
    assert layout is not None and layout.name == 'spin' and pose.passes <= 2


def test_objects_without_a_needed_key_are_iterated_once() -> None:
    objects = CountedList([{}, {'a': 0}, {'a': {'b': [{}]}}])
    assert recognize(objects) is None and objects.passes == 1
    assert recognize({'pose': [[0.0] * 72], 'others': objects}) is None and objects.passes == 2
    with_dots = [{}, {'smpl.pose': [0.0] * 72, 'betas': [0.0] * 10}]
    assert recognize(with_dots) is None
    layout = recognize([{}, {'a': 0}, {'pose': [0.0] * 72, 'betas': [0.0] * 10}])
    assert layout is not None and layout.name == 'spin'


def test_fields_below_lists_are_recognized() -> None:
    frame = {'pose': [0.0] * 72, 'betas': [0.0] * 10}
    for tree in ([frame], [[frame]], [[], [frame]], ([1], frame)):
        layout = recognize(tree)
        assert layout is not None and layout.name == 'spin'
