"""Videos, which OpenCV writes and reads."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmjrr.errors import DataError
from mmjrr.inference.video import VideoReader, VideoWriter

from .random_pictures import pictures


def test_frames_are_rgb_and_in_order(video: Path) -> None:
    frames = list(VideoReader(video))
    assert len(frames) == 5 and VideoReader(video).fps == 10
    for frame, written in zip(frames, pictures(5, seed=1), strict=True):
        error = np.abs(frame.astype(int) - written[..., ::-1])
        assert error.mean() < 6  # lossy
        assert np.abs(frame.astype(int) - written).mean() > 2 * error.mean()


@pytest.mark.parametrize('size', [(72, 60), (71, 61)])
def test_written_frames_are_read(tmp_path: Path, size: tuple[int, int]) -> None:
    writer = VideoWriter(tmp_path / 'a.mp4', 12.5)
    for picture in pictures(3, size):
        writer.add(picture)
    writer.close()
    reader = VideoReader(tmp_path / 'a.mp4')
    frames = list(reader)
    assert reader.fps == 12.5 and len(frames) == 3
    # MPEG-4 halves the resolution of colors, so an odd size can lose a row or column.
    assert all(abs(a - b) <= 1 for a, b in zip(frames[0].shape[:2], size, strict=True))
    h, w = (min(a, b) for a, b in zip(frames[0].shape[:2], size, strict=True))
    assert np.abs(frames[1][:h, :w].astype(int) - pictures(3, size)[1][:h, :w]).mean() < 6


@pytest.mark.parametrize(
    ('fps', 'written'),
    [(59.94, 59.94), (66.667, 66.67), (119.996, 120), (239.823, 239.82), (999.99, 1000),
     (0.0004, 0.002)],
)  # fmt: skip
def test_a_rate_that_mpeg4_cannot_state_becomes_the_nearest(
    tmp_path: Path, fps: float, written: float
) -> None:
    writer = VideoWriter(tmp_path / 'a.mp4', fps)
    for picture in pictures(2):
        writer.add(picture)
    writer.close()
    capture = cv2.VideoCapture(str(tmp_path / 'a.mp4'))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(written, rel=1e-4)
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 2


def test_a_video_that_cannot_be_written_is_named_with_its_rate(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / 'nowhere/.a.mp4', 10, shown=tmp_path / 'nowhere/a.mp4')
    with pytest.raises(OSError, match=r'/a\.mp4: .* 60 x 72 pixels at 10 frames per second'):
        writer.add(pictures(1)[0])


def test_a_cut_video_is_refused_or_noticed(
    video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(FileNotFoundError, match='no such video'):
        VideoReader(tmp_path / 'none.mp4')
    (tmp_path / 'text.mp4').write_text('no video')
    with pytest.raises(DataError, match='not a readable video'):
        VideoReader(tmp_path / 'text.mp4')
