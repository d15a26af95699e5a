"""The contour silhouette: exact pixel coverage from the contour edges of a mesh.

The contour consists of the edges between front-facing and other faces, each directed as in its
front-facing face. The number of front-facing layers over a point of the image is the winding number
of the contour around this point. A body has thousands of faces but only a few hundred contour
edges.

As in font rasterizers, each edge is cut at the pixel grid. The signed area between a piece and its
pixel's right border is added to that pixel, and the piece's signed height to all pixels right of
it; one cumulative sum along the rows does the latter for all pieces. The result is the exact
integral of the number of layers over each pixel. Clamped at one, it is the silhouette.

The derivative is a boundary integral: a piece that moves sweeps the area length x normal
displacement. The backward pass therefore needs only each piece's pixel and its share of the edge;
movements of the points where the grid cuts an edge cancel.

If several layers partly cover one pixel, their areas are added before the clamp, although they may
overlap: a pixel half covered twice counts as full. This happens only where contours run within a
pixel of each other (fingers, feet, ears). Clamping each quarter of a pixel separately halves the
error: the free body is drawn 0.07% too large instead of 0.14%.

Two backends draw the silhouette and agree up to rounding: compiled loops over the edges on a CPU
(:mod:`~mmjrr.rendering.contour.numba_backend`), and PyTorch operations over all edges at once on
any device (:mod:`~mmjrr.rendering.contour.torch_backend`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmjrr.array_types import Array
from mmjrr.geometry import PerspectiveCamera
from mmjrr.registry import RENDERERS
from mmjrr.rendering.contour import torch_backend
from mmjrr.rendering.contour.topology import MeshTopology
from mmjrr.rendering.silhouette_renderer import DeferredChecks, SilhouetteRenderer

if TYPE_CHECKING:
    from mmjrr.rendering.contour.numba_backend import Tables


@RENDERERS.register_module()
class ContourSilhouette(SilhouetteRenderer):
    """Exact-coverage silhouettes of triangle meshes, on a CPU or GPU.

    Each value is the fraction of a pixel's area that the projected mesh covers. Gradients are the
    exact derivatives with respect to vertices and camera (first order only).

    - Closed, consistently oriented meshes, such as a body: the front-facing layers are drawn. It
      does not matter which side is outside.
    - Other meshes: front- and back-facing layers are drawn separately, and the larger coverage
      counts. Faces are first oriented consistently as far as the mesh's edges allow; surfaces that
      cannot be oriented (a Moebius strip) may show seams.

    The module's documentation describes the error at pixels that several layers partly cover.

    Args:
        faces: (F, 3) vertex indices of a triangle mesh (array, tensor or nested lists).
        image_size: (height, width) in pixels. Default: (224, 224).
        near: Smallest allowed depth of a vertex, in meters. Default: 0.01.
        supersampling: k; the layers' areas are clamped separately in each of k x k parts of a
            pixel, which separates parts covered several times from parts not covered. Default: 2.
        compiled: Whether to draw on a CPU with loops that Numba compiles. Compilation at the first
            use takes some seconds; later processes load the loops from a cache. False draws with
            PyTorch's operations, as on a GPU, which takes two to three times as long on a CPU.
            Default: True.

    Raises:
        ValueError: An argument is invalid.
        ImportError: ``compiled`` is True and Numba cannot be imported.

    >>> triangle = ContourSilhouette([[0, 1, 2]], image_size=(2, 2))
    >>> camera = PerspectiveCamera([1.0, 1.0], [0.0, 0.0])
    >>> triangle(torch.tensor([[[0.0, 0, 1], [2, 0, 1], [0, 2, 1]]]), camera)
    tensor([[[1.0000, 0.5000],
             [0.5000, 0.0000]]])
    """

    def __init__(
        self,
        faces: Tensor | Array | Sequence[Sequence[int]],
        image_size: Sequence[int] = (224, 224),
        near: float = 0.01,
        supersampling: int = 2,
        compiled: bool = True,
    ) -> None:
        super().__init__(faces, image_size, near)
        if supersampling < 1:
            raise ValueError(f'supersampling: found {supersampling}, expected at least 1')
        self.supersampling = int(supersampling)
        self.compiled = bool(compiled)
        if self.compiled:
            _import_numba_backend()
        self.topology = MeshTopology(self.faces)
        self._capacity: torch_backend.Capacity | None = None
        self._tables: Tables | None = None

    @property
    def closed(self) -> bool:
        """Whether the mesh is closed and oriented consistently."""
        return self.topology.closed

    def render(self, vertices: Tensor, camera: PerspectiveCamera) -> Tensor:
        """Draw checked vertices."""
        pixels = self._project(vertices, camera)
        if self._draws_compiled(pixels):
            return self._draw_compiled(pixels)
        return torch_backend.draw(
            pixels,
            self.topology,
            self.image_size,
            self.supersampling,
            self._capacity,
            self._deferred,
        )

    def compare(
        self,
        vertices: Tensor,
        camera: PerspectiveCamera,
        mask: Tensor,
        levels: tuple[int, ...],
        weight: Tensor | None = None,
    ) -> Tensor:
        """Compare silhouettes with masks; the compiled loops do so without an image in memory."""
        if not self._compares_compiled(vertices, camera.distortion, mask, weight):
            return super().compare(vertices, camera, mask, levels, weight)
        self._check(vertices)
        _check_shapes((len(vertices), *self.image_size), mask=mask, weight=weight)
        return _import_numba_backend().compare(
            vertices, camera, self._compiled_tables(), self.supersampling, mask, weight, levels
        )

    def compare_in_cells(
        self,
        vertices: Tensor,
        camera: PerspectiveCamera,
        cells: Tensor,
        box: Tensor,
        weight: Tensor | None = None,
        blur: float = 0.0,
    ) -> Tensor:
        """Compare in cells; the compiled loops do so without an image in memory."""
        if not self._compares_compiled(vertices, camera.distortion, cells, box, weight):
            return super().compare_in_cells(vertices, camera, cells, box, weight, blur)
        self._check(vertices)
        count = len(vertices)
        _check_shapes((count, cells.shape[-1], cells.shape[-1]), cells=cells)
        _check_shapes((count, 4), box=box)
        _check_shapes((count, *self.image_size), weight=weight)
        if weight is None:
            weight = vertices.new_ones(count, *self.image_size)
        return _import_numba_backend().compare_in_cells(
            vertices, camera, self._compiled_tables(), self.supersampling, cells, box, weight, blur
        )

    @contextmanager
    def without_host_sync(
        self, vertices: Tensor, camera: PerspectiveCamera
    ) -> Iterator[Callable[[], bool]]:
        """Draw into preallocated buffers; the compiled loops, which never wait, draw as usual."""
        self._check(vertices)
        if not len(vertices) or self._draws_compiled(vertices):
            yield lambda: True
            return
        with torch.no_grad():
            self._capacity = torch_backend.Capacity.for_bodies(
                self._project(vertices, camera),
                self.topology,
                self.image_size,
                self.supersampling,
            )
        self._deferred = checks = DeferredChecks(vertices.device)
        try:
            yield checks.passed
        finally:
            self._capacity = self._deferred = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), '_tables': None}  # rebuilt from the topology on demand

    def _draws_compiled(self, coordinates: Tensor) -> bool:
        return self.compiled and coordinates.device.type == 'cpu'

    def _compares_compiled(self, vertices: Tensor, *others: Tensor | None) -> bool:
        """Return whether to compare in the compiled loops, which give the others no gradients."""
        return self._draws_compiled(vertices) and not any(
            value is not None and value.requires_grad for value in others
        )

    def _draw_compiled(self, pixels: Tensor) -> Tensor:
        return _import_numba_backend().draw(
            pixels, self._compiled_tables(), self.image_size, self.supersampling
        )

    def _compiled_tables(self) -> Tables:
        if self._tables is None:
            self._tables = _import_numba_backend().Tables.from_topology(self.topology)
        return self._tables


def _check_shapes(expected: tuple[int, ...], **tensors: Tensor | None) -> None:
    for name, value in tensors.items():
        if value is not None and tuple(value.shape) != expected:
            raise ValueError(f'{name}: found shape {tuple(value.shape)}, expected {expected}')


def _import_numba_backend() -> ModuleType:
    """Import the backend together with Numba.

    Raises:
        ImportError: Numba is missing or broken; the message says what to do.
    """
    try:
        from mmjrr.rendering.contour import numba_backend
    except Exception as error:  # a broken Numba does not only raise ImportError
        raise ImportError(
            'ContourSilhouette draws on a CPU with Numba, which cannot be imported '
            f'({type(error).__name__}: {error}): pip install numba (with --force-reinstall if it '
            "is there), or choose dict(type='ContourSilhouette', compiled=False), which is slower"
        ) from error
    return numba_backend
