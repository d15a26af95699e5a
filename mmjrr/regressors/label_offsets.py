"""Offsets between a subject's joint labels and the joints of a regressor.

Annotators and motion-capture set-ups place the same joint differently on different subjects
(Hedlin et al., arXiv 2205.00076, Figure 8). A label offset is constant for a subject and a joint in
the frame of the body part that carries the joint:

    label = regressed joint + R_part @ offset,

where ``R_part`` is the part's rotation from the rest pose to the frame of the label.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmjrr.errors import DataError
from mmjrr.io import atomic_write, read_npz
from mmjrr.io.paths import check_suffix
from mmjrr.joints import SMPL_JOINTS, joint_names_of

#: The SMPL joint whose rotation turns the body part that carries each joint of Human3.6M.
CARRYING_PARTS: dict[str, str] = {
    'pelvis': 'pelvis',
    **{
        f'{side}_{joint}': part.format(side=side)
        for side in ('left', 'right')
        for joint, part in (
            ('hip', 'pelvis'), ('knee', '{side}_hip'), ('ankle', '{side}_knee'),
            ('shoulder', '{side}_collar'), ('elbow', '{side}_shoulder'), ('wrist', '{side}_elbow'),
        )
    },
    'spine': 'spine1',
    'thorax': 'spine3',
    'neck_base': 'neck',
    'head': 'head',
}  # fmt: skip

#: Entries of a file of offsets, which may have ``provenance`` besides.
_FIELDS = ('subjects', 'joint_names', 'parts', 'values')


class LabelOffsets:
    """Label offsets of several subjects.

    Args:
        subjects: S names.
        joint_names: J names of joints, or the name of an order.
        values: (S, J, 3) meters, in the frame of the carrying part: SMPL's axes in the rest pose.
        parts: Name of the SMPL joint whose rotation turns the carrying part, by joint name.
            Default: :data:`CARRYING_PARTS`.
        provenance: Description of their making, as plain values for JSON. Default: None, empty.

    Raises:
        ValueError: Names or parts are unknown or repeated, or ``values`` has another shape or is
            not finite.
    """

    def __init__(
        self,
        subjects: Sequence[str],
        joint_names: str | Sequence[str],
        values: Tensor | NDArray[Any],
        parts: Mapping[str, str] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.provenance = dict(provenance or {})
        self.subjects = tuple(str(name) for name in subjects)
        self.joint_names = joint_names_of(joint_names)
        self.values = torch.as_tensor(values).detach().double()
        self.part_index = part_index_of(self.joint_names, parts)
        expected = (len(self.subjects), len(self.joint_names), 3)
        if len(set(self.subjects)) < len(self.subjects):
            raise ValueError(f'subjects: found {list(subjects)}, expected each once')
        if tuple(self.values.shape) != expected or not torch.isfinite(self.values).all():
            raise ValueError(
                f'values: found shape {tuple(self.values.shape)}, expected finite {expected}'
            )

    def index_of(self, subjects: Sequence[str]) -> Tensor:
        """Return the row (B,) of each frame's subject, -1 where it has no offsets."""
        row = {name: index for index, name in enumerate(self.subjects)}
        return torch.tensor([row.get(str(name), -1) for name in subjects], dtype=torch.long)

    def displacements(self, rotations: Tensor, subject_index: Tensor) -> Tensor:
        """Rotate each frame's offsets from the parts' frames into the frame of the labels.

        Add the result to regressed joints, or subtract it from labels. It is differentiable in the
        rotations.

        Args:
            rotations: (B, K, 3, 3) rotations of the body's joints from the rest pose to the frame
                of the labels, as :func:`part_rotations` returns them.
            subject_index: (B,) rows as :meth:`index_of` returns them; -1 gives zeros.

        Returns:
            (B, J, 3) meters.

        Raises:
            ValueError: ``rotations`` has another shape.
        """
        if rotations.ndim != 4 or rotations.shape[1] <= max(self.part_index):
            raise ValueError(
                f'rotations: found {tuple(rotations.shape)}, expected (B, {len(SMPL_JOINTS)}, 3, 3)'
            )
        offsets = self.of_frames(subject_index).to(rotations)
        return turned(offsets, rotations, torch.tensor(self.part_index, device=rotations.device))

    def of_frames(self, subject_index: Tensor) -> Tensor:  # (B, J, 3), meters
        """Return each frame's offsets in the parts' frames; index -1 gives zeros."""
        none = self.values.new_zeros(1, *self.values.shape[1:])
        return torch.cat([self.values, none])[subject_index.to(self.values.device)]

    def save(self, path: str | Path) -> Path:
        """Write the offsets to an ``.npz`` file.

        Raises:
            ValueError: ``path`` does not end in ``.npz``.
        """
        path = check_suffix(path, '.npz')
        described = {}
        if self.provenance:
            described['provenance'] = np.array(json.dumps(self.provenance, sort_keys=True))
        with atomic_write(path) as temporary, open(temporary, 'wb') as file:
            np.savez(
                file,
                subjects=np.array(self.subjects, dtype=np.str_),
                joint_names=np.array(self.joint_names, dtype=np.str_),
                parts=np.array([SMPL_JOINTS[part] for part in self.part_index], dtype=np.str_),
                values=self.values.numpy(),
                **described,
            )
        return path

    @classmethod
    def load(cls, path: str | Path) -> LabelOffsets:
        """Read the offsets from a file that :meth:`save` wrote.

        Raises:
            FileNotFoundError: The file does not exist.
            DataError: The file is broken, or a field is missing or invalid.
        """
        fields = read_npz(path)
        missing = [name for name in _FIELDS if name not in fields]
        if missing:
            raise DataError(f'{path}: found no {missing}, expected fields {list(_FIELDS)}')
        try:
            names = {
                name: np.atleast_1d(fields[name]).astype(np.str_).tolist() for name in _FIELDS[:3]
            }
            return cls(
                names['subjects'],
                names['joint_names'],
                np.asarray(fields['values'], dtype=np.float64),
                dict(zip(names['joint_names'], names['parts'], strict=True)),
                json.loads(str(np.asarray(fields.get('provenance', '{}')).item())),
            )
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(f'{path}: {error}') from error


def turned(
    offsets: Tensor,  # (B, J, 3), in the parts' frames
    rotations: Tensor,  # (B, K, 3, 3), as :func:`part_rotations` returns them
    part_index: Tensor,  # (J,), as :func:`part_index_of` returns it
) -> Tensor:  # (B, J, 3)
    """Rotate offsets from the frames of their parts into the frame of the labels."""
    return (rotations.index_select(1, part_index) @ offsets[..., None])[..., 0]


def part_index_of(
    joint_names: Sequence[str], parts: Mapping[str, str] | None = None
) -> tuple[int, ...]:
    """Return for each joint the index of the SMPL joint whose rotation turns its part.

    Args:
        joint_names: Names of the joints.
        parts: Name of that SMPL joint by joint name. Default: :data:`CARRYING_PARTS`.

    Raises:
        ValueError: A joint has no part, or a part is not a joint of SMPL.

    >>> part_index_of(['pelvis', 'left_ankle'])
    (0, 4)
    """
    table = CARRYING_PARTS if parts is None else parts
    missing = [name for name in joint_names if name not in table]
    if missing:
        raise ValueError(f'parts: found none for {missing}, expected one for each joint')
    unknown = sorted({table[name] for name in joint_names} - set(SMPL_JOINTS))
    if unknown:
        raise ValueError(f'parts: found {unknown}, expected joints of SMPL: {list(SMPL_JOINTS)}')
    return tuple(SMPL_JOINTS.index(table[name]) for name in joint_names)


def part_rotations(body: Any, **pose: Tensor) -> Tensor:  # (B, K, 3, 3)
    """Compute the rotation of each of the body's K joints from the rest pose to its frame.

    The first 22 joints of SMPL, SMPL-H and SMPL-X are the same, so :class:`LabelOffsets` fit all of
    them.

    Args:
        body: Body model of the SMPL family.
        pose: ``global_orient``, ``body_pose`` and further rotations, in any representation that
            the body accepts.
    """
    rotations: Tensor = body.articulate(**pose).transforms[..., :3]
    return rotations
