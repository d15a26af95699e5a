"""Variables of refinement, the levels at which frames share them, and the bodies that they pose.

A variable lives at a level: every *frame* has its own, or the frames of a *moment* (an instant seen
by several cameras), of a *subject*, or of a *camera* (of a subject) share one, or it is *fixed*.
An index takes variables to frames, so that autograd adds up their gradients on the way back.

Convention: a pose at the level ``moment`` is in the world frame. Its pelvis is at ``q``, and its
root has the rotation ``R_w``. A camera that sees a world point ``x`` at ``R (x - T)`` sees a SMPL
body with the root rotation ``R R_w`` and the translation ``R (q - T) - p``, with ``p`` the pelvis
of the rest pose, about which SMPL turns the root.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from mmjrr.geometry import (
    PerspectiveCamera,
    axis_angle_to_matrix,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
)
from mmjrr.joints import BODY_PARTS, SMPL_JOINTS
from mmjrr.refinement.corrections import CORRECTIONS, RigidMotion
from mmjrr.refinement.vertex_normals import VertexNormals

if TYPE_CHECKING:
    from mmjrr.body_models import SMPL
    from mmjrr.body_models.skinned_body import Articulation

#: Values of the variables by name, each with its groups as the first axis.
Values: TypeAlias = dict[str, Tensor]

#: Variables that move the outline off the body.
OUTLINES = ('outline_offset', 'part_outline_offset')
#: Levels at which each entry of ``share`` may live, the default first.
LEVELS: dict[str, tuple[str, ...]] = dict(
    pose=('frame', 'moment'),
    betas=('frame', 'moment', 'subject', 'fixed'),
    principal_point=('fixed', 'camera'),
    extrinsics=('fixed', 'camera'),
    outline_offset=('fixed', 'subject'),
    part_outline_offset=('fixed', 'subject'),
    joint_offset=('fixed', 'all'),
)
#: Levels at which frames of different moments share a variable, so that batches cannot be split.
COUPLING_LEVELS = ('subject', 'camera', 'all')
#: Variables that Adam optimizes, and the entry of ``share`` that sets their level.
VARIABLES: dict[str, str] = dict(
    pose_6d='pose',
    betas='betas',
    transl='pose',
    **{name: correction.share for name, correction in CORRECTIONS.items()},
)


@dataclass(frozen=True)
class Sharing:
    """Level of each variable (:data:`LEVELS`).

    Attributes:
        pose: ``'frame'`` or ``'moment'``: level of the 24 rotations and of the translation.
        betas: ``'frame'``, ``'moment'``, ``'subject'`` or ``'fixed'``: level of the shape.
        principal_point: ``'camera'`` corrects the principal point of each camera of a subject, in
            units of the focal length. ``'fixed'``: no correction.
        extrinsics: ``'camera'`` corrects the pose of each camera of a subject, by a rotation in
            axis-angle and a translation in meters, both in the calibrated camera's frame: the image
            shows a point ``x`` at ``R x + t``. ``'fixed'``: no correction.
        outline_offset: ``'subject'`` fits how far a subject's outline lies outside the body, in
            meters along the vertex normals, as clothes do. ``'fixed'``: no offset.
        part_outline_offset: ``'subject'`` fits one such offset for each part of a subject's body
            (:data:`mmjrr.joints.BODY_PARTS`), since clothes leave hands bare. ``'fixed'``: none.
        joint_offset: ``'all'`` fits how far each joint lies off the regressed one, in meters in the
            frame of the part that carries it, in all frames alike, so that bodies do not follow the
            errors of the regressor with which they are refined. ``'fixed'``: no offsets.

    Raises:
        ValueError: A level is not one of those of its variable.

    >>> Sharing(pose='moment', betas='subject').level('transl')
    'moment'
    """

    pose: str = 'frame'
    betas: str = 'frame'
    principal_point: str = 'fixed'
    extrinsics: str = 'fixed'
    outline_offset: str = 'fixed'
    part_outline_offset: str = 'fixed'
    joint_offset: str = 'fixed'

    def __post_init__(self) -> None:
        for name, levels in LEVELS.items():
            if getattr(self, name) not in levels:
                raise ValueError(
                    f'share: {name}: found {getattr(self, name)!r}, expected one of {levels}'
                )

    def level(self, variable: str) -> str:
        """Return the level of one of :data:`VARIABLES`."""
        level: str = getattr(self, VARIABLES[variable])
        return level

    @property
    def of_moments(self) -> list[str]:
        """Names of the entries that the frames of a moment share."""
        return [name for name in LEVELS if getattr(self, name) == 'moment']

    @property
    def couples_moments(self) -> bool:
        """Whether frames of different moments share a variable, so that batches cannot be split."""
        levels = {self.level(name) for name in VARIABLES}
        return not levels.isdisjoint(COUPLING_LEVELS)


@dataclass
class FrameGroups:
    """Moment, subject and camera of each frame, each numbered from 0."""

    moment: Tensor  # (B,) int64
    subject: Tensor  # (B,) int64
    camera: Tensor  # (B,) int64, of a subject

    def __len__(self) -> int:
        return len(self.moment)

    @property
    def all(self) -> Tensor:  # (B,)
        """The one group of all frames."""
        return torch.zeros_like(self.moment)

    def to(self, device: torch.device) -> FrameGroups:
        """Move the numbers to a device."""
        return FrameGroups(*(getattr(self, name).to(device) for name in self.__annotations__))


@dataclass
class Selection:
    """Frames of a problem, and the rows of its variables that they use.

    Attributes:
        frames: The frames, a range of the problem's.
        rows: Rows of each variable that these frames use; None for those of ``frames``.
        index: For each of the frames, the position of its row in ``rows``; None for its own
            position.
    """

    frames: slice
    rows: dict[str, Tensor | None]
    index: dict[str, Tensor | None]

    def take(self, values: Mapping[str, Tensor]) -> Values:
        """Select the rows of these frames from a problem's variables."""
        return {
            name: value[self.frames] if self.rows[name] is None else value[self.rows[name]]
            for name, value in values.items()
        }

    def add(self, total: Mapping[str, Tensor], part: Mapping[str, Tensor]) -> None:
        """Add values of these rows, such as gradients, to those of the problem in place."""
        for name, value in part.items():
            rows = self.rows[name]
            if rows is None:
                total[name][self.frames] += value
            else:
                total[name].index_add_(0, rows, value)


def share_rows(selections: Sequence[Selection]) -> bool:
    """Return whether several selections, whose frames do not overlap, have a row in common."""
    seen: set[tuple[str, int]] = set()
    for selection in selections:
        for name, rows in selection.rows.items():
            numbers = set() if rows is None else {(name, row) for row in rows.tolist()}
            if numbers & seen:
                return True
            seen |= numbers
    return False


@dataclass
class FrameBodies:
    """Bodies of frames, in the frames' calibrated cameras."""

    rotations: Tensor  # (B, 24, 3, 3)
    betas: Tensor  # (B, K)
    transl: Tensor  # (B, 3), meters, SMPL's
    vertices: Tensor  # (B, V, 3), meters
    outline: Tensor  # (B, V, 3), meters, vertices of what the silhouette is drawn from, as seen
    camera: PerspectiveCamera
    support: Tensor | None = None  # (B, S, 3), meters, vertices of the regressor
    joint_offset: Tensor | None = None  # (B, J, 3), meters, in the frames of the joints' parts
    to_image: RigidMotion | None = None  # from the calibrated camera's frame to the corrected one's


class FitVariables:
    """The variables of a set of frames.

    Args:
        body: Body model.
        sharing: Level of each variable.
        groups: Moment, subject and camera of each frame. None: every frame is alone, which only
            the levels ``frame`` and ``fixed`` allow.
        count: Number of frames.
        corrections: Names of the :data:`~.corrections.CORRECTIONS` that are fixed at a value for
            each frame. Default: none.
        support: Vertices of a joint regressor. They are computed apart from the others, so that
            their gradient is not spread over the whole body. Default: None.

    Raises:
        ValueError: A level needs ``groups``.
    """

    def __init__(
        self,
        body: SMPL,
        sharing: Sharing,
        groups: FrameGroups | None,
        count: int,
        corrections: Sequence[str] = (),
        support: Tensor | None = None,  # (S,)
    ) -> None:
        self.body, self.sharing, self.count = body, sharing, count
        self.support = None if support is None else body.restrict_to(support)
        self.names = tuple(
            name
            for name in VARIABLES
            if name in ('pose_6d', 'betas', 'transl', *corrections)
            or sharing.level(name) != 'fixed'
        )
        #: Variables that a minimizer changes.
        self.free = tuple(name for name in self.names if sharing.level(name) != 'fixed')
        #: How much each part of the body moves each vertex, (P, V).
        self.parts = part_weights(body) if 'part_outline_offset' in self.names else None
        self.normals = None
        if any(name in self.names for name in OUTLINES):
            device = body.faces_tensor.device
            self.normals = VertexNormals(body.faces, body.num_vertices, device)
        self.index: dict[str, Tensor | None] = {}
        #: Moment of each frame if the frames of a moment share a variable, else None.
        self.moment: Tensor | None = None
        for name in self.names:
            level = sharing.level(name)
            if level == 'fixed':  # fixed shapes of a shared body are shared with it
                level = sharing.pose if name == 'betas' else 'frame'
            if level == 'frame':
                self.index[name] = None
                continue
            if groups is None:
                raise ValueError(
                    f'share: {VARIABLES[name]}={level!r} needs the moments, subjects and cameras '
                    'of the frames'
                )
            self.index[name] = getattr(groups, level)
            if level == 'moment':
                self.moment = groups.moment

    def all_frames(self) -> Selection:
        """Select all frames and all rows."""
        return self.select(slice(0, self.count))

    def select(self, frames: slice) -> Selection:
        """Select a range of frames and the rows of the variables that they take."""
        rows: dict[str, Tensor | None] = {}
        index: dict[str, Tensor | None] = {}
        for name, numbers in self.index.items():
            if numbers is None:
                rows[name] = index[name] = None
            else:
                rows[name], index[name] = torch.unique(numbers[frames], return_inverse=True)
        return Selection(frames, rows, index)

    def chunks(self, size: int) -> list[slice]:
        """Cut the frames into ranges of about ``size``, between moments that share a variable.

        A range holds more than ``size`` frames only if a moment extends over more frames, or
        several moments whose frames alternate do.
        """
        boundaries = [0, *self._ends_of_moments()]
        cuts = [0]
        for previous, boundary in pairwise(boundaries):
            if boundary - cuts[-1] > size and previous > cuts[-1]:
                cuts.append(previous)
        cuts.append(self.count)
        return [slice(start, stop) for start, stop in pairwise(cuts)]

    def _ends_of_moments(self) -> list[int]:
        """Return the ends of the shortest ranges that keep each moment's frames together.

        Without a variable that the frames of a moment share, each frame is such a range.
        """
        if self.moment is None:
            return list(range(1, self.count + 1))
        moments = self.moment.tolist()
        last = {moment: frame for frame, moment in enumerate(moments)}
        ends, reach = [], 0
        for frame, moment in enumerate(moments):
            reach = max(reach, last[moment])
            if reach == frame:
                ends.append(frame + 1)
        return ends

    def initial(
        self,
        rotations: Tensor,  # (B, 24, 3, 3), camera frame
        init: Mapping[str, Tensor],
        camera: PerspectiveCamera,
    ) -> Values:
        """Average the fits of the frames that share a variable.

        Rotations are averaged by projecting their sum onto the rotations, in the world frame for
        the root. Translations put the pelvis into the origin of the frame of reference.
        Corrections are zero unless ``init`` has them.

        Args:
            rotations: The fits' rotations.
            init: ``betas`` (B, K), and the fixed corrections.
            camera: Cameras of the frames.
        """
        betas = init['betas']
        index = self.index['pose_6d']
        if index is not None:
            rotation = _pose_of(camera)[0]
            root = rotation.transpose(1, 2) @ rotations[:, 0]
            in_world = torch.cat([root[:, None], rotations[:, 1:]], 1)
            rotations = nearest_rotation(_sum_by_group(in_world, index))
        values = dict(
            pose_6d=matrix_to_rotation_6d(rotations),
            betas=mean_by_group(betas, self.index['betas']),
            transl=rotations.new_zeros(len(rotations), 3),
        )
        for name, correction in CORRECTIONS.items():
            if name in self.names:
                index = self.index[name]
                values[name] = (
                    init[name] if index is None else betas.new_zeros(_count(index), correction.size)
                )
        return values

    def place(
        self,
        values: Values,
        transl: Tensor,  # (B, 3), meters, camera frame
        camera: PerspectiveCamera,
    ) -> Values:
        """Set the positions to those that the frames' translations give, averaged."""
        index = self.index['transl']
        if index is None:
            return dict(values, transl=transl)
        rotation, position = _pose_of(camera)
        betas = _take(values['betas'], self.index['betas'])
        pelvis = transl + self.body.articulate(betas=betas).joints[:, 0]
        in_world = torch.einsum('bji,bj->bi', rotation, pelvis) + position
        return dict(values, transl=mean_by_group(in_world, index))

    def at_frames(
        self,
        values: Mapping[str, Tensor],  # the rows that the selection takes
        selection: Selection,
        camera: PerspectiveCamera,  # of the selected frames
    ) -> FrameBodies:
        """Pose the bodies of the selected frames.

        Bodies that several frames share are posed and skinned once, in the world frame, and moved
        rigidly into each camera.
        """
        index = selection.index
        rotations = rotation_6d_to_matrix(values['pose_6d'])
        poses = index['pose_6d']
        if poses is None or self.sharing.betas == 'frame':
            bodies = self._each_frame(rotations, values, index, camera)
        else:
            bodies = self._once_in_world(rotations, values, index, camera)
        if 'joint_offset' in self.names:
            offset = _take(values['joint_offset'], index['joint_offset'])
            bodies.joint_offset = offset.unflatten(1, (-1, 3))
        if 'extrinsic_rotation' in self.names:
            rotation = _take(values['extrinsic_rotation'], index['extrinsic_rotation'])
            translation = _take(values['extrinsic_translation'], index['extrinsic_translation'])
            bodies.to_image = RigidMotion(axis_angle_to_matrix(rotation), translation)
            bodies.outline = bodies.to_image.apply(bodies.outline)
        if 'principal_point' in self.names:
            shift = _take(values['principal_point'], index['principal_point'])
            bodies.camera = camera.with_principal_point(
                camera.principal_point + camera.focal_length * shift
            )
        return bodies

    def _each_frame(
        self,
        rotations: Tensor,
        values: Mapping[str, Tensor],
        index: Mapping[str, Tensor | None],
        camera: PerspectiveCamera,
    ) -> FrameBodies:
        """Pose the body of each frame."""
        rotations = _take(rotations, index['pose_6d'])
        betas, transl = _take(values['betas'], index['betas']), values['transl']
        if index['transl'] is not None:
            rotation, position = _pose_of(camera)
            rest = self.body.articulate(betas=betas).joints[:, 0]
            pelvis = _take(transl, index['transl']) - position
            transl = torch.einsum('bij,bj->bi', rotation, pelvis) - rest
            root = rotation @ rotations[:, 0]
            rotations = torch.cat([root[:, None], rotations[:, 1:]], 1)
        posed = self.body.articulate(
            global_orient=rotations[:, :1], body_pose=rotations[:, 1:], betas=betas, transl=transl
        )
        vertices, support = self._skinned(posed)
        outline = self._outline(vertices, values, index)
        return FrameBodies(rotations, betas, transl, vertices, outline, camera, support)

    def _once_in_world(
        self,
        rotations: Tensor,  # (M, 24, 3, 3), world frame
        values: Mapping[str, Tensor],  # 'transl' (M, 3) is the pelvis in the world frame
        index: Mapping[str, Tensor | None],
        camera: PerspectiveCamera,
    ) -> FrameBodies:
        """Pose each moment's body once, and move it into the frames' cameras."""
        poses = index['pose_6d']
        assert poses is not None
        shapes = index['betas']
        assert shapes is not None

        def of_poses(of_frames: Tensor) -> Tensor:  # (B,) -> (M,)
            """Return an index of poses, of which all frames of a moment have one value."""
            result = torch.empty(len(rotations), dtype=torch.long, device=of_frames.device)
            result[poses] = of_frames
            return result

        betas_of_poses = values['betas'].index_select(0, of_poses(shapes))
        posed = self.body.articulate(
            global_orient=rotations[:, :1], body_pose=rotations[:, 1:], betas=betas_of_poses
        )
        rest = posed.joints[:, 0].index_select(0, poses)  # the root's rotation leaves it in place
        rotation, position = _pose_of(camera)
        pelvis = values['transl'].index_select(0, poses) - position
        in_camera = torch.einsum('bij,bj->bi', rotation, pelvis)
        shift = in_camera - torch.einsum('bij,bj->bi', rotation, rest)

        def in_cameras(vertices: Tensor) -> Tensor:  # (M, V, 3) -> (B, V, 3)
            planes = vertices.transpose(1, 2).index_select(0, poses)
            return torch.baddbmm(shift[:, :, None], rotation, planes).transpose(1, 2)

        whole, support = self._skinned(posed)
        vertices = outline = in_cameras(whole)
        if self.normals is not None:
            frames = torch.arange(len(poses), device=poses.device)
            of_outlines = {
                name: of_poses(frames if (of := index[name]) is None else of)
                for name in OUTLINES
                if name in self.names
            }
            outline = in_cameras(self._outline(whole, values, of_outlines))
        of_frames = rotations.index_select(0, poses)
        root = rotation @ of_frames[:, 0]
        return FrameBodies(
            rotations=torch.cat([root[:, None], of_frames[:, 1:]], 1),
            betas=betas_of_poses.index_select(0, poses),
            transl=in_camera - rest,
            vertices=vertices,
            outline=outline,
            camera=camera,
            support=None if support is None else in_cameras(support),
        )

    def _outline(
        self,
        vertices: Tensor,  # (B, V, 3)
        values: Mapping[str, Tensor],
        index: Mapping[str, Tensor | None],
    ) -> Tensor:  # (B, V, 3)
        """Move vertices to the outline, along their normals, which count as constant."""
        if self.normals is None:
            return vertices
        offsets = []
        if 'outline_offset' in self.names:
            offsets.append(_take(values['outline_offset'], index['outline_offset']))
        if self.parts is not None:
            of_parts = values['part_outline_offset'][:, :, None] * self.parts.to(values['betas'])
            offsets.append(_take(of_parts.sum(1), index['part_outline_offset']))
        planes = vertices.transpose(1, 2)
        moved = planes + sum(offsets[1:], offsets[0])[:, None] * self.normals(planes)
        return moved.transpose(1, 2)

    def _skinned(self, posed: Articulation) -> tuple[Tensor, Tensor | None]:
        """Return all vertices, and those of the regressor."""
        support = None if self.support is None else self.support.skin_vertices(posed)
        return self.body.skin_vertices(posed), support


def prior_energy(values: Mapping[str, Tensor], deviations: Mapping[str, float]) -> Tensor:  # ()
    """Sum the squares of the variables that have a prior, in units of its standard deviation."""
    terms = [
        (values[name] / deviation).square().sum()
        for name, deviation in deviations.items()
        if name in values
    ]
    return torch.stack(terms).sum() if terms else torch.zeros(())


def nearest_rotation(matrices: Tensor) -> Tensor:  # (..., 3, 3)
    """Return the rotations nearest to matrices in the Frobenius norm (Kabsch's algorithm)."""
    u, _, vh = torch.linalg.svd(matrices)
    sign = torch.ones_like(matrices[..., 0])
    sign[..., 2] = torch.det(u @ vh)
    return (u * sign[..., None, :]) @ vh


def mean_by_group(values: Tensor, index: Tensor | None) -> Tensor:  # (B, ...) -> (groups, ...)
    """Average the rows of each group; None: each row is a group."""
    if index is None:
        return values.clone()
    counts = torch.bincount(index).to(values)
    return _sum_by_group(values, index) / counts.reshape(-1, *(1,) * (values.dim() - 1))


def part_weights(body: SMPL) -> Tensor:  # (P, V)
    """Return how much each part of the body (:data:`mmjrr.joints.BODY_PARTS`) moves each vertex."""
    rows = [[SMPL_JOINTS.index(name) for name in joints] for joints in BODY_PARTS.values()]
    return torch.stack([body.weight_planes[row].sum(0) for row in rows])


def _sum_by_group(values: Tensor, index: Tensor) -> Tensor:
    total = values.new_zeros(_count(index), *values.shape[1:])
    return total.index_add_(0, index, values)


def _count(index: Tensor | None) -> int:
    assert index is not None
    return int(index.max()) + 1


def _take(values: Tensor, index: Tensor | None) -> Tensor:
    return values if index is None else values.index_select(0, index)


def _pose_of(camera: PerspectiveCamera) -> tuple[Tensor, Tensor]:
    """Return rotation (B, 3, 3) and position (B, 3) of cameras.

    Raises:
        ValueError: The cameras have no pose in the world.
    """
    if camera.rotation is None or camera.position is None:
        raise ValueError(
            "share: pose='moment' needs the cameras' poses: set the dataset's camera_param_file"
        )
    return camera.rotation, camera.position
