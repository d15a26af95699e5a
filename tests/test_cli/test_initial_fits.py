"""Checks of ``mmjrr initial-fits`` before it fits a body."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mmjrr.cli import initial_fits
from mmjrr.datasets.annotations import Annotations
from mmjrr.joints import reorder_index


def test_joints_in_spins_order_are_refused(
    tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Annotations.load(tiny_set / 'annotation_body3d/fps10/h36m_train.npz')
    order = reorder_index('mmpose', 'spin')
    replace(table, S=table.S[:, order], part=table.part[:, order]).save(tmp_path / 'spin.npz')
    arguments = [
        str(tmp_path / 'spin.npz'), '--regressor', 'free_body_h36m', '--body-model', 'free_body',
        '--out', str(tmp_path / 'fits.npz'),
    ]  # fmt: skip
    assert initial_fits.main(arguments) == 1
    error = capsys.readouterr().err
    assert 'spin.npz: S: the hips point the other way than the shoulders in 24 of 24' in error
    assert not (tmp_path / 'fits.npz').exists()
