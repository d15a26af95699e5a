"""Regressors for any meshes and joints, with errors on held-out people and sequences."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from meshes_in_motion import moving_sphere, true_weights

from mmjrr.body_models import VertexMaker, free_body
from mmjrr.datasets.synthetic import Settings, generate
from mmjrr.datasets.synthetic.truth import SyntheticTruth
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.regressors import BadFrameWarning, JointRegressor
from mmjrr.regressors.fitting.cross_validation import fit_and_validate
from mmjrr.regressors.fitting.markers import fit_markers
from mmjrr.regressors.normals import vertex_normals

NOISE = 0.002
#: Mean distance of Gaussian noise in three dimensions, for a standard deviation of 1.
CHI = float(np.sqrt(8 / np.pi))


def test_joints_without_noise_are_reproduced_on_new_people_and_sequences():
    motion = moving_sphere()
    weight = true_weights(5, motion.vertices.shape[1])
    report = fit_and_validate(
        motion.vertices,
        weight @ motion.vertices,
        list('abcde'),
        groups=dict(person=motion.person, sequence=motion.sequence),
        root=None,
    )
    assert report.held_out['person'].error < 1e-4
    assert report.held_out['sequence'].error < 1e-4


def test_what_is_particular_to_a_person_shows_on_new_people_only():
    motion = moving_sphere(90)
    joints = true_weights(4, motion.vertices.shape[1]) @ motion.vertices
    own = true_weights(3, motion.vertices.shape[1], seed=2)  # joint c is another point of each
    for frame, name in enumerate(motion.person):
        particular = own[int(name[-1])] @ motion.vertices[frame]
        joints[frame, 2] = 0.85 * joints[frame, 2] + 0.15 * particular
    groups = dict(person=motion.person, sequence=motion.sequence)
    report = fit_and_validate(motion.vertices, joints, list('abcd'), groups=groups, root=None)
    new_person, new_take = (report.held_out[by].joint_error for by in ('person', 'sequence'))
    assert new_person[2] > 1.2 * new_take[2]
    assert max(new_person[[0, 1, 3]]) < 1e-3


def test_each_fold_is_tested_on_what_it_was_not_fitted_to():
    motion = moving_sphere()
    joints = true_weights(2, motion.vertices.shape[1]) @ motion.vertices
    report = fit_and_validate(
        motion.vertices, joints, ['a', 'b'], groups=dict(person=motion.person), max_folds=2
    )
    folds = report.held_out['person'].folds
    assert sorted(name for held, _, _ in folds for name in held) == sorted(set(motion.person))
    assert [fitted + tested for _, fitted, tested in folds] == [60, 60]


def test_missing_joints_are_left_out_and_counted():
    motion = moving_sphere()
    joints = true_weights(3, motion.vertices.shape[1]) @ motion.vertices
    joints[::4, 1] = np.nan
    report = fit_and_validate(
        motion.vertices, joints, list('abc'), groups=dict(person=motion.person), root=None
    )
    assert report.missing == {'a': 0, 'b': 15, 'c': 0}
    assert report.held_out['person'].error < 1e-4


def test_one_person_is_not_cross_validated_by_person():
    motion = moving_sphere(20, people=1)
    joints = true_weights(2, motion.vertices.shape[1]) @ motion.vertices
    report = fit_and_validate(
        motion.vertices, joints, ['a', 'b'], groups=dict(person=motion.person)
    )
    assert report.held_out == {}
    assert report.not_validated == ("by person: all frames are of one person, 'person_0'",)


def test_markers_are_found_with_their_offsets_to_the_labels_noise():
    motion = moving_sphere(90)
    rng = np.random.default_rng(3)
    chosen, offsets = [3, 40, 77, 110], np.array([0.005, 0.010, 0.015, 0.0])
    joints = np.empty((len(motion.vertices), 4, 3))
    for frame, vertices in enumerate(motion.vertices):
        corners = vertices[motion.faces]
        areas = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        for row, (vertex, offset) in enumerate(zip(chosen, offsets, strict=True)):
            normal = areas[(motion.faces == vertex).any(1)].sum(0)
            joints[frame, row] = vertices[vertex] + offset * normal / np.linalg.norm(normal)
    joints += NOISE * rng.normal(size=joints.shape)
    report = fit_and_validate(
        motion.vertices,
        joints,
        list('abcd'),
        groups=dict(person=motion.person),
        root=None,
        faces=motion.faces,
        markers=list('abcd'),
    )
    heights = report.regressor.normal_offsets
    assert heights is not None
    np.testing.assert_allclose(heights.numpy(), offsets, atol=1e-3)
    assert report.held_out['person'].error < 1.15 * CHI * NOISE


def _with_normals(vertices, faces, chosen, height):
    """Points at a height above some vertices of each mesh."""
    meshes = torch.from_numpy(vertices)
    normals = vertex_normals(meshes, torch.from_numpy(faces).long())
    return (meshes + height * normals)[:, chosen].numpy()


@pytest.mark.parametrize('root', [None, 'mean'])
@pytest.mark.parametrize('kind', ['absurd', 'NaN'])
def test_bad_meshes_do_not_change_the_offsets_of_markers(kind, root):
    motion = moving_sphere(30)
    names = list('abc')
    joints = _with_normals(motion.vertices, motion.faces, [3, 40, 77], 0.02)
    joints += 0.0005 * np.random.default_rng(0).normal(size=joints.shape)
    good = np.arange(30) != 5
    clean = [(motion.vertices[good], joints[good])]
    options = dict(root=root, tol=1e-3, body_model='toy')
    expected = fit_markers(clean, names, motion.faces, names, **options)
    vertices = motion.vertices.copy()
    if kind == 'absurd':
        vertices[5] *= 20
    else:
        vertices[5, 0] = np.nan
    batches = [(vertices[rows], joints[rows]) for rows in (slice(0, 5), slice(5, 6), slice(6, 30))]
    with pytest.warns(BadFrameWarning, match='fit_markers left out 1 bad frames of 30; frame 5: '):
        result = fit_markers(batches, names, motion.faces, names, **options)
    assert list(result.bad_frames) == [5]
    assert (result.n_frames, result.n_dropped) == (29, 1)
    assert result.regressor.provenance['n_bad_frames'] == 1
    heights, expected_heights = (fit.regressor.normal_offsets for fit in (result, expected))
    assert heights is not None and expected_heights is not None
    np.testing.assert_allclose(heights.numpy(), expected_heights.numpy(), atol=1e-6)
    with pytest.raises(ValueError, match=r'frame 5: error of|batch 1: frame 0: vertices'):
        fit_markers(batches, names, motion.faces, names, **options, on_bad_frame='raise')


def test_errors_leave_out_the_frames_that_the_fit_leaves_out():
    motion = moving_sphere()
    rng = np.random.default_rng(0)
    joints = true_weights(3, motion.vertices.shape[1]) @ motion.vertices
    joints += NOISE * rng.normal(size=joints.shape)
    motion.vertices[5] *= 20
    with pytest.warns(BadFrameWarning):
        report = fit_and_validate(
            motion.vertices, joints, list('abc'), groups=dict(person=motion.person), root=None
        )
    assert list(report.fit.bad_frames) == [5]
    assert report.error == pytest.approx(CHI * NOISE, rel=0.1)
    held_out = report.held_out['person']
    assert held_out.error < 1.3 * CHI * NOISE
    assert sum(tested for _, _, tested in held_out.folds) == 59
    assert [fitted + tested for _, fitted, tested in held_out.folds] == [59] * 3


def test_a_joint_of_one_person_leaves_out_the_fold_of_that_person():
    motion = moving_sphere(30, people=1)
    person = [f'person_{frame % 3}' for frame in range(30)]
    joints = true_weights(3, motion.vertices.shape[1]) @ motion.vertices
    joints[[name != 'person_1' for name in person], 2] = np.nan
    report = fit_and_validate(
        motion.vertices, joints, list('abc'), groups=dict(person=person), root=None
    )
    assert report.not_validated == (
        "by person, without person_1: joints ['c'] are missing from every frame",
    )
    held_out = report.held_out['person']
    assert [names for names, _, _ in held_out.folds] == [('person_0',), ('person_2',)]
    assert np.isnan(held_out.joint_error[2]) and held_out.error < 1e-4
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize('max_folds', [-1, 0, 1])
def test_fewer_than_two_folds_are_refused(max_folds):
    motion = moving_sphere(6)
    joints = true_weights(2, motion.vertices.shape[1]) @ motion.vertices
    with pytest.raises(ValueError, match=f'max_folds: found {max_folds}, expected at least 2'):
        fit_and_validate(
            motion.vertices, joints, ['a', 'b'], groups=dict(person=motion.person),
            max_folds=max_folds,
        )  # fmt: skip


def test_the_report_is_plain_json_in_millimeters():
    motion = moving_sphere()
    joints = true_weights(2, motion.vertices.shape[1]) @ motion.vertices + [[0.0], [0.0]]
    report = fit_and_validate(
        motion.vertices, joints, ['a', 'b'], groups=dict(person=motion.person), root='a'
    )
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert content['fitted_mm']['b'] == pytest.approx(1000 * report.joint_error[1], abs=1e-3)
    assert content['support'] == report.fit.support_sizes
    assert {tuple(fold['held_out']) for fold in content['folds']['person']} == {
        ('person_0',), ('person_1',), ('person_2',),
    }  # fmt: skip


def test_wrong_arguments_are_refused():
    motion = moving_sphere(6)
    joints = true_weights(2, motion.vertices.shape[1]) @ motion.vertices
    names = ['a', 'b']
    with pytest.raises(ValueError, match=r'joints: found the shape \(6, 2, 3\), expected'):
        fit_and_validate(motion.vertices[:5], joints, names)
    with pytest.raises(ValueError, match='groups: person: found 2 labels, expected 6'):
        fit_and_validate(motion.vertices, joints, names, groups=dict(person=['x', 'y']))
    with pytest.raises(ValueError, match='faces: found none'):
        fit_and_validate(motion.vertices, joints, names, markers=['a'])
    with pytest.raises(ValueError, match=r"markers: found \['c'\]"):
        fit_and_validate(motion.vertices, joints, names, markers=['c'], faces=motion.faces)
    joints[:, 0] = np.nan
    with pytest.raises(ValueError, match=r"joints: \['a'\] are missing from every frame"):
        fit_and_validate(motion.vertices, joints, names)


@pytest.mark.slow
def test_human36ms_joints_reach_the_floor_without_their_names(tmp_path):
    generate(tmp_path, Settings(frames_per_subject=6, images=False), workers=1)
    body = free_body()
    truth = SyntheticTruth(tmp_path, body)
    bodies = truth.parameters('train')
    with np.load(tmp_path / 'annotation_body3d' / 'fps10' / 'h36m_train.npz') as file:
        joints = dict(zip(file['imgname'].tolist(), file['S'][:, :, :3], strict=True))
    names = bodies['imgname'].tolist()
    vertices = VertexMaker(body)(
        global_orient=bodies['pose'][:, :3], body_pose=bodies['pose'][:, 3:],
        betas=bodies['betas'], transl=bodies['transl'],
    )  # fmt: skip
    report = fit_and_validate(
        vertices,
        np.stack([joints[name] for name in names]),
        [f'joint {index}' for index in range(17)],
        root=None,
        body_model='free_body',
    )
    named = JointRegressor(report.regressor.weight.float(), H36M_JOINTS_MMPOSE, 'free_body')
    assert truth.regressor_error_mm(named) == pytest.approx(truth.floor_mm(), abs=0.02)


def _people(count: int) -> tuple[VertexMaker, dict[str, np.ndarray], list[str]]:
    """Posed bodies of five people, with a label of the person in each frame."""
    rng = np.random.default_rng(0)
    person = np.arange(count) % 5
    parameters = {
        'global_orient': rng.normal(size=(count, 3)),
        'body_pose': 0.25 * rng.normal(size=(count, 69)),
        'betas': rng.normal(size=(5, 10))[person],
        'transl': rng.normal(size=(count, 3)),
    }
    return VertexMaker(free_body()), parameters, [f'person_{index}' for index in person]


@pytest.mark.slow
def test_a_skeleton_of_24_joints_reaches_the_labels_noise_on_new_people():
    make, parameters, person = _people(300)
    tensors = {name: torch.from_numpy(value) for name, value in parameters.items()}
    with torch.no_grad():
        joints = free_body(dtype=torch.float64)(**tensors).joints.numpy()
    joints += 0.005 * np.random.default_rng(1).normal(size=joints.shape)
    names = [f'joint {index}' for index in range(24)]
    report = fit_and_validate(
        make(**parameters), joints, names, groups=dict(person=person), root=None, max_folds=2
    )
    assert report.held_out['person'].error < 1.15 * CHI * 0.005
