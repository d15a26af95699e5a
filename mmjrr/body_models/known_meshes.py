"""Meshes that are recognized by their number of vertices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownMesh:
    """A mesh in use for human bodies.

    Args:
        name: Name by which regressors and mappings refer to it.
        num_vertices: Number of its vertices.
        owner: Whose mesh it is, in the genitive, for messages.
        is_body: Whether it is a whole body.
    """

    name: str
    num_vertices: int
    owner: str
    is_body: bool = True


#: Known meshes. SMPL-H has SMPL's mesh; the free body has a different mesh of the same size. MHR's
#: mesh is that of its level of detail 1.
KNOWN_MESHES = (
    KnownMesh('smpl', 6890, "SMPL's (and SMPL-H's)"),
    KnownMesh('smplx', 10475, "SMPL-X's"),
    KnownMesh('mhr', 18439, "MHR's"),
    KnownMesh('anny', 13718, "Anny's"),
    KnownMesh('mano', 778, "one hand's (MANO)", is_body=False),
    KnownMesh('flame', 5023, "a head's (FLAME)", is_body=False),
)

#: Number of vertices by the name of a body.
NUM_VERTICES = {
    **{mesh.name: mesh.num_vertices for mesh in KNOWN_MESHES},
    'smplh': 6890,
    'free_body': 6890,
}


def mesh_of_size(num_vertices: int) -> KnownMesh | None:
    """Return the known mesh with this number of vertices; None if there is none.

    >>> mesh_of_size(10475).name
    'smplx'
    """
    return next((mesh for mesh in KNOWN_MESHES if mesh.num_vertices == num_vertices), None)


def same_mesh(first: str, second: str) -> bool:
    """Tell whether two bodies, by name, have the same mesh.

    >>> same_mesh('smpl', 'smplh'), same_mesh('smpl', 'free_body')
    (True, False)
    """

    def mesh(name: str) -> str:
        plain = name.replace('_', '').lower()
        return 'smpl' if plain == 'smplh' else plain

    return mesh(first) == mesh(second)
