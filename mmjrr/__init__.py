"""mmjrr: joint regressor refinement for MMPose.

Importing the package registers every component (scope ``mmjrr``) with MMEngine, so one line makes
them usable from any config::

    custom_imports = dict(imports=['mmjrr'])
"""

from __future__ import annotations

from .version import __version__

__all__ = ['__version__', 'evaluate']


def _register_components() -> None:
    """Import the sub-packages whose modules register themselves."""
    from . import (  # noqa: F401
        body_models,
        datasets,
        engine,
        evaluation,
        models,
        rendering,
        segmentation,
    )


_register_components()

from .evaluation import evaluate  # noqa: E402
