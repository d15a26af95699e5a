"""Views of sequences by one camera: annotation, estimates, masks and images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from mmjrr.array_types import Array, FloatArray
from mmjrr.datasets.annotations import boxes_of_joints
from mmjrr.datasets.run_length import encode_rle
from mmjrr.datasets.synthetic import camera_rig
from mmjrr.datasets.synthetic.clothes import dress, thickness_of_clothes
from mmjrr.datasets.synthetic.images import draw_person, draw_room, exact_mask, vertex_colors
from mmjrr.datasets.synthetic.posing import pose_body, rest_body
from mmjrr.datasets.synthetic.seeding import stream
from mmjrr.datasets.synthetic.simulated_fits import ESTIMATORS, estimate, estimate_transl
from mmjrr.datasets.synthetic.subjects import TRAIN_SUBJECTS
from mmjrr.geometry import PIXELS_PER_SCALE, PerspectiveCamera, transl_to_crop_weak_perspective
from mmjrr.io import atomic_write

if TYPE_CHECKING:
    pass
from mmjrr.datasets.synthetic.sequence_plan import Take
from mmjrr.datasets.synthetic.settings import Settings
from mmjrr.datasets.synthetic.true_bodies import TrueBodies, World, root_aligned_distances_mm


def make_view(
    out: Path,
    settings: Settings,
    sequence: Take,
    world: World,
    truth: TrueBodies,
    drawn: TrueBodies,
    camera_id: str,
    camera: PerspectiveCamera,
) -> dict[str, Array]:
    """Make the view of a sequence by one camera and write its images.

    Args:
        out: The data root.
        settings: Settings of the dataset.
        sequence: The sequence.
        world: Body, true regressor and people.
        truth: True bodies at the moments of the labels.
        drawn: True bodies at the moments of the images.
        camera_id: Name of the camera.
        camera: The camera as it is calibrated.

    Returns:
        Arrays with a row for each frame: annotation, true and estimated bodies, and ``mask``.
    """
    stem = f'{sequence.name}.{camera_id}'
    joints = camera_rig.world_to_camera(truth.labels, camera)
    keypoints = np.stack([camera_rig.project(frame, camera) for frame in joints])
    ones = np.ones((*joints.shape[:2], 1))
    part = np.concatenate([keypoints, ones], 2)
    center, scale = boxes_of_joints(part)
    to_camera = Rotation.from_matrix(camera_rig.axes_in_world(camera).T)
    pose = truth.pose.copy()
    pose[:, 0] = (to_camera * Rotation.from_rotvec(pose[:, 0])).as_rotvec()
    pelvis = camera_rig.world_to_camera(truth.pelvis, camera)
    view: dict[str, Array] = {
        'imgname': np.array(
            [f'{sequence.subject}/{stem}/{stem}_{frame:06d}.jpg' for frame in truth.frames]
        ),
        'center': center,
        'scale': scale,
        'part': part,
        'S': np.concatenate([joints, ones], 2),
        'pose': pose.reshape(-1, 72),
        'betas': np.tile(truth.subject.betas, (len(pose), 1)),
        'transl': pelvis - truth.rest_pelvis,
    }
    if truth.subject.phenotypes is not None:
        view['phenotypes'] = np.tile(truth.subject.phenotypes, (len(pose), 1))
    view |= _estimates(settings.seed, stem, sequence, world, truth, view, pelvis, camera)
    seen_by = camera_rig.miscalibrated(
        settings.seed,
        sequence.subject,
        camera_id,
        camera,
        settings.camera_error,
        settings.camera_rotation_error,
        settings.camera_position_error,
    )
    view['mask'] = _draw(out, settings, world, drawn, view['imgname'].tolist(), seen_by)
    return view


def _estimates(
    seed: int,
    stem: str,
    sequence: Take,
    world: World,
    truth: TrueBodies,
    view: dict[str, Array],
    pelvis: FloatArray,
    camera: PerspectiveCamera,
) -> dict[str, Array]:
    """Simulate each estimator: ``<name>_{pose,betas,camera}``, and ``<name>_error`` in mm."""
    names = ['spin_like'] if sequence.subject in TRAIN_SUBJECTS else list(ESTIMATORS)
    estimates: dict[str, Array] = {}
    direction = pelvis / np.linalg.norm(pelvis, axis=1, keepdims=True)
    true_pose = view['pose'].reshape(-1, 24, 3)
    for name in names:
        true_betas = truth.subject.betas
        pose, betas = estimate(seed, name, stem, truth.times, true_pose, true_betas, direction)
        rest_vertices, rest_joints = rest_body(
            world.body, np.concatenate([true_betas[None], betas])
        )
        height = np.ptp(rest_vertices[:, :, 1], axis=1)
        box: FloatArray = PIXELS_PER_SCALE * view['scale']
        transl = estimate_transl(
            stream(seed, 'camera_error', name, stem),
            ESTIMATORS[name],
            pelvis=pelvis,
            size_ratio=height[1:] / height[0],
            rest_pelvis=rest_joints[1:, 0],
            camera=camera,
            box=box,
        )
        estimates[f'{name}_camera'] = transl_to_crop_weak_perspective(
            torch.from_numpy(transl),
            torch.from_numpy(view['center']),
            torch.from_numpy(box),
            camera,
            root=torch.from_numpy(rest_joints[1:, 0].copy()),
        ).numpy()
        estimates[f'{name}_pose'], estimates[f'{name}_betas'] = pose.reshape(-1, 72), betas
        vertices = pose_body(world.body, betas, pose)
        joints = world.truth(torch.from_numpy(vertices)).numpy()
        estimates[f'{name}_error'] = root_aligned_distances_mm(joints, view['S'][..., :3])
    return estimates


def _draw(
    out: Path,
    settings: Settings,
    world: World,
    truth: TrueBodies,
    names: list[str],
    camera: PerspectiveCamera,
) -> Array:
    """Write the images of a view and return its masks, (T,) COCO RLE strings."""
    subject, people = truth.subject, world.people
    colors = vertex_colors(*people.average(), subject.clothes)
    thickness = 0.001 * thickness_of_clothes(
        settings.seed, subject.name, people.weight_planes, settings.clothes
    )
    room = None
    if settings.images:
        room = draw_room(stream(settings.seed, 'room', subject.name), camera)
    encoded = []
    for name, world_vertices in zip(names, truth.vertices, strict=True):
        if settings.clothes:
            world_vertices = dress(world_vertices, people.faces, thickness)
        vertices = camera_rig.world_to_camera(world_vertices, camera)
        pixels = camera_rig.project(vertices, camera)
        mask = exact_mask(pixels, people.faces, camera.image_shape())
        encoded.append(encode_rle(mask).decode('ascii'))
        if room is not None:
            rng = stream(settings.seed, 'image', name)
            image = draw_person(room, vertices, pixels, people.faces, colors, camera, rng)
            _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality])
            path = out / 'images' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                Path(temporary).write_bytes(data.tobytes())
    return np.array(encoded)
