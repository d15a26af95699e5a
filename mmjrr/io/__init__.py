"""Reading what comes from strangers and writing what is ours.

Readers run nothing that a file holds, believe no number in it, and raise
:class:`~mmjrr.errors.DataError` for everything that is wrong with it.
"""

from mmjrr.io.arrays import as_text
from mmjrr.io.atomic import atomic_write, remove_temporary_files
from mmjrr.io.checksums import sha256
from mmjrr.io.json_files import read_json, read_note
from mmjrr.io.limits import MOST_EXPANSION, LimitedReader
from mmjrr.io.npy import read_npy
from mmjrr.io.npz import read_npz, read_npz_with_objects
from mmjrr.io.pickles import AllowList, UnsafePickleError, check_unfolded, load_pickle
from mmjrr.io.provenance import versions

__all__ = [
    'MOST_EXPANSION',
    'AllowList',
    'LimitedReader',
    'UnsafePickleError',
    'as_text',
    'atomic_write',
    'check_unfolded',
    'load_pickle',
    'read_json',
    'read_note',
    'read_npy',
    'read_npz',
    'read_npz_with_objects',
    'remove_temporary_files',
    'sha256',
    'versions',
]
