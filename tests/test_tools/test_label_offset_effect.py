"""``tools/analysis_tools/label_offset_effect.py``: reported effects beside those of the truth."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small_jobs import several_views
from tool_modules import load_tool

from mmjrr.body_models import free_body
from mmjrr.datasets.synthetic.posing import global_rotations
from mmjrr.datasets.synthetic.subjects import make_subject
from mmjrr.evaluation.label_consistency import LabeledFits
from mmjrr.evaluation.protocols import get_protocol
from mmjrr.io import read_npz
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS
from mmjrr.regressors import JointRegressor, LabelOffsets

MOMENTS = 8
SEED = 3  # of small_jobs' sets
ANKLES = [H36M_JOINTS_MMPOSE.index(f'{side}_ankle') for side in ('left', 'right')]


@pytest.mark.slow
def test_on_true_bodies_the_effect_is_nearly_that_of_the_planted_offsets(tmp_path: Path) -> None:
    """The regressor is the true one, so only the labels' noise is in the found offsets."""
    tool = load_tool('analysis_tools/label_offset_effect.py')
    data, body = several_views(tmp_path / 'set', ('S9', 'S11'), MOMENTS), free_body()
    labels = read_npz(data / 'annotation_body3d/fps10/h36m_test.npz')
    bodies = read_npz(data / 'truth/h36m_test.npz')
    assert labels['imgname'].tolist() == bodies['imgname'].tolist()
    np.savez(tmp_path / 'pseudo_gt.npz', **{**labels, **bodies})
    regressor = data / 'truth/J_true.npy'
    row = tool.measure(data, regressor, tmp_path, body)

    fits = read_npz(data / 'fits/spin_like_test.npz')
    pose = torch.from_numpy(fits['pose']).float()
    posed = body(
        global_orient=pose[:, :3],
        body_pose=pose[:, 3:],
        betas=torch.from_numpy(fits['betas']).float(),
    )
    joints = JointRegressor.load(regressor).reorder(H36M_JOINTS_MMPOSE)(posed.vertices).numpy()
    moved = labels['S'][..., :3].astype(np.float64)
    names = [name.split('/')[0].split('_')[0] for name in labels['imgname'].tolist()]
    rotations = global_rotations(bodies['pose'].reshape(-1, 24, 3))
    for side, ankle in enumerate(ANKLES):
        shank = rotations[:, SMPL_JOINTS.index(('left_knee', 'right_knee')[side])]
        offsets = np.stack([make_subject(SEED, name).ankle_offset[side] for name in names])
        moved[:, ankle] -= np.einsum('nij,nj->ni', shank, offsets)

    chosen = [H36M_JOINTS_MMPOSE.index(name) for name in get_protocol('paper').joints]

    def mpjpe(annotated: Any) -> float:
        differences = (joints - joints[:, :1]) - (annotated - annotated[:, :1])
        return 1000 * float(np.linalg.norm(differences[:, chosen], axis=-1).mean())

    expected = mpjpe(labels['S'][..., :3]) - mpjpe(moved)
    effect = {name: values['all'] for name, values in row['effects']['SPIN-like'].items()}
    assert effect['mpjpe'] == pytest.approx(mpjpe(labels['S'][..., :3]), abs=0.01)
    assert effect['truth'] == pytest.approx(expected, abs=0.01)
    assert effect['reported'] == effect['true_bodies'] == pytest.approx(expected, abs=0.1)
    assert effect['ankles'] == effect['reported']  # no other joint is flagged
    assert row['pve_mm'] == 0
    assert row['frames'] == len(moved)
    offsets = row['offsets']
    assert offsets == row['offsets_on_true_bodies'] and offsets['others_flagged'] == {}
    assert max(offsets['error_mm']) < 5 < max(offsets['planted_mm'])


def test_labels_are_moved_by_the_parts_rotations(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offsets in the frames of the shanks, subtracted in the camera's frame."""
    import mmjrr.evaluation

    tool = load_tool('analysis_tools/label_offset_effect.py')
    labels = read_npz(tiny_set / 'annotation_body3d/fps10/h36m_test.npz')
    bodies = read_npz(tiny_set / 'truth/h36m_test.npz')
    np.savez(tmp_path / 'fits.npz', **{**labels, **bodies})
    fits = LabeledFits(tmp_path / 'fits.npz', free_body())
    found: dict[str, Any] = {}

    def evaluate(predictions: Any, path: Path, *_: Any, **__: Any) -> Any:
        found.update(read_npz(path))
        return SimpleNamespace(scores=[SimpleNamespace(group='all', mpjpe=7.0)])

    monkeypatch.setattr(mmjrr.evaluation, 'evaluate', evaluate)
    planted = tool.planted_offsets(SEED, ['S9'])
    assert tool.mpjpe_without(fits, planted, tmp_path, None) == {'all': 7.0}
    shift = labels['S'][..., :3] - found['S'][..., :3]
    shanks = global_rotations(bodies['pose'].reshape(-1, 24, 3))
    offset = make_subject(SEED, 'S9').ankle_offset
    for side, ankle in enumerate(ANKLES):
        shank = shanks[:, SMPL_JOINTS.index(('left_knee', 'right_knee')[side])]
        np.testing.assert_allclose(shift[:, ankle], shank @ offset[side], atol=1e-6)
    np.testing.assert_allclose(np.delete(shift, ANKLES, axis=1), 0, atol=1e-6)


def test_offsets_that_are_not_significant_are_compared_too() -> None:
    tool = load_tool('analysis_tools/label_offset_effect.py')
    planted = tool.planted_offsets(SEED, ['S11', 'S9'])
    estimates = planted.values.numpy().copy()
    estimates[0, ANKLES[0]] += (0.003, 0, 0.004)
    estimates[1, 2] = (0, 0.006, 0)
    significant = np.zeros(estimates.shape[:2], dtype=bool)
    significant[0, ANKLES[0]] = significant[1, 2] = True
    offsets = LabelOffsets(
        planted.subjects, planted.joint_names, estimates * significant[..., None]
    )
    estimate = SimpleNamespace(estimates=estimates, significant=significant, offsets=offsets)
    row = tool.compare_offsets(SimpleNamespace(estimate=estimate), planted)
    assert row['error_mm'] == [5, 0, 0, 0]
    assert row['subtracted_error_mm'] == [5, *row['planted_mm'][1:]]
    assert row['ankles_flagged'] == 1
    assert row['others_flagged'] == {f'S9 {H36M_JOINTS_MMPOSE[2]}': 6}
    with pytest.raises(ValueError, match=r"found \('S11', 'S9'\), expected \('S9',\)"):
        tool.compare_offsets(SimpleNamespace(estimate=estimate), tool.planted_offsets(SEED, ['S9']))


def test_a_table_has_a_row_for_each_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = load_tool('analysis_tools/result_pages.py')
    monkeypatch.setattr(pages, 'RESULTS', tmp_path / 'results')
    effects = {'A': (0.5, 0.25, -0.125), 'B': (1.0, 2.0, 3.0)}
    row = dict(
        seed=4,
        effects={
            title: {
                key: dict(all=value, S9=9.0)
                for key, value in zip(('reported', 'true_bodies', 'truth'), values, strict=True)
            }
            for title, values in effects.items()
        },
        offsets=dict(
            planted_mm=[2.0, 4.0],
            error_mm=[1.0, 2.0],
            ankles_flagged=1,
            others_flagged={'S9 head': 6.0},
        ),
        offsets_on_true_bodies=dict(error_mm=[0.5, 1.5]),
    )
    versions = dict(python='3', torch='2', numpy='1', numba='0')
    path = tmp_path / 'label_offset_effect/views.json'
    path.parent.mkdir()
    path.write_text(json.dumps(dict(rows=[row], versions=versions)))
    assert pages.collect(tmp_path, 'abc') == ['views']
    table = pages.label_offset_effect_table(pages.read_results(), ['views'])
    assert table[0].startswith('| seed | A: reported, on true bodies, truth, mm | B | ankles')
    assert table[2] == (
        '| 4 | +0.50, +0.25, -0.12 | +1.00, +2.00, +3.00 | 3.0, 4.0 | 1.5, 2.0 '
        '| 1.0, 1.5 | 1 of 2 | S9 head 6.0 mm |'
    )
    with pytest.raises(pages.MissingResultError):
        pages.label_offset_effect_table(pages.read_results(), ['not-there'])


@pytest.mark.parametrize(
    ('options', 'status', 'message'),
    [
        (['--steps', '0'], 2, '--steps: found 0'),
        (['--frames-per-subject', '0'], 2, '--frames-per-subject: found 0'),
        (['--out', 'a.txt'], 1, 'a.txt: expected'),
    ],
)
def test_wrong_options_are_refused_first(
    options: list[str],
    status: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tool = load_tool('analysis_tools/label_offset_effect.py')
    assert tool.main(['--work-dir', str(tmp_path / 'not-there'), *options]) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'not-there').exists()
