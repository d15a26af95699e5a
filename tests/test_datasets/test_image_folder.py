from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmjrr.datasets import ImageFolderDataset
from mmjrr.datasets.image_folder import list_images, mark_pictures
from mmjrr.errors import DataError
from mmjrr.registry import DATASETS

NAMES = ['a/frame_2.png', 'a/frame_10.png', 'b/frame_2.JPG', 'top.jpeg']
LOAD = [dict(type='LoadImage'), dict(type='CropPerson', size=32), dict(type='PackMeshInputs')]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / 'images'
    for value, name in enumerate(NAMES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 60, 3), 50 * value + 1, np.uint8)).save(root / name)
    (root / 'notes.txt').write_text('no image')
    (root / '.hidden.png').write_text('no image')
    (root / 'a/.thumbnails').mkdir()
    (root / 'a/.thumbnails/frame_2.png').write_text('no image')
    return root


def with_boxes(folder: Path, boxes: Any, **arguments: Any) -> ImageFolderDataset:
    path = folder.parent / 'boxes.json'
    path.write_text(json.dumps(boxes))
    return ImageFolderDataset(folder, boxes=str(path), **arguments)


def test_images_come_completely_and_in_natural_order(folder: Path) -> None:
    dataset = DATASETS.build(dict(type='ImageFolderDataset', data_root=str(folder), pipeline=LOAD))
    names = [dataset.imgname(index) for index in range(len(dataset))]
    assert names == ['top.jpeg', 'a/frame_2.png', 'a/frame_10.png', 'b/frame_2.JPG']
    assert dataset.report == dict(found=4, kept=4)
    item = dataset[2]
    sample = item['data_samples']
    assert item['inputs']['img'].shape == (32, 32, 3)
    assert (sample.imgname, sample.sample_idx) == ('a/frame_10.png', 2)
    assert sample.img_path == str(folder / 'a/frame_10.png')
    assert sample.box == (0, -10, 60, 50)
    assert dataset[-1]['data_samples'].imgname == 'b/frame_2.JPG'
    with pytest.raises(IndexError):
        dataset[4]


def test_boxes_become_squares_around_their_centre(folder: Path) -> None:
    boxes = {'a/frame_2.png': [10, 0, 30, 40], 'a/frame_10.png': [0, 0, 9, 9],
             'b/frame_2.JPG': [1, 1, 2, 3], 'top': [0, 10, 60, 30]}  # fmt: skip
    dataset = with_boxes(folder, boxes)
    squares = {dataset.imgname(i): dataset[i]['data_samples'].box for i in range(4)}
    assert squares['a/frame_2.png'] == (0, 0, 40, 40)
    assert squares['b/frame_2.JPG'] == (0.5, 1, 2.5, 3)
    assert squares['top.jpeg'] == (0, -10, 60, 50)
    boxes['top.jpeg'] = boxes.pop('top')
    for index in range(4):
        annotated = dataset.get_data_info(index)['annotated_box']
        assert list(annotated) == boxes[dataset.imgname(index)]


def test_folders_of_pictures_are_left_out_unless_they_are_asked_for(
    folder: Path,
) -> None:
    pictures = folder / 'run/visualizations'
    for _ in range(2):  # the second time, the folder is there
        mark_pictures(pictures)
        (pictures / 'more').mkdir(exist_ok=True)
        for name in ('top.jpeg', 'more/a.jpeg'):
            (pictures / name).write_bytes((folder / 'top.jpeg').read_bytes())
        assert sorted(list_images(folder)) == sorted(NAMES)
    assert list_images(pictures) == ['top.jpeg', 'more/a.jpeg']
    mark_pictures(folder / 'a')  # has images of people
    assert sorted(list_images(folder)) == sorted(NAMES)


def test_images_without_a_box_stop_or_are_counted(folder: Path) -> None:
    boxes = {'top.jpeg': [0, 0, 9, 9], 'elsewhere.png': [0, 0, 9, 9]}
    with pytest.raises(DataError, match=r"found no box for 3 of 4 .*'a/frame_2.png'.*'elsewhere"):
        with_boxes(folder, boxes)
    dataset = with_boxes(folder, boxes, without_box='skip')
    assert [dataset.imgname(index) for index in range(len(dataset))] == ['top.jpeg']
    assert dataset.report == dict(found=4, without_box=3, boxes_without_image=1, kept=1)
    with pytest.raises(DataError, match='found no box for 4 of 4'):
        with_boxes(folder, {'x.png': [0, 0, 1, 1]}, without_box='skip')


@pytest.mark.parametrize(
    ('boxes', 'said'),
    [
        ({'frame_2': [0, 0, 9, 9]}, "'frame_2' matches 2 images"),
        ({'top': [0, 0, 9, 9], 'top.jpeg': [0, 0, 9, 9]}, "'top.jpeg' has more than one box"),
        ({'top': [0, 0, 9]}, r"box of 'top': found \[0, 0, 9\], expected \[x0"),
        ({'top': [9, 0, 9, 9]}, 'expected'),
        ({'top': [[0, 0, 9, 9]]}, 'expected'),
        ({'top': [0, 0, 9, float('inf')]}, 'expected'),
        ([[0, 0, 9, 9]], 'expected an object'),
    ],
)
def test_broken_boxes_are_named(folder: Path, boxes: Any, said: str) -> None:
    with pytest.raises(DataError, match=f'boxes.json: .*{said}'):
        with_boxes(folder, boxes, without_box='skip')


def test_missing_and_truncated_files_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='nowhere: no such folder'):
        ImageFolderDataset(tmp_path / 'nowhere')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='empty: no image in it; looked for .bmp'):
        ImageFolderDataset(tmp_path / 'empty')
    with pytest.raises(FileNotFoundError, match='none.json'):
        ImageFolderDataset(folder, boxes=tmp_path / 'none.json')
    (tmp_path / 'cut.json').write_text('{"a": [0, 0')
    with pytest.raises(DataError, match='cut.json: not readable as JSON'):
        ImageFolderDataset(folder, boxes=tmp_path / 'cut.json')
    with pytest.raises(ValueError, match="without_box: found 'drop'"):
        ImageFolderDataset(folder, without_box='drop')


def test_a_folder_is_a_video(folder: Path) -> None:
    assert ImageFolderDataset(folder).sequences(seq_len=5) == [[0], [1, 2], [3]]
