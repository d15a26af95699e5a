"""Frames of the release's videos, written as images."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.errors import DataError
from mmjrr.io import atomic_write, read_note

#: Frames a second of the videos.
VIDEO_FPS = 50

EXCLUDE_HINT = '\n--on-error exclude leaves out what is missing'


def check_video(video: Path, frames: int) -> None:
    """See by its header alone whether a video has so many frames.

    Raises:
        DataError: it cannot be opened, or says that it has fewer.
    """
    import cv2

    capture = cv2.VideoCapture(str(video))
    try:
        if not capture.isOpened():
            raise DataError(f'{video}: not a readable video, truncated perhaps{EXCLUDE_HINT}')
        found = round(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()
    if 0 < found < frames:
        raise DataError(
            f'{video}: found {found} frames, expected {frames}, as annotated{EXCLUDE_HINT}'
        )


def extract_frames(video: Path, folder: Path, record: Path, count: int, step: int) -> int:
    """Write every ``step``-th frame of a video as ``<folder's name>_<number from 1>.jpg``.

    Images that are there are left as they are: each is written whole or not at all.

    Args:
        video: the file.
        folder: where images go.
        record: file in which it is noted that, and how, this was done.
        count: how many to write.
        step: 1 for every frame.

    Returns:
        How many are there; fewer than ``count`` where the video is shorter.

    Raises:
        DataError: the video cannot be opened.
    """
    import cv2

    images = [folder / f'{folder.name}_{step * index + 1:06d}.jpg' for index in range(count)]
    there = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
    known = _known_length(record, video, count)
    expected = images if known is None else images[:known]
    if known is not None and all(image.name in there for image in expected):
        return len(expected)
    capture = cv2.VideoCapture(str(video))
    try:
        if not capture.isOpened():
            raise DataError(f'{video}: not a readable video, truncated perhaps')
        folder.mkdir(parents=True, exist_ok=True)
        written = 0
        for index in range(step * (count - 1) + 1 if count else 0):
            if not capture.grab():
                break
            if index % step:
                continue
            image = images[written]
            if image.name not in there:
                decoded, frame = capture.retrieve()
                if not decoded:
                    break
                _write_image(cv2, image, frame)
            written += 1
    finally:
        capture.release()
    with atomic_write(record) as temporary:
        temporary.write_text(json.dumps(dict(_identity(video, count), frames=written)))
    return written


def frames_or_error(*task: Any) -> int | DataError:
    try:
        return extract_frames(*task)
    except DataError as error:
        return error


def _identity(video: Path, count: int) -> dict[str, int]:
    return dict(bytes=video.stat().st_size, asked=count)


def _known_length(record: Path, video: Path, count: int) -> int | None:
    """How many frames were found before, when as many were asked of the same video."""
    noted = read_note(record)
    frames = noted.get('frames')
    known = isinstance(frames, int) and _identity(video, count).items() <= noted.items()
    return frames if known else None


def _write_image(cv2: Any, path: Path, frame: np.ndarray) -> None:
    done, data = cv2.imencode('.jpg', frame)
    if not done:
        raise DataError(f'{path}: a frame of shape {frame.shape} cannot be written')
    # Not atomic_write: waiting for the disk with each of 300,000 images takes longer than they do.
    part = path.with_name(f'.{path.name}.part')
    part.write_bytes(data.tobytes())
    os.replace(part, path)
