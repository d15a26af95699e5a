"""The stream of frames that a regressor is fitted to, and the sums it is reduced to.

See :mod:`mmjrr.regressors.solver` for the symbols. All is summed in float64, in blocks of frames
that do not depend on how the batches are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmjrr.joints import H36M_JOINTS_MMPOSE, joint_names_of

#: Frames are added up in blocks of this many, however the batches come, so that the split into
#: batches does not change a bit of the result.
BLOCK_FRAMES = 256


@dataclass
class Frames:
    """Some frames as they came."""

    vertices: Tensor  # (n, V, 3)
    joints: Tensor  # (n, J, 3)
    weights: Tensor  # (n, J), float64, zero where a joint is missing

    def __len__(self) -> int:
        return len(self.vertices)

    def __getitem__(self, index: slice) -> Frames:
        return Frames(self.vertices[index], self.joints[index], self.weights[index])

    @staticmethod
    def cat(parts: Sequence[Frames]) -> Frames:
        if len(parts) == 1:
            return parts[0]
        return Frames(
            torch.cat([part.vertices for part in parts]),
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
        batches: Iterable[Sequence[Tensor]],
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

    def parts(self, frames: Frames) -> Iterator[Part]:
        """The usable frames of a block by their pattern of joint weights."""
        keep, u = self.usable_weights(frames)
        if not keep.any():
            return
        where = frames.vertices.device if self.device is None else torch.device(self.device)
        vertices = frames.vertices[keep.to(frames.vertices.device)]
        joints = frames.joints[keep.to(frames.joints.device)].to(where, torch.float64)
        if self.vertex_ids is not None:
            vertices = vertices[:, self.vertex_ids.to(vertices.device)]
        # Coordinates before vertices: rows of the sums are then contiguous.
        a = vertices.to(where).transpose(1, 2).to(torch.float64).contiguous()
        centre = a.mean(2, keepdim=True)  # (n, 3, 1)
        a -= centre
        u = u[keep]
        y = _centred(joints, u.to(where) > 0, self.root, centre.transpose(1, 2))
        y = y.transpose(1, 2)  # (n, 3, J)
        scale = u.max(1).values
        patterns = (u / scale[:, None]).numpy().round(12)
        found = _by_pattern(patterns)
        for key, index in found:
            rows = slice(None) if len(found) == 1 else torch.from_numpy(index)
            root_scale = scale[rows].sqrt().to(where)[:, None, None]
            plain = bool((root_scale == 1).all())
            part_a, part_y = a[rows], y[rows]
            yield Part(
                key,
                patterns[index[0]],
                (part_a if plain else part_a * root_scale).flatten(0, 1),
                (part_y if plain else part_y * root_scale).flatten(0, 1),
            )


class Gram:
    """``sum A A^T`` over some of the vertices, streamed; kept as rows while these are few."""

    def __init__(self, num_vertices: int, device: torch.device) -> None:
        self.num_vertices = num_vertices
        self.device = device
        self._rows: list[Tensor] = []
        self._gram: Tensor | None = None

    def add(self, a: Tensor) -> None:
        """``a``: ``(n, num_vertices)`` float64."""
        if self._gram is not None:
            self._gram.addmm_(a.T, a)
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
            rows = self._rows.pop(0)
            self._gram.addmm_(rows.T, rows)

    @property
    def condensed(self) -> bool:
        """Whether it is kept as a square matrix by now."""
        return self._gram is not None

    def bytes(self) -> int:
        """What it holds."""
        rows = sum(map(len, self._rows))
        return 8 * self.num_vertices * (self.num_vertices if self._gram is not None else rows)

    def columns(self, ids: np.ndarray) -> np.ndarray:
        """``G[:, ids]``, ``(num_vertices, len(ids))``."""
        index = torch.from_numpy(ids).to(self.device)
        if self._gram is not None:
            out = self._gram[:, index]
        else:
            out = torch.zeros(self.num_vertices, len(ids), dtype=torch.float64, device=self.device)
            for rows in self._rows:
                out.addmm_(rows.T, rows[:, index])
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
        other._gram.add_(self._gram, alpha=scale)


@dataclass
class Group:
    """Sums over frames whose joint weights are ``scale_n * u``."""

    u: np.ndarray  # (J,)
    gram: Gram
    q: Tensor  # (J, V): sum Y A^T
    s: Tensor  # (J, J): sum Y Y^T


@dataclass
class Sums:
    """What a fit needs of the frames."""

    root: int | str | None
    groups: list[Group]
    total_weight: np.ndarray  # (J,)
    n_frames: int
    n_dropped: int

    def require_joints(self, names: Sequence[str]) -> None:
        """
        Raises:
            ValueError: a joint was never observed.
        """
        unseen = [
            name for j, name in enumerate(names) if not self.total_weight[j] and j != self.root
        ]
        if unseen:
            raise ValueError(f'joints {unseen} are missing from every frame')


def add_up(
    stream: FrameStream,
    max_bytes: int,
    columns: Tensor | None = None,
    stage: str = 'sums',
    each: Callable[[Frames], None] | None = None,
    only_rows: bool = False,
) -> Sums:
    """Go through the frames once, and add them up.

    Args:
        columns: vertices (indices among those that may be weighed) to keep sums of. Default: all.
        stage: what to call this in ``stream.progress``.
        each: also called with every block.
        only_rows: whether to drop the sums once the frames are too many to be kept as rows; then
            the result counts the frames, and has no groups.

    Raises:
        ValueError: no frames, or a bad batch.
        MemoryError: too many patterns of missing joints for ``max_bytes``.
    """
    groups: dict[bytes, Group] = {}
    n_frames = n_dropped = 0
    total: np.ndarray | None = None
    merged = dropped = False
    for frames in stream.frames(stage):
        if each is not None:
            each(frames)
        keep, u = stream.usable_weights(frames)
        if total is None:
            total = np.zeros(len(stream.names))
        n_frames += int(keep.sum())
        n_dropped += int((~keep).sum())
        total += u[keep].sum(0).numpy()
        if dropped:
            continue
        for part in stream.parts(frames):
            _add_part(groups, part, columns)
        if stream.root != 'mean' and (merged or len(groups) > len(stream.names)):
            groups = _merge_by_joint(groups)
            merged = True
        if only_rows and any(group.gram.condensed for group in groups.values()):
            dropped = True
            groups.clear()
        held = sum(group.gram.bytes() for group in groups.values())
        if held > max_bytes:
            raise MemoryError(
                f'the joints of the frames are weighed or missing in {len(groups)} ways, whose '
                f'sums take {held / 2**30:.1f} GiB so far, more than max_bytes='
                f'{max_bytes / 2**30:.1f} GiB: leave out frames with missing joints, or pass '
                f'vertex_ids='
            )
    if total is None or not n_frames:
        raise ValueError(f'no frames to fit to ({n_dropped} were dropped)')
    return Sums(stream.root, list(groups.values()), total, n_frames, n_dropped)


def value_and_gradient(
    stream: FrameStream, w: np.ndarray, stage: str = 'check'
) -> tuple[float, np.ndarray]:
    """``f`` and ``df/dW`` ``(J, V)`` at ``w`` ``(J, V)``, from the frames themselves."""
    ids = np.nonzero(w.any(0))[0]
    value = 0.0
    gradient = None
    for frames in stream.frames(stage):
        for part in stream.parts(frames):
            columns = torch.from_numpy(ids).to(part.a.device)
            small = torch.from_numpy(w[:, ids]).to(part.a.device)
            error = part.a[:, columns] @ small.T - part.y  # (3 n, J)
            pulled = error @ torch.from_numpy(coupling(part.u, stream.root)).to(error.device)
            value += float((error * pulled).sum())
            term = pulled.T @ part.a
            gradient = term if gradient is None else gradient.add_(term)
    assert gradient is not None
    return value, 2 * gradient.cpu().numpy()


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


def _add_part(groups: dict[bytes, Group], part: Part, columns: Tensor | None) -> None:
    a, y = part.a, part.y
    if columns is not None:
        a = a[:, columns.to(a.device)]
    if part.key not in groups:
        groups[part.key] = Group(
            part.u,
            Gram(a.shape[1], a.device),
            y.new_zeros(y.shape[1], a.shape[1]),
            y.new_zeros(y.shape[1], y.shape[1]),
        )
    group = groups[part.key]
    group.gram.add(a)
    group.q.addmm_(y.T, a)
    group.s.addmm_(y.T, y)


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


def _checked(batch: Sequence[Tensor], number: int) -> Frames:
    """A batch with weights ``(N, J)`` that are zero where a joint is missing."""
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


def _centred(joints: Tensor, present: Tensor, root: int | str | None, centre: Tensor) -> Tensor:
    """Joints ``(n, J, 3)`` less a point of the frame; missing ones (weight zero) are zero.

    Where a translation is removed anyway, any point will do; one of the joints' own keeps the
    sums small even if joints and vertices come in different frames.
    """
    present = present[..., None]
    joints = torch.where(present | ~torch.isnan(joints), joints, torch.zeros_like(joints))
    if isinstance(root, int):
        centre = joints[:, [root]]
    elif root == 'mean':
        count = present.sum(1, keepdim=True)
        centre = torch.where(present, joints, 0.0).sum(1, keepdim=True) / count
    return torch.where(present, joints - centre, torch.zeros_like(joints))
