"""Joint regressors: linear maps from vertices to joints, with named rows; their files and fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmjrr.lazy_names import lazy_names

if TYPE_CHECKING:
    from mmjrr.regressors.fitting import (
        BadFrameWarning,
        ConvergenceWarning,
        GroupedBatch,
        JointRegressorFit,
        LabelOffsetsEstimate,
        LabelOffsetsFit,
        estimate_label_offsets,
        fit_joint_regressor,
        fit_label_offsets,
    )
    from mmjrr.regressors.fitting.cross_validation import RegressorReport, fit_and_validate
    from mmjrr.regressors.joint_regressor import JointRegressor
    from mmjrr.regressors.known_mappings import find_mapping
    from mmjrr.regressors.label_offsets import LabelOffsets
    from mmjrr.regressors.mapping_accuracy import MappingError, mapping_error
    from mmjrr.regressors.mesh_mapping import MeshMapping
    from mmjrr.regressors.mesh_matching import Template, match_meshes
    from mmjrr.regressors.zoo import ZOO, ZooEntry, find_regressor, register_regressor

__all__ = [
    'ZOO',
    'BadFrameWarning',
    'ConvergenceWarning',
    'GroupedBatch',
    'JointRegressor',
    'JointRegressorFit',
    'LabelOffsets',
    'LabelOffsetsEstimate',
    'LabelOffsetsFit',
    'MappingError',
    'MeshMapping',
    'RegressorReport',
    'Template',
    'ZooEntry',
    'estimate_label_offsets',
    'find_mapping',
    'find_regressor',
    'fit_and_validate',
    'fit_joint_regressor',
    'fit_label_offsets',
    'mapping_error',
    'match_meshes',
    'register_regressor',
]

__getattr__, __dir__ = lazy_names(__name__)
