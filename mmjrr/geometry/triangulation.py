"""Triangulation of points from their images in calibrated views, some of which may be wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from mmjrr.geometry.cameras import PerspectiveCamera

#: Number of solutions of the linear system; equations are scaled by the depths of the last one.
_ITERATIONS = 4
#: Number of groups that are triangulated at a time, which bounds the memory.
_GROUPS_AT_A_TIME = 1024
#: Largest distance in pixels between an image and the projection of its ray.
_UNPROJECTION_ERROR = 1.0


@dataclass(frozen=True)
class TriangulatedPoints:
    """Points of groups of views, in the world.

    Attributes:
        points: (G, J, 3), meters; NaN where fewer than two views agree, no more than half of those
            that show the point, or the dilution is above the limit.
        used: (B, J), whether a view's image agrees with its group's point.
        error: (B, J), pixels between a view's image and its group's point; NaN where either is
            missing.
        shown: (G, J) int, number of views that show the point.
        dilution: (G, J), dilution of precision, also where it is above the limit; NaN where views
            do not agree.
    """

    points: Tensor
    used: Tensor
    error: Tensor
    shown: Tensor
    dilution: Tensor


def triangulate(
    points_2d: Tensor,  # (B, J, 2), pixels
    weight: Tensor,  # (B, J), non-negative
    camera: PerspectiveCamera,  # B cameras
    group: Tensor,  # (B,) int, from 0
    tolerance: float = 30.0,
    max_dilution: float = math.inf,
) -> TriangulatedPoints:
    r"""Triangulate points from the views of each group, leaving out views that disagree.

    With a view's rotation :math:`r` and translation :math:`t`, and the undistorted image
    :math:`(x, y)`, a point :math:`X` satisfies

    .. math:: (r_1 - x r_3) X = x t_3 - t_1, \qquad (r_2 - y r_3) X = y t_3 - t_2,

    Each equation is multiplied by the view's focal length and weight and divided by the point's
    depth in the last iteration, so that residuals are pixels (the iterative linear least squares
    of Hartley and Sturm, "Triangulation", CVIU 1997, section 5.2).

    A detector's mistake moves an image by tens of pixels. Therefore each pair of views proposes a
    point. The proposal that agrees with the most views within ``tolerance`` wins; between equals,
    the one with the smaller error. The result is triangulated from all views that agree with it,
    if they are more than half of the views: two wrong images can agree by chance.

    Two views that face each other agree on any point of the line between them. Independent noise
    of one pixel in both coordinates of each image gives a point the standard error

    .. math:: \sigma = \sqrt{\mathrm{tr}\, (A^T W A)^{-1} (A^T W^2 A) (A^T W A)^{-1}},

    with the derivatives :math:`A` of the images and their weights :math:`W`. The dilution of
    precision is the ratio of this error to a pixel's width at the point, depth / focal length, in
    the view where that is largest. It depends on the directions of the rays, and not on resolution
    or scale: two rays at a right angle have 1.6, parallel rays infinity. Points whose dilution is
    above ``max_dilution`` are left out.

    An image far outside the picture can lie where a distorting lens shows nothing. It counts as
    missing.

    Args:
        points_2d: Images of the points. Those of weight 0 may be NaN.
        weight: Weight of each image, such as a detector's score.
        camera: Camera of each row, with its pose in the world.
        group: Group of each row, such as its moment. Rows of a group are different views.
        tolerance: Largest distance in pixels between an image and the projected point. Default: 30.
        max_dilution: Largest dilution of precision of a point. Default: infinity, no limit.

    Raises:
        ValueError: There are no rows, a shape is wrong, the cameras have no pose, or ``tolerance``
            or ``max_dilution`` is not positive.

    >>> eye = torch.eye(3).expand(2, 3, 3)
    >>> camera = PerspectiveCamera(
    ...     torch.full((2, 2), 1000.0), torch.full((2, 2), 500.0), rotation=eye,
    ...     position=torch.tensor([[0.0, 0, 0], [1, 0, 0]]))
    >>> pixels = torch.tensor([[[500.0, 500.0]], [[300.0, 500.0]]])  # 200 px of parallax at 5 m
    >>> joints = triangulate(pixels, torch.ones(2, 1), camera, torch.zeros(2, dtype=torch.long))
    >>> torch.allclose(joints.points, torch.tensor([0.0, 0, 5]), atol=1e-4)
    True
    """
    rows, joints = points_2d.shape[:2]
    for name, value, expected in (
        ('points_2d', points_2d, (rows, joints, 2)),
        ('weight', weight, (rows, joints)),
        ('group', group, (rows,)),
    ):
        if value.shape != expected:
            raise ValueError(f'{name}: found shape {tuple(value.shape)}, expected {expected}')
    if camera.rotation is None or len(camera) != rows:
        raise ValueError(f'camera: found {camera!r}, expected {rows} cameras with a pose')
    if not tolerance > 0:
        raise ValueError(f'tolerance: found {tolerance}, expected a positive number of pixels')
    if not max_dilution > 0:
        raise ValueError(f'max_dilution: found {max_dilution}, expected a positive number')
    if not rows:
        raise ValueError('points_2d: found no rows, expected at least one')
    sizes = torch.bincount(group)
    order = torch.argsort(group, stable=True)
    end = [0, *torch.cumsum(sizes, 0).tolist()]
    groups = len(sizes)
    result = TriangulatedPoints(
        points=points_2d.new_full((groups, joints, 3), torch.nan),
        used=torch.zeros_like(weight, dtype=torch.bool),
        error=points_2d.new_full((rows, joints), torch.nan),
        shown=group.new_zeros(groups, joints),
        dilution=points_2d.new_full((groups, joints), torch.nan),
    )
    for start in range(0, groups, _GROUPS_AT_A_TIME):
        stop = min(start + _GROUPS_AT_A_TIME, groups)
        chosen = order[end[start] : end[stop]]
        if not len(chosen):
            continue
        part = _triangulate(
            _Views.of(points_2d[chosen], weight[chosen], camera[chosen]),
            *_padded(group[chosen] - start, sizes[start:stop]),
            tolerance,
            max_dilution,
        )
        for name in ('points', 'shown', 'dilution'):
            getattr(result, name)[start:stop] = getattr(part, name)
        for name in ('used', 'error'):
            getattr(result, name)[chosen] = getattr(part, name)
    return result


def _triangulate(
    views: _Views, index: Tensor, present: Tensor, tolerance: float, max_dilution: float
) -> TriangulatedPoints:
    """Triangulate from the views (G, V) of groups."""
    rows, joints = views.weight.shape
    best = _Candidate.none(len(index), index.shape[1], joints, views.plane)
    for pair in combinations(range(index.shape[1]), 2):
        chosen = torch.zeros_like(present)
        chosen[:, list(pair)] = present[:, list(pair)]
        best = best.better_of(_candidate(views, index, chosen, present, tolerance))
    points = _solve(views, index, best.agrees)
    error, depth = views.errors(points[:, None].expand(*index.shape, joints, 3), index)
    agrees = best.agrees & (error <= tolerance) & (depth > 0)
    labeled = present[..., None] & (views.weight[index] > 0)
    shown = labeled.sum(1)
    is_agreed = (agrees.sum(1) >= 2) & (2 * agrees.sum(1) > shown)
    dilution = torch.where(is_agreed, _dilution(views, index, best.agrees, points), torch.nan)
    is_seen = dilution <= max_dilution
    agrees &= is_seen[:, None]
    of_rows = _rows_of_padded(index, present, rows)
    error = torch.where(is_seen[:, None] & labeled, error, torch.nan)
    return TriangulatedPoints(
        points=torch.where(is_seen[..., None], points, torch.nan),
        used=agrees.flatten(0, 1)[of_rows],
        error=error.flatten(0, 1)[of_rows],
        shown=shown,
        dilution=dilution,
    )


@dataclass(frozen=True)
class _Views:
    """Images in normalized coordinates, and the cameras of B rows."""

    plane: Tensor  # (B, J, 2)
    weight: Tensor  # (B, J)
    rotation: Tensor  # (B, 3, 3)
    shift: Tensor  # (B, 3), the t of R X + t
    camera: PerspectiveCamera
    pixels: Tensor  # (B, J, 2)

    @classmethod
    def of(cls, points_2d: Tensor, weight: Tensor, camera: PerspectiveCamera) -> _Views:
        assert camera.rotation is not None and camera.position is not None
        valid = (weight > 0) & torch.isfinite(points_2d).all(-1)
        pixels = torch.where(valid[..., None], points_2d, camera.principal_point[:, None])
        plane = camera.unproject(pixels)
        again = camera.project(torch.cat([plane, torch.ones_like(plane[..., :1])], -1))
        valid &= (again - pixels).norm(dim=-1) <= _UNPROJECTION_ERROR
        return cls(
            torch.where(valid[..., None], plane, 0.0),
            torch.where(valid, weight, 0.0).to(pixels),
            camera.rotation,
            -(camera.rotation @ camera.position[..., None])[..., 0],
            camera,
            pixels,
        )

    def local(self, points: Tensor, index: Tensor) -> Tensor:
        """Return points (G, V, J, 3) in the cameras' frames, (G * V, J, 3)."""
        flat = index.flatten()
        turned = points.flatten(0, 1) @ self.rotation[flat].transpose(1, 2)
        return turned + self.shift[flat][:, None]

    def errors(self, points: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return pixel errors (G, V, J) and depths (G, V, J) of points (G, V, J, 3)."""
        flat = index.flatten()
        local = self.local(points, index)
        depth = local[..., 2]
        safe = torch.cat([local[..., :2], depth.clamp_min(1e-6)[..., None]], -1)
        distance = (self.camera[flat].project(safe) - self.pixels[flat]).norm(dim=-1)
        return distance.unflatten(0, index.shape), depth.unflatten(0, index.shape)


@dataclass(frozen=True)
class _Candidate:
    """For each group and joint, which views agree, their number, and their mean error."""

    agrees: Tensor  # (G, V, J)
    count: Tensor  # (G, J)
    error: Tensor  # (G, J)

    @classmethod
    def none(cls, groups: int, views: int, joints: int, like: Tensor) -> _Candidate:
        agrees = torch.zeros(groups, views, joints, dtype=torch.bool, device=like.device)
        return cls(agrees, agrees.sum(1), like.new_full((groups, joints), torch.inf))

    def better_of(self, other: _Candidate) -> _Candidate:
        more = other.count > self.count
        better = more | ((other.count == self.count) & (other.error < self.error))
        return _Candidate(
            torch.where(better[:, None], other.agrees, self.agrees),
            torch.where(better, other.count, self.count),
            torch.where(better, other.error, self.error),
        )


def _candidate(
    views: _Views, index: Tensor, chosen: Tensor, present: Tensor, tolerance: float
) -> _Candidate:
    """Triangulate from the chosen views (G, V); return the views with which the points agree."""
    labeled = views.weight[index] > 0
    solvable = (chosen[..., None] & labeled).sum(1) >= 2  # (G, J)
    points = _solve(views, index, chosen[..., None] & labeled)
    error, depth = views.errors(points[:, None].expand(*index.shape, -1, 3), index)
    agrees = present[..., None] & labeled & (error <= tolerance) & (depth > 0)
    agrees &= solvable[:, None]
    count = agrees.sum(1)
    mean = torch.where(agrees, error, 0.0).sum(1) / count.clamp_min(1)
    return _Candidate(agrees, torch.where(count >= 2, count, 0), mean)


def _solve(views: _Views, index: Tensor, used: Tensor) -> Tensor:  # (G, V), (G, V, J) -> (G, J, 3)
    """Solve the weighted equations of the used images; meaningless where fewer than two are."""
    rotation = views.rotation[index][:, :, None]  # (G, V, 1, 3, 3)
    shift = views.shift[index][:, :, None]  # (G, V, 1, 3)
    plane = views.plane[index]  # (G, V, J, 2)
    left, scale = _equations(views, index, used)
    right = plane * shift[..., 2:] - shift[..., :2]  # (G, V, J, 2)
    depth = torch.ones_like(plane[..., 0])
    points = plane.new_zeros(*used[:, 0].shape, 3)
    for _ in range(_ITERATIONS):
        a = left * (scale / depth[..., None])[..., None]
        b = right * scale / depth[..., None]
        gram = _gram(a, used)
        # Parallel rays meet nowhere: their points are not finite, and agree with no image.
        points = torch.linalg.solve_ex(gram, torch.einsum('gvjkx,gvjk->gjx', a, b))[0]
        local = torch.einsum('gvx,gjx->gvj', rotation[:, :, 0, 2], points) + shift[..., 2]
        depth = local.clamp_min(1e-2)
    return points


def _dilution(views: _Views, index: Tensor, used: Tensor, points: Tensor) -> Tensor:  # (G, J)
    """Return the dilutions of precision of points (G, J, 3); see :func:`triangulate`."""
    left, scale = _equations(views, index, used)
    depth = views.local(points[:, None].expand(*used.shape, 3), index)[..., 2]
    depth = depth.unflatten(0, index.shape).clamp_min(1e-2)
    a = (left * (scale / depth[..., None])[..., None]).to(torch.float64)
    inverse = torch.linalg.inv_ex(_gram(a, used))[0]
    noise = torch.einsum('gvjkx,gvjky,gvj->gjxy', a, a, views.weight[index].to(a))
    variance = (inverse @ noise @ inverse).diagonal(dim1=-2, dim2=-1).sum(-1)
    width = depth / views.camera.focal_length[index].amin(-1)[..., None]
    width = torch.where(used, width, 0.0).amax(1)
    return torch.nan_to_num(variance.sqrt().to(width) / width, nan=torch.inf)


def _equations(views: _Views, index: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
    """Return coefficients (G, V, J, 2, 3) of the equations and their factors (G, V, J, 2)."""
    rotation = views.rotation[index][:, :, None]  # (G, V, 1, 3, 3)
    left = rotation[..., :2, :] - views.plane[index][..., None] * rotation[..., 2:, :]
    weight = torch.where(used, views.weight[index], 0.0)
    return left, weight.sqrt()[..., None] * views.camera.focal_length[index][:, :, None]


def _gram(a: Tensor, used: Tensor) -> Tensor:  # (G, V, J, 2, 3), (G, V, J) -> (G, J, 3, 3)
    """Return the Gram matrices of the equations; unit matrices where fewer than two are used."""
    enough = (used.sum(1) >= 2)[..., None, None]
    gram = torch.einsum('gvjkx,gvjky->gjxy', a, a)
    # A unit matrix keeps undetermined systems solvable; their result is not used.
    return torch.where(enough, gram, torch.eye(3).to(gram))


def _padded(group: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:  # (B,) in order, (G,)
    """Return each group's rows (G, V), padded by arbitrary rows, and a mask of the real ones."""
    first = torch.cumsum(sizes, 0) - sizes
    place = torch.arange(len(group), device=group.device) - first[group]
    index = group.new_zeros(len(sizes), max(2, int(sizes.max())))
    present = torch.zeros_like(index, dtype=torch.bool)
    index[group, place] = torch.arange(len(group), device=group.device)
    present[group, place] = True
    return index, present


def _rows_of_padded(index: Tensor, present: Tensor, rows: int) -> Tensor:  # (B,)
    """Return for each row its position in the flattened (G, V)."""
    positions = torch.empty(rows, dtype=torch.long, device=index.device)
    flat = torch.arange(index.numel(), device=index.device).view_as(index)
    positions[index[present]] = flat[present]
    return positions
