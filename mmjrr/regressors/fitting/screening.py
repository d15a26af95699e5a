"""Screening of frames: those with outlying errors are excluded from a fit.

The largest errors dominate least squares: one mesh in forty with absurd shape coefficients moves
the joints of a fitted regressor by 8 cm. Therefore each frame's error is compared with those of the
other frames before a fit:

1. *Robust fit.* A regressor is fitted to sampled frames by iteratively reweighted least squares.
   The first weight of a frame is ``min(1, m / r)^2``, where ``r`` is the size of its mesh and ``m``
   the median size. Later weights are ``min(1, m / 2e)^2``, where ``e`` is the frame's error (root
   mean square over the joints, after alignment) and ``m`` the median error. Both bound what a frame
   adds to the objective.
2. *Classification.* A pass over all frames computes their errors under that regressor. Frames whose
   error exceeds both :data:`ERROR_LIMIT` times the median and :data:`ERROR_FLOOR` are bad.

The fit itself is least squares over the other frames, certified by its dual gap. Without bad frames
it is identical to a fit without screening. On simulated fits of the synthetic set, the errors of
good frames reach twice the median. Meshes with betas of 60 are detected if they are at most two
fifths of the frames. Errors below the limit are not detected, such as a single wrong joint or the
pose of another frame.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import Array, FloatArray
from mmjrr.body_models import LazyVertices
from mmjrr.regressors.fitting.alignment import alignment_matrix, group_by_pattern
from mmjrr.regressors.fitting.normal_equations import (
    NormalEquations,
    accumulate_normal_equations,
    accumulate_pooled_equations,
)
from mmjrr.regressors.fitting.quadratic import QuadraticObjective
from mmjrr.regressors.fitting.simplex_qp import solve_simplex_qp
from mmjrr.regressors.fitting.stream import FrameBlock, FrameStream

#: A frame is bad if its error exceeds this multiple of the median error, and the floor, in meters.
ERROR_LIMIT = 5.0
ERROR_FLOOR = 0.03

_ROBUST_FRAMES = 256
_ROBUST_TOL = 1e-3  # relative dual gap of each reweighted fit
_ROBUST_ROUNDS = 8
#: Largest number of patterns of joint weights with which the robust fit is exact. More patterns are
#: pooled, as if joints were missing at random: each pattern takes memory of its own.
_EXACT_PATTERNS = 8
_EXACT_BYTES = 4 * 2**30
_MEDIAN_TOL = 0.02  # relative change of the median error at which reweighting stops


def exclude_outliers(stream: FrameStream, sample: FrameBlock, max_iter: int) -> None:
    """Add the frames with outlying errors to the stream's ``bad_frames``.

    Args:
        stream: All frames.
        sample: Evenly spaced frames of the stream, for the robust fit.
        max_iter: Largest number of linear systems of each reweighted fit.

    Raises:
        ValueError: There are such frames and ``stream.on_bad_frame`` is ``'raise'``.
    """
    weight = _robust_fit(stream, sample, max_iter)
    outliers = {} if weight is None else describe_outliers(*_frame_errors(stream, weight))
    if outliers and stream.on_bad_frame == 'raise':
        frame, problem = next(iter(outliers.items()))
        raise ValueError(f'found {len(outliers)} bad frames; frame {frame}: {problem}')
    stream.bad_frames |= outliers


def describe_outliers(index: Array, errors: FloatArray) -> dict[int, str]:
    """Return the number of each frame with an outlying error, and a description of the error.

    Args:
        index: (n,) number of each frame.
        errors: (n,) its error, meters.
    """
    if not len(errors):
        return {}
    median = float(np.median(errors))
    outliers = np.nonzero(errors > max(ERROR_LIMIT * median, ERROR_FLOOR))[0]
    return {
        int(index[i]): f'error of {1000 * errors[i]:.0f} mm, where the median is '
        f'{1000 * median:.0f} mm'
        for i in outliers
    }


def _robust_fit(stream: FrameStream, sample: FrameBlock, max_iter: int) -> FloatArray | None:
    """Fit weights robustly to sampled frames; return None if no frame is usable."""
    step = -(-len(sample) // _ROBUST_FRAMES)
    sample = sample[::step]
    vertices = (
        sample.vertices.of() if isinstance(sample.vertices, LazyVertices) else sample.vertices
    )
    size = (vertices - vertices.mean(1, keepdim=True)).square().sum((1, 2)).double().sqrt().cpu()
    frame_weight = _falling_weight(size, float(size.nanmedian()))
    weight, last_median = None, np.inf
    for _ in range(_ROBUST_ROUNDS):
        joint_weight = sample.joint_weight * frame_weight[:, None]
        frames = FrameBlock(vertices, sample.joints, joint_weight, sample.index)
        equations = _equations(stream, frames)
        if equations is None:
            return None
        objective = QuadraticObjective(equations)
        weight = solve_simplex_qp(objective, _ROBUST_TOL, max_iter, weight).weight
        position, errors = _frame_errors(stream.with_frames(frames), weight)
        median = float(np.median(errors))
        if median == 0 or abs(median / last_median - 1) < _MEDIAN_TOL:
            break
        last_median = median
        frame_weight[torch.from_numpy(position)] = _falling_weight(
            torch.from_numpy(errors), 0.5 * median
        )
    return weight


def _equations(stream: FrameStream, frames: FrameBlock) -> NormalEquations | None:
    """Return the normal equations of some frames of a stream; None if no frame is usable."""
    usable = stream.usable(frames)
    num_patterns = len(group_by_pattern(usable.joint_weight)) if len(usable) else 0
    if 1 < num_patterns <= _EXACT_PATTERNS:
        return accumulate_normal_equations(
            stream.with_frames(frames), _EXACT_BYTES, require_all_joints=False
        )
    return accumulate_pooled_equations(stream.with_frames(frames))


def _falling_weight(value: Tensor, limit: float) -> Tensor:
    """Return ``min(1, limit / value)^2``; zero for values that are not finite."""
    return (limit / value.clamp(min=limit)).square().nan_to_num(0.0)


def _frame_errors(stream: FrameStream, weight: FloatArray) -> tuple[Array, FloatArray]:
    """Return number and root mean square aligned error, in meters, of each usable frame."""
    support = torch.from_numpy(np.nonzero(weight.any(0))[0])
    support_weight = torch.from_numpy(weight)[:, support]
    index, errors = [np.empty(0, np.int64)], [np.empty(0)]
    for frames in stream.usable_blocks('screening'):
        if not len(frames):
            continue
        vertices = stream.select_vertices(frames.vertices, support).double()
        error = support_weight.to(vertices.device) @ vertices - frames.joints
        mean_square = np.zeros(len(frames))
        for pattern in group_by_pattern(frames.joint_weight):
            align = torch.from_numpy(alignment_matrix(pattern.joint_weight, stream.root))
            rows = torch.from_numpy(pattern.frames).to(error.device)
            squares = (align.to(error.device) @ error[rows]).square().sum(2).cpu().numpy()
            u = pattern.joint_weight
            mean_square[pattern.frames] = squares @ u / u.sum()
        index.append(frames.index)
        errors.append(np.sqrt(mean_square))
    return np.concatenate(index), np.concatenate(errors)
