"""SMPL (Loper et al., SIGGRAPH Asia 2015), from files read safely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmjrr.errors import DataError
from mmjrr.geometry import axis_angle_to_matrix, rotation_6d_to_matrix
from mmjrr.io import check_array, read_npz, read_pickle
from mmjrr.registry import BODY_MODELS

from .lbs import KinematicTree, skin

NUM_JOINTS = 24
_GENDERS = ('neutral', 'male', 'female')


@dataclass
class BodyOutput:
    """What a body model gives, in metres, in the frame of ``transl``."""

    vertices: Tensor  # (B, V, 3)
    joints: Tensor  # (B, 24, 3)


@dataclass
class Articulation:
    """What poses and shapes amount to before any vertex is made."""

    coefficients: Tensor  # (B or 1, C), of the blend shapes
    transforms: Tensor  # (B, 24, 3, 4), from T-pose to pose, less transl
    joints: Tensor  # (B, 24, 3), posed, less transl
    transl: Tensor  # (B or 1, 3)


@BODY_MODELS.register_module()
class SMPL(nn.Module):
    """SMPL or any body in its file format, with poses in whichever representation is at hand.

    Vertices and joints are those of ``smplx.SMPL``. Left out is what it does beyond: extra joints
    picked by SMPL's own vertex numbers, which mean nothing on the free body, and pose blend shapes
    where they are all zero. Gradients are of first order.

    ``v_template`` (V, 3) is the mean shape in T-pose: metres, y up, left is +x, facing +z.
    ``faces`` is (F, 3) int64 in NumPy, ``faces_tensor`` the same as a buffer.

    Args:
        model_path: A ``.pkl`` or ``.npz`` file in SMPL's format, or the folder with
            ``SMPL_NEUTRAL.pkl`` (``.npz``) and its siblings, with or without ``smpl/`` between.
        gender: ``'neutral'``, ``'male'`` or ``'female'``; which file of a folder.
        num_betas: Shape coefficients to use. Defaults to 10.
        dtype: Of buffers and outputs. Defaults to ``torch.float32``.

    Raises:
        FileNotFoundError: If there is no such file; says which names were tried.
        DataError: If the file is broken, lacks an array, one has another shape, or it is a pickle
            that asks for more than arrays; names file and array.
    """

    #: Name of the body whose vertices these are, as joint regressors know it.
    name: str = 'smpl'

    def __init__(
        self,
        model_path: str | Path,
        gender: str = 'neutral',
        num_betas: int = 10,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.path = find_smpl_file(model_path, gender)
        self.gender = gender
        data = load_smpl_file(self.path)
        available = data['shapedirs'].shape[2]
        if not 1 <= num_betas <= available:
            raise ValueError(
                f'{self.path}: num_betas={num_betas}, but the file has {available} shape components'
            )
        self.num_betas = num_betas
        self.faces: np.ndarray = data['f']  # (F, 3), int64
        self.parents: list[int] = data['parents']

        def buffer(name: str, array: np.ndarray) -> None:
            # torch.tensor keeps a transposed array's strides, and every flatten() would copy it.
            array = np.ascontiguousarray(array)
            self.register_buffer(name, torch.tensor(array, dtype=dtype), persistent=False)

        shapedirs = data['shapedirs'][:, :, :num_betas]
        buffer('v_template', data['v_template'])  # (V, 3)
        blend_shapes = [shapedirs]
        self.has_pose_blend_shapes = bool(np.any(data['posedirs']))
        if self.has_pose_blend_shapes:
            blend_shapes.append(data['posedirs'])
        # x of all vertices first, then y, then z: skinning runs along contiguous memory.
        # (num_betas, 3, V), or (num_betas + 207, 3, V) with those of the pose.
        buffer('blend_planes', np.concatenate(blend_shapes, 2).transpose(2, 1, 0))
        buffer('weight_planes', data['weights'].T)  # (24, V)
        # Joints in T-pose are linear in betas; the vertices are not needed for them.
        regressor = data['J_regressor']
        buffer('joint_template', regressor @ data['v_template'])  # (24, 3)
        buffer('joint_shapedirs', np.einsum('jv,vck->jck', regressor, shapedirs))
        self.register_buffer('faces_tensor', torch.from_numpy(self.faces), persistent=False)
        self.register_buffer('vertex_ids', None, persistent=False)
        self.tree = KinematicTree(self.parents)

    @property
    def num_vertices(self) -> int:
        """Vertices that :meth:`forward` gives."""
        return int(self.v_template.shape[0])

    def forward(
        self,
        betas: Tensor | None = None,
        body_pose: Tensor | None = None,
        global_orient: Tensor | None = None,
        transl: Tensor | None = None,
    ) -> BodyOutput:
        """Pose the body (Loper et al., Equations 2 to 10).

        Args:
            betas: (B, num_betas). Defaults to zero.
            body_pose: 23 rotations: axis-angle (B, 69) or (B, 23, 3), matrices (B, 23, 3, 3), or 6D
                (B, 138) or (B, 23, 6). Defaults to the T-pose.
            global_orient: One rotation in any of the three: (B, 3), (B, 3, 3), (B, 6), each also
                with an axis of one before the rotation. Defaults to none.
            transl: (B, 3), metres. Defaults to zero.

        Arguments of batch size one go with any batch.

        Raises:
            ValueError: If a shape fits none of these.
        """
        posed = self.articulate(betas, body_pose, global_orient, transl)
        return BodyOutput(vertices=self.skinned(posed), joints=posed.joints + posed.transl[:, None])

    def articulate(
        self,
        betas: Tensor | None = None,
        body_pose: Tensor | None = None,
        global_orient: Tensor | None = None,
        transl: Tensor | None = None,
    ) -> Articulation:
        """What the blend shapes are weighed with and how the joints move: :meth:`forward` without
        the vertices. Arguments and errors are the same."""
        like = self.v_template
        betas = like.new_zeros(1, self.num_betas) if betas is None else betas
        transl = like.new_zeros(1, 3) if transl is None else transl
        for name, value, width in (('betas', betas, self.num_betas), ('transl', transl, 3)):
            if value.dim() != 2 or value.shape[1] != width:
                raise ValueError(f'{name}: expected (B, {width}), found {tuple(value.shape)}')
        root = self._rotations('global_orient', global_orient, 1)
        others = self._rotations('body_pose', body_pose, NUM_JOINTS - 1)
        batch = _batch_size(betas=betas, body_pose=others, global_orient=root, transl=transl)
        rotations = torch.cat([part.expand(batch, -1, -1, -1) for part in (root, others)], dim=1)

        joints = self.joint_template + torch.einsum('jck,bk->bjc', self.joint_shapedirs, betas)
        joints, transforms = self.tree(rotations, joints.expand(batch, -1, -1))
        coefficients = betas
        if self.has_pose_blend_shapes:
            eye = torch.eye(3, dtype=like.dtype, device=like.device)
            bent = (rotations[:, 1:] - eye).flatten(1)
            coefficients = torch.cat([betas.expand(batch, -1), bent], 1)
        return Articulation(coefficients, transforms, joints, transl)

    def skinned(self, posed: Articulation) -> Tensor:
        """Vertices ``(B, V, 3)`` of what :meth:`articulate` gave."""
        batch = len(posed.transforms)
        offsets = posed.coefficients @ self.blend_planes.flatten(1)
        shaped = self.v_template.T + offsets.unflatten(1, (3, -1))  # (B, 3, V)
        moved = skin(
            shaped.expand(batch, -1, -1),
            posed.transforms,
            self.weight_planes,
            posed.transl.expand(batch, -1),
        )
        return moved.transpose(1, 2)  # the planes stay apart in memory

    def restrict_to(self, vertex_ids: Sequence[int] | Tensor) -> SMPL:
        """The same body giving only these vertices, in this order: for regressors that touch few.

        Its ``vertex_ids`` are those given. Its ``faces`` are those of the whole body and do not
        index its vertices.

        Raises:
            ValueError: If an id is not a vertex of this body, or there is none.
        """
        ids = torch.as_tensor(vertex_ids, dtype=torch.long, device=self.v_template.device)
        if ids.dim() != 1 or ids.numel() == 0 or ids.min() < 0 or ids.max() >= self.num_vertices:
            limits = f'; they span {ids.min()} to {ids.max()}' if ids.numel() else ''
            raise ValueError(
                f'vertex_ids: expected a list of numbers in [0, {self.num_vertices}), found '
                f'shape {tuple(ids.shape)}{limits}'
            )
        part = object.__new__(SMPL)
        nn.Module.__init__(part)
        for name in ('name', 'path', 'gender', 'num_betas', 'faces', 'parents'):
            setattr(part, name, getattr(self, name))
        part.has_pose_blend_shapes = self.has_pose_blend_shapes
        buffers = dict(self.named_buffers())
        for name in ('blend_planes', 'weight_planes'):
            buffers[name] = buffers[name][..., ids]
        buffers.update(v_template=self.v_template[ids], vertex_ids=ids)
        for name in self._buffers:
            part.register_buffer(name, buffers.get(name), persistent=False)
        part.tree = KinematicTree(self.parents).to(ids.device)
        return part

    def _rotations(self, name: str, pose: Tensor | None, count: int) -> Tensor:
        """Any representation to matrices (B, count, 3, 3)."""
        if pose is None:
            eye = torch.eye(3, dtype=self.v_template.dtype, device=self.v_template.device)
            return eye.expand(1, count, 3, 3)
        shape = tuple(pose.shape[1:])
        if shape == (count, 3, 3) or (count == 1 and shape == (3, 3)):
            return pose.reshape(-1, count, 3, 3)
        if shape in ((count * 3,), (count, 3)):
            return axis_angle_to_matrix(pose.reshape(-1, count, 3))
        if shape in ((count * 6,), (count, 6)):
            return rotation_6d_to_matrix(pose.reshape(-1, count, 6))
        raise ValueError(
            f'{name}: expected axis-angle (B, {3 * count}) or (B, {count}, 3), matrices '
            f'(B, {count}, 3, 3), or 6D (B, {6 * count}) or (B, {count}, 6); found '
            f'{tuple(pose.shape)}'
        )


def _batch_size(**parts: Tensor) -> int:
    """The one batch size other than one."""
    sizes = {name: part.shape[0] for name, part in parts.items()}
    distinct = sorted(set(sizes.values()) - {1})
    if len(distinct) > 1:
        raise ValueError(f'batch sizes differ: {sizes}; expected one size, or 1')
    return distinct[0] if distinct else 1


def load_smpl_file(path: str | Path) -> dict[str, Any]:
    """Arrays of a file in SMPL's format, checked: float64 and, for ``f``, int64.

    Keys: ``v_template`` (V, 3), ``shapedirs`` (V, 3, S), ``posedirs`` (V, 3, 207), ``weights``
    (V, 24), ``J_regressor`` (24, V), ``f`` (F, 3), and ``parents``, a list of 24.

    Raises:
        FileNotFoundError, DataError: as :class:`SMPL` says.
    """
    path = Path(path)
    if path.suffix == '.npz':
        raw: Any = read_npz(path)
    elif path.suffix == '.pkl':
        raw = read_pickle(path)
        if not isinstance(raw, dict):
            raise DataError(f'{path}: holds a {type(raw).__name__}, expected a dict of arrays')
    else:
        raise DataError(f'{path}: expected a .pkl or .npz file')

    def array(key: str, *shape: int | None) -> np.ndarray:
        if key not in raw:
            raise DataError(f"{path}: has no '{key}'; it holds {sorted(map(str, raw))}")
        return check_array(f'{path}: {key}', raw[key], shape)

    template = array('v_template', None, 3)
    count = len(template)
    faces = array('f', None, 3).astype(np.int64)
    if not count or not len(faces):
        raise DataError(f'{path}: found {count} vertices and {len(faces)} faces')
    if faces.min() < 0 or faces.max() >= count:
        raise DataError(f"{path}: 'f' names vertices outside [0, {count})")
    tree = array('kintree_table', 2, NUM_JOINTS)
    parents = [-1] + [int(parent) for parent in tree[0, 1:]]
    if any(not 0 <= parent < child for child, parent in enumerate(parents) if child):
        raise DataError(f"{path}: 'kintree_table' is no tree with parents first: {parents}")
    return dict(
        v_template=template,
        shapedirs=array('shapedirs', count, 3, None),
        posedirs=array('posedirs', count, 3, 9 * (NUM_JOINTS - 1)),
        weights=array('weights', count, NUM_JOINTS),
        J_regressor=array('J_regressor', NUM_JOINTS, count),
        f=faces,
        parents=parents,
    )


def find_smpl_file(model_path: str | Path, gender: str = 'neutral') -> Path:
    """The file that :class:`SMPL` reads.

    Raises:
        ValueError: the gender is none of the three.
        FileNotFoundError: there is none; says which names were tried.
    """
    if gender not in _GENDERS:
        raise ValueError(f'gender: found {gender!r}, expected one of {_GENDERS}')
    path = Path(model_path).expanduser()
    if path.suffix in ('.pkl', '.npz'):
        if not path.is_file():
            raise FileNotFoundError(f'{path}: no such file')
        return path
    tried = [
        folder / f'SMPL_{gender.upper()}{suffix}'
        for folder in (path, path / 'smpl')
        for suffix in ('.pkl', '.npz')
    ]
    for candidate in tried:
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f'{path}: no SMPL file for gender {gender!r}; tried {[str(p) for p in tried]}. '
        'SMPL is at https://smpl.is.tue.mpg.de (registration); the free body needs no file: '
        "body_model=dict(type='FreeBody')"
    )
