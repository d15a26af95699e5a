"""The sequences of the synthetic H36M: who performs which action in which frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmjrr.datasets.image_names import KNOWN_BAD_SEQUENCES
from mmjrr.datasets.synthetic import camera_rig
from mmjrr.datasets.synthetic.seeding import stream

if TYPE_CHECKING:
    pass
from mmjrr.datasets.synthetic.settings import Settings


@dataclass(frozen=True)
class Take:
    """Sequence of one subject performing one action.

    Attributes:
        subject: Subject, such as ``'S1'``.
        action: Action, such as ``'Walking'``.
        frames: Raw frame numbers, counted from 1, for each of the four cameras.
    """

    subject: str
    action: str
    frames: tuple[tuple[int, ...], ...]

    @property
    def name(self) -> str:
        """H36M's name of the sequence, chosen so that it is none of the known bad ones."""
        names = (f'{self.subject}_{self.action}_{number}' for number in (1, 2))
        return next(name for name in names if name not in KNOWN_BAD_SEQUENCES)


def plan_sequences(settings: Settings) -> list[Take]:
    """List the sequences: each subject's moments are spread evenly over the actions."""
    plan = []
    for subject in settings.subjects:
        rng = stream(settings.seed, 'plan', subject)
        actions = rng.permutation(sorted(settings.actions)).tolist()
        numbers = {
            action: len(range(i, settings.frames_per_subject, len(actions)))
            for i, action in enumerate(actions)
        }
        plan += [
            Take(subject, action, _camera_frames(settings, numbers[action]))
            for action in sorted(actions)
            if numbers[action]
        ]
    return plan


def _camera_frames(settings: Settings, number: int) -> tuple[tuple[int, ...], ...]:
    cameras = len(camera_rig.CAMERA_IDS)
    starts = [0 if settings.synchronous else number * camera for camera in range(cameras)]
    return tuple(
        tuple(1 + settings.frame_step * (start + k) for k in range(number)) for start in starts
    )
