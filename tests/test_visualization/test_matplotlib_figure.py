"""Figures are written without a display, and equal figures have equal bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmjrr.visualization.matplotlib_figure import CHART_SUFFIXES, new_figure, save_figure


@pytest.mark.parametrize('suffix', CHART_SUFFIXES)
def test_equal_figures_give_equal_bytes_whatever_the_date(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    for number, date in enumerate(('0', '1700000000')):
        monkeypatch.setenv('SOURCE_DATE_EPOCH', date)  # the date that matplotlib would write
        figure = new_figure(2, 1)
        figure.subplots().plot([0, 1], [1, 0], label='error')
        path = save_figure(figure, tmp_path / f'{number}{suffix}')
        written.append(path.read_bytes())
    assert written[0] == written[1]


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'expected a path ending in \.png, \.pdf or \.svg'):
        save_figure(new_figure(1, 1), tmp_path / 'figure.gif')
    assert not list(tmp_path.iterdir())
