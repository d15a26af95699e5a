"""The contour silhouette: exact pixel coverage from the edges where a mesh turns away.

The number of front-facing layers over a point of the image is the winding number around it of the
mesh's contour: the edges between front-facing and other faces, each directed as in its front face.
A body has some hundred of them, not its thousands of faces. As in font rasterisers, each edge is
cut at the pixel grid; the signed area between a piece and its pixel's right border is added to that
pixel, and the piece's signed height to all pixels right of it, by one cumulative sum along the
rows. The result is the exact integral of the number of layers over each pixel; clamped at one it
is the silhouette.

Its derivative is a boundary integral: a piece that moves sweeps the area length x normal
displacement. So the backward pass needs each piece's pixel and its share of the edge, and nothing
else; moving the points where the grid cuts an edge changes nothing.

Where several layers overlap one pixel in part, their areas are added before the clamp, although
they may lie over each other: half covered twice counts as full. That happens only where contours
run within a pixel of each other (fingers, feet, ears). Clamping in the quarters of each pixel
halves the error: the free body is drawn 0.07% too large in place of 0.14%.

It is drawn in either of two ways, which agree but for rounding: edge by edge in compiled loops on a
CPU (:mod:`~mmjrr.rendering.contour.numba_backend`), or by PyTorch's operations over all edges at
once on any device (:mod:`~mmjrr.rendering.contour.torch_backend`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from mmjrr.geometry import PerspectiveCamera
from mmjrr.registry import RENDERERS
from mmjrr.rendering.base import SilhouetteRenderer
from mmjrr.rendering.contour.torch_backend import ContourCoverage, Room

if TYPE_CHECKING:
    from mmjrr.rendering.contour.numba_backend import Tables


@RENDERERS.register_module()
class ContourSilhouette(SilhouetteRenderer):
    """Exact-coverage silhouettes of triangle meshes, on a CPU or GPU.

    Values are the area of each pixel that the projected mesh covers; gradients are their exact
    derivatives with respect to vertices and camera (first order only).

    - Closed meshes, oriented consistently (a body): the front-facing layers are drawn; which side
      is outside does not matter.
    - Others: front- and back-facing layers are drawn apart, and the larger of both coverages
      counts. Faces are first oriented consistently as far as the mesh's edges allow; on surfaces
      that cannot be oriented at all (a Moebius strip) seams may show.

    Pixels where layers overlap in part: see the module's documentation.

    Args:
        faces: (F, 3) vertex indices of a triangle mesh (array, tensor or nested lists).
        image_size: (height, width) in pixels. Default (224, 224).
        near: the smallest depth, in metres, at which a vertex may lie. Default 0.01.
        supersampling: k, the layers' areas are clamped in each of k x k parts of a pixel, so that
            parts covered by several layers are told from parts covered by none. Default 2.
        compiled: whether a CPU draws by loops that Numba compiles at their first use (some
            seconds, once; later processes find them in its cache). False: by PyTorch's operations,
            as a GPU does, which takes two to three times as long. Default True.

    Raises:
        ValueError: faces or size are not what they should be.
        ImportError: it is to draw with Numba, which is not installed.

    >>> triangle = ContourSilhouette([[0, 1, 2]], image_size=(2, 2))
    >>> camera = PerspectiveCamera([1.0, 1.0], [0.0, 0.0])
    >>> triangle(torch.tensor([[[0.0, 0, 1], [2, 0, 1], [0, 2, 1]]]), camera)
    tensor([[[1.0000, 0.5000],
             [0.5000, 0.0000]]])
    """

    closed: bool  # and oriented consistently, after turning faces
    _corners: Tensor  # (3, F) int64, faces that have three different corners
    _edges: Tensor  # (2, E) int64
    _edge_faces: Tensor  # (K, E) int64, the faces at each edge, padded with 0
    _edge_signs: Tensor  # (K, E) int8, +1 where the face runs along the edge, -1 against, 0 padding

    def __init__(
        self,
        faces: Tensor | np.ndarray | Sequence[Sequence[int]],
        image_size: Sequence[int] = (224, 224),
        near: float = 0.01,
        supersampling: int = 2,
        compiled: bool = True,
    ) -> None:
        super().__init__(faces, image_size, near)
        if supersampling < 1:
            raise ValueError(f'supersampling must be at least 1, got {supersampling}')
        self.supersampling = int(supersampling)
        self.compiled = bool(compiled)
        if self.compiled and find_spec('numba') is None:
            raise ImportError(
                'ContourSilhouette draws on a CPU with Numba, which is not installed: pip install '
                "numba, or choose dict(type='ContourSilhouette', compiled=False), which is slower"
            )
        oriented = _oriented_consistently(self.faces.cpu().numpy())
        edges, edge_faces, edge_signs = _edge_tables(oriented)
        self.closed = bool((edge_signs.sum(0) == 0).all())
        for name, table in (
            ('_corners', oriented.T),
            ('_edges', edges),
            ('_edge_faces', edge_faces),
            ('_edge_signs', edge_signs),
        ):
            tensor = torch.from_numpy(np.ascontiguousarray(table))
            self.register_buffer(name, tensor.to(self.faces.device), persistent=False)
        # Of a body's edges, each has one face along it and one against it.
        self._common_signs = [
            int(row[0]) if len(row) and (row == row[0]).all() else None for row in edge_signs
        ]
        self._room: Room | None = None
        self._tables: Tables | None = None

    def render(self, vertices: Tensor, camera: PerspectiveCamera) -> Tensor:
        pixels = self._project(vertices, camera)
        if self.compiled and pixels.device.type == 'cpu':
            return self._draw_compiled(pixels)
        return ContourCoverage.apply(pixels, self)

    @contextmanager
    def without_waiting(
        self, vertices: Tensor, camera: PerspectiveCamera
    ) -> Iterator[Callable[[], bool]]:
        self._check(vertices)
        if not len(vertices) or (self.compiled and vertices.device.type == 'cpu'):
            yield lambda: True
            return
        with torch.no_grad():
            room = Room.around(self, self._project(vertices, camera))
        self._room, self._doubts = room, room.doubts
        try:
            yield lambda: not bool(room.doubts)
        finally:
            self._room = self._doubts = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), '_tables': None}  # made again, where they are needed

    @property
    def num_layers(self) -> int:
        """1 where front-facing layers are drawn alone, 2 where back-facing ones are, too."""
        return 1 if self.closed else 2

    def _draw_compiled(self, pixels: Tensor) -> Tensor:
        from mmjrr.rendering.contour.numba_backend import CompiledCoverage, Tables

        if self._tables is None:
            self._tables = Tables.of(self)
        return CompiledCoverage.apply(pixels, self, self._tables)


def _oriented_consistently(faces: np.ndarray) -> np.ndarray:
    """Faces with three different corners, turned so that neighbours run their edge oppositely.

    Neighbours are the two faces of an edge that has two. Each connected part keeps the orientation
    of its first face; a part that cannot be oriented stays as it is.
    """
    distinct = (faces != np.roll(faces, 1, axis=1)).all(1)
    faces = faces[distinct]
    num_faces = len(faces)
    edge, sign, face, num_edges = _half_edges(faces)[1:]
    order = np.argsort(edge, kind='stable')
    pairs = np.bincount(edge, minlength=num_edges) == 2
    paired = order[pairs[edge[order]]].reshape(-1, 2)
    a, b = face[paired].T
    turn = (sign[paired[:, 0]] == sign[paired[:, 1]]).astype(np.int64) * num_faces
    # Two nodes a face, as it is and turned; what must go together is linked.
    rows = np.concatenate([a, a + num_faces])
    columns = np.concatenate([b + turn, (b + num_faces + turn) % (2 * num_faces)])
    links = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), (2 * num_faces,) * 2)
    part = connected_components(links, directed=False)[1].reshape(2, num_faces)
    # Parts are numbered by their first node, and every first node is a face as it is.
    turned = part[1] < part[0]
    faces[turned] = faces[turned][:, ::-1]
    return faces


def _edge_tables(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges (2, E), the faces at each (K, E), and their signs (K, E); K is the most at one edge."""
    edges, edge, sign, face, num_edges = _half_edges(faces)
    order = np.lexsort((-sign, edge))  # at each edge, faces along it before those against it
    valence = np.bincount(edge, minlength=num_edges)
    slot = np.arange(len(order)) - np.repeat(np.cumsum(valence) - valence, valence)
    edge_faces = np.zeros((int(valence.max(initial=1)), num_edges), np.int64)
    edge_signs = np.zeros(edge_faces.shape, np.int8)
    edge_faces[slot, edge[order]] = face[order]
    edge_signs[slot, edge[order]] = sign[order]
    return edges, edge_faces, edge_signs


def _half_edges(
    faces: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Edges (2, E) from lower to higher vertex; for 3F half-edges: edge, direction, face; and E."""
    halves = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges, edge = np.unique(np.sort(halves, axis=1), axis=0, return_inverse=True)
    sign = np.where(halves[:, 0] < halves[:, 1], 1, -1).astype(np.int8)
    face = np.tile(np.arange(len(faces)), 3)
    return edges.T, edge.reshape(-1), sign, face, len(edges)
