"""Predictions find their frames under every spelling of an image's name."""

from __future__ import annotations

import numpy as np
import pytest

from mmjrr.datasets.image_names import frame_identity
from mmjrr.datasets.predictions import match_frames, match_names
from mmjrr.errors import DataError

WANTED = [
    'S9/S9_Photo.54138969/S9_Photo.54138969_000001.jpg',
    'S9/S9_WalkDog_1.55011271/S9_WalkDog_1.55011271_000006.jpg',
    'S11/S11_Directions.58860488/S11_Directions.58860488_000011.jpg',
    'S11/S11_WalkTogether_2.60457274/S11_WalkTogether_2.60457274_000016.jpg',
]


@pytest.mark.parametrize(
    'names',
    [
        ['S9_TakingPhoto.54138969_000001.jpg', 'S9_WalkingDog_1.55011271_000006.png',
         'S11_Directions.58860488_000011', 'S11_WalkingTogether_2.60457274_000016.jpg'],
        ['S9_Photo.54138969_000001.jpg', 'x/S9_WalkDog 1.55011271_000006.jpg',
         'S11_directions.58860488_000011.jpg', 'S11_Walktogether 2.60457274_000016.jpg'],
        ['S9/TakingPhoto.54138969_000001', 'S9/WalkDog 1.55011271/000006.jpg',
         'S11/Videos/Directions.58860488_000011', 'S11/WalkingTogether 2.60457274/img_000016.jpg'],
        ['s_09_act_12_subact_02_ca_01_000001.jpg',
         's_09_act_15_subact_01_ca_02/s_09_act_15_subact_01_ca_02_000006.jpg',
         'S_11_act_02_subact_01_ca_03_000011.jpg', 's_11_act_16_subact_02_ca_04_000016.jpg'],
        ['S9/TakingPhoto-1/imageSequence/54138969/img_000001.jpg',
         'S9/WalkingDog-1/imageSequence/55011271/img_000006.jpg',
         'S11/Directions-2/imageSequence/58860488/img_000011.jpg',
         'S11/WalkingTogether-2/imageSequence/60457274/img_000016.jpg'],
    ],
    ids=['aliases', 'spaces and case', "the release's videos", 'numbered', 'h36m-fetch'],
)  # fmt: skip
def test_other_spellings_of_the_same_frames_match(names: list[str]) -> None:
    assert match_frames(names, WANTED) == [[0], [1], [2], [3]]
    assert match_names(names[::-1], WANTED).tolist() == [3, 2, 1, 0]


def test_another_subject_action_take_camera_or_frame_does_not_match() -> None:
    others = [
        'S8_TakingPhoto.54138969_000001.jpg',
        'S9_Posing.54138969_000001.jpg',
        'S9_TakingPhoto_1.54138969_000001.jpg',
        'S9_TakingPhoto.55011271_000001.jpg',
        'S9_TakingPhoto.54138969_000002.jpg',
        's_09_act_12_subact_01_ca_01_000002.jpg',
        'someone.jpg',
    ]
    assert match_frames(others, WANTED) == [[], [], [], []]


def test_names_with_equal_hashes_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    other_spelling = 'S9_TakingPhoto.54138969_000001.jpg'
    names = ['/a/x/1.jpg', '/a/y/1.jpg', 'z/2.png', '3.jpg', other_spelling]
    annotated = ['y/1.jpg', '2.jpg', '4.jpg', 'S9_Photo.54138969_000001.jpg']
    expected = match_frames(names, annotated)
    assert expected == [[1], [2], [], [4]]
    monkeypatch.setattr(
        'mmjrr.datasets.predictions.matching._hashes',
        lambda names: np.zeros(len(names), np.int64),
    )
    assert match_frames(names, annotated) == expected


NUMBERED = ['s_09_act_05_subact_02_ca_01_000001.jpg']
ONE_TAKE = ['S9_Greeting_1.54138969_000001.jpg']
TWO_TAKES = [*ONE_TAKE, 'S9_Greeting.54138969_000001.jpg']


def test_a_subaction_is_of_the_only_annotated_take() -> None:
    assert match_frames(NUMBERED, ONE_TAKE) == [[0]]
    with pytest.raises(DataError, match=r'mine: imgname: .s_09_act_05_subact_02.*S9_Greeting and '
                                        r'S9_Greeting_1 are annotated.*metadata'):  # fmt: skip
        match_frames(NUMBERED, TWO_TAKES, 'mine')
    # The annotation has both, though one is evaluated.
    with pytest.raises(DataError, match='S9_Greeting and S9_Greeting_1'):
        match_frames(NUMBERED, ONE_TAKE, listed=TWO_TAKES)
    both = [*NUMBERED, NUMBERED[0].replace('subact_02', 'subact_01')]
    with pytest.raises(DataError, match='only the take S9_Greeting_1 is annotated'):
        match_frames(both, ONE_TAKE)


def test_metadata_says_which_take_a_subaction_is() -> None:
    takes = {('S9', '5', '1'): 'Greeting 1', ('S9', '5', '2'): 'Greeting',
             ('S11', '5', '2'): 'Greeting 2'}  # fmt: skip
    assert match_frames(NUMBERED, TWO_TAKES, takes=takes) == [[], [0]]
    other = [NUMBERED[0].replace('subact_02', 'subact_01')]
    assert match_frames(other, TWO_TAKES, takes=takes) == [[0], []]
    # The rule of the only take is not applied beside metadata that says otherwise.
    assert match_frames(NUMBERED, ONE_TAKE, takes=takes) == [[]]


@pytest.mark.parametrize(
    'name', ['', 'a.jpg', 's_09_act_01_subact_01_ca_01_000001.jpg', 'S9_Dancing.54138969_000001',
             's_09_act_02_subact_01_ca_05_000001.jpg', 'S9_Photo.54138969_0000000000001.jpg'],
)  # fmt: skip
def test_other_names_are_of_no_frame(name: str) -> None:
    assert frame_identity(name) is None
