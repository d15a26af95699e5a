"""Hook that calibrates, refines each batch, and fits the regressors J_spin and J_opt."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmjrr.array_types import Array
from mmjrr.engine.bad_frames import listed
from mmjrr.engine.batch_refinement import BatchRefinement
from mmjrr.engine.checkpoint import resume_or_begin
from mmjrr.engine.discriminator_batch import fits_of_all_processes
from mmjrr.engine.first_regressor import load_named_regressor, weights_digest
from mmjrr.engine.refinement_end import finish_refinement
from mmjrr.engine.refinement_frames import RefinementFrames
from mmjrr.engine.refinement_job import begin, check_stored, expected_samples, refinement_job
from mmjrr.engine.refinement_options import RefinementOptions
from mmjrr.engine.refinement_start import RefinementStart, StartedRefinement, frame_options
from mmjrr.jobs import Job, on_main_process, wait_for_all
from mmjrr.refinement import PseudoGTStore
from mmjrr.refinement.left_out import split_left_out, without_nan
from mmjrr.registry import BODY_MODELS, HOOKS, RENDERERS
from mmjrr.regressors import JointRegressor


@HOOKS.register_module()
class SMPLPseudoGTHook(Hook):
    """Hook that refines SMPL fits into pseudo ground truth, and fits J_spin and J_opt.

    - ``before_run`` locks the work directory, and compares the settings with those with which the
      run was begun.
    - ``before_train`` fits bodies to the 3D joints if the data set has no ``fits_file``, and writes
      them to ``initial_fits.npz``. It checks the data, fits J_spin, which regresses the annotated
      joints from the initial fits, and balances the terms on a seeded set of frames. With
      ``calibration``, it then refines a part of the moments in rounds, as one problem; each round
      uses the regressor of the round before. A resumed run loads those results that exist.
    - ``before_train_iter`` refines and stores this process's part of the batch. It adds the fits
      of all processes as ``fits_init`` and ``fits_refined`` for the model's discriminator step. It
      does not refine a stored batch again.
      With a calibration, the regressor and what moments share are those of the calibration. If it
      takes all moments, its refined fits are the result, without the frames that it left out.
    - ``after_train`` fits J_opt to all refined fits, and exports the pseudo ground truth in SPIN's
      npz layout.

    The work directory then contains ``J_spin.npy`` and ``J_opt.npy`` (each with a ``.json`` of
    joint names, source and checksum), ``pseudo_gt.npz``, ``refinement.json`` (a summary), and the
    folder ``pseudo_gt`` of shards.

    Args:
        body_model: Config of the body model.
        renderer: Config of the silhouette renderer, without ``faces``. Default:
            ``dict(type='ContourSilhouette', image_size=(224, 224))``.
        energy: Options of :class:`mmjrr.refinement.FitEnergy`: the enabled terms and their weights.
        refiner: Options of :class:`mmjrr.refinement.FitRefiner`: ``num_iters``, ``lr``, ``betas``
            (Adam's moments), ``lr_mult``, ``eta_min_ratio``, ``init_translation``, ``share``,
            ``prior``, ``chunk_size`` and ``cuda_graph``.
            ``share=dict(pose='moment', betas='subject')`` gives the views of a moment one pose and
            a subject one shape.
        regressor: Name or file of the regressor used during refinement. Default: ``None``, which
            fits J_spin and uses it.
        calibration: Options of :class:`~mmjrr.engine.calibration.CalibrationOptions`: ``rounds``,
            ``moments``, ``refiner``, ``label_offsets`` and ``max_ratios``. Required if frames of
            different moments share a variable. Default: None, no calibration.
        initial_fits: Options of :class:`~mmjrr.engine.fits_from_joints.FitsFromJoints` for a data
            set without ``fits_file``: ``regressor``, ``num_iters`` and ``num_starts``. Default:
            None, their defaults.
        learn_regressor: Whether to fit a regressor to the refined fits. False refines with
            ``regressor`` alone, as for joints of a detector that are not Human3.6M's. Default:
            True.
        init_root: Alignment of frames for the fit of J_spin: a joint's name, ``'mean'`` of the
            joints, or ``None`` for absolute positions. Default: ``'pelvis'``, since SPIN's
            translation is crude.
        root: Alignment of frames for the fit of J_opt. Default: ``'mean'``. In a single view,
            body size and distance are confused, which puts the refined depth off by several
            centimeters at five meters, so absolute positions (``None``) fit worse. With several
            views they fit best. The rounds of a calibration align frames in the same way.
        fit_batch_size: Number of frames per batch of vertices when fitting regressors. Default:
            64.
        check_inputs: Whether to compare initial fits and masks with the annotated joints before
            the first batch, and to refuse those that cannot belong to their frames. Default:
            True.
        on_bad_frame: Treatment of a frame that cannot be refined, such as a fit behind the camera,
            a shape coefficient beyond 10 standard deviations or a value that is not finite:
            ``'skip'`` leaves it out, counts and lists it; ``'raise'`` ends the run. Default:
            ``'skip'``. A run in which all frames are left out ends with an error after the last
            batch.

    Raises:
        ValueError: An option is unknown or out of range.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        body_model: dict[str, Any],
        renderer: dict[str, Any] | None = None,
        energy: dict[str, Any] | None = None,
        refiner: dict[str, Any] | None = None,
        regressor: str | None = None,
        calibration: dict[str, Any] | None = None,
        initial_fits: dict[str, Any] | None = None,
        learn_regressor: bool = True,
        init_root: str | None = 'pelvis',
        root: str | None = 'mean',
        fit_batch_size: int = 64,
        check_inputs: bool = True,
        on_bad_frame: str = 'skip',
    ) -> None:
        renderer = dict(renderer or dict(type='ContourSilhouette', image_size=(224, 224)))
        self.options = RefinementOptions(
            body_model=body_model,
            renderer=renderer,
            energy=energy,
            refiner=refiner,
            regressor=regressor,
            calibration=calibration,
            initial_fits=initial_fits,
            learn_regressor=learn_regressor,
            init_root=init_root,
            root=root,
            fit_batch_size=fit_batch_size,
            check_inputs=check_inputs,
            on_bad_frame=on_bad_frame,
        )
        self.energy = self.options.fit_energy
        self.body = BODY_MODELS.build(body_model)
        self.body.requires_grad_(False)
        self.renderer = RENDERERS.build(dict(renderer, faces=self.body.faces))
        self.device = torch.device(get_device())
        self.job: Job | None = None
        self.store: PseudoGTStore
        self.started: StartedRefinement
        #: Stored arrays of this process's part of the last batch, with the frames left out.
        self.stored: dict[str, Array] = {}

    @property
    def joint_regressor(self) -> JointRegressor:
        """The regressor that is used while refining."""
        return self.started.joint_regressor

    # ------------------------------------------------------------------ before any refinement

    def before_run(self, runner: Runner) -> None:
        """Lock the work directory, and compare settings before a checkpoint is loaded."""
        if self.job is not None or isinstance(runner._train_loop, dict):
            return  # a test or validation run
        options = self.options.as_dict()
        named = self.options.regressor
        if named is not None:
            options['regressor_weights'] = weights_digest(load_named_regressor(named, self.body))
        if not getattr(runner.train_dataloader.dataset, 'has_fits', True):
            options['initial_fits_weights'] = weights_digest(
                self.options.fits_from_joints.load_regressor(named, self.body)
            )
        self.job = job = refinement_job(runner, options, self.body)
        # SafeCheckpointHook clears runner._resume if it finds no checkpoint.
        resume = runner._resume or bool(runner.cfg.get('resume'))
        load_from = runner.cfg.get('load_from')
        expected = expected_samples(runner)
        checkpoint = on_main_process(lambda: begin(job, resume, load_from, expected))
        if resume:
            resume_or_begin(runner, checkpoint)
        else:
            runner._load_from = checkpoint
        self.store = PseudoGTStore(job.shards)

    def before_train(self, runner: Runner) -> None:
        """Check the data, fit or load J_spin, and build the refiner."""
        job = self.job
        assert job is not None
        expected = expected_samples(runner)
        on_main_process(lambda: check_stored(job, runner.iter, expected))
        for module in (self.body, self.renderer, self.energy):
            module.to(self.device)
        self.started = RefinementStart(
            runner, job, self.options, self.body, self.renderer, self.energy, self.device
        ).run()

    # ------------------------------------------------------------------ refinement

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Refine and store the batch, or load it from the store, for the discriminator's step."""
        assert data_batch is not None
        arrays: dict[str, Array] = {}
        self.stored = {}
        if data_batch['data_samples']:
            self.stored = self._stored_or_refined(runner, batch_idx, data_batch)
            arrays, _ = split_left_out(self.stored)
            _log_means(runner, arrays)
        if not self.started.trains_discriminators:
            return
        fits = fits_of_all_processes(arrays, self.device)
        data_batch.update(fits)
        runner._train_loop.trains_model = bool(fits)

    def _stored_or_refined(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any]
    ) -> dict[str, Array]:
        sample_idx = [int(sample.sample_idx) for sample in data_batch['data_samples']]
        stored = self.store.get(batch_idx, sample_idx, get_rank())
        return self._refine(runner, batch_idx, data_batch) if stored is None else stored

    def _refine(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any]
    ) -> dict[str, Array]:
        options = frame_options(self.renderer, self.energy, self.device)
        calibration = self.started.calibration
        if batch_idx == 0 and (calibration is None or not calibration.complete):
            self.energy.check_batch(RefinementFrames.of_batch(data_batch, **options).observed)
        refinement = BatchRefinement(
            self.started.refiner,
            calibration,
            runner.message_hub.get_info('mmjrr_term_weights'),
            options,
            leaves_out=self.options.skips_bad_frames,
        )
        arrays, reasons = refinement.refine(data_batch, f'batch {batch_idx}')
        if reasons:
            runner.logger.warning(f'Batch {batch_idx}: {listed(reasons)}')
        self.store.put(batch_idx, arrays, get_rank())
        return arrays

    # ------------------------------------------------------------------ after all poses are refined

    def after_train(self, runner: Runner) -> None:
        """Fit J_opt, export the pseudo ground truth and the summary, and log their paths."""
        wait_for_all()
        on_main_process(
            lambda: finish_refinement(runner, self.options, self.body, self.started, self.store)
        )

    def after_run(self, runner: Runner) -> None:
        """Unlock the work directory."""
        if self.job is not None:
            self.job.end()


def _log_means(runner: Runner, arrays: dict[str, Array]) -> None:
    """Log the means of the terms and overlaps of a batch's refined frames."""
    hub = runner.message_hub
    for name, value in arrays.items():
        if name.startswith('energy_') and len(value):
            hub.update_scalar(f'train/{name}', float(value.mean()))
    for name, scalar in (('init_iou', 'iou_init'), ('iou', 'iou_opt')):
        known = without_nan(arrays.get(name, np.empty(0)))
        if len(known):
            hub.update_scalar(f'train/{scalar}', float(known.mean()))
