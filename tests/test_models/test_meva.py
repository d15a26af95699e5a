"""MEVA takes its authors' file and computes what a naive float64 reference does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement

from mmjrr.errors import DataError
from mmjrr.models.estimators.hmr import ResNet50Features
from mmjrr.models.estimators.meva import MEVA, columns_to_matrices, windows
from mmjrr.registry import MODELS

from .test_hmr import resnet_slowly

Weights = dict[str, torch.Tensor]


def shapes_in_the_authors_file() -> dict[str, tuple[int, ...]]:
    """Names and shapes of ``gen_state_dict`` with ``vae_rec_2``, as the public code makes them."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, size_in: int, size_out: int) -> None:
        shapes[f'{name}.weight'], shapes[f'{name}.bias'] = (size_out, size_in), (size_out,)

    def gru(name: str, suffix: str, size_in: int, size: int) -> None:
        for kind, width in (('ih', size_in), ('hh', size)):
            shapes[f'{name}.weight_{kind}{suffix}'] = (3 * size, width)
            shapes[f'{name}.bias_{kind}{suffix}'] = (3 * size,)

    for name, size, out in (('feat_encoder', 1024, 2048), ('motion_encoder', 512, 512)):
        for layer, size_in in enumerate((2048, 2 * size)):
            for direction in ('', '_reverse'):
                gru(f'{name}.gru', f'_l{layer}{direction}', size_in, size)
        linear(f'{name}.linear', 2 * size, out)
    linear('vae_init_mlp.0', 512, 256)
    linear('vae_init_mlp.2', 256, 144)
    for name in ('e_mlp', 'd_mlp', 'init_pose_mlp'):
        linear(f'vae_model.{name}.affine_layers.0', 512, 1024)
        linear(f'vae_model.{name}.affine_layers.1', 1024, 512)
    for name in ('rnn_f', 'rnn_b'):
        gru(f'vae_model.e_rnn.{name}', '', 144, 256)
    gru('vae_model.d_rnn.rnn_f', '', 144 + 512, 512)
    linear('vae_model.e_mu', 512, 512)
    linear('vae_model.e_logvar', 512, 512)
    linear('vae_model.d_out', 512, 144)
    linear('vae_model.init_pose_out', 512, 144)
    linear('regressor.fc1', 2048 + 157, 1024)
    linear('regressor.fc2', 1024, 1024)
    for name, size in (('pose', 144), ('shape', 10), ('cam', 3)):
        linear(f'regressor.dec{name}', 1024, size)
        shapes[f'regressor.init_{name}'] = (1, size)
    for owner in ('smpl', 'regressor.smpl'):
        shapes[f'{owner}.betas'] = (1, 10)
        shapes[f'{owner}.J_regressor_extra'] = (9, 6890)
    return shapes


@pytest.fixture(scope='module')
def weights() -> Weights:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator) / (shape[-1] ** 0.5 if len(shape) > 1 else 8)
        for name, shape in shapes_in_the_authors_file().items()
    }


@pytest.fixture(scope='module')
def resnet() -> ResNet50Features:
    return ResNet50Features().eval()


@pytest.fixture(scope='module')
def model(
    weights: Weights, resnet: ResNet50Features, tmp_path_factory: pytest.TempPathFactory
) -> MEVA:
    folder = tmp_path_factory.mktemp('meva')
    torch.save({'epoch': 3, 'gen_state_dict': weights}, folder / 'model_best.pth.tar')
    torch.save({'model': resnet.state_dict()}, folder / 'spin.pt')
    config = dict(
        type='MEVA',
        checkpoint=folder / 'model_best.pth.tar',
        pretrained_features=folder / 'spin.pt',
        body_model=dict(type='FreeBody'),
    )
    loaded = MODELS.build(config).eval()
    for path in folder.iterdir():  # 400 MB
        path.unlink()
    return loaded


def with_vae_rec_1(weights: Weights) -> Weights:
    return {k: v for k, v in weights.items() if not k.startswith('vae_model.init_pose')}


@pytest.fixture(scope='module')
def reference(weights: Weights) -> Reference:
    return Reference(weights)


class Reference:
    """MEVA in NumPy, one frame and one step at a time, in float64."""

    def __init__(self, weights: Weights) -> None:
        self.starts_itself = True  # vae_rec_2
        self.weights = {name: value.double().numpy() for name, value in weights.items()}

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.weights[f'{name}.weight'] @ x + self.weights[f'{name}.bias']

    def gru_step(self, name: str, suffix: str, x: np.ndarray, h: np.ndarray) -> np.ndarray:
        """Reset, update and new gate, in this order (PyTorch's documentation of GRUCell)."""
        w = self.weights
        from_x = np.split(w[f'{name}.weight_ih{suffix}'] @ x + w[f'{name}.bias_ih{suffix}'], 3)
        from_h = np.split(w[f'{name}.weight_hh{suffix}'] @ h + w[f'{name}.bias_hh{suffix}'], 3)
        reset = 1 / (1 + np.exp(-from_x[0] - from_h[0]))
        update = 1 / (1 + np.exp(-from_x[1] - from_h[1]))
        new = np.tanh(from_x[2] + reset * from_h[2])
        return (1 - update) * new + update * h

    def encode(self, name: str, frames: list[np.ndarray], size: int) -> list[np.ndarray]:
        """Two layers of a GRU in both directions, tanh, a linear map."""
        for layer in (0, 1):
            forth, back = [], []
            h = np.zeros(size)
            for x in frames:
                forth.append(h := self.gru_step(f'{name}.gru', f'_l{layer}', x, h))
            h = np.zeros(size)
            for x in frames[::-1]:
                back.append(h := self.gru_step(f'{name}.gru', f'_l{layer}_reverse', x, h))
            frames = [np.concatenate(pair) for pair in zip(forth, back[::-1], strict=True)]
        return [self.linear(f'{name}.linear', np.tanh(x)) for x in frames]

    def motion(self, code: np.ndarray, length: int) -> list[np.ndarray]:
        if self.starts_itself:
            hidden = code
            for layer in (0, 1):
                hidden = self.linear(f'vae_model.init_pose_mlp.affine_layers.{layer}', hidden)
                hidden = np.maximum(hidden, 0)
            pose = self.linear('vae_model.init_pose_out', hidden)
        else:
            pose = self.linear('vae_init_mlp.2', np.tanh(self.linear('vae_init_mlp.0', code)))
        poses, h = [], np.zeros(512)
        for _ in range(length):
            h = self.gru_step('vae_model.d_rnn.rnn_f', '', np.concatenate([pose, code]), h)
            hidden = h
            for layer in (0, 1):
                hidden = np.tanh(self.linear(f'vae_model.d_mlp.affine_layers.{layer}', hidden))
            poses.append(pose := self.linear('vae_model.d_out', hidden))
        return poses

    def __call__(self, features: torch.Tensor) -> dict[str, np.ndarray]:  # (T, 2048)
        """``rotations`` (T, 24, 3, 3), ``betas`` (T, 10), ``camera`` (T, 3)."""
        frames = list(features.double().numpy())
        encoded = self.encode('feat_encoder', frames, 1024)
        frames = [x + y for x, y in zip(frames, encoded, strict=True)]
        code = np.mean(self.encode('motion_encoder', frames, 512), axis=0)
        outputs: dict[str, list[np.ndarray]] = {'rotations': [], 'betas': [], 'camera': []}
        for x, pose in zip(frames, self.motion(code, len(frames)), strict=True):
            betas = self.weights['regressor.init_shape'][0]
            camera = self.weights['regressor.init_cam'][0]
            for _ in range(3):
                hidden = self.linear('regressor.fc1', np.concatenate([x, pose, betas, camera]))
                hidden = self.linear('regressor.fc2', hidden)
                pose = pose + self.linear('regressor.decpose', hidden)
                betas = betas + self.linear('regressor.decshape', hidden)
                camera = camera + self.linear('regressor.deccam', hidden)
            outputs['rotations'].append(
                np.stack([gram_schmidt(six) for six in pose.reshape(24, 6)])
            )
            outputs['betas'].append(betas)
            outputs['camera'].append(camera)
        return {name: np.stack(values) for name, values in outputs.items()}


def gram_schmidt(six: np.ndarray) -> np.ndarray:
    """The rotation whose first two columns are nearest to the numbers, by QR."""
    q, r = np.linalg.qr(six.reshape(2, 3).T)
    q = q * np.sign(np.diag(r))
    return np.column_stack([q, np.cross(q[:, 0], q[:, 1])])


@pytest.mark.slow
@pytest.mark.parametrize('vae', ['vae_rec_2', 'vae_rec_1'])
def test_single_frames_and_sequences_are_those_of_the_reference(
    vae: str, weights: Weights, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, 'starts_itself', vae == 'vae_rec_2')
    model = MEVA(vae=vae)
    model.load_state_dict(weights if vae == 'vae_rec_2' else with_vae_rec_1(weights))
    model = model.double().eval()
    features = torch.randn(2, 3, 2048, dtype=torch.float64)
    with torch.no_grad():
        of_sequences = model(dict(features=features))
        of_frames = model(dict(features=features[:, 0]))
    all_frames = [reference(sequence) for sequence in features]
    alone = [reference(sequence[:1]) for sequence in features]
    for name in ('rotations', 'betas', 'camera'):
        expected = np.concatenate([outputs[name] for outputs in all_frames])
        np.testing.assert_allclose(of_sequences[name], expected, atol=1e-9)
        expected = np.concatenate([outputs[name] for outputs in alone])
        np.testing.assert_allclose(of_frames[name], expected, atol=1e-9)
        others = np.asarray(of_sequences[name][::3])
        assert np.abs(others - expected).max() > 1e-3, 'the other frames count too'


def test_single_precision_is_near_the_reference(model: MEVA, reference: Reference) -> None:
    features = torch.rand(2, 2048)
    with torch.no_grad():
        estimates = model(dict(features=features[None]))
    for name, expected in reference(features).items():
        np.testing.assert_allclose(estimates[name], expected, atol=2e-5)


@pytest.mark.parametrize('length', [1, 2, 89, 90, 91, 95, 170, 171, 500])
@pytest.mark.parametrize('overlap', [0, 10, 20])
def test_windows_give_each_frame_once_from_a_window_with_frames_around_it(
    length: int, overlap: int
) -> None:
    frames = []
    for start, first, last in windows(length, overlap):
        end = min(start + 90, length)
        assert 0 <= start <= first < last <= end
        assert end - start == min(length, 90)
        assert first == 0 or first - start >= overlap // 2
        assert last == length or end - last == overlap // 2
        frames += range(first, last)
    assert frames == list(range(length))


def test_a_long_sequence_is_put_together_from_its_windows(
    model: MEVA, monkeypatch: pytest.MonkeyPatch
) -> None:
    def place_in_window(features: torch.Tensor) -> dict[str, torch.Tensor]:
        places = torch.arange(features.shape[1]).expand(len(features), -1)
        return dict(frame=features[..., 0], place=places)

    monkeypatch.setattr(model, '_estimate_window', place_in_window)
    frames = torch.stack([torch.arange(200), 1000 + torch.arange(200)])
    estimates = model.estimate_sequences(frames[..., None])
    assert estimates['frame'].tolist() == frames.flatten().tolist()
    # Windows start at 0, 80 and 110, and change at 85 and 165.
    places = [*range(85), *range(5, 85), *range(55, 90)]
    assert estimates['place'].tolist() == 2 * places


def test_images_go_through_spins_features(model: MEVA, resnet: ResNet50Features) -> None:
    images = torch.randn(1, 2, 3, 96, 96)
    with torch.no_grad():
        features = resnet_slowly(dict(resnet.state_dict()), images[0])[None]
        for img, window in ((images, features), (images[:, 0], features[:, 0])):
            estimates, expected = model(dict(img=img)), model(dict(features=window))
            for name, value in expected.items():
                torch.testing.assert_close(estimates[name], value, rtol=1e-4, atol=1e-4)


def test_six_numbers_are_one_column_after_the_other() -> None:
    matrices = torch.linalg.qr(torch.randn(2 * 24, 3, 3, dtype=torch.float64)).Q
    matrices = matrices * torch.linalg.det(matrices)[:, None, None]  # rotations, no reflections
    six = torch.cat([2 * matrices[..., 0], 3 * matrices[..., 1] + matrices[..., 0]], dim=-1)
    converted = columns_to_matrices(six.reshape(2, 144))
    torch.testing.assert_close(converted, matrices.reshape(2, 24, 3, 3))


def test_data_samples_are_filled_sequence_by_sequence(model: MEVA) -> None:
    features = torch.rand(2, 3, 2048)
    samples = [BaseDataElement() for _ in range(6)]
    with torch.no_grad():
        samples = model(dict(features=features), samples, mode='predict')
        second = model(dict(features=features[1:]))
    for name, shape in (
        ('pred_global_orient', (3, 3)),
        ('pred_body_pose', (23, 3, 3)),
        ('pred_betas', (10,)),
        ('pred_camera', (3,)),
        ('pred_vertices', (6890, 3)),
    ):
        assert samples[4].get(name).shape == shape
    # Another batch size rounds otherwise, which nearly parallel columns of a rotation amplify.
    near = dict(rtol=0, atol=1e-3)
    torch.testing.assert_close(samples[4].pred_body_pose, second['rotations'][1, 1:], **near)
    torch.testing.assert_close(samples[4].pred_vertices, second['vertices'][1], **near)


def test_the_wrong_autoencoder_is_named(model: MEVA, weights: Weights) -> None:
    with pytest.raises(DataError, match=r'unexpected: .*vae_model\.init_pose_mlp'):
        MEVA(vae='vae_rec_1').load_state_dict(weights)
    with pytest.raises(DataError, match=r'missing: .*vae_model\.init_pose_out\.bias'):
        model.load_state_dict(with_vae_rec_1(weights))


def test_weights_missing_or_of_another_shape_are_named(model: MEVA, weights: Weights) -> None:
    broken = {**weights, 'vae_model.d_out.weight': torch.zeros(144, 511)}
    del broken['motion_encoder.gru.bias_hh_l1_reverse']
    with pytest.raises(DataError) as error:
        model.load_state_dict(broken)
    assert 'missing: motion_encoder.gru.bias_hh_l1_reverse' in str(error.value)
    assert 'vae_model.d_out.weight (found (144, 511), expected (144, 512))' in str(error.value)


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="vae: found 'vae_rec_3'"):
        MEVA(vae='vae_rec_3')
    for overlap in (7, 90, -2):
        with pytest.raises(ValueError, match=f'overlap: found {overlap}'):
            MEVA(overlap=overlap)
