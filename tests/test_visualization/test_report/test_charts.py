"""Geometry of charts."""

from __future__ import annotations

import re

import numpy as np

from mmjrr.visualization.report.charts import (
    HEIGHT,
    WIDTH,
    histogram,
    line_chart,
    nice_ticks,
    number_text,
)


def coordinates(path: str) -> np.ndarray:
    return np.array([float(n) for n in re.findall(r'-?\d+(?:\.\d+)?', path)])


def test_ticks_are_round_and_inside() -> None:
    for low, high in ((0, 97), (0.7131, 0.9931), (-3, 3), (1e-5, 4e-5), (0, 1)):
        ticks = nice_ticks(low, high)
        assert 3 <= len(ticks) <= 9 and min(ticks) >= low - 1e-9 and max(ticks) <= high + 1e-9
        steps = np.diff(ticks)
        assert np.allclose(steps, steps[0])


def test_numbers_have_no_exponent_around_a_thousand() -> None:
    texts = [number_text(v) for v in (999.4, 999.5, 999.7, -999.9, 1000.2, 12345.6)]
    assert texts == ['999', '1000', '1000', '-1000', '1000', '12346']


def test_a_line_goes_through_its_points_and_skips_what_is_not_finite() -> None:
    x, y = np.array([0.0, 1, 2, 3]), np.array([0.0, np.nan, 10, 5])
    chart = line_chart('t', {'a': (x, y)}, 'x', 'y')
    assert chart is not None
    points = coordinates(chart.series[0].path).reshape(-1, 2)
    assert len(points) == 3
    left, right = points[0, 0], points[-1, 0]
    assert np.allclose(points[1, 0], left + (right - left) * 2 / 3, atol=0.06)
    assert points[1, 1] < points[2, 1] < points[0, 1]  # larger values are higher up
    assert chart.rows == [['a', '0', '5', '0', '10']]


def test_a_histogram_counts_every_finite_value_once() -> None:
    values = np.array([1.0, 2, 2, 50, 1e6, np.nan])
    chart = histogram('t', {'a': values}, 'mm', limits=(0, 60))
    assert chart is not None and chart.rows[0][1] == '5'
    heights = [float(v) for v in re.findall(r'V([\d.]+)', chart.series[0].path)][:-1]
    unit = [tick.place for tick in chart.y_ticks if float(tick.text) in (0, 1)]
    counts = (unit[0] - np.array(heights)) / (unit[0] - unit[1])
    assert np.allclose(counts.sum(), 5, atol=0.1)
    assert np.allclose(counts[-1], 1, atol=0.02)  # the million is counted in the last bin


def test_ticks_of_counts_are_whole_and_the_label_is_above_the_numbers() -> None:
    steps = np.array([5.0, 10, 15, 20])
    chart = line_chart('t', {'a': (steps, 1e-4 * steps)}, 'batch', 'energy')
    assert chart is not None
    assert [tick.text for tick in chart.x_ticks] == ['5', '10', '15', '20']
    assert min(tick.place for tick in chart.y_ticks) > chart.top > 20
    counts = histogram('t', {'a': np.array([1.0, 1.0, 2.0])}, 'mm')
    assert counts is not None and all(float(tick.text).is_integer() for tick in counts.y_ticks)


def test_nothing_to_draw_is_no_chart_and_everything_fits_the_picture() -> None:
    assert line_chart('t', {'a': (np.array([]), np.array([]))}, 'x', 'y') is None
    assert histogram('t', {'a': np.array([np.nan])}, 'x') is None
    chart = line_chart('t', {'a': (np.array([5.0]), np.array([0.0]))}, 'x', 'y')
    assert chart is not None
    for series in chart.series:
        x, y = coordinates(series.path).reshape(-1, 2).T
        assert (x >= 0).all() and (x <= WIDTH).all() and (y >= 0).all() and (y <= HEIGHT).all()
