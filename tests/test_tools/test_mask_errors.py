"""``tools/analysis_tools/mask_errors.py`` on shapes whose errors can be counted by hand."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from tool_modules import load_tool

from mmjrr.datasets import H36MFitsDataset
from mmjrr.segmentation.simulated_masks import MaskErrors, simulate_masks

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def tool() -> ModuleType:
    return load_tool('analysis_tools/mask_errors.py')


def test_errors_are_counted_at_the_nearest_part(tool: ModuleType) -> None:
    """A column of 20 x 30 pixels with a head above a foot, both 15 high.

    The mask is 2 pixels too wide on both sides at the head, and lacks 4 of the rows of the foot.
    """
    head, foot = list(tool.BODY_PARTS).index('head'), list(tool.BODY_PARTS).index('foot')
    vertices = np.array([[30.0, 17.5], [30.0, 32.5]])  # x, y; rows 10 to 24 and 25 to 39
    exact = np.zeros((60, 60), dtype=bool)
    exact[10:40, 20:40] = True
    mask = exact.copy()
    mask[10:25, 18:42] = True
    mask[36:40] = False
    counts = tool.frame_errors(vertices, np.array([head, foot]), exact, mask)
    assert counts['head'][:3].tolist() == [300, 300, 60]
    assert counts['foot'][:3].tolist() == [300, 220, 0]
    assert not any(counts[name].any() for name in tool.BODY_PARTS if name not in ('head', 'foot'))


@pytest.mark.parametrize('pixels', [-3, 0, 2])
def test_the_offset_of_a_grown_outline_is_its_growth(tool: ModuleType, pixels: int) -> None:
    """Along straight edges; at the corners of a smaller square the outlines are farther apart."""
    exact, mask = (np.zeros((224, 224), dtype=bool) for _ in range(2))
    exact[40:180] = True
    mask[40 - pixels : 180 + pixels] = True
    vertices = np.array([[112.0, 112.0]])
    counts = tool.frame_errors(vertices, np.array([0]), exact, mask)
    outline, offset, distance = counts['head'][3:]
    assert outline == 2 * 224
    assert offset / outline == pixels
    assert distance / outline == abs(pixels)


def test_a_folder_that_is_no_synthetic_set_is_one_line(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.main([str(tmp_path), str(tmp_path / 'no.json')]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: ') and 'h36m_train.npz' in line


@pytest.mark.slow
def test_outlines_of_clothed_masks_lie_a_pixel_outside_every_part(
    tool: ModuleType, tiny_set: Path, tmp_path: Path
) -> None:
    """Masks whose outlines were moved out by a pixel of the crop hold all of the exact ones."""
    options = dict(data_root=str(tiny_set), mask_file='masks/h36m_train.json', load_mask=True)
    simulate_masks(tmp_path / 'grown.json', H36MFitsDataset(**options), MaskErrors(grow=1.0))
    errors = tool.mask_errors(tiny_set, tmp_path / 'grown.json')
    assert sum(part['pixels'] for part in errors['parts'].values()) == pytest.approx(1, abs=1e-3)
    for name, part in errors['parts'].items():
        assert part['recall'] > 0.99, name
        # Between limbs, masks grow together, and the outline is farther away.
        assert 0.5 < part['offset_px'] < 2, name
    exact = tool.mask_errors(tiny_set, tiny_set / 'masks/h36m_train.json')
    assert exact['iou'] == 1 and 0.5 < errors['iou'] < 1
    assert all(part['offset_px'] == 0 for part in exact['parts'].values())
