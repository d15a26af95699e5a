"""A column of texts is a list of them, in a file."""

from __future__ import annotations

import numpy as np
import pytest

from mmjrr.errors import DataError
from mmjrr.io import as_text, texts
from mmjrr.io.texts import TextColumn, sorted_rows, take_texts, texts_of

WORDS = ['S9_Walking.1_000006', 'ä', '', 'a', 'b\udc80', '日本', 'a', 'Z', 'é' * 40]


@pytest.fixture(params=['array', 'file'])
def column(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> TextColumn:
    if request.param == 'file':
        monkeypatch.setattr('mmjrr.io.mapped.MAPPED_FROM', 1)
        monkeypatch.setattr('mmjrr.io.mapped.PIECE', 64)
    monkeypatch.setattr(texts, '_PIECE', 2)
    return TextColumn.of(np.array(WORDS))


def test_a_column_reads_as_the_list(column: TextColumn) -> None:
    assert len(column) == len(WORDS) and list(column) == WORDS
    assert [column[row] for row in range(len(WORDS))] == WORDS
    assert column[-1] == WORDS[-1] and list(column[2:5]) == WORDS[2:5]
    assert '日本' in column and column.index('Z') == 7
    with pytest.raises(IndexError):
        column[len(WORDS)]


def test_rows_are_taken_of_taken_rows(column: TextColumn) -> None:
    taken = take_texts(column, np.array([5, 1, 7, 1]))
    assert list(taken) == ['日本', 'ä', 'Z', 'ä'] and taken[1:2][0] == 'ä'
    assert list(take_texts(taken, np.array([3, 0]))) == ['ä', '日本']


def test_rows_are_sorted_as_a_list_is(column: TextColumn) -> None:
    rows = np.array([0, 1, 3, 4, 5, 6, 7, 8])
    expected = sorted(rows.tolist(), key=lambda row: WORDS[row])
    assert sorted_rows(column, rows).tolist() == expected
    assert sorted_rows(WORDS, rows).tolist() == expected
    assert expected.index(3) + 1 == expected.index(6)  # equal texts keep their order


def test_a_small_array_is_a_list_and_a_large_one_a_column() -> None:
    assert texts_of(np.array(WORDS)) == WORDS
    many = np.array(['S9/S9_Walking.54138969/S9_Walking.54138969_000001.jpg'] * 100_000)
    assert isinstance(texts_of(many), TextColumn)


@pytest.mark.parametrize('order', '<>')
def test_numbers_beyond_unicode_are_no_text(order: str) -> None:
    """NumPy makes strings of them, which Python encodes to bytes that are not UTF-8."""
    words = np.array(['ab', 'c\U0010ffff'], f'{order}U2')
    assert as_text('f', words).tolist() == ['ab', 'c\U0010ffff']
    words.view(f'{order}u4')[1] = 0x110000
    with pytest.raises(DataError, match=r'f: not text .*0x110000'):
        as_text('f', words)
