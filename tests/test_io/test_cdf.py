"""CDF files are read within limits of time and memory, whatever their content."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from mmjrr.errors import DataError
from mmjrr.io.cdf import read_cdf

cdfwrite = pytest.importorskip('cdflib', reason='cdflib is not installed').cdfwrite

VALUES = np.random.default_rng(0).normal(size=(1, 4, 96))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / 'a.cdf'
    file = cdfwrite.CDF(path, delete=True)
    about = dict(Variable='Pose', Data_Type=45, Num_Elements=1, Rec_Vary=True,
                 Var_Type='zVariable', Dim_Sizes=[4, 96], Compress=6)  # fmt: skip
    file.write_var(about, var_data=VALUES)
    file.close()
    return path


def test_a_variable_comes_back_as_it_was_written(path: Path) -> None:
    content = read_cdf(path, 'Pose', (1, None, 96), 10_000)
    np.testing.assert_array_equal(content, VALUES)
    assert content.flags.writeable


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='limits are those of Linux')
@pytest.mark.parametrize('at', [364, 376, 772])
def test_a_file_that_lets_cdflib_loop_is_ended(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + 4] = struct.pack('>i', 2**31 - 1)  # a number of dimensions or of entries
    path.write_bytes(content)
    with pytest.raises(DataError, match=r'a\.cdf: Pose: not readable in \d+ seconds'):
        read_cdf(path, 'Pose', (1, None, 96), 10_000, time_limit=1)


@pytest.mark.parametrize(
    ('variable', 'shape', 'largest', 'reason'),
    [
        ('Other', (1, None, 96), 10_000, 'Other: not readable'),
        ('Pose', (1, None, 64), 10_000, r'found shape \(1, 4, 96\), expected \(1, N, 64\)'),
        ('Pose', (None, 96), 10_000, r'found shape \(1, 4, 96\), expected \(N, 96\)'),
        ('Pose', (1, None, 96), 383, 'at most 383 values'),
    ],
)
def test_something_else_is_refused_by_name(
    path: Path, variable: str, shape: tuple[int | None, ...], largest: int, reason: str
) -> None:
    with pytest.raises(DataError, match=rf'a\.cdf: .*{reason}|a\.cdf: {reason}'):
        read_cdf(path, variable, shape, largest)


def test_a_file_larger_than_its_values_can_be_is_not_read(path: Path) -> None:
    with open(path, 'ab') as file:
        file.truncate(2_000_000)
    with pytest.raises(DataError, match=r'found 2000000 bytes, expected at most 1006400'):
        read_cdf(path, 'Pose', (1, None, 96), 400)


def test_no_file_and_no_cdf_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'b\.cdf: no such file'):
        read_cdf(tmp_path / 'b.cdf', 'Pose', (1, None, 96), 10_000)
    (tmp_path / 'c.cdf').write_bytes(b'no CDF file')
    with pytest.raises(DataError, match=r'c\.cdf: Pose: not readable as a CDF file'):
        read_cdf(tmp_path / 'c.cdf', 'Pose', (1, None, 96), 10_000)
