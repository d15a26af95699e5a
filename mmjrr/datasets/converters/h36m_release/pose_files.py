"""Joints in the release's CDF files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.datasets.converters.annotation_checks import metres
from mmjrr.errors import DataError
from mmjrr.io import MOST_EXPANSION
from mmjrr.joints import H36M_JOINTS_RELEASE, reorder_index

#: The longest take has some 6,000 frames.
_MOST_FRAMES = 100_000

#: Bytes; 6,000 frames of doubles are 5 million.
_LARGEST = 100_000_000

#: Of one CDF file; the tests' take fewer than a hundred.
_MOST_READS = 20_000


def read_joints(
    pixels: Path, metric: Path, step: int
) -> tuple[np.ndarray, np.ndarray]:  # (N, 17, 2) pixels, (N, 17, 3) metres
    """Joints of every ``step``-th frame, in MMPose's order, of two CDF files.

    Raises:
        DataError: a file is damaged, or they do not fit together.
    """
    seen, placed = read_pose(pixels, 2), read_pose(metric, 3)
    if len(seen) != len(placed):
        raise DataError(
            f'{metric}: Pose: found {len(placed)} frames, expected {len(seen)}, as in {pixels}'
        )
    index = reorder_index(H36M_JOINTS_RELEASE, 'mmpose')
    return seen[::step, index], metres(f'{metric}: Pose', placed)[::step, index]


def read_pose(path: Path, axes: int) -> np.ndarray:  # (N, 32, axes)
    """``Pose`` of a CDF file.

    Raises:
        ImportError: there is no cdflib.
        FileNotFoundError: there is no such file.
        DataError: the file is damaged or holds something else.
    """
    cdflib = import_cdflib()
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    joints = len(H36M_JOINTS_RELEASE)
    if path.stat().st_size > _LARGEST:
        raise DataError(
            f'{path}: found {path.stat().st_size} bytes, expected at most {_LARGEST} of a CDF file '
            'of joints'
        )
    try:
        file = _from_memory(cdflib)(path)
        about = file.varinq('Pose')
        shape = (about.Last_Rec + 1, *about.Dim_Sizes)
        expected = f'(1, N, {joints * axes}) with N at most {_MOST_FRAMES}'
        most = min(_MOST_FRAMES, path.stat().st_size * MOST_EXPANSION // (joints * axes))
        if len(shape) != 3 or shape[0] != 1 or shape[2] != joints * axes or shape[1] > most:
            raise DataError(f'{path}: Pose: found shape {shape}, expected {expected}')
        pose = np.asarray(file.varget('Pose'), dtype=np.float64).reshape(-1, joints, axes)
    except DataError:
        raise
    except Exception as error:  # of a damaged file cdflib raises nearly anything
        raise DataError(
            f'{path}: Pose: not readable; truncated, or no CDF file '
            f'({type(error).__name__}: {error})'
        ) from error
    if not len(pose) or not np.isfinite(pose).all():
        raise DataError(f'{path}: Pose: found {len(pose)} frames, not all of them numbers')
    return pose


def joints_or_error(*task: Any) -> tuple[np.ndarray, np.ndarray] | DataError:
    try:
        return read_joints(*task)
    except DataError as error:
        return error


def _from_memory(cdflib: Any) -> Any:
    """A reader of the whole file: of a real file cdflib makes room for all that it claims."""

    class FromMemory(cdflib.CDF):  # type: ignore[misc]
        def _file_or_url_or_s3_handler(self, filename: str, *_: Any) -> io.BytesIO:
            return _FewReads(Path(filename).read_bytes())

    return FromMemory


class _FewReads(io.BytesIO):
    """A file that is not read forever: damaged CDF files have lists that lead into themselves."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._left = _MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f'more than {_MOST_READS} reads; its lists lead into themselves')
        return super().read(size)


def import_cdflib() -> Any:
    """The module, or a sentence that says what to install.

    Raises:
        ImportError: there is none.
    """
    try:
        import cdflib
    except ImportError as error:
        raise ImportError(
            "the release's CDF files are read with cdflib, which is not installed: "
            "pip install 'cdflib>=1.3'"
        ) from error
    return cdflib
