"""Geometry of the report's charts; the page's template draws them as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmjrr.array_types import FloatArray

#: Size of a chart in its own units; a phone shows them as pixels.
WIDTH, HEIGHT = 340, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 10, 26, 40
#: Number of a histogram's bins.
_BINS = 30


@dataclass(frozen=True)
class Series:
    """A line of a chart: its name, its SVG path, and the number of its style."""

    name: str
    path: str
    style: int


@dataclass(frozen=True)
class Tick:
    """A tick of an axis: its place in the chart's units, and its text."""

    place: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A chart with lines, and the numbers that it shows as a table.

    Attributes:
        title: The heading.
        x_label: Text below the horizontal axis.
        y_label: Text above the vertical axis.
        series: The lines.
        x_ticks: Ticks of the horizontal axis.
        y_ticks: Ticks of the vertical axis.
        header: Names of the table's columns.
        rows: The table's cells.
        note: A sentence below the chart.
    """

    title: str
    x_label: str
    y_label: str
    series: list[Series]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    header: list[str]
    rows: list[list[str]]
    note: str = ''
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM
    markers: list[tuple[int, float, str]] = field(default_factory=list)


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about ``count`` round numbers that span an interval.

    >>> nice_ticks(0.0, 97.0)
    [0.0, 20.0, 40.0, 60.0, 80.0]
    """
    span = max(high - low, 1e-12)
    raw = span / count
    power = 10.0 ** np.floor(np.log10(raw))
    step = min((s * power for s in (1.0, 2.0, 2.5, 5.0, 10.0)), key=lambda s: abs(s - raw))
    first = np.ceil(low / step - 1e-9)
    last = np.floor(high / step + 1e-9)
    return [round(float(number * step), 10) + 0.0 for number in np.arange(first, last + 1)]


def line_chart(
    title: str,
    curves: Mapping[str, tuple[FloatArray, FloatArray]],
    x_label: str,
    y_label: str,
    styles: Mapping[str, int] | None = None,
    note: str = '',
    y_from_zero: bool = False,
) -> Chart | None:
    """Draw lines through points.

    Args:
        title: The heading.
        curves: x (T,) and y (T,) by name; points that are not finite are left out.
        x_label: Text below the horizontal axis.
        y_label: Text above the vertical axis.
        styles: Number of each line's style. Default: in the order of the curves.
        note: A sentence below the chart.
        y_from_zero: Whether the vertical axis begins at zero.

    Returns:
        The chart; None if there are no points.
    """
    finite = {
        name: (x[np.isfinite(x) & np.isfinite(y)], y[np.isfinite(x) & np.isfinite(y)])
        for name, (x, y) in curves.items()
    }
    finite = {name: points for name, points in finite.items() if len(points[0])}
    if not finite:
        return None
    x_all = np.concatenate([x for x, _ in finite.values()])
    y_all = np.concatenate([y for _, y in finite.values()])
    x_range = _widened(float(x_all.min()), float(x_all.max()))
    low, high = float(y_all.min()), float(y_all.max())
    margin = 0.06 * (high - low)
    y_range = _widened(0.0 if y_from_zero else low - margin, high + margin)
    xs = {name: _scaled(x, x_range, _LEFT, WIDTH - _RIGHT) for name, (x, _) in finite.items()}
    ys = {name: _scaled(y, y_range, HEIGHT - _BOTTOM, _TOP) for name, (_, y) in finite.items()}
    series = [
        Series(
            name,
            'M' + 'L'.join(f'{x:.1f} {y:.1f}' for x, y in zip(xs[name], ys[name], strict=True)),
            (styles or {}).get(name, number),
        )
        for number, name in enumerate(finite)
    ]
    rows = [
        [name, number_text(float(y[0])), number_text(float(y[-1])),
         number_text(float(y.min())), number_text(float(y.max()))]
        for name, (_, y) in finite.items()
    ]  # fmt: skip
    return Chart(
        title, x_label, y_label, series,
        _ticks(x_range, _LEFT, WIDTH - _RIGHT, bool((x_all == np.rint(x_all)).all())),
        _ticks(y_range, HEIGHT - _BOTTOM, _TOP),
        ['Curve', 'First', 'Last', 'Smallest', 'Largest'], rows, note,
    )  # fmt: skip


def histogram(
    title: str,
    values: Mapping[str, FloatArray],
    x_label: str,
    styles: Mapping[str, int] | None = None,
    limits: tuple[float, float] | None = None,
    note: str = '',
) -> Chart | None:
    """Draw a histogram of values over frames, as a stepped line for each name.

    Args:
        title: The heading.
        values: Values (N,) by name; those that are not finite are left out.
        x_label: Text below the axis.
        styles: Number of each line's style. Default: in the order of the values.
        limits: Range of the horizontal axis. Default: from 0 to the 99.5th percentile; larger
            values are counted in the last bin.
        note: A sentence below the chart.

    Returns:
        The chart; None if there are no values.
    """
    finite = {name: np.asarray(v)[np.isfinite(v)] for name, v in values.items()}
    finite = {name: v for name, v in finite.items() if len(v)}
    if not finite:
        return None
    if limits is None:
        high = max(float(np.percentile(v, 99.5)) for v in finite.values())
        limits = (0.0, max(high, 1e-9))
    edges = np.linspace(*limits, _BINS + 1)
    counts = {name: np.histogram(np.clip(v, *limits), edges)[0] for name, v in finite.items()}
    top = _widened(0.0, 1.08 * max(int(c.max()) for c in counts.values()))
    x = _scaled(edges, limits, _LEFT, WIDTH - _RIGHT)
    series = []
    for number, (name, bins) in enumerate(counts.items()):
        y = _scaled(bins.astype(np.float64), top, HEIGHT - _BOTTOM, _TOP)
        path = f'M{x[0]:.1f} {HEIGHT - _BOTTOM}'
        path += ''.join(f'V{y[i]:.1f}H{x[i + 1]:.1f}' for i in range(_BINS))
        path += f'V{HEIGHT - _BOTTOM}'
        series.append(Series(name, path, (styles or {}).get(name, number)))
    rows = [
        [name, str(len(v)), *(number_text(float(q)) for q in np.percentile(v, (10, 50, 90))),
         number_text(float(v.max()))]
        for name, v in finite.items()
    ]  # fmt: skip
    return Chart(
        title, x_label, 'frames', series,
        _ticks(limits, _LEFT, WIDTH - _RIGHT), _ticks(top, HEIGHT - _BOTTOM, _TOP, whole=True),
        ['Curve', 'Frames', '10 % below', 'Median', '90 % below', 'Largest'], rows, note,
    )  # fmt: skip


def number_text(value: float) -> str:
    """Return a number with about three digits.

    >>> [number_text(v) for v in (999.7, 123.4, 5.678, 0.01234, 0.0)]
    ['1000', '123', '5.68', '0.0123', '0']
    """
    # From 999.5 on, three digits round to 1000, which ``g`` writes as 1e+03.
    return f'{value:.3g}' if abs(value) < 999.5 else f'{value:.0f}'


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low, low + (abs(low) or 1.0))


def _scaled(values: FloatArray, limits: Sequence[float], start: float, stop: float) -> FloatArray:
    scaled: FloatArray = start + (values - limits[0]) / (limits[1] - limits[0]) * (stop - start)
    return scaled


def _ticks(
    limits: tuple[float, float], start: float, stop: float, whole: bool = False
) -> list[Tick]:
    """Return round numbers and their places; whole numbers only for counts, if there are any."""
    values = nice_ticks(*limits)
    if whole:
        values = [value for value in values if value.is_integer()] or values
    return [
        Tick(float(_scaled(np.array(value), limits, start, stop)), f'{value:g}') for value in values
    ]
