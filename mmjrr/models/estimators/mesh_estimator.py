"""What SPIN, VIBE and MEVA have in common: how they sit in a Runner, and load weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmjrr.registry import BODY_MODELS

from .checkpoints import load_weights, translate, weights_of


class MeshEstimator(BaseModel):
    """SMPL parameters from images, or from image features.

    In predict mode data samples come back with ``pred_global_orient`` (3, 3) and
    ``pred_body_pose`` (23, 3, 3), rotation matrices; ``pred_betas`` (10,); ``pred_camera`` (3,),
    SPIN's (s, tx, ty) on the crop; and, with ``body_model``, ``pred_vertices`` (V, 3).

    ``load_state_dict`` takes weights under the authors' names or our own. Unless they fit exactly
    it refuses them, with the names of all that is missing, unexpected or of another shape. SMPL's
    arrays in a file are not used.

    Args:
        checkpoint: file of weights, see :func:`load_weights`. Default None.
        body_model: config of the body for ``pred_vertices``. Default None: parameters only.
        data_preprocessor, init_cfg: as in MMEngine.
    """

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        body_model: dict | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.body_model = None if body_model is None else BODY_MODELS.build(body_model)
        self._checkpoint = checkpoint
        self._register_load_state_dict_pre_hook(self._take_weights)

    def load_checkpoint(self) -> None:
        """Load what ``checkpoint`` named; to be called last in ``__init__``."""
        if self._checkpoint is not None:
            load_weights(self, self._checkpoint)

    # -- to be defined by each model -------------------------------------------------------------

    @abstractmethod
    def estimate(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Estimate the bodies of images.

        Returns ``rotations`` (N, 24, 3, 3), ``betas`` (N, 10) and ``camera`` (N, 3); sequences are
        flattened, sequence by sequence.

        Args:
            inputs: ``img`` (N, 3, 224, 224) or (B, T, 3, 224, 224), normalized; or ``features``
                (N, 2048) or (B, T, 2048).
        """

    @abstractmethod
    def rename(self, name: str) -> str | None:
        """Our name of a weight that a released file has, None if it is not needed."""

    def optional_weights(self) -> Iterable[str]:
        """Weights that a file need not have, as they are known otherwise."""
        return ()

    # -- MMEngine's interface --------------------------------------------------------------------

    def forward(
        self,
        inputs: dict[str, Any],
        data_samples: Sequence[BaseDataElement] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Estimates: tensors (mode 'tensor', see :meth:`estimate`), or data samples ('predict').

        Raises:
            ValueError: of another mode (there is nothing to train with), of inputs that are not
                images or features, or where data samples and frames differ in number.
        """
        if mode not in ('tensor', 'predict'):
            raise ValueError(f"mode: found {mode!r}, expected 'tensor' or 'predict'")
        found = self.estimate(_stacked(inputs))
        if self.body_model is not None:
            rotations = found['rotations']
            found['vertices'] = self.body_model(
                global_orient=rotations[:, :1], body_pose=rotations[:, 1:], betas=found['betas']
            ).vertices
        if mode == 'tensor':
            return found
        count = len(found['betas'])
        if data_samples is None or len(data_samples) != count:
            raise ValueError(
                f'data_samples: found {"none" if data_samples is None else len(data_samples)}, '
                f'expected {count}, one a frame'
            )
        for number, sample in enumerate(data_samples):
            sample.set_field(found['rotations'][number, 0], 'pred_global_orient')
            sample.set_field(found['rotations'][number, 1:], 'pred_body_pose')
            for name in ('betas', 'camera', 'vertices'):
                if name in found:
                    sample.set_field(found[name][number], f'pred_{name}')
        return list(data_samples)

    def _take_weights(self, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        """Before any loading, also MMEngine's own: our names, or an error."""
        given = {
            name[len(prefix) :]: state_dict.pop(name)
            for name in list(state_dict)
            if name.startswith(prefix)
        }
        expected = dict(self.state_dict())
        optional = {name for name in expected if name.endswith('num_batches_tracked')}
        optional.update(self.optional_weights())
        found = translate(weights_of(given, type(self).__name__), expected, self.rename, optional)
        for name, value in expected.items():
            state_dict[prefix + name] = found.get(name, value)


def _stacked(inputs: dict[str, Any]) -> dict[str, Tensor]:
    known = {'img': (4, 5), 'features': (2, 3)}
    if not isinstance(inputs, dict) or not set(inputs) & set(known):
        found = sorted(inputs) if isinstance(inputs, dict) else type(inputs).__name__
        raise ValueError(f"inputs: found {found}, expected a dict with 'img' or 'features'")
    stacked = {}
    for name, dims in known.items():
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
