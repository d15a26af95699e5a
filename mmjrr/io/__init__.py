"""Readers of untrusted files (npz, npy, JSON, pickles, checkpoints), and atomic writes.

Every reader follows the same rules:

- It raises ``FileNotFoundError`` if the file does not exist, and
  :class:`~mmjrr.errors.DataError` for any defect of its content. The message names the file and,
  where possible, the field.
- It executes nothing that the file holds.
- It allocates memory in proportion to the file (:mod:`mmjrr.io.limits`), whatever numbers the
  file holds.
"""

from mmjrr.io.arrays import as_text, check_array
from mmjrr.io.atomic import atomic_write, remove_temporary_files
from mmjrr.io.checkpoints import WEIGHT_KEYS, read_checkpoint, weights_of
from mmjrr.io.input_files import FilePath, InputFile, open_input, sha256
from mmjrr.io.json_files import read_json, read_note, write_json
from mmjrr.io.limits import LimitedReader, unpacked_limit
from mmjrr.io.meshes import read_mesh_faces, read_mesh_vertices
from mmjrr.io.npy import read_npy
from mmjrr.io.npz import read_npz
from mmjrr.io.pickle_stream import UnsafePickleError
from mmjrr.io.pickles import Skipped, read_pickle
from mmjrr.io.provenance import versions
from mmjrr.io.torch_archives import is_torch_file, read_torch

__all__ = [
    'WEIGHT_KEYS',
    'FilePath',
    'InputFile',
    'LimitedReader',
    'Skipped',
    'UnsafePickleError',
    'as_text',
    'atomic_write',
    'check_array',
    'is_torch_file',
    'open_input',
    'read_checkpoint',
    'read_json',
    'read_mesh_faces',
    'read_mesh_vertices',
    'read_note',
    'read_npy',
    'read_npz',
    'read_pickle',
    'read_torch',
    'remove_temporary_files',
    'sha256',
    'unpacked_limit',
    'versions',
    'weights_of',
    'write_json',
]
