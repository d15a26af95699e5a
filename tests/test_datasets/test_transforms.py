from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.transforms import (
    CacheImage,
    CropPerson,
    LoadImage,
    NormalizeImage,
    PackMeshInputs,
    crop_person,
    read_image,
)
from mmjrr.errors import DataError
from mmjrr.geometry import square_box
from mmjrr.registry import TRANSFORMS

PIPELINE = [
    dict(type='LoadImage'), dict(type='CropPerson'), dict(type='NormalizeImage'),
    dict(type='PackMeshInputs'),
]  # fmt: skip


def photograph(height: int = 90, width: int = 120, seed: int = 0) -> np.ndarray:
    """Smooth in parts, with edges, in values from 20 to 230."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(20, 230, (height // 10 + 2, width // 10 + 2, 3))
    image = np.kron(coarse, np.ones((10, 10, 1)))[:height, :width]
    return (image + np.linspace(0, 20, width)[:, None]).clip(20, 230).astype(np.uint8)


def sample_of(image: np.ndarray | None = None, **fields: Any) -> dict[str, Any]:
    return dict(imgname='a/b.png', **fields, **({} if image is None else dict(img=image)))


def crop_pixel_by_pixel(
    image: np.ndarray, center: np.ndarray, scale: float, size: int
) -> np.ndarray:  # (size, size, 3) float64
    """SPIN's crop, written out: a black canvas, its contrast stretched, a triangle filter."""
    start = [int(c - 100 * scale) for c in center]  # int() goes towards zero
    stop = [int(c + 100 * scale) for c in center]
    canvas = np.zeros((stop[1] - start[1], stop[0] - start[0], 3))
    for y in range(max(start[1], 0), min(stop[1], len(image))):
        for x in range(max(start[0], 0), min(stop[0], len(image[0]))):
            canvas[y - start[1], x - start[0]] = image[y, x]
    canvas = np.floor((canvas - canvas.min()) * 255 / (canvas.max() - canvas.min()) + 0.5)
    for axis in (0, 1):
        length = canvas.shape[axis]
        reach = max(length / size, 1)  # wider than a pixel where it is made smaller
        weights = np.zeros((size, length))
        for out in range(size):
            middle = (out + 0.5) * length / size
            for pixel in range(length):
                weights[out, pixel] = max(0, 1 - abs(pixel + 0.5 - middle) / reach)
        weights /= weights.sum(1, keepdims=True)
        canvas = np.moveaxis(np.tensordot(weights, canvas, (1, axis)), 0, axis)
    return canvas


@pytest.mark.parametrize('seed', range(12))
def test_crops_are_those_of_the_reference_implementation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = photograph(seed=seed)
    center, scale = rng.uniform(0, 90, 2), rng.uniform(0.1, 0.8)
    crop = crop_person(image, square_box(center, 200 * scale), size=40)
    reference = crop_pixel_by_pixel(image, center, scale, size=40)
    # Pillow rounds to whole values after each direction.
    assert np.abs(crop - reference).max() <= 1.01


def test_some_of_these_boxes_reach_over_the_edge_and_some_do_not() -> None:
    inside = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        center, side = rng.uniform(0, 90, 2), 200 * rng.uniform(0.1, 0.8)
        x0, y0, x1, y1 = square_box(center, side)
        inside += x0 >= 0 and y0 >= 0 and x1 <= 120 and y1 <= 90
    assert 0 < inside < 12


def test_a_box_of_the_crops_size_is_copied_without_its_fraction() -> None:
    image = photograph()
    crop = crop_person(image, (10.7, 20.9, 50.7, 60.9), size=40, stretch_contrast=False)
    np.testing.assert_array_equal(crop, image[20:60, 10:50])


def test_outside_the_image_it_is_black_and_corners_go_towards_zero() -> None:
    image = photograph()
    crop = crop_person(image, (-9.5, -5.5, 30.5, 34.5), size=39, stretch_contrast=False)
    assert (crop[:5] == 0).all() and (crop[:, :9] == 0).all()
    np.testing.assert_array_equal(crop[5:, 9:], image[:34, :30])


def test_contrast_is_stretched_over_all_channels_alike() -> None:
    image = np.full((40, 40, 3), 90, dtype=np.uint8)
    image[:20, :, 0] = 50
    image[20:, :, 2] = 150
    crop = crop_person(image, (0, 0, 40, 40), size=40)
    assert crop[0, 0].tolist() == [0, 102, 102]  # (90 - 50) * 255 / (150 - 50)
    assert crop[39, 39].tolist() == [102, 102, 255]
    uniform = np.full((40, 40, 3), 100, dtype=np.uint8)
    assert (crop_person(uniform, (0, 0, 40, 40), size=40) == 0).all()


def test_the_pipeline_gives_rgb_upright_and_normalized(tmp_path: Path) -> None:
    red_above_blue = np.zeros((50, 50, 3), dtype=np.uint8)
    red_above_blue[:25, :, 0] = 255
    red_above_blue[25:, :, 2] = 255
    Image.fromarray(red_above_blue).save(tmp_path / 'a.png')
    item = sample_of(img_path=str(tmp_path / 'a.png'))
    for step in PIPELINE:
        item = TRANSFORMS.build(step)(item)
    image = item['inputs']['img']
    assert image.shape == (3, 224, 224) and image.dtype == torch.float32
    red = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    blue = [-0.485 / 0.229, -0.456 / 0.224, (1 - 0.406) / 0.225]
    torch.testing.assert_close(image[:, 20, 100], torch.tensor(red))
    torch.testing.assert_close(image[:, 200, 100], torch.tensor(blue))
    assert item['data_samples'].box == (0, 0, 50, 50)
    assert item['data_samples'].img_shape == (50, 50)


def test_without_a_box_the_whole_image_is_taken_and_padding_widens_the_box() -> None:
    sample = CropPerson(size=40)(sample_of(photograph(90, 121)))
    assert sample['box'] == (-0.5, -15.5, 120.5, 105.5)
    sample = CropPerson(size=40, padding=1.2)(sample_of(photograph(), box=(10, 20, 60, 70)))
    assert sample['box'] == pytest.approx((5, 15, 65, 75))
    expected = crop_person(photograph(), (5, 15, 65, 75), 40)
    np.testing.assert_array_equal(sample['img'], expected)


@pytest.mark.parametrize(
    ('box', 'said'),
    [
        ((0, 0, 40, 50), 'expected a square'),
        ((0, 0, float('nan'), 50), 'expected a square'),
        ((40, 40, 0, 0), 'expected a square'),
        ((5.1, 5.1, 5.2, 5.2), 'at least one pixel'),
        ((200, 0, 240, 40), 'expected a box that overlaps the image of 90 x 120'),
        ((-50, 0, -10, 40), 'expected a box that overlaps the image'),
    ],
)
def test_boxes_that_show_nothing_are_refused_by_name(box: tuple, said: str) -> None:
    with pytest.raises(DataError, match=rf'^a/b\.png: box: found .*{said}'):
        CropPerson()(sample_of(photograph(), box=box))


def test_arguments_are_checked() -> None:
    for arguments in (dict(size=0), dict(padding=0), dict(padding=float('nan'))):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            CropPerson(**arguments)  # type: ignore[arg-type]
    for arguments in (dict(mean=(0.5,)), dict(std=(1, 1, 0))):
        with pytest.raises(ValueError, match='expected three each'):
            NormalizeImage(**arguments)  # type: ignore[arg-type]


# ------------------------------------------------------------------ files


def test_decoded_jpegs_are_those_of_opencv(tmp_path: Path) -> None:
    path = tmp_path / 'a.jpg'
    Image.fromarray(photograph()).save(path, quality=80)
    np.testing.assert_array_equal(read_image(path), cv2.imread(str(path))[:, :, ::-1])


def test_grey_palette_and_alpha_become_rgb_and_exif_turns_the_image(tmp_path: Path) -> None:
    image = photograph()
    for mode in ('L', 'P', 'RGBA', '1'):
        Image.fromarray(image).convert(mode).save(tmp_path / 'a.png')
        assert read_image(tmp_path / 'a.png').shape == (90, 120, 3)
    turned = Image.fromarray(image)
    exif = turned.getexif()
    exif[0x0112] = 3  # upside down
    turned.save(tmp_path / 'a.png', exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png'), image[::-1, ::-1])


@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_files_cut_off_anywhere_are_refused_by_name(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f'whole.{suffix}'
    Image.fromarray(photograph()).save(whole)
    content = whole.read_bytes()
    path = tmp_path / f'cut.{suffix}'
    for share in (0, 0.01, 0.3, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(DataError, match=f'cut.{suffix}: not a readable image'):
            read_image(path)
    with pytest.raises(FileNotFoundError, match='none.jpg: no such image'):
        read_image(tmp_path / 'none.jpg')
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(tmp_path / 'deep.png')
    with pytest.raises(DataError, match='deep.png: found mode .*8 bits'):
        read_image(tmp_path / 'deep.png')


def test_packing_keeps_what_the_sample_has_and_nothing_else() -> None:
    joints = np.arange(34, dtype=np.float64).reshape(1, 17, 2)
    packed = PackMeshInputs()(
        sample_of(photograph(), keypoints=joints, betas=np.ones(10), flip_indices=[0, 1])
    )
    assert set(packed) == {'inputs', 'data_samples'} and set(packed['inputs']) == {'img'}
    sample = packed['data_samples']
    assert sample.metainfo == dict(imgname='a/b.png')
    assert set(sample.keys()) == {'keypoints_2d', 'betas'}
    assert sample.keypoints_2d.dtype == torch.float32
    np.testing.assert_array_equal(sample.keypoints_2d, joints[0])


def test_an_image_of_another_size_than_annotated_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / 'a.png')
    Image.fromarray(photograph(90, 120)).save(path)
    LoadImage()(sample_of(img_path=path, img_shape=(92, 120)))  # rows differ by two in H36M
    for shape in ((93, 120), (90, 121)):
        with pytest.raises(DataError, match=r'a.png: found size \(90, 120\)'):
            LoadImage()(sample_of(img_path=path, img_shape=shape))


# ------------------------------------------------------------------ on Human3.6M's layout


def test_frames_of_one_video_make_sequences(tiny_set: Path) -> None:
    dataset = H36MFitsDataset(data_root=str(tiny_set), camera_param_file=None)
    sequences = dataset.sequences(seq_len=2)
    assert sorted(sum(sequences, [])) == list(range(len(dataset)))
    for rows in sequences:
        samples = [dataset[row]['data_samples'] for row in rows]
        assert len({(s.subject, s.action, s.camera) for s in samples}) == 1
        frames = [s.frame for s in samples]
        assert len(rows) <= 2 and frames == sorted(frames)
    with pytest.raises(ValueError, match='seq_len: found 0'):
        dataset.sequences(0)


def test_a_crop_around_the_mask_is_its_square_without_margin() -> None:
    image = photograph()
    extent = np.array([30, 10, 50, 70], np.float32)  # 20 wide, 60 high
    crop = CropPerson(size=60, stretch_contrast=False, around='mask')
    sample = crop(sample_of(image, mask_extent=extent, box=(0.0, 0.0, 90.0, 90.0)))
    assert tuple(sample['box']) == (10.0, 10.0, 70.0, 70.0)
    expected = crop_person(image, (10.0, 10.0, 70.0, 70.0), 60, stretch_contrast=False)
    np.testing.assert_array_equal(sample['img'], expected)


def test_a_crop_around_the_mask_needs_one() -> None:
    with pytest.raises(DataError, match=r'a/b\.png: has no mask; .*mask_file='):
        CropPerson(around='mask')(sample_of(photograph(), box=(0.0, 0.0, 90.0, 90.0)))
    with pytest.raises(ValueError, match="around: found 'person'"):
        CropPerson(around='person')


def test_cached_images_are_read_once_and_are_not_shared(tmp_path: Path) -> None:
    calls = []

    def read(sample: dict) -> dict:
        calls.append(sample['img_path'])
        return {**sample, 'img': np.zeros((2, 2, 3), np.uint8), 'box': np.arange(4.0) + 1}

    cache = CacheImage([read], max_images=1)
    for path in ('a', 'a', 'b', 'b', 'a'):
        sample = cache(dict(img_path=path, box=np.arange(4.0), keypoints=path))
        assert sample['box'].tolist() == [1, 2, 3, 4]
        assert not sample['img'].any()
        assert sample['keypoints'] == path
        sample['img'] += 1
    assert calls == ['a', 'b', 'b']
    cache(dict(img_path='a', box=np.arange(4.0) * 2))
    assert calls[-1] == 'a' and len(calls) == 4
    with pytest.raises(ValueError, match='max_images: found -1'):
        CacheImage([], max_images=-1)
