"""The start of a run: terms are balanced on its first frames, without the bad ones among them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mmjrr.body_models import free_body
from mmjrr.engine.refinement_start import RefinementStart, check_batches
from mmjrr.engine.samplers import FrameBatchSampler, MomentBatchSampler
from mmjrr.engine.term_balance import balance_terms
from mmjrr.geometry import PerspectiveCamera
from mmjrr.refinement import FitEnergy, FitRefiner, Observations
from mmjrr.refinement.variables import Sharing
from mmjrr.regressors import JointRegressor

COUNT, BAD = 6, 3
JOINTS_ALONE = dict.fromkeys(('silhouette', 'adv_pose', 'adv_shape'), False)


class Job:
    """A job whose results are in memory."""

    def __init__(self) -> None:
        self.recorded: dict[str, Any] = {}

    def results(self) -> dict[str, Any]:
        return dict(self.recorded)

    def record_result(self, name: str, value: Any) -> None:
        self.recorded[name] = value


@pytest.fixture(scope='module')
def world() -> SimpleNamespace:
    """Fits of consecutive frames of a video, of which one is not finite."""
    generator = torch.Generator().manual_seed(0)
    body = free_body().requires_grad_(False)
    regressor = JointRegressor.load('free_body_h36m').reorder('mmpose')
    camera = PerspectiveCamera(torch.full((1, 2), 120.0), torch.full((1, 2), 32.0))
    true = dict(
        global_orient=torch.tensor([3.0, 0, 0]).expand(COUNT, 3),
        body_pose=0.1 * torch.randn(COUNT, 69, generator=generator),
        betas=torch.zeros(COUNT, 10),
        transl=torch.tensor([0.0, 0, 5]).expand(COUNT, 3),
    )
    joints = regressor(body(**true).vertices)
    pose = true['body_pose'] + 0.1 * torch.randn(COUNT, 69, generator=generator)
    pose[BAD] = torch.nan
    init = dict(true, body_pose=pose)

    def frames_of(indices: list[int]) -> Any:
        rows = torch.tensor(indices)
        weight = torch.ones(len(rows), 17)
        observed = Observations(
            joints[rows], weight, camera.project(joints[rows]), weight, camera, None,
            video=torch.zeros_like(rows), frame=rows,
        )  # fmt: skip
        return SimpleNamespace(
            init={name: value[rows] for name, value in init.items()},
            groups=None,
            samples=[SimpleNamespace(sample_idx=row, imgname=f'frame {row}') for row in indices],
            observed=observed,
        )

    return SimpleNamespace(body=body, regressor=regressor, frames_of=frames_of)


def balanced(world: SimpleNamespace, terms: dict, leaves_out: bool = True) -> tuple[dict, list]:
    refiner = FitRefiner(
        world.body, world.regressor, None, FitEnergy(terms={**JOINTS_ALONE, **terms})
    )
    frames, job = world.frames_of(list(range(COUNT))), Job()
    weights, frames, left_out = balance_terms(refiner, frames, world.frames_of, job, leaves_out)
    assert job.recorded['term_weights'] == weights
    assert list(left_out) == [BAD] and "'joint_3d' is not finite" in left_out[BAD]
    job.recorded = json.loads(json.dumps(job.recorded))
    again = balance_terms(refiner, world.frames_of(list(range(COUNT))), world.frames_of, job, True)
    assert again[0] == weights and len(again[1].samples) == len(frames.samples)
    assert again[2] == left_out
    return weights, [sample.sample_idx for sample in frames.samples]


@pytest.mark.parametrize('option', [True, dict(scale=2.0)])
def test_a_bad_frame_is_left_out_where_a_term_couples_frames(
    world: SimpleNamespace, option: Any
) -> None:
    """A frame alone has no neighbors in time, which does not make it bad."""
    alone, rows = balanced(world, {})
    weights, with_smoothness = balanced(world, dict(smoothness=option))
    assert rows == with_smoothness == [0, 1, 2, 4, 5]
    smoothness = weights.pop('smoothness')
    assert weights == alone
    assert smoothness == 10 if option is True else smoothness > 0


def test_a_bad_frame_ends_the_run_on_demand(world: SimpleNamespace) -> None:
    with pytest.raises(FloatingPointError, match="'joint_3d' is not finite.*\nframes: .'frame 0'"):
        balanced(world, {}, leaves_out=False)


def test_a_term_that_is_zero_on_the_first_frames_is_refused(world: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="terms.'shape_prior'. is zero on the first frames"):
        balanced(world, dict(shape_prior=True))
    assert balanced(world, dict(shape_prior=0.02))[0]['shape_prior'] == 0.02


@pytest.mark.parametrize(
    ('calibration', 'message'),
    [
        (None, 'a batch_size of at least 3$'),
        (SimpleNamespace(moments=None), 'a batch_size of at least 3$'),
        (SimpleNamespace(moments=400), 'moments=400 are spread .*set calibration.moments=None'),
    ],
)
def test_first_frames_without_neighbors_in_time_name_the_calibration_that_chose_them(
    world: SimpleNamespace, calibration: Any, message: str
) -> None:
    options = SimpleNamespace(calibration_options=calibration)
    energy = FitEnergy(terms=dict(smoothness=True))
    start = RefinementStart(None, None, options, None, None, energy, torch.device('cpu'))
    start._check_effects(world.frames_of([0, 1, 2]))
    with pytest.raises(ValueError, match=f'smoothness: no frame .*{message}'):
        start._check_effects(world.frames_of([0, 1]))


def test_a_calibration_is_not_blamed_for_masks_without_probabilities(
    world: SimpleNamespace,
) -> None:
    options = SimpleNamespace(calibration_options=SimpleNamespace(moments=400))
    energy = FitEnergy(terms=dict(silhouette=dict(mask_cells=28, mask_blur=0.7)))
    start = RefinementStart(None, None, options, None, None, energy, torch.device('cpu'))
    frames = world.frames_of([0, 1, 2])
    frames.observed.mask = torch.ones(3, 64, 64)
    with pytest.raises(ValueError, match='mask_blur=0.7 needs .* or set mask_blur=0$'):
        start._check_effects(frames)


@pytest.mark.parametrize(
    ('share', 'named'),
    [
        (dict(pose='moment', betas='subject'), "share: pose='moment': expected"),
        (dict(betas='moment'), "share: betas='moment': expected"),
        (dict(pose='moment', betas='moment'), "share: pose='moment' and betas='moment': expected"),
    ],
)
def test_frames_that_share_a_variable_of_a_moment_need_batches_of_moments(
    share: dict[str, str], named: str
) -> None:
    loaders = {
        sampler: SimpleNamespace(batch_sampler=sampler.__new__(sampler))
        for sampler in (FrameBatchSampler, MomentBatchSampler)
    }
    check_batches(loaders[MomentBatchSampler], Sharing(**share))
    check_batches(loaders[FrameBatchSampler], Sharing(betas='subject'))
    with pytest.raises(ValueError, match=f'{named} .*found FrameBatchSampler.*MomentBatchSampler'):
        check_batches(loaders[FrameBatchSampler], Sharing(**share))
