"""``tools/analysis_tools/mask_shapes.py`` on a small synthetic set."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from tool_modules import load_tool

from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.synthetic import Settings, generate
from mmjrr.segmentation.simulated_masks import MaskErrors, simulate_masks


@pytest.fixture(scope='module')
def tool() -> ModuleType:
    return load_tool('analysis_tools/mask_shapes.py')


@pytest.mark.slow
def test_exact_masks_leave_shapes_and_wide_ones_make_them_wide(
    tool: ModuleType, tmp_path: Path
) -> None:
    data, wide = tmp_path / 'set', tmp_path / 'wide.json'
    settings = Settings(subjects=('S1', 'S9'), frames_per_subject=3, synchronous=True, images=False)
    generate(data, settings, 1, progress=False)
    dataset = H36MFitsDataset(
        data_root=str(data),
        ann_file='annotation_body3d/fps10/h36m_train.npz',
        mask_file='masks/h36m_train.json',
    )
    simulate_masks(wide, dataset, MaskErrors(grow=2.0))
    results = []
    for masks in (data / 'masks/h36m_train.json', wide):
        out = tmp_path / 'out.json'
        arguments = [str(data), str(masks), '--settings', 'pixels', '--out', str(out)]
        assert tool.main(arguments) == 0
        results.append(json.loads(out.read_text())['settings']['pixels'])
    exact, grown = results
    assert exact['shape_mm'] < 1.5 and grown['shape_mm'] > 5
    assert grown['stature_mm'] > exact['stature_mm'] + 10


def test_a_folder_that_is_no_synthetic_set_is_one_line(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.main([str(tmp_path), str(tmp_path / 'no.json')]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: ') and 'h36m_train.npz' in line


def test_no_frame_is_refused(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(['set', 'masks.json', '--every', '0']) == 2
    assert capsys.readouterr().err == 'error: --every: found 0, expected at least 1\n'
