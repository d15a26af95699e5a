from __future__ import annotations

import pytest

from mmjrr.datasets.image_names import (
    KNOWN_BAD_SEQUENCES,
    ImageName,
    image_key,
    is_listed,
    may_show_same_frame,
    parse_image_name,
)
from mmjrr.errors import DataError


@pytest.mark.parametrize(
    ('imgname', 'expected'),
    [
        (
            'S1/S1_Directions_1.54138969/S1_Directions_1.54138969_000001.jpg',
            ImageName('S1', 'Directions', 'S1_Directions_1', '54138969', 1),
        ),
        (
            'S5_SittingDown.54138969_002061.jpg',
            ImageName('S5', 'SittingDown', 'S5_SittingDown', '54138969', 2061),
        ),
        (
            'S11\\x\\S11_TakingPhoto_1.60457274_000006.png',
            ImageName('S11', 'Photo', 'S11_TakingPhoto_1', '60457274', 6),
        ),
        (
            'images/S1/S1_WalkingDog.58860488_000010',
            ImageName('S1', 'WalkDog', 'S1_WalkingDog', '58860488', 10),
        ),
    ],
)
def test_names_of_the_released_files_are_parsed(imgname: str, expected: ImageName) -> None:
    assert parse_image_name(imgname) == expected


@pytest.mark.parametrize(
    'imgname',
    ['', 'a.jpg', 's_01_act_02_subact_01_ca_01_000001.jpg', 'S1_Directions_000001.jpg',
     'S1_Directions.54138969_.jpg', 'S1_Directions.54138969_00a.jpg'],
)  # fmt: skip
def test_other_names_are_refused_with_an_example(imgname: str) -> None:
    with pytest.raises(DataError, match='expected <subject>_<action>'):
        parse_image_name(imgname)


def test_keys_match_across_folders_and_extensions() -> None:
    a = image_key('S1/S1_Directions_1.54138969/S1_Directions_1.54138969_000001.jpg')
    assert a == image_key('S1_Directions_1.54138969_000001.png') == image_key(a)
    assert a == image_key('S1_Directions_1.54138969_000001.jp2')


@pytest.mark.parametrize(
    ('other', 'may_be'),
    [
        ('S9/Walking 1.54138969/000001.jpg', True),
        ('S9_Walking_1.54138969_000001.jp2', True),
        ('x/S9_Walking_1.54138969_1', True),
        ('S9/Walking-2/imageSequence/54138969/img_000001.jpg', True),  # a subaction, not a take
        ('S9/Walking-2/imageSequence/55011271/img_000001.jpg', False),
        ('S9_Walking.54138969_000001.jpg', False),
        ('S9/Walking 1.54138969/000002.jpg', False),
        ('000001.jpg', False),
    ],
)
def test_spellings_of_a_frame_are_compared(other: str, may_be: bool) -> None:
    name = 'S9/S9_Walking_1.54138969/S9_Walking_1.54138969_000001.jpg'
    assert may_show_same_frame(name, other) == may_show_same_frame(other, name) == may_be


def test_known_bad_sequences_hold_with_and_without_camera() -> None:
    missing = parse_image_name('S11_Directions.54138969_000001.jpg')
    other_camera = parse_image_name('S11_Directions.60457274_000001.jpg')
    shifted = parse_image_name('S9_Greeting.60457274_000001.jpg')
    other_take = parse_image_name('S9_Greeting_1.60457274_000001.jpg')
    names = (missing, other_camera, shifted, other_take)
    assert [is_listed(n, KNOWN_BAD_SEQUENCES) for n in names] == [True, False, True, False]
