"""Names that stand in files do not lead out of the folder to which they are joined."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmjrr.errors import DataError
from mmjrr.io.paths import check_inside, check_suffix, check_writable, is_inside

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


@pytest.mark.parametrize('name', ['a.npz', 'b/a.json'])
def test_a_file_to_write_ends_as_its_format_does(name: str) -> None:
    assert check_suffix(name, '.npz', '.json') == Path(name)
    with pytest.raises(ValueError, match=r'--out: .*: expected a path ending in \.npz or \.json$'):
        check_suffix(f'{name}.txt', '.npz', '.json', option='--out')
    with pytest.raises(ValueError, match=r'ending in \.npz or \.json, in lower case$'):
        check_suffix(name.upper(), '.npz', '.json')


def test_a_path_can_be_written_if_files_can_be_made_above_it(tmp_path: Path) -> None:
    for name in ('a.json', 'new/folder/a.json'):
        assert check_writable(tmp_path / name) == tmp_path / name
    assert list(tmp_path.iterdir()) == []
    (tmp_path / 'file').touch()
    with pytest.raises(ValueError, match=f'--out: .*since {tmp_path / "file"} is no folder'):
        check_writable(tmp_path / 'file' / 'b' / 'a.json', '--out')
    with pytest.raises(ValueError, match=f'^{tmp_path}: found a folder, expected'):
        check_writable(tmp_path)
