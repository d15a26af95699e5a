"""The stream of frames that a regressor is fitted to, and the sums it is reduced to.

See :mod:`mmjrr.regressors.fitting.fit` for the symbols. All is summed in float64, in blocks of
frames that do not depend on how the batches are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmjrr.body_models import LazyVertices, VertexMaker
from mmjrr.joints import H36M_JOINTS_MMPOSE, joint_names_of

#: Frames are added up in blocks of this many, however the batches come, so that the split into
#: batches does not change a bit of the result.
BLOCK_FRAMES = 256

#: Columns of the sums' products that are made at once.
_GRAM_BLOCK = 256

#: Frames whose vertices are made float64 at once: more would not stay in the processor's cache.
_WIDEN = 32


@dataclass
class Frames:
    """Some frames as they came."""

    vertices: Tensor | LazyVertices  # (n, V, 3)
    joints: Tensor  # (n, J, 3)
    weights: Tensor  # (n, J), float64, zero where a joint is missing

    def __len__(self) -> int:
        return len(self.vertices)

    def __getitem__(self, index: slice | Tensor) -> Frames:
        return Frames(self.vertices[index], self.joints[index], self.weights[index])

    @staticmethod
    def cat(parts: Sequence[Frames]) -> Frames:
        if len(parts) == 1:
            return parts[0]
        return Frames(
            _joined([part.vertices for part in parts]),
            torch.cat([part.joints for part in parts]),
            torch.cat([part.weights for part in parts]),
        )


@dataclass
class Part:
    """Prepared frames of a block whose joint weights are ``scale_n * u``."""

    key: bytes  # tells patterns ``u`` apart
    u: np.ndarray  # (J,)
    a: Tensor  # (3 n, V): vertices less the frame's mean vertex, times sqrt(scale_n)
    y: Tensor  # (3 n, J): joints less a point of the frame, likewise


class FrameStream:
    """The frames of ``batches``, checked, centred and cut into blocks.

    Args:
        batches, joint_names, root, weights, vertex_ids, device: as
            :func:`~mmjrr.regressors.fit_joint_regressor` has them.
        progress: called with a stage's name and the frames gone through in it.

    Names and sizes are known once the first batch was read.
    """

    def __init__(
        self,
        batches: Iterable[Sequence[Tensor | LazyVertices]],
        joint_names: str | Sequence[str] | None,
        root: str | None,
        weights: Tensor | Sequence[float] | None = None,
        vertex_ids: Tensor | Sequence[int] | None = None,
        device: str | torch.device | None = None,
        progress: Callable[[str, int], None] | None = None,
    ) -> None:
        self.batches = batches
        self.device = device
        self.progress = progress
        self.vertex_ids = (
            None if vertex_ids is None else torch.unique(torch.as_tensor(vertex_ids).long().cpu())
        )
        self.names: tuple[str, ...] = ()
        self.root: int | str | None = root
        self.num_all_vertices = 0
        self._given = (joint_names, root, weights)
        self._count: int | None = None

    @property
    def repeatable(self) -> bool:
        """Whether the batches can be gone through again."""
        return not isinstance(self.batches, Iterator)

    @property
    def num_vertices(self) -> int:
        """Vertices that may be weighed."""
        return self.num_all_vertices if self.vertex_ids is None else len(self.vertex_ids)

    def over(self, frames: Frames) -> FrameStream:
        """The same over other frames."""
        batch = (frames.vertices, frames.joints, frames.weights)
        return FrameStream([batch], *self._given, self.vertex_ids, self.device)

    def sample(self, count: int) -> tuple[Frames, bool]:
        """``count`` frames at most, evenly taken, and whether they are all there are.

        Raises:
            ValueError: there are no frames, or one is not as it must be.
        """
        sample = _Sample(count)
        for frames in self.frames('select'):
            sample.add(frames)
        if not sample.seen:
            raise ValueError('no frames to fit to (0 were dropped)')
        return sample.frames(), sample.seen <= count

    def frames(self, stage: str) -> Iterator[Frames]:
        """Blocks of :data:`BLOCK_FRAMES` frames, and what is left.

        Raises:
            ValueError: a batch is not as it must be, or the frames are fewer or more than they
                were the time before.
        """
        waiting: list[Frames] = []
        count = done = 0
        for number, batch in enumerate(self.batches):
            frames = _checked(batch, number)
            self._know(frames, number)
            count += len(frames)
            waiting.append(frames)
            held = sum(map(len, waiting))
            while held >= BLOCK_FRAMES:
                every = Frames.cat(waiting)
                head, rest = every[:BLOCK_FRAMES], every[BLOCK_FRAMES:]
                waiting, held = [rest], len(rest)
                yield head
                done += len(head)
                if self.progress is not None:
                    self.progress(stage, done)
        if done < count:
            yield Frames.cat(waiting)
            if self.progress is not None:
                self.progress(stage, count)
        if self._count is not None and self._count != count:
            raise ValueError(
                f'the batches held {self._count} frames when first gone through, now {count}'
            )
        self._count = count

    def _know(self, frames: Frames, number: int) -> None:
        shape = (frames.vertices.shape[1], frames.joints.shape[1])
        if not self.names:
            joint_names, root, weights = self._given
            self.num_all_vertices = shape[0]
            names = _names(joint_names, shape[1])
            self.root = _root_index(root, names)
            self.base_weights = torch.from_numpy(_base_weights(weights, names))
            _check_ids(self.vertex_ids, shape[0])
            self.names = names
        if shape != (self.num_all_vertices, len(self.names)):
            raise ValueError(
                f'batch {number}: (V, J) is {shape}, but it was '
                f'{(self.num_all_vertices, len(self.names))} before'
            )

    def usable_weights(self, frames: Frames) -> tuple[Tensor, Tensor]:
        """Which frames can be used ``(n,)``, and the weights of all ``(n, J)``."""
        u = frames.weights.clone()
        if isinstance(self.root, int):
            keep = u[:, self.root] > 0
            u[:, self.root] = 0  # its own error is zero whatever its weight
        else:
            keep = (u > 0).any(1)
        u = u * self.base_weights
        return keep & ((u > 0).sum(1) > (self.root == 'mean')), u

    def usable(self, frames: Frames) -> tuple[Tensor | LazyVertices, Tensor, np.ndarray]:
        """Vertices ``(n, V, 3)`` as they came, joints ``(n, J, 3)`` float64 with zeros for missing
        ones, and weights ``(n, J)`` of the frames that can be used."""
        keep, u = self.usable_weights(frames)
        vertices, joints = frames.vertices, frames.joints
        if not keep.all():
            vertices = vertices[keep.to(vertices.device)]
            joints = joints[keep.to(joints.device)]
            u = u[keep]
        joints = joints.to(self._where(vertices), torch.float64)
        # The root's own weight is zero by now, though it is there in every frame left.
        missing = torch.isnan(joints).any(-1, keepdim=True)
        return vertices, torch.where(missing, 0.0, joints), u.numpy()

    def some(self, vertices: Tensor | LazyVertices, columns: Tensor | None = None) -> Tensor:
        """Of vertices as they came, these (indices among those that may be weighed; by default all
        of them), where the sums are made."""
        ids = self.vertex_ids
        if columns is not None:
            ids = columns if ids is None else ids[columns]
        if ids is not None:
            ids = ids.to(vertices.device)
        if isinstance(vertices, LazyVertices):
            chosen = vertices.of(ids)
        else:
            chosen = vertices if ids is None else vertices[:, ids]
        return chosen.to(self._where(vertices))

    def _where(self, vertices: Tensor | LazyVertices) -> torch.device:
        return vertices.device if self.device is None else torch.device(self.device)

    def parts(self, frames: Frames, columns: Tensor | None = None) -> Iterator[Part]:
        """The usable frames of a block by their pattern of joint weights.

        Args:
            columns: vertices to keep. Default: all that may be weighed.
        """
        vertices, joints, u = self.usable(frames)
        if not len(u):
            return
        # Coordinates before vertices: rows of the sums are then contiguous.
        a = self.some(vertices, columns).transpose(1, 2).contiguous().double()  # (n, 3, V)
        centre = a.mean(2, keepdim=True)
        a = a - centre
        present = torch.from_numpy(u > 0).to(a.device)
        y = _centred(joints, present, self.root, centre.transpose(1, 2)).transpose(1, 2)
        for key, pattern, index, scale in _by_pattern(u):
            rows = slice(None) if len(index) == len(u) else torch.from_numpy(index)
            part_a, part_y = a[rows], y[rows]
            if (scale != 1).any():
                root_scale = torch.from_numpy(np.sqrt(scale)).to(a.device)[:, None, None]
                part_a, part_y = part_a * root_scale, part_y * root_scale
            yield Part(key, pattern, part_a.flatten(0, 1), part_y.flatten(0, 1))


class _Sample:
    """Some frames of a stream, evenly taken: every ``step``-th is kept, a step that doubles
    whenever they are twice as many as wanted, and of these the wanted number is taken."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.step = 1
        self.seen = 0
        self._taken: list[Frames] = []

    def add(self, frames: Frames) -> None:
        taken = frames[-self.seen % self.step :: self.step]
        self._taken.append(Frames.cat([taken, taken[:0]]))  # a copy
        self.seen += len(frames)
        while sum(map(len, self._taken)) >= 2 * self.count:
            self._taken = [Frames.cat(self._taken)[::2]]
            self.step *= 2

    def frames(self) -> Frames:
        taken = Frames.cat(self._taken)
        if len(taken) <= self.count:
            return taken
        return taken[torch.arange(self.count) * len(taken) // self.count]


class Gram:
    """``sum A A^T`` over some of the vertices, streamed; kept as rows while these are few."""

    def __init__(self, num_vertices: int, device: torch.device) -> None:
        self.num_vertices = num_vertices
        self.device = device
        self._rows: list[Tensor] = []
        self._gram: Tensor | None = None
        self._upper_only = False

    def add(self, a: Tensor) -> None:
        """``a``: ``(n, num_vertices)`` float64."""
        if self._gram is not None:
            self._add_product(a)
            return
        self._rows.append(a)
        if sum(map(len, self._rows)) > self.num_vertices:
            self._condense()

    def _condense(self) -> None:
        if self._gram is None:
            self._gram = torch.zeros(
                self.num_vertices, self.num_vertices, dtype=torch.float64, device=self.device
            )
        while self._rows:
            self._add_product(self._rows.pop(0))

    def _add_product(self, a: Tensor) -> None:
        """Of a symmetric matrix, blocks on the diagonal and right of it are enough."""
        assert self._gram is not None
        for start in range(0, self.num_vertices, _GRAM_BLOCK):
            block = slice(start, start + _GRAM_BLOCK)
            self._gram[block, start:].addmm_(a[:, block].T, a[:, start:])
        self._upper_only = True

    def _whole(self) -> Tensor:
        gram = self._gram
        assert gram is not None
        if self._upper_only:
            for start in range(0, self.num_vertices, _GRAM_BLOCK):
                end = start + _GRAM_BLOCK
                gram[end:, start:end] = gram[start:end, end:].T
            self._upper_only = False
        return gram

    def bytes(self) -> int:
        """What it holds."""
        rows = sum(map(len, self._rows))
        return 8 * self.num_vertices * (self.num_vertices if self._gram is not None else rows)

    def rows_of(self, ids: np.ndarray) -> np.ndarray:
        """``G[ids]``, ``(len(ids), num_vertices)``."""
        index = torch.from_numpy(ids).to(self.device)
        if self._gram is not None:
            out = self._whole()[index]
        else:
            out = torch.zeros(len(ids), self.num_vertices, dtype=torch.float64, device=self.device)
            for rows in self._rows:
                out.addmm_(rows[:, index].T, rows)
        return out.cpu().numpy()

    def diagonal(self) -> Tensor:
        """``(num_vertices,)``."""
        if self._gram is not None:
            return self._gram.diagonal()
        out = torch.zeros(self.num_vertices, dtype=torch.float64, device=self.device)
        for rows in self._rows:
            out += rows.square().sum(0)
        return out

    def scaled_into(self, other: Gram, scale: float) -> None:
        """Add ``scale`` times this to ``other``."""
        if self._gram is None:
            for rows in self._rows:
                other.add(rows * scale**0.5)
            return
        other._condense()
        assert other._gram is not None
        other._gram.add_(self._whole(), alpha=scale)


@dataclass
class Group:
    """Sums over frames whose joint weights are ``scale_n * u``."""

    u: np.ndarray  # (J,)
    gram: Gram
    q: Tensor  # (J, V): sum Y A^T
    s: Tensor  # (J, J): sum Y Y^T


@dataclass
class Seen:
    """What a pass over the frames has seen of them."""

    total_weight: np.ndarray  # (J,)
    n_frames: int = 0  # that can be used
    n_dropped: int = 0

    def add(self, stream: FrameStream, frames: Frames) -> None:
        keep, u = stream.usable_weights(frames)
        self.n_frames += int(keep.sum())
        self.n_dropped += int((~keep).sum())
        self.total_weight = self.total_weight + u[keep].sum(0).numpy()

    def require_joints(self, stream: FrameStream) -> None:
        """
        Raises:
            ValueError: no frames, or a joint was never observed.
        """
        if not self.n_frames:
            raise ValueError(f'no frames to fit to ({self.n_dropped} were dropped)')
        unseen = [
            name
            for j, name in enumerate(stream.names)
            if not self.total_weight[j] and j != stream.root
        ]
        if unseen:
            raise ValueError(f'joints {unseen} are missing from every frame')


@dataclass
class Sums:
    """What a fit needs of the frames."""

    root: int | str | None
    groups: list[Group]
    seen: Seen


def add_up(
    stream: FrameStream, max_bytes: int, columns: Tensor | None = None, stage: str = 'sums'
) -> Sums:
    """Go through the frames once, and add them up.

    Args:
        columns: vertices (indices among those that may be weighed) to keep sums of. Default: all.
        stage: what to call this in ``stream.progress``.

    Raises:
        ValueError: no frames, a joint in none of them, or a bad batch.
        MemoryError: too many patterns of missing joints for ``max_bytes``.
    """
    groups: dict[bytes, Group] = {}
    seen = Seen(np.zeros(1))
    merged = False
    for frames in stream.frames(stage):
        seen.add(stream, frames)
        for part in stream.parts(frames, columns):
            group = _group_of(groups, part)
            group.gram.add(part.a)
            group.q.addmm_(part.y.T, part.a)
            group.s.addmm_(part.y.T, part.y)
        if stream.root != 'mean' and (merged or len(groups) > len(stream.names)):
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
    seen.require_joints(stream)
    return Sums(stream.root, list(groups.values()), seen)


def pool(stream: FrameStream) -> Sums | None:
    """The sums over all vertices as they are where joints are missing, if they are, from frames
    like the others: one group, whose weights are the mean ones.

    None where no frame can be used.
    """
    seen = Seen(np.zeros(1))
    gram: Gram | None = None
    rows = 0
    u = q = s = torch.zeros(())
    for frames in stream.frames('pool'):
        seen.add(stream, frames)
        for part in stream.parts(frames):
            gram = gram or Gram(part.a.shape[1], part.a.device)
            gram.add(part.a)
            rows += len(part.a)
            u = u + len(part.a) * torch.from_numpy(part.u)
            q, s = q + part.y.T @ part.a, s + part.y.T @ part.y
    if gram is None:
        return None
    u = u / rows
    often = torch.where(u > 0, u, 1.0).to(q.device)
    group = Group(u.numpy(), gram, q / often[:, None], s / torch.minimum(often, often[:, None]))
    return Sums(stream.root, [group], seen)


@dataclass
class Check:
    """``f`` at some weights, from the frames themselves."""

    value: float
    gradient: np.ndarray  # (J, V), less a number common to all vertices of a row
    squares: np.ndarray  # (J,), share of each joint in the value
    constant: float  # the joints' own share of f
    seen: Seen


def check(stream: FrameStream, w: np.ndarray) -> Check:
    """Go through the frames once, for ``f`` and its gradient at ``w`` ``(J, V)``.

    The number that the gradient lacks (vertices are not centred) does not matter to rows of a
    fixed sum.

    Raises:
        ValueError: no frames, a joint in none of them, or a bad batch.
    """
    ids = torch.from_numpy(np.nonzero(w.any(0))[0])
    small = torch.from_numpy(w)[:, ids]
    seen = Seen(np.zeros(1))
    constant, squares = 0.0, np.zeros(len(w))
    products = _Products(stream)
    for frames in stream.frames('check'):
        seen.add(stream, frames)
        vertices, joints, u = stream.usable(frames)
        if not len(u):
            continue
        some = stream.some(vertices, ids).double()
        error = small.to(some.device) @ some - joints  # (n, J, 3)
        pulled = torch.zeros_like(error)
        for _, pattern, index, scale in _by_pattern(u):
            p = torch.from_numpy(coupling(pattern, stream.root)).to(error.device)
            factor = torch.from_numpy(scale).to(error.device)[:, None, None]
            rows = torch.from_numpy(index).to(error.device)
            pulled[rows] = factor * (p @ error[rows])
            aligned = torch.from_numpy(alignment(pattern, stream.root)).to(error.device)
            each = (factor * (aligned @ error[rows]).square()).sum((0, 2))
            squares += pattern * each.cpu().numpy()
            own = _centred(joints[rows], torch.from_numpy(u[index] > 0).to(error.device),
                           stream.root, some[rows].mean(1, keepdim=True))  # fmt: skip
            constant += float((own * (factor * (p @ own))).sum())
        products.add(pulled, vertices)
    seen.require_joints(stream)
    return Check(float(squares.sum()), 2 * products.total(), squares, constant, seen)


class _Products:
    """``sum_n vectors[n, j] . vertices[n, v]``, ``(J, V)``, less a number for each ``j``."""

    def __init__(self, stream: FrameStream) -> None:
        self.stream = stream
        self._pairs: Tensor | None = None
        self._moments: dict[VertexMaker, Tensor] = {}

    def add(self, vectors: Tensor, vertices: Tensor | LazyVertices) -> None:
        """``vectors``: ``(n, J, 3)``, float64."""
        if isinstance(vertices, LazyVertices):
            moments = vertices.moments(vectors.to(vertices.device))
            before = self._moments.get(vertices.maker, 0.0)
            self._moments[vertices.maker] = before + moments
            return
        # Of all pairs of coordinates, x-x, y-y and z-z are wanted: products of thrice the size,
        # but of the vertices as they lie in memory.
        chosen = self.stream.some(vertices)
        if self._pairs is None:
            shape = (3 * vectors.shape[1], 3 * chosen.shape[1])
            self._pairs = torch.zeros(shape, dtype=torch.float64, device=chosen.device)
        for start in range(0, len(vectors), _WIDEN):
            part = slice(start, start + _WIDEN)
            self._pairs.addmm_(vectors[part].flatten(1).T, chosen[part].double().flatten(1))

    def total(self) -> np.ndarray:
        total = np.zeros((len(self.stream.names), self.stream.num_vertices))
        if self._pairs is not None:
            pairs = self._pairs.unflatten(0, (-1, 3)).unflatten(2, (-1, 3))
            total += pairs.diagonal(dim1=1, dim2=3).sum(-1).cpu().numpy()
        ids = slice(None) if self.stream.vertex_ids is None else self.stream.vertex_ids.numpy()
        for maker, moments in self._moments.items():
            total += maker.products_of(moments).cpu().numpy()[:, ids]
        return total


def coupling(u: np.ndarray, root: int | str | None) -> np.ndarray:
    """``P`` ``(J, J)`` of a frame of joint weights ``u``: its term of f is ``tr(E^T P E)``."""
    p = np.diag(u)
    if root is None:
        return p
    if isinstance(root, str):  # 'mean'
        return p - np.outer(u, u) / u.sum()
    to_root = np.eye(len(u))
    to_root[:, root] -= 1.0
    return to_root.T @ p @ to_root


def alignment(u: np.ndarray, root: int | str | None) -> np.ndarray:
    """``(J, J)`` that turns a frame's errors into its aligned errors."""
    align = np.eye(len(u))
    if isinstance(root, str):  # 'mean'
        align -= u / u.sum()
    elif root is not None:
        align[:, root] -= 1.0
    return align


def _group_of(groups: dict[bytes, Group], part: Part) -> Group:
    if part.key not in groups:
        a, y = part.a, part.y
        groups[part.key] = Group(
            part.u,
            Gram(a.shape[1], a.device),
            y.new_zeros(y.shape[1], a.shape[1]),
            y.new_zeros(y.shape[1], y.shape[1]),
        )
    return groups[part.key]


def _merge_by_joint(groups: dict[bytes, Group]) -> dict[bytes, Group]:
    """One group for each joint. Exact where the objective is a sum over joints: not for 'mean'."""
    merged: dict[bytes, Group] = {}
    for group in groups.values():
        for j in np.nonzero(group.u)[0]:
            u = np.zeros_like(group.u)
            u[j] = 1.0
            key = u.tobytes()
            if key not in merged and np.array_equal(u, group.u):
                merged[key] = group
                continue
            if key not in merged:
                merged[key] = Group(
                    u,
                    Gram(group.gram.num_vertices, group.gram.device),
                    torch.zeros_like(group.q),
                    torch.zeros_like(group.s),
                )
            target, scale = merged[key], float(group.u[j])
            group.gram.scaled_into(target.gram, scale)
            target.q.add_(group.q, alpha=scale)
            target.s.add_(group.s, alpha=scale)
    return merged


def _checked(batch: Sequence[Tensor | LazyVertices], number: int) -> Frames:
    """A batch with weights ``(N, J)`` that are zero where a joint is missing."""
    if len(batch) not in (2, 3):
        raise ValueError(
            f'batch {number}: expected (vertices, joints) or (vertices, joints, weights), found '
            f'{len(batch)} items'
        )
    vertices, joints = batch[0], torch.as_tensor(batch[1]).detach()
    if not isinstance(vertices, LazyVertices):
        vertices = torch.as_tensor(vertices).detach()
    for name, value in (('vertices', vertices), ('joints', joints)):
        if len(value.shape) != 3 or value.shape[-1] != 3 or len(value) != len(vertices):
            raise ValueError(
                f'batch {number}: {name}: expected (N, ., 3), the same N for both, found '
                f'vertices {tuple(vertices.shape)}, joints {tuple(joints.shape)}'
            )
    if isinstance(vertices, LazyVertices):
        try:
            vertices.check_finite()
        except ValueError as error:
            raise ValueError(f'batch {number}: {error}') from error
    # A NaN or infinity anywhere makes the sum one: far faster than looking at each. So does a sum
    # too large for the type, hence the second look.
    elif not torch.isfinite(vertices.sum()) and not torch.isfinite(vertices).all():
        raise ValueError(f'batch {number}: vertices are not all finite')
    if torch.isinf(joints).any():
        raise ValueError(f'batch {number}: joints hold infinity (missing ones are NaN)')
    u = (~torch.isnan(joints).any(-1)).cpu().double()
    if len(batch) == 3:
        given = torch.as_tensor(batch[2]).detach().cpu().double()
        if given.shape != u.shape:
            raise ValueError(
                f'batch {number}: weights: expected {tuple(u.shape)}, found {tuple(given.shape)}'
            )
        if not (torch.isfinite(given).all() and (given >= 0).all()):
            raise ValueError(f'batch {number}: weights must be finite and not negative')
        u = u * given
    return Frames(vertices, joints, u)


def _joined(parts: Sequence[Tensor | LazyVertices]) -> Tensor | LazyVertices:
    """All frames: lazy if they can be."""
    lazy = [part for part in parts if isinstance(part, LazyVertices)]
    if len(lazy) == len(parts) and all(part.goes_with(lazy[0]) for part in lazy):
        return LazyVertices.cat(lazy)
    return torch.cat([part.of() if isinstance(part, LazyVertices) else part for part in parts])


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
    if ids is not None and not (len(ids) and ids[0] >= 0 and ids[-1] < num_vertices):
        raise ValueError(f'vertex_ids must be ids from 0 to {num_vertices - 1}, at least one')


def _by_pattern(u: np.ndarray) -> list[tuple[bytes, np.ndarray, np.ndarray, np.ndarray]]:
    """Frames of weights ``u`` ``(n, J)`` that differ by a factor alone, in order of appearance.

    For each kind: a key, the weights ``(J,)`` (the greatest is one), the frames, their factors.
    """
    scale = u.max(1)
    patterns = (u / scale[:, None]).round(12)
    found: dict[bytes, list[int]] = {}
    for i, row in enumerate(patterns):
        found.setdefault(row.tobytes(), []).append(i)
    return [
        (key, patterns[index[0]], np.array(index), scale[index]) for key, index in found.items()
    ]


def _centred(joints: Tensor, present: Tensor, root: int | str | None, centre: Tensor) -> Tensor:
    """Joints ``(n, J, 3)`` less a point of the frame; missing ones (weight zero) are zero.

    Where a translation is removed anyway, any point will do; one of the joints' own keeps the
    sums small even if joints and vertices come in different frames.
    """
    present = present[..., None]
    if isinstance(root, int):
        centre = joints[:, [root]]
    elif root == 'mean':
        count = present.sum(1, keepdim=True)
        centre = torch.where(present, joints, 0.0).sum(1, keepdim=True) / count
    return torch.where(present, joints - centre, torch.zeros_like(joints))
