"""A reader of pickles that builds arrays and plain values and runs no code of the file.

:mod:`mmjrr.io.pickle_stream` reads a file into a description. :class:`Builder` turns the
description into values of these types, under the names that old and new versions of the libraries
write:

- NumPy arrays and scalars of numbers, booleans and text, and arrays of objects whose elements have
  a type of this list;
- SciPy sparse matrices (CSC, CSR, COO);
- chumpy's arrays, as NumPy arrays (chumpy does not install on current Python);
- PyTorch tensors and parameters, as tensors or as NumPy arrays;
- dicts, lists, tuples, sets and their ordered and defaulting variants;
- :class:`Skipped` for harmless metadata: paths, dates, devices, dtypes.

Every other name raises :class:`UnsafePickleError`.
"""

from __future__ import annotations

import io
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, BinaryIO

import numpy as np

from mmjrr.array_types import Array
from mmjrr.errors import DataError
from mmjrr.io.compression import open_decompressed
from mmjrr.io.input_files import FilePath, InputFile, open_input
from mmjrr.io.limits import check_shape, check_unpacked_size, unpacked_limit
from mmjrr.io.own_errors import own_errors
from mmjrr.io.pickle_stream import (
    DescriptionUnpickler,
    GlobalName,
    Node,
    StorageReference,
    UnsafePickleError,
)
from mmjrr.io.sparse import sparse_matrix
from mmjrr.io.tensors import Storage, Tensor, legacy_reference, read_legacy_stream

#: A function that builds an object from the built arguments and the built state of its node.
NodeBuilder = Callable[[tuple[Any, ...], Any], Any]


@dataclass(frozen=True)
class Skipped:
    """A placeholder for a class, a function or an object that the reader does not build.

    Args:
        name: Module and name of the class or function, as in the file.
    """

    name: GlobalName

    def __repr__(self) -> str:
        return f'<{".".join(self.name)}, skipped>'


def read_pickle(
    path: FilePath,
    file: IO[bytes] | None = None,
    extra: Mapping[GlobalName, NodeBuilder] | None = None,
    size: int | None = None,
) -> Any:
    """Read a pickle of plain values, arrays, sparse matrices and tensors.

    The file may be compressed with gzip, bzip2, xz or zlib, or written by joblib. Tensors and
    chumpy objects come back as arrays, ``torch.Size`` as a tuple.

    Args:
        path: The file; together with ``file``, only its name in messages.
        file: A binary file, read from its position on. Default: open ``path``.
        extra: Builders of further names.
        size: Bytes that ``file`` takes on the disk, for the limits on memory. Default: the bytes
            from the position of ``file`` on.

    Raises:
        FileNotFoundError: The file does not exist.
        UnsafePickleError: The file names a class or function that is not known to be harmless.
        DataError: The file is truncated, not a pickle, or would take too much memory.
    """
    if file is None or isinstance(path, InputFile):
        with open_input(path) as source:
            return read_pickle(source.path, source.stream, extra, source.size)
    with own_errors(str(path), 'a pickle'):
        data = open_decompressed(str(path), file, size)
        limit = unpacked_limit(len(data.getbuffer()) if size is None else size)
        builder = Builder(str(path), limit, extra=extra)
        return builder.build(builder.unpickler(data).load())


class Builder:
    """A builder of values from the description of one pickle.

    Args:
        where: The file, for messages.
        limit: Bytes that all values may take; each value counts once per reference to it.
        storages: A function that returns the storage of a persistent id. Default: persistent ids
            are refused.
        extra: Builders of further names.
        as_torch: Whether to build tensors as ``torch.Tensor`` or as arrays (bfloat16 as float32).
        skip_unknown: Whether to build :class:`Skipped` for unknown names or to raise an error.
    """

    def __init__(
        self,
        where: str,
        limit: int,
        storages: Callable[[Any], Storage] | None = None,
        extra: Mapping[GlobalName, NodeBuilder] | None = None,
        as_torch: bool = False,
        skip_unknown: bool = False,
    ) -> None:
        self.where, self.limit = where, limit
        self.storages = storages
        self.extra = dict(extra or {})
        self.as_torch = as_torch
        self.skip_unknown = skip_unknown
        #: Names that were skipped because they are not known.
        self.skipped_names: set[str] = set()
        self._built: dict[int, Any] = {}
        self._in_progress: set[int] = set()
        self._described: list[Any] = []

    def unpickler(self, file: BinaryIO) -> DescriptionUnpickler:
        """Return an unpickler of ``file`` that knows the names that can be built."""

        def after_state(node: Node) -> Any:
            return self._joblib_array(node, file) if node.name in _JOBLIB else node

        buildable_names = _KNOWN | self.extra.keys()
        return DescriptionUnpickler(file, buildable_names, after_state, self.skip_unknown)

    def build(self, description: Any) -> Any:
        """Build the value of a description.

        Raises:
            UnsafePickleError: The description names something that is not known to be harmless.
            DataError: A part does not fit its name, contains itself, or the values take more bytes
                than the limit.
        """
        # `_built` is keyed by id(): keep the objects alive, so that no id is used again.
        self._described.append(description)
        value = self._value(description)
        self._check_unfolded(value)
        return value

    # -- values ------------------------------------------------------------------------------

    def _value(self, described: Any) -> Any:
        if isinstance(described, (str, bytes, int, float, complex, type(None))):
            return described
        key = id(described)
        if key not in self._built:
            if key in self._in_progress:
                raise DataError('a part of it holds itself')
            self._in_progress.add(key)
            self._built[key] = self._new_value(described)
            self._in_progress.discard(key)
        return self._built[key]

    def _new_value(self, described: Any) -> Any:
        kind = type(described)
        if kind is dict:
            return {self._value(k): self._value(v) for k, v in described.items()}
        if kind in (list, tuple, set, frozenset):
            return kind(map(self._value, described))
        if kind is bytearray:
            return bytes(described)
        if isinstance(described, Node):
            return self._node(described)
        if isinstance(described, StorageReference):
            if self.storages is None:
                raise UnsafePickleError('the pickle refers to data outside itself')
            return self.storages(described.description)
        if isinstance(described, type) and issubclass(described, Node):
            return self._skip(described.name)
        return described  # an array that _joblib_array has built

    def _skip(self, name: GlobalName) -> Skipped:
        if name not in _KNOWN and name not in self.extra:
            self.skipped_names.add('.'.join(name))
        return Skipped(name)

    def _node(self, node: Node) -> Any:
        name = node.name
        if name in _METADATA:
            return Skipped(name)
        if name in _ARRAYS:
            return self._array(node)
        if name not in self.extra and name not in _BUILDERS:
            return self._skip(name)
        args = tuple(map(self._value, node.args))
        state = self._value(node.state)
        if name in self.extra:
            return self.extra[name](args, state)
        value = _BUILDERS[name](self, args, state)
        for item in node.items:
            value.append(self._value(item))
        for key, item in node.pairs:
            value[self._value(key)] = self._value(item)
        return value

    # -- arrays ------------------------------------------------------------------------------

    def _array(self, node: Node) -> Array:
        """Build an array from ``numpy.core.multiarray._reconstruct`` and its state."""
        args = tuple(map(self._value, node.args))
        if not args or args[0] != Skipped(('numpy', 'ndarray')) or args[1:2] != ((0,),):
            raise DataError(f'an array begins with {args!r:.80}, expected none of its elements')
        if not isinstance(node.state, tuple) or len(node.state) not in (4, 5):
            raise DataError('an array has no contents')
        shape, dtype, fortran, data = map(self._value, node.state[-4:])
        return self.array(data, dtype, shape, 'F' if fortran else 'C')

    def array(self, data: Any, dtype: Any, shape: Any, order: str) -> Array:
        """Build an array of ``shape`` from its bytes, or from a list if its dtype is object.

        Raises:
            DataError: ``data`` does not have the length that ``shape`` and ``dtype`` require.
        """
        sizes = check_shape('an array', (shape,) if isinstance(shape, int) else shape)
        kind = self._dtype(dtype)
        count = math.prod(sizes)
        if kind.hasobject:
            if not isinstance(data, list) or len(data) != count:
                raise DataError(
                    f'an array of objects of shape {sizes}: found {type(data).__name__} in place '
                    'of a list of them'
                )
            elements = np.empty(count, dtype=object)
            elements[:] = data
            return elements.reshape(sizes, order=order)  # type: ignore[call-overload]
        content = _bytes(data)
        if len(content) != count * kind.itemsize:
            raise DataError(
                f'an array of {kind} and shape {sizes}: found {len(content)} bytes, expected '
                f'{count * kind.itemsize}'
            )
        if not count:
            return np.empty(sizes, kind)
        flat = np.frombuffer(bytearray(content), dtype=kind)  # writable
        if kind.kind == 'b':
            flat = flat.view(np.uint8) != 0
        return flat.reshape(sizes, order=order)  # type: ignore[call-overload]

    def scalar(self, dtype: Any, data: Any) -> Any:
        """Build a NumPy scalar from its bytes.

        Raises:
            DataError: ``data`` does not have the size of ``dtype``.
        """
        kind = self._dtype(dtype)
        content = _bytes(data)
        if kind.hasobject or len(content) != kind.itemsize or not content:
            raise DataError(f'a number of {kind}: found {len(content)} bytes')
        return np.frombuffer(content, dtype=kind)[0]

    def _dtype(self, value: Any) -> np.dtype[Any]:
        if not isinstance(value, np.dtype):
            raise DataError(f'found {value!r:.80} in place of a dtype')
        return value

    def _joblib_array(self, node: Node, file: BinaryIO) -> Any:
        """Read an array whose bytes follow in the file, as joblib writes them."""
        self._described.append(node)
        state = self._value(node.state)
        if node.name[1] == 'NDArrayWrapper' or not isinstance(state, dict):
            raise DataError('written by an old joblib, whose arrays are in files next to this one')
        shape, dtype = state.get('shape'), self._dtype(state.get('dtype'))
        sizes = check_shape('an array', shape if isinstance(shape, tuple) else (shape,))
        if dtype.hasobject:
            return self.build(self.unpickler(file).load())
        if state.get('numpy_array_alignment_bytes') is not None:
            file.read(file.read(1)[0])
        data = file.read(math.prod(sizes) * dtype.itemsize)
        return self.array(data, dtype, sizes, 'F' if state.get('order') == 'F' else 'C')

    # -- tensors -----------------------------------------------------------------------------

    def tensor(self, storage: Any, offset: Any, shape: Any, stride: Any) -> Any:
        """Build a tensor that views a storage; offset and strides count elements.

        Raises:
            DataError: The tensor reaches outside the storage, or takes more than the limit.
        """
        if not isinstance(storage, Storage):
            raise DataError(f'a tensor has {type(storage).__name__} in place of a storage')
        tensor = Tensor(storage, offset, check_shape('a tensor', shape), tuple(stride))
        check_unpacked_size('a tensor', tensor.nbytes, self.limit)
        return tensor.to_torch() if self.as_torch else tensor.to_numpy()

    # -- limits ------------------------------------------------------------------------------

    def _check_unfolded(self, value: Any) -> None:
        """Refuse values that would take more than the limit if each reference were a copy.

        Lists that contain each other many times over, and arrays with many references, cost
        nothing in the file but exhaust memory as soon as someone copies or joins them.
        """
        sizes: dict[int, int] = {}

        def size(part: Any) -> int:
            if isinstance(part, (int, float)):
                return 8
            if isinstance(part, (str, bytes)):
                return len(part)
            if isinstance(part, dict):
                children: Any = [*part.keys(), *part.values()]
            elif isinstance(part, (list, tuple, set, frozenset)):
                children = part
            elif isinstance(part, np.ndarray):
                if part.dtype != object:
                    return part.nbytes
                children = part.ravel().tolist()
            else:
                return _tensor_bytes(part)
            if id(part) not in sizes:
                sizes[id(part)] = 8 * len(children) + sum(map(size, children))
            return sizes[id(part)]

        check_unpacked_size('its values', size(value), self.limit)


def _tensor_bytes(value: Any) -> int:
    size = getattr(value, 'nbytes', 8)
    return size if isinstance(size, int) else 8


def _bytes(data: Any) -> bytes:
    if isinstance(data, str):  # Python 2 pickles bytes as str
        return data.encode('latin1')
    if not isinstance(data, (bytes, bytearray)):
        raise DataError(f'found {type(data).__name__} in place of the bytes of an array')
    return bytes(data)


# -- dtypes ----------------------------------------------------------------------------------

#: Codes of the dtypes that are read, apart from text: U or S, followed by a length.
_CODES = frozenset('b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16 O O8'.split())
_MAX_TEXT = 1 << 20
_CLASSES = {
    'BoolDType': 'b1', 'Int8DType': 'i1', 'Int16DType': 'i2', 'Int32DType': 'i4',
    'Int64DType': 'i8', 'UInt8DType': 'u1', 'UInt16DType': 'u2', 'UInt32DType': 'u4',
    'UInt64DType': 'u8', 'Float16DType': 'f2', 'Float32DType': 'f4', 'Float64DType': 'f8',
    'Complex64DType': 'c8', 'Complex128DType': 'c16',
}  # fmt: skip


def _build_dtype(builder: Builder, args: tuple[Any, ...], state: Any) -> np.dtype[Any]:
    """Build a dtype from its code and byte order, ignoring everything else in its state.

    The state never reaches ``numpy.dtype.__setstate__``: flags in it can make NumPy interpret
    bytes of the file as pointers.
    """
    code = args[0] if args else None
    if isinstance(code, bytes):
        code = code.decode('latin1')
    if not isinstance(code, str):
        raise DataError(f'found the dtype {code!r:.40}, expected a code such as f8')
    order, name = ('', code) if code[:1] not in '<>|=' else (code[0], code[1:])
    is_text = name[:1] in ('U', 'S') and name[1:].isdecimal() and int(name[1:]) <= _MAX_TEXT
    if name not in _CODES and not is_text:
        raise DataError(f'found an array of dtype {code!r:.40}, expected numbers or text')
    if isinstance(state, tuple) and len(state) > 4:
        if any(part is not None for part in state[2:5]):
            raise DataError('found an array with a structured dtype, expected numbers or text')
        if state[1] in ('<', '>', '='):
            order = state[1]
    return np.dtype(order + name)


def _build_dtype_class(code: str, *_: Any) -> np.dtype[Any]:
    return np.dtype(code)


# -- names -----------------------------------------------------------------------------------


def _sparse(kind: str) -> Callable[[Builder, tuple[Any, ...], Any], Any]:
    def build(builder: Builder, args: tuple[Any, ...], state: Any) -> Any:
        if not isinstance(state, dict):
            raise DataError('a sparse matrix has no contents')
        fields = {name: state[name] for name in ('data', 'indices', 'indptr') if name in state}
        coordinates = state.get('coords')
        if isinstance(coordinates, tuple) and len(coordinates) == 2:
            fields['row'], fields['col'] = coordinates
        else:
            fields.update({name: state[name] for name in ('row', 'col') if name in state})
        fields['shape'] = state.get('_shape', state.get('shape'))
        return sparse_matrix('its', kind, fields)

    return build


def _sparse_tensor(builder: Builder, args: tuple[Any, ...], state: Any) -> Any:
    """Build the matrix of a sparse PyTorch tensor, as ``torch._utils._rebuild_sparse_tensor``."""
    layout, contents = args[0], args[1]
    kind = layout.removeprefix('torch.sparse_') if isinstance(layout, str) else ''
    if kind not in ('coo', 'csr', 'csc') or not isinstance(contents, tuple):
        raise DataError(f'a sparse tensor has the layout {layout!r:.40}, expected coo, csr or csc')
    if kind == 'coo':
        coordinates, data, shape = contents[:3]
        if np.ndim(coordinates) != 2 or len(coordinates) != 2:
            raise DataError('a sparse tensor with other than two axes, which is not read')
        fields = dict(row=coordinates[0], col=coordinates[1], data=data, shape=shape)
    else:
        starts, indices, data, shape = contents[:4]
        fields = dict(indptr=starts, indices=indices, data=data, shape=shape)
    return sparse_matrix('its', kind, fields)


def _chumpy(builder: Builder, args: tuple[Any, ...], state: Any) -> Array:
    """Return what chumpy's ``.r`` returns: the array ``x``, or the selection ``a[idxs]``."""
    if isinstance(state, dict) and 'x' in state:
        return _plain_array(state['x'])
    if isinstance(state, dict) and {'a', 'idxs'} <= set(state):
        selected = _plain_array(state['a']).ravel()[_plain_array(state['idxs'])]
        shape = check_shape('a chumpy object', state.get('preferred_shape', selected.shape))
        return selected.reshape(shape)
    keys = sorted(map(str, state)) if isinstance(state, dict) else state
    raise DataError(f'a chumpy object without an array; it holds {keys!r:.200}')


def _plain_array(value: Any) -> Array:
    if not isinstance(value, (np.ndarray, np.generic, int, float)):
        raise DataError(f'a chumpy object around a {type(value).__name__}, expected an array')
    return np.asarray(value)


def _reconstructed(builder: Builder, args: tuple[Any, ...], state: Any) -> Any:
    """Build an object of protocols 0 and 1, which store its class, a base class and a state."""
    if not args or not isinstance(args[0], Skipped):
        raise DataError('an object without a class')
    name = args[0].name
    if name not in _BUILDERS:
        raise UnsafePickleError(f"the pickle makes an object of '{'.'.join(name)}'")
    return _BUILDERS[name](builder, (), state)


def _encoded(builder: Builder, args: tuple[Any, ...], state: Any) -> bytes:
    """Return bytes, which pickles of protocol 2 store as Latin-1 text."""
    if len(args) < 2 or not isinstance(args[0], str) or args[1] not in ('latin1', 'latin-1'):
        raise UnsafePickleError(f'the pickle asks for the codec {args[1:]!r:.80}, expected latin1')
    return args[0].encode('latin1')


def _made_bytes(builder: Builder, args: tuple[Any, ...], state: Any) -> bytes:
    """Build bytes from nothing, bytes or text; refuse a number, which would be a length."""
    if not args:
        return b''
    if isinstance(args[0], (bytes, bytearray)):
        return bytes(args[0])
    if isinstance(args[0], str) and args[1:2] in (('latin1',), ('latin-1',)):
        return args[0].encode('latin1')
    raise DataError(f'the pickle makes bytes from {args!r:.80}')


def _container(kind: Callable[..., Any]) -> Callable[[Builder, tuple[Any, ...], Any], Any]:
    def build(builder: Builder, args: tuple[Any, ...], state: Any) -> Any:
        if args and not isinstance(args[0], (list, tuple, dict, set, frozenset)):
            raise DataError(f'the pickle makes a {kind.__name__} from {args!r:.80}')
        return kind(*args[:1])

    return build


def _tensor_v2(builder: Builder, args: tuple[Any, ...], state: Any) -> Any:
    return builder.tensor(*args[:4])


def _storage_bytes(builder: Builder, args: tuple[Any, ...], state: Any) -> Storage:
    """Read a storage that a plain pickle of a tensor holds as the bytes of a torch.save file."""
    described, storages = read_legacy_stream(io.BytesIO(_bytes(args[0])), builder.unpickler)
    if not isinstance(described, StorageReference):
        raise DataError('a tensor is not stored as PyTorch stores them')
    return storages[legacy_reference(described.description)[1]]


_ARRAYS = {('numpy.core.multiarray', '_reconstruct'), ('numpy._core.multiarray', '_reconstruct')}
_JOBLIB = {
    ('joblib.numpy_pickle', 'NumpyArrayWrapper'),
    ('joblib.numpy_pickle_compat', 'NDArrayWrapper'),
}
_STORAGE_TYPES = {
    (module, name)
    for module in ('torch', 'torch.cuda', 'torch.storage')
    for name in (
        'FloatStorage', 'DoubleStorage', 'HalfStorage', 'BFloat16Storage', 'LongStorage',
        'IntStorage', 'ShortStorage', 'CharStorage', 'ByteStorage', 'BoolStorage',
        'UntypedStorage', 'TypedStorage',
    )
}  # fmt: skip
_BUILDERS: dict[GlobalName, Callable[[Builder, tuple[Any, ...], Any], Any]] = {
    ('numpy', 'dtype'): _build_dtype,
    ('_codecs', 'encode'): _encoded,
    ('collections', 'OrderedDict'): _container(OrderedDict),
    ('collections', 'defaultdict'): lambda builder, args, state: {},
    ('collections', 'Counter'): _container(dict),
    ('torch', 'Size'): _container(tuple),
    ('torch.serialization', '_get_layout'): lambda builder, args, state: args[0],
    ('torch._utils', '_rebuild_sparse_tensor'): _sparse_tensor,
    ('torch._utils', '_rebuild_tensor'): _tensor_v2,
    ('torch._utils', '_rebuild_tensor_v2'): _tensor_v2,
    ('torch._utils', '_rebuild_parameter'): lambda builder, args, state: args[0],
    ('torch._utils', '_rebuild_parameter_with_state'): lambda builder, args, state: args[0],
    ('torch.storage', '_load_from_bytes'): _storage_bytes,
    ('chumpy', 'Ch'): _chumpy,
    ('chumpy.ch', 'Ch'): _chumpy,
    ('chumpy.reordering', 'Select'): _chumpy,
}
for _module in ('builtins', '__builtin__'):
    _BUILDERS.update(
        {
            (_module, 'bytes'): _made_bytes,
            (_module, 'bytearray'): _made_bytes,
            (_module, 'dict'): _container(dict),
            (_module, 'list'): _container(list),
            (_module, 'tuple'): _container(tuple),
            (_module, 'set'): _container(set),
            (_module, 'frozenset'): _container(frozenset),
        }
    )
for _module in ('numpy.core', 'numpy._core'):
    _BUILDERS[f'{_module}.multiarray', 'scalar'] = lambda builder, args, state: builder.scalar(
        *args[:2]
    )
    _BUILDERS[f'{_module}.numeric', '_frombuffer'] = lambda builder, args, state: builder.array(
        *args[:4]
    )
for _module in ('copy_reg', 'copyreg'):
    _BUILDERS[_module, '_reconstructor'] = _reconstructed
for _kind in ('csc', 'csr', 'coo'):
    for _module in (f'scipy.sparse.{_kind}', f'scipy.sparse._{_kind}'):
        for _suffix in ('matrix', 'array'):
            _BUILDERS[_module, f'{_kind}_{_suffix}'] = _sparse(_kind)
for _name, _code in _CLASSES.items():
    _BUILDERS['numpy.dtypes', _name] = partial(_build_dtype_class, _code)
_METADATA = {
    ('datetime', name) for name in ('datetime', 'date', 'time', 'timedelta', 'timezone')
} | {
    *((module, name) for module in ('pathlib', 'pathlib._local') for name in (
        'Path', 'PosixPath', 'PurePath', 'PurePosixPath', 'PureWindowsPath', 'WindowsPath',
    )),
    *(('torch', name) for name in (
        'device', 'dtype', 'float16', 'bfloat16', 'float32', 'float64', 'int8', 'int16', 'int32',
        'int64', 'uint8', 'bool', 'strided',
    )),
    *(('numpy', name) for name in (
        'bool_', 'float16', 'float32', 'float64', 'int8', 'int16', 'int32', 'int64', 'uint8',
        'uint16', 'uint32', 'uint64',
    )),
    ('torch.version', 'TorchVersion'),
    ('torch.torch_version', 'TorchVersion'),
    ('uuid', 'UUID'),
    ('decimal', 'Decimal'),
    ('builtins', 'slice'),
    ('builtins', 'range'),
    ('builtins', 'complex'),
    ('__builtin__', 'complex'),
}  # fmt: skip
_KNOWN: frozenset[GlobalName] = frozenset(
    {
        *_BUILDERS,
        *_ARRAYS,
        *_JOBLIB,
        *_STORAGE_TYPES,
        *_METADATA,
        ('numpy', 'ndarray'),
        ('builtins', 'object'),
        ('__builtin__', 'object'),
        ('builtins', 'int'),
        ('builtins', 'float'),
        ('builtins', 'str'),
        ('builtins', 'bool'),
    }
)
