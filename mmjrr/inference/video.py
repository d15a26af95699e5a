"""Frames of video files, read and written through OpenCV."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
from mmengine.logging import print_log

from mmjrr.array_types import Array
from mmjrr.errors import DataError

#: Suffixes of files that are taken for videos; OpenCV decides whether it reads one.
VIDEO_TYPES = (
    '.3gp', '.avi', '.flv', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.mts', '.ogv',
    '.ts', '.webm', '.wmv',
)  # fmt: skip
#: Largest number of pixels of a frame; a header that announces more is refused.
_MAX_PIXELS = 1 << 27
#: Largest numerator of the fraction by which MPEG-4 states the frames per second.
_MAX_RATE = 65535
#: Lowest rate that OpenCV does not round to none.
_MIN_FPS = 0.002


class VideoReader:
    """Video file, whose frames are read one after the other.

    Args:
        path: The file.

    Attributes:
        fps: Frames per second; 25 if the file does not say.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: OpenCV does not read the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f'{path}: no such video')
        capture = self._open()
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and 0 < fps < 1000 else 25.0
        self._announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()

    def __iter__(self) -> Iterator[Array]:  # (h, w, 3) uint8, RGB
        """Yield the frames.

        A warning is logged if there are fewer than the file announces.

        Raises:
            DataError: No frame is readable.
        """
        capture = self._open()
        count = 0
        try:
            while True:
                success, frame = capture.read()
                if not success:
                    break
                count += 1
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        finally:
            capture.release()
        if count == 0:
            raise DataError(f'{self.path}: found no readable frame')
        if count < self._announced:
            print_log(
                f'{self.path}: found {count} readable frames, the file announces {self._announced}',
                logger='current',
                level=logging.WARNING,
            )

    def _open(self) -> Any:
        capture = cv2.VideoCapture(str(self.path))
        width = capture.get(cv2.CAP_PROP_FRAME_WIDTH)
        height = capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if not capture.isOpened() or not 0 < width * height <= _MAX_PIXELS:
            capture.release()
            raise DataError(
                f'{self.path}: not a readable video (found {width:.0f} x {height:.0f} pixels)'
            )
        return capture


class VideoWriter:
    """Video file in MPEG-4, to which frames of one size are added.

    Args:
        path: The file, ending in ``.mp4``.
        fps: Frames per second, of which the file states the nearest that MPEG-4 can.
        shown: Path in messages, if the file is a temporary one. Default: None, ``path``.
    """

    def __init__(self, path: Path, fps: float, shown: Path | None = None) -> None:
        self.path, self.fps = path, writable_fps(fps)
        self._shown = path if shown is None else shown
        self._writer: Any = None

    def add(self, picture: Array) -> None:  # (h, w, 3) uint8, RGB
        """Add a frame.

        Raises:
            OSError: OpenCV cannot write the file.
        """
        if self._writer is None:
            height, width = picture.shape[:2]
            codec = cv2.VideoWriter.fourcc(*'mp4v')
            self._writer = cv2.VideoWriter(str(self.path), codec, self.fps, (width, height))
            if not self._writer.isOpened():
                raise OSError(
                    f'{self._shown}: OpenCV cannot write a video of {width} x {height} pixels at '
                    f'{self.fps:g} frames per second'
                )
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


def writable_fps(fps: float) -> float:
    """Return the nearest rate that OpenCV writes into MPEG-4.

    OpenCV states a rate as a fraction of up to three decimals; the numerator has 16 bits.

    >>> [writable_fps(fps) for fps in (25, 59.94, 66.6667, 999.99)]
    [25.0, 59.94, 66.67, 1000.0]
    """
    digits = next(digits for digits in (3, 2, 1, 0) if round(fps * 10**digits) <= _MAX_RATE)
    return max(round(float(fps), digits), _MIN_FPS)
