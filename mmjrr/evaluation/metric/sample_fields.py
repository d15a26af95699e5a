"""The lookup of a sample's predictions, annotation and names in MMPose's and other samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmjrr.array_types import Array
from mmjrr.datasets.image_names import parse_image_name
from mmjrr.datasets.predictions.layouts import HANDS_AND_FACE
from mmjrr.errors import DataError
from mmjrr.evaluation.protocols import FrameLabels
from mmjrr.evaluation.regressed_frames import frame_labels

#: Default places of each field, which are searched in this order. Dots lead into nested elements.
#: SMPL parameters without the prefix ``pred_`` count as predictions only in ``pred_instances``: at
#: the top level, data sets store their own fits under these names.
DEFAULT_FIELDS: dict[str, tuple[str, ...]] = {
    'vertices': ('pred_vertices', 'pred_instances.vertices', 'pred_instances.pred_vertices',
                 'vertices'),
    **{
        name: (f'pred_{name}', f'pred_instances.{name}', f'pred_instances.pred_{name}')
        for name in ('global_orient', 'body_pose', 'betas', 'transl', *HANDS_AND_FACE)
    },
    'keypoints_3d': ('keypoints_3d', 'gt_instances.keypoints_3d', 'gt_instances.lifting_target',
                     'lifting_target'),
    'keypoints_3d_weight': (),  # found next to the annotation, see _WEIGHT_SUFFIXES
    'imgname': ('imgname', 'img_path', 'target_img_path'),
    'sample_idx': ('sample_idx', 'id'),
    'subject': ('subject',),
    'action': ('action',),
    'camera': ('camera',),
}  # fmt: skip
_PREDICTIONS = ('vertices', 'global_orient', 'body_pose', 'betas', 'transl', *HANDS_AND_FACE)
#: The weights of an annotation ``X`` are in ``X_weight`` or, by MMPose's naming, ``X_visible``.
_WEIGHT_SUFFIXES = ('_weight', '_visible')
#: Components of a rotation in each representation: axis-angle, 6D, matrix.
_ROTATIONS = {3: (3,), 6: (6,), 9: (3, 3)}
_MOST_NAMES = 40

Fields = Mapping[str, tuple[str, ...]]


def merge_fields(named: Mapping[str, str | None] | None) -> dict[str, tuple[str, ...]]:
    """Replace default places of fields by places that a user names.

    Args:
        named: The place of each field to replace; None switches a field off.

    Returns:
        The places of all fields by name.

    Raises:
        ValueError: A field is unknown.
    """
    unknown = set(named or {}) - set(DEFAULT_FIELDS)
    if unknown:
        raise ValueError(f'fields: unknown {sorted(unknown)}, expected {sorted(DEFAULT_FIELDS)}')
    paths = {name: () if path is None else (str(path),) for name, path in (named or {}).items()}
    return {**DEFAULT_FIELDS, **paths}


class Sample:
    """A sample's fields.

    Predictions are looked up in the model's output; the annotation and the names in the output,
    then in the batch's data samples, then in the batch itself.

    Args:
        fields: Places of each field, from :func:`merge_fields`.
        prediction: The model's output for the sample.
        batch: The batch that contains the sample.
        index: The sample's position in the batch.

    Attributes:
        image: Image name, or None.
        key: Image name and sample index, which identify the sample; None if it has neither.
        name: The sample's name in messages.
    """

    def __init__(self, fields: Fields, prediction: Any, batch: Any, index: int) -> None:
        self._fields = fields
        self._output = _as_mapping(prediction)
        self._sources = [self._output]
        if isinstance(batch, Mapping):
            truth = batch.get('data_samples')
            if isinstance(truth, Sequence) and index < len(truth):
                self._sources.append(_as_mapping(truth[index]))
            self._sources.append(_BatchColumn(batch, index))
        elif isinstance(batch, Sequence) and index < len(batch):  # a list of samples
            self._sources.append(_as_mapping(batch[index]))
            self._sources.append(_as_mapping(self._sources[-1].get('data_samples')))
        self._cache: dict[str, tuple[str, Any]] = {}
        self.image = self._text('imgname')
        number = self.get('sample_idx')
        number = None if number is None else int(np.asarray(number).reshape(-1)[0])
        self.key = None
        if self.image is not None or number is not None:
            self.key = (self.image or '', number or 0)
        self.name = self.image or (
            f'sample {number}' if number is not None else f'batch item {index}'
        )

    def get(self, name: str) -> Any:
        """Return the field's value, or None."""
        return self._locate(name)[1]

    def path(self, name: str) -> str:
        """Return the field's place; if the field is missing, the first place that was searched."""
        return self._locate(name)[0]

    def require(self, name: str, why: str = '') -> Any:
        """Return the field's value.

        Args:
            name: The field.
            why: The reason why the field is needed, for the message.

        Raises:
            ValueError: The field is missing; the message lists its places and the sample's content.
        """
        value = self.get(name)
        if value is None:
            raise ValueError(
                f'{self.name}: no {self.places(name)}; found {self.describe()}'
                + (f' ({why})' if why else '')
            )
        return value

    def places(self, *names: str) -> str:
        """Return the places where fields are looked up, for messages."""
        return ' or '.join(
            repr(path) for name in names for path in self._fields[name] or (f'{name} (off)',)
        )

    def describe(self) -> list[str]:
        """Return the dotted names of the sample's content, for messages."""
        names = sorted({name for source in self._sources for name in _leaf_names(source)})
        return names if len(names) <= _MOST_NAMES else [*names[:_MOST_NAMES], '...']

    def array(self, name: str, *shapes: tuple[int, ...]) -> Array:
        """Return the field as float64 in one of the shapes, dropping a batch axis of length 1.

        Raises:
            ValueError: The field is missing, is not numeric, or has another shape.
        """
        value = self.require(name)
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        if array.dtype.kind in 'fiub':
            for shape in shapes:
                if array.shape in (shape, (1, *shape)):
                    return array.reshape(shape).astype(np.float64)
        raise ValueError(
            f'{self.name}: {self.path(name)}: found {array.dtype} of shape {array.shape}, '
            f'expected numbers of shape {" or ".join(map(str, shapes))}'
        )

    def rotations(self, name: str, count: int) -> Array:
        """Return rotations in their representation, as (count, 3), (count, 6) or (count, 3, 3).

        Raises:
            ValueError: The field does not hold ``count`` rotations.
        """
        value = self.require(name)
        size = int(np.prod(value.shape))
        rotation = _ROTATIONS.get(size // count) if size % count == 0 else None
        if rotation is None:
            raise ValueError(
                f'{self.name}: {self.path(name)}: found shape {tuple(value.shape)}, expected '
                f'{count} rotations as axis-angle, 6D or matrices'
            )
        return self.array(name, tuple(value.shape)).reshape(count, *rotation)

    def mesh(self) -> Tensor | Array:
        """Return the vertices (V, 3), dropping a batch axis of length 1."""
        value = self.require('vertices')
        value = value if isinstance(value, Tensor) else np.asarray(value)
        return value[0] if value.ndim == 3 and len(value) == 1 else value

    def keypoint_weight(self, count: int) -> Array:  # (count,)
        """Return the weights of the annotated joints; all are 1 if the sample has no weights."""
        if self.get('keypoints_3d_weight') is None:
            return np.ones(count)
        return self.array('keypoints_3d_weight', (count,), (count, 1)).reshape(count)

    def check_annotation(self, joints: Array, root: int | None) -> None:
        """Refuse an annotation that does not match the image because of a transform of MMPose.

        Args:
            joints: The annotation, (J, 3).
            root: Row of the pelvis; None if the annotation has none.

        Raises:
            ValueError: The image is mirrored but the joints are not, or ``lifting_target`` holds an
                encoded label in place of the data set's annotation.
        """
        where = f'{self.name}: {self.path("keypoints_3d")}'
        if self._value(self._sources, 'flip'):
            raise ValueError(
                f'{where}: the image was mirrored (flip is set) and these joints were not; '
                'evaluate without RandomFlip'
            )
        by_default = len(self._fields['keypoints_3d']) > 1
        encoded = by_default and self.path('keypoints_3d').endswith('lifting_target')
        if encoded and root is not None and not joints[root].any():
            raise ValueError(
                f'{where}: the pelvis lies at the origin, so a codec (MotionBERTLabel) has put its '
                'label there, which is not in camera coordinates; have the pipeline keep the '
                "annotation (PackPoseInputs(meta_keys=(..., 'keypoints_3d')))"
            )

    def labels(self) -> FrameLabels:
        """Return subject, action, sequence and camera from the fields or else the image's name."""
        subject, action, camera = (self._text(name) for name in ('subject', 'action', 'camera'))
        sequence = None
        if self.image is not None:
            try:
                parsed = parse_image_name(self.image)
            except DataError:
                return frame_labels(subject, action, sequence, camera)
            subject, action = subject or parsed.subject, action or parsed.action
            sequence, camera = parsed.sequence, camera or parsed.camera
        return frame_labels(subject, action, sequence, camera)

    def _locate(self, name: str) -> tuple[str, Any]:
        if name not in self._cache:
            sources = [self._output] if name in _PREDICTIONS else self._sources
            paths = self._fields[name]
            if name == 'keypoints_3d_weight' and paths == DEFAULT_FIELDS[name]:
                position = self.path('keypoints_3d')
                paths = tuple(
                    path + suffix
                    for path in dict.fromkeys((position, 'keypoints_3d'))
                    for suffix in _WEIGHT_SUFFIXES
                )
            candidates = ((path, self._value(sources, path)) for path in paths)
            missing = (paths[0] if paths else name, None)
            self._cache[name] = next((hit for hit in candidates if hit[1] is not None), missing)
        return self._cache[name]

    @staticmethod
    def _value(sources: Sequence[Mapping[str, Any]], path: str) -> Any:
        values = (_follow(source, path.split('.')) for source in sources)
        return next((value for value in values if value is not None), None)

    def _text(self, name: str) -> str | None:
        """Return the field as text; a list or an array of a single text counts as that text."""
        value = self.get(name)
        if isinstance(value, np.ndarray):
            value = value.tolist()
        while isinstance(value, (list, tuple)) and len(value) == 1:
            value = value[0]
        if isinstance(value, (list, tuple)):
            raise ValueError(
                f'{self.path(name)}: found {len(value)} names for a sample, expected one; '
                'a sample is one frame'
            )
        if isinstance(value, bytes):
            value = value.decode()
        return None if value is None else str(value)


class _BatchColumn(Mapping[str, Any]):
    """A view of one sample of a collated batch as a mapping."""

    def __init__(self, batch: Mapping[str, Any], index: int) -> None:
        self._batch = batch
        self._index = index

    def __getitem__(self, key: str) -> Any:
        value = self._batch[key]
        if isinstance(value, Mapping):
            return _BatchColumn(value, self._index)
        try:
            return value[self._index]
        except (TypeError, IndexError, KeyError) as error:
            raise KeyError(key) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._batch)

    def __len__(self) -> int:
        return len(self._batch)


def _as_mapping(sample: Any) -> Mapping[str, Any]:
    if isinstance(sample, BaseDataElement):
        return sample.to_dict()
    return sample if isinstance(sample, Mapping) else {}


def _follow(source: Any, path: Sequence[str]) -> Any:
    for step in path:
        source = _as_mapping(source)
        if step not in source:
            return None
        try:
            source = source[step]
        except KeyError:
            return None
    return source


def _leaf_names(source: Mapping[str, Any], prefix: str = '') -> Iterator[str]:
    for key in source:
        if str(key).startswith('_'):  # private copies that MMEngine keeps
            continue
        nested = {} if isinstance(source, _BatchColumn) else _as_mapping(source[key])
        if nested:
            yield from _leaf_names(nested, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}'
