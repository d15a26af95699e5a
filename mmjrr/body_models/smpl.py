"""The SMPL body model, which also loads other bodies in SMPL's file format.

Loper et al., "SMPL: A Skinned Multi-Person Linear Model", SIGGRAPH Asia 2015. SMPL-H and SMPL-X, in
:mod:`mmjrr.body_models.smplh`, derive from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import Array
from mmjrr.body_models.lbs import KinematicTree
from mmjrr.body_models.skinned_body import Articulation, SkinnedBody, batch_size, check_width
from mmjrr.body_models.smpl_files import find_smpl_file, load_smpl_file
from mmjrr.errors import DataError
from mmjrr.frame_products import product
from mmjrr.io import check_array, read_npy
from mmjrr.registry import BODY_MODELS


@BODY_MODELS.register_module()
class SMPL(SkinnedBody):
    """SMPL body model that accepts poses as axis-angle, matrices or 6D vectors.

    Vertices and joints equal those of ``smplx.SMPL``, except that there are only the 24 joints:
    smplx's extra joints are vertices at SMPL's indices, which are meaningless on the free body.
    Pose blend shapes are skipped if all are zero. Only first-order gradients are available.

    Args:
        model_path: A ``.pkl`` or ``.npz`` file in SMPL's format, or a folder that holds such a file
            under an official name, see :func:`~mmjrr.body_models.find_smpl_file`.
        gender: ``'neutral'``, ``'male'`` or ``'female'``; selects the file of a folder. Default:
            ``'neutral'``.
        num_betas: Number of shape coefficients. Default: 10.
        dtype: Type of buffers and outputs. Default: ``torch.float32``.
        age: ``'adult'`` or ``'kid'``. A kid has one more shape coefficient, the last, which blends
            from the adult template (0) to the infant one (1), as in smplx. Default: ``'adult'``.
        kid_template_path: ``.npy`` file of the infant template SMIL, (V, 3) in meters; required for
            kids.

    Attributes:
        v_template: (V, 3), mean shape in T-pose: meters, x left, y up, z forward.
        faces: (F, 3) int64, NumPy; ``faces_tensor`` is the same as a buffer.
        vertex_ids: Vertices of the whole body that :meth:`restrict_to` kept; None for all.

    Raises:
        FileNotFoundError: There is no such file; the message lists the names that were tried.
        DataError: The file is broken or of another kind of body, an array is missing or has
            another shape, or a pickle names a type that is not admitted.
        ValueError: The gender is unknown, ``num_betas`` is less than 1 or exceeds the file's
            shape components, or ``age`` does not fit ``kid_template_path``.
    """

    #: Name by which joint regressors refer to the body; a regressor fits one body's vertices.
    name: str = 'smpl'
    #: Kind of the files, a key of :data:`mmjrr.body_models.smpl_files.KINDS`.
    kind: ClassVar[str] = 'smpl'
    #: Number of rotations in each argument, in the order of the joints.
    ROTATIONS: ClassVar[Mapping[str, int]] = {'global_orient': 1, 'body_pose': 23}

    joint_template: Tensor
    joint_shapedirs: Tensor

    def __init__(
        self,
        model_path: str | Path,
        gender: str = 'neutral',
        num_betas: int = 10,
        dtype: torch.dtype = torch.float32,
        age: str = 'adult',
        kid_template_path: str | Path | None = None,
    ) -> None:
        super().__init__()
        self._load(model_path, gender, num_betas, dtype, age, kid_template_path)

    def _load(
        self,
        model_path: str | Path,
        gender: str,
        num_betas: int,
        dtype: torch.dtype,
        age: str,
        kid_template_path: str | Path | None,
        num_expression_coeffs: int = 0,
    ) -> dict[str, Any]:
        """Read the file, set the body, and return the file's arrays."""
        path = find_smpl_file(model_path, gender, self.kind)
        arrays = load_smpl_file(path, self.kind)
        betas, expression = self._split_components(arrays['shapedirs'])
        betas = _checked_components(betas, num_betas, 'num_betas', path)
        if num_expression_coeffs:
            expression = _checked_components(
                expression, num_expression_coeffs, 'num_expression_coeffs', path
            )
        if age != 'adult' or kid_template_path is not None:
            betas = _with_kid(betas, arrays['v_template'], age, kid_template_path)
        self._set_body(path, gender, arrays, betas, expression[:, :, :num_expression_coeffs], dtype)
        self.age = age
        return arrays

    @staticmethod
    def _split_components(shapedirs: Array) -> tuple[Array, Array]:
        """Return the components (V, 3, S) of shape and those of expression."""
        return shapedirs, shapedirs[:, :, :0]

    def _set_body(
        self,
        path: Path | None,
        gender: str,
        arrays: Mapping[str, Any],
        betas: Array,  # (V, 3, num_betas)
        expression: Array,  # (V, 3, E)
        dtype: torch.dtype,
    ) -> None:
        """Set buffers and attributes.

        Args:
            path: File of the arrays; None if they come from no file.
            gender: Gender of the body.
            arrays: As :func:`~mmjrr.body_models.load_smpl_file` returns them.
            betas: Shape components to use.
            expression: Expression components to use.
            dtype: Type of the buffers.
        """
        self.path, self.gender, self.age = path, gender, 'adult'
        self.num_betas, self.num_expression_coeffs = betas.shape[2], expression.shape[2]
        self.faces: Array = arrays['f']  # (F, 3), int64
        self.parents: list[int] = arrays['parents']

        def buffer(name: str, array: Array) -> None:
            # torch.tensor keeps a transposed array's strides, and every flatten() would copy it.
            array = np.ascontiguousarray(array)
            self.register_buffer(name, torch.tensor(array, dtype=dtype), persistent=False)

        shapedirs = np.concatenate([betas, expression], axis=2)
        buffer('v_template', arrays['v_template'])  # (V, 3)
        blend_shapes = [shapedirs]
        self.has_pose_blend_shapes = bool(np.any(arrays['posedirs']))
        if self.has_pose_blend_shapes:
            blend_shapes.append(arrays['posedirs'])
        # Coordinates are stored as separate planes so that skinning reads contiguous memory:
        # (S, 3, V), or (S + 9 (K - 1), 3, V) with pose blend shapes.
        buffer('blend_planes', np.concatenate(blend_shapes, 2).transpose(2, 1, 0))
        buffer('weight_planes', arrays['weights'].T)  # (K, V)
        # Joints in T-pose are linear in betas, so they are computed without the vertices.
        regressor = arrays['J_regressor']
        buffer('joint_template', regressor @ arrays['v_template'])  # (K, 3)
        buffer('joint_shapedirs', np.einsum('jv,vck->kjc', regressor, shapedirs))  # (S, K, 3)
        self.register_buffer('faces_tensor', torch.from_numpy(self.faces), persistent=False)
        self.register_buffer('vertex_ids', None, persistent=False)
        self.tree = KinematicTree(self.parents)

    def articulate(
        self,
        betas: Tensor | None = None,
        body_pose: Tensor | None = None,
        global_orient: Tensor | None = None,
        transl: Tensor | None = None,
    ) -> Articulation:
        """Pose the joints without computing vertices (Loper et al., Equations 2 to 10).

        Arguments of batch size 1 are broadcast.

        Args:
            betas: (B, num_betas). Default: zeros.
            body_pose: 23 rotations: axis-angle (B, 69) or (B, 23, 3), matrices (B, 23, 3, 3), or 6D
                (B, 138) or (B, 23, 6). Default: the T-pose.
            global_orient: One rotation in any of these representations: (B, 3), (B, 3, 3) or
                (B, 6), or with an axis of length 1 before the rotation. Default: no rotation.
            transl: (B, 3), meters. Default: zeros.

        Raises:
            ValueError: An argument has another shape, or batch sizes differ.
        """
        pose = dict(global_orient=global_orient, body_pose=body_pose)
        return self._articulate(betas, transl, pose)

    def _articulate(
        self,
        betas: Tensor | None,  # (B or 1, num_betas)
        transl: Tensor | None,  # (B or 1, 3), meters
        pose: Mapping[str, Tensor | None],
        expression: Tensor | None = None,  # (B or 1, num_expression_coeffs)
    ) -> Articulation:
        """Pose the joints.

        Args:
            betas: Shape coefficients; None for zeros.
            transl: Translation; None for zeros.
            pose: Rotations by the names in :attr:`ROTATIONS`, in any representation.
            expression: Expression coefficients. Default: None, for zeros.
        """
        like = self.v_template
        shape = {'betas': like.new_zeros(1, self.num_betas) if betas is None else betas}
        transl = like.new_zeros(1, 3) if transl is None else transl
        check_width('betas', shape['betas'], self.num_betas)
        if self.num_expression_coeffs:
            if expression is None:
                expression = like.new_zeros(1, self.num_expression_coeffs)
            check_width('expression', expression, self.num_expression_coeffs)
            shape['expression'] = expression
        check_width('transl', transl, 3)
        rotations_of = {
            name: self._rotations(name, pose[name], count) for name, count in self.ROTATIONS.items()
        }
        batch = batch_size(**shape, **rotations_of, transl=transl)
        rotations = torch.cat(
            [part.expand(batch, -1, -1, -1) for part in rotations_of.values()], dim=1
        )
        size = batch_size(**shape)
        coefficients = torch.cat([part.expand(size, -1) for part in shape.values()], dim=1)

        joints = product(
            coefficients, self._matrix('joint_shapedirs'), self.joint_template.flatten()
        ).unflatten(1, (-1, 3))
        joints, transforms = self.tree(rotations, joints.expand(batch, -1, -1))
        if self.has_pose_blend_shapes:
            eye = torch.eye(3, dtype=like.dtype, device=like.device)
            pose_coefficients = (rotations[:, 1:] - eye).flatten(1)
            coefficients = torch.cat([coefficients.expand(batch, -1), pose_coefficients], 1)
        return Articulation(coefficients, transforms, joints, transl)


def _checked_components(shapedirs: Array, count: int, name: str, path: Path) -> Array:
    """Return the first ``count`` of a file's components (V, 3, S).

    Raises:
        ValueError: ``count`` is less than 1 or exceeds the components.
    """
    available = shapedirs.shape[2]
    if not 1 <= count <= available:
        kind = 'shape' if name == 'num_betas' else 'expression'
        raise ValueError(
            f'{name}: found {count}, expected 1 to {available}, the {kind} components of {path}'
        )
    return shapedirs[:, :, :count]


def _with_kid(
    shapedirs: Array, template: Array, age: str, kid_template_path: str | Path | None
) -> Array:
    """Append the shape component that leads from the adult to the infant template.

    The infant template is centered at the mean of its vertices, as in smplx.
    """
    if age not in ('adult', 'kid') or (age == 'kid') != (kid_template_path is not None):
        raise ValueError(
            f'age: found {age!r} with kid_template_path={kid_template_path!r}, expected age='
            "'adult', or age='kid' with the file of the infant template"
        )
    assert kid_template_path is not None
    if Path(kid_template_path).suffix != '.npy':
        raise DataError(f'{kid_template_path}: found another suffix, expected a .npy file')
    kid = check_array(str(kid_template_path), read_npy(kid_template_path), template.shape)
    difference = kid - kid.mean(0) - template
    return np.concatenate([shapedirs, difference[:, :, None]], axis=2)
