"""Fitting a joint regressor to meshes and joints."""

from .fit import JointRegressorFit, fit_joint_regressor

__all__ = ['JointRegressorFit', 'fit_joint_regressor']
