"""Any model's stored predictions under any regressors, in one call."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import MMLogger

from mmjrr.body_models import SMPL
from mmjrr.datasets.converters.metadata import read_metadata
from mmjrr.datasets.fits import image_names
from mmjrr.datasets.h36m import H36MFitsDataset
from mmjrr.datasets.image_names import frame_identity, frame_key, parse_image_name
from mmjrr.datasets.predictions import (
    Predictions,
    match_bodies,
    match_frames,
    predictions_from,
    read_predictions,
)
from mmjrr.datasets.predictions.matching import Takes
from mmjrr.errors import DataError
from mmjrr.io import read_npz, sha256
from mmjrr.joints import reorder_index
from mmjrr.regressors import JointRegressor

from .core import (
    LABELS,
    UNITS,
    RegressedFrames,
    check_annotation,
    check_extent,
    check_finite,
    count_left_out,
    evaluate_frames,
    is_counted,
    needed_joints,
)
from .plausibility import explain_parameters, root_aligned_error
from .predicted_body import body_of, check_vertices
from .protocols import Protocol, get_protocols
from .regressed_joints import RegressedJoints, RegressorLike, default_body, load_regressors
from .report import BREAKDOWNS, EvaluationResult

#: Where the annotation lies in a folder of MMPose's layout.
TEST_ANNOTATION = 'annotation_body3d/fps10/h36m_test.npz'
#: Bodies whose joints are computed at once.
_CHUNK = 256
#: Bodies that are tried with other parameters.
_SAMPLE = 64
#: One way to read rotations is decided for where its error is this part of the other's, or less.
_DECIDES = 0.8
#: The last element of a frame's identity where there is none.
_NO_FRAME = (-1,)

PredictionsLike = str | Path | Predictions | Mapping[str, Any]


def evaluate(
    predictions: PredictionsLike | Sequence[PredictionsLike],
    annotations: str | Path | H36MFitsDataset,
    regressors: RegressorLike | Sequence[RegressorLike] | Mapping[str, RegressorLike],
    protocol: str | dict | Protocol | Sequence[str | dict | Protocol] = 'paper',
    *,
    body_model: str | Path | dict[str, Any] | SMPL | None = None,
    layout: str = 'auto',
    fields: Mapping[str, str] | None = None,
    name_format: str | None = None,
    rotation_6d: str | None = None,
    gender: str | None = None,
    num_betas: int | None = None,
    match: str = 'name',
    person: str | None = 'nearest',
    metadata: str | Path | None = None,
    missing: str = 'skip',
    unit: str = 'm',
    by: Sequence[str] = BREAKDOWNS,
    title: str = '',
    progress: bool = False,
) -> EvaluationResult:
    """Return MPJPE and PA-MPJPE of stored predictions, to the digit as a Runner's metric.

    Args:
        predictions: a file of results of any model, several that make up one set, a
            :class:`~mmjrr.evaluation.Predictions`, or arrays by name.
        annotations: MMPose's npz of Human3.6M, the folder that has it as
            ``annotation_body3d/fps10/h36m_test.npz``, or a data set.
        regressors: what :func:`~mmjrr.evaluation.load_regressors` takes: ``'J_opt'``,
            ``['J_std', 'mine.npy']``, ``dict(old='a/J.npy', new='b/J.npy')``.
        protocol: one or several, as :func:`~mmjrr.evaluation.get_protocol` takes them: names, or
            ``dict(type='paper', subjects='all')``. A protocol says which frames count. Default
            'paper'.
        body_model: what turns parameters into vertices: a SMPL file or folder, ``'free_body'``,
            a config, or the body itself. Not needed for stored vertices. Default None: the free
            body where the regressors are for it, else ``data/smpl`` where that is.
        layout: of the files, as :func:`~mmjrr.evaluation.read_predictions` takes it.
        fields: where fields are that the layout does not find, likewise.
        name_format: makes image names of frame numbers, likewise.
        rotation_6d: how 6D rotations are stored, likewise. Where neither this nor the numbers
            say it, columns and rows are tried against the annotated joints.
        gender: of the body, in place of what the files say. Default None: what they say, or
            neutral.
        num_betas: use the first betas of each body only. Default None: as many as the files have.
        match: 'name': a body belongs to the annotated frame of the same image name. 'order': the
            n-th body to the n-th annotated frame; there must be as many. Default 'name'.
        person: which of several persons in an image is evaluated: 'nearest' (to the annotated
            joints), 'largest' (in the image), or a track's identity. None: they are refused.
            Default 'nearest'.
        metadata: Human3.6M's ``metadata.xml``, which says the take of image names that have a
            subaction. Default None: such a name is of the only take that is annotated.
        missing: what to do with annotated frames without a prediction, rows of zeros or NaN
            included: 'skip' (they are counted and listed) or 'raise'. Default 'skip'.
        unit: of vertices and ``transl``, 'm' or 'mm'. Default 'm'.
        by: breakdowns to make.
        title: name of what is evaluated.
        progress: write to stderr how far it is, and how long it will take.

    Returns:
        The scores. Frames that the protocol counts and that have no prediction are its
        ``skipped``, predictions that belong to no such frame its ``unmatched``.

    Raises:
        FileNotFoundError: a file is not there.
        DataError: a file is broken or cannot be understood, its gender, betas or vertices are
            not the body's, an image has several predictions, frames have none and ``missing`` is
            'raise', or nothing matches.
        ValueError: an argument is wrong, or a value of a prediction is.
    """
    if match not in ('name', 'order'):
        raise ValueError(f"match: found {match!r}, expected 'name' or 'order'")
    if unit not in UNITS:
        raise ValueError(f'unit: found {unit!r}, expected one of {sorted(UNITS)}')
    if missing not in ('raise', 'skip'):
        raise ValueError(f"missing: found {missing!r}, expected 'raise' or 'skip'")
    unknown = sorted(set(by) - set(BREAKDOWNS))
    if unknown or isinstance(by, str):
        raise ValueError(f'by: found {unknown or by!r}, expected some of {list(BREAKDOWNS)}')
    parts = _as_list(predictions)
    if match == 'order' and len(parts) > 1:
        raise ValueError(f"match='order' is for one file, found {len(parts)}")
    protocols = get_protocols(protocol)
    loaded = load_regressors(regressors)
    takes = None if metadata is None else read_metadata(metadata).takes
    part = _read(parts[0], layout, fields, name_format, rotation_6d)
    body = body_of(part, body_config(body_model, loaded), gender, num_betas)
    joints = RegressedJoints(loaded, needed_joints(protocols), body)
    annotated = AnnotatedFrames(annotations, protocols)

    part_of = np.full(len(annotated.names), -1)  # which part has the frame
    unmatched: list[str] = []
    about: list[dict[str, Any]] = []
    regressed: list[np.ndarray] = []
    sample: tuple[Predictions, np.ndarray] | None = None
    for number, source in enumerate(parts):
        if number:
            part = _read(source, layout, fields, name_format, rotation_6d)
            body_of(part, body, gender, num_betas)
        check_vertices(part, joints.num_vertices)
        if num_betas is not None:
            part = part.with_num_betas(num_betas)
        part, rows, unknown_names = match_part(part, annotated, match, joints, unit, person, takes)
        frames = np.flatnonzero(rows >= 0)
        if sample is None and len(frames):
            sampled = frames[np.unique(np.linspace(0, len(frames) - 1, _SAMPLE).astype(int))]
            sample = part.select(rows[sampled]), sampled
        twice = frames[part_of[frames] >= 0]
        if len(twice):
            raise DataError(
                f'{annotated.names[twice[0]]} and {len(twice) - 1} more images have predictions '
                f'in {_label(part)} and in {about[part_of[twice[0]]]["file"]}'
            )
        part_of[frames] = number
        unmatched += unknown_names
        about.append(_describe(part, len(frames)))
        regressed.append(
            regress(part, rows[frames], [annotated.names[f] for f in frames], joints, unit,
                    any(p.root is None for p in protocols.values()), progress)
        )  # fmt: skip
    if not (part_of >= 0).any():
        raise _nothing_matches(unmatched, annotated, about)
    skipped = [annotated.names[row] for row in np.flatnonzero(annotated.counted & (part_of < 0))]
    if skipped and missing == 'raise':
        raise DataError(
            f'{len(skipped)} of {int(annotated.counted.sum())} annotated frames have no '
            f'prediction, such as {skipped[0]}'
            + ''.join(f'; {note}' for part in about for note in part['notes'] if 'no body' in note)
            + "; missing='skip' (on the command line, --missing skip) leaves them out"
        )
    order = annotated.sorted(part_of >= 0)
    place = np.concatenate([np.flatnonzero(part_of == number) for number in range(len(parts))])
    row = np.empty(len(part_of), dtype=np.int64)  # of each frame in the regressed joints
    row[place] = np.arange(len(place))
    target, weight = annotated.joints(order, joints.joint_names)
    labels = [annotated.labels[frame] for frame in order]
    scored = RegressedFrames(
        joints.joint_names, np.concatenate(regressed)[row[order]], target, weight, labels
    )
    result = evaluate_frames(
        scored,
        loaded,
        protocols,
        by,
        uncounted=[annotated.labels[frame] for frame in np.flatnonzero(~annotated.counted)],
        skipped=sorted(skipped),
        unmatched=unmatched,
        title=title,
        body=joints.body_path,
    )
    assert sample is not None
    some, frames = sample
    notes = explain_parameters(
        some,
        lambda bodies: errors_of(bodies, np.arange(len(bodies)), frames, annotated, joints, unit),
        result.notes,
    )
    known_out = [name for name in unmatched if frame_key(name) in annotated.left_out]
    return replace(
        result,
        notes=notes,
        provenance={
            **result.provenance,
            'predictions': about,
            'annotations': {
                'file': annotated.path.name,
                'sha256': sha256(annotated.path),
                'frames': int(annotated.counted.sum()),
                'frames_left_out': len(annotated.left_out),
                'predictions_left_out': len(known_out),
            },
            'arguments': {'match': match, 'unit': unit, 'body_model': str(body_model)},
        },
    )


def match_part(
    part: Predictions,
    annotated: AnnotatedFrames,
    match: str,
    joints: RegressedJoints,
    unit: str = 'm',
    person: str | None = 'nearest',
    takes: Takes | None = None,
) -> tuple[Predictions, np.ndarray, list[str]]:
    """Find the body of each annotated frame that counts.

    Args:
        part: predictions.
        annotated: the frames.
        match: as :func:`evaluate` takes it.
        joints: the regressors and the body, by which bodies are compared with the annotation.
        unit: as :func:`evaluate` takes it.
        person: likewise.
        takes: names of takes, as :func:`~mmjrr.datasets.predictions.match_frames` takes them.

    Returns:
        The predictions, with known 6D rotations and notes on what was chosen; the row of each
        frame, -1 where there is none; and names of predictions that belong to no frame that
        counts.

    Raises:
        DataError: as :func:`evaluate`.
    """
    names = names_of(part, annotated, match)
    part = replace(part, imgname=names)
    counted = np.flatnonzero(annotated.counted)

    def error_of(rows: np.ndarray, frames: np.ndarray, bodies: Predictions) -> np.ndarray:
        return errors_of(bodies, rows, frames, annotated, joints, unit)

    wanted = [annotated.names[frame] for frame in counted]
    if part.possible_rotations_6d:
        found = match_frames(names, wanted, part.name, annotated.listed, takes)
        pairs = [
            (row, frame)
            for rows_of_frame, frame in zip(found, counted.tolist(), strict=True)
            for row in rows_of_frame
            if part.is_valid()[row]
        ]
        if pairs:
            part = decide_rotations_6d(part, np.array(pairs[:: max(1, len(pairs) // 64)]), error_of)
    bodies = part
    matches = match_bodies(
        part,
        wanted,
        person,
        lambda rows, frames: error_of(rows, counted[frames], bodies),
        annotated.listed,
        takes,
    )
    rows = np.full(len(annotated.names), -1)
    rows[counted] = matches.rows
    notes = (*part.notes, *matches.notes, *_note_on_frame_numbers(names))
    return replace(part, notes=notes), rows, [names[row] for row in matches.unmatched]


def errors_of(
    part: Predictions,
    rows: np.ndarray,  # (n,)
    frames: np.ndarray,  # (n,)
    annotated: AnnotatedFrames,
    joints: RegressedJoints,
    unit: str,
) -> np.ndarray:  # (n,), meters
    """Return root-aligned errors of bodies in annotated frames, under the first regressor."""
    images = [annotated.names[frame] for frame in frames]
    regressed = regress(part, rows, images, joints, unit, absolute=False)[:, 0]
    target, weight = annotated.joints(frames.tolist(), joints.joint_names)
    return root_aligned_error(regressed, target, weight, joints.joint_names)


def decide_rotations_6d(
    part: Predictions,
    pairs: np.ndarray,  # (n, 2), rows of the predictions and frames
    error_of: Callable[[np.ndarray, np.ndarray, Predictions], np.ndarray],
) -> Predictions:
    """Read 6D rotations in the way that brings the bodies nearer to the annotated joints.

    Raises:
        DataError: the ways are about as near.
    """
    rows, frames = pairs.T
    errors = {}
    for kind in part.possible_rotations_6d:
        error = error_of(rows, frames, part.with_rotation_6d(kind))
        errors[kind] = 1000 * float(np.nanmean(error))
    (best, least), (_, next_least) = sorted(errors.items(), key=lambda item: item[1])[:2]
    said = ', '.join(f'{error:.0f} mm as {kind}' for kind, error in errors.items())
    if least > _DECIDES * next_least:
        raise DataError(
            f'{part.name}: body_pose: 6D rotations may be {" or ".join(errors)}, and the '
            f'annotated joints do not tell ({said}); say rotation_6d= (on the command line, '
            '--rotation-6d)'
        )
    note = f'6D rotations are read as {best} ({said} from the annotated joints)'
    chosen = part.with_rotation_6d(best)
    return replace(chosen, notes=(*part.notes, note))


def _note_on_frame_numbers(names: Sequence[str]) -> tuple[str, ...]:
    """Note frame numbers that count from 0."""
    first = next((name for name in names if (frame_identity(name) or _NO_FRAME)[-1] == 0), None)
    if first is None:
        return ()
    note = (
        f'frame numbers in image names start at 0 ({first}); those of Human3.6M start at 1, so '
        'each body may be one frame late'
    )
    return (note,)


def regress(
    part: Predictions,
    rows: np.ndarray,  # (n,)
    names: Sequence[str],  # n image names, for messages
    joints: RegressedJoints,
    unit: str,
    absolute: bool,
    progress: bool = False,
) -> np.ndarray:  # (n, R, J, 3), meters
    """Regress joints from some of the predicted bodies.

    Args:
        part: the predictions.
        rows: which of them.
        names: their images.
        joints: the regressors and the body.
        unit: of vertices and ``transl``.
        absolute: whether translations are needed.
        progress: write to stderr how far it is.

    Raises:
        ValueError: there is no body for parameters, or a value is wrong.
        DataError: the file has no ``transl``, and absolute positions are asked for.
    """
    if part.vertices is None and not joints.has_body:
        raise ValueError(
            f'{_label(part)}: has SMPL parameters and no vertices: say which body they '
            "are of, body_model='path/to/SMPL_NEUTRAL.pkl' (on the command line, "
            "--body-model); 'free_body' is the free one"
        )
    scale = UNITS[unit]
    hint = "if they are in millimeters, say unit='mm' (on the command line, --unit mm)"
    shown = _Progress('Computing joints', progress)
    regressed = np.empty((len(rows), len(joints.names), len(joints.joint_names), 3))
    for start in range(0, len(rows), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        if part.vertices is not None:
            try:
                selected = joints.select(list(part.vertices[rows[chunk]]))
            except ValueError as error:
                raise ValueError(f'{_label(part)}: vertices: {error}') from error
            check_finite(names[chunk], 'vertices', selected)
            check_extent(names[chunk], 'vertices', selected * scale, hint)
            regressed[chunk] = joints.from_selected(selected) * scale
        else:
            parameters = _parameters(part, rows[chunk], joints.num_betas or 0, scale, absolute)
            for name, values in parameters.items():
                check_finite(names[chunk], name, values)
            regressed[chunk] = joints.from_parameters(parameters)
        shown.update(min(start + _CHUNK, len(rows)), len(rows))
    shown.close()
    return regressed


def _parameters(
    part: Predictions, rows: np.ndarray, num_betas: int, scale: float, absolute: bool
) -> dict[str, np.ndarray]:
    assert part.global_orient is not None and part.body_pose is not None and part.betas is not None
    if part.betas.shape[1:] != (num_betas,):
        raise ValueError(
            f'{_label(part)}: betas: found {part.betas.shape[1]} for each body, expected the '
            f'{num_betas} of the body model'
        )
    if absolute and part.transl is None:
        raise DataError(
            f'{_label(part)}: has no transl, and a protocol without a root compares absolute '
            'positions'
        )
    parameters = {
        'global_orient': part.global_orient[rows][:, None],
        'body_pose': part.body_pose[rows],
        'betas': part.betas[rows],
    }
    if absolute and part.transl is not None:
        parameters['transl'] = part.transl[rows] * scale
    return {name: values.astype(np.float64) for name, values in parameters.items()}


# -- annotation and predictions ------------------------------------------------------------------


class AnnotatedFrames:
    """The annotated frames, and which of them count.

    Args:
        annotations: as :func:`evaluate` takes them.
        protocols: a frame counts if any of them counts it.

    Attributes:
        dataset: the data set.
        path: its annotation file.
        names: image names of the data set's frames.
        labels: what is known of each.
        counted: whether each counts, (N,) bool.
        listed: image names of all frames that the file lists.
        left_out: :func:`~mmjrr.datasets.image_names.frame_key` of listed frames that do not count.

    Raises:
        ValueError: no frame counts; names the subjects that there are.
    """

    def __init__(
        self, annotations: str | Path | H36MFitsDataset, protocols: Mapping[str, Protocol]
    ) -> None:
        if isinstance(annotations, H36MFitsDataset):
            self.dataset, self.path = annotations, Path(annotations.ann_file)
        elif isinstance(annotations, (str, Path)):
            self.path = Path(annotations)
            if self.path.is_dir():
                self.path = self.path / TEST_ANNOTATION
            with _quiet():
                self.dataset = H36MFitsDataset(
                    ann_file=str(self.path),
                    camera_param_file=None,
                    exclude_sequences=None,
                    test_mode=True,
                )
        else:
            raise ValueError(
                f'annotations: found {type(annotations).__name__}, expected a path or a '
                'H36MFitsDataset'
            )
        self.names = [self.dataset.imgname(row) for row in range(len(self.dataset))]
        self.labels: list[dict[str, str]] = [
            {label: getattr(parsed, label) for label in LABELS}
            for parsed in map(parse_image_name, self.names)
        ]
        count_left_out(self.labels, protocols)  # raises where none is left
        self.counted = np.array([is_counted(labels, protocols) for labels in self.labels])
        self.listed = image_names(self.path, read_npz(self.path)['imgname']).tolist()
        counted = {frame_key(self.names[row]) for row in np.flatnonzero(self.counted)}
        self.left_out = set(map(frame_key, self.listed)) - counted

    def sorted(self, chosen: np.ndarray) -> list[int]:  # chosen: (N,) bool
        """Return the chosen frames by image name, the order in which the metric sums."""
        return sorted(np.flatnonzero(chosen).tolist(), key=lambda row: (self.names[row], row))

    def joints(
        self, rows: Sequence[int], joint_names: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return annotated joints (n, J, 3) in meters and their weights (n, J)."""
        order = reorder_index(self.dataset.metainfo['joint_names'], joint_names)
        annotations = self.dataset.annotations
        row_of = {str(name): row for row, name in enumerate(annotations.imgname)}
        points = annotations.S[[row_of[self.names[row]] for row in rows]][:, order]
        joints, weight = points[..., :3].astype(np.float64), points[..., 3].astype(np.float64)
        checked = [
            check_annotation(f'{self.names[row]}: S', points, weights, 'expected meters')
            for row, points, weights in zip(rows, joints, weight, strict=True)
        ]
        return np.stack(checked), weight


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence MMEngine's logger below warnings."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def read_parts(
    predictions: PredictionsLike | Sequence[PredictionsLike],
    layout: str = 'auto',
    fields: Mapping[str, str] | None = None,
    name_format: str | None = None,
    rotation_6d: str | None = None,
) -> list[Predictions]:
    """Read all parts of a set of predictions; arguments are those of :func:`evaluate`."""
    parts = _as_list(predictions)
    return [_read(part, layout, fields, name_format, rotation_6d) for part in parts]


def _as_list(predictions: Any) -> list[Any]:
    if isinstance(predictions, (str, Path, Predictions, Mapping)):
        return [predictions]
    parts = list(predictions)
    if not parts:
        raise ValueError('predictions: found none, expected at least one file')
    return parts


def _read(
    source: PredictionsLike,
    layout: str,
    fields: Mapping[str, str] | None,
    name_format: str | None,
    rotation_6d: str | None,
) -> Predictions:
    if isinstance(source, Predictions):
        return source
    if isinstance(source, (str, Path)):
        return read_predictions(source, layout, fields, name_format, rotation_6d)
    return predictions_from(source, 'predictions', layout, fields, name_format, rotation_6d)


def body_config(
    body_model: str | Path | dict[str, Any] | SMPL | None, regressors: Mapping[str, JointRegressor]
) -> dict[str, Any] | SMPL | None:
    """Return a body or its config from what :func:`evaluate` takes.

    Args:
        body_model: the argument.
        regressors: decide where it is None.
    """
    if body_model is None:
        return default_body(regressors)
    if body_model == 'free_body':
        return dict(type='FreeBody')
    if isinstance(body_model, (str, Path)):
        return dict(type='SMPL', model_path=str(body_model))
    return body_model


def names_of(part: Predictions, annotated: AnnotatedFrames, match: str) -> list[str]:
    """Image names of predictions: their own, or, by order, those of the annotation.

    Raises:
        DataError: there are none, or not as many as the annotation has.
    """
    if match == 'name':
        if part.imgname is None:
            raise DataError(
                f'{_label(part)}: has no image names. If its {len(part)} bodies are in the order '
                f"of the annotation's {len(annotated.listed)} frames, say match='order' (on the "
                'command line, --match order)'
                + (
                    '; name_format (--name-format) makes names of its frame numbers'
                    if part.frame is not None
                    else ''
                )
            )
        return part.imgname
    counted = [annotated.names[row] for row in np.flatnonzero(annotated.counted)]
    for names in (annotated.listed, annotated.names, counted):
        if len(names) == len(part):
            return names
    raise DataError(
        f"{_label(part)}: match='order' needs a body for each annotated frame: found "
        f'{len(part)} bodies for {len(annotated.listed)} frames of {annotated.path} '
        f'({len(counted)} that the protocol counts)'
    )


def _label(part: Predictions) -> str:
    return str(part.source or 'predictions')


def _describe(part: Predictions, matched: int) -> dict[str, Any]:
    file = part.source if part.source is not None and part.source.is_file() else None
    return {
        'file': _label(part) if file is None else file.name,
        'sha256': None if file is None else sha256(file),
        'layout': part.layout,
        'kind': 'vertices' if part.vertices is not None else 'parameters',
        'bodies': len(part),
        'matched': matched,
        'notes': list(part.notes),
    }


def _nothing_matches(
    found: Sequence[str], annotated: AnnotatedFrames, about: Sequence[Mapping[str, Any]]
) -> DataError:
    wanted = annotated.names[int(np.argmax(annotated.counted))]
    if not found:
        notes = [note for part in about for note in part['notes'] if 'no body' in note]
        return DataError(f'no frame has a prediction: {"; ".join(notes) or "there are no bodies"}')
    return DataError(
        f'none of {len(found)} predictions is of an annotated image: predictions are named like '
        f'{found[0]!r}, annotated images like {wanted!r}{_shifted(found, annotated)}. For '
        'predictions in the order of the '
        "annotation there is match='order' (on the command line, --match order)"
    )


def _shifted(found: Sequence[str], annotated: AnnotatedFrames) -> str:
    """Say how many names would match if frames were counted from another number."""
    wanted = {frame_key(annotated.names[row]) for row in np.flatnonzero(annotated.counted)}
    identities = [identity for identity in map(frame_identity, found) if identity is not None]
    for step in (1, -1):
        count = sum(i._replace(frame=i.frame + step) in wanted for i in identities)
        if count:
            return (
                f'; with {step:+d} on the frame numbers, {count} would match, so frames may be '
                f'counted from {"0" if step > 0 else "2"}'
            )
    return ''


class _Progress:
    """A line on stderr with the time left; on a terminal it stays one line."""

    def __init__(self, what: str, on: bool) -> None:
        self.what, self.on = what, on
        self.start = self.shown = time.monotonic()
        self.wrote = False

    def update(self, done: int, total: int) -> None:
        now = time.monotonic()
        wait = 0.5 if sys.stderr.isatty() else 10.0
        if not self.on or (now - self.shown < wait and not (self.wrote and done == total)):
            return
        self.shown, self.wrote = now, True
        left = (now - self.start) / max(done, 1) * (total - done)
        line = f'{self.what}: {done} of {total}, {left:.0f} s left'
        sys.stderr.write(f'\r{line:<60}' if sys.stderr.isatty() else f'{line}\n')
        sys.stderr.flush()

    def close(self) -> None:
        if self.wrote and sys.stderr.isatty():
            sys.stderr.write('\n')
