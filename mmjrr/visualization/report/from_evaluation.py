"""Reports of stored predictions, which are evaluated, and of results files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import FloatArray, IndexArray
from mmjrr.body_models import SMPL
from mmjrr.datasets.converters.metadata import read_metadata
from mmjrr.datasets.predictions import Predictions
from mmjrr.datasets.units import METERS
from mmjrr.errors import DataError
from mmjrr.evaluation import EvaluationResult, evaluate, get_protocols, load_regressors
from mmjrr.evaluation.annotated_frames import AnnotatedFrames
from mmjrr.evaluation.body_matching import match_part
from mmjrr.evaluation.core import needed_joints
from mmjrr.evaluation.evaluate_predictions import read_parts, regressors_and_body
from mmjrr.evaluation.protocols import Protocol, frame_errors
from mmjrr.evaluation.regressed_joints import RegressedJoints
from mmjrr.io import read_json
from mmjrr.registry import BODY_MODELS
from mmjrr.regressors import JointRegressor
from mmjrr.regressors.mesh_mapping import read_faces
from mmjrr.visualization.frames import Frame, FrameData, FrameMaker
from mmjrr.visualization.posed_bodies import posed_bodies

from .content import Evaluation, Report, left_out_notes


@dataclass
class GalleryOptions:
    """Choice of the frames that a report shows.

    Args:
        frames: Largest number of frames of all sources together.
        images: Folder of the photographs; None for the data set's.
        masks: File of the masks; None for none.
        cameras: MMPose's ``cameras.pkl``; None for the data set's.
        photos: Whether to show photographs.
    """

    frames: int = 200
    images: Path | None = None
    masks: Path | None = None
    cameras: Path | None = None
    photos: bool = True

    def check_used(self, frames: Sequence[Frame]) -> None:
        """Refuse photographs or masks that are named, of which there are none for any frame.

        Raises:
            DataError: No frame has a photograph, or none a mask.
        """
        images = self.images if self.photos else None
        without_photos = all(frame.photo is None for frame in frames)
        without_masks = not any(frame.has_mask for frame in frames)
        for option, path, kind, is_missing in (
            ('images', images, 'photograph', without_photos),
            ('masks', self.masks, 'mask', without_masks),
        ):
            if frames and path is not None and is_missing:
                raise DataError(
                    f'--{option} {path}: found no {kind} of the {len(frames)} frames, expected '
                    f'those of images like {frames[0].imgname}, whose cameras are known'
                )


@dataclass
class PredictionSet:
    """Stored predictions to evaluate and to show.

    Args:
        title: Name of the predictions.
        files: Results files that make up one set.
        annotations: Annotation npz, or the data set's folder.
        reading: Further arguments of :func:`mmjrr.evaluate`: ``layout``, ``fields``, ``match``, ...
        explanation: A sentence that says what they are.
    """

    title: str
    files: Sequence[str | Path]
    annotations: Path
    reading: dict[str, Any] = field(default_factory=dict)
    explanation: str = ''


_NO_BODIES = (
    'A file of results holds no bodies: "mmjrr evaluate ... --report report.html" adds the '
    'histogram of errors and the frames with their bodies.'
)


def report_results_file(path: Path) -> Report:
    """Make a report of a JSON file of :func:`mmjrr.evaluate`'s result, without frames.

    Args:
        path: What ``mmjrr evaluate --out`` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: The file is broken or no such result.
    """
    evaluation = Evaluation.from_dict(str(path), read_json(path))
    return Report(
        title=f'Evaluation of {evaluation.title or path.stem}',
        summary='Made from a file of results, which holds scores but neither bodies nor frames.',
        evaluations=[evaluation],
        provenance={path.name: evaluation.provenance},
        notes=[_NO_BODIES],
    )


def report_predictions(
    sets: Sequence[PredictionSet],
    regressors: Any,
    protocol: Any = 'paper',
    body_model: Any = None,
    options: GalleryOptions | None = None,
    title: str = '',
) -> Report:
    """Evaluate stored predictions and make a report with their worst frames.

    Args:
        sets: The predictions.
        regressors: As in :func:`mmjrr.evaluate`.
        protocol: As in :func:`mmjrr.evaluate`; frames are ordered by the first.
        body_model: As in :func:`mmjrr.evaluate`.
        options: Choice of the frames. Default: 200 frames with photographs.
        title: The page's title. Default: the sets' names.

    Raises:
        FileNotFoundError: A file does not exist.
        DataError: A file is broken, or no prediction matches a frame.
        ValueError: An argument is invalid.
    """
    options = options or GalleryOptions()
    loaded = load_regressors(regressors)
    report = Report(
        title=title or 'Evaluation of ' + ', '.join(item.title for item in sets),
        summary='Stored predictions, evaluated under each joint regressor.',
        regressors=loaded,
    )
    for number, item in enumerate(sets):
        share = (number + 1) * options.frames // len(sets) - number * options.frames // len(sets)
        add_predictions(report, item, loaded, protocol, body_model, options, share)
    options.check_used(report.frames)
    report.frames.sort(key=lambda frame: -frame.worst)
    return report


def add_predictions(
    report: Report,
    item: PredictionSet,
    regressors: Mapping[str, JointRegressor],
    protocol: Any,
    body_model: Any,
    options: GalleryOptions,
    count: int,
) -> EvaluationResult:
    """Add a set's tables and its worst frames to a report; return the result.

    Args:
        report: The report.
        item: The predictions.
        regressors: The regressors by name.
        protocol: As in :func:`mmjrr.evaluate`.
        body_model: As in :func:`mmjrr.evaluate`.
        options: Choice of the frames.
        count: Number of frames to show.
    """
    protocols = get_protocols(protocol)
    reading = dict(item.reading)
    read = {
        name: reading.pop(name)
        for name in ('layout', 'fields', 'name_format', 'rotation_6d', 'frame_step')
        if name in reading
    }
    parts = read_parts([str(path) for path in item.files], **read)
    result = evaluate(
        parts,
        item.annotations,
        regressors,
        list(protocols.values()),
        body_model=body_model,
        **reading,
        title=item.title,
        keep_joints=True,
    )
    carried, body = regressors_and_body(
        parts[0],
        regressors,
        body_model,
        *(item.reading.get(name) for name in ('gender', 'num_betas', 'mapping', 'faces')),
    )
    evaluation = _evaluation(result, protocols)
    evaluation.explanation = item.explanation
    report.evaluations.append(evaluation)
    report.provenance[f'Evaluation of {item.title}'] = result.provenance
    if count > 0:
        frames, faces = _worst_frames(
            item,
            parts,
            result,
            evaluation,
            carried,
            protocols,
            body,
            options,
            count,
            report,
        )
        _add_frames(report, item.title, frames, faces, carried)
    return result


def _add_frames(
    report: Report,
    title: str,
    frames: list[Frame],
    faces: IndexArray | None,
    regressors: Mapping[str, JointRegressor],
) -> None:
    """Add frames, if they show the mesh of the report's other frames."""
    if not frames:
        return
    picture = list(frames[-1].meshes.values())[-1]
    if report.body_picture is None:
        report.body_picture, report.faces = picture, report.faces if faces is None else faces
        report.regressors = dict(regressors)
    if len(picture) != len(report.body_picture):
        report.notes.append(
            f'Frames of {title} are left out: its mesh has {len(picture)} vertices, and a page '
            f'shows one mesh, here of {len(report.body_picture)}.'
        )
        return
    report.frames += frames


def _evaluation(result: EvaluationResult, protocols: Mapping[str, Protocol]) -> Evaluation:
    regressed = result.regressed
    assert regressed is not None
    evaluation = Evaluation(
        title=result.title,
        frames=result.frames,
        scores=list(result.scores),
        protocols={name: protocol.summary for name, protocol in protocols.items()},
        intervals=list(result.intervals),
        notes=[f'Implausible: {note}' for note in result.notes]
        + left_out_notes(result.left_out, len(result.skipped)),
        provenance=result.provenance,
    )
    for name, protocol in protocols.items():
        rows = [
            row for row, labels in enumerate(regressed.labels) if not protocol.leaves_out(labels)
        ]
        for index, regressor in enumerate(dict.fromkeys(s.regressor for s in result.scores)):
            errors = np.full(len(regressed), np.nan)
            errors[rows] = frame_errors(
                regressed.joints[rows, index] * 1000.0,
                regressed.target[rows] * 1000.0,
                regressed.joint_names,
                protocol,
                regressed.weight[rows],
            ).mpjpe
            evaluation.errors[name, regressor] = errors
    return evaluation


def _worst_frames(
    item: PredictionSet,
    parts: Sequence[Predictions],
    result: EvaluationResult,
    evaluation: Evaluation,
    regressors: Mapping[str, JointRegressor],
    protocols: Mapping[str, Protocol],
    body: dict[str, Any] | SMPL | None,
    options: GalleryOptions,
    count: int,
    report: Report,
) -> tuple[list[Frame], IndexArray | None]:
    """Return the frames with the largest errors under the last regressor, and the mesh's faces."""
    regressed = result.regressed
    assert regressed is not None
    protocol = next(iter(protocols))
    errors = {name: evaluation.errors[protocol, name] for name in regressors}
    order = worst_first(list(errors.values())[-1])[:count]
    row_of_image = {regressed.imgname[row]: row for row in order}
    annotated = AnnotatedFrames(item.annotations, protocols)
    joints = RegressedJoints(regressors, needed_joints(protocols), body)
    model = _built(body)
    faces = _faces(model, item.reading.get('faces'))
    metadata = item.reading.get('metadata')
    takes = None if metadata is None else read_metadata(metadata).takes
    data = FrameData.load(
        annotated.path, options.cameras, options.images, options.masks, options.photos
    )
    report.notes += [note for note in data.notes if note not in report.notes]
    maker = FrameMaker(data, regressors, faces)
    matching = {name: item.reading[name] for name in ('unit', 'person') if name in item.reading}
    frames = []
    hidden = 0
    for part in parts:
        if item.reading.get('num_betas') is not None:
            part = part.with_num_betas(item.reading['num_betas'])
        part, rows, _ = match_part(
            part, annotated, item.reading.get('match', 'name'), joints, takes=takes, **matching
        )
        chosen = [
            (name, rows[frame])
            for frame, name in enumerate(annotated.names)
            if rows[frame] >= 0 and name in row_of_image
        ]
        vertices = posed_bodies(
            part.select(np.array([row for _, row in chosen], dtype=np.int64)),
            model,
            METERS[item.reading.get('unit', 'm')],
        )
        for (name, _), mesh in zip(chosen, vertices, strict=True):
            row = row_of_image[name]
            frame = maker.make(
                item.title,
                name,
                {'estimate': mesh},
                {regressor: float(values[row]) for regressor, values in errors.items()},
                place=True,
            )
            hidden += frame is None
            frames += [] if frame is None else [frame]
    if hidden:
        report.notes.append(f'{hidden} frames of {item.title} have a body behind the camera.')
    report.notes += data.missing_notes(item.title, frames)
    frames.sort(key=lambda frame: -frame.worst)
    return frames, faces


def _faces(model: SMPL | None, faces: Any) -> IndexArray | None:
    """Return the triangles of a body, or of a mesh whose triangles are named; None if unknown."""
    if model is not None:
        return np.asarray(model.faces)
    return np.asarray(read_faces(faces)) if isinstance(faces, (str, Path)) else faces


def worst_first(errors: FloatArray) -> list[int]:
    """Return the rows of finite errors, the largest first; ties in the order of rows."""
    rows = np.flatnonzero(np.isfinite(errors))
    ordered: list[int] = rows[np.argsort(-errors[rows], kind='stable')].tolist()
    return ordered


def _built(body: dict[str, Any] | SMPL | None) -> SMPL | None:
    if body is None or isinstance(body, SMPL):
        return body
    built: SMPL = BODY_MODELS.build(dict(body))
    return built
