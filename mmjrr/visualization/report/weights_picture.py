"""Pictures of regressors' weights on a posed body, and how far two regressors' joints are apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mmjrr.array_types import FloatArray, IndexArray
from mmjrr.geometry import PerspectiveCamera
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.regressors import JointRegressor
from mmjrr.visualization.crops import encode_photo
from mmjrr.visualization.shaded_body import shade_body

#: Height and width of a picture in pixels.
SIZE = (460, 380)
_BODY = (0.80, 0.81, 0.83)
_DISTANCE = 6.0
#: A weight of this size is drawn as a disk of the largest radius.
_LARGEST_RADIUS = 9.0
#: Colors of the joints in turn; neighbors along a limb differ.
_COLORS = (
    (0.90, 0.10, 0.29), (0.00, 0.51, 0.78), (0.96, 0.51, 0.19), (0.57, 0.12, 0.71),
    (0.00, 0.59, 0.29), (0.94, 0.20, 0.90), (0.55, 0.35, 0.10), (0.00, 0.45, 0.45),
)  # fmt: skip


def upright(vertices: FloatArray) -> FloatArray:
    """Return vertices (V, 3) centered before a camera at a fixed distance, in the camera frame."""
    centered: FloatArray = np.asarray(vertices, dtype=np.float64)
    centered = centered - (centered.max(0) + centered.min(0)) / 2
    return centered + [0.0, 0.0, _DISTANCE]


def draw_weights(
    weight: FloatArray,  # (J, V)
    vertices: FloatArray,  # (V, 3), meters, camera frame
    faces: IndexArray,
    turn: float = 0.0,
) -> NDArray[np.uint8]:
    """Draw a body with a disk on every vertex of nonzero weight, as large as its weight.

    Vertices on the far side are drawn fainter. A white cross marks each joint.

    Args:
        weight: Rows of weights.
        vertices: Posed vertices.
        faces: Triangles (F, 3).
        turn: Angle in radians by which the body is turned about the vertical. Default: 0.

    Returns:
        The picture, (H, W, 3), RGB.
    """
    import cv2

    cos, sin = np.cos(turn), np.sin(turn)
    rotation = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    centered = upright(vertices) - [0.0, 0.0, _DISTANCE]
    placed = centered @ rotation.T + [0.0, 0.0, _DISTANCE]
    height, width = SIZE
    extent = max(float(np.ptp(placed[:, 1])) / height, float(np.ptp(placed[:, 0])) / width)
    focal = 0.9 * (_DISTANCE - 0.4) / max(extent, 1e-9)
    camera = PerspectiveCamera([focal, focal], [width / 2, height / 2])
    body = shade_body(placed, faces, camera, SIZE, _BODY)
    picture = body.over(np.full((*SIZE, 3), 255, dtype=np.uint8))
    pixels = placed[:, :2] / placed[:, 2:] * focal + [width / 2, height / 2]
    joints = weight @ placed
    joint_pixels = joints[:, :2] / joints[:, 2:] * focal + [width / 2, height / 2]
    shift = 4
    for row, weights in enumerate(weight):
        color = np.array(_COLORS[row % len(_COLORS)])
        used = np.flatnonzero(weights)
        for vertex in used[np.argsort(-placed[used, 2], kind='stable')]:
            x, y = pixels[vertex]
            column, line = int(np.clip(x, 0, width - 1)), int(np.clip(y, 0, height - 1))
            hidden = placed[vertex, 2] > body.depth[line, column] + 0.03
            shown = 0.45 * color + 0.55 * np.array(_BODY) if hidden else color
            radius = max(_LARGEST_RADIUS * float(np.sqrt(weights[vertex])), 1.2)
            cv2.circle(
                picture,
                (round((x - 0.5) * 2**shift), round((y - 0.5) * 2**shift)),
                round(radius * 2**shift),
                tuple((255 * shown).tolist()),
                -1,
                cv2.LINE_AA,
                shift,
            )
    for x, y in joint_pixels:
        for thickness, color_of_line in ((4, (30, 30, 30)), (2, (255, 255, 255))):
            for dx, dy in ((4, 4), (4, -4)):
                cv2.line(
                    picture,
                    (round(x - dx), round(y - dy)),
                    (round(x + dx), round(y + dy)),
                    color_of_line,
                    thickness,
                    cv2.LINE_AA,
                )
    return picture


def weights_pictures(
    regressors: Mapping[str, JointRegressor], vertices: FloatArray, faces: IndexArray
) -> dict[str, bytes]:
    """Return a WebP for each regressor: its weights seen from the camera and from behind."""
    pictures = {}
    for name, regressor in regressors.items():
        weight = regressor.reorder(H36M_JOINTS_MMPOSE).weight.double().numpy()
        views = [draw_weights(weight, vertices, faces, turn) for turn in (0.0, np.pi)]
        pictures[name] = encode_photo(np.concatenate(views, axis=1))
    return pictures


def joint_table(
    regressors: Mapping[str, JointRegressor], vertices: FloatArray
) -> list[tuple[str, list[int], list[float]]]:
    """Compare regressors joint by joint on a posed body.

    Returns:
        For each joint its name, the number of vertices of nonzero weight by regressor, and the
        distance in mm of each regressor's joint from the first regressor's.
    """
    weights = [r.reorder(H36M_JOINTS_MMPOSE).weight.double().numpy() for r in regressors.values()]
    joints = [weight @ vertices for weight in weights]
    return [
        (
            joint,
            [int((weight[row] > 0).sum()) for weight in weights],
            [float(np.linalg.norm(points[row] - joints[0][row])) * 1000 for points in joints],
        )
        for row, joint in enumerate(H36M_JOINTS_MMPOSE)
    ]
