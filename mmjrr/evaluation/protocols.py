"""Evaluation protocols by name: the joints, their alignment, and the frames that count.

Numbers are comparable only under the same protocol, so quote its name beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from mmjrr.array_types import Array
from mmjrr.datasets.image_names import SPLITS, expand_sequences
from mmjrr.joints import H36M_JOINTS_MMPOSE, H36M_JOINTS_SPIN, reorder_index

if TYPE_CHECKING:
    import torch

#: Labels by which protocols and breakdowns select a frame, each None if unknown: ``subject``
#: ('S9'), ``sequence`` ('S9_Walking_1'), ``camera`` ('60457274') and ``action`` ('Walking').
FrameLabels = Mapping[str, 'str | None']


@dataclass(frozen=True)
class Protocol:
    """A protocol: the joints that are compared, their alignment, and the frames that count.

    Joints are selected by name, so protocols apply to joints in any order.

    Args:
        name: the name under which numbers are quoted.
        joints: joints over which MPJPE is averaged.
        root: joint that is subtracted from prediction and annotation before joints are selected,
            so it need not be among ``joints``; None compares absolute positions. Default 'pelvis'.
        pa_joints: joints over which PA-MPJPE is aligned and averaged. Default: ``joints``.
        cameras: cameras whose frames count; None or 'all' for all. Default None.
        subjects: subjects whose frames count; None or 'all' for all. Default None.
        exclude_sequences: sequences whose frames do not count, with a camera
            (``'S11_Directions.54138969'``) or without; ``'known_bad'`` stands for
            :data:`~mmjrr.datasets.image_names.KNOWN_BAD_SEQUENCES`. Default: none.
        description: origin of the protocol, in a sentence.

    Raises:
        ValueError: there are no joints, a joint is repeated, or a field is a text where a list is
            expected.
    """

    name: str
    joints: tuple[str, ...]
    root: str | None = 'pelvis'
    pa_joints: tuple[str, ...] = ()
    cameras: tuple[str, ...] | None = None
    subjects: tuple[str, ...] | None = None
    exclude_sequences: tuple[str, ...] = ()
    description: str = ''

    def __post_init__(self) -> None:
        for field in ('cameras', 'subjects'):
            if getattr(self, field) == 'all':
                object.__setattr__(self, field, None)
        try:
            excluded = expand_sequences(self.exclude_sequences)
        except ValueError as error:
            raise ValueError(f'protocol {self.name!r}: exclude_sequences: {error}') from error
        object.__setattr__(self, 'exclude_sequences', excluded)
        for field in ('joints', 'pa_joints', 'cameras', 'subjects'):
            value = getattr(self, field)
            if isinstance(value, str):
                raise ValueError(f'protocol {self.name!r}: {field}={value!r}, expected a list')
            if value is not None:
                object.__setattr__(self, field, tuple(str(item) for item in value))
        if not self.pa_joints:
            object.__setattr__(self, 'pa_joints', self.joints)
        if not self.joints:
            raise ValueError(f'protocol {self.name!r} names no joints')
        for joints in (self.joints, self.pa_joints):
            twice = sorted({joint for joint in joints if joints.count(joint) > 1})
            if twice:
                raise ValueError(f'protocol {self.name!r} names joints twice: {twice}')

    def leaves_out(self, labels: FrameLabels) -> tuple[str, str] | None:
        """Return the reason why a frame does not count, or None if it counts.

        Args:
            labels: the frame's labels.

        Returns:
            Kind and value of the label that excludes the frame: ``('subject', 'S1')``,
            ``('sequence', 'S11_Directions.54138969')`` or ``('camera', '54138969')``.

        Raises:
            ValueError: the protocol needs a label that the frame lacks.

        >>> get_protocol('paper').leaves_out(dict(subject='S1', sequence=None, camera=None))
        ('subject', 'S1')
        """
        if self.subjects is not None:
            subject = self._known(labels, 'subject', self.subjects)
            if subject not in self.subjects:
                return 'subject', subject
        for excluded in self.exclude_sequences:
            if self._is_of(labels, excluded):
                return 'sequence', excluded
        if self.cameras is not None:
            camera = self._known(labels, 'camera', self.cameras)
            if camera not in self.cameras:
                return 'camera', camera
        return None

    def _known(self, labels: FrameLabels, name: str, counted: Sequence[str]) -> str:
        value = labels.get(name)
        if value is None:
            raise ValueError(
                f'protocol {self.name!r} is for the {name}s {list(counted)}, but the {name} of '
                'the frame is unknown'
            )
        return value

    def _is_of(self, labels: FrameLabels, excluded: str) -> bool:
        """Tell whether a frame belongs to a sequence, which is named with or without a camera."""
        name, _, camera = excluded.partition('.')
        sequence, subject = labels.get('sequence'), labels.get('subject')
        if sequence is None and subject is not None and name.startswith(f'{subject}_'):
            raise ValueError(
                f'protocol {self.name!r} excludes {excluded}, but which sequence of {subject} the '
                'frame is from is unknown'
            )
        return sequence == name and camera in ('', labels.get('camera'))

    @property
    def needed_joints(self) -> tuple[str, ...]:
        """Names of all joints that prediction and annotation must have, each once."""
        root = () if self.root is None else (self.root,)
        return tuple(dict.fromkeys((*root, *self.joints, *self.pa_joints)))

    @property
    def summary(self) -> str:
        """Description of joints, alignment and frames in one line, for a table's caption."""
        root = f'{self.root}-aligned' if self.root else 'absolute'
        views = 'all cameras' if self.cameras is None else f'camera {", ".join(self.cameras)}'
        aligned = '' if self.pa_joints == self.joints else f', PA over {len(self.pa_joints)}'
        frames = '' if self.subjects is None else f', {" and ".join(self.subjects)}'
        if self.exclude_sequences:
            frames += f' without {", ".join(self.exclude_sequences)}'
        return f'{len(self.joints)} joints{aligned}, {root}{frames}, {views}'

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that determine the protocol's numbers, for a result's provenance."""
        described = {field.name: getattr(self, field.name) for field in fields(self)}
        del described['name'], described['description']
        return {k: list(v) if isinstance(v, tuple) else v for k, v in described.items()}


@dataclass(frozen=True)
class FrameErrors:
    """Errors of N frames in the unit of the joints; NaN where a joint is not annotated."""

    mpjpe: Array  # (N,)
    pa_mpjpe: Array  # (N,)
    joints: Array  # (N, len(protocol.joints))
    pa_joints: Array  # (N, len(protocol.pa_joints))


def frame_errors(
    pred: Array,  # (N, J, 3)
    target: Array,  # (N, J, 3)
    joint_order: str | Sequence[str],
    protocol: str | Protocol,
    weight: Array | None = None,  # (N, J)
) -> FrameErrors:
    """Compute the errors of all frames under a protocol, including frames that do not count.

    Args:
        pred: predicted joints.
        target: annotated joints, in the same unit and order.
        joint_order: order of both: a name of :data:`mmjrr.joints.JOINT_ORDERS`, or joint names.
        protocol: a protocol or its name.
        weight: weights of the joints; 0 if a joint is not annotated. MPJPE is NaN for frames whose
            root is not annotated. Default: equal weights.

    Raises:
        ValueError: a joint that the protocol needs is missing, or the shapes are inconsistent.

    >>> pred = np.zeros((1, 17, 3))
    >>> pred[0, H36M_JOINTS_MMPOSE.index('left_ankle'), 0] = 14.0
    >>> frame_errors(pred, np.zeros((1, 17, 3)), 'mmpose', 'spin-p1').mpjpe
    array([1.])
    """
    # Imported here so that protocols can be listed without importing PyTorch.
    import torch

    from .functional import mpjpe, mpjpe_per_joint, pa_mpjpe, pa_mpjpe_per_joint

    protocol = get_protocol(protocol)
    points, goal = torch.as_tensor(pred).double(), torch.as_tensor(target).double()
    present = None if weight is None else torch.as_tensor(weight).double()
    aligned, aligned_goal, aligned_weight = points, goal, present
    if protocol.root is not None:
        root = reorder_index(joint_order, (protocol.root,))
        aligned, aligned_goal = points - points[:, root], goal - goal[:, root]
        if present is not None:
            aligned_weight = present * (present[:, root] > 0)
    index = reorder_index(joint_order, protocol.joints)
    pa_index = reorder_index(joint_order, protocol.pa_joints)
    part = (aligned[:, index], aligned_goal[:, index], _columns(aligned_weight, index))
    pa_part = (points[:, pa_index], goal[:, pa_index], _columns(present, pa_index))
    return FrameErrors(
        mpjpe=mpjpe(*part).numpy(),
        pa_mpjpe=pa_mpjpe(*pa_part).numpy(),
        joints=mpjpe_per_joint(*part).numpy(),
        pa_joints=pa_mpjpe_per_joint(*pa_part).numpy(),
    )


def get_protocol(protocol: str | dict[str, Any] | Protocol) -> Protocol:
    """Return a protocol by its name or fields; return a :class:`Protocol` unchanged.

    Args:
        protocol: a name; the fields of :class:`Protocol`; or a named protocol with changed fields,
            such as ``dict(type='paper', subjects='all')``. If only frames are changed, the name
            states the change (``'paper-subjects-all'``), so that the numbers are not mistaken for
            those of the named protocol. Other changes need a ``name`` of their own.

    Raises:
        ValueError: there is no protocol of that name, or the fields are invalid.

    >>> get_protocol('spin-p2').cameras
    ('60457274',)
    >>> get_protocol(dict(type='paper', subjects=['S9'])).name
    'paper-subjects-S9'
    """
    if isinstance(protocol, Protocol):
        return protocol
    if isinstance(protocol, Mapping):
        try:
            if 'type' in protocol:
                return _variant(**protocol)
            return Protocol(**protocol)
        except TypeError as error:
            raise ValueError(f'protocol {dict(protocol)!r}: {error}') from error
    if protocol not in PROTOCOLS:
        raise ValueError(f'unknown protocol {protocol!r}; known: {sorted(PROTOCOLS)}')
    return PROTOCOLS[protocol]


def get_protocols(
    protocols: str | dict[str, Any] | Protocol | Sequence[str | dict[str, Any] | Protocol],
) -> dict[str, Protocol]:
    """Return a dict of one or several protocols by name; each is as in :func:`get_protocol`.

    Raises:
        ValueError: there are no protocols, two have the same name, or one is invalid.
    """
    several = protocols if isinstance(protocols, (list, tuple)) else [protocols]
    defined = [get_protocol(protocol) for protocol in several]  # type: ignore[arg-type]
    names = [protocol.name for protocol in defined]
    if not names or len(set(names)) < len(names):
        raise ValueError(f'protocol: found {names}, expected one or more, each once')
    return dict(zip(names, defined, strict=True))


#: Fields that a variant may change without a name of its own, and the word for them in its name.
_FRAME_FIELDS = {
    'subjects': 'subjects',
    'cameras': 'cameras',
    'exclude_sequences': 'without',
}


def _variant(type: str, name: str | None = None, **changes: Any) -> Protocol:
    base = get_protocol(type)
    other_fields = sorted(set(changes) - set(_FRAME_FIELDS))
    if name is None and other_fields:
        raise ValueError(
            f'protocol {type!r} with other {", ".join(other_fields)}: found no name, expected '
            'name=..., by which its numbers are quoted'
        )
    changed = replace(base, name=name or type, **changes)
    if name is not None or changed == base:
        return changed
    parts = [type]
    for field, word in _FRAME_FIELDS.items():
        if getattr(changed, field) != getattr(base, field):
            value = changes[field]
            items = [value] if isinstance(value, str) else list(value or [])
            no_items = 'none' if field == 'exclude_sequences' else 'all'
            parts += [word, '+'.join(map(str, items)) or no_items]
    return replace(changed, name='-'.join(parts))


def _columns(weight: torch.Tensor | None, index: list[int]) -> torch.Tensor | None:
    return None if weight is None else weight[:, index]


#: SPIN's ``H36M_TO_J14``: rows of its regressor, in the order of the LSP data set's joints.
_SPIN_ROWS = (6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10)
_LSP_JOINTS = tuple(H36M_JOINTS_SPIN[row] for row in _SPIN_ROWS)

#: S9 and S11, except for a video that is missing from the official release.
_TEST_FRAMES: dict[str, Any] = dict(
    subjects=SPLITS['test'], exclude_sequences=('S11_Directions.54138969',)
)

#: The protocols by name.
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name='paper',
            joints=H36M_JOINTS_MMPOSE,
            **_TEST_FRAMES,
            description='Hedlin et al., CRV 2022, Table I: all 17 joints, every camera',
        ),
        Protocol(
            name='spin-p1',
            joints=_LSP_JOINTS,
            **_TEST_FRAMES,
            description="SPIN's Protocol 1 (its MPJPE): 14 joints of LSP, every camera",
        ),
        Protocol(
            name='spin-p2',
            joints=_LSP_JOINTS,
            cameras=('60457274',),
            **_TEST_FRAMES,
            description="SPIN's Protocol 2 (its PA-MPJPE): 14 joints of LSP, frontal camera",
        ),
        Protocol(
            name='mmpose',
            joints=H36M_JOINTS_MMPOSE,
            **_TEST_FRAMES,
            description="MMPose's lifting configs: 17 joints, root-relative, every camera",
        ),
    )
}
