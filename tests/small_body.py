"""A body of few vertices, with all arrays of SMPL's files."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmjrr.joints import SMPL_PARENTS

NUM_VERTICES = 60


def small_body(num_betas: int = 12) -> dict[str, Any]:
    """Random arrays in SMPL's format, with pose blend shapes."""
    rng = np.random.default_rng(3)
    weights = rng.random((NUM_VERTICES, 24)) ** 4
    regressor = rng.random((24, NUM_VERTICES)) ** 8
    return dict(
        v_template=rng.normal(size=(NUM_VERTICES, 3)),
        f=rng.integers(0, NUM_VERTICES, (90, 3)).astype(np.uint32),
        shapedirs=rng.normal(size=(NUM_VERTICES, 3, num_betas)) * 0.1,
        posedirs=rng.normal(size=(NUM_VERTICES, 3, 207)) * 0.02,
        weights=weights / weights.sum(1, keepdims=True),
        J_regressor=regressor / regressor.sum(1, keepdims=True),
        kintree_table=np.array([[2**32 - 1, *SMPL_PARENTS[1:]], range(24)], np.uint32),
    )
