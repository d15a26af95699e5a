"""The metric for MMEngine configs: MPJPE and PA-MPJPE under any number of joint regressors."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import compress
from typing import Any

import numpy as np
from mmengine.dist import broadcast_object_list, collect_results, get_world_size, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmjrr.array_types import Array
from mmjrr.body_models import SMPL
from mmjrr.datasets.predictions import Predictions
from mmjrr.datasets.predictions.bodies import mark_absurd_betas, mark_rows_without_body
from mmjrr.datasets.units import METERS
from mmjrr.evaluation.core import (
    check_annotation,
    check_extent,
    check_finite,
    evaluate_frames,
    is_counted,
    needed_joints,
)
from mmjrr.evaluation.plausibility import doubt_mesh, explain_parameters, root_aligned_error
from mmjrr.evaluation.protocols import Protocol, get_protocols
from mmjrr.evaluation.regressed_frames import RegressedFrames, frame_numbers
from mmjrr.evaluation.regressed_joints import (
    RegressedJoints,
    RegressorLike,
    default_body,
    load_regressors,
)
from mmjrr.evaluation.result import BREAKDOWNS, EvaluationResult, check_result_path
from mmjrr.joints import joint_names_of, joint_names_of_metainfo, reorder_index
from mmjrr.registry import METRICS
from mmjrr.regressors import MeshMapping

from .merging import Frame, Hints, MergedFrames, Record, merge
from .sample_fields import Sample, merge_fields

#: Number of bodies whose parameters are changed to explain implausible scores.
_SAMPLE = 64
_IN_MM = "if they are in millimeters, say {}_unit='mm'"
_POSE = ('global_orient', 'body_pose', 'betas')
_HINTS = Hints(
    second_pass='call evaluate() after each pass over the data',
    same_name="the metric's fields= can name what tells them apart as sample_idx",
)


@METRICS.register_module()
class JointRegressorMetric(BaseMetric):
    """MPJPE and PA-MPJPE of meshes on Human3.6M's joints, under several regressors at once.

    The metric takes predicted vertices or SMPL parameters from a model of any scope::

        custom_imports = dict(imports=['mmjrr'])
        test_evaluator = dict(type='mmjrr.JointRegressorMetric', regressors=['J_std', 'J_opt'])

    By default, fields are looked up where MMPose puts them (:data:`DEFAULT_FIELDS`):

    - predictions in the model's output, in ``pred_instances`` or, with the prefix ``pred_``, at the
      top level;
    - the annotation in ``keypoints_3d``, ``gt_instances.keypoints_3d`` or
      ``gt_instances.lifting_target``, in the camera frame like the predictions: in the batch, and
      only if it has none in the model's output;
    - the image's name in ``imgname``, ``img_path`` or ``target_img_path``.

    Keys of the returned metrics are such as ``'J_opt/paper/MPJPE'``; values are in mm.

    A protocol decides which subjects, sequences and cameras count. The metric leaves other frames
    out and counts them in the result, so any data set that contains a protocol's frames gives the
    same numbers. The result is the same to the last bit for any split into batches and processes. A
    frame that a distributed sampler repeats, or that several sequences contain, counts once, by its
    first prediction; a note says how far the others are from it.

    Args:
        regressors: One or several, as in :func:`~mmjrr.evaluation.load_regressors`: names of the
            zoo, paths, ``dict(path=..., joint_order=...)``, or a dict of these whose keys are the
            names to report.
        protocol: One or several protocols, as in :func:`~mmjrr.evaluation.get_protocol`: names,
            fields, or ``dict(type='paper', subjects='all')``. Default: 'paper'.
        body_model: Config of the body model of predicted SMPL parameters. Default: None, the body
            that the regressors are for, which is the free body or SMPL from ``data/smpl`` (or
            ``smpl`` in the folder of downloads). Only vertices of nonzero weight are computed.
        fields: Places that differ from :data:`DEFAULT_FIELDS`, such as ``dict(vertices='verts')``.
            Dots lead into nested elements; None switches a field off. A sample's vertices take
            precedence over its parameters.
        joint_order: Order of the annotation's joints: 'mmpose', 'spin', or joint names. Default:
            the names in the data set's metainfo or, if it has none, 'mmpose' with a warning.
        prediction_unit: Unit of vertices and ``transl``, 'm', 'cm' or 'mm'. Default: 'm'.
        annotation_unit: Unit of ``keypoints_3d``, 'm', 'cm' or 'mm'. Default: 'm'.
        by: Breakdowns of the tables and of ``out_file``. Subject, action and camera come from the
            sample's fields or else from its image name. A breakdown is left out, with a warning, if
            a sample has no value for it.
        missing: 'raise' raises an error for samples without a prediction; 'skip' leaves them out,
            counts and lists them. As in :func:`mmjrr.evaluate`, all zeros, all NaN and vertices in
            one point are no prediction, and with 'skip' neither are betas beyond 20; 'raise' scores
            these, so that a network that diverges gets a bad score. Default: 'raise'.
        out_file: File that receives the result and its provenance, ending in ``.json`` or ``.csv``.
            Default: None, no file.
        title: Name of the evaluated model, for tables and files.
        mapping: File of the mapping that computes the vertices of the regressors' mesh from those
            of the model's mesh, as for :meth:`mmjrr.regressors.MeshMapping.load`. Default: None,
            the model has the regressors' mesh.
        faces: File of the triangles of the model's mesh, which a mapping by barycentric coordinates
            needs. Default: None.
        collect_device: As in MMEngine, 'cpu' or 'gpu'.
        prefix: As in MMEngine, a prefix of the keys.
        collect_dir: As in MMEngine.

    Attributes:
        result: The last :class:`~mmjrr.evaluation.EvaluationResult` (main process only).

    Raises:
        ValueError: An argument or a sample's field is invalid or missing (the message names the
            field and the image), or the data set lacks joints that a protocol needs.
        FileNotFoundError: A regressor's file does not exist.
    """

    default_prefix = ''

    def __init__(
        self,
        regressors: RegressorLike | Sequence[RegressorLike] | Mapping[str, RegressorLike],
        protocol: str
        | dict[str, Any]
        | Protocol
        | Sequence[str | dict[str, Any] | Protocol] = 'paper',
        body_model: dict[str, Any] | SMPL | None = None,
        fields: Mapping[str, str | None] | None = None,
        joint_order: str | Sequence[str] | None = None,
        prediction_unit: str = 'm',
        annotation_unit: str = 'm',
        by: Sequence[str] = BREAKDOWNS,
        missing: str = 'raise',
        out_file: str | None = None,
        title: str = '',
        mapping: str | None = None,
        faces: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.protocols = get_protocols(protocol)
        self.by = _each_one_of('by', by, BREAKDOWNS)
        self.missing = _one_of('missing', missing, ('raise', 'skip'))
        self.fields = merge_fields(fields)
        self.scale = METERS[_one_of('prediction_unit', prediction_unit, METERS)]
        self.annotation_scale = METERS[_one_of('annotation_unit', annotation_unit, METERS)]
        self.joint_order = None if joint_order is None else joint_names_of(joint_order)
        self.out_file = None if out_file is None else check_result_path(out_file)
        self.title = title
        self.regressors = load_regressors(regressors)
        if mapping is None and faces is not None:
            raise ValueError(f'faces: found {faces!r}, expected None without a mapping')
        if mapping is not None:
            loaded = MeshMapping.load(mapping, faces)
            self.regressors = {name: one.to_mesh(loaded) for name, one in self.regressors.items()}
        self.joint_names = needed_joints(self.protocols)
        self.joints = RegressedJoints(self.regressors, self.joint_names, body_model)
        self._is_absolute = any(protocol.root is None for protocol in self.protocols.values())
        self._annotation_joints: tuple[str, ...] | None = None
        self.result: EvaluationResult | None = None

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """Metainfo of the data set; the setter checks that it names the joints that are needed."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, metainfo: dict[str, Any]) -> None:
        self._dataset_meta = metainfo
        self._annotation_joints = self._joints_of(metainfo)

    def _joints_of(self, metainfo: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the annotation's joints, in its order.

        Raises:
            ValueError: ``joint_order`` contradicts the metainfo, or joints are missing.
        """
        declared = joint_names_of_metainfo(metainfo)
        if declared is None:
            if self.joint_order is None:
                print_log(
                    "JointRegressorMetric: the data set does not name its joints; MMPose's order "
                    "of Human3.6M's 17 is assumed. joint_order= declares another order",
                    logger='current',
                    level=logging.WARNING,
                )
            return self.joint_order or joint_names_of('mmpose')
        if self.joint_order is not None and self.joint_order != declared:
            raise ValueError(
                f"joint_order: found {list(self.joint_order)}, expected the data set's order, "
                f'{list(declared)}'
            )
        missing = [joint for joint in self.joint_names if joint not in declared]
        if missing:
            name = metainfo.get('dataset_name', 'of no name')
            raise ValueError(
                f'the data set {name!r} annotates {list(declared)}, but the protocol '
                f"{' and '.join(map(repr, self.protocols))} compares Human3.6M's joints, of which "
                f'it lacks {missing}; evaluate on a data set with these joints'
            )
        return declared

    # ------------------------------------------------------------------ per batch

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Store the record of a batch."""
        self.results.append(self.record(data_batch, data_samples))

    def record(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> Record:
        """Return a batch's labels, annotated joints, and regressed joints or SMPL parameters."""
        if self._annotation_joints is None:
            self._annotation_joints = self._joints_of({})
        frames, predicted = [], {}
        for index, prediction in enumerate(data_samples):
            sample = Sample(self.fields, prediction, data_batch, index, len(data_samples))
            labels = sample.labels()
            status = self._status(sample, labels)
            frames.append(Frame(sample.key, sample.name, labels, status))
            if status == 'evaluated':
                predicted[index] = sample
        if not predicted:
            return Record(frames, {})
        has_body, predictions = self._predictions(list(predicted.values()))
        for index, has in zip(predicted, has_body, strict=True):
            if not has:
                frames[index] = frames[index]._replace(status='missing')
        evaluated = list(compress(predicted.values(), has_body))
        if not evaluated:
            return Record(frames, {})
        order = reorder_index(self._annotation_joints, self.joint_names)
        targets = [self._annotation(sample, order) for sample in evaluated]
        arrays = {
            'target': np.stack([joints for joints, _ in targets]),
            'weight': np.stack([weight for _, weight in targets]),
            **predictions,
        }
        return Record(frames, arrays)

    def _status(self, sample: Sample, labels: Mapping[str, str | None]) -> str:
        try:
            counted = is_counted(labels, self.protocols)
        except ValueError as error:
            raise ValueError(
                f'{sample.name}: {error}: neither fields nor the image name '
                f'({sample.places("imgname")}) tell it{sample.describe_labels()}. '
                "MMPose keeps the name by PackPoseInputs(meta_keys=(..., 'target_img_path')); "
                "protocol=dict(type='paper', subjects='all') does not ask"
            ) from error
        if not counted:
            return 'left_out'
        return 'evaluated' if self._has_prediction(sample) else 'missing'

    def _has_prediction(self, sample: Sample) -> bool:
        has_vertices = sample.get('vertices') is not None
        pose = [sample.get(name) is not None for name in _POSE]
        if has_vertices or all(pose):
            return True
        if any(pose) or self.missing == 'raise':
            raise ValueError(
                f'{sample.name}: no prediction: neither {sample.places("vertices")} nor all of '
                f'{", ".join(map(repr, map(sample.path, _POSE)))} (or in pred_instances) are '
                f"there; found {sample.describe()}. The metric's fields= says other names; "
                "missing='skip' leaves such frames out"
            )
        return False

    def _annotation(self, sample: Sample, order: list[int]) -> tuple[Array, Array]:
        """Return the needed annotated joints (J, 3) in meters, and their weights (J,)."""
        names = self._annotation_joints or ()
        joints = sample.array('keypoints_3d', (len(names), 3))
        sample.check_annotation(joints, names.index('pelvis') if 'pelvis' in names else None)
        joints = joints[order] * self.annotation_scale
        weight = sample.keypoint_weight(len(names))[order]
        where = f'{sample.name}: {sample.path("keypoints_3d")}'
        return check_annotation(where, joints, weight, _IN_MM.format('annotation')), weight

    def _predictions(self, samples: list[Sample]) -> tuple[Array, dict[str, Array]]:
        """Return which samples have a body, and the predictions of those, a row for each."""
        with_vertices = [sample.get('vertices') is not None for sample in samples]
        if not all(with_vertices):
            if any(with_vertices):
                raise ValueError(
                    f'{samples[with_vertices.index(False)].name}: has SMPL parameters, but '
                    f'{samples[with_vertices.index(True)].name} has vertices; expected one kind'
                )
            return self._parameters(samples)
        names, field = [sample.name for sample in samples], samples[0].path('vertices')
        try:
            selected = self.joints.select([sample.mesh() for sample in samples])
        except ValueError as error:
            raise ValueError(f'{samples[0].name} and its batch: {field}: {error}') from error
        has_body = self._have_bodies(field, Predictions(imgname=names, vertices=selected))
        if not has_body.any():
            return has_body, {}
        names, selected = list(compress(names, has_body)), selected[has_body]
        check_finite(names, field, selected)
        check_extent(names, field, selected * self.scale, _IN_MM.format('prediction'))
        return has_body, {'joints': self.joints.from_selected(selected, self.scale)}

    def _have_bodies(self, field: str, part: Predictions) -> Array:  # (N,) bool
        """Return which of N predictions are bodies, by the rule for results files.

        With ``missing='raise'``, absurd betas are a bad prediction, which is scored.

        Raises:
            ValueError: One is none, and ``missing`` is 'raise'.
        """
        marked = mark_rows_without_body(part)
        if self.missing == 'skip':
            return mark_absurd_betas(marked).is_valid()
        if not marked.is_valid().all():
            raise ValueError(
                f'{field}: no prediction: {"; ".join(marked.notes)}; '
                "missing='skip' leaves such frames out"
            )
        return marked.is_valid()

    def _parameters(self, samples: list[Sample]) -> tuple[Array, dict[str, Array]]:
        if not self.joints.has_body:
            body = default_body(self.regressors)
            if body is None:
                raise ValueError(
                    f'{samples[0].name}: the predictions are SMPL parameters, for which the metric '
                    "needs a body: body_model=dict(type='SMPL', model_path=...)"
                )
            self.joints = RegressedJoints(self.regressors, self.joint_names, body)
        parameters = {
            **{
                name: np.stack([s.rotations(name, self.joints.rotations[name]) for s in samples])
                for name in ('global_orient', 'body_pose')
            },
            'betas': np.stack([s.array('betas', (self.joints.num_betas or 0,)) for s in samples]),
        }
        part = Predictions(
            imgname=[sample.name for sample in samples],
            global_orient=parameters['global_orient'][:, 0],
            body_pose=parameters['body_pose'],
            betas=parameters['betas'],
        )
        has_body = self._have_bodies(samples[0].path('body_pose'), part)
        if not has_body.any():
            return has_body, {}
        samples = list(compress(samples, has_body))
        parameters = {name: value[has_body] for name, value in parameters.items()}
        if self._is_absolute:
            for sample in samples:
                sample.require('transl', 'a protocol without a root compares absolute positions')
            parameters['transl'] = np.stack([s.array('transl', (3,)) for s in samples]) * self.scale
        for name in self.joints.further_arguments:
            having = [sample.get(name) is not None for sample in samples]
            if all(having):
                parameters[name] = np.stack([self._further(sample, name) for sample in samples])
            elif any(having):
                raise ValueError(
                    f'{samples[having.index(False)].name}: no {name}, which '
                    f'{samples[having.index(True)].name} has; expected it of all samples or none'
                )
        for name, value in parameters.items():
            check_finite([sample.name for sample in samples], samples[0].path(name), value)
        return has_body, parameters

    def _further(self, sample: Sample, name: str) -> Array:
        """Return rotations or coefficients that only SMPL-H and SMPL-X have."""
        count = self.joints.coefficients.get(name)
        size = sample.values(name).size
        if count is not None and (size == count or name not in self.joints.rotations):
            return sample.array(name, (count,))
        return sample.rotations(name, self.joints.rotations[name])

    # ------------------------------------------------------------------ all batches

    def evaluate(self, size: int) -> dict[str, float]:
        """Return the metrics of all processed samples, the same in every process.

        Args:
            size: Length of the data set. If samples have no names, it tells them from the padding
                of a distributed sampler.
        """
        # Collect one element per process: collect_results zips the processes' lists, which drops
        # the last elements of the longer ones.
        directory = {'tmpdir': self.collect_dir} if self.collect_device == 'cpu' else {}
        collected = collect_results(
            [list(self.results)], get_world_size(), self.collect_device, **directory
        )
        answer: list[Any] = [None]
        if is_main_process():
            try:
                metrics = self._metrics(self.merged(collected or [], size), size)
                answer = [{'/'.join(filter(None, (self.prefix, k))): metrics[k] for k in metrics}]
            except Exception as error:  # sent to the other processes, which wait for an answer
                answer = [error]
        broadcast_object_list(answer)
        self.results.clear()
        if isinstance(answer[0], Exception):
            raise answer[0]
        return answer[0]

    def compute_metrics(self, results: list[Record]) -> dict[str, float]:
        """Return the metrics of the records that :meth:`process` stored, in a single process."""
        size = sum(len(record.frames) for record in results)
        return self._metrics(self.merged([results], size), size)

    def _metrics(self, merged: MergedFrames, size: int) -> dict[str, float]:
        if len(merged) < size:
            print_log(
                f'{type(self).__name__}: {len(merged)} different frames were processed, of {size} '
                'in the data set',
                logger='current',
                level=logging.WARNING,
            )
        self.result = self.evaluated(merged)
        print_log(f'\n{self.result.format(self.by)}\n', logger='current')
        if self.out_file is not None:
            self.result.save(self.out_file)
            print_log(f'Wrote {self.out_file}', logger='current')
        return self.result.metrics()

    def merged(
        self, ranks: Sequence[Sequence[Record]], size: int, hints: Hints = _HINTS
    ) -> MergedFrames:
        """Merge the records of all processes.

        Args:
            ranks: The records of each process, in their order.
            size: Length of the data set.
            hints: What a user can do, for messages.

        Raises:
            ValueError: As in :func:`merge`.
        """
        return merge(ranks, size, self.joints_of, hints, self._is_absolute)

    def evaluated(
        self, merged: MergedFrames, protocols: Mapping[str, Protocol] | None = None
    ) -> EvaluationResult:
        """Score merged frames.

        Args:
            merged: The frames.
            protocols: Protocols by name, of the metric's. Default: all of the metric's.

        Raises:
            ValueError: There are no frames, or a protocol counts none of them.
        """
        protocols = self.protocols if protocols is None else protocols
        regressed = self._regressed(merged)
        result = evaluate_frames(
            regressed,
            self.regressors,
            protocols,
            self.by,
            uncounted=[frame.labels for frame in merged.left_out],
            skipped=sorted(frame.name for frame in merged.missing),
            skipped_labels=[frame.labels for frame in merged.missing],
            title=self.title,
            body=self.joints.body_path,
        )
        everything = (*merged.frames, *merged.left_out, *merged.missing)
        labels = [frame.labels for frame in everything]
        unmatched = [
            sentence
            for protocol in protocols.values()
            for sentence in protocol.unmatched_choices(labels)
        ]
        notes = self._explained(result.notes, regressed, merged.arrays)
        return replace(result, notes=(*notes, *unmatched, *merged.notes))

    def _explained(
        self, notes: tuple[str, ...], regressed: RegressedFrames, arrays: Mapping[str, Array]
    ) -> tuple[str, ...]:
        """Return the notes, completed by what would explain them in the stored predictions."""
        if 'joints' in arrays:
            return doubt_mesh(notes, next(iter(self.regressors.values())).body_model)
        rows = np.unique(np.linspace(0, len(regressed) - 1, _SAMPLE).astype(int))
        further = set(self.joints.further_arguments)
        parameters = {
            name: values[rows] for name, values in arrays.items() if name in {*_POSE, *further}
        }
        part = Predictions(
            global_orient=parameters['global_orient'][:, 0], body_pose=parameters['body_pose']
        )

        def error_of(bodies: Predictions) -> Array:
            assert bodies.global_orient is not None and bodies.body_pose is not None
            joints = self.joints.from_parameters(
                {
                    **parameters,
                    'global_orient': bodies.global_orient[:, None],
                    'body_pose': bodies.body_pose,
                }
            )
            return root_aligned_error(
                joints[:, 0], regressed.target[rows], regressed.weight[rows], self.joint_names
            )

        return explain_parameters(part, error_of, notes)

    def _regressed(self, merged: MergedFrames) -> RegressedFrames:
        target = merged.arrays.get('target', np.empty((0, len(self.joint_names), 3)))
        weight = merged.arrays.get('weight', np.empty((0, len(self.joint_names))))
        joints = np.empty((0, len(self.regressors), *target.shape[1:]))
        if len(target):
            joints = self.joints_of(merged.arrays)
        labels = [frame.labels for frame in merged.frames]
        numbers = frame_numbers([frame.name for frame in merged.frames])
        return RegressedFrames(self.joint_names, joints, target, weight, labels, numbers)

    def joints_of(self, arrays: Mapping[str, Array]) -> Array:
        """Return the regressed joints (n, R, J, 3), in meters, of a record's n evaluated frames."""
        if 'joints' in arrays:
            return arrays['joints']
        parameters = {k: v for k, v in arrays.items() if k not in ('target', 'weight')}
        return self.joints.from_parameters(parameters)


def _one_of(name: str, value: str, allowed: Any) -> str:
    if value not in allowed:
        raise ValueError(f'{name}: found {value!r}, expected one of {sorted(allowed)}')
    return value


def _each_one_of(name: str, values: Sequence[str], allowed: Sequence[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise ValueError(f'{name}: found {values!r}, expected a list')
    return tuple(_one_of(name, value, allowed) for value in values)
