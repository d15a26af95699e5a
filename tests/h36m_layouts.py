"""A small Human3.6M with known values, and writers of other projects' layouts of it.

The writers know the layouts from their projects' code, by index, and nothing of mmjrr's orders.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from mmjrr.body_models import free_body

#: Focal length, principal point, k1 k2 k3 p1 p2, width and height, much as in H36M.
INTRINSICS = {
    '54138969': ((1145.0, 1143.8), (512.5, 515.4), (-0.2, 0.24, -0.002, -0.0009, -0.0016), 1002),
    '60457274': ((1145.5, 1144.8), (514.9, 501.9), (-0.19, 0.22, 0.006, -0.0012, -0.0023), 1002),
}
#: Take's name by subject, and its action and subaction: S1's and S9's numbers are those of the
#: release, where a take's name does not follow from them.
TAKES = {
    ('S1', 4, 1): 'Eating 2',
    ('S1', 12, 2): 'TakingPhoto',
    ('S9', 3, 2): 'Discussion 2',
}
FRAMES = (1, 6, 11)
#: Places of the 17 in MMPose's order in H36M's skeleton of 32.
PLACES_OF_32 = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
#: Places of the 17 in MMPose's order among SPIN's 24, from SPIN's preprocessing of H36M.
PLACES_OF_24 = [14, 2, 1, 0, 3, 4, 5, 16, 12, 17, 18, 9, 10, 11, 8, 7, 6]
#: Places of the 17 in MMPose's order among HumanData's 190.
PLACES_OF_190 = [148, 144, 5, 8, 145, 4, 7, 150, 146, 152, 147, 16, 18, 20, 17, 19, 21]
#: The skeleton's joints that stand for the 17 in MMPose's order.
_SMPL_17 = [0, 2, 5, 8, 1, 4, 7, 3, 9, 12, 15, 16, 18, 20, 17, 19, 21]


@dataclass
class Truth:
    """What every layout holds, joints in MMPose's order, frames sorted by subject."""

    subject: np.ndarray  # (N,) str
    action: np.ndarray  # (N,) int
    subaction: np.ndarray  # (N,) int
    camera: np.ndarray  # (N,) str
    frame: np.ndarray  # (N,) int
    joints: np.ndarray  # (N, 17, 3), meters, camera's frame
    pixels: np.ndarray  # (N, 17, 2)
    pose: np.ndarray  # (N, 72)
    betas: np.ndarray  # (N, 10)
    transl: np.ndarray  # (N, 3), meters

    def stem(self, row: int) -> str:
        take = TAKES[self.subject[row], self.action[row], self.subaction[row]]
        return f'{self.subject[row]}_{take.replace(" ", "_")}.{self.camera[row]}'

    def name(self, row: int) -> str:
        """MMPose's image name."""
        stem = self.stem(row)
        return f'{self.subject[row]}/{stem}/{stem}_{self.frame[row]:06d}.jpg'

    @property
    def names(self) -> list[str]:
        return [self.name(row) for row in range(len(self.frame))]

    def of(self, *subjects: str) -> Truth:
        rows = np.isin(self.subject, subjects)
        return Truth(**{name: value[rows] for name, value in vars(self).items()})


def a_jpeg(height: int = 1002, width: int = 1000, gray: int = 127) -> bytes:
    """Return a JPEG file of one color."""
    return cv2.imencode('.jpg', np.full((height, width), gray, np.uint8))[1].tobytes()


def project(joints: np.ndarray, camera: str) -> np.ndarray:  # (..., 3) -> (..., 2)
    """Project points as H36M's own code does."""
    focal, center, (k1, k2, k3, p1, p2), _ = INTRINSICS[camera]
    x, y = joints[..., 0] / joints[..., 2], joints[..., 1] / joints[..., 2]
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + p1 * y + p2 * x
    return np.stack(
        [focal[0] * (x * radial + p2 * r2) + center[0], focal[1] * (y * radial + p1 * r2)
         + center[1]], -1,
    )  # fmt: skip


def make_truth(seed: int = 0) -> Truth:
    """Frames of S1 and S9 whose joints are those of the free body in random poses."""
    rng = np.random.default_rng(seed)
    shapes = {subject: rng.normal(size=10) for subject in ('S1', 'S9')}
    rows = [(*take, camera, frame) for take in TAKES for camera in INTRINSICS for frame in FRAMES]
    subject, action, subaction, camera, frame = zip(*rows, strict=True)
    count = len(rows)
    pose = np.zeros((count, 24, 3))
    pose[:, 0] = [np.pi, 0, 0] + rng.normal(scale=0.3, size=(count, 3))  # upright in the image
    limbs = [1, 2, 4, 5, 16, 17, 18, 19]  # so that all 17 joints' bones keep their lengths
    pose[:, limbs] = rng.normal(scale=0.4, size=(count, len(limbs), 3))
    betas = np.stack([shapes[name] for name in subject])
    transl = rng.uniform([-0.5, -0.2, 4], [0.5, 0.2, 6], size=(count, 3))
    body = free_body().double()
    with torch.no_grad():
        posed = body(
            betas=torch.tensor(betas),
            body_pose=torch.tensor(pose[:, 1:]),
            global_orient=torch.tensor(pose[:, 0]),
            transl=torch.tensor(transl),
        )
    joints = posed.joints[:, _SMPL_17].numpy()
    pixels = np.stack([project(one, name) for one, name in zip(joints, camera, strict=True)])
    return Truth(
        subject=np.array(subject), action=np.array(action), subaction=np.array(subaction),
        camera=np.array(camera), frame=np.array(frame), joints=joints, pixels=pixels,
        pose=pose.reshape(count, 72), betas=betas, transl=transl,
    )  # fmt: skip


def cameras_of(subjects: tuple[str, ...] = ('S1', 'S9')) -> dict[tuple[str, str], dict[str, Any]]:
    """Return cameras in the layout of MMPose's cameras.pkl."""
    cameras = {}
    for subject in subjects:
        for turn, (name, (f, c, distortion, height)) in enumerate(INTRINSICS.items()):
            yaw = 0.7 + turn
            axes = np.array(
                [[np.cos(yaw), 0, -np.sin(yaw)], [np.sin(yaw), 0, np.cos(yaw)], [0, -1, 0]]
            )
            cameras[subject, name] = dict(
                R=axes, T=np.array([[1.8], [4.9], [1.5]]), f=np.array(f)[:, None],
                c=np.array(c)[:, None], k=np.array(distortion[:3])[:, None],
                p=np.array(distortion[3:])[:, None], w=1000, h=height, name='camera', id=name,
            )  # fmt: skip
    return cameras


def write_spin(path: Path, truth: Truth, train: bool = True, **changes: Any) -> Path:
    """SPIN's npz; with 2D joints and SMPL parameters as its training file, or without."""
    count = len(truth.frame)
    S = np.zeros((count, 24, 4))
    S[:, PLACES_OF_24, :3] = truth.joints - truth.joints[:, :1]
    S[:, PLACES_OF_24, 3] = 1
    low, high = truth.pixels.min(1), truth.pixels.max(1)
    fields: dict[str, Any] = dict(
        imgname=[f'images/{truth.stem(i)}_{truth.frame[i]:06d}.jpg' for i in range(count)],
        center=(low + high) / 2,
        scale=0.9 * (high - low).max(1) / 200,
        S=S,
    )
    if train:
        part = np.zeros((count, 24, 3))
        part[:, PLACES_OF_24, :2] = truth.pixels
        part[:, PLACES_OF_24, 2] = 1
        fields.update(part=part, pose=truth.pose, shape=truth.betas, has_smpl=np.ones(count))
        fields.update(openpose=np.zeros((count, 25, 3)))
    fields.update(changes)
    np.savez(path, **{name: value for name, value in fields.items() if value is not None})
    return path


def write_human_data(path: Path, truth: Truth, compressed: bool = True, **changes: Any) -> Path:
    """HumanData as MMHuman3D's converter of H36M dumps it: dicts are pickled."""
    count = len(truth.frame)
    mask = np.zeros(190, dtype=np.uint8)
    mask[PLACES_OF_190] = 1
    two, three = np.zeros((count, 190, 3)), np.zeros((count, 190, 4))
    two[:, PLACES_OF_190, :2], two[:, PLACES_OF_190, 2] = truth.pixels, 1
    three[:, PLACES_OF_190, :3] = truth.joints - truth.joints[:, :1]
    three[:, PLACES_OF_190, 3] = 1
    if compressed:
        two, three = two[:, mask == 1], three[:, mask == 1]
    cam_param = {}
    for key, camera in cameras_of(tuple(sorted(set(truth.subject.tolist())))).items():
        matrix = np.eye(3)
        matrix[[0, 1], [0, 1]], matrix[:2, 2] = camera['f'][:, 0], camera['c'][:, 0]
        cam_param[key] = dict(
            in_mat=matrix.tolist(), rotation_mat=camera['R'].tolist(),
            translation=camera['T'].ravel().tolist(), W=camera['w'], H=camera['h'],
            k1=float(camera['k'][0, 0]), k2=float(camera['k'][1, 0]), k3=float(camera['k'][2, 0]),
            k4=0.0, k5=0.0, k6=0.0, p1=float(camera['p'][0, 0]), p2=float(camera['p'][1, 0]),
            name=f'{key[0]}_{key[1]}',
        )  # fmt: skip
    low, high = truth.pixels.min(1), truth.pixels.max(1)
    fields: dict[str, Any] = dict(
        __key_strict__=False, __data_len__=count, __keypoints_compressed__=compressed,
        image_path=[
            f'{truth.subject[i]}/images/{truth.stem(i)}/{truth.stem(i)}_{truth.frame[i]:06d}.jpg'
            for i in range(count)
        ],
        bbox_xywh=np.concatenate([low, high - low, np.ones((count, 1))], 1),
        keypoints2d=two, keypoints3d=three, keypoints2d_mask=mask, keypoints3d_mask=mask,
        keypoints2d_convention='human_data', keypoints3d_convention='human_data',
        smpl=dict(
            global_orient=truth.pose[:, :3], body_pose=truth.pose[:, 3:].reshape(-1, 23, 3),
            betas=truth.betas,
        ),
        cam_param=cam_param, config='h36m',
    )  # fmt: skip
    fields.update(changes)
    fields = {name: value for name, value in fields.items() if value is not None}
    np.savez_compressed(path, **fields)  # type: ignore[arg-type]
    return path


def write_h36m_fetch(root: Path, truth: Truth) -> Path:
    """h36m-fetch's folders, with an ``annot.h5`` and (gray) images in each, and metadata.xml."""
    import h5py

    root.mkdir(exist_ok=True)
    write_metadata(root / 'metadata.xml')

    names = {4: 'Eating', 12: 'TakingPhoto', 3: 'Discussion'}
    rng = np.random.default_rng(1)
    for subject, action, subaction in TAKES:
        rows = np.flatnonzero(
            (truth.subject == subject) & (truth.action == action) & (truth.subaction == subaction)
        )
        if not len(rows):
            continue
        folder = root / 'processed' / subject / f'{names[action]}-{subaction}'
        two = rng.uniform(0, 1000, (len(rows), 32, 2))
        three = rng.uniform(-500, 500, (len(rows), 32, 3))
        two[:, PLACES_OF_32] = truth.pixels[rows]
        three[:, PLACES_OF_32] = 1000 * truth.joints[rows]
        for row in rows:
            image = folder / f'imageSequence/{truth.camera[row]}/img_{truth.frame[row]:06d}.jpg'
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(a_jpeg())
        with h5py.File(folder / 'annot.h5', 'w') as file:
            file['pose/2d'], file['pose/3d'], file['pose/3d-univ'] = two, three, three
            file['frame'] = truth.frame[rows]
            file['camera'] = truth.camera[rows].astype(int)
            file['subject'] = np.full(len(rows), int(subject[1:]))
            file['action'] = truth.action[rows]
            file['subaction'] = truth.subaction[rows]
            for camera in INTRINSICS:
                f, c, _, _ = INTRINSICS[camera]
                file[f'intrinsics/{camera}'] = [f[0], c[0], f[1], c[1]]
    return root


def write_release(root: Path, truth: Truth) -> Path:
    """The release, unpacked: takes of 11 frames, of which the first, sixth and last are known."""
    rng = np.random.default_rng(2)
    write_metadata(root / 'metadata.xml')
    for row in np.flatnonzero(truth.frame == FRAMES[0]):
        same = [
            getattr(truth, name) == getattr(truth, name)[row]
            for name in ('subject', 'action', 'subaction', 'camera')
        ]
        frame_numbers = np.flatnonzero(np.all(same, 0))
        assert truth.frame[frame_numbers].tolist() == list(FRAMES)
        rows = frame_numbers[
            [0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2]
        ]  # the nearest known, for those that are not
        two = rng.uniform(0, 1000, (len(rows), 32, 2))
        three = rng.uniform(-500, 500, (len(rows), 32, 3))
        two[:, PLACES_OF_32] = truth.pixels[rows]
        three[:, PLACES_OF_32] = 1000 * truth.joints[rows]
        subject, camera = str(truth.subject[row]), str(truth.camera[row])
        take = f'{TAKES[subject, truth.action[row], truth.subaction[row]]}.{camera}'
        poses = root / subject / 'MyPoseFeatures'
        write_cdf(poses / f'D2_Positions/{take}.cdf', two.reshape(-1, 64))
        write_cdf(poses / f'D3_Positions_mono/{take}.cdf', three.reshape(-1, 96))
        write_video(root / subject / f'Videos/{take}.mp4', len(rows), INTRINSICS[camera][3])
    return root


def write_cdf(path: Path, pose: np.ndarray) -> Path:  # (N, 64 or 96)
    """A variable ``Pose`` of one record."""
    from cdflib import cdfwrite

    path.parent.mkdir(parents=True, exist_ok=True)
    file = cdfwrite.CDF(path, delete=True)
    about = dict(Variable='Pose', Data_Type=45, Num_Elements=1, Rec_Vary=True,
                 Var_Type='zVariable', Dim_Sizes=list(pose.shape), Compress=6)  # fmt: skip
    file.write_var(about, var_data=pose[None])
    file.close()
    return path


def write_video(path: Path, frames: int, height: int) -> Path:
    """Frame number ``i``, from 0, is gray with the value 20 (i + 1), modulo 256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 50, (1000, height))
    assert file.isOpened()
    for index in range(frames):
        file.write(np.full((height, 1000, 3), 20 * (index + 1) % 256, np.uint8))
    file.release()
    return path


def write_metadata(path: Path) -> Path:
    """Return those parts of the release's ``metadata.xml`` that are read: 11 subjects, 4 cameras.

    Rotation angles and places of cameras are made up; intrinsics are those above, twice.
    """
    header = '<tr><td>Action</td><td>subaction</td>{}</tr>'
    lines = [header.format(''.join(f'<td>S{number}</td>' for number in range(1, 12)))]
    for action in range(1, 17):
        for subaction in (1, 2):
            cells = ''.join(
                f'<td>{TAKES.get((f"S{s}", action, subaction), f"Take {action} {subaction}")}</td>'
                for s in range(1, 12)
            )
            lines.append(f'<tr><td>{action}</td><td>{subaction}</td>{cells}</tr>')
    identities = ['54138969', '55011271', '58860488', '60457274']
    extrinsic = [(0.3, -1.2, 0.1, 1800.0 + 10 * s, 4900.0, 1500.0) for s in range(44)]
    intrinsic = []
    for name in identities:
        f, c, distortion, _ = INTRINSICS.get(name, INTRINSICS['60457274'])
        intrinsic.append((*f, *c, *distortion))
    numbers = ' '.join(str(value) for block in extrinsic + intrinsic for value in block)
    actions = ''.join(f'<item>Action {number}</item>' for number in range(1, 17))
    ids = ''.join(f'<item>{name}</item>' for name in identities)
    path.write_text(
        f'<?xml version="1.0" encoding="utf-8"?><a><mapping>{"".join(lines)}</mapping>'
        f'<actionnames>{actions}</actionnames><dbcameras><index2id>{ids}</index2id></dbcameras>'
        f'<w0>[{numbers}]</w0></a>'
    )
    return path
