"""Evaluation protocols by name: which joints, aligned how, of which frames.

Numbers compare only with the protocol's name beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmjrr.datasets.image_names import SPLITS, expand_sequences
from mmjrr.joints import H36M_JOINTS_MMPOSE, H36M_JOINTS_SPIN, reorder_index

if TYPE_CHECKING:
    import torch

#: What tells whether a protocol counts a frame, each None where unknown: ``subject`` ('S9'),
#: ``sequence`` ('S9_Walking_1'), ``camera`` ('60457274'), and ``action``.
FrameLabels = Mapping[str, 'str | None']


@dataclass(frozen=True)
class Protocol:
    """What is compared, over which frames. Joints are selected by name, so any order will do.

    Args:
        name: the name it is quoted by.
        joints: joints that MPJPE is taken over.
        root: joint that is subtracted from prediction and annotation before joints are selected,
            so it need not be among them; None compares absolute positions. Default 'pelvis'.
        pa_joints: joints that PA-MPJPE is aligned and taken over. Default: those of MPJPE.
        cameras: cameras whose frames count; None or 'all' for all. Default None.
        subjects: subjects whose frames count; None or 'all' for all. Default None.
        exclude_sequences: sequences whose frames do not count, with a camera
            (``'S11_Directions.54138969'``) or without; ``'known_bad'`` stands for
            :data:`~mmjrr.datasets.image_names.KNOWN_BAD_SEQUENCES`. Default: none.
        description: where it comes from, in a sentence.

    Raises:
        ValueError: no joints, a joint named twice, or a name where a list is expected.
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
        """Return why a frame does not count, or None if it does.

        Args:
            labels: of the frame.

        Returns:
            What it is left out by and that value: ``('subject', 'S1')``,
            ``('sequence', 'S11_Directions.54138969')`` or ``('camera', '54138969')``.

        Raises:
            ValueError: the protocol asks for something that is unknown of the frame.

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
        """Tell whether a frame is of a sequence that is named with or without its camera."""
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
        """All joints that prediction and annotation must have, each once."""
        root = () if self.root is None else (self.root,)
        return tuple(dict.fromkeys((*root, *self.joints, *self.pa_joints)))

    @property
    def summary(self) -> str:
        """One line for a table's caption."""
        root = f'{self.root}-aligned' if self.root else 'absolute'
        views = 'all cameras' if self.cameras is None else f'camera {", ".join(self.cameras)}'
        aligned = '' if self.pa_joints == self.joints else f', PA over {len(self.pa_joints)}'
        frames = '' if self.subjects is None else f', {" and ".join(self.subjects)}'
        if self.exclude_sequences:
            frames += f' without {", ".join(self.exclude_sequences)}'
        return f'{len(self.joints)} joints{aligned}, {root}{frames}, {views}'

    def to_dict(self) -> dict[str, Any]:
        """Return what defines the protocol's numbers, for a result's provenance."""
        described = {field.name: getattr(self, field.name) for field in fields(self)}
        del described['name'], described['description']
        return {k: list(v) if isinstance(v, tuple) else v for k, v in described.items()}


@dataclass(frozen=True)
class FrameErrors:
    """Errors of N frames in the unit of the joints; NaN where a joint is not annotated."""

    mpjpe: np.ndarray  # (N,)
    pa_mpjpe: np.ndarray  # (N,)
    joints: np.ndarray  # (N, len(protocol.joints))
    pa_joints: np.ndarray  # (N, len(protocol.pa_joints))


def frame_errors(
    pred: np.ndarray,  # (N, J, 3)
    target: np.ndarray,  # (N, J, 3)
    joint_order: str | Sequence[str],
    protocol: str | Protocol,
    weight: np.ndarray | None = None,  # (N, J)
) -> FrameErrors:
    """Return the errors of each frame under a protocol, including frames that do not count.

    Args:
        pred: predicted joints.
        target: annotated joints, same unit and order.
        joint_order: order of both: a name of :data:`mmjrr.joints.JOINT_ORDERS`, or joint names.
        protocol: a protocol or its name.
        weight: 0 for joints that are not annotated. A frame without its root has no MPJPE.

    Raises:
        ValueError: a joint that the protocol needs is missing, or shapes do not fit together.

    >>> pred = np.zeros((1, 17, 3))
    >>> pred[0, H36M_JOINTS_MMPOSE.index('left_ankle'), 0] = 14.0
    >>> frame_errors(pred, np.zeros((1, 17, 3)), 'mmpose', 'spin-p1').mpjpe
    array([1.])
    """
    # Imported here, so that the protocols can be listed without PyTorch.
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
    """Return a protocol from its name, from its fields, or itself.

    Args:
        protocol: a name; the fields of :class:`Protocol`; or ``dict(type='paper', subjects='all')``
            for a named protocol with other frames, whose name says the difference
            (``'paper-subjects-all'``), so that its numbers cannot be taken for the protocol's.

    Raises:
        ValueError: there is no protocol of that name, or the fields do not make one.

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
    """Return one or several protocols by name.

    Raises:
        ValueError: there is none, or two have the same name.
    """
    several = protocols if isinstance(protocols, (list, tuple)) else [protocols]
    defined = [get_protocol(protocol) for protocol in several]  # type: ignore[arg-type]
    names = [protocol.name for protocol in defined]
    if not names or len(set(names)) < len(names):
        raise ValueError(f'protocol: found {names}, expected one or more, each once')
    return dict(zip(names, defined, strict=True))


#: Which frames a variant may change without a name of its own, and what the name calls it.
_FRAME_FIELDS = {
    'subjects': 'subjects',
    'cameras': 'cameras',
    'exclude_sequences': 'without',
}


def _variant(type: str, name: str | None = None, **changes: Any) -> Protocol:
    known = get_protocol(type)
    nameless = sorted(set(changes) - set(_FRAME_FIELDS))
    if name is None and nameless:
        raise ValueError(
            f'protocol {type!r} with other {", ".join(nameless)}: found no name, expected '
            'name=..., by which its numbers are quoted'
        )
    changed = replace(known, name=name or type, **changes)
    if name is not None or changed == known:
        return changed
    parts = [type]
    for field, called in _FRAME_FIELDS.items():
        if getattr(changed, field) != getattr(known, field):
            value = changes[field]
            words = [value] if isinstance(value, str) else list(value or [])
            nothing = 'none' if field == 'exclude_sequences' else 'all'
            parts += [called, '+'.join(map(str, words)) or nothing]
    return replace(changed, name='-'.join(parts))


def _columns(weight: torch.Tensor | None, index: list[int]) -> torch.Tensor | None:
    return None if weight is None else weight[:, index]


#: SPIN's ``H36M_TO_J14``: rows of its regressor, in the order of the LSP data set's joints.
_SPIN_ROWS = (6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10)
_LSP_JOINTS = tuple(H36M_JOINTS_SPIN[row] for row in _SPIN_ROWS)

#: S9 and S11, without the video that the release lacks, so that there are no images of it.
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
