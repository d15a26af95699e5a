"""Variables that frames share: the bodies they pose, the way back of gradients, and joint fits."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from small_body import small_body

from mmjrr.body_models import SMPL, free_body
from mmjrr.geometry import (
    PerspectiveCamera,
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_rotation_6d,
)
from mmjrr.geometry.surface import vertex_normals
from mmjrr.joints import BODY_PARTS, H36M_JOINTS_MMPOSE, SMPL_JOINTS
from mmjrr.refinement import FitEnergy, FitRefiner, Observations
from mmjrr.refinement.corrections import CORRECTIONS, RigidMotion
from mmjrr.refinement.terms import PosedBodies
from mmjrr.refinement.variables import (
    FitVariables,
    FrameGroups,
    Sharing,
    mean_by_group,
    nearest_rotation,
    share_rows,
)
from mmjrr.regressors import JointRegressor
from mmjrr.regressors.label_offsets import part_index_of, part_rotations, turned
from mmjrr.rendering import ContourSilhouette

#: One to four views of four moments of two subjects; cameras 0 to 3 of subject 0, 4 to 7 of 1.
MOMENT = [0, 0, 0, 0, 1, 2, 2, 2, 3, 3]
SUBJECT = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
CAMERA = [0, 1, 2, 3, 1, 4, 5, 7, 6, 7]
EVERY_CORRECTION = dict(
    principal_point='camera',
    extrinsics='camera',
    outline_offset='subject',
    part_outline_offset='subject',
    joint_offset='all',
)


@pytest.fixture(scope='module')
def body(tmp_path_factory: pytest.TempPathFactory) -> SMPL:
    path = tmp_path_factory.mktemp('body') / 'small.npz'
    np.savez(path, **small_body())
    return SMPL(path, dtype=torch.float64).requires_grad_(False)


def groups() -> FrameGroups:
    return FrameGroups(*(torch.tensor(numbers) for numbers in (MOMENT, SUBJECT, CAMERA)))


def cameras(count: int = len(MOMENT), dtype: torch.dtype = torch.float64) -> PerspectiveCamera:
    """Cameras of frames that look at the origin from 5 m; equal numbers are one camera."""
    rotations = Rotation.from_euler('yx', [[50 * c, 10 + c] for c in CAMERA[:count]], degrees=True)
    rotation = torch.from_numpy(rotations.as_matrix()).to(dtype)
    position = -5 * rotation[:, 2]
    focal_length = torch.full((count, 2), 180.0, dtype=dtype)
    return PerspectiveCamera(
        focal_length, torch.full_like(focal_length, 48.0), rotation=rotation, position=position
    )


def random_values(variables: FitVariables, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    counts = {
        name: variables.count if index is None else int(index.max()) + 1
        for name, index in variables.index.items()
    }
    pose = axis_angle_to_matrix(0.4 * normal(counts['pose_6d'], 24, 3))
    values = dict(
        pose_6d=matrix_to_rotation_6d(pose),
        betas=normal(counts['betas'], 10),
        transl=0.2 * normal(counts['transl'], 3),
    )
    for name, correction in CORRECTIONS.items():
        if name in counts:
            values[name] = 0.01 * normal(counts[name], correction.size)
    return values


@pytest.mark.parametrize('betas', ['frame', 'moment', 'subject', 'fixed'])
def test_shared_bodies_are_the_worlds_as_each_camera_sees_it(body: SMPL, betas: str) -> None:
    """Reference: each frame's body posed in the world by itself, and its vertices transformed."""
    sharing = Sharing(pose='moment', betas=betas)
    variables = FitVariables(body, sharing, groups(), len(MOMENT))
    values, camera = random_values(variables), cameras()
    bodies = variables.at_frames(values, variables.all_frames(), camera)
    shape_of = dict(frame=range(10), moment=MOMENT, subject=SUBJECT, fixed=MOMENT)[betas]
    for frame in range(len(MOMENT)):
        root, q = values['pose_6d'][MOMENT[frame]][None], values['transl'][MOMENT[frame]]
        shape = values['betas'][shape_of[frame]][None]
        pose = dict(global_orient=root[:, :1], body_pose=root[:, 1:], betas=shape)
        at_origin = body(**pose)
        in_world = at_origin.vertices[0] - at_origin.joints[0, 0] + q
        rotation, position = camera.rotation[frame], camera.position[frame]
        expected = (in_world - position) @ rotation.T
        torch.testing.assert_close(bodies.vertices[frame], expected)
        # The fit of this frame alone, as it is stored, poses the same vertices.
        alone = body(
            global_orient=bodies.rotations[frame, None, :1],
            body_pose=bodies.rotations[frame, None, 1:],
            betas=bodies.betas[frame, None],
            transl=bodies.transl[frame, None],
        )
        torch.testing.assert_close(alone.vertices[0], expected)
        torch.testing.assert_close(bodies.betas[frame], shape[0])


def test_gradients_of_shared_variables_are_the_sums_over_their_copies(body: SMPL) -> None:
    sharing = Sharing('moment', 'subject', **EVERY_CORRECTION)
    variables = FitVariables(body, sharing, groups(), len(MOMENT))
    values, camera = random_values(variables), cameras()
    target = torch.randn(
        len(MOMENT), body.num_vertices, 2, dtype=torch.float64, generator=torch.manual_seed(5)
    )

    def energy(bodies: Any) -> torch.Tensor:
        of_outlines = (bodies.camera.project(bodies.outline) / 50 - target).square().sum()
        return of_outlines + (bodies.joint_offset * target[:, :17, :1]).sum()

    shared = {name: value.clone().requires_grad_() for name, value in values.items()}
    energy(variables.at_frames(shared, variables.all_frames(), camera)).backward()
    # Copies: every frame has its own row of every variable.
    own = torch.arange(len(MOMENT))
    apart = FitVariables(body, sharing, FrameGroups(own, own, own), len(MOMENT))
    copies = {name: values[name][variables.index[name]].clone().requires_grad_() for name in values}
    energy(apart.at_frames(copies, apart.all_frames(), camera)).backward()
    for name, value in shared.items():
        expected = torch.zeros_like(value).index_add_(0, variables.index[name], copies[name].grad)
        torch.testing.assert_close(value.grad, expected, msg=name)
        assert float(expected.abs().max()) > 0


def moved(camera: PerspectiveCamera, rotvec: Any, translation: Any) -> PerspectiveCamera:
    """Cameras at other poses, by SciPy: a point that they saw at x, they see at R x + t."""
    R = Rotation.from_rotvec(np.asarray(rotvec)).as_matrix()
    rotation, position = camera.rotation.numpy(), camera.position.numpy()
    center = position - np.einsum('bji,bkj,bk->bi', rotation, R, np.asarray(translation))
    return PerspectiveCamera(
        camera.focal_length, camera.principal_point, camera.distortion,
        rotation=torch.from_numpy(R @ rotation).to(camera.dtype),
        position=torch.from_numpy(center).to(camera.dtype),
    )  # fmt: skip


@pytest.mark.parametrize('pose', ['frame', 'moment'])
def test_only_the_image_is_seen_by_a_camera_with_corrected_extrinsics(
    body: SMPL, pose: str
) -> None:
    """Reference: the world's bodies, seen by cameras that stand elsewhere."""
    variables = FitVariables(body, Sharing(pose, 'frame', extrinsics='camera'), groups(), 10)
    values, camera = random_values(variables), cameras()
    bodies = variables.at_frames(values, variables.all_frames(), camera)
    calibrated = FitVariables(body, Sharing(pose, 'frame'), groups(), 10)
    as_calibrated = {name: values[name] for name in calibrated.names}
    expected = calibrated.at_frames(as_calibrated, calibrated.all_frames(), camera)
    for name in ('rotations', 'betas', 'transl', 'vertices'):
        torch.testing.assert_close(getattr(bodies, name), getattr(expected, name), msg=name)
    in_world = expected.vertices @ camera.rotation + camera.position[:, None]
    rotvec, translation = (values[f'extrinsic_{n}'][CAMERA] for n in ('rotation', 'translation'))
    seen_by = moved(camera, rotvec, translation)
    torch.testing.assert_close(bodies.outline, seen_by.world_to_camera(in_world))
    # Joints in the image, but not in space, go the same way.
    rows = np.random.default_rng(0).random((17, body.num_vertices))
    regressor = JointRegressor(rows / rows.sum(1, keepdims=True), H36M_JOINTS_MMPOSE, 'small')
    posed = PosedBodies(
        bodies.rotations, bodies.betas, bodies.transl, bodies.vertices, bodies.camera, (96, 96),
        regressor.double(), to_image=bodies.to_image,
    )  # fmt: skip
    torch.testing.assert_close(posed.joints, regressor(bodies.vertices))
    expected_2d = seen_by.project(seen_by.world_to_camera(regressor(in_world)))
    torch.testing.assert_close(posed.joints_2d, expected_2d)


@pytest.mark.parametrize('scale', [0.0, 1.0])
def test_gradients_of_corrections_are_those_of_finite_differences(body: SMPL, scale: float) -> None:
    """At zero, where refinement starts, and elsewhere."""
    variables = FitVariables(body, Sharing('moment', 'subject', **EVERY_CORRECTION), groups(), 10)
    values, camera = random_values(variables), cameras()
    names = list(CORRECTIONS)

    def seen(*corrections: torch.Tensor) -> torch.Tensor:
        at = dict(values, **dict(zip(names, corrections, strict=True)))
        bodies = variables.at_frames(at, variables.all_frames(), camera)
        return bodies.camera.project(bodies.outline)[:, ::20]

    start = [(scale * values[name]).requires_grad_() for name in names]
    assert torch.autograd.gradcheck(seen, start, fast_mode=True)


@pytest.mark.parametrize('size', [1, 4, 5, 8, 100])
def test_chunks_keep_moments_whole_and_add_up_to_the_gradient(body: SMPL, size: int) -> None:
    variables = FitVariables(body, Sharing('moment', 'subject'), groups(), len(MOMENT))
    chunks = variables.chunks(size)
    assert [i for chunk in chunks for i in range(10)[chunk]] == list(range(10))
    for chunk in chunks:
        assert len(set(MOMENT[chunk])) == 1 or len(MOMENT[chunk]) <= size
        assert not set(MOMENT[chunk]) & set(MOMENT[: chunk.start] + MOMENT[chunk.stop :])
    values, camera = random_values(variables), cameras()

    def gradient(frames: slice) -> dict[str, torch.Tensor]:
        selection = variables.select(frames)
        part = {n: v.clone().requires_grad_() for n, v in selection.take(values).items()}
        variables.at_frames(part, selection, camera[frames]).vertices.square().sum().backward()
        total = {name: torch.zeros_like(value) for name, value in values.items()}
        selection.add(total, {name: value.grad for name, value in part.items()})
        return total

    whole, parts = gradient(slice(0, 10)), [gradient(chunk) for chunk in chunks]
    for name, expected in whole.items():
        torch.testing.assert_close(sum(part[name] for part in parts), expected, msg=name)


@pytest.mark.parametrize('sharing', [Sharing('frame', 'moment'), Sharing('moment', 'frame')])
@pytest.mark.parametrize('size', [1, 3, 5])
def test_chunks_cut_no_moment_whichever_variable_it_shares(
    body: SMPL, sharing: Sharing, size: int
) -> None:
    chunks = FitVariables(body, sharing, groups(), 10).chunks(size)
    starts = {chunk.start for chunk in chunks}
    assert starts <= {0, 4, 5, 8} and len(starts) > 1


def test_chunks_keep_moments_together_whose_frames_alternate(body: SMPL) -> None:
    moment = torch.tensor([0, 1, 0, 1, 2, 3, 4, 3, 5, 5])
    apart = FrameGroups(moment, 0 * moment, 0 * moment)
    chunks = FitVariables(body, Sharing('moment', 'moment'), apart, 10).chunks(1)
    assert [(chunk.start, chunk.stop) for chunk in chunks] == [(0, 4), (4, 5), (5, 8), (8, 10)]
    alone = FitVariables(body, Sharing(), apart, 10).chunks(4)
    assert [(chunk.start, chunk.stop) for chunk in alone] == [(0, 4), (4, 8), (8, 10)]


def test_selections_tell_whether_they_share_a_variable(body: SMPL) -> None:
    def cut_at(frame: int, sharing: Sharing) -> bool:
        variables = FitVariables(body, sharing, groups(), 10)
        return share_rows([variables.select(slice(0, frame)), variables.select(slice(frame, 10))])

    for sharing in (Sharing('moment', 'moment'), Sharing('frame', 'moment')):
        assert cut_at(2, sharing) and not cut_at(4, sharing)
    assert cut_at(4, Sharing('frame', 'subject')) and not cut_at(5, Sharing('frame', 'subject'))
    assert not cut_at(2, Sharing())


def test_views_of_one_body_start_at_that_body(body: SMPL) -> None:
    """Fits that are one body seen by several cameras are averaged to that body."""
    variables = FitVariables(body, Sharing('moment', 'subject'), groups(), len(MOMENT))
    values, camera = random_values(variables), cameras()
    fits = variables.at_frames(values, variables.all_frames(), camera)
    start = variables.initial(fits.rotations, dict(betas=fits.betas), camera)
    start = variables.place(start, fits.transl, camera)
    assert start.keys() == values.keys()
    for name, value in values.items():
        torch.testing.assert_close(start[name], value, msg=name)


def test_rotations_are_averaged_as_rotations() -> None:
    angles = torch.tensor([[0.0, 0.0, 0.3], [0.0, 0.0, 0.9]], dtype=torch.float64)
    mean = nearest_rotation(axis_angle_to_matrix(angles).sum(0))
    expected = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 0.6], dtype=torch.float64))
    torch.testing.assert_close(mean, expected)
    values = torch.tensor([[1.0], [3.0], [5.0]])
    assert mean_by_group(values, torch.tensor([0, 1, 1])).tolist() == [[1.0], [4.0]]


@pytest.mark.parametrize(
    ('share', 'message'),
    [
        (dict(pose='subject'), "pose: found 'subject', expected one of"),
        (dict(betas='camera'), "betas: found 'camera'"),
        (dict(extrinsics='subject'), "extrinsics: found 'subject', expected one of"),
        (dict(shape='moment'), r"share: unknown \['shape'\]"),
    ],
)
def test_levels_that_do_not_exist_are_refused(
    world: dict[str, Any], share: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_refiner(world, share=share)


def test_missing_inputs_of_a_level_are_named(body: SMPL) -> None:
    with pytest.raises(ValueError, match='needs the moments'):
        FitVariables(body, Sharing('moment'), None, 3)
    variables = FitVariables(body, Sharing('moment'), groups(), len(MOMENT))
    without_pose = PerspectiveCamera([180.0, 180.0], [48.0, 48.0])
    with pytest.raises(ValueError, match='camera_param_file'):
        variables.at_frames(random_values(variables), variables.all_frames(), without_pose)


# -- refinement of several views -------------------------------------------------------------------

SIZE = (96, 96)


@pytest.fixture(scope='module')
def world() -> dict[str, Any]:
    """Bodies of MOMENT seen by CAMERA, and fits that are off by themselves in each view."""
    body = free_body().requires_grad_(False)
    regressor = JointRegressor.load('free_body_h36m').reorder('mmpose')
    renderer = ContourSilhouette(body.faces, image_size=SIZE)
    camera = cameras(dtype=torch.float32)
    variables = FitVariables(body, Sharing('moment', 'subject'), groups(), len(MOMENT))
    true = {name: value.float() for name, value in random_values(variables, seed=2).items()}
    upright = axis_angle_to_matrix(torch.tensor([torch.pi, 0.0, 0.0]))
    true['pose_6d'] = matrix_to_rotation_6d(
        axis_angle_to_matrix(0.15 * torch.randn(4, 24, 3, generator=torch.manual_seed(1)))
    )
    true['pose_6d'][:, 0] = matrix_to_rotation_6d(upright)
    bodies = variables.at_frames(true, variables.all_frames(), camera)
    joints = regressor(bodies.vertices)
    weight = torch.ones(len(MOMENT), 17)
    observed = Observations(
        keypoints_3d=joints,
        keypoints_3d_weight=weight,
        keypoints_2d=camera.project(joints),
        keypoints_2d_weight=weight,
        camera=camera,
        mask=renderer(bodies.vertices, camera),
    )
    noise = axis_angle_to_matrix(
        0.1 * torch.randn(len(MOMENT), 24, 3, generator=torch.manual_seed(4))
    )
    rotations = bodies.rotations @ noise
    pose = matrix_to_axis_angle(rotations)
    init = dict(
        global_orient=pose[:, 0],
        body_pose=pose[:, 1:].flatten(1),
        betas=0.3 * bodies.betas,
        transl=bodies.transl + 0.1,
    )
    return dict(
        body=body, regressor=regressor, renderer=renderer, observed=observed, init=init,
        true=bodies,
    )  # fmt: skip


def make_refiner(world: dict[str, Any], **options: Any) -> FitRefiner:
    off = dict(adv_pose=False, adv_shape=False)
    energy = FitEnergy(dict(joint_3d=dict(root=None), silhouette=dict(scale=10.0), **off))
    return FitRefiner(
        world['body'], world['regressor'], world['renderer'], energy,
        **{'num_iters': 4, 'lr_mult': dict(betas=3.0, transl=0.3), **options},
    )  # fmt: skip


def test_views_of_a_moment_end_in_one_body(world: dict[str, Any]) -> None:
    refiner = make_refiner(world, share=dict(pose='moment', betas='subject'))
    weights = refiner.energy.balance(
        refiner.initial_terms(world['init'], world['observed'], groups())
    )
    result = refiner.refine_jointly(world['init'], world['observed'], weights, groups())
    for name, numbers in (('body_pose', MOMENT), ('betas', SUBJECT)):
        value = result.refined[name]
        for i, j in zip(range(9), range(1, 10), strict=True):
            same = torch.equal(value[i], value[j])
            assert same == (numbers[i] == numbers[j]), (name, i, j)
    in_world = [
        (world['body'](**{k: v[i : i + 1] for k, v in result.refined.items()}).vertices[0])
        @ world['observed'].camera.rotation[i]
        + world['observed'].camera.position[i]
        for i in range(len(MOMENT))
    ]
    for i, j in ((0, 3), (5, 7), (8, 9)):
        torch.testing.assert_close(in_world[i], in_world[j], atol=2e-5, rtol=0)
    for name, value in result.terms_refined.items():
        assert float(value.mean()) < float(result.terms_init[name].mean()), name


def test_chunks_do_not_change_a_joint_refinement(world: dict[str, Any]) -> None:
    results = []
    for size in (3, 100):
        refiner = make_refiner(
            world, share=dict(pose='moment', betas='subject', **EVERY_CORRECTION),
            chunk_size=size, num_iters=3,
        )  # fmt: skip
        weights = dict(joint_3d=10.0, joint_2d=10.0, silhouette=100.0)
        results.append(refiner.refine_jointly(world['init'], world['observed'], weights, groups()))
    for name, value in results[0].values.items():
        torch.testing.assert_close(value, results[1].values[name], atol=2e-3, rtol=0, msg=name)


def test_moments_of_a_batch_do_not_influence_one_another(world: dict[str, Any]) -> None:
    refiner = make_refiner(world, share=dict(pose='moment', betas='fixed'))
    weights = dict(joint_3d=10.0, joint_2d=10.0, silhouette=100.0)
    together = refiner.refine(world['init'], world['observed'], weights, groups())
    rows = slice(5, 8)  # the third moment
    alone = refiner.refine(
        {name: value[rows] for name, value in world['init'].items()},
        world['observed'][rows],
        weights,
        FrameGroups(*(torch.zeros(3, dtype=torch.long) for _ in range(3))),
    )
    for name, value in alone.refined.items():
        torch.testing.assert_close(value, together.refined[name][rows], atol=2e-3, rtol=0)
    expected = mean_by_group(world['init']['betas'], groups().moment)[groups().moment]
    torch.testing.assert_close(together.refined['betas'], expected)


def test_a_batch_cannot_share_what_other_batches_have(world: dict[str, Any]) -> None:
    refiner = make_refiner(world, share=dict(pose='moment', betas='subject'))
    with pytest.raises(ValueError, match='refine_jointly'):
        refiner.refine(world['init'], world['observed'], {}, groups())


def fits_of(bodies: Any) -> dict[str, torch.Tensor]:
    """Return bodies as initial fits, in axis-angle."""
    pose = matrix_to_axis_angle(bodies.rotations)
    return dict(
        global_orient=pose[:, 0],
        body_pose=pose[:, 1:].flatten(1),
        betas=bodies.betas,
        transl=bodies.transl,
    )


@pytest.mark.parametrize('levels', [('moment', 'subject'), ('frame', 'frame')])
def test_each_part_of_the_outline_moves_along_its_normals(
    body: SMPL, levels: tuple[str, str]
) -> None:
    """Reference: a loop over parts and the joints that carry them."""
    sharing = Sharing(*levels, part_outline_offset='subject', outline_offset='subject')
    variables = FitVariables(body, sharing, groups(), len(MOMENT))
    values = random_values(variables)
    bodies = variables.at_frames(values, variables.all_frames(), cameras())
    expected = torch.zeros(len(MOMENT), body.num_vertices, dtype=torch.float64)
    for frame, subject in enumerate(SUBJECT):
        expected[frame] += values['outline_offset'][subject]
        for part, joints in enumerate(BODY_PARTS.values()):
            for joint in joints:
                weight = body.weight_planes[SMPL_JOINTS.index(joint)]
                expected[frame] += values['part_outline_offset'][subject, part] * weight
    faces = body.faces_tensor.numpy()
    normals = np.stack([vertex_normals(vertices, faces) for vertices in bodies.vertices.numpy()])
    expected = bodies.vertices + expected[:, :, None] * torch.from_numpy(normals)
    torch.testing.assert_close(bodies.outline, expected)
    assert sorted(joint for joints in BODY_PARTS.values() for joint in joints) == sorted(
        SMPL_JOINTS
    )


@pytest.mark.slow
def test_joints_that_lie_off_the_regressed_ones_are_found(world: dict[str, Any]) -> None:
    """From the true bodies, with ankles and the head off in the frames of their parts."""
    true, observed = world['true'], world['observed']
    planted = torch.zeros(17, 3)
    for joint, offset in (
        ('left_ankle', (0.0, 0.02, 0.01)), ('right_ankle', (0.0, 0.02, 0.01)),
        ('head', (0.0, -0.015, 0.02)),
    ):  # fmt: skip
        planted[H36M_JOINTS_MMPOSE.index(joint)] = torch.tensor(offset)
    rotations = dict(global_orient=true.rotations[:, :1], body_pose=true.rotations[:, 1:])
    shift = turned(
        planted.expand(len(true.betas), 17, 3),
        part_rotations(world['body'], **rotations),
        torch.tensor(part_index_of(H36M_JOINTS_MMPOSE)),
    )
    seen = dataclasses.replace(observed, keypoints_3d=observed.keypoints_3d + shift)
    init = fits_of(true)
    refiner = make_refiner(
        world, share=dict(pose='moment', betas='subject', joint_offset='all'), num_iters=80,
        lr=5e-3, eta_min_ratio=0.05, lr_mult=dict(joint_offset=0.5), init_translation=None,
        prior=dict(joint_offset=0.5),
    )  # fmt: skip
    weights = dict(joint_3d=100.0, joint_2d=0.0, silhouette=1000.0)
    values = refiner.refine_jointly(init, seen, weights, groups()).values
    found = values['joint_offset'].reshape(17, 3)
    torch.testing.assert_close(found, planted, atol=0.004, rtol=0)


@pytest.mark.slow
def test_a_moved_principal_point_and_a_clothed_outline_are_found(world: dict[str, Any]) -> None:
    """From the true bodies, with cameras off by 2 pixels, and masks of bodies 15 mm thicker."""
    true, observed = world['true'], world['observed']
    faces = world['body'].faces_tensor.numpy()
    normals = torch.from_numpy(
        np.stack([vertex_normals(vertices, faces) for vertices in true.vertices.numpy()])
    ).float()
    camera = observed.camera
    moved = PerspectiveCamera(
        camera.focal_length, camera.principal_point + torch.tensor([2.0, -1.0]), None, 'h36m',
        camera.rotation, camera.position,
    )  # fmt: skip
    mask = world['renderer'](true.vertices + 0.015 * normals, moved)
    seen = Observations(
        observed.keypoints_3d, observed.keypoints_3d_weight,
        moved.project(observed.keypoints_3d), observed.keypoints_2d_weight, camera, mask,
    )  # fmt: skip
    init = fits_of(true)
    share = dict(pose='moment', betas='subject', principal_point='camera', outline_offset='subject')
    refiner = make_refiner(
        world, share=share, num_iters=60, lr=5e-3, eta_min_ratio=0.05,
        lr_mult=dict(principal_point=0.2), prior=dict(principal_point=0.1, outline_offset=0.2),
    )  # fmt: skip
    weights = dict(joint_3d=100.0, joint_2d=100.0, silhouette=1000.0)
    values = refiner.refine_jointly(init, seen, weights, groups()).values
    shift = values['principal_point'] * 180
    torch.testing.assert_close(shift, torch.tensor([2.0, -1.0]).expand(8, 2), atol=0.4, rtol=0)
    torch.testing.assert_close(
        values['outline_offset'], torch.full((2, 1), 0.015), atol=0.004, rtol=0
    )


@pytest.mark.slow
def test_moved_cameras_are_found(world: dict[str, Any]) -> None:
    """From the true bodies: where the image shows their joints, two pixels off, is found."""
    true, observed = world['true'], world['observed']
    camera = observed.camera
    rotvec = np.tile([0.009, -0.012, 0.02], (10, 1))
    true_camera = moved(camera, rotvec, np.tile([0.03, -0.02, 0.06], (10, 1)))
    in_world = true.vertices @ camera.rotation + camera.position[:, None]
    mask = world['renderer'](true_camera.world_to_camera(in_world), true_camera)
    joints = observed.keypoints_3d @ camera.rotation + camera.position[:, None]
    expected = true_camera.project(true_camera.world_to_camera(joints))
    seen = Observations(
        observed.keypoints_3d, observed.keypoints_3d_weight, observed.keypoints_2d,
        observed.keypoints_2d_weight, camera, mask,
    )  # fmt: skip
    init = fits_of(true)
    off = dict(adv_pose=False, adv_shape=False, joint_2d=False)
    energy = FitEnergy(dict(joint_3d=dict(root=None), silhouette=dict(scale=10.0), **off))
    refiner = FitRefiner(
        world['body'], world['regressor'], world['renderer'], energy, num_iters=80, lr=5e-3,
        eta_min_ratio=0.05, share=dict(pose='moment', betas='subject', extrinsics='camera'),
        lr_mult=dict(extrinsic_rotation=0.2, extrinsic_translation=0.5, betas=3.0, transl=0.3),
        prior=dict(extrinsic_rotation=0.1, extrinsic_translation=0.2),
    )  # fmt: skip
    weights = dict(joint_3d=100.0, silhouette=1000.0)
    values = refiner.refine_jointly(init, seen, weights, groups()).values
    found = RigidMotion(
        axis_angle_to_matrix(values['extrinsic_rotation'][CAMERA]),
        values['extrinsic_translation'][CAMERA],
    )
    before = (camera.project(observed.keypoints_3d) - expected).norm(dim=-1)
    after = (camera.project(found.apply(observed.keypoints_3d)) - expected).norm(dim=-1)
    print(
        before.mean(1), after.mean(1), values['extrinsic_rotation'], values['extrinsic_translation']
    )
    assert float(before.mean(1).min()) > 1.5
    assert float(after.mean(1).max()) < 0.4
