"""Reading pickles of arrays without running anything that they name.

A pickle can name any function and have it called on load. The unpickler here knows only the types
that a SMPL file or a camera file needs, and refuses everything else by name.
"""

from __future__ import annotations

import contextlib
import importlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmjrr.errors import DataError

#: What may be looked up and called, by the names under which old and new versions pickle it.
ALLOWED = {
    ('numpy', 'dtype'),
    ('numpy.core.multiarray', 'scalar'),
    ('numpy._core.multiarray', 'scalar'),
    ('numpy.core.numeric', '_frombuffer'),
    ('numpy._core.numeric', '_frombuffer'),
    ('scipy.sparse.csc', 'csc_matrix'),
    ('scipy.sparse._csc', 'csc_matrix'),
    ('scipy.sparse.csr', 'csr_matrix'),
    ('scipy.sparse._csr', 'csr_matrix'),
    ('scipy.sparse.coo', 'coo_matrix'),
    ('scipy.sparse._coo', 'coo_matrix'),
    ('collections', 'OrderedDict'),
    ('copy_reg', '_reconstructor'),
    ('copyreg', '_reconstructor'),
    ('__builtin__', 'object'),
    ('builtins', 'object'),
    ('__builtin__', 'set'),  # in the state of every chumpy object
    ('builtins', 'set'),
    ('_codecs', 'encode'),
}
#: How a pickle begins an array, which is empty until its bytes come.
_BEGIN_ARRAY = {
    ('numpy.core.multiarray', '_reconstruct'),
    ('numpy._core.multiarray', '_reconstruct'),
}
#: Values in lists within lists beyond which they are not unfolded.
_MOST_VALUES = 100_000_000
#: chumpy's classes that hold an array, read as :class:`ChumpyArray`.
CHUMPY = {('chumpy', 'Ch'), ('chumpy.ch', 'Ch'), ('chumpy.reordering', 'Select')}
#: Where a name lives now.
MOVED = {
    'copy_reg': 'copyreg',
    '__builtin__': 'builtins',
    'scipy.sparse.csc': 'scipy.sparse',
    'scipy.sparse._csc': 'scipy.sparse',
    'scipy.sparse.csr': 'scipy.sparse',
    'scipy.sparse._csr': 'scipy.sparse',
    'scipy.sparse.coo': 'scipy.sparse',
    'scipy.sparse._coo': 'scipy.sparse',
}


class UnsafePickleError(DataError):
    """A pickle asked for something outside the allow-list."""


class _ArrayType:
    """Stands in for ``numpy.ndarray``, which, called with a shape, would make room for anything."""

    def __new__(cls, *_: Any) -> Any:
        raise UnsafePickleError('the pickle makes an array without saying what is in it')


def _empty_array(kind: Any, shape: Any, *_: Any) -> np.ndarray:
    if kind is not _ArrayType or shape != (0,):
        raise UnsafePickleError(f'the pickle begins an array with the shape {shape!r:.80}')
    return np.ndarray((0,), dtype=np.int8)


class ChumpyArray:
    """Stands in for chumpy's ``Ch`` and ``Select`` objects and keeps their array.

    chumpy no longer builds on current Python; the official SMPL files hold a few of its objects,
    each a wrapper around one array ``x`` or a selection ``a[idxs]`` from another.
    """

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def array(self) -> np.ndarray:
        """The array that chumpy's ``.r`` gives."""
        if 'x' in self.__dict__:
            inner = self.__dict__['x']
            return _plain_array(inner)
        if {'a', 'idxs'} <= set(self.__dict__):  # chumpy.reordering.Select: a[idxs] reshaped
            flat = _plain_array(self.__dict__['a'])
            picked = flat.ravel()[_plain_array(self.__dict__['idxs'])]
            return picked.reshape(self.__dict__.get('preferred_shape', picked.shape))
        raise ValueError(f'a chumpy object without array; it holds {sorted(self.__dict__)}')


def _plain_array(value: Any) -> np.ndarray:
    if isinstance(value, ChumpyArray):
        return value.array()
    if not isinstance(value, (np.ndarray, np.generic, int, float)):
        raise ValueError(f'a chumpy object around a {type(value).__name__}, expected an array')
    return np.asarray(value)


def load_pickle(
    path: str | Path,
    also: Mapping[tuple[str, str], Any] | None = None,
    file: BinaryIO | None = None,
    unpickler: type[AllowList] | None = None,
) -> Any:
    """Load a pickle of plain values, arrays, sparse matrices and chumpy arrays.

    chumpy objects come back as arrays. Python 2's pickles are read as Latin-1, as SMPL's need.

    Args:
        path: the file, or what to call it in messages where ``file`` is given.
        also: what to take for further names, as ``{(module, name): value}``. Default None.
        file: where to read, from its position. Default None: ``path``.
        unpickler: what reads. Default None: Python's own, with :class:`AllowList` before it.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafePickleError: If it names anything outside the allow-list; nothing is executed.
        DataError: If it is truncated or no pickle at all.
    """
    path = Path(path)
    if file is None and not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    with open(path, 'rb') if file is None else contextlib.nullcontext(file) as source:
        reader: Any = (unpickler or _Unpickler)(source, encoding='latin1')  # type: ignore
        reader.path, reader.also = path, also or {}
        try:
            return _without_chumpy(check_unfolded(reader.load()))
        except DataError as error:
            if str(path) in str(error):
                raise
            raise type(error)(f'{path}: {error}') from error
        except Exception as error:  # a broken pickle can raise nearly anything
            raise DataError(
                f'{path}: not a readable pickle ({type(error).__name__}: {error})'
            ) from error


class AllowList:
    """Goes before an unpickler's class and lets through what is known to be harmless."""

    path: Path
    also: Mapping[tuple[str, str], Any]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self.also:
            return self.also[module, name]
        if (module, name) in CHUMPY:
            return ChumpyArray
        if (module, name) == ('numpy', 'ndarray'):
            return _ArrayType
        if (module, name) in _BEGIN_ARRAY:
            return _empty_array
        if name == 'bytes' and module in ('builtins', '__builtin__'):
            return _no_bytes
        if (module, name) == ('_codecs', 'encode'):
            return _encode_latin1
        if (module, name) not in ALLOWED:
            raise UnsafePickleError(
                f"{self.path}: the pickle asks for '{module}.{name}', which is not an array type "
                'and is not loaded; nothing of the file was executed'
            )
        module = MOVED.get(module, module)
        if module.startswith(('numpy.core', 'numpy._core')):
            # NumPy 2 renamed numpy.core; the file may come from either side.
            core = 'numpy.core' if np.lib.NumpyVersion(np.__version__) < '2.0.0' else 'numpy._core'
            module = f'{core}.{module.rsplit(".", 1)[1]}'
        return getattr(importlib.import_module(module), name)


class _Unpickler(AllowList, pickle.Unpickler):
    pass


def _encode_latin1(text: str, encoding: str) -> bytes:
    """How pickles of protocol 2 carry bytes; no other codec is wanted."""
    if encoding not in ('latin1', 'latin-1'):
        raise UnsafePickleError(f'the pickle asks for the codec {encoding!r}, expected latin1')
    return text.encode('latin1')


def check_unfolded(value: Any) -> Any:
    """The value, unless lists that hold each other many times over make it endless.

    Raises:
        ValueError: they do: a few bytes can stand for any number of values.
        RecursionError: something holds itself.
    """
    sizes: dict[int, int] = {}

    def size(part: Any) -> int:
        if isinstance(part, (list, tuple)):
            inner: Any = part
        elif isinstance(part, dict):
            inner = part.values()
        else:
            return 1
        if id(part) not in sizes:
            sizes[id(part)] = 1 + sum(map(size, inner))
        return sizes[id(part)]

    if size(value) > _MOST_VALUES:
        raise ValueError(f'its lists unfold to more than {_MOST_VALUES} values')
    return value


def _no_bytes() -> bytes:
    """How pickles of protocol 2 carry none at all; with a number it would make room for so many."""
    return b''


def _without_chumpy(value: Any) -> Any:
    if isinstance(value, ChumpyArray):
        return value.array()
    if isinstance(value, dict):
        return {key: _without_chumpy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_without_chumpy(item) for item in value)
    return value
