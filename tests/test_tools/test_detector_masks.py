"""``tools/analysis_tools/detector_masks.py`` on shifts that are known, and on real frames."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from tool_modules import load_tool

from mmjrr.datasets.converters.mmpose_test_frames import convert_test_frames
from mmjrr.datasets.converters.pose2sim import JOINTS
from mmjrr.datasets.masks import Masks


@pytest.fixture(scope='module')
def tool() -> ModuleType:
    return load_tool('analysis_tools/detector_masks.py')


def rectangle(top: int, left: int) -> np.ndarray:
    mask = np.zeros((60, 80), dtype=bool)
    mask[top : top + 20, left : left + 30] = True
    return mask


def test_a_displaced_mask_is_found_by_overlap_and_by_edges(tool: ModuleType) -> None:
    """The person is 3 pixels to the right of the mask and 5 above it."""
    mask, person = rectangle(20, 20), rectangle(15, 23)
    overlap = pytest.approx(27 * 15 / (2 * 600 - 27 * 15))
    assert tool.best_shift(mask, person, 0) == ((0, 0), overlap)
    assert tool.best_shift(mask, person, 8) == ((3, -5), 1.0)
    photo = np.where(person[..., None], [200, 40, 90], [60, 50, 80]).astype(np.uint8)
    assert tool.edge_shift(mask, photo, 8) == (3, -5)
    assert (tool.shifted(mask, 3, -5) == person).all()


@pytest.mark.parametrize(('x', 'y'), [(0, 0), (40, 0), (-25, -30), (0, 45)])
def test_what_leaves_the_image_is_lost(tool: ModuleType, x: int, y: int) -> None:
    mask = rectangle(20, 20)
    padded = np.pad(mask, 50)
    expected = padded[50 - y : 110 - y, 50 - x : 130 - x]
    assert (tool.shifted(mask, x, y) == expected).all()


def test_equal_shifts_are_the_smallest(tool: ModuleType) -> None:
    empty = np.zeros((20, 20), dtype=bool)
    assert tool.best_shift(empty, empty, 3) == ((0, 0), 1.0)
    assert tool.edge_shift(rectangle(20, 20), np.zeros((60, 80, 3), np.uint8), 3) == (0, 0)


def test_masks_of_the_real_frames_are_compared_image_by_image(
    tool: ModuleType, shared_data: Path, tmp_path: Path
) -> None:
    """A detector that finds the part maps themselves, 4 pixels further down."""
    convert_test_frames(shared_data / 'h36m_mini', tmp_path / 'data')
    masks = Masks(tmp_path / 'data/masks/h36m_train.json')
    names = [name for parts in JOINTS.values() for name in parts]
    (tmp_path / 'detections').mkdir()
    for image in (tmp_path / 'data/images').rglob('*.jpg'):
        mask = masks[image.relative_to(tmp_path / 'data/images').as_posix()]
        np.savez(
            tmp_path / f'detections/{image.parent.name}.npz',
            joints=np.zeros((1, len(names), 3), np.float32),
            names=np.array(names),
            masks=255 * np.roll(mask, 4, axis=0)[None].astype(np.uint8),
        )
    images = tool.compare(tmp_path / 'detections', tmp_path / 'data')
    assert len(images) == 4
    shutil.rmtree(tmp_path / 'data/images')
    with pytest.raises(FileNotFoundError, match=r'images: found no file that ends in \.jpg'):
        tool.compare(tmp_path / 'detections', tmp_path / 'data')
    for row in images.values():
        assert row['shift_px'] == [0, 4]
        assert row['iou'] < 0.99 < row['iou_shifted']
        assert max(map(abs, row['edge_shift_px'])) <= tool.FARTHEST
        assert 0.7 < row['iou_with_itself'] < 1


def test_missing_detections_are_one_line(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.main([str(tmp_path), str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: ') and 'h36m_train.json' in line
