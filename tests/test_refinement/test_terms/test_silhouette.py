"""Silhouettes in the cells of a mask head, and discs around joints that masks miss."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from mmjrr.datasets.area_crop import area_average_crop
from mmjrr.geometry import PerspectiveCamera
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement import FitEnergy, Observations, PosedBodies
from mmjrr.refinement.terms import (
    SilhouetteTerm,
    gate_weight,
    mask_cells_energy,
    silhouette_energy,
)
from mmjrr.rendering import ContourSilhouette


def test_blurred_cells_are_scipys() -> None:
    """Reference: ``scipy.ndimage.gaussian_filter`` of cells that are pixels."""
    silhouette, mask = torch.rand(2, 4, 6, 6, dtype=torch.float64)
    box = torch.tensor([[0.0, 0.0, 6.0, 6.0]], dtype=torch.float64).expand(4, -1)
    blurred = np.stack(
        [gaussian_filter(s, 0.7, mode='constant', radius=5) for s in silhouette.numpy()]
    )
    expected = silhouette_energy(torch.from_numpy(blurred), mask, (1,))
    torch.testing.assert_close(mask_cells_energy(silhouette, mask, box, blur=0.7), expected)
    prepared = observations(mask, mask_box=box, mask_cells=mask)
    term = SilhouetteTerm(mask_cells=6, mask_blur=0.7)
    torch.testing.assert_close(term(bodies(silhouette), prepared), expected)


@pytest.mark.parametrize('options', [dict(mask_blur=0.5), dict(mask_cells=28, mask_blur=-1.0)])
def test_a_blur_that_has_no_cells_or_is_negative_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f'mask_blur: found {options["mask_blur"]}'):
        SilhouetteTerm(**options)


def observations(mask: Tensor, joints: Tensor | None = None, **fields: Tensor) -> Observations:
    count = len(mask)
    joints = torch.full((count, 17, 2), 5.0) if joints is None else joints
    camera = PerspectiveCamera(torch.ones(count, 2), torch.ones(count, 2))
    zeros = torch.zeros(count, 17, 3)
    return Observations(zeros, zeros[..., 0], joints, torch.ones(count, 17), camera, mask, **fields)


def bodies(silhouette: Tensor) -> PosedBodies:
    posed = PosedBodies.__new__(PosedBodies)
    posed._silhouette = silhouette
    return posed


def test_bodies_are_compared_in_cells_without_a_silhouette_in_memory() -> None:
    corners = torch.tensor([[[1.0, 2, 1], [9, 3, 1], [4, 10, 1]]], dtype=torch.float64)
    camera = PerspectiveCamera(torch.ones(1, 2), torch.zeros(1, 2)).to(torch.float64)
    zeros = torch.zeros(1, 0)
    posed = PosedBodies(
        zeros, zeros, zeros, corners, camera, (12, 12),
        renderer=ContourSilhouette([[0, 1, 2]], (12, 12)),
    )  # fmt: skip
    cells, box = torch.rand(1, 4, 4).double(), torch.tensor([[0.0, 1, 8, 11]]).double()
    value = posed.mask_cells_energy(cells, box)
    assert posed.rendered is None
    expected = mask_cells_energy(posed.silhouette, cells, box)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(posed.mask_cells_energy(cells, box), expected)


def test_cells_come_from_the_file_or_are_means_of_the_mask() -> None:
    mask = (torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    term = SilhouetteTerm(mask_cells=4)
    boxes = torch.tensor([[3.0, 4, 27, 30], [torch.nan] * 4])
    prepared = term.prepare(observations(mask, mask_box=boxes))
    assert prepared.mask_box is not None and prepared.mask_cells is not None
    ys, xs = torch.nonzero(mask[1] > 0.5, as_tuple=True)
    tight = [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]
    assert prepared.mask_box.tolist() == [[3, 4, 27, 30], tight]
    for row, box in enumerate(prepared.mask_box.tolist()):
        expected = area_average_crop(mask[row].numpy(), box, (4, 4))
        np.testing.assert_allclose(prepared.mask_cells[row], expected, atol=1e-6)
    stored = torch.rand(2, 4, 4)
    prepared = term.prepare(observations(mask, mask_box=boxes, mask_cells=stored))
    assert prepared.mask_cells is stored
    other = SilhouetteTerm(mask_cells=8).prepare(
        observations(mask, mask_box=boxes, mask_cells=stored)
    )
    assert other.mask_cells is not None and other.mask_cells.shape == (2, 8, 8)
    empty = term.prepare(observations(torch.zeros(1, 32, 32)))
    assert empty.mask_box is not None and empty.mask_box.tolist() == [[0, 0, 32, 32]]
    value = term(bodies(mask), term.prepare(observations(mask)))
    assert value.shape == (2,)
    with pytest.raises(ValueError, match='lack what prepare'):
        term(bodies(mask), observations(mask))


@pytest.mark.parametrize(
    ('fields', 'found'),
    [
        ({}, 'masks without cells'),
        (dict(mask_box=torch.tensor([[3.0, 4, 27, 30]])), 'masks without cells'),
        (dict(mask_cells=torch.rand(1, 4, 4)), 'cells without the box'),
        (
            dict(mask_box=torch.tensor([[3.0, 4, 27, 30]]), mask_cells=torch.rand(1, 8, 8)),
            'found 8 x 8 cells',
        ),
    ],
)
def test_a_blur_without_the_networks_probabilities_is_refused(
    fields: dict[str, Tensor], found: str
) -> None:
    observed = observations(torch.ones(1, 32, 32), **fields)
    term = SilhouetteTerm(mask_cells=4, mask_blur=0.7)
    with pytest.raises(ValueError, match=f'mask_blur=0.7 needs .* in 4 x 4 cells, .*{found}'):
        term.prepare(observed)
    SilhouetteTerm(mask_cells=4).prepare(observed)
    cells = torch.rand(1, 4, 4)
    box = torch.tensor([[3.0, 4, 27, 30]])
    complete = dataclasses.replace(observed, mask_box=box, mask_cells=cells)
    assert term.prepare(complete).mask_cells is cells


def test_a_disc_is_left_out_around_a_joint_that_is_not_on_the_mask() -> None:
    mask = torch.zeros(3, 40, 40)
    mask[:, 5:20, 10:30] = 1
    joints = torch.tensor([[20.0, 12.0]]).expand(3, 17, 2).clone()
    wrist = H36M_JOINTS_MMPOSE.index('left_wrist')
    joints[0, wrist] = torch.tensor([30.0, 30.5])  # off the mask
    joints[1, wrist] = torch.tensor([60.0, 30.5])  # outside the crop
    joints[2, wrist] = torch.tensor([30.0, 30.5])  # off the mask, but not annotated
    weight = torch.ones(3, 17)
    weight[2, wrist] = 0
    gate = gate_weight(mask, joints, weight, {wrist: 0.1, 3: 0.2})
    for row in range(40):
        for column in range(40):
            within = (column + 0.5 - 30) ** 2 + (row + 0.5 - 30.5) ** 2 <= 4.0**2
            assert gate[0, row, column] == (0 if within else 1)
    assert gate[1:].all()


def test_a_gate_at_the_limbs_has_all_of_their_joints() -> None:
    ends, limbs = (SilhouetteTerm(gate=gate).gate for gate in (True, 'limbs'))
    names = {H36M_JOINTS_MMPOSE[joint] for joint in limbs}
    joints = ('hip', 'knee', 'ankle', 'shoulder', 'elbow', 'wrist')
    assert names == {f'{side}_{joint}' for side in ('left', 'right') for joint in joints}
    assert {joint: limbs[joint] for joint in ends} == ends and len(ends) == 4
    as_radii = {H36M_JOINTS_MMPOSE[joint]: radius for joint, radius in limbs.items()}
    assert SilhouetteTerm(gate=as_radii).gate == limbs


def test_with_a_gate_silhouettes_in_the_disc_do_not_count() -> None:
    mask = torch.zeros(1, 40, 40)
    mask[:, 5:20, 10:30] = 1
    joints = torch.full((1, 17, 2), 15.0)
    joints[0, H36M_JOINTS_MMPOSE.index('right_ankle')] = torch.tensor([20.0, 30.0])
    silhouette = mask.clone()
    silhouette[:, 27:33, 18:22] = 1  # the foot that the mask misses
    observed = observations(mask, joints)
    for options in (dict(levels=(1, 4)), dict(mask_cells=28)):
        believing, gated = (SilhouetteTerm(gate=gate, **options) for gate in (False, True))
        before = believing(bodies(silhouette), believing.prepare(observed))
        after = gated(bodies(silhouette), gated.prepare(observed))
        assert float(before) > 0.01
        assert float(after) < (1e-9 if 'levels' in options else 0.1 * float(before))
    wider = gated.prepare(dataclasses.replace(observed, mask_weight=torch.zeros_like(mask)))
    assert wider.mask_weight is not None and not wider.mask_weight.any()


@pytest.mark.parametrize('compiled', [False, True])
@pytest.mark.parametrize(
    'options', [dict(levels=(1, 4)), dict(mask_cells=8), dict(mask_cells=8, gate=True)]
)
def test_a_mask_without_foreground_does_not_count(options: dict[str, Any], compiled: bool) -> None:
    corners = torch.tensor([[[1.0, 2, 1], [9, 3, 1], [4, 10, 1]]]).expand(2, -1, -1)
    camera = PerspectiveCamera(torch.ones(2, 2), torch.zeros(2, 2))
    mask = torch.zeros(2, 12, 12)
    mask[0, 2:10, 2:8] = 1
    mask[1] = 0.4  # no pixel of at least one half
    vertices = corners.clone().requires_grad_()
    none = torch.zeros(2, 0)
    posed = PosedBodies(
        none, none, none, vertices, camera, (12, 12),
        renderer=ContourSilhouette([[0, 1, 2]], (12, 12)),
    )  # fmt: skip
    if not compiled:
        assert posed.silhouette.any()  # which is then compared without the renderer
    term = SilhouetteTerm(**options)
    boxes = torch.tensor([[1.0, 1, 11, 11]]).expand(2, -1)
    value = term(posed, term.prepare(observations(mask, mask_box=boxes)))
    (gradient,) = torch.autograd.grad(value.sum(), vertices)
    assert value[0] > 0 and gradient[0].any()
    assert value[1] == 0 and not gradient[1].any()


def test_masks_with_foreground_need_no_weights() -> None:
    mask = torch.rand(2, 12, 12)
    mask[:, 5, 5] = 1
    assert SilhouetteTerm().prepare(observations(mask)).mask_weight is None


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(mask_cells=0), 'mask_cells: found 0'),
        (dict(mask_cells=2.5), 'mask_cells: found 2.5'),
        (dict(gate=dict(left_foot=0.1)), "gate: unknown .'left_foot'."),
        (dict(gate=dict(left_ankle=-0.1)), 'expected positive radii'),
        (dict(gate='hands'), "gate: found 'hands', expected True, False, 'limbs' or radii"),
    ],
)
def test_wrong_options_of_the_silhouette_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FitEnergy(terms=dict(silhouette=options))
