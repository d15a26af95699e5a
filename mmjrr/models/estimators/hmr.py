"""HMR's network in SPIN's version: ResNet-50 features and an iterative regressor.

Kanazawa et al., "End-to-end Recovery of Human Shape and Pose", CVPR 2018, Section 3.2. SPIN's
version with 6D rotations: Kolotouros et al., "Learning to Reconstruct 3D Human Pose and Shape via
Model-fitting in the Loop", ICCV 2019, Section 3.2.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from mmjrr.errors import DataError
from mmjrr.geometry import rotation_6d_to_matrix
from mmjrr.io import read_npz
from mmjrr.registry import MODELS

from .mesh_estimator import MeshEstimator

FEATURES = 2048
POSE_6D = 24 * 6
NUM_BETAS = 10
_IMAGES_AT_ONCE = 64


class ResNet50Features(nn.Module):
    """ResNet-50 without its classifier (He et al., CVPR 2016, Table 1, 50 layers).

    Layers have the names of torchvision and of SPIN's file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, blocks=3, stride=1)
        self.layer2 = _stage(256, 128, blocks=4, stride=2)
        self.layer3 = _stage(512, 256, blocks=6, stride=2)
        self.layer4 = _stage(1024, 512, blocks=3, stride=2)

    def forward(self, images: Tensor) -> Tensor:  # (N, 3, H, W) -> (N, 2048)
        """Return the features of each image, averaged over its area."""
        out = relu(self.bn1(self.conv1(images)))
        out = nn.functional.max_pool2d(out, 3, stride=2, padding=1)
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        # mean() would add in another order than the original code's pooling. Nearly parallel
        # columns of 6D rotations amplify that difference to 1e-5.
        return nn.functional.avg_pool2d(out, out.shape[2:]).flatten(1)


@MODELS.register_module()
class SmallFeatures(nn.Module):
    """Small convolutional network of features (N, 2048), which two CPU cores train in minutes.

    Five convolutions of stride 2, each with batch normalization, reduce images of 97 to 128 pixels
    to 4 x 4 cells of 128 channels, whose positions are kept.

    Args:
        width: Channels of the first convolution. Default: 32.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 4 * width, 4 * width, FEATURES // 16)
        self.layers = nn.Sequential(
            *(
                layer
                for width_in, width_out in pairwise(widths)
                for layer in (
                    nn.Conv2d(width_in, width_out, 3, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(width_out),
                    nn.ReLU(),
                )
            )
        )

    def forward(self, images: Tensor) -> Tensor:  # (N, 3, S, S) -> (N, 2048)
        """Return the features of each image.

        Raises:
            ValueError: The images have another size.
        """
        if not all(96 < side <= 128 for side in images.shape[2:]):
            raise ValueError(
                f'img: found {tuple(images.shape[2:])} pixels, expected 97 to 128 on each side'
            )
        features: Tensor = self.layers(images).flatten(1)
        return features


class _Bottleneck(nn.Module):
    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample: nn.Module | None = None
        if stride != 1 or width_in != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(width_in, 4 * width, 1, stride=stride, bias=False),
                nn.BatchNorm2d(4 * width),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(x)))
        out = relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return relu(out + (x if self.downsample is None else self.downsample(x)))


def _stage(width_in: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = _Bottleneck(width_in, width, stride)
    return nn.Sequential(first, *(_Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)))


class IterativeRegressor(nn.Module):
    """Regressor of pose, shape and camera, which corrects an initial estimate ``num_iters`` times.

    Args:
        mean_params: SPIN's ``smpl_mean_params.npz``, the initial estimate: ``pose`` (144,) in 6D,
            ``shape`` (10,), ``cam`` (3,). Default: None, taken from the checkpoint.
        num_iters: Number of corrections. Default: 3.
    """

    def __init__(self, mean_params: str | Path | None = None, num_iters: int = 3) -> None:
        super().__init__()
        self.num_iters = num_iters
        self.fc1 = nn.Linear(FEATURES + POSE_6D + NUM_BETAS + 3, 1024)
        self.drop1 = nn.Dropout()
        self.fc2 = nn.Linear(1024, 1024)
        self.drop2 = nn.Dropout()
        self.decpose = nn.Linear(1024, POSE_6D)
        self.decshape = nn.Linear(1024, NUM_BETAS)
        self.deccam = nn.Linear(1024, 3)
        # As in SPIN's code: corrections start small.
        for layer in (self.decpose, self.decshape, self.deccam):
            nn.init.xavier_uniform_(layer.weight, gain=0.01)
        for name, value in load_mean_params(mean_params).items():
            self.register_buffer(name, value[None])

    def forward(
        self, features: Tensor, init_pose: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return 6D pose (N, 144), betas (N, 10) and camera (N, 3) from features (N, 2048)."""
        count = len(features)
        pose = self.init_pose.expand(count, -1) if init_pose is None else init_pose
        betas = self.init_shape.expand(count, -1)
        camera = self.init_cam.expand(count, -1)
        for _ in range(self.num_iters):
            hidden = self.drop1(self.fc1(torch.cat([features, pose, betas, camera], dim=1)))
            hidden = self.drop2(self.fc2(hidden))
            pose = pose + self.decpose(hidden)
            betas = betas + self.decshape(hidden)
            camera = camera + self.deccam(hidden)
        return pose, betas, camera


#: Buffers of the initial estimate, with their name in the file and their size.
MEAN_PARAMS = {
    'init_pose': ('pose', POSE_6D),
    'init_shape': ('shape', NUM_BETAS),
    'init_cam': ('cam', 3),
}

#: Weak-perspective camera (s, tx, ty) without mean parameters.
_INIT_CAMERA = torch.tensor([0.9, 0.0, 0.0])


def load_mean_params(path: str | Path | None) -> dict[str, Tensor]:
    """Read SPIN's mean parameters, the initial estimate of the regressor.

    Returns:
        float32 ``init_pose`` (144,), ``init_shape`` (10,) and ``init_cam`` (3,). If ``path`` is
        None: the T-pose upright in the camera frame, the mean shape, and a person who fills most of
        the crop.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file is damaged, or an array is missing, has another shape or is not finite.
    """
    if path is None:
        pose = torch.eye(3)[:, :2].repeat(24, 1, 1)
        pose[0, 1] *= -1  # y of the camera frame points down
        return dict(
            init_pose=pose.flatten(),
            init_shape=torch.zeros(NUM_BETAS),
            init_cam=_INIT_CAMERA.clone(),  # weights are loaded into it
        )
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path}: no such file; SPIN's smpl_mean_params.npz comes with its data, "
            'https://github.com/nkolot/SPIN#fetch-data'
        )
    mean_params = {}
    raw = read_npz(path)
    for name, (key, size) in MEAN_PARAMS.items():
        if key not in raw or raw[key].shape != (size,):
            shape = raw[key].shape if key in raw else 'nothing'
            raise DataError(f'{path}: {key}: found {shape}, expected ({size},)')
        if raw[key].dtype.kind not in 'fiu' or not np.isfinite(raw[key]).all():
            raise DataError(f'{path}: {key}: found NaN or infinity, expected finite numbers')
        mean_params[name] = torch.from_numpy(raw[key].astype(np.float32))
    return mean_params


@MODELS.register_module()
class SPIN(MeshEstimator):
    """SPIN (Kolotouros et al., ICCV 2019), frame by frame; loads ``model_checkpoint.pt``.

    Args:
        mean_params: SPIN's ``smpl_mean_params.npz``. Default: None, taken from the checkpoint.
        backbone: Config of another network of features (N, 2048), such as
            ``dict(type='SmallFeatures')``. Default: None, ResNet-50.
        kwargs: Arguments of :class:`MeshEstimator`.
    """

    def __init__(
        self,
        mean_params: str | Path | None = None,
        backbone: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.has_mean_params = mean_params is not None
        self.backbone = ResNet50Features() if backbone is None else MODELS.build(backbone)
        self.regressor = IterativeRegressor(mean_params)
        self.load_checkpoint()

    def estimate(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Estimate the body of each image."""
        features = image_features(self.backbone, inputs).flatten(0, -2)
        pose, betas, camera = self.regressor(features)
        return dict(
            rotations=rotation_6d_to_matrix(pose.unflatten(1, (24, 6))), betas=betas, camera=camera
        )

    def rename(self, name: str) -> str | None:
        """Return the model's name of a weight in the checkpoint; None to ignore it."""
        return rename_hmr(name)

    def optional_weights(self) -> list[str]:
        """Return the names of weights that a checkpoint may omit."""
        return [f'regressor.{name}' for name in MEAN_PARAMS] if self.has_mean_params else []


def rename_hmr(name: str) -> str | None:
    """Return the model's name of a weight in SPIN's file; None for SMPL's arrays.

    In SPIN's file, features and regressor are one network; VIBE's and MEVA's code names it ``hmr``.
    """
    name = name.removeprefix('hmr.')
    first = name.split('.')[0]
    if first == 'smpl':
        return None
    if first.startswith(('conv', 'bn', 'layer')):
        return f'backbone.{name}'
    return f'regressor.{name}'


def image_features(backbone: nn.Module | None, inputs: dict[str, Tensor]) -> Tensor:
    """Return ``features`` of the inputs, or compute those of ``img``: (N, 2048) or (B, T, 2048).

    Raises:
        ValueError: The inputs have no features, and there is no backbone.
    """
    if 'features' in inputs:
        return inputs['features']
    if backbone is None:
        raise ValueError(
            'inputs: found images, but the model was built without pretrained_features, '
            "SPIN's checkpoint: expected 'features'"
        )
    images = inputs['img']
    parts = images.flatten(0, -4).split(_IMAGES_AT_ONCE)  # the features of a video need much memory
    features = torch.cat([backbone(part) for part in parts])
    return features if images.dim() == 4 else features.unflatten(0, images.shape[:2])
