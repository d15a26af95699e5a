"""MEVA, which decodes a coarse motion by an autoencoder and corrects it frame by frame.

Luo, Golestaneh and Kitani, "3D Human Motion Estimation via Motion Compression and Refinement",
ACCV 2020, Section 3, in the version of the authors' public code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmjrr.registry import MODELS

from .hmr import FEATURES, POSE_6D
from .vibe import TemporalEncoder, VideoEstimator

#: Number of frames of the motions on which the autoencoder was trained.
WINDOW = 90
CODE = 512
_HIDDEN = 512


@MODELS.register_module()
class MEVA(VideoEstimator):
    """MEVA; loads ``model_best.pth.tar``, which includes the autoencoder's weights.

    A GRU over the frames refines SPIN's features. A second GRU, averaged over the frames, encodes
    them as the code of a motion, which the autoencoder's decoder decodes to poses. SPIN's regressor
    starts from these poses and from the mean shape and camera, and corrects them.

    Sequences of up to 90 frames are estimated at once. Longer ones are cut into overlapping windows
    of 90 frames, and the estimates switch to the next window in the middle of the overlap, as in
    the authors' evaluation. A single frame is a sequence of length one.

    Args:
        vae: The authors' config of the autoencoder: ``'vae_rec_2'`` (of the released
            ``train_meva_2``), whose decoder computes its initial pose from the code, or the older
            ``'vae_rec_1'``, which has a separate network for it. Default: ``'vae_rec_2'``.
        overlap: Number of frames that consecutive windows share, even. Default: 10, as in the
            authors' evaluation; their demo on videos uses 20.
        kwargs: Arguments of :class:`VideoEstimator`.
    """

    def __init__(self, vae: str = 'vae_rec_2', overlap: int = 10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if vae not in ('vae_rec_1', 'vae_rec_2'):
            raise ValueError(f"vae: found {vae!r}, expected 'vae_rec_1' or 'vae_rec_2'")
        if overlap not in range(0, WINDOW, 2):
            raise ValueError(f'overlap: found {overlap}, expected an even number below {WINDOW}')
        self.overlap = overlap
        self.feat_encoder = _encoder(hidden_size=1024, out_size=FEATURES, residual=True)
        self.motion_encoder = _encoder(hidden_size=512, out_size=CODE, residual=False)
        self.vae_model = MotionDecoder(starts_itself=vae == 'vae_rec_2')
        self.vae_init_mlp: nn.Module | None = None
        if vae == 'vae_rec_1':
            self.vae_init_mlp = nn.Sequential(
                nn.Linear(CODE, 256), nn.Tanh(), nn.Linear(256, POSE_6D)
            )
        self.load_checkpoint()

    def estimate_sequences(self, features: Tensor) -> dict[str, Tensor]:
        """Estimate bodies from features (B, T, 2048), sequence by sequence."""
        kept = []
        for start, first, last in windows(features.shape[1], self.overlap):
            window = self._estimate_window(features[:, start : start + WINDOW])
            kept.append({k: value[:, first - start : last - start] for k, value in window.items()})
        return {k: torch.cat([part[k] for part in kept], dim=1).flatten(0, 1) for k in kept[0]}

    def _estimate_window(self, features: Tensor) -> dict[str, Tensor]:
        """Return rotations (B, T, 24, 3, 3), betas (B, T, 10), camera (B, T, 3); T <= 90."""
        batch, length = features.shape[:2]
        features = self.feat_encoder(features)
        code = self.motion_encoder(features).mean(1)
        start = None if self.vae_init_mlp is None else self.vae_init_mlp(code)
        motion = self.vae_model(code, length, start)
        pose, betas, camera = self.regressor(features.flatten(0, 1), motion.flatten(0, 1))
        estimates = dict(rotations=columns_to_matrices(pose), betas=betas, camera=camera)
        return {name: value.unflatten(0, (batch, length)) for name, value in estimates.items()}

    def rename(self, name: str) -> str | None:
        """Return the model's name of a weight in the checkpoint; None to ignore it."""
        # Only training uses the autoencoder's encoder. Every file has vae_init_mlp, but vae_rec_2
        # does not use it.
        unused = ('vae_model.e_',) if self.vae_init_mlp else ('vae_model.e_', 'vae_init_mlp.')
        return None if name.startswith(unused) else super().rename(name)


class MotionDecoder(nn.Module):
    """Decoder of the autoencoder: a GRU whose inputs are the code and its own last pose.

    Args:
        starts_itself: Whether the decoder computes its initial pose from the code.
    """

    def __init__(self, starts_itself: bool) -> None:
        super().__init__()
        self.d_rnn = nn.ModuleDict(dict(rnn_f=nn.GRUCell(POSE_6D + CODE, _HIDDEN)))
        self.d_mlp = _TwoLayers(_HIDDEN, torch.tanh)
        self.d_out = nn.Linear(512, POSE_6D)
        if starts_itself:
            self.init_pose_mlp = _TwoLayers(CODE, torch.relu)
            self.init_pose_out = nn.Linear(512, POSE_6D)

    def forward(self, code: Tensor, length: int, start: Tensor | None = None) -> Tensor:
        """Decode the first ``length`` poses of a motion.

        Args:
            code: (B, 512).
            length: Number of frames.
            start: (B, 144), the pose before the first. Default: None, computed from the code.

        Returns:
            Poses (B, length, 144) in 6D.
        """
        pose = self.init_pose_out(self.init_pose_mlp(code)) if start is None else start
        hidden = code.new_zeros(len(code), _HIDDEN)
        poses = []
        for _ in range(length):
            hidden = self.d_rnn['rnn_f'](torch.cat([pose, code], dim=1), hidden)
            pose = self.d_out(self.d_mlp(hidden))
            poses.append(pose)
        return torch.stack(poses, dim=1)


def windows(length: int, overlap: int) -> list[tuple[int, int, int]]:
    """Return the windows of 90 frames that cover a sequence; the last one ends at its last frame.

    Returns:
        For each window its first frame, and the first and end (exclusive) of the frames whose
        estimates are taken from it.

    >>> windows(60, overlap=10)
    [(0, 0, 60)]
    >>> windows(200, overlap=10)
    [(0, 0, 85), (80, 85, 165), (110, 165, 200)]
    """
    starts = [*range(0, length - WINDOW, WINDOW - overlap), max(length - WINDOW, 0)]
    seams = [start + WINDOW - overlap // 2 for start in starts[:-1]]
    return list(zip(starts, [0, *seams], [*seams, length], strict=True))


def columns_to_matrices(pose: Tensor) -> Tensor:  # (N, 144) -> (N, 24, 3, 3)
    """Convert MEVA's 6D rotations, the first column and then the second, to matrices.

    SPIN's 6D rotations interleave the columns. The cross products are those of MEVA's code, so the
    float32 result is the same even for nearly parallel columns.
    """
    first, second = pose.unflatten(1, (24, 2, 3)).unbind(2)
    x = normalize(first, dim=-1)
    z = normalize(torch.linalg.cross(x, second), dim=-1)
    return torch.stack([x, torch.linalg.cross(z, x), z], dim=-1)


class _TwoLayers(nn.Module):
    """Linear layers to 1024 and 512 values, each followed by the activation."""

    def __init__(self, in_size: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.affine_layers = nn.ModuleList([nn.Linear(in_size, 1024), nn.Linear(1024, 512)])
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.affine_layers:
            x = self.activation(layer(x))
        return x


def _encoder(hidden_size: int, out_size: int, residual: bool) -> TemporalEncoder:
    return TemporalEncoder(
        num_layers=2,
        hidden_size=hidden_size,
        out_size=out_size,
        activation=torch.tanh,
        bidirectional=True,
        linear=True,
        residual=residual,
    )
