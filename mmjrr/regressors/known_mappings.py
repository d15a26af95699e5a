"""Loading of the mappings between the meshes of known bodies."""

from __future__ import annotations

from pathlib import Path

from mmjrr.body_models.known_meshes import same_mesh
from mmjrr.errors import DataError
from mmjrr.regressors.mesh_mapping import MeshMapping
from mmjrr.regressors.zoo import KNOWN_MAPPINGS, KnownMapping, search_folders


def find_mapping(source: str, target: str) -> MeshMapping:
    """Load the known mapping between two meshes.

    Args:
        source: Name of the mesh whose vertices it takes.
        target: Name of the mesh whose vertices it computes.

    Raises:
        DataError: No such mapping is known, or its file is damaged.
        FileNotFoundError: A file is in none of the folders; the message says where to get it.
    """
    entry = _known(source, target)
    if entry is None:
        pairs = ', '.join(f'{mapping.source} to {mapping.target}' for mapping in KNOWN_MAPPINGS)
        raise DataError(
            f'mapping: found none from the mesh {source!r} to {target!r}, known are {pairs}; pass '
            'its file (on the command line, --mapping), or compute one with mmjrr transfer'
        )
    path = _find(entry, entry.filename)
    faces = None if entry.faces_filename is None else _find(entry, entry.faces_filename)
    return MeshMapping.load(path, faces, entry.source, entry.target)


def is_known_mapping(source: str, target: str) -> bool:
    """Tell whether :func:`find_mapping` knows a mapping between two meshes."""
    return _known(source, target) is not None


def _known(source: str, target: str) -> KnownMapping | None:
    return next(
        (
            mapping
            for mapping in KNOWN_MAPPINGS
            if same_mesh(mapping.source, source) and same_mesh(mapping.target, target)
        ),
        None,
    )


def _find(entry: KnownMapping, filename: str) -> Path:
    folders = [Path(__file__).parent / 'data'] if entry.packaged else search_folders()
    for folder in folders:
        if (folder / filename).is_file():
            return folder / filename
    where = ' or '.join(str(folder.absolute()) for folder in folders)
    raise FileNotFoundError(
        f'mapping from {entry.source!r} to {entry.target!r}: no file {filename!r} in {where}. '
        f'Where to get it: {entry.origin}. Where to put it: {folders[0] / filename}'
    )
