"""Pickles: arrays come through, whatever wrote them; anything else is refused by name."""

from __future__ import annotations

import base64
import collections
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from mmjrr.body_models import UnsafePickleError, load_pickle

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
    found = load_pickle(path)
    assert sorted(found) == ['J_regressor', 'bs_type', 'f', 'shapedirs', 'v_template']
    np.testing.assert_array_equal(found['v_template'], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found['shapedirs'], [[0, 1], [3, 4]])
    np.testing.assert_array_equal(found['J_regressor'].toarray(), [[0, 1], [2, 0]])
    assert found['f'].dtype == np.uint32
    assert found['bs_type'] == 'lrotmin'


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
    found = load_pickle(write(tmp_path / 'arrays.pkl', content, protocol))
    for name in ('array', 'fortran', 'scalar', 'names'):
        np.testing.assert_array_equal(found[name], content[name])
    for name in ('csr', 'coo'):
        np.testing.assert_array_equal(found[name].toarray(), content[name].toarray())
    np.testing.assert_array_equal(found['nested'][1][('S1', '54138969')]['R'], np.eye(3))
    assert found['nested'][0] == (1, 'two', None) and found['nested'][2] == {3}


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
        load_pickle(path)
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
        (b'ctorch._utils\n_rebuild_tensor_v2\n.', 'torch._utils._rebuild_tensor_v2'),
    ],
)
def test_what_is_not_on_the_list_is_refused_by_name(tmp_path: Path, raw: bytes, name: str) -> None:
    path = tmp_path / 'file.pkl'
    path.write_bytes(raw)
    with pytest.raises(UnsafePickleError, match=name.replace('.', r'\.')):
        load_pickle(path)


def test_the_error_is_a_value_error() -> None:
    assert issubclass(UnsafePickleError, ValueError)


def test_only_the_codec_that_carries_bytes_may_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / 'codec.pkl'
    path.write_bytes(b'c_codecs\nencode\n(Vabc\nVrot13\ntR.')
    with pytest.raises(UnsafePickleError, match='rot13'):
        load_pickle(path)


@pytest.mark.parametrize(
    'raw', [b'', b'no pickle', pickle.dumps(np.arange(9))[:-20], b'PK\x03\x04']
)
def test_a_broken_file_is_named(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / 'broken.pkl'
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r'broken\.pkl: not a readable pickle'):
        load_pickle(path)


def test_a_chumpy_object_without_an_array_says_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / 'empty.pkl'
    path.write_bytes(b'\x80\x02cchumpy.ch\nCh\n)\x81}U\x05labelU\x01asb.')
    with pytest.raises(ValueError, match=r"empty\.pkl.*\['label'\]"):
        load_pickle(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='absent.pkl'):
        load_pickle(tmp_path / 'absent.pkl')
