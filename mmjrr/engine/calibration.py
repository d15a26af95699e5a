"""Calibration: rounds of joint refinement and regressor fits on a part of the moments.

A round refines all chosen moments as one problem, then fits a regressor to the result, which the
next round uses. The last regressor, the subjects' shapes and the corrections of cameras and
outlines then apply to the refinement of all frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmjrr.array_types import Array
from mmjrr.engine.bad_frames import ERRORS
from mmjrr.engine.labeled_fits import UNTESTED, fit_regressor_and_offsets
from mmjrr.engine.refinement_frames import RefinementFrames
from mmjrr.errors import check_count
from mmjrr.io import sha256
from mmjrr.jobs import Progress, ShardFolder
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement import FitRefiner, RefinedFits, fit_regressor
from mmjrr.refinement.corrections import CORRECTIONS
from mmjrr.refinement.left_out import without_nan
from mmjrr.refinement.store import batches_of
from mmjrr.refinement.variables import COUPLING_LEVELS, VARIABLES, Sharing
from mmjrr.regressors import JointRegressor, LabelOffsets

#: Folder of the rounds in the work directory.
FOLDER = 'calibration'
#: First part of the names of the rounds' files.
STEM = 'round'
#: Relative increase of the silhouette term from one round to the next that counts as drift.
DRIFT = 0.02
_VALUE = 'value_'  # prefix of the variables' values in a round's arrays


@dataclass(frozen=True)
class CalibrationOptions:
    """Options of ``calibration`` in :class:`~mmjrr.engine.SMPLPseudoGTHook`.

    Attributes:
        rounds: Number of rounds.
        moments: Number of moments, the same of each subject, spread over poses. None: all of the
            data set, whose refined fits are then the result.
        refiner: Options of :class:`~mmjrr.refinement.FitRefiner` that differ from the hook's
            ``refiner``, such as ``num_iters`` of a round. ``share`` is always the hook's.
        label_offsets: Whether to fit label offsets of each subject and joint together with each
            round's regressor (:func:`~mmjrr.regressors.fit_label_offsets`). The energy takes the
            significant ones into account from the next round on, and they are subtracted from the
            labels of J_opt.
        max_ratios: Largest ratios of weighted terms to the weighted ``joint_3d`` after a round, by
            term. A weight above its ratio is lowered to it for the next round
            (:func:`lowered_weights`): the silhouette's, so that fits do not follow the errors of
            bad masks. Terms that are switched off do not count. None: weights stay.

    Raises:
        ValueError: A number is not an integer or below 1, a ratio is not positive, or there is one
            of ``joint_3d``, with which the others are compared.
    """

    rounds: int = 3
    moments: int | None = None
    refiner: Mapping[str, Any] | None = None
    label_offsets: bool = False
    max_ratios: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        check_count('calibration: rounds', self.rounds)
        if self.moments is not None:
            check_count('calibration: moments', self.moments)
        for name, ratio in (self.max_ratios or {}).items():
            if not 0 < ratio < float('inf'):
                raise ValueError(
                    f'calibration: max_ratios: {name}: found {ratio}, expected a positive number'
                )
        if 'joint_3d' in (self.max_ratios or {}):
            raise ValueError(
                'calibration: max_ratios: found joint_3d, by whose value the others are divided; '
                'expected other terms only'
            )


def round_regressor(folder: Path, number: int) -> Path:
    """Return the file of the regressor fitted after a round, the first of which is 1."""
    return folder / f'J_round_{number}.npy'


@dataclass
class Calibration:
    """The result of calibration.

    Attributes:
        arrays: Refined fits of the calibration's frames, as the store of refined fits has them.
        regressor: Joint regressor for all frames.
        sharing: Level of each variable during the calibration.
        shared: Values of the variables that moments share, by variable and by the name of the
            subject or camera: shapes if ``share=dict(betas='subject')``, and corrections.
        summary: JSON values that describe the rounds and the corrections.
        complete: Whether all frames of the data set were chosen. The arrays have those that are not
            left out.
        weights: Weights of the terms of the refined fits of all frames: those of the last round if
            the calibration has all frames, otherwise those for the refinement that follows.
        label_offsets: Significant label offsets of the subjects; None if they are not fitted.
        left_out: Why each bad frame that was chosen is left out, by its index in the data set.
    """

    arrays: dict[str, Array]
    regressor: JointRegressor
    sharing: Sharing
    shared: dict[str, dict[str, Tensor]]
    summary: dict[str, Any]
    complete: bool
    weights: dict[str, float]
    label_offsets: LabelOffsets | None = None
    left_out: Mapping[int, str] = field(default_factory=dict)

    def check(self, frames: RefinementFrames) -> None:
        """Check that the calibration shows the subjects and cameras of frames.

        Raises:
            ValueError: It does not show one that has a shape or a correction of its own.
        """
        for variable, by_name in self.shared.items():
            names, _ = frames.groups_at(self.sharing.level(variable))
            missing = sorted(set(names) - set(by_name))
            if missing:
                raise ValueError(f'calibration: moments: none shows {missing}; choose more moments')

    def apply(self, frames: RefinementFrames) -> dict[str, Tensor]:
        """Return the initial fits of frames, with their subjects' shapes and the corrections.

        The frames are those that :meth:`check` accepts.
        """
        init = dict(frames.init)
        for variable, by_name in self.shared.items():
            names, numbers = frames.groups_at(self.sharing.level(variable))
            values = torch.stack([by_name[name] for name in names])
            init[variable] = values.to(numbers.device)[numbers]
        return init

    @property
    def refining_round(self) -> int:
        """Number of the round whose regressor refined the fits of all frames.

        If all frames were chosen, the last round refined them, with the regressor of the round
        before. 0 stands for the regressor with which the calibration began.
        """
        rounds = len(self.summary['rounds'])
        return rounds - 1 if self.complete else rounds

    def rows_of(self, sample_idx: list[int]) -> tuple[dict[str, Array], dict[int, str]]:
        """Return the refined fits of samples that were chosen.

        Args:
            sample_idx: Indices in the data set.

        Returns:
            The arrays of those that are not left out, in order, and by position why the others are.
        """
        place = {index: row for row, index in enumerate(self.arrays['sample_idx'].tolist())}
        errors = {
            row: self.left_out[index]
            for row, index in enumerate(sample_idx)
            if index in self.left_out
        }
        rows = [place[index] for row, index in enumerate(sample_idx) if row not in errors]
        return {name: array[rows] for name, array in self.arrays.items()}, errors


def sharing_after(sharing: Sharing) -> dict[str, str]:
    """Return ``share`` for the refinement of all frames: what moments share is fixed."""
    return {
        name: 'fixed' if level in COUPLING_LEVELS else level
        for name, level in vars(sharing).items()
    }


class Calibrator:
    """Rounds of refinement and regressor fits, each stored when it is finished.

    Args:
        frames: The calibration's frames, those of a moment next to each other.
        make_refiner: A function of a regressor that returns the refiner.
        weights: Weights of the terms.
        work_dir: The work directory.
        run: The run's :attr:`~mmjrr.jobs.Identity.digest`.
        rounds: Number of rounds.
        complete: Whether all frames of the data set were chosen.
        root: Alignment of frames for the regressor fits.
        fit_batch_size: Number of frames per batch of vertices in regressor fits.
        provenance: Entries of the regressors' provenance.
        log: A function that takes lines about progress and results.
        warn: A function that takes warnings.
        learn_regressor: Whether a regressor is fitted after each round. Default: True.
        label_offsets: Whether label offsets are fitted with the regressors. Default: False.
        max_ratios: As in :class:`CalibrationOptions`. Default: None.
        left_out: Why chosen frames are left out, by index in the data set. Default: None are.
    """

    def __init__(
        self,
        frames: RefinementFrames,
        make_refiner: Callable[[JointRegressor], FitRefiner],
        weights: Mapping[str, float],
        work_dir: Path,
        run: str,
        *,
        rounds: int,
        complete: bool,
        root: str | None,
        fit_batch_size: int,
        provenance: Mapping[str, Any],
        log: Callable[[str], None],
        warn: Callable[[str], None],
        label_offsets: bool = False,
        learn_regressor: bool = True,
        max_ratios: Mapping[str, float] | None = None,
        left_out: Mapping[int, str] | None = None,
    ) -> None:
        self.fits_label_offsets = label_offsets
        self.learn_regressor = learn_regressor
        self.max_ratios = dict(max_ratios or {})
        self.frames, self.make_refiner, self.weights = frames, make_refiner, dict(weights)
        self.folder = work_dir / FOLDER
        self.shards = ShardFolder(self.folder, run, '.npz', STEM)
        self.rounds, self.complete = rounds, complete
        self.left_out = dict(left_out or {})
        self.root, self.fit_batch_size = root, fit_batch_size
        self.provenance, self.log, self.warn = dict(provenance), log, warn

    def run(self, regressor: JointRegressor) -> Calibration:
        """Refine in rounds, beginning with a regressor; continue after the last stored round.

        A run that drifts is stopped: if a round's silhouettes are worse than the last round's while
        its joints are better, the joints were moved to the regressor's errors, and the result is
        the last round's. Rounds with different weights are not compared.
        """
        summaries: list[dict[str, float]] = []
        weights, next_weights = self.weights, self.weights
        previous: dict[str, Array] | None = None
        offsets: LabelOffsets | None = None
        for number in range(self.rounds):
            before, weights = weights, next_weights
            arrays = self._round(number, regressor, previous, offsets, weights)
            summary = _means(arrays)
            fitted, fitted_offsets = regressor, offsets
            if self.learn_regressor:
                fitted, fitted_offsets = self._fit(number, arrays)
            self._report(number, summary)
            comparable = previous is not None and weights == before
            if comparable and _drifts(summaries[-1], summary):
                self.warn(
                    f'calibration: round {number + 1} drifts: silhouettes are worse and joints '
                    f'better than after round {number}, whose fits and regressor are used'
                )
                break
            next_weights = lowered_weights(weights, summary, self.max_ratios)
            summary |= {
                f'{name}_weight': weights[name] for name in self.max_ratios if name in weights
            }
            summaries.append(summary)
            previous, regressor, offsets = arrays, fitted, fitted_offsets
        assert previous is not None
        # A complete calibration's fits are the result, with the weights of its last round.
        final = weights if self.complete else next_weights
        return self._result(previous, regressor, summaries, offsets, final)

    def _round(
        self,
        number: int,
        regressor: JointRegressor,
        previous: dict[str, Array] | None,
        offsets: LabelOffsets | None,
        weights: Mapping[str, float],
    ) -> dict[str, Array]:
        """Refine with a regressor from the last round's values, or read the stored round."""
        if self.shards.path(number).is_file():
            return self.shards.get(number)
        refiner = self.make_refiner(regressor)
        device = self.frames.init['betas'].device
        start = None
        if previous is not None:
            start = {
                name.removeprefix(_VALUE): torch.from_numpy(value).to(device)
                for name, value in previous.items()
                if name.startswith(_VALUE) and not self._is_of_round(name.removeprefix(_VALUE))
            }
        frames = self.frames if offsets is None else self.frames.with_label_offsets(offsets)
        unit = f'steps (calibration, round {number + 1} of {self.rounds})'
        with Progress(refiner.num_iters, unit, self.log) as progress:
            try:
                result = refiner.refine_jointly(
                    frames.init,
                    frames.observed,
                    weights,
                    frames.groups,
                    start,
                    progress,
                    [sample.imgname for sample in frames.samples],
                )
            except ERRORS as error:
                raise type(error)(f'calibration: round {number + 1}: {error}') from error
        arrays = self._arrays(result, previous)
        self.shards.put(number, arrays)
        return arrays

    def _is_of_round(self, variable: str) -> bool:
        """Return whether a variable corrects a regressor that the round's fit replaces."""
        correction = CORRECTIONS.get(variable)
        return self.learn_regressor and correction is not None and correction.of_regressor

    def _arrays(self, result: RefinedFits, previous: dict[str, Array] | None) -> dict[str, Array]:
        arrays = self.frames.arrays(result)
        if previous is not None:  # terms and overlaps before the first round
            arrays |= {name: value for name, value in previous.items() if name.startswith('init_')}
        arrays |= {f'{_VALUE}{name}': v.cpu().numpy() for name, v in result.values.items()}
        return arrays

    def _fit(
        self, number: int, arrays: dict[str, Array]
    ) -> tuple[JointRegressor, LabelOffsets | None]:
        """Fit what a round yields, or load it if it was fitted to the stored round.

        Returns:
            The regressor, and the significant label offsets if they are fitted.
        """
        path = round_regressor(self.folder, number + 1)
        fits = sha256(self.shards.path(number))
        if not _is_fitted_to(path, fits):  # the regressor is written after the offsets
            of_frames = {n: v for n, v in arrays.items() if not n.startswith(_VALUE)}
            body = self.make_refiner(None).body  # type: ignore[arg-type]
            fit = fit_regressor
            if self.fits_label_offsets:
                fit = partial(
                    fit_regressor_and_offsets,
                    offsets_path=self._offsets_path(number),
                    warn=self.warn,
                )
            fit(
                partial(batches_of, of_frames, self.fit_batch_size),
                body,
                path,
                count=len(arrays['sample_idx']),
                root=self.root,
                provenance=dict(
                    source=f'refined fits, round {number + 1}', fits_sha256=fits, **self.provenance
                ),
                log=self.log,
            )
        regressor = JointRegressor.load(path).reorder(H36M_JOINTS_MMPOSE)
        if not self.fits_label_offsets:
            return regressor, None
        return regressor, LabelOffsets.load(self._offsets_path(number))

    def _offsets_path(self, number: int) -> Path:
        return self.folder / f'label_offsets_round_{number + 1}.npz'

    def _report(self, number: int, summary: Mapping[str, float]) -> None:
        shown = ', '.join(f'{name} {value:.4g}' for name, value in summary.items())
        self.log(f'Calibration, round {number + 1} of {self.rounds}: {shown}')

    def _result(
        self,
        arrays: dict[str, Array],
        regressor: JointRegressor,
        summaries: list[dict[str, float]],
        offsets: LabelOffsets | None,
        weights: Mapping[str, float],
    ) -> Calibration:
        sharing = self.make_refiner(regressor).sharing
        frames = self.frames
        shared: dict[str, dict[str, Tensor]] = {}
        for variable in VARIABLES:
            is_kept = not self._is_of_round(variable)
            if is_kept and sharing.level(variable) in COUPLING_LEVELS:
                names, _ = frames.groups_at(sharing.level(variable))
                values = torch.from_numpy(arrays[f'{_VALUE}{variable}'])
                shared[variable] = dict(zip(names, values, strict=True))
        summary: dict[str, Any] = dict(
            frames=len(frames.samples), moments=int(frames.groups.moment.max()) + 1,
            rounds=summaries,
        )  # fmt: skip
        for variable, correction in CORRECTIONS.items():
            if variable in shared:
                names, numbers = frames.groups_at(sharing.level(variable))
                focal = {
                    names[number]: sample.focal_length
                    for number, sample in zip(numbers.tolist(), frames.samples, strict=True)
                }
                summary[f'{variable}_{correction.unit}'] = {
                    name: correction.reported(value, focal[name])
                    for name, value in shared[variable].items()
                }
        if offsets is not None:
            summary['label_offsets_mm'] = {
                f'{subject} {joint}': [round(1000 * v, 2) for v in offset]
                for subject, row in zip(offsets.subjects, offsets.values.tolist(), strict=True)
                for joint, offset in zip(offsets.joint_names, row, strict=True)
                if any(offset)
            }
            if UNTESTED in offsets.provenance:
                summary['label_offsets_untested'] = offsets.provenance[UNTESTED]
        return Calibration(
            arrays={n: v for n, v in arrays.items() if not n.startswith(_VALUE)},
            regressor=regressor.cpu(),  # other processes receive a copy, and have another GPU
            sharing=sharing,
            shared=shared,
            summary=summary,
            complete=self.complete,
            weights=dict(weights),
            label_offsets=offsets,
            left_out=self.left_out,
        )


def _is_fitted_to(path: Path, fits: str) -> bool:
    """Return whether a regressor's file exists and was fitted to fits with this checksum."""
    if not (path.is_file() and path.with_suffix('.json').is_file()):
        return False
    return JointRegressor.load(path).provenance.get('fits_sha256') == fits


def _means(arrays: Mapping[str, Array]) -> dict[str, float]:
    """Return the mean of each term and of the overlap after refinement."""
    return {
        name.removeprefix('energy_'): float(known.mean(dtype=np.float64))
        for name, array in arrays.items()
        if name.startswith('energy_') or name == 'iou'
        for known in (without_nan(array),)
        if len(known)
    }


def lowered_weights(
    weights: Mapping[str, float], values: Mapping[str, float], max_ratios: Mapping[str, float]
) -> dict[str, float]:
    r"""Lower weights until weighted means are at most multiples of the weighted joint_3d.

    If a term is a sum of :math:`n_k` squared independent normal errors, its mean is
    :math:`E_k = n_k \sigma_k^2`, and the likelihood is largest for the weight
    :math:`w_k = 1 / (2 \sigma_k^2)`. Then the weighted terms :math:`w_k E_k` are to each other as
    the numbers of errors :math:`n_k` (variance components). A term above that ratio makes the fits
    follow its own errors.

    Args:
        weights: Weights of the terms.
        values: Means of the terms after a round.
        max_ratios: Largest ratios by term. Terms without a weight do not count.

    Returns:
        The weights, none of them higher than before. They stay as they are if the weighted joint_3d
        is zero, as without 3D labels: nothing can be compared with it.
    """
    lowered = dict(weights)
    joint_3d = weights.get('joint_3d', 0.0) * values.get('joint_3d', 0.0)
    if joint_3d > 0:
        for name in set(max_ratios) & set(weights):
            limit = max_ratios[name] * joint_3d
            if weights[name] * values[name] > limit:
                lowered[name] = limit / values[name]
    return lowered


def _drifts(before: Mapping[str, float], after: Mapping[str, float]) -> bool:
    """Return whether silhouettes became worse while joints became better.

    Near the end the silhouette term is so small that a single frame can raise its mean by more than
    the limit. The overlaps' mean hardly follows one frame, so both have to become worse.
    """
    if not {'silhouette', 'iou', 'joint_3d'} <= set(after):
        return False
    worse = after['silhouette'] > (1 + DRIFT) * before['silhouette']
    return worse and after['iou'] < before['iou'] and after['joint_3d'] < before['joint_3d']
