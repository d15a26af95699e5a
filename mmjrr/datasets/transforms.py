"""Transforms of a sample, from an image file to the input of SPIN and the models built on it.

A sample is a dict, which :class:`~mmjrr.datasets.H36MFitsDataset` and
:class:`~mmjrr.datasets.ImageFolderDataset` describe. A pipeline ends with
:class:`PackMeshInputs`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement

from mmjrr.array_types import Array
from mmjrr.errors import DataError
from mmjrr.geometry import PIXELS_PER_SCALE, padded_box, square_box, whole_image_box
from mmjrr.registry import TRANSFORMS

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB
IMAGENET_STD = (0.229, 0.224, 0.225)
#: Largest difference in rows between an image and the camera file. The camera file states 1000 rows
#: for camera 55011271 of all subjects, but images of S7 and S8 differ by two rows.
ROWS_SLACK = 2


def is_size(size: Sequence[int], expected: Sequence[int]) -> bool:  # (h, w) both
    """Return whether an image has the expected size, up to :data:`ROWS_SLACK` rows."""
    return abs(size[0] - expected[0]) <= ROWS_SLACK and size[1] == expected[1]


def build_pipeline(
    pipeline: Sequence[dict[str, Any] | Callable[..., Any]],
) -> list[Callable[..., Any]]:
    """Build the transforms that are configs; keep callables unchanged."""
    return [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]


@TRANSFORMS.register_module()
class LoadImage:
    """Transform that reads ``img_path`` into ``img``: (h, w, 3) uint8 RGB, in EXIF orientation.

    If the sample has ``img_shape`` (h, w), the image's size is compared with it; otherwise
    ``img_shape`` is set.

    Raises:
        FileNotFoundError: The image does not exist.
        DataError: The image is damaged, has an unsupported mode, or another size than expected.
    """

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Add ``img`` to a sample."""
        image = read_image(sample['img_path'])
        height, width = image.shape[:2]
        expected = sample.setdefault('img_shape', (height, width))
        if not is_size((height, width), expected):
            raise DataError(
                f'{sample["img_path"]}: found size {(height, width)} (h, w), expected '
                f'{tuple(expected)}'
            )
        sample['img'] = image
        return sample

    def __repr__(self) -> str:
        return 'LoadImage()'


@TRANSFORMS.register_module()
class CropPerson:
    """Transform that crops ``img`` to the person as SPIN does: (size, size, 3) uint8.

    The corners of ``box`` are rounded towards zero, pixels outside the image are black, and the
    square is resized bilinearly with antialiasing. A sample without ``box`` gets the square around
    the whole image as its ``box``.

    Args:
        size: Side of the crop in pixels. Default: 224.
        padding: Factor on the side of the box; the padded box replaces ``box``. Default: 1.0.
            SPIN uses 1.2 around detected joints; Human3.6M's annotation includes this factor.
        stretch_contrast: Whether to map the crop's darkest value to 0 and its brightest to 255, in
            the same way for all channels, before it is resized. SPIN's code does so in training and
            testing (through ``scipy.misc.imresize``); VIBE's and MEVA's code does not. Default:
            True.
        around: ``'box'``, the annotation's box, or ``'mask'``, the smallest square at the center
            of ``mask_extent``, which the paper's authors crop to with a padding of 1. Default:
            ``'box'``.

    Raises:
        ValueError: An argument is out of range.
        DataError: A box is not square, smaller than a pixel, or outside the image, or a sample has
            no mask.
    """

    def __init__(
        self,
        size: int = 224,
        padding: float = 1.0,
        stretch_contrast: bool = True,
        around: str = 'box',
    ) -> None:
        if around not in ('box', 'mask'):
            raise ValueError(f"around: found {around!r}, expected 'box' or 'mask'")
        if size < 1:
            raise ValueError(f'size: found {size}, expected at least 1')
        if not padding > 0:
            raise ValueError(f'padding: found {padding}, expected a positive factor')
        self.size = size
        self.padding = padding
        self.stretch_contrast = stretch_contrast
        self.around = around

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Replace ``img`` of a sample by the crop."""
        image, box = sample['img'], sample.get('box')
        if self.around == 'mask':
            box = _square_around(sample)
        if box is None:
            box = whole_image_box(*image.shape[:2])
        box = sample['box'] = padded_box(box, self.padding)
        try:
            sample['img'] = crop_person(image, box, self.size, self.stretch_contrast)
        except ValueError as error:
            raise DataError(f'{sample.get("imgname")}: {error}') from error
        return sample

    def __repr__(self) -> str:
        return (
            f'CropPerson(size={self.size}, padding={self.padding}, '
            f'stretch_contrast={self.stretch_contrast}, around={self.around!r})'
        )


def _square_around(sample: dict[str, Any]) -> tuple[float, float, float, float]:
    """Return the smallest square around the mask that has the center of its extent."""
    extent = sample.get('mask_extent')
    if extent is None:
        raise DataError(
            f"{sample.get('imgname')}: has no mask; around='mask' needs mask_file= and "
            'load_mask=True of the dataset'
        )
    x0, y0, x1, y1 = (float(value) for value in extent)
    return square_box(((x0 + x1) / 2, (y0 + y1) / 2), max(x1 - x0, y1 - y0))


@TRANSFORMS.register_module()
class CacheImage:
    """Transform that keeps the images that other transforms make, such as small crops, in memory.

    Training on few images then reads each of them once. A process keeps its own images, so use
    ``num_workers=0`` or ``persistent_workers=True``.

    Args:
        transforms: Transforms (configs or callables) that read ``img_path`` into ``img``.
        max_images: Largest number of images that are kept. Default: 10,000, which take 400 MB at
            112 x 112 pixels.

    Raises:
        ValueError: ``max_images`` is negative.
    """

    def __init__(
        self, transforms: Sequence[dict[str, Any] | Callable[..., Any]], max_images: int = 10_000
    ) -> None:
        if max_images < 0:
            raise ValueError(f'max_images: found {max_images}, expected 0 or more')
        self.transforms = build_pipeline(transforms)
        self.max_images = max_images
        self._images: dict[tuple[Any, ...], dict[str, Any]] = {}

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Add ``img`` and what else the transforms change (``box``, ``img_shape``)."""
        box = sample.get('box')
        key = (sample['img_path'], *(() if box is None else map(float, box)))
        if key not in self._images:
            for transform in self.transforms:
                sample = transform(sample)
            names = [name for name in ('img', 'box', 'img_shape') if name in sample]
            if len(self._images) >= self.max_images:
                return sample
            self._images[key] = {name: sample[name] for name in names}
        return {**sample, **copy.deepcopy(self._images[key])}

    def __repr__(self) -> str:
        return f'CacheImage({self.transforms}, max_images={self.max_images})'


@TRANSFORMS.register_module()
class NormalizeImage:
    """Transform that converts ``img``, (H, W, 3) uint8 RGB, to a float32 tensor (3, H, W).

    The tensor is (``img`` / 255 - ``mean``) / ``std``.

    Args:
        mean: Mean of each channel, red first. Default: ImageNet's.
        std: Standard deviation of each channel, red first. Default: ImageNet's.

    Raises:
        ValueError: An argument does not have three values, or ``std`` is not positive.
    """

    def __init__(
        self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        if len(mean) != 3 or len(std) != 3 or not min(std) > 0:
            raise ValueError(
                f'mean, std: found {mean} and {std}, expected three each, std positive'
            )
        self.mean = torch.tensor(mean).view(3, 1, 1)
        self.std = torch.tensor(std).view(3, 1, 1)

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Replace ``img`` of a sample by the tensor."""
        image = torch.from_numpy(np.array(sample['img'])).permute(2, 0, 1)
        sample['img'] = (image.float() / 255 - self.mean) / self.std
        return sample

    def __repr__(self) -> str:
        return f'NormalizeImage(mean={self.mean.flatten()}, std={self.std.flatten()})'


@TRANSFORMS.register_module()
class PackMeshInputs:
    """Transform that packs a sample for the models and hooks of this package.

    The result is ``dict(inputs=..., data_samples=...)``. ``inputs`` has those of
    ``img``, ``mask`` (float32 coverage of the crop), ``mask_box`` (4,) in pixels of the full image
    and ``mask_cells`` (N, N) that the sample has. ``data_samples`` is a
    ``BaseDataElement`` with metainfo and float32 fields, each present if the sample has it.

    Metainfo: ``imgname``, ``img_path``, ``subject``, ``action``, ``camera``, ``frame``,
    ``sample_idx``, ``box`` (x0, y0, x1, y1), and ``img_shape`` (h, w). ``img_shape`` is the size of
    the mask, or that of the camera file, which can differ from the image's by two rows.

    Fields:

    - of the annotation: ``keypoints_3d`` (17, 3) meters in the camera frame,
      ``keypoints_3d_weight`` (17,), ``keypoints_2d`` (17, 2) pixels of the full image,
      ``keypoints_2d_weight`` (17,);
    - of the full-image camera: ``focal_length`` (2,), ``principal_point`` (2,), ``distortion``
      (5,), and its pose: ``camera_rotation`` (3, 3), from the world frame to the camera frame, and
      ``camera_position`` (3,), meters, world frame;
    - of the fits: ``global_orient`` (3,), ``body_pose`` (69,), ``betas`` (K,), ``transl`` (3,)
      meters.
    """

    META_KEYS = (
        'imgname', 'img_path', 'subject', 'action', 'camera', 'frame', 'sample_idx', 'box',
        'img_shape',
    )  # fmt: skip
    #: Fields of the data sample, and the keys of samples with an axis of one instance.
    INSTANCE_KEYS = dict(
        keypoints_3d='keypoints_3d',
        keypoints_3d_weight='keypoints_3d_visible',
        keypoints_2d='keypoints',
        keypoints_2d_weight='keypoints_visible',
    )
    FIELD_KEYS = (
        'focal_length', 'principal_point', 'distortion', 'camera_rotation', 'camera_position',
        'global_orient', 'body_pose', 'betas', 'transl',
    )  # fmt: skip

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Pack a sample."""
        packed = BaseDataElement(
            metainfo={key: sample[key] for key in self.META_KEYS if key in sample}
        )
        fields = {name: sample[key][0] for name, key in self.INSTANCE_KEYS.items() if key in sample}
        fields |= {key: sample[key] for key in self.FIELD_KEYS if key in sample}
        for name, value in fields.items():
            packed.set_field(torch.from_numpy(np.array(value, dtype=np.float32)), name)
        inputs: dict[str, Any] = {}
        for key in ('mask', 'mask_box', 'mask_cells'):
            if key in sample:
                inputs[key] = torch.from_numpy(sample[key])
        if 'img' in sample:
            inputs['img'] = sample['img']
        return dict(inputs=inputs, data_samples=packed)

    def __repr__(self) -> str:
        return 'PackMeshInputs()'


def read_image(path: str | Path) -> Array:  # (h, w, 3) uint8, RGB
    """Read an image file with Pillow.

    Pillow raises on truncated JPEG files, which OpenCV fills with gray.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file is truncated or does not have eight bits per channel.
    """
    from PIL import Image, ImageOps

    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such image')
    try:
        with Image.open(path) as image:
            if image.mode not in ('RGB', 'RGBA', 'L', 'LA', 'P', '1', 'CMYK'):
                raise DataError(f'{path}: found mode {image.mode!r}, expected 8 bits per channel')
            return np.array(ImageOps.exif_transpose(image).convert('RGB'))
    except DataError:
        raise
    except Exception as error:  # a damaged header can raise nearly anything
        raise DataError(f'{path}: not a readable image ({error})') from error


def crop_person(
    image: Array,  # (h, w, 3) uint8
    box: Sequence[float],  # x0, y0, x1, y1, pixels, square
    size: int = 224,
    stretch_contrast: bool = True,
) -> Array:  # (size, size, 3) uint8
    """Crop an image as SPIN does; see :class:`CropPerson`.

    Raises:
        ValueError: The box is not square, smaller than a pixel, or outside the image.
    """
    from PIL import Image

    x0, y0, x1, y1 = (float(value) for value in box)
    square = abs((x1 - x0) - (y1 - y0)) < 1e-3  # False for NaN
    if not (square and 0 < x1 - x0 < np.inf):
        raise ValueError(f'box: found {(x0, y0, x1, y1)}, expected a square, x1 > x0 and y1 > y0')
    (left, right), (top, bottom) = (_pixels(*edges, size) for edges in ((x0, x1), (y0, y1)))
    height, width = image.shape[:2]
    if right <= left or bottom <= top:
        raise ValueError(f'box: found {(x0, y0, x1, y1)}, expected at least one pixel')
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        raise ValueError(
            f'box: found {(x0, y0, x1, y1)}, expected a box that overlaps the image of {height} x '
            f'{width} (h, w)'
        )
    crop = Image.fromarray(image).crop((left, top, right, bottom))  # black outside
    if stretch_contrast:
        darkest, brightest = np.array(crop.getextrema()).T
        crop = crop.point(_stretch(darkest.min(), brightest.max()).tolist() * 3)
    return np.array(crop.resize((size, size), Image.Resampling.BILINEAR))


def _pixels(start: float, stop: float, size: int) -> tuple[int, int]:
    """Return first pixel and end (exclusive) of one side of the box.

    The computation is SPIN's, by the map of the side to ``size`` pixels, whose rounding errors
    move some corners that lie on a whole pixel to the pixel before.
    """
    side = PIXELS_PER_SCALE * ((stop - start) / PIXELS_PER_SCALE)
    step = 1 / (size / side)
    first = -(size * (0.5 - (start + stop) / 2 / side)) * step
    return int(first), int(size * step + first)


def _stretch(darkest: int, brightest: int) -> Array:  # (256,) uint8
    """Return the lookup table that maps ``darkest`` to 0 and ``brightest`` to 255, linearly."""
    factor = 255.0 / max(int(brightest) - int(darkest), 1)
    return (np.clip((np.arange(256) - float(darkest)) * factor, 0, 255) + 0.5).astype(np.uint8)
