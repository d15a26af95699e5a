"""Names that stand in files do not lead out of the folder to which they are joined."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmjrr.errors import DataError
from mmjrr.io.paths import check_inside, is_inside

INSIDE = ['a.jpg', 'S1/a.jpg', './a.jpg', 'S1//a.jpg', '..a.jpg', 'a..jpg', 'S1/...', 'S1/.a']
OUTSIDE = [
    '',
    '/a.jpg',
    '//server/a.jpg',
    '..',
    '../a.jpg',
    'S1/../../a.jpg',
    'S1/..',
    '\\a.jpg',
    '..\\a.jpg',
    'S1\\..\\a.jpg',
    'C:\\a.jpg',
    'C:a.jpg',
    'a\0.jpg',
]


@pytest.mark.parametrize('name', INSIDE)
def test_a_name_inside(name: str) -> None:
    assert is_inside(name)
    folder = Path('/data/images')
    assert (folder / name).resolve().is_relative_to(folder)


@pytest.mark.parametrize('name', OUTSIDE)
def test_a_name_outside(name: str) -> None:
    assert not is_inside(name)


def test_the_error_names_the_row_of_a_name_outside() -> None:
    check_inside('f.npz: imgname', INSIDE)
    with pytest.raises(DataError, match=r"f\.npz: imgname: row 1: found '/a', expected a path ins"):
        check_inside('f.npz: imgname', ['a', '/a', '/b'])
