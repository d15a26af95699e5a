"""An unpickler that describes what a pickle would build, without building it.

A pickle is a program that calls functions by name. The unpickler runs this program with inert
classes in place of everything it names: each call becomes a :class:`Node` that keeps the name, the
arguments and the state. Nothing is imported, no code of the file runs, and memory is allocated
only for data that the file contains. :mod:`mmjrr.io.pickles` builds arrays from the nodes.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection
from typing import Any, BinaryIO, ClassVar

from mmjrr.errors import DataError

#: Module and name of a class or function.
GlobalName = tuple[str, str]
#: The largest number of different names that one pickle may use.
_MAX_NAMES = 1000


class UnsafePickleError(DataError):
    """An error for a file that names a class or function not known to be harmless."""


class Node:
    """A call that a pickle requests, and the later changes to the object that the call returns.

    Attributes:
        name: Module and name of the class or function.
        args: Arguments of the call.
        state: The state that the pickle passes to the object's ``__setstate__``, or None.
        items: Values that the pickle appends to the object.
        pairs: Keys and values that the pickle sets on the object.
    """

    __slots__ = ('args', 'items', 'pairs', 'state')
    name: ClassVar[GlobalName] = ('', '')
    args: tuple[Any, ...]
    state: Any
    items: list[Any]
    pairs: list[tuple[Any, Any]]

    def __new__(cls, *args: Any) -> Node:
        """Create a node from the arguments of the pickle's call."""
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
        """Store a value that the pickle appends."""
        self.items.append(value)

    def extend(self, values: Any) -> None:
        """Store values that the pickle appends."""
        self.items.extend(values)

    add = append


class StorageReference:
    """A persistent id: the reference to a tensor's storage elsewhere in the file.

    Args:
        description: The persistent id, as the pickle holds it.
    """

    __slots__ = ('description',)

    def __init__(self, description: Any) -> None:
        self.description = description


# The standard library's unpickler in Python. The one in C allocates memory according to numbers in
# the file (a memo index of 2**31 takes 34 GB) and cannot pause for the raw arrays that joblib puts
# between instructions.
_Unpickler: Any = pickle._Unpickler


class DescriptionUnpickler(_Unpickler):
    """An unpickler that builds :class:`Node` objects in place of everything the pickle names.

    Args:
        file: The file to read, from its position on.
        known: Names that the pickle may use. Any other raises :class:`UnsafePickleError`.
        after_state: A function that is called with a node whenever its state is set, and that
            returns the node's replacement. It reads the raw arrays of joblib.
        skip_unknown: Whether to accept names that are not in ``known``. Their nodes are as inert
            as all others.
    """

    dispatch = dict(_Unpickler.dispatch)

    def __init__(
        self,
        file: BinaryIO,
        known: Collection[GlobalName],
        after_state: Callable[[Node], Any] | None = None,
        skip_unknown: bool = False,
    ) -> None:
        super().__init__(file, encoding='latin1')  # Python 2's pickles of arrays need it
        self.known = known
        self.after_state = after_state
        self.skip_unknown = skip_unknown
        #: References to storages, in the order in which the pickle makes them.
        self.references: list[StorageReference] = []
        self._classes: dict[GlobalName, type[Node]] = {}

    def find_class(self, module: str, name: str) -> type[Node]:
        """Return an inert class for a name that the pickle uses.

        Raises:
            UnsafePickleError: The name is not known.
            DataError: The pickle uses too many names.
        """
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
        """Refuse names by number: their meaning depends on the process that reads.

        Raises:
            UnsafePickleError: Always.
        """
        raise UnsafePickleError(f'the pickle uses the extension code {code}')

    def load_bytearray8(self) -> None:
        """Read a bytearray's data before allocating it; the base class allocates it first."""
        length = int.from_bytes(self.read(8), 'little')
        self.append(bytearray(_exactly(self.read, length)))

    def load_build(self) -> None:
        """Set an object's state, then call ``after_state``."""
        super().load_build()
        if self.after_state is not None and isinstance(self.stack[-1], Node):
            self.stack[-1] = self.after_state(self.stack[-1])

    def load_reduce(self) -> None:
        """Make the node of a call; with ``skip_unknown``, a node itself can be called in turn."""
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
