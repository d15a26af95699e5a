"""The regressor fit written out slowly: one equation for each coordinate of each joint.

Shared by the tests of :mod:`mmjrr.regressors.fitting`. Nothing here uses that package.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize, nnls

NAMES = ('pelvis', 'left_knee', 'right_knee', 'head')
ROOTS = ('pelvis', 'head', 'mean', None)


def random_frames(frames=40, num_vertices=10, num_joints=4, noise=0.03, seed=0):
    """Random meshes 5 m from the camera, joints of a random regressor plus noise, and that one."""
    rng = np.random.default_rng(seed)
    vertices = rng.normal(0, 0.3, (frames, num_vertices, 3)) + [0.2, -0.1, 5.0]
    true = rng.dirichlet(np.full(num_vertices, 0.3), num_joints)
    joints = true @ vertices + rng.normal(0, noise, (frames, num_joints, 3))
    return vertices, joints, true


def in_batches(*arrays, size=7):
    """Yield batches of ``size`` frames, once."""
    for i in range(0, len(arrays[0]), size):
        yield tuple(torch.from_numpy(array[i : i + size]) for array in arrays)


def aligned_system(vertices, joints, weights, root, names=NAMES):
    """Write out ``A``, ``b`` of ``f(W) = |A W.ravel() - b|²``.

    A row for each frame, joint and coordinate: ``sqrt(u_j)`` times the joint's error, less that of
    the root joint or the weighted mean error.
    """
    num_joints, num_vertices = joints.shape[1], vertices.shape[1]
    rows, target = [], []
    for v, x, u in zip(vertices, joints, weights, strict=True):
        present = np.nonzero(u > 0)[0]
        if root not in (None, 'mean') and names.index(root) not in present:
            continue
        for j in present:
            share = np.zeros(num_joints)
            share[j] = 1.0
            if root == 'mean':
                share[present] -= u[present] / u[present].sum()
            elif root is not None:
                share[names.index(root)] -= 1.0
            for c in range(3):
                rows.append(np.sqrt(u[j]) * np.outer(share, v[:, c]).ravel())
                target.append(np.sqrt(u[j]) * share[present] @ x[present, c])
    assert len(rows[0]) == num_joints * num_vertices
    return np.array(rows), np.array(target)


def objective_of(weight, vertices, joints, weights, root):
    """Evaluate ``f`` from the system written out."""
    a, b = aligned_system(vertices, joints, weights, root)
    return np.square(a @ weight.ravel() - b).sum()


def minimize_by_slsqp(vertices, joints, weights, root):
    """Minimize ``f`` by SciPy's general-purpose SLSQP: weights and objective."""
    num_joints, num_vertices = joints.shape[1], vertices.shape[1]
    middle = vertices.mean(1, keepdims=True)  # changes no error, and spares SLSQP's digits
    a, b = aligned_system(vertices - middle, joints - middle, weights, root)
    q, c = a.T @ a, a.T @ b
    scale = 1 / (b @ b)
    sums = np.kron(np.eye(num_joints), np.ones(num_vertices))
    minimum = minimize(
        lambda x: scale * np.square(a @ x - b).sum(),
        np.full(num_joints * num_vertices, 1 / num_vertices),
        jac=lambda x: 2 * scale * (q @ x - c),
        bounds=[(0, 1)] * (num_joints * num_vertices),
        constraints={'type': 'eq', 'fun': lambda x: sums @ x - 1, 'jac': lambda x: sums},
        method='SLSQP',
        options={'ftol': 1e-16, 'maxiter': 2000},
    )
    return minimum.x.reshape(num_joints, num_vertices), minimum.fun / scale


def minimize_by_nnls(vertices, joints):
    """Minimize ``f`` without alignment, where rows are independent, by SciPy's NNLS on each row.

    The sum of a row is one equation of overwhelming weight.
    """
    middle = vertices.mean(1, keepdims=True)
    a = (vertices - middle).transpose(0, 2, 1).reshape(-1, vertices.shape[1])
    heavy = np.full((1, vertices.shape[1]), 1e4)
    rows = []
    for j in range(joints.shape[1]):
        b = (joints[:, j] - middle[:, 0]).ravel()
        x, _ = nnls(np.vstack([a, heavy]), np.append(b, 1e4))
        rows.append(x / x.sum())
    return np.array(rows)


def without_common_row(weight, root):
    """Remove what alignment cannot see: a row added to all rows."""
    return weight if root is None else weight - weight.mean(0)
