"""SPIN against a reference that is written out, in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import BaseDataElement

from mmjrr.body_models import free_body
from mmjrr.errors import DataError
from mmjrr.models import SPIN
from mmjrr.models.estimators.hmr import IterativeRegressor, load_mean_params
from mmjrr.registry import MODELS


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Set random weights and running statistics, so that every part of the network matters."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if value.dim() > 1:
            noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            value.copy_(noise * (2 / value[0].numel()) ** 0.5)
        elif name.endswith('running_var'):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.is_floating_point():
            value.normal_(0.2, 0.1, generator=generator)


def resnet_slowly(weights: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """ResNet-50 from the weights' names alone, normalization written out."""

    def norm(x, name):
        w = {k: weights[f'{name}.{k}'] for k in ('weight', 'bias', 'running_mean', 'running_var')}
        w = {k: v[:, None, None] for k, v in w.items()}
        return (x - w['running_mean']) / (w['running_var'] + 1e-5) ** 0.5 * w['weight'] + w['bias']

    x = norm(F.conv2d(images, weights['conv1.weight'], stride=2, padding=3), 'bn1').clamp_min(0)
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            name = f'layer{stage}.{block}'
            stride = 2 if stage > 1 and block == 0 else 1
            y = norm(F.conv2d(x, weights[f'{name}.conv1.weight']), f'{name}.bn1').clamp_min(0)
            y = F.conv2d(y, weights[f'{name}.conv2.weight'], stride=stride, padding=1)
            y = norm(y, f'{name}.bn2').clamp_min(0)
            y = norm(F.conv2d(y, weights[f'{name}.conv3.weight']), f'{name}.bn3')
            if block == 0:
                x = F.conv2d(x, weights[f'{name}.downsample.0.weight'], stride=stride)
                x = norm(x, f'{name}.downsample.1')
            x = (x + y).clamp_min(0)
    return x.flatten(2).mean(2)


def regress_slowly(
    weights: dict[str, np.ndarray], feature: np.ndarray, pose: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One frame, loop by loop; 6D pose, betas, camera."""
    guess = [weights['init_pose'][0] if pose is None else pose]
    guess += [weights['init_shape'][0], weights['init_cam'][0]]
    for _ in range(3):
        hidden = weights['fc1.weight'] @ np.concatenate([feature, *guess]) + weights['fc1.bias']
        hidden = weights['fc2.weight'] @ hidden + weights['fc2.bias']
        for i, name in enumerate(('decpose', 'decshape', 'deccam')):
            guess[i] = guess[i] + weights[f'{name}.weight'] @ hidden + weights[f'{name}.bias']
    return guess[0], guess[1], guess[2]


def matrices_slowly(pose: np.ndarray) -> np.ndarray:
    """Zhou et al.'s Gram-Schmidt, joint by joint, columns interleaved as in SPIN's code."""
    out = []
    for values in pose.reshape(24, 6):
        first, second = values[0::2], values[1::2]
        x = first / np.linalg.norm(first)
        y = second - (x @ second) * x
        y = y / np.linalg.norm(y)
        out.append(np.stack([x, y, np.cross(x, y)], axis=1))
    return np.stack(out)


@pytest.fixture(scope='module')
def model() -> SPIN:
    model = MODELS.build(dict(type='mmjrr.SPIN')).double().eval()
    randomize(model, 3)
    return model


def test_features_agree_with_the_network_written_out(model):
    images = torch.randn(2, 3, 96, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = resnet_slowly(dict(model.backbone.state_dict()), images)
        features = model.backbone(images)
    torch.testing.assert_close(features, expected, rtol=1e-10, atol=1e-10)


def test_estimates_agree_with_the_regressor_written_out(model):
    features = torch.randn(4, 2048, dtype=torch.float64)
    with torch.no_grad():
        estimates = model({'features': features})
    weights = {name: value.numpy() for name, value in model.regressor.state_dict().items()}
    for n, feature in enumerate(features.numpy()):
        pose, betas, camera = regress_slowly(weights, feature)
        np.testing.assert_allclose(estimates['rotations'][n], matrices_slowly(pose), atol=1e-9)
        np.testing.assert_allclose(estimates['betas'][n], betas, atol=1e-10)
        np.testing.assert_allclose(estimates['camera'][n], camera, atol=1e-10)


def test_images_and_their_features_give_the_same_estimate(model):
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        from_images = model({'img': list(images)})
        from_features = model({'features': model.backbone(images)})
    for name, value in from_images.items():
        torch.testing.assert_close(value, from_features[name])


def test_predictions_are_set_on_the_data_samples_with_vertices():
    torch.manual_seed(0)
    model = SPIN(body_model=dict(type='FreeBody')).eval()
    samples = [BaseDataElement(), BaseDataElement()]
    batch = dict(inputs=dict(features=torch.randn(2, 2048)), data_samples=samples)
    first, second = model.test_step(batch)
    assert first.pred_global_orient.shape == (3, 3) and first.pred_body_pose.shape == (23, 3, 3)
    assert second.pred_betas.shape == (10,) and second.pred_camera.shape == (3,)
    expected = free_body()(
        betas=second.pred_betas[None],
        body_pose=second.pred_body_pose[None],
        global_orient=second.pred_global_orient[None],
    ).vertices[0]
    torch.testing.assert_close(second.pred_vertices, expected)


def test_mean_params_are_where_the_regressor_starts(shared_data: Path):
    model = SPIN(mean_params=shared_data / 'smpl_mean_params.npz')
    with np.load(shared_data / 'smpl_mean_params.npz') as file:
        for name, key in (('init_pose', 'pose'), ('init_shape', 'shape'), ('init_cam', 'cam')):
            np.testing.assert_array_equal(getattr(model.regressor, name)[0].numpy(), file[key])
    # A file of weights may then lack them.
    weights = {k: v for k, v in model.state_dict().items() if 'init_' not in k}
    model.load_state_dict(weights)
    with pytest.raises(DataError, match='missing: regressor.init_pose, regressor.init_shape'):
        SPIN().load_state_dict(weights)


def test_weights_loaded_into_one_regressor_leave_others_as_they_are():
    one, other = IterativeRegressor(), IterativeRegressor()
    loaded = {name: torch.full_like(value, 7.0) for name, value in one.state_dict().items()}
    one.load_state_dict(loaded)
    for regressor in (other, IterativeRegressor()):
        torch.testing.assert_close(regressor.init_cam, torch.tensor([[0.9, 0.0, 0.0]]))
        assert not any((value == 7).any() for value in regressor.state_dict().values())


def test_broken_mean_params_are_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        load_mean_params(tmp_path / 'nowhere.npz')
    path = tmp_path / 'mean.npz'
    np.savez(path, pose=np.zeros(144), shape=np.zeros(11), cam=np.zeros(3))
    with pytest.raises(DataError, match=r'shape: found \(11,\), expected \(10,\)'):
        load_mean_params(path)
    path.write_bytes(b'no npz')
    with pytest.raises(DataError, match='not readable'):
        load_mean_params(path)


def test_bad_inputs_are_refused(model):
    with pytest.raises(ValueError, match="mode: found 'loss'"):
        model({'features': torch.zeros(1, 2048)}, mode='loss')
    with pytest.raises(ValueError, match=r"found \['image'\], expected a dict with 'img'"):
        model({'image': torch.zeros(1, 3, 224, 224)})
    with pytest.raises(ValueError, match='expected 4 dimensions'):
        model({'img': torch.zeros(3, 224, 224)})
    with pytest.raises(ValueError, match='data_samples: found 1, expected 2'):
        model({'features': torch.zeros(2, 2048).double()}, [BaseDataElement()], mode='predict')
