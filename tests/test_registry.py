"""Components are found from any scope, and nobody's names are taken."""

from __future__ import annotations

import pytest
import torch
from mmengine import registry as root
from mmengine.registry import DefaultScope, Registry

import mmjrr  # noqa: F401
from mmjrr import registry
from mmjrr.registry import BODY_MODELS, RENDERERS
from mmjrr.rendering import SilhouetteRenderer

OURS = {name: value for name, value in vars(registry).items() if isinstance(value, Registry)}
CHILDREN = sorted(set(OURS) - {'BODY_MODELS', 'RENDERERS'})


@pytest.mark.parametrize('name', CHILDREN)
def test_registries_are_children_of_mmengines(name: str) -> None:
    assert OURS[name].parent is getattr(root, name)
    assert OURS[name].scope == 'mmjrr'
    assert getattr(root, name).children['mmjrr'] is OURS[name]


@pytest.mark.parametrize(
    ('name', 'component'),
    [
        ('HOOKS', 'SMPLPseudoGTHook'),
        ('HOOKS', 'ResumableCheckpointHook'),
        ('HOOKS', 'RefinementVisualizationHook'),
        ('LOOPS', 'RefinementLoop'),
        ('DATA_SAMPLERS', 'ResumableSampler'),
        ('DATASETS', 'H36MFitsDataset'),
        ('MODELS', 'FitDiscriminator'),
        ('MODELS', 'StoredPredictions'),
        ('METRICS', 'JointRegressorMetric'),
    ],
)
def test_components_are_found_from_another_scope_by_their_prefix(name: str, component: str) -> None:
    other = getattr(root, name)
    assert other.get(f'mmjrr.{component}').__name__ == component
    assert component not in other.module_dict  # not under a bare name, which others may use


def test_mmengines_components_are_found_from_ours() -> None:
    with DefaultScope.overwrite_default_scope('mmjrr'):
        assert registry.HOOKS.get('LoggerHook').__name__ == 'LoggerHook'
        assert registry.OPTIMIZERS.get('Adam') is torch.optim.Adam


def test_a_renderer_of_ones_own_can_be_chosen_in_a_config() -> None:
    @RENDERERS.register_module()
    class Nothing(SilhouetteRenderer):
        def render(self, vertices, camera):
            return vertices.new_zeros(len(vertices), *self.image_size)

    try:
        built = RENDERERS.build(dict(type='Nothing', faces=[[0, 1, 2]], image_size=(2, 3)))
        alpha = built(torch.ones(1, 3, 3), None)
        assert alpha.shape == (1, 2, 3) and not alpha.any()
    finally:
        RENDERERS.module_dict.pop('Nothing')


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(KeyError, match='Skeleton'):
        BODY_MODELS.build(dict(type='Skeleton'))
