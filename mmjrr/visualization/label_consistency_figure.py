"""A picture of label offsets on the legs: labels and regressed joints of each subject."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmjrr.array_types import FloatArray
from mmjrr.io.paths import check_suffix
from mmjrr.regressors.fitting.jackknife import confidence_ellipse
from mmjrr.visualization.matplotlib_figure import CHART_SUFFIXES, new_figure, save_figure

if TYPE_CHECKING:
    from mmjrr.evaluation.label_consistency import LabeledFits
    from mmjrr.regressors import LabelOffsetsFit

_LABEL, _REGRESSED, _LEG = '#c4572e', '#2e5c8a', '#d5dae1'
#: Joints that are drawn.
_JOINTS = tuple(f'{side}_{joint}' for joint in ('knee', 'ankle') for side in ('right', 'left'))
#: Axes of the body in the picture: x points left, y up, z forward.
_FRONT, _SIDE = [0, 1], [2, 1]
#: Smallest distance of the edge of an enlarged view from the regressed joint, meters.
_MIN_HALF_WIDTH = 0.02
_MM = 1000.0


def draw_label_offsets(fits: LabeledFits, result: LabelOffsetsFit, path: str | Path) -> Path:
    """Draw knees and ankles of each subject in the rest pose, and save the picture.

    The first row has the lower legs from the front, the others each joint enlarged, from the side.
    Blue marks are the joints that the regressor computes; orange ones are the mean labels. Filled
    marks are significantly different. In an enlarged view, an ellipse holds the true mean label
    with 95% probability. A cross is a mean label that could not be tested; without labels there is
    no mark.

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
    subjects, names = result.offsets.subjects, result.offsets.joint_names
    figure = new_figure(2.2 * len(subjects), 10)
    axes = figure.subplots(
        1 + len(_JOINTS), len(subjects), squeeze=False, height_ratios=[1.6, *[1] * len(_JOINTS)]
    )
    for column, subject in enumerate(subjects):
        vertices = _rest_vertices(fits, subject)
        joints = result.fit.regressor(torch.from_numpy(vertices)).double().numpy()
        _draw_legs(axes[0, column], vertices, joints, result, column)
        axes[0, column].set_title(subject, loc='left')
        for row, name in enumerate(_JOINTS, 1):
            joint = names.index(name)
            _draw_enlarged(axes[row, column], vertices, joints, result, column, joint)
    axes[0, 0].set_ylabel('front')
    for row, name in enumerate(_JOINTS, 1):
        width = 2 * _MM * _half_width(result, names.index(name))
        axes[row, 0].set_ylabel(f'{name.replace("_", " ")}\nside, {width:.0f} mm')
    figure.legend(handles=_legend(), loc='outside lower center', ncols=2, frameon=False, fontsize=9)
    return save_figure(figure, path)


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D

    def mark(shape: str, color: str, face: str, size: float, label: str) -> Any:
        return Line2D(
            [], [], linestyle='', marker=shape, color=color, markerfacecolor=face,
            markersize=size, label=label,
        )  # fmt: skip

    return [
        mark('o', _REGRESSED, _REGRESSED, 4, 'regressed joint'),
        mark('s', _LABEL, 'white', 4, 'mean label (filled: significant)'),
        mark('o', _LABEL, 'none', 9, '95% region of the mean label'),
        mark('x', _LABEL, _LABEL, 5, 'mean label, not tested'),
    ]


def _rest_vertices(fits: LabeledFits, subject: str) -> FloatArray:  # (V, 3)
    """Return the rest pose of a subject's mean shape."""
    rows = np.array([name == subject for name in fits.subjects])
    betas = torch.from_numpy(fits.fits['betas'][rows].mean(0, keepdims=True))
    body = fits.body
    vertices = body(betas=betas.to(body.v_template)).vertices[0]
    return vertices.double().numpy()


def _draw_legs(
    axes: Any, vertices: FloatArray, joints: FloatArray, result: LabelOffsetsFit, subject: int
) -> None:
    """Draw the lower legs from the front."""
    names = result.offsets.joint_names
    knees = [names.index(f'{side}_knee') for side in ('left', 'right')]
    top, bottom = joints[knees, 1].mean() + 0.08, vertices[:, 1].min() - 0.02
    shown = (vertices[:, 1] < top) & (np.abs(vertices[:, 0]) < 0.5)
    axes.scatter(*vertices[shown][:, _FRONT].T, s=1.2, color=_LEG, linewidths=0)
    for name in _JOINTS:
        joint = names.index(name)
        axes.plot(*joints[joint, _FRONT], 'o', color=_REGRESSED, markersize=4)
        if result.has_offset[subject, joint]:
            _draw_label(axes, joints[joint, _FRONT], result, subject, joint, _FRONT)
    axes.set_ylim(bottom, top)
    _finish(axes)


def _draw_enlarged(
    axes: Any,
    vertices: FloatArray,
    joints: FloatArray,
    result: LabelOffsetsFit,
    subject: int,
    joint: int,
) -> None:
    """Draw a joint and its mean label from the side."""
    from matplotlib.patches import Ellipse

    place = joints[joint, _SIDE]
    is_side = (vertices[:, 0] > 0) == (joints[joint, 0] > 0)
    axes.scatter(*vertices[is_side][:, _SIDE].T, s=4, color=_LEG, linewidths=0)
    axes.plot(*place, 'o', color=_REGRESSED, markersize=4)
    if result.has_offset[subject, joint]:
        _draw_label(axes, place, result, subject, joint, _SIDE)
    if result.is_tested[subject, joint]:
        label = place + result.estimates[subject, joint, _SIDE]
        width, height, angle = _ellipse(result, subject, joint)
        axes.add_patch(
            Ellipse(tuple(label), width, height, angle=angle, fill=False, edgecolor=_LABEL, lw=0.8)
        )
    half = _half_width(result, joint)
    axes.set_xlim(place[0] - half, place[0] + half)
    axes.set_ylim(place[1] - half, place[1] + half)
    _finish(axes)


def _ellipse(result: LabelOffsetsFit, subject: int, joint: int) -> tuple[float, float, float]:
    """Return the 95% region of a mean label from the side; see :func:`confidence_ellipse`."""
    covariance = result.covariance[subject, joint][np.ix_(_SIDE, _SIDE)]
    return confidence_ellipse(covariance, float(result.dof[subject, joint]))


def _half_width(result: LabelOffsetsFit, joint: int) -> float:
    """Return how far a joint's enlarged views reach, so that they hold the labels of all subjects.

    An ellipse of few sequences may be larger.
    """
    lengths = np.linalg.norm(result.estimates[:, joint][:, _SIDE], axis=-1)
    return max(_MIN_HALF_WIDTH, 1.4 * float(lengths.max()))


def _finish(axes: Any) -> None:
    axes.set_aspect('equal')
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _draw_label(
    axes: Any,
    joint_place: FloatArray,
    result: LabelOffsetsFit,
    subject: int,
    joint: int,
    plane: list[int],
) -> None:
    """Draw a mean label beside its regressed joint, which is at ``joint_place`` (2,)."""
    label = joint_place + result.estimates[subject, joint, plane]
    axes.plot(*np.stack([joint_place, label]).T, color=_LABEL, linewidth=1)
    if not result.is_tested[subject, joint]:
        axes.plot(*label, 'x', color=_LABEL, markersize=5)
        return
    is_significant = bool(result.significant[subject, joint])
    face = _LABEL if is_significant else 'white'
    axes.plot(*label, 's', color=_LABEL, markersize=4, markerfacecolor=face)
    if is_significant:
        length = _MM * np.linalg.norm(result.estimates[subject, joint])
        axes.annotate(
            f'{length:.0f} mm', label, xytext=(6, -3), textcoords='offset points', fontsize=8
        )
