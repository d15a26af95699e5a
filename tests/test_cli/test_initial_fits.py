"""Checks of ``mmjrr initial-fits`` before it fits a body."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mmjrr.cli import initial_fits
from mmjrr.datasets.annotations import Annotations
from mmjrr.joints import reorder_index


def arguments_of(annotations: Path, out: Path, *options: str) -> list[str]:
    return [
        str(annotations), '--regressor', 'free_body_h36m', '--body-model', 'free_body',
        '--out', str(out), *options,
    ]  # fmt: skip


def test_joints_in_spins_order_are_refused(
    tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Annotations.load(tiny_set / 'annotation_body3d/fps10/h36m_train.npz')
    order = reorder_index('mmpose', 'spin')
    replace(table, S=table.S[:, order], part=table.part[:, order]).save(tmp_path / 'spin.npz')
    assert initial_fits.main(arguments_of(tmp_path / 'spin.npz', tmp_path / 'fits.npz')) == 1
    error = capsys.readouterr().err
    assert 'spin.npz: S: the hips point the other way than the shoulders in 24 of 24' in error
    assert not (tmp_path / 'fits.npz').exists()


def test_a_frame_without_a_trunk_is_named_before_any_fit(
    tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Annotations.load(tiny_set / 'annotation_body3d/fps10/h36m_train.npz')
    table.S[-1, :, 3] = 0
    table.save(tmp_path / 'few.npz')
    assert initial_fits.main(arguments_of(tmp_path / 'few.npz', tmp_path / 'fits.npz')) == 1
    error = capsys.readouterr().err
    assert f'few.npz: S: 1 of 24 frames, the first is {table.imgname[-1]}, have fewer' in error
    assert '--cameras' in error and 'of 24 frames\n' not in error
