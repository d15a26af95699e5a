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
        missing: The frames without a prediction.
        arrays: Arrays as in :class:`Record`, with a row for each evaluated frame.
    """

    frames: list[Frame] = field(default_factory=list)
    left_out: list[Frame] = field(default_factory=list)
    missing: list[Frame] = field(default_factory=list)
    arrays: dict[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frames) + len(self.left_out) + len(self.missing)


def merge(
    ranks: Sequence[Sequence[Record]],
    size: int,
    joints_of: Callable[[Mapping[str, Array]], Array],
) -> MergedFrames:
    """Merge the records of all processes.

    The order of the frames, and with it every bit of a mean over them, depends neither on the
    batches nor on the number of processes. A frame that a distributed sampler repeats counts once.

    Args:
        ranks: The records of each process, in their order.
        size: Length of the data set. If frames have no keys, it tells them from the padding of a
            distributed sampler.
        joints_of: A function that returns the regressed joints (n, R, J, 3), in meters, of arrays
            as in :class:`Record`. It is called for repeated frames.

    Raises:
        ValueError: Two frames with the same key have different annotated joints or different
            predictions, only some frames have a key, or batches hold different kinds of
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
    indices, repeats = _unique(ranks, frames, size)
    _check_repeats(repeats, frames, rows, arrays, joints_of)
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
    ranks: Sequence[Sequence[Record]], frames: list[Frame], size: int
) -> tuple[list[int], list[tuple[int, int]]]:
    """Return indices of the frames in their final order, each frame once, and the repeats.

    A repeat is the index of the frame that counts, and that of another of the same key.
    """
    without = sum(frame.key is None for frame in frames)
    if without == len(frames):
        counts = [sum(len(record.frames) for record in rank) for rank in ranks]
        return _interleaved(counts)[:size], []
    if without:
        raise ValueError(f'{without} of {len(frames)} samples have neither imgname nor sample_idx')
    order: list[int] = []
    repeats: list[tuple[int, int]] = []
    keys: list[Any] = [frame.key for frame in frames]
    for index in sorted(range(len(frames)), key=keys.__getitem__):
        if not order or keys[order[-1]] != keys[index]:
            order.append(index)
        else:
            repeats.append((order[-1], index))
    return order, repeats


def _check_repeats(
    repeats: Sequence[tuple[int, int]],
    frames: Sequence[Frame],
    rows: Sequence[int],
    arrays: Mapping[str, Array],
    joints_of: Callable[[Mapping[str, Array]], Array],
) -> None:
    """Check that frames of the same key have the same annotation and nearly the same prediction.

    Raises:
        ValueError: They have not.
    """
    both = []
    for first, again in repeats:
        statuses = {frames[first].status, frames[again].status}
        if statuses == {'evaluated', 'missing'}:
            raise ValueError(_two_predictions(frames[first], 'one and none'))
        pair = [rows[first], rows[again]]
        if len(statuses) > 1 or (min(pair) >= 0 and not np.array_equal(*arrays['target'][pair])):
            raise ValueError(
                f'two samples with different joints are both named {frames[first].name!r}; the '
                "metric's fields= can name what tells them apart as sample_idx"
            )
        if min(pair) >= 0:
            both.append((first, pair))
    if not both:
        return
    of_pairs = np.array([pair for _, pair in both])  # (n, 2)
    joints = joints_of({name: values[of_pairs.ravel()] for name, values in arrays.items()})
    joints = joints - joints.mean(2, keepdims=True)
    distances = np.linalg.norm(joints[::2] - joints[1::2], axis=-1).mean((1, 2))
    worst = int(np.argmax(distances))
    if not distances[worst] <= _SAME_PREDICTION:
        found = f'two that are {1000 * distances[worst]:.1f} mm apart'
        raise ValueError(_two_predictions(frames[both[worst][0]], found))


def _two_predictions(frame: Frame, found: str) -> str:
    return (
        f'the frame {frame.name!r} has two different predictions: found {found}, expected one; '
        'call reset() between passes, or name what tells the samples apart as sample_idx by the '
        "metric's fields="
    )


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
