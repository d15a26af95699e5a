"""XML files: trees that are read, and entities that are refused before they expand."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmjrr.errors import DataError
from mmjrr.io.xml_files import read_xml

LAUGHS = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;&b;">]><a>&c;</a>'


def test_the_tree_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / 'a.xml'
    path.write_text('<a><b c="1">ü</b></a>', encoding='utf-8')
    root = read_xml(path, 1000)
    assert (root.tag, root[0].get('c'), root[0].text) == ('a', '1', 'ü')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (LAUGHS.encode(), 'a document type, expected plain XML'),
        (LAUGHS.encode('utf-16'), 'a document type, expected plain XML'),
        (b"<?xml version='1.0' encoding='none'?><a/>", 'not readable XML'),
        (b'<a>', 'not readable XML'),
        (b'', 'not readable XML'),
        (b'<a>' + 1000 * b' ' + b'</a>', 'found over 1,000 bytes'),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / 'a.xml'
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_xml(path, 1000)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'a\.xml: no such file'):
        read_xml(tmp_path / 'a.xml', 1000)
