"""Images of shaded bodies in a room, and their exact masks.

Images and masks come from different code: images are painted face by face from back to front; masks
fill the same outlines at several times the resolution and average.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mmjrr.array_types import Array, BoolArray, FloatArray, IndexArray
from mmjrr.datasets.synthetic.camera_rig import (
    axes_in_world,
    position_in_world,
    project,
    world_to_camera,
)
from mmjrr.geometry import PerspectiveCamera
from mmjrr.joints import SMPL_JOINTS

Image = Array  # uint8; OpenCV's annotations are no narrower

_SHIFT = 4  # fractional bits of OpenCV's polygon coordinates
_SUPERSAMPLE = 8  # resolution of masks relative to the image
_WALL_DISTANCE = 4.6  # meters from the center of the room


def draw_room(rng: np.random.Generator, camera: PerspectiveCamera) -> Image:
    """Draw the empty room, floor tiles and four walls with panels, as (h, w, 3) BGR."""
    height, width = camera.image_shape()
    (focal_x, focal_y), (center_x, center_y) = (
        camera.focal_length[0].tolist(), camera.principal_point[0].tolist()
    )  # fmt: skip
    rows, columns = np.mgrid[0:height:2, 0:width:2] + 0.5
    rays = np.stack([
        (columns - center_x) / focal_x,
        (rows - center_y) / focal_y,
        np.ones_like(rows),
    ], -1) @ axes_in_world(camera).T  # fmt: skip
    eye = position_in_world(camera)
    with np.errstate(divide='ignore', invalid='ignore'):
        to_floor = np.where(rays[..., 2] < 0, -eye[2] / rays[..., 2], np.inf)
        # The far wall along x and along y; whichever is hit first.
        to_walls = (np.sign(rays[..., :2]) * _WALL_DISTANCE * 1.3 - eye[:2]) / rays[..., :2]
    which = np.argmin(to_walls, -1)
    to_wall = np.take_along_axis(to_walls, which[..., None], -1)[..., 0]
    on_floor = to_floor < to_wall
    point = eye + rays * np.where(on_floor, to_floor, to_wall)[..., None]

    floor, wall = (rng.uniform(0.35, 0.75) + rng.uniform(-0.1, 0.1, 3) for _ in range(2))
    panel = rng.uniform(0.15, 0.85, (7, 3))
    tiles = (np.floor(point[..., 0] / 0.6) + np.floor(point[..., 1] / 0.6)) % 2
    floor_color = floor * (0.88 + 0.12 * tiles[..., None])
    along = np.take_along_axis(point[..., :2], 1 - which[..., None], -1)[..., 0]
    stripe = np.floor((along + 20) / 1.4).astype(int) * 3 + which
    framed = (np.abs(along / 1.4 - np.round(along / 1.4)) > 0.18) & (
        np.abs(point[..., 2] - 1.5) < 0.6
    )
    wall_color = np.where((framed & (stripe % 4 < 2))[..., None], panel[stripe % 7], wall)
    wall_color = wall_color * (0.75 + 0.1 * np.clip(point[..., 2:], 0, 2.5))
    color = np.where(on_floor[..., None], floor_color, wall_color)
    small = (255 * np.clip(color, 0, 1)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def vertex_colors(
    rest_vertices: FloatArray, rest_joints: FloatArray, clothes: FloatArray
) -> FloatArray:
    """Return (V, 3) BGR in [0, 1]: skin, hair, shirt or trousers by position in T-pose."""
    joints = dict(zip(SMPL_JOINTS, rest_joints, strict=True))
    skin, hair, shirt, trousers = clothes[:, ::-1]
    x, y, z = rest_vertices.T
    colors = np.tile(skin, (len(rest_vertices), 1))
    sleeve = 0.4 * joints['left_shoulder'][0] + 0.6 * joints['left_elbow'][0]
    colors[(y < joints['neck'][1] + 0.01) & (np.abs(x) < sleeve)] = shirt
    waist = 0.5 * (joints['pelvis'][1] + joints['spine1'][1])
    colors[y < waist] = trousers
    colors[y < joints['left_ankle'][1]] = 0.5 * trousers
    # In the T-pose no hand is next to the legs, so height alone separates the trousers.
    face_height = joints['head'][1] + 0.09
    colors[(y > face_height) | ((y > face_height - 0.1) & (z < joints['head'][2]))] = hair
    return colors


def draw_person(
    room: Image,
    vertices: FloatArray,
    pixels: FloatArray,
    faces: IndexArray,
    colors: FloatArray,
    camera: PerspectiveCamera,
    rng: np.random.Generator,
) -> Image:
    """Draw a person into the room.

    Args:
        room: (h, w, 3) from :func:`draw_room`; not changed.
        vertices: (V, 3) meters, camera frame.
        pixels: (V, 2) projections; pixel (row 0, column 0) covers [0, 1) x [0, 1).
        faces: (F, 3) vertex indices.
        colors: (V, 3) BGR in [0, 1].
        camera: The camera, which locates the shadow on the floor.
        rng: Source of the sensor noise.
    """
    image = _cast_shadow(room.copy(), vertices, camera)
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    visible = np.flatnonzero(_faces_camera(pixels[faces]))
    order = visible[np.argsort(-corners[visible, :, 2].mean(1), kind='stable')]
    light = np.array([0.0, 0.0, 1.0]) @ axes_in_world(camera) * 0.6 + np.array([-0.35, 0.0, -0.6])
    light /= np.linalg.norm(light)
    shade = 0.45 + 0.55 * np.clip(normals[order] @ light, 0, 1)
    paint = 255 * np.clip(colors[faces[order]].mean(1) * shade[:, None], 0, 1)
    polygons = _fixed_point(pixels)[faces[order]]
    for polygon, color in zip(polygons, paint.tolist(), strict=True):
        cv2.fillConvexPoly(image, polygon, color, cv2.LINE_8, _SHIFT)
    return _add_noise(image, rng)


def exact_mask(pixels: FloatArray, faces: IndexArray, size: tuple[int, int]) -> Image:
    """Return the person's mask, (h, w) of 0 and 1: pixels that the body covers by half or more.

    Polygons are filled at eight times the resolution, where the rim that OpenCV adds is a sixteenth
    of a pixel.

    Args:
        pixels: (V, 2) projections of the vertices.
        faces: (F, 3) vertex indices of a closed mesh.
        size: Height and width of the image.
    """
    height, width = size
    low = np.maximum(np.floor(pixels.min(0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(pixels.max(0)).astype(int) + 1, [width, height])
    mask = np.zeros(size, np.uint8)
    if np.any(high <= low):
        return mask
    columns, rows = high - low
    fine = np.zeros((rows * _SUPERSAMPLE, columns * _SUPERSAMPLE), np.uint8)
    polygons = _fixed_point((pixels - low) * _SUPERSAMPLE)[faces[_faces_camera(pixels[faces])]]
    for polygon in polygons:
        cv2.fillConvexPoly(fine, polygon, (255,), cv2.LINE_8, _SHIFT)
    cover = cv2.resize(fine, (int(columns), int(rows)), interpolation=cv2.INTER_AREA)
    mask[low[1] : high[1], low[0] : high[0]] = cover >= 128
    return mask


def _faces_camera(triangles: FloatArray) -> BoolArray:
    """Tell which (F, 3, 2) image triangles show their outside. Image y points down."""
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0


def _fixed_point(pixels: FloatArray) -> NDArray[np.int32]:
    """Convert to OpenCV's coordinates, in which a pixel's center is a whole number."""
    return np.round((pixels - 0.5) * (1 << _SHIFT)).astype(np.int32)


def _cast_shadow(image: Image, vertices: FloatArray, camera: PerspectiveCamera) -> Image:
    world = vertices @ axes_in_world(camera).T + position_in_world(camera)
    middle, spread = world[:, :2].mean(0), 1.2 * world[:, :2].std(0) + 0.12
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1) * spread + middle
    outline = project(world_to_camera(np.column_stack([ring, np.zeros(len(ring))]), camera), camera)
    low = np.maximum(outline.min(0).astype(int) - 30, 0)
    high = np.minimum(outline.max(0).astype(int) + 30, image.shape[1::-1])
    if np.any(high <= low):
        return image
    shadow: Image = np.zeros((high - low)[::-1], np.uint8)
    cv2.fillConvexPoly(shadow, _fixed_point(outline - low), (110,), cv2.LINE_8, _SHIFT)
    shadow = cv2.GaussianBlur(shadow, (31, 31), 9)
    window = image[low[1] : high[1], low[0] : high[0]]
    window[:] = window * (1 - shadow[..., None] / 255.0)
    return image


def _add_noise(image: Image, rng: np.random.Generator) -> Image:
    tile = rng.normal(0, 4, (128, 128, 3)).astype(np.int16)
    repeats = (-(-image.shape[0] // 128), -(-image.shape[1] // 128), 1)
    noise = np.tile(tile, repeats)[: image.shape[0], : image.shape[1]]
    return cv2.add(image, noise, dtype=cv2.CV_8U)
