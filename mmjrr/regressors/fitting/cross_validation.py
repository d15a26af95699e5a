"""Fit of a regressor to any meshes and joints, with its error on people and sequences held out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import Array, BoolArray, FloatArray, IndexArray
from mmjrr.body_models import LazyVertices
from mmjrr.regressors.fitting.alignment import alignment_matrix, resolve_root
from mmjrr.regressors.fitting.fit import JointRegressorFit, fit_joint_regressor
from mmjrr.regressors.fitting.markers import fit_markers
from mmjrr.regressors.fitting.stream import MissingJointsError, as_tensor
from mmjrr.regressors.joint_regressor import JointRegressor

#: Number of meshes of a batch.
_BATCH = 64

#: The groups that a fold holds out, their frames, and the number of frames fitted.
_Fold = tuple[tuple[str, ...], IndexArray, int]


@dataclass(frozen=True)
class HeldOutErrors:
    """Errors of regressors on the frames to which they were not fitted.

    Attributes:
        by: What was held out: ``'person'`` or ``'sequence'``.
        folds: For each fold the groups held out, and the numbers of frames fitted and tested;
            frames that a fit excludes are not counted.
        joint_error: (J,) mean distance of each joint over the held-out frames, meters; NaN for a
            joint that is missing from all of them.
        error: The same over all joints, meters.
    """

    by: str
    folds: tuple[tuple[tuple[str, ...], int, int], ...]
    joint_error: FloatArray
    error: float


@dataclass(frozen=True)
class RegressorReport:
    """A fitted regressor, and how well it predicts joints.

    Attributes:
        fit: The fit to all frames.
        joint_error: (J,) mean distance of each joint over the fitted frames, meters.
        error: The same over all joints, meters.
        held_out: Errors on held-out frames, by what was held out.
        not_validated: Reasons why a kind of cross-validation, or a fold of it, was left out.
        missing: Number of frames from which each joint is missing, by joint name.
    """

    fit: JointRegressorFit
    joint_error: FloatArray
    error: float
    held_out: dict[str, HeldOutErrors] = field(default_factory=dict)
    not_validated: tuple[str, ...] = ()
    missing: dict[str, int] = field(default_factory=dict)

    @property
    def regressor(self) -> JointRegressor:
        """The regressor fitted to all frames."""
        return self.fit.regressor

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a dict of JSON values, lengths in mm."""
        names = self.regressor.joint_names
        offsets = self.regressor.normal_offsets

        def by_joint(values: FloatArray) -> dict[str, float | None]:
            return {
                name: round(1000 * float(value), 4) if np.isfinite(value) else None
                for name, value in zip(names, values, strict=True)
            }

        return {
            'frames': self.fit.n_frames,
            'dropped': self.fit.n_dropped,
            'gap': self.fit.dual_gap,
            'converged': self.fit.converged,
            'support': self.fit.support_sizes,
            'missing': self.missing,
            'fitted_mm': {'all': 1000 * self.error, **by_joint(self.joint_error)},
            'held_out_mm': {
                by: {'all': 1000 * errors.error, **by_joint(errors.joint_error)}
                for by, errors in self.held_out.items()
            },
            'folds': {
                by: [
                    {'held_out': list(groups), 'fitted': fitted, 'tested': tested}
                    for groups, fitted, tested in errors.folds
                ]
                for by, errors in self.held_out.items()
            },
            'not_validated': list(self.not_validated),
            'normal_offsets_mm': None if offsets is None else by_joint(offsets.double().numpy()),
        }


def fit_and_validate(
    vertices: Tensor | Array | LazyVertices,
    joints: Array,
    joint_names: Sequence[str],
    *,
    groups: dict[str, Sequence[str]] | None = None,
    root: str | None = 'mean',
    body_model: str = 'unnamed',
    faces: Array | None = None,
    markers: Sequence[str] = (),
    max_folds: int = 5,
    tol: float = 1e-6,
    provenance: dict[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> RegressorReport:
    """Fit a regressor from meshes to joints, and cross-validate it.

    For each kind of group, every fold holds out some of the groups: a regressor is fitted to the
    other frames and tested on these. A fold is left out if a joint is missing from the other
    frames. Frames that the fit to all frames excludes are not tested.

    Args:
        vertices: (N, V, 3), meters, of any mesh.
        joints: (N, J, 3), meters, in the vertices' frame up to what ``root`` removes. A joint is
            missing from a frame if a coordinate is NaN.
        joint_names: Names of the J joints.
        groups: Label of each frame by kind: ``dict(person=[...], sequence=[...])``. Default: none,
            no cross-validation.
        root: Removal of each frame's translation, as in
            :func:`~mmjrr.regressors.fit_joint_regressor`. Default: ``'mean'``.
        body_model: Name of the body.
        faces: (F, 3), the mesh's faces; needed for markers.
        markers: Names of the joints that lie off the surface, along its normal.
        max_folds: Largest number of folds of a kind, at least 2; more groups than that share folds.
        tol: Relative dual gap of each fit.
        provenance: Description of the data, kept with the regressor.
        progress: Function that takes a line before each fit.

    Raises:
        ValueError: Numbers of frames or joints differ, a joint is missing from all frames, or as in
            :func:`~mmjrr.regressors.fit_joint_regressor`.
    """
    if max_folds < 2:
        raise ValueError(f'max_folds: found {max_folds}, expected at least 2')
    frames = _Frames(vertices, joints, joint_names, root)
    report = progress or (lambda line: None)

    def fit(rows: IndexArray, kept: dict[str, Any]) -> JointRegressorFit:
        batches = frames.batches(rows)
        options: dict[str, Any] = dict(body_model=body_model, tol=tol, provenance=kept)
        if markers:
            if faces is None:
                raise ValueError('faces: found none, expected those of the mesh, for markers')
            return fit_markers(batches, joint_names, faces, markers, root, **options)
        return fit_joint_regressor(batches, joint_names, root, **options)

    tested: dict[str, tuple[list[_Fold], FloatArray]] = {}
    not_validated: list[str] = []
    for by, labels in (groups or {}).items():
        if len(labels) != len(frames):
            raise ValueError(
                f'groups: {by}: found {len(labels)} labels, expected {len(frames)}, one per frame'
            )
        folds = _folds(labels, max_folds)
        if len(folds) < 2:
            not_validated.append(f'by {by}: all frames are of one {by}, {labels[0]!r}')
            continue
        tested[by] = _test_folds(by, folds, frames, fit, report, not_validated)
    report(f'Fitting to all {len(frames)} frames')
    everything = np.arange(len(frames))
    fitted = fit(everything, provenance or {})
    bad = list(fitted.bad_frames)
    fitted_errors = frames.errors(fitted.regressor, everything)
    fitted_errors[bad] = np.nan
    held_out: dict[str, HeldOutErrors] = {}
    for by, (tested_folds, errors) in tested.items():
        errors[bad] = np.nan
        has_error = ~np.isnan(errors).all(1)
        if has_error.any():
            described = tuple(
                (held_out_groups, n_fitted, int(has_error[rows].sum()))
                for held_out_groups, rows, n_fitted in tested_folds
            )
            held_out[by] = HeldOutErrors(by, described, *_means(errors))
    return RegressorReport(
        fitted,
        *_means(fitted_errors),
        held_out,
        tuple(not_validated),
        dict(zip(joint_names, (~frames.present).sum(0).tolist(), strict=True)),
    )


def _test_folds(
    by: str,
    folds: Sequence[tuple[tuple[str, ...], IndexArray]],
    frames: _Frames,
    fit: Callable[[IndexArray, dict[str, Any]], JointRegressorFit],
    report: Callable[[str], None],
    not_validated: list[str],
) -> tuple[list[_Fold], FloatArray]:
    """Fit without each fold, and return the folds and the errors (N, J) of the frames held out.

    Folds without which a joint is missing are left out, and described in ``not_validated``.
    """
    errors = np.full(frames.joints.shape[:2], np.nan)
    tested: list[_Fold] = []
    for held_out_groups, rows in folds:
        rest = np.setdiff1d(np.arange(len(frames)), rows)
        shown = ', '.join(held_out_groups[:3]) + (', ...' if len(held_out_groups) > 3 else '')
        report(f'Fitting without {by} {shown}: {len(rest)} frames')
        try:
            fitted = fit(rest, {})
        except MissingJointsError as error:
            not_validated.append(f'by {by}, without {shown}: {error}')
            continue
        errors[rows] = frames.errors(fitted.regressor, rows)
        tested.append((held_out_groups, rows, fitted.n_frames))
    return tested, errors


def _folds(labels: Sequence[str], max_folds: int) -> list[tuple[tuple[str, ...], IndexArray]]:
    """Return the groups of each fold and their rows; groups are dealt out in order of size."""
    names, counts = np.unique(np.asarray(labels), return_counts=True)
    folds: list[list[str]] = [[] for _ in range(min(len(names), max_folds))]
    sizes = [0] * len(folds)
    for index in np.argsort(-counts, kind='stable'):
        smallest = int(np.argmin(sizes))
        folds[smallest].append(str(names[index]))
        sizes[smallest] += int(counts[index])
    array = np.asarray(labels)
    return [(tuple(sorted(fold)), np.flatnonzero(np.isin(array, fold))) for fold in folds]


def _means(errors: FloatArray) -> tuple[FloatArray, float]:
    """Return the mean of each column without NaN, and the mean of all values."""
    present = ~np.isnan(errors)
    counts = present.sum(0)
    sums = np.where(present, errors, 0).sum(0)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return means, float(sums.sum() / max(int(counts.sum()), 1))


class _Frames:
    """Meshes and joints of N frames."""

    def __init__(
        self,
        vertices: Tensor | Array | LazyVertices,
        joints: Array,
        joint_names: Sequence[str],
        root: str | None,
    ) -> None:
        self.vertices = vertices if isinstance(vertices, LazyVertices) else as_tensor(vertices)
        self.joints = np.asarray(joints, dtype=np.float64)
        expected = (self.vertices.shape[0], len(joint_names), 3)
        if self.joints.shape != expected:
            raise ValueError(f'joints: found the shape {self.joints.shape}, expected {expected}')
        self.root = resolve_root(root, list(joint_names))
        self.present: BoolArray = np.isfinite(self.joints).all(-1)
        never = [
            name for name, has in zip(joint_names, self.present.any(0), strict=True) if not has
        ]
        if never:
            raise ValueError(f'joints: {never} are missing from every frame')
        self.joints[~self.present] = np.nan

    def __len__(self) -> int:
        return len(self.joints)

    def batches(self, rows: IndexArray) -> Iterable[Sequence[Any]]:
        """Return re-iterable batches of some frames."""
        return _Batches(self, rows)

    def batch(self, rows: IndexArray) -> tuple[Tensor | LazyVertices, Tensor]:
        """Return meshes and joints of some frames."""
        return self.vertices[torch.from_numpy(rows)], torch.from_numpy(self.joints[rows])

    def errors(self, regressor: JointRegressor, rows: IndexArray) -> FloatArray:
        """Return the distance (n, J) of each joint after alignment; NaN where it is missing."""
        regressor = regressor.double()
        errors = np.full((len(rows), self.joints.shape[1]), np.nan)
        for start in range(0, len(rows), _BATCH):
            vertices, joints = self.batch(rows[start : start + _BATCH])
            support = regressor.support
            selected = (
                vertices.of(support)
                if isinstance(vertices, LazyVertices)
                else vertices[:, support].double()
            )
            error = (regressor(selected.cpu()) - joints).numpy()
            present = self.present[rows[start : start + _BATCH]]
            for frame, (offset, has) in enumerate(zip(error, present, strict=True)):
                if not self._is_usable(has):
                    continue
                align = alignment_matrix(has.astype(float), self.root)
                aligned = align @ np.where(has[:, None], offset, 0.0)
                errors[start + frame] = np.where(has, np.linalg.norm(aligned, axis=-1), np.nan)
        return errors

    def _is_usable(self, has: BoolArray) -> bool:
        """Return whether a fit uses a frame with these joints (J,)."""
        if isinstance(self.root, int):
            return bool(has[self.root] and has.sum() > 1)
        return bool(has.sum() > (1 if self.root == 'mean' else 0))


class _Batches:
    def __init__(self, frames: _Frames, rows: IndexArray) -> None:
        self.frames, self.rows = frames, rows

    def __iter__(self) -> Iterator[tuple[Tensor | LazyVertices, Tensor]]:
        for start in range(0, len(self.rows), _BATCH):
            yield self.frames.batch(self.rows[start : start + _BATCH])
