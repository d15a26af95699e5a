"""MPJPE and PA-MPJPE of meshes under any joint regressor and protocol."""

from .functional import (
    mpjpe,
    mpjpe_per_joint,
    pa_mpjpe,
    pa_mpjpe_per_joint,
    procrustes_align,
)
from .joint_regressor_metric import JointRegressorMetric
from .protocols import PROTOCOLS, FrameErrors, Protocol, frame_errors, get_protocol
from .regressed_joints import RegressedJoints, load_regressors
from .report import EvaluationResult, Score, score_frames

__all__ = [
    'PROTOCOLS',
    'EvaluationResult',
    'FrameErrors',
    'JointRegressorMetric',
    'Protocol',
    'RegressedJoints',
    'Score',
    'frame_errors',
    'get_protocol',
    'load_regressors',
    'mpjpe',
    'mpjpe_per_joint',
    'pa_mpjpe',
    'pa_mpjpe_per_joint',
    'procrustes_align',
    'score_frames',
]
