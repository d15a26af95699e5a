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


def in_the_order_of_names(found: Predictions) -> Predictions:
    rows = match_bodies(found, NAMES).rows
    assert (rows >= 0).all()
    return found.select(rows)


@pytest.mark.parametrize('write', PARAMETERS, ids=lambda write: write.__name__)
def test_parameters_come_out_as_the_same_bodies(write, tmp_path):
    found = read(write, tmp_path)
    assert found.layout == PARAMETERS[write]
    assert_is_the_set(in_the_order_of_names(found))


def test_every_fifth_frame_is_numbered_by_the_video(tmp_path):
    tram(tmp_path)
    found = read_predictions(tmp_path / VIDEO / 'hps_track_0.npy', frame_step=5)
    assert found.imgname is not None and found.frame is not None
    assert found.frame.tolist() == [0, 5, 10, 15, 20, 25]
    assert [name[-6:] for name in found.imgname[:3]] == ['000001', '000006', '000011']
    with pytest.raises(ValueError, match='frame_step: found 0'):
        read_predictions(tmp_path / VIDEO / 'hps_track_0.npy', frame_step=0)


def test_bev_has_eleven_betas(tmp_path):
    path = tmp_path / f'{Path(NAMES[0]).stem}.npz'
    np.savez(path, results=romp_outputs(0, num_betas=11))  # type: ignore[arg-type]
    found = read_predictions(path)
    assert found.betas is not None and found.betas.shape == (1, 11)


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
    found = read_predictions(tmp_path / 'downtown_run_00.pkl')
    assert found.layout == '3dpw' and len(found) == 2 * COUNT
    assert found.is_valid().tolist() == 2 * [True, True, False, True, True, True]
    assert found.imgname is not None and found.betas is not None
    assert found.imgname[1] == 'downtown_run_00/image_00001'
    assert found.imgname[COUNT] == 'downtown_run_00/image_00000'
    matrices = Rotation.from_rotvec(found.pose()[:COUNT, :3]).as_matrix()
    np.testing.assert_allclose(matrices, MATRICES[:, 0], atol=1e-5)
    np.testing.assert_array_equal(found.betas, np.repeat(BETAS[:2], COUNT, axis=0))
    assert found.gender == 2 * COUNT * ['male'] and found.transl is None


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
    found = read_predictions(path)
    assert found.layout == 'emdb'
    assert found.is_valid().tolist() == mask.tolist()
    assert found.imgname is not None
    assert found.imgname[3] == 'P0/09_outdoor_walk/images/00003'
    matrices = Rotation.from_rotvec(found.pose().reshape(-1, 3)).as_matrix()
    np.testing.assert_allclose(matrices, MATRICES.reshape(-1, 3, 3), atol=1e-5)
    assert found.gender == COUNT * ['female']


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
    found = read(write, tmp_path)
    assert found.layout in (VERTICES[write], 'plain')
    vertices = in_the_order_of_names(found).vertices
    assert vertices is not None
    np.testing.assert_allclose(vertices, MESHES, atol=1e-6)


def smplx_gvhmr(path: Path) -> None:
    body = dict(
        global_orient=torch.zeros(COUNT, 3), body_pose=torch.zeros(COUNT, 63),
        betas=torch.zeros(COUNT, 10), transl=torch.zeros(COUNT, 3),
    )  # fmt: skip
    torch.save({'smpl_params_global': body, 'smpl_params_incam': body, 'K_fullimg': None}, path)


def smplx_prompthmr(path: Path) -> None:
    person = {
        'frames': np.arange(COUNT),
        'track_id': 1,
        'smplx_cam': {
            'rotmat': np.tile(np.eye(3, dtype=np.float32), (COUNT, 55, 1, 1)),
            'pose': np.zeros((COUNT, 75)),
            'shape': np.zeros((COUNT, 10)),
            'trans': np.zeros((COUNT, 3)),
        },
    }
    dump(path, {'people': {1: person}, 'camera': {}})


def smplx_smpler_x(path: Path) -> None:
    with open(path, 'wb') as file:
        np.savez(
            file, global_orient=np.zeros((1, 3)), body_pose=np.zeros((21, 3)),
            left_hand_pose=np.zeros((15, 3)), jaw_pose=np.zeros((1, 3)), betas=np.zeros((1, 10)),
        )  # fmt: skip


@pytest.mark.parametrize(
    ('write', 'count', 'kinds'),
    [
        (smplx_gvhmr, COUNT, ('smplx', 'smplh')),
        (smplx_prompthmr, COUNT, ('smplx',)),
        (smplx_smpler_x, 1, ('smplx',)),
    ],
)
def test_parameters_of_smplx_are_known_for_what_they_are(write, count, kinds, tmp_path):
    write(tmp_path / 'results')
    found = read_predictions(tmp_path / 'results')
    assert found.body_kinds == kinds and len(found) == count
    assert found.body_pose.shape[:2] == (count, 21)


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
