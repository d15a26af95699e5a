"""Adults sampled from Anny's phenotypes, the population of the free body."""

from __future__ import annotations

import numpy as np

from mmjrr.array_types import FloatArray


def sample_phenotypes(count: int, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Draw the phenotypes of adults, in Anny's terms and order.

    The free body's mean and shape components come from adults of this distribution.

    Args:
        count: Number of adults.
        rng: Source of all variation.

    Returns:
        ``(count,)`` values in [0, 1] for each of :data:`mmjrr.body_models.anny_body.PHENOTYPES`.
    """

    def normal(mean: float, std: float) -> FloatArray:
        return np.clip(rng.normal(mean, std, count), 0.0, 1.0)

    gender = rng.uniform(0.0, 1.0, count)  # 0 male, 1 female
    races = rng.dirichlet(np.ones(3), count)
    return {
        'gender': gender,
        'age': rng.uniform(0.67, 0.95, count),  # 2/3 is 25 years, 1 is 90
        'muscle': normal(0.5, 0.17),
        'weight': normal(0.5, 0.17),
        'height': normal(0.40, 0.075),
        'proportions': normal(0.5, 0.2),
        'cupsize': normal(0.45, 0.15),
        'firmness': normal(0.5, 0.15),
        'african': races[:, 0],
        'asian': races[:, 1],
        'caucasian': races[:, 2],
    }
