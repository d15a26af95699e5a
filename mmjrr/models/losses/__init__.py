"""Losses for any training loop, with the formulas of refinement's energy terms.

Each is a module of the registry ``MODELS`` that returns a scalar, the mean over the batch times its
``loss_weight``.
"""

from .adversarial_loss import LSGANLoss
from .joint_regressor_loss import JointRegressorLoss
from .silhouette_loss import SilhouetteLoss

__all__ = ['JointRegressorLoss', 'LSGANLoss', 'SilhouetteLoss']
