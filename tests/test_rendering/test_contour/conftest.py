from __future__ import annotations

from functools import partial

import pytest

from mmjrr.rendering import ContourSilhouette


@pytest.fixture(params=[True, False], ids=['compiled', 'torch'])
def contour(request) -> partial:
    """The renderer, in either of the ways that a CPU can draw."""
    return partial(ContourSilhouette, compiled=request.param)
