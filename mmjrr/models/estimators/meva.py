"""MEVA: the coarse motion from a variational autoencoder, corrected frame by frame.

Luo, Golestaneh and Kitani, "3D Human Motion Estimation via Motion Compression and Refinement",
ACCV 2020, Section 3, as its public code has it.
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

#: Frames of the motions that the autoencoder was trained on.
WINDOW = 90
CODE = 512
_HIDDEN = 512


@MODELS.register_module()
class MEVA(VideoEstimator):
    """MEVA; takes ``model_best.pth.tar``, which holds the autoencoder's weights too.

    A GRU over the frames refines SPIN's features. A second one, averaged over the frames, makes the
    code of a motion out of them, which the autoencoder's decoder turns into poses. SPIN's regressor
    starts from these poses, and from the mean shape and camera, and corrects them.

    Sequences of up to 90 frames are estimated at once. Longer ones are cut into windows of 90 that
    overlap, each taking over in the middle of the overlap, as in the authors' evaluation. A single
    frame is a sequence of length one: its code is its own, its pose the first of the motion.

    Args:
        vae: The authors' config of the autoencoder. ``'vae_rec_2'``, of the released
            ``train_meva_2``, makes the pose that its decoder starts from out of the code;
            ``'vae_rec_1'``, the older, gets it from a network beside it. Defaults to
            ``'vae_rec_2'``.
        overlap: Frames that windows share, an even number. Defaults to 10, as in the authors'
            evaluation; their demo on videos has 20.
        kwargs: As :class:`VideoEstimator` has them.
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
            found = self._estimate_window(features[:, start : start + WINDOW])
            kept.append({k: value[:, first - start : last - start] for k, value in found.items()})
        return {k: torch.cat([part[k] for part in kept], dim=1).flatten(0, 1) for k in kept[0]}

    def _estimate_window(self, features: Tensor) -> dict[str, Tensor]:
        """Rotations (B, T, 24, 3, 3), betas (B, T, 10) and camera (B, T, 3); T is 90 or less."""
        batch, length = features.shape[:2]
        features = self.feat_encoder(features)
        code = self.motion_encoder(features).mean(1)
        start = None if self.vae_init_mlp is None else self.vae_init_mlp(code)
        motion = self.vae_model(code, length, start)
        pose, betas, camera = self.regressor(features.flatten(0, 1), motion.flatten(0, 1))
        found = dict(rotations=columns_to_matrices(pose), betas=betas, camera=camera)
        return {name: value.unflatten(0, (batch, length)) for name, value in found.items()}

    def rename(self, name: str) -> str | None:
        """Return the name here of a weight in the checkpoint; None to ignore it."""
        # The autoencoder's encoder serves its training alone. vae_init_mlp is in every file, and
        # without use beside a decoder that starts itself.
        unused = ('vae_model.e_',) if self.vae_init_mlp else ('vae_model.e_', 'vae_init_mlp.')
        return None if name.startswith(unused) else super().rename(name)


class MotionDecoder(nn.Module):
    """The autoencoder's decoder: a GRU that is fed the code, and its own last pose.

    Args:
        starts_itself: Whether it makes the pose that it starts from out of the code.
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
            length: Frames.
            start: (B, 144), the pose before the first. Default None: made out of the code.

        Returns:
            (B, length, 144), in 6D.
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
    """First frame of each window of 90, and first and last frame (exclusive) that it gives.

    The last window ends where the sequence does.

    >>> windows(60, overlap=10)
    [(0, 0, 60)]
    >>> windows(200, overlap=10)
    [(0, 0, 85), (80, 85, 165), (110, 165, 200)]
    """
    starts = [*range(0, length - WINDOW, WINDOW - overlap), max(length - WINDOW, 0)]
    seams = [start + WINDOW - overlap // 2 for start in starts[:-1]]
    return list(zip(starts, [0, *seams], [*seams, length], strict=True))


def columns_to_matrices(pose: Tensor) -> Tensor:  # (N, 144) -> (N, 24, 3, 3)
    """Rotations from MEVA's 6D: the first column, then the second; SPIN's has them interleaved.

    Cross products are MEVA's way, and give the same float32 where columns are nearly parallel.
    """
    first, second = pose.unflatten(1, (24, 2, 3)).unbind(2)
    x = normalize(first, dim=-1)
    z = normalize(torch.linalg.cross(x, second), dim=-1)
    return torch.stack([x, torch.linalg.cross(z, x), z], dim=-1)


class _TwoLayers(nn.Module):
    """Linear maps to 1024 and 512 values, the activation behind each."""

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
