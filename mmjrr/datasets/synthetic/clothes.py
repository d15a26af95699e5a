"""Clothes, hair and shoes of the synthetic people: outlines outside the skin.

The thickness differs by part of the body and by subject, so that no single offset of the outline
describes it. Labels are on the skin; masks and images show the clothes.
"""

from __future__ import annotations

import numpy as np

from mmjrr.array_types import FloatArray, IndexArray
from mmjrr.datasets.synthetic.seeding import stream
from mmjrr.geometry.surface import vertex_normals
from mmjrr.joints import SMPL_JOINTS

#: Thickness by SMPL joint without side, relative to the mean of the setting: a loose shirt and
#: trousers, half-long sleeves, shoes and hair; neck and hands are nearly bare.
_THICKNESS: dict[str, float] = {
    'pelvis': 1.5, 'spine1': 1.5, 'spine2': 1.5, 'spine3': 1.5, 'neck': 0.25, 'head': 1.0,
    'hip': 1.25, 'knee': 1.0, 'ankle': 1.0, 'foot': 1.0,
    'collar': 1.25, 'shoulder': 1.25, 'elbow': 0.5, 'wrist': 0.0, 'hand': 0.0,
}  # fmt: skip
#: Garments, which a subject wears thinner or thicker as a whole.
_GARMENTS = (
    ('pelvis', 'hip', 'knee'),
    ('spine1', 'spine2', 'spine3', 'collar', 'shoulder', 'elbow', 'neck'),
    ('ankle', 'foot'),
    ('head',),
)
#: Range of a garment's thickness relative to that of the table.
_RANGE = (0.6, 1.4)


def thickness_of_clothes(
    seed: int,
    subject: str,
    weight_planes: FloatArray,  # (24, V)
    thickness: float,
) -> FloatArray:  # (V,)
    """Draw a subject's clothes.

    Args:
        seed: Seed of the dataset.
        subject: Name of the subject.
        weight_planes: Share of SMPL's joints in the movement of the vertices, by which thickness
            blends from part to part.
        thickness: Thickness where the table has 1.

    Returns:
        Distance of the outline from the skin at each vertex, in the unit of ``thickness``.
    """
    rng = stream(seed, 'clothes', subject)
    by_joint = np.zeros(len(SMPL_JOINTS))
    for garment in _GARMENTS:
        factor = rng.uniform(*_RANGE)
        for joint, name in enumerate(SMPL_JOINTS):
            part = name.removeprefix('left_').removeprefix('right_')
            if part in garment:
                by_joint[joint] = factor * _THICKNESS[part]
    return thickness * (by_joint @ weight_planes)


def dress(
    vertices: FloatArray,  # (V, 3)
    faces: IndexArray,  # (F, 3)
    thickness: FloatArray,  # (V,)
) -> FloatArray:  # (V, 3)
    """Move vertices outwards along their normals."""
    return vertices + thickness[:, None] * vertex_normals(vertices, faces)
