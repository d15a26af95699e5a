"""Weights of the energy's terms, balanced on the first frames of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable

from mmengine.logging import print_log

from mmjrr.engine.bad_frames import ERRORS, find_bad_frames, listed
from mmjrr.engine.refinement_frames import RefinementFrames
from mmjrr.jobs import Job
from mmjrr.refinement import FitRefiner


def balance_terms(
    refiner: FitRefiner,
    frames: RefinementFrames,
    frames_of: Callable[[list[int]], RefinementFrames],
    job: Job,
    leaves_out: bool,
) -> tuple[dict[str, float], RefinementFrames, dict[int, str]]:
    """Measure the terms' weights once, or read the recorded ones; they hold for the whole run.

    Weights measured in each batch would grow as the discriminators learn. Where frames share a
    variable, each frame is first evaluated by itself, since the mean of their fits hides a bad one.

    Args:
        refiner: The refiner.
        frames: The frames on which the terms are balanced.
        frames_of: A function that reads frames of the data set by index.
        job: The job, which records the weights and the frames left out.
        leaves_out: Whether bad frames are left out; if not, they are errors.

    Returns:
        The weights by term; the frames without the bad ones; and by index in the data set why
        these are left out.

    Raises:
        FloatingPointError, ValueError: A frame cannot be refined and is not left out, or no frame
            can be; or a term cannot be balanced on the frames.
    """
    alone = refiner.without_sharing()

    def initial_terms(refiner: FitRefiner, frames: RefinementFrames) -> dict[str, float]:
        return refiner.initial_terms(frames.init, frames.observed, frames.groups)

    results, indices = job.results(), [int(sample.sample_idx) for sample in frames.samples]
    weights = results.get('term_weights')
    recorded = results.get('left_out_of_first_frames', {})  # JSON's keys are text
    left_out = {int(index): str(reason) for index, reason in recorded.items()}

    def good_frames() -> RefinementFrames:
        return frames_of([index for index in indices if index not in left_out])

    if weights is None:
        try:
            if refiner.sharing != alone.sharing:
                initial_terms(alone, frames)
            terms = initial_terms(refiner, frames)
        except ERRORS as error:
            names = [sample.imgname for sample in frames.samples]
            errors: dict[int, str] = {}
            if leaves_out:
                errors = find_bad_frames(
                    lambda row: initial_terms(alone, frames_of([indices[row]])), len(indices)
                )
            if len(errors) in (0, len(indices)):
                raise type(error)(f'{error}\nframes: {names}') from error
            reasons = {names[row]: reason for row, reason in errors.items()}
            print_log(
                f'Balance of the terms: {listed(reasons)}', logger='current', level=logging.WARNING
            )
            left_out = {indices[row]: reason for row, reason in errors.items()}
            job.record_result(
                'left_out_of_first_frames', {str(index): left_out[index] for index in left_out}
            )
            frames = good_frames()
            terms = initial_terms(refiner, frames)
        weights = refiner.energy.balance(terms, frames.observed)
        job.record_result('term_weights', weights)
    elif left_out:
        frames = good_frames()
    shown = ', '.join(f'{name} {value:.4g}' for name, value in weights.items())
    print_log(f'Weights of the terms: {shown}', logger='current')
    return weights, frames, left_out
