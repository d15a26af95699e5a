"""MPJPE and PA-MPJPE of meshes under any joint regressor and protocol."""

from mmjrr.datasets.predictions import Predictions, predictions_from, read_predictions

from .evaluate import evaluate
from .functional import (
    mpjpe,
    mpjpe_per_joint,
    pa_mpjpe,
    pa_mpjpe_per_joint,
    procrustes_align,
)
from .metric import JointRegressorMetric
from .protocols import PROTOCOLS, FrameErrors, Protocol, frame_errors, get_protocol, get_protocols
from .regressed_joints import RegressedJoints, load_regressors
from .report import EvaluationResult, Score, score_frames

__all__ = [
    'PROTOCOLS',
    'EvaluationResult',
    'FrameErrors',
    'JointRegressorMetric',
    'Predictions',
    'Protocol',
    'RegressedJoints',
    'Score',
    'evaluate',
    'frame_errors',
    'get_protocol',
    'get_protocols',
    'load_regressors',
    'mpjpe',
    'mpjpe_per_joint',
    'pa_mpjpe',
    'pa_mpjpe_per_joint',
    'predictions_from',
    'procrustes_align',
    'read_predictions',
    'score_frames',
]
