"""From parameters to vertices: the SMPL family, and the free body that ships with the package."""


from .free_body import FREE_BODY_FILE, free_body
from .lazy_vertices import LazyVertices, VertexMaker
from .smpl import SMPL, BodyOutput, load_smpl_file

__all__ = [
    'FREE_BODY_FILE',
    'SMPL',
    'BodyOutput',
    'LazyVertices',
    'VertexMaker',
    'free_body',
    'load_smpl_file',
]
