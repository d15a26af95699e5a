"""The function :func:`evaluate`: MPJPE and PA-MPJPE of any model's stored predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.body_models import SMPL
from mmjrr.datasets.image_names import frame_key
from mmjrr.datasets.predictions import Predictions, predictions_from, read_predictions
from mmjrr.datasets.predictions.bodies import mark_absurd_betas
from mmjrr.datasets.units import meters_per
from mmjrr.io import sha256
from mmjrr.io.texts import take_texts
from mmjrr.regressors import JointRegressor

from .annotated_frames import AnnotatedFrames
from .annotation_plausibility import regressed_by
from .as_arrays import with_arrays
from .body_matching import check_match, errors_of, match_part
from .carried_regressors import MappingLike, carry_regressors
from .core import evaluate_frames, needed_joints
from .matched_parts import MatchedParts
from .plausibility import doubt_mesh, explain_parameters
from .predicted_body import body_of, check_same_body, check_vertices, note_unused
from .predicted_joints import PredictedJoints
from .protocols import Protocol, get_protocols
from .regressed_frames import RegressedFrames, frame_numbers
from .regressed_joints import RegressedJoints, RegressorLike, default_body, load_regressors
from .result import BREAKDOWNS, EvaluationResult, check_breakdowns

if TYPE_CHECKING:
    from mmjrr.datasets.h36m import H36MFitsDataset

PredictionsLike = str | Path | Predictions | Mapping[str, Any]


def evaluate(
    predictions: PredictionsLike | Sequence[PredictionsLike],
    annotations: str | Path | H36MFitsDataset,
    regressors: RegressorLike | Sequence[RegressorLike] | Mapping[str, RegressorLike],
    protocol: str | dict[str, Any] | Protocol | Sequence[str | dict[str, Any] | Protocol] = 'paper',
    *,
    body_model: str | Path | dict[str, Any] | SMPL | None = None,
    layout: str = 'auto',
    fields: Mapping[str, str] | None = None,
    name_format: str | None = None,
    rotation_6d: str | None = None,
    frame_step: int = 1,
    gender: str | None = None,
    num_betas: int | None = None,
    match: str = 'name',
    person: str | None = 'nearest',
    metadata: str | Path | None = None,
    mapping: MappingLike | None = None,
    faces: str | Path | Array | None = None,
    missing: str = 'skip',
    unit: str = 'm',
    by: Sequence[str] = BREAKDOWNS,
    title: str = '',
    progress: bool = False,
    keep_joints: bool = False,
) -> EvaluationResult:
    """Compute MPJPE and PA-MPJPE of stored predictions.

    The numbers equal those of :class:`~mmjrr.evaluation.JointRegressorMetric` to the last digit.

    Args:
        predictions: A results file of any model, several files that make up one set, a
            :class:`~mmjrr.evaluation.Predictions`, or arrays by name.
        annotations: MMPose's npz of Human3.6M, the folder that has it as
            ``annotation_body3d/fps10/h36m_test.npz``, or a data set.
        regressors: One or several, as in :func:`~mmjrr.evaluation.load_regressors`: ``'J_opt'``,
            ``['J_std', 'mine.npy']``, ``dict(old='a/J.npy', new='b/J.npy')``.
        protocol: One or several, as in :func:`~mmjrr.evaluation.get_protocol`: names, or
            ``dict(type='paper', subjects='all')``. A protocol decides which frames count. Default:
            'paper'.
        body_model: The body model that computes vertices from parameters: a SMPL file or folder,
            ``'free_body'``, ``'anny'``, a config, or the body itself. Stored vertices need none.
            Default: None, the free body if the regressors are for it; otherwise SMPL from
            ``data/smpl``, if that folder exists.
        layout: The files' layout, as in :func:`~mmjrr.evaluation.read_predictions`.
        fields: The places of fields that the layout does not find, as in
            :func:`~mmjrr.evaluation.read_predictions`.
        name_format: The format that makes image names from frame numbers, as in
            :func:`~mmjrr.evaluation.read_predictions`.
        rotation_6d: The layout of 6D rotations, as in
            :func:`~mmjrr.evaluation.read_predictions`. If neither this argument nor the numbers
            determine it, the annotated joints decide between columns and rows.
        frame_step: Number of video frames between those that the files number consecutively, as in
            :func:`~mmjrr.evaluation.read_predictions`.
        gender: The body's gender, in place of the files'. Default: None, the gender that the files
            state, or neutral if they state none.
        num_betas: Number of betas of each body that are used. Default: None, all in the files.
        match: 'name' assigns a body to the annotated frame with the same image name. 'order'
            assigns the n-th body to the n-th annotated frame; their numbers must be equal, and
            image names, if there are any, must not be in another order. Default: 'name'.
        person: The person to evaluate if an image has several: 'nearest' (to the annotated
            joints), 'largest' (in the image), or a track's identity. None refuses such images.
            Default: 'nearest'.
        metadata: Human3.6M's ``metadata.xml``, which determines the take of image names with a
            subaction. Default: None, such a name belongs to the only take that is annotated.
        mapping: The mapping that computes the vertices of the regressors' mesh from those of the
            predictions', or its file, as for :meth:`mmjrr.regressors.MeshMapping.load`. Only
            needed if the meshes differ. Default: None, a known mapping, found by the number of
            vertices.
        faces: Triangles of the predictions' mesh, which a mapping by barycentric coordinates needs.
        missing: 'skip' leaves annotated frames without a prediction out, counts and lists them;
            'raise' raises an error. Rows of zeros or NaN are no predictions. Default: 'skip'.
        unit: Unit of vertices and ``transl``, 'm', 'cm' or 'mm'. Default: 'm'.
        by: Breakdowns to compute.
        title: Name of the evaluated predictions.
        progress: Whether to write progress and remaining time to stderr.
        keep_joints: Whether the result keeps the joints of all frames as ``regressed``.

    Returns:
        The scores. ``skipped`` lists counted frames without a prediction, ``unmatched`` predictions
        that belong to no counted frame.

    Raises:
        FileNotFoundError: A file does not exist.
        DataError: A file is broken or cannot be understood; its gender, betas or vertices do not
            fit the body; an image has several predictions; frames have none and ``missing`` is
            'raise'; no prediction matches a frame; or image names contradict ``match='order'``.
        ValueError: An argument is invalid, or a prediction's value is; or a protocol counts none
            of the frames or names a subject, camera or sequence of which there is no frame.
    """
    _check_arguments(match, missing, unit, by)
    sources = _as_list(predictions)
    if match == 'order' and len(sources) > 1:
        raise ValueError(f"match='order' is for one file, found {len(sources)}")
    protocols = get_protocols(protocol)
    loaded = load_regressors(regressors)
    takes = None
    if metadata is not None:
        from mmjrr.datasets.converters.metadata import read_metadata

        takes = read_metadata(metadata).takes
    reading = (layout, fields, name_format, rotation_6d, frame_step)
    part = _read(sources[0], *reading)
    of_file = loaded
    loaded, body = regressors_and_body(part, loaded, body_model, gender, num_betas, mapping, faces)
    given = {'mapping': mapping, 'faces': faces}
    unused = [name for name, value in given.items() if value is not None and loaded == of_file]
    joints = RegressedJoints(loaded, needed_joints(protocols), body)
    annotated = AnnotatedFrames(annotations, protocols)
    annotation_notes = annotated.check()

    predicted = PredictedJoints(joints, unit, annotated.absolute, progress)
    matched = MatchedParts(annotated)
    for number, source in enumerate(sources):
        if number:
            part = _read(source, *reading)
            check_same_body(part, body, gender, num_betas)
        check_vertices(part, joints.num_vertices)
        part = note_unused(part, gender, num_betas)
        part = part.without_effect(unused, "the predictions have the regressors' mesh")
        if num_betas is not None:
            part = part.with_num_betas(num_betas)
        part, rows, unmatched = match_part(part, annotated, match, joints, unit, person, takes)
        frames = matched.add(part, rows, unmatched)
        predicted.add(part, rows[frames], frames, take_texts(annotated.names, frames))
    skipped = matched.skipped(missing)
    order = annotated.sorted(matched.part_of >= 0)
    target, weight = annotated.joints(order, joints.joint_names)
    regressed = predicted.compute(order)
    del part, rows, frames, predicted  # the bodies of all frames
    scored = RegressedFrames(
        joint_names=joints.joint_names,
        joints=regressed,
        target=target,
        weight=weight,
        labels=[annotated.labels[frame] for frame in order],
        numbers=frame_numbers(take_texts(annotated.names, order)),
        imgname=take_texts(annotated.names, order),
    )
    result = evaluate_frames(
        scored,
        loaded,
        protocols,
        by,
        uncounted=[annotated.labels[frame] for frame in np.flatnonzero(~annotated.counted)],
        skipped=sorted(skipped),
        skipped_labels=[
            annotated.labels[frame]
            for frame in np.flatnonzero(annotated.counted & (matched.part_of < 0))
        ],
        unmatched=matched.unmatched,
        title=title,
        body=joints.body_path,
    )
    assert matched.sample is not None
    sampled_bodies, frames = matched.sample
    notes = explain_parameters(
        sampled_bodies,
        lambda bodies: errors_of(bodies, np.arange(len(bodies)), frames, annotated, joints, unit),
        result.notes,
    )
    if sampled_bodies.vertices is not None:
        notes = doubt_mesh(notes, next(iter(loaded.values())).body_model)
    left_out = [name for name in matched.unmatched if frame_key(name) in annotated.left_out]
    return replace(
        result,
        notes=(*notes, *annotation_notes),
        regressed=scored if keep_joints else None,
        provenance={
            **result.provenance,
            **_regressed_target(annotated, joints),
            'predictions': matched.descriptions,
            'annotations': {
                'file': annotated.path.name,
                'sha256': sha256(annotated.path),
                'frames': int(annotated.counted.sum()),
                'frames_left_out': len(annotated.left_out),
                'predictions_left_out': len(left_out),
            },
            'arguments': {'match': match, 'unit': unit, 'body_model': str(body_model)},
        },
    )


def _check_arguments(match: str, missing: str, unit: str, by: Sequence[str]) -> None:
    check_match(match)
    meters_per(unit)  # raises if it is unknown
    if missing not in ('raise', 'skip'):
        raise ValueError(f"missing: found {missing!r}, expected 'raise' or 'skip'")
    check_breakdowns(by)


def _regressed_target(annotated: AnnotatedFrames, joints: RegressedJoints) -> dict[str, str]:
    """Return a sentence if a regressor computes the annotated joints from the annotated bodies."""
    rows = annotated.sample()[::4]
    bodies = annotated.bodies(rows) if joints.has_body else None
    if bodies is None or bodies['betas'].shape[1] != joints.num_betas:
        return {}
    target, weight = annotated.joints(rows, joints.joint_names)
    names = regressed_by(target, weight, joints.from_parameters(bodies), joints.names)
    if not names:
        return {}
    listed = ' and '.join(f'{name} ({error:.1f} mm)' for name, error in names.items())
    return {
        'target': f'the annotated joints are those that {listed} regresses from the annotated '
        'bodies, so scores under it are flattered'
    }


def read_parts(
    predictions: PredictionsLike | Sequence[PredictionsLike],
    layout: str = 'auto',
    fields: Mapping[str, str] | None = None,
    name_format: str | None = None,
    rotation_6d: str | None = None,
    frame_step: int = 1,
) -> list[Predictions]:
    """Read all parts of a set of predictions; arguments and errors are as in :func:`evaluate`."""
    parts = _as_list(predictions)
    return [_read(part, layout, fields, name_format, rotation_6d, frame_step) for part in parts]


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
    frame_step: int,
) -> Predictions:
    if isinstance(source, Predictions):
        part = source
    elif isinstance(source, (str, Path)):
        part = read_predictions(
            source, layout, fields, name_format, rotation_6d, frame_step=frame_step, mapped=True
        )
    else:
        tree = with_arrays(source)
        part = predictions_from(
            tree, 'predictions', layout, fields, name_format, rotation_6d, frame_step
        )
    return mark_absurd_betas(part)


def regressors_and_body(
    part: Predictions,
    regressors: Mapping[str, JointRegressor],
    body_model: str | Path | dict[str, Any] | SMPL | None = None,
    gender: str | None = None,
    num_betas: int | None = None,
    mapping: MappingLike | None = None,
    faces: str | Path | Array | None = None,
) -> tuple[dict[str, JointRegressor], dict[str, Any] | SMPL | None]:
    """Return the regressors for the mesh of predictions, and the body of their parameters.

    Args:
        part: The predictions.
        regressors: The regressors by name.
        body_model: As in :func:`evaluate`.
        gender: As in :func:`evaluate`.
        num_betas: As in :func:`evaluate`.
        mapping: As in :func:`evaluate`.
        faces: As in :func:`evaluate`.

    Raises:
        FileNotFoundError, DataError, ValueError: As in :func:`evaluate`.
    """
    body = body_of(part, body_config(body_model, regressors), gender, num_betas)
    carried = carry_regressors(regressors, part, body, mapping, faces)
    if part.vertices is not None and carried != dict(regressors):
        body = None  # the default body is that of the regressors' own mesh
    return carried, body


def body_config(
    body_model: str | Path | dict[str, Any] | SMPL | None, regressors: Mapping[str, JointRegressor]
) -> dict[str, Any] | SMPL | None:
    """Convert the argument ``body_model`` of :func:`evaluate` to a body or a config.

    Args:
        body_model: The argument.
        regressors: The regressors by name, whose body is the default.
    """
    if body_model is None:
        return default_body(regressors)
    if body_model in ('free_body', 'anny'):
        return dict(type='FreeBody' if body_model == 'free_body' else 'AnnyBody')
    if isinstance(body_model, (str, Path)):
        return dict(type='SMPL', model_path=str(body_model))
    return body_model
