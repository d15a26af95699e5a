"""The metric for training loops without MMEngine's Runner, as a ``torchmetrics.Metric``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.dist import get_rank
from torch import Tensor

from mmjrr.array_types import Array

from .joint_regressor_metric import JointRegressorMetric
from .merging import Frame, Hints, MergedFrames, Record
from .sample_fields import Sample

try:
    from torchmetrics import Metric
except ImportError as error:
    raise ImportError(
        'JointRegressorTorchMetric needs torchmetrics: pip install torchmetrics'
    ) from error

if TYPE_CHECKING:
    from mmjrr.evaluation.result import EvaluationResult

#: A tensor, an array, or a list of one for each frame.
_Rows = Tensor | Array | Sequence[Tensor | Array]
#: Bytes of an image name's end that identify the frame.
_NAME_BYTES = 160
_STATUSES = ('evaluated', 'left_out', 'missing')
_STATES = ('names', 'statuses', 'processes', 'joints', 'target', 'weight')
_HINTS = Hints(
    second_pass='call reset() before each pass over the data',
    same_name='expected names that differ',
)


class JointRegressorTorchMetric(Metric):
    """MPJPE and PA-MPJPE of meshes under several joint regressors, as a ``torchmetrics.Metric``.

    It gives the numbers of :class:`~mmjrr.evaluation.JointRegressorMetric` in loops of plain
    PyTorch, and in Lightning::

        metric = JointRegressorTorchMetric(regressors=['J_std', 'J_opt'])
        for batch in loader:
            metric.update(model(batch['image']), batch['keypoints_3d'], batch['imgname'])
        metric.compute()  # {'J_std/paper/MPJPE': tensor(...), ...}, in mm
        metric.reset()  # before the next pass over the data

    Processes are synchronized as torchmetrics does it. A frame that a distributed sampler repeats,
    or that several sequences contain, counts once, by its first prediction. Different predictions
    in a second pass without :meth:`reset` are an error.

    Args:
        regressors: One or several, as in :func:`~mmjrr.evaluation.load_regressors`.
        protocol: One or several protocols, as in :func:`~mmjrr.evaluation.get_protocol`. Default:
            'paper'.
        body_model: Config of the body model of predicted SMPL parameters. Default: None, the body
            that the regressors are for.
        joint_order: Order of the annotation's joints: 'mmpose', 'spin', or joint names. Default:
            'mmpose'.
        prediction_unit: Unit of vertices and ``transl``, 'm', 'cm' or 'mm'. Default: 'm'.
        annotation_unit: Unit of the annotated joints, 'm', 'cm' or 'mm'. Default: 'm'.
        mapping: As in :class:`~mmjrr.evaluation.JointRegressorMetric`.
        faces: As in :class:`~mmjrr.evaluation.JointRegressorMetric`.
        missing: As in :class:`~mmjrr.evaluation.JointRegressorMetric`. Default: 'raise'.
        **kwargs: Arguments of ``torchmetrics.Metric``, such as ``dist_sync_on_step``.

    Attributes:
        result: The :class:`~mmjrr.evaluation.EvaluationResult` of the last :meth:`compute`, with
            tables by joint, subject, action and camera.

    Raises:
        ImportError: torchmetrics is not installed.
        ValueError: An argument or a batch is invalid.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    def __init__(
        self,
        regressors: Any,
        protocol: Any = 'paper',
        body_model: dict[str, Any] | None = None,
        joint_order: str | Sequence[str] = 'mmpose',
        prediction_unit: str = 'm',
        annotation_unit: str = 'm',
        mapping: str | None = None,
        faces: str | None = None,
        missing: str = 'raise',
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._frames = JointRegressorMetric(
            regressors,
            protocol,
            body_model,
            joint_order=joint_order,
            prediction_unit=prediction_unit,
            annotation_unit=annotation_unit,
            mapping=mapping,
            faces=faces,
            missing=missing,
        )
        self.result: EvaluationResult | None = None
        self._in_forward = False
        for name in _STATES:
            self.add_state(name, default=[], dist_reduce_fx='cat')

    def update(
        self,
        prediction: _Rows | Mapping[str, _Rows],
        keypoints_3d: _Rows,
        imgname: Sequence[str],
        keypoints_3d_weight: _Rows | None = None,
    ) -> None:
        """Add a batch of B frames.

        Values are tensors, arrays, or lists that hold one of these for each frame.

        Args:
            prediction: Vertices (B, V, 3) in the camera frame; or SMPL parameters by name:
                ``global_orient``, ``body_pose`` and ``betas``, and those of SMPL-H and SMPL-X, such
                as ``jaw_pose``, (B, ...) each, with rotations as axis-angle, 6D or matrices.
            keypoints_3d: Annotated joints (B, J, 3) in the camera frame.
            imgname: The B image names, which tell subject, action and camera.
            keypoints_3d_weight: Weights of the annotated joints (B, J). Default: None, all 1.

        Raises:
            ValueError: The sizes differ, or a value is invalid (the message names the image).
        """
        if isinstance(imgname, str):
            raise ValueError(f'imgname: found {imgname!r}, expected the name of each image')
        fields = {'pred_vertices': prediction} if not isinstance(prediction, Mapping) else {
            f'pred_{name}': value for name, value in prediction.items()
        }  # fmt: skip
        columns: dict[str, Any] = {**fields, 'keypoints_3d': keypoints_3d}
        if keypoints_3d_weight is not None:
            columns['keypoints_3d_weight'] = keypoints_3d_weight
        count = len(imgname)
        for name, column in columns.items():
            if not hasattr(column, '__len__') or getattr(column, 'ndim', 1) == 0:
                raise ValueError(
                    f'{name}: found {type(column).__name__}, expected an array of {count} rows'
                )
            if len(column) != count:
                raise ValueError(f'{name}: found {len(column)} rows for {count} image names')
        samples = [
            dict(imgname=name, **{field: column[row] for field, column in columns.items()})
            for row, name in enumerate(imgname)
        ]
        self._store(self._frames.record(None, samples))

    def _store(self, record: Record) -> None:
        shape = (len(self._frames.regressors), len(self._frames.joint_names), 3)
        arrays = record.arrays or {
            'target': np.empty((0, *shape[1:])),
            'weight': np.empty((0, shape[1])),
            'joints': np.empty((0, *shape)),
        }
        statuses = np.array([_STATUSES.index(frame.status) for frame in record.frames], np.uint8)
        for name, values in (
            ('names', _encoded([frame.name for frame in record.frames])),
            ('statuses', statuses),
            ('processes', np.full(len(statuses), get_rank())),
            ('joints', self._frames.joints_of(arrays)),
            ('target', arrays['target']),
            ('weight', arrays['weight']),
        ):
            getattr(self, name).append(
                torch.from_numpy(np.ascontiguousarray(values)).to(self.device)
            )

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Add a batch and return its own metrics, NaN where a protocol counts none of its frames.

        Args:
            *args: As in :meth:`update`.
            **kwargs: As in :meth:`update`.
        """
        self._in_forward = True
        try:
            values: dict[str, Tensor] = super().forward(*args, **kwargs)
        finally:
            self._in_forward = False
        return values

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the frames of all processes, of which some may have none.

        Args:
            *args: As in ``torchmetrics.Metric.sync``.
            **kwargs: As in ``torchmetrics.Metric.sync``.
        """
        if isinstance(self.names, list) and not self.names:
            # The processes' states must have the same types and numbers of axes.
            self._store(Record([], {}))
        super().sync(*args, **kwargs)

    def compute(self) -> dict[str, Tensor]:
        """Compute the metrics of all frames by key, such as ``'J_opt/paper/MPJPE'``, in mm.

        Raises:
            ValueError: No frame counts, or frames have other predictions in a second pass.
        """
        columns = {name: _column(getattr(self, name)) for name in _STATES}
        names, statuses, processes = (
            columns.pop(name) for name in ('names', 'statuses', 'processes')
        )
        frames = []
        for encoded, status in zip(names, statuses, strict=True):
            sample = Sample(self._frames.fields, dict(imgname=_decoded(encoded)))
            frames.append(Frame(sample.key, sample.name, sample.labels(), _STATUSES[status]))
        of_arrays = processes[statuses == _STATUSES.index('evaluated')]
        ranks = [
            [
                Record(
                    list(compress(frames, processes == process)),
                    {name: values[of_arrays == process] for name, values in columns.items()},
                )
            ]
            for process in np.unique(processes)
        ]
        merged = self._frames.merged(ranks, len(frames), _HINTS)
        if self._in_forward:
            return self._values_of_batch(merged)
        if not frames:
            raise ValueError('JointRegressorTorchMetric: compute() without a frame: call update()')
        self.result = self._frames.evaluated(merged)
        return {name: torch.tensor(value) for name, value in self.result.metrics().items()}

    def _values_of_batch(self, merged: MergedFrames) -> dict[str, Tensor]:
        counting = {
            name: protocol
            for name, protocol in self._frames.protocols.items()
            if any(protocol.leaves_out(frame.labels) is None for frame in merged.frames)
        }
        self.result = self._frames.evaluated(merged, counting) if counting else None
        found = {} if self.result is None else self.result.metrics()
        keys = (
            f'{regressor}/{protocol}/{error}'
            for protocol in self._frames.protocols
            for regressor in self._frames.regressors
            for error in ('MPJPE', 'PA-MPJPE')
        )
        return {key: torch.tensor(found.get(key, float('nan'))) for key in keys}


def _encoded(names: Sequence[str]) -> Array:  # (N, _NAME_BYTES), uint8
    """Encode the ends of names as rows of bytes, since torchmetrics gathers tensors only."""
    rows = np.zeros((len(names), _NAME_BYTES), np.uint8)
    for row, name in zip(rows, names, strict=True):
        end = np.frombuffer(name.encode()[-_NAME_BYTES:], np.uint8)
        row[: len(end)] = end
    return rows


def _decoded(row: Array) -> str:
    return row.tobytes().rstrip(b'\0').decode(errors='replace')


def _column(parts: Tensor | list[Tensor]) -> Array:
    """Return a state as one array: a list of batches or, after a synchronization, a tensor."""
    if not isinstance(parts, Tensor):
        parts = torch.cat(parts)
    return parts.cpu().numpy()
