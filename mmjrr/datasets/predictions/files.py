"""Files of results, of whatever format, as dicts, lists and arrays. Nothing in them is run."""

from __future__ import annotations

import collections
import importlib
import io
import math
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch

from mmjrr.errors import DataError
from mmjrr.io import (
    MOST_EXPANSION,
    LimitedReader,
    read_json,
    read_npz_with_objects,
)
from mmjrr.io.pickles import (
    AllowList,
    UnsafePickleError,
    check_unfolded,
    load_pickle,
)

#: How files begin that are compressed; joblib compresses with any of these.
_COMPRESSIONS = {b'\x1f\x8b': 'gzip', b'BZh': 'bz2', b'\xfd7zXZ': 'lzma', b'\x5d\x00': 'lzma'}
_ZLIB = b'\x78'
_LZ4 = b'\x04\x22\x4d\x18'
#: How ``torch.save`` began before it wrote zip files.
_OLD_TORCH = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
_HOW_TO_CONVERT = (
    'If you trust it, load it where it was made, and write what counts with '
    "numpy.savez('results.npz', imgname=..., pose=..., betas=...)"
)


def load_results(path: str | Path) -> Any:
    """What a file holds: npz, pickle (of joblib or MMEngine too), JSON or PyTorch.

    The format is told from the content. Tensors come back as arrays.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is broken, of another format, or asks for code to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    with open(path, 'rb') as file:
        start = file.read(len(_OLD_TORCH))
    try:
        if start.startswith(b'PK'):
            with zipfile.ZipFile(path) as archive:
                members = archive.namelist()
            if members and all(name.endswith('.npy') for name in members):
                return _load_npz(path)
            return _load_torch(path)
        if start == _OLD_TORCH:
            return _load_torch(path)
        if path.suffix == '.json' or start.lstrip()[:1] in (b'{', b'['):
            return read_json(path)
        return _load_pickle(path, start)
    except UnsafePickleError as error:
        raise DataError(f'{error}. {_HOW_TO_CONVERT}') from error
    except DataError:
        raise
    except Exception as error:  # a broken file can bring up nearly anything
        raise DataError(f'{path}: not readable ({type(error).__name__}: {error})') from error


# -- npz -----------------------------------------------------------------------------------------


def _load_npz(path: Path) -> dict[str, Any]:
    """All members; dicts and lists that were saved as arrays of objects are taken out of them."""

    def read(where: str, file: Any) -> Any:
        return load_pickle(Path(where), file=cast(BinaryIO, file), also=_FURTHER)

    return read_npz_with_objects(path, read)


# -- PyTorch -------------------------------------------------------------------------------------


def _load_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():  # of PyTorch about its own storages
            warnings.simplefilter('ignore')
            content = torch.load(path, map_location='cpu', weights_only=True)
            return _without_tensors(check_unfolded(content))
    except (pickle.UnpicklingError, RuntimeError) as error:
        named = re.search(r'Unsupported [^\n]*', str(error))
        raise DataError(
            f'{path}: PyTorch does not load it with weights_only=True, which takes tensors and '
            f'plain values only{f" ({named.group()})" if named else ""}. {_HOW_TO_CONVERT}'
        ) from error


def _without_tensors(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return _array(value)
    if isinstance(value, dict):
        return {key: _without_tensors(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_tensors(item) for item in value]
    return value


def _array(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


# -- pickles -------------------------------------------------------------------------------------


def _load_pickle(path: Path, start: bytes) -> Any:
    if start.startswith(_LZ4):
        raise DataError(f'{path}: compressed with LZ4, which is not read. {_HOW_TO_CONVERT}')

    def load(**how: Any) -> Any:
        with _opened(path, start) as file:
            return load_pickle(path, file=file, **how)

    try:
        return load(also=_FURTHER)
    except _FromJoblib:
        return load(also={**_FURTHER, _JOBLIB: _JoblibArray}, unpickler=_JoblibUnpickler)


def _opened(path: Path, start: bytes) -> Any:
    """The file, decompressed; the modules that do so are not in every Python."""
    most = path.stat().st_size * MOST_EXPANSION
    if start.startswith(_ZLIB):
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(path.read_bytes(), most)
        if not unpacker.eof:
            raise EOFError('the compressed data end too early, or unpack to too much')
        return io.BytesIO(data)
    for magic, module in _COMPRESSIONS.items():
        if start.startswith(magic):
            file = importlib.import_module(module).open(path)
            return LimitedReader(file, most, str(path))
    return open(path, 'rb')


class _FromJoblib(UnsafePickleError):
    """joblib wrote it: raw arrays lie between the pickle's instructions."""


_JOBLIB = ('joblib.numpy_pickle', 'NumpyArrayWrapper')


class _JoblibArray:
    """What joblib puts where an array belongs, whose bytes come next in the file.

    State: ``shape``, ``dtype``, ``order`` ('C' or 'F'), and, in files of joblib 1.2 and later that
    are not compressed, ``numpy_array_alignment_bytes``, which says that a byte with the length of
    the padding, and the padding, go before the array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    order: str
    numpy_array_alignment_bytes: int | None = None

    def read(self, file: BinaryIO, path: Path) -> Any:
        if self.dtype.hasobject:
            return load_pickle(path, file=file, also=_FURTHER)
        if self.numpy_array_alignment_bytes is not None:
            file.read(file.read(1)[0])
        size = math.prod(self.shape) * self.dtype.itemsize
        data = bytearray(file.read(size) if size >= 0 else b'')
        if len(data) != size:
            raise EOFError(f'an array of {size} bytes ends after {len(data)}')
        order = 'F' if self.order == 'F' else 'C'
        return np.frombuffer(data, dtype=self.dtype).reshape(self.shape, order=order)  # type: ignore


#: Python's unpickler in Python, which can stop for the arrays in between.
_PythonUnpickler: Any = pickle._Unpickler  # type: ignore[attr-defined]


class _JoblibUnpickler(AllowList, _PythonUnpickler):
    dispatch = dict(_PythonUnpickler.dispatch)

    def __init__(self, file: BinaryIO, **arguments: Any) -> None:
        super().__init__(file, **arguments)
        self.source = file

    def load_build(self) -> None:
        super().load_build()
        if isinstance(self.stack[-1], _JoblibArray):
            self.stack[-1] = self.stack[-1].read(self.source, self.path)

    dispatch[pickle.BUILD[0]] = load_build


class _JoblibFound:
    def __new__(cls, *_: Any) -> Any:
        raise _FromJoblib('joblib')


#: Storages of tensors by the names of their types.
_STORAGES = {
    'FloatStorage': torch.float32,
    'DoubleStorage': torch.float64,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'ShortStorage': torch.int16,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
}


def _storage(data: bytes) -> torch.Tensor:
    """The flat tensor in what ``pickle`` writes for a storage: PyTorch's old file, in bytes.

    Four pickles (magic number, version, machine, the storage's description), a list of keys, and
    for the one key the number of elements, as 8 bytes, and the elements.
    """
    if not isinstance(data, bytes) or not data.startswith(_OLD_TORCH):
        raise UnsafePickleError('a tensor in the pickle is not stored as PyTorch does')
    file = io.BytesIO(data)
    version, machine = [_StorageUnpickler(file).load() for _ in range(3)][1:]
    if version != 1001 or machine.get('little_endian') is not True:
        raise ValueError(f'a tensor of PyTorch file version {version}, written on {machine}')
    kind, dtype, *_ = _StorageUnpickler(file).load()
    keys = _StorageUnpickler(file).load()
    if kind != 'storage' or len(keys) != 1:
        raise ValueError(f'expected a tensor with one storage, found {kind!r} with {len(keys)}')
    (count,) = struct.unpack('<q', file.read(8))
    flat = torch.empty(0, dtype=dtype)
    if count:
        flat = torch.frombuffer(bytearray(file.read()), dtype=dtype, count=count)
    return flat


class _StorageUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module != 'torch' or name not in _STORAGES:
            raise UnsafePickleError(f"a tensor in the pickle asks for '{module}.{name}'")
        return _STORAGES[name]

    def persistent_load(self, description: Any) -> Any:
        return description


def _tensor(storage: torch.Tensor, offset: int, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """PyTorch refuses sizes that reach beyond the storage."""
    return _array(torch.as_strided(storage, tuple(size), tuple(stride), offset).clone())


#: What results need beyond what :func:`load_pickle` allows.
_FURTHER: dict[tuple[str, str], Any] = {
    ('torch._utils', '_rebuild_tensor_v2'): _tensor,
    ('torch._utils', '_rebuild_parameter'): lambda data, *_: data,
    ('torch.storage', '_load_from_bytes'): _storage,
    ('torch', 'Size'): tuple,
    ('collections', 'defaultdict'): collections.defaultdict,
    ('builtins', 'dict'): dict,
    ('__builtin__', 'dict'): dict,
    ('builtins', 'list'): list,
    ('builtins', 'bytearray'): bytearray,
    ('numpy', 'bool_'): np.bool_,
    _JOBLIB: _JoblibFound,
}
