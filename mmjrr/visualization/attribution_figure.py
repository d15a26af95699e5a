"""A bar chart of errors by joint and regressor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmjrr.io.paths import check_suffix
from mmjrr.visualization.matplotlib_figure import CHART_SUFFIXES, new_figure, save_figure

if TYPE_CHECKING:
    from mmjrr.evaluation.attribution import Attribution

#: Colors of the regressors' bars, in the regressors' order; they also differ in grayscale.
COLORS = ('#4c566a', '#e08a1e', '#5aa9e6', '#8fbf6a', '#b48ead')


def draw_attribution(attribution: Attribution, path: str | Path) -> Path:
    """Draw a bar chart with a group of bars per joint and a bar per regressor, and save it.

    Args:
        attribution: The errors to draw.
        path: The picture to write, ending in ``.png``, ``.pdf`` or ``.svg``.

    Returns:
        The path.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: The path has another suffix.
    """
    path = check_suffix(path, *CHART_SUFFIXES)
    names = attribution.regressors
    errors = {name: attribution.by_joint(name) for name in names}
    joints = [joint for joint in errors[attribution.original] if joint != attribution.protocol.root]
    figure = new_figure(11, 4.5)
    axes = figure.add_subplot()
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        score = attribution.overall(name)
        axes.bar(
            np.arange(len(joints)) + (number - (len(names) - 1) / 2) * width,
            [errors[name][joint].mpjpe for joint in joints],
            width,
            color=COLORS[number % len(COLORS)],
            label=f'{name}: {score.mpjpe:.1f} / {score.pa_mpjpe:.1f} mm',
        )
    axes.set_xticks(range(len(joints)), [joint.replace('_', '\n') for joint in joints])
    axes.tick_params(axis='x', length=0, labelsize=8)
    axes.set_ylabel('error, mm')
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='y', color='#dddddd')
    axes.set_axisbelow(True)
    title = attribution.title or 'Predictions'
    axes.set_title(
        f'{title}: error by joint and regressor, protocol {attribution.protocol.name}, '
        f'{attribution.frames} frames',
        loc='left',
    )
    axes.legend(title='MPJPE / PA-MPJPE', frameon=False, loc='upper left', ncols=len(names))
    low, high = axes.get_ylim()
    axes.set_ylim(low, 1.18 * high)  # space for the legend
    return save_figure(figure, path)
