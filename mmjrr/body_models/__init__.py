"""Body models, which compute vertices from parameters: the SMPL family, the free body and Anny."""

from mmjrr.body_models.anny_body import AnnyBody
from mmjrr.body_models.free_body import FREE_BODY_FILE, free_body
from mmjrr.body_models.from_smplx import from_smplx
from mmjrr.body_models.lazy_vertices import LazyVertices, VertexMaker
from mmjrr.body_models.skinned_body import BodyOutput, SkinnedBody
from mmjrr.body_models.smpl import SMPL
from mmjrr.body_models.smpl_files import find_smpl_file, load_smpl_file
from mmjrr.body_models.smplh import SMPLH, SMPLX

__all__ = [
    'FREE_BODY_FILE',
    'SMPL',
    'SMPLH',
    'SMPLX',
    'AnnyBody',
    'BodyOutput',
    'LazyVertices',
    'SkinnedBody',
    'VertexMaker',
    'find_smpl_file',
    'free_body',
    'from_smplx',
    'load_smpl_file',
]
