"""Arrays of the free body in SMPL's file format."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from mmjrr.joints import SMPL_JOINTS, SMPL_PARENTS, swap_sides

from .mesh import check_closed, decimate, surface_weights
from .sampling import RiggedHumans
from .skeleton import fit_joint_regressor, joint_positions, skinning_weights
from .t_pose import to_t_pose

#: SMPL's numbers.
NUM_VERTICES, NUM_FACES, NUM_BETAS = 6890, 13776, 10


def build_free_body(humans: RiggedHumans) -> tuple[dict[str, np.ndarray], str]:
    """Build the body from samples, whose vertices and bones are brought into the T-pose in place.

    Returns:
        The arrays of the file by name, and a description of the body for people.
    """
    to_t_pose(humans)
    mean = humans.vertices.mean(0)
    points, faces = decimate(mean, humans.faces, NUM_VERTICES, NUM_FACES)
    mapping = surface_weights(points, mean, humans.faces)
    samples = np.stack([mapping @ sample for sample in humans.vertices])
    template, shapedirs, explained = shape_space(samples)
    check_closed(template, faces)
    joints = joint_positions(humans.bones, humans.bone_heads)
    regressor = fit_joint_regressor(samples, joints)
    weights = skinning_weights(
        mapping @ humans.bone_weights, humans.bones, template, faces, joints.mean(0)
    )
    arrays = dict(
        v_template=template.round(5).astype(np.float32),
        f=faces.astype(np.uint32),
        shapedirs=shapedirs.round(5).astype(np.float32),
        posedirs=np.zeros((NUM_VERTICES, 3, 9 * (len(SMPL_JOINTS) - 1)), np.float32),
        weights=weights.astype(np.float32),
        J_regressor=regressor.astype(np.float32),
        kintree_table=np.array([SMPL_PARENTS, range(len(SMPL_JOINTS))], np.int64).astype(np.uint32),
    )
    return arrays, describe(samples, joints, template, regressor, shapedirs, explained)


def shape_space(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Compute the principal components of vertices (N, V, 3).

    Returns:
        Mean (V, 3); components (V, 3, 10) of one standard deviation each, signed so that a larger
        coefficient makes the body taller; and the fraction of the variance that they explain.
    """
    template = samples.mean(0)
    flat = (samples - template).reshape(len(samples), -1)
    _, singular, directions = np.linalg.svd(flat, full_matrices=False)
    components = directions[:NUM_BETAS] * singular[:NUM_BETAS, None] / np.sqrt(len(samples) - 1)
    shapes = components.reshape(NUM_BETAS, -1, 3)
    top, bottom = template[:, 1].argmax(), template[:, 1].argmin()
    for shape in shapes:
        if shape[top, 1] < shape[bottom, 1]:
            shape *= -1
    explained = (singular[:NUM_BETAS] ** 2).sum() / (singular**2).sum()
    return template, np.moveaxis(shapes, 0, 2), float(explained)


def describe(
    samples: np.ndarray,  # (N, V, 3), meters
    joints: np.ndarray,  # (N, 24, 3), meters
    template: np.ndarray,  # (V, 3), meters
    regressor: np.ndarray,  # (24, V)
    shapedirs: np.ndarray,  # (V, 3, 10)
    explained: float,
) -> str:
    """Describe heights, joints, symmetry and shape components in a few lines."""
    heights = np.ptp(samples[:, :, 1], axis=1)
    regressed = np.einsum('jv,nvc->njc', regressor, samples)
    error = 1000 * np.linalg.norm(regressed - joints, axis=2)
    template_joints = regressor @ template
    lines = [
        f'shape: {NUM_BETAS} components explain {100 * explained:.2f}% of the variance',
        f'height: template {np.ptp(template[:, 1]):.3f} m, samples {heights.mean():.3f} m',
        f'  std {heights.std():.3f} m, {heights.min():.3f} to {heights.max():.3f} m',
        f'joints: {error.mean():.2f} mm from those of the bones in the mean, max {error.max():.2f}',
    ]
    for name, position, errors, row in zip(
        SMPL_JOINTS, template_joints, error.T, regressor, strict=True
    ):
        xyz = ' '.join(f'{coordinate:7.3f}' for coordinate in position)
        lines.append(f'  {name:15s} {xyz}   {errors.mean():5.2f} mm, {(row > 0).sum()} vertices')
    mirror = [SMPL_JOINTS.index(swap_sides(name)) for name in SMPL_JOINTS]
    asymmetry = np.linalg.norm(template_joints - template_joints[mirror] * [-1, 1, 1], axis=1)
    distance, _ = cKDTree(template * [-1, 1, 1]).query(template)
    lines.append(
        f'asymmetry: joints at most {1000 * asymmetry.max():.2f} mm; mirrored vertices to the '
        f'nearest vertex {1000 * distance.mean():.2f} mm in the mean'
    )
    std = np.linalg.norm(shapedirs, axis=(0, 1))
    lines.append('std of the components: ' + ' '.join(f'{value:.3f}' for value in std))
    return '\n'.join(lines)
