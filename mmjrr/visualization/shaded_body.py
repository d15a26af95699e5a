"""Shaded pictures of bodies, drawn on the CPU with a depth buffer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mmjrr.array_types import BoolArray, FloatArray, IndexArray
from mmjrr.geometry import PerspectiveCamera

#: Color of a body without other colors: RGB in [0, 1].
BODY_COLOR = (0.70, 0.78, 0.90)
#: Direction towards the main light and towards the fill light, in the camera frame (y down).
_LIGHTS = (((-0.4, -0.7, -0.8), 0.72), ((0.9, -0.1, -0.5), 0.22))
_AMBIENT = 0.24
#: Triangles of at most this many pixels in total are expanded at once.
_CHUNK = 4_000_000
#: Larger pictures are drawn with this many samples and enlarged; Full HD has fewer for a person.
_MOST_SAMPLES = 5_000_000


@dataclass(frozen=True)
class ShadedBody:
    """A drawn body.

    Attributes:
        color: (H, W, 3), RGB in [0, 1]; zero where the body is not.
        alpha: (H, W), coverage in [0, 1].
        depth: (H, W), meters; infinite where the body is not.
    """

    color: FloatArray
    alpha: FloatArray
    depth: FloatArray

    def over(self, image: NDArray[np.uint8], opacity: float = 1.0) -> NDArray[np.uint8]:
        """Draw the body over an image.

        Args:
            image: (H, W, 3), RGB.
            opacity: Opacity of the body in [0, 1]. Default: 1.

        Returns:
            (H, W, 3), RGB.
        """
        alpha = (self.alpha * opacity)[..., None]
        # ``color`` is already multiplied by the coverage.
        mixed = image * (1 - alpha) + 255.0 * opacity * self.color
        drawn: NDArray[np.uint8] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
        return drawn


def shade_body(
    vertices: FloatArray,  # (V, 3), meters, camera frame
    faces: IndexArray,  # (F, 3)
    camera: PerspectiveCamera,  # of batch size 1
    size: tuple[int, int],  # height and width in pixels
    color: tuple[float, float, float] | FloatArray = BODY_COLOR,
    supersampling: int = 2,
) -> ShadedBody:
    """Draw a body with smooth shading and hidden surfaces removed.

    Vertex normals are the area-weighted means of the normals of adjacent faces; shading is
    Lambert's with two lights that are fixed to the camera. Parts of the body outside the picture
    are cut off. A picture of more than five million samples is drawn smaller and enlarged.

    Args:
        vertices: Posed vertices in front of the camera.
        faces: Triangles, counterclockwise seen from outside in a frame with y up, as SMPL's.
        camera: The camera whose pixels are those of the picture.
        size: The picture's height and width.
        color: RGB in [0, 1], one for the body or (V, 3), one for each vertex.
            Default: a light blue.
        supersampling: Samples per pixel and axis. Default: 2.

    Returns:
        The picture.

    Raises:
        ValueError: A vertex lies behind the camera or is not finite, or the shapes are wrong.
    """
    vertices = np.asarray(vertices, dtype=np.float64)
    faces = np.asarray(faces, dtype=np.int64)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(
            f'vertices, faces: found shapes {vertices.shape} and {faces.shape}, '
            'expected (V, 3) and (F, 3)'
        )
    if not (np.isfinite(vertices).all() and (vertices[:, 2] > 0).all()):
        raise ValueError('vertices: found a vertex that is behind the camera or not finite')
    height, width = size[0] * supersampling, size[1] * supersampling
    if height * width > _MOST_SAMPLES:
        return _shade_smaller(vertices, faces, camera, size, color, supersampling)
    pixels = camera.project(torch.from_numpy(vertices)[None].to(camera.dtype))[0].double().numpy()
    face_of_pixel, weights, depth = _rasterize(
        pixels * supersampling, vertices[:, 2], faces, (height, width)
    )
    covered = face_of_pixel >= 0
    corners = faces[face_of_pixel[covered]]  # (P, 3)
    normals = vertex_normals(vertices, faces)
    mixed = np.einsum('pk,pkc->pc', weights[covered], normals[corners])
    mixed /= np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-12)
    albedo = np.broadcast_to(np.asarray(color, dtype=np.float64), (len(vertices), 3))
    base = np.einsum('pk,pkc->pc', weights[covered], albedo[corners])
    shade = np.full(len(mixed), _AMBIENT)
    for direction, strength in _LIGHTS:
        towards = np.asarray(direction) / np.linalg.norm(direction)
        shade += strength * np.clip(mixed @ towards, 0, None)
    picture = np.zeros((height, width, 3))
    picture[covered] = np.clip(base * shade[:, None], 0, 1)

    def averaged(array: FloatArray) -> FloatArray:
        tiles = array.reshape(size[0], supersampling, size[1], supersampling, -1)
        means: FloatArray = tiles.mean((1, 3))
        return means

    nearest = depth.reshape(size[0], supersampling, size[1], supersampling).min((1, 3))
    return ShadedBody(averaged(picture), averaged(covered.astype(np.float64))[..., 0], nearest)


def _shade_smaller(
    vertices: FloatArray,
    faces: IndexArray,
    camera: PerspectiveCamera,
    size: tuple[int, int],
    color: tuple[float, float, float] | FloatArray,
    supersampling: int,
) -> ShadedBody:
    """Draw a body with at most ``_MOST_SAMPLES`` samples, and enlarge the picture."""
    import cv2

    factor = math.sqrt(_MOST_SAMPLES / (size[0] * size[1])) / supersampling
    smaller = max(int(size[0] * factor), 1), max(int(size[1] * factor), 1)
    body = shade_body(vertices, faces, camera.resize(size, smaller), smaller, color, supersampling)

    def enlarged(array: FloatArray, interpolation: int = cv2.INTER_LINEAR) -> FloatArray:
        return np.asarray(cv2.resize(array, size[::-1], interpolation=interpolation), np.float64)

    # Depths beside the body are infinite, so they are not interpolated.
    return ShadedBody(
        enlarged(body.color), enlarged(body.alpha), enlarged(body.depth, cv2.INTER_NEAREST)
    )


def vertex_normals(vertices: FloatArray, faces: IndexArray) -> FloatArray:
    """Return the unit normal (V, 3) of each vertex: the area-weighted mean of its faces' normals.

    Args:
        vertices: (V, 3).
        faces: (F, 3), counterclockwise seen from outside.

    >>> corner = np.eye(3)
    >>> vertex_normals(corner, np.array([[0, 1, 2]])).round(3)[0].tolist()
    [0.577, 0.577, 0.577]
    """
    first, second, third = (vertices[faces[:, corner]] for corner in range(3))
    face_normals = np.cross(second - first, third - first)  # length: twice the area
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], face_normals)
    lengths: FloatArray = np.linalg.norm(normals, axis=1, keepdims=True)
    unit: FloatArray = normals / np.maximum(lengths, 1e-300)
    return unit


def _rasterize(
    pixels: FloatArray,  # (V, 2)
    depths: FloatArray,  # (V,)
    faces: IndexArray,  # (F, 3)
    size: tuple[int, int],
) -> tuple[IndexArray, FloatArray, FloatArray]:
    """Return face (H, W), corner weights (H, W, 3) and depth (H, W) of the nearest surface.

    The face is -1 and the depth infinite where there is none. Every triangle is tested against the
    centers of the pixels in its bounding box.
    """
    height, width = size
    corners = pixels[faces]  # (F, 3, 2)
    low = np.ceil(corners.min(1) - 0.5).astype(np.int64).clip(0, [width, height])
    high = np.floor(corners.max(1) - 0.5).astype(np.int64).clip(-1, [width - 1, height - 1])
    extent = (high - low + 1).clip(0)  # (F, 2)
    counts = extent[:, 0] * extent[:, 1]
    face_of_pixel = np.full(height * width, -1, dtype=np.int64)
    weights = np.zeros((height * width, 3))
    depth = np.full(height * width, np.inf)
    drawn = np.flatnonzero(counts)
    ends = np.cumsum(counts[drawn])
    splits = np.searchsorted(ends, np.arange(_CHUNK, ends[-1] if len(ends) else 0, _CHUNK))
    for part in np.split(drawn, splits):
        if not len(part):
            continue
        face = np.repeat(part, counts[part])
        first = np.repeat(np.cumsum(counts[part]) - counts[part], counts[part])
        place = np.arange(len(face)) - first
        column = low[face, 0] + place % extent[face, 0]
        row = low[face, 1] + place // extent[face, 0]
        point = np.stack([column + 0.5, row + 0.5], 1)
        inside, bary = _inside(point, corners[face])
        face, column, row, bary = face[inside], column[inside], row[inside], bary[inside]
        # The inverse depth is linear in the image.
        z = 1 / (bary / depths[faces[face]]).sum(1)
        place = row * width + column
        # Of repeated indices NumPy assigns the last, which is the nearest.
        order = np.argsort(-z, kind='stable')
        order = order[z[order] < depth[place[order]]]
        place, face, bary, z = place[order], face[order], bary[order], z[order]
        face_of_pixel[place] = face
        weights[place] = bary
        depth[place] = z
    return (
        face_of_pixel.reshape(size),
        weights.reshape(*size, 3),
        depth.reshape(size),
    )


def _inside(point: FloatArray, corners: FloatArray) -> tuple[BoolArray, FloatArray]:
    """Return whether points lie in their triangles, and their barycentric coordinates."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = _cross(b - a, c - a)
    with np.errstate(divide='ignore', invalid='ignore'):
        bary = (
            np.stack(
                [
                    _cross(b - point, c - point),
                    _cross(c - point, a - point),
                    _cross(a - point, b - point),
                ],
                axis=1,
            )
            / area[:, None]
        )
    inside: BoolArray = (area != 0) & (bary >= 0).all(1)
    return inside, bary


def _cross(first: FloatArray, second: FloatArray) -> FloatArray:
    product: FloatArray = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    return product
