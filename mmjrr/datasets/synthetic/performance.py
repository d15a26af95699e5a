"""Angles over time of one subject who performs one action."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmjrr.array_types import FloatArray
from mmjrr.datasets.synthetic.joint_angles import ANGLES, soft_limit


class Performance:
    """Angles over time of one subject who performs one action, and the position of the body.

    Args:
        rng: Source of all variation between performances.
        times: (T,) seconds.

    Attributes:
        angles: (T,) degrees by name, without limits.
        heading: (T,) degrees, rotation about the vertical.
        pitch: (T,) degrees, lean forward.
        roll: (T,) degrees, lean to the side.
        position: (T, 2) meters on the floor.
        main: The acting side, 'left' or 'right'.
        other: The resting side.
    """

    def __init__(self, rng: np.random.Generator, times: FloatArray) -> None:
        self.rng = rng
        self.times = times
        self.phase = rng.uniform(0, 2 * np.pi)
        self.tempo = rng.uniform(0.85, 1.15)
        sides = ['left', 'right']
        rng.shuffle(sides)
        self.main, self.other = sides
        # A constant personal posture and a slow sway of every joint, on top of standing at ease.
        self.angles: dict[str, FloatArray] = {}
        for name, angle in ANGLES.items():
            scale = (angle.high - angle.low) / 100
            self.angles[name] = rng.normal(0, 3 * scale) + self.drift(3 * scale)
        for side in ('left', 'right'):
            self.add({f'{side}_shoulder.abduction': 14, f'{side}_elbow.flexion': 14})
            self.add(
                {f'{side}_knee.flexion': 6, f'{side}_hip.flexion': 4, f'{side}_hip.abduction': 4}
            )
            self.add({f'{side}_hip.rotation': 6})
        self.heading = rng.uniform(-180, 180) + self.drift(12)
        self.pitch = self.drift(2) + rng.normal(0, 2)
        self.roll = self.drift(1.5)
        self.position = rng.uniform(-0.5, 0.5, 2) + np.stack(
            [self.drift(0.05), self.drift(0.05)], 1
        )

    def drift(self, amplitude: float) -> FloatArray:
        """Draw a slow smooth curve, (T,), about N(0, amplitude): three sinusoids below 0.6 Hz."""
        hertz = self.rng.uniform(0.08, 0.6, 3)
        phase = self.rng.uniform(0, 2 * np.pi, 3)
        waves = np.sin(2 * np.pi * hertz * self.times[:, None] + phase)
        return amplitude * np.sqrt(2 / 3) * waves.sum(1)

    def wave(self, low: float, high: float, hertz: float, shift: float = 0.0) -> FloatArray:
        """Return a periodic movement between two angles, (T,); ``shift`` is in periods."""
        turn = 2 * np.pi * (hertz * self.tempo * self.times + shift) + self.phase
        return low + (high - low) * (0.5 + 0.5 * np.sin(turn))

    def vary(self, value: float, spread: float = 8.0) -> float:
        """Draw a value that differs between performances."""
        return float(self.rng.normal(value, spread))

    def add(self, angles: Mapping[str, FloatArray | float]) -> None:
        """Add to angles; ``main_`` and ``other_`` name the acting and the resting side."""
        for name, value in angles.items():
            for role, side in (('main_', self.main), ('other_', self.other)):
                if name.startswith(role):
                    name = f'{side}_{name[len(role) :]}'
            self.angles[name] = self.angles[name] + value

    def limited_angles(self) -> dict[str, FloatArray]:
        """Return the angles within limits; the collar follows an arm raised beyond 60 degrees."""
        angles = dict(self.angles)
        for side in ('left', 'right'):
            raised = np.maximum(
                angles[f'{side}_shoulder.flexion'], angles[f'{side}_shoulder.abduction']
            )
            angles[f'{side}_collar.elevation'] = (
                angles[f'{side}_collar.elevation'] + 0.2 * np.logaddexp(0, (raised - 60) / 10) * 10
            )
        return {
            name: soft_limit(value, ANGLES[name].low, ANGLES[name].high)
            for name, value in angles.items()
        }
