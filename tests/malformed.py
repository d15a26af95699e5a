"""Damaged files and contents, for tests of the readers of files."""

from __future__ import annotations

import contextlib
import random
import struct
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from mmjrr.errors import DataError

FEW = settings(max_examples=25, suppress_health_check=list(HealthCheck))


@contextlib.contextmanager
def only_its_own_errors(path: Path) -> Iterator[None]:
    """Allow the project's own errors only; they name the file's folder and come in seconds."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            yield
        except (DataError, FileNotFoundError) as error:
            assert str(path.parent) in str(error), f'which file? {error}'
    assert time.process_time() - start < 10


def damage(content: bytes, rng: random.Random) -> bytes:
    """Return the bytes truncated, or with some changed, removed, inserted or repeated."""
    if rng.random() < 0.25:
        return content[: rng.randint(0, len(content))]
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, max(len(data) - 1, 0))
        how = rng.choice(['bit', 'byte', 'out', 'in', 'number', 'copy'])
        if how == 'bit' and data:
            data[at] ^= 1 << rng.randint(0, 7)
        elif how == 'byte' and data:
            data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif how == 'out':
            del data[at : at + rng.randint(1, 64)]
        elif how == 'in':
            data[at:at] = rng.randbytes(rng.randint(0, 16))
        elif how == 'number':
            big = rng.choice([-1, 2**31 - 1, 2**40, 2**62])
            width, order = rng.choice([4, 8]), rng.choice('<>')
            packed = struct.pack(order + 'q', big)
            data[at : at + width] = packed[:width] if order == '<' else packed[-width:]
        else:
            start = rng.randint(0, max(len(data) - 1, 0))
            data[at:at] = data[start : start + rng.randint(1, 64)]
    return bytes(data)


#: What may stand where something else is expected.
ODD = (
        None, True, -1, 0, 2**70, -(2**31), 1e308, float('nan'), float('inf'), '', 'x', '9' * 5000,
        [], {}, [[]], [None], ['a', 1], {'a': {}}, [1, [2, 3]], [10**400], (), 1.5,
        np.zeros(0), np.zeros((0, 72)), np.zeros((4, 0)), np.array('x'), np.array([b'\xff']),
        np.array(['\ud800']), np.array(5), np.zeros((4, 72), np.complex64),
        np.zeros(4, dtype='U0'), np.array(['2020-01-01'], 'M8[D]'), np.zeros(4, dtype='i4,f4'),
        np.array([None, {}], dtype=object), np.full((4, 3), np.nan), np.array([2**63], np.uint64),
)  # fmt: skip


def altered(value: Any, how: str, number: int) -> Any:
    """Return an array with one defect; other values are returned unchanged."""
    if not isinstance(value, np.ndarray):
        return value
    rows = len(value) if value.ndim else 1
    number_like = value.dtype.kind in 'fiu'
    plain = value.dtype.kind in 'fiubU'
    return {
        'shorter': lambda: value[: rows // 2] if value.ndim else value,
        'longer': lambda: np.concatenate([value, value]) if value.ndim else value,
        'empty': lambda: value[:0] if value.ndim else value,
        'transposed': lambda: np.ascontiguousarray(value.T),
        'flat': lambda: value.reshape(-1),
        'deeper': lambda: value[None],
        'narrower': lambda: value[..., :-1] if value.ndim > 1 else value,
        'float16': lambda: value.astype(np.float16) if number_like else value,
        'integer': lambda: value.astype(np.int8) if number_like else value,
        'text': lambda: value.astype(str) if plain else value,
        'bytes': lambda: np.char.encode(value.astype(str), 'utf-16') if plain else value,
        'objects': lambda: value.astype(object),
        'nan': lambda: _with(value, np.nan, number) if number_like else value,
        'infinite': lambda: _with(value, -np.inf, number) if number_like else value,
        'huge': lambda: _with(value, 1e300, number) if number_like else value,
        'negative': lambda: -value if number_like else value,
        'millimetres': lambda: value * 1000 if number_like else value,
        'twice': lambda: np.repeat(value[:1], rows, 0) if value.ndim else value,
        'mirrored': lambda: value[..., ::-1, :].copy() if value.ndim > 2 else value,
    }[how]()


ALTERATIONS = (
    'shorter', 'longer', 'empty', 'transposed', 'flat', 'deeper', 'narrower', 'float16', 'integer',
    'text', 'bytes', 'objects', 'nan', 'infinite', 'huge', 'negative', 'millimetres', 'twice',
    'mirrored',
)  # fmt: skip


def _with(value: np.ndarray, what: float, number: int) -> np.ndarray:
    value = value.astype(np.float64)
    if value.size:
        value.reshape(-1)[number % value.size] = what
    return value


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Return the paths of all values in nested dicts and lists."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = list(enumerate(value))[:3]
    paths = [path] if path else []
    for key, item in items:
        paths += places(item, (*path, key))
    return paths


def replaced(value: Any, path: tuple, change: Callable[[Any], Any]) -> Any:
    """Return a copy in which the value at a path is changed."""
    if not path:
        return change(value)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], change)
    return copy


def disfigure(content: Any, rng: random.Random) -> Any:
    """Return the content with a field removed, renamed or replaced, or with a defective array."""
    if not isinstance(content, dict):
        if isinstance(content, np.ndarray):
            return altered(content, rng.choice(ALTERATIONS), rng.randint(0, 10**6))
        return rng.choice(ODD)
    for _ in range(rng.randint(1, 2)):
        paths = places(content)
        if not paths:
            break
        path = rng.choice(paths)
        how = rng.choice(['gone', 'renamed', 'odd', 'odd', *['altered'] * 6])
        if how == 'odd':
            odd = rng.choice(ODD)
            content = replaced(content, path, lambda _, odd=odd: odd)
        elif how == 'altered':
            alteration, number = rng.choice(ALTERATIONS), rng.randint(0, 10**6)
            content = replaced(content, path, lambda v, a=alteration, n=number: altered(v, a, n))
        else:

            def without(parent: Any, key: Any = path[-1], how: str = how) -> Any:
                if not isinstance(parent, dict):
                    return [item for index, item in enumerate(parent) if index != key]
                rest = {k: v for k, v in parent.items() if k != key}
                return rest if how == 'gone' else {**rest, 'X' + str(key): parent[key]}

            content = replaced(content, path[:-1], without)
    return content


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy of :func:`damage`."""
    return st.integers(0, 2**32).map(lambda seed: damage(content, random.Random(seed)))


def disfigured(content: Any) -> st.SearchStrategy[Any]:
    """Return a strategy of :func:`disfigure`."""
    return st.integers(0, 2**32).map(lambda seed: disfigure(content, random.Random(seed)))
