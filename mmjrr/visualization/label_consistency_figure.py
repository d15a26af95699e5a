"""A picture of label offsets on the legs: labels and regressed joints of each subject."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmjrr.array_types import FloatArray
from mmjrr.io.paths import check_suffix
from mmjrr.visualization.matplotlib_figure import CHART_SUFFIXES, new_figure, save_figure

if TYPE_CHECKING:
    from mmjrr.evaluation.label_consistency import LabeledFits
    from mmjrr.regressors import LabelOffsetsFit

_LABEL, _REGRESSED, _LEG = '#c4572e', '#2e5c8a', '#d5dae1'
#: Views in columns: title, horizontal axis of the body (x left, z forward), side.
_VIEWS = (('front', 0, ''), ('right leg', 2, 'right'), ('left leg', 2, 'left'))
_MM = 1000.0


def draw_label_offsets(fits: LabeledFits, result: LabelOffsetsFit, path: str | Path) -> Path:
    """Draw knees and ankles of each subject on its lower legs in the rest pose, and save it.

    Blue marks are the joints that the regressor computes; orange ones are the mean labels. Filled
    marks are significantly different, and ellipses hold the mean label with 95% probability.

    Args:
        fits: The refined fits, for the mean shape of each subject.
        result: The offsets.
        path: The picture to write, ending in ``.png``, ``.pdf`` or ``.svg``.

    Returns:
        The path.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: The path has another suffix.
    """
    path = check_suffix(path, *CHART_SUFFIXES)
    subjects = result.offsets.subjects
    figure = new_figure(2.2 * len(subjects), 8.2)
    axes = figure.subplots(len(_VIEWS), len(subjects), squeeze=False)
    for column, subject in enumerate(subjects):
        vertices = _rest_vertices(fits, subject)
        joints = result.fit.regressor(torch.from_numpy(vertices)).double().numpy()
        for row, (title, axis, side) in enumerate(_VIEWS):
            _draw_view(axes[row, column], vertices, joints, result, column, axis, side)
            if column == 0:
                axes[row, 0].set_ylabel(title)
        axes[0, column].set_title(subject, loc='left')
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=3, frameon=False, fontsize=9)
    return save_figure(figure, path)


def _rest_vertices(fits: LabeledFits, subject: str) -> FloatArray:  # (V, 3)
    """Return the rest pose of a subject's mean shape."""
    rows = np.array([name == subject for name in fits.subjects])
    betas = torch.from_numpy(fits.fits['betas'][rows].mean(0, keepdims=True))
    body = fits.body
    vertices = body(betas=betas.to(body.v_template)).vertices[0]
    return vertices.double().numpy()


def _draw_view(
    axes: Any,
    vertices: FloatArray,
    joints: FloatArray,
    result: LabelOffsetsFit,
    subject: int,
    axis: int,
    side: str,
) -> None:
    from matplotlib.patches import Ellipse

    names = result.offsets.joint_names
    knees = [names.index(f'{s}_knee') for s in ('left', 'right')]
    top, bottom = joints[knees, 1].mean() + 0.08, vertices[:, 1].min() - 0.02
    shown = (vertices[:, 1] < top) & (np.abs(vertices[:, 0]) < 0.5)
    if side:
        shown &= (vertices[:, 0] > 0) == (side == 'left')
    axes.scatter(*(vertices[shown][:, [axis, 1]].T), s=1.2, color=_LEG, linewidths=0)
    sides = (side,) if side else ('left', 'right')
    for j in (names.index(f'{s}_{joint}') for s in sides for joint in ('knee', 'ankle')):
        place = joints[j, [axis, 1]]
        label = place + result.estimates[subject, j, [axis, 1]]
        flagged = bool(result.significant[subject, j])
        first = j == names.index(f'{sides[0]}_knee')
        axes.plot(*np.stack([place, label]).T, color=_LABEL, linewidth=1)
        axes.plot(
            *place, 'o', color=_REGRESSED, markersize=4, label='regressed joint' if first else None
        )
        axes.plot(
            *label, 's', color=_LABEL, markersize=4,
            markerfacecolor=_LABEL if flagged else 'white',
            label='mean label (filled: significant)' if first else None,
        )  # fmt: skip
        covariance = result.covariance[subject, j][np.ix_([axis, 1], [axis, 1])]
        if np.isfinite(covariance).all():
            values, vectors = np.linalg.eigh(covariance)
            size = 2 * np.sqrt(5.991 * values.clip(min=0))  # 95 % of a normal in two dimensions
            angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
            axes.add_patch(
                Ellipse(
                    tuple(label),
                    size[1],
                    size[0],
                    angle=angle,
                    fill=False,
                    edgecolor=_LABEL,
                    lw=0.8,
                )
            )
        if flagged:
            length = _MM * np.linalg.norm(result.estimates[subject, j])
            axes.annotate(
                f'{length:.0f} mm', label, xytext=(6, -3), textcoords='offset points', fontsize=8
            )
    axes.set_ylim(bottom, top)
    axes.set_aspect('equal')
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
