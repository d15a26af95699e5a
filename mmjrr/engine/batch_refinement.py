"""Refinement of a batch: its bad frames are found and left out, the others are refined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmjrr.array_types import Array
from mmjrr.engine.bad_frames import (
    ERRORS,
    check_finite_weights,
    find_bad_frames,
    part_of_batch,
)
from mmjrr.engine.calibration import Calibration
from mmjrr.engine.refinement_frames import RefinementFrames
from mmjrr.refinement import FitRefiner
from mmjrr.refinement.left_out import with_left_out


@dataclass(frozen=True)
class BatchRefinement:
    """The refiner of a run's batches, with the settings that all batches share.

    Attributes:
        refiner: The refiner.
        calibration: The calibration, whose shapes, corrections and label offsets apply; its refined
            fits are used unchanged if all moments were chosen. None without one.
        weights: Weights of the terms.
        frame_options: Options of :meth:`RefinementFrames.of_batch`.
        leaves_out: Whether bad frames are left out; if not, they are errors.
    """

    refiner: FitRefiner
    calibration: Calibration | None
    weights: Mapping[str, float]
    frame_options: Mapping[str, Any]
    leaves_out: bool

    def refine(
        self, batch: Mapping[str, Any], where: str
    ) -> tuple[dict[str, Array], dict[str, str]]:
        """Refine a collated batch.

        Args:
            batch: ``data_samples``, and ``inputs`` with ``mask``.
            where: Name of the batch, for messages.

        Returns:
            The arrays to store, with NaN for frames that are left out, and by image name why these
            are.

        Raises:
            FloatingPointError, ValueError: A frame cannot be refined and is not left out, or no
                single frame is to blame; or the calibration does not show a subject or camera.
        """
        frames = self._frames(batch, range(len(batch['data_samples'])))
        sample_idx = [int(sample.sample_idx) for sample in frames.samples]
        if self.calibration is not None and self.calibration.complete:
            arrays, errors = self.calibration.rows_of(sample_idx)
        else:
            if self.calibration is not None:  # before errors are taken for those of frames
                self.calibration.check(frames)
            arrays, errors = self._refine_good_frames(batch, frames, where)
        reasons = {frames.samples[row].imgname: reason for row, reason in errors.items()}
        return with_left_out(arrays, frames.annotations(), errors), reasons

    def _refine_good_frames(
        self, batch: Mapping[str, Any], frames: RefinementFrames, where: str
    ) -> tuple[dict[str, Array], dict[int, str]]:
        """Return the arrays of the frames that can be refined, and the errors of the others."""
        count = len(frames.samples)
        try:
            return self._refined(frames), {}
        except ERRORS as error:
            errors: dict[int, str] = {}
            if self.leaves_out:
                errors = find_bad_frames(
                    lambda row: self._refined(self._frames(batch, [row])), count
                )
            if not errors:
                names = [sample.imgname for sample in frames.samples]
                raise type(error)(f'{error}\n{where}: {names}') from error
        if len(errors) == count:
            check_finite_weights(self.refiner.discriminator)
            return frames.arrays_without_rows(*self._stored_terms(frames)), errors
        good = [row for row in range(count) if row not in errors]
        return self._refined(self._frames(batch, good)), errors

    def _refined(self, frames: RefinementFrames) -> dict[str, Array]:
        init = frames.init
        if self.calibration is not None:
            init = self.calibration.apply(frames)
            if self.calibration.label_offsets is not None:
                frames = frames.with_label_offsets(self.calibration.label_offsets)
        alone = self.refiner.without_sharing()
        if self.refiner.sharing != alone.sharing:  # since the mean of fits hides a bad one
            alone.initial_terms(init, frames.observed, frames.groups)
        result = self.refiner.refine(init, frames.observed, self.weights, frames.groups)
        # Store the initial shapes, not the calibrated ones with which the refinement starts.
        initial = {**frames.init, 'transl': result.init['transl']}
        return frames.arrays(replace(result, init=initial))

    def _frames(self, batch: Mapping[str, Any], rows: Sequence[int]) -> RefinementFrames:
        return RefinementFrames.of_batch(part_of_batch(batch, rows), **self.frame_options)

    def _stored_terms(self, frames: RefinementFrames) -> tuple[list[str], bool]:
        """Return the names of the energy's terms, and whether overlaps with masks are stored."""
        has_masks = frames.observed.mask is not None
        terms = self.refiner.energy.terms.items()
        names = [name for name, term in terms if has_masks or 'mask' not in term.requires]
        return names, has_masks
