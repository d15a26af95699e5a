"""Label consistency of refined fits with planted offsets, by the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmjrr.body_models import FREE_BODY_FILE, SMPL, free_body
from mmjrr.cli.main import main
from mmjrr.datasets.fits import load_fits, save_fits
from mmjrr.datasets.synthetic.simulated_regressors import make_true_regressor
from mmjrr.errors import DataError
from mmjrr.evaluation import label_consistency as module
from mmjrr.evaluation.label_consistency import (
    LabelConsistency,
    LabeledFits,
    OffsetEffect,
    table_of_joints,
    table_of_offsets,
)
from mmjrr.io import sha256
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS, reorder_index
from mmjrr.regressors import JointRegressor, LabelOffsets, LabelOffsetsEstimate
from mmjrr.regressors.fitting.subject_bootstrap import SubjectBootstrap
from mmjrr.regressors.fitting.untested_offsets import untested_pairs
from mmjrr.regressors.label_offsets import part_rotations
from mmjrr.visualization import label_consistency_figure
from mmjrr.visualization.label_consistency_figure import draw_label_offsets

ANKLE = H36M_JOINTS_MMPOSE.index('left_ankle')


def write_fits(
    path: Path, subjects: tuple[str, ...], offset: np.ndarray, actions: int = 6, seed: int = 0
) -> Path:
    """Write random bodies whose labels of the first subject's left ankle are off."""
    rng = np.random.default_rng(seed)
    body = free_body()
    frames = 4
    names = [
        f'{subject}/{subject}_Posing_{action}.54138969/{subject}_Posing_{action}.54138969_{k:06d}.jpg'
        for subject in subjects
        for action in range(actions)
        for k in range(1, frames + 1)
    ]
    count = len(names)
    pose = rng.normal(0, 0.25, (count, 72))
    betas = np.repeat(rng.normal(0, 1, (len(subjects), 10)), actions * frames, 0)
    transl = rng.normal(0, 0.3, (count, 3)) + [0, 0, 5]
    values = {
        name: torch.from_numpy(value).float()
        for name, value in dict(
            global_orient=pose[:, :3], body_pose=pose[:, 3:], betas=betas, transl=transl
        ).items()
    }
    joints = make_true_regressor(0, body)(body(**values).vertices).double().numpy()
    turn = part_rotations(
        body, global_orient=values['global_orient'], body_pose=values['body_pose']
    )
    shank = turn[: actions * frames, SMPL_JOINTS.index('left_knee')].numpy()
    joints[: actions * frames, ANKLE] += shank @ offset
    joints += rng.normal(0, 0.001, joints.shape)
    ones = np.ones((count, 17, 1))
    save_fits(
        path, imgname=names, pose=pose, betas=betas, transl=transl,
        center=np.full((count, 2), 500.0), scale=np.full(count, 3.0),
        part=np.concatenate([100 * joints[..., :2] + 500, ones], -1),
        S=np.concatenate([joints, ones], -1),
    )  # fmt: skip
    return path


@pytest.mark.slow
def test_the_command_finds_planted_offsets_and_their_part_of_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offset = np.array([0.02, -0.03, 0.01])
    write_fits(tmp_path / 'pseudo_gt.npz', ('S1', 'S5', 'S6'), offset)
    test = write_fits(tmp_path / 'test.npz', ('S9', 'S11'), offset, seed=1)
    out = {name: tmp_path / name for name in ('c.json', 'c.png', 'J.npy', 'offsets.npz')}
    status = main([
        'label-consistency', str(tmp_path), '--body-model', 'free_body', '--root', 'none',
        '--out', str(out['c.json']), '--figure', str(out['c.png']),
        '--regressor-out', str(out['J.npy']), '--offsets-out', str(out['offsets.npz']),
        '--bootstrap', '3', '--test-fits', str(test), '--predictions', str(test),
    ])  # fmt: skip
    assert status == 0
    printed = capsys.readouterr().out
    content = json.loads(out['c.json'].read_text())
    significant = {
        (subject, joint)
        for subject, entry in content['offsets'].items()
        for joint, values in entry['joints'].items()
        if values['significant']
    }
    assert ('S1', 'left_ankle') in significant
    assert {joint for _, joint in significant} == {'left_ankle'}
    # The means over three subjects are zero, so that two thirds of the offset remain.
    ankle = content['offsets']['S1']['joints']['left_ankle']['offset_mm']
    np.testing.assert_allclose(ankle, 1000 * offset * 2 / 3, atol=3)
    offsets = LabelOffsets.load(out['offsets.npz'])
    np.testing.assert_allclose(offsets.values[0, ANKLE], np.divide(ankle, 1000), atol=1e-9)
    assert offsets.provenance['fits'] == content['provenance']['fits']
    assert (offsets.provenance['root'], offsets.provenance['n_significant']) == (
        None,
        len(significant),
    )
    fitted = JointRegressor.load(out['J.npy'])
    assert fitted.joint_names == H36M_JOINTS_MMPOSE
    assert fitted.provenance['fits'] == content['provenance']['fits']
    assert fitted.provenance['label_offsets_sha256'] == sha256(out['offsets.npz'])
    assert out['c.png'].stat().st_size > 10000
    assert 'left_ankle' in printed and 'labels less offsets' in printed

    assert set(content['joints_within_mm']) == set(H36M_JOINTS_MMPOSE)
    assert all(0 < radius < 300 for radius in content['joints_within_mm'].values())

    # The predictions are the bodies themselves: their error at S9's ankle is the offset.
    effect = content['effect']
    gain = effect['mpjpe_mm']['S9'] - effect['mpjpe_without_offsets_mm']['S9']
    assert gain > 0.5
    assert effect['offsets']['S9']['joints']['left_ankle']['significant']


def test_files_without_labels_or_translation_are_named(tmp_path: Path) -> None:
    body = free_body()
    with pytest.raises(FileNotFoundError, match=r'pseudo_gt\.npz: no such file'):
        LabeledFits(tmp_path, body)
    path = write_fits(tmp_path / 'fits.npz', ('S1',), np.zeros(3), actions=1)
    fits = load_fits(path)
    for name in ('transl', 'S'):
        fields = {key: value for key, value in fits.items() if key != name}
        save_fits(tmp_path / 'less.npz', **fields)
        with pytest.raises(DataError, match=f"found no '{name}'"):
            LabeledFits(tmp_path / 'less.npz', body)
    np.savez(path, **dict(np.load(path)) | {'valid_fit': np.zeros(len(fits['imgname']))})
    with pytest.raises(DataError, match='found no row with a body'):
        LabeledFits(path, body)


def test_the_root_is_that_of_the_regressor_beside_the_fits(tmp_path: Path) -> None:
    body = free_body()
    fits = LabeledFits(write_fits(tmp_path / 'pseudo_gt.npz', ('S1',), np.zeros(3), 1), body)
    assert fits.default_root() == 'pelvis'
    for root, expected in ((None, None), ('mean', 'pelvis'), ('thorax', 'thorax')):
        sidecar = {'format': 'mmjrr.joint_regressor/1', 'provenance': {'root': root}}
        (tmp_path / 'J_opt.json').write_text(json.dumps(sidecar))
        assert fits.default_root() == expected


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([1], 'not a sidecar of the format'),
        ({'format': 'mmjrr.joint_regressor/1', 'provenance': 3}, 'provenance: found 3'),
    ],
)
def test_a_damaged_sidecar_beside_the_fits_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object, message: str
) -> None:
    write_fits(tmp_path / 'pseudo_gt.npz', ('S1', 'S5'), np.zeros(3), 1)
    (tmp_path / 'J_opt.json').write_text(json.dumps(content))
    assert main(['label-consistency', str(tmp_path), '--body-model', 'free_body']) == 1
    error = capsys.readouterr().err
    assert f'J_opt.json: {message}' in error and error.count('\n') == 1


def test_joints_of_one_subject_have_no_distance_in_the_table() -> None:
    replicates = np.zeros((5, 2, 3))
    replicates[:, 1] = np.nan
    bootstrap = SubjectBootstrap(('left_hip', 'head'), np.zeros((2, 3)), replicates, 3)
    lines = [line.split() for line in table_of_joints(bootstrap).splitlines()]
    assert ['left_hip', '0.0'] in lines and ['head', '-'] in lines


def test_moved_labels_are_the_labels_less_the_turned_offsets(tmp_path: Path) -> None:
    offset = np.array([0.02, -0.03, 0.01])
    body = free_body()
    fits = LabeledFits(write_fits(tmp_path / 'a.npz', ('S1', 'S5'), offset, 1), body)
    plain = LabeledFits(write_fits(tmp_path / 'b.npz', ('S1', 'S5'), np.zeros(3), 1), body)
    values = np.zeros((1, 17, 3))
    values[0, ANKLE] = offset

    class Estimate:
        offsets = LabelOffsets(['S1'], H36M_JOINTS_MMPOSE, values)

    fits.save_labels(tmp_path / 'moved.npz', Estimate)  # type: ignore[arg-type]
    moved = np.load(tmp_path / 'moved.npz')
    np.testing.assert_allclose(moved['S'], plain.fits['S'], atol=1e-5)
    assert moved['imgname'].tolist() == fits.names


def an_estimate(
    n_groups: list[list[int]],
    pvalues: list[list[float]],
    dof: list[list[float]] | None = None,
    names: tuple[str, ...] = ('pelvis', 'left_knee', 'head'),
) -> LabelOffsetsEstimate:
    """Make an estimate of labels that are 5 mm off, with a standard error of 1 mm."""
    groups, p = np.array(n_groups), np.array(pvalues)
    names = names[: groups.shape[1]]
    has_offset = (groups > 0) & ((groups > 0).sum(0) > 1)
    estimates = np.where(has_offset[..., None], [0.003, 0.004, 0.0], 0.0)
    subjects = ('S1', 'S5', 'S6')[: len(groups)]
    return LabelOffsetsEstimate(
        offsets=LabelOffsets(subjects, names, estimates),
        estimates=estimates,
        has_offset=has_offset,
        covariance=np.broadcast_to(1e-6 * np.eye(3), (*groups.shape, 3, 3)),
        dof=np.maximum(groups - 1.0, 0) if dof is None else np.array(dof),
        pvalues=p,
        adjusted_pvalues=p,
        significant=p < 0.01,
        n_frames=np.full(len(groups), 9),
        n_sequences=groups.max(1),
        n_groups=groups,
    )


NONE = float('nan')


def test_offsets_that_are_not_tested_or_not_known_have_no_standard_error() -> None:
    estimate = an_estimate(
        [[0, 5, 5], [0, 5, 0], [0, 2, 0]], [[NONE, 1e-3, NONE], [NONE, 0.5, NONE], [NONE] * 3]
    )
    lines = [line.split() for line in table_of_offsets(estimate).splitlines()]
    assert ['pelvis', '-', '-', '-'] in lines and ['head', '-', '-', '-'] in lines
    assert ['left_knee', '5.0', '(1.0)*', '5.0', '(1.0)', '5.0', '(-)'] in lines
    assert '(-) not tested' in table_of_offsets(estimate)
    effect = OffsetEffect('m', 'paper', 'J', {'all': 2.0}, {'all': 1.0}, estimate, 9)
    assert untested_pairs(estimate) in str(effect)
    entries = {subject: entry['joints'] for subject, entry in effect.to_dict()['offsets'].items()}
    knee = dict(offset_mm=[3.0, 4.0, 0.0], adjusted_pvalue=None, pvalue=None, significant=False)
    assert entries['S6']['left_knee'] == pytest.approx(knee | dict(standard_error_mm=None))
    assert entries['S1']['left_knee']['standard_error_mm'] == pytest.approx([1.0] * 3)
    assert entries['S1']['head']['offset_mm'] is None


def test_why_pairs_are_not_tested_is_said() -> None:
    takes = 'which takes labels in at least 4 sequences of the subject: '
    one = an_estimate([[5, 5], [5, 5], [1, 1]], [[0.5, 0.5], [0.5, 0.5], [NONE, NONE]])
    assert untested_pairs(one) == f'2 of 6 pairs could not be tested, {takes}S6 has 1 sequence.'
    joints = an_estimate(
        [[5, 5, 5], [5, 2, 0], [5, 5, 0]],
        [[0.5, 0.5, NONE], [0.5, NONE, NONE], [0.5, NONE, NONE]],
        dof=[[4, 4, 0], [4, 1, 0], [4, 2.5, 0]],
    )
    assert untested_pairs(joints) == (
        f'5 of 9 pairs could not be tested, {takes}only S1 has labels of head; S5 and S6 have no '
        'labels of head; S5 has 2 sequences with labels of left knee; S6 would be compared with '
        'too few sequences of other subjects at left knee.'
    )
    assert untested_pairs(an_estimate([[0, 5], [0, 5]], [[NONE, 0.5], [NONE, 0.5]])) == ''
    nothing = an_estimate([[1, 1], [1, 1]], [[NONE, NONE], [NONE, NONE]])
    sentence = LabelConsistency(nothing, None, 0.01, 0.005).sentence()  # type: ignore[arg-type]
    assert sentence == (
        'None of the 4 pairs of a subject and a joint could be tested, '
        f'{takes}S1 and S5 have 1 sequence.'
    )


def test_mean_labels_that_are_not_tested_have_no_ellipse(tmp_path: Path, monkeypatch: Any) -> None:
    """Of four joints of two subjects, one mean label is not tested, and one joint has no labels."""
    body = free_body()
    fits = LabeledFits(write_fits(tmp_path / 'fits.npz', ('S1', 'S5'), np.zeros(3), 1), body)
    shape = (2, len(H36M_JOINTS_MMPOSE))
    groups, pvalues = np.full(shape, 5), np.full(shape, 0.5)
    knee = H36M_JOINTS_MMPOSE.index('left_knee')
    groups[:, ANKLE], pvalues[:, ANKLE] = 0, NONE
    pvalues[1, knee] = NONE
    estimate = an_estimate(groups.tolist(), pvalues.tolist(), names=H36M_JOINTS_MMPOSE)

    class Result:
        fit = type('Fit', (), {'regressor': make_true_regressor(0, body)})

        def __getattr__(self, name: str) -> Any:
            return getattr(estimate, name)

    figures: list[Any] = []
    monkeypatch.setattr(
        label_consistency_figure, 'save_figure', lambda figure, path: figures.append(figure)
    )
    draw_label_offsets(fits, Result(), tmp_path / 'a.png')  # type: ignore[arg-type]
    axes = figures[0].axes
    assert [len(one.patches) for one in axes] == [0, 0, 1, 1, 1, 0, 1, 1, 0, 0]
    crosses = [sum(line.get_marker() == 'x' for line in one.lines) for one in axes]
    assert crosses == [0, 1, 0, 0, 0, 1, 0, 0, 0, 0]


def with_genders(path: Path, genders: list[str]) -> Path:
    fields = dict(np.load(path))
    np.savez(path, **fields | {'gender': np.resize(genders, len(fields['imgname']))})
    return path


def test_the_gender_of_the_fits_is_that_of_the_body(tmp_path: Path) -> None:
    for name in ('NEUTRAL', 'MALE'):
        shutil.copy(FREE_BODY_FILE, tmp_path / f'SMPL_{name}.npz')
    path = write_fits(tmp_path / 'fits.npz', ('S1', 'S5'), np.zeros(3), 1)
    folder: dict[str, Any] = dict(type='SMPL', model_path=str(tmp_path))
    assert LabeledFits(path, folder).body.gender == 'neutral'
    with_genders(path, ['male'])
    assert LabeledFits(path, folder).body.gender == 'male'
    with pytest.raises(DataError, match="gender: found 'male', expected 'neutral'"):
        LabeledFits(path, SMPL(tmp_path))
    with pytest.raises(DataError, match='the free body has no genders'):
        LabeledFits(path, free_body())
    assert LabeledFits(path, folder, gender='neutral').body.gender == 'neutral'
    with_genders(path, ['male', 'female'])
    with pytest.raises(DataError, match='gender: found 4 female and 4 male bodies'):
        LabeledFits(path, folder)


def test_labels_in_spins_order_are_refused_and_implausible_ones_remarked(tmp_path: Path) -> None:
    path = write_fits(tmp_path / 'fits.npz', ('S1', 'S5'), np.zeros(3), 4)
    fits = load_fits(path)
    body = free_body()
    labels = fits['S']
    save_fits(path, **fits | {'S': labels[:, reorder_index('mmpose', 'spin')]})
    with pytest.raises(DataError, match="as in SPIN's order"):
        LabeledFits(path, body)
    labels[..., :3] *= 2
    save_fits(path, **fits | {'S': labels, 'part': fits['part'][..., :2]})
    assert any('left hip and knee are' in remark for remark in LabeledFits(path, body).remarks)


def fail(*_: Any, **__: Any) -> None:
    pytest.fail('a regressor was fitted')


@pytest.mark.parametrize('wrong', ['one subject', 'no predictions', 'no boxes'])
def test_what_is_wrong_is_found_before_the_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any, wrong: str
) -> None:
    monkeypatch.setattr(module, 'fit_label_offsets', fail)
    subjects = ('S1',) if wrong == 'one subject' else ('S1', 'S5')
    path = write_fits(tmp_path / 'fits.npz', subjects, np.zeros(3), 1)
    predictions = tmp_path / 'missing.npz' if wrong == 'no predictions' else path
    test = path
    if wrong == 'no boxes':
        test = tmp_path / 'test.npz'
        fields = load_fits(path)
        save_fits(test, **{key: fields[key] for key in fields if key not in ('center', 'scale')})
    assert main([
        'label-consistency', str(path), '--body-model', 'free_body', '--test-fits', str(test),
        '--predictions', str(predictions),
    ]) == 1  # fmt: skip
    assert {
        'one subject': "fits.npz: imgname: found ['S1'], expected two subjects or more",
        'no predictions': 'missing.npz: no such file',
        'no boxes': "test.npz: found no ['center', 'scale']",
    }[wrong] in capsys.readouterr().err


@pytest.mark.slow
def test_results_are_written_before_the_effect_on_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_fits(tmp_path / 'fits.npz', ('S1', 'S5'), np.zeros(3), 1)
    test = write_fits(tmp_path / 'test.npz', ('S9',), np.zeros(3), 1)
    names = ('c.json', 'J.npy', 'offsets.npz')
    out = [tmp_path / name for name in names]
    assert main([
        'label-consistency', str(path), '--body-model', 'free_body', '--root', 'none',
        '--out', str(out[0]), '--regressor-out', str(out[1]), '--offsets-out', str(out[2]),
        '--test-fits', str(test), '--predictions', str(path),
    ]) == 1  # fmt: skip
    printed = capsys.readouterr()
    assert 'None of the 34 pairs' in printed.out and 'error' in printed.err
    assert all(file.is_file() for file in out)
    assert json.loads(out[0].read_text())['effect'] is None


@pytest.mark.parametrize(
    ('arguments', 'status', 'message'),
    [
        (['--out', 'x.txt'], 1, 'expected a path ending in .json'),
        (['--figure', 'x.jpg'], 1, 'expected a path ending in .png, .pdf or .svg'),
        (['--predictions', 'x.npz'], 2, '--test-fits and --predictions belong together'),
        (
            ['--regressor', 'x.npy', '--protocol', 'nonsense'],
            2,
            '--regressor, --protocol: needs --test-fits and --predictions',
        ),
        (['--mapping', 'x.npz'], 2, '--mapping: needs --test-fits and --predictions'),
        (
            ['--test-fits', 'x.npz', '--predictions', 'x.npz', '--protocol', 'nonsense'],
            1,
            "unknown protocol 'nonsense'",
        ),
        (['--root', 'nose'], 1, 'no such file'),
    ],
)
def test_a_wrong_argument_is_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    command = ['label-consistency', str(tmp_path), '--body-model', 'free_body', *arguments]
    assert main(command) == status
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1


def test_a_missing_regressor_is_found_before_the_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    path = str(write_fits(tmp_path / 'pseudo_gt.npz', ('S1', 'S5'), np.zeros(3), 1))
    command = ['label-consistency', path, '--body-model', 'free_body']
    effect = ['--test-fits', path, '--predictions', path, '--regressor', 'missing.npy']
    monkeypatch.setattr(module, 'fit_label_offsets', fail)
    assert main([*command, *effect]) == 1
    assert 'missing.npy: no such file' in capsys.readouterr().err
