"""Evaluation of meshes: MPJPE and PA-MPJPE under any joint regressor and protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmjrr.lazy_names import lazy_names

if TYPE_CHECKING:
    from mmjrr.datasets.predictions import Predictions, predictions_from, read_predictions
    from mmjrr.evaluation.evaluate_predictions import evaluate
    from mmjrr.evaluation.functional import (
        acceleration_error,
        mpjpe,
        mpjpe_per_joint,
        n_mpjpe,
        pa_mpjpe,
        pa_mpjpe_per_joint,
        procrustes_align,
    )
    from mmjrr.evaluation.mesh_evaluation import evaluate_meshes
    from mmjrr.evaluation.metric import JointRegressorMetric
    from mmjrr.evaluation.metric.torch_metric import JointRegressorTorchMetric
    from mmjrr.evaluation.protocol_table import format_protocol_table, protocols_of_joints
    from mmjrr.evaluation.protocols import (
        PROTOCOLS,
        FrameErrors,
        Protocol,
        frame_errors,
        get_protocol,
        get_protocols,
    )
    from mmjrr.evaluation.regressed_joints import RegressedJoints, load_regressors
    from mmjrr.evaluation.result import EvaluationResult, Score, score_frames

__all__ = [
    'PROTOCOLS',
    'EvaluationResult',
    'FrameErrors',
    'JointRegressorMetric',
    'JointRegressorTorchMetric',
    'Predictions',
    'Protocol',
    'RegressedJoints',
    'Score',
    'acceleration_error',
    'evaluate',
    'evaluate_meshes',
    'format_protocol_table',
    'frame_errors',
    'get_protocol',
    'get_protocols',
    'load_regressors',
    'mpjpe',
    'mpjpe_per_joint',
    'n_mpjpe',
    'pa_mpjpe',
    'pa_mpjpe_per_joint',
    'predictions_from',
    'procrustes_align',
    'protocols_of_joints',
    'read_predictions',
    'score_frames',
]

__getattr__, __dir__ = lazy_names(__name__)
