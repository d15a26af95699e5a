"""Anny, a body from the package ``anny``, with SMPL's pose parameters.

Brégier et al., "Human Mesh Modeling for Anny Body", 2025. Code under Apache-2.0, MakeHuman's assets
under CC0.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mmjrr.body_models.anny_rig import (
    PELVIS_POSITION,
    joint_matrix,
    joint_of_bone,
    t_pose_rotations,
)
from mmjrr.body_models.skinned_body import Articulation, SkinnedBody, batch_size, check_width
from mmjrr.joints import SMPL_JOINTS, SMPL_PARENTS
from mmjrr.registry import BODY_MODELS

#: Command that installs Anny.
INSTALL = 'pip install anny==0.6.2'
#: Anny's phenotypes, in the order of its arguments, and their values for an average adult. Age 2/3
#: is 25 years, 1 is 90; gender 0 is male, 1 female.
PHENOTYPES = {
    'gender': 0.5,
    'age': 0.7,
    'muscle': 0.5,
    'weight': 0.5,
    'height': 0.4,
    'proportions': 0.5,
    'cupsize': 0.45,
    'firmness': 0.5,
    'african': 1 / 3,
    'asian': 1 / 3,
    'caucasian': 1 / 3,
}


@BODY_MODELS.register_module()
class AnnyBody(SkinnedBody):
    """Anny with MakeHuman's rig and its full mesh of 13,718 vertices.

    Poses have SMPL's 24 rotations: all bones of a part of the body turn as SMPL's joint does, each
    about its own head, from SMPL's T-pose. Hands and face keep their rest pose. Vertices equal
    those of ``anny.Anny(rig='makehuman')`` with the same orientations of the bones.

    Shapes are Anny's 11 phenotypes in [0, 1], in the order of :data:`PHENOTYPES`.

    Args:
        dtype: Type of buffers and outputs. Default: ``torch.float32``.

    Attributes:
        v_template: (V, 3), Anny's template in MakeHuman's rest pose, before blend shapes: meters, x
            left, y up, z forward.

    Raises:
        ImportError: The package ``anny`` is not installed.
    """

    name: str = 'anny'
    num_betas: int = len(PHENOTYPES)
    #: Part of the interface of all bodies. Anny has neither: phenotypes take the gender's place.
    gender: ClassVar[str] = 'neutral'
    path: ClassVar[Path | None] = None

    mean_phenotypes: Tensor
    head_template: Tensor
    head_shapes: Tensor
    joint_weights: Tensor
    joint_of_bones: Tensor

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        model = _load()
        self.phenotypes = _Phenotypes(model)
        self.bones: list[str] = list(model.bone_labels)
        self.bone_parents: list[int] = [int(parent) for parent in model.bone_parents]
        self.parents = list(SMPL_PARENTS)
        faces = model.get_triangular_faces()
        self.faces = faces.numpy().astype(np.int64)

        def buffer(name: str, value: Tensor) -> None:
            self.register_buffer(name, value.to(dtype).contiguous(), persistent=False)

        weights = torch.zeros(len(self.bones), len(model.template_vertices), dtype=torch.float64)
        columns = torch.arange(weights.shape[1])[:, None].expand_as(model.vertex_bone_indices)
        weights.index_put_(
            (model.vertex_bone_indices, columns), model.vertex_bone_weights, accumulate=True
        )
        buffer('v_template', _y_up(model.template_vertices))
        buffer('blend_planes', _y_up(model.blendshapes).transpose(1, 2))
        buffer('weight_planes', weights / weights.sum(0))
        buffer('head_template', _y_up(model.template_bone_heads))
        buffer('head_shapes', _y_up(model.bone_heads_blendshapes))
        buffer('joint_weights', joint_matrix(self.bones))
        buffer('mean_phenotypes', torch.tensor([list(PHENOTYPES.values())], dtype=torch.float64))
        joints = [SMPL_JOINTS.index(joint_of_bone(bone)) for bone in self.bones]
        self.register_buffer('joint_of_bones', torch.tensor(joints), persistent=False)
        self.register_buffer('faces_tensor', torch.from_numpy(self.faces), persistent=False)
        self.register_buffer('vertex_ids', None, persistent=False)

    def articulate(
        self,
        betas: Tensor | None = None,
        body_pose: Tensor | None = None,
        global_orient: Tensor | None = None,
        transl: Tensor | None = None,
    ) -> Articulation:
        """Pose SMPL's 24 joints, weighted means of the bones' heads, without computing vertices.

        Arguments of batch size 1 are broadcast.

        Args:
            betas: (B, 11), phenotypes. Default: an average adult.
            body_pose: SMPL's 23 rotations, in any representation that
                :meth:`mmjrr.body_models.SMPL.articulate` accepts. Default: the T-pose.
            global_orient: One rotation, about the pelvis. Default: no rotation.
            transl: (B, 3), meters. Default: zeros.

        Raises:
            ValueError: An argument has another shape, or batch sizes differ.
        """
        like = self.v_template
        betas = self.mean_phenotypes if betas is None else betas
        transl = like.new_zeros(1, 3) if transl is None else transl
        check_width('betas', betas, self.num_betas)
        check_width('transl', transl, 3)
        root = self._rotations('global_orient', global_orient, 1)
        others = self._rotations('body_pose', body_pose, len(SMPL_JOINTS) - 1)
        batch = batch_size(betas=betas, body_pose=others, global_orient=root, transl=transl)
        local = torch.cat([part.expand(batch, -1, -1, -1) for part in (root, others)], dim=1)

        coefficients = self.phenotypes(betas)
        heads = self.head_template + torch.einsum('nc,cbk->nbk', coefficients, self.head_shapes)
        to_t_pose = t_pose_rotations(self.bones, heads)
        turned = [local[:, 0]]
        for joint in range(1, len(SMPL_JOINTS)):
            turned.append(turned[SMPL_PARENTS[joint]] @ local[:, joint])
        rotations = torch.stack(turned, 1)[:, self.joint_of_bones] @ to_t_pose
        posed_heads = self._chain(rotations, heads.expand(batch, -1, -1))
        joints = self.joint_weights @ posed_heads
        shift = like.new_tensor(PELVIS_POSITION) - joints[:, :1]
        translations = posed_heads + shift - (rotations @ heads[..., None])[..., 0]
        transforms = torch.cat([rotations, translations[..., None]], -1)
        return Articulation(coefficients, transforms, joints + shift, transl)

    def _chain(self, rotations: Tensor, heads: Tensor) -> Tensor:  # (B, bones, 3)
        """Return the positions of the bones' heads, each carried by its parent's rotation."""
        posed = [heads[:, 0]]
        for bone, parent in enumerate(self.bone_parents[1:], start=1):
            offset = (rotations[:, parent] @ (heads[:, bone] - heads[:, parent])[..., None])[..., 0]
            posed.append(posed[parent] + offset)
        return torch.stack(posed, 1)


class _Phenotypes:
    """Coefficients of Anny's blend shapes from phenotypes.

    Anny's model computes them in float64 on the CPU. Copies of a body share it.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model

    def __deepcopy__(self, memo: dict[int, Any]) -> _Phenotypes:
        return self

    def __call__(self, betas: Tensor) -> Tensor:  # (B, 11) -> (B, C)
        values = betas.to('cpu', torch.float64).unbind(1)
        phenotypes = dict(zip(PHENOTYPES, values, strict=True))
        coefficients: Tensor = self.model.get_phenotype_blendshape_coefficients(**phenotypes)
        return coefficients.to(betas)


def _load() -> Any:
    try:
        from anny import Anny
    except ImportError as error:
        raise ImportError(f'AnnyBody needs the package anny; install it with: {INSTALL}') from error
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return Anny(rig='makehuman', topology='anny', phenotypes='all', skinning_method='lbs')


def _y_up(vectors: Tensor) -> Tensor:
    """Convert from Anny's frame, z up and facing -y, to y up and facing z."""
    x, y, z = vectors.unbind(-1)
    return torch.stack([x, z, -y], -1)
