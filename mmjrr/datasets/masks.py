"""Reader and writer of person masks as JSON files of COCO run-length codes."""

from __future__ import annotations

import base64
import glob
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.image_names import image_key
from mmjrr.datasets.run_length import decode_levels, decode_rle, encode_levels, encode_rle
from mmjrr.errors import DataError
from mmjrr.io import atomic_write, read_json

#: Largest number of pixels of a mask, since a short run-length code can stand for any number.
_MAX_PIXELS = 1 << 27
#: Largest number of levels of a soft mask, which has eight bits.
_MAX_LEVELS = 255
#: Largest number of cells of a mask head: 128 x 128.
_MAX_CELLS = 1 << 14


class Masks:
    """Masks of one or several files, kept as run-length codes in one buffer.

    300,000 masks take about 200 MB. Worker processes share this memory: decoding a mask reads only
    the buffer, and changes no reference count of a Python object in it.

    Args:
        path: A file, a list of files, or a glob pattern. Each file contains ``{"info": {...},
            "masks": {imgname: {"size": [h, w], "counts": code, "score": s}}, "without_person":
            {imgname: reason}}``. A soft mask has ``"levels"`` besides ``"counts"``, see
            :func:`encode_levels`. Optional are ``"box": [x0, y0, x1, y1]``, the detector's box in
            pixels, and ``"cells"``, a mask head's N x N probabilities in the cells of the box:
            bytes 0 to 255, top row first, in base64.

    Attributes:
        sizes: (N, 2) height and width of each mask.
        scores: (N,) scores, 0 to 1.
        boxes: (N, 4) boxes, NaN where the file has none.
        has_cells: Whether there are masks and each has as many cells.
        unused_cells: Why the cells that some masks have are not used; '' if there are none, or all
            are used.
        without_person: Reason by image name, for images that the file lists without a mask.

    Raises:
        FileNotFoundError: A file does not exist, or no file matches the pattern.
        DataError: A file is truncated, a field is wrong, or an image has two masks.
    """

    def __init__(self, path: str | Path | Sequence[str | Path]) -> None:
        self.paths = _expand(path)
        codes: list[bytes] = []
        sizes: list[tuple[int, int]] = []
        scores: list[float] = []
        boxes: list[list[float]] = []
        cells: list[bytes] = []
        self._row: dict[str, int] = {}
        self.without_person: dict[str, str] = {}
        for file in self.paths:
            entries, without = _read(file)
            self.without_person.update(without)
            for name, entry in entries.items():
                where = f'{file}: mask of {name!r}'
                key = image_key(name)
                if key in self._row:
                    raise DataError(f'{where}: found a second mask of the image, expected one')
                self._row[key] = len(codes)
                # A run-length code contains no space.
                codes.append(b' '.join([_code(where, entry), *_level_codes(where, entry)]))
                sizes.append(_size(where, entry))
                scores.append(_score(where, entry))
                boxes.append(_box(where, entry))
                cells.append(_cells(where, entry))
        self.sizes = np.array(sizes, dtype=np.int32).reshape(-1, 2)  # (N, 2): h, w
        self.scores = np.array(scores, dtype=np.float32)
        self.boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
        self.has_cells = bool(cells) and len(cells[0]) > 0 and len(set(map(len, cells))) == 1
        self._cells = b''.join(cells) if self.has_cells else b''
        self.unused_cells = self._about_unused(cells)
        self._offsets = np.cumsum([0, *map(len, codes)])
        self._buffer = b''.join(codes)

    def __len__(self) -> int:
        return len(self._row)

    def __contains__(self, imgname: str) -> bool:
        return image_key(imgname) in self._row

    def keys(self) -> list[str]:
        """Return the :func:`~mmjrr.datasets.image_names.image_key` of each mask's image."""
        return list(self._row)

    def row(self, imgname: str) -> int:
        """Return the row of an image's mask, -1 if it has none."""
        return self._row.get(image_key(imgname), -1)

    def decode(self, row: int) -> Array:  # (h, w) uint8, 0 or 1; soft: float32, 0 to 1
        """Decode the mask of a row.

        Raises:
            DataError: The run-length code is damaged.
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

    def cells(self, row: int) -> Array:  # (N, N) float32, 0 to 1
        """Return the mask head's probabilities in the cells of a row's box.

        Raises:
            ValueError: The files have no cells, or not all masks have as many.
        """
        if not self.has_cells:
            raise ValueError(f'{_shown(self.paths)}: cells: found none, or not as many everywhere')
        count = len(self._cells) // len(self)
        values = np.frombuffer(self._cells, np.uint8, count, row * count)
        return values.reshape(math.isqrt(count), -1).astype(np.float32) / 255

    def _about_unused(self, cells: list[bytes]) -> str:
        """Return :attr:`unused_cells`, from the cells of each mask, empty where it has none."""
        count = sum(map(bool, cells))
        if self.has_cells or not count:
            return ''
        where = f'{_shown(self.paths)}: cells: '
        if count == len(cells):
            return f'{where}found different numbers, expected as many in all masks; not used'
        first = self.keys()[cells.index(b'')]
        return (
            f'{where}found them in {count} of {len(cells)} masks, not in that of {first!r}; not '
            'used, expected as many in all masks'
        )

    def __getitem__(self, imgname: str) -> Array:
        row = self.row(imgname)
        if row < 0:
            raise KeyError(imgname)
        return self.decode(row)


def save_masks(
    path: str | Path,
    masks: Mapping[str, Array],  # by image name, (h, w)
    scores: Mapping[str, float] | None = None,
    info: Mapping[str, Any] | None = None,
    boxes: Mapping[str, Sequence[float]] | None = None,
    cells: Mapping[str, Array] | None = None,  # by image name, (N, N), 0 to 1
    soft: bool = False,
) -> None:
    """Write a file of masks, whole or not at all; equal arguments give equal bytes.

    Args:
        path: File to write.
        masks: Masks by image name: foreground where nonzero, or, if ``soft``, values in [0, 1].
        scores: Scores by image name. Default: None, 1 for all.
        info: Plain values that describe the file. Default: None.
        boxes: Boxes (x0, y0, x1, y1) in pixels by image name. Default: None.
        cells: A mask head's probabilities in the cells of the boxes, by image name. Default: None.
        soft: Whether to store soft masks, in steps of one eighth, besides the masks thresholded at
            one half. Default: False.
    """
    entries: dict[str, dict[str, Any]] = {
        name: {
            'size': list(np.shape(mask)),
            'counts': encode_rle(mask >= 0.5 if soft else mask).decode('ascii'),
            'score': float((scores or {}).get(name, 1.0)),
        }
        for name, mask in masks.items()
    }
    for name, entry in entries.items():
        if soft:
            levels = encode_levels((255 * masks[name]).round().astype(np.uint8))
            entry['levels'] = [code.decode('ascii') for code in levels]
        if boxes is not None:
            entry['box'] = [round(float(value), 2) for value in boxes[name]]
        if cells is not None:
            entry['cells'] = encode_cells(cells[name])
    content = {'info': dict(info or {}), 'masks': entries}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, sort_keys=True) + '\n')


def _read(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    content = read_json(path)
    masks = content.get('masks') if isinstance(content, dict) else None
    if not isinstance(masks, dict):
        raise DataError(f"{path}: found no masks, expected an object with 'masks' by image name")
    without = content.get('without_person', {})
    if not isinstance(without, dict):
        raise DataError(f'{path}: without_person: found {without!r:.80}, expected reasons by name')
    return masks, without


def _level_codes(where: str, entry: dict[str, Any]) -> list[bytes]:
    levels = entry.get('levels', [])
    if (
        not isinstance(levels, list)
        or len(levels) > _MAX_LEVELS
        or not all(isinstance(code, str) and code.isascii() and ' ' not in code for code in levels)
    ):
        raise DataError(
            f'{where}: levels: found {levels!r:.80}, expected at most {_MAX_LEVELS} codes'
        )
    return [code.encode('ascii') for code in levels]


def _code(where: str, entry: Any) -> bytes:
    if not isinstance(entry, dict) or 'counts' not in entry:
        raise DataError(f"{where}: found {entry!r:.80}, expected 'size' and 'counts'")
    counts = entry['counts']
    if isinstance(counts, str) and counts.isascii():
        return counts.encode('ascii')
    if isinstance(counts, list) and len(counts) > 0:  # some tools write uncompressed runs
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


def encode_cells(cells: Array) -> str:  # (N, N), 0 to 1
    """Encode a mask head's probabilities as base64 of bytes, in steps of 1/255."""
    return base64.b64encode((255 * cells).round().astype(np.uint8).tobytes()).decode('ascii')


def _cells(where: str, entry: dict[str, Any]) -> bytes:
    code = entry.get('cells', '')
    try:
        values = base64.b64decode(code, validate=True) if isinstance(code, str) else None
    except ValueError:
        values = None
    if values is None or math.isqrt(len(values)) ** 2 != len(values) or len(values) > _MAX_CELLS:
        raise DataError(f'{where}: cells: found {code!r:.80}, expected N x N bytes in base64')
    return values


def _box(where: str, entry: dict[str, Any]) -> list[float]:
    box = entry.get('box')
    if box is None:
        return [math.nan] * 4
    numbers = isinstance(box, list) and len(box) == 4 and all(_is_number(v) for v in box)
    if not numbers or not (box[2] > box[0] and box[3] > box[1]):
        raise DataError(f'{where}: box: found {box!r:.80}, expected [x0, y0, x1, y1], x1 > x0')
    return [float(value) for value in box]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e9  # False for NaN


def _size(where: str, entry: dict[str, Any]) -> tuple[int, int]:
    size = entry.get('size')
    if not (
        isinstance(size, list)
        and len(size) == 2
        and all(type(value) is int and value > 0 for value in size)
        and size[0] * size[1] <= _MAX_PIXELS
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
        matches = sorted(glob.glob(str(part), recursive=True))
        if not matches:
            raise FileNotFoundError(f'{part}: no file matches')
        files += map(Path, matches)
    if not files:
        raise FileNotFoundError(f'masks: found no file in {path!r}')
    return files


def _shown(paths: list[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f'{paths[0]} and {len(paths) - 1} more'
