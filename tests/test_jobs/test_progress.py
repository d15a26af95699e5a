"""Long work reports the time left; short work reports nothing."""

from __future__ import annotations

import itertools

import pytest

from mmjrr.jobs import Progress, with_progress


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


def test_a_terminal_gets_a_bar_and_no_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = itertools.count(0, 2)
    monkeypatch.setattr('time.monotonic', lambda: next(clock))
    lines: list[str] = []
    with Progress(10, 'shards', lines.append, terminal=True) as progress:
        for done in range(1, 6):
            progress(done)
        assert progress._bar is not None
        assert progress._bar.tasks[0].completed == 5
    assert progress._bar is None and not lines
    assert 'shards' in capsys.readouterr().err


def test_hidden_progress_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0, 100)
    monkeypatch.setattr('time.monotonic', lambda: next(clock))
    lines: list[str] = []
    assert list(with_progress('abc', 3, 'letters', lines.append, show=False)) == ['a', 'b', 'c']
    assert not lines
