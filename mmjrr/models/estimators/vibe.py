"""VIBE: SPIN's features, a GRU over the frames, SPIN's regressor.

Kocabas, Athanasiou and Black, "VIBE: Video Inference for Human Body Pose and Shape Estimation",
CVPR 2020, Section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmjrr.geometry import rotation_6d_to_matrix
from mmjrr.io import read_checkpoint, weights_of
from mmjrr.registry import MODELS

from .checkpoints import translate
from .hmr import (
    FEATURES,
    MEAN_PARAMS,
    IterativeRegressor,
    ResNet50Features,
    image_features,
    rename_hmr,
)
from .mesh_estimator import MeshEstimator


class TemporalEncoder(nn.Module):
    """A GRU over frames, and a linear layer behind it.

    Args:
        num_layers: of the GRU.
        hidden_size: of the GRU, each direction.
        out_size: of the linear layer.
        activation: before the linear layer.
        bidirectional: whether the GRU goes both ways.
        linear: whether there is a linear layer; a bidirectional GRU always has one.
        residual: whether the features are added to the result, where it is as wide.
    """

    def __init__(
        self,
        num_layers: int,
        hidden_size: int,
        out_size: int,
        activation: Callable[[Tensor], Tensor],
        bidirectional: bool,
        linear: bool,
        residual: bool,
    ) -> None:
        super().__init__()
        # Frames first, as in the original: in another order float32 rounds otherwise, and where a
        # rotation's two columns are nearly parallel, a last digit is worth 1e-4.
        self.gru = nn.GRU(FEATURES, hidden_size, num_layers, bidirectional=bidirectional)
        width = hidden_size * (2 if bidirectional else 1)
        self.linear = nn.Linear(width, out_size) if linear or bidirectional else None
        self.activation = activation
        self.residual = residual and (self.linear is None or out_size == FEATURES)
        self.out_size = width if self.linear is None else out_size
        if self.residual and self.out_size != FEATURES:
            self.residual = False

    def forward(self, features: Tensor) -> Tensor:  # (B, T, 2048) -> (B, T, out_size)
        """Encode sequences of image features."""
        features = features.transpose(0, 1)
        out, _ = self.gru(features)
        if self.linear is not None:
            out = self.linear(self.activation(out).flatten(0, 1)).unflatten(0, out.shape[:2])
        return (out + features if self.residual else out).transpose(0, 1)


class VideoEstimator(MeshEstimator):
    """What VIBE and MEVA share: features of SPIN's network, and sequences of one or more frames.

    Args:
        mean_params: SPIN's ``smpl_mean_params.npz``. Default None: the checkpoint has it.
        pretrained_features: SPIN's ``model_checkpoint.pt``, for image features. Default None:
            the model takes features only.
        kwargs: as :class:`MeshEstimator` has them.
    """

    def __init__(
        self,
        mean_params: str | Path | None = None,
        pretrained_features: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.has_mean_params = mean_params is not None
        self.backbone: nn.Module | None = None
        if pretrained_features is not None:
            self.backbone = load_features(pretrained_features)
        self.regressor = IterativeRegressor(mean_params)

    def estimate(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Estimate the body of each frame."""
        features = image_features(self.backbone, inputs)
        if features.dim() == 2:  # frames are sequences of one
            features = features[:, None]
        return self.estimate_sequences(features)

    def estimate_sequences(self, features: Tensor) -> dict[str, Tensor]:
        """Estimate bodies from features (B, T, 2048), sequence by sequence."""
        raise NotImplementedError

    def rename(self, name: str) -> str | None:
        """Return the name here of a weight in the checkpoint; None to ignore it."""
        return None if name.startswith(('smpl.', 'regressor.smpl.')) else name

    def optional_weights(self) -> list[str]:
        """Return the names of weights that a checkpoint may omit."""
        names = [f'regressor.{name}' for name in MEAN_PARAMS] if self.has_mean_params else []
        if self.backbone is not None:  # loaded before, from SPIN's file
            names += [f'backbone.{name}' for name in self.backbone.state_dict()]
        return names


@MODELS.register_module()
class VIBE(VideoEstimator):
    """VIBE; takes ``vibe_model_wo_3dpw.pth.tar`` and ``vibe_model_w_3dpw.pth.tar``.

    Args:
        num_layers, hidden_size, bidirectional, add_linear, use_residual: of the GRU, as VIBE's
            configs have them. The defaults are those of the released models.
        kwargs: as :class:`VideoEstimator` has them.
    """

    def __init__(
        self,
        num_layers: int = 2,
        hidden_size: int = 1024,
        bidirectional: bool = False,
        add_linear: bool = True,
        use_residual: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.encoder = TemporalEncoder(
            num_layers, hidden_size, FEATURES, torch.relu, bidirectional, add_linear, use_residual
        )
        if self.encoder.out_size != FEATURES:
            raise ValueError(
                f'hidden_size: found {hidden_size} without a linear layer, expected {FEATURES}, '
                'the width of the features, or add_linear=True'
            )
        self.load_checkpoint()

    def estimate_sequences(self, features: Tensor) -> dict[str, Tensor]:
        """Estimate bodies from features (B, T, 2048) with VIBE's encoder."""
        pose, betas, camera = self.regressor(self.encoder(features).flatten(0, 1))
        return dict(
            rotations=rotation_6d_to_matrix(pose.unflatten(1, (24, 6))), betas=betas, camera=camera
        )


def load_features(path: str | Path) -> ResNet50Features:
    """Load the feature network from SPIN's ``model_checkpoint.pt``.

    Raises:
        FileNotFoundError, DataError: as :func:`load_weights` says.
    """
    backbone = ResNet50Features()
    weights = weights_of(read_checkpoint(path), str(path))

    def rename(name: str) -> str | None:
        ours = rename_hmr(name)
        return ours.removeprefix('backbone.') if ours and ours.startswith('backbone.') else None

    own = backbone.state_dict()
    optional = [name for name in own if name.endswith('num_batches_tracked')]
    backbone.load_state_dict({**own, **translate(weights, own, rename, optional)})
    return backbone
