"""Picture of the free body: the T-pose with joints, two poses and three shapes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from mmjrr.body_models import SMPL
from mmjrr.io import atomic_write
from mmjrr.joints import SMPL_JOINTS, SMPL_PARENTS

from .rotations import rotation_about

_WIDTH = 1400  # pixels of the whole picture
_HEIGHT_METERS = 2.2
_MARGIN_METERS = 0.13  # below the feet, for the caption
_SUPERSAMPLE = 3
_SHIFT = 4  # fractional bits of OpenCV's polygon coordinates


def draw_picture(body_file: Path, path: Path) -> None:
    """Draw a body and write the picture as PNG."""
    body = SMPL(body_file, dtype=torch.float64)
    no_shape, t_pose = np.zeros(body.num_betas), np.zeros((len(SMPL_JOINTS), 3))
    # Caption, betas, pose, degrees about the vertical, width in meters, whether with joints.
    panels = [('T-pose and joints', no_shape, t_pose, 0.0, 1.75, True)]
    panels += [(name, no_shape, pose, 30.0, 1.1, False) for name, pose in example_poses().items()]
    panels += [
        (f'beta_0 = {size:+d}' if size else 'beta_0 = 0', size * np.eye(body.num_betas)[0],
         standing_pose(), 0.0, 0.9, False)
        for size in (-2, 0, 2)
    ]  # fmt: skip
    pixels_per_meter = _WIDTH / sum(panel[4] for panel in panels)
    height = int(_HEIGHT_METERS * pixels_per_meter)
    images = []
    for caption, betas, pose, yaw, width, with_joints in panels:
        with torch.no_grad():
            posed = body(
                betas=torch.from_numpy(betas)[None],
                global_orient=torch.from_numpy(pose[:1]),
                body_pose=torch.from_numpy(pose[1:])[None],
            )
        vertices, joints = posed.vertices[0].numpy(), posed.joints[0].numpy()
        rotation = rotation_about(np.array([0.0, 1.0, 0.0]), np.radians(yaw))
        image = shade(
            vertices @ rotation.T,
            body.faces,
            pixels_per_meter,
            (int(width * pixels_per_meter), height),
            joints @ rotation.T if with_joints else None,
        )
        cv2.putText(
            image, caption, (6, height - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (70, 70, 70), 1,
            cv2.LINE_AA,
        )  # fmt: skip
        images.append(image)
    _, encoded = cv2.imencode('.png', np.concatenate(images, axis=1))
    with atomic_write(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def example_poses() -> dict[str, np.ndarray]:  # (24, 3), axis-angle in radians
    """Return natural poses by name."""

    def pose(**degrees: tuple[float, float, float]) -> np.ndarray:
        angles = np.zeros((len(SMPL_JOINTS), 3))
        for joint, rotation in degrees.items():
            angles[SMPL_JOINTS.index(joint)] = np.radians(rotation)
        return angles

    walking = pose(
        left_hip=(-28, 0, 2), left_knee=(12, 0, 0), left_ankle=(5, 0, 0),
        right_hip=(20, 0, -2), right_knee=(32, 0, 0), right_ankle=(8, 0, 0), right_foot=(-15, 0, 0),
        spine1=(2, 6, 0), spine3=(3, -8, 0), head=(-4, 3, 0),
        left_collar=(0, 0, -9), right_collar=(0, 0, 9),
        left_shoulder=(12, 22, -62), right_shoulder=(8, 28, 62),
        left_elbow=(0, -18, 0), right_elbow=(0, 38, 0),
    )  # fmt: skip
    sitting = pose(
        left_hip=(-88, -8, 6), right_hip=(-84, 10, -8), left_knee=(86, 0, 0), right_knee=(92, 0, 0),
        spine1=(14, 0, 0), spine2=(6, 0, 0), neck=(8, 0, 0), head=(-6, 12, 0),
        left_collar=(0, 0, -6), right_collar=(0, 0, 4),
        left_shoulder=(8, -22, -60), right_shoulder=(0, 30, 58),
        left_elbow=(0, -55, 0), right_elbow=(0, 50, 0),
    )  # fmt: skip
    return {'walking': walking, 'sitting': sitting}


def standing_pose() -> np.ndarray:  # (24, 3), axis-angle in radians
    """Return a standing pose with hanging arms."""
    pose = np.zeros((len(SMPL_JOINTS), 3))
    for side, sign in (('left', 1), ('right', -1)):
        pose[SMPL_JOINTS.index(f'{side}_collar')] = np.radians([0, 0, -8 * sign])
        pose[SMPL_JOINTS.index(f'{side}_shoulder')] = np.radians([0, 0, -64 * sign])
        pose[SMPL_JOINTS.index(f'{side}_elbow')] = np.radians([0, -12 * sign, 0])
    return pose


def shade(
    vertices: np.ndarray,  # (V, 3), meters, y up
    faces: np.ndarray,  # (F, 3)
    pixels_per_meter: float,
    size: tuple[int, int],  # width and height in pixels
    joints: np.ndarray | None = None,  # (24, 3), meters
) -> np.ndarray:  # (height, width, 3) uint8, BGR
    """Draw a shaded body on white, seen from +z without perspective, faces from back to front."""
    canvas = np.full((size[1] * _SUPERSAMPLE, size[0] * _SUPERSAMPLE, 3), 255, np.uint8)
    center = (vertices[:, 0].min() + vertices[:, 0].max()) / 2
    bottom = vertices[:, 1].min() - _MARGIN_METERS

    def project(points: np.ndarray) -> np.ndarray:
        x = (points[..., 0] - center) * pixels_per_meter + size[0] / 2
        y = size[1] - (points[..., 1] - bottom) * pixels_per_meter
        return np.stack([x, y], -1) * _SUPERSAMPLE

    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    vertex_normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(vertex_normals, faces[:, k], normals)
    smooth = vertex_normals[faces].sum(1)
    smooth /= np.linalg.norm(smooth, axis=1, keepdims=True) + 1e-12
    light = np.array([-0.35, 0.55, 0.76])
    brightness = 0.42 + 0.58 * np.clip(smooth @ light, 0, 1)
    polygons = np.round(project(corners) * (1 << _SHIFT)).astype(np.int32)
    skin = np.array([170, 190, 222])
    for face in np.argsort(corners[:, :, 2].mean(1)):
        if normals[face, 2] > 0:
            color = tuple(int(channel) for channel in skin * brightness[face])
            cv2.fillConvexPoly(canvas, polygons[face], color, cv2.LINE_8, _SHIFT)
    if joints is not None:
        _draw_skeleton(canvas, np.round(project(joints)).astype(int))
    return cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)


def _draw_skeleton(canvas: np.ndarray, pixels: np.ndarray) -> None:  # (24, 2) int
    for joint, parent in enumerate(SMPL_PARENTS):
        if parent >= 0:
            ends = tuple(map(int, pixels[joint])), tuple(map(int, pixels[parent]))
            cv2.line(canvas, *ends, (150, 90, 30), _SUPERSAMPLE, cv2.LINE_AA)
    for pixel in pixels:
        cv2.circle(canvas, tuple(map(int, pixel)), 3 * _SUPERSAMPLE, (40, 40, 200), -1, cv2.LINE_AA)
