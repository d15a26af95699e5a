"""Joint regressors: linear maps from vertices to joints, with named rows."""

from .fitting import JointRegressorFit, fit_joint_regressor
from .joint_regressor import JointRegressor
from .zoo import ZOO, ZooEntry, find_regressor, register_regressor

__all__ = [
    'JointRegressor',
    'JointRegressorFit',
    'fit_joint_regressor',
    'ZOO',
    'ZooEntry',
    'find_regressor',
    'register_regressor',
]
