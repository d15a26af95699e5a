"""Extraction of the frames of the release's videos as images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmjrr.array_types import Array
from mmjrr.errors import DataError

#: Frames per second of the videos.
VIDEO_FPS = 50

#: End of error messages.
EXCLUDE_HINT = '\n--on-error exclude skips what is missing'


def check_video(video: Path, frames: int) -> None:
    """Check by its header that a video has at least a number of frames.

    Raises:
        DataError: The video cannot be opened, or its header states fewer frames.
    """
    import cv2

    capture = cv2.VideoCapture(str(video))
    try:
        if not capture.isOpened():
            raise DataError(f'{video}: not a readable video; possibly truncated{EXCLUDE_HINT}')
        count = round(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()
    if 0 < count < frames:
        raise DataError(
            f'{video}: found {count} frames, expected {frames}, as annotated{EXCLUDE_HINT}'
        )


def extract_frames(video: Path, folder: Path, record_file: Path, count: int, step: int) -> int:
    """Write every ``step``-th frame of a video as ``<folder's name>_<number from 1>.jpg``.

    Existing images stay as they are; each image is written whole or not at all.

    Args:
        video: The video.
        folder: Folder of the images.
        record_file: File that records how many frames were found.
        count: Number of images to write.
        step: 1 for every frame.

    Returns:
        Number of images; fewer than ``count`` where the video is shorter.

    Raises:
        DataError: The video cannot be opened.
    """
    import cv2

    from mmjrr.jobs import Identity, Record  # imports MMEngine, which --help does without

    images = [folder / f'{folder.name}_{step * index + 1:06d}.jpg' for index in range(count)]
    existing = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
    record = Record(record_file, Identity({'bytes': video.stat().st_size, 'asked': count}))
    recorded = (record.results_of_same_settings() or {}).get('frames')
    expected = images[:recorded] if isinstance(recorded, int) else images
    if isinstance(recorded, int) and all(image.name in existing for image in expected):
        return len(expected)
    capture = cv2.VideoCapture(str(video))
    try:
        if not capture.isOpened():
            raise DataError(f'{video}: not a readable video; possibly truncated')
        folder.mkdir(parents=True, exist_ok=True)
        written = 0
        for index in range(step * (count - 1) + 1 if count else 0):
            if not capture.grab():
                break
            if index % step:
                continue
            image = images[written]
            if image.name not in existing:
                decoded, frame = capture.retrieve()
                if not decoded:
                    break
                _write_image(cv2, image, frame)
            written += 1
    finally:
        capture.release()
    record.write({'frames': written})
    return written


def frames_or_error(*task: Any) -> int | DataError:
    """Return the result of :func:`extract_frames`, or the error that it raised."""
    try:
        return extract_frames(*task)
    except DataError as error:
        return error


def _write_image(cv2: Any, path: Path, frame: Array) -> None:
    encoded, data = cv2.imencode('.jpg', frame)
    if not encoded:
        raise DataError(f'{path}: a frame of shape {frame.shape} cannot be written')
    # Not atomic_write, which waits for the disk: that would dominate for 300,000 images.
    part = path.with_name(f'.{path.name}.part')
    part.write_bytes(data.tobytes())
    os.replace(part, path)
