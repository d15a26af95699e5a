from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mmjrr.datasets.area_crop import area_average_crop
from mmjrr.datasets.masks import Masks, save_masks
from mmjrr.datasets.run_length import decode_rle, encode_rle
from mmjrr.errors import DataError

NAMES = [f'S1/S1_Walking.54138969/S1_Walking.54138969_{i:06d}.jpg' for i in range(4)]


def a_mask(seed: int, height: int = 9, width: int = 7) -> np.ndarray:
    return (np.random.default_rng(seed).random((height, width)) < 0.4).astype(np.uint8)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 60))
def test_decoding_agrees_with_pycocotools(seed: int, height: int, width: int) -> None:
    mask = a_mask(seed, height, width)
    code = coco_mask.encode(np.asfortranarray(mask))['counts']
    np.testing.assert_array_equal(decode_rle(code, (height, width)), mask)
    assert encode_rle(mask) == code


@pytest.mark.parametrize('value', [0, 1])
def test_long_runs_are_decoded(value: int) -> None:
    mask = np.full((1002, 1000), value, dtype=np.uint8)
    np.testing.assert_array_equal(decode_rle(encode_rle(mask), (1002, 1000)), mask)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.tuples(*[st.floats(-6, 14, allow_nan=False)] * 2),
    st.tuples(*[st.floats(0.3, 15, allow_nan=False)] * 2),
    st.tuples(*[st.integers(1, 6)] * 2),
)
def test_crops_are_exact_area_averages(
    seed: int, corner: tuple[float, float], extent: tuple[float, float], size: tuple[int, int]
) -> None:
    mask = a_mask(seed).astype(np.float64)
    box = (*corner, corner[0] + extent[0], corner[1] + extent[1])
    expected = np.zeros(size)
    for i, j in np.ndindex(*size):  # pixel by pixel overlap of rectangles
        top, bottom = (box[1] + extent[1] * k / size[0] for k in (i, i + 1))
        left, right = (box[0] + extent[0] * k / size[1] for k in (j, j + 1))
        for r, c in np.ndindex(*mask.shape):
            tall = max(0.0, min(bottom, r + 1) - max(top, r))
            wide = max(0.0, min(right, c + 1) - max(left, c))
            expected[i, j] += mask[r, c] * tall * wide
    expected /= extent[0] * extent[1] / (size[0] * size[1])
    np.testing.assert_allclose(area_average_crop(mask, box, size), expected, atol=1e-9)


@pytest.mark.parametrize('dtype', [np.uint8, np.float32, np.float64])
def test_rounding_lifts_no_mean_above_the_mask(dtype: type) -> None:
    """Crops of a full mask by boxes inside it are exactly one."""
    rng = np.random.default_rng(0)
    for start, side in rng.uniform([0, 20], [10, 40], (300, 2)):
        crop = area_average_crop(
            np.ones((60, 60), dtype), (start, start, *2 * [start + side]), (23, 23)
        )
        assert crop.max() <= 1
        np.testing.assert_allclose(crop, 1, rtol=1e-6)


def test_the_identity_crop_is_the_mask() -> None:
    mask = a_mask(0)
    crop = area_average_crop(mask, (0, 0, 7, 9), (9, 7))
    assert crop.dtype == np.float32
    np.testing.assert_array_equal(crop, mask)


@pytest.mark.parametrize('box', [(2, 2, 2, 5), (0, 0, float('nan'), 4), (5, 0, 1, 4)])
def test_boxes_without_area_are_refused(box: tuple) -> None:
    with pytest.raises(ValueError, match='box: found'):
        area_average_crop(a_mask(0), box, (4, 4))


def test_files_written_are_read_as_one_or_as_shards(tmp_path: Path) -> None:
    masks = {name: a_mask(i) for i, name in enumerate(NAMES)}
    save_masks(tmp_path / 'all.json', masks, info={'model': 'x'})
    save_masks(tmp_path / 's_0.json', {n: masks[n] for n in NAMES[:2]}, scores={NAMES[0]: 0.5})
    save_masks(tmp_path / 's_1.json', {n: masks[n] for n in NAMES[2:]})
    for path in (tmp_path / 'all.json', str(tmp_path / 's_*.json'),
                 [tmp_path / 's_0.json', str(tmp_path / 's_1.json')]):  # fmt: skip
        file = Masks(path)
        assert len(file) == 4
        for name, mask in masks.items():
            np.testing.assert_array_equal(file[name], mask)
    sharded = Masks(str(tmp_path / 's_*.json'))
    assert sharded.scores[sharded.row(NAMES[0])] == 0.5
    assert 'S1_Walking.54138969_000009.jpg' not in sharded


def test_equal_masks_give_equal_bytes(tmp_path: Path) -> None:
    masks = {name: a_mask(i) for i, name in enumerate(NAMES)}
    save_masks(tmp_path / 'a.json', masks)
    save_masks(tmp_path / 'b.json', dict(reversed(masks.items())))
    assert (tmp_path / 'a.json').read_bytes() == (tmp_path / 'b.json').read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.json', 'b.json']


def test_uncompressed_codes_are_read(tmp_path: Path) -> None:
    entry = {'size': [2, 3], 'counts': [1, 2, 3]}
    (tmp_path / 'm.json').write_text(json.dumps({'masks': {NAMES[0]: entry}}))
    expected = np.array([0, 1, 1, 0, 0, 0]).reshape(3, 2).T
    np.testing.assert_array_equal(Masks(tmp_path / 'm.json')[NAMES[0]], expected)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"masks": {"S1_Wal', 'not readable as JSON'),
        ('[]', "expected an object with 'masks'"),
        (json.dumps({'masks': {NAMES[0]: {'size': [2, 3]}}}), "expected 'size' and 'counts'"),
        (json.dumps({'masks': {NAMES[0]: {'size': [2], 'counts': '6'}}}), r'size: found \[2\]'),
        (json.dumps({'masks': {NAMES[0]: {'size': [2, 3], 'counts': 6}}}), 'counts: found 6'),
    ],
)
def test_broken_files_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / 'm.json').write_text(content)
    with pytest.raises(DataError, match=rf'm\.json.*{message}'):
        Masks(tmp_path / 'm.json')


@pytest.mark.parametrize('code', ['', '1', 'P', '\x01', '66'])
def test_broken_codes_are_named_when_decoded(tmp_path: Path, code: str) -> None:
    entry = {'size': [2, 3], 'counts': code}
    (tmp_path / 'm.json').write_text(json.dumps({'masks': {NAMES[0]: entry}}))
    with pytest.raises(DataError, match=r'm\.json: mask of .*000000.*counts'):
        Masks(tmp_path / 'm.json')[NAMES[0]]


def test_an_image_with_two_masks_is_refused(tmp_path: Path) -> None:
    for name in 'ab':
        save_masks(tmp_path / f'{name}.json', {NAMES[0]: a_mask(0)})
    with pytest.raises(DataError, match=r'b\.json.*found a second mask'):
        Masks(str(tmp_path / '*.json'))


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='none'):
        Masks(tmp_path / 'none.json')
    with pytest.raises(FileNotFoundError, match='no file matches'):
        Masks(str(tmp_path / 'none*.json'))
