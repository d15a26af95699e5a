"""Components are found from any scope, and replace no names of other packages."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from mmengine import registry as root
from mmengine.registry import DefaultScope, Registry

import mmjrr
from mmjrr import registry
from mmjrr.registry import BODY_MODELS, RENDERERS
from mmjrr.rendering import SilhouetteRenderer

OURS = {name: value for name, value in vars(registry).items() if isinstance(value, Registry)}
CHILDREN = sorted(set(OURS) - {'BODY_MODELS', 'ENERGY_TERMS', 'RENDERERS'})


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


def registered_classes() -> dict[str, list[str]]:
    """Names of the classes that the source registers, by registry."""
    names = defaultdict(list)
    for path in Path(mmjrr.__file__).parent.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            for decorator in getattr(node, 'decorator_list', ()):
                target, _, method = ast.unparse(decorator).partition('.')
                if method.startswith('register_module('):
                    names[target].append(node.name)
    return {target: sorted(classes) for target, classes in names.items()}


#: Prints the registered classes of each registry, whose modules a process of its own imports.
LIST_REGISTRIES = """
import json
import multiprocessing
import mmengine.runner  # shared by all processes

def registered(name):
    from mmjrr import registry
    getattr(registry, name).import_from_location()
    return sorted(c.__name__ for c in getattr(registry, name).module_dict.values())

names = {names}
with multiprocessing.get_context('fork').Pool(1, maxtasksperchild=1) as pool:
    print(json.dumps(dict(zip(names, pool.map(registered, names, chunksize=1)))))
"""


@pytest.mark.slow
def test_registries_find_every_component_by_themselves() -> None:
    """In a process that imports no module of the package: a config's ``type`` is enough."""
    expected = registered_classes()
    assert 'ContourSilhouette' in expected['RENDERERS'] and 'SPIN' in expected['MODELS']
    done = subprocess.run(
        [sys.executable, '-c', LIST_REGISTRIES.format(names=sorted(expected))],
        capture_output=True,
        text=True,
        check=True,
    )
    record = json.loads(done.stdout)
    # Classes with several names appear several times.
    assert {name: sorted(set(classes)) for name, classes in record.items()} == expected


def test_mmengines_components_are_found_from_ours() -> None:
    with DefaultScope.overwrite_default_scope('mmjrr'):
        assert registry.HOOKS.get('LoggerHook').__name__ == 'LoggerHook'
        assert registry.OPTIMIZERS.get('Adam') is torch.optim.Adam


def test_a_users_renderer_can_be_chosen_in_a_config() -> None:
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


@pytest.mark.parametrize('scope', ['mmengine', 'mmpose_of_somebody'])
def test_bodies_and_renderers_build_in_any_scope_without_a_warning(scope: str, capfd) -> None:
    with DefaultScope.overwrite_default_scope(scope):
        assert BODY_MODELS.build(dict(type='FreeBody')).num_vertices == 6890
    assert 'WARNING' not in ''.join(capfd.readouterr())


def test_a_child_registry_of_bodies_is_searched_in_its_scope() -> None:
    child = Registry('body model', parent=BODY_MODELS, scope='somebody')

    @child.register_module(name='FreeBody')
    class Theirs:
        pass

    try:
        with DefaultScope.overwrite_default_scope('somebody'):
            assert isinstance(BODY_MODELS.build(dict(type='FreeBody')), Theirs)
        assert not isinstance(BODY_MODELS.build(dict(type='FreeBody')), Theirs)
    finally:
        BODY_MODELS.children.pop('somebody')
