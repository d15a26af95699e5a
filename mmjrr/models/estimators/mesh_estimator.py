"""Base class of SPIN, VIBE and MEVA: MMEngine's model interface, and loading of checkpoints."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmjrr.io import weights_of
from mmjrr.models.losses import MeshLoss
from mmjrr.registry import BODY_MODELS

from .released_weights import load_weights, translate

#: Fields of data samples that losses compare with.
_TARGETS = (
    'global_orient', 'body_pose', 'betas', 'keypoints_3d', 'keypoints_3d_weight', 'keypoints_2d',
    'keypoints_2d_weight',
)  # fmt: skip


class MeshEstimator(BaseModel):
    """Estimator of SMPL parameters from images or image features.

    In predict mode it adds these fields to the data samples: rotation matrices
    ``pred_global_orient`` (3, 3) and ``pred_body_pose`` (23, 3, 3); ``pred_betas`` (10,);
    ``pred_camera`` (3,), SPIN's (s, tx, ty) on the crop; and, with ``body_model``,
    ``pred_vertices`` (V, 3) in meters.

    ``load_state_dict`` accepts weights under the authors' names or the model's own, and refuses
    weights that do not fit exactly; its message lists those that are missing, unexpected or of
    another shape. It ignores SMPL's arrays in a checkpoint.

    Args:
        checkpoint: File of the weights, see :func:`load_weights`. Default: None.
        body_model: Config of the body that computes ``pred_vertices``. Default: None, only
            parameters.
        loss: Arguments of :class:`~mmjrr.models.losses.MeshLoss`, with which the model is trained.
            Default: None, the model cannot be trained.
        data_preprocessor: As in MMEngine.
        init_cfg: As in MMEngine.
    """

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        body_model: dict[str, Any] | None = None,
        loss: dict[str, Any] | None = None,
        data_preprocessor: dict[str, Any] | nn.Module | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.body_model = None if body_model is None else BODY_MODELS.build(body_model)
        if self.body_model is not None:
            self.body_model.requires_grad_(False)
        self.mesh_loss = None if loss is None else MeshLoss(**loss)
        if self.mesh_loss is not None and self.mesh_loss.needs_vertices and body_model is None:
            raise ValueError('body_model: found None, expected the body that joints belong to')
        self._checkpoint = checkpoint
        self._register_load_state_dict_pre_hook(self._take_weights)

    def load_checkpoint(self) -> None:
        """Load the checkpoint, if there is one; subclasses call this last in ``__init__``."""
        if self._checkpoint is not None:
            load_weights(self, self._checkpoint)

    # -- defined by each model -------------------------------------------------------------------

    @abstractmethod
    def estimate(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Estimate the bodies of images.

        Args:
            inputs: ``img`` (N, 3, 224, 224) or (B, T, 3, 224, 224), normalized; or ``features``
                (N, 2048) or (B, T, 2048).

        Returns:
            ``rotations`` (N, 24, 3, 3), ``betas`` (N, 10) and ``camera`` (N, 3); B sequences of T
            frames are flattened to N = B * T rows.
        """

    @abstractmethod
    def rename(self, name: str) -> str | None:
        """Return the model's name of a weight in the checkpoint; None to ignore it."""

    def optional_weights(self) -> Iterable[str]:
        """Return the names of weights that a checkpoint may omit."""
        return ()

    # -- MMEngine's interface --------------------------------------------------------------------

    def forward(
        self,
        inputs: dict[str, Any],
        data_samples: Sequence[BaseDataElement] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Estimate the bodies of images.

        Args:
            inputs: As in :meth:`estimate`; lists of tensors are stacked.
            data_samples: One per frame, for the mode 'predict'.
            mode: 'tensor', 'predict', or, for a model with ``loss``, 'loss'. Data samples then have
                the fits and annotated joints of each frame (see
                :class:`~mmjrr.datasets.PackMeshInputs`), and ``inputs`` masks for a loss of
                silhouettes. Masks are crops of the dataset's box, so ``CropPerson`` must keep it.

        Returns:
            The dict of :meth:`estimate` in the mode 'tensor', the data samples in 'predict', losses
            by name in 'loss'.

        Raises:
            ValueError: ``mode`` is another, the inputs are no images or features, or the number of
                data samples is not that of the frames.
        """
        if mode not in ('tensor', 'predict', 'loss'):
            raise ValueError(f"mode: found {mode!r}, expected 'tensor', 'predict' or 'loss'")
        if mode == 'loss' and self.mesh_loss is None:
            raise ValueError(
                f"mode: found 'loss', but {type(self).__name__} was built without loss=dict(...)"
            )
        estimates = self.estimate(_stacked(inputs))
        if self.body_model is not None:
            rotations = estimates['rotations']
            estimates['vertices'] = self.body_model(
                global_orient=rotations[:, :1], body_pose=rotations[:, 1:], betas=estimates['betas']
            ).vertices
        if mode == 'tensor':
            return estimates
        count = len(estimates['betas'])
        if data_samples is None or len(data_samples) != count:
            raise ValueError(
                f'data_samples: found {"none" if data_samples is None else len(data_samples)}, '
                f'expected {count}, one per frame'
            )
        if mode == 'loss':
            assert self.mesh_loss is not None
            targets = self._targets(inputs, data_samples, self.mesh_loss.image_size)
            faces = None if self.body_model is None else self.body_model.faces
            losses: dict[str, Tensor] = self.mesh_loss(estimates, targets, faces)
            return losses
        for number, sample in enumerate(data_samples):
            sample.set_field(estimates['rotations'][number, 0], 'pred_global_orient')
            sample.set_field(estimates['rotations'][number, 1:], 'pred_body_pose')
            for name in ('betas', 'camera', 'vertices'):
                if name in estimates:
                    sample.set_field(estimates[name][number], f'pred_{name}')
        return list(data_samples)

    def _targets(
        self, inputs: dict[str, Any], data_samples: Sequence[BaseDataElement], image_size: int
    ) -> dict[str, Tensor]:
        """Stack what the losses compare with, in pixels of the crop."""
        device = next(self.parameters()).device
        targets = {
            name: torch.stack([getattr(sample, name) for sample in data_samples]).to(device)
            for name in _TARGETS
            if name in data_samples[0]
        }
        for name in ('mask', 'mask_box', 'mask_cells'):
            if name in inputs:
                targets[name] = torch.stack(list(inputs[name])).to(device)
        boxes = [torch.as_tensor(sample.box, dtype=torch.float32) for sample in data_samples]
        box = torch.stack(boxes).to(device)
        scale = image_size / (box[:, 2:] - box[:, :2])
        if 'keypoints_2d' in targets:
            corner = box[:, None, :2]
            targets['keypoints_2d'] = (targets['keypoints_2d'] - corner) * scale[:, None]
        if 'mask_box' in targets:
            targets['mask_box'] = (targets['mask_box'] - box[:, [0, 1, 0, 1]]) * scale.repeat(1, 2)
        return targets

    def _take_weights(self, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        """Rename and check weights before they are loaded, by this module or by MMEngine."""
        weights = {
            name[len(prefix) :]: state_dict.pop(name)
            for name in list(state_dict)
            if name.startswith(prefix)
        }
        expected = dict(self.state_dict())
        optional = {name for name in expected if name.endswith('num_batches_tracked')}
        optional.update(self.optional_weights())
        translated = translate(
            weights_of(weights, type(self).__name__), expected, self.rename, optional
        )
        for name, value in expected.items():
            state_dict[prefix + name] = translated.get(name, value)


def _stacked(inputs: dict[str, Any]) -> dict[str, Tensor]:
    """Stack lists of tensors, and check the number of dimensions.

    Raises:
        ValueError: There are no images or features, or they have another number of dimensions.
    """
    dims_of = {'img': (4, 5), 'features': (2, 3)}
    if not isinstance(inputs, dict) or not set(inputs) & set(dims_of):
        content = sorted(inputs) if isinstance(inputs, dict) else type(inputs).__name__
        raise ValueError(f"inputs: found {content}, expected a dict with 'img' or 'features'")
    stacked = {}
    for name, dims in dims_of.items():
        if name not in inputs:
            continue
        value = inputs[name]
        value = torch.stack(list(value)) if isinstance(value, (list, tuple)) else value
        if value.dim() not in dims:
            raise ValueError(
                f'inputs: {name}: found shape {tuple(value.shape)}, expected {dims[0]} dimensions, '
                f'or {dims[1]} for sequences'
            )
        stacked[name] = value
    return stacked
