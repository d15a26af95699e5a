"""Fitting a joint regressor to meshes and joints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmjrr.lazy_names import lazy_names

if TYPE_CHECKING:
    from mmjrr.regressors.fitting.fit import JointRegressorFit, fit_joint_regressor

__all__ = ['JointRegressorFit', 'fit_joint_regressor']

__getattr__, __dir__ = lazy_names(__name__)
