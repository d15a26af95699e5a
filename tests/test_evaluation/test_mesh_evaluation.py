"""Evaluation against annotated meshes, against formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmjrr.body_models import free_body
from mmjrr.body_models.free_body import FREE_BODY_FILE
from mmjrr.body_models.smpl_files import load_smpl_file
from mmjrr.errors import DataError
from mmjrr.evaluation import evaluate_meshes
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
    return evaluate_meshes(
        bodies(0), bodies(1), 'free_body_h36m', ['bedlam', 'vibe', 'emdb'], by=['joint']
    )


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


def test_predictions_of_other_images_are_refused():
    other = {**bodies(0), 'imgname': np.array([f'x/{i}.jpg' for i in range(COUNT)])}
    with pytest.raises(DataError, match='none of its 5 bodies is of an annotated image'):
        evaluate_meshes(other, bodies(1), 'free_body_h36m')


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="unit: found 'km', expected one of"):
        evaluate_meshes(bodies(0), bodies(1), 'free_body_h36m', unit='km')
