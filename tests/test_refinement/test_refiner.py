"""Refinement of a batch: the accuracy it reaches, and the independence of samples."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from scipy.spatial.transform import Rotation

from mmjrr.body_models import free_body
from mmjrr.geometry import (
    PerspectiveCamera,
    axis_angle_to_matrix,
    matrix_to_rotation_6d,
)
from mmjrr.models.discriminators import FitDiscriminator
from mmjrr.refinement import EnergyTerm, FitEnergy, FitRefiner, Observations
from mmjrr.refinement.corrections import CORRECTIONS
from mmjrr.refinement.refiner import soft_iou
from mmjrr.refinement.variables import FitVariables
from mmjrr.regressors import JointRegressor
from mmjrr.rendering import ContourSilhouette
from mmjrr.rendering.silhouette_renderer import DeferredChecks

SIZE = (96, 96)
#: Radians, meters or shape units; libraries other than MKL may round by batch size.
TOLERANCE = 0.0 if torch.backends.mkl.is_available() else 2e-3


@pytest.fixture(scope='module')
def world() -> dict:
    """Three bodies seen by three cameras, and fits that are a little off."""
    generator = torch.Generator().manual_seed(0)
    body = free_body().requires_grad_(False)
    regressor = JointRegressor.load('free_body_h36m').reorder('mmpose')
    renderer = ContourSilhouette(body.faces, image_size=SIZE)
    true = dict(
        global_orient=torch.tensor([[3.0, 0.0, 0.0], [2.9, 0.3, 0.2], [0.2, 3.0, 0.3]]),
        body_pose=0.15 * torch.randn(3, 69, generator=generator),
        betas=torch.randn(3, 10, generator=generator),
        transl=torch.tensor([[0.0, 0.1, 5.0], [0.2, 0.0, 4.5], [-0.2, 0.1, 5.5]]),
    )
    camera = PerspectiveCamera(torch.full((3, 2), 180.0), torch.full((3, 2), 48.0))
    vertices = body(**true).vertices
    joints = regressor(vertices)
    observed = Observations(
        keypoints_3d=joints,
        keypoints_3d_weight=torch.ones(3, 17),
        keypoints_2d=camera.project(joints),
        keypoints_2d_weight=torch.ones(3, 17),
        camera=camera,
        mask=renderer(vertices, camera),
    )
    init = dict(
        global_orient=true['global_orient'] + 0.05,
        body_pose=true['body_pose'] + 0.1 * torch.randn(3, 69, generator=generator),
        betas=0.3 * true['betas'],
        transl=true['transl'] + 0.1,
    )
    return dict(
        body=body, regressor=regressor, renderer=renderer, observed=observed, init=init, true=true
    )


def refiner(world: dict, terms: dict, **options) -> FitRefiner:
    torch.manual_seed(0)
    return FitRefiner(
        world['body'],
        world['regressor'],
        world['renderer'],
        FitEnergy(terms=terms),
        FitDiscriminator(),
        **options,
    )


WITHOUT_ADVERSARY = dict(adv_pose=False, adv_shape=False)


@pytest.mark.slow
def test_exact_observations_are_approached(world: dict) -> None:
    result = refiner(world, WITHOUT_ADVERSARY, num_iters=60).refine(
        world['init'], world['observed']
    )
    assert result.iou_init is not None and result.iou_refined is not None
    assert (result.iou_refined > result.iou_init).all()
    assert result.iou_refined.min() > 0.93
    for name, value in result.terms_refined.items():
        assert (value < 0.2 * result.terms_init[name].mean()).all(), name
    # Better matched, and nearer to the truth as well.
    errors = []
    for fits in (world['init'], result.refined):
        posed = world['body'](**{**fits, 'transl': torch.zeros(3, 3)})
        true = world['body'](**{**world['true'], 'transl': torch.zeros(3, 3)})
        difference = (posed.vertices - posed.joints[:, :1]) - (true.vertices - true.joints[:, :1])
        errors.append(difference.norm(dim=-1).mean(1))
    assert (errors[1] < errors[0]).all()


def test_terms_start_balanced_and_the_weights_can_be_given(world: dict) -> None:
    refining = refiner(world, dict(silhouette=dict(scale=10.0)), num_iters=1)
    result = refining.refine(world['init'], world['observed'])
    for name, value in result.terms_init.items():
        expected = 10.0 if name == 'silhouette' else 1.0
        assert result.weights[name] * float(value.mean()) == pytest.approx(expected, rel=1e-5)
    again = refining.refine(world['init'], world['observed'], weights=result.weights)
    assert again.weights == result.weights


def test_a_term_without_a_mask_that_shows_a_person_is_not_balanced(world: dict) -> None:
    empty = dataclasses.replace(world['observed'], mask=torch.zeros_like(world['observed'].mask))
    with pytest.raises(ValueError, match="terms.'silhouette'. cannot be balanced .* all empty"):
        refiner(world, dict(silhouette=True), num_iters=1).refine(world['init'], empty)
    for option in (dict(weight=3.0), dict(scale=0.0)):
        fits = refiner(world, dict(silhouette=option), num_iters=1).refine(world['init'], empty)
        assert not fits.terms_refined['silhouette'].any()


def test_samples_do_not_influence_one_another(world: dict) -> None:
    refining = refiner(world, {}, num_iters=5)
    together = refining.refine(world['init'], world['observed'])
    o = world['observed']
    for index in range(3):
        part = slice(index, index + 1)
        alone = refining.refine(
            {name: value[part] for name, value in world['init'].items()},
            Observations(
                o.keypoints_3d[part],
                o.keypoints_3d_weight[part],
                o.keypoints_2d[part],
                o.keypoints_2d_weight[part],
                o.camera[part],
                o.mask[part],
            ),
            weights=together.weights,
        )
        for name, value in alone.refined.items():
            torch.testing.assert_close(
                value[0], together.refined[name][index], rtol=0, atol=TOLERANCE
            )


@pytest.mark.slow
def test_parts_do_not_change_the_result(world: dict, monkeypatch) -> None:
    refining = refiner(world, {}, num_iters=5)
    results, threads = {}, torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for smallest in (8, 1):  # the whole, or one and two at the same time
            monkeypatch.setattr('mmjrr.refinement.refiner.SMALLEST_PART', smallest)
            results[smallest] = refining.refine(world['init'], world['observed']).refined
            assert torch.get_num_threads() == 2
        again = refining.refine(world['init'], world['observed']).refined
    finally:
        torch.set_num_threads(threads)
    for name, value in results[1].items():
        assert torch.equal(value, again[name]), name
        torch.testing.assert_close(value, results[8][name], rtol=0, atol=TOLERANCE)


def start_of(world: dict) -> dict[str, torch.Tensor]:
    """Return the minimizer's start."""
    init = world['init']
    pose = torch.cat([init['global_orient'], init['body_pose']], 1).unflatten(1, (-1, 3))
    return dict(
        pose_6d=matrix_to_rotation_6d(axis_angle_to_matrix(pose)),
        betas=init['betas'],
        transl=init['transl'],
    )


WEIGHTS = dict(joint_3d=1.0, joint_2d=1.0, silhouette=10.0, adv_pose=0.1, adv_shape=0.1)


def test_without_host_sync_the_result_is_the_same(world: dict, monkeypatch) -> None:
    monkeypatch.setattr(world['renderer'], 'compiled', False)  # as on a GPU
    refining = refiner(world, {}, num_iters=5)
    variables = refining._variables(world['init'], None)
    everything = variables.all_frames()
    arguments = variables, start_of(world), everything, world['observed'], WEIGHTS
    expected = refining._minimize(*arguments)
    calls: list[bool] = []
    minimize = refining._minimize

    def counted(*arguments):
        calls.append(refining.renderer._capacity is not None)
        return minimize(*arguments)

    monkeypatch.setattr(refining, '_minimize', counted)
    result = refining._without_host_sync(*arguments)
    assert calls == [True]
    # If the capacity is too small, the batch is refined again, with the host waiting.
    monkeypatch.setattr('mmjrr.rendering.contour.torch_backend._CAPACITY_FACTOR', 0.01)
    again = refining._without_host_sync(*arguments)
    assert calls == [True, True, False]
    for name, value in expected.items():
        torch.testing.assert_close(result[name], value, rtol=0, atol=2e-3)
        torch.testing.assert_close(again[name], value, rtol=0, atol=2e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('eta_min_ratio', [1.0, 0.1])
def test_iterations_replayed_on_a_gpu_give_the_same(world: dict, eta_min_ratio: float) -> None:
    device = torch.device('cuda')
    observed = Observations(
        **{name: None if v is None else v.to(device) for name, v in vars(world['observed']).items()}
    )
    init = {name: value.to(device) for name, value in world['init'].items()}
    results = {}
    for cuda_graph in (False, True):
        refining = refiner(
            world, {}, num_iters=20, eta_min_ratio=eta_min_ratio, cuda_graph=cuda_graph
        )
        for name in ('body', 'regressor', 'renderer', 'discriminator'):
            setattr(refining, name, copy.deepcopy(getattr(refining, name)).to(device))
        results[cuda_graph] = refining.refine(init, observed, WEIGHTS).refined
    for name, value in results[True].items():
        torch.testing.assert_close(value, results[False][name], rtol=0, atol=2e-3)


def to_meta(tensors: dict) -> dict:
    return {name: None if v is None else v.to('meta') for name, v in tensors.items()}


@pytest.mark.parametrize('corrected', [False, True])
def test_iterations_ask_for_no_value(world: dict, monkeypatch, corrected: bool) -> None:
    """On the device 'meta' tensors have no values, as if they were never there in time."""
    monkeypatch.setattr(world['renderer'], 'compiled', False)  # as on a GPU
    adam = torch.optim.Adam  # some PyTorch knows nothing of 'meta' in its foreach way
    monkeypatch.setattr(
        torch.optim, 'Adam', lambda groups, **o: adam(groups, **o | {'foreach': False})
    )
    refining = refiner(world, {}, num_iters=3)
    start, seen = start_of(world), world['observed']
    corrections = {name: torch.zeros(3, one.size) for name, one in CORRECTIONS.items() if corrected}
    start |= corrections
    variables = refining._variables(start, None)
    everything = variables.all_frames()
    vertices = variables.at_frames(start, everything, seen.camera).vertices
    with world['renderer'].without_host_sync(vertices, seen.camera):
        renderer = copy.deepcopy(world['renderer']).to('meta')
    renderer._deferred = DeferredChecks('meta')
    camera = copy.copy(seen.camera)
    vars(camera).update(
        to_meta(dict(focal_length=camera.focal_length, principal_point=camera.principal_point))
    )
    on_meta = FitRefiner(
        copy.deepcopy(refining.body).to('meta'),
        copy.deepcopy(refining.regressor).to('meta'),
        renderer,
        refining.energy,
        refining.discriminator.to('meta'),
        num_iters=3,
    )
    tensors = {name: value for name, value in vars(seen).items() if name != 'camera'}
    observed = Observations(camera=camera, **to_meta(tensors))
    variables = FitVariables(on_meta.body, on_meta.sharing, None, 3, list(corrections))
    arguments = variables, to_meta(start), everything, observed, WEIGHTS
    result = on_meta._minimize(*arguments)
    assert {name: value.shape for name, value in result.items()} == {
        name: value.shape for name, value in start.items()
    }
    renderer._capacity = renderer._deferred = None
    with pytest.raises((RuntimeError, NotImplementedError)):
        on_meta._minimize(*arguments)


def test_an_error_in_a_part_arrives(world: dict, monkeypatch) -> None:
    refining, threads = refiner(world, {}, num_iters=2), torch.get_num_threads()
    monkeypatch.setattr('mmjrr.refinement.refiner.SMALLEST_PART', 1)
    minimize = refining._minimize

    def fails(variables: FitVariables, start: dict, *arguments) -> dict:
        if len(start['transl']) == 1:  # the second part
            raise ValueError('projected vertices are not finite')
        return minimize(variables, start, *arguments)

    monkeypatch.setattr(refining, '_minimize', fails)
    try:
        torch.set_num_threads(2)
        with pytest.raises(ValueError, match='not finite'):
            refining.refine(world['init'], world['observed'])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize('init_translation', ['3d', '2d'])
def test_the_translation_alone_is_found_in_closed_form(world: dict, init_translation) -> None:
    init = dict(world['true'], transl=world['true']['transl'] + 1.0)
    result = refiner(
        world, WITHOUT_ADVERSARY, num_iters=1, init_translation=init_translation
    ).refine(init, world['observed'])
    torch.testing.assert_close(result.init['transl'], world['true']['transl'], rtol=0, atol=5e-3)


def test_the_translation_is_found_in_the_image_of_a_camera_with_corrected_extrinsics(
    world: dict,
) -> None:
    o = world['observed']
    rotvec = torch.tensor([[0.02, -0.01, 0.05]]).expand(3, 3)
    translation = torch.tensor([[0.03, -0.02, 0.1]]).expand(3, 3)
    turned = torch.from_numpy(Rotation.from_rotvec(rotvec.numpy()).as_matrix()).float()
    joints = torch.einsum('bij,bkj->bki', turned, o.keypoints_3d) + translation[:, None]
    observed = dataclasses.replace(o, keypoints_2d=o.camera.project(joints))
    init = dict(world['true'], extrinsic_rotation=rotvec, extrinsic_translation=translation)
    init['transl'] = init['transl'] + 1.0
    refining = refiner(world, WITHOUT_ADVERSARY, num_iters=1, init_translation='2d')
    result = refining.refine(init, observed)
    torch.testing.assert_close(result.init['transl'], world['true']['transl'], rtol=0, atol=5e-3)
    # The first value of joint_2d is through the same camera.
    assert float(result.terms_init['joint_2d'].max()) < 1e-6


def test_joints_without_weight_do_not_matter(world: dict) -> None:
    o = world['observed']
    weight = torch.ones(3, 17)
    weight[:, 5] = 0
    results = []
    for value in (0.0, 100.0):
        joints_3d, joints_2d = o.keypoints_3d.clone(), o.keypoints_2d.clone()
        joints_3d[:, 5] = value
        joints_2d[:, 5] = value
        observed = Observations(joints_3d, weight, joints_2d, weight, o.camera, o.mask)
        results.append(
            refiner(world, WITHOUT_ADVERSARY, num_iters=3).refine(world['init'], observed)
        )
    for name in results[0].refined:
        assert torch.equal(results[0].refined[name], results[1].refined[name])


def test_the_discriminator_is_left_as_it_was(world: dict) -> None:
    refining = refiner(world, {}, num_iters=2)
    assert refining.discriminator is not None
    before = [p.clone() for p in refining.discriminator.parameters()]
    refining.refine(world['init'], world['observed'])
    for parameter, old in zip(refining.discriminator.parameters(), before, strict=True):
        assert parameter.requires_grad and parameter.grad is None
        assert torch.equal(parameter, old)


def test_labels_that_are_known_to_be_off_do_not_move_the_body(world: dict) -> None:
    """Shanks turn the ankles' offsets: the labels are made by the formula, joint by joint."""
    ankle, knee = 6, 4  # left: joint of the labels, joint of SMPL that turns the shank
    true, observed = world['true'], world['observed']
    chain = torch.cat([true['global_orient'], true['body_pose']], 1).unflatten(1, (24, 3))
    matrices = axis_angle_to_matrix(chain)
    shank = matrices[:, 0] @ matrices[:, 1] @ matrices[:, knee]  # pelvis, left hip, left knee
    offset = torch.tensor([0.02, -0.03, 0.01])
    labels = observed.keypoints_3d.clone()
    labels[:, ankle] += shank @ offset
    offsets = torch.zeros(3, 17, 3)
    offsets[:, ankle] = offset
    moved = dataclasses.replace(
        observed, keypoints_3d=labels, keypoints_2d=observed.camera.project(labels)
    )
    with_offsets = dataclasses.replace(moved, label_offsets=offsets)
    terms = dict(WITHOUT_ADVERSARY, silhouette=False)
    start = {name: value.clone() for name, value in true.items()}
    weights = dict(joint_3d=1.0, joint_2d=1.0)
    refine = refiner(world, terms, num_iters=1).refine
    # Of the values' rounding: a thousandth of a millimeter, squared, and of a pixel.
    assert float(refine(start, with_offsets, weights).terms_init['joint_3d'].max()) < 1e-9
    assert float(refine(start, with_offsets, weights).terms_init['joint_2d'].max()) < 1e-4
    assert float(refine(start, moved, weights).terms_init['joint_3d'].min()) > 1e-5


def test_terms_that_are_not_finite_are_named(world: dict) -> None:
    o = world['observed']
    joints = o.keypoints_3d.clone()
    joints[1, 3] = float('nan')
    observed = Observations(
        joints, o.keypoints_3d_weight, o.keypoints_2d, o.keypoints_2d_weight, o.camera, o.mask
    )
    with pytest.raises(FloatingPointError, match=r"'joint_3d'.*samples \[1\]"):
        refiner(world, WITHOUT_ADVERSARY, init_translation='2d').refine(world['init'], observed)


def test_wrong_options_are_refused(world: dict) -> None:
    for options, message in (
        (dict(num_iters=0), 'num_iters: found 0'),
        (dict(num_iters=2.0), 'num_iters: found 2.0, expected an integer'),
        (dict(chunk_size=True), 'chunk_size: found True, expected an integer'),
        (dict(lr=-0.01), 'lr: found -0.01'),
        (dict(lr=0.0), 'lr: found 0.0'),
        (dict(lr=float('nan')), 'lr: found nan'),
        (dict(betas=(0.9, 1.0)), r'betas: found \(0.9, 1.0\)'),
        (dict(betas=0.9), 'betas: found 0.9, expected two numbers'),
        (dict(betas='ab'), "betas: found 'ab', expected two numbers"),
        (dict(lr_mult=dict(beta=1.0)), 'lr_mult: unknown'),
        (dict(lr_mult=dict(betas=-3.0)), 'lr_mult: betas: found -3.0'),
        (dict(lr_mult=dict(transl=float('inf'))), 'lr_mult: transl: found inf'),
        (dict(prior=dict(outline_offset=0.0)), 'prior: outline_offset: found 0.0'),
        (dict(init_translation='4d'), 'init_translation'),
    ):
        with pytest.raises(ValueError, match=message):
            refiner(world, {}, **options)
    blocks = FitEnergy(terms=WITHOUT_ADVERSARY, silhouette_levels=(1, 97))
    with pytest.raises(ValueError, match=r'silhouette: levels: found \(1, 97\)'):
        FitRefiner(world['body'], world['regressor'], world['renderer'], blocks)
    with pytest.raises(ValueError, match='no discriminator'):
        FitRefiner(world['body'], world['regressor'], world['renderer'], FitEnergy())
    with pytest.raises(ValueError, match='no renderer'):
        FitRefiner(world['body'], world['regressor'], None, FitEnergy(terms=WITHOUT_ADVERSARY))


def in_time(observed: Observations) -> Observations:
    times = dict(video=torch.zeros(3, dtype=torch.int64), frame=torch.tensor([11, 1, 6]))
    return dataclasses.replace(observed, **times)


def test_a_term_that_couples_frames_sees_the_whole_batch(world: dict, monkeypatch) -> None:
    monkeypatch.setattr('mmjrr.refinement.refiner.SMALLEST_PART', 1)
    refining = refiner(world, dict(smoothness=True), num_iters=2)
    seen, threads = [], torch.get_num_threads()
    minimize = refining._minimize

    def counted(variables: FitVariables, start: dict, *arguments):
        seen.append(len(start['transl']))
        return minimize(variables, start, *arguments)

    monkeypatch.setattr(refining, '_minimize', counted)
    try:
        torch.set_num_threads(2)
        result = refining.refine(world['init'], in_time(world['observed']))
    finally:
        torch.set_num_threads(threads)
    assert seen == [3]
    assert (result.terms_init['smoothness'] > 0).tolist() == [False, False, True]
    assert result.weights['smoothness'] == 10.0


def test_a_first_batch_without_neighbors_in_time_is_refused(world: dict) -> None:
    observed = in_time(world['observed'])
    apart = refiner(world, dict(smoothness=dict(max_gap=4)))
    with pytest.raises(ValueError, match='smoothness: no frame of the first batch.*shuffle=False'):
        apart.refine(world['init'], observed)
    with pytest.raises(ValueError, match='no video and frame number'):
        apart.refine(world['init'], world['observed'])


def test_terms_see_the_posed_bodies_and_their_gradients_arrive(world: dict) -> None:
    class Near(EnergyTerm):
        """Squared distance from the camera beyond 4 m."""

        def forward(self, bodies, observed):
            assert bodies.rotations.shape == (3, 24, 3, 3)
            assert bodies.vertices.shape[2] == 3
            assert bodies.image_size == SIZE
            assert bodies.camera is observed.camera
            return (bodies.transl[:, 2] - 4).clamp_min(0).square()

    off = dict.fromkeys(('joint_3d', 'joint_2d', 'silhouette', 'adv_pose', 'adv_shape'), False)
    refining = refiner(world, off | dict(near=dict(type=Near, weight=1.0)), num_iters=10)
    result = refining.refine(world['init'], world['observed'])
    assert (result.terms_refined['near'] < result.terms_init['near']).all()
    moved = result.refined['transl'] - result.init['transl']
    torch.testing.assert_close(moved[:, 2], torch.full((3,), -0.1), rtol=0.1, atol=0)
    assert not moved[:, :2].any()


def test_a_frame_whose_mask_is_empty_is_refined_without_it(world: dict) -> None:
    whole, terms = world['observed'], dict(joint_3d=1.0, joint_2d=1.0, silhouette=100.0)
    mask = whole.mask.clone()
    mask[1] = 0
    fits = refiner(world, terms, num_iters=3).refine(
        world['init'], dataclasses.replace(whole, mask=mask)
    )
    expected = refiner(world, terms, num_iters=3).refine(world['init'], whole)
    without = refiner(world, dict(terms, silhouette=None), num_iters=3).refine(
        world['init'], dataclasses.replace(whole, mask=None)
    )
    assert fits.iou_refined.isnan().tolist() == [row == 1 for row in range(len(mask))]
    assert fits.terms_refined['silhouette'][1] == 0
    for name, value in fits.refined.items():
        torch.testing.assert_close(value[1], without.refined[name][1])
        torch.testing.assert_close(value[0], expected.refined[name][0])


def test_soft_iou_of_boxes() -> None:
    a, b = torch.zeros(2, 1, 10, 10)
    a[0, :, :6] = 1
    b[0, :, 4:] = 1
    assert float(soft_iou(a, b)) == pytest.approx(2 / 10)


def test_each_way_to_refine_lets_terms_compute_values_once_per_batch(world: dict) -> None:
    terms = dict(silhouette=dict(mask_cells=8, gate=True), **WITHOUT_ADVERSARY)
    refining = refiner(world, terms, num_iters=1)
    result = refining.refine(world['init'], world['observed'])
    weights = refining.energy.balance(refining.initial_terms(world['init'], world['observed']))
    jointly = refining.refine_jointly(world['init'], world['observed'], weights)
    for value in (result.terms_init['silhouette'], jointly.terms_init['silhouette']):
        assert value.shape == (3,)
        assert (value > 0).all()


def test_two_silhouette_terms_keep_their_own_cells_and_gates(world: dict) -> None:
    o = world['observed']
    observed = dataclasses.replace(o, keypoints_2d=o.keypoints_2d + 20)  # hands off the mask
    alone = dict(silhouette=dict(mask_cells=8), **WITHOUT_ADVERSARY)
    coarse = dict(type='SilhouetteTerm', mask_cells=4)
    gated = dict(type='SilhouetteTerm', gate=True)

    def values(terms: dict) -> dict[str, float]:
        return refiner(world, terms).initial_terms(world['init'], observed)

    expected = {
        'silhouette': values(alone)['silhouette'],
        'coarse': values(dict(WITHOUT_ADVERSARY, silhouette=coarse))['silhouette'],
        'gated': values(dict(WITHOUT_ADVERSARY, silhouette=gated))['silhouette'],
    }
    assert len({round(value, 5) for value in expected.values()}) == 3
    together = values(dict(alone, coarse=coarse, gated=gated))
    assert {name: together[name] for name in expected} == pytest.approx(expected, rel=1e-5)
