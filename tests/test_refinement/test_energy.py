"""Each term against a slow twin that loops over samples, joints and pixels, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmjrr.refinement.energy import (
    TERMS,
    EnergyTerms,
    FitEnergy,
    adversarial_energy,
    joint_2d_energy,
    joint_3d_energy,
    silhouette_energy,
)


def slow_joint_3d(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    values = []
    for p, t, w in zip(predicted, target, weight, strict=True):
        value = p.new_zeros(())
        for joint in range(len(p)):
            for axis in range(3):
                error = (p[joint, axis] - p[0, axis]) - (t[joint, axis] - t[0, axis])
                value = value + w[0] * w[joint] * error**2
        values.append(value)
    return torch.stack(values)


def slow_joint_2d(predicted: Tensor, target: Tensor, weight: Tensor, size: float) -> Tensor:
    return torch.stack(
        [
            sum(
                w[j] * (((p[j, 0] - t[j, 0]) / size) ** 2 + ((p[j, 1] - t[j, 1]) / size) ** 2)
                for j in range(len(p))
            )
            for p, t, w in zip(predicted, target, weight, strict=True)
        ]
    )


def slow_silhouette(predicted: Tensor, target: Tensor, levels: tuple[int, ...]) -> Tensor:
    values = []
    for p, t in zip(predicted, target, strict=True):
        value = p.new_zeros(())
        for side in levels:
            rows, columns = p.shape[0] // side, p.shape[1] // side
            for r in range(rows):
                for c in range(columns):
                    block = (slice(r * side, (r + 1) * side), slice(c * side, (c + 1) * side))
                    value = value + (p[block].mean() - t[block].mean()) ** 2 / (rows * columns)
        values.append(value)
    return torch.stack(values)


def assert_same_values_and_gradients(fast, slow, variable: Tensor) -> None:
    for weight in (torch.ones(len(variable)), torch.rand(len(variable))):
        results = []
        for function in (fast, slow):
            x = variable.clone().requires_grad_()
            value = function(x)
            (weight.to(value) * value).sum().backward()
            results.append((value.detach(), x.grad))
        torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize('shape', [(1, 3), (4, 17)])
def test_joint_terms_agree_with_their_twins(shape: tuple[int, int]) -> None:
    batch, joints = shape
    x, y = torch.rand(2, batch, joints, 3, dtype=torch.float64)
    weight = (torch.rand(batch, joints, dtype=torch.float64) > 0.3).double()
    weight[:, 0] = 1
    assert_same_values_and_gradients(
        lambda p: joint_3d_energy(p, y, weight), lambda p: slow_joint_3d(p, y, weight), x
    )
    x, y = 224 * torch.rand(2, batch, joints, 2, dtype=torch.float64)
    assert_same_values_and_gradients(
        lambda p: joint_2d_energy(p, y, weight, 224.0),
        lambda p: slow_joint_2d(p, y, weight, 224.0),
        x,
    )


@pytest.mark.parametrize('levels', [(1,), (1, 4), (2, 8), (5,)])
def test_silhouette_term_agrees_with_its_twin(levels: tuple[int, ...]) -> None:
    x, y = torch.rand(2, 3, 16, 24, dtype=torch.float64)
    assert_same_values_and_gradients(
        lambda p: silhouette_energy(p, y, levels),
        lambda p: slow_silhouette(p, y, levels),
        x,
    )


def test_silhouette_term_takes_one_mask_for_all_and_gives_it_its_gradient() -> None:
    x = torch.rand(3, 9, 14, dtype=torch.float64)
    mask = torch.rand(1, 9, 14, dtype=torch.float64)
    assert_same_values_and_gradients(
        lambda m: silhouette_energy(x, m, [4, 1, 4]),
        lambda m: slow_silhouette(x, m.expand(3, -1, -1), (4, 1, 4)),
        mask,
    )
    assert silhouette_energy(x[:0], mask, (1, 4)).shape == (0,)


def test_joint_3d_does_not_see_a_common_shift_and_ignores_samples_without_root() -> None:
    x = torch.rand(2, 17, 3, dtype=torch.float64)
    weight = torch.ones(2, 17, dtype=torch.float64)
    weight[1, 0] = 0
    shifted = x + torch.tensor([0.3, -0.2, 5.0])
    assert joint_3d_energy(shifted, x, weight).abs().max() < 1e-24
    assert joint_3d_energy(torch.rand_like(x), x, weight)[1] == 0


def test_adversarial_term_is_lsgan_summed_over_outputs() -> None:
    value = adversarial_energy(torch.tensor([[1.0, 0.5, 0.0]]))
    assert value.tolist() == [0.0 + 0.25 + 1.0]


def test_balanced_terms_start_at_their_scale() -> None:
    energy = FitEnergy(terms=dict(silhouette=dict(scale=10.0), adv_pose=2.0, adv_shape=None))
    values = {name: torch.rand(4, dtype=torch.float64) for name in TERMS if name != 'adv_shape'}
    weights = energy.balance({name: float(value.mean()) for name, value in values.items()})
    started = {name: float(weights[name] * value.mean()) for name, value in values.items()}
    assert started['joint_3d'] == pytest.approx(1)
    assert started['joint_2d'] == pytest.approx(1)
    assert started['silhouette'] == pytest.approx(10)
    assert weights['adv_pose'] == 2.0
    total = EnergyTerms(values).total(weights)
    expected = sum(weights[name] * value.sum() for name, value in values.items())
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(terms=dict(silouette=True)), "unknown .'silouette'."),
        (dict(terms=dict(joint_3d=dict(scale=1, weight=2))), "terms.'joint_3d'."),
        (dict(terms=dict(silhouette=-3)), "terms.'silhouette'.: weight=-3"),
        (dict(terms=dict(adv_pose=dict(scale=float('nan')))), "terms.'adv_pose'.: scale=nan"),
        (dict(terms=dict.fromkeys(TERMS, False)), 'every term is switched off'),
        (dict(silhouette_levels=()), 'silhouette_levels'),
        (dict(silhouette_levels=(0,)), 'silhouette_levels'),
    ],
)
def test_wrong_options_are_refused_by_name(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FitEnergy(**options)
