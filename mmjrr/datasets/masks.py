"""Person masks: JSON files of COCO run-length codes, and crops of masks by exact area."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.datasets.image_names import image_key
from mmjrr.errors import DataError
from mmjrr.io import atomic_write, read_json

#: Steps of a soft mask.
LEVELS = 8
#: No image has more: a few characters of run-length code can stand for any number.
_MOST_PIXELS = 1 << 27


class Masks:
    """Masks of one or several files, kept as run-length codes in one buffer.

    300,000 masks take some 200 MB so, and worker processes share them, since no Python object
    is touched to read one.

    Args:
        path: A file, a list of files, or a glob pattern: ``{"info": {...}, "masks": {imgname:
            {"size": [h, w], "counts": code, "score": s}}, "without_person": {imgname: reason}}``
            each. A soft mask has ``"levels"`` beside ``"counts"``, see :func:`encode_levels`.

    Attributes:
        without_person: Why images have no mask, by name, for those of which it is known.

    Raises:
        FileNotFoundError: no file is there.
        DataError: a file is truncated or a field is wrong, or an image has two masks.
    """

    def __init__(self, path: str | Path | Sequence[str | Path]) -> None:
        self.paths = _expand(path)
        codes: list[bytes] = []
        sizes: list[tuple[int, int]] = []
        scores: list[float] = []
        self._row: dict[str, int] = {}
        self.without_person: dict[str, str] = {}
        for file in self.paths:
            entries, without = _read(file)
            self.without_person.update(without)
            for name, entry in entries.items():
                where = f'{file}: mask of {name!r}'
                key = image_key(name)
                if key in self._row:
                    raise DataError(f'{where}: the image has a mask already')
                self._row[key] = len(codes)
                # No run-length code holds a space.
                codes.append(b' '.join([_code(where, entry), *_level_codes(where, entry)]))
                sizes.append(_size(where, entry))
                scores.append(_score(where, entry))
        self.sizes = np.array(sizes, dtype=np.int32).reshape(-1, 2)  # (N, 2): h, w
        self.scores = np.array(scores, dtype=np.float32)
        self._offsets = np.cumsum([0, *map(len, codes)])
        self._buffer = b''.join(codes)

    def __len__(self) -> int:
        return len(self._row)

    def __contains__(self, imgname: str) -> bool:
        return image_key(imgname) in self._row

    def keys(self) -> list[str]:
        """What identifies the images that have a mask, see
        :func:`~mmjrr.datasets.image_names.image_key`."""
        return list(self._row)

    def row(self, imgname: str) -> int:
        """Position of an image's mask, -1 if it has none."""
        return self._row.get(image_key(imgname), -1)

    def decode(self, row: int) -> np.ndarray:  # (h, w) uint8, 0 or 1; soft: float32, 0 to 1
        """The mask at a position.

        Raises:
            DataError: its code is broken.
        """
        code = self._buffer[self._offsets[row] : self._offsets[row + 1]]
        height, width = self.sizes[row].tolist()
        code, *levels = code.split(b' ')
        try:
            if levels:
                return decode_levels(levels, (height, width))
            return decode_rle(code, (height, width))
        except DataError as error:
            name = next(key for key, value in self._row.items() if value == row)
            raise DataError(f'{_shown(self.paths)}: mask of {name!r}: {error}') from error

    def __getitem__(self, imgname: str) -> np.ndarray:
        row = self.row(imgname)
        if row < 0:
            raise KeyError(imgname)
        return self.decode(row)


def save_masks(
    path: str | Path,
    masks: Mapping[str, np.ndarray],  # by image name, (h, w), foreground where non-zero
    scores: Mapping[str, float] | None = None,
    info: Mapping[str, Any] | None = None,
) -> None:
    """Write a file of masks, whole or not at all; equal arguments give equal bytes."""
    entries = {
        name: {
            'size': list(np.shape(mask)),
            'counts': encode_rle(mask).decode('ascii'),
            'score': float((scores or {}).get(name, 1.0)),
        }
        for name, mask in masks.items()
    }
    content = {'info': dict(info or {}), 'masks': entries}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, sort_keys=True) + '\n')


def encode_rle(mask: np.ndarray) -> bytes:  # (h, w)
    """COCO's compressed run-length code of a mask."""
    from pycocotools import mask as coco_mask

    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f'mask: found shape {mask.shape}, expected (h, w)')
    return coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8))['counts']


def decode_rle(code: bytes, size: tuple[int, int]) -> np.ndarray:  # (h, w) uint8
    """Mask of COCO's compressed run-length code.

    Runs go down the columns, background first. They must fill the mask exactly: the decoder in
    ``pycocotools`` does not check that.

    Raises:
        DataError: the code is truncated or does not fill the mask.
    """
    expected = size[0] * size[1]
    runs = np.array(list(_runs(code, expected)), dtype=np.int64)
    found = int(runs.sum())
    if found != expected:
        raise DataError(f'counts: the runs cover {found} pixels, expected {expected} ({size})')
    values = np.zeros(len(runs), dtype=np.uint8)
    values[1::2] = 1
    return np.repeat(values, runs).reshape(size[1], size[0]).T


def encode_levels(mask: np.ndarray) -> list[bytes]:  # (h, w) uint8, 0 to 255
    """A soft mask as eight run-length codes: where it is at least 1/16, 3/16, ..., 15/16.

    Their mean is the mask, rounded to eighths.
    """
    if mask.dtype != np.uint8:
        raise ValueError(f'mask: found {mask.dtype}, expected uint8, 0 to 255')
    return [encode_rle(mask >= 255 * (2 * level + 1) / (2 * LEVELS)) for level in range(LEVELS)]


def decode_levels(
    codes: Sequence[bytes], size: tuple[int, int]
) -> np.ndarray:  # (h, w) float32, 0 to 1
    """The soft mask of :func:`encode_levels`.

    Raises:
        DataError: a code is broken.
    """
    total = np.zeros(size, dtype=np.uint16)
    for code in codes:
        total += decode_rle(code, size)
    return total.astype(np.float32) / len(codes)


def area_average_crop(
    mask: np.ndarray,  # (h, w)
    box: Sequence[float] | np.ndarray,  # x0, y0, x1, y1, pixels
    size: tuple[int, int],  # (height, width) of the crop
) -> np.ndarray:  # (height, width), float32 (float64 for a float64 mask)
    """The crop ``box`` of a mask, each crop pixel the exact mean over the area it covers.

    Mask pixel (row 0, column 0) covers [0, 1) x [0, 1); outside the image the mask is 0. A mean
    over a rectangle is separable, so it is two small matrix products. No value is above the
    mask's greatest.

    Raises:
        ValueError: the mask is not 2D, or box or size have no area.

    >>> area_average_crop(np.eye(2), (0.0, 0.0, 3.0, 2.0), (1, 2))
    array([[0.5       , 0.16666667]])
    """
    mask = np.asarray(mask)
    x0, y0, x1, y1 = (float(value) for value in box)
    if mask.ndim != 2:
        raise ValueError(f'mask: found shape {mask.shape}, expected (h, w)')
    if not (np.isfinite([x0, y0, x1, y1]).all() and x1 > x0 and y1 > y0):
        raise ValueError(f'box: found {(x0, y0, x1, y1)}, expected x1 > x0 and y1 > y0')
    if min(size) <= 0:
        raise ValueError(f'size: found {size}, expected a positive (height, width)')
    dtype = np.float64 if mask.dtype == np.float64 else np.float32
    rows, columns = _inside(y0, y1, mask.shape[0]), _inside(x0, x1, mask.shape[1])
    down = _shares(y0, y1, size[0], rows).astype(dtype)
    across = _shares(x0, x1, size[1], columns).astype(dtype)
    seen: np.ndarray = mask[rows, columns].astype(dtype)
    # No mean is above what it is of, but for the rounding of shares that add up to one.
    return np.minimum(down @ seen @ across.T, seen.max(initial=0))


def _shares(start: float, stop: float, count: int, pixels: slice) -> np.ndarray:
    """(count, pixels): share of each of ``count`` equal cells that lies in each pixel."""
    edges = start + (stop - start) * np.arange(count + 1) / count
    left = np.arange(pixels.start, pixels.stop, dtype=np.float64)
    overlap = np.minimum(edges[1:, None], left + 1) - np.maximum(edges[:-1, None], left)
    return np.clip(overlap, 0, None) * (count / (stop - start))


def _inside(start: float, stop: float, length: int) -> slice:
    first = int(np.clip(np.floor(start), 0, length))
    return slice(first, int(np.clip(np.ceil(stop), first, length)))


def _runs(code: bytes, most: int) -> Iterator[int]:
    """Run lengths up to ``most``: 5 bits a character, low bits first, the sixth says that more
    follow; from the fourth run on each is the difference to the run before the last."""
    before: list[int] = []
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
        if len(before) > 2:
            value += before[-2]
        if not 0 <= value <= most:
            raise DataError(f'counts: found a run of {value} pixels, expected 0 to {most}')
        before.append(value)
        yield value
        value, shift = 0, 0
    if shift:
        raise DataError('counts: the code ends within a number')


def _read(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    content = read_json(path)
    masks = content.get('masks') if isinstance(content, dict) else None
    if not isinstance(masks, dict):
        raise DataError(f"{path}: expected an object with 'masks' by image name")
    without = content.get('without_person', {})
    if not isinstance(without, dict):
        raise DataError(f'{path}: without_person: found {without!r:.80}, expected reasons by name')
    return masks, without


def _level_codes(where: str, entry: dict[str, Any]) -> list[bytes]:
    levels = entry.get('levels', [])
    if not isinstance(levels, list) or not all(
        isinstance(code, str) and code.isascii() and ' ' not in code for code in levels
    ):
        raise DataError(f'{where}: levels: found {levels!r:.80}, expected run-length codes')
    return [code.encode('ascii') for code in levels]


def _code(where: str, entry: Any) -> bytes:
    if not isinstance(entry, dict) or 'counts' not in entry:
        raise DataError(f"{where}: found {entry!r:.80}, expected 'size' and 'counts'")
    counts = entry['counts']
    if isinstance(counts, str) and counts.isascii():
        return counts.encode('ascii')
    if isinstance(counts, list) and len(counts) > 0:  # uncompressed, as some tools write it
        from pycocotools import mask as coco_mask

        height, width = _size(where, entry)
        runs = [run for run in counts if type(run) is int and run >= 0]
        if len(runs) < len(counts) or sum(runs) != height * width:
            raise DataError(
                f'{where}: counts: found {counts!r:.80}, expected runs that cover '
                f'{height * width} pixels'
            )
        return coco_mask.frPyObjects(dict(counts=runs, size=[height, width]), height, width)[
            'counts'
        ]
    raise DataError(f'{where}: counts: found {counts!r:.80}, expected a run-length code')


def _size(where: str, entry: dict[str, Any]) -> tuple[int, int]:
    size = entry.get('size')
    if not (
        isinstance(size, list)
        and len(size) == 2
        and all(type(value) is int and value > 0 for value in size)
        and size[0] * size[1] <= _MOST_PIXELS
    ):
        raise DataError(f'{where}: size: found {size!r:.80}, expected [height, width]')
    return size[0], size[1]


def _score(where: str, entry: dict[str, Any]) -> float:
    score = entry.get('score', 1.0)
    if not isinstance(score, (int, float)) or not 0 <= score <= 1:
        raise DataError(f'{where}: score: found {score!r:.80}, expected 0 to 1')
    return float(score)


def _expand(path: str | Path | Sequence[str | Path]) -> list[Path]:
    parts = [path] if isinstance(path, (str, Path)) else list(path)
    files: list[Path] = []
    for part in parts:
        if Path(part).is_file() or not glob.has_magic(str(part)):
            files.append(Path(part))
            continue
        found = sorted(glob.glob(str(part)))
        if not found:
            raise FileNotFoundError(f'{part}: no file matches')
        files += map(Path, found)
    if not files:
        raise FileNotFoundError(f'masks: found no file in {path!r}')
    return files


def _shown(paths: list[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f'{paths[0]} and {len(paths) - 1} more'
