"""Registries of mmjrr: children of MMEngine's, all with the scope ``mmjrr``.

From a config of another scope a component is reached with the prefix, e.g.
``dict(type='mmjrr.JointRegressorMetric', ...)``.
"""

from __future__ import annotations

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISUALIZERS as MMENGINE_VISUALIZERS
from mmengine.registry import Registry

#: Data sets, e.g. ``H36MFitsDataset``.
DATASETS = Registry(
    'dataset', parent=MMENGINE_DATASETS, scope='mmjrr', locations=['mmjrr.datasets']
)
#: Samplers, e.g. ``ResumableSampler``.
DATA_SAMPLERS = Registry(
    'data sampler', parent=MMENGINE_DATA_SAMPLERS, scope='mmjrr', locations=['mmjrr.engine']
)
#: Transforms of a dataset's pipeline.
TRANSFORMS = Registry(
    'transform', parent=MMENGINE_TRANSFORMS, scope='mmjrr', locations=['mmjrr.datasets']
)
#: Networks and losses, e.g. ``FitDiscriminator``.
MODELS = Registry('model', parent=MMENGINE_MODELS, scope='mmjrr', locations=['mmjrr.models'])
#: Body models, e.g. ``SMPL``, ``FreeBody``. MMEngine has no registry to be a child of.
BODY_MODELS = Registry('body model', scope='mmjrr', locations=['mmjrr.body_models'])
#: Silhouette renderers, e.g. ``ContourSilhouette``.
RENDERERS = Registry('renderer', scope='mmjrr', locations=['mmjrr.rendering'])
#: Metrics, e.g. ``JointRegressorMetric``.
METRICS = Registry('metric', parent=MMENGINE_METRICS, scope='mmjrr', locations=['mmjrr.evaluation'])
#: Hooks, e.g. ``SMPLPseudoGTHook``.
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='mmjrr', locations=['mmjrr.engine'])
#: Loops, e.g. ``RefinementLoop``.
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, scope='mmjrr', locations=['mmjrr.engine'])
#: Visualizers.
VISUALIZERS = Registry(
    'visualizer', parent=MMENGINE_VISUALIZERS, scope='mmjrr', locations=['mmjrr.visualization']
)
