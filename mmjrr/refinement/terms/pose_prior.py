"""Term of the population's poses: rotations that only the initial fits tell are not extreme."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmjrr.geometry import axis_angle_to_matrix, matrix_to_axis_angle
from mmjrr.joints import SMPL_JOINTS
from mmjrr.refinement.terms.energy_term import EnergyTerm, PosedBodies
from mmjrr.refinement.variables import nearest_rotation
from mmjrr.registry import ENERGY_TERMS

if TYPE_CHECKING:
    from mmjrr.refinement.observations import Observations

#: Smallest standard deviation of poses about an axis, degrees. An estimator's poses vary less than
#: people's where it cannot see how they turn.
MIN_DEVIATION = 5.0


def pose_prior_energy(
    rotations: Tensor,  # (B, J, 3, 3)
    mean: Tensor,  # (J, 3, 3)
    whitening: Tensor,  # (J, 3, 3)
) -> Tensor:  # (B,)
    """Sum the squared Mahalanobis distances of joints' rotations from their mean rotations.

    Args:
        rotations: Rotations of the fits.
        mean: Mean rotation of each joint.
        whitening: Matrices that turn rotation vectors from the mean, in radians, into vectors with
            the unit matrix as their covariance.
    """
    vectors = matrix_to_axis_angle(mean.transpose(1, 2) @ rotations)
    # Not a product of matrices, whose digits would depend on the batch (mmjrr.frame_products).
    whitened = (whitening * vectors[:, :, None]).sum(3)
    return whitened.square().sum((1, 2))


def rotation_distribution(
    rotations: Tensor,  # (B, J, 3, 3)
    moment: Tensor,  # (B,) int64
) -> tuple[Tensor, Tensor]:  # (J, 3, 3) twice
    r"""Estimate how joints' rotations are distributed over moments, without their errors.

    Rotation vectors from a joint's mean rotation have the covariance :math:`\Sigma_b + \Sigma_w`:
    that of the poses, and that of the errors of one view. The means of a moment's :math:`V` views
    have :math:`\Sigma_b + \Sigma_w / V`, and differences between views give :math:`\Sigma_w`
    (variance components). Variances below :data:`MIN_DEVIATION`, among them negative estimates, are
    raised to it. Where no moment has two views, errors are not removed. Frames with values that are
    not finite do not count.

    Args:
        rotations: Rotations of joints relative to their parents, which all views share.
        moment: Number of the moment of each frame.

    Returns:
        The mean rotations, and the covariances :math:`\Sigma_b` in square radians.

    Raises:
        ValueError: There are fewer than two moments.
    """
    usable = rotations.isfinite().flatten(1).all(1)
    rotations, moment = rotations[usable].double(), moment[usable]
    moments, index = moment.unique(return_inverse=True)
    if len(moments) < 2:
        raise ValueError('the distribution of poses needs at least two moments')
    counts = torch.bincount(index).to(rotations)
    mean = nearest_rotation(rotations.sum(0))
    vectors = matrix_to_axis_angle(mean.transpose(1, 2) @ rotations)
    sums = vectors.new_zeros(len(moments), *vectors.shape[1:]).index_add_(0, index, vectors)
    of_moments = sums / counts[:, None, None]
    center = of_moments.mean(0)
    covariance = _scatter(of_moments - center, len(moments) - 1)
    freedom = len(rotations) - len(moments)
    if freedom:
        of_errors = _scatter(vectors - of_moments[index], freedom)
        covariance = covariance - of_errors * (1 / counts).mean()
    variances, axes = torch.linalg.eigh(covariance)
    smallest = torch.deg2rad(torch.tensor(MIN_DEVIATION)).square().to(variances)
    variances = torch.maximum(variances, smallest)
    covariance = axes @ torch.diag_embed(variances) @ axes.transpose(1, 2)
    return mean @ axis_angle_to_matrix(center), covariance


def _scatter(vectors: Tensor, freedom: int) -> Tensor:  # (N, J, 3) -> (J, 3, 3)
    return torch.einsum('bji,bjk->jik', vectors, vectors) / freedom


@ENERGY_TERMS.register_module()
class PosePriorTerm(EnergyTerm):
    """Distance of the joints' rotations from the distribution of poses in the initial fits.

    Mean and covariance of each joint's rotation are estimated from the initial fits
    (:func:`rotation_distribution`), so that knees and elbows bend about their axes, and hands, feet
    and head turn as far as the data's do. Joints are independent of one another. The global
    orientation does not count.

    Args:
        name: As in :class:`EnergyTerm`, and so are ``weight`` and ``scale``.
    """

    requires = ('initial_fits',)

    mean: Tensor  # (23, 3, 3)
    whitening: Tensor  # (23, 3, 3)

    def __init__(
        self, name: str | None = None, weight: float | None = None, scale: float | None = None
    ) -> None:
        super().__init__(name, weight, scale)
        for name_of_buffer in ('mean', 'whitening'):
            missing = torch.full((len(SMPL_JOINTS) - 1, 3, 3), torch.nan)
            self.register_buffer(name_of_buffer, missing, persistent=False)
        self.is_known = False

    def estimate(self, observed: Observations, moment: Tensor) -> dict[str, Any]:
        """Return each joint's mean (axis-angle) and covariance, in degrees."""
        if observed.initial_rotations is None:
            raise ValueError(f'{self.name}: the observations have no initial rotations')
        try:
            mean, covariance = rotation_distribution(observed.initial_rotations[:, 1:], moment)
        except ValueError as error:
            raise ValueError(f'{self.name}: {error}') from error
        vectors = matrix_to_axis_angle(mean).rad2deg()
        square_degrees = covariance.rad2deg().rad2deg()
        return dict(
            mean=dict(zip(SMPL_JOINTS[1:], vectors.tolist(), strict=True)),
            covariance=dict(zip(SMPL_JOINTS[1:], square_degrees.tolist(), strict=True)),
        )

    def set_estimates(self, values: Mapping[str, Any]) -> None:
        """Take means and covariances."""
        mean, covariance = (
            torch.tensor([values[key][joint] for joint in SMPL_JOINTS[1:]]).double().deg2rad()
            for key in ('mean', 'covariance')
        )
        self.mean.copy_(axis_angle_to_matrix(mean))
        lower = torch.linalg.cholesky(covariance.deg2rad())
        eye = torch.eye(3).to(lower).expand_as(lower)
        self.whitening.copy_(torch.linalg.solve_triangular(lower, eye, upper=False))
        self.is_known = True

    def forward(self, bodies: PosedBodies, observed: Observations) -> Tensor:  # (B,)
        """Return the values, 69 in the mean over the distribution."""
        if not self.is_known:
            raise ValueError(f'{self.name}: the distribution of poses has not been estimated')
        rotations = bodies.rotations[:, 1:]
        return pose_prior_energy(rotations, self.mean.to(rotations), self.whitening.to(rotations))
