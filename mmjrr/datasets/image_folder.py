"""Dataset of a folder of images of people, with or without boxes around them."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from mmjrr.datasets.image_names import image_key
from mmjrr.datasets.sequences import consecutive
from mmjrr.datasets.transforms import PackMeshInputs, build_pipeline
from mmjrr.errors import DataError
from mmjrr.geometry import MAX_PIXEL, square_box
from mmjrr.io import read_json
from mmjrr.registry import DATASETS

IMAGE_TYPES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
#: File in a folder of pictures that inference made, which are no images of people to estimate.
PICTURES_NOTE = '.mmjrr_pictures'


@DATASETS.register_module()
class ImageFolderDataset(BaseDataset):
    """All images under a folder, one person each, in natural order of their names.

    A sample is a dict that the pipeline transforms: ``imgname`` (relative to the folder),
    ``img_path``, ``sample_idx``, and, if ``boxes`` has one, ``annotated_box`` (x0, y0, x1, y1) as
    in the file, and the square ``box`` around it. Without a box, ``CropPerson`` takes the whole
    image.

    Hidden folders are left out, and so are folders that :func:`mark_pictures` has marked.

    Args:
        data_root: The folder, which is searched with its subfolders.
        boxes: JSON file ``{"name.jpg": [x0, y0, x1, y1]}`` in pixels, or None for whole images.
            Names are relative to the folder; folders and extension can differ if the name
            identifies one image. A box becomes the square with its center and longer side. Default:
            None.
        without_box: Treatment of images without a box in the file: 'raise', or 'skip', which
            counts and logs them. Default: 'raise'.
        pipeline: Transforms (configs or callables). Default: None, only :class:`PackMeshInputs`.
            An empty list leaves samples unchanged.

    Attributes:
        report: Number of images found, kept, and skipped for each reason.

    Raises:
        FileNotFoundError: The folder or the file of boxes does not exist, or the folder has no
            image.
        DataError: The boxes are damaged or do not match the images.
        ValueError: ``without_box`` is another word.
    """

    METAINFO: dict[str, Any] = dict(dataset_name='images')

    def __init__(
        self,
        data_root: str | Path,
        boxes: str | Path | None = None,
        without_box: str = 'raise',
        pipeline: Sequence[dict[str, Any] | Callable[..., Any]] | None = None,
    ) -> None:
        if without_box not in ('raise', 'skip'):
            raise ValueError(f"without_box: found {without_box!r}, expected 'raise' or 'skip'")
        self._boxes_file = None if boxes is None else Path(boxes)
        self._without_box = without_box
        self._boxes: dict[str, tuple[float, ...]] = {}
        self.report: dict[str, int] = {}
        super().__init__(
            data_root=str(data_root),
            pipeline=[PackMeshInputs()] if pipeline is None else build_pipeline(pipeline),
            test_mode=True,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the images and match them with their boxes."""
        self._names = list_images(Path(self.data_root))
        self.report = dict(found=len(self._names))
        if self._boxes_file is not None:
            self._match_boxes(self._boxes_file, self._without_box)
        self.report['kept'] = len(self._names)
        print_log(
            f'{type(self).__name__}: {len(self._names)} images under {self.data_root}',
            logger='current',
        )
        return [self._sample(name) for name in self._names]

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f'sample {index} of {len(self)}')
        return super().__getitem__(int(index) % len(self))

    def prepare_data(self, index: int) -> Any:
        """Return a sample after the pipeline.

        Raises:
            ValueError: The pipeline returns None.
        """
        sample = super().prepare_data(index)
        if sample is None:
            raise ValueError(
                f'{self.imgname(index)}: the pipeline returned None, expected a sample'
            )
        return sample

    def imgname(self, index: int) -> str:
        """Return the path of an image relative to the folder, with forward slashes."""
        return self.get_data_info(index)['imgname']

    def sequences(self, seq_len: int) -> list[list[int]]:
        """Group the images of each folder as consecutive frames, at most ``seq_len`` each."""
        folders = [self.imgname(index).rpartition('/')[0] for index in range(len(self))]
        return consecutive(folders, range(len(folders)), seq_len)

    def _sample(self, name: str) -> dict[str, Any]:
        sample: dict[str, Any] = dict(imgname=name, img_path=str(Path(self.data_root) / name))
        if name in self._boxes:
            sample['annotated_box'] = self._boxes[name]
            sample['box'] = _square(self._boxes[name])
        return sample

    def _match_boxes(self, path: Path, without_box: str) -> None:
        """Read the boxes, match them with the images, and drop images without a box."""
        boxes = _read_boxes(path)
        keys = Counter(map(image_key, self._names))
        short = {image_key(name): name for name in self._names}
        named = set(self._names)
        unknown = []
        for name, box in boxes.items():
            image = name if name in named else short.get(image_key(name))
            if image is None:
                unknown.append(name)
            elif image != name and keys[image_key(name)] > 1:
                raise DataError(
                    f'{path}: {name!r} matches {keys[image_key(name)]} images, such as {image!r}; '
                    f'give the path relative to {self.data_root}'
                )
            elif image in self._boxes:
                raise DataError(f'{path}: {image!r} has more than one box')
            else:
                self._boxes[image] = box
        without = [name for name in self._names if name not in self._boxes]
        self.report.update(without_box=len(without), boxes_without_image=len(unknown))
        if without and (without_box == 'raise' or len(without) == len(self._names)):
            raise DataError(
                f'{path}: found no box for {len(without)} of {len(self._names)} images under '
                f'{self.data_root}, such as {without[0]!r}; it has {len(unknown)} boxes for other '
                f"images{f', such as {unknown[0]!r}' if unknown else ''}; without_box='skip' skips "
                'images without a box'
            )
        self._names = [name for name in self._names if name in self._boxes]
        if without or unknown:
            print_log(
                f'{path}: skipped {len(without)} images without a box and {len(unknown)} boxes '
                'without an image',
                logger='current',
                level=logging.WARNING,
            )


def list_images(root: Path) -> list[str]:
    """Return the names of all images under a folder, relative to it, in natural order.

    Hidden files and folders are left out. So are, with a message, folders below ``root`` that
    :func:`mark_pictures` has marked.

    Raises:
        FileNotFoundError: There is no such folder, or no image in it.
    """
    if not root.is_dir():
        raise FileNotFoundError(f'{root}: no such folder')
    names: list[str] = []
    for folder, subfolders, files in os.walk(root):
        path = Path(folder)
        if PICTURES_NOTE in files and path != root:
            subfolders.clear()
            print_log(f'left out: {path}: pictures of an earlier inference', logger='current')
            continue
        subfolders[:] = [name for name in subfolders if not name.startswith('.')]
        names += [
            (path / name).relative_to(root).as_posix() for name in files if _is_image(path / name)
        ]
    if not names:
        raise FileNotFoundError(f'{root}: no image in it; looked for {", ".join(IMAGE_TYPES)}')
    return sorted(names, key=_natural)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_TYPES and not path.name.startswith('.') and path.is_file()


def mark_pictures(folder: Path) -> None:
    """Mark a new or empty folder for pictures, so that :func:`list_images` leaves it out.

    A folder that holds files already is not marked, since they can be images of people.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if next(folder.iterdir(), None) is None:
        (folder / PICTURES_NOTE).write_text('Pictures that mmjrr drew; it takes none as input.\n')


def _natural(name: str) -> list[Any]:
    """Return a sort key of a path: folder, then file, with ``frame9`` before ``frame10``."""
    folder, _, file = name.rpartition('/')
    parts = [re.split(r'(\d+)', part) for part in (folder, file)]
    return [[int(p) if p.isdecimal() else p for p in part] for part in parts] + [name]


def _read_boxes(path: Path) -> dict[str, tuple[float, ...]]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f'{path}: expected an object with a box by image name')
    return {name: _checked(f'{path}: box of {name!r}', box) for name, box in content.items()}


def _checked(where: str, box: Any) -> tuple[float, ...]:
    numbers = isinstance(box, list) and all(
        isinstance(v, (int, float)) and abs(v) < MAX_PIXEL for v in box
    )
    if not numbers or len(box) != 4 or box[2] <= box[0] or box[3] <= box[1]:
        raise DataError(f'{where}: found {box!r:.80}, expected [x0, y0, x1, y1], x1 > x0, y1 > y0')
    return tuple(float(value) for value in box)


def _square(box: Sequence[float]) -> tuple[float, ...]:
    """Return the square with a box's center and longer side."""
    x0, y0, x1, y1 = box
    return square_box(((x0 + x1) / 2, (y0 + y1) / 2), max(x1 - x0, y1 - y0))
