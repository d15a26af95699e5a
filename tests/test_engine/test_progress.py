"""Long work says how long it still takes, and short work nothing."""

from __future__ import annotations

import itertools

import pytest

from mmjrr.engine.progress import with_progress


def test_lines_come_at_growing_intervals_with_the_time_left(monkeypatch: pytest.MonkeyPatch):
    """A hundred items of two seconds each."""
    clock = itertools.count(0, 2)
    monkeypatch.setattr('time.monotonic', lambda: next(clock))
    lines: list[str] = []
    assert list(with_progress(range(100), 100, 'shards', lines.append)) == list(range(100))
    # 3 items take 6 s, which is past 5; then once 10, 20, 40 and 60 s more have passed.
    assert lines == [
        '3 of 100 shards, 0:03:14 left',
        '8 of 100 shards, 0:03:04 left',
        '18 of 100 shards, 0:02:44 left',
        '38 of 100 shards, 0:02:04 left',
        '68 of 100 shards, 0:01:04 left',
        '98 of 100 shards, 0:00:04 left',
    ]


def test_short_work_is_silent() -> None:
    lines: list[str] = []
    assert list(with_progress('abc', 3, 'letters', lines.append)) == ['a', 'b', 'c']
    assert not lines
