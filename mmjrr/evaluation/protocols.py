"""Evaluation protocols by name: which joints, aligned how, of which frames.

Numbers compare only with the protocol's name beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mmjrr.joints import H36M_JOINTS_MMPOSE, H36M_JOINTS_SPIN, reorder_index

from .functional import mpjpe, mpjpe_per_joint, pa_mpjpe, pa_mpjpe_per_joint


@dataclass(frozen=True)
class Protocol:
    """What is compared. Joints are selected by name, so arrays may come in any order.

    Args:
        name: the name it is quoted by.
        joints: joints that MPJPE is taken over.
        root: joint that is subtracted from prediction and annotation before joints are selected,
            so it need not be among them; None compares absolute positions. Default 'pelvis'.
        pa_joints: joints that PA-MPJPE is aligned and taken over. Default: those of MPJPE.
        cameras: cameras whose frames take part. Default None: all.
        description: where it comes from, in a sentence.

    Raises:
        ValueError: no joints, or a joint named twice.
    """

    name: str
    joints: tuple[str, ...]
    root: str | None = 'pelvis'
    pa_joints: tuple[str, ...] = ()
    cameras: tuple[str, ...] | None = None
    description: str = ''

    def __post_init__(self) -> None:
        for field in ('joints', 'pa_joints', 'cameras'):
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
        return f'{len(self.joints)} joints{aligned}, {root}, {views}'


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
    """Errors of each frame under a protocol. Which cameras take part is the caller's to select.

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
    """A protocol from its name, from its fields, or itself.

    Raises:
        ValueError: there is no protocol of that name, or the fields do not make one.

    >>> get_protocol('spin-p2').cameras
    ('60457274',)
    """
    if isinstance(protocol, Protocol):
        return protocol
    if isinstance(protocol, dict):
        try:
            return Protocol(**protocol)
        except TypeError as error:
            raise ValueError(f'protocol {protocol!r}: {error}') from error
    if protocol not in PROTOCOLS:
        raise ValueError(f'unknown protocol {protocol!r}; known: {sorted(PROTOCOLS)}')
    return PROTOCOLS[protocol]


def _columns(weight: torch.Tensor | None, index: list[int]) -> torch.Tensor | None:
    return None if weight is None else weight[:, index]


#: SPIN's ``H36M_TO_J14``: rows of its regressor, in the order of the LSP data set's joints.
_SPIN_ROWS = (6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10)
_LSP_JOINTS = tuple(H36M_JOINTS_SPIN[row] for row in _SPIN_ROWS)

#: The known protocols by name.
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name='paper',
            joints=H36M_JOINTS_MMPOSE,
            description='Hedlin et al., CRV 2022, Table I: all 17 joints, every camera',
        ),
        Protocol(
            name='spin-p1',
            joints=_LSP_JOINTS,
            description="SPIN's Protocol 1 (its MPJPE): 14 joints of LSP, every camera",
        ),
        Protocol(
            name='spin-p2',
            joints=_LSP_JOINTS,
            cameras=('60457274',),
            description="SPIN's Protocol 2 (its PA-MPJPE): 14 joints of LSP, frontal camera",
        ),
        Protocol(
            name='mmpose',
            joints=H36M_JOINTS_MMPOSE,
            description="MMPose's lifting configs: 17 joints, root-relative, every camera",
        ),
    )
}
