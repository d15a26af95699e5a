"""Fit of a joint regressor to meshes and joints.

Modules, each of which uses only those before it:

- ``alignment``: removing a frame's translation from its errors;
- ``stream``: validated blocks of frames from re-iterable batches or an iterator;
- ``normal_equations``: sums over frames;
- ``objective``: the objective and its gradient from the frames themselves, and the dual gap;
- ``quadratic``: the objective from the normal equations;
- ``simplex_qp``: its minimizer, with rows on the simplex;
- ``screening``: detection of frames with outlying errors;
- ``fit``: the method as a whole, and :func:`fit_joint_regressor`;
- ``offset_equations``: sums over frames for label offsets of subjects and joints;
- ``jackknife``: covariance of these offsets, and tests;
- ``label_offsets_fit``: :func:`fit_label_offsets`, which fits a regressor and offsets together;
- ``subject_bootstrap``: joints of regressors that are fitted to drawn subjects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmjrr.lazy_names import lazy_names

if TYPE_CHECKING:
    from mmjrr.regressors.fitting.fit import (
        BadFrameWarning,
        ConvergenceWarning,
        JointRegressorFit,
        fit_joint_regressor,
    )
    from mmjrr.regressors.fitting.label_offsets_fit import (
        GroupedBatch,
        LabelOffsetsEstimate,
        LabelOffsetsFit,
        estimate_label_offsets,
        fit_label_offsets,
    )

__all__ = [
    'BadFrameWarning',
    'ConvergenceWarning',
    'GroupedBatch',
    'JointRegressorFit',
    'LabelOffsetsEstimate',
    'LabelOffsetsFit',
    'estimate_label_offsets',
    'fit_joint_regressor',
    'fit_label_offsets',
]

__getattr__, __dir__ = lazy_names(__name__)
