"""Options of a refinement, checked before anything is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from mmjrr.engine.bad_frames import ON_BAD_FRAME
from mmjrr.engine.calibration import CalibrationOptions
from mmjrr.engine.fits_from_joints import FitsFromJoints
from mmjrr.errors import check_count
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement import FitEnergy
from mmjrr.refinement.energy import TERM_TYPES
from mmjrr.refinement.refiner import sharing_of
from mmjrr.refinement.variables import Sharing

#: Options of :class:`~mmjrr.refinement.FitRefiner` that the hook's ``refiner`` can set.
REFINER_OPTIONS = (
    'num_iters', 'lr', 'betas', 'lr_mult', 'eta_min_ratio', 'init_translation', 'share', 'prior',
    'chunk_size', 'cuda_graph',
)  # fmt: skip
#: Options of :class:`~mmjrr.refinement.FitEnergy`.
ENERGY_OPTIONS = ('terms', 'silhouette_levels')


@dataclass
class RefinementOptions:
    """Options of :class:`~mmjrr.engine.SMPLPseudoGTHook`, whose documentation describes them.

    Attributes:
        fit_energy: The energy that ``energy`` describes.
        sharing: The levels at which ``refiner`` has frames share variables.
        calibration_options: ``calibration``, checked; None without it.
        fits_from_joints: ``initial_fits``, checked.

    Raises:
        ValueError: An option is unknown or out of range, or options contradict each other.
    """

    body_model: dict[str, Any]
    renderer: dict[str, Any] | None = None
    energy: dict[str, Any] | None = None
    refiner: dict[str, Any] | None = None
    regressor: str | None = None
    calibration: dict[str, Any] | None = None
    initial_fits: dict[str, Any] | None = None
    learn_regressor: bool = True
    init_root: str | None = 'pelvis'
    root: str | None = 'mean'
    fit_batch_size: int = 64
    check_inputs: bool = True
    on_bad_frame: str = 'skip'

    def __post_init__(self) -> None:
        if self.on_bad_frame not in ON_BAD_FRAME:
            raise ValueError(
                f'on_bad_frame: found {self.on_bad_frame!r}, expected one of {ON_BAD_FRAME}'
            )
        check_count('fit_batch_size', self.fit_batch_size)
        for name, value in (('init_root', self.init_root), ('root', self.root)):
            if value not in (*H36M_JOINTS_MMPOSE, 'mean', None):
                raise ValueError(
                    f"{name}: found {value!r}, expected 'mean', None or one of "
                    f'{list(H36M_JOINTS_MMPOSE)}'
                )
        _check_names('refiner', self.refiner, REFINER_OPTIONS)
        _check_names('energy', self.energy, ENERGY_OPTIONS)
        self.fit_energy = FitEnergy(**(self.energy or {}))
        self.sharing: Sharing = sharing_of((self.refiner or {}).get('share'))
        self.fit_energy.check_sharing(self.sharing)
        self.calibration_options = chosen = self._calibration_options()
        fits_more = chosen is not None and (chosen.rounds > 1 or chosen.label_offsets)
        if not self.learn_regressor and (self.regressor is None or fits_more):
            raise ValueError(
                f'learn_regressor: found False with regressor={self.regressor!r} and {chosen}, '
                'expected a named regressor, and at most one round without label_offsets'
            )
        _check_names('initial_fits', self.initial_fits, _names_of(FitsFromJoints))
        self.fits_from_joints = FitsFromJoints(**(self.initial_fits or {}))

    @property
    def skips_bad_frames(self) -> bool:
        """Whether bad frames are left out instead of ending the run."""
        return self.on_bad_frame == 'skip'

    def check_refiners(self, build: Callable[..., Any]) -> None:
        """Refuse wrong options of the refiners of the batches and of the calibration.

        Args:
            build: A function of the options that builds a :class:`~mmjrr.refinement.FitRefiner`.

        Raises:
            ValueError: An option is out of range, or a term lacks what it needs.
        """
        options = self.refiner or {}
        build(**options)
        if self.calibration_options is not None and self.calibration_options.refiner:
            try:
                build(**{**options, **self.calibration_options.refiner})
            except ValueError as error:
                raise ValueError(f'calibration: refiner: {error}') from error

    def as_dict(self) -> dict[str, Any]:
        """Return the options that change results, by name."""
        return {
            option.name: getattr(self, option.name)
            for option in fields(self)
            if option.name != 'check_inputs'
        }

    def _calibration_options(self) -> CalibrationOptions | None:
        """Check options that depend on one another.

        Raises:
            ValueError: They contradict each other.
        """
        options = self.calibration
        _check_names('calibration', options, _names_of(CalibrationOptions))
        if options is None:
            if self.sharing.couples_moments:
                raise ValueError(
                    f'refiner: share: found {vars(self.sharing)}, which moments of different '
                    'batches share: add calibration=dict(rounds=...), which determines it'
                )
            return None
        if options.get('label_offsets') and self.root == 'mean':
            raise ValueError(
                "calibration: label_offsets: found it with root='mean', which spreads an offset "
                "over all joints; expected root=None (several views) or 'pelvis'"
            )
        adversarial = self.fit_energy.requires('plausibility')
        if adversarial:
            raise ValueError(
                f'calibration: the terms {adversarial} need discriminators, which are trained '
                'later, batch by batch: switch these terms off'
            )
        chosen = CalibrationOptions(**options)
        ratios = dict(chosen.max_ratios or {})
        unknown = sorted(set(ratios) - set(TERM_TYPES) - set(self.fit_energy.terms))
        if unknown:
            raise ValueError(
                f'calibration: max_ratios: unknown {unknown}, expected some of the terms '
                f'{sorted({*TERM_TYPES, *self.fit_energy.terms} - {"joint_3d"})}'
            )
        terms = self.fit_energy.terms
        if ratios and not ('joint_3d' in terms and terms['joint_3d'].has_weight):
            raise ValueError(
                f'calibration: max_ratios: found {ratios}, but the term joint_3d is switched off '
                'or has weight 0, and the others are divided by its weighted value: give it a '
                'weight, or set max_ratios=None'
            )
        changeable = [name for name in REFINER_OPTIONS if name != 'share']  # which batches take on
        unknown = sorted(set(chosen.refiner or {}) - set(changeable))
        if unknown:
            raise ValueError(
                f'calibration: refiner: found {unknown}, expected some of {changeable}'
            )
        return chosen


def _names_of(options: type) -> tuple[str, ...]:
    """Return the names of the options of a dataclass."""
    return tuple(option.name for option in fields(options))


def _check_names(where: str, options: Mapping[str, Any] | None, known: tuple[str, ...]) -> None:
    """Check the names of options.

    Raises:
        ValueError: One is unknown.
    """
    unknown = sorted(set(options or {}) - set(known))
    if unknown:
        raise ValueError(f'{where}: unknown {unknown}, expected some of {known}')
