"""mmjrr: joint regressor refinement for MMPose.

One line makes every component (scope ``mmjrr``) usable from any config::

    custom_imports = dict(imports=['mmjrr'])

Importing the package is cheap: MMEngine's registries import the modules of a component when it is
first built, and ``mmjrr.evaluate`` and the sub-packages are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmjrr.lazy_names import lazy_names
from mmjrr.version import __version__

if TYPE_CHECKING:
    from mmjrr import (
        body_models,
        datasets,
        engine,
        evaluation,
        geometry,
        inference,
        models,
        refinement,
        registry,
        regressors,
        rendering,
        segmentation,
        visualization,
    )
    from mmjrr.evaluation import evaluate
    from mmjrr.inference import MeshInferencer

__all__ = [
    'MeshInferencer',
    '__version__',
    'body_models',
    'datasets',
    'engine',
    'evaluate',
    'evaluation',
    'geometry',
    'inference',
    'models',
    'refinement',
    'registry',
    'regressors',
    'rendering',
    'segmentation',
    'visualization',
]

__getattr__, __dir__ = lazy_names(__name__)
