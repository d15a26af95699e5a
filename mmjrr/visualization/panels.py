"""Rows of pictures with titles, points and legends, through matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array, FloatArray
from mmjrr.visualization.matplotlib_figure import new_figure, save_figure

#: Pixels (N, 2), name in the legend, matplotlib's marker, and color.
Points = tuple[FloatArray, str, str, str]
_INCHES = 3.3
_DPI = 130


@dataclass(frozen=True)
class Panel:
    """A picture with points.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        title: Text above.
        points: The points; NaN where there is none.
        links: Whether lines join the points of the first two layers.
        window: Part of the picture to show: x0, y0, x1, y1 in pixels. Default: all.
    """

    image: Array
    title: str
    points: Sequence[Points] = field(default_factory=list)
    links: bool = False
    window: tuple[float, float, float, float] | None = None


def save_panels(path: Path, rows: Sequence[Sequence[Panel]]) -> None:
    """Draw rows of panels and save them as JPEG or PNG.

    Equal panels give equal bytes.

    Args:
        path: The file, ending in ``.jpg`` or ``.png``.
        rows: The panels; all rows have the same length.

    Raises:
        ImportError: matplotlib is not installed.
    """
    columns = max(len(row) for row in rows)
    figure = new_figure(_INCHES * columns, (_INCHES + 0.28) * len(rows) + 0.35)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    handles: dict[str, Any] = {}
    for row, line in zip(rows, axes, strict=True):
        for axis in line:
            axis.axis('off')
        for panel, axis in zip(row, line, strict=False):
            _draw(panel, axis, handles)
    if handles:
        figure.legend(
            list(handles.values()), list(handles), loc='outside lower center',
            ncols=len(handles), frameon=False, fontsize=9,
        )  # fmt: skip
    save_figure(figure, path, _DPI, ('.jpg', '.png'))


def _draw(panel: Panel, axis: Any, handles: dict[str, Any]) -> None:
    height, width = panel.image.shape[:2]
    # Pixel (0, 0) covers [0, 1) x [0, 1).
    axis.imshow(panel.image, extent=(0, width, height, 0), interpolation='antialiased')
    axis.set_title(panel.title, fontsize=10)
    x0, y0, x1, y1 = panel.window or (0, 0, width, height)
    axis.set_xlim(x0, x1)
    axis.set_ylim(y1, y0)
    if panel.links and len(panel.points) >= 2:
        first, second = panel.points[0][0], panel.points[1][0]
        for start, end in zip(first, second, strict=True):
            if np.isfinite([*start, *end]).all():
                axis.plot([start[0], end[0]], [start[1], end[1]], color='white', linewidth=1.2)
    for pixels, name, marker, color in panel.points:
        style: dict[str, Any] = dict(s=26, linewidths=1.4, color=color)
        if marker == '.':
            style.update(s=5)
        elif marker != 'x':
            style.update(facecolors='none', edgecolors=color)
        x, y = pixels[:, 0], pixels[:, 1]
        if marker != '.':  # a dark outline, so that the marker is seen on any background
            dark = {key: 'black' for key in ('color', 'edgecolors') if style.get(key) == color}
            axis.scatter(x, y, marker=marker, zorder=3, **{**style, **dark, 'linewidths': 3.0})
        handles[name] = axis.scatter(x, y, marker=marker, zorder=4, label=name, **style)
