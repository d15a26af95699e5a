"""Matplotlib's figures, without a display; equal figures give equal bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmjrr.io import atomic_write
from mmjrr.io.paths import check_suffix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Suffixes of pictures of charts.
CHART_SUFFIXES = ('.png', '.pdf', '.svg')
#: Options of ``savefig`` that leave out the date and version which matplotlib would add.
_OPTIONS: dict[str, dict[str, Any]] = {
    '.png': dict(metadata={'Software': None}),
    '.pdf': dict(metadata={'CreationDate': None}),
    '.svg': dict(metadata={'Date': None}),
    '.jpg': dict(pil_kwargs={'quality': 88}),
}


def new_figure(
    width: float, height: float, layout: Literal['constrained'] | None = 'constrained'
) -> Figure:
    """Return an empty figure that needs no display.

    Args:
        width: Width in inches.
        height: Height in inches.
        layout: Matplotlib's layout engine. Default: ``'constrained'``.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('drawing needs matplotlib: pip install matplotlib') from error

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_figure(
    figure: Figure, path: str | Path, dpi: float = 110, suffixes: tuple[str, ...] = CHART_SUFFIXES
) -> Path:
    """Save a figure, and return the path.

    Args:
        figure: The figure.
        path: The picture to write.
        dpi: Pixels per inch. Default: 110.
        suffixes: Suffixes that are allowed. Default: :data:`CHART_SUFFIXES`.

    Raises:
        ValueError: The path has another suffix.
    """
    from matplotlib import rc_context

    path = check_suffix(path, *suffixes)
    kind = path.suffix
    # Without a salt, the names inside an SVG are random.
    with atomic_write(path) as temporary, rc_context({'svg.hashsalt': 'mmjrr'}):
        figure.savefig(temporary, format=kind[1:], dpi=dpi, **_OPTIONS[kind])
    return path
