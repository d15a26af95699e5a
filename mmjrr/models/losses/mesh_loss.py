"""Losses of an estimator of SMPL parameters: parameters, joints and silhouettes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmjrr.geometry import (
    SPIN_FOCAL_LENGTH,
    SPIN_IMAGE_SIZE,
    PerspectiveCamera,
    axis_angle_to_matrix,
    weak_perspective_to_transl,
)
from mmjrr.models.losses.joint_regressor_loss import JointRegressorLoss
from mmjrr.models.losses.silhouette_loss import SilhouetteLoss
from mmjrr.registry import MODELS

#: Smallest scale of the weak-perspective camera for projections. Smaller scales, which occur early
#: in training, would put the body behind the camera.
MIN_SCALE = 0.1


@MODELS.register_module()
class MeshLoss(nn.Module):
    """Losses with which estimators such as SPIN learn from (pseudo) ground truth.

    - ``loss_pose``: mean squared difference of rotation matrices (SPIN, Section 3.4).
    - ``loss_betas``: mean squared difference of shape coefficients.
    - ``loss_scale``: mean of ``exp(-10 s) ** 2`` over weak-perspective cameras, which keeps their
      scale s positive, as in SPIN's code.
    - ``loss_joint_3d``, ``loss_joint_2d``: :class:`JointRegressorLoss`.
    - ``loss_silhouette``: :class:`SilhouetteLoss`.

    A loss of weight 0, or without a config, is left out. Joints in 2D and silhouettes are those of
    SPIN's camera: focal length 5000 at 224 pixels, the principal point in the middle of the crop.

    Args:
        pose_weight: Factor on the loss of rotations. Default: 60, SPIN's.
        betas_weight: Factor on the loss of shapes. Default: 0.06, SPIN's.
        scale_weight: Factor on the loss of scales. Default: 60, SPIN's.
        joint_3d: Arguments of :class:`JointRegressorLoss`. Default: None, off.
        joint_2d: Arguments of :class:`JointRegressorLoss`, without ``image_size``. Default: None,
            off.
        silhouette: Arguments of :class:`SilhouetteLoss`, without ``faces``. Its renderer must have
            the size of the crop. Default: None, off.
        image_size: Side of the crop in pixels. Default: 224.

    Raises:
        ValueError: All losses are off.
    """

    def __init__(
        self,
        pose_weight: float = 60.0,
        betas_weight: float = 0.06,
        scale_weight: float = 60.0,
        joint_3d: dict[str, Any] | None = None,
        joint_2d: dict[str, Any] | None = None,
        silhouette: dict[str, Any] | None = None,
        image_size: int = 224,
    ) -> None:
        super().__init__()
        if not (pose_weight or betas_weight or joint_3d or joint_2d or silhouette):
            raise ValueError('loss: all losses are off, expected at least one')
        self.pose_weight = pose_weight
        self.betas_weight = betas_weight
        self.scale_weight = scale_weight
        self.image_size = image_size
        self.joint_3d = None if joint_3d is None else JointRegressorLoss(**joint_3d)
        self.joint_2d = (
            None
            if joint_2d is None
            else JointRegressorLoss(**{**joint_2d, 'image_size': image_size})
        )
        self.silhouette: SilhouetteLoss | None = None
        if silhouette is not None:
            renderer = dict(type='ContourSilhouette', image_size=(image_size, image_size))
            self.silhouette = SilhouetteLoss(**{'renderer': renderer, **silhouette})

    @property
    def needs_vertices(self) -> bool:
        """Whether a loss needs the estimates' vertices."""
        return any((self.joint_3d, self.joint_2d, self.silhouette))

    def forward(
        self,
        estimates: dict[str, Tensor],
        targets: dict[str, Tensor],
        faces: Any = None,
    ) -> dict[str, Tensor]:
        """Return the losses by name.

        Args:
            estimates: ``rotations`` (B, 24, 3, 3), ``betas`` (B, K), ``camera`` (B, 3), SPIN's (s,
                tx, ty) on the crop, and ``vertices`` (B, V, 3), meters, without translation.
            targets: ``global_orient`` (B, 3), ``body_pose`` (B, 69), ``betas`` (B, K);
                ``keypoints_3d`` (B, 17, 3), meters, and ``keypoints_3d_weight`` (B, 17);
                ``keypoints_2d`` (B, 17, 2), pixels of the crop, and ``keypoints_2d_weight``;
                ``mask`` (B, H, W), and optionally ``mask_box`` and ``mask_cells``.
            faces: The body's faces; required for silhouettes.

        Raises:
            KeyError: A target is missing.
        """
        losses: dict[str, Tensor] = {}
        if self.pose_weight:
            pose = torch.cat([targets['global_orient'], targets['body_pose']], 1)
            rotations = axis_angle_to_matrix(pose.unflatten(1, (-1, 3)))
            error = (estimates['rotations'] - rotations).square().mean()
            losses['loss_pose'] = self.pose_weight * error
        if self.betas_weight:
            error = (estimates['betas'] - targets['betas']).square().mean()
            losses['loss_betas'] = self.betas_weight * error
        if self.scale_weight:
            scale = estimates['camera'][:, 0]
            losses['loss_scale'] = self.scale_weight * torch.exp(-10 * scale).square().mean()
        if self.joint_3d is not None:
            losses['loss_joint_3d'] = self.joint_3d(
                estimates['vertices'], targets['keypoints_3d'], targets['keypoints_3d_weight']
            )
        if self.joint_2d is None and self.silhouette is None:
            return losses
        vertices, camera = self._in_camera(estimates)
        if self.joint_2d is not None:
            losses['loss_joint_2d'] = self.joint_2d(
                vertices, targets['keypoints_2d'], targets['keypoints_2d_weight'], camera
            )
        if self.silhouette is not None:
            losses['loss_silhouette'] = self.silhouette(
                vertices,
                targets['mask'],
                camera,
                keypoints_2d=targets.get('keypoints_2d'),
                keypoints_2d_weight=targets.get('keypoints_2d_weight'),
                mask_box=targets.get('mask_box'),
                mask_cells=targets.get('mask_cells'),
                faces=faces,
            )
        return losses

    def _in_camera(self, estimates: dict[str, Tensor]) -> tuple[Tensor, PerspectiveCamera]:
        """Return vertices in the frame of SPIN's crop camera, and that camera."""
        scale, shift = estimates['camera'][:, :1], estimates['camera'][:, 1:]
        safe = torch.cat([scale.clamp_min(MIN_SCALE), shift], 1)
        focal_length = SPIN_FOCAL_LENGTH * self.image_size / SPIN_IMAGE_SIZE
        transl = weak_perspective_to_transl(safe, focal_length, self.image_size)
        camera = PerspectiveCamera(
            safe.new_full((1, 2), focal_length), safe.new_full((1, 2), self.image_size / 2)
        )
        return estimates['vertices'] + transl[:, None], camera
