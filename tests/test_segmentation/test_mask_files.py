"""Shards of masks, soft masks, comparison, and COCO annotations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.masks import Masks, save_masks
from mmjrr.datasets.run_length import encode_levels
from mmjrr.errors import DataError
from mmjrr.jobs import ShardFolder
from mmjrr.segmentation import compare_masks, mask_entry, mask_iou, write_coco, write_mask_file

NAMES = [f'S1_Walking.54138969_{frame:06d}.jpg' for frame in range(1, 7)]
BOX = np.array([1.0, 2, 3, 4])


def a_mask(seed: int, shape: tuple[int, int] = (20, 30)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[seed + 2 : seed + 9, 4:17] = 255
    return mask


def a_shard(number: int) -> dict:
    names = NAMES[2 * number : 2 * number + 2]
    shard: dict = {'masks': {}, 'without_person': {}, 'excluded': {}}
    shard['masks'][names[0]] = mask_entry(a_mask(number), 0.75, BOX, 0.5)
    shard['without_person' if number < 2 else 'excluded'][names[1]] = 'because'
    return shard


def shards(folder: Path, count: int = 3) -> ShardFolder:
    folder = ShardFolder(folder, 'run', '.json')
    for number in range(count):
        folder.put(number, a_shard(number))
    return folder


def test_shards_become_one_file_that_masks_reads(tmp_path: Path) -> None:
    path = tmp_path / 'masks.json'
    counts = write_mask_file(path, shards(tmp_path / 'work'), 3, {'weights': 'abc'})
    assert counts == {'masks': 3, 'without_person': 2, 'excluded': 1}
    masks = Masks(path)
    for number in range(3):
        np.testing.assert_array_equal(masks[NAMES[2 * number]] * 255, a_mask(number))
    assert masks.without_person == {NAMES[1]: 'because', NAMES[3]: 'because'}
    content = json.loads(path.read_bytes())
    assert content['excluded'] == {NAMES[5]: 'because'}
    assert content['info'] == {'counts': counts, 'identity': {'weights': 'abc'}}
    assert content['masks'][NAMES[0]]['score'] == 0.75
    assert content['masks'][NAMES[0]]['box'] == [1, 2, 3, 4]


def test_missing_and_broken_shards_are_named_and_leave_no_file(tmp_path: Path) -> None:
    path, folder = tmp_path / 'masks.json', shards(tmp_path / 'work')
    folder.path(1).unlink()
    with pytest.raises(DataError, match='shard_0000001.json: missing'):
        write_mask_file(path, folder, 3, {})
    folder.path(1).write_text('{"masks": {')
    with pytest.raises(DataError, match='shard_0000001.json: not a readable shard'):
        write_mask_file(path, folder, 3, {})
    folder.put(1, {'masks': ['S1']})
    with pytest.raises(DataError, match='shard_0000001.json: masks: found no dict of images'):
        write_mask_file(path, folder, 3, {})
    assert not list(tmp_path.glob('*.json')) and not list(tmp_path.glob('.*'))


def test_without_any_mask_the_error_names_the_reasons(tmp_path: Path) -> None:
    folder = shards(tmp_path / 'work', 0)
    folder.put(
        0, {'masks': {}, 'without_person': {NAMES[0]: 'no person was found'}, 'excluded': {}}
    )
    with pytest.raises(DataError, match='none of 1 images has a mask: no person was found'):
        write_mask_file(tmp_path / 'masks.json', folder, 1, {})
    assert not (tmp_path / 'masks.json').exists()


def test_soft_masks_come_back_rounded_to_eighths(tmp_path: Path) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    entry = mask_entry(values, 0.9, BOX, 1.0, soft=True)
    path = tmp_path / 'soft.json'
    path.write_text(json.dumps({'masks': {NAMES[0]: entry}}))
    soft = Masks(path)[NAMES[0]]
    assert soft.dtype == np.float32
    np.testing.assert_allclose(soft, np.round(values / 255 * 8) / 8)
    # A reader that knows nothing of levels finds the binary mask.
    binary = coco_mask.decode({'size': [16, 16], 'counts': entry['counts']})
    np.testing.assert_array_equal(binary, values >= 128)
    with pytest.raises(ValueError, match='uint8'):
        encode_levels(values / 255)


def test_broken_levels_and_reasons_are_errors_with_file_and_field(tmp_path: Path) -> None:
    path = tmp_path / 'soft.json'
    entry = mask_entry(a_mask(0), 0.9, BOX, 1.0, soft=True)
    for levels in ('code', [1, 2], ['a b'], ['é']):
        path.write_text(json.dumps({'masks': {NAMES[0]: {**entry, 'levels': levels}}}))
        with pytest.raises(DataError, match='soft.json.*levels'):
            Masks(path)
    path.write_text(json.dumps({'masks': {NAMES[0]: {**entry, 'levels': ['0a']}}}))
    with pytest.raises(DataError, match='soft.json.*counts'):
        Masks(path)[NAMES[0]]
    path.write_text(json.dumps({'masks': {}, 'without_person': [NAMES[0]]}))
    with pytest.raises(DataError, match='soft.json.*without_person'):
        Masks(path)


def test_comparison_counts_what_is_missing_as_zero(tmp_path: Path) -> None:
    truth = {name: a_mask(0) for name in NAMES[:4]}
    masks = {NAMES[0]: a_mask(0), NAMES[1]: a_mask(1), NAMES[5]: a_mask(0)}
    save_masks(tmp_path / 'truth.json', truth)
    save_masks(tmp_path / 'found.json', masks)
    result = compare_masks(Masks(tmp_path / 'found.json'), Masks(tmp_path / 'truth.json'))
    shifted = 6 / 8  # seven rows, shifted by one
    assert result['frames'] == 4 and result['missing'] == 2
    assert result['iou'] == pytest.approx((1 + shifted) / 4)
    assert result['worst'] == NAMES[1][:-4] and result['worst_iou'] == pytest.approx(shifted)
    assert mask_iou(np.zeros((2, 2)), np.zeros((2, 2))) == 1
    save_masks(tmp_path / 'other.json', {NAMES[0]: a_mask(0, (21, 30))})
    with pytest.raises(DataError, match='S1_Walking.54138969_000001.*21, 30'):
        compare_masks(Masks(tmp_path / 'other.json'), Masks(tmp_path / 'truth.json'))
    save_masks(tmp_path / 'other.json', {NAMES[5]: a_mask(0)})
    with pytest.raises(DataError, match='no image in common'):
        compare_masks(Masks(tmp_path / 'other.json'), Masks(tmp_path / 'truth.json'))


def test_coco_annotations_hold_the_same_masks(tiny_set: Path, tmp_path: Path) -> None:
    dataset = H36MFitsDataset(data_root=str(tiny_set), mask_file='masks/h36m_train.json')
    assert write_coco(tmp_path / 'people.json', dataset) == len(dataset)
    coco = COCO(str(tmp_path / 'people.json'))
    assert coco.getCatIds(catNms=['person']) == [1]
    for image in coco.loadImgs(coco.getImgIds()):
        (person,) = coco.loadAnns(coco.getAnnIds(imgIds=[image['id']]))
        mask = coco.annToMask(person)
        np.testing.assert_array_equal(mask, dataset.masks[image['file_name']])
        assert mask.shape == (image['height'], image['width'])
        assert person['area'] == mask.sum()
        x, y, width, height = map(int, person['bbox'])
        assert mask[y : y + height, x : x + width].sum() == mask.sum()
        rows, columns = mask[y : y + height].any(1), mask[:, x : x + width].any(0)
        assert rows[[0, -1]].all() and columns[[0, -1]].all()


def test_boxes_can_be_wider_than_masks_but_not_than_the_image(
    tiny_set: Path, tmp_path: Path
) -> None:
    dataset = H36MFitsDataset(data_root=str(tiny_set), mask_file='masks/h36m_train.json')
    write_coco(tmp_path / 'tight.json', dataset)
    write_coco(tmp_path / 'wide.json', dataset, margin=2.0)
    write_coco(tmp_path / 'wider.json', dataset, margin=0.1)
    tight, wide, wider = (
        json.loads((tmp_path / f'{name}.json').read_text()) for name in ('tight', 'wide', 'wider')
    )
    for image, a, b, c in zip(
        wide['images'], *(file['annotations'] for file in (tight, wide, wider)), strict=True
    ):
        x, y, width, height = a['bbox']
        step = 0.1 * max(width, height)
        assert c['bbox'] == pytest.approx([x - step, y - step, width + 2 * step, height + 2 * step])
        assert b['bbox'][0] >= 0 and b['bbox'][0] + b['bbox'][2] <= image['width']
        assert b['bbox'][1] == max(0, y - 20 * step)
        assert a['segmentation'] == b['segmentation'] and a['area'] == b['area']
    with pytest.raises(ValueError, match='margin: found -1'):
        write_coco(tmp_path / 'no.json', dataset, margin=-1)


def test_coco_annotations_need_masks(tiny_set: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='mask_file'):
        write_coco(tmp_path / 'people.json', H36MFitsDataset(data_root=str(tiny_set)))
