"""Losses for any training loop, with the formulas of refinement's energy terms.

Each is a module of the registry ``MODELS`` that returns a scalar, the mean over the batch times its
``loss_weight``. :class:`MeshLoss` combines them to the losses of an estimator.
"""

from .adversarial_loss import LSGANLoss
from .joint_regressor_loss import JointRegressorLoss
from .mesh_loss import MeshLoss
from .silhouette_loss import SilhouetteLoss

__all__ = ['JointRegressorLoss', 'LSGANLoss', 'MeshLoss', 'SilhouetteLoss']
