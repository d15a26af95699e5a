"""Evaluation protocols by name: the joints, their alignment, and the frames that count.

Numbers are comparable only under the same protocol, so quote its name with them.

**Missing joints.** MPJPE of a frame is the mean over its annotated joints, weighted if the
annotation has weights. A frame in which a joint of the root is not annotated has no MPJPE; one with
fewer than three annotated joints has no PA-MPJPE, since a similarity transform aligns any two
points exactly. The score of a set is the mean over the frames that have one, in which each frame
counts once, however many of its joints are annotated.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from mmjrr.array_types import Array
from mmjrr.datasets.image_names import KNOWN_BAD_SEQUENCES, SPLITS, expand_sequences
from mmjrr.joints import H36M_JOINTS_MMPOSE, LSP_JOINTS, SMPL_JOINTS, reorder_index

if TYPE_CHECKING:
    import torch

#: Labels by which protocols and breakdowns select a frame, each None if unknown: ``subject``
#: ('S9'), ``sequence`` ('S9_Walking_1'), ``camera`` ('60457274') and ``action`` ('Walking').
FrameLabels = Mapping[str, 'str | None']

#: Joints that a frame must have for a PA-MPJPE: a similarity transform aligns fewer exactly.
_MIN_PA_JOINTS = 3


@dataclass(frozen=True)
class Protocol:
    """A protocol: the joints that are compared, their alignment, and the frames that count.

    Joints are selected by name, so protocols apply to joints in any order.

    Args:
        name: The name under which numbers are quoted.
        joints: Joints over which MPJPE is averaged.
        root: Joint that is subtracted from prediction and annotation before joints are selected,
            so it need not be among ``joints``; several joints stand for their mean; None compares
            absolute positions. Default: 'pelvis'.
        pa_joints: Joints over which PA-MPJPE is aligned and averaged. Default: ``joints``.
        cameras: Cameras whose frames count; None or 'all' for all. Default: None.
        subjects: Subjects whose frames count; None or 'all' for all. Default: None.
        exclude_sequences: Sequences whose frames do not count, with a camera
            (``'S11_Directions.54138969'``) or without; ``'known_bad'`` stands for
            :data:`~mmjrr.datasets.image_names.KNOWN_BAD_SEQUENCES`. Default: none.
        description: Origin of the protocol, in a sentence.
        regressor: Regressor with which the authors report; no other is wrong, but its numbers are
            not theirs. Default: any.
        target: What the authors compare with: ``'annotated'`` joints, or joints regressed from the
            annotated ``'meshes'`` by the same regressor. Default: 'annotated'.
        source: Repository, commit and file from which the protocol was read.

    Raises:
        ValueError: There are no joints, a joint is repeated, or a field is a text where a list is
            expected.
    """

    name: str
    joints: tuple[str, ...]
    root: str | tuple[str, ...] | None = 'pelvis'
    pa_joints: tuple[str, ...] = ()
    cameras: tuple[str, ...] | None = None
    subjects: tuple[str, ...] | None = None
    exclude_sequences: tuple[str, ...] = ()
    description: str = ''
    regressor: str = ''
    target: str = 'annotated'
    source: str = ''

    def __post_init__(self) -> None:
        if self.root is not None and not isinstance(self.root, str):
            names = tuple(str(name) for name in self.root)
            if not names:
                raise ValueError(
                    f'protocol {self.name!r}: root=[], expected joints, or None for no root'
                )
            object.__setattr__(self, 'root', names[0] if len(names) == 1 else names)
        if self.target not in TARGETS:
            raise ValueError(
                f'protocol {self.name!r}: target={self.target!r}, expected one of {list(TARGETS)}'
            )
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
        for joints in (self.joints, self.pa_joints, self.root_joints):
            twice = sorted({joint for joint in joints if joints.count(joint) > 1})
            if twice:
                raise ValueError(f'protocol {self.name!r} names joints twice: {twice}')

    def leaves_out(self, labels: FrameLabels) -> tuple[str, str] | None:
        """Return the reason why a frame does not count, or None if it counts.

        Args:
            labels: The frame's labels.

        Returns:
            Kind and value of the label that excludes the frame: ``('subject', 'S1')``,
            ``('sequence', 'S11_Directions.54138969')`` or ``('camera', '54138969')``.

        Raises:
            ValueError: The protocol needs a label that the frame lacks.

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

    def unmatched_choices(self, labels: Iterable[FrameLabels]) -> list[str]:
        """Return a sentence for each chosen subject, camera or sequence that no frame is of.

        The subjects, cameras and sequences of the known protocols, and the sequences of
        ``'known_bad'``, need no frames.

        Args:
            labels: Labels of all frames, also of those that do not count.

        Raises:
            ValueError: The sequence of a frame of the same subject is unknown.
        """
        names = {field: self._chosen_names(field) for field in ('subjects', 'cameras')}
        needless = set(_TEST_FRAMES['exclude_sequences'])
        if set(self.exclude_sequences).issuperset(KNOWN_BAD_SEQUENCES):
            needless.update(KNOWN_BAD_SEQUENCES)
        excluded = [name for name in self.exclude_sequences if name not in needless]
        if not excluded and not any(names.values()):
            return []
        keys = ('subject', 'sequence', 'camera')
        distinct = list({tuple(frame.get(key) for key in keys): frame for frame in labels}.values())
        sentences = []
        for field, chosen in names.items():
            present = sorted({str(frame.get(field[:-1])) for frame in distinct})
            option = ' (on the command line, --subjects)' if field == 'subjects' else ''
            sentences += [
                f'protocol {self.name!r}: {field}{option}: found {name!r}, of which there is no '
                f'frame, expected some of {", ".join(present)}'
                for name in chosen
                if name not in present
            ]
        sequences = sorted({str(frame.get('sequence')) for frame in distinct} - {str(None)})
        sentences += [
            f'protocol {self.name!r}: exclude_sequences (on the command line, --exclude): {name!r} '
            f'excludes no frame{_named_like(name, sequences)}'
            for name in excluded
            if not any(self._is_of(frame, name) for frame in distinct)
        ]
        return sentences

    def _chosen_names(self, field: str) -> Sequence[str]:
        """Return the names in ``subjects`` or ``cameras``, unless a known protocol has the same."""
        names: Sequence[str] | None = getattr(self, field)
        known = any(getattr(protocol, field) == names for protocol in PROTOCOLS.values())
        return () if names is None or known else names

    @property
    def root_joints(self) -> tuple[str, ...]:
        """Names of the joints whose mean is subtracted; none if positions are absolute."""
        if self.root is None:
            return ()
        return (self.root,) if isinstance(self.root, str) else self.root

    @property
    def needed_joints(self) -> tuple[str, ...]:
        """Names of all joints that prediction and annotation must have, each once."""
        return tuple(dict.fromkeys((*self.root_joints, *self.joints, *self.pa_joints)))

    @property
    def alignment(self) -> str:
        """Description of the alignment, such as ``'pelvis-aligned'``."""
        if self.root is None:
            return 'absolute'
        if set(self.root_joints) == {'left_hip', 'right_hip'}:
            return 'aligned at the middle of the hips'
        if isinstance(self.root, str):
            return f'{self.root}-aligned'
        return f'aligned at the mean of {" and ".join(self.root)}'

    @property
    def summary(self) -> str:
        """Description of joints, alignment and frames in one line, for a table's caption."""
        views = 'all cameras' if self.cameras is None else f'camera {", ".join(self.cameras)}'
        aligned = '' if self.pa_joints == self.joints else f', PA over {len(self.pa_joints)}'
        frames = '' if self.subjects is None else f', {" and ".join(self.subjects)}'
        if self.exclude_sequences:
            frames += f' without {", ".join(self.exclude_sequences)}'
        return f'{len(self.joints)} joints{aligned}, {self.alignment}{frames}, {views}'

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that determine the protocol's numbers, for a result's provenance."""
        described = {field.name: getattr(self, field.name) for field in fields(self)}
        for about in ('name', 'description', 'regressor', 'target', 'source'):
            del described[about]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in described.items()}


def _named_like(excluded: str, sequences: Sequence[str]) -> str:
    """Return the sequence whose name is the most similar, as the end of a sentence."""
    if not sequences:
        return ''
    name, _, camera = excluded.partition('.')
    (nearest,) = difflib.get_close_matches(name, sequences, 1, 0.0)
    if nearest == name:
        return f', since {name} has no frame of the camera {camera}'
    return f'; sequences are named like {nearest}'


@dataclass(frozen=True)
class FrameErrors:
    """Errors of N frames in the unit of the joints; NaN where a joint is not annotated.

    Frames with fewer than three annotated joints have no PA errors.
    """

    mpjpe: Array  # (N,)
    pa_mpjpe: Array  # (N,)
    joints: Array  # (N, len(protocol.joints))
    pa_joints: Array  # (N, len(protocol.pa_joints))
    n_mpjpe: Array | None = None  # (N,), after scaling about the root
    acceleration: Array | None = None  # (N,), in units per squared frame step
    pve: Array | None = None  # (N,), of vertices, aligned as the joints
    pa_pve: Array | None = None  # (N,), of vertices, after a similarity transform


def frame_errors(
    pred: Array | torch.Tensor,  # (N, J, 3)
    target: Array | torch.Tensor,  # (N, J, 3)
    joint_order: str | Sequence[str],
    protocol: str | Protocol,
    weight: Array | torch.Tensor | None = None,  # (N, J)
    neighbors: Array | None = None,  # (N, 2)
) -> FrameErrors:
    """Compute the errors of all frames under a protocol, including frames that do not count.

    Args:
        pred: Predicted joints.
        target: Annotated joints, in the same unit and order.
        joint_order: Order of both: a name of :data:`mmjrr.joints.JOINT_ORDERS`, or joint names.
        protocol: A protocol or its name.
        weight: Weights of the joints; 0 if a joint is not annotated. MPJPE is NaN for frames whose
            root is not annotated. Default: equal weights.
        neighbors: Rows of the frames before and after each frame, -1 if there is none, for the
            acceleration error. Default: none is computed.

    Raises:
        ValueError: A joint that the protocol needs is missing, or the shapes are inconsistent.

    >>> import numpy as np
    >>> pred = np.zeros((1, 17, 3))
    >>> pred[0, H36M_JOINTS_MMPOSE.index('left_ankle'), 0] = 14.0
    >>> frame_errors(pred, np.zeros((1, 17, 3)), 'mmpose', 'spin-p1').mpjpe
    array([1.])
    """
    # Imported here so that protocols can be listed without importing PyTorch.
    import numpy as np
    import torch

    from .functional import (
        acceleration_error,
        mpjpe,
        mpjpe_per_joint,
        n_mpjpe,
        pa_mpjpe,
        pa_mpjpe_per_joint,
    )

    protocol = get_protocol(protocol)

    def as_tensor(values: Array | torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(values).detach().cpu().double()

    points, goal = as_tensor(pred), as_tensor(target)
    present = None if weight is None else as_tensor(weight)
    aligned, aligned_goal, aligned_weight = points, goal, present
    if protocol.root is not None:
        root = reorder_index(joint_order, protocol.root_joints)
        aligned = points - points[:, root].mean(1, keepdim=True)
        aligned_goal = goal - goal[:, root].mean(1, keepdim=True)
        if present is not None:
            aligned_weight = present * (present[:, root] > 0).all(1, keepdim=True)
    index = reorder_index(joint_order, protocol.joints)
    pa_index = reorder_index(joint_order, protocol.pa_joints)
    part = (aligned[:, index], aligned_goal[:, index], _columns(aligned_weight, index))
    pa_weight = _columns(present, pa_index)
    pa_part = (points[:, pa_index], goal[:, pa_index], pa_weight)
    if pa_weight is None:
        pa_weight = torch.ones(len(points), len(pa_index))
    has_pa = ((pa_weight > 0).sum(1) >= _MIN_PA_JOINTS).numpy()
    return FrameErrors(
        mpjpe=mpjpe(*part).numpy(),
        pa_mpjpe=np.where(has_pa, pa_mpjpe(*pa_part).numpy(), np.nan),
        joints=mpjpe_per_joint(*part).numpy(),
        pa_joints=np.where(has_pa[:, None], pa_mpjpe_per_joint(*pa_part).numpy(), np.nan),
        n_mpjpe=n_mpjpe(*part).numpy(),
        acceleration=(
            None if neighbors is None else acceleration_error(*part, neighbors=neighbors).numpy()
        ),
    )


def get_protocol(protocol: str | dict[str, Any] | Protocol) -> Protocol:
    """Return a protocol by its name or fields; return a :class:`Protocol` unchanged.

    Args:
        protocol: A name; the fields of :class:`Protocol`; or a named protocol with changed fields,
            such as ``dict(type='paper', subjects='all')``. If only frames are changed, the name
            states the change (``'paper-subjects-all'``), so that the numbers are not mistaken for
            those of the named protocol. Other changes need a ``name`` of their own.

    Raises:
        ValueError: There is no protocol of that name, or the fields are invalid.

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
        ValueError: There are no protocols, two have the same name, or one is invalid.
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


def known_variant_of(protocol: Protocol) -> str | None:
    """Return the name of the known protocol of which only the frames are changed, or None.

    >>> known_variant_of(get_protocol(dict(type='spin-p1', subjects=['S9'])))
    'spin-p1'
    >>> known_variant_of(Protocol('legs', ('left_knee', 'left_ankle'))) is None
    True
    """
    for name, known in PROTOCOLS.items():
        begins = tuple(f'{name}-{word}-' for word in _FRAME_FIELDS.values())
        if protocol.name == name or protocol.name.startswith(begins):
            frames = {field: getattr(known, field) for field in _FRAME_FIELDS}
            if replace(protocol, name=name, **frames) == known:
                return name
    return None


def _columns(weight: torch.Tensor | None, index: list[int]) -> torch.Tensor | None:
    return None if weight is None else weight[:, index]


#: What authors compare predictions with.
TARGETS = ('annotated', 'meshes')

_HIPS = ('right_hip', 'left_hip')

#: S9 and S11, except for a video that is missing from the official release.
_TEST_FRAMES: dict[str, Any] = dict(
    subjects=SPLITS['test'], exclude_sequences=('S11_Directions.54138969',)
)
_J_STD = 'J_regressor_h36m.npy'

#: The protocols by name.
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name='paper',
            joints=H36M_JOINTS_MMPOSE,
            **_TEST_FRAMES,
            description='Hedlin et al., CRV 2022, Table I: all 17 joints, every camera',
            source='arXiv 2205.00076',
        ),
        Protocol(
            name='spin-p1',
            joints=LSP_JOINTS,
            **_TEST_FRAMES,
            description="SPIN's Protocol 1 (its MPJPE): 14 joints of LSP, every camera",
            regressor=_J_STD,
            source='nkolot/SPIN, 2476c43, eval.py',
        ),
        Protocol(
            name='spin-p2',
            joints=LSP_JOINTS,
            cameras=('60457274',),
            **_TEST_FRAMES,
            description="SPIN's Protocol 2 (its PA-MPJPE): 14 joints of LSP, frontal camera",
            regressor=_J_STD,
            source='nkolot/SPIN, 2476c43, eval.py',
        ),
        Protocol(
            name='mmpose',
            joints=H36M_JOINTS_MMPOSE,
            **_TEST_FRAMES,
            description="MMPose's lifting configs: 17 joints, root-relative, every camera",
            source='open-mmlab/mmpose, 759b39c, mmpose/evaluation/functional/keypoint_eval.py',
        ),
        Protocol(
            name='vibe',
            joints=LSP_JOINTS,
            root=_HIPS,
            description='VIBE on 3DPW: 14 joints of LSP, middle of the hips',
            regressor=_J_STD,
            source='mkocabas/VIBE, 851f779, lib/core/evaluate.py',
        ),
        Protocol(
            name='wham',
            joints=LSP_JOINTS,
            root=_HIPS,
            description='WHAM on 3DPW: 14 joints of LSP, middle of the hips',
            regressor=_J_STD,
            target='meshes',
            source='yohanshin/WHAM, 2b54f77, lib/eval/evaluate_3dpw.py',
        ),
        Protocol(
            name='bedlam',
            joints=LSP_JOINTS,
            description='BEDLAM on 3DPW: 14 joints of LSP, pelvis row of the regressor',
            regressor=_J_STD,
            target='meshes',
            source='pixelite1201/BEDLAM, 9ad6adf, train/core/hmr_trainer_smpl.py',
        ),
        Protocol(
            name='camerahmr',
            joints=LSP_JOINTS,
            description='CameraHMR on 3DPW: 14 joints of LSP, pelvis row of the regressor',
            regressor=_J_STD,
            target='meshes',
            source='pixelite1201/CameraHMR, 65d11a0, core/camerahmr_trainer_smpl.py',
        ),
        Protocol(
            name='multi-hmr',
            joints=LSP_JOINTS,
            description='Multi-HMR on 3DPW: 14 joints of LSP, pelvis row of the regressor',
            regressor=_J_STD,
            target='meshes',
            source='naver/multi-hmr, 651fb41, train.py',
        ),
        Protocol(
            name='hmr2',
            joints=LSP_JOINTS,
            cameras=('60457274',),
            **_TEST_FRAMES,
            description=(
                "HMR2 (4D-Humans) on Human3.6M's Protocol 2: rows of its own 19 joints that are "
                "LSP's neck and limbs and H36M's head, pelvis row of the same regressor. Its "
                'update of the hips changes OpenPose joints, which are not compared'
            ),
            regressor='SMPL_to_J19.pkl',
            source='shubham-goel/4D-Humans, 6ec7965, hmr2/configs/datasets_eval.yaml',
        ),
        Protocol(
            name='tokenhmr',
            joints=LSP_JOINTS,
            description='TokenHMR on 3DPW: as HMR2, on the frames of 3DPW',
            regressor='SMPL_to_J19.pkl',
            source='saidwivedi/TokenHMR, 198645f, tokenhmr/lib/utils/pose_utils.py',
        ),
        Protocol(
            name='emdb',
            joints=SMPL_JOINTS,
            root=('left_hip', 'right_hip'),
            description="WHAM on EMDB: SMPL's 24 joints, middle of the hips",
            regressor="the body's own",
            target='meshes',
            source='yohanshin/WHAM, 2b54f77, lib/eval/evaluate_emdb.py',
        ),
        Protocol(
            name='rich',
            joints=SMPL_JOINTS,
            root=('left_hip', 'right_hip'),
            description="WHAM on RICH: SMPL's 24 joints, middle of the hips",
            regressor="the body's own",
            target='meshes',
            source='yohanshin/WHAM, 2b54f77, lib/eval/evaluate_rich.py',
        ),
    )
}
