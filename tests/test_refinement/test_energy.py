"""Composition of the energy: which terms are on, their weights, and terms of users."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor

from mmjrr.refinement import EnergyTerm, FitEnergy, PosedBodies
from mmjrr.refinement.energy import DATA_TERMS, TERMS, EnergyTerms
from mmjrr.refinement.variables import Sharing
from mmjrr.registry import ENERGY_TERMS


def test_balanced_terms_start_at_their_scale() -> None:
    energy = FitEnergy(terms=dict(silhouette=dict(scale=10.0), adv_pose=2.0, adv_shape=None))
    values = {name: torch.rand(4, dtype=torch.float64) for name in TERMS if name != 'adv_shape'}
    weights = energy.balance({name: float(value.mean()) for name, value in values.items()})
    started = {name: float(weights[name] * value.mean()) for name, value in values.items()}
    assert started['joint_3d'] == pytest.approx(1)
    assert started['joint_2d'] == pytest.approx(1)
    assert started['silhouette'] == pytest.approx(10)
    assert weights['adv_pose'] == 2.0
    total = EnergyTerms(values).total(weights)
    expected = sum(weights[name] * value.sum() for name, value in values.items())
    torch.testing.assert_close(total, expected)


def test_priors_that_can_be_zero_have_a_fixed_weight_unless_a_scale_is_given() -> None:
    energy = FitEnergy(
        terms=dict(joint_limits=True, smoothness=dict(scale=2.0), adv_pose=dict(weight=0))
    )
    assert list(energy.terms) == [*TERMS, 'joint_limits', 'smoothness']
    weights = energy.balance(dict(joint_limits=0.0, smoothness=0.5, adv_pose=3.0))
    assert weights == dict(joint_limits=10.0, smoothness=4.0, adv_pose=0.0)


@pytest.mark.parametrize('value', [0.0, 1e-12, 1e-8])
def test_a_term_that_is_zero_at_the_start_needs_a_weight(value: float) -> None:
    zero = dict(joint_3d=1.0, initial_pose=value)
    for option in (True, dict(scale=2.0), dict(deviation=15.0)):
        energy = FitEnergy(terms=dict(initial_pose=option))
        with pytest.raises(ValueError, match="terms.'initial_pose'. is zero on .*give weight="):
            energy.balance(zero)
    for option, weight in ((dict(weight=0.02), 0.02), (dict(scale=0), 0.0)):
        energy = FitEnergy(terms=dict(initial_pose=option))
        assert energy.balance(zero) == dict(joint_3d=1.0, initial_pose=weight)


def test_fits_may_start_at_the_data() -> None:
    weights = FitEnergy().balance(dict.fromkeys(DATA_TERMS, 0.0))
    assert weights == dict.fromkeys(DATA_TERMS, 1e8)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(terms=dict(silouette=True)), "unknown .'silouette'."),
        (dict(terms=dict(contact=dict(scale=1.0))), "unknown .'contact'.*dict.type="),
        (dict(terms=dict(contact=dict(type='Contact'))), "terms.'contact'.: Contact is not in"),
        (dict(terms=dict(joint_3d=dict(scale=1, weight=2))), "terms.'joint_3d'."),
        (dict(terms=dict(joint_3d=dict(breadth=2))), "terms.'joint_3d'.: .*'breadth'"),
        (dict(terms=dict(silhouette=-3)), "terms.'silhouette'.: .*weight: found -3"),
        (
            dict(terms=dict(adv_pose=dict(scale=float('nan')))),
            "terms.'adv_pose'.: .*scale: found nan",
        ),
        (dict(terms=dict.fromkeys(TERMS, False)), 'every term is switched off'),
        (dict(terms={'a-b': dict(type='Joint3DTerm')}), "terms.'a-b'.: expected a name"),
        (dict(silhouette_levels=()), 'levels'),
        (dict(silhouette_levels=(0,)), 'levels'),
        (
            dict(terms=dict(silhouette=dict(levels=(1,))), silhouette_levels=(1, 4)),
            'expected one of the two',
        ),
        (dict(terms=dict(smoothness=dict(max_gap=0))), 'max_gap: found 0'),
        (dict(terms=dict(smoothness=dict(max_gap=2.5))), 'max_gap: found 2.5'),
        (dict(terms=dict(joint_3d=dict(root=17))), "terms.'joint_3d'.: root: found 17"),
        (dict(terms=dict(joint_3d=dict(root=-1))), "terms.'joint_3d'.: root: found -1"),
        (dict(terms=dict(joint_3d=dict(root=0.5))), "terms.'joint_3d'.: root: found 0.5"),
        (dict(terms=dict(joint_3d=dict(root=[[0]]))), r"terms.'joint_3d'.: root: found \[\[0\]\]"),
        (dict(terms=dict(joint_3d=dict(root='hip'))), "terms.'joint_3d'.: root: found 'hip'"),
        (dict(terms=dict(joint_3d=dict(root=['left_hip', 'hip']))), "root: found .'left_hip', 'h"),
        (dict(terms=dict(joint_3d=dict(root=[]))), r"terms.'joint_3d'.: root: found \[\]"),
        (
            dict(terms=dict(joint_limits=dict(limits=dict(knee=None, tail=1)))),
            r"unknown \['knee', 'tail'\]",
        ),
        (
            dict(terms=dict(joint_limits=dict(limits=dict(neck=((0, 1), (1, 0), (0, 1)))))),
            'limits: neck: found',
        ),
    ],
)
def test_wrong_options_are_refused_by_name(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FitEnergy(**options)


class Contours(EnergyTerm):
    requires = ('outline',)

    def forward(self, bodies: PosedBodies, observed: Any) -> Tensor:
        return bodies.outline.square().sum((1, 2))


UNSEEN = dict(silhouette=False, joint_2d=False)


@pytest.mark.parametrize('own', [False, True])
@pytest.mark.parametrize(
    ('terms', 'share', 'refused'),
    [
        (UNSEEN, dict(outline_offset='subject'), True),
        (UNSEEN, dict(part_outline_offset='subject'), True),
        (UNSEEN, dict(extrinsics='camera'), True),
        (UNSEEN, dict(principal_point='camera'), True),
        (UNSEEN, dict(joint_offset='all', betas='subject'), False),
        (dict(silhouette=False), dict(outline_offset='subject'), True),
        (dict(silhouette=0.0), dict(outline_offset='subject'), True),
        (dict(silhouette=False), dict(extrinsics='camera'), False),
        (dict(joint_2d=False), dict(principal_point='camera', outline_offset='subject'), False),
    ],
)
def test_corrections_that_no_term_sees_are_refused(
    terms: dict, share: dict, refused: bool, own: bool
) -> None:
    energy = FitEnergy(terms)
    if own:
        energy.terms['contours'] = Contours()  # type: ignore[index]
    if refused and not own:
        with pytest.raises(ValueError, match=rf'share: {next(iter(share))}: found .*no term sees'):
            energy.check_sharing(Sharing(**share))
    else:
        energy.check_sharing(Sharing(**share))


def test_the_initial_pose_of_each_frame_by_itself_needs_a_weight() -> None:
    each, moments = Sharing(), Sharing(pose='moment')
    balanced = FitEnergy(dict(initial_pose=dict(deviation=15.0)))
    balanced.check_sharing(moments)
    FitEnergy(dict(initial_pose=dict(deviation=15.0, weight=0.02))).check_sharing(each)
    with pytest.raises(ValueError, match=r"initial_pose: found no weight with .*pose='frame'"):
        balanced.check_sharing(each)


@pytest.mark.parametrize('scope', ['mmpose', 'mmengine', None])
def test_terms_are_built_from_any_scope(scope: str | None) -> None:
    with DefaultScope.overwrite_default_scope(scope):
        term = ENERGY_TERMS.build(dict(type='mmjrr.SilhouetteTerm', levels=(2,), weight=3.0))
        energy = FitEnergy(terms=dict(joint_limits=1.0))
    assert (term.levels, term.weight) == ((2,), 3.0)
    assert 'joint_limits' in energy.terms


USERS_FILE = '''
from mmjrr.refinement import EnergyTerm
from mmjrr.registry import ENERGY_TERMS


@ENERGY_TERMS.register_module()
class HandsTogether(EnergyTerm):
    """Squared distance of both wrists beyond ``distance``."""

    def __init__(self, distance=0.0, **options):
        super().__init__(**options)
        self.distance = distance

    def forward(self, bodies, observed):
        apart = (bodies.joints[:, 13] - bodies.joints[:, 16]).norm(dim=1)
        return (apart - self.distance).clamp_min(0).square()
'''
USERS_CONFIG = """
custom_imports = dict(imports=['hands_together'])
energy = dict(
    terms=dict(
        joint_3d=False,
        silhouette=False,
        adv_pose=False,
        adv_shape=False,
        hands=dict(type='HandsTogether', distance=0.1, weight=5.0),
    )
)
"""


def test_a_user_adds_a_term_in_a_file_and_a_config_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'hands_together.py').write_text(USERS_FILE)
    (tmp_path / 'config.py').write_text(USERS_CONFIG)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        energy = FitEnergy(**Config.fromfile(tmp_path / 'config.py').energy)
    finally:
        ENERGY_TERMS._module_dict.pop('HandsTogether', None)
        sys.modules.pop('hands_together', None)
    assert list(energy.terms) == ['joint_2d', 'hands']
    term = energy.terms['hands']
    assert isinstance(term, EnergyTerm)
    assert (term.name, term.weight, term.distance) == ('hands', 5.0, 0.1)


def test_a_class_that_is_no_term_is_refused() -> None:
    class NoTerm:
        def __init__(self, name: str) -> None:
            pass

    with pytest.raises(ValueError, match="terms.'other'.: .*is no energy term"):
        FitEnergy(terms=dict(other=dict(type=NoTerm)))
