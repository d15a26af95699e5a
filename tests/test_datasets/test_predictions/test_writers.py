"""Files as the writers of other repositories lay them out hold the same bodies as the plain layout.

Each writer below is independent of the reader: it follows the lines of the repository, commit and
file that the reader's table names. No file of these models was at hand.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mmjrr.datasets.predictions import Predictions, match_bodies, read_predictions
from mmjrr.datasets.predictions.layouts import LAYOUTS
from mmjrr.errors import DataError

from .bodies import BETAS, COUNT, MATRICES, NAMES, POSE, assert_is_the_set

VIDEO = 'S9_Walking_1.60457274'
MESHES = np.random.default_rng(1).normal(size=(COUNT, 300, 3)).astype(np.float32)
TRANSL = np.random.default_rng(2).normal(size=(COUNT, 3)).astype(np.float32)


def dump(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


def vibe_like(path: Path, **more: Any) -> None:
    person = {
        'pred_cam': np.zeros((COUNT, 3)),
        'orig_cam': np.zeros((COUNT, 4)),
        'betas': BETAS,
        'joints3d': np.zeros((COUNT, 49, 3)),
        'joints2d': None,
        'bboxes': np.ones((COUNT, 4)),
        'frame_ids': np.arange(COUNT),
    }
    dump(path, {1: {**person, **more}})


def pare_video(folder: Path) -> None:
    vibe_like(folder / VIDEO / 'pare_output.pkl', pose=MATRICES, smpl_joints2d=np.zeros(3))


def pymaf(folder: Path) -> None:
    vibe_like(folder / VIDEO / 'output.pkl', pose=POSE)


def wham(folder: Path) -> None:
    person = dict(
        pose=POSE, trans=TRANSL, pose_world=POSE[::-1], trans_world=TRANSL, betas=BETAS,
        frame_ids=np.arange(COUNT),
    )  # fmt: skip
    dump(folder / VIDEO / 'wham_output.pkl', {0: person})


def tram(folder: Path) -> None:
    track = {
        'pred_cam': torch.zeros(COUNT, 3),
        'pred_pose': torch.from_numpy(MATRICES[..., :2].reshape(COUNT, 144).copy()),
        'pred_shape': torch.from_numpy(BETAS),
        'pred_rotmat': torch.from_numpy(MATRICES),
        'pred_trans': torch.from_numpy(TRANSL)[:, None],
        'frame': torch.arange(COUNT),
    }
    track = {name: value.numpy() for name, value in track.items()}
    (folder / VIDEO).mkdir()
    np.save(folder / VIDEO / 'hps_track_0.npy', track)  # type: ignore[arg-type]


def cliff(folder: Path) -> None:
    detections = np.zeros((COUNT, 8))
    detections[:, 0] = np.arange(COUNT)[::-1] + 1  # image 0 shows nobody
    np.savez(
        folder / 'cliff.npz',
        imgname=np.array(['nobody.jpg', *NAMES]),
        pose=MATRICES[::-1],
        shape=BETAS[::-1],
        global_t=TRANSL[::-1],
        pred_joints=np.zeros((COUNT, 24, 3)),
        focal_l=np.ones(COUNT),
        detection_all=detections,
    )


def romp_outputs(row: int, num_betas: int = 10) -> dict[str, Any]:
    betas = np.concatenate([BETAS[row], np.zeros(num_betas - 10, np.float32)])
    return {
        'cam': np.zeros((1, 3)),
        'global_orient': POSE[[row], :3],
        'body_pose': POSE[[row], 3:],
        'smpl_betas': betas[None],
        'smpl_thetas': POSE[[row]],
        'center_confs': np.ones(1),
        'cam_trans': TRANSL[[row]],
        'joints': np.zeros((1, 71, 3)),
        'track_ids': np.array([4], np.int32),
    }


def romp_image(folder: Path) -> None:
    for row, name in enumerate(NAMES):
        np.savez(folder / f'{Path(name).stem}.npz', results=romp_outputs(row))


def romp_video(folder: Path) -> None:
    results = {Path(name).name: romp_outputs(row) for row, name in enumerate(NAMES)}
    sequence = {4: {'frame_id': list(range(COUNT)), 'smpl_thetas': list(POSE)}}
    np.savez(folder / 'video_results.npz', results=results, sequence_results=sequence)


def pare_image(folder: Path) -> None:
    for row, name in enumerate(NAMES):
        output = {
            'pred_pose': MATRICES[[row]],
            'pred_cam': np.zeros((1, 3)),
            'pred_shape': BETAS[[row]],
            'smpl_vertices': MESHES[[row]],
            'smpl_joints3d': np.zeros((1, 49, 3)),
            'bboxes': np.ones((1, 4)),
            'orig_cam': np.zeros((1, 4)),
        }
        dump(folder / f'{Path(name).stem}.pkl', output)


def hybrik(folder: Path) -> None:
    results = {
        'pred_xyz_17': np.zeros((COUNT, 17, 3)),
        'pred_betas': BETAS,
        'pred_thetas': MATRICES.reshape(COUNT, 216),
        'pred_phi': np.zeros((COUNT, 23, 2)),
        'pred_camera': np.zeros((COUNT, 3)),
        'pred_cam_root': np.zeros((COUNT, 3)),
        'transl': TRANSL,
        'transl_camsys': TRANSL,
        'bbox': np.ones((COUNT, 4)),
        'height': np.full(COUNT, 1000),
        'width': np.full(COUNT, 1000),
        'img_path': np.array(NAMES),
    }
    dump(folder / 'res.pk', results)


def bedlam(folder: Path) -> None:
    np.savez(
        folder / 'bedlam.npz',
        imgname=np.array(NAMES),
        center=np.zeros((COUNT, 2)),
        scale=np.ones(COUNT),
        pose_cam=POSE,
        pose_world=POSE[::-1],
        shape=BETAS,
        trans_cam=TRANSL,
        trans_world=TRANSL[::-1],
        gtkps=np.zeros((COUNT, 127, 3)),
        cam_int=np.zeros((COUNT, 3, 3)),
        cam_ext=np.zeros((COUNT, 4, 4)),
        gender=np.array(['neutral'] * COUNT),
        sub=np.array(['sub'] * COUNT),
    )


def neuralannot(folder: Path) -> None:
    bodies = {
        name: {
            'smpl_param': {
                'pose': POSE[row].tolist(),
                'shape': BETAS[row].tolist(),
                'trans': [0.0, 0.0, 5.0],
            },
            'cam_param': {'focal': [1000.0, 1000.0], 'princpt': [500.0, 500.0]},
        }
        for row, name in enumerate(NAMES)
    }
    (folder / 'MPII_SMPL_NeuralAnnot.json').write_text(json.dumps(bodies))


PARAMETERS = {
    pare_video: 'vibe',
    pymaf: 'vibe',
    wham: 'vibe',
    tram: 'tram',
    cliff: 'cliff',
    romp_image: 'romp',
    romp_video: 'romp-video',
    pare_image: 'pare-image',
    hybrik: 'hybrik',
    bedlam: 'bedlam',
    neuralannot: 'neuralannot',
}


def read(write: Callable[[Path], None], folder: Path) -> Predictions:
    write(folder)
    files = [path for path in folder.rglob('*') if path.is_file()]
    return read_predictions(folder if len(files) > 1 else files[0])


def in_the_order_of_names(predictions: Predictions) -> Predictions:
    rows = match_bodies(predictions, NAMES).rows
    assert (rows >= 0).all()
    return predictions.select(rows)


@pytest.mark.parametrize('write', PARAMETERS, ids=lambda write: write.__name__)
def test_parameters_come_out_as_the_same_bodies(write, tmp_path):
    predictions = read(write, tmp_path)
    assert predictions.layout == PARAMETERS[write]
    assert_is_the_set(in_the_order_of_names(predictions))


def test_every_fifth_frame_is_numbered_by_the_video(tmp_path):
    tram(tmp_path)
    predictions = read_predictions(tmp_path / VIDEO / 'hps_track_0.npy', frame_step=5)
    assert predictions.imgname is not None and predictions.frame is not None
    assert predictions.frame.tolist() == [0, 5, 10, 15, 20, 25]
    assert [name[-6:] for name in predictions.imgname[:3]] == ['000001', '000006', '000011']
    with pytest.raises(ValueError, match='frame_step: found 0'):
        read_predictions(tmp_path / VIDEO / 'hps_track_0.npy', frame_step=0)


def test_bev_has_eleven_betas(tmp_path):
    path = tmp_path / f'{Path(NAMES[0]).stem}.npz'
    np.savez(path, results=romp_outputs(0, num_betas=11))  # type: ignore[arg-type]
    predictions = read_predictions(path)
    assert predictions.betas is not None and predictions.betas.shape == (1, 11)


TURNS = Rotation.random(COUNT, random_state=5).as_matrix()


def in_the_world() -> np.ndarray:
    """Poses whose root, turned by the extrinsics, is that of the set."""
    root = np.linalg.inv(TURNS) @ MATRICES[:, 0]
    pose = POSE.copy()
    pose[:, :3] = Rotation.from_matrix(root).as_rotvec()
    return pose


def extrinsics() -> np.ndarray:
    matrices = np.tile(np.eye(4), (COUNT, 1, 1))
    matrices[:, :3, :3], matrices[:, :3, 3] = TURNS, TRANSL
    return matrices


def test_sequence_files_of_3dpw_are_turned_into_the_camera(tmp_path):
    valid = np.ones(COUNT, np.int64)
    valid[2] = 0
    dump(
        tmp_path / 'downtown_run_00.pkl',
        {
            'poses': [in_the_world(), in_the_world()[::-1]],
            'betas': [np.pad(BETAS[0], (0, 290)), np.pad(BETAS[1], (0, 290))],
            'trans': [TRANSL, TRANSL],
            'genders': ['m', 'm'],
            'cam_poses': extrinsics(),
            'campose_valid': [valid, valid],
            'cam_intrinsics': np.eye(3),
            'img_frame_ids': 2 * np.arange(COUNT),
            'sequence': 'downtown_run_00',
        },
    )
    predictions = read_predictions(tmp_path / 'downtown_run_00.pkl')
    assert predictions.layout == '3dpw' and len(predictions) == 2 * COUNT
    assert predictions.is_valid().tolist() == 2 * [True, True, False, True, True, True]
    assert predictions.imgname is not None and predictions.betas is not None
    assert predictions.imgname[1] == 'downtown_run_00/image_00001'
    assert predictions.imgname[COUNT] == 'downtown_run_00/image_00000'
    matrices = Rotation.from_rotvec(predictions.pose()[:COUNT, :3]).as_matrix()
    np.testing.assert_allclose(matrices, MATRICES[:, 0], atol=1e-5)
    np.testing.assert_array_equal(predictions.betas, np.repeat(BETAS[:2], COUNT, axis=0))
    assert predictions.gender == 2 * COUNT * ['male'] and predictions.transl is None


def test_sequence_files_of_emdb_are_turned_into_the_camera(tmp_path):
    mask = np.ones(COUNT, bool)
    mask[4] = False
    pose = in_the_world()
    path = tmp_path / 'P0' / '09_outdoor_walk' / 'P0_09_outdoor_walk_data.pkl'
    dump(
        path,
        {
            'gender': 'female',
            'name': 'P0_09_outdoor_walk',
            'n_frames': COUNT,
            'good_frames_mask': mask,
            'camera': {
                'intrinsics': np.eye(3),
                'extrinsics': extrinsics(),
                'width': 1,
                'height': 1,
            },
            'smpl': {
                'poses_root': pose[:, :3],
                'poses_body': pose[:, 3:],
                'trans': TRANSL,
                'betas': BETAS[0],
            },
            'kp2d': np.zeros((COUNT, 24, 2)),
        },
    )
    predictions = read_predictions(path)
    assert predictions.layout == 'emdb'
    assert predictions.is_valid().tolist() == mask.tolist()
    assert predictions.imgname is not None
    assert predictions.imgname[3] == 'P0/09_outdoor_walk/images/00003'
    matrices = Rotation.from_rotvec(predictions.pose().reshape(-1, 3)).as_matrix()
    np.testing.assert_allclose(matrices, MATRICES.reshape(-1, 3, 3), atol=1e-5)
    assert predictions.gender == COUNT * ['female']


def hmr2_obj(folder: Path) -> None:
    for row, name in enumerate(NAMES):
        lines = [f'v {x:.8f} {y:.8f} {z:.8f}' for x, y, z in MESHES[row]]
        (folder / f'{Path(name).stem}_0.obj').write_text('\n'.join([*lines, 'f 1 2 3']) + '\n')


def multi_hmr_npy(folder: Path) -> None:
    for row, name in enumerate(NAMES):
        np.save(folder / f'{Path(name).stem}.png.npy', MESHES[[row]])


def multi_hmr_persons(folder: Path) -> None:
    for row, name in enumerate(NAMES):
        person = {
            'scores': torch.tensor(0.9),
            'transl_pelvis': torch.zeros(1, 3),
            'rotvec': torch.zeros(53, 3),
            'shape': torch.zeros(10),
            'v3d': torch.from_numpy(MESHES[row]),
        }
        person = {key: value.numpy() for key, value in person.items()}
        dump(folder / f'{Path(name).stem}.pkl', [person])


def sam_3d_body(folder: Path) -> None:
    for row, name in enumerate(NAMES):
        person = {
            'bbox': np.ones(4),
            'focal_length': 1000.0,
            'pred_keypoints_3d': np.zeros((70, 3)),
            'pred_vertices': MESHES[row],
            'pred_cam_t': TRANSL[row],
            'shape_params': np.zeros(45),
            'mhr_model_params': np.zeros(204),
            'mask': None,
        }
        dump(folder / f'{Path(name).stem}.pkl', [person])


def sam_3d_body_npz(folder: Path) -> None:
    for row, name in enumerate(NAMES):
        np.savez(
            folder / f'{Path(name).stem}.npz', pred_vertices=MESHES[row], pred_cam_t=TRANSL[row]
        )


VERTICES = {
    hmr2_obj: 'words',
    multi_hmr_npy: 'mesh-array',
    multi_hmr_persons: 'multi-hmr',
    sam_3d_body: 'sam-3d-body',
    sam_3d_body_npz: 'sam-3d-body',
}


@pytest.mark.parametrize('write', VERTICES, ids=lambda write: write.__name__)
def test_vertices_come_out_as_the_same_meshes(write, tmp_path):
    predictions = read(write, tmp_path)
    assert predictions.layout in (VERTICES[write], 'plain')
    vertices = in_the_order_of_names(predictions).vertices
    assert vertices is not None
    np.testing.assert_allclose(vertices, MESHES, atol=1e-6)


HANDS = (0.1 * np.random.default_rng(3).normal(size=(2, COUNT, 45))).astype(np.float32)
EXPRESSION = np.random.default_rng(4).normal(size=(COUNT, 10)).astype(np.float32)


def smplx_gvhmr(folder: Path) -> Path:
    body = dict(
        global_orient=POSE[:, :3], body_pose=POSE[:, 3:66], betas=BETAS, transl=TRANSL
    )  # fmt: skip
    body = {name: torch.from_numpy(value.copy()) for name, value in body.items()}
    world = {**body, 'global_orient': body['global_orient'].flip(0)}
    outputs = {'pred_smpl_params_incam': {name: value[None] for name, value in body.items()}}
    (folder / VIDEO).mkdir()
    torch.save(
        {
            'smpl_params_global': world,
            'smpl_params_incam': body,
            'K_fullimg': torch.eye(3).repeat(COUNT, 1, 1),
            'net_outputs': outputs,
        },
        folder / VIDEO / 'hmr4d_results.pt',
    )
    return folder / VIDEO / 'hmr4d_results.pt'


def smplx_prompthmr(folder: Path) -> Path:
    """Return a person as the pipeline stores it: the matrices of the hands are zeros."""
    pose = np.concatenate([POSE[:, :66], np.zeros((COUNT, 9), np.float32)], 1)
    matrices = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(COUNT, 25, 3, 3)
    person = {
        'frames': np.arange(COUNT),
        'track_id': 1,
        'bboxes': np.ones((COUNT, 4)),
        'smplx_pose': torch.zeros(COUNT, 55, 3, 3),
        'smplx_betas': torch.zeros(COUNT, 10),
        'smplx_cam': {
            'rotmat': np.concatenate([matrices, np.zeros((COUNT, 30, 3, 3))], 1).astype('f4'),
            'pose': pose,
            'shape': BETAS,
            'trans': TRANSL,
            'contact': np.zeros((COUNT, 6), bool),
        },
    }
    path = folder / VIDEO / 'results.pkl'
    dump(path, {'people': {1: person}, 'camera': {'img_focal': np.array(1000.0)}})
    return path


def smplx_smpler_x(folder: Path) -> Path:
    parameters = folder / VIDEO / 'smplx'
    parameters.mkdir(parents=True)
    for row in range(COUNT):
        np.savez(
            parameters / f'{row + 1:05}_0.npz',
            global_orient=POSE[row, :3].reshape(-1, 3),
            body_pose=POSE[row, 3:66].reshape(-1, 3),
            left_hand_pose=HANDS[0, row].reshape(-1, 3),
            right_hand_pose=HANDS[1, row].reshape(-1, 3),
            jaw_pose=np.zeros((1, 3), np.float32),
            leye_pose=np.zeros((1, 3)),
            reye_pose=np.zeros((1, 3)),
            betas=BETAS[row].reshape(-1, 10),
            expression=EXPRESSION[row].reshape(-1, 10),
            transl=TRANSL[row].reshape(-1, 3),
        )
    return parameters


def smplx_neuralannot(folder: Path) -> Path:
    bodies = {
        name: {
            'smplx_param': {
                'root_pose': POSE[row, :3].tolist(),
                'body_pose': POSE[row, 3:66].tolist(),
                'shape': BETAS[row].tolist(),
                'trans': [0.0, 0.0, 5.0],
            },
            'cam_param': {'focal': [1000.0, 1000.0], 'princpt': [500.0, 500.0]},
        }
        for row, name in enumerate(NAMES)
    }
    path = folder / 'MPII_train_SMPLX_NeuralAnnot.json'
    path.write_text(json.dumps(bodies))
    return path


SMPLX = {
    smplx_gvhmr: 'gvhmr',
    smplx_prompthmr: 'prompthmr',
    smplx_smpler_x: 'smpler-x',
    smplx_neuralannot: 'neuralannot-smplx',
}


@pytest.mark.parametrize('write', SMPLX, ids=lambda write: write.__name__)
def test_parameters_of_smplx_come_out_as_the_same_bodies(write, tmp_path):
    predictions = in_the_order_of_names(read_predictions(write(tmp_path)))
    assert predictions.layout == SMPLX[write]
    assert predictions.body_kinds == ('smplx',) and len(predictions) == COUNT
    np.testing.assert_array_equal(predictions.global_orient, POSE[:, :3])
    np.testing.assert_array_equal(predictions.body_pose, POSE[:, 3:66].reshape(COUNT, 21, 3))
    np.testing.assert_array_equal(predictions.betas, BETAS)
    if write is smplx_smpler_x:
        np.testing.assert_array_equal(predictions.left_hand_pose, HANDS[0])
        np.testing.assert_array_equal(predictions.right_hand_pose, HANDS[1])
        np.testing.assert_array_equal(predictions.expression, EXPRESSION)
    else:
        assert predictions.left_hand_pose is None and predictions.expression is None


def test_smpler_xs_meshes_are_named_by_their_video(tmp_path):
    (tmp_path / VIDEO / 'mesh').mkdir(parents=True)
    for row in range(COUNT):
        lines = [f'v {x:.8f} {y:.8f} {z:.8f}' for x, y, z in MESHES[row]]
        path = tmp_path / VIDEO / 'mesh' / f'{row + 1:05}_0.obj'
        path.write_text('\n'.join([*lines, 'f 1 2 3']) + '\n')
    predictions = in_the_order_of_names(read_predictions(tmp_path))
    np.testing.assert_allclose(predictions.vertices, MESHES, atol=1e-6)


def hmr2_turned_obj(folder: Path) -> np.ndarray:
    """Meshes as 4D-Humans' renderer exports them: moved, then turned by 180 degrees about x."""
    turn = np.diag([1.0, -1.0, -1.0])
    seen = MESHES + np.array([0.1, -0.2, 20.0], np.float32)
    for row, name in enumerate(NAMES):
        lines = [f'v {x:.8f} {y:.8f} {z:.8f} 0.65 0.74 0.86' for x, y, z in seen[row] @ turn]
        (folder / f'{Path(name).stem}_0.obj').write_text('\n'.join([*lines, 'f 1 2 3']) + '\n')
    return seen


def test_meshes_behind_the_camera_are_reported_and_turned_back_on_request(tmp_path):
    seen = hmr2_turned_obj(tmp_path)
    turned = in_the_order_of_names(read_predictions(tmp_path))
    assert any('behind the camera (z < 0)' in note for note in turned.notes)
    np.testing.assert_allclose(turned.vertices, seen * [1, -1, -1], atol=1e-6)
    predictions = in_the_order_of_names(read_predictions(tmp_path, layout='hmr2'))
    np.testing.assert_allclose(predictions.vertices, seen, atol=1e-6)
    assert any('turned back by 180 degrees about x' in note for note in predictions.notes)


def test_columns_and_rows_stay_undecided_in_a_folder_of_files(tmp_path):
    for row, name in enumerate(NAMES):
        pairs = MATRICES[row, :, :, :2].swapaxes(-1, -2).reshape(24, 6)
        np.savez(tmp_path / f'{Path(name).stem}.npz', pose=pairs[None], betas=BETAS[[row]])
    predictions = read_predictions(tmp_path)
    assert predictions.possible_rotations_6d == ('columns', 'rows')
    assert_is_the_set(in_the_order_of_names(predictions.with_rotation_6d('columns')))


CAMERAS = Rotation.random(2, random_state=6).as_matrix()


def neuralannot_h36m(folder: Path, smplx: bool = False) -> Path:
    """Bodies of subject 9, action 14 (walking), subaction 1, in the world of two cameras."""
    bodies: dict[str, dict] = {'14': {'1': {}}}
    for row in range(COUNT):
        body = {'pose': POSE[row].tolist()}
        if smplx:
            body = {'root_pose': POSE[row, :3].tolist(), 'body_pose': POSE[row, 3:66].tolist()}
        body |= {'shape': BETAS[row].tolist(), 'trans': TRANSL[row].tolist()}
        bodies['14']['1'][str(row)] = body
    cameras = {
        str(number + 1): {
            'R': rotation.tolist(), 't': [1.0, 2.0, 3.0], 'f': [1145.0, 1145.0], 'c': [512.0, 512.0]
        }
        for number, rotation in enumerate(CAMERAS)
    }  # fmt: skip
    (folder / 'Human36M_subject9_camera.json').write_text(json.dumps(cameras))
    path = folder / f'Human36M_subject9_{"SMPLX" if smplx else "SMPL"}_NeuralAnnot.json'
    path.write_text(json.dumps(bodies))
    return path


@pytest.mark.parametrize('smplx', [False, True])
def test_neuralannots_bodies_of_human36m_are_turned_into_each_cameras_frame(smplx, tmp_path):
    predictions = read_predictions(neuralannot_h36m(tmp_path, smplx))
    assert predictions.layout == 'neuralannot-h36m' and len(predictions) == 2 * COUNT
    assert predictions.body_kinds == (('smplx',) if smplx else ('smpl',))
    assert predictions.imgname is not None
    assert predictions.imgname[0] == 's_09_act_14_subact_01_ca_01_000001'
    assert predictions.imgname[-1] == f's_09_act_14_subact_01_ca_02_{COUNT:06d}'
    world = Rotation.from_rotvec(POSE[:, :3]).as_matrix()
    for camera, rotation in enumerate(CAMERAS):
        rows = slice(camera * COUNT, (camera + 1) * COUNT)
        seen = Rotation.from_rotvec(predictions.global_orient[rows]).as_matrix()
        np.testing.assert_allclose(seen, rotation @ world, atol=1e-5)
        kept = 63 if smplx else 69
        np.testing.assert_array_equal(
            predictions.body_pose[rows].reshape(COUNT, -1), POSE[:, 3 : 3 + kept]
        )
        np.testing.assert_array_equal(predictions.betas[rows], BETAS)


def change_cameras(folder: Path, content: Any) -> None:
    (folder / 'Human36M_subject9_camera.json').write_text(json.dumps(content))


def change_bodies(folder: Path, content: Any) -> None:
    (folder / 'Human36M_subject9_SMPL_NeuralAnnot.json').write_text(json.dumps(content))


BODY = {'pose': [0.0] * 72, 'shape': [0.0] * 10, 'trans': [0.0] * 3}


@pytest.mark.parametrize(
    ('change', 'content', 'message'),
    [
        (change_cameras, {'1': {'t': [0, 0, 0]}}, r'1\.R: missing'),
        (change_cameras, {'1': {'R': [[2, 0, 0], [0, 1, 0], [0, 0, 1]]}}, r'1\.R: .* no rotation'),
        (change_cameras, {'1': {'R': (-np.eye(3)).tolist()}}, r'1\.R: .* no rotation'),
        (change_cameras, {'²': {'R': np.eye(3).tolist()}}, 'expected cameras by number'),
        (change_cameras, {}, 'found no camera'),
        (change_bodies, {'2': {'1': {'0': BODY, '²': BODY}}}, 'expected numbers of action'),
        (change_bodies, {'2': {'1': {'0': {**BODY, 'pose': [[0.0] * 71, 0.0]}}}}, r'0\.pose: '),
        (change_bodies, {'2': {'1': {'0': {**BODY, 'pose': [0.0] * 69}}}}, r'2\.1\.0\.pose: found'),
        (change_bodies, {'2': {'1': {'0': BODY, 'x': BODY}}}, 'expected numbers of action'),
        (change_bodies, {'2': {'1': {'0': BODY, '1': 3}}}, r'2\.1\.1: found int'),
    ],
)
def test_what_is_wrong_with_neuralannots_files_is_named(change, content, message, tmp_path):
    path = neuralannot_h36m(tmp_path)
    change(tmp_path, content)
    with pytest.raises(DataError, match=message):
        read_predictions(path)


def test_neuralannots_cameras_belong_beside_the_bodies(tmp_path):
    path = neuralannot_h36m(tmp_path)
    (tmp_path / 'Human36M_subject9_camera.json').unlink()
    with pytest.raises(FileNotFoundError, match='cameras of NeuralAnnot.* belongs next to'):
        read_predictions(path)
    with pytest.raises(DataError, match='name without a subject'):
        read_predictions(path.rename(tmp_path / 'bodies.json'))


def test_rows_beyond_the_names_are_refused(tmp_path):
    np.savez(
        tmp_path / 'cliff.npz', imgname=np.array(NAMES[:2]), pose=POSE[:2], shape=BETAS[:2],
        global_t=TRANSL[:2], detection_all=np.full((2, 8), 7.0),
    )  # fmt: skip
    with pytest.raises(DataError, match=r'imgname\{detection_all\[0\]\}: .* numbers below 2'):
        read_predictions(tmp_path / 'cliff.npz')


def test_layouts_of_a_repository_name_commit_and_file():
    for layout in LAYOUTS:
        for source in filter(None, layout.source.split('; ')):
            repository, commit, file = source.split(', ')
            assert repository.count('/') == 1 and len(commit) == 7 and '.' in file
