"""Loops over batches that Numba compiles, split across threads, with a cache on disk.

Compiled loops are cached in ``$NUMBA_CACHE_DIR`` or else in ``mmjrr/numba`` in the user's cache
folder (``$XDG_CACHE_HOME`` or ``~/.cache``). They are never stored in the package, because pip
would leave its folder behind on uninstallation. If they cannot be stored or loaded, a warning says
why, and each process compiles its own loops. Importing this module imports Numba.
"""

from __future__ import annotations

import os
import tempfile
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from filelock import FileLock

#: Seconds to wait for another process that compiles.
_LOCK_TIMEOUT = 300.0
_OPTIONS: dict[str, Any] = dict(nogil=True, error_model='numpy')


class CompiledLoops:
    """The compiled loops of one source file.

    Numba's cache notices changes in a function's own file only, so loops must not use constants or
    compiled functions of other files.

    Args:
        file: The source file, ``__file__``.
        purpose: What the loops belong to, for messages.
    """

    def __init__(self, file: str, purpose: str) -> None:
        self._purpose = purpose
        self._functions: dict[str, Any] = {}
        self._options: dict[str, dict[str, Any]] = {}
        #: Names and kinds of arguments for which a function is compiled in this process.
        self._compiled_for: set[tuple[Any, ...]] = set()
        self._compiling = threading.Lock()
        self._cache_folder = self._choose_cache_folder(file)

    def compiled(
        self, function: Callable[..., Any], reorder_sums: bool = False
    ) -> Callable[..., Any]:
        """Decorate a function that Numba compiles at its first call, with the cache in its folder.

        Loops that :meth:`run` calls end with two arguments: the range of the batch to compute.

        Args:
            function: The function to compile.
            reorder_sums: Whether terms of sums may be added in another order and products fused
                with sums, so that vector instructions serve. Last digits then depend on the
                processor. Default: False.
        """
        options = dict(_OPTIONS)
        if reorder_sums:
            options['fastmath'] = {'reassoc', 'contract', 'nsz'}
        self._options[function.__name__] = options
        dispatcher = self._dispatcher(function)
        self._functions[function.__name__] = dispatcher
        return dispatcher

    def run(self, name: str, count: int, *arguments: Any) -> None:
        """Run a loop over ``count`` items, split across PyTorch's number of threads."""
        loop = self._ready(name, (*arguments, 0, count))
        parts = max(min(torch.get_num_threads(), count), 1)
        if parts == 1:
            loop(*arguments, 0, count)
            return
        cuts = [(count * i // parts, count * (i + 1) // parts) for i in range(parts)]
        with ThreadPoolExecutor(parts - 1) as pool:
            others = [pool.submit(loop, *arguments, *cut) for cut in cuts[1:]]
            loop(*arguments, *cuts[0])
            for other in others:
                other.result()

    def is_compiled(self) -> bool:
        """Return whether compiled loops of this version are stored on this machine."""
        return self._cache_folder is not None and any(self._cache_folder.rglob('*.nbc'))

    def _dispatcher(self, function: Callable[..., Any]) -> Any:
        options = self._options[function.__name__]
        if self._cache_folder is not None:
            folder_of_others = numba.config.CACHE_DIR
            numba.config.CACHE_DIR = str(self._cache_folder)
            try:
                dispatcher = numba.njit(cache=True, **options)(function)
            finally:
                numba.config.CACHE_DIR = folder_of_others
            if self._cache_folder in Path(dispatcher.stats.cache_path).parents:
                return dispatcher
            # Numba fell back to another folder, which may be the package's: do not cache.
        return numba.njit(**options)(function)

    def _choose_cache_folder(self, file: str) -> Path | None:
        """Return a writable folder for compiled loops; None if there is none, after a warning."""
        try:
            if numba.config.CACHE_DIR:
                parent = Path(numba.config.CACHE_DIR)
            else:
                user = os.environ.get('XDG_CACHE_HOME')
                parent = (Path(user) if user else Path.home() / '.cache') / 'mmjrr' / 'numba'
            # One folder per content of the file, so that versions of the loops are never mixed.
            folder = parent / sha256(Path(file).read_bytes()).hexdigest()[:16]
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
            self._warn(error)
            return None
        return folder

    def _warn(self, error: Exception) -> None:
        warnings.warn(
            f'the compiled loops of {self._purpose} cannot be stored or loaded '
            f'({type(error).__name__}: {error}); this process compiles its own, which takes some '
            'seconds. Set NUMBA_CACHE_DIR to a writable folder',
            RuntimeWarning,
            stacklevel=2,
        )

    def _ready(self, name: str, arguments: tuple[Any, ...]) -> Callable[..., None]:
        """Return a compiled function, compiling or loading it for arguments of these types first.

        Processes take turns: Numba numbers the cache files of a function's signatures without a
        lock, so two processes that compile for different dtypes would overwrite each other's files.
        """
        kinds = (name, *map(_kind_of, arguments))
        with self._compiling:
            if kinds not in self._compiled_for:
                types = tuple(numba.typeof(argument) for argument in arguments)
                if self._cache_folder is not None:
                    try:
                        with FileLock(self._cache_folder / 'lock', timeout=_LOCK_TIMEOUT):
                            self._functions[name].compile(types)
                    except Exception as error:  # a full disk, a broken file, no network locks
                        self._warn(error)
                        self._stop_caching()
                self._functions[name].compile(types)
                self._compiled_for.add(kinds)
        function: Callable[..., None] = self._functions[name]
        return function

    def _stop_caching(self) -> None:
        """Replace all compiled functions by ones that use no cache."""
        self._cache_folder = None
        self._compiled_for.clear()
        for name, dispatcher in self._functions.items():
            function = dispatcher.py_func
            compiled = numba.njit(**self._options[name])(function)
            self._functions[name] = function.__globals__[name] = compiled


def _kind_of(argument: Any) -> Any:
    """Return a key that determines Numba's type of an argument, without its slow look-up."""
    if type(argument) is np.ndarray:
        flags = argument.flags
        layout = flags.c_contiguous, flags.f_contiguous, flags.writeable, flags.aligned
        return argument.dtype, argument.ndim, layout
    return type(argument) if isinstance(argument, (int, float)) else numba.typeof(argument)
