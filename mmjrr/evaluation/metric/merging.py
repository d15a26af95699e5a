"""The merge of the frames of all processes: each frame once, sorted by image name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mmjrr.array_types import Array
from mmjrr.evaluation.protocols import FrameLabels

#: Largest mean distance in meters of the joints of two predictions that are the same. A network
#: that computes in half precision rounds a frame differently from batch to batch.
_SAME_PREDICTION = 2e-3
#: Number of repeated frames whose joints are compared at once.
_PIECE = 1024


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


class Hints(NamedTuple):
    """What the user of a metric can do, for the ends of messages.

    Attributes:
        second_pass: About frames that were processed twice.
        same_name: About different frames of the same name.
    """

    second_pass: str
    same_name: str


@dataclass
class MergedFrames:
    """The frames of all processes, each once.

    Attributes:
        frames: The evaluated frames.
        left_out: The frames that no protocol counts.
        missing: The frames without a prediction.
        arrays: Arrays as in :class:`Record`, with a row for each evaluated frame.
        notes: Remarks on frames with several predictions, a sentence each.
    """

    frames: list[Frame] = field(default_factory=list)
    left_out: list[Frame] = field(default_factory=list)
    missing: list[Frame] = field(default_factory=list)
    arrays: dict[str, Array] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frames) + len(self.left_out) + len(self.missing)


def merge(
    ranks: Sequence[Sequence[Record]],
    size: int,
    joints_of: Callable[[Mapping[str, Array]], Array],
    hints: Hints,
    is_absolute: bool = False,
) -> MergedFrames:
    """Merge the records of all processes.

    The order of the frames, and with it every bit of a mean over them, depends neither on the
    batches nor on the number of processes. A frame that a distributed sampler repeats, or that
    several sequences contain, counts once: its first prediction, in the data set's order. A note
    says so if the predictions differ by more than 2 mm. In a second pass over the data, such a
    difference is an error.

    Args:
        ranks: The records of each process, in their order.
        size: Length of the data set. If frames have no keys, it tells them from the padding of a
            distributed sampler.
        joints_of: A function that returns the regressed joints (n, R, J, 3), in meters, of arrays
            as in :class:`Record`. It is called for repeated frames.
        hints: Ends of messages.
        is_absolute: Whether predictions that differ by a translation are different. Default: False.

    Raises:
        ValueError: Two frames with the same key have different annotated joints, a second pass has
            different predictions, only some frames have a key, or batches hold different kinds of
            predictions.
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
    counts = [sum(len(record.frames) for record in rank) for rank in ranks]
    indices, repeats, is_second_pass = _unique(counts, frames, size)
    pairs = _pairs(repeats, frames, rows, arrays, hints)
    differing, distance = _differing(pairs, arrays, joints_of, is_absolute)
    changing = [
        first
        for first, again in repeats
        if {frames[first].status, frames[again].status} == {'evaluated', 'missing'}
    ]
    found = (
        *_described(frames, changing, 'have a prediction one time and none another time'),
        *_described(
            frames,
            [first for (first, *_), differs in zip(pairs, differing, strict=True) if differs],
            f'have several predictions, whose joints lie up to {1000 * distance:.1f} mm apart',
        ),
    )
    if is_second_pass and found:
        raise ValueError(
            f'the frames were processed several times: {"; ".join(found)}; {hints.second_pass}'
        )
    merged.notes = tuple(f'{text}; the first prediction of each counts' for text in found)
    for index in indices:
        frame = frames[index]
        if frame.status == 'evaluated':
            merged.frames.append(frame)
            order.append(rows[index])
        elif frame.status == 'left_out':
            merged.left_out.append(frame)
        else:
            merged.missing.append(frame)
    merged.arrays = {name: values[order] for name, values in arrays.items()}
    return merged


def _unique(
    counts: Sequence[int], frames: Sequence[Frame], size: int
) -> tuple[list[int], list[tuple[int, int]], bool]:
    """Find each frame once.

    Args:
        counts: The number of frames of each process.
        frames: The frames of all processes.
        size: Length of the data set.

    Returns:
        Indices of the frames in their final order; the repeats, each as the index of the frame that
        counts and that of another of the same key; and whether most frames are repeated after each
        has been seen, which is a second pass over the data.
    """
    without = sum(frame.key is None for frame in frames)
    if without == len(frames):
        return _interleaved(counts)[:size], [], False
    if without:
        raise ValueError(f'{without} of {len(frames)} samples have neither imgname nor sample_idx')
    order: list[int] = []
    repeats: list[tuple[int, int]] = []
    keys: list[Any] = [frame.key for frame in frames]
    turns = [turn for count in counts for turn in range(count)]
    for index in sorted(range(len(frames)), key=lambda index: (keys[index], turns[index])):
        if not order or keys[order[-1]] != keys[index]:
            order.append(index)
        else:
            repeats.append((order[-1], index))
    last = max(turns[index] for index in order)
    seen_again = {first for first, again in repeats if turns[again] > last}
    return order, repeats, 2 * len(seen_again) > len(order)


def _pairs(
    repeats: Sequence[tuple[int, int]],
    frames: Sequence[Frame],
    rows: Sequence[int],
    arrays: Mapping[str, Array],
    hints: Hints,
) -> list[tuple[int, int, int]]:
    """Return the repeats with two predictions: the frame's index, and the rows of both.

    Raises:
        ValueError: Two frames with the same key have different annotated joints.
    """
    pairs = []
    for first, again in repeats:
        statuses = {frames[first].status, frames[again].status}
        if statuses == {'evaluated'}:
            pairs.append((first, rows[first], rows[again]))
        if (len(statuses) > 1 and 'left_out' in statuses) or (
            statuses == {'evaluated'}
            and not np.array_equal(*arrays['target'][[rows[first], rows[again]]])
        ):
            raise ValueError(
                f'two samples with different joints are both named {frames[first].name!r}; '
                f'{hints.same_name}'
            )
    return pairs


def _differing(
    pairs: Sequence[tuple[int, int, int]],
    arrays: Mapping[str, Array],
    joints_of: Callable[[Mapping[str, Array]], Array],
    is_absolute: bool,
) -> tuple[Array, float]:
    """Return which pairs differ, (n,) bool, and the largest mean distance of joints in meters."""
    distances = np.zeros(len(pairs))
    rows = np.array([pair[1:] for pair in pairs], int).reshape(-1, 2)
    for start in range(0, len(pairs), _PIECE):
        piece = slice(start, start + _PIECE)
        joints = joints_of({name: values[rows[piece].ravel()] for name, values in arrays.items()})
        if not is_absolute:
            joints = joints - joints.mean(2, keepdims=True)
        distances[piece] = np.linalg.norm(joints[::2] - joints[1::2], axis=-1).mean((1, 2))
    return ~(distances <= _SAME_PREDICTION), float(distances.max(initial=0))


def _described(frames: Sequence[Frame], indices: Sequence[int], found: str) -> list[str]:
    """Return the beginning of a sentence on repeated frames; none if there are none."""
    several = list(dict.fromkeys(indices))
    if not several:
        return []
    return [f'{len(several)} frames, such as {frames[several[0]].name!r}, {found}']


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
