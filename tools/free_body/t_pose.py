"""SMPL's T-pose, by linear blend skinning with MakeHuman's rig."""

from __future__ import annotations

import numpy as np

from .rotations import rotation_about, rotation_between
from .sampling import RiggedHumans
from .skeleton import joint_positions

#: Position of the pelvis in meters, close to that of SMPL's, so that translations agree.
PELVIS_POSITION = np.array([0.0, -0.22, 0.03])
#: Degrees by which the trunk leans back from MakeHuman's rest pose: SMPL's shoulders lie above its
#: hips and slightly behind them.
TRUNK_LEAN = 4.0
#: Degrees by which a raised arm takes the collarbone along.
COLLAR_RAISE = 10.0
#: Degrees by which the ankles lie behind the hips, and by which the toes point outwards.
LEG_LEAN, TOES_OUT = 3.0, 8.0
#: Share of the forearm's twist that its first bone takes; the second takes the rest.
FOREARM_TWIST = 0.3


def to_t_pose(humans: RiggedHumans) -> None:
    """Bring every sample into SMPL's T-pose, in place."""
    for vertices, heads in zip(humans.vertices, humans.bone_heads, strict=True):
        rotations = t_pose_rotations(humans.bones, heads)
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


def t_pose_rotations(bones: list[str], heads: np.ndarray) -> np.ndarray:  # (B, 3) -> (B, 3, 3)
    """Return the rotations of the bones, in the body's frame, that give the T-pose."""
    head_of = {name: heads[i] for i, name in enumerate(bones)}
    rotations = np.tile(np.eye(3), (len(bones), 1, 1))

    def rotate(prefixes: tuple[str, ...], side: str, rotation: np.ndarray) -> None:
        for i, name in enumerate(bones):
            if name.startswith(prefixes) and name.endswith(side):
                rotations[i] = rotation

    trunk = rotation_about(np.array([1.0, 0, 0]), -np.radians(TRUNK_LEAN))
    rotate(('spine03', 'spine02', 'spine01', 'breast'), '', trunk)
    for side, sign in (('.L', 1.0), ('.R', -1.0)):
        # Arms lie along x with the palms down.
        outwards = np.array([sign, 0.0, 0.0])
        collar = rotation_about(np.array([0, 0, 1.0]), sign * np.radians(COLLAR_RAISE))
        rotate(('clavicle', 'shoulder'), side, collar @ trunk)
        elbow, wrist = head_of['lowerarm01' + side], head_of['wrist' + side]
        upper_arm = rotation_between(elbow - head_of['upperarm01' + side], outwards)
        rotate(('upperarm',), side, upper_arm)
        # The bent elbow is straightened about its own hinge.
        forearm = rotation_between(upper_arm @ (wrist - elbow), outwards) @ upper_arm
        # The twist brings the direction from little to index finger to +z, in front.
        knuckles = forearm @ (head_of['finger2-1' + side] - head_of['finger5-1' + side])
        twist = np.arctan2(sign * knuckles[1], knuckles[2])
        for bone, share in (('lowerarm01', FOREARM_TWIST), ('lowerarm02', 1 - FOREARM_TWIST)):
            rotate((bone,), side, rotation_about(outwards, share * twist) @ forearm)
        hand = rotation_about(outwards, twist) @ forearm
        middle_finger = hand @ (head_of['finger3-1' + side] - wrist)
        hand = rotation_between(middle_finger, outwards) @ hand
        rotate(('wrist', 'metacarpal', 'finger'), side, hand)
        # Ankles lie below the hips and slightly behind them; feet are level.
        hip, ankle = head_of['upperleg01' + side], head_of['foot' + side]
        down = np.array([0.0, -1.0, -np.tan(np.radians(LEG_LEAN))])
        rotate(('upperleg', 'lowerleg'), side, rotation_between(ankle - hip, down))
        foot = rotation_about(np.array([0, 1.0, 0]), sign * np.radians(TOES_OUT))
        rotate(('foot', 'toe'), side, foot)
    return rotations
