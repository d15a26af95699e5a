"""The contour silhouette on a CPU: loops over the edges of each image, compiled by Numba.

:mod:`mmjrr.rendering.contour.renderer` describes the method. An image's accumulation buffer fits
into the processor's cache, rows are summed only between their first and last edges, and all
computations are in float64, whatever the dtype of the coordinates. Importing this module imports
Numba.

Compiled loops are cached in ``$NUMBA_CACHE_DIR`` or else in ``mmjrr/numba`` in the user's cache
folder (``$XDG_CACHE_HOME`` or ``~/.cache``). They are never stored in the package, because pip
would leave its folder behind on uninstallation. If they cannot be stored or loaded, a warning says
why, and each process compiles its own loops.
"""

from __future__ import annotations

import os
import tempfile
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from math import ceil, floor
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmjrr.array_types import Array
from mmjrr.rendering.contour.topology import MeshTopology

#: Extents below this many pixels count as zero: the cuts of such an edge are at its ends. The value
#: is not imported from ``torch_backend``, because Numba's cache notices changes in this file only.
_TINY = 1e-20

#: Seconds to wait for another process that compiles.
_LOCK_TIMEOUT = 300.0


def draw(
    pixels: Tensor,  # (B, V, 2), projected vertices, on the CPU
    tables: Tables,
    image_size: tuple[int, int],  # height, width
    supersampling: int,
) -> Tensor:  # (B, H, W)
    """Draw the coverage of every pixel, differentiable in ``pixels``.

    Args:
        pixels: projected vertices.
        tables: the mesh's faces and edges.
        image_size: (height, width) in pixels.
        supersampling: k; areas are clamped separately in each of k x k parts of a pixel.
    """
    return _CompiledCoverage.apply(pixels, tables, image_size, supersampling)  # type: ignore[no-untyped-call]


class Tables(NamedTuple):
    """A mesh's faces and edges in the layout that the loops read."""

    corners: Array  # (3, F) int32
    edges: Array  # (2, E) int32
    along: Array  # (E,) int32, a face that runs along the edge, or F
    against: Array  # (E,) int32, a face that runs against it, or F
    others: Array  # (N, 3) int32: edge, face and sign of further faces at an edge
    num_layers: int

    @classmethod
    def from_topology(cls, topology: MeshTopology) -> Tables:
        """Convert a mesh's topology."""
        corners, edges, faces, signs = (
            table.cpu().numpy().astype(np.int32)
            for table in (
                topology.corners, topology.edges, topology.edge_faces, topology.edge_signs
            )
        )  # fmt: skip
        all_edges, remaining = np.arange(edges.shape[1]), signs != 0
        first_faces = []
        for sign in (1, -1):
            has_sign = signs == sign
            slot, exists = has_sign.argmax(0), has_sign.any(0)
            face = np.where(exists, faces[slot, all_edges], corners.shape[1])
            first_faces.append(face.astype(np.int32))
            remaining[slot[exists], all_edges[exists]] = False
        along, against = first_faces
        slot, edge = np.nonzero(remaining)
        others = np.stack([edge, faces[slot, edge], signs[slot, edge]], 1).astype(np.int32)
        return cls(corners, edges, along, against, others, topology.num_layers)


class _CompiledCoverage(torch.autograd.Function):
    """(B, V, 2) projected vertices -> (B, H, W) coverage."""

    @staticmethod
    def forward(
        ctx: Any, pixels: Tensor, tables: Tables, image_size: tuple[int, int], k: int
    ) -> Tensor:
        *mesh, num_layers = tables
        height, width = image_size
        planes = pixels.detach().transpose(1, 2).contiguous()  # the layout of a body's vertices
        batch_size = len(planes)
        weights = planes.new_empty(batch_size, num_layers, tables.edges.shape[1], dtype=torch.int8)
        visible = planes.new_empty(batch_size, num_layers, height * k, width * k, dtype=torch.bool)
        coverage = planes.new_empty(batch_size, height, width)
        _run(
            '_draw_images', batch_size, planes.numpy(), *mesh, k,
            coverage.numpy(), weights.numpy(), visible.numpy(),
        )  # fmt: skip
        ctx.edges, ctx.k = tables.edges, k
        ctx.save_for_backward(planes, weights, visible)
        return coverage

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        planes, weights, visible = ctx.saved_tensors
        result = torch.empty_like(planes)
        _run(
            '_sweep_images', len(planes), planes.numpy(), ctx.edges, ctx.k, weights.numpy(),
            visible.numpy(), grad.detach().contiguous().numpy(), result.numpy(),
        )  # fmt: skip
        return result.transpose(1, 2), None, None, None


def _run(name: str, count: int, *arguments: Any) -> None:
    """Run a loop over ``count`` images, split across PyTorch's number of threads."""
    loop = _ready(name, (*arguments, 0, count))
    parts = max(min(torch.get_num_threads(), count), 1)
    if parts == 1:
        loop(*arguments, 0, count)
        return
    cuts = [(count * i // parts, count * (i + 1) // parts) for i in range(parts)]
    with ThreadPoolExecutor(parts - 1) as pool:
        others = [pool.submit(loop, *arguments, *cut) for cut in cuts[1:]]
        loop(*arguments, *cuts[0])
        for other in others:
            other.result()


# --- compilation ----------------------------------------------------------------------------------

_OPTIONS = dict(nogil=True, error_model='numpy')
#: Names of the compiled functions, which are attributes of this module.
_names: list[str] = []
#: Names and argument types for which a function is compiled in this process.
_compiled_for: set[tuple[Any, ...]] = set()
_compiling = threading.Lock()


def _choose_cache_folder() -> Path | None:
    """Return a writable folder for compiled loops; None if there is none, after a warning."""
    try:
        if numba.config.CACHE_DIR:
            parent = Path(numba.config.CACHE_DIR)
        else:
            user = os.environ.get('XDG_CACHE_HOME')
            parent = (Path(user) if user else Path.home() / '.cache') / 'mmjrr' / 'numba'
        # One folder per content of this file, so that versions of the loops are never mixed.
        folder = parent / sha256(Path(__file__).read_bytes()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
        _warn(error)
        return None
    return folder


def _warn(error: Exception) -> None:
    warnings.warn(
        'the compiled loops of ContourSilhouette cannot be stored or loaded '
        f'({type(error).__name__}: {error}); this process compiles its own, which takes some '
        'seconds. Set NUMBA_CACHE_DIR to a writable folder',
        RuntimeWarning,
        stacklevel=2,
    )


_cache_folder = _choose_cache_folder()


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function that Numba compiles at its first call, with the cache in its folder."""
    _names.append(function.__name__)
    if _cache_folder is not None:
        folder_of_others = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(_cache_folder)
        try:
            dispatcher = numba.njit(cache=True, **_OPTIONS)(function)
        finally:
            numba.config.CACHE_DIR = folder_of_others
        if _cache_folder in Path(dispatcher.stats.cache_path).parents:
            return dispatcher
        # Numba fell back to another folder, which may be the package's: do not cache.
    return numba.njit(**_OPTIONS)(function)


def _ready(name: str, arguments: tuple[Any, ...]) -> Callable[..., None]:
    """Return a compiled function, compiling or loading it for arguments of these types first.

    Processes take turns: Numba numbers the cache files of a function's signatures without a lock,
    so two processes that compile for different dtypes would overwrite each other's files.
    """
    types = tuple(numba.typeof(argument) for argument in arguments)
    with _compiling:
        if (name, *types) not in _compiled_for:
            if _cache_folder is not None:
                try:
                    with FileLock(_cache_folder / 'lock', timeout=_LOCK_TIMEOUT):
                        globals()[name].compile(types)
                except Exception as error:  # a full disk, a broken file, no locks on the network
                    _warn(error)
                    _stop_caching()
            globals()[name].compile(types)
            _compiled_for.add((name, *types))
    return globals()[name]


def is_compiled() -> bool:
    """Return whether compiled loops of this version are stored on this machine."""
    return _cache_folder is not None and any(_cache_folder.rglob('*.nbc'))


def _stop_caching() -> None:
    """Replace all compiled functions by ones that use no cache."""
    global _cache_folder
    _cache_folder = None
    _compiled_for.clear()
    for name in _names:
        globals()[name] = numba.njit(**_OPTIONS)(globals()[name].py_func)


# --- the loops ------------------------------------------------------------------------------------


@_compiled
def _clamped(value: float) -> float:
    return min(max(value, 0.0), 1.0)


@_compiled
def _from_upper_end(pixels: Array, start: int, end: int, k: int) -> tuple[Any, Any, Any, Any, bool]:
    """Return the upper end's x and y, dx, the lower end's y, and whether the ends were swapped.

    Results are in subpixels, of which a pixel has k along each side.
    """
    x, y = k * np.float64(pixels[0, start]), k * np.float64(pixels[1, start])
    end_x, end_y = k * np.float64(pixels[0, end]), k * np.float64(pixels[1, end])
    if y <= end_y:
        return x, y, end_x - x, end_y, False
    return end_x, end_y, x - end_x, y, True


@_compiled
def _cells(low: float, high: float, size: int) -> tuple[int, int]:
    """Return the first and last row or column within [0, size) that [low, high] reaches."""
    low, high = min(max(low, -1.0), float(size)), min(max(high, -1.0), float(size))
    first = floor(low)
    # An interval that ends on a grid line does not reach the cell beyond it.
    last = max(ceil(high) - 1, first)
    return max(first, 0), min(last, size - 1)


@_compiled
def _in_row(
    row: int, x: float, y: float, dx: float, bottom: float
) -> tuple[float, float, float, float, float, bool]:
    """Cut an edge at a row's borders.

    Returns:
        The fraction of the edge above the row, the fraction in the row, x of the piece's left end,
        the piece's extent in x, the inverse of that extent, and whether the edge runs rightwards.
    """
    per_row = 1 / max(bottom - y, _TINY)
    above = _clamped((row - y) * per_row)
    share = _clamped((row + 1.0 - y) * per_row) - above
    x, dx = x + above * dx, share * dx
    return above, share, min(x, x + dx), abs(dx), 1 / max(abs(dx), _TINY), dx >= 0


@_compiled
def _in_pixel(column: int, left: float, per_pixel: float) -> tuple[float, float, float]:
    """Cut a row's piece at a pixel's borders.

    Returns:
        The pixel's left border relative to the piece's left end, and u at which the piece enters
        and leaves the pixel; u runs from 0 at the piece's left end to 1 at its right end.
    """
    border = column - left
    return border, _clamped(border * per_pixel), _clamped((border + 1) * per_pixel)


@_compiled
def _draw_images(
    pixels: Array,
    corners: Array,
    edges: Array,
    along: Array,
    against: Array,
    others: Array,
    k: int,
    coverage: Array,
    weights: Array,
    visible: Array,
    begin: int,
    end: int,
) -> None:
    """Draw images begin to end - 1 and store what their gradient needs.

    pixels (B, 2, V), coverage (B, H, W), weights (B, L, E), visible (B, L, k H, k W); visible is
    written only where there are pieces of edges.
    """
    layers, height, width = visible.shape[1:]
    sums = np.zeros((layers, height, width))
    drawn = np.zeros(corners.shape[1] + 1, np.int8)  # the last stands for a missing face
    first, last = np.empty(height, np.int64), np.empty(height, np.int64)
    for image in range(begin, end):
        first[:], last[:] = width, -1  # range of the columns whose sums are not zero
        for layer in range(layers):
            # Slice outside the loop over edges: slicing updates a counter shared by all threads.
            corner_pixels, bounds, areas = pixels[image], weights[image, layer], sums[layer]
            _boundary(corner_pixels, corners, edges, along, against, others, layer, drawn, bounds)
            for edge in range(edges.shape[1]):
                if bounds[edge] != 0:
                    _add_edge(corner_pixels, edges, edge, k, bounds[edge], areas, first, last)
        _sum_rows(sums, first, last, k, coverage[image], visible[image])


@_compiled
def _boundary(
    pixels: Array,
    corners: Array,
    edges: Array,
    along: Array,
    against: Array,
    others: Array,
    layer: int,
    drawn: Array,
    weights: Array,
) -> None:
    """Count the layer's faces along each edge minus those against it.

    Layer 0 is the front. Seen from its outside a face has a negative area, as y points down.
    """
    for face in range(corners.shape[1]):
        a, b, c = corners[0, face], corners[1, face], corners[2, face]
        x, y = np.float64(pixels[0, a]), np.float64(pixels[1, a])
        area = (pixels[0, b] - x) * (pixels[1, c] - y) - (pixels[1, b] - y) * (pixels[0, c] - x)
        drawn[face] = area < 0 if layer == 0 else area > 0
    sign = 1 if layer == 0 else -1
    for edge in range(edges.shape[1]):
        weights[edge] = sign * (drawn[along[edge]] - drawn[against[edge]])
    for i in range(len(others)):
        weights[others[i, 0]] += sign * others[i, 2] * drawn[others[i, 1]]


@_compiled
def _add_edge(
    pixels: Array,
    edges: Array,
    edge: int,
    k: int,
    weight: float,
    sums: Array,
    first: Array,
    last: Array,
) -> None:
    """Add a boundary edge's contribution to the sums (k H, k W) of a layer."""
    height, width = sums.shape
    x, y, dx, bottom, swapped = _from_upper_end(pixels, edges[0, edge], edges[1, edge], k)
    if min(x, x + dx) >= width:
        return
    if swapped:
        weight = -weight
    upper, lower = _cells(y, bottom, height)
    for row in range(upper, lower + 1):
        left, extent, per_pixel = _in_row(row, x, y, dx, bottom)[2:5]
        # Heights are differences of coordinates, not parts of dy, so that they add up in every row.
        area = weight * (min(bottom, row + 1.0) - max(y, float(row)))
        if left < 0:  # all pixels of the row lie right of the part beyond the image's border
            sums[row, 0] += _in_pixel(0, left, per_pixel)[1] * area
            first[row], last[row] = 0, max(last[row], 0)
        leftmost, rightmost = _cells(left, left + extent, width)
        if rightmost < leftmost:
            continue
        first[row] = min(first[row], leftmost)
        last[row] = max(last[row], min(rightmost + 1, width - 1))
        for column in range(leftmost, rightmost + 1):
            border, u_begin, u_end = _in_pixel(column, left, per_pixel)
            part = (u_end - u_begin) * area
            # A piece's mean distance to the pixel's left border, times its height, is missing from
            # the pixel and goes to the next one, from which the cumulative sum carries it on.
            carried = (0.5 * (u_begin + u_end) * extent - border) * part
            sums[row, column] += part - carried
            if column + 1 < width:
                sums[row, column + 1] += carried


@_compiled
def _sum_rows(
    sums: Array, first: Array, last: Array, k: int, coverage: Array, visible: Array
) -> None:
    """Turn sums into coverage (H, W) by cumulative sums, set ``visible``, and clear the sums.

    ``visible`` tells where a layer determines the coverage: its sum is not clamped at one and is
    the larger of two layers' sums. If they are equal, the front layer counts.
    """
    layers = len(sums)
    height, width = coverage.shape
    for line in range(height):
        coverage[line] = 0
        for row in range(line * k, line * k + k):
            if last[row] < 0:
                continue
            begin, end = first[row] // k, last[row] // k + 1
            front, back = 0.0, 0.0
            for pixel in range(begin, end):
                seen = 0.0
                for column in range(pixel * k, pixel * k + k):
                    front += sums[0, row, column]
                    sums[0, row, column] = 0
                    if layers == 1:
                        visible[0, row, column] = front <= 1
                    else:
                        back += sums[1, row, column]
                        sums[1, row, column] = 0
                        visible[0, row, column] = front <= 1 and front >= back
                        visible[1, row, column] = back <= 1 and back > front
                    seen += _clamped(max(front, back))
                coverage[line, pixel] += seen
            rest = _clamped(max(front, back)) * k
            for pixel in range(end, width):
                coverage[line, pixel] += rest
        for pixel in range(width):
            coverage[line, pixel] /= k * k  # last, so that full pixels are exactly one


@_compiled
def _sweep_images(
    pixels: Array,
    edges: Array,
    k: int,
    weights: Array,
    visible: Array,
    grad: Array,
    result: Array,
    begin: int,
    end: int,
) -> None:
    """Compute the vertices' gradients (B, 2, V) of images begin to end - 1."""
    for image in range(begin, end):
        swept = result[image]
        swept[:] = 0
        for layer in range(weights.shape[1]):
            corner_pixels, bounds = pixels[image], weights[image, layer]
            in_layer, upstream = visible[image, layer], grad[image]
            for edge in range(edges.shape[1]):
                if bounds[edge] != 0:
                    _sweep_edge(
                        corner_pixels, edges, edge, k, bounds[edge], in_layer, upstream, swept
                    )


@_compiled
def _sweep_edge(
    pixels: Array,
    edges: Array,
    edge: int,
    k: int,
    weight: float,
    visible: Array,
    grad: Array,
    result: Array,
) -> None:
    """Add an edge's gradient: a piece that moves sweeps the area length x normal displacement."""
    height, width = visible.shape
    x, y, dx, bottom, swapped = _from_upper_end(pixels, edges[0, edge], edges[1, edge], k)
    if min(x, x + dx) >= width:
        return
    upper_end, lower_end = edges[0, edge], edges[1, edge]
    if swapped:
        upper_end, lower_end, weight = lower_end, upper_end, -weight
    total = at_lower = 0.0
    upper, lower = _cells(y, bottom, height)
    for row in range(upper, lower + 1):
        above, share, left, extent, per_pixel, rightwards = _in_row(row, x, y, dx, bottom)
        leftmost, rightmost = _cells(left, left + extent, width)
        for column in range(leftmost, rightmost + 1):
            if not visible[row, column]:
                continue
            _, u_begin, u_end = _in_pixel(column, left, per_pixel)
            middle = 0.5 * (u_begin + u_end)
            swept = grad[row // k, column // k] * share * (u_end - u_begin)
            total += swept
            at_lower += swept * (above + share * (middle if rightwards else 1 - middle))
    # Lengths in pixels.
    across, down = weight * dx / k, weight * (bottom - y) / k
    result[0, upper_end] -= (total - at_lower) * down
    result[1, upper_end] += (total - at_lower) * across
    result[0, lower_end] -= at_lower * down
    result[1, lower_end] += at_lower * across
