"""Encoder and decoder of COCO's compressed run-length codes, for binary and soft masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mmjrr.array_types import Array
from mmjrr.errors import DataError

#: Number of thresholds of a soft mask.
LEVELS = 8


def encode_rle(mask: Array) -> bytes:  # (h, w)
    """Encode a mask, foreground where nonzero, as COCO's compressed run-length code."""
    from pycocotools import mask as coco_mask

    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f'mask: found shape {mask.shape}, expected (h, w)')
    return coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8))['counts']


def decode_rle(code: bytes, size: tuple[int, int]) -> Array:  # (h, w) uint8
    """Decode COCO's compressed run-length code.

    Runs go down the columns, background first. They must fill the mask exactly; ``pycocotools``
    does not check this.

    Args:
        code: The code.
        size: Height and width of the mask.

    Raises:
        DataError: The code is truncated or does not fill the mask.
    """
    expected = size[0] * size[1]
    runs = np.array(list(_runs(code, expected)), dtype=np.int64)
    covered = int(runs.sum())
    if covered != expected:
        raise DataError(
            f'counts: found runs that cover {covered} pixels, expected {expected} ({size})'
        )
    values = np.zeros(len(runs), dtype=np.uint8)
    values[1::2] = 1
    return np.repeat(values, runs).reshape(size[1], size[0]).T


def encode_levels(mask: Array) -> list[bytes]:  # (h, w) uint8, 0 to 255
    """Encode a soft mask as eight run-length codes, one for each threshold 1/16, 3/16, ..., 15/16.

    The mean of the eight decoded masks is the soft mask rounded to eighths.
    """
    if mask.dtype != np.uint8:
        raise ValueError(f'mask: found {mask.dtype}, expected uint8, 0 to 255')
    return [encode_rle(mask >= 255 * (2 * level + 1) / (2 * LEVELS)) for level in range(LEVELS)]


def decode_levels(codes: Sequence[bytes], size: tuple[int, int]) -> Array:  # (h, w) float32, 0 to 1
    """Decode the codes of :func:`encode_levels`.

    Raises:
        DataError: A code is damaged.
    """
    total = np.zeros(size, dtype=np.uint16)
    for code in codes:
        total += decode_rle(code, size)
    return total.astype(np.float32) / len(codes)


def _runs(code: bytes, max_length: int) -> Iterator[int]:
    """Yield the run lengths of a code.

    Each character encodes five bits of a number, low bits first; its sixth bit says that more
    characters of the number follow. From the fourth run on, the number is the difference from the
    second run before it.

    Raises:
        DataError: The code is damaged, or a run is longer than ``max_length``.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in code:
        bits = character - 48
        if not 0 <= bits < 64:
            raise DataError(f'counts: found the character {chr(character)!r}')
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            if shift > 60:
                raise DataError('counts: found a number of more than 60 bits')
            continue
        if bits & 16:
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if not 0 <= value <= max_length:
            raise DataError(f'counts: found a run of {value} pixels, expected 0 to {max_length}')
        runs.append(value)
        yield value
        value, shift = 0, 0
    if shift:
        raise DataError('counts: the code ends within a number')
