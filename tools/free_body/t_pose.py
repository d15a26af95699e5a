"""SMPL's T-pose, by linear blend skinning with MakeHuman's rig."""

from __future__ import annotations

import numpy as np
import torch

from mmjrr.body_models.anny_rig import PELVIS_POSITION, t_pose_rotations

from .sampling import RiggedHumans
from .skeleton import joint_positions


def to_t_pose(humans: RiggedHumans) -> None:
    """Bring every sample into SMPL's T-pose, in place."""
    rotations_of = t_pose_rotations(humans.bones, torch.from_numpy(humans.bone_heads)).numpy()
    for vertices, heads, rotations in zip(
        humans.vertices, humans.bone_heads, rotations_of, strict=True
    ):
        posed_heads = np.empty_like(heads)
        for bone, parent in enumerate(humans.parents):
            if parent < 0:
                posed_heads[bone] = heads[bone]
            else:
                offset = rotations[parent] @ (heads[bone] - heads[parent])
                posed_heads[bone] = posed_heads[parent] + offset
        translations = posed_heads - np.einsum('bij,bj->bi', rotations, heads)
        blended = np.tensordot(humans.bone_weights, rotations, 1)  # (V, 3, 3)
        vertices[:] = np.einsum('vij,vj->vi', blended, vertices) + (
            humans.bone_weights @ translations
        )
        heads[:] = posed_heads
        pelvis = joint_positions(humans.bones, heads[None])[0, 0]
        vertices += PELVIS_POSITION - pelvis
        heads += PELVIS_POSITION - pelvis
