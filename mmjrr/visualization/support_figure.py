"""Picture of a regressor on its body: the vertices with weights, and the joints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.io.paths import check_suffix
from mmjrr.regressors import JointRegressor
from mmjrr.visualization.matplotlib_figure import CHART_SUFFIXES, new_figure, save_figure

#: Colors of rows, repeated; crosses of other regressors.
_COLORS = 'tab20'
_MARKERS = ('x', '+', '1', '2')


def draw_support(
    regressors: Mapping[str, JointRegressor],
    template: Array,  # (V, 3), meters, y up, x towards the body's left
    path: str | Path,
) -> Path:
    """Draw the support of the first regressor on a body, and the joints of all, and save it.

    Vertices with weight in a row have the row's color; their area is proportional to the weight.

    Args:
        regressors: The regressors by name, for the same mesh.
        template: The body's vertices in its rest pose.
        path: The picture to write, ending in ``.png``, ``.pdf`` or ``.svg``.

    Returns:
        The path.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: The path has another suffix.
    """
    path = check_suffix(path, *CHART_SUFFIXES)
    figure = new_figure(13, 8)
    from matplotlib import colormaps

    name, first = next(iter(regressors.items()))
    weight = first.weight.cpu().double().numpy()
    colors = [colormaps[_COLORS](row % 20) for row in range(first.num_joints)]
    widths = np.ptp(template, axis=0)
    views = figure.subplots(1, 2, width_ratios=[widths[0] + 0.8, widths[2] + 0.3])
    for axes, (across, title) in zip(views, ((0, 'front'), (2, 'side')), strict=True):
        axes.scatter(*template[:, [across, 1]].T, s=1, color='#dddddd', linewidths=0)
        for row, color in enumerate(colors):
            chosen = np.flatnonzero(weight[row])
            shares = weight[row, chosen]
            axes.scatter(
                *template[chosen][:, [across, 1]].T,
                s=10 + 160 * shares,
                color=color,
                alpha=0.7,
                linewidths=0,
            )
        for number, (other, regressor) in enumerate(regressors.items()):
            joints = _rest_joints(regressor, template)
            axes.scatter(
                *joints[:, [across, 1]].T,
                marker=_MARKERS[number % len(_MARKERS)],
                color='black' if not number else '#c02030',
                s=45,
                linewidths=1.2,
                label=f'joints of {other}',
            )
        axes.set_aspect('equal')
        axes.set_title(f'{title} view' + (': left of the body at the right' if not across else ''))
        axes.set_xlabel('xyz'[across] + ', m')
        axes.spines[['top', 'right']].set_visible(False)
    _label(views[0], first, template)
    views[0].set_ylabel('y, m')
    views[0].legend(frameon=False, loc='lower left')
    sizes = sorted(first.support_sizes.values())
    figure.suptitle(
        f'{name}: vertices with weight, {sizes[0]} to {sizes[-1]} per row', x=0.01, ha='left'
    )
    return save_figure(figure, path)


def _rest_joints(regressor: JointRegressor, template: Array) -> Array:
    import torch

    points = regressor(torch.from_numpy(np.asarray(template, np.float32)).to(regressor.weight))
    return points.detach().cpu().double().numpy()


def _label(axes: Any, regressor: JointRegressor, template: Array) -> None:
    """Write each joint's name next to it."""
    for name, (x, y, _) in zip(
        regressor.joint_names, _rest_joints(regressor, template), strict=True
    ):
        axes.annotate(
            name,
            xy=(x, y),
            xytext=(5, 5),
            textcoords='offset points',
            rotation=30,
            rotation_mode='anchor',
            fontsize=7,
        )
