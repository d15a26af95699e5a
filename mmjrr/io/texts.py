"""Many texts in little memory: image names of a million frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from mmjrr.array_types import Array

from .mapped import MAPPED_FROM, as_list, pieces, release, working_array

_CODEC = ('utf-8', 'surrogatepass')
#: Texts that are decoded at once.
_PIECE = 4096


def texts_of(array: Array) -> Sequence[str]:  # (N,) str
    """Return an array of texts as a list, or as a :class:`TextColumn` if it is large.

    >>> texts_of(np.array(['a', 'b']))
    ['a', 'b']
    """
    return as_list(array) if array.nbytes < MAPPED_FROM else TextColumn.of(array)


def take_texts(texts: Sequence[str], rows: Array) -> Sequence[str]:  # (n,) int
    """Select texts by row, in the order in which the rows are listed.

    >>> take_texts(['a', 'b', 'c'], np.array([2, 0]))
    ['c', 'a']
    """
    if isinstance(texts, TextColumn):
        return texts.take(rows)
    return [texts[row] for row in rows]


def sorted_rows(texts: Sequence[str], rows: Array) -> Array:  # (n,) ascending
    """Sort rows by their texts; rows of equal texts keep their order.

    >>> sorted_rows(['b', 'a', 'b', 'a'], np.array([0, 1, 2])).tolist()
    [1, 0, 2]
    """
    if isinstance(texts, TextColumn):
        return rows[texts.take(rows).argsort()]
    return np.array(sorted(rows.tolist(), key=lambda row: texts[row]), dtype=np.int64)


class TextColumn(Sequence[str]):
    """A sequence of texts that keeps them as UTF-8 of a fixed width in a working array.

    A text is decoded each time it is read. A slice of the column is a view of the same array.

    >>> column = TextColumn.of(np.array(['b', 'äh', 'a']))
    >>> column[1], list(column[1:]), list(column.take(column.argsort()))
    ('äh', ['äh', 'a'], ['a', 'b', 'äh'])
    """

    def __init__(self, encoded: Array, rows: Array | None = None) -> None:
        self._encoded, self._rows = encoded, rows
        self._unreleased = 0  # single texts read since pages were given back

    @classmethod
    def of(cls, array: Array) -> TextColumn:  # (N,) str
        """Encode an array, piece by piece."""
        width = 1
        for piece in pieces(array):
            width = max(width, np.char.encode(array[piece], *_CODEC).dtype.itemsize)
        encoded = working_array(array.shape, f'S{width}')
        for piece in pieces(array, encoded):
            encoded[piece] = np.char.encode(array[piece], *_CODEC)
        return cls(encoded)

    def __len__(self) -> int:
        return len(self._encoded if self._rows is None else self._rows)

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> TextColumn: ...

    def __getitem__(self, row: int | slice) -> str | TextColumn:
        if isinstance(row, slice):
            return self.take(np.arange(*row.indices(len(self))))
        place = row if self._rows is None else self._rows[row]
        text = bytes(self._encoded[place]).decode(*_CODEC)
        self._unreleased += 1
        if self._unreleased == _PIECE:
            release(self._encoded)
            self._unreleased = 0
        return text

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _PIECE):
            piece = slice(start, start + _PIECE)
            encoded = self._encoded[piece if self._rows is None else self._rows[piece]]
            texts = [bytes(text).decode(*_CODEC) for text in encoded.tolist()]
            release(self._encoded)
            yield from texts

    def take(self, rows: Array) -> TextColumn:
        """Select rows, in the order in which they are listed."""
        return TextColumn(self._encoded, rows if self._rows is None else self._rows[rows])

    def argsort(self) -> Array:
        """Return the rows in the order of their texts; rows of equal texts keep their order.

        The order of UTF-8 is that of its characters.
        """
        encoded = self._encoded if self._rows is None else self._encoded[self._rows]
        order = np.argsort(encoded, kind='stable')
        release(self._encoded)
        return order
