"""Evaluation against annotated meshes, as on 3DPW, EMDB, RICH and BEDLAM.

The annotation consists of bodies. The same regressor computes the predicted and the target joints,
so they share its errors. Vertices are compared too: PVE after the alignment of the protocol, PA-PVE
after a similarity transform of each frame.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import Array, FloatArray, IndexArray
from mmjrr.body_models import SMPL
from mmjrr.body_models.known_meshes import mesh_of_size
from mmjrr.body_models.smpl_files import load_smpl_file
from mmjrr.datasets.image_names import frame_identity, image_key
from mmjrr.datasets.joint_files import parse_labels
from mmjrr.datasets.predictions import Predictions, match_bodies
from mmjrr.datasets.predictions.bodies import join
from mmjrr.datasets.predictions.persons import (
    ErrorOf,
    Matches,
    bodies_of_images,
    distinct_bodies,
    first_of_equal,
)
from mmjrr.datasets.units import meters_per
from mmjrr.errors import DataError
from mmjrr.io.mapped import release
from mmjrr.io.texts import take_texts
from mmjrr.joints import SMPL_JOINTS
from mmjrr.registry import BODY_MODELS
from mmjrr.regressors import JointRegressor, MeshMapping
from mmjrr.regressors.checks import clean_rows

from .carried_regressors import MappingLike, find_mesh_mapping
from .core import (
    check_extent,
    count_left_out,
    groups_of_labels,
    hint_at_unit,
    is_counted,
    provenance,
)
from .evaluate_predictions import PredictionsLike, body_config, read_parts
from .functional import mpjpe, pa_mpjpe
from .matched_parts import SAMPLE, predicted_twice
from .plausibility import (
    check_plausibility,
    doubt_mesh,
    explain_parameters,
    root_aligned_error,
)
from .predicted_body import body_of, body_parameters, check_vertices, note_unused
from .protocols import PROTOCOLS, FrameErrors, FrameLabels, Protocol, frame_errors, get_protocols
from .regressed_frames import find_neighbors, frame_labels
from .regressed_joints import RegressorLike, load_regressors
from .result import (
    BREAKDOWNS,
    EvaluationResult,
    Score,
    check_breakdowns,
    score_frames,
    undefined_score,
)
from .uncertainty import INTERVAL_ERRORS, ErrorInterval, error_intervals

#: Name of the body's own 24 joints among the regressors.
BODY_JOINTS = 'body'
_CHUNK = 64
_MM = 1000.0


def evaluate_meshes(
    predictions: PredictionsLike | Sequence[PredictionsLike],
    annotated: PredictionsLike | Sequence[PredictionsLike],
    regressors: RegressorLike | Sequence[RegressorLike] | Mapping[str, RegressorLike],
    protocol: str | dict[str, Any] | Protocol | Sequence[Any] | None = None,
    *,
    body_model: str | Path | dict[str, Any] | SMPL | None = None,
    annotated_fields: Mapping[str, str] | None = None,
    annotated_rotation_6d: str | None = None,
    annotated_unit: str = 'm',
    person: str | None = 'nearest',
    gender: str | None = None,
    num_betas: int | None = None,
    mapping: MappingLike | None = None,
    faces: str | Path | Array | None = None,
    unit: str = 'm',
    by: Sequence[str] = BREAKDOWNS,
    title: str = '',
    **reading: Any,
) -> EvaluationResult:
    """Compute MPJPE, PA-MPJPE, N-MPJPE, acceleration error, PVE and PA-PVE against meshes.

    Args:
        predictions: The predicted bodies, as in :func:`~mmjrr.evaluation.evaluate`.
        annotated: The annotated bodies, in any layout of results files.
        regressors: One or several, as in :func:`~mmjrr.evaluation.load_regressors`. If there is a
            body, its own 24 joints are added under the name ``'body'``.
        protocol: One or several, as in :func:`~mmjrr.evaluation.get_protocol`. A regressor without
            the joints of a protocol has no score under it. Default: all, on all frames.
        body_model: Body of parameters, as in :func:`~mmjrr.evaluation.evaluate`.
        annotated_fields: Paths of fields in the annotated files, as ``fields`` for predictions.
        annotated_rotation_6d: Layout of 6D rotations in the annotated files, as ``rotation_6d`` for
            predictions.
        annotated_unit: Unit of vertices and ``transl`` of the annotation, as ``unit`` for
            predictions. Default: 'm'.
        person: The predicted person to evaluate if an image has several, as in
            :func:`~mmjrr.evaluation.evaluate`. Each predicted body is compared with one annotated
            body at most; annotated bodies without one are skipped.
        gender: Gender of the predicted bodies, in place of the files'.
        num_betas: Number of betas of the predicted bodies to use.
        mapping: As in :func:`~mmjrr.evaluation.evaluate`. It computes vertices of the regressors'
            mesh from predicted or annotated meshes of another kind, and these are compared.
        faces: Triangles of that other mesh, as in :func:`~mmjrr.evaluation.evaluate`.
        unit: Unit of vertices and ``transl`` of the predictions, 'm', 'cm' or 'mm'. Default: 'm'.
        by: Breakdowns to compute. Those for which no frame has a label are left out.
        title: Name of the evaluated predictions.
        reading: ``layout``, ``fields``, ``name_format``, ``rotation_6d`` and ``frame_step`` of the
            predictions, as in :func:`~mmjrr.evaluation.evaluate`.

    Raises:
        DataError: A file is broken, an image has predictions in several files and more of them than
            annotated bodies, no prediction is of an annotated image, or a file of parameters has no
            ``transl``, which a protocol without a root needs.
        ValueError: An argument is invalid; vertices are not finite, or too far apart for their
            unit; a protocol counts none of the annotated frames, or names a subject, camera or
            sequence of which there is no frame; or no regressor has the joints of any protocol.
    """
    check_breakdowns(by)
    scale, annotated_scale = meters_per(unit), meters_per(annotated_unit, 'annotated_unit')
    loaded = load_regressors(regressors)
    config = body_config(body_model, loaded)
    parts = read_parts(predictions, **reading)
    predicted = _join('predictions', parts)
    target = _join(
        'annotated',
        read_parts(annotated, fields=annotated_fields, rotation_6d=annotated_rotation_6d),
    )
    for bodies in (predicted, target):
        if bodies.imgname is None:
            raise DataError(
                f'{bodies.name}: imgname: missing, expected the image name of each body'
            )
    protocols = _protocols(protocol)
    absolute = any(entry.root is None for entry in protocols.values())
    assert target.imgname is not None and predicted.imgname is not None
    predicted_names = predicted.imgname
    kept = first_of_equal(target)
    all_names = take_texts(target.imgname, kept)
    all_labels = [_labels(name) for name in all_names]
    count_left_out(all_labels, protocols)  # raises if a protocol counts no frame
    for entry in protocols.values():
        for sentence in entry.unmatched_choices(all_labels):
            raise ValueError(sentence)
    is_of_protocol = np.array([is_counted(label, protocols) for label in all_labels])
    is_valid = target.is_valid()
    uncounted = [all_labels[row] for row in np.flatnonzero(~is_of_protocol & is_valid[kept])]
    annotated_rows = kept[is_of_protocol]
    target.require_known_rotations('annotated_rotation_6d')
    meshes = _Meshes(predicted, config, gender, num_betas, 'unit', scale, absolute)
    reference = _Meshes(
        target, config, None, None, 'annotated_unit', annotated_scale, absolute, annotated_rows
    )
    target = replace(target, vertices=None, valid=is_valid).select(annotated_rows)
    assert target.imgname is not None
    if len(parts) > 1:
        _check_parts(parts, predicted, target, person)
    first_name, first = next(iter(loaded.items()))
    for source in (meshes, reference):
        source.map_to(first, mapping, faces)
    given = {'mapping': mapping, 'faces': faces}
    if meshes.mapping is None and reference.mapping is None:
        unused = [name for name, value in given.items() if value is not None]
        predicted = predicted.without_effect(unused, "both sides have the regressors' mesh")
    own_joints = None if meshes.body is None else body_joints(meshes.body)
    if own_joints is not None and own_joints.num_vertices == first.num_vertices:
        loaded[BODY_JOINTS] = own_joints
    described = meshes.described(loaded)

    def error_of(rows: Array, frames: Array) -> Array:
        pairs = (_joints(source, rows_, first) for source, rows_ in
                 ((meshes, rows), (reference, frames)))  # fmt: skip
        points, goal = pairs
        return root_aligned_error(points, goal, np.ones(points.shape[:2]), first.joint_names)

    matches = _match(predicted, target, person, error_of, all_names)
    frames = np.flatnonzero((matches.rows >= 0) & target.is_valid())
    if not len(frames):
        raise DataError(
            f'{predicted.name}: none of its {len(predicted)} bodies is of an annotated image; they '
            f'are named like {predicted_names[0]!r}, annotated images like {target.imgname[0]!r}'
        )
    names = [target.imgname[frame] for frame in frames]
    order = np.array(sorted(range(len(names)), key=lambda row: (names[row], row)))
    frames, names = frames[order], [names[row] for row in order]
    labels = [_labels(name) for name in names]
    missing = np.setdiff1d(np.arange(len(target)), frames)
    missing_labels = [_labels(target.imgname[frame]) for frame in missing]
    left_out = count_left_out([*labels, *uncounted], protocols, missing_labels)
    comparison = _Comparison(meshes, reference, matches.rows[frames], frames, loaded, protocols)
    videos, numbers, notes_on_videos = _places_in_videos(target)
    videos, numbers = [videos[frame] for frame in frames], [numbers[frame] for frame in frames]
    known = {kind for kind in by if kind == 'joint' or any(label.get(kind) for label in labels)}
    groups = groups_of_labels(labels, [kind for kind in by if kind in known])
    scores: list[Score] = []
    intervals: list[ErrorInterval] = []
    without_prediction: list[str] = []
    for name, entry in protocols.items():
        counted = [entry.leaves_out(label) is None for label in labels]
        rows = np.flatnonzero(counted)
        having = [regressor for regressor in loaded if (regressor, name) in comparison.pve]
        if not len(rows):
            scores += [undefined_score(regressor, entry) for regressor in having]
            without_prediction += [name] if having else []
            continue
        chosen = {kind: group.take(rows) for kind, group in groups.items()}
        neighbors = find_neighbors([videos[row] for row in rows], [numbers[row] for row in rows])
        of_regressors: dict[str, dict[str, Array]] = {}
        for regressor in having:
            errors = comparison.errors(regressor, entry, rows, neighbors)
            scores += score_frames(regressor, entry, errors, chosen, 'joint' in by)
            of_regressors[regressor] = {kind: getattr(errors, kind) for kind in INTERVAL_ERRORS}
        if having:
            intervals += error_intervals(name, of_regressors, [labels[row] for row in rows])
    if not scores:
        raise ValueError(
            f'none of the regressors {list(loaded)} has the joints of {", ".join(protocols)}'
        )
    unmatched = [predicted_names[row] for row in matches.unmatched]
    skipped = [name for name, row in zip(target.imgname, matches.rows, strict=True) if row < 0]
    joints, goals = comparison.joints[first_name], comparison.goals[first_name]
    weight = np.ones(joints.shape[:2])
    notes = check_plausibility(joints, goals, weight, first.joint_names, videos)
    sample = np.unique(np.linspace(0, len(frames) - 1, SAMPLE).astype(int))

    def error_of_changed(bodies: Predictions) -> Array:
        points = _joints(meshes.with_part(bodies), np.arange(len(bodies)), first)
        return root_aligned_error(points, goals[sample], weight[sample], first.joint_names)

    sampled_bodies = meshes.part.select(matches.rows[frames[sample]])
    notes = explain_parameters(sampled_bodies, error_of_changed, notes)
    if predicted.vertices is not None:
        notes = doubt_mesh(notes, first.body_model)
    about = provenance(described, protocols, None if meshes.body is None else meshes.body.path)
    return EvaluationResult(
        scores=tuple(scores),
        protocols={name: entry for name, entry in protocols.items()
                   if any(score.protocol == name for score in scores)},
        intervals=tuple(intervals),
        frames=len(frames),
        left_out={name: kinds for name, kinds in left_out.items()
                  if any(score.protocol == name for score in scores)},
        skipped=tuple(sorted(skipped)),
        unmatched=tuple(unmatched),
        without_prediction=tuple(without_prediction),
        notes=notes,
        title=title,
        provenance={
            **about,
            'target': 'joints regressed from annotated meshes by the same regressor, so its own '
            'error does not show',
            'notes': [
                *note_unused(predicted, gender, num_betas).notes, *matches.notes,
                *notes_on_videos, *meshes.notes(), *reference.notes(),
            ],
        },
    )  # fmt: skip


def body_joints(body: SMPL) -> JointRegressor | None:
    """Return the regressor of a body's own joints, as its file has it.

    Returns:
        The regressor; None if the body comes from no file or has other joints than SMPL's 24.
    """
    if body.path is None:
        return None
    matrix = load_smpl_file(body.path, body.kind)['J_regressor']
    if len(matrix) != len(SMPL_JOINTS):
        return None
    weight, notes = clean_rows(matrix, SMPL_JOINTS)
    provenance = {'made_by': f'J_regressor of {body.path.name}'}
    return JointRegressor(torch.from_numpy(weight), SMPL_JOINTS, body.name, provenance, notes)


def _protocols(protocol: Any) -> dict[str, Protocol]:
    if protocol is not None:
        return get_protocols(protocol)
    return {
        name: replace(entry, subjects=None, cameras=None, exclude_sequences=())
        for name, entry in PROTOCOLS.items()
    }


def _join(name: str, parts: Sequence[Predictions]) -> Predictions:
    """Concatenate parts, of which only some may have tracks. Vertices stay in their files."""
    if any(part.track is not None for part in parts):
        parts = [
            part if part.track is not None else replace(part, track=[''] * len(part))
            for part in parts
        ]
    return join(parts[0].source or Path(name), parts, mapped=True)


def _check_parts(
    parts: Sequence[Predictions], joined: Predictions, target: Predictions, person: str | None
) -> None:
    """Check that no image has predictions in several parts, and more than annotated bodies.

    Parts may be files with a person each. More bodies than people may be those of two runs, of
    which the nearer one would be taken.

    Args:
        parts: The parts of a set of predictions.
        joined: All their bodies.
        target: The annotated bodies. Invalid ones count, since their people may be predicted.
        person: As in :func:`evaluate_meshes`.

    Raises:
        DataError: An image has.
    """
    assert target.imgname is not None
    part_of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    people = Counter(target.imgname)
    images = list(dict.fromkeys(take_texts(target.imgname, np.flatnonzero(target.is_valid()))))
    twice: dict[tuple[int, int], list[str]] = {}
    for name, rows in zip(images, bodies_of_images(joined, images, person), strict=True):
        numbers = np.unique(part_of[rows]).tolist()
        if len(numbers) > 1 and len(rows) > people[name]:
            twice.setdefault((numbers[0], numbers[1]), []).append(name)
    for (earlier, later), shared in twice.items():
        raise predicted_twice(shared, parts[later].name, parts[earlier].name)


def _match(
    predicted: Predictions,
    target: Predictions,
    person: str | None,
    error_of: ErrorOf,
    listed: Sequence[str],
) -> Matches:
    """Find a predicted body for each annotated body; no predicted body serves two.

    :func:`match_bodies` matches each annotated body on its own, so one predicted body can be the
    nearest to several. Of these pairs, the one with the least error is kept. With
    ``person='nearest'``, the other annotated bodies get the nearest predicted body that is left in
    their image.
    """
    assert target.imgname is not None
    matches = match_bodies(predicted, target.imgname, person, error_of, listed)
    matched = np.flatnonzero((matches.rows >= 0) & target.is_valid())
    if len(np.unique(matches.rows[matched])) == len(matched):
        return matches
    if person == 'nearest':
        candidates = distinct_bodies(predicted, [target.imgname[frame] for frame in matched])
    else:
        candidates = [[row] for row in matches.rows[matched].tolist()]
    uses = Counter(row for of_frame in candidates for row in of_frame)
    pairs = np.array(
        [
            (row, frame)
            for frame, of_frame in zip(matched.tolist(), candidates, strict=True)
            if any(uses[row] > 1 for row in of_frame)
            for row in of_frame
        ]
    )
    rows = matches.rows.copy()
    rows[pairs[:, 1]] = -1
    taken: set[int] = set()
    errors = np.nan_to_num(error_of(pairs[:, 0], pairs[:, 1]), nan=np.inf)
    for row, frame in pairs[np.argsort(errors, kind='stable')].tolist():
        if rows[frame] < 0 and row not in taken:
            rows[frame] = row
            taken.add(row)
    note = (
        f'{int((rows[matched] < 0).sum())} annotated bodies are skipped, since the predicted '
        'bodies of their images are nearer to other annotated bodies'
    )
    has_skipped = bool((rows[matched] < 0).any())
    return replace(matches, rows=rows, notes=(*matches.notes, *([note] if has_skipped else [])))


def _places_in_videos(target: Predictions) -> tuple[list[FrameLabels], list[int], list[str]]:
    """Return the place of each annotated body among the frames of one person in a video.

    Returns:
        For each body, labels whose sequence includes the track, and the number of the frame; it is
        -1 in videos with an image of several people whom no track tells apart. And a note on these
        videos, if there are any.
    """
    assert target.imgname is not None
    tracks: Sequence[str | None] = target.track or [None] * len(target)
    videos = [_of_track(_labels(name), t) for name, t in zip(target.imgname, tracks, strict=True)]
    places = list(zip(target.imgname, tracks, strict=True))
    uses = Counter(places)
    mixed = {
        (video['sequence'], video['camera'])
        for video, place in zip(videos, places, strict=True)
        if uses[place] > 1 and video['sequence'] is not None
    }
    numbers = [
        -1 if (video['sequence'], video['camera']) in mixed else _number(name)
        for video, name in zip(videos, target.imgname, strict=True)
    ]
    note = (
        f'{target.name}: {len(mixed)} videos have no acceleration error, since their images have '
        'several annotated bodies and no track tells them apart; '
        "annotated_fields=dict(track='...') (on the command line, --annotated-fields track=...) "
        'names the tracks'
    )
    return videos, numbers, [note] if mixed else []


def _of_track(labels: FrameLabels, track: str | None) -> FrameLabels:
    """Return the labels with the track added to the sequence."""
    sequence = labels.get('sequence')
    if track is None or sequence is None:
        return labels
    return frame_labels(
        labels.get('subject'), labels.get('action'), f'{sequence} {track}', labels.get('camera')
    )


def _labels(imgname: str) -> FrameLabels:
    identity = frame_identity(imgname)
    if identity is None:
        person, sequence = parse_labels(imgname)
        return frame_labels(person, None, sequence, None)
    sequence = '_'.join(filter(None, (identity.subject, identity.action, identity.take)))
    return frame_labels(identity.subject, identity.action, sequence, identity.camera)


def _number(imgname: str) -> int:
    """Return the number at the end of an image's name, -1 if there is none."""
    digits = re.search(r'(\d{1,9})$', image_key(imgname))
    return -1 if digits is None else int(digits[1])


class _Meshes:
    """Vertices of bodies in meters, from vertices or parameters.

    Args:
        part: The bodies.
        config: The body of their parameters, or its config; None if there is none.
        gender: Gender to use in place of the file's.
        num_betas: Number of betas to use in place of the file's.
        unit: Name of the argument that says the unit, for messages.
        scale: Meters per unit of vertices and ``transl``.
        absolute: Whether a protocol compares absolute positions, which need translations.
        rows: Rows of ``part`` that hold the bodies. The vertices of these rows are not copied.
            Default: None, all rows.

    Raises:
        DataError: The parameters do not fit the body, or lack a ``transl`` that is needed.
        ValueError: There are only parameters, and there is no body.
    """

    def __init__(
        self,
        part: Predictions,
        config: Any,
        gender: str | None,
        num_betas: int | None,
        unit: str,
        scale: float,
        absolute: bool,
        rows: Array | None = None,
    ) -> None:
        part.require_known_rotations()
        if rows is not None and part.vertices is None:
            part, rows = part.select(rows), None
        self.unit, self.scale, self.absolute = unit, scale, absolute
        chosen = body_of(part, config, gender, num_betas)
        self.part = part if num_betas is None else part.with_num_betas(num_betas)
        self._rows = rows
        body = BODY_MODELS.build(dict(chosen)) if isinstance(chosen, dict) else chosen
        self.body: SMPL | None = None if body is None else body.cpu().double()
        self.mapping: MeshMapping | None = None
        if part.vertices is None and self.body is None:
            raise ValueError(
                f'{part.name}: has parameters and no vertices: '
                "body_model='path/to/SMPL_NEUTRAL.pkl' (on the command line, --body-model) names "
                'their body'
            )
        if absolute and part.vertices is None and part.transl is None:
            raise DataError(
                f'{part.name}: has no transl, and a protocol without a root compares absolute '
                'positions'
            )

    def with_part(self, part: Predictions) -> _Meshes:
        """Return the meshes of other bodies, of the same body model and mapping."""
        changed = copy.copy(self)
        changed.part, changed._rows = part, None
        return changed

    @property
    def num_vertices(self) -> int:
        """Number of vertices of the meshes as they are stored."""
        if self.part.vertices is not None:
            return int(self.part.vertices.shape[1])
        assert self.body is not None
        return self.body.num_vertices

    def map_to(
        self,
        regressor: JointRegressor,
        mapping: MappingLike | None,
        faces: str | Path | Array | None,
    ) -> None:
        """Set the mapping to a regressor's mesh, if the meshes are of another kind.

        Raises:
            FileNotFoundError: A file does not exist.
            DataError: A file is damaged, or no mapping between the meshes is known.
            ValueError: The mapping is not between the two meshes.
        """
        if self.num_vertices == regressor.num_vertices:
            return
        mesh = mesh_of_size(self.num_vertices)
        self.mapping = find_mesh_mapping(
            mesh.name if mesh is not None and mesh.is_body else None,
            self.num_vertices,
            regressor,
            mapping,
            faces,
        )
        if self.mapping is None:
            check_vertices(self.part, regressor.num_vertices)
            raise DataError(
                f'{self.part.name}: found bodies of {self.num_vertices} vertices, expected '
                f'{regressor.num_vertices}, as many as the regressors have columns; give the '
                'mapping between the meshes (mapping=, on the command line --mapping)'
            )

    def described(self, regressors: Mapping[str, JointRegressor]) -> dict[str, JointRegressor]:
        """Return the regressors with what the mapping adds to their provenance.

        Joints off the surface are regressed from mapped vertices, and cannot be carried.

        Raises:
            ValueError: The mapping does not lead to a regressor's mesh.
        """
        mapping = self.mapping
        return {
            name: entry if mapping is None or entry.normals is not None else entry.to_mesh(mapping)
            for name, entry in regressors.items()
        }

    def notes(self) -> list[str]:
        """Return a sentence on the mapping, if there is one."""
        if self.mapping is None:
            return []
        by = self.mapping.provenance.get('file', 'a mapping')
        note = (
            f'{self.part.name}: vertices of the mesh {self.mapping.source!r} are compared as those '
            f'of {self.mapping.target!r}, computed by {by}'
        )
        return [note]

    def vertices(self, rows: Array) -> Tensor:  # (n, V, 3), float64
        """Return some meshes, as vertices of the regressors' mesh.

        Raises:
            ValueError: Stored vertices are too far apart for their unit.
        """
        part = self.part
        rows = rows if self._rows is None else self._rows[rows]
        if part.vertices is not None:
            vertices = self.scale * torch.from_numpy(part.vertices[rows]).double()
            release(part.vertices)
            assert part.imgname is not None
            names = [f'{part.name}: {name}' for name in take_texts(part.imgname, rows)]
            check_extent(names, 'vertices', vertices.numpy(), hint_at_unit(self.unit))
        else:
            assert self.body is not None
            scale = self.scale if self.absolute else None
            parameters = body_parameters(part.select(rows), self.body, scale)
            with torch.no_grad():
                vertices = self.body(
                    **{name: torch.from_numpy(v).double() for name, v in parameters.items()}
                ).vertices
        if self.mapping is None:
            return vertices
        return torch.from_numpy(self.mapping.carry(vertices.numpy()))


def _joints(meshes: _Meshes, rows: Array, regressor: JointRegressor) -> FloatArray:
    joints = np.empty((len(rows), len(regressor.joint_names), 3))
    for chunk in _chunks(len(rows)):
        joints[chunk] = regressor(meshes.vertices(rows[chunk])).numpy()
    return joints


class _Comparison:
    """Joints of all regressors, and errors of the vertices, of N pairs of meshes.

    The results of a chunk are copied to arrays made beforehand. If they were kept, they would lie
    between the places of large arrays, which the allocator could not use again.
    """

    def __init__(
        self,
        meshes: _Meshes,
        reference: _Meshes,
        rows: Array,
        frames: IndexArray,
        regressors: Mapping[str, JointRegressor],
        protocols: Mapping[str, Protocol],
    ) -> None:
        self.regressors = regressors
        count = len(rows)
        self.joints, self.goals = (
            {name: np.empty((count, len(r.joint_names), 3)) for name, r in regressors.items()}
            for _ in range(2)
        )
        self.pve = {
            (name, key): np.empty(count)
            for name, regressor in regressors.items()
            for key, protocol in protocols.items()
            if set(regressor.joint_names).issuperset(protocol.needed_joints)
        }
        self.pa_pve = np.empty(count)
        for chunk in _chunks(count):
            points, goal = meshes.vertices(rows[chunk]), reference.vertices(frames[chunk])
            for where, vertices in ((meshes, points), (reference, goal)):
                finite = torch.isfinite(vertices).all(-1).all(-1)
                if not finite.all():
                    raise ValueError(f'{where.part.name}: found NaN or infinity in a body')
            self.pa_pve[chunk] = pa_mpjpe(points, goal).numpy()
            for name, regressor in regressors.items():
                regressed, regressed_goal = regressor(points), regressor(goal)
                self.joints[name][chunk] = regressed.numpy()
                self.goals[name][chunk] = regressed_goal.numpy()
                for key, protocol in protocols.items():
                    if (name, key) not in self.pve:
                        continue
                    root = [regressor.joint_names.index(joint) for joint in protocol.root_joints]
                    center, goal_center = 0.0, 0.0
                    if root:
                        center = regressed[:, root].mean(1, keepdim=True)
                        goal_center = regressed_goal[:, root].mean(1, keepdim=True)
                    error = mpjpe(points - center, goal - goal_center)
                    self.pve[name, key][chunk] = error.numpy()

    def errors(
        self, name: str, protocol: Protocol, rows: IndexArray, neighbors: Array | None
    ) -> FrameErrors:
        """Return the errors of some frames, in mm."""
        errors = frame_errors(
            _MM * self.joints[name][rows],
            _MM * self.goals[name][rows],
            self.regressors[name].joint_names,
            protocol,
            None,
            neighbors,
        )
        return replace(
            errors,
            pve=_MM * self.pve[name, protocol.name][rows],
            pa_pve=_MM * self.pa_pve[rows],
        )


def _chunks(count: int) -> Iterator[slice]:
    for start in range(0, count, _CHUNK):
        yield slice(start, start + _CHUNK)
