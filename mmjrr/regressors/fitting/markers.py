"""Fit of points off the surface: weights on the simplex, and an offset along the normal.

A marker's position is ``W x + d n`` (:mod:`mmjrr.regressors.normals`). For fixed ``d`` and ``n``
the weights are those of :func:`~mmjrr.regressors.fit_joint_regressor`, fitted to ``y - d n``. For
fixed ``W`` the offsets minimize a quadratic function: with the coupling matrix ``P`` of a frame
(:mod:`mmjrr.regressors.fitting.alignment`), its normals ``N`` (J, 3), its errors ``E = y - W x``,
and sums over the frames, they solve

    sum (P * N N^T) d = sum (P * N E^T) 1,

where ``*`` multiplies entry by entry. Both steps are repeated until no offset changes by more than
:data:`TOLERANCE`. Frames that a fit without offsets excludes as bad are left out of all steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import Array, FloatArray
from mmjrr.body_models import LazyVertices
from mmjrr.regressors.fitting.alignment import coupling_matrix, resolve_root
from mmjrr.regressors.fitting.fit import (
    BadFrameWarning,
    JointRegressorFit,
    find_bad_frames,
    fit_joint_regressor,
    warn_of_bad_frames,
)
from mmjrr.regressors.fitting.stream import FrameStream, as_tensor
from mmjrr.regressors.joint_regressor import JointRegressor
from mmjrr.regressors.normals import NormalOffsets, vertex_normals

#: Largest change of an offset, in meters, at which the rounds end, and their largest number.
TOLERANCE = 1e-4
MAX_ROUNDS = 12

#: Relative dual gap of the fits while offsets still change.
_ROUND_TOL = 1e-3

#: First offset, in meters, of every point: normals are computed for points with an offset only.
_FIRST = 1e-6

Batch = Sequence[Any]


def fit_markers(
    batches: Iterable[Batch],
    joint_names: Sequence[str],
    faces: Array,
    markers: Sequence[str],
    root: str | None = None,
    tol: float = 1e-6,
    **options: Any,
) -> JointRegressorFit:
    """Fit a regressor of which some points lie off the surface, along its normal.

    Args:
        batches: Re-iterable batches, as in :func:`~mmjrr.regressors.fit_joint_regressor`.
        joint_names: Names of the points.
        faces: (F, 3), the mesh's faces, counterclockwise seen from outside.
        markers: Names of the points that have an offset.
        root: As in :func:`~mmjrr.regressors.fit_joint_regressor`.
        tol: Relative dual gap of the last fit.
        options: Further arguments of :func:`~mmjrr.regressors.fit_joint_regressor`.

    Returns:
        The last fit, whose regressor has the offsets.

    Warns:
        BadFrameWarning: Frames are excluded.

    Raises:
        ValueError: A marker is not among the points, or as in
            :func:`~mmjrr.regressors.fit_joint_regressor`.
    """
    unknown = [name for name in markers if name not in joint_names]
    if unknown:
        raise ValueError(f'markers: found {unknown}, expected some of {list(joint_names)}')
    is_marker = np.array([name in markers for name in joint_names])
    triangles = torch.as_tensor(faces).long()
    offsets = np.zeros(len(joint_names))
    screened = _bad_frames(batches, joint_names, root, options)

    def fit_to(shifted: Iterable[Batch], tol: float) -> JointRegressorFit:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', BadFrameWarning)  # there is one warning at the end
            fit = fit_joint_regressor(shifted, joint_names, root, tol=tol, **options)
        return replace(fit, bad_frames=screened | fit.bad_frames)

    shifted: Iterable[Batch] = _WithoutJoints(batches, screened)
    if root is None:  # meshes and points are in one frame of reference
        weight, offsets = _nearest_vertices(_without(batches, screened), is_marker, triangles)
        normals = NormalOffsets(np.where(is_marker, _FIRST, 0.0), weight, triangles)
        shifted = _Shifted(batches, weight, normals, offsets, screened)
    for _ in range(MAX_ROUNDS):
        fit = fit_to(shifted, max(tol, _ROUND_TOL))
        weight = fit.regressor.weight.double()
        normals = NormalOffsets(np.where(is_marker, _FIRST, 0.0), weight, triangles)
        previous = offsets
        good = _without(batches, fit.bad_frames)
        offsets = _fit_offsets(good, weight, normals, is_marker, joint_names, root)
        shifted = _Shifted(batches, weight, normals, offsets, screened)
        if np.abs(offsets - previous).max() <= TOLERANCE:
            break
    fit = fit_to(shifted, tol)
    warn_of_bad_frames('fit_markers', fit.bad_frames, fit.n_frames + fit.n_dropped)
    fitted = fit.regressor
    fitted.provenance['n_bad_frames'] = len(fit.bad_frames)
    regressor = JointRegressor(
        fitted.weight,
        fitted.joint_names,
        fitted.body_model,
        fitted.provenance,
        normal_offsets=offsets,
        faces=triangles,
    )
    return replace(fit, regressor=regressor)


def _bad_frames(
    batches: Iterable[Batch], joint_names: Sequence[str], root: str | None, options: dict[str, Any]
) -> dict[int, str]:
    """Return the bad frames of a fit without offsets with the options of the fit."""
    stream = FrameStream(
        batches,
        joint_names,
        root,
        options.get('vertex_ids'),
        options.get('on_bad_frame', 'skip'),
        options.get('progress'),
    )
    return find_bad_frames(stream, options.get('max_iter', 20000))


def _without(batches: Iterable[Batch], excluded: Collection[int]) -> Iterator[Batch]:
    """Yield the batches without the frames of some numbers."""
    first = 0
    for batch in batches:
        count = len(batch[1])
        kept = torch.tensor([i for i in range(count) if first + i not in excluded])
        first += count
        if len(kept) == count:
            yield batch
        elif len(kept):
            vertices, *arrays = batch
            meshes = vertices if isinstance(vertices, LazyVertices) else as_tensor(vertices)
            yield (meshes[kept], *(as_tensor(array)[kept] for array in arrays))


class _WithoutJoints:
    """Batches in which the joints are missing from the frames of some numbers.

    A fit drops these frames, and keeps the numbers of the others.
    """

    def __init__(self, batches: Iterable[Batch], excluded: Collection[int]) -> None:
        self.batches, self.excluded = batches, excluded

    def __iter__(self) -> Iterator[Batch]:
        first = 0
        for vertices, joints, *rest in self.batches:
            rows = [i for i in range(len(joints)) if first + i in self.excluded]
            first += len(joints)
            if rows:
                joints = as_tensor(joints).clone()
                joints[rows] = torch.nan
            yield (vertices, joints, *rest)


def _nearest_vertices(
    batches: Iterable[Batch], is_marker: Array, faces: Tensor
) -> tuple[Tensor, FloatArray]:
    """Find the vertex of each point, and its offset, with which they stay closest over all frames.

    For a vertex ``x`` with normal ``n`` the best offset is the mean of ``n (y - x)``, and the mean
    square distance is that of ``y - x`` less the squared offset.

    Returns:
        Weights (J, V) of one vertex per point, and offsets (J,), zero for points without one.
    """
    squares = products = counts = torch.zeros(())
    for batch in batches:
        vertices = batch[0]
        meshes = vertices.of() if isinstance(vertices, LazyVertices) else as_tensor(vertices)
        meshes = meshes.double().cpu()
        normals = vertex_normals(meshes, faces)
        joints = as_tensor(batch[1]).double()
        present = ~torch.isnan(joints).any(-1)
        difference = [
            torch.where(present[:, j, None, None], joints[:, j, None] - meshes, 0.0)
            for j in range(joints.shape[1])
        ]
        squares = squares + torch.stack([(d * d).sum((0, 2)) for d in difference])
        products = products + torch.stack([(d * normals).sum((0, 2)) for d in difference])
        counts = counts + present.sum(0)
    counts = counts.clamp(min=1)[:, None]
    means = products / counts * torch.from_numpy(is_marker)[:, None]
    nearest = (squares / counts - means.square()).argmin(1)
    rows = torch.arange(len(nearest))
    weight = torch.zeros_like(means)
    weight[rows, nearest] = 1.0
    return weight, means[rows, nearest].numpy()


def _fit_offsets(
    batches: Iterable[Batch],
    weight: Tensor,
    normals: NormalOffsets,
    is_marker: Array,
    joint_names: Sequence[str],
    root: str | None,
) -> FloatArray:
    """Return the offsets (J,) that minimize the aligned squared errors for fixed weights."""
    count = len(joint_names)
    matrix, vector = np.zeros((count, count)), np.zeros(count)
    index = resolve_root(root, list(joint_names))
    for batch in batches:
        points, directions = _points(batch[0], weight, normals)
        joints = as_tensor(batch[1]).double()
        present = ~torch.isnan(joints).any(-1)
        share = present.double().numpy()
        if len(batch) > 2:
            share = share * np.asarray(batch[2])
        error = torch.where(present[..., None], joints - points, 0.0).numpy()
        direction = (directions * present[..., None]).numpy()
        for frame in range(len(share)):
            if not share[frame].any() or (isinstance(index, int) and not share[frame, index]):
                continue
            coupling = coupling_matrix(share[frame], index)
            matrix += coupling * (direction[frame] @ direction[frame].T)
            vector += (coupling * (direction[frame] @ error[frame].T)).sum(1)
    offsets = np.zeros(count)
    rows = np.flatnonzero(is_marker & (np.diag(matrix) > 0))
    offsets[rows] = np.linalg.lstsq(matrix[np.ix_(rows, rows)], vector[rows], rcond=None)[0]
    return offsets


def _points(
    vertices: Tensor | LazyVertices, weight: Tensor, normals: NormalOffsets
) -> tuple[Tensor, Tensor]:
    """Return the points on the surface and their normals, (n, J, 3) each."""
    has_weight = weight.any(0)
    has_weight[normals.vertex_ids] = True
    support = torch.nonzero(has_weight)[:, 0]
    if isinstance(vertices, LazyVertices):
        selected = vertices.of(support).cpu()
    else:
        selected = as_tensor(vertices)[:, support].double().cpu()
    part = weight[:, support]
    return part @ selected, normals.directions(selected, part, support)


class _Shifted:
    """Batches whose joints are moved back to the surface, and missing from excluded frames."""

    def __init__(
        self,
        batches: Iterable[Batch],
        weight: Tensor,
        normals: NormalOffsets,
        offsets: FloatArray,
        excluded: Collection[int],
    ) -> None:
        self.batches, self.weight, self.normals = _WithoutJoints(batches, excluded), weight, normals
        self.offsets = torch.from_numpy(offsets)

    def __iter__(self) -> Iterator[Batch]:
        for vertices, joints, *rest in self.batches:
            _, directions = _points(vertices, self.weight, self.normals)
            shift = self.offsets[:, None] * directions
            yield (vertices, as_tensor(joints).double() - shift, *rest)
