"""The metric of MMEngine configs: MPJPE and PA-MPJPE under any number of joint regressors."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dist import broadcast_object_list, collect_results, get_world_size, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmjrr.body_models import SMPL
from mmjrr.datasets.image_names import parse_image_name
from mmjrr.errors import DataError
from mmjrr.io import sha256, versions
from mmjrr.joints import joint_names_of, reorder_index
from mmjrr.registry import METRICS

from .protocols import Protocol, frame_errors, get_protocol
from .regressed_joints import RegressedJoints, RegressorLike, load_regressors
from .report import BREAKDOWNS, EvaluationResult, Score, check_result_path, score_frames

#: Where things are found in a sample, by default. Dots lead into nested elements.
DEFAULT_FIELDS: dict[str, str | None] = {
    'vertices': 'pred_vertices',
    'global_orient': 'pred_global_orient',
    'body_pose': 'pred_body_pose',
    'betas': 'pred_betas',
    'transl': 'pred_transl',
    'keypoints_3d': 'keypoints_3d',
    'keypoints_3d_weight': 'keypoints_3d_weight',
    'imgname': 'imgname',
    'sample_idx': 'sample_idx',
    'subject': 'subject',
    'action': 'action',
    'camera': 'camera',
}
_LABELS = ('subject', 'action', 'camera')
#: Numbers of a rotation in each representation: axis-angle, 6D, matrix.
_ROTATIONS = {3: (3,), 6: (6,), 9: (3, 3)}
#: Joints of a person are no farther (metres) from their mean.
_LARGEST = 10.0
_UNITS = {'m': 1.0, 'mm': 1e-3}
_MM = 1000.0

Record = dict[str, Any]


@METRICS.register_module()
class JointRegressorMetric(BaseMetric):
    """MPJPE and PA-MPJPE of meshes on Human3.6M's joints, under several regressors at once.

    Takes predicted vertices or SMPL parameters, from a model of any scope::

        custom_imports = dict(imports=['mmjrr'])
        test_evaluator = dict(type='mmjrr.JointRegressorMetric', regressors=['J_opt'])

    A sample's fields are looked for in what the model returned, then in the batch's data samples,
    then in the batch itself. Keys of the result: ``'J_opt/paper/MPJPE'``, in mm. The result is
    the same, to the last bit, for any split into batches and processes: what is needed of each
    frame is collected, and computed in the order of the image names. A frame that a distributed
    sampler repeats counts once.

    Args:
        regressors: what :func:`~mmjrr.evaluation.load_regressors` takes: names of the zoo, paths,
            ``dict(path=..., joint_order=...)``, or a dict of these by the names to report.
        protocol: one or several protocols, by name or as the arguments of
            :class:`~mmjrr.evaluation.Protocol`. Default 'paper'.
        body_model: config of the body; needed where SMPL parameters are predicted. Only the
            vertices that the regressors weigh are computed. Default None.
        fields: names that differ from :data:`DEFAULT_FIELDS`, as ``dict(vertices='verts')``; a
            name may lead into nested elements (``'pred_instances.vertices'``); None switches a
            field off. Where both are there, vertices go before parameters.
        joint_order: order of the annotation's joints: 'mmpose', 'spin', or joint names. Default:
            ``joint_names`` of the data set's metainfo; 'mmpose' where it has none.
        prediction_unit: of vertices and ``transl``, 'm' or 'mm'. Default 'm'.
        annotation_unit: of ``keypoints_3d``, 'm' or 'mm'. Default 'm'.
        by: breakdowns of the tables and of ``out_file``. A sample without subject, action or
            camera is looked up by its image name; a breakdown that some sample has no value for
            is left out, with a warning.
        missing: what to do with samples that have no prediction: 'raise', or 'skip' (they are
            counted and listed). Default 'raise'.
        out_file: ``.json`` or ``.csv`` to write the result and its provenance to.
        title: name of the evaluated model, for tables and files.
        collect_device: as in MMEngine, 'cpu' or 'gpu'.
        prefix: as in MMEngine, goes before the keys.
        collect_dir: as in MMEngine.

    Attributes:
        result: the last :class:`~mmjrr.evaluation.EvaluationResult` (main process only).

    Raises:
        ValueError: an argument, or a sample's field, is wrong or missing; says which, and of which
            image.
        FileNotFoundError: a regressor's file is not there.
    """

    default_prefix = ''

    def __init__(
        self,
        regressors: RegressorLike | Sequence[RegressorLike] | Mapping[str, RegressorLike],
        protocol: str | dict | Protocol | Sequence[str | dict | Protocol] = 'paper',
        body_model: dict[str, Any] | SMPL | None = None,
        fields: Mapping[str, str | None] | None = None,
        joint_order: str | Sequence[str] | None = None,
        prediction_unit: str = 'm',
        annotation_unit: str = 'm',
        by: Sequence[str] = BREAKDOWNS,
        missing: str = 'raise',
        out_file: str | None = None,
        title: str = '',
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.protocols = _protocols(protocol)
        self.by = _one_of_each('by', by, BREAKDOWNS)
        self.missing = _one_of('missing', missing, ('raise', 'skip'))
        self.fields = _merged_fields(fields)
        self.scale = _UNITS[_one_of('prediction_unit', prediction_unit, _UNITS)]
        self.annotation_scale = _UNITS[_one_of('annotation_unit', annotation_unit, _UNITS)]
        self.joint_order = None if joint_order is None else joint_names_of(joint_order)
        self.out_file = None if out_file is None else check_result_path(out_file)
        self.title = title
        self.regressors = load_regressors(regressors)
        needed = [protocol.needed_joints for protocol in self.protocols.values()]
        self.joint_names = tuple(dict.fromkeys(joint for joints in needed for joint in joints))
        self.joints = RegressedJoints(self.regressors, self.joint_names, body_model)
        self._absolute = any(protocol.root is None for protocol in self.protocols.values())
        self.result: EvaluationResult | None = None

    # ------------------------------------------------------------------ each batch

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Take from a batch what the errors need: joints, or parameters, and the annotation."""
        samples = [
            _Sample(self.fields, prediction, data_batch, index)
            for index, prediction in enumerate(data_samples)
        ]
        present = [sample for sample in samples if self._has_prediction(sample)]
        self.results += [
            {'skipped': sample.name}
            for sample in samples
            if not any(sample is other for other in present)
        ]
        if not present:
            return
        order = reorder_index(self._annotation_joints(), self.joint_names)
        targets = [self._annotation(sample, order) for sample in present]
        self.results.append(
            {
                'key': [sample.key for sample in present],
                'target': np.stack([joints for joints, _ in targets]),
                'weight': np.stack([weight for _, weight in targets]),
                'labels': [sample.labels() for sample in present],
                **self._predictions(present),
            }
        )

    def _has_prediction(self, sample: _Sample) -> bool:
        has_vertices = sample.get('vertices') is not None
        pose = [sample.get(name) is not None for name in ('global_orient', 'body_pose', 'betas')]
        if has_vertices or all(pose):
            return True
        if any(pose) or self.missing == 'raise':
            wanted = [self.fields[name] for name in ('global_orient', 'body_pose', 'betas')]
            raise ValueError(
                f'{sample.name}: no prediction: neither {self.fields["vertices"]!r} nor all of '
                f"{wanted} are there; found {sample.found()}. The metric's fields= says other "
                "names; missing='skip' leaves such frames out"
            )
        return False

    def _annotation_joints(self) -> tuple[str, ...]:
        declared = (self.dataset_meta or {}).get('joint_names')
        if declared is None:
            return self.joint_order or joint_names_of('mmpose')
        if self.joint_order is not None and self.joint_order != tuple(declared):
            raise ValueError(
                f"joint_order= says {list(self.joint_order)}, but the data set's joints are "
                f'{list(declared)}'
            )
        return joint_names_of(declared)

    def _annotation(self, sample: _Sample, order: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Annotated joints (J, 3) in metres and their weights (J,), those the protocols need."""
        count = len(self._annotation_joints())
        joints = sample.array('keypoints_3d', (count, 3))
        weight = np.ones(count)
        if sample.get('keypoints_3d_weight') is not None:
            weight = sample.array('keypoints_3d_weight', (count,), (count, 1)).reshape(count)
        joints, weight = joints[order] * self.annotation_scale, weight[order]
        used = weight > 0
        where = f'{sample.name}: {self.fields["keypoints_3d"]}'
        if not np.isfinite(joints[used]).all() or not (weight >= 0).all():
            raise ValueError(f'{where}: found NaN, infinity or a negative weight')
        if used.any():
            extent = np.abs(joints[used] - joints[used].mean(0)).max()
            if extent > _LARGEST:
                raise ValueError(
                    f'{where}: joints lie {extent:.0f} m from their mean; if they are in '
                    "millimetres, say annotation_unit='mm'"
                )
        return np.where(used[:, None], joints, 0.0), weight

    def _predictions(self, samples: list[_Sample]) -> dict[str, Any]:
        with_vertices = [sample.get('vertices') is not None for sample in samples]
        if not all(with_vertices):
            if any(with_vertices):
                raise ValueError(
                    f'{samples[with_vertices.index(False)].name}: has SMPL parameters, but '
                    f'{samples[with_vertices.index(True)].name} has vertices; expected one kind'
                )
            return {'parameters': self._parameters(samples)}
        field = self.fields['vertices']
        meshes = [_without_batch_axis(sample.get('vertices'), 2) for sample in samples]
        try:
            selected = self.joints.select(meshes)
        except ValueError as error:
            raise ValueError(f'{samples[0].name} and its batch: {field}: {error}') from error
        _check_finite(samples, str(field), selected)
        _check_extent(samples, str(field), selected * self.scale)
        return {'joints': self.joints.from_selected(selected) * self.scale}

    def _parameters(self, samples: list[_Sample]) -> dict[str, np.ndarray]:
        if not self.joints.has_body:
            raise ValueError(
                f'{samples[0].name}: the predictions are SMPL parameters, for which the metric '
                "needs a body: body_model=dict(type='SMPL', model_path=...)"
            )
        found = {
            'global_orient': np.stack([s.rotations('global_orient', 1) for s in samples]),
            'body_pose': np.stack([s.rotations('body_pose', 23) for s in samples]),
            'betas': np.stack([s.array('betas', (self.joints.num_betas or 0,)) for s in samples]),
        }
        if self._absolute:
            for sample in samples:
                sample.require('transl', 'a protocol without a root compares absolute positions')
            found['transl'] = np.stack([s.array('transl', (3,)) for s in samples]) * self.scale
        for name, value in found.items():
            _check_finite(samples, str(self.fields[name]), value)
        return found

    # ------------------------------------------------------------------ all of them

    def evaluate(self, size: int) -> dict[str, float]:
        """Scores of everything processed; the same in every process.

        Args:
            size: length of the data set. Samples without a name are told from a distributed
                sampler's padding by it.
        """
        # One element a process, so that no process loses its last sample to another's shortage.
        directory = {'tmpdir': self.collect_dir} if self.collect_device == 'cpu' else {}
        collected = collect_results(
            [list(self.results)], get_world_size(), self.collect_device, **directory
        )
        answer: list[Any] = [None]
        if is_main_process():
            try:
                metrics = self._metrics(_merged(collected or [], size), size)
                answer = [{'/'.join(filter(None, (self.prefix, k))): metrics[k] for k in metrics}]
            except Exception as error:  # the other processes wait: they must hear of it
                answer = [error]
        broadcast_object_list(answer)
        self.results.clear()
        if isinstance(answer[0], Exception):
            raise answer[0]
        return answer[0]

    def compute_metrics(self, results: list[Record]) -> dict[str, float]:
        """Scores of what :meth:`process` left in ``results``, in one process."""
        frames = sum(len(record.get('key', 'x')) for record in results)
        return self._metrics(_merged([results], frames), frames)

    def finish(self, progress: Callable[[int, int], None] | None = None) -> EvaluationResult:
        """The result of what :meth:`process` took, without a Runner; empties ``results``.

        Args:
            progress: called with the frames computed so far and their number.
        """
        frames = sum(len(record.get('key', 'x')) for record in self.results)
        merged = _merged([self.results], frames)
        self.results.clear()
        self.result = self._evaluated(merged, progress)
        return self.result

    def _metrics(self, frames: _Frames, size: int) -> dict[str, float]:
        if len(frames) + len(frames.skipped) < size:
            print_log(
                f'{type(self).__name__}: {len(frames)} different frames were processed and '
                f'{len(frames.skipped)} skipped, of {size} in the data set',
                logger='current',
                level=logging.WARNING,
            )
        self.result = self._evaluated(frames)
        print_log(f'\n{self.result.format(self.by)}\n', logger='current')
        if self.out_file is not None:
            self.result.save(self.out_file)
            print_log(f'Wrote {self.out_file}', logger='current')
        return self.result.metrics()

    def _evaluated(
        self, frames: _Frames, progress: Callable[[int, int], None] | None = None
    ) -> EvaluationResult:
        joints = frames.joints
        if joints is None:
            joints = self.joints.from_parameters(frames.parameters, progress)
        groups = self._groups(frames)
        scores: list[Score] = []
        for protocol in self.protocols.values():
            rows = self._rows(protocol, frames)
            for index, name in enumerate(self.regressors):
                errors = frame_errors(
                    joints[rows, index] * _MM,
                    frames.target[rows] * _MM,
                    self.joint_names,
                    protocol,
                    frames.weight[rows],
                )
                chosen = {by: labels[rows] for by, labels in groups.items()}
                scores += score_frames(name, protocol, errors, chosen, 'joint' in self.by)
        return EvaluationResult(
            scores=tuple(scores),
            protocols=self.protocols,
            frames=len(frames),
            skipped=tuple(frames.skipped),
            title=self.title,
            provenance=self._provenance(),
        )

    def _groups(self, frames: _Frames) -> dict[str, np.ndarray]:
        groups = {}
        for by in self.by:
            if by == 'joint':
                continue
            labels = frames.labels[by]
            if any(label is None for label in labels):
                print_log(
                    f'{type(self).__name__}: no table by {by}: {labels.count(None)} of '
                    f'{len(labels)} samples have none',
                    logger='current',
                    level=logging.WARNING,
                )
            else:
                groups[by] = np.array(labels)
        return groups

    def _rows(self, protocol: Protocol, frames: _Frames) -> np.ndarray:
        if protocol.cameras is None:
            return np.arange(len(frames))
        cameras = frames.labels['camera']
        if any(camera is None for camera in cameras):
            raise ValueError(
                f'protocol {protocol.name!r} is for the cameras {list(protocol.cameras)}, but '
                f'{cameras.count(None)} samples have neither {self.fields["camera"]!r} nor an '
                'image name that tells theirs'
            )
        rows = np.flatnonzero(np.isin(np.array(cameras), np.array(protocol.cameras)))
        if not len(rows):
            raise ValueError(
                f'protocol {protocol.name!r} is for the cameras {list(protocol.cameras)}, but the '
                f'samples are from {sorted(set(map(str, cameras)))}'
            )
        return rows

    def _provenance(self) -> dict[str, Any]:
        regressors = {}
        for name, regressor in self.regressors.items():
            regressors[name] = {
                'body_model': regressor.body_model,
                'cleaning': list(regressor.cleaning),
                'provenance': regressor.provenance,
            }
        body = self.joints.body_path
        found = {
            'regressors': regressors,
            'protocols': {
                name: {
                    'joints': list(protocol.joints),
                    'pa_joints': list(protocol.pa_joints),
                    'root': protocol.root,
                    'cameras': None if protocol.cameras is None else list(protocol.cameras),
                }
                for name, protocol in self.protocols.items()
            },
            'body_model': None if body is None else {'file': body.name, 'sha256': sha256(body)},
            'versions': versions(),
        }
        return json.loads(json.dumps(found, default=str))


# -- one sample ------------------------------------------------------------------------------


class _Sample:
    """A sample's fields, from the prediction or from the batch."""

    def __init__(
        self, fields: Mapping[str, str | None], prediction: Any, batch: Any, index: int
    ) -> None:
        self._fields = fields
        self._sources = [_as_dict(prediction)]
        if isinstance(batch, Mapping):
            truth = batch.get('data_samples')
            if isinstance(truth, Sequence) and index < len(truth):
                self._sources.append(_as_dict(truth[index]))
            self._sources.append(_Column(batch, index))
        elif isinstance(batch, Sequence) and index < len(batch):  # pseudo-collated by hand
            self._sources.append(_as_dict(batch[index]))
            if isinstance(self._sources[-1], Mapping):
                self._sources.append(_as_dict(self._sources[-1].get('data_samples')))
        self._cache: dict[str, Any] = {}
        image = self._text('imgname')
        number = self.get('sample_idx')
        number = None if number is None else int(np.asarray(number).reshape(-1)[0])
        #: What tells this sample from others; None where nothing does.
        self.key = None if image is None and number is None else (image or '', number or 0)
        self.image = image
        self.name = image or (f'sample {number}' if number is not None else f'batch item {index}')

    def get(self, name: str) -> Any:
        """The field's value, or None."""
        if name not in self._cache:
            path = self._fields[name]
            self._cache[name] = None
            for source in self._sources if path is not None else ():
                value = _follow(source, str(path).split('.'))
                if value is not None:
                    self._cache[name] = value
                    break
        return self._cache[name]

    def require(self, name: str, why: str = '') -> Any:
        value = self.get(name)
        if value is None:
            raise ValueError(
                f'{self.name}: no {self._fields[name]!r}; found {self.found()}'
                + (f' ({why})' if why else '')
            )
        return value

    def array(self, name: str, *shapes: tuple[int, ...]) -> np.ndarray:
        """The field as float64 of one of the shapes; an axis of one before it is taken off."""
        value = self.require(name)
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        if array.dtype.kind in 'fiub':
            for shape in shapes:
                if array.shape in (shape, (1, *shape)):
                    return array.reshape(shape).astype(np.float64)
        raise ValueError(
            f'{self.name}: {self._fields[name]}: found {array.dtype} of shape {array.shape}, '
            f'expected numbers of shape {" or ".join(map(str, shapes))}'
        )

    def rotations(self, name: str, count: int) -> np.ndarray:
        """A pose in any representation, as (count, 3), (count, 6) or (count, 3, 3)."""
        value = self.require(name)
        size = int(np.prod(value.shape))
        rotation = _ROTATIONS.get(size // count) if size % count == 0 else None
        if rotation is None:
            raise ValueError(
                f'{self.name}: {self._fields[name]}: found shape {tuple(value.shape)}, expected '
                f'{count} rotations as axis-angle, 6D or matrices'
            )
        return self.array(name, tuple(value.shape)).reshape(count, *rotation)

    def labels(self) -> dict[str, str | None]:
        """Subject, action and camera, from the fields or from the image's name."""
        found: dict[str, str | None] = {name: self._text(name) for name in _LABELS}
        if None in found.values() and self.image is not None:
            try:
                parsed = parse_image_name(self.image)
            except DataError:
                return found
            for name in _LABELS:
                found[name] = found[name] or getattr(parsed, name)
        return found

    def found(self) -> list[str]:
        """Names that are there, for messages."""
        return sorted({str(key) for source in self._sources for key in source})

    def _text(self, name: str) -> str | None:
        value = self.get(name)
        if isinstance(value, (list, tuple)) and len(value) == 1:
            value = value[0]
        if isinstance(value, bytes):
            value = value.decode()
        return None if value is None else str(value)


class _Column(Mapping):
    """One sample of a collated batch."""

    def __init__(self, batch: Mapping[str, Any], index: int) -> None:
        self._batch = batch
        self._index = index

    def __getitem__(self, key: str) -> Any:
        value = self._batch[key]
        if isinstance(value, Mapping):
            return _Column(value, self._index)
        try:
            return value[self._index]
        except (TypeError, IndexError, KeyError) as error:
            raise KeyError(key) from error

    def __iter__(self):
        return iter(self._batch)

    def __len__(self) -> int:
        return len(self._batch)


def _as_dict(sample: Any) -> Mapping[str, Any]:
    if isinstance(sample, BaseDataElement):
        return sample.to_dict()
    return sample if isinstance(sample, Mapping) else {}


def _follow(source: Any, path: Sequence[str]) -> Any:
    for step in path:
        source = _as_dict(source)
        if step not in source:
            return None
        try:
            source = source[step]
        except KeyError:
            return None
    return source


def _without_batch_axis(value: Any, dimensions: int) -> Tensor | np.ndarray:
    value = value if isinstance(value, Tensor) else np.asarray(value)
    return value[0] if value.ndim == dimensions + 1 and len(value) == 1 else value


def _check_finite(samples: list[_Sample], field: str, values: np.ndarray) -> None:
    finite = np.isfinite(values.reshape(len(samples), -1)).all(1)
    if not finite.all():
        raise ValueError(f'{samples[int(np.argmin(finite))].name}: {field}: found NaN or infinity')


def _check_extent(samples: list[_Sample], field: str, vertices: np.ndarray) -> None:
    extent = np.abs(vertices - vertices.mean(1, keepdims=True)).max((1, 2))
    worst = int(np.argmax(extent))
    if extent[worst] > _LARGEST:
        raise ValueError(
            f'{samples[worst].name}: {field}: vertices lie {extent[worst]:.0f} m from their mean; '
            "if they are in millimetres, say prediction_unit='mm'"
        )


# -- all samples -----------------------------------------------------------------------------


class _Frames:
    """Everything that was processed, each frame once, in an order of its own."""

    def __init__(self, records: list[Record], order: list[int], skipped: list[str]) -> None:
        self.skipped = skipped
        self.target = np.concatenate([record['target'] for record in records])[order]
        self.weight = np.concatenate([record['weight'] for record in records])[order]
        labels = [label for record in records for label in record['labels']]
        self.labels = {name: [labels[row][name] for row in order] for name in _LABELS}
        kinds = {'joints' in record for record in records}
        if len(kinds) > 1:
            raise ValueError('some batches hold vertices, others SMPL parameters')
        self.joints: np.ndarray | None = None
        self.parameters: dict[str, np.ndarray] = {}
        if 'joints' in records[0]:
            self.joints = np.concatenate([record['joints'] for record in records])[order]
            return
        for name in records[0]['parameters']:
            parts = [record['parameters'][name] for record in records]
            shapes = {part.shape[1:] for part in parts}
            if len(shapes) > 1:
                raise ValueError(f'{name}: batches differ in representation: {sorted(shapes)}')
            self.parameters[name] = np.concatenate(parts)[order]

    def __len__(self) -> int:
        return len(self.target)


def _merged(ranks: list[list[Record]], size: int) -> _Frames:
    """Records of all processes: sorted by image name, each frame once."""
    skipped = sorted({r['skipped'] for rank in ranks for r in rank if 'skipped' in r})
    records = [record for rank in ranks for record in rank if 'key' in record]
    if not records:
        raise ValueError(
            'JointRegressorMetric: no frame was processed'
            + (f'; all {len(skipped)} were skipped for want of a prediction' if skipped else '')
        )
    keys = [key for record in records for key in record['key']]
    without = sum(key is None for key in keys)
    if without == len(keys):
        return _Frames(records, _interleaved(ranks)[:size], skipped)
    if without:
        raise ValueError(f'{without} of {len(keys)} samples have neither imgname nor sample_idx')
    target = [joints for record in records for joints in record['target']]
    order: list[int] = []
    for row in sorted(range(len(keys)), key=keys.__getitem__):
        if order and keys[order[-1]] == keys[row]:
            if not np.array_equal(target[order[-1]], target[row]):
                raise ValueError(
                    f'two samples with different joints are both named {keys[row][0]!r}; the '
                    "metric's fields= can name what tells them apart as sample_idx"
                )
            continue  # a distributed sampler's padding
        order.append(row)
    return _Frames(records, order, skipped)


def _interleaved(ranks: list[list[Record]]) -> list[int]:
    """Rows in the data set's order: MMEngine's sampler deals samples out in turns."""
    counts = [sum(len(r['key']) for r in rank if 'key' in r) for rank in ranks]
    starts = np.cumsum([0, *counts])
    return [
        int(starts[rank]) + turn
        for turn in range(max(counts))
        for rank in range(len(ranks))
        if turn < counts[rank]
    ]


# -- arguments -------------------------------------------------------------------------------


def _protocols(given: Any) -> dict[str, Protocol]:
    several = given if isinstance(given, (list, tuple)) else [given]
    protocols = [get_protocol(protocol) for protocol in several]
    names = [protocol.name for protocol in protocols]
    if not names or len(set(names)) < len(names):
        raise ValueError(f'protocol: found {names}, expected one or more, each once')
    return dict(zip(names, protocols, strict=True))


def _merged_fields(given: Mapping[str, str | None] | None) -> dict[str, str | None]:
    unknown = set(given or {}) - set(DEFAULT_FIELDS)
    if unknown:
        raise ValueError(f'fields: unknown {sorted(unknown)}, expected {sorted(DEFAULT_FIELDS)}')
    return {**DEFAULT_FIELDS, **(given or {})}


def _one_of(name: str, value: str, known: Any) -> str:
    if value not in known:
        raise ValueError(f'{name}: found {value!r}, expected one of {sorted(known)}')
    return value


def _one_of_each(name: str, values: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise ValueError(f'{name}: found {values!r}, expected a list')
    return tuple(_one_of(name, value, known) for value in values)
