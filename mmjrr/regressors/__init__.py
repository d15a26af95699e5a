"""Joint regressors: linear maps from vertices to joints, with named rows; their files and fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmjrr.lazy_names import lazy_names

if TYPE_CHECKING:
    from mmjrr.regressors.fitting import (
        BadFrameWarning,
        ConvergenceWarning,
        JointRegressorFit,
        fit_joint_regressor,
    )
    from mmjrr.regressors.joint_regressor import JointRegressor
    from mmjrr.regressors.zoo import ZOO, ZooEntry, find_regressor, register_regressor

__all__ = [
    'ZOO',
    'BadFrameWarning',
    'ConvergenceWarning',
    'JointRegressor',
    'JointRegressorFit',
    'ZooEntry',
    'find_regressor',
    'fit_joint_regressor',
    'register_regressor',
]

__getattr__, __dir__ = lazy_names(__name__)
