"""Checks of ``mmjrr initial-fits`` before it fits a body."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_jobs import several_views, unnamed_regressor

from mmjrr.body_models import FREE_BODY_FILE, free_body
from mmjrr.cli import initial_fits
from mmjrr.datasets.annotations import Annotations
from mmjrr.datasets.fits import load_fits
from mmjrr.datasets.predictions import read_predictions
from mmjrr.errors import DataError
from mmjrr.evaluation.predicted_body import body_of
from mmjrr.io import sha256
from mmjrr.jobs import digest_of_state
from mmjrr.joints import reorder_index
from mmjrr.regressors import JointRegressor

ANNOTATION = 'annotation_body3d/fps10/h36m_train.npz'


def arguments_of(annotations: Path, out: Path, *options: str) -> list[str]:
    return [
        str(annotations), '--regressor', 'free_body_h36m', '--body-model', 'free_body',
        '--out', str(out), *options,
    ]  # fmt: skip


def test_joints_in_spins_order_are_refused(
    tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Annotations.load(tiny_set / ANNOTATION)
    order = reorder_index('mmpose', 'spin')
    replace(table, S=table.S[:, order], part=table.part[:, order]).save(tmp_path / 'spin.npz')
    assert initial_fits.main(arguments_of(tmp_path / 'spin.npz', tmp_path / 'fits.npz')) == 1
    error = capsys.readouterr().err
    assert 'spin.npz: S: the hips point the other way than the shoulders in 24 of 24' in error
    assert not (tmp_path / 'fits.npz').exists()


def test_a_frame_without_a_trunk_is_named_before_any_fit(
    tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Annotations.load(tiny_set / ANNOTATION)
    table.S[-1, :, 3] = 0
    table.save(tmp_path / 'few.npz')
    assert initial_fits.main(arguments_of(tmp_path / 'few.npz', tmp_path / 'fits.npz')) == 1
    error = capsys.readouterr().err
    assert f'few.npz: S: 1 of 24 frames, the first is {table.imgname[-1]}, have fewer' in error
    assert '--cameras' in error and 'of 24 frames\n' not in error


def test_the_file_says_what_was_triangulated_and_fitted_with_what(tmp_path: Path) -> None:
    data = several_views(tmp_path / 'data', ('S1',), 1)
    table = Annotations.load(data / ANNOTATION)
    table.S[:, 3, 3] = 0
    table.save(tmp_path / 'a.npz')
    cameras, out = data / 'annotation_body3d/cameras.pkl', tmp_path / 'fits.npz'
    options = ['--cameras', str(cameras), '--iters', '1', '--starts', '1']
    assert initial_fits.main(arguments_of(tmp_path / 'a.npz', out, *options)) == 0
    provenance = load_fits(out)['provenance']
    assert provenance['annotations']['sha256'] == sha256(tmp_path / 'a.npz')
    assert provenance['triangulated'] == dict(
        cameras=dict(file='cameras.pkl', sha256=sha256(cameras)),
        joints=len(table),
        frames_left_out=0,
        of_all_frames=dict(
            joints_triangulated=len(table),
            joints_in_one_view=0,
            joints_disagreeing=0,
            joints_imprecise=0,
        ),
    )
    assert provenance['body'] == dict(name='free_body', sha256=digest_of_state(free_body()))
    regressor = JointRegressor.load('free_body_h36m')
    assert provenance['regressor_file_sha256'] == regressor.provenance['file_sha256']


def test_the_file_says_the_bodys_gender_and_which_file_it_is(
    tiny_set: Path, tmp_path: Path
) -> None:
    with np.load(FREE_BODY_FILE, allow_pickle=False) as file:
        arrays = dict(file)
    body = tmp_path / 'SMPL_MALE.npz'
    options = ['--regressor', str(unnamed_regressor(tmp_path / 'J.npy')), '--body-model', str(body)]
    options += ['--iters', '1', '--starts', '1']
    table = Annotations.load(tiny_set / ANNOTATION)
    table.keep(np.arange(len(table)) < 2).save(tmp_path / 'a.npz')
    checksums = set()
    for scale in (1.0, 1.08):
        np.savez(body, **{**arrays, 'v_template': arrays['v_template'] * np.float32(scale)})
        out = tmp_path / 'fits.npz'
        assert initial_fits.main(arguments_of(tmp_path / 'a.npz', out, *options)) == 0
        fits = load_fits(out)
        checksums.add(fits['provenance']['body']['sha256'])
        assert fits['gender'].tolist() == ['male', 'male']
        with pytest.raises(DataError, match=r"fits\.npz: gender: found 'male', but the free body"):
            body_of(read_predictions(out), free_body())
    assert len(checksums) == 2
