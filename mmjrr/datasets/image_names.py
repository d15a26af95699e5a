"""Parsers of Human3.6M's image names in their various spellings, and lists of its sequences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from mmjrr.errors import DataError

#: Extensions of images (JPEG 2000) that are not letters alone.
_EXTENSIONS_WITH_DIGITS = ('jp2', 'j2k')
_SEQUENCE = re.compile(r'(S\d+)_([A-Za-z]+)(?:_(\d+))?\.(\d+)')

#: Subjects of the training and the test split.
SPLITS: dict[str, tuple[str, ...]] = dict(train=('S1', 'S5', 'S6', 'S7', 'S8'), test=('S9', 'S11'))

#: Other names of actions in H36M's files; reports use one name for each.
ACTION_ALIASES = {
    'TakingPhoto': 'Photo',
    'WalkingDog': 'WalkDog',
    'WalkingTogether': 'WalkTogether',
}

#: Sequences that are excluded by default, and the reasons. Without a camera's name, a sequence is
#: excluded in all cameras.
KNOWN_BAD_SEQUENCES: dict[str, str] = {
    'S11_Directions.54138969': 'the video file is missing from the release',
    'S9_Greeting': '3D annotation shifted against the images',
    'S9_SittingDown_1': '3D annotation shifted against the images',
    'S9_Waiting_1': '3D annotation shifted against the images',
}


class ImageName(NamedTuple):
    """Parts of ``S1/S1_Directions_1.54138969/S1_Directions_1.54138969_000001.jpg`` or alike."""

    subject: str  # 'S1'
    action: str  # 'Directions', under the name that reports use
    sequence: str  # 'S1_Directions_1', as written in the file name
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
    """Return an image's name without folders and extension, which identifies it across files.

    >>> image_key('images/S1/S1_Directions_1.54138969/S1_Directions_1.54138969_000001.jpg')
    'S1_Directions_1.54138969_000001'
    """
    name = imgname.replace('\\', '/').rsplit('/', 1)[-1]
    stem, dot, extension = name.rpartition('.')
    is_extension = extension.isalpha() or extension.lower() in _EXTENSIONS_WITH_DIGITS
    return stem if dot and is_extension else name


def expand_sequences(sequences: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return a list of sequences, with ``'known_bad'`` expanded to :data:`KNOWN_BAD_SEQUENCES`.

    Args:
        sequences: ``'known_bad'``, or a list of names such as ``'S9_Greeting'`` (all cameras),
            ``'S11_Directions.54138969'`` (one camera) and ``'known_bad'``, or None for none.

    Raises:
        ValueError: The argument is a single name instead of a list.

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
    """Return whether an image's sequence, with or without its camera, is in ``sequences``."""
    return not {name.sequence, f'{name.sequence}.{name.camera}'}.isdisjoint(sequences)


@lru_cache(maxsize=4096)
def _parse_sequence(stem: str) -> tuple[str, str, str, str] | None:
    match = _SEQUENCE.fullmatch(stem)
    if match is None:
        return None
    subject, action, _, camera = match.groups()
    return subject, ACTION_ALIASES.get(action, action), stem.rsplit('.', 1)[0], camera


# -- other spellings of names ----------------------------------------------------------------------

#: Actions in the order of Human3.6M's action numbers, which start at 2; number 1 means all actions.
ACTIONS = (
    'Directions', 'Discussion', 'Eating', 'Greeting', 'Phoning', 'Posing', 'Purchases', 'Sitting',
    'SittingDown', 'Smoking', 'Photo', 'Waiting', 'Walking', 'WalkDog', 'WalkTogether',
)  # fmt: skip
#: Cameras in the order of Human3.6M's camera numbers, which start at 1.
CAMERAS = ('54138969', '55011271', '58860488', '60457274')
_CANONICAL_ACTIONS = {action.lower(): action for action in ACTIONS} | {
    alias.lower(): action for alias, action in ACTION_ALIASES.items()
}
#: S9_Posing 1.55011271_000001, S9/Posing 1.55011271_000001, also with '-' or '_' before the take.
_NAMED = re.compile(
    r'(?:^|.*/)(S\d+)[_/](?:Videos/)?([A-Za-z]+)(?:[_ -](\d+))?\.(\d+)(?:_|/(?:img_)?)(\d+)', re.I
)
#: s_09_act_02_subact_01_ca_01_000001
_NUMBERED = re.compile(r'(?:^|.*/)s_(\d+)_act_(\d+)_subact_(\d+)_ca_(\d+)[_/](\d+)', re.I)
#: h36m-fetch's S9/Posing-1/imageSequence/55011271/img_000001; the number is the subaction.
_FETCHED = re.compile(r'(?:^|.*/)(S\d+)/([A-Za-z]+)-(\d+)/imageSequence/(\d+)/(?:img_)?(\d+)', re.I)


class FrameIdentity(NamedTuple):
    """Frame of Human3.6M that an image shows, independent of the spelling of its name."""

    subject: str  # 'S9'
    action: str  # under the name that reports use
    take: str | None  # '' or '1'; None if the name has a subaction instead
    subaction: str | None  # '1' or '2'; None if the name has a take
    camera: str  # '54138969'
    frame: int  # from 1


def frame_identity(imgname: str) -> FrameIdentity | None:
    """Parse an image name in any known spelling; return None for other names.

    Known are the spellings of MMPose's and SPIN's annotations, of the release's videos, numbered
    names (``s_09_act_02_...``), and h36m-fetch's folders, with any alias of an action.

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


def may_show_same_frame(first: str, second: str) -> bool:
    """Return whether two image names may be spellings of one frame's name.

    A take and a subaction cannot be compared, so names that differ only in these may be.

    >>> may_show_same_frame('S9/Walking 1.54138969/000001.jpg', 'S9_Walking_1.54138969_000001.png')
    True
    >>> may_show_same_frame('S9_Walking_1.54138969_000001.jpg', 'S9_Walking_1.54138969_000002.jpg')
    False
    """
    one, other = frame_identity(first), frame_identity(second)
    if one is None or other is None:
        return image_key(first) == image_key(second)
    return all(part in (None, same) or same is None for part, same in zip(one, other, strict=True))


def frame_key(imgname: str) -> FrameIdentity | str:
    """Return a key that identifies a frame across all spellings with a take.

    Other names have their :func:`image_key` as the key.

    >>> frame_key('S9_WalkingDog 1.54138969_6') == frame_key('x/S9_WalkDog_1.54138969_000006.jpg')
    True
    >>> frame_key('x/other.jpg')
    'other'
    """
    identity = frame_identity(imgname)
    return image_key(imgname) if identity is None or identity.take is None else identity
