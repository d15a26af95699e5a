"""The lookup of a sample's predictions, annotation and names in MMPose's and other samples."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmjrr.array_types import Array
from mmjrr.datasets.image_names import may_show_same_frame, parse_image_name
from mmjrr.datasets.predictions.layouts import HANDS_AND_FACE
from mmjrr.errors import DataError
from mmjrr.evaluation.as_arrays import as_array
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
_LABELS = ('subject', 'action', 'camera')
#: The weights of an annotation ``X`` are in ``X_weight`` or, by MMPose's naming, ``X_visible``.
_WEIGHT_SUFFIXES = ('_weight', '_visible')
#: Components of a rotation in each representation: axis-angle, 6D, matrix.
_ROTATIONS = {3: (3,), 6: (6,), 9: (3, 3)}
_MOST_NAMES = 40
#: Length of the longest value that messages quote.
_LONGEST_VALUE = 60

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

    Predictions are looked up in the model's output alone. The annotation and its weights are looked
    up in the batch's data samples, then in the batch itself, and in the output if the batch has
    none: what a model returns under an annotation's name may be a prediction. Names and labels are
    looked up in the output, then in the batch's data samples, then in the batch itself.

    Args:
        fields: Places of each field, from :func:`merge_fields`.
        prediction: The model's output for the sample.
        batch: The batch that contains the sample; None if there is no batch. Default: None.
        index: The sample's position in the batch. Default: 0.
        count: Number of outputs for the batch. Default: 1.

    Attributes:
        image: Image name, or None.
        key: Image name and sample index, which identify the sample; None if it has neither.
        name: The sample's name in messages.

    Raises:
        ValueError: The image name is not the name of one image, or the sample index is no number.
    """

    def __init__(
        self, fields: Fields, prediction: Any, batch: Any = None, index: int = 0, count: int = 1
    ) -> None:
        self._fields = fields
        self._output = _as_mapping(prediction)
        self._has_batch = not (batch is None or (_is_container(batch) and not len(batch)))
        self._count = count
        self._batch = _of_batch(batch, index, count)
        self._sources = [self._output, *self._batch]
        self._cache: dict[str, tuple[str, Any]] = {}
        self.name = f'batch item {index}'
        self.image = self._image()
        number = self._index()
        self.key = None
        if self.image is not None or number is not None:
            self.key = (self.image or '', number or 0)
        if self.image or number is not None:
            self.name = self.image or f'sample {number}'

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
                + self._describe_rows(name)
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

    def _describe_rows(self, name: str) -> str:
        """Return a remark on a batch that has not one value per output, for a message's end."""
        for path in (*self._fields[name], 'data_samples'):
            for columns in self._batch:
                length = columns.length(path) if isinstance(columns, _BatchColumn) else None
                if length not in (None, self._count):
                    return f"; the batch's {path!r} has {length} rows for {self._count} outputs"
        return ''

    def array(self, name: str, *shapes: tuple[int, ...]) -> Array:
        """Return the field as float64 in one of the shapes, dropping a batch axis of length 1.

        Raises:
            ValueError: The field is missing, is not numeric, or has another shape.
        """
        array = self.values(name)
        if array.dtype.kind in 'fiub':
            for shape in shapes:
                if array.shape in (shape, (1, *shape)):
                    return array.reshape(shape).astype(np.float64)
        raise ValueError(
            f'{self.name}: {self.path(name)}: found {array.dtype} of shape {array.shape}, '
            f'expected numbers of shape {" or ".join(map(str, shapes))}'
        )

    def values(self, name: str) -> Array:
        """Return the field as an array in its own shape.

        Raises:
            ValueError: The field is missing, or is no array.
        """
        value = self.require(name)
        try:
            return as_array(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f'{self.name}: {self.path(name)}: found a {type(value).__name__} that is no array '
                f'({error}), expected an array of numbers'
            ) from error

    def rotations(self, name: str, count: int) -> Array:
        """Return rotations in their representation, as (count, 3), (count, 6) or (count, 3, 3).

        Raises:
            ValueError: The field does not hold ``count`` rotations.
        """
        value = self.values(name)
        rotation = _ROTATIONS.get(value.size // count) if value.size % count == 0 else None
        if rotation is None:
            raise ValueError(
                f'{self.name}: {self.path(name)}: found shape {value.shape}, expected '
                f'{count} rotations as axis-angle, 6D or matrices'
            )
        return self.array(name, value.shape).reshape(count, *rotation)

    def mesh(self) -> Tensor | Array:
        """Return the vertices (V, 3), dropping a batch axis of length 1."""
        value = self.require('vertices')
        value = value if isinstance(value, Tensor) else self.values('vertices')
        return value[0] if value.ndim == 3 and len(value) == 1 else value

    def keypoint_weight(self, count: int) -> Array:  # (count,)
        """Return the weights of the annotated joints; all are 1 if the sample has no weights."""
        if self.get('keypoints_3d_weight') is None:
            return np.ones(count)
        return self.array('keypoints_3d_weight', (count,), (count, 1)).reshape(count)

    def check_annotation(self, joints: Array, root: int | None) -> None:
        """Refuse an annotation that may be a prediction, or that does not match the image.

        Args:
            joints: The annotation, (J, 3).
            root: Row of the pelvis; None if the annotation has none.

        Raises:
            ValueError: The batch has no annotation, and the output's may be a prediction; the batch
                has another image at the output's place; the image is mirrored but the joints are
                not; or ``lifting_target`` holds an encoded label in place of the data set's
                annotation.
        """
        path = self.path('keypoints_3d')
        where = f'{self.name}: {path}'
        by_default = self._fields['keypoints_3d'] == DEFAULT_FIELDS['keypoints_3d']
        if self._value(self._batch, path) is not None:
            self._check_place(where)
        elif by_default and path == 'keypoints_3d' and self._has_batch:
            raise ValueError(
                f"{where}: found in the model's output and no annotation in the batch, so it may "
                "be a prediction; expected the annotation in the batch; the metric's fields= names "
                "its place there, and fields=dict(keypoints_3d='keypoints_3d') says that the "
                "output's is the annotation" + self._describe_rows('keypoints_3d')
            )
        if self._value(self._sources, 'flip'):
            raise ValueError(
                f'{where}: the image was mirrored (flip is set) and these joints were not; '
                'evaluate without RandomFlip'
            )
        encoded = by_default and path.endswith('lifting_target')
        if encoded and root is not None and not joints[root].any():
            raise ValueError(
                f'{where}: the pelvis lies at the origin, so a codec (MotionBERTLabel) has put its '
                'label there, which is not in camera coordinates; have the pipeline keep the '
                "annotation (PackPoseInputs(meta_keys=(..., 'keypoints_3d')))"
            )

    def _check_place(self, where: str) -> None:
        """Refuse an output at whose place the batch has another image.

        Raises:
            ValueError: The names of the images differ.
        """
        for path in self._fields['imgname']:
            names = [_unwrapped(self._value(s, path)) for s in ([self._output], self._batch)]
            if not all(isinstance(name, str) for name in names):
                continue
            output, batch = names
            if not may_show_same_frame(output, batch):
                raise ValueError(
                    f"{where}: the model's output is of the image {output!r} and the batch's "
                    f'sample at its place of {batch!r}, expected outputs in the order of the batch'
                )
            return

    def labels(self) -> FrameLabels:
        """Return subject, action, sequence and camera from the fields or else the image's name.

        Only texts are labels: a weak-perspective ``camera`` is none. If the image's name does not
        tell them, whole numbers are, too: the subject 9 is ``'S9'``.

        Raises:
            ValueError: A place that ``fields`` names holds no label, or a field holds several.
        """
        subject, action, camera = (self._label(name) for name in _LABELS)
        sequence = None
        if self.image is not None:
            try:
                parsed = parse_image_name(self.image)
            except DataError:
                pass
            else:
                subject, action = subject or parsed.subject, action or parsed.action
                sequence, camera = parsed.sequence, camera or parsed.camera
        return frame_labels(
            subject or self._number('subject', 'S'),
            action or self._number('action'),
            sequence,
            camera or self._number('camera'),
        )

    def describe_labels(self) -> str:
        """Return a remark on fields of labels that hold no text, for the end of a message."""
        found = {name: self.get(name) for name in _LABELS if self._label(name) is None}
        return ''.join(
            f'; {self.path(name)}: found {_described(value)}, expected a text'
            for name, value in found.items()
            if value is not None
        )

    def _label(self, name: str) -> str | None:
        """Return the first text at the places of a label, or None.

        Raises:
            ValueError: The field holds several texts, or ``fields`` names its place and it holds
                neither a text nor a whole number.
        """
        for path in self._fields[name]:
            for source in self._sources:
                value = _unwrapped(self._value([source], path))
                self._check_single(path, value)
                if isinstance(value, str) and value:
                    return value
        value = self.get(name)
        is_named = self._fields[name] != DEFAULT_FIELDS[name]
        if is_named and value is not None and not _is_whole(_unwrapped(value)):
            raise ValueError(
                f'{self.name}: {self.path(name)}: found {_described(value)}, expected the '
                f'{name} as a text'
            )
        return None

    def _check_single(self, path: str, value: Any) -> None:
        """Refuse several texts in place of one.

        Raises:
            ValueError: The value is a list or an array of several texts.
        """
        if isinstance(value, np.ndarray) and value.dtype.kind in 'OSU':
            value = value.tolist()
        if not isinstance(value, (list, tuple)) or not value:
            return
        if all(isinstance(item, (str, bytes, os.PathLike)) for item in value):
            raise ValueError(
                f'{self.name}: {path}: found {len(value)} names for a sample, expected one; a '
                'sample is one frame'
            )

    def _number(self, name: str, prefix: str = '') -> str | None:
        value = _unwrapped(self.get(name))
        return f'{prefix}{value}' if _is_whole(value) else None

    def _image(self) -> str | None:
        """Return the image's name.

        Raises:
            ValueError: The field holds several names, or no name.
        """
        value = _unwrapped(self.get('imgname'))
        self._check_single(self.path('imgname'), value)
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if _is_whole(value):
            return str(value)
        raise ValueError(
            f'{self.name}: {self.path("imgname")}: found {_described(value)}, expected the name of '
            'an image'
        )

    def _index(self) -> int | None:
        value = self.get('sample_idx')
        if value is None:
            return None
        try:
            return int(as_array(value).reshape(-1)[0])
        except (TypeError, ValueError, IndexError, OverflowError) as error:
            raise ValueError(
                f'{self.image or self.name}: {self.path("sample_idx")}: found {_described(value)}, '
                "expected a whole number; the metric's fields= names another place, or "
                'sample_idx=None for none'
            ) from error

    def _locate(self, name: str) -> tuple[str, Any]:
        if name not in self._cache:
            paths = self._fields[name]
            of_annotation = [self._batch, [self._output]]
            if name in _PREDICTIONS:
                groups = [[self._output]]
            elif name == 'keypoints_3d':
                groups = of_annotation
            elif name != 'keypoints_3d_weight':
                groups = [self._sources]
            elif paths != DEFAULT_FIELDS[name]:
                groups = of_annotation
            else:
                position = self.path('keypoints_3d')
                in_batch = self._value(self._batch, position) is not None
                groups = [self._batch if in_batch else self._sources]
                paths = tuple(
                    path + suffix
                    for path in dict.fromkeys((position, 'keypoints_3d'))
                    for suffix in _WEIGHT_SUFFIXES
                )
            candidates = (
                (path, self._value(sources, path)) for sources in groups for path in paths
            )
            missing = (paths[0] if paths else name, None)
            self._cache[name] = next((hit for hit in candidates if hit[1] is not None), missing)
        return self._cache[name]

    @staticmethod
    def _value(sources: Sequence[Mapping[str, Any]], path: str) -> Any:
        values = (_follow(source, path.split('.')) for source in sources)
        return next((value for value in values if value is not None), None)


class _BatchColumn(Mapping[str, Any]):
    """A view of one sample of a collated batch as a mapping.

    Values of another length than the number of outputs are left out: a model that returns each
    frame of a sequence has more outputs than the batch has rows.
    """

    def __init__(self, batch: Mapping[str, Any], index: int, count: int) -> None:
        self._batch = batch
        self._index = index
        self._count = count

    def __getitem__(self, key: str) -> Any:
        value = self._batch[key]
        if isinstance(value, Mapping):
            return _BatchColumn(value, self._index, self._count)
        try:
            if len(value) == self._count:
                return value[self._index]
        except (TypeError, IndexError, KeyError) as error:
            raise KeyError(key) from error
        raise KeyError(key)

    def length(self, path: str) -> int | None:
        """Return the length of a value of the batch; None if it has none."""
        value = _follow(self._batch, path.split('.'))
        has_length = _is_container(value) or getattr(value, 'ndim', None)
        return len(value) if has_length else None

    def __iter__(self) -> Iterator[str]:
        return iter(self._batch)

    def __len__(self) -> int:
        return len(self._batch)


def _of_batch(batch: Any, index: int, count: int) -> list[Mapping[str, Any]]:
    """Return where a batch has what belongs to a sample.

    A batch is a mapping of columns, a list of ``count`` samples, or a list or tuple of such parts,
    as :func:`torch.utils.data.default_collate` makes of samples that are tuples.
    """
    if isinstance(batch, Mapping):
        truth = batch.get('data_samples')
        columns = _BatchColumn(batch, index, count)
        if isinstance(truth, Sequence) and len(truth) == count:
            return [_as_mapping(truth[index]), columns]
        return [columns]
    if not _is_container(batch):
        return []
    are_samples = all(isinstance(part, (Mapping, BaseDataElement)) for part in batch)
    if are_samples and len(batch) == count:
        sample = _as_mapping(batch[index])
        return [sample, _as_mapping(sample.get('data_samples'))]
    return [source for part in batch for source in _of_batch(part, index, count)]


def _is_container(batch: Any) -> bool:
    return isinstance(batch, (Mapping, Sequence)) and not isinstance(batch, (str, bytes))


def _unwrapped(value: Any) -> Any:
    """Return the element of arrays and lists of a single one; texts and numbers as Python's."""
    while True:
        if isinstance(value, (list, tuple)) and len(value) == 1:
            value = value[0]
        elif isinstance(value, (np.ndarray, np.generic, Tensor)) and np.prod(value.shape) == 1:
            value = value.item()
        else:
            break
    return value.decode(errors='replace') if isinstance(value, bytes) else value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _described(value: Any) -> str:
    """Return a value's type and shape, or a short value itself, for messages."""
    if isinstance(value, (np.ndarray, Tensor)):
        return f'{str(value.dtype).removeprefix("torch.")} of shape {tuple(value.shape)}'
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f'a {type(value).__name__}'


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
