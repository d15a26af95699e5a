"""Loss of the joints that a joint regressor computes from vertices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmjrr.evaluation.functional import procrustes_align
from mmjrr.geometry import PerspectiveCamera
from mmjrr.joints import joint_names_of, reorder_index
from mmjrr.refinement.terms import joint_2d_energy, joint_3d_energy
from mmjrr.registry import MODELS
from mmjrr.regressors import JointRegressor
from mmjrr.regressors.registered import load_joint_regressor


@MODELS.register_module()
class JointRegressorLoss(nn.Module):
    """Squared distances of regressed from annotated joints, in 3D or in the image.

    With targets of three coordinates the loss is the weighted sum over joints of squared distances
    in square meters, after alignment. With targets of two coordinates it is that of the projected
    joints, in squares of ``image_size``.

    Args:
        regressor: Name in the zoo, file, :class:`~mmjrr.regressors.JointRegressor`, or arguments of
            :func:`~mmjrr.regressors.registered.load_joint_regressor` as a dict.
        root: Alignment in 3D: a joint's name; several, whose mean is aligned; ``'mean'`` of all
            joints; ``'procrustes'``, a similarity transform; or None for absolute positions.
            Default: ``'pelvis'``.
        joint_order: Order of the annotated joints: ``'mmpose'``, ``'spin'``, or joint names, which
            may be fewer than the regressor's. Default: ``'mmpose'``.
        image_size: Side of the images in pixels. Default: 224.
        loss_weight: Factor on the loss. Default: 1.

    Raises:
        FileNotFoundError: The regressor's file does not exist.
        DataError: The regressor's file is wrong.
        ValueError: A joint is not among the regressor's.

    Example:
        >>> from mmjrr.body_models import free_body
        >>> loss = JointRegressorLoss('free_body_h36m', root=('left_hip', 'right_hip'))
        >>> vertices = free_body()(betas=torch.zeros(2, 10)).vertices
        >>> bool(loss(vertices, loss.regressor(vertices) + 1.0) < 1e-10)
        True
    """

    def __init__(
        self,
        regressor: str | Path | dict[str, Any] | JointRegressor,
        root: str | Sequence[str] | None = 'pelvis',
        joint_order: str | Sequence[str] = 'mmpose',
        image_size: float = 224.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if isinstance(regressor, dict):
            loaded = load_joint_regressor(**regressor)
        elif isinstance(regressor, JointRegressor):
            loaded = regressor
        else:
            loaded = JointRegressor.load(regressor)
        names = joint_names_of(joint_order)
        self.regressor = loaded.reorder(names)
        self.procrustes = root == 'procrustes'
        self.root: tuple[int, ...] | int | None
        if root is None or self.procrustes:
            self.root = None
        elif root == 'mean':
            self.root = tuple(range(len(names)))
        else:
            index = tuple(reorder_index(names, [root] if isinstance(root, str) else root))
            self.root = index[0] if len(index) == 1 else index
        if not image_size > 0:
            raise ValueError(f'image_size: found {image_size}, expected a positive number')
        self.image_size = float(image_size)
        self.loss_weight = loss_weight

    def forward(
        self,
        vertices: Tensor,  # (B, V, 3), meters, camera frame
        target: Tensor,  # (B, J, 3), meters, camera frame; or (B, J, 2), pixels
        weight: Tensor | None = None,  # (B, J)
        camera: PerspectiveCamera | None = None,
    ) -> Tensor:  # ()
        """Return the loss.

        Args:
            vertices: Vertices of the predicted bodies.
            target: Annotated joints.
            weight: Weights of the joints. Default: None, 1.
            camera: Cameras that take joints to the target's pixels; required for 2D targets.

        Raises:
            ValueError: Shapes differ, or 2D targets come without cameras.
        """
        joints = self.regressor(vertices)
        if target.shape[:-1] != joints.shape[:-1] or target.shape[-1] not in (2, 3):
            raise ValueError(
                f'target: found shape {tuple(target.shape)}, expected {tuple(joints.shape)} or '
                f'{(*joints.shape[:-1], 2)}'
            )
        weight = torch.ones_like(joints[..., 0]) if weight is None else weight
        if target.shape[-1] == 2:
            if camera is None:
                raise ValueError('camera: found None, expected cameras for targets in pixels')
            values = joint_2d_energy(camera.project(joints), target, weight, self.image_size)
        else:
            if self.procrustes:
                # Frames without annotated joints have no alignment; their weight is zero below.
                annotated = (weight > 0).any(1, keepdim=True)
                joints = procrustes_align(
                    joints, target, torch.where(annotated, weight, torch.ones_like(weight))
                )
            values = joint_3d_energy(joints, target, weight, self.root)
        return self.loss_weight * values.mean()
