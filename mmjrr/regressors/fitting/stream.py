"""Stream of the frames to which a regressor is fitted.

Batches ``(vertices, joints)`` or ``(vertices, joints, sample_weight)`` of any size are validated
and cut into blocks of :data:`BLOCK_FRAMES` frames. Sums over frames are computed block by block, so
the result of a fit does not depend on the batch size, not even in its last bit.

Memory holds one batch and one block. Batches that can be iterated again are traversed several
times (:attr:`FrameStream.is_reiterable`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import FloatArray, IndexArray
from mmjrr.body_models import LazyVertices
from mmjrr.joints import H36M_JOINTS_MMPOSE, joint_names_of
from mmjrr.regressors.fitting.alignment import Root, resolve_root

BLOCK_FRAMES = 256


class MissingJointsError(ValueError):
    """A fit has no frames, or a joint is missing from all of them."""


def as_tensor(values: Any) -> Tensor:
    """Return a tensor or an array as a detached tensor of floating-point numbers.

    Whole numbers become float64. Arrays may have any byte order and strides, which PyTorch takes in
    part only.
    """
    if not isinstance(values, Tensor):
        array = np.asarray(values)
        values = torch.from_numpy(np.ascontiguousarray(array, array.dtype.newbyteorder('=')))
    tensor: Tensor = values.detach()
    return tensor if tensor.is_floating_point() else tensor.double()


@dataclass
class FrameBlock:
    """Validated frames, of which some may be unusable.

    Attributes:
        vertices: (n, V, 3) meters, of the type and on the device of the batch.
        joints: (n, J, 3) meters, NaN where missing.
        joint_weight: (n, J) float64, zero where a joint is missing and for bad frames.
        index: (n,) number of each frame in the stream.
        attributes: Further arrays with a row for each frame, by name; subclasses of
            :class:`FrameStream` add them.
    """

    vertices: Tensor | LazyVertices
    joints: Tensor
    joint_weight: Tensor
    index: Tensor
    attributes: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.vertices)

    def __getitem__(self, index: slice | Tensor) -> FrameBlock:
        return FrameBlock(
            self.vertices[index],
            self.joints[index],
            self.joint_weight[index],
            self.index[index],
            {name: value[index] for name, value in self.attributes.items()},
        )

    @staticmethod
    def concatenate(blocks: Sequence[FrameBlock]) -> FrameBlock:
        """Join the frames of several blocks."""
        if len(blocks) == 1:
            return blocks[0]
        return FrameBlock(
            _concatenate_vertices([block.vertices for block in blocks]),
            torch.cat([block.joints for block in blocks]),
            torch.cat([block.joint_weight for block in blocks]),
            torch.cat([block.index for block in blocks]),
            {
                name: torch.cat([block.attributes[name] for block in blocks])
                for name in blocks[0].attributes
            },
        )


@dataclass
class UsableFrames:
    """Frames of a block that enter the objective.

    Attributes:
        vertices: (n, V, 3) meters, of the type and on the device of the batch.
        joints: (n, J, 3) meters, float64, zero where missing.
        joint_weight: (n, J), zero where a joint is missing and for the root joint.
        index: (n,) number of each frame in the stream.
        n_dropped: Number of excluded frames of the block.
        attributes: Further arrays with a row for each frame, by name.
    """

    vertices: Tensor | LazyVertices
    joints: Tensor
    joint_weight: FloatArray
    index: IndexArray
    n_dropped: int
    attributes: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.joint_weight)


@dataclass
class FrameCounts:
    """Counts over a pass through the frames.

    Attributes:
        n_frames: Number of usable frames.
        n_dropped: Number of excluded frames.
        total_weight: (J,) sum of the joint weights of the usable frames.
    """

    n_frames: int = 0
    n_dropped: int = 0
    total_weight: FloatArray = field(default_factory=lambda: np.zeros(1))

    def add(self, frames: UsableFrames) -> None:
        """Count the frames of one block."""
        self.n_frames += len(frames)
        self.n_dropped += frames.n_dropped
        weight = torch.from_numpy(frames.joint_weight).sum(0)
        self.total_weight = self.total_weight + weight.numpy()

    def require_all_joints(self, joint_names: Sequence[str], root: Root) -> None:
        """Check that every joint but the root has a positive weight in some frame.

        Raises:
            MissingJointsError: There are no frames, or a joint is missing from all of them.
        """
        if not self.n_frames:
            raise MissingJointsError(f'no frames to fit to ({self.n_dropped} were dropped)')
        missing = [
            name for j, name in enumerate(joint_names) if not self.total_weight[j] and j != root
        ]
        if missing:
            raise MissingJointsError(f'joints {missing} are missing from every frame')


class FrameStream:
    """Batches of meshes and joints as a sequence of validated blocks.

    The attributes ``joint_names``, ``root`` and ``num_vertices`` are set when the first batch is
    read.

    Args:
        batches: As :func:`~mmjrr.regressors.fit_joint_regressor` takes them.
        joint_names: Names of the joints, or of an order. None: MMPose's 17 joints.
        root: A joint's name, ``'mean'`` or None; see :mod:`~mmjrr.regressors.fitting.alignment`.
        vertex_ids: Candidate vertices, which may get nonzero weight. None: all.
        on_bad_frame: ``'skip'`` leaves out frames that are not finite, and records them in
            ``bad_frames``; ``'raise'`` raises ValueError.
        progress: Called after each block with the name of the pass and the frames read in it.
    """

    def __init__(
        self,
        batches: Iterable[Sequence[Tensor | LazyVertices]],
        joint_names: str | Sequence[str] | None,
        root: str | None,
        vertex_ids: Tensor | Sequence[int] | None = None,
        on_bad_frame: str = 'skip',
        progress: Callable[[str, int], None] | None = None,
    ) -> None:
        self.batches = batches
        self.on_bad_frame = on_bad_frame
        self.progress = progress
        #: Problems of excluded frames, by the frame's number in the stream.
        self.bad_frames: dict[int, str] = {}
        self.vertex_ids = (
            None if vertex_ids is None else torch.unique(torch.as_tensor(vertex_ids).long().cpu())
        )
        self.joint_names: tuple[str, ...] = ()
        self.root: Root = None
        self.num_vertices = 0
        self._declared_names = joint_names
        self._declared_root = root
        self._num_frames: int | None = None

    @property
    def is_reiterable(self) -> bool:
        """Whether the batches can be traversed more than once."""
        return not isinstance(self.batches, Iterator)

    @property
    def num_candidates(self) -> int:
        """Number of candidate vertices."""
        return self.num_vertices if self.vertex_ids is None else len(self.vertex_ids)

    def with_frames(self, frames: FrameBlock) -> FrameStream:
        """Return a stream of other frames with the same joints, root and candidates."""
        batch = (frames.vertices, frames.joints, frames.joint_weight)
        return FrameStream(
            [batch],
            self._declared_names,
            self._declared_root,
            self.vertex_ids,
            self.on_bad_frame,
        )

    def without_bad_frames(self, block: FrameBlock) -> FrameBlock:
        """Return the block with weight zero for frames in ``bad_frames``."""
        is_bad = torch.tensor([int(i) in self.bad_frames for i in block.index], dtype=torch.bool)
        if not is_bad.any():
            return block
        weight = torch.where(is_bad[:, None], 0.0, block.joint_weight)
        return replace(block, joint_weight=weight)

    def sample(self, max_frames: int) -> tuple[FrameBlock, bool]:
        """Read all frames and keep at most ``max_frames`` of them, evenly spaced.

        Returns:
            The sampled frames, and whether they are all frames of the stream.

        Raises:
            ValueError: There are no frames, or a batch is invalid.
        """
        sample = _EvenSample(max_frames)
        for block in self.blocks('sampling'):
            sample.add(block)
        if not sample.num_frames:
            raise ValueError('no frames to fit to (0 were dropped)')
        return sample.result(), sample.num_frames <= max_frames

    def usable_blocks(self, pass_name: str) -> Iterator[UsableFrames]:
        """Yield the usable frames of each block; see :meth:`usable`."""
        for block in self.blocks(pass_name):
            yield self.usable(block)

    def blocks(self, pass_name: str) -> Iterator[FrameBlock]:
        """Yield blocks of :data:`BLOCK_FRAMES` frames; the last one may be smaller.

        Args:
            pass_name: Name of the pass, passed to ``progress``.

        Raises:
            ValueError: A batch is invalid, or the number of frames differs from the first pass.
        """
        pending: list[FrameBlock] = []  # frames read but not yielded
        num_read = num_yielded = 0
        for batch_index, batch in enumerate(self.batches):
            frames = self._validate_batch(batch, batch_index, num_read)
            self._check_sizes(frames, batch_index)
            num_read += len(frames)
            pending.append(frames)
            num_pending = sum(map(len, pending))
            while num_pending >= BLOCK_FRAMES:
                joined = FrameBlock.concatenate(pending)
                block, rest = joined[:BLOCK_FRAMES], joined[BLOCK_FRAMES:]
                pending, num_pending = [rest], len(rest)
                yield block
                num_yielded += len(block)
                self._report(pass_name, num_yielded)
        if num_yielded < num_read:
            yield FrameBlock.concatenate(pending)
            self._report(pass_name, num_read)
        if self._num_frames is not None and self._num_frames != num_read:
            raise ValueError(
                f'batches: found {num_read} frames, expected the {self._num_frames} of the first '
                'pass; pass an iterable that yields the same frames each time, or an iterator'
            )
        self._num_frames = num_read

    def _report(self, pass_name: str, num_frames: int) -> None:
        if self.progress is not None:
            self.progress(pass_name, num_frames)

    def _validate_batch(
        self, batch: Sequence[Tensor | LazyVertices], batch_index: int, first_frame: int
    ) -> FrameBlock:
        frames, problems = _validate_batch(batch, batch_index, first_frame)
        if problems and self.on_bad_frame == 'raise':
            frame, problem = next(iter(problems.items()))
            raise ValueError(f'batch {batch_index}: frame {frame - first_frame}: {problem}')
        self.bad_frames.update(problems)
        return self.without_bad_frames(frames) if self.bad_frames else frames

    def _check_sizes(self, frames: FrameBlock, batch_index: int) -> None:
        """Set sizes and names from the first batch; check that other batches agree."""
        sizes = (frames.vertices.shape[1], frames.joints.shape[1])
        if not self.joint_names:
            names = _resolve_names(self._declared_names, sizes[1])
            self.root = resolve_root(self._declared_root, names)
            _check_vertex_ids(self.vertex_ids, sizes[0])
            self.num_vertices = sizes[0]
            self.joint_names = names
        expected = (self.num_vertices, len(self.joint_names))
        if sizes != expected:
            raise ValueError(
                f'batch {batch_index}: found {sizes[0]} vertices and {sizes[1]} joints, expected '
                f'{expected[0]} and {expected[1]} as in the first batch'
            )

    def usable(self, block: FrameBlock) -> UsableFrames:
        """Select the frames of a block that enter the objective.

        A frame is dropped if its root joint is missing, if it has no joint besides the root, or,
        with the root ``'mean'``, if it has a single joint, which alignment reduces to zero.
        """
        weight = block.joint_weight.clone()
        if isinstance(self.root, int):
            keep = weight[:, self.root] > 0
            weight[:, self.root] = 0  # its aligned error is zero whatever its weight
        else:
            keep = torch.ones(len(weight), dtype=torch.bool)
        keep = keep & ((weight > 0).sum(1) > (1 if self.root == 'mean' else 0))
        vertices, joints = block.vertices, block.joints
        if not keep.all():
            vertices = vertices[keep.to(vertices.device)]
            joints = joints[keep.to(joints.device)]
            weight = weight[keep]
        joints = joints.to(vertices.device, torch.float64)
        missing = torch.isnan(joints).any(-1, keepdim=True)
        return UsableFrames(
            vertices,
            torch.where(missing, 0.0, joints),
            weight.numpy(),
            block.index[keep].numpy(),
            int((~keep).sum()),
            {name: value[keep.to(value.device)] for name, value in block.attributes.items()},
        )

    def select_vertices(
        self, vertices: Tensor | LazyVertices, columns: Tensor | None = None
    ) -> Tensor:
        """Select ``columns`` of the candidate vertices.

        Args:
            vertices: (n, V, 3)
            columns: (C,) indices among the candidates. None: all candidates.

        Returns:
            (n, C, 3); of lazy vertices, no others are computed.
        """
        ids = self.vertex_ids
        if columns is not None:
            ids = columns if ids is None else ids[columns]
        if ids is not None:
            ids = ids.to(vertices.device)
        if isinstance(vertices, LazyVertices):
            return vertices.of(ids)
        return vertices if ids is None else vertices[:, ids]


class _EvenSample:
    """At most ``max_frames`` evenly spaced frames of a stream of unknown length.

    Every ``stride``-th frame is kept. Whenever twice as many as wanted are held, every other one
    is discarded and the stride doubles; at the end the wanted number is taken evenly.
    """

    def __init__(self, max_frames: int) -> None:
        self.max_frames = max_frames
        self.stride = 1
        self.num_frames = 0
        self._kept: list[FrameBlock] = []

    def add(self, block: FrameBlock) -> None:
        kept = block[-self.num_frames % self.stride :: self.stride]
        # Joined with an empty slice, which copies: a view would keep the whole batch in memory.
        self._kept.append(FrameBlock.concatenate([kept, kept[:0]]))
        self.num_frames += len(block)
        while sum(map(len, self._kept)) >= 2 * self.max_frames:
            self._kept = [FrameBlock.concatenate(self._kept)[::2]]
            self.stride *= 2

    def result(self) -> FrameBlock:
        kept = FrameBlock.concatenate(self._kept)
        if len(kept) <= self.max_frames:
            return kept
        return kept[torch.arange(self.max_frames) * len(kept) // self.max_frames]


def _concatenate_vertices(parts: Sequence[Tensor | LazyVertices]) -> Tensor | LazyVertices:
    """Join vertices; the result is lazy if all parts are lazy and compatible."""
    lazy = [part for part in parts if isinstance(part, LazyVertices)]
    if len(lazy) == len(parts) and all(part.is_compatible_with(lazy[0]) for part in lazy):
        return LazyVertices.cat(lazy)
    return torch.cat([part.of() if isinstance(part, LazyVertices) else part for part in parts])


# -- validation ------------------------------------------------------------------------------


def _validate_batch(
    batch: Sequence[Tensor | LazyVertices], batch_index: int, first_frame: int
) -> tuple[FrameBlock, dict[int, str]]:
    """Check shapes and values of a batch.

    Args:
        batch: As :func:`~mmjrr.regressors.fit_joint_regressor` takes it.
        batch_index: Its number, for messages.
        first_frame: Number of its first frame in the stream.

    Returns:
        The frames, and what is wrong with those that are not finite, by their number.

    Raises:
        ValueError: The batch as a whole is invalid.
    """
    where = f'batch {batch_index}'
    if len(batch) not in (2, 3):
        raise ValueError(
            f'{where}: found {len(batch)} items, expected (vertices, joints) or '
            '(vertices, joints, sample_weight)'
        )
    vertices, joints = batch[0], as_tensor(batch[1])
    if not isinstance(vertices, LazyVertices):
        vertices = as_tensor(vertices)
    for value in (vertices, joints):
        if len(value.shape) != 3 or value.shape[-1] != 3 or len(value) != len(vertices):
            raise ValueError(
                f'{where}: found vertices {tuple(vertices.shape)} and joints '
                f'{tuple(joints.shape)}, expected (N, V, 3) and (N, J, 3), the same N for both'
            )
    problems: dict[int, str] = {}
    for is_bad, problem in (
        (torch.isinf(joints).flatten(1).any(1), 'joints: found infinity'),
        (_not_finite(vertices), 'vertices: found NaN or infinity'),
    ):
        problems |= {first_frame + i: problem for i in torch.nonzero(is_bad)[:, 0].tolist()}
    joint_weight = (~torch.isnan(joints).any(-1)).cpu().double()
    if len(batch) == 3:
        joint_weight = joint_weight * _validate_sample_weight(batch[2], joint_weight.shape, where)
    index = torch.arange(first_frame, first_frame + len(vertices))
    return FrameBlock(vertices, joints, joint_weight, index), problems


def _not_finite(vertices: Tensor | LazyVertices) -> Tensor:
    """Return which frames (n,) hold NaN or infinity."""
    if isinstance(vertices, LazyVertices):
        parts = list(vertices.parameters.values())
    else:
        # The sum of vertices with a NaN or an infinity is not finite, and far cheaper than a look
        # at each of them. A sum of finite vertices may overflow, which the look then tells apart.
        parts = [] if torch.isfinite(vertices.sum()) else [vertices]
    is_bad = torch.zeros(len(vertices), dtype=torch.bool)
    for part in parts:
        is_bad |= ~torch.isfinite(part).flatten(1).all(1).cpu()
    return is_bad


def _validate_sample_weight(
    sample_weight: Tensor | LazyVertices, shape: torch.Size, where: str
) -> Tensor:
    weight = as_tensor(sample_weight).cpu().double()
    if weight.shape != shape:
        raise ValueError(
            f'{where}: sample_weight: found shape {tuple(weight.shape)}, expected {tuple(shape)}'
        )
    if not (torch.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError(
            f'{where}: sample_weight: found negative or non-finite entries, expected weights >= 0'
        )
    return weight


def _resolve_names(joint_names: str | Sequence[str] | None, num_joints: int) -> tuple[str, ...]:
    if joint_names is None:
        if num_joints != len(H36M_JOINTS_MMPOSE):
            raise ValueError(f'joint_names: found None, expected names for {num_joints} joints')
        return H36M_JOINTS_MMPOSE
    names = joint_names_of(joint_names)
    if len(names) != num_joints:
        raise ValueError(
            f'joint_names: found {len(names)} joint names, expected one for each of {num_joints} '
            'joints'
        )
    return names


def _check_vertex_ids(vertex_ids: Tensor | None, num_vertices: int) -> None:
    if vertex_ids is None:
        return
    if not len(vertex_ids) or vertex_ids[0] < 0 or vertex_ids[-1] >= num_vertices:
        limits = f' from {int(vertex_ids[0])} to {int(vertex_ids[-1])}' if len(vertex_ids) else ''
        raise ValueError(
            f'vertex_ids: found {len(vertex_ids)} ids{limits}, expected at least one, from 0 to '
            f'{num_vertices - 1}'
        )
