"""XML files without document types, whose entities could expand to any size."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from mmjrr.errors import DataError


class _PlainTree(ElementTree.TreeBuilder):
    """Builder of a tree that refuses document types in any encoding."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuse the document type before its entities are read."""
        raise ValueError('found a document type, expected plain XML')


def read_xml(path: str | Path, max_bytes: int) -> ElementTree.Element:
    """Return the root of an XML file.

    Args:
        path: The file.
        max_bytes: Largest size that is read.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: The file is larger, is not XML, or has a document type.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    with path.open('rb') as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise DataError(f'{path}: found over {max_bytes:,} bytes, expected a smaller XML file')
    try:
        return ElementTree.fromstring(content, ElementTree.XMLParser(target=_PlainTree()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f'{path}: not readable XML ({error})') from error
