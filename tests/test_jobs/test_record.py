"""A record gives back results only to the settings that made them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmjrr.errors import DataError
from mmjrr.jobs import Identity, Record


def record(tmp_path: Path, size: int = 3, **environment: str) -> Record:
    return Record(tmp_path / 'videos/a.json', Identity({'bytes': size}, environment))


def test_results_are_those_of_the_same_settings(tmp_path: Path) -> None:
    assert record(tmp_path).results_of_same_settings() is None
    record(tmp_path).write()
    assert record(tmp_path).results_of_same_settings() == {}
    record(tmp_path).write({'frames': 11})
    assert record(tmp_path).results_of_same_settings() == {'frames': 11}
    assert record(tmp_path, torch='2.2').results_of_same_settings() == {'frames': 11}
    assert record(tmp_path, size=4).results_of_same_settings() is None


def test_an_unreadable_record_is_an_error_or_as_good_as_none(tmp_path: Path) -> None:
    damaged = record(tmp_path)
    damaged.write({'frames': 11})
    damaged.path.write_text('["frames"')
    assert damaged.results_of_same_settings() is None
    with pytest.raises(DataError, match=r'a\.json'):
        damaged.read()
    damaged.path.write_text('[11]')
    with pytest.raises(DataError, match='no dict of settings'):
        damaged.results()
