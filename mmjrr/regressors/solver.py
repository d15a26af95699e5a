"""Fits a joint regressor to meshes and joints: a quadratic program over simplices, exactly.

Frames ``n`` with vertices ``V_n`` ``(V, 3)``, joints ``X_n`` ``(J, 3)`` and weights ``u_n``
``(J,)``; regressor ``W`` ``(J, V)`` with rows ``w_j`` on the simplex; error
``e_nj = w_j V_n - X_nj``. Minimised is

    f(W) = sum_n sum_j u_nj |e_nj - t_n|^2

where ``t_n`` is the error of the root joint, the (weighted) mean error of the frame's joints, or
zero. Either way a frame's term is ``tr(E_n^T P_n E_n)`` with a positive semi-definite ``P_n``
``(J, J)`` that depends on ``u_n`` alone, so frames of equal weights share the sums

    G = sum A_n A_n^T (V, V),   Q = sum Y_n A_n^T (J, V),   S = sum Y_n Y_n^T (J, J).

``A_n`` and ``Y_n`` are vertices and joints less the frame's mean vertex; as rows sum to one, this
changes no error, and it keeps the body's place in the room out of the sums. ``P`` couples the
rows, so all are solved at once.

Precision: the errors sought are a hundredth of the body's size, and their squares 1e-4 of the
terms that cancel in ``f``; an optimality gap of 1e-6 of ``f`` needs the sums to about 1e-10. They
are kept in float64; float32 sums (1e-7 at best) would not do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from mmjrr.joints import H36M_JOINTS_MMPOSE, joint_names_of

from .joint_regressor import JointRegressor

#: Frames are added up in blocks of this many, however the batches come, so that the split into
#: batches does not change a bit of the result (but for frames of many patterns of joint weights,
#: which are merged batch by batch).
_BLOCK_FRAMES = 256

#: Proximal weight of the restricted solves, relative to the mean diagonal of their Hessian. It
#: makes them well-posed where vertices are linearly dependent (skinned vertices nearly are), and
#: does not move the optimum: what it pulls towards is the last iterate.
_PROXIMAL = 1e-11

#: The gap is measured against f, or, where the fit is all but exact, against this share of the
#: joints' own sum of squares (an error of 1e-4 of their spread): below it, rounding rules.
_FLOOR = 1e-8

_TINY = float(np.finfo(float).tiny)


@dataclass(frozen=True)
class JointRegressorFit:
    """What :func:`fit_joint_regressor` found.

    Args:
        regressor: the fitted regressor, float64.
        gap: upper bound of ``(f - optimum) / f``: the Frank-Wolfe duality gap over ``f`` (or over
            1e-8 of the joints' sum of squares, where ``f`` is below that).
        residual: ``(J,)`` root mean square error of each joint after alignment, metres; zero for
            the root joint.
        rms: the same over all joints but the root, metres.
        objective: ``f``, square metres.
        support_sizes: how many vertices each joint weighs, by name.
        n_frames: frames used.
        n_dropped: frames left out: no joint present, or the root joint missing.
        iterations: restricted problems solved.
        converged: whether ``gap`` reached the tolerance.
    """

    regressor: JointRegressor
    gap: float
    residual: np.ndarray
    rms: float
    objective: float
    support_sizes: dict[str, int] = field(repr=False)
    n_frames: int
    n_dropped: int
    iterations: int
    converged: bool


def fit_joint_regressor(
    batches: Iterable[Sequence[Tensor]],
    joint_names: str | Sequence[str] | None = None,
    root: str | None = 'pelvis',
    *,
    body_model: str = 'smpl',
    weights: Tensor | Sequence[float] | None = None,
    vertex_ids: Tensor | Sequence[int] | None = None,
    tol: float = 1e-6,
    max_iterations: int = 20000,
    max_bytes: int = 4 * 2**30,
    device: str | torch.device | None = None,
    provenance: dict[str, Any] | None = None,
) -> JointRegressorFit:
    """Fit ``W`` of ``W @ vertices ~ joints``, rows on the simplex, all rows jointly.

    One pass over the batches. Memory does not grow with the frames: at most two ``(V, V)``
    float64 matrices (2 x 380 MB for SMPL) for frames without missing joints. Frames whose joint
    weights differ by more than a common factor need a matrix for each pattern of weights; with
    ``root`` a joint's name or None, never more than one for each joint.

    Args:
        batches: tuples ``(vertices (N, V, 3), joints (N, J, 3))`` or, with weights of the single
            joints, ``(vertices, joints, weights (N, J))``, metres, tensors or arrays. A joint
            with a NaN coordinate or weight zero is missing from its frame.
        joint_names: names of the joints, or of an order. Default: MMPose's for 17 joints.
        root: how each frame's translation is removed: a joint's name subtracts that joint (frames
            without it are dropped); ``'mean'`` the weighted mean of the joints present, which is
            the best translation; None nothing, where the translation is known. With a
            translation removed, a shift common to all rows goes unseen (a gauge), and only the
            rows' positivity and sparsity hold it: measure distances between regressors
            root-aligned too. Default ``'pelvis'``.
        body_model: name of the body. Default ``'smpl'``.
        weights: ``(J,)`` weight of each joint, times those of the batches. Default: one.
        vertex_ids: vertices that may be weighed. Default: all. Memory falls with their square.
        tol: relative optimality gap to reach. Default 1e-6.
        max_iterations: restricted problems to solve at most. Default 20000.
        max_bytes: memory that the matrices may take. Default 4 GiB.
        device: where the sums are made. Default: the vertices' device.
        provenance: kept with the regressor.

    Returns:
        The fit; ``.converged`` is False, and a warning logged, if ``tol`` was not reached.

    Raises:
        ValueError: no frames, shapes that do not fit, vertices not finite, negative weights, an
            unknown root, a joint never observed, or a bad argument.
        MemoryError: too many patterns of missing joints for ``max_bytes``.
    """
    if not tol > 0:
        raise ValueError(f'tol must be positive, found {tol}')
    sums = _stream(batches, joint_names, root, weights, vertex_ids, max_bytes, device)
    problem = _Problem(sums)
    with _one_thread():
        w, gap, iterations = _solve(problem, tol, max_iterations)
    if not gap <= tol:
        print_log(
            f'fit_joint_regressor stopped after {iterations} iterations at a relative gap of '
            f'{gap:.2e}, above tol={tol:.2e}',
            logger='current',
            level=logging.WARNING,
        )

    full = np.zeros((len(sums.names), sums.num_vertices))
    ids = np.arange(sums.num_vertices) if sums.vertex_ids is None else sums.vertex_ids.numpy()
    full[:, ids] = w
    objective, squares = problem.errors(w)
    regressor = JointRegressor(
        full,
        sums.names,
        body_model,
        {
            'made_by': 'mmjrr.regressors.fit_joint_regressor',
            'root': root,
            'n_frames': sums.n_frames,
            'gap': float(gap),
            **(provenance or {}),
        },
    )
    return JointRegressorFit(
        regressor=regressor,
        gap=float(gap),
        residual=np.sqrt(squares / np.where(sums.total_weight > 0, sums.total_weight, 1)),
        rms=float(np.sqrt(squares.sum() / sums.total_weight.sum())),
        objective=float(objective),
        support_sizes=regressor.support_sizes,
        n_frames=sums.n_frames,
        n_dropped=sums.n_dropped,
        iterations=iterations,
        converged=bool(gap <= tol),
    )


# -- the stream ------------------------------------------------------------------------------


class _Gram:
    """``sum A A^T`` of streamed ``A`` ``(n, V, 3)``; as rows while these are fewer than V."""

    def __init__(self, num_vertices: int, device: torch.device) -> None:
        self.num_vertices = num_vertices
        self.device = device
        self._pending: list[Tensor] = []  # rows (3n, V) of a block not yet full
        self._blocks: list[Tensor] = []
        self._gram: Tensor | None = None

    def add(self, a: Tensor) -> None:
        """``a``: ``(n, V, 3)`` float64."""
        while len(a):
            room = _BLOCK_FRAMES - sum(len(rows) // 3 for rows in self._pending)
            head, a = a[:room], a[room:]
            self._pending.append(head.transpose(1, 2).reshape(-1, self.num_vertices))
            if len(head) == room:
                self._close_block()

    def _close_block(self) -> None:
        if not self._pending:
            return
        block = torch.cat(self._pending)
        self._pending = []
        if self._gram is not None:
            self._gram.addmm_(block.T, block)
            return
        self._blocks.append(block)
        if sum(map(len, self._blocks)) > self.num_vertices:
            self._gram = block.new_zeros(self.num_vertices, self.num_vertices)
            while self._blocks:
                block = self._blocks.pop(0)
                self._gram.addmm_(block.T, block)

    def bytes(self) -> int:
        """What it holds at its largest from here on, or now."""
        rows = sum(map(len, self._blocks)) + sum(map(len, self._pending))
        return 8 * self.num_vertices * (self.num_vertices if self._gram is not None else rows)

    def finish(self) -> None:
        self._close_block()

    def columns(self, ids: np.ndarray) -> np.ndarray:
        """``G[:, ids]``, ``(V, len(ids))``."""
        index = torch.from_numpy(ids).to(self.device)
        if self._gram is not None:
            out = self._gram[:, index]
        else:
            out = torch.zeros(self.num_vertices, len(ids), dtype=torch.float64, device=self.device)
            for block in self._blocks:
                out.addmm_(block.T, block[:, index])
        return out.cpu().numpy()

    def diagonal(self) -> Tensor:
        """``(V,)``."""
        if self._gram is not None:
            return self._gram.diagonal()
        out = torch.zeros(self.num_vertices, dtype=torch.float64, device=self.device)
        for block in self._blocks:
            out += block.square().sum(0)
        return out

    def scaled_into(self, other: _Gram, scale: float) -> None:
        """Add ``scale`` times this to ``other``; both must be finished."""
        self.finish()
        if self._gram is None:
            for block in self._blocks:
                rows = (block * scale**0.5).reshape(-1, 3, self.num_vertices)
                other.add(rows.transpose(1, 2))
            return
        other._close_block()
        if other._gram is None:
            other._gram = torch.zeros_like(self._gram)
            while other._blocks:
                block = other._blocks.pop(0)
                other._gram.addmm_(block.T, block)
        other._gram.add_(self._gram, alpha=scale)


@dataclass
class _Group:
    """Sums over frames whose joint weights are ``scale_n * u``."""

    u: np.ndarray  # (J,)
    gram: _Gram
    q: Tensor  # (J, V)
    s: Tensor  # (J, J)


@dataclass
class _Sums:
    names: tuple[str, ...]
    root: int | str | None
    num_vertices: int
    vertex_ids: Tensor | None
    groups: list[_Group]
    total_weight: np.ndarray  # (J,)
    n_frames: int
    n_dropped: int


def _stream(
    batches: Iterable[Sequence[Tensor]],
    joint_names: str | Sequence[str] | None,
    root: str | None,
    weights: Tensor | Sequence[float] | None,
    vertex_ids: Tensor | Sequence[int] | None,
    max_bytes: int,
    device: str | torch.device | None,
) -> _Sums:
    """One pass over the batches."""
    names: tuple[str, ...] | None = None
    shape: tuple[int, int] | None = None
    groups: dict[bytes, _Group] = {}
    n_frames = n_dropped = 0
    merged = False
    ids = None if vertex_ids is None else torch.unique(torch.as_tensor(vertex_ids).long().cpu())
    for number, batch in enumerate(batches):
        vertices, joints, u = _batch(batch, number)
        if shape is None or names is None:
            shape = (vertices.shape[1], joints.shape[1])
            names = _names(joint_names, shape[1])
            root_index = _root_index(root, names)
            base = _base_weights(weights, names)
            total = np.zeros(len(names))
            _check_ids(ids, shape[0])
        if (vertices.shape[1], joints.shape[1]) != shape:
            raise ValueError(
                f'batch {number}: (V, J) is {(vertices.shape[1], joints.shape[1])}, but it was '
                f'{shape} before'
            )
        where = torch.device(device) if device is not None else vertices.device
        keep = (u > 0).any(1)
        if isinstance(root_index, int):
            keep = u[:, root_index] > 0
            u[:, root_index] = 0  # its own error is zero whatever its weight
        u = u * base
        keep &= (u > 0).sum(1) > (root == 'mean')
        n_frames += int(keep.sum())
        n_dropped += int((~keep).sum())
        if not keep.any():
            continue
        kept = torch.from_numpy(np.nonzero(keep)[0])
        u = u[keep]
        total += u.sum(0)
        vertices = vertices[kept.to(vertices.device)].to(where, torch.float64)
        joints = joints[kept.to(joints.device)].to(where, torch.float64)
        if ids is not None:
            vertices = vertices[:, ids.to(where)]
        centre = vertices.mean(1, keepdim=True)
        a = vertices - centre
        y = _centred_joints(joints, u, root_index, centre)

        scale = u.max(1)
        patterns = (u / scale[:, None]).round(12)
        for key, index in _by_pattern(patterns):
            _add_frames(groups, key, patterns[index[0]], scale[index], a, y, index)
        if root != 'mean' and (merged or len(groups) > len(names)):
            groups = _merge_by_joint(groups)
            merged = True
        held = sum(group.gram.bytes() for group in groups.values())
        if held > max_bytes:
            raise MemoryError(
                f'the joints of the frames are weighed or missing in {len(groups)} ways, whose '
                f'sums take {held / 2**30:.1f} GiB so far, more than max_bytes='
                f'{max_bytes / 2**30:.1f} GiB: leave out frames with missing joints, or pass '
                f'vertex_ids='
            )
    if shape is None or names is None or not groups:
        raise ValueError(f'no frames to fit to ({n_dropped} were dropped)')
    unseen = [name for j, name in enumerate(names) if total[j] == 0 and j != root_index]
    if unseen:
        raise ValueError(f'joints {unseen} are missing from every frame')
    for group in groups.values():
        group.gram.finish()
    return _Sums(
        names, root_index, shape[0], ids, list(groups.values()), total, n_frames, n_dropped
    )


def _batch(batch: Sequence[Tensor], number: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """Vertices, joints, and weights ``(N, J)`` that are zero where a joint is missing."""
    if len(batch) not in (2, 3):
        raise ValueError(
            f'batch {number}: expected (vertices, joints) or (vertices, joints, weights), found '
            f'{len(batch)} items'
        )
    vertices, joints = torch.as_tensor(batch[0]).detach(), torch.as_tensor(batch[1]).detach()
    for name, value in (('vertices', vertices), ('joints', joints)):
        if value.ndim != 3 or value.shape[-1] != 3 or len(value) != len(vertices):
            raise ValueError(
                f'batch {number}: {name}: expected (N, ., 3), the same N for both, found '
                f'vertices {tuple(vertices.shape)}, joints {tuple(joints.shape)}'
            )
    if not torch.isfinite(vertices).all():
        raise ValueError(f'batch {number}: vertices are not all finite')
    if torch.isinf(joints).any():
        raise ValueError(f'batch {number}: joints hold infinity (missing ones are NaN)')
    u = (~torch.isnan(joints).any(-1)).cpu().double().numpy()
    if len(batch) == 3:
        given = torch.as_tensor(batch[2]).detach().cpu().double().numpy()
        if given.shape != u.shape:
            raise ValueError(f'batch {number}: weights: expected {u.shape}, found {given.shape}')
        if not (np.isfinite(given).all() and (given >= 0).all()):
            raise ValueError(f'batch {number}: weights must be finite and not negative')
        u = u * given
    return vertices, joints, u


def _names(joint_names: str | Sequence[str] | None, count: int) -> tuple[str, ...]:
    if joint_names is None and count != len(H36M_JOINTS_MMPOSE):
        raise ValueError(f'joint_names= is needed for {count} joints')
    names = H36M_JOINTS_MMPOSE if joint_names is None else joint_names_of(joint_names)
    if len(names) != count:
        raise ValueError(f'{len(names)} joint names for {count} joints')
    return names


def _root_index(root: str | None, names: tuple[str, ...]) -> int | str | None:
    if root is None or root == 'mean':
        return root
    if root not in names:
        raise ValueError(f"root: expected 'mean', None or one of {list(names)}, found {root!r}")
    return names.index(root)


def _base_weights(weights: Tensor | Sequence[float] | None, names: tuple[str, ...]) -> np.ndarray:
    if weights is None:
        return np.ones(len(names))
    base = torch.as_tensor(weights).double().cpu().numpy()
    if base.shape != (len(names),) or not (np.isfinite(base).all() and (base >= 0).all()):
        raise ValueError(
            f'weights: expected {len(names)} finite numbers, none negative, found {weights}'
        )
    return base


def _check_ids(ids: Tensor | None, num_vertices: int) -> None:
    if ids is not None and not (len(ids) and 0 <= ids[0] and ids[-1] < num_vertices):
        raise ValueError(f'vertex_ids must be ids from 0 to {num_vertices - 1}, at least one')


def _by_pattern(patterns: np.ndarray) -> list[tuple[bytes, np.ndarray]]:
    """Frames by their row of ``patterns``, in order of first appearance."""
    found: dict[bytes, list[int]] = {}
    for i, row in enumerate(patterns):
        found.setdefault(row.tobytes(), []).append(i)
    return [(key, np.array(index)) for key, index in found.items()]


def _add_frames(
    groups: dict[bytes, _Group],
    key: bytes,
    u: np.ndarray,
    scale: np.ndarray,
    a: Tensor,
    y: Tensor,
    index: np.ndarray,
) -> None:
    """Add the frames ``index``, of weights ``scale * u``, to their group."""
    if key not in groups:
        groups[key] = _Group(
            u,
            _Gram(a.shape[1], a.device),
            y.new_zeros(y.shape[1], a.shape[1]),
            y.new_zeros(y.shape[1], y.shape[1]),
        )
    group = groups[key]
    frames = torch.from_numpy(index).to(a.device)
    root_scale = torch.from_numpy(np.sqrt(scale)).to(a.device)[:, None, None]
    a, y = a[frames] * root_scale, y[frames] * root_scale
    group.gram.add(a)
    # Frame by frame, so that the split into batches does not change a bit.
    for a_n, y_n in zip(a, y, strict=True):
        group.q.addmm_(y_n, a_n.T)
        group.s.addmm_(y_n, y_n.T)


def _centred_joints(
    joints: Tensor, u: np.ndarray, root_index: int | str | None, centre: Tensor
) -> Tensor:
    """Joints ``(N, J, 3)`` less a point of the frame; missing ones (weight zero) are zero.

    Where a translation is removed anyway, any point will do; one of the joints' own keeps the
    sums small even if joints and vertices come in different frames.
    """
    present = torch.from_numpy(u > 0).to(joints.device)[..., None]
    joints = torch.where(present | ~torch.isnan(joints), joints, torch.zeros_like(joints))
    if isinstance(root_index, int):
        centre = joints[:, [root_index]]
    elif root_index == 'mean':
        count = present.sum(1, keepdim=True)
        centre = torch.where(present, joints, 0.0).sum(1, keepdim=True) / count
    return torch.where(present, joints - centre, torch.zeros_like(joints))


def _merge_by_joint(groups: dict[bytes, _Group]) -> dict[bytes, _Group]:
    """One group for each joint. Exact where the objective is a sum over joints: not for 'mean'."""
    merged: dict[bytes, _Group] = {}
    for group in groups.values():
        for j in np.nonzero(group.u)[0]:
            u = np.zeros_like(group.u)
            u[j] = 1.0
            key = u.tobytes()
            if key not in merged and np.array_equal(u, group.u):
                merged[key] = group
                continue
            if key not in merged:
                merged[key] = _Group(
                    u,
                    _Gram(group.gram.num_vertices, group.gram.device),
                    torch.zeros_like(group.q),
                    torch.zeros_like(group.s),
                )
            target, scale = merged[key], float(group.u[j])
            group.gram.scaled_into(target.gram, scale)
            target.q.add_(group.q, alpha=scale)
            target.s.add_(group.s, alpha=scale)
    return merged


# -- the quadratic program -------------------------------------------------------------------


def _coupling(u: np.ndarray, root: int | str | None) -> np.ndarray:
    """``P`` ``(J, J)`` of a frame of joint weights ``u``: its term of f is ``tr(E^T P E)``."""
    p = np.diag(u)
    if root is None:
        return p
    if isinstance(root, str):  # 'mean'
        return p - np.outer(u, u) / u.sum()
    to_root = np.eye(len(u))
    to_root[:, root] -= 1.0
    return to_root.T @ p @ to_root


def _alignment(u: np.ndarray, root: int | str | None) -> np.ndarray:
    """``(J, J)`` that turns a frame's errors into its aligned errors."""
    align = np.eye(len(u))
    if isinstance(root, str):  # 'mean'
        align -= u / u.sum()
    elif root is not None:
        align[:, root] -= 1.0
    return align


class _Problem:
    """``f``, its gradient, and its Hessian on few vertices, from the sums of the stream."""

    def __init__(self, sums: _Sums) -> None:
        self.root = sums.root
        self.grams = [group.gram for group in sums.groups]
        self.u = [group.u for group in sums.groups]
        self.p = [_coupling(u, sums.root) for u in self.u]
        self.q = [group.q.cpu().numpy() for group in sums.groups]
        self.s = [group.s.cpu().numpy() for group in sums.groups]
        self.num_joints, self.num_vertices = self.q[0].shape
        self.linear = sum(p @ q for p, q in zip(self.p, self.q, strict=True))
        self.constant = sum(np.sum(p * s) for p, s in zip(self.p, self.s, strict=True))
        joints = np.arange(self.num_joints)
        #: Rows that are coupled; without alignment each row is a problem of its own.
        self.blocks = [joints] if sums.root is not None else list(joints[:, None])
        # Rows of the Grams, fetched when a vertex is first weighed, and their square part.
        self._slot = np.full(self.num_vertices, -1)
        self._held = np.empty(0, dtype=np.int64)
        self._rows = [np.empty((0, self.num_vertices)) for _ in self.grams]
        self._square = [np.empty((0, 0)) for _ in self.grams]

    def _slots(self, ids: np.ndarray) -> np.ndarray:
        """Where the vertices' rows are held; fetches those that are not."""
        new = np.unique(ids[self._slot[ids] < 0])
        if len(new):
            before = len(self._held)
            self._held = np.concatenate([self._held, new])
            held = len(self._held)
            self._slot[new] = np.arange(before, held)
            for k, gram in enumerate(self.grams):
                if held > len(self._rows[k]):
                    grown = np.empty((2 * held, self.num_vertices))
                    grown[:before] = self._rows[k][:before]
                    self._rows[k] = grown
                self._rows[k][before:held] = gram.columns(new).T
                self._square[k] = self._rows[k][:held, self._held]
        return self._slot[ids]

    def moments(self, w: np.ndarray) -> list[np.ndarray]:
        """``sum E E^T`` ``(J, J)`` of each group, errors before alignment."""
        ids = np.nonzero(w.any(0))[0]
        slots, w = self._slots(ids), w[:, ids]
        out = []
        for q, s, square in zip(self.q, self.s, self._square, strict=True):
            cross = w @ q[:, ids].T
            out.append(_matmul(w, square[np.ix_(slots, slots)]) @ w.T - cross - cross.T + s)
        return out

    def value(self, w: np.ndarray) -> float:
        terms = zip(self.p, self.moments(w), strict=True)
        return max(float(sum(np.sum(p * m) for p, m in terms)), 0.0)

    def errors(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        """``f``, and its share of each joint ``(J,)``."""
        squares = np.zeros(self.num_joints)
        for u, moment in zip(self.u, self.moments(w), strict=True):
            align = _alignment(u, self.root)
            squares += u * np.einsum('ij,jk,ik->i', align, moment, align)
        return self.value(w), squares.clip(min=0)

    def gradient(self, w: np.ndarray) -> np.ndarray:
        """``df/dW`` ``(J, V)``."""
        ids = np.nonzero(w.any(0))[0]
        slots = self._slots(ids)
        out = -self.linear
        for p, rows in zip(self.p, self._rows, strict=True):
            out += _matmul(p @ w[:, ids], rows[slots])
        return 2 * out

    def gradient_on(self, w: np.ndarray, rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """``df/dw[rows, ids]``, where ``w`` is zero but there."""
        columns, place = np.unique(ids, return_inverse=True)
        slots = self._slots(columns)
        out = -self.linear[:, columns]
        for p, square in zip(self.p, self._square, strict=True):
            out += _matmul(p @ w[:, columns], square[np.ix_(slots, slots)])
        return 2 * out[rows, place]

    def hessian(self, rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Second derivatives of ``f`` in the weights ``w[rows, ids]``."""
        slots = self._slots(ids)
        out = np.zeros((len(ids), len(ids)))
        for p, square in zip(self.p, self._square, strict=True):
            out += p[np.ix_(rows, rows)] * square[np.ix_(slots, slots)]
        return 2 * out

    def start(self) -> np.ndarray:
        """Each row on the vertex nearest to its joint, in the frame of the sums."""
        w = np.zeros((self.num_joints, self.num_vertices))
        q = sum(self.q)
        spread = sum(gram.diagonal().cpu().numpy() for gram in self.grams)
        w[np.arange(self.num_joints), np.argmin(spread - 2 * q, axis=1)] = 1.0
        return w


def _solve(problem: _Problem, tol: float, max_iterations: int) -> tuple[np.ndarray, float, int]:
    """Active-set method on the product of simplices: weights ``(J, V)``, gap, iterations.

    As in Lawson and Hanson's NNLS: the vertices that promise most enter the support (one for each
    row), the quadratic problem restricted to the support is solved, and vertices whose weights
    would turn negative leave. ``f`` falls at every step, and the Frank-Wolfe gap
    ``sum_j (w_j g_j - min_v g_jv)``, an upper bound of ``f - optimum`` by convexity, says when to
    stop. Three ways of taking a step, each tried when the one before did not lower ``f``: all
    negative weights leave at once; the step stops where the first reaches zero; and the same with
    a single vertex entering, which always descends but for rounding.
    """
    w = problem.start()
    value = problem.value(w)
    floor = _FLOOR * float(problem.constant)
    iterations = 0
    while True:
        gradient = problem.gradient(w)
        slack = (w * gradient).sum(1) - gradient.min(1)  # (J,), each >= 0
        # f is never negative, so where the fit is all but exact, f itself is the better bound.
        bound = min(max(float(slack.sum()), 0.0), value)
        gap = bound / max(value, floor, _TINY)
        if gap <= tol or iterations >= max_iterations:
            return w, gap, iterations
        order = np.argsort(-slack, kind='stable')
        promising = order[slack[order] > 1e-3 * slack.max()]
        for rows, minimise in (
            (promising, _minimise_at_once),
            (promising, _minimise_carefully),
            (order[:1], _minimise_carefully),
        ):
            mask = w > 0
            mask[rows, gradient[rows].argmin(1)] = True
            candidate, solves = minimise(problem, w, mask)
            iterations += solves
            candidate_value = problem.value(candidate)
            if candidate_value < value:
                w, value = candidate, candidate_value
                break
        else:  # rounding: no descent is left, though the gap is above tol
            return w, gap, iterations


def _minimise_at_once(problem: _Problem, w: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Minimise ``f`` over weights within ``mask``, less all that turn negative on the way."""
    solves = 0
    while True:
        rows, ids = np.nonzero(mask)
        target = w[rows, ids] + _restricted_step(problem, w, rows, ids)
        solves += 1
        w = _with(w, rows, ids, target)
        if target.min() >= 0:
            return w, solves
        mask = w > 0


def _minimise_carefully(
    problem: _Problem, w: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, int]:
    """The same from ``w`` in steps that stop where a weight reaches zero: ``f`` never rises."""
    solves = 0
    while True:
        rows, ids = np.nonzero(mask)
        x, step = w[rows, ids], _restricted_step(problem, w, rows, ids)
        solves += 1
        blocked = (step < 0) & (x + step <= 0)
        if not blocked.any():
            return _with(w, rows, ids, x + step), solves
        ratio = np.where(blocked, x / np.where(blocked, -step, 1.0), np.inf)
        length = min(float(ratio.min()), 1.0)
        leaving = blocked & (ratio <= length * (1 + 1e-12))
        x = x + length * step
        x[leaving] = 0.0
        mask = mask.copy()
        mask[rows[leaving], ids[leaving]] = False
        if length > 0:
            w = _with(w, rows, ids, x)


def _with(w: np.ndarray, rows: np.ndarray, ids: np.ndarray, x: np.ndarray) -> np.ndarray:
    w = np.zeros_like(w)
    w[rows, ids] = x.clip(min=0)
    return w / w.sum(1, keepdims=True)


def _restricted_step(
    problem: _Problem, w: np.ndarray, rows: np.ndarray, ids: np.ndarray
) -> np.ndarray:
    """Newton step of ``f`` in the weights ``w[rows, ids]``, each row's sum kept.

    The row's greatest weight is eliminated, which leaves differences of vertices as the columns:
    they are far better conditioned than the vertices.
    """
    step = np.zeros(len(rows))
    for block in problem.blocks:
        inside = np.nonzero(np.isin(rows, block))[0]
        step[inside] = _block_step(problem, w, rows[inside], ids[inside])
    return step


def _block_step(problem: _Problem, w: np.ndarray, rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
    x = w[rows, ids]
    greatest = {j: np.argmax(np.where(rows == j, x, -1)) for j in np.unique(rows)}
    pivot_of = np.array([greatest[j] for j in rows])
    free = np.nonzero(pivot_of != np.arange(len(x)))[0]
    step = np.zeros_like(x)
    if not len(free):
        return step
    pivot_of = pivot_of[free]
    hessian = problem.hessian(rows, ids)
    hessian = hessian[free] - hessian[pivot_of]
    hessian = hessian[:, free] - hessian[:, pivot_of]
    g = problem.gradient_on(w, rows, ids)
    reduced = g[free] - g[pivot_of]
    step[free] = -_solve_positive(hessian, reduced)
    np.add.at(step, pivot_of, -step[free])
    return step


def _solve_positive(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """``x`` of ``(matrix + tiny multiple of the identity) x = right``, by Cholesky."""
    proximal = max(_PROXIMAL * float(matrix.diagonal().mean()), _TINY)
    diagonal = np.arange(len(matrix))
    while True:
        matrix[diagonal, diagonal] += proximal
        factor, failed = torch.linalg.cholesky_ex(torch.from_numpy(matrix))
        if not failed:
            return torch.cholesky_solve(torch.from_numpy(right)[:, None], factor)[:, 0].numpy()
        proximal *= 10


def _matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a @ b`` by torch, which :func:`_one_thread` reaches; NumPy's BLAS would take them all."""
    return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()


@contextmanager
def _one_thread() -> Iterator[None]:
    """For the solve, whose matrices are so small that waiting for other threads costs more.

    On a busy machine, threads that spin for each other made it up to ten times slower. Once around
    the whole solve, as changing the number itself takes milliseconds.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
