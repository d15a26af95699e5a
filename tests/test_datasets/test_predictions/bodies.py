"""Six bodies under names of Human3.6M, which the tests store in many ways."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from mmjrr.datasets.predictions import Predictions

COUNT = 6
NAMES = [f'S9/S9_Walking_1.60457274/S9_Walking_1.60457274_{f:06d}.jpg' for f in range(1, 1 + COUNT)]
RNG = np.random.default_rng(0)
POSE = (0.3 * RNG.normal(size=(COUNT, 72))).astype(np.float32)
BETAS = RNG.normal(size=(COUNT, 10)).astype(np.float32)
VERTICES = RNG.normal(size=(COUNT, 20, 3)).astype(np.float32)
MATRICES = (
    Rotation.from_rotvec(POSE.reshape(-1, 3)).as_matrix().reshape(COUNT, 24, 3, 3).astype('f4')
)
OTHER_POSE = POSE[::-1].copy()
OTHER_BETAS = BETAS[::-1].copy()


def assert_is_the_set(predictions: Predictions, rows: list[int] | None = None) -> None:
    """Check that these are the six bodies (or some rows of them), however they are represented."""
    rows = list(range(COUNT)) if rows is None else rows
    assert len(predictions) == len(rows)
    matrices = Rotation.from_rotvec(predictions.pose().reshape(-1, 3)).as_matrix()
    np.testing.assert_allclose(matrices, MATRICES[rows].reshape(-1, 3, 3), atol=3e-6)
    np.testing.assert_allclose(predictions.betas, BETAS[rows], atol=1e-7)
