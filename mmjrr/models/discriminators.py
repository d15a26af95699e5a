"""Discriminators that tell refined fits from initial ones (paper, Section 3.2).

They are the model of the refinement's Runner, which trains them by one step of its optimizer after
each refined batch.
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmjrr.frame_products import elementwise, linear, padded_rows
from mmjrr.geometry import axis_angle_to_matrix, matrix_to_rotation_6d
from mmjrr.refinement.terms import adversarial_energy
from mmjrr.registry import MODELS


@MODELS.register_module()
class PoseDiscriminator(nn.Module):
    """Discriminator of poses, with one output per joint and one for the whole pose.

    Outputs are in (0, 1); 1 means plausible. A shared MLP (6 -> 32 -> 32) computes features of each
    joint's rotation, a linear layer per joint (32 -> 1) judges the joint, and an MLP (24 * 32 ->
    1024 -> 1024 -> 1) judges all joints together. The paper adopts this structure from HMR
    (Kanazawa et al., CVPR 2018, Section 3.2).

    Args:
        num_joints: Number of rotations of a pose, including the global one. Default: 24.
        hidden_channels: Width of a joint's features. Default: 32.
        pose_channels: Width of the hidden layers for the whole pose. Default: 1024.
    """

    def __init__(
        self, num_joints: int = 24, hidden_channels: int = 32, pose_channels: int = 1024
    ) -> None:
        super().__init__()
        self.num_joints = num_joints
        self.joint_features = nn.Sequential(
            nn.Linear(6, hidden_channels),
            nn.ReLU(),
            nn.Linear(hidden_channels, hidden_channels),
            nn.ReLU(),
        )
        self.joint_heads = nn.ModuleList(nn.Linear(hidden_channels, 1) for _ in range(num_joints))
        self.pose_head = nn.Sequential(
            nn.Linear(num_joints * hidden_channels, pose_channels),
            nn.ReLU(),
            nn.Linear(pose_channels, pose_channels),
            nn.ReLU(),
            nn.Linear(pose_channels, 1),
        )

    def forward(self, pose_6d: Tensor) -> Tensor:  # (B, num_joints, 6) -> (B, num_joints + 1)
        """Return the plausibility of each joint's rotation and, last, of the whole pose."""
        if pose_6d.shape[1:] != (self.num_joints, 6):
            raise ValueError(
                f'pose_6d: found {tuple(pose_6d.shape)}, expected (B, {self.num_joints}, 6)'
            )
        count = len(pose_6d)
        # Padded so that a frame's outputs do not depend on the others (mmjrr.frame_products).
        features = _layers(
            self.joint_features, padded_rows(pose_6d.flatten(1)).unflatten(1, (-1, 6))
        )
        # One product computes all heads, each on the features of its joint.
        weight = torch.cat([head.weight for head in self.joint_heads])
        bias = torch.cat([head.bias for head in self.joint_heads])
        by_joint = (features * weight).sum(-1) + bias
        whole = _layers(self.pose_head, features.flatten(1))
        return elementwise(torch.sigmoid, torch.cat([by_joint, whole], dim=1)[:count])


@MODELS.register_module()
class ShapeDiscriminator(nn.Module):
    """Discriminator of body shapes, with one output in (0, 1); 1 means plausible.

    Args:
        num_betas: Number of shape coefficients. Default: 10.
        hidden_channels: Width of the two hidden layers. Default: 32.
    """

    def __init__(self, num_betas: int = 10, hidden_channels: int = 32) -> None:
        super().__init__()
        self.num_betas = num_betas
        self.layers = nn.Sequential(
            nn.Linear(num_betas, hidden_channels),
            nn.ReLU(),
            nn.Linear(hidden_channels, hidden_channels),
            nn.ReLU(),
            nn.Linear(hidden_channels, 1),
        )

    def forward(self, betas: Tensor) -> Tensor:  # (B, num_betas) -> (B, 1)
        """Return the plausibility of each shape."""
        if betas.shape[1:] != (self.num_betas,):
            raise ValueError(f'betas: found {tuple(betas.shape)}, expected (B, {self.num_betas})')
        return elementwise(torch.sigmoid, _layers(self.layers, padded_rows(betas))[: len(betas)])


@MODELS.register_module()
class FitDiscriminator(BaseModel):
    """The pair of discriminators and its LSGAN losses (paper, Section 3.2).

    Args:
        num_betas: Number of shape coefficients of the body model. Default: 10.
        pose: Options of :class:`PoseDiscriminator`.
        shape: Options of :class:`ShapeDiscriminator`.
        data_preprocessor: As in MMEngine. ``None`` moves the batch to the model's device.
        init_cfg: As in MMEngine.
    """

    def __init__(
        self,
        num_betas: int = 10,
        pose: dict[str, Any] | None = None,
        shape: dict[str, Any] | None = None,
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.pose = PoseDiscriminator(**(pose or {}))
        self.shape = ShapeDiscriminator(num_betas=num_betas, **(shape or {}))

    def forward(
        self,
        inputs: Any = None,
        data_samples: Any = None,
        fits_init: dict[str, Tensor] | None = None,
        fits_refined: dict[str, Tensor] | None = None,
        mode: str = 'tensor',
    ) -> dict[str, Tensor]:
        """Return the losses of one training step, with initial fits as the real examples.

        Args:
            inputs: Ignored.
            data_samples: Ignored.
            fits_init: Axis-angle ``global_orient`` (B, 3) and ``body_pose`` (B, 69), and ``betas``
                (B, ``num_betas``), added to the batch by :class:`mmjrr.engine.SMPLPseudoGTHook`.
            fits_refined: The same after refinement.
            mode: ``'loss'``, the only supported mode.

        Raises:
            ValueError: The batch has no fits, or ``mode`` is another.
        """
        if fits_init is None or fits_refined is None:
            raise ValueError(
                'FitDiscriminator: the batch has no fits_init and fits_refined; is '
                "dict(type='SMPLPseudoGTHook') among custom_hooks?"
            )
        if mode != 'loss':
            raise ValueError(f"FitDiscriminator: mode: found {mode!r}, expected 'loss'")
        losses = {}
        for name, target, fits in (('real', 1.0, fits_init), ('fake', 0.0, fits_refined)):
            pose, shape = self.judge(
                axis_angle_to_matrix(
                    torch.cat([fits['global_orient'], fits['body_pose']], dim=1).unflatten(
                        1, (-1, 3)
                    )
                ),
                fits['betas'],
            )
            losses[f'loss_pose_{name}'] = adversarial_energy(pose, target).mean()
            losses[f'loss_shape_{name}'] = adversarial_energy(shape, target).mean()
        return losses

    def judge(self, rotations: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
        """Return the plausibility (B, 25) of poses (B, 24, 3, 3), and (B, 1) of shapes (B, K)."""
        return self.pose(matrix_to_rotation_6d(rotations)), self.shape(betas)


def _layers(layers: nn.Sequential, values: Tensor) -> Tensor:
    """Apply linear and other layers, so that a frame's outputs do not depend on other frames."""
    for layer in layers:
        is_linear = isinstance(layer, nn.Linear)
        values = linear(values, layer.weight, layer.bias) if is_linear else layer(values)
    return values
