"""VIBE against a reference that is written out, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmjrr.models import VIBE

from .test_hmr import matrices_slowly, randomize, regress_slowly


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru_slowly(weights, inputs, layers, bidirectional):
    """Cho et al.'s gated unit, frame by frame: (T, in) -> (T, out). Initial states are zero."""
    for layer in range(layers):
        outputs = []
        for suffix in ('', '_reverse') if bidirectional else ('',):
            w = {
                k: weights[f'gru.{k}_l{layer}{suffix}']
                for k in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh')
            }
            hidden = np.zeros(w['weight_hh'].shape[1])
            frames = range(len(inputs))
            states = {}
            for t in reversed(frames) if suffix else frames:
                from_input = np.split(w['weight_ih'] @ inputs[t] + w['bias_ih'], 3)
                from_hidden = np.split(w['weight_hh'] @ hidden + w['bias_hh'], 3)
                reset = sigmoid(from_input[0] + from_hidden[0])
                update = sigmoid(from_input[1] + from_hidden[1])
                new = np.tanh(from_input[2] + reset * from_hidden[2])
                hidden = (1 - update) * new + update * hidden
                states[t] = hidden
            outputs.append(np.stack([states[t] for t in frames]))
        inputs = np.concatenate(outputs, axis=1)
    return inputs


@pytest.mark.parametrize('bidirectional', [False, True])
def test_sequences_and_single_frames_agree_with_the_network_written_out(bidirectional):
    model = VIBE(hidden_size=32, bidirectional=bidirectional).double().eval()
    randomize(model, 5)
    encoder = {name: value.numpy() for name, value in model.encoder.state_dict().items()}
    regressor = {name: value.numpy() for name, value in model.regressor.state_dict().items()}
    for batch, length in ((2, 1), (2, 5)):
        features = torch.randn(batch, length, 2048, dtype=torch.float64)
        with torch.no_grad():
            estimates = model({'features': features})
        frame = 0
        for sequence in features.numpy():
            hidden = gru_slowly(encoder, sequence, 2, bidirectional).clip(min=0)
            seen = hidden @ encoder['linear.weight'].T + encoder['linear.bias'] + sequence
            for feature in seen:
                pose, betas, camera = regress_slowly(regressor, feature)
                np.testing.assert_allclose(
                    estimates['rotations'][frame], matrices_slowly(pose), atol=1e-8
                )
                np.testing.assert_allclose(estimates['betas'][frame], betas, atol=1e-9)
                np.testing.assert_allclose(estimates['camera'][frame], camera, atol=1e-9)
                frame += 1


def test_frames_without_a_sequence_are_sequences_of_one():
    model = VIBE(hidden_size=16).eval()
    features = torch.randn(3, 2048)
    with torch.no_grad():
        apart, single = model({'features': features}), model({'features': features[:, None]})
    for name, value in apart.items():
        assert torch.equal(value, single[name])


def test_options_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match='hidden_size: found 32 without a linear layer'):
        VIBE(hidden_size=32, add_linear=False)
    with pytest.raises(ValueError, match='pretrained_features'):
        VIBE(hidden_size=16)({'img': torch.zeros(1, 2, 3, 224, 224)})
