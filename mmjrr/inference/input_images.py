"""Images that an inferencer is called with: files, folders, videos and arrays."""

from __future__ import annotations

import os.path as osp
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.image_folder import IMAGE_TYPES, list_images
from mmjrr.datasets.transforms import read_image
from mmjrr.errors import DataError

from .video import VIDEO_TYPES, VideoReader

_T = TypeVar('_T', str, Path)

#: Suffixes of pictures that OpenCV writes.
_PICTURES = ('.jpg', '.jpeg', '.png')


@dataclass
class InputImage:
    """An image, and the persons in it.

    Attributes:
        index: Number among the images of the call, from 0.
        name: Name in files of results: relative to the folder, or to the folder that the images of
            a list share, or made from the video's name and the frame's number, from 1.
        path: Path of the file, or the name if there is none.
        image: (h, w, 3) uint8, RGB.
        boxes: (N, 4), x0, y0, x1, y1 in pixels, of the persons.
        scores: (N,), of the boxes.
        crops: The square around each person, before any padding by the pipeline.
    """

    index: int
    name: str
    path: str
    image: Array
    boxes: Array = field(default_factory=lambda: np.zeros((0, 4)))
    scores: Array = field(default_factory=lambda: np.zeros(0))
    crops: list[tuple[float, float, float, float]] = field(default_factory=list)


class InputImages:
    """Images of one call of an inferencer, read while iterating.

    Args:
        inputs: Path of an image, video or folder; an image as an array (h, w, 3) uint8 BGR, as
            OpenCV reads it; or a list of paths of images and arrays.

    Attributes:
        name: Name of the input without suffix, for files of results.
        names: Names of the images; None for a video, whose length is known only after reading.
        video: The video, if it is one.

    Raises:
        FileNotFoundError: A file does not exist, or a folder has no image.
        DataError: A video is not readable.
        ValueError: An input is of another kind, or two images of a list have one name.
    """

    def __init__(self, inputs: Any) -> None:
        self.name = 'predictions'
        self.names: list[str] | None = None
        self.video: VideoReader | None = None
        self._images: list[str | Path | Array] = []
        if isinstance(inputs, np.ndarray):
            self._take_list([inputs])
        elif isinstance(inputs, Sequence) and not isinstance(inputs, str):
            self._take_list(inputs)
        elif isinstance(inputs, (str, Path)):
            self._take_path(Path(inputs))
        else:
            raise ValueError(
                f'inputs: found {type(inputs).__name__}, expected a path, an array (h, w, 3), or a '
                'list of them'
            )

    def _take_list(self, inputs: Sequence[Any]) -> None:
        if not len(inputs):
            raise ValueError('inputs: found an empty list, expected images')
        self.names = []
        paths = [osp.abspath(item) for item in inputs if isinstance(item, (str, Path))]
        shared = osp.commonpath([osp.dirname(path) for path in paths]) if paths else ''
        for index, item in enumerate(inputs):
            if isinstance(item, np.ndarray):
                if item.ndim != 3 or item.shape[2] != 3 or item.dtype != np.uint8:
                    raise ValueError(
                        f'inputs: found {item.dtype} of shape {item.shape}, expected (h, w, 3) '
                        'uint8, BGR'
                    )
                self.names.append(f'{index:06d}.jpg')
                self._images.append(item)
            elif isinstance(item, (str, Path)):
                if not Path(item).is_file():
                    raise FileNotFoundError(f'{item}: no such image')
                self.names.append(Path(osp.relpath(osp.abspath(item), shared)).as_posix())
                self._images.append(item)
            else:
                raise ValueError(
                    f'inputs: found {type(item).__name__}, expected paths of images or arrays'
                )
        repeated = _repeated(self.names)
        if repeated is not None:
            raise ValueError(
                f'inputs: found two images of the name {repeated!r}, expected different names '
                '(an array is named after its place in the list)'
            )

    def _take_path(self, path: Path) -> None:
        self.name = path.stem
        if path.is_dir():
            self.name = path.resolve().name
            self.names = list_images(path)
            self._images = [path / name for name in self.names]
            return
        if not path.is_file():
            raise FileNotFoundError(f'{path}: no such image, video or folder')
        if path.suffix.lower() in VIDEO_TYPES:
            self.video = VideoReader(path)
        elif path.suffix.lower() in IMAGE_TYPES:
            self._take_list([path])
        else:
            raise ValueError(
                f'{path}: expected an image ({", ".join(IMAGE_TYPES)}), a video '
                f'({", ".join(VIDEO_TYPES)}) or a folder'
            )

    def check_pictures(self, folder: Path) -> None:
        """Check that no picture that is written into a folder replaces an input or another picture.

        Raises:
            ValueError: One would.
        """
        if self.video is not None:
            sources: list[str | Path | Array] = [self.video.path]
            written = [video_path(folder, self.name)]
        else:
            sources = self._images
            written = [picture_path(folder, name) for name in self.names or []]
        repeated = _repeated(written)
        if repeated is not None:
            raise ValueError(
                f'vis_out_dir: the pictures of two images would be {repeated}; rename one of them'
            )
        replaced = {osp.realpath(path) for path in written if path.exists()}
        for source in sources if replaced else ():
            if not isinstance(source, np.ndarray) and osp.realpath(source) in replaced:
                raise ValueError(
                    f'vis_out_dir: found {str(folder)!r}, where a picture would replace the input '
                    f'{source}; expected another folder'
                )

    def read(
        self, on_unreadable: Callable[[DataError], None] | None = None
    ) -> Iterator[InputImage]:
        """Yield the images.

        Args:
            on_unreadable: Function that receives the error of a damaged image, which is then left
                out. Default: None, the error is raised.

        Raises:
            DataError: An image is damaged.
        """
        if self.video is not None:
            stem = self.video.path.stem
            for index, frame in enumerate(self.video):
                name = f'{stem}/{stem}_{index + 1:06d}.jpg'
                yield InputImage(index, name, name, frame)
            return
        assert self.names is not None
        for index, (name, source) in enumerate(zip(self.names, self._images, strict=True)):
            if isinstance(source, np.ndarray):
                yield InputImage(index, name, name, np.ascontiguousarray(source[..., ::-1]))
                continue
            try:
                image = read_image(source)
            except DataError as error:
                if on_unreadable is None:
                    raise
                on_unreadable(error)
                continue
            yield InputImage(index, name, str(source), image)


def _repeated(values: Sequence[_T]) -> _T | None:
    """Return a value that occurs more than once, None if there is none."""
    return next((value for value, count in Counter(values).items() if count > 1), None)


def picture_path(folder: Path, name: str) -> Path:
    """Return the file of an image's picture; a picture of another type becomes a JPEG."""
    path = folder / name
    return path if path.suffix.lower() in _PICTURES else path.with_name(f'{path.name}.jpg')


def video_path(folder: Path, name: str) -> Path:
    """Return the file of a video's pictures."""
    return folder / f'{name}.mp4'
