"""A reader of CDF files (NASA's Common Data Format): runs cdflib in a process with limits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.errors import DataError
from mmjrr.io.limits import unpacked_limit

#: Bytes of memory that the reading process may take on top of the interpreter's.
_MEMORY = 1 << 30
#: Limit of wall-clock time as a multiple of that of processor time, which a busy machine grants
#: slowly. Only a file system that does not answer reaches it.
_WALL_FACTOR = 200


def read_cdf(
    path: str | os.PathLike[str],
    variable: str,
    shape: tuple[int | None, ...],
    largest: int,
    time_limit: int = 3,
) -> Array:
    """Read one variable of a CDF file.

    A damaged or crafted file can make cdflib loop for minutes or allocate any amount of memory.
    Therefore another process reads the file; it ends at a limit of time or of memory (1 GiB).

    Args:
        path: The file.
        variable: The variable's name.
        shape: The expected shape, records first; None stands for any length.
        largest: The largest number of values that the variable may have.
        time_limit: Seconds of processor time. The limit of wall-clock time is
            200 times this.

    Returns:
        The values, float64, of the expected shape.

    Raises:
        ImportError: cdflib is not installed.
        FileNotFoundError: The file does not exist.
        DataError: The file is damaged, has another shape, or exceeds a limit.
    """
    import_cdflib()
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    size = path.stat().st_size
    largest = min(largest, unpacked_limit(size))
    if size > 16 * largest + 10**6:
        raise DataError(
            f'{path}: found {size} bytes, expected at most {16 * largest + 10**6} for {variable}'
        )
    header, data = _read_in_process(path, variable, largest, time_limit)
    actual_shape = header['shape']
    expected = '({})'.format(', '.join('N' if length is None else str(length) for length in shape))
    if len(actual_shape) != len(shape) or any(
        length not in (None, actual) for length, actual in zip(shape, actual_shape, strict=True)
    ):
        raise DataError(
            f'{path}: {variable}: found shape {tuple(actual_shape)}, expected {expected}'
        )
    if not header['values']:
        raise DataError(
            f'{path}: {variable}: found shape {tuple(actual_shape)}, expected {expected} with at '
            f'most {largest} values, all of them in the file'
        )
    return np.frombuffer(data, dtype=np.float64).reshape(actual_shape).copy()


def _read_in_process(
    path: Path, variable: str, largest: int, time_limit: int
) -> tuple[dict[str, Any], bytes]:
    """Run ``cdf_process.py`` and return its header and the bytes of the values."""
    program = str(Path(__file__).with_name('cdf_process.py'))
    limits = (str(largest), str(_MEMORY), str(time_limit))
    # cdflib unpacks compressed files into the folder of temporary files.
    with tempfile.TemporaryDirectory(prefix='mmjrr_cdf_') as folder:
        environment = {**os.environ, 'TMPDIR': folder, 'OPENBLAS_NUM_THREADS': '1'}
        try:
            done = subprocess.run(
                [sys.executable, program, str(path.absolute()), variable, *limits],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_WALL_FACTOR * time_limit,
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(
                f'{path}: {variable}: not readable in {error.timeout:g} seconds; the file system '
                'does not answer, or the file is damaged'
            ) from error
    if done.returncode == -getattr(signal, 'SIGXCPU', -1):  # Windows has none
        raise DataError(
            f'{path}: {variable}: not readable in {time_limit} seconds of processor time; damaged, '
            'perhaps'
        )
    if done.returncode:
        lines = done.stderr.decode(errors='replace').strip().splitlines()
        reason = lines[-1] if lines else f'its reader ended with status {done.returncode}'
        raise DataError(
            f'{path}: {variable}: not readable as a CDF file; truncated perhaps ({reason})'
        )
    header, _, data = done.stdout.partition(b'\n')
    return json.loads(header), data


def import_cdflib() -> Any:
    """Import cdflib and return the module.

    Raises:
        ImportError: cdflib is not installed; the message holds the command that installs it.
    """
    try:
        import cdflib
    except ImportError as error:
        raise ImportError(
            "the release's CDF files are read with cdflib, which is not installed: "
            "pip install 'cdflib>=1.3'"
        ) from error
    return cdflib
