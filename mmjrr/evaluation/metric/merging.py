"""The merge of the frames of all processes: each frame once, sorted by image name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mmjrr.array_types import Array
from mmjrr.evaluation.protocols import FrameLabels


class Frame(NamedTuple):
    """A processed frame.

    Attributes:
        key: Image name and sample index, which identify the frame; None if it has neither.
        name: The frame's name in messages.
        labels: Subject, action, sequence and camera.
        status: 'evaluated', 'left_out' (no protocol counts it) or 'missing' (no prediction).
    """

    key: tuple[str, int] | None
    name: str
    labels: FrameLabels
    status: str


class Record(NamedTuple):
    """The frames of a batch, and the arrays of its n evaluated frames.

    Attributes:
        frames: All frames of the batch, in its order.
        arrays: ``target`` (n, J, 3), ``weight`` (n, J), and either ``joints`` (n, R, J, 3) or
            SMPL parameters (n, ...). Empty if n is 0.
    """

    frames: list[Frame]
    arrays: dict[str, Array]


@dataclass
class MergedFrames:
    """The frames of all processes, each once.

    Attributes:
        frames: The evaluated frames.
        left_out: The frames that no protocol counts.
        missing: Names of the frames without a prediction.
        arrays: Arrays as in :class:`Record`, with a row for each evaluated frame.
    """

    frames: list[Frame] = field(default_factory=list)
    left_out: list[Frame] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    arrays: dict[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frames) + len(self.left_out) + len(self.missing)


def merge(ranks: Sequence[Sequence[Record]], size: int) -> MergedFrames:
    """Merge the records of all processes.

    The order of the frames, and with it every bit of a mean over them, depends neither on the
    batches nor on the number of processes. A frame that a distributed sampler repeats counts once.

    Args:
        ranks: The records of each process, in their order.
        size: Length of the data set. If frames have no keys, it tells them from the padding of a
            distributed sampler.

    Raises:
        ValueError: Two frames with different joints have the same key, only some frames have a key,
            or batches hold different kinds of predictions.
    """
    frames = [frame for rank in ranks for record in rank for frame in record.frames]
    rows, count = [], 0  # each frame's row in the concatenated arrays, -1 if not evaluated
    for frame in frames:
        evaluated = frame.status == 'evaluated'
        rows.append(count if evaluated else -1)
        count += evaluated
    records = [record for rank in ranks for record in rank if len(record.arrays.get('target', ()))]
    arrays = _concatenated([record.arrays for record in records])
    merged = MergedFrames()
    order = []
    for index in _unique(ranks, frames, rows, arrays.get('target'), size):
        frame = frames[index]
        if frame.status == 'evaluated':
            merged.frames.append(frame)
            order.append(rows[index])
        elif frame.status == 'left_out':
            merged.left_out.append(frame)
        else:
            merged.missing.append(frame.name)
    merged.arrays = {name: values[order] for name, values in arrays.items()}
    return merged


def _unique(
    ranks: Sequence[Sequence[Record]],
    frames: list[Frame],
    rows: list[int],
    target: Array | None,
    size: int,
) -> list[int]:
    """Return indices of the frames in their final order, each frame once."""
    without = sum(frame.key is None for frame in frames)
    if without == len(frames):
        counts = [sum(len(record.frames) for record in rank) for rank in ranks]
        return _interleaved(counts)[:size]
    if without:
        raise ValueError(f'{without} of {len(frames)} samples have neither imgname nor sample_idx')
    order: list[int] = []
    keys: list[Any] = [frame.key for frame in frames]
    for index in sorted(range(len(frames)), key=keys.__getitem__):
        if not order or keys[order[-1]] != keys[index]:
            order.append(index)
            continue
        first, again = rows[order[-1]], rows[index]
        same = frames[order[-1]].status == frames[index].status
        if target is not None and first >= 0 and again >= 0:
            same = np.array_equal(target[first], target[again])
        if not same:
            raise ValueError(
                f'two samples with different joints are both named {keys[index][0]!r}; the '
                "metric's fields= can name what tells them apart as sample_idx"
            )
    return order


def _interleaved(counts: Sequence[int]) -> list[int]:
    """Return indices in the data set's order: MMEngine's sampler deals samples out in turn."""
    starts = np.cumsum([0, *counts])
    return [
        int(starts[rank]) + turn
        for turn in range(max(counts, default=0))
        for rank in range(len(counts))
        if turn < counts[rank]
    ]


def _concatenated(parts: list[dict[str, Array]]) -> dict[str, Array]:
    if not parts:
        return {}
    if len({'joints' in part for part in parts}) > 1:
        raise ValueError('some batches hold vertices, others SMPL parameters')
    arrays = {}
    differing = {name for part in parts for name in part.keys() ^ parts[0].keys()}
    if differing:
        raise ValueError(f'some batches have {sorted(differing)}, others have not')
    for name in parts[0]:
        shapes = {part[name].shape[1:] for part in parts}
        if len(shapes) > 1:
            raise ValueError(f'{name}: batches differ in representation: {sorted(shapes)}')
        arrays[name] = np.concatenate([part[name] for part in parts])
    return arrays
