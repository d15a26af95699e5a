"""VIBE, which applies a GRU over the frames between SPIN's features and SPIN's regressor.

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

from .hmr import (
    FEATURES,
    MEAN_PARAMS,
    IterativeRegressor,
    ResNet50Features,
    image_features,
    rename_hmr,
)
from .mesh_estimator import MeshEstimator
from .released_weights import translate


class TemporalEncoder(nn.Module):
    """GRU over frames, followed by a linear layer.

    Args:
        num_layers: Number of layers of the GRU.
        hidden_size: Width of the GRU, in each direction.
        out_size: Width of the linear layer.
        activation: Activation before the linear layer.
        bidirectional: Whether the GRU is bidirectional.
        linear: Whether there is a linear layer; a bidirectional GRU always has one.
        residual: Whether to add the features to the result, if it has the same width.
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
        # The frames' axis is first, as in the original code. Another order rounds differently, and
        # nearly parallel columns of 6D rotations amplify a last digit to 1e-4.
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
    """Base class of VIBE and MEVA: SPIN's image features, and sequences of one or more frames.

    Args:
        mean_params: SPIN's ``smpl_mean_params.npz``. Default: None, taken from the checkpoint.
        pretrained_features: SPIN's ``model_checkpoint.pt``, for image features. Default: None, the
            model accepts only features.
        kwargs: Arguments of :class:`MeshEstimator`.
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
        if features.dim() == 2:  # each frame is a sequence of length one
            features = features[:, None]
        return self.estimate_sequences(features)

    def estimate_sequences(self, features: Tensor) -> dict[str, Tensor]:
        """Estimate bodies from features (B, T, 2048), sequence by sequence."""
        raise NotImplementedError

    def rename(self, name: str) -> str | None:
        """Return the model's name of a weight in the checkpoint; None to ignore it."""
        if name.startswith('hmr.'):  # SPIN's network, of which the features alone are used
            new_name = rename_hmr(name)
            is_used = self.backbone is not None and (new_name or '').startswith('backbone.')
            return new_name if is_used else None
        return None if name.startswith(('smpl.', 'regressor.smpl.')) else name

    def optional_weights(self) -> list[str]:
        """Return the names of weights that a checkpoint may omit."""
        names = [f'regressor.{name}' for name in MEAN_PARAMS] if self.has_mean_params else []
        if self.backbone is not None:  # its weights are those of pretrained_features
            names += [f'backbone.{name}' for name in self.backbone.state_dict()]
        return names


@MODELS.register_module()
class VIBE(VideoEstimator):
    """VIBE; loads ``vibe_model_wo_3dpw.pth.tar`` or ``vibe_model_w_3dpw.pth.tar``.

    The defaults are the settings of the released models, under the names of VIBE's configs.

    Args:
        num_layers: Number of layers of the GRU. Default: 2.
        hidden_size: Width of the GRU, in each direction. Default: 1024.
        bidirectional: Whether the GRU is bidirectional. Default: False.
        add_linear: Whether a linear layer follows the GRU. Default: True.
        use_residual: Whether to add the features to the result. Default: True.
        kwargs: Arguments of :class:`VideoEstimator`.

    Raises:
        ValueError: The encoder's output does not have the width of the features.
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
        FileNotFoundError: The file does not exist.
        DataError: The file is damaged, or its weights do not fit the network.
    """
    backbone = ResNet50Features()
    weights = weights_of(read_checkpoint(path), str(path))

    def rename(name: str) -> str | None:
        new_name = rename_hmr(name)
        if new_name is None or not new_name.startswith('backbone.'):
            return None
        return new_name.removeprefix('backbone.')

    initial = backbone.state_dict()
    optional = [name for name in initial if name.endswith('num_batches_tracked')]
    backbone.load_state_dict({**initial, **translate(weights, initial, rename, optional)})
    return backbone
