"""A pickle's instructions, read into a plain description of what they would build.

A pickle is a program: it names functions and has them called. The reader here runs that program
with inert classes in place of everything it names. A call becomes a :class:`Node` that keeps the
name, the arguments and the state. Nothing is imported, nothing of the file is executed, and
nothing is allocated that is not in the file. :mod:`mmjrr.io.pickles` builds arrays from nodes.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection
from typing import Any, BinaryIO, ClassVar

from mmjrr.errors import DataError

#: Module and name of a class or function.
GlobalName = tuple[str, str]
#: Different names that one pickle may use.
_MAX_NAMES = 1000


class UnsafePickleError(DataError):
    """A file asks for a class or function that is not known to be harmless."""


class Node:
    """A call that a pickle asks for: what is called, with what, and what is added later.

    Attributes:
        name: module and name of the class or function.
        args: arguments of the call.
        state: what the pickle sets on the object afterwards (``__setstate__``), or None.
        items: what the pickle appends to the object.
        pairs: keys and values that the pickle sets on the object.
    """

    __slots__ = ('args', 'items', 'pairs', 'state')
    name: ClassVar[GlobalName] = ('', '')
    args: tuple[Any, ...]
    state: Any
    items: list[Any]
    pairs: list[tuple[Any, Any]]

    def __new__(cls, *args: Any) -> Node:
        """Make a node of the arguments that a pickle gives."""
        node = object.__new__(cls)
        node.args, node.state, node.items, node.pairs = args, None, [], []
        return node

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.pairs.append((key, value))

    def append(self, value: Any) -> None:
        """Keep a value that the pickle appends."""
        self.items.append(value)

    def extend(self, values: Any) -> None:
        """Keep values that the pickle appends."""
        self.items.extend(values)

    add = append


class StorageReference:
    """A tensor's storage, which lies elsewhere in the file (a persistent id)."""

    __slots__ = ('description',)

    def __init__(self, description: Any) -> None:
        self.description = description


# The interpreter's unpickler in Python. The one in C allocates by numbers in the file (a memo
# index of 2**31 takes 34 GB) and cannot stop for the raw arrays that joblib puts between
# instructions.
_Unpickler: Any = pickle._Unpickler  # type: ignore[attr-defined]


class DescriptionUnpickler(_Unpickler):
    """An unpickler that builds :class:`Node` objects in place of everything the pickle names.

    Args:
        file: where to read from, at its position.
        known: names that may be used. Any other raises :class:`UnsafePickleError`.
        after_state: called with a node whenever its state is set; returns what takes the node's
            place. joblib's raw arrays are read there.
        skip_unknown: accept names that are not known. Their nodes are inert as all others.
    """

    dispatch = dict(_Unpickler.dispatch)

    def __init__(
        self,
        file: BinaryIO,
        known: Collection[GlobalName],
        after_state: Callable[[Node], Any] | None = None,
        skip_unknown: bool = False,
    ) -> None:
        super().__init__(file, encoding='latin1')  # as Python 2's pickles of arrays need
        self.known = known
        self.after_state = after_state
        self.skip_unknown = skip_unknown
        #: Storages that the pickle refers to, in order.
        self.references: list[StorageReference] = []
        self._classes: dict[GlobalName, type[Node]] = {}

    def find_class(self, module: str, name: str) -> type[Node]:
        """Return an inert class for a name that the pickle uses."""
        key = (module, name)
        if key not in self.known and not self.skip_unknown:
            raise UnsafePickleError(
                f"the pickle asks for '{module}.{name}', which is not an array type and is not "
                'loaded; nothing of the file was executed'
            )
        if key not in self._classes:
            if len(self._classes) >= _MAX_NAMES:
                raise DataError(f'the pickle uses more than {_MAX_NAMES} names')
            self._classes[key] = type('Node', (Node,), {'name': key, '__slots__': ()})
        return self._classes[key]

    def persistent_load(self, pid: Any) -> StorageReference:
        """Return a reference to a tensor's storage."""
        self.references.append(StorageReference(pid))
        return self.references[-1]

    def get_extension(self, code: int) -> Any:
        """Refuse names by number, whose meaning depends on the process that reads."""
        raise UnsafePickleError(f'the pickle uses the extension code {code}')

    def load_bytearray8(self) -> None:
        """Read a bytearray. The base class allocates its length before reading it."""
        length = int.from_bytes(self.read(8), 'little')
        self.append(bytearray(_exactly(self.read, length)))

    def load_build(self) -> None:
        """Set an object's state."""
        super().load_build()
        if self.after_state is not None and isinstance(self.stack[-1], Node):
            self.stack[-1] = self.after_state(self.stack[-1])

    def load_reduce(self) -> None:
        """Call what the pickle names. What an unknown call returns can be called in turn."""
        if self.skip_unknown and isinstance(self.stack[-2], Node):
            args = self.stack.pop()
            self.stack[-1] = type(self.stack[-1])(*args)
        else:
            super().load_reduce()

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.BUILD[0]] = load_build


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    data = read(size)
    if len(data) != size:
        raise EOFError(f'{size} bytes end after {len(data)}')
    return data
