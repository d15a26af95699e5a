"""The kinematic chain and skinning against smplx and a plain formula, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import smplx.lbs
import torch
from torch import Tensor

from mmjrr.body_models.lbs import KinematicTree, skin

CHAIN = [-1, 0, 1, 2, 3]
STAR = [-1, 0, 0, 0]
#: Joint 5 is a child of the root but comes after deeper joints.
MIXED = [-1, 0, 1, 1, 2, 0, 5, 3, 4]
DEVICES = [
    'cpu',
    pytest.param(
        'cuda', marks=pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
    ),
]


def assert_same(fast, slow, variables: list[Tensor]) -> None:
    """Compare values and gradients of functions that return tuples."""
    computed = []
    for function in (fast, slow):
        inputs = [value.clone().requires_grad_() for value in variables]
        outputs = function(*inputs)
        generator = torch.Generator().manual_seed(1)
        upstream = [torch.rand(out.shape, generator=generator).to(out) for out in outputs]
        computed.append([*outputs, *torch.autograd.grad(outputs, inputs, upstream)])
    for a, b in zip(*computed, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('batch', [1, 3])
@pytest.mark.parametrize('parents', [[-1], CHAIN, STAR, MIXED])
def test_posed_joints_agree_with_smplx(parents: list[int], batch: int, device: str) -> None:
    torch.manual_seed(0)
    rotations = torch.rand(batch, len(parents), 3, 3, dtype=torch.float64, device=device)
    joints = torch.rand(batch, len(parents), 3, dtype=torch.float64, device=device)

    def by_smplx(rotations: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
        posed, transforms = smplx.lbs.batch_rigid_transform(
            rotations, joints, np.array(parents), torch.float64
        )
        return posed, transforms[:, :, :3]

    assert_same(KinematicTree(parents).to(device), by_smplx, [rotations, joints])


def test_a_forearm_turns_about_its_elbow() -> None:
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    rotations = torch.stack([torch.eye(3), quarter, torch.eye(3)])[None]
    joints = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]])
    posed, transforms = KinematicTree([-1, 0, 1])(rotations, joints)
    assert posed[0, 2].tolist() == [1, 1, 0]
    elbow = transforms[0, 1]
    assert (elbow[:, :3] @ torch.tensor([3.0, 0.0, 0.0]) + elbow[:, 3]).tolist() == [1, 2, 0]


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize(('batch', 'vertices', 'joints'), [(1, 1, 1), (3, 7, 4), (2, 50, 24)])
def test_skinning_agrees_with_the_plain_formula(
    batch: int, vertices: int, joints: int, device: str
) -> None:
    torch.manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.rand(*shape, dtype=torch.float64, device=device)

    weights = random(joints, vertices)

    def plain(shaped: Tensor, transforms: Tensor, transl: Tensor) -> tuple[Tensor]:
        homogeneous = torch.cat([shaped, torch.ones_like(shaped[:, :1])], 1)
        moved = torch.einsum('jv,bjrc,bcv->brv', weights, transforms, homogeneous)
        return (moved + transl[:, :, None],)

    assert_same(
        lambda shaped, transforms, transl: (skin(shaped, transforms, weights, transl),),
        plain,
        [random(batch, 3, vertices), random(batch, joints, 3, 4), random(batch, 3)],
    )


def test_second_derivatives_are_refused_rather_than_wrong() -> None:
    shaped = torch.rand(1, 3, 5, requires_grad=True)
    moved = skin(shaped, torch.rand(1, 2, 3, 4), torch.rand(2, 5), torch.zeros(1, 3))
    (first,) = torch.autograd.grad(moved.square().sum(), shaped, create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'):
        first.sum().backward()
