"""SMPL-H and SMPL-X, which add hands and a face to SMPL's body.

Romero et al., "Embodied Hands", SIGGRAPH Asia 2017; Pavlakos et al., "Expressive Body Capture: 3D
Hands, Face, and Body from a Single Image", CVPR 2019. Every field has the meaning that smplx gives
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mmjrr.array_types import Array
from mmjrr.body_models.skinned_body import Articulation
from mmjrr.body_models.smpl import SMPL
from mmjrr.body_models.smpl_files import NUM_HAND_JOINTS
from mmjrr.errors import DataError
from mmjrr.registry import BODY_MODELS

#: Numbers of shape and expression components of SMPL-X's large files, betas first. Smaller files
#: have ten of each.
_NUM_BETAS, _NUM_EXPRESSION, _NUM_FEW = 300, 100, 10


@BODY_MODELS.register_module()
class SMPLH(SMPL):
    """SMPL-H: SMPL's body of 21 rotations, and 15 rotations for each hand.

    Vertices and joints equal those of ``smplx.SMPLH`` for the same arguments of ``forward``.
    Axis-angle rotations and principal components of a hand are relative to the hand's mean pose
    unless ``flat_hand_mean`` is set; matrices and 6D rotations are complete.

    Args:
        model_path: As for :class:`SMPL`.
        gender: As for :class:`SMPL`.
        num_betas: As for :class:`SMPL`.
        dtype: As for :class:`SMPL`.
        use_pca: Whether ``left_hand_pose`` and ``right_hand_pose`` may be principal components
            (B, num_pca_comps). Default: True.
        num_pca_comps: Number of principal components of each hand. Default: 6.
        flat_hand_mean: Whether a hand's zero pose is flat instead of its mean pose. Default: False.
        age: As for :class:`SMPL`.
        kid_template_path: As for :class:`SMPL`.

    Raises:
        FileNotFoundError: As for :class:`SMPL`.
        DataError: As for :class:`SMPL`, or the file lacks the hands' components or mean poses.
        ValueError: As for :class:`SMPL`, or ``num_pca_comps`` is not between 1 and the file's
            number of components.
    """

    name: str = 'smplh'
    kind: ClassVar[str] = 'smplh'
    ROTATIONS: ClassVar[Mapping[str, int]] = {
        'global_orient': 1,
        'body_pose': 21,
        'left_hand_pose': NUM_HAND_JOINTS,
        'right_hand_pose': NUM_HAND_JOINTS,
    }

    left_hand_mean: Tensor
    right_hand_mean: Tensor
    left_hand_components: Tensor | None
    right_hand_components: Tensor | None

    def __init__(
        self,
        model_path: str | Path,
        gender: str = 'neutral',
        num_betas: int = 10,
        dtype: torch.dtype = torch.float32,
        use_pca: bool = True,
        num_pca_comps: int = 6,
        flat_hand_mean: bool = False,
        age: str = 'adult',
        kid_template_path: str | Path | None = None,
    ) -> None:
        nn.Module.__init__(self)
        arrays = self._load(model_path, gender, num_betas, dtype, age, kid_template_path)
        self._set_hands(arrays, use_pca, num_pca_comps, flat_hand_mean, dtype)

    def _set_hands(
        self,
        arrays: Mapping[str, Any],
        use_pca: bool,
        num_pca_comps: int,
        flat_hand_mean: bool,
        dtype: torch.dtype,
    ) -> None:
        """Set the hands' mean poses and principal components from a file's arrays."""
        path = self.path
        for side in ('left', 'right'):
            mean, components = arrays.get(f'hands_mean{side[0]}'), None
            if flat_hand_mean:
                mean = np.zeros(3 * NUM_HAND_JOINTS)
            if mean is None:
                raise DataError(
                    f'{path}: hands_mean{side[0]}: missing; flat_hand_mean=True needs none'
                )
            if use_pca:
                components = arrays.get(f'hands_components{side[0]}')
                if components is None:
                    raise DataError(
                        f'{path}: hands_components{side[0]}: missing; use_pca=False needs none'
                    )
                if not 1 <= num_pca_comps <= len(components):
                    raise ValueError(
                        f'num_pca_comps: found {num_pca_comps}, expected 1 to {len(components)}, '
                        f'the components of {path}'
                    )
                components = torch.tensor(components[:num_pca_comps], dtype=dtype)
            self.register_buffer(
                f'{side}_hand_mean', torch.tensor(mean, dtype=dtype), persistent=False
            )
            self.register_buffer(f'{side}_hand_components', components, persistent=False)

    def articulate(
        self,
        betas: Tensor | None = None,
        body_pose: Tensor | None = None,
        global_orient: Tensor | None = None,
        transl: Tensor | None = None,
        left_hand_pose: Tensor | None = None,
        right_hand_pose: Tensor | None = None,
    ) -> Articulation:
        """Pose the joints without computing vertices.

        Arguments of batch size 1 are broadcast. Rotations may be axis-angle, matrices or 6D in the
        shapes that :meth:`SMPL.articulate` accepts.

        Args:
            betas: (B, num_betas). Default: zeros.
            body_pose: 21 rotations. Default: the T-pose.
            global_orient: One rotation. Default: no rotation.
            transl: (B, 3), meters. Default: zeros.
            left_hand_pose: 15 rotations or principal components (B, num_pca_comps). Default: the
                hand's mean pose.
            right_hand_pose: The same for the right hand.

        Raises:
            ValueError: An argument has another shape, or batch sizes differ.
        """
        return self._articulate(
            betas,
            transl,
            dict(
                global_orient=global_orient,
                body_pose=body_pose,
                left_hand_pose=left_hand_pose,
                right_hand_pose=right_hand_pose,
            ),
        )

    def _rotations(self, name: str, pose: Tensor | None, count: int) -> Tensor:
        """Convert rotations to matrices (B, count, 3, 3); a hand's are completed by its mean."""
        if not name.endswith('hand_pose'):
            return super()._rotations(name, pose, count)
        side = name.split('_')[0]
        mean = self.get_buffer(f'{side}_hand_mean')
        components: Tensor | None = getattr(self, f'{side}_hand_components')
        if pose is None:
            pose = mean[None]
        elif components is not None and pose.dim() == 2 and pose.shape[1] == len(components):
            pose = pose @ components + mean
        elif pose.shape[1:] in ((3 * count,), (count, 3)):
            pose = pose.flatten(1) + mean
        try:
            return super()._rotations(name, pose, count)
        except ValueError as error:
            hint = '' if components is None else f', or principal components (B, {len(components)})'
            raise ValueError(f'{error}{hint}') from error


@BODY_MODELS.register_module()
class SMPLX(SMPLH):
    """SMPL-X: SMPL-H's body and hands on another mesh, with jaw, eyes and expression.

    Vertices and joints equal those of ``smplx.SMPLX`` for the same arguments of ``forward``, but
    only the 55 joints of the kinematic tree are returned.

    Args:
        model_path: As for :class:`SMPL`.
        gender: As for :class:`SMPL`.
        num_betas: Number of shape coefficients: at most 300 with files of 400 components, 10 with
            smaller files. Default: 10.
        num_expression_coeffs: Number of expression coefficients: at most 100 or 10. Default: 10.
        dtype: As for :class:`SMPL`.
        use_pca: As for :class:`SMPLH`.
        num_pca_comps: As for :class:`SMPLH`.
        flat_hand_mean: As for :class:`SMPLH`.
        age: As for :class:`SMPL`.
        kid_template_path: As for :class:`SMPL`.

    Raises:
        FileNotFoundError: As for :class:`SMPLH`.
        DataError: As for :class:`SMPLH`.
        ValueError: As for :class:`SMPLH`, or the file has fewer expression components.
    """

    name: str = 'smplx'
    kind: ClassVar[str] = 'smplx'
    ROTATIONS: ClassVar[Mapping[str, int]] = {
        'global_orient': 1,
        'body_pose': 21,
        'jaw_pose': 1,
        'leye_pose': 1,
        'reye_pose': 1,
        'left_hand_pose': NUM_HAND_JOINTS,
        'right_hand_pose': NUM_HAND_JOINTS,
    }

    def __init__(
        self,
        model_path: str | Path,
        gender: str = 'neutral',
        num_betas: int = 10,
        num_expression_coeffs: int = 10,
        dtype: torch.dtype = torch.float32,
        use_pca: bool = True,
        num_pca_comps: int = 6,
        flat_hand_mean: bool = False,
        age: str = 'adult',
        kid_template_path: str | Path | None = None,
    ) -> None:
        nn.Module.__init__(self)
        arrays = self._load(
            model_path, gender, num_betas, dtype, age, kid_template_path, num_expression_coeffs
        )
        self._set_hands(arrays, use_pca, num_pca_comps, flat_hand_mean, dtype)

    @staticmethod
    def _split_components(shapedirs: Array) -> tuple[Array, Array]:
        """Return the components (V, 3, S) of shape and those of expression."""
        if shapedirs.shape[2] < _NUM_BETAS + _NUM_EXPRESSION:
            return shapedirs[:, :, :_NUM_FEW], shapedirs[:, :, _NUM_FEW : 2 * _NUM_FEW]
        end = _NUM_BETAS + _NUM_EXPRESSION
        return shapedirs[:, :, :_NUM_BETAS], shapedirs[:, :, _NUM_BETAS:end]

    def articulate(
        self,
        betas: Tensor | None = None,
        body_pose: Tensor | None = None,
        global_orient: Tensor | None = None,
        transl: Tensor | None = None,
        left_hand_pose: Tensor | None = None,
        right_hand_pose: Tensor | None = None,
        expression: Tensor | None = None,
        jaw_pose: Tensor | None = None,
        leye_pose: Tensor | None = None,
        reye_pose: Tensor | None = None,
    ) -> Articulation:
        """Pose the joints without computing vertices.

        The first six arguments are as in :meth:`SMPLH.articulate`.

        Args:
            betas: Shape coefficients.
            body_pose: 21 rotations.
            global_orient: One rotation.
            transl: Translation.
            left_hand_pose: 15 rotations or principal components.
            right_hand_pose: The same for the right hand.
            expression: (B, num_expression_coeffs). Default: zeros.
            jaw_pose: One rotation. Default: no rotation.
            leye_pose: One rotation, of the left eye. Default: no rotation.
            reye_pose: One rotation, of the right eye. Default: no rotation.

        Raises:
            ValueError: An argument has another shape, or batch sizes differ.
        """
        return self._articulate(
            betas,
            transl,
            dict(
                global_orient=global_orient,
                body_pose=body_pose,
                jaw_pose=jaw_pose,
                leye_pose=leye_pose,
                reye_pose=reye_pose,
                left_hand_pose=left_hand_pose,
                right_hand_pose=right_hand_pose,
            ),
            expression,
        )
