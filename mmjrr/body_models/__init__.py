"""Body models, which compute vertices from parameters: SMPL and the packaged free body."""

from mmjrr.body_models.free_body import FREE_BODY_FILE, free_body
from mmjrr.body_models.lazy_vertices import LazyVertices, VertexMaker
from mmjrr.body_models.smpl import SMPL, BodyOutput
from mmjrr.body_models.smpl_files import find_smpl_file, load_smpl_file

__all__ = [
    'FREE_BODY_FILE',
    'SMPL',
    'BodyOutput',
    'LazyVertices',
    'VertexMaker',
    'find_smpl_file',
    'free_body',
    'load_smpl_file',
]
