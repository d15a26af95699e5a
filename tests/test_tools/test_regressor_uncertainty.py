"""``tools/analysis_tools/regressor_uncertainty.py``: intervals and radii on a synthetic set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from small_jobs import several_views
from tool_modules import load_tool

from mmjrr.body_models import free_body
from mmjrr.datasets.synthetic.truth import SyntheticTruth
from mmjrr.io import read_npz
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.regressors import JointRegressor, fit_joint_regressor

MOMENTS = 8


@pytest.fixture(scope='module')
def refined(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A set, and a work directory whose refined bodies are the true ones."""
    data = several_views(tmp_path_factory.mktemp('set'), ('S1', 'S5', 'S9'), MOMENTS)
    work_dir = tmp_path_factory.mktemp('work_dir')
    truth = SyntheticTruth(data, free_body())
    bodies = truth.parameters('train')
    labels = read_npz(data / 'annotation_body3d/fps10/h36m_train.npz')
    assert labels['imgname'].tolist() == bodies['imgname'].tolist()
    np.savez(work_dir / 'pseudo_gt.npz', **bodies, S=labels['S'])
    vertices = torch.cat(list(truth.vertices(bodies))).double()
    joints = torch.from_numpy(labels['S'][..., :3]).double()
    fit = fit_joint_regressor(
        iter([(vertices, joints)]), H36M_JOINTS_MMPOSE, None, body_model=truth.body.name
    )
    fit.regressor.save(work_dir / 'J_opt.npy')
    JointRegressor.load(data / 'regressors/J_std.npy').save(work_dir / 'J_spin.npy')
    return data, work_dir


@pytest.fixture(scope='module')
def record(refined: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    tool, out = load_tool('analysis_tools/regressor_uncertainty.py'), tmp_path_factory.mktemp('out')
    arguments = [*map(str, refined), '--resamples', '5', '--out', str(out / 'a.json')]
    assert tool.main(arguments) == 0
    content: dict[str, Any] = json.loads((out / 'a.json').read_text())
    return content


@pytest.mark.slow
def test_intervals_of_differences_are_scipys(
    refined: tuple[Path, Path], record: dict[str, Any]
) -> None:
    data, work_dir = refined
    fits = read_npz(data / 'fits/spin_like_test.npz')
    labels = read_npz(data / 'annotation_body3d/fps10/h36m_test.npz')
    body = free_body()
    pose = torch.from_numpy(fits['pose']).float()
    betas = torch.zeros(len(pose), 10)
    betas[:, : fits['betas'].shape[1]] = torch.from_numpy(fits['betas'])
    posed = body(global_orient=pose[:, :3], body_pose=pose[:, 3:], betas=betas)
    vertices = posed.vertices.double().numpy()
    annotated = labels['S'][..., :3] - labels['S'][:, :1, :3]

    def errors(path: Path) -> Any:
        regressor = JointRegressor.load(path).reorder(H36M_JOINTS_MMPOSE)
        joints = regressor.weight.double().numpy() @ vertices
        return 1000 * np.linalg.norm(joints - joints[:, :1] - annotated, axis=-1).mean(-1)

    difference = errors(work_dir / 'J_opt.npy') - errors(data / 'regressors/J_std.npy')
    sequences = [name.split('/')[1].split('.')[0] for name in labels['imgname'].tolist()]
    sums = [
        difference[[sequence == of for of in sequences]].sum()
        for sequence in sorted(set(sequences))
    ]
    assert len(sums) == MOMENTS and len(difference) == 4 * MOMENTS
    expected = stats.bootstrap(
        (np.array(sums) / 4,), np.mean, n_resamples=9999, method='percentile', random_state=1
    )
    row = record['scores']['SPIN-like']
    assert (row['frames'], row['sequences'], row['subjects']) == (4 * MOMENTS, MOMENTS, 1)
    found = row['differences']['J_std']
    assert found['value'] == pytest.approx(difference.mean(), abs=2e-3)
    assert found['value'] == pytest.approx(row['mpjpe']['J_opt'] - row['mpjpe']['J_std'], abs=2e-3)
    atol = 0.1 * expected.standard_error
    np.testing.assert_allclose(
        [found['low'], found['high']], expected.confidence_interval, atol=atol
    )
    assert row['differences']['J_spin'] == found  # J_spin is J_std here


@pytest.mark.slow
def test_a_regressor_fitted_to_the_true_bodies_has_the_floors_errors(
    refined: tuple[Path, Path], record: dict[str, Any]
) -> None:
    data, work_dir = refined
    assert list(record['joints']) == list(H36M_JOINTS_MMPOSE)
    template = free_body().v_template
    found, true = (
        JointRegressor.load(path).reorder(H36M_JOINTS_MMPOSE)(template[None])[0]
        for path in (work_dir / 'J_opt.npy', data / 'truth/J_true.npy')
    )
    errors = 1000 * (found - true).norm(dim=-1)
    for error, row in zip(errors.tolist(), record['joints'].values(), strict=True):
        assert row['error_mm'] == pytest.approx(error, abs=0.01)
        assert row['floor_mm'] == pytest.approx(error, abs=0.05)
        assert 0 < row['radius_mm'] < 300


def test_tables_count_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = load_tool('analysis_tools/result_pages.py')
    monkeypatch.setattr(pages, 'RESULTS', tmp_path / 'results')
    versions = dict(python='3', torch='2', numpy='1', numba='0')
    for seed, low in enumerate((-0.3, 0.1)):
        interval = dict(value=low + 0.26, low=low, high=low + 0.5)
        joint = dict(error_mm=2.0 + seed, radius_mm=2.5, floor_mm=1.0)
        record = dict(
            seed=seed,
            scores={'SPIN-like': dict(differences={'truth': interval})},
            joints=dict.fromkeys(H36M_JOINTS_MMPOSE, joint),
            versions=versions,
        )
        path = tmp_path / f'uncertainty/views_{seed}.json'
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record))
    assert pages.collect(tmp_path, 'abc') == ['views_0', 'views_1']
    results = pages.read_results()
    table = pages.difference_table(results, [r'views_\d'])
    assert table[0] == '| estimator | MPJPE, mm | seed 0 | seed 1 | lower | higher |'
    row = '| SPIN-like | J_opt - truth | +0.0 [-0.3, +0.2] | +0.4 [+0.1, +0.6] | 0 | 1 |'
    assert table[2] == row
    table = pages.joint_error_table(results, [r'views_\d'])
    numbers = '2.5 (2.5) | 2.5 (3.0) | {} | 1.0 (1.0) | {}'
    assert table[2] == f'| pelvis | {numbers.format("1 of 2", "2 of 2")} |'
    assert table[3].startswith('| right hip |')
    assert table[19] == f'| all joints | {numbers.format("17 of 34", "34 of 34")} |'
    with pytest.raises(pages.MissingResultError):
        pages.joint_error_table(results, ['not-there'])
    assert pages.collect(tmp_path / 'nothing', 'abc') == []


@pytest.mark.parametrize(
    ('options', 'status', 'message'),
    [(['--resamples', '0'], 2, '--resamples: found 0'), (['--out', 'a.txt'], 1, 'a.txt: expected')],
)
def test_wrong_options_are_refused_first(
    options: list[str],
    status: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tool = load_tool('analysis_tools/regressor_uncertainty.py')
    assert tool.main([str(tmp_path), str(tmp_path), *options]) == status
    assert message in capsys.readouterr().err
