"""Registries of mmjrr: children of MMEngine's, all with the scope ``mmjrr``.

From a config of another scope a component is reached with the prefix, e.g.
``dict(type='mmjrr.JointRegressorMetric', ...)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine import registry as root
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import DefaultScope, Registry

from mmjrr.package_versions import check_package_versions

check_package_versions()

# MMEngine's get_config('mmjrr::refinement/contour_100it_h36m.py') takes packages in this list only.
MODULE2PACKAGE.setdefault('mmjrr', 'mmjrr')


class StandaloneRegistry(Registry):
    """A registry without a parent, from which components build in any default scope.

    MMEngine falls back to the registry itself where the default scope has no child of it, and
    prints a warning each time; here that is the ordinary case.
    """

    @contextmanager
    def switch_scope_and_registry(self, scope: str | None) -> Iterator[Registry]:
        """Yield the child registry of the scope, or this registry where there is none."""
        with DefaultScope.overwrite_default_scope(scope):
            current = DefaultScope.get_current_instance()
            child = None if current is None else self._search_child(current.scope_name)
            yield self if child is None else child


class ModelRegistry(Registry):
    """The registry of models, which also finds bodies and renderers by name."""

    def get(self, key: str) -> Any:
        """Return the class or function of a name, with or without scope."""
        scope, name = self.split_scope_key(key)
        if scope in (None, self.scope):
            self.import_from_location()
            if name not in self.module_dict:
                for registry in (BODY_MODELS, RENDERERS):
                    registry.import_from_location()
                    if name in registry.module_dict:
                        return registry.module_dict[name]
        return super().get(key)


#: Data sets, e.g. ``H36MFitsDataset``.
DATASETS = Registry(
    'dataset',
    parent=root.DATASETS,
    scope='mmjrr',
    locations=['mmjrr.datasets.h36m', 'mmjrr.datasets.image_folder'],
)
#: Samplers, e.g. ``ResumableSampler``.
DATA_SAMPLERS = Registry(
    'data sampler', parent=root.DATA_SAMPLERS, scope='mmjrr', locations=['mmjrr.engine']
)
#: Transforms of a dataset's pipeline.
TRANSFORMS = Registry(
    'transform',
    parent=root.TRANSFORMS,
    scope='mmjrr',
    locations=['mmjrr.datasets.transforms'],
)
#: Networks, losses and joint regressors, e.g. ``FitDiscriminator``; bodies and renderers.
MODELS = ModelRegistry(
    'model',
    parent=root.MODELS,
    scope='mmjrr',
    locations=['mmjrr.models', 'mmjrr.regressors.registered', 'mmjrr.segmentation.mask_rcnn'],
)
#: Body models, e.g. ``SMPL``, ``FreeBody``. MMEngine has no registry to be a child of.
BODY_MODELS = StandaloneRegistry('body model', scope='mmjrr', locations=['mmjrr.body_models'])
#: Silhouette renderers, e.g. ``ContourSilhouette``.
RENDERERS = StandaloneRegistry('renderer', scope='mmjrr', locations=['mmjrr.rendering'])
#: Terms of the energy that refinement minimizes, e.g. ``SilhouetteTerm``.
ENERGY_TERMS = StandaloneRegistry(
    'energy term', scope='mmjrr', locations=['mmjrr.refinement.terms']
)
#: Metrics, e.g. ``JointRegressorMetric``.
METRICS = Registry(
    'metric', parent=root.METRICS, scope='mmjrr', locations=['mmjrr.evaluation.metric']
)
#: Hooks, e.g. ``SMPLPseudoGTHook``.
HOOKS = Registry(
    'hook',
    parent=root.HOOKS,
    scope='mmjrr',
    locations=[
        'mmjrr.engine',
        'mmjrr.segmentation.iteration_seed_hook',
        'mmjrr.segmentation.weights_hook',
    ],
)
#: Loops, e.g. ``RefinementLoop``.
LOOPS = Registry('loop', parent=root.LOOPS, scope='mmjrr', locations=['mmjrr.engine'])
#: Visualizers.
VISUALIZERS = Registry(
    'visualizer', parent=root.VISUALIZERS, scope='mmjrr', locations=['mmjrr.visualization']
)
#: Inferencers, e.g. ``MeshInferencer``.
INFERENCERS = Registry(
    'inferencer',
    parent=root.INFERENCERS,
    scope='mmjrr',
    locations=['mmjrr.inference.mesh_inferencer'],
)

# MMEngine looks components up in the registries of the default scope first, and warns where there
# is none. These registries are empty; MMEngine's components are found through their parents.
# Without a location, MMEngine would look for mmjrr.utils and warn.
_NOWHERE = ['mmjrr.registry']
EVALUATOR = Registry('evaluator', parent=root.EVALUATOR, scope='mmjrr', locations=_NOWHERE)
FUNCTIONS = Registry('function', parent=root.FUNCTIONS, scope='mmjrr', locations=_NOWHERE)
LOG_PROCESSORS = Registry(
    'log_processor', parent=root.LOG_PROCESSORS, scope='mmjrr', locations=_NOWHERE
)
MODEL_WRAPPERS = Registry(
    'model_wrapper', parent=root.MODEL_WRAPPERS, scope='mmjrr', locations=_NOWHERE
)
OPTIM_WRAPPERS = Registry(
    'optim_wrapper', parent=root.OPTIM_WRAPPERS, scope='mmjrr', locations=_NOWHERE
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=root.OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmjrr',
    locations=_NOWHERE,
)
OPTIMIZERS = Registry('optimizer', parent=root.OPTIMIZERS, scope='mmjrr', locations=_NOWHERE)
PARAM_SCHEDULERS = Registry(
    'parameter scheduler', parent=root.PARAM_SCHEDULERS, scope='mmjrr', locations=_NOWHERE
)
RUNNERS = Registry('runner', parent=root.RUNNERS, scope='mmjrr', locations=_NOWHERE)
VISBACKENDS = Registry('vis_backend', parent=root.VISBACKENDS, scope='mmjrr', locations=_NOWHERE)
