"""Loss of rendered silhouettes against person masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmjrr.array_types import Array
from mmjrr.geometry import PerspectiveCamera
from mmjrr.refinement import Observations, PosedBodies
from mmjrr.refinement.terms import SilhouetteTerm
from mmjrr.registry import BODY_MODELS, MODELS, RENDERERS
from mmjrr.rendering import SilhouetteRenderer


@MODELS.register_module()
class SilhouetteLoss(nn.Module):
    """Squared differences of silhouettes and person masks, in parts of the image's area.

    A sample whose body reaches behind the camera or nearer than the renderer's ``near`` cannot be
    drawn and has the loss 0, as happens early in the training of an estimator. So has a sample
    whose mask has no foreground.

    Args:
        faces: (F, 3) vertex indices of the body's triangles. Default: None, those of
            ``body_model``, or the ``faces`` of the first call.
        body_model: Config of the body whose faces are drawn. Default: None.
        renderer: Config of the renderer. Default: None, ``dict(type='ContourSilhouette')`` of 224 x
            224 pixels.
        levels: As in :class:`~mmjrr.refinement.terms.SilhouetteTerm`, and so are ``mask_cells``,
            ``gate`` and ``mask_blur``. Default: (1, 4).
        mask_cells: Default: None.
        gate: Default: False.
        mask_blur: Default: 0.
        loss_weight: Factor on the loss. Default: 1.

    Raises:
        ValueError: Both ``faces`` and ``body_model`` are given, or an option is wrong.

    Example:
        >>> loss = SilhouetteLoss(
        ...     faces=[[0, 1, 2]], renderer=dict(type='ContourSilhouette', image_size=(2, 2)),
        ...     levels=(1,))
        >>> camera = PerspectiveCamera([1.0, 1.0], [0.0, 0.0])
        >>> loss(torch.tensor([[[0.0, 0, 1], [2, 0, 1], [0, 2, 1]]]), torch.ones(1, 2, 2), camera)
        tensor(0.3750)
    """

    def __init__(
        self,
        faces: Tensor | Array | Sequence[Sequence[int]] | None = None,
        body_model: dict[str, Any] | None = None,
        renderer: dict[str, Any] | None = None,
        levels: Sequence[int] = (1, 4),
        mask_cells: int | None = None,
        gate: bool | str | Mapping[str, float] = False,
        mask_blur: float = 0.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if faces is not None and body_model is not None:
            raise ValueError('faces, body_model: found both, expected one of them')
        if body_model is not None:
            faces = BODY_MODELS.build(body_model).faces
        self.term = SilhouetteTerm(
            levels=levels, mask_cells=mask_cells, gate=gate, mask_blur=mask_blur
        )
        self.renderer_config = dict(renderer or dict(type='ContourSilhouette'))
        self.renderer: SilhouetteRenderer | None = None
        if faces is not None:
            self.renderer = self._make_renderer(faces)
        self.loss_weight = loss_weight

    def forward(
        self,
        vertices: Tensor,  # (B, V, 3), meters, camera frame
        mask: Tensor,  # (B, H, W), coverage in [0, 1]
        camera: PerspectiveCamera,
        keypoints_2d: Tensor | None = None,  # (B, 17, 2), pixels, MMPose's order
        keypoints_2d_weight: Tensor | None = None,  # (B, 17)
        mask_box: Tensor | None = None,  # (B, 4): x0, y0, x1, y1 in pixels
        mask_cells: Tensor | None = None,  # (B, N, N)
        faces: Tensor | Array | None = None,  # (F, 3)
    ) -> Tensor:  # ()
        """Return the loss.

        Args:
            vertices: Vertices of the predicted bodies.
            mask: Person masks, of the renderer's size.
            camera: Cameras that take vertices to the mask's pixels.
            keypoints_2d: Annotated joints; required with ``gate``.
            keypoints_2d_weight: Their weights. Default: None, 1.
            mask_box: Boxes of the mask head. Default: None, those around the masks.
            mask_cells: The mask head's probabilities in the cells of ``mask_box``. Default: None,
                means of the masks.
            faces: The body's triangles, for a loss that was built without; those of the first call
                are kept.

        Raises:
            ValueError: There are no faces, ``gate`` has no joints, or the mask has another size.
        """
        if self.renderer is None:
            if faces is None:
                raise ValueError(
                    "faces: found none, expected the body's triangles in the loss's config "
                    '(faces or body_model) or in its first call'
                )
            self.renderer = self._make_renderer(faces)
        renderer: SilhouetteRenderer = self.renderer.to(vertices.device)
        if mask.shape[1:] != renderer.image_size:
            raise ValueError(
                f'mask: found {tuple(mask.shape[1:])}, expected the size of the renderer, '
                f'{renderer.image_size}'
            )
        if self.term.gate and keypoints_2d is None:
            raise ValueError('keypoints_2d: found None, which gate needs')
        count = len(vertices)
        drawable = (vertices[..., 2] >= renderer.near).all(1)
        if not bool(drawable.any()):
            return 0 * vertices.sum()
        none = vertices.new_zeros(count, 0, 2)
        joints = none if keypoints_2d is None else keypoints_2d
        observed = Observations(
            keypoints_3d=none,
            keypoints_3d_weight=none[..., 0],
            keypoints_2d=joints[drawable],
            keypoints_2d_weight=(
                torch.ones_like(joints[..., 0])
                if keypoints_2d_weight is None
                else keypoints_2d_weight
            )[drawable],
            camera=camera if len(camera) == 1 else camera[drawable],
            mask=mask.to(vertices.dtype)[drawable],
            mask_box=None if mask_box is None else mask_box[drawable],
            mask_cells=None if mask_cells is None else mask_cells[drawable],
        )
        with torch.no_grad():
            observed = self.term.prepare(observed)
        bodies = PosedBodies(
            rotations=none,
            betas=none,
            transl=none,
            vertices=vertices[drawable],
            camera=observed.camera,
            image_size=(mask.shape[1], mask.shape[2]),
            renderer=renderer,
        )
        return self.loss_weight * self.term(bodies, observed).sum() / count

    def _make_renderer(self, faces: Any) -> SilhouetteRenderer:
        renderer: SilhouetteRenderer = RENDERERS.build(dict(self.renderer_config, faces=faces))
        self.term.check_image_size(renderer.image_size)
        return renderer
