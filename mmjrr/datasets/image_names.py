"""What H36M's image names say, and which sequences are known to be bad."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from mmjrr.errors import DataError

_SEQUENCE = re.compile(r'(S\d+)_([A-Za-z]+)(?:_(\d+))?\.(\d+)')

#: Who is trained on and who is tested on.
SPLITS: dict[str, tuple[str, ...]] = dict(train=('S1', 'S5', 'S6', 'S7', 'S8'), test=('S9', 'S11'))

#: H36M's files name two actions differently for different subjects; reports use one name.
ACTION_ALIASES = {
    'TakingPhoto': 'Photo',
    'WalkingDog': 'WalkDog',
    'WalkingTogether': 'WalkTogether',
}

#: Sequences that are excluded by default: with a camera, or, without one, in all cameras.
KNOWN_BAD_SEQUENCES: dict[str, str] = {
    'S11_Directions.54138969': 'the video file is missing from the release',
    'S9_Greeting': '3D annotation shifted against the images',
    'S9_SittingDown_1': '3D annotation shifted against the images',
    'S9_Waiting_1': '3D annotation shifted against the images',
}


class ImageName(NamedTuple):
    """The parts of ``S1/S1_Directions_1.54138969/S1_Directions_1.54138969_000001.jpg``."""

    subject: str  # 'S1'
    action: str  # 'Directions', by the name that reports use
    sequence: str  # 'S1_Directions_1', as it is written in the file name
    camera: str  # '54138969'
    frame: int  # 1


def parse_image_name(imgname: str) -> ImageName:
    """Subject, action, sequence, camera and frame of an image, from its file name.

    Folders do not matter.

    Raises:
        DataError: the name is not of H36M's form.

    >>> tuple(parse_image_name('S5/S5_WalkingDog.54138969/S5_WalkingDog.54138969_002061.jpg'))
    ('S5', 'WalkDog', 'S5_WalkingDog', '54138969', 2061)
    """
    stem, _, frame = image_key(imgname).rpartition('_')
    parts = _parse_sequence(stem)
    if parts is None or not (frame.isascii() and frame.isdigit() and len(frame) < 10):
        raise DataError(
            f'image name {imgname!r}: expected <subject>_<action>[_<take>].<camera>_<frame>.<ext>, '
            "for example 'S1/S1_Directions_1.54138969/S1_Directions_1.54138969_000001.jpg'"
        )
    return ImageName(*parts, int(frame))


def image_key(imgname: str) -> str:
    """What identifies an image across files: its name without folders and extension.

    >>> image_key('images/S1/S1_Directions_1.54138969/S1_Directions_1.54138969_000001.jpg')
    'S1_Directions_1.54138969_000001'
    """
    name = imgname.replace('\\', '/').rsplit('/', 1)[-1]
    stem, dot, extension = name.rpartition('.')
    return stem if dot and extension.isalpha() else name


def is_listed(name: ImageName, sequences: Iterable[str]) -> bool:
    """Whether the image's sequence, with or without its camera, is among ``sequences``."""
    return not {name.sequence, f'{name.sequence}.{name.camera}'}.isdisjoint(sequences)


@lru_cache(maxsize=4096)
def _parse_sequence(stem: str) -> tuple[str, str, str, str] | None:
    match = _SEQUENCE.fullmatch(stem)
    if match is None:
        return None
    subject, action, _, camera = match.groups()
    return subject, ACTION_ALIASES.get(action, action), stem.rsplit('.', 1)[0], camera
