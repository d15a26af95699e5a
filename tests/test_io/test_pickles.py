"""Pickles: arrays of any writer are read; other objects are refused by name."""

from __future__ import annotations

import base64
import collections
import datetime
import os
import pickle
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from mmjrr.errors import DataError
from mmjrr.io import Skipped, UnsafePickleError, read_pickle

# Written by Python 2.7.18 with NumPy 1.16.6, SciPy 1.2.3 and chumpy 0.67.6, protocol 2:
#   a = chumpy.array(numpy.arange(6.).reshape(2, 3))
#   {'v_template': a, 'shapedirs': a[:, :2], 'f': numpy.array([[0, 1, 2]], numpy.uint32),
#    'J_regressor': scipy.sparse.csc_matrix(numpy.array([[0., 1], [2, 0]])), 'bs_type': 'lrotmin'}
PYTHON_2 = (
    'eNp1kk1v00AQhmMn1KkT2gCFQkuhfLsthFI4cEBqJW61lEPRHquVPzbdFYnt2V2X5BAJDinyv+0/gPFHQK6UlZyx4/'
    'E78z4zP80ZGA7pnFLJLiRTKpZgBioQybSvEk8q1scnGy869rQUExuae7+gNYNbDrFEFIqAKVgJonSMXwSxZP1xOtLC'
    'k9Kb2igaxJHSMg20DVaZZUdh+RbabmNODP/3Gaw6ruGa8yoh1NOE2WATU3xyG66BCR3HbRLjy2AwOP2Dp/hxG9rPSN'
    'tolEf7pBV62oMut/h/6dulNEe14edKbW2pWq8SOynD9TGqtsfeJJEi0rDuHpEVqriXMOi5pmtekRVkkGgJd2pF7+ZF'
    'm3PeyUg318l7NIseU59YvqK5Q7hHrJGM9VhEsEHsS6rZOBl5msH9IOAlUG5/5TY8QOSbM3jokC6O4Tuj5WjgUUY6NB'
    'RST+kl/gFbAaV+KpB/RKmtGELfPp+fwWPSogKb3BmQHg1ZwqJQ0TjKbxU8mcFTlCl0Qxah7G5GjEnNz7MCotu84msZ'
    'OWzUzvVxnVm7ir0qbpwgQ4sq7elUwXPSjNgPeIEcVguQ2L6ClwvDksUyZAj7wv7GRixfm1do/vUM3jjE8PjmDQJOxr'
    'f49jnsOaQlwomCfcwi64lkQyYlC6thHTCk8JbvDDi6fVd328/4QTFLeM/3a64Pc9etYnXEYnU+LF2d3QWQxUI2q9j6'
    't6Bo2hjWShzlJYwcLBZJF9v+cWmRm9vU/wuJIyLk'
)


def write(path: Path, content: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def test_chumpy_and_sparse_matrices_pickled_by_python_2_come_back_as_arrays(
    tmp_path: Path,
) -> None:
    path = tmp_path / 'SMPL_NEUTRAL.pkl'
    path.write_bytes(zlib.decompress(base64.b64decode(PYTHON_2)))
    content = read_pickle(path)
    assert sorted(content) == ['J_regressor', 'bs_type', 'f', 'shapedirs', 'v_template']
    np.testing.assert_array_equal(content['v_template'], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(content['shapedirs'], [[0, 1], [3, 4]])
    np.testing.assert_array_equal(content['J_regressor'].toarray(), [[0, 1], [2, 0]])
    assert content['f'].dtype == np.uint32
    assert content['bs_type'] == 'lrotmin'


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol_come_through(tmp_path: Path, protocol: int) -> None:
    content = collections.OrderedDict(
        array=np.arange(12.0).reshape(3, 4),
        fortran=np.asfortranarray(np.arange(6).reshape(2, 3)),
        scalar=np.float32(1.5),
        names=np.array(['a', 'bb']),
        csr=scipy.sparse.csr_matrix(np.eye(3)),
        coo=scipy.sparse.coo_matrix(np.eye(2)),
        nested=[(1, 'two', None), {('S1', '54138969'): {'R': np.eye(3)}}, {3}],
    )
    array = read_pickle(write(tmp_path / 'arrays.pkl', content, protocol))
    for name in ('array', 'fortran', 'scalar', 'names'):
        np.testing.assert_array_equal(array[name], content[name])
    for name in ('csr', 'coo'):
        np.testing.assert_array_equal(array[name].toarray(), content[name].toarray())
    np.testing.assert_array_equal(array['nested'][1][('S1', '54138969')]['R'], np.eye(3))
    assert array['nested'][0] == (1, 'two', None) and array['nested'][2] == {3}


class Calls:
    """Pickles into a call."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize('protocol', [0, 2, 4, 5])
def test_a_command_is_refused_by_name_and_not_run(tmp_path: Path, protocol: int) -> None:
    witness = tmp_path / 'witness'
    content = {'v_template': np.zeros(3), 'f': Calls(os.system, f'touch {witness}')}
    path = write(tmp_path / 'evil.pkl', content, protocol)
    with pytest.raises(UnsafePickleError, match=rf"evil\.pkl.*'{os.system.__module__}\.system'"):
        read_pickle(path)
    assert not witness.exists()
    pickle.loads(path.read_bytes())  # the command is a live one
    assert witness.exists()


@pytest.mark.parametrize(
    ('raw', 'name'),
    [
        (b'cbuiltins\neval\n(V1\ntR.', 'builtins.eval'),
        (b'c__builtin__\neval\n(V1\ntR.', '__builtin__.eval'),
        (b'cbuiltins\ngetattr\n.', 'builtins.getattr'),
        (b'cnumpy\nload\n.', 'numpy.load'),
        (b'cnumpy\nfromfile\n.', 'numpy.fromfile'),
        (b'cnumpy.core.multiarray\n_reconstruct.__globals__\n.', '_reconstruct.__globals__'),
        (b'\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.', 'numpy.ndarray.__init__'),
        (b'cchumpy.ch\nChLambda\n.', 'chumpy.ch.ChLambda'),
        (b'cchumpy.utils\nos.system\n.', 'chumpy.utils.os.system'),
        (b'cscipy.sparse\nload_npz\n.', 'scipy.sparse.load_npz'),
        (b'ctorch\nload\n.', 'torch.load'),
    ],
)
def test_objects_that_are_not_on_the_list_are_refused_by_name(
    tmp_path: Path, raw: bytes, name: str
) -> None:
    path = tmp_path / 'file.pkl'
    path.write_bytes(raw)
    with pytest.raises(UnsafePickleError, match=name.replace('.', r'\.')):
        read_pickle(path)


def test_the_error_is_a_value_error() -> None:
    assert issubclass(UnsafePickleError, ValueError)


def test_only_the_codec_that_carries_bytes_may_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / 'codec.pkl'
    path.write_bytes(b'c_codecs\nencode\n(Vabc\nVrot13\ntR.')
    with pytest.raises(UnsafePickleError, match='rot13'):
        read_pickle(path)


@pytest.mark.parametrize(
    'raw', [b'', b'no pickle', pickle.dumps(np.arange(9))[:-20], b'PK\x03\x04']
)
def test_a_broken_file_is_named(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / 'broken.pkl'
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r'broken\.pkl: not readable as a pickle'):
        read_pickle(path)


def test_a_chumpy_object_without_an_array_says_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / 'empty.pkl'
    path.write_bytes(b'\x80\x02cchumpy.ch\nCh\n)\x81}U\x05labelU\x01asb.')
    with pytest.raises(ValueError, match=r"empty\.pkl.*\['label'\]"):
        read_pickle(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='absent.pkl'):
        read_pickle(tmp_path / 'absent.pkl')


# ---------------------------------------------------------------------- made by hand


def integer(number: int) -> bytes:
    return b'J' + struct.pack('<i', number)


def text(value: str) -> bytes:
    return b'X' + struct.pack('<I', len(value)) + value.encode()


def raw_bytes(value: bytes) -> bytes:
    return b'B' + struct.pack('<I', len(value)) + value


def dtype(code: str, flags: int = 0, extra: bytes = b'NNN') -> bytes:
    state = b'(' + integer(3) + text('|') + extra + integer(-1) + integer(-1) + integer(flags)
    return b'cnumpy\ndtype\n(' + text(code) + b'\x89\x88tR' + state + b'tb'


def array(kind: bytes, shape: tuple[int, ...], data: bytes) -> bytes:
    begin = b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(' + integer(0) + b't'
    sizes = b'(' + b''.join(map(integer, shape)) + b't'
    return begin + raw_bytes(b'b') + b'tR(' + integer(1) + sizes + kind + b'\x89' + data + b'tb'


def read_bytes(tmp_path: Path, content: bytes) -> Any:
    path = tmp_path / 'file.pkl'
    path.write_bytes(b'\x80\x04' + content + b'.')
    return read_pickle(path)


def test_an_array_made_by_hand_reads_as_numpy_reads_it(tmp_path: Path) -> None:
    content = array(dtype('f8'), (2, 1), raw_bytes(struct.pack('<2d', 1, 2)))
    np.testing.assert_array_equal(read_bytes(tmp_path, content), [[1.0], [2.0]])
    np.testing.assert_array_equal(pickle.loads(b'\x80\x04' + content + b'.'), [[1.0], [2.0]])


@pytest.mark.parametrize('flags', [0, 63])
def test_bytes_of_the_file_never_become_pointers(tmp_path: Path, flags: int) -> None:
    content = array(dtype('O8', flags), (9,), raw_bytes(b'A' * 72))
    with pytest.raises(DataError, match=r'file\.pkl: an array of objects'):
        read_bytes(tmp_path, content)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (array(dtype('V8'), (1,), raw_bytes(bytes(8))), "dtype 'V8'"),
        (array(dtype('f8', 0, b'N(' + text('a') + b't}'), (1,), raw_bytes(bytes(8))), 'structured'),
        (array(dtype('M8'), (1,), raw_bytes(bytes(8))), "dtype 'M8'"),
        (array(dtype('U2000000000'), (0,), raw_bytes(b'')), 'dtype'),
        (array(dtype('f8'), (2,), raw_bytes(bytes(8))), 'found 8 bytes, expected 16'),
        (array(dtype('f8'), (-1,), raw_bytes(b'')), 'non-negative'),
        (array(dtype('f8'), (60_000_000, 0), raw_bytes(b'')), 'without elements'),
        (array(dtype('O'), (60_000_000, 0), b']'), 'without elements'),
        (
            b'cbuiltins\nbytearray\n(\x8a\x05' + (4 * 10**9).to_bytes(5, 'little') + b'tR',
            'bytes from',
        ),
        (b'cbuiltins\nbytes\n(' + integer(10**9) + b'tR', 'bytes from'),
        (b'\x96' + struct.pack('<Q', 10**12) + b'x', 'end after 2'),
        (b'\x8e' + struct.pack('<Q', 10**12) + b'x', 'truncated'),
        (b'cnumpy.core.multiarray\nscalar\n(' + dtype('V2000000000') + b'tR', 'dtype'),
        (b'\x82\x01', 'extension code'),
        (b'K\x01Q', 'outside itself'),
        (b']' + b'r' + struct.pack('<I', 2**31 - 1) + b'K\x01a', None),
    ],
)
def test_no_number_in_a_file_decides_how_much_is_allocated(
    tmp_path: Path, content: bytes, message: str | None
) -> None:
    tracemalloc.start()
    try:
        if message is None:
            assert read_bytes(tmp_path, content) == [1]
        else:
            with pytest.raises(DataError, match=message) as caught:
                read_bytes(tmp_path, content)
            assert 'file.pkl' in str(caught.value)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_one_array_under_many_names_is_refused_where_copies_would_fill_the_memory(
    tmp_path: Path,
) -> None:
    block = np.zeros(1 << 20)
    path = write(tmp_path / 'few.pkl', {'vertices': [block] * 16})
    vertices = read_pickle(path)['vertices']
    assert len(vertices) == 16 and vertices[0] is vertices[15]
    path = write(tmp_path / 'many.pkl', {'vertices': [block] * 100_000})
    with pytest.raises(DataError, match=r'many\.pkl: its values: found contents of 8388'):
        read_pickle(path)


@pytest.mark.slow
@pytest.mark.parametrize('module', ['gzip', 'bz2', 'lzma'])
def test_compressed_pickles_read_and_bombs_do_not(tmp_path: Path, module: str) -> None:
    compress = __import__(module).compress
    (tmp_path / 'a.pkl').write_bytes(compress(pickle.dumps({'a': np.arange(9)})))
    np.testing.assert_array_equal(read_pickle(tmp_path / 'a.pkl')['a'], np.arange(9))
    (tmp_path / 'bomb.pkl').write_bytes(compress(pickle.dumps(bytes(400 << 20))))
    with pytest.raises(DataError, match=r'bomb\.pkl.*once unpacked, expected at most'):
        read_pickle(tmp_path / 'bomb.pkl')


@pytest.mark.parametrize('kind', ['csc', 'csr', 'coo'])
@pytest.mark.parametrize('wrong', [1 << 28, -1])
def test_a_sparse_matrix_with_indices_outside_its_shape_is_refused(
    tmp_path: Path, kind: str, wrong: int
) -> None:
    matrix = getattr(scipy.sparse, f'{kind}_matrix')(np.eye(3, 5))
    read = read_pickle(write(tmp_path / 'whole.pkl', matrix))
    np.testing.assert_array_equal(read.toarray(), np.eye(3, 5))
    for name in ('row', 'col') if kind == 'coo' else ('indices', 'indptr'):
        broken = matrix.copy()
        values = np.array(getattr(matrix, name))
        values[-1] = wrong
        setattr(broken, name, values)
        with pytest.raises(DataError, match=rf'broken\.pkl: its sparse matrix: {name}'):
            read_pickle(write(tmp_path / 'broken.pkl', broken))


def test_harmless_metadata_is_skipped(tmp_path: Path) -> None:
    content = {
        'pose': np.ones(3),
        'path': Path('a/b'),
        'date': datetime.datetime(2020, 1, 1),
        'kind': np.float32,
    }
    read = read_pickle(write(tmp_path / 'a.pkl', content))
    np.testing.assert_array_equal(read['pose'], np.ones(3))
    assert all(isinstance(read[name], Skipped) for name in ('path', 'date', 'kind'))
    assert 'datetime.datetime' in repr(read['date'])


def test_containers_of_the_standard_library_come_through(tmp_path: Path) -> None:
    tracks = collections.defaultdict(list, {1: [np.arange(2)], 'b': []})
    content = [tracks, collections.OrderedDict(a=1), collections.Counter('aab'), frozenset({1})]
    read = read_pickle(write(tmp_path / 'a.pkl', content))
    assert read[0]['b'] == [] and read[0][1][0].tolist() == [0, 1]
    assert read[1:] == [{'a': 1}, {'a': 2, 'b': 1}, frozenset({1})]
