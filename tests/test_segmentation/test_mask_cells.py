"""Cells of a mask head: pasting agrees with PyTorch's grid_sample, and can be undone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mmjrr.datasets.masks import Masks, save_masks
from mmjrr.errors import DataError
from mmjrr.segmentation.mask_cells import cells_of_pasted_mask, paste_cells
from mmjrr.segmentation.mask_file import mask_entry

NAME = 'S1/S1_Walking.54138969/S1_Walking.54138969_000001.jpg'


def pasted_by_grid_sample(cells: np.ndarray, box: tuple, size: tuple[int, int]) -> np.ndarray:
    """Paste as mmdet does: normalized pixel centers, ``align_corners=False``, zeros outside."""
    x0, y0, x1, y1 = box
    y = (torch.arange(size[0], dtype=torch.float64) + 0.5 - y0) / (y1 - y0) * 2 - 1
    x = (torch.arange(size[1], dtype=torch.float64) + 0.5 - x0) / (x1 - x0) * 2 - 1
    grid = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], -1)[None]
    image = torch.nn.functional.grid_sample(
        torch.from_numpy(cells)[None, None], grid, align_corners=False
    )
    return image[0, 0].numpy()


@pytest.mark.parametrize('box', [(5.3, 7.9, 60.2, 88.8), (-9.0, 20.0, 30.0, 130.0)])
def test_pasting_agrees_with_grid_sample(box: tuple) -> None:
    cells = np.random.default_rng(0).random((28, 28))
    expected = pasted_by_grid_sample(cells, box, (100, 80))
    inside = np.ones_like(expected, dtype=bool)  # beyond the box mmdet's blur is not pasted
    inside &= ((np.arange(100) + 1 > box[1]) & (np.arange(100) < box[3]))[:, None]
    inside &= (np.arange(80) + 1 > box[0]) & (np.arange(80) < box[2])
    np.testing.assert_allclose(paste_cells(cells, box, (100, 80)), expected * inside, atol=1e-12)


def test_cells_come_back_from_a_pasted_mask_in_bytes() -> None:
    box = (40.4, 30.7, 240.1, 500.3)
    smooth = np.random.default_rng(0).random((30, 30))
    cells = (smooth[:-2, :-2] + smooth[1:-1, 1:-1] + smooth[2:, 2:] + smooth[2:, :-2]) / 4
    pasted = np.round(255 * paste_cells(cells, box, (520, 260))) / 255
    back = cells_of_pasted_mask(pasted, box)
    assert np.abs(back - cells).max() < 0.05
    assert np.abs(back - cells).mean() < 0.015


def test_soft_masks_are_stored_with_their_cells_and_box(tmp_path: Path) -> None:
    cells = np.zeros((28, 28))
    cells[5:20, 8:22] = 0.75
    box = np.array([10.0, 20.0, 150.0, 200.0])
    mask = np.round(255 * paste_cells(cells, box, (240, 200))).astype(np.uint8)
    entry = mask_entry(mask, 0.9, box, 1.0, soft=True)
    (tmp_path / 'm.json').write_text(json.dumps(dict(masks={NAME: entry})))
    masks = Masks(tmp_path / 'm.json')
    np.testing.assert_array_equal(masks.boxes, box[None].astype(np.float32))
    assert np.abs(masks.cells(0) - cells).max() < 0.06
    assert abs(masks.cells(0)[12, 15] - 0.75) < 0.005


def test_boxes_and_cells_round_trip_in_steps_of_a_byte(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [NAME, NAME.replace('000001', '000006')]
    arrays = {name: (rng.random((9, 7)) < 0.5).astype(np.uint8) for name in names}
    cells = {name: rng.integers(0, 256, (4, 4)) / 255 for name in names}
    boxes = {names[0]: (0.5, 1, 6, 8), names[1]: (-2.25, 0, 7, 9)}
    save_masks(tmp_path / 'm.json', arrays, boxes=boxes, cells=cells)
    masks = Masks(tmp_path / 'm.json')
    assert masks.has_cells and not masks.unused_cells
    for name in names:
        np.testing.assert_array_equal(masks.boxes[masks.row(name)], boxes[name])
        np.testing.assert_array_equal(masks.cells(masks.row(name)), cells[name].astype(np.float32))
    save_masks(tmp_path / 'plain.json', {NAME.replace('Walking', 'Eating'): arrays[NAME]})
    both = Masks([tmp_path / 'm.json', tmp_path / 'plain.json'])
    assert not both.has_cells and np.isnan(both.boxes[2]).all()
    with pytest.raises(ValueError, match='cells: found none'):
        both.cells(0)
    assert 'found them in 2 of 3 masks, not in that of ' in both.unused_cells
    assert 'Eating' in both.unused_cells and not Masks(tmp_path / 'plain.json').unused_cells
    cells[names[1]] = np.zeros((3, 3))
    save_masks(tmp_path / 'm.json', arrays, boxes=boxes, cells=cells)
    assert 'found different numbers' in Masks(tmp_path / 'm.json').unused_cells


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('box', [0, 0, 1]), ('box', [3, 0, 1, 9]), ('box', 'all'), ('box', [0, 0, 1e99, 9]),
        ('cells', 'no base64!'), ('cells', 'AAA='), ('cells', 7), ('cells', 'A' * 40000),
    ],
)  # fmt: skip
def test_damaged_boxes_and_cells_are_refused(tmp_path: Path, field: str, value: object) -> None:
    save_masks(tmp_path / 'm.json', {NAME: np.eye(4)})
    content = json.loads((tmp_path / 'm.json').read_text())
    content['masks'][NAME][field] = value
    (tmp_path / 'm.json').write_text(json.dumps(content))
    with pytest.raises(DataError, match=f'{field}: found'):
        Masks(tmp_path / 'm.json')
