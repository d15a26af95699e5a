"""Anny's body against its own package, and as a body like SMPL."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from mmjrr.body_models import AnnyBody, VertexMaker, free_body
from mmjrr.body_models.anny_body import PHENOTYPES
from mmjrr.body_models.anny_rig import joint_of_bone
from mmjrr.body_models.known_meshes import NUM_VERTICES
from mmjrr.geometry import axis_angle_to_matrix
from mmjrr.joints import SMPL_JOINTS, swap_sides
from mmjrr.registry import BODY_MODELS
from mmjrr.regressors import JointRegressor

needs_anny = pytest.mark.slow  # the package builds its model on first use, which takes a minute


@pytest.fixture(scope='module')
def body() -> AnnyBody:
    pytest.importorskip('anny', reason='anny is optional: pip install anny==0.6.2')
    built = BODY_MODELS.build(dict(type='AnnyBody', dtype=torch.float64))
    assert isinstance(built, AnnyBody)
    return built


def parameters(count: int = 2) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return dict(
        betas=torch.rand(count, len(PHENOTYPES), generator=draw, dtype=torch.float64),
        body_pose=0.4 * torch.randn(count, 23, 3, generator=draw, dtype=torch.float64),
        global_orient=torch.randn(count, 3, generator=draw, dtype=torch.float64),
        transl=torch.randn(count, 3, generator=draw, dtype=torch.float64),
    )


@needs_anny
def test_vertices_are_those_of_the_package_with_the_same_orientations_of_the_bones(
    body: AnnyBody,
) -> None:
    from anny import Anny

    model = Anny(rig='makehuman', phenotypes='all', skinning_method='lbs')
    values = parameters()
    posed = body.articulate(**values)
    phenotypes = dict(zip(PHENOTYPES, values['betas'].unbind(1), strict=True))
    rest = model(phenotype_kwargs=phenotypes)['rest_bone_poses']
    to_ours = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=torch.float64)
    oriented = rest.clone()
    turned = to_ours.T @ posed.transforms[..., :3] @ to_ours
    oriented[..., :3, :3] = turned @ rest[..., :3, :3]
    theirs = model(oriented, phenotype_kwargs=phenotypes, pose_parameterization='world-orient')
    expected = theirs['vertices'] @ to_ours.T
    vertices = body.skin_vertices(posed)
    shift = (vertices - expected).mean(1, keepdim=True)  # ours puts the pelvis elsewhere
    torch.testing.assert_close(vertices - shift, expected, atol=1e-12, rtol=0)


@needs_anny
def test_the_rest_pose_is_smpls_t_pose(body: AnnyBody) -> None:
    joints, free = body().joints[0], free_body()().joints[0]
    assert body().vertices.shape == (1, NUM_VERTICES['anny'], 3)
    assert (joints - free).norm(dim=1).max() < 0.03
    mirrored = joints[[SMPL_JOINTS.index(swap_sides(name)) for name in SMPL_JOINTS]]
    mirrored = mirrored * torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    assert (joints - mirrored).norm(dim=1).max() < 1e-3
    arms = [SMPL_JOINTS.index(name) for name in ('left_shoulder', 'left_elbow', 'left_wrist')]
    assert np.ptp(joints[arms, 1].numpy()) < 0.01


@needs_anny
def test_the_global_orientation_turns_about_the_pelvis(body: AnnyBody) -> None:
    values = parameters()
    rest = body(values['betas'])
    turned = body(values['betas'], global_orient=values['global_orient'], transl=values['transl'])
    rotation = axis_angle_to_matrix(values['global_orient'])
    pelvis = rest.joints[:, :1]
    expected = (rest.vertices - pelvis) @ rotation.transpose(1, 2) + pelvis
    expected = expected + values['transl'][:, None]
    torch.testing.assert_close(turned.vertices, expected, atol=1e-12, rtol=0)


@needs_anny
def test_lazy_vertices_restriction_and_moments_agree_with_all_vertices(body: AnnyBody) -> None:
    values = parameters(3)
    maker = VertexMaker(body)
    lazy, whole = maker(**values), body(**values).vertices
    ids = torch.tensor([13000, 5, 700])
    torch.testing.assert_close(lazy.of(ids), whole[:, ids], atol=1e-12, rtol=0)
    vectors = torch.randn(3, 2, 3, dtype=torch.float64)
    products = maker.products_of(lazy.moments(vectors))
    expected = torch.einsum('njc,nvc->jv', vectors, whole - values['transl'][:, None])
    torch.testing.assert_close(products, expected, atol=1e-9, rtol=0)


@needs_anny
def test_gradients_reach_shape_and_pose(body: AnnyBody) -> None:
    values = {name: value.requires_grad_() for name, value in parameters(1).items()}
    part = body.restrict_to([100, 9000])
    inputs = (values['betas'], values['body_pose'])
    assert torch.autograd.gradcheck(
        lambda betas, pose: part(betas, pose).vertices, inputs, atol=1e-5
    )


@needs_anny
def test_the_carried_regressor_finds_joints_near_the_bones(body: AnnyBody) -> None:
    """The bones are independent of the mapping, which ships with the package."""
    regressor = JointRegressor.load('anny_h36m', dtype=torch.float64)
    values = parameters(6)
    del values['betas']  # an average adult
    out = body(**values)
    joints = regressor(out.vertices)
    for h36m, smpl in (('left_knee', 'left_knee'), ('right_elbow', 'right_elbow')):
        distance = (
            joints[:, regressor.joint_names.index(h36m)] - out.joints[:, SMPL_JOINTS.index(smpl)]
        )
        assert distance.norm(dim=1).max() < 0.04


def test_bones_belong_to_joints_of_their_side() -> None:
    expected = {
        'upperarm02.L': 'left_shoulder',
        'finger1-2.R': 'right_wrist',
        'finger2-1.R': 'right_hand',
        'spine05': 'pelvis',
        'jaw': 'head',
        'toe5-1.L': 'left_foot',
    }
    assert {bone: joint_of_bone(bone) for bone in expected} == expected


def test_without_the_package_one_sentence_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, 'anny', None)
    with pytest.raises(ImportError, match=r'needs the package anny; .* pip install anny==0\.6\.2'):
        AnnyBody()


def test_the_shipped_mapping_gives_a_regressor_for_annys_mesh_with_its_error() -> None:
    regressor = JointRegressor.load('anny_h36m')
    assert (regressor.body_model, regressor.num_vertices) == ('anny', NUM_VERTICES['anny'])
    error = regressor.provenance['carried'][0]['error_mm']
    assert error['there and back, free body']['mean'] < 0.5
    assert np.isfinite([row['largest'] for row in error.values()]).all()
