"""Arrays that stay in files."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mmjrr.errors import DataError
from mmjrr.io import mapped, read_npy, read_npz
from mmjrr.io.mapped import (
    JoinedRows,
    all_finite,
    as_list,
    converted,
    is_mapped,
    joined,
    pieces,
    release,
    save_npz,
    take,
    working_array,
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of a kilobyte are large, and a piece is half of that."""
    for module in ('mapped', 'npz', 'npy'):
        monkeypatch.setattr(f'mmjrr.io.{module}.MAPPED_FROM', 1024)
    monkeypatch.setattr(mapped, 'PIECE', 512)


ARRAYS = {
    'float32': np.arange(600, dtype=np.float32).reshape(100, 3, 2),
    'big endian': np.arange(600, dtype='>f8').reshape(100, 6),
    'fortran': np.asfortranarray(np.arange(600.0).reshape(100, 6)),
    'text': np.array([f'name {row}' for row in range(100)]),
    'bool': np.arange(2000) % 3 == 0,
    'short': np.arange(5.0),
}


@pytest.mark.usefixtures('small')
@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_mapped_arrays_of_npz_files_are_those_that_are_read(tmp_path: Path, save) -> None:
    path = tmp_path / 'a.npz'
    save(path, **ARRAYS)
    read, stays = read_npz(path), read_npz(path, mapped=True)
    assert list(read) == list(stays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(stays[name], array)
        assert stays[name].dtype == read[name].dtype and stays[name].shape == array.shape
        assert is_mapped(stays[name]) == (name not in ('bool', 'short'))


@pytest.mark.usefixtures('small')
@pytest.mark.parametrize('name', ARRAYS)
def test_mapped_arrays_of_npy_files_are_those_that_are_read(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / 'a.npy', ARRAYS[name])
    content = read_npy(tmp_path / 'a.npy', mapped=True)
    np.testing.assert_array_equal(content, ARRAYS[name])
    assert is_mapped(content) == (name not in ('bool', 'short'))


@pytest.mark.usefixtures('small')
def test_a_mapped_file_cannot_be_changed_through_its_array(tmp_path: Path) -> None:
    np.save(tmp_path / 'a.npy', ARRAYS['float32'])
    with pytest.raises(ValueError, match='read-only'):
        read_npy(tmp_path / 'a.npy', mapped=True)[0] = 1


@pytest.mark.usefixtures('small')
def test_a_damaged_member_is_refused_by_name_before_it_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / 'a.npz'
    np.savez(path, pose=ARRAYS['float32'])
    data = bytearray(path.read_bytes())
    data[data.index(np.float32(300).tobytes())] ^= 1
    path.write_bytes(data)
    for stays in (False, True):
        with pytest.raises(DataError, match=r'a\.npz: pose'):
            read_npz(path, mapped=stays)


@pytest.mark.usefixtures('small')
def test_an_archive_whose_headers_hold_extra_fields_is_mapped_at_the_right_place(
    tmp_path: Path,
) -> None:
    content = io.BytesIO()
    np.save(content, ARRAYS['float32'])
    info = zipfile.ZipInfo('pose.npy')
    info.extra = b'\xfe\xca\x04\x00abcd'
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as archive:
        archive.writestr(info, content.getvalue())
    array = read_npz(tmp_path / 'a.npz', mapped=True)['pose']
    assert is_mapped(array)
    np.testing.assert_array_equal(array, ARRAYS['float32'])


@pytest.mark.usefixtures('small')
def test_working_arrays_keep_their_values_when_their_memory_is_given_back() -> None:
    array = working_array((100, 6))
    assert is_mapped(array) and not array.any()
    array[:] = ARRAYS['fortran']
    release(array, array[3:], None, np.zeros(3))
    np.testing.assert_array_equal(array, ARRAYS['fortran'])
    assert not is_mapped(working_array((5,)))


@pytest.mark.usefixtures('small')
def test_pieces_cover_all_rows_once_and_convert_them() -> None:
    array = working_array((100, 6))
    array[:] = ARRAYS['fortran']
    parts = list(pieces(array, multiple=4))
    assert [piece.stop - piece.start for piece in parts] == [12] * 8 + [4]
    assert [piece.start for piece in parts] == list(range(0, 100, 12))
    assert list(pieces(np.zeros((0, 3)))) == []
    single = converted(array, np.float32)
    assert single.dtype == np.float32 and is_mapped(single)
    np.testing.assert_array_equal(single, ARRAYS['fortran'])
    assert as_list(array) == ARRAYS['fortran'].tolist()


@pytest.mark.usefixtures('small')
def test_pieces_are_written_with_the_bytes_of_savez(tmp_path: Path) -> None:
    np.savez(tmp_path / 'numpy.npz', **ARRAYS)
    stays = read_npz(tmp_path / 'numpy.npz', mapped=True)
    assert is_mapped(stays['float32']) and is_mapped(stays['fortran'])
    with open(tmp_path / 'pieces.npz', 'wb') as file:
        save_npz(file, stays)
    assert (tmp_path / 'pieces.npz').read_bytes() == (tmp_path / 'numpy.npz').read_bytes()


@pytest.mark.usefixtures('small')
def test_rows_and_columns_of_mapped_arrays_are_those_of_numpy() -> None:
    array = working_array((700, 6))
    array[:] = np.arange(4200.0).reshape(700, 6)
    rows = np.array([600, 3, 3, *range(500)])
    np.testing.assert_array_equal(take(array, rows), np.array(array)[rows])
    both = joined([array, array[:, :2]], np.float32)
    np.testing.assert_array_equal(both, np.concatenate([array, array[:, :2]], 1))
    assert both.dtype == np.float32 and all_finite(array)
    array[699, 5] = np.inf
    assert not all_finite(array)


@pytest.mark.usefixtures('small')
@pytest.mark.parametrize('order', ['C', 'F'])
def test_joined_rows_are_those_of_the_concatenated_arrays(tmp_path: Path, order: str) -> None:
    whole = np.arange(600, dtype=np.float32).reshape(100, 3, 2)
    parts = [np.array(part, order=order) for part in np.split(whole, [5, 60, 61])]
    np.save(tmp_path / 'a.npy', parts[1])
    parts[1] = read_npy(tmp_path / 'a.npy', mapped=True)
    assert is_mapped(parts[1])
    concatenated = np.concatenate(parts)
    nested = JoinedRows([JoinedRows(parts[:2]), *parts[2:]])
    for rows in (JoinedRows(parts), nested):
        assert (rows.shape, rows.dtype, len(rows)) == ((100, 3, 2), np.float32, 100)
        for index in (
            99, -1, slice(3, 64), slice(None, None, -7), np.array([70, 4, 60, 4, -2]),
            np.arange(100) % 3 == 0, np.empty(0, int),
        ):  # fmt: skip
            read, expected = rows[index], concatenated[index]
            np.testing.assert_array_equal(read, expected)
            assert read.dtype == expected.dtype
        listed = np.array([70, 4, 60])
        assert rows[listed].strides == concatenated[listed].strides
        np.testing.assert_array_equal(list(rows), concatenated)
        assert [len(rows[piece]) for piece in pieces(rows)] == [21, 21, 21, 21, 16]
        for index in (100, np.array([0, 100])):
            with pytest.raises(IndexError):
                rows[index]


def test_work_on_pieces_of_a_large_file_takes_the_memory_of_a_piece(tmp_path: Path) -> None:
    path = tmp_path / 'a.npy'
    array = np.lib.format.open_memmap(path, 'w+', np.float64, (200, 1 << 17))
    array[:] = np.arange(200)[:, None]
    array.flush()
    program = f"""
import numpy as np
from mmjrr.io import read_npy
from mmjrr.io.mapped import pieces
def peak():
    with open('/proc/self/status') as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM')) // 1024
array = read_npy({str(path)!r}, mapped=True)
before = peak()
assert sum(array[piece].sum() for piece in pieces(array)) == (1 << 17) * 199 * 100
print(peak() - before)
"""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert path.stat().st_size > 200 << 20 and int(done.stdout) < 40
