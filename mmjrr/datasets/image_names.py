"""Parsing of H36M's image names, and the sequences known to be bad."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from mmjrr.errors import DataError

_SEQUENCE = re.compile(r'(S\d+)_([A-Za-z]+)(?:_(\d+))?\.(\d+)')

#: Subjects of the training and the test split.
SPLITS: dict[str, tuple[str, ...]] = dict(train=('S1', 'S5', 'S6', 'S7', 'S8'), test=('S9', 'S11'))

#: Other names of actions in H36M's files; reports use one name for each.
ACTION_ALIASES = {
    'TakingPhoto': 'Photo',
    'WalkingDog': 'WalkDog',
    'WalkingTogether': 'WalkTogether',
}

#: Sequences that are excluded by default, in one camera or, without a camera's name, in all.
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
    """Parse the file name of an image; folders are ignored.

    Raises:
        DataError: The name does not have H36M's form.

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
    """Return what identifies an image across files: its name without folders and extension.

    >>> image_key('images/S1/S1_Directions_1.54138969/S1_Directions_1.54138969_000001.jpg')
    'S1_Directions_1.54138969_000001'
    """
    name = imgname.replace('\\', '/').rsplit('/', 1)[-1]
    stem, dot, extension = name.rpartition('.')
    return stem if dot and extension.isalpha() else name


def expand_sequences(sequences: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return a list of sequences with 'known_bad' replaced by those it stands for.

    Args:
        sequences: ``'known_bad'``, a list that may hold it beside names such as ``'S9_Greeting'``
            (all cameras) and ``'S11_Directions.54138969'``, or None for none.

    Raises:
        ValueError: a single name is given in place of a list.

    >>> expand_sequences(['S1_Eating', 'known_bad'])[:2]
    ('S1_Eating', 'S11_Directions.54138969')
    """
    if sequences is None:
        return ()
    if isinstance(sequences, str):
        if sequences != 'known_bad':
            raise ValueError(f"found {sequences!r}, expected 'known_bad', a list, or None")
        sequences = [sequences]
    names = [
        name
        for entry in sequences
        for name in (KNOWN_BAD_SEQUENCES if entry == 'known_bad' else [str(entry)])
    ]
    return tuple(dict.fromkeys(names))


def is_listed(name: ImageName, sequences: Iterable[str]) -> bool:
    """Tell whether an image's sequence, with or without its camera, is in ``sequences``."""
    return not {name.sequence, f'{name.sequence}.{name.camera}'}.isdisjoint(sequences)


@lru_cache(maxsize=4096)
def _parse_sequence(stem: str) -> tuple[str, str, str, str] | None:
    match = _SEQUENCE.fullmatch(stem)
    if match is None:
        return None
    subject, action, _, camera = match.groups()
    return subject, ACTION_ALIASES.get(action, action), stem.rsplit('.', 1)[0], camera


# -- the same frame under other names ------------------------------------------------------------

#: Actions in the order of Human3.6M's numbers, from 2 on; 1 is all of them.
ACTIONS = (
    'Directions', 'Discussion', 'Eating', 'Greeting', 'Phoning', 'Posing', 'Purchases', 'Sitting',
    'SittingDown', 'Smoking', 'Photo', 'Waiting', 'Walking', 'WalkDog', 'WalkTogether',
)  # fmt: skip
#: Cameras in the order of Human3.6M's numbers, from 1 on.
CAMERAS = ('54138969', '55011271', '58860488', '60457274')
_CANONICAL_ACTIONS = {action.lower(): action for action in ACTIONS} | {
    alias.lower(): action for alias, action in ACTION_ALIASES.items()
}
#: S9_Posing 1.55011271_000001, S9/Posing 1.55011271_000001, and with '-' before the take.
_NAMED = re.compile(
    r'(?:^|.*/)(S\d+)[_/](?:Videos/)?([A-Za-z]+)(?:[_ -](\d+))?\.(\d+)(?:_|/(?:img_)?)(\d+)', re.I
)
#: s_09_act_02_subact_01_ca_01_000001
_NUMBERED = re.compile(r'(?:^|.*/)s_(\d+)_act_(\d+)_subact_(\d+)_ca_(\d+)[_/](\d+)', re.I)
#: h36m-fetch's S9/Posing-1/imageSequence/55011271/img_000001; the number is the subaction.
_FETCHED = re.compile(r'(?:^|.*/)(S\d+)/([A-Za-z]+)-(\d+)/imageSequence/(\d+)/(?:img_)?(\d+)', re.I)


class FrameIdentity(NamedTuple):
    """Which frame of Human3.6M an image shows, whatever its name looks like."""

    subject: str  # 'S9'
    action: str  # as reports name it
    take: str | None  # '' or '1'; None where the name has a subaction in its place
    subaction: str | None  # '1' or '2'; None where the name has the take
    camera: str  # '54138969'
    frame: int  # from 1


def frame_identity(imgname: str) -> FrameIdentity | None:
    """Return which frame a name is of; None where it has none of the known forms.

    The forms are those of MMPose's and SPIN's annotations and of the release's videos, numbered
    ones (``s_09_act_02_...``), and h36m-fetch's folders. Actions go by any of their names.

    >>> frame_identity('x/S9_WalkingDog 1.54138969_000006.png')[:5]
    ('S9', 'WalkDog', '1', None, '54138969')
    >>> frame_identity('s_09_act_02_subact_01_ca_01_000001.jpg')[:5]
    ('S9', 'Directions', None, '1', '54138969')
    >>> frame_identity('S9/Directions 1.54138969_000001') == frame_identity(
    ...     'S9_Directions_1.54138969_000001.jpg')
    True
    """
    name = imgname.replace('\\', '/')
    folders, slash, _ = name.rpartition('/')
    stem = f'{folders}{slash}{image_key(name)}'
    numbered = _NUMBERED.fullmatch(stem)
    if numbered is not None:
        person, act, subaction, view, number = map(int, numbered.groups())
        if not (2 <= act < 2 + len(ACTIONS) and 1 <= view <= len(CAMERAS)):
            return None
        return FrameIdentity(
            f'S{person}', ACTIONS[act - 2], None, str(subaction), CAMERAS[view - 1], number
        )
    match = _NAMED.fullmatch(stem) or _FETCHED.fullmatch(stem)
    if match is None or len(match.group(5)) > 9:
        return None
    subject, action, take, camera, frame = match.groups()
    if action.lower() not in _CANONICAL_ACTIONS:
        return None
    is_take = match.re is _NAMED
    return FrameIdentity(
        subject.upper(),
        _CANONICAL_ACTIONS[action.lower()],
        (take or '') if is_take else None,
        None if is_take else take,
        camera,
        int(frame),
    )


def frame_key(imgname: str) -> FrameIdentity | str:
    """Return what identifies a frame across the spellings that say its take.

    >>> frame_key('S9_WalkingDog 1.54138969_6') == frame_key('x/S9_WalkDog_1.54138969_000006.jpg')
    True
    >>> frame_key('x/other.jpg')
    'other'
    """
    identity = frame_identity(imgname)
    return image_key(imgname) if identity is None or identity.take is None else identity
