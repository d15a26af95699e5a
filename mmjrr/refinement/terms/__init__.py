"""Terms of the energy that refinement minimizes (paper, Sections 3.1 and 3.2).

A term is a class of the registry ``ENERGY_TERMS`` that derives from :class:`EnergyTerm`. It is
called with :class:`PosedBodies` and :class:`~mmjrr.refinement.observations.Observations`, both with
one row per frame, and returns one unweighted value per frame. Variables that frames share (a
moment's pose, a subject's shape, a camera's correction) are expanded to frames before a term sees
them; their gradients add up on the way back. The functions next to the classes hold the formulas,
which the losses of :mod:`mmjrr.models` share.
"""

from mmjrr.rendering.mask_cells_energy import mask_cells_energy
from mmjrr.rendering.silhouette_energy import silhouette_energy

from .adversarial import PoseAdversarialTerm, ShapeAdversarialTerm, adversarial_energy
from .annotated_joints import Joint2DTerm, Joint3DTerm, joint_2d_energy, joint_3d_energy
from .energy_term import EnergyTerm, PosedBodies
from .initial_pose import InitialPoseTerm, initial_pose_energy
from .joint_limits import JointLimitsTerm, joint_limits_energy
from .pose_prior import PosePriorTerm, pose_prior_energy
from .rest_pose import RestPoseTerm, rest_pose_energy
from .shape_prior import ShapePriorTerm
from .silhouette import SilhouetteTerm, gate_weight
from .smoothness import SmoothnessTerm, smoothness_energy

__all__ = [
    'EnergyTerm',
    'InitialPoseTerm',
    'Joint2DTerm',
    'Joint3DTerm',
    'JointLimitsTerm',
    'PoseAdversarialTerm',
    'PosePriorTerm',
    'PosedBodies',
    'RestPoseTerm',
    'ShapeAdversarialTerm',
    'ShapePriorTerm',
    'SilhouetteTerm',
    'SmoothnessTerm',
    'adversarial_energy',
    'gate_weight',
    'initial_pose_energy',
    'joint_2d_energy',
    'joint_3d_energy',
    'joint_limits_energy',
    'mask_cells_energy',
    'pose_prior_energy',
    'rest_pose_energy',
    'silhouette_energy',
    'smoothness_energy',
]
