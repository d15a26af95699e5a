"""SMPL against smplx, a reference implementation and closed forms."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import smplx
import torch
from scipy.spatial.transform import Rotation
from small_body import NUM_VERTICES, small_body
from torch import Tensor

from mmjrr.body_models import FREE_BODY_FILE, SMPL, free_body
from mmjrr.geometry import axis_angle_to_matrix, matrix_to_rotation_6d
from mmjrr.joints import SMPL_JOINTS, SMPL_PARENTS
from mmjrr.registry import BODY_MODELS


@pytest.fixture(scope='module')
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('smpl') / 'SMPL_NEUTRAL.npz'
    np.savez(path, **small_body())
    return path


@pytest.fixture
def body(small_file: Path) -> SMPL:
    return SMPL(small_file, dtype=torch.float64)


def parameters(batch: int = 3, scale: float = 0.5) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(5)
    shapes = dict(betas=(10,), body_pose=(23, 3), global_orient=(3,), transl=(3,))
    return {
        name: scale * torch.randn(batch, *shape, generator=draw, dtype=torch.float64)
        for name, shape in shapes.items()
    }


def reference_smpl(
    arrays: dict[str, Any], betas: np.ndarray, pose: np.ndarray, transl: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate SMPL's equations vertex by vertex: vertices (V, 3) and joints (24, 3)."""
    shaped = arrays['v_template'] + arrays['shapedirs'][:, :, : len(betas)] @ betas  # Eq. 8
    rest = arrays['J_regressor'] @ shaped  # Eq. 10
    local = Rotation.from_rotvec(pose.reshape(24, 3)).as_matrix()
    shaped = shaped + arrays['posedirs'] @ (local[1:] - np.eye(3)).ravel()  # Eq. 9
    world = np.zeros((24, 4, 4))
    for j, parent in enumerate(SMPL_PARENTS):  # Eq. 4
        step = np.eye(4)
        step[:3, :3] = local[j]
        step[:3, 3] = rest[j] - (rest[parent] if j else 0)
        world[j] = world[parent] @ step if j else step
    joints = world[:, :3, 3] + transl
    vertices = np.zeros_like(shaped)
    for v, position in enumerate(shaped):  # Eq. 2, 3
        for j in range(24):
            moved = world[j] @ np.array([*(position - rest[j]), 1.0])
            vertices[v] += arrays['weights'][v, j] * moved[:3]
    return vertices + transl, joints


def test_vertices_and_joints_agree_with_a_reference_implementation(body: SMPL) -> None:
    arguments = parameters()
    out = body(**arguments)
    for i in range(3):
        pose = torch.cat([arguments['global_orient'][i], arguments['body_pose'][i].flatten()])
        vertices, joints = reference_smpl(
            small_body(),
            arguments['betas'][i].numpy(),
            pose.numpy(),
            arguments['transl'][i].numpy(),
        )
        np.testing.assert_allclose(out.vertices[i].numpy(), vertices, atol=1e-12)
        np.testing.assert_allclose(out.joints[i].numpy(), joints, atol=1e-12)


def through_smplx(arrays: dict[str, Any], parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    def tensor(name: str) -> Tensor:
        return torch.from_numpy(np.asarray(arrays[name], dtype=np.float64))

    pose = torch.cat([parameters['global_orient'], parameters['body_pose'].flatten(1)], 1)
    vertices, joints = smplx.lbs.lbs(
        parameters['betas'], pose, tensor('v_template'), tensor('shapedirs')[:, :, :10],
        tensor('posedirs').reshape(-1, 207).T, tensor('J_regressor'),
        torch.tensor(SMPL_PARENTS), tensor('weights'),
    )  # fmt: skip
    return vertices + parameters['transl'][:, None], joints + parameters['transl'][:, None]


def test_values_and_gradients_agree_with_smplx_lbs(body: SMPL) -> None:
    ours = {name: value.requires_grad_() for name, value in parameters().items()}
    theirs = {name: value.requires_grad_() for name, value in parameters().items()}
    out = body(**ours)
    vertices, joints = through_smplx(small_body(), theirs)
    # smplx adds 1e-8 to the axis before it takes the angle, hence not closer.
    torch.testing.assert_close(out.vertices, vertices, atol=1e-6, rtol=0)
    torch.testing.assert_close(out.joints, joints, atol=1e-6, rtol=0)
    (out.vertices.square().sum() + out.joints.sin().sum()).backward()
    (vertices.square().sum() + joints.sin().sum()).backward()
    for name, value in ours.items():
        torch.testing.assert_close(value.grad, theirs[name].grad, atol=1e-4, rtol=1e-6)


def test_agrees_with_the_smpl_class_of_smplx_on_the_free_body(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with np.load(FREE_BODY_FILE) as file:
        struct = smplx.utils.Struct(**{name: file[name] for name in file.files})
    reference = smplx.SMPL('', data_struct=struct, batch_size=2)
    capsys.readouterr()  # smplx prints a warning
    arguments = {name: value.float() for name, value in parameters(2).items()}
    arguments['body_pose'] = arguments['body_pose'].flatten(1)
    expected, output = reference(**arguments), free_body()(**arguments)
    torch.testing.assert_close(output.vertices, expected.vertices, atol=5e-6, rtol=0)
    torch.testing.assert_close(output.joints, expected.joints[:, :24], atol=5e-6, rtol=0)
    np.testing.assert_array_equal(free_body().faces, reference.faces)


@pytest.mark.slow
def test_gradients_agree_with_finite_differences(body: SMPL) -> None:
    part = body.restrict_to([0, 7, 31])

    def run(*values: Tensor) -> tuple[Tensor, Tensor]:
        out = part(**dict(zip(parameters(), values, strict=True)))
        return out.vertices, out.joints

    values = [value.requires_grad_() for value in parameters(2).values()]
    assert torch.autograd.gradcheck(run, values, atol=1e-6)
    still = [torch.zeros_like(value).requires_grad_() for value in values]
    assert torch.autograd.gradcheck(run, still, atol=1e-6)


def test_all_representations_of_rotations_give_the_same_body(body: SMPL) -> None:
    arguments = parameters()
    expected = body(**arguments).vertices
    pose, root = arguments.pop('body_pose'), arguments.pop('global_orient')
    pose_matrix, root_matrix = axis_angle_to_matrix(pose), axis_angle_to_matrix(root)
    pose_6d, root_6d = matrix_to_rotation_6d(pose_matrix), matrix_to_rotation_6d(root_matrix)
    roots = [root, root_matrix, root_6d]
    roots += [value[:, None] for value in roots]
    for one_pose in (pose, pose.flatten(1), pose_matrix, pose_6d, pose_6d.flatten(1)):
        for one_root in roots:
            vertices = body(body_pose=one_pose, global_orient=one_root, **arguments).vertices
            torch.testing.assert_close(vertices, expected, atol=1e-12, rtol=0)


def test_the_body_without_parameters_is_the_template(body: SMPL) -> None:
    out = body()
    np.testing.assert_allclose(out.vertices[0].numpy(), small_body()['v_template'], atol=1e-14)
    expected = small_body()['J_regressor'] @ small_body()['v_template']
    np.testing.assert_allclose(out.joints[0].numpy(), expected, atol=1e-14)


def test_the_global_orientation_turns_about_the_pelvis(body: SMPL) -> None:
    turn = torch.tensor([[0.3, -1.1, 0.7]], dtype=torch.float64)
    rest, turned = body(), body(global_orient=turn)
    matrix = torch.from_numpy(Rotation.from_rotvec(turn[0].numpy()).as_matrix())
    pelvis = rest.joints[:, :1]
    expected = (rest.vertices - pelvis) @ matrix.T + pelvis
    torch.testing.assert_close(turned.vertices, expected)
    torch.testing.assert_close(turned.joints[:, 0], rest.joints[:, 0])


def test_a_joint_moves_its_own_branch_alone() -> None:
    whole = free_body(dtype=torch.float64)
    pose = torch.zeros(1, 23, 3, dtype=torch.float64)
    pose[0, SMPL_JOINTS.index('left_knee') - 1, 0] = math.radians(90)
    rest, bent = whole(), whole(body_pose=pose)
    moved = (bent.joints - rest.joints)[0].norm(dim=-1) > 1e-9
    assert [SMPL_JOINTS[j] for j in moved.nonzero().flatten()] == ['left_ankle', 'left_foot']
    # A positive turn about +x brings the shank backwards: from below the knee to behind it.
    knee, ankle = (SMPL_JOINTS.index(name) for name in ('left_knee', 'left_ankle'))
    before, after = rest.joints[0, ankle] - rest.joints[0, knee], bent.joints[0, ankle]
    expected = torch.stack([before[0], -before[2], before[1]])
    torch.testing.assert_close(after - bent.joints[0, knee], expected)


def test_arguments_of_batch_size_one_are_repeated(body: SMPL) -> None:
    arguments = parameters(4)
    single = {
        **arguments,
        'betas': arguments['betas'][:1],
        'global_orient': arguments['global_orient'][:1],
    }
    repeated = {name: value.expand(4, *value.shape[1:]) for name, value in single.items()}
    torch.testing.assert_close(body(**single).vertices, body(**repeated).vertices)
    for name in arguments:
        shape = body(**{name: arguments[name]}).vertices.shape
        assert shape == (4, NUM_VERTICES, 3), name


def test_a_restricted_body_has_the_selected_vertices_and_all_joints(body: SMPL) -> None:
    arguments, ids = parameters(), [41, 3, 3, 59]
    whole, part = body(**arguments), body.restrict_to(ids)(**arguments)
    torch.testing.assert_close(part.vertices, whole.vertices[:, ids], atol=1e-14, rtol=0)
    assert torch.equal(part.joints, whole.joints)
    again = body.restrict_to(torch.tensor(ids)).restrict_to([3, 0])(**arguments)
    torch.testing.assert_close(again.vertices, whole.vertices[:, [59, 41]], atol=1e-14, rtol=0)
    ids_of_whole = body.restrict_to([5, 10, 20]).restrict_to([1, 0]).vertex_ids
    assert ids_of_whole is not None and ids_of_whole.tolist() == [10, 5]


def test_no_persons_give_no_vertices(body: SMPL) -> None:
    nobody = {name: value[:0] for name, value in parameters().items()}
    for arguments in (nobody, *({name: value} for name, value in nobody.items())):
        output = body(**arguments)
        assert output.vertices.shape == (0, NUM_VERTICES, 3)
        assert output.joints.shape == (0, 24, 3)


@pytest.mark.parametrize('ids', [[], [-1], [NUM_VERTICES], [[1, 2]]])
def test_missing_vertices_cannot_be_selected(body: SMPL, ids: list[Any]) -> None:
    with pytest.raises(ValueError, match='vertex_ids'):
        body.restrict_to(ids)


@pytest.mark.parametrize(
    ('name', 'shape'),
    [
        ('betas', (2, 9)),
        ('betas', (10,)),
        ('transl', (3,)),
        ('transl', (2, 1, 3)),
        ('body_pose', (2, 72)),
        ('body_pose', (2, 24, 3)),
        ('body_pose', (69,)),
        ('global_orient', (2, 4)),
        ('global_orient', (2, 2, 3)),
        ('global_orient', (3,)),
    ],
)
def test_wrong_shapes_are_named(body: SMPL, name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf'^{name}: found shape .*{shape[-1]}.*, expected'):
        body(**{name: torch.zeros(shape, dtype=torch.float64)})


def test_different_batch_sizes_are_named(body: SMPL) -> None:
    arguments = parameters(3)
    with pytest.raises(ValueError, match="batch sizes: found .*'betas': 2.*'transl': 3"):
        body(betas=arguments['betas'][:2], transl=arguments['transl'])


def test_it_is_copied_and_converted_as_a_module_without_state(small_file: Path) -> None:
    arguments = parameters()
    single = SMPL(small_file)
    assert single.state_dict() == {} and list(single.parameters()) == []
    double = copy.deepcopy(single).double()
    assert double(**arguments).vertices.dtype == torch.float64
    out = single(**{name: value.float() for name, value in arguments.items()})
    assert out.vertices.dtype == torch.float32
    torch.testing.assert_close(
        out.vertices.double(), double(**arguments).vertices, atol=1e-5, rtol=0
    )
    assert single.faces.dtype == np.int64 and single.faces_tensor.dtype == torch.int64


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_the_gpu_gives_the_same_body(body: SMPL) -> None:
    arguments = parameters()
    expected = body(**arguments).vertices
    vertices = body.cuda()(**{name: value.cuda() for name, value in arguments.items()}).vertices
    torch.testing.assert_close(vertices.cpu(), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize('num_betas', [1, 12])
def test_number_of_betas(small_file: Path, num_betas: int) -> None:
    betas = torch.randn(2, num_betas, dtype=torch.float64)
    points = SMPL(small_file, num_betas=num_betas, dtype=torch.float64)(betas=betas).vertices
    arrays = small_body()
    for shape, vertices in zip(betas.numpy(), points.numpy(), strict=True):
        expected = arrays['v_template'] + arrays['shapedirs'][:, :, :num_betas] @ shape
        np.testing.assert_allclose(vertices, expected, atol=1e-13)


@pytest.mark.parametrize('num_betas', [0, 13])
def test_num_betas_that_the_file_does_not_have_is_refused(small_file: Path, num_betas: int) -> None:
    with pytest.raises(ValueError, match=f'num_betas: found {num_betas}, expected 1 to 12'):
        SMPL(small_file, num_betas=num_betas)


def test_builds_from_a_config(small_file: Path) -> None:
    body = BODY_MODELS.build(dict(type='SMPL', model_path=str(small_file), num_betas=4))
    assert isinstance(body, SMPL) and body.num_betas == 4
    assert isinstance(BODY_MODELS.build(dict(type='mmjrr.FreeBody')), SMPL)


def test_blend_shapes_are_stored_in_the_order_of_their_product(small_file: Path) -> None:
    """In another order every pass would copy them: 17 MB for SMPL."""
    body = SMPL(small_file)
    for one in (body, body.restrict_to([3, 1, 4])):
        assert len(one.blend_planes) == one.num_betas + 207
        assert all(buffer.is_contiguous() for buffer in one.buffers())
