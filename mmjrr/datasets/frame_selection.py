"""Selection of frames by subject, action, camera and sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.image_names import (
    ACTION_ALIASES,
    KNOWN_BAD_SEQUENCES,
    ImageName,
    is_listed,
)


@dataclass(frozen=True)
class FrameSelection:
    """Selection of frames by the parts of their image names.

    Attributes:
        subjects: Subjects to keep, such as ``['S9', 'S11']``. Default: None, all.
        actions: Actions to keep, such as ``['Walking']``. Default: None, all.
        cameras: Cameras to keep, such as ``['60457274']``. Default: None, all.
        frame_step: Keep every n-th of the remaining frames of each video. Default: 1.
        exclude_sequences: Sequences to exclude: ``'S9_Greeting'`` in all cameras,
            ``'S11_Directions.54138969'`` in one. ``'known_bad'`` stands for
            :data:`~mmjrr.datasets.image_names.KNOWN_BAD_SEQUENCES`, alone or in a list. None
            excludes none. Default: ``'known_bad'``.

    Raises:
        ValueError: An argument has a wrong type or is out of range.
    """

    subjects: Sequence[str] | None = None
    actions: Sequence[str] | None = None
    cameras: Sequence[str] | None = None
    frame_step: int = 1
    exclude_sequences: str | Sequence[str] | None = 'known_bad'

    def __post_init__(self) -> None:
        for name in ('subjects', 'actions', 'cameras'):
            value = getattr(self, name)
            if isinstance(value, str):
                raise ValueError(
                    f'{name}: found {value!r}, expected a list, such as [{value!r}] (on the '
                    f'command line, {name}="[{value}]")'
                )
        if self.frame_step < 1:
            raise ValueError(f'frame_step: found {self.frame_step}, expected at least 1')
        if isinstance(self.exclude_sequences, str) and self.exclude_sequences != 'known_bad':
            raise ValueError(
                f"exclude_sequences: found {self.exclude_sequences!r}, expected 'known_bad', a "
                'list, or None'
            )

    @classmethod
    def from_config(cls, filter_cfg: Mapping[str, Any] | None, **arguments: Any) -> FrameSelection:
        """Build a selection from arguments and a ``filter_cfg`` with the same names.

        Args:
            filter_cfg: Values by name, which replace arguments that have the default value.
            arguments: A value for every name.

        Raises:
            ValueError: A name is unknown, or both places set it to different values.
        """
        defaults = {f.name: f.default for f in fields(cls)}
        merged = dict(arguments)
        for name, value in (filter_cfg or {}).items():
            if name not in defaults:
                raise ValueError(f'filter_cfg: found {name!r}, expected some of {list(defaults)}')
            if arguments.get(name, defaults[name]) not in (defaults[name], value):
                raise ValueError(
                    f'{name}: found {arguments[name]!r}, but filter_cfg has {value!r}; remove one'
                )
            merged[name] = value
        return cls(**merged)

    def select(self, names: Sequence[ImageName]) -> tuple[Array, dict[str, int]]:  # (N,) bool
        """Select frames.

        Returns:
            Whether each frame is kept (N,), and the number of frames that each reason removed.
        """
        keep = np.ones(len(names), dtype=bool)
        removed: dict[str, int] = {}

        def remove_unless(reason: str, selected: Array) -> None:
            removed[reason] = int((keep & ~selected).sum())
            keep[~selected] = False

        if self.subjects is not None:
            remove_unless('other_subject', _isin([n.subject for n in names], self.subjects))
        if self.actions is not None:
            actions = [ACTION_ALIASES.get(action, action) for action in self.actions]
            remove_unless('other_action', _isin([n.action for n in names], actions))
        if self.cameras is not None:
            remove_unless('other_camera', _isin([n.camera for n in names], self.cameras))
        excluded = self._excluded()
        remove_unless(
            'excluded_sequence', np.array([not is_listed(n, excluded) for n in names], dtype=bool)
        )
        if self.frame_step > 1:
            remove_unless('frame_step', self._every_nth(names, keep))
        return keep, removed

    def _excluded(self) -> frozenset[str]:
        if self.exclude_sequences is None:
            return frozenset()
        if isinstance(self.exclude_sequences, str):
            return frozenset(KNOWN_BAD_SEQUENCES)
        listed = set(self.exclude_sequences)
        if 'known_bad' in listed:
            listed = (listed - {'known_bad'}) | set(KNOWN_BAD_SEQUENCES)
        return frozenset(listed)

    def _every_nth(self, names: Sequence[ImageName], keep: Array) -> Array:  # (N,) bool
        """Return every ``frame_step``-th of the kept frames of each video."""
        selected = np.zeros(len(names), dtype=bool)
        videos: dict[tuple[str, str], list[int]] = {}
        for row in np.flatnonzero(keep).tolist():
            videos.setdefault((names[row].sequence, names[row].camera), []).append(row)
        for rows in videos.values():
            selected[sorted(rows, key=lambda row: names[row].frame)[:: self.frame_step]] = True
        return selected


def _isin(values: Sequence[str], chosen: Sequence[str]) -> Array:
    return np.isin(np.array(values, dtype=np.str_), np.array(list(chosen), dtype=np.str_))
