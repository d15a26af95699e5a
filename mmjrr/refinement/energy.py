"""The energy that refinement minimizes: the terms that are switched on, and their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mmjrr.refinement.corrections import CORRECTIONS
from mmjrr.refinement.terms import EnergyTerm, PosedBodies
from mmjrr.registry import ENERGY_TERMS

if TYPE_CHECKING:
    from mmjrr.refinement.observations import Observations
    from mmjrr.refinement.variables import Sharing

#: Names of the paper's terms, which are on by default, in the order in which they are reported.
TERMS = ('joint_3d', 'joint_2d', 'silhouette', 'adv_pose', 'adv_shape')
#: Names of the terms that compare fits with annotations and masks.
DATA_TERMS = ('joint_3d', 'joint_2d', 'silhouette')
#: Types of terms that need not be named in a config.
TERM_TYPES = {
    'joint_3d': 'Joint3DTerm',
    'joint_2d': 'Joint2DTerm',
    'silhouette': 'SilhouetteTerm',
    'adv_pose': 'PoseAdversarialTerm',
    'adv_shape': 'ShapeAdversarialTerm',
    'joint_limits': 'JointLimitsTerm',
    'smoothness': 'SmoothnessTerm',
    'initial_pose': 'InitialPoseTerm',
    'pose_prior': 'PosePriorTerm',
    'rest_pose': 'RestPoseTerm',
    'shape_prior': 'ShapePriorTerm',
}

#: Largest mean of a term that counts as zero; its weight would be so large that it would hold
#: everything where it starts.
SMALLEST_MEAN = 1e-8


@dataclass
class EnergyTerms:
    """Unweighted values of the terms that are switched on, by name."""

    values: dict[str, Tensor]  # (B,) each
    silhouette: Tensor | None = None  # (B, H, W), if a term rendered it

    def total(self, weights: Mapping[str, float]) -> Tensor:  # ()
        """Return the weighted sum of the terms over all samples."""
        return torch.stack(
            [weights[name] * value.sum() for name, value in self.values.items()]
        ).sum()


class FitEnergy(nn.Module):
    """Energy terms that are switched on, and the rules for their weights.

    Args:
        terms: Options by term name. A dict has ``type``, a class of the registry ``ENERGY_TERMS``
            (not needed for the names in :data:`TERM_TYPES`), and the options of that class.
            ``dict(weight=...)`` or a number is a fixed weight. ``dict(scale=...)`` chooses the
            weight so that the term's weighted mean over the first batch equals ``scale`` at the
            first iteration; it is an error if that mean is zero. ``True`` or ``dict()`` stands for
            the class's defaults, ``None`` or ``False`` switches a term off. The paper's terms
            (:data:`TERMS`) that are not named are on, with ``scale=1``; all others must be named.
        silhouette_levels: ``levels`` of the term ``silhouette``. Default: None, the term's
            default.

    Raises:
        ValueError: A term or option is unknown, a weight or scale is negative or infinite, or all
            terms are switched off.

    Example:
        >>> energy = FitEnergy(terms=dict(silhouette=None, joint_2d=dict(weight=10.0)))
        >>> 'silhouette' in energy.terms, 'joint_2d' in energy.terms
        (False, True)
        >>> energy.balance(dict(joint_2d=2.0, joint_3d=4.0))
        {'joint_2d': 10.0, 'joint_3d': 0.25}
    """

    def __init__(
        self,
        terms: Mapping[str, dict[str, Any] | float | bool | None] | None = None,
        silhouette_levels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        options = {**dict.fromkeys(TERMS, True), **(terms or {})}
        unknown = sorted(
            name
            for name, option in options.items()
            if name not in TERM_TYPES and not (isinstance(option, Mapping) and 'type' in option)
        )
        if unknown:
            raise ValueError(
                f'terms: unknown {unknown}, expected some of {list(TERM_TYPES)}, or '
                "dict(type=...) with a class of the registry 'ENERGY_TERMS'"
            )
        self.terms: Mapping[str, EnergyTerm] = nn.ModuleDict()  # type: ignore[assignment]
        for name, option in options.items():
            if option is None or option is False:
                continue
            if option is True:
                option = {}
            if isinstance(option, (int, float)):
                option = dict(weight=option)
            if name == 'silhouette' and silhouette_levels is not None:
                if 'levels' in option:
                    raise ValueError(
                        "silhouette_levels: found it and terms['silhouette'] with 'levels', "
                        'expected one of the two'
                    )
                option = dict(option, levels=silhouette_levels)
            self.terms[name] = _build(name, option)  # type: ignore[index]
        if not self.terms:
            raise ValueError('terms: every term is switched off, nothing to minimize')

    def requires(self, quantity: str) -> list[str]:
        """Return the names of the terms that need a quantity of :attr:`EnergyTerm.requires`."""
        return [name for name, term in self.terms.items() if quantity in term.requires]

    @property
    def couples_frames(self) -> bool:
        """Whether a frame's value depends on other frames of the batch."""
        return any(term.couples_frames for term in self.terms.values())

    def forward(self, bodies: PosedBodies, observed: Observations) -> EnergyTerms:
        """Evaluate the terms; those that need masks are left out where there are none."""
        prepared = observed.prepared or {}
        values = {
            name: term(bodies, prepared.get(name, observed))
            for name, term in self.terms.items()
            if observed.mask is not None or 'mask' not in term.requires
        }
        return EnergyTerms(values, bodies.rendered)

    def prepare(self, observed: Observations) -> Observations:
        """Return observations with what each term computes from them once per batch."""
        prepared = {
            name: term.prepare(observed)
            for name, term in self.terms.items()
            if observed.mask is not None or 'mask' not in term.requires
        }
        return replace(
            observed,
            prepared={name: own for name, own in prepared.items() if own is not observed},
        )

    def check_sharing(self, sharing: Sharing) -> None:
        """Refuse corrections that no term sees, and terms that do not fit the levels.

        Raises:
            ValueError: There is such a correction or term.
        """
        needed = {
            quantity
            for term in self.terms.values()
            if term.has_weight
            for quantity in term.requires
        }
        for variable, correction in CORRECTIONS.items():
            level, seen_by = sharing.level(variable), correction.seen_by
            if level != 'fixed' and seen_by and needed.isdisjoint(seen_by):
                raise ValueError(
                    f'share: {correction.share}: found {level!r}, which no term sees: switch on '
                    f'one that requires one of {list(seen_by)}, such as silhouette, or set '
                    f"refiner=dict(share=dict({correction.share}='fixed'))"
                )
        for term in self.terms.values():
            term.check_sharing(sharing)

    def check_image_size(self, image_size: tuple[int, int]) -> None:
        """Refuse terms whose options do not fit images of this (height, width)."""
        for term in self.terms.values():
            term.check_image_size(image_size)

    def check_batch(self, observed: Observations) -> None:
        """Refuse a first batch on which a term has no effect."""
        for term in self.terms.values():
            term.check_batch(observed)

    def estimate(self, observed: Observations, moment: Tensor) -> dict[str, dict[str, Any]]:
        """Estimate what terms need to know of the data, from the first frames of a run.

        Args:
            observed: Observations of the frames.
            moment: Number of the moment of each frame.

        Returns:
            JSON values by term, for :meth:`set_estimates`.
        """
        values = {name: term.estimate(observed, moment) for name, term in self.terms.items()}
        return {name: value for name, value in values.items() if value}

    def set_estimates(self, estimates: Mapping[str, Mapping[str, Any]]) -> None:
        """Take what :meth:`estimate` returned."""
        for name, values in estimates.items():
            self.terms[name].set_estimates(values)

    def balance(
        self, first: Mapping[str, float], observed: Observations | None = None
    ) -> dict[str, float]:
        """Return the weight of each term.

        Args:
            first: Each term's unweighted mean at the first iteration, by name.
            observed: The observations of these frames. Default: None, which checks less.

        Raises:
            ValueError: A term that is balanced, with a scale above 0, is zero at the first
                iteration. :data:`DATA_TERMS` may be zero, as for perfect fits, but not because
                the observations show nothing.
        """
        for name in first:
            term = self.terms[name]
            if observed is not None and term.has_weight and term.weight is None:
                term.check_balance(observed)
        return {
            name: self._balanced_weight(name, value) if weight is None else weight
            for name, value in first.items()
            for weight in (self.terms[name].weight,)
        }

    def _balanced_weight(self, name: str, value: float) -> float:
        scale = self.terms[name].scale
        if value <= SMALLEST_MEAN and scale > 0 and name not in DATA_TERMS:
            raise ValueError(
                f"terms['{name}'] is zero on the first frames ({value:.2g}) and cannot be "
                'balanced: give weight=...'
            )
        return scale / max(value, SMALLEST_MEAN)


def _build(name: str, option: Mapping[str, Any]) -> EnergyTerm:
    """Build a term from its options, and name it in errors."""
    if not name.isidentifier():
        raise ValueError(f'terms[{name!r}]: expected a name of letters, digits and underscores')
    config = dict(option)
    config.setdefault('type', TERM_TYPES.get(name))
    try:
        term = ENERGY_TERMS.build(dict(config, name=name))
    except (TypeError, ValueError, KeyError) as error:
        message = error.args[0] if error.args else error
        raise ValueError(f'terms[{name!r}]: {message}') from error
    if not isinstance(term, EnergyTerm):
        raise ValueError(
            f'terms[{name!r}]: {config["type"]} is no energy term: derive it from '
            'mmjrr.refinement.terms.EnergyTerm'
        )
    return term
