"""JSON takes no more memory than any file of its size may."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from mmjrr.errors import DataError
from mmjrr.io import limits, read_json
from mmjrr.io.json_files import most_memory, read_note


def repeated(unit: str, size: int = 100_000) -> bytes:
    return ('[' + ','.join([unit] * (size // (len(unit.encode()) + 1))) + ']').encode()


TEXTS = {
    'empty lists': repeated('[]'),
    'nested lists': repeated('[' * 100 + ']' * 100),
    'lists of one': repeated('[1]'),
    'empty objects': repeated('{}'),
    'objects of one': repeated('{"":0}'),
    'objects of seven': repeated('{' + ','.join(f'"{key}":0' for key in 'abcdefg') + '}'),
    'numbers': repeated('1.5'),
    'large integers': repeated('999'),
    'strings': repeated('"\u00e9"'),
    'wide strings': repeated('"\U0001f600"'),
    'objects beside a wide character': b'["\xf0\x9f\x98\x80",' + repeated('{"":0}') + b']',
    'members': ('{' + ','.join(f'"{number}":0' for number in range(10_000)) + '}').encode(),
}


@pytest.mark.parametrize('name', TEXTS)
def test_reading_takes_at_most_the_stated_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / 'a.json'
    path.write_bytes(TEXTS[name])
    tracemalloc.start()
    try:
        read_json(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most_memory(TEXTS[name]) + 100_000


def test_lists_in_lists_that_would_exceed_the_limit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, 'ALLOWANCE', 0)
    path = tmp_path / 'a.json'
    path.write_bytes(TEXTS['nested lists'])
    with pytest.raises(DataError, match=r'a\.json: found contents of .* bytes once unpacked'):
        read_json(path)
    assert read_note(path) == {}


def test_ordinary_files_are_within_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, 'ALLOWANCE', 0)
    boxes = {f'S1/image_{number:06d}.jpg': [1, 2, 3, 4] for number in range(1000)}
    masks = {name: dict(size=[1002, 1000], counts='a[b]{"' * 20) for name in boxes}
    vertices = [[[0.1, -0.25, 3.5]] * 100] * 10
    for content in (boxes, masks, vertices, [[1, 2]] * 1000):
        path = tmp_path / 'a.json'
        path.write_text(json.dumps(content))
        assert len(read_json(path)) == len(content)
