"""Test whether subjects' joints are labeled at the same positions, and effect on a model's error.

Refined fits and annotated joints of several subjects give a regressor together with an offset of
each subject and joint (:func:`~mmjrr.regressors.fit_label_offsets`). On the test subjects, the
regressor is fixed, and the part of a model's MPJPE that is due to their offsets is measured by
moving the labels. No regressor is fitted to the test subjects.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjrr.array_types import Array
from mmjrr.body_models import SMPL, VertexMaker
from mmjrr.datasets.fits import load_fits
from mmjrr.datasets.image_names import parse_image_name
from mmjrr.datasets.predictions import Predictions
from mmjrr.errors import DataError
from mmjrr.io import sha256, versions, write_json
from mmjrr.io.paths import check_suffix
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.registry import BODY_MODELS
from mmjrr.regressors import (
    GroupedBatch,
    LabelOffsetsEstimate,
    LabelOffsetsFit,
    estimate_label_offsets,
    fit_label_offsets,
)
from mmjrr.regressors.fitting.subject_bootstrap import SubjectBootstrap
from mmjrr.regressors.fitting.untested_offsets import untested_pairs
from mmjrr.regressors.label_offsets import part_rotations
from mmjrr.regressors.regressor_files import read_sidecar

from .annotation_plausibility import check_annotated_joints
from .evaluate_predictions import PredictionsLike, evaluate
from .predicted_body import body_of
from .protocols import Protocol
from .regressed_joints import RegressorLike, load_regressors
from .result import format_table

FORMAT = 'mmjrr.label_consistency/1'
_BATCH = 64
#: Largest number of frames whose annotated joints are checked.
_MAX_CHECKED = 200
_MM = 1000.0


class LabeledFits:
    """Refined fits with annotated joints, as batches for the fit of label offsets.

    Args:
        path: A file that a refinement exported (``pseudo_gt.npz``), or the work directory that has
            it.
        body: The body model of the fits, or its config, which takes their gender and number of
            betas.
        gender: Gender of the bodies in place of the file's. Default: None, the file's.

    Attributes:
        remarks: A sentence for each implausible finding about the annotated joints.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: The file is broken, or lacks ``transl`` or the annotated joints ``S``; its gender
            or betas do not fit the body; or ``S`` is in another order than MMPose's.
        ValueError: ``gender`` is unknown.
    """

    def __init__(
        self, path: str | Path, body: SMPL | dict[str, Any], gender: str | None = None
    ) -> None:
        path = Path(path)
        self.path = path / 'pseudo_gt.npz' if path.is_dir() else path
        if not self.path.is_file():
            raise FileNotFoundError(f'{self.path}: no such file; run the refinement first')
        fits = load_fits(self.path)
        for name in ('transl', 'S'):
            if name not in fits:
                raise DataError(f'{self.path}: found no {name!r}, expected a file of refined fits')
        valid = fits.get('valid', np.ones(len(fits['imgname']), dtype=bool))
        if not valid.any():
            raise DataError(f'{self.path}: found no row with a body, expected refined fits')
        names = ('pose', 'betas', 'transl', 'S', 'center', 'scale', 'part')
        self.fits = {name: fits[name][valid] for name in names if name in fits}
        self.names: list[str] = fits['imgname'][valid].tolist()
        parsed = [parse_image_name(name) for name in self.names]
        self.subjects = [name.subject for name in parsed]
        self.sequences = [name.sequence for name in parsed]
        self.provenance: dict[str, Any] = fits.get('provenance', {})
        genders = fits['gender'][valid].tolist() if 'gender' in fits else None
        self.body = self._body(body, genders, gender)
        self.remarks = self._check_joints()
        self._vertices = VertexMaker(self.body)

    def __len__(self) -> int:
        return len(self.names)

    def _body(
        self, body: SMPL | dict[str, Any], genders: list[str] | None, gender: str | None
    ) -> SMPL:
        """Return the body of the fits, whose gender and number of betas are checked."""
        part = Predictions(
            body_pose=self.fits['pose'][:, 3:].reshape(len(self), -1, 3),
            betas=self.fits['betas'],
            gender=genders,
            source=self.path,
        )
        chosen = body_of(part, body, gender)
        if isinstance(chosen, dict):
            chosen = BODY_MODELS.build(dict(chosen))
        assert isinstance(chosen, SMPL)
        return chosen

    def _check_joints(self) -> tuple[str, ...]:
        """Check the annotated joints of evenly spaced frames."""
        rows = np.unique(np.linspace(0, len(self) - 1, _MAX_CHECKED).astype(int))
        labels = self.fits['S'][rows].astype(np.float64)
        keypoints_2d = None
        if 'part' in self.fits:
            part = self.fits['part'][rows].astype(np.float64)
            present = (part[..., 2:3] > 0).all(-1, keepdims=True)  # all, without a third column
            keypoints_2d = np.where(present, part[..., :2], np.nan)
        return check_annotated_joints(
            str(self.path), labels[..., :3], labels[..., 3], H36M_JOINTS_MMPOSE, keypoints_2d
        )

    def check_boxes(self) -> None:
        """Check that there are boxes and 2D joints, which :meth:`save_labels` needs.

        Raises:
            DataError: The fits lack them.
        """
        missing = [name for name in ('center', 'scale', 'part') if name not in self.fits]
        if missing:
            raise DataError(f'{self.path}: found no {missing}, expected a file of refined fits')

    def check_subjects(self) -> None:
        """Check that there are two subjects to compare.

        Raises:
            DataError: All fits are of one subject.
        """
        subjects = sorted(set(self.subjects))
        if len(subjects) < 2:
            raise DataError(
                f'{self.path}: imgname: found {subjects}, expected two subjects or more'
            )

    def default_root(self) -> str | None:
        """Return the alignment of the J_opt next to the file; ``'pelvis'`` if it is ``'mean'``.

        Raises:
            DataError: The sidecar of J_opt is damaged.
        """
        sidecar = read_sidecar(self.path.with_name('J_opt.npy'))
        root = sidecar.get('provenance', {}).get('root', 'pelvis')
        return root if root is None or root in H36M_JOINTS_MMPOSE else 'pelvis'

    def parameters(self, rows: slice | Array) -> dict[str, torch.Tensor]:
        """Return the body's parameters of some rows, float64."""
        pose = torch.from_numpy(self.fits['pose'][rows]).double()
        return dict(
            global_orient=pose[:, :3],
            body_pose=pose[:, 3:],
            betas=torch.from_numpy(self.fits['betas'][rows]).double(),
            transl=torch.from_numpy(self.fits['transl'][rows]).double(),
        )

    def rotations(self, rows: slice | Array) -> torch.Tensor:  # (n, 24, 3, 3)
        """Return the rotations of SMPL's joints from the rest pose to the camera frame."""
        values = self.parameters(rows)
        return part_rotations(
            self._vertices.body,
            global_orient=values['global_orient'],
            body_pose=values['body_pose'],
        )

    def save_labels(self, path: Path, estimate: LabelOffsetsEstimate | None = None) -> None:
        """Write an annotation file of these frames, with significant offsets subtracted if given.

        Raises:
            DataError: The fits lack boxes or 2D joints.
        """
        self.check_boxes()
        labels = self.fits['S'].astype(np.float64)
        if estimate is not None:
            index = estimate.offsets.index_of(self.subjects)
            for start in range(0, len(self), _BATCH):
                rows = slice(start, start + _BATCH)
                shift = estimate.offsets.displacements(self.rotations(rows), index[rows])
                labels[rows, :, :3] -= shift.numpy()
        boxes = {name: self.fits[name] for name in ('center', 'scale', 'part')}
        np.savez(path, imgname=np.array(self.names), S=labels, **boxes)

    def __iter__(self) -> Iterator[GroupedBatch]:
        for start in range(0, len(self), _BATCH):
            rows = slice(start, start + _BATCH)
            labels = torch.from_numpy(self.fits['S'][rows]).double()
            joints = torch.where(labels[..., 3:] > 0, labels[..., :3], torch.nan)
            yield GroupedBatch(
                self._vertices(**self.parameters(rows)),
                joints,
                self.rotations(rows),
                self.subjects[rows],
                self.sequences[rows],
            )


@dataclass(frozen=True)
class OffsetEffect:
    """The part of a model's MPJPE that is due to the test subjects' label offsets.

    Attributes:
        title: Name of the predictions.
        protocol: Name of the protocol.
        regressor: Name of the regressor.
        mpjpe: MPJPE in mm of the labels as they are, by subject and for 'all'.
        mpjpe_moved: MPJPE in mm of labels from which significant offsets are subtracted.
        estimate: The offsets of the test subjects under the regressor.
        frames: Number of evaluated frames.
    """

    title: str
    protocol: str
    regressor: str
    mpjpe: dict[str, float]
    mpjpe_moved: dict[str, float]
    estimate: LabelOffsetsEstimate
    frames: int

    def __str__(self) -> str:
        rows = [
            [group, f'{before:.1f}', f'{self.mpjpe_moved[group]:.1f}',
             f'{before - self.mpjpe_moved[group]:+.1f}']
            for group, before in self.mpjpe.items()
        ]  # fmt: skip
        caption = (
            f'{self.title}: MPJPE (mm) under {self.regressor}, protocol {self.protocol}, '
            f'{self.frames} frames'
        )
        header = ['Subject', 'labels', 'labels less offsets', 'due to offsets']
        blocks = [format_table(header, rows, caption), table_of_offsets(self.estimate)]
        return '\n\n'.join([*blocks, *filter(None, [untested_pairs(self.estimate)])])

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a dict of JSON values."""
        return {
            'title': self.title,
            'protocol': self.protocol,
            'regressor': self.regressor,
            'frames': self.frames,
            'mpjpe_mm': self.mpjpe,
            'mpjpe_without_offsets_mm': self.mpjpe_moved,
            'offsets': _offsets_dict(self.estimate),
        }


@dataclass(frozen=True)
class LabelConsistency:
    """Label offsets of the training subjects; ``str`` returns a table and a sentence.

    Attributes:
        result: Offsets, tests, and the regressor fits with and without offsets.
        root: How frames were aligned.
        alpha: Significance level.
        min_offset: Smallest significant offset, meters.
        effect: Effect of the test subjects' offsets on a model's error, if it was measured.
        bootstrap: Joints of regressors fitted to drawn subjects, without offsets, if computed.
        provenance: Checksums and versions.
    """

    result: LabelOffsetsFit
    root: str | None
    alpha: float
    min_offset: float
    effect: OffsetEffect | None = None
    bootstrap: SubjectBootstrap | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def sentence(self) -> str:
        """Summarize which joints are labeled differently, and what could not be tested."""
        sentences = [self._tested_pairs(), untested_pairs(self.result)]
        return ' '.join(filter(None, sentences))

    def _tested_pairs(self) -> str:
        flagged = self.result.significant
        names = self.result.offsets.joint_names
        joints = [name for j, name in enumerate(names) if flagged[:, j].any()]
        tests = int(self.result.is_tested.sum())
        if not tests:
            return ''
        condition = (
            f"at {100 * self.alpha:g} % after Holm's correction, and at least "
            f'{_MM * self.min_offset:g} mm'
        )
        if not joints:
            return (
                f'None of the {tests} tested pairs of a subject and a joint is labeled at another '
                f'point than the other subjects, significantly ({condition}).'
            )
        before, after = (
            _MM * fit.rmse for fit in (self.result.fit_without_offsets, self.result.fit)
        )
        return (
            f'{int(flagged.sum())} of {tests} tested pairs of a subject and a joint are labeled at '
            f'another point than the other subjects, significantly ({condition}): '
            f'{", ".join(joint.replace("_", " ") for joint in joints)}. Without these offsets, the '
            f'residuals of the regressor fit fall from {before:.2f} to {after:.2f} mm (root mean '
            'square).'
        )

    def __str__(self) -> str:
        blocks = [table_of_offsets(self.result), self.sentence()]
        if self.bootstrap is not None:
            blocks.append(table_of_joints(self.bootstrap))
        return '\n\n'.join([*blocks, *([str(self.effect)] if self.effect is not None else [])])

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a dict of JSON values."""
        return {
            'format': FORMAT,
            'unit': 'mm',
            'root': self.root,
            'alpha': self.alpha,
            'min_offset_mm': _MM * self.min_offset,
            'residual_rms_mm': {
                'without_offsets': _MM * self.result.fit_without_offsets.rmse,
                'with_significant_offsets': _MM * self.result.fit.rmse,
                'with_all_offsets': _MM * self.result.rmse,
            },
            'sentence': self.sentence(),
            'offsets': _offsets_dict(self.result),
            'joints_within_mm': None if self.bootstrap is None else _radii(self.bootstrap),
            'effect': None if self.effect is None else self.effect.to_dict(),
            'provenance': self.provenance,
        }

    def save(self, path: str | Path) -> Path:
        """Write the result as JSON and return the path.

        Raises:
            ValueError: The path does not end in ``.json``.
        """
        path = check_suffix(path, '.json')
        write_json(path, self.to_dict())
        return path


def label_consistency(
    fits: LabeledFits,
    *,
    root: str | None = 'pelvis',
    alpha: float = 0.01,
    min_offset: float = 0.005,
    progress: Callable[[str, int], None] | None = None,
) -> LabelConsistency:
    """Fit a regressor and label offsets to refined fits, and test the offsets.

    Args:
        fits: The refined fits of at least two subjects.
        root: Joint that is subtracted from each frame, and has no offsets; None for bodies whose
            translation is known, as from several views. Default: ``'pelvis'``.
        alpha: Significance level after Holm's correction. Default: 0.01.
        min_offset: Length below which offsets are not significant, meters. Default: 0.005.
        progress: Function called with the name of a pass and the number of frames read in it.

    Raises:
        DataError: All fits are of one subject.
        ValueError: An argument is invalid.
    """
    fits.check_subjects()
    source = dict(file=fits.path.name, sha256=sha256(fits.path))
    result = fit_label_offsets(
        fits,
        H36M_JOINTS_MMPOSE,
        root,
        alpha=alpha,
        min_offset=min_offset,
        body_model=fits.body.name,
        provenance=dict(fits=source, versions=versions()),
        progress=progress,
    )
    return LabelConsistency(
        result, root, alpha, min_offset, provenance=dict(fits=source, versions=versions())
    )


def offset_effect(
    fits: LabeledFits,
    predictions: PredictionsLike | Sequence[PredictionsLike],
    regressor: RegressorLike,
    protocol: str | dict[str, Any] | Protocol = 'paper',
    *,
    root: str | None = 'pelvis',
    alpha: float = 0.01,
    min_offset: float = 0.005,
    title: str = '',
    body_model: SMPL | dict[str, Any] | None = None,
    **reading: Any,
) -> OffsetEffect:
    """Measure the part of a model's MPJPE that is due to the test subjects' label offsets.

    The offsets are those of the labels from the joints that the regressor computes from bodies
    refined on the test subjects, in the frames of the bodies' parts. They are subtracted from the
    labels that the predictions are compared with. This is a report: a regressor fitted to these
    bodies would have seen the test subjects.

    Args:
        fits: Refined fits of the test subjects.
        predictions: The model's predictions, as :func:`~mmjrr.evaluation.evaluate` takes them.
        regressor: The regressor, fitted to other subjects.
        protocol: One protocol, as in :func:`~mmjrr.evaluation.evaluate`. Default: ``'paper'``.
        root: As in :func:`label_consistency`.
        alpha: Significance level after Holm's correction. Default: 0.01.
        min_offset: Length below which offsets are not significant, meters. Default: 0.005.
        title: Name of the predictions.
        body_model: Body model of the predictions, or its config. Default: None, that of the fits.
        reading: Further arguments of :func:`~mmjrr.evaluation.evaluate`.

    Raises:
        FileNotFoundError, DataError, ValueError: As :func:`~mmjrr.evaluation.evaluate` raises them.
        DataError: No prediction is of a frame of the fits.
    """
    fits.check_boxes()
    ((name, loaded),) = load_regressors([regressor]).items()
    loaded = loaded.reorder(H36M_JOINTS_MMPOSE)
    estimate = estimate_label_offsets(fits, loaded, root, alpha=alpha, min_offset=min_offset)
    with tempfile.TemporaryDirectory() as folder:
        annotations = [Path(folder) / name for name in ('labels.npz', 'moved.npz')]
        fits.save_labels(annotations[0])
        fits.save_labels(annotations[1], estimate)
        scores = [
            evaluate(
                predictions, path, {name: loaded}, protocol,
                body_model=fits.body if body_model is None else body_model,
                by=['subject'], title=title, **reading,
            )
            for path in annotations
        ]  # fmt: skip
    before, after = ({score.group: score.mpjpe for score in result.scores} for result in scores)
    return OffsetEffect(
        title or 'predictions', next(iter(scores[0].protocols)), name, before, after, estimate,
        scores[0].frames,
    )  # fmt: skip


def table_of_joints(bootstrap: SubjectBootstrap) -> str:
    """Return a table of how far joints move when subjects are drawn with replacement."""
    rows = [
        [name, '-' if radius is None else f'{radius:.1f}']
        for name, radius in _radii(bootstrap).items()
    ]
    caption = (
        "The regressor's joints on the template: 95 % of regressors fitted to "
        f'{bootstrap.n_subjects} subjects drawn with replacement are within'
    )
    return format_table(['Joint', 'mm'], rows, caption)


def _radii(bootstrap: SubjectBootstrap) -> dict[str, float | None]:
    """Return the radius of each joint in mm; None if fewer than two subjects have the joint."""
    radii = map(_number, _MM * bootstrap.radius())
    return dict(zip(bootstrap.joint_names, radii, strict=True))


def table_of_offsets(estimate: LabelOffsetsEstimate) -> str:
    """Return a table of offsets by joint and subject, significant ones with a star.

    A standard error is given where the offset is tested; a dash stands for an offset that cannot be
    told.
    """
    subjects, names = estimate.offsets.subjects, estimate.offsets.joint_names
    length = _MM * np.linalg.norm(estimate.estimates, axis=-1)
    trace = np.trace(estimate.covariance, axis1=-2, axis2=-1)
    error = _MM * np.sqrt(trace / 3)

    def cell(s: int, j: int) -> str:
        if not estimate.has_offset[s, j]:
            return '- '
        spread = f'{error[s, j]:.1f}' if estimate.is_tested[s, j] else '-'
        return f'{length[s, j]:.1f} ({spread}){"*" if estimate.significant[s, j] else " "}'

    rows = [[name, *(cell(s, j) for s in range(len(subjects)))] for j, name in enumerate(names)]
    rows.append(['sequences', *(f'{count} ' for count in estimate.n_sequences)])
    rows.append(['frames', *(f'{count} ' for count in estimate.n_frames)])
    caption = 'Label offsets: length (standard error of a coordinate), mm; * significant'
    if (estimate.has_offset & ~estimate.is_tested).any():
        caption += ', (-) not tested'
    return format_table(['Joint', *subjects], rows, caption)


def _offsets_dict(estimate: LabelOffsetsEstimate) -> dict[str, Any]:
    """Return offsets and tests by subject and joint as JSON values."""
    return {
        subject: {
            'frames': int(estimate.n_frames[s]),
            'sequences': int(estimate.n_sequences[s]),
            'joints': {
                joint: {
                    'offset_mm': _vector(estimate.estimates[s, j], estimate.has_offset[s, j]),
                    'standard_error_mm': _vector(
                        estimate.standard_error[s, j], estimate.is_tested[s, j]
                    ),
                    'pvalue': _number(estimate.pvalues[s, j]),
                    'adjusted_pvalue': _number(estimate.adjusted_pvalues[s, j]),
                    'significant': bool(estimate.significant[s, j]),
                }
                for j, joint in enumerate(estimate.offsets.joint_names)
            },
        }
        for s, subject in enumerate(estimate.offsets.subjects)
    }


def _vector(meters: Array, is_known: bool) -> list[float] | None:
    """Return a vector in mm; None if it is not known."""
    return (_MM * meters).tolist() if is_known else None


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
