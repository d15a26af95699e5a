"""The command fit-regressor: from two files to a regressor that the other commands take."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from meshes_in_motion import moving_sphere, true_weights

from mmjrr.cli.main import main
from mmjrr.regressors import JointRegressor


def write_files(folder, **changes):
    motion = moving_sphere()
    weight = true_weights(3, motion.vertices.shape[1])
    names = [
        f'{person}/take_{take[-1]}/{index:06d}.jpg'
        for index, (person, take) in enumerate(zip(motion.person, motion.sequence, strict=True))
    ]
    shuffled = np.random.default_rng(0).permutation(len(names))
    joints = 1000 * weight @ motion.vertices
    joints[::5, 1] = np.nan
    content = dict(
        imgname=np.array(names)[shuffled],
        markers=joints[shuffled],
        joint_names=np.array(['hip', 'knee', 'toe']),
    )
    np.savez(folder / 'joints.npz', **{**content, **changes})
    np.savez(folder / 'meshes.npz', imgname=np.array(names), vertices=motion.vertices)
    np.save(folder / 'faces.npy', motion.faces)
    return motion, weight


def fit(folder, *options):
    return main(
        [
            'fit-regressor', str(folder / 'meshes.npz'), '--joints', str(folder / 'joints.npz'),
            '--joints-unit', 'mm', '--out', str(folder / 'out' / 'skeleton.npy'), *options,
        ]
    )  # fmt: skip


def test_two_files_become_a_regressor_a_report_and_a_picture(tmp_path, capsys):
    motion, weight = write_files(tmp_path)
    assert fit(tmp_path, '--root', 'none', '--body-name', 'ball') == 0
    regressor = JointRegressor.load(tmp_path / 'out' / 'skeleton.npy', dtype=torch.float64)
    assert regressor.joint_names == ('hip', 'knee', 'toe')
    assert regressor.body_model == 'ball'
    joints = regressor(torch.from_numpy(motion.vertices)).numpy()
    np.testing.assert_allclose(joints, weight @ motion.vertices, atol=1e-4)
    report = json.loads((tmp_path / 'out' / 'skeleton.report.json').read_text())
    assert report['missing'] == {'hip': 0, 'knee': 12, 'toe': 0}
    assert len(report['folds']['person']) == 3 and len(report['folds']['sequence']) == 5
    assert (tmp_path / 'out' / 'skeleton.png').stat().st_size > 10000
    printed = capsys.readouterr().out
    assert 'New person' in printed
    assert 'probably regressed from them, not measured' in printed


@pytest.mark.slow
def test_markers_need_faces_and_get_offsets(tmp_path, capsys):
    write_files(tmp_path)
    assert fit(tmp_path, '--markers', 'all', '--no-picture') == 1
    assert 'faces: found none' in capsys.readouterr().err
    faces = ['--faces', str(tmp_path / 'faces.npy'), '--root', 'none', '--no-picture']
    assert fit(tmp_path, '--markers', 'toe', *faces) == 0
    assert 'Offset' in capsys.readouterr().out
    assert (tmp_path / 'out' / 'skeleton.npy').is_file()
    assert not (tmp_path / 'out' / 'skeleton.png').exists()


def test_files_that_do_not_fit_end_in_one_sentence(tmp_path, capsys):
    write_files(tmp_path, imgname=np.array([f'x/y/other_{i}.jpg' for i in range(60)]))
    assert fit(tmp_path) == 1
    assert '0 frames of' in capsys.readouterr().err
    write_files(tmp_path, joint_names=np.array(['hip', 'hip', 'toe']))
    assert fit(tmp_path) == 1
    assert 'expected as many different names' in capsys.readouterr().err
    write_files(tmp_path, markers=np.zeros((60, 3)))
    assert fit(tmp_path) == 1
    assert 'markers: found shape' in capsys.readouterr().err.replace('joints:', 'markers:')


def test_faces_and_suffix_are_checked_before_the_fit(tmp_path, capsys):
    write_files(tmp_path)
    np.savez(tmp_path / 'other.npz', x=np.zeros(3))
    assert fit(tmp_path, '--faces', str(tmp_path / 'other.npz')) == 1
    printed = capsys.readouterr().err
    assert "other.npz: found ['x'], expected 'f' or 'faces'" in printed
    assert fit(tmp_path, '--out', str(tmp_path / 'J.NPY')) == 1
    assert 'J.NPY: expected a path ending in .npy, in lower case' in capsys.readouterr().err


@pytest.mark.parametrize('unit', ['m', 'cm'])
def test_joints_in_another_unit_than_was_said_are_refused(tmp_path, capsys, unit):
    write_files(tmp_path)
    assert fit(tmp_path, '--joints-unit', unit) == 1
    printed = capsys.readouterr().err
    assert f'another unit than was said (--joints-unit {unit} for the joints' in printed
    assert not (tmp_path / 'out').exists()


def test_meshes_in_another_unit_than_was_said_are_refused(tmp_path, capsys):
    motion, _ = write_files(tmp_path)
    with np.load(tmp_path / 'meshes.npz') as stored:
        np.savez(
            tmp_path / 'meshes.npz', imgname=stored['imgname'], vertices=1000 * motion.vertices
        )
    assert fit(tmp_path) == 1
    assert '--unit m for vertices' in capsys.readouterr().err
