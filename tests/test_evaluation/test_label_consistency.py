"""Label consistency of refined fits with planted offsets, by the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mmjrr.body_models import free_body
from mmjrr.cli.main import main
from mmjrr.datasets.fits import load_fits, save_fits
from mmjrr.datasets.synthetic.simulated_regressors import make_true_regressor
from mmjrr.errors import DataError
from mmjrr.evaluation.label_consistency import LabeledFits, table_of_joints
from mmjrr.io import sha256
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS
from mmjrr.regressors import JointRegressor, LabelOffsets
from mmjrr.regressors.fitting.subject_bootstrap import SubjectBootstrap
from mmjrr.regressors.label_offsets import part_rotations

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
    write_fits(tmp_path / 'pseudo_gt.npz', ('S1',), np.zeros(3), 1)
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
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_fits(tmp_path / 'pseudo_gt.npz', ('S1',), np.zeros(3), 1))
    command = ['label-consistency', path, '--body-model', 'free_body']
    effect = ['--test-fits', path, '--predictions', path, '--regressor', 'missing.npy']
    assert main([*command, *effect]) == 1  # of one subject, which the fit refuses
    assert 'missing.npy: no such file' in capsys.readouterr().err
