"""The start of a refinement: checks, J_spin, the weights of the terms, and a calibration."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mmjrr.engine.bad_frames import listed
from mmjrr.engine.calibration import Calibration, Calibrator, sharing_after
from mmjrr.engine.first_regressor import fit_first_regressor, load_named_regressor
from mmjrr.engine.first_sample import (
    check_discriminator,
    check_first_sample,
    check_rotation_terms,
    check_subjects,
    subjects_of,
)
from mmjrr.engine.fit_genders import check_genders
from mmjrr.engine.fits_from_joints import make_initial_fits
from mmjrr.engine.input_agreement import check_inputs
from mmjrr.engine.joint_order import check_annotation
from mmjrr.engine.refinement_frames import RefinementFrames, choose_frames, choose_moments
from mmjrr.engine.refinement_job import settings_digest
from mmjrr.engine.refinement_options import RefinementOptions
from mmjrr.engine.samplers import MomentBatchSampler, batch_sampler_of, sampler_of
from mmjrr.engine.term_balance import balance_terms
from mmjrr.errors import DataError
from mmjrr.jobs import Job, on_main_process
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement import FitEnergy, FitRefiner
from mmjrr.refinement.variables import Sharing
from mmjrr.regressors import JointRegressor

#: Largest accepted distance in pixels between projected 3D joints and 2D joints, as the mean of a
#: camera. Human3.6M's own 2D joints are projections of its 3D joints. Detected joints are off by a
#: few pixels, joints in a wrong order by tens.
PROJECTION_TOLERANCE = 10.0
#: Number of frames on which the terms are balanced without a calibration.
BALANCE_FRAMES = 64
#: Largest number of frames of a calibration, whose masks are in memory: 4 GB of 224x224 crops.
MAX_CALIBRATION_FRAMES = 20_000


@dataclass
class StartedRefinement:
    """What a run has before its first batch.

    Attributes:
        refiner: The refiner of all batches.
        joint_regressor: The regressor that it uses.
        trains_discriminators: Whether a term needs discriminators.
        calibration: The result of the calibration; None without one.
        agreement: Agreement of initial fits and masks with annotated joints.
        provenance: Seed, config and settings of the run, for the files that it writes.
    """

    refiner: FitRefiner
    joint_regressor: JointRegressor
    trains_discriminators: bool
    calibration: Calibration | None = None
    agreement: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass
class RefinementStart:
    """The start of a refinement.

    Args:
        runner: The runner.
        job: The job, which records results that all batches depend on.
        options: The options.
        body: The body model.
        renderer: The silhouette renderer.
        energy: The energy.
        device: The device of all of them.
    """

    runner: Runner
    job: Job
    options: RefinementOptions
    body: Any
    renderer: Any
    energy: FitEnergy
    device: torch.device

    def run(self) -> StartedRefinement:
        """Check the data, and make or load all that batches depend on; every process calls this.

        Raises:
            ValueError, DataError: Data, model and options do not fit together.
        """
        options, runner = self.options, self.runner
        model: nn.Module = runner.model.module if is_model_wrapper(runner.model) else runner.model
        dataset = runner.train_dataloader.dataset
        self._check(model, dataset)
        make_refiner = partial(self._make_refiner, model)
        options.check_refiners(partial(make_refiner, None))
        check_batches(runner.train_dataloader, options.sharing)
        self._make_initial_fits(dataset)
        agreement: dict[str, Any] = {}
        if options.check_inputs:
            agreement = on_main_process(lambda: self._check_inputs(dataset))
        first_frames: list[RefinementFrames] = []  # on the main process
        on_main_process(lambda: first_frames.append(self._first_frames(dataset)))
        trains_discriminators = bool(self.energy.requires('plausibility'))
        if runner._train_loop is not None:
            runner._train_loop.trains_model = trains_discriminators
        self.energy.set_estimates(on_main_process(lambda: self._estimates(first_frames[0])))
        regressor = self._first_regressor(dataset)
        weights, left_out = on_main_process(
            lambda: self._balance(make_refiner(regressor), first_frames, dataset)
        )
        runner.message_hub.update_info('mmjrr_term_weights', weights)
        share, calibration = vars(options.sharing), None
        if options.calibration_options is not None:
            calibration = on_main_process(
                lambda: self._calibrate(make_refiner, first_frames[0], regressor, weights, left_out)
            )
            runner.message_hub.update_info('mmjrr_term_weights', calibration.weights)
            regressor, share = calibration.regressor, sharing_after(options.sharing)
        regressor = regressor.to(self.device)
        return StartedRefinement(
            make_refiner(regressor, share=share),
            regressor,
            trains_discriminators,
            calibration,
            agreement,
            self._provenance,
        )

    def _check(self, model: nn.Module, dataset: Any) -> None:
        """Refuse wrong options and data before the long fits to joints and of J_spin."""
        check_discriminator(model, self.body, self.energy)
        check_genders(dataset, self.body)
        check_rotation_terms(self.energy, getattr(dataset, 'has_fits', True))
        calibration = self.options.calibration_options
        if calibration is not None and calibration.label_offsets:
            check_subjects(subjects_of(dataset), 'the data set')
        check_first_sample(
            dataset,
            self.body,
            self.energy,
            self.renderer.image_size,
            needs_fits=self.options.regressor is None,
            needs_camera_pose=self.options.sharing.pose == 'moment',
        )
        if hasattr(dataset, 'check_projection'):
            # Triangulated joints are within the triangulation's own tolerance.
            own = getattr(dataset, 'triangulate', False)
            dataset.check_projection(tolerance=None if own else PROJECTION_TOLERANCE)
        if hasattr(dataset, 'annotations'):
            for remark in check_annotation(str(dataset.ann_file), dataset.annotations):
                print_log(remark, logger='current', level=logging.WARNING)

    def _check_inputs(self, dataset: Any) -> dict[str, Any]:
        """Refuse fits and masks of other frames, and say how to go on all the same."""
        try:
            return check_inputs(dataset, self.body)
        except DataError as error:
            raise DataError(
                f'{error}. If they are right, go on with custom_hooks.0.check_inputs=False'
            ) from error

    def _make_initial_fits(self, dataset: Any) -> None:
        """Fit bodies to the joints of a data set without fits."""
        if getattr(dataset, 'has_fits', True):
            return
        fits_from_joints = self.options.fits_from_joints
        regressor = fits_from_joints.load_regressor(self.options.regressor, self.body)
        make_initial_fits(
            self.job,
            dataset,
            self.body,
            regressor.to(self.device),
            fits_from_joints,
            seed=sampler_of(self.runner.train_dataloader).seed,
            provenance=self._provenance,
        )

    def _first_regressor(self, dataset: Any) -> JointRegressor:
        """Load the named regressor, or fit J_spin unless an earlier run has."""
        options = self.options
        if options.regressor is not None:
            return load_named_regressor(options.regressor, self.body)
        path = Path(self.runner.work_dir) / 'J_spin.npy'
        fit = partial(
            fit_first_regressor,
            self.job,
            dataset,
            self.body,
            path,
            root=options.init_root,
            batch_size=options.fit_batch_size,
            provenance=self._provenance,
            log=self.runner.logger.info,
        )
        on_main_process(fit)
        return JointRegressor.load(path).reorder(H36M_JOINTS_MMPOSE)

    def _make_refiner(
        self, discriminator: Any, regressor: JointRegressor | None, **options: Any
    ) -> FitRefiner:
        return FitRefiner(
            self.body,
            cast(Any, None if regressor is None else regressor.to(self.device)),
            self.renderer,
            self.energy,
            discriminator,
            **{**(self.options.refiner or {}), **options},
        )

    def _first_frames(self, dataset: Any) -> RefinementFrames:
        """Read the frames of the calibration or, without one, those that balance the terms."""
        seed = sampler_of(self.runner.train_dataloader).seed
        sharing, calibration = self.options.sharing, self.options.calibration_options
        if calibration is not None:
            moments = calibration.moments
            indices = choose_moments(dataset, moments, seed)
            if len(indices) > MAX_CALIBRATION_FRAMES:
                raise ValueError(
                    f'calibration: moments: found {moments}, which are {len(indices)} frames; '
                    f'expected at most {MAX_CALIBRATION_FRAMES} frames, such as moments=400'
                )
        elif self.energy.couples_frames:  # which needs neighbors in time
            indices = list(range(min(len(dataset), BALANCE_FRAMES)))
        else:
            indices = choose_frames(dataset, BALANCE_FRAMES, seed, bool(sharing.of_moments))
        frames = RefinementFrames.of_dataset(dataset, indices, **self._frame_options)
        self._check_first_frames(frames, dataset, is_complete=len(indices) == len(dataset))
        return frames

    def _check_first_frames(
        self, frames: RefinementFrames, dataset: Any, is_complete: bool
    ) -> None:
        """Check that the first frames show what all batches depend on.

        Args:
            frames: The frames.
            dataset: The data set.
            is_complete: Whether all of its frames were chosen, so that none is refined later.
        """
        sharing, calibration = self.options.sharing, self.options.calibration_options
        if sharing.pose == 'moment':
            frames.check_views()
        if calibration is not None:
            if not is_complete:
                frames.check_shared(dataset, sharing)
            if calibration.label_offsets:
                check_subjects(frames.subjects, f'moments={calibration.moments} of the calibration')
        self._check_effects(frames)

    def _check_effects(self, first_frames: RefinementFrames) -> None:
        """Refuse terms that have no effect on the first frames.

        The moments of a calibration are no neighbors in time, which the error says.
        """
        calibration = self.options.calibration_options
        for term in self.energy.terms.values():
            try:
                term.check_batch(first_frames.observed)
            except ValueError as error:
                if not term.couples_frames or calibration is None or calibration.moments is None:
                    raise
                raise ValueError(
                    f'{error}. The first batch is that of the calibration, whose '
                    f'moments={calibration.moments} are spread over poses: also set '
                    'calibration.moments=None, which takes all'
                ) from error

    @property
    def _provenance(self) -> dict[str, Any]:
        """Seed and name of the config, and the checksum of all settings.

        The path of the config would make files differ by the folder in which a run is resumed.
        """
        batches = batch_sampler_of(self.runner.train_dataloader)
        return dict(
            seed=self.runner.seed,
            config=Path(self.runner.cfg.filename or '').name,
            settings_sha256=settings_digest(self.job.identity, len(batches), self.runner.max_iters),
        )

    @property
    def _frame_options(self) -> dict[str, Any]:
        return frame_options(self.renderer, self.energy, self.device)

    def _estimates(self, first_frames: RefinementFrames) -> dict[str, dict[str, Any]]:
        """Estimate what the terms need to know of the data, or read the recorded values."""
        recorded = self.job.results().get('term_estimates')
        if recorded is not None:
            return dict(recorded)
        estimates = self.energy.estimate(first_frames.observed, first_frames.groups.moment)
        self.job.record_result('term_estimates', estimates)
        return estimates

    def _balance(
        self, refiner: FitRefiner, first_frames: list[RefinementFrames], dataset: Any
    ) -> tuple[dict[str, float], dict[int, str]]:
        """Balance the terms, and take bad frames out of the one element of ``first_frames``.

        Returns:
            The terms' weights, and why frames are left out, by index.

        Raises:
            ValueError: A check of the first frames fails without the bad ones.
        """

        def frames_of(indices: list[int]) -> RefinementFrames:
            return RefinementFrames.of_dataset(dataset, indices, **self._frame_options)

        chosen = len(first_frames[0].samples)
        weights, first_frames[0], left_out = balance_terms(
            refiner, first_frames[0], frames_of, self.job, self.options.skips_bad_frames
        )
        if left_out:
            try:
                self._check_first_frames(first_frames[0], dataset, chosen == len(dataset))
            except ValueError as error:
                reasons = {dataset.imgname(index): reason for index, reason in left_out.items()}
                raise type(error)(f'{error}\n{listed(reasons)}') from error
        return weights, left_out

    def _calibrate(
        self,
        make_refiner: Callable[..., FitRefiner],
        frames: RefinementFrames,
        regressor: JointRegressor,
        weights: dict[str, float],
        left_out: dict[int, str],
    ) -> Calibration:
        options, runner = self.options.calibration_options, self.runner
        assert options is not None
        calibrator = Calibrator(
            frames,
            partial(make_refiner, **(options.refiner or {})),
            weights,
            self.job.work_dir,
            self.job.identity.digest,
            rounds=options.rounds,
            complete=len(frames.samples) + len(left_out) == len(runner.train_dataloader.dataset),
            root=self.options.root,
            fit_batch_size=self.options.fit_batch_size,
            provenance=self._provenance,
            log=runner.logger.info,
            warn=runner.logger.warning,
            label_offsets=options.label_offsets,
            learn_regressor=self.options.learn_regressor,
            max_ratios=options.max_ratios,
            left_out=left_out,
        )
        return calibrator.run(regressor)


def check_batches(loader: DataLoader[Any], sharing: Sharing) -> None:
    """Check that frames of a moment that share a variable are in one batch.

    Raises:
        ValueError: They may be in different batches.
    """
    shared = ' and '.join(f"{name}='moment'" for name in sharing.of_moments)
    if shared and not isinstance(loader.batch_sampler, MomentBatchSampler):
        raise ValueError(
            f'share: {shared}: expected all views of a moment in one batch, found '
            f'{type(loader.batch_sampler).__name__}, which does not ensure it: set '
            "train_dataloader=dict(batch_sampler=dict(type='MomentBatchSampler'))"
        )


def frame_options(renderer: Any, energy: FitEnergy, device: torch.device) -> dict[str, Any]:
    """Return the options of :meth:`RefinementFrames.of_batch`."""
    return dict(
        image_size=renderer.image_size,
        device=device,
        needs_masks=bool(energy.requires('mask')),
    )
