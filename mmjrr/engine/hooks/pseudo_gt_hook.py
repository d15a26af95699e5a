"""Hook that calibrates, refines each batch, and fits the regressors J_spin and J_opt."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from mmengine.device import get_device
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmjrr.array_types import Array
from mmjrr.engine.bad_frames import (
    ON_BAD_FRAME,
    listed,
    split_left_out,
)
from mmjrr.engine.batch_refinement import BatchRefinement
from mmjrr.engine.calibration import (
    Calibration,
    CalibrationOptions,
    Calibrator,
    sharing_after,
)
from mmjrr.engine.discriminator_batch import fits_of_all_processes
from mmjrr.engine.first_regressor import (
    fit_first_regressor,
    load_named_regressor,
    weights_digest,
)
from mmjrr.engine.first_sample import check_discriminator, check_first_sample
from mmjrr.engine.fits_from_joints import FitsFromJoints, make_initial_fits
from mmjrr.engine.input_agreement import check_inputs
from mmjrr.engine.last_regressor import fit_last_regressor
from mmjrr.engine.pseudo_gt_export import export_fits, write_summary
from mmjrr.engine.refinement_frames import (
    RefinementFrames,
    choose_frames,
    choose_moments,
)
from mmjrr.engine.refinement_job import begin, check_stored, expected_samples, refinement_job
from mmjrr.engine.samplers import check_moments, sampler_of
from mmjrr.engine.term_balance import balance_terms
from mmjrr.errors import DataError
from mmjrr.io import sha256, versions
from mmjrr.jobs import Job, on_main_process, wait_for_all
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement import FitEnergy, FitRefiner, PseudoGTStore
from mmjrr.refinement.refiner import sharing_of
from mmjrr.registry import BODY_MODELS, HOOKS, RENDERERS
from mmjrr.regressors import JointRegressor

#: Largest accepted distance in pixels between projected 3D joints and 2D joints, as the mean of a
#: camera. Human3.6M's own 2D joints are projections of its 3D joints. Detected joints are off by a
#: few pixels, joints in a wrong order by tens.
PROJECTION_TOLERANCE = 10.0
#: Options of :class:`~mmjrr.refinement.FitRefiner` that the hook's ``refiner`` can set.
REFINER_OPTIONS = (
    'num_iters', 'lr', 'betas', 'lr_mult', 'eta_min_ratio', 'init_translation', 'share', 'prior',
    'chunk_size', 'cuda_graph',
)  # fmt: skip
#: Number of frames on which the terms are balanced without a calibration.
BALANCE_FRAMES = 64
#: Largest number of frames of a calibration, whose masks are in memory: 4 GB of 224x224 crops.
MAX_CALIBRATION_FRAMES = 20_000


@HOOKS.register_module()
class SMPLPseudoGTHook(Hook):
    """Hook that refines SMPL fits into pseudo ground truth, and fits J_spin and J_opt.

    - ``before_run`` locks the work directory, and compares the settings with those with which the
      run was begun.
    - ``before_train`` fits bodies to the 3D joints if the data set has no ``fits_file``, and writes
      them to ``initial_fits.npz``. It checks the data, fits J_spin, which regresses the annotated
      joints from the initial fits, and balances the terms on a seeded set of frames. With
      ``calibration``, it then refines a part of the moments in rounds, as one problem; the
      next round uses a round's regressor. A resumed run loads those results that exist.
    - ``before_train_iter`` refines and stores this process's part of the batch. It adds those of
      all processes as ``fits_init`` and ``fits_refined`` for the model's discriminator step. It
      does not refine a stored batch again.
      With a calibration, the regressor and what moments share are those of the calibration, whose
      refined fits are taken as they are if it has all moments.
    - ``after_train`` fits J_opt to all refined fits, and exports the pseudo ground truth in SPIN's
      npz layout.

    The work directory then contains ``J_spin.npy`` and ``J_opt.npy`` (each with a ``.json`` of
    joint names, source and checksum), ``pseudo_gt.npz``, ``refinement.json`` (a summary), and the
    folder ``pseudo_gt`` of shards.

    Args:
        body_model: Config of the body model.
        renderer: Config of the silhouette renderer, without ``faces``. Defaults to
            ``dict(type='ContourSilhouette', image_size=(224, 224))``.
        energy: Options of :class:`mmjrr.refinement.FitEnergy`: the enabled terms and their weights.
        refiner: Options of :class:`mmjrr.refinement.FitRefiner`: ``num_iters``, ``lr``, ``betas``
            (Adam's moments), ``lr_mult``, ``eta_min_ratio``, ``init_translation``, ``share``,
            ``prior``, ``chunk_size`` and ``cuda_graph``.
            ``share=dict(pose='moment', betas='subject')`` gives the views of a moment one pose and
            a subject one shape.
        regressor: Name or file of the regressor used during refinement. Defaults to ``None``, which
            fits J_spin and uses it.
        calibration: Options of :class:`~mmjrr.engine.calibration.CalibrationOptions`: ``rounds``,
            ``moments``, ``refiner``, ``label_offsets`` and ``silhouette_ratio``. Required if frames
            of different moments share a variable. Defaults to None, no calibration.
        initial_fits: Options of :class:`~mmjrr.engine.fits_from_joints.FitsFromJoints` for a data
            set without ``fits_file``: ``regressor``, ``num_iters`` and ``num_starts``. Defaults to
            None, their defaults.
        learn_regressor: Whether to fit a regressor to the refined fits. False refines with
            ``regressor`` alone, as for joints of a detector that are not Human3.6M's. Defaults to
            True.
        init_root: Alignment of frames for the fit of J_spin: a joint's name, ``'mean'`` of the
            joints, or ``None`` for absolute positions. Defaults to ``'pelvis'``, since SPIN's
            translation is crude.
        root: Alignment of frames for the fit of J_opt. Defaults to ``'mean'``. In a single view,
            body size and distance are confused, which puts the refined depth off by several
            centimeters at five meters, so absolute positions (``None``) fit worse. With several
            views they fit best. The rounds of a calibration align frames in the same way.
        fit_batch_size: Number of frames per batch of vertices when fitting regressors. Defaults to
            64.
        check_inputs: Whether to compare initial fits and masks with the annotated joints before
            the first batch, and to refuse those that cannot belong to their frames. Defaults to
            True.
        on_bad_frame: Treatment of a frame that cannot be refined, such as a fit behind the camera
            or a value that is not finite: ``'skip'`` leaves it out, counts and lists it;
            ``'raise'`` ends the run. Defaults to ``'skip'``. A run in which all frames are left out
            ends with an error after the last batch.

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
        if on_bad_frame not in ON_BAD_FRAME:
            raise ValueError(
                f'on_bad_frame: found {on_bad_frame!r}, expected one of {ON_BAD_FRAME}'
            )
        if fit_batch_size < 1:
            raise ValueError(f'fit_batch_size: found {fit_batch_size}, expected at least 1')
        for name, value in (('init_root', init_root), ('root', root)):
            if value not in (*H36M_JOINTS_MMPOSE, 'mean', None):
                raise ValueError(
                    f"{name}: found {value!r}, expected 'mean', None or one of "
                    f'{list(H36M_JOINTS_MMPOSE)}'
                )
        unknown = sorted(set(refiner or {}) - set(REFINER_OPTIONS))
        if unknown:
            raise ValueError(f'refiner: unknown {unknown}, expected some of {REFINER_OPTIONS}')
        self.learn_regressor = learn_regressor
        self.energy = FitEnergy(**(energy or {}))
        self.root = root
        self.sharing = sharing_of((refiner or {}).get('share'))
        self.calibration_options = chosen = self._calibration_options(calibration)
        fits_more = chosen is not None and (chosen.rounds > 1 or chosen.label_offsets)
        if not learn_regressor and (regressor is None or fits_more):
            raise ValueError(
                f'learn_regressor: found False with regressor={regressor!r} and {chosen}, expected '
                'a named regressor, and at most one round without label_offsets'
            )
        self.fits_from_joints = FitsFromJoints(**(initial_fits or {}))
        self.body = BODY_MODELS.build(body_model)
        self.body.requires_grad_(False)
        renderer = dict(renderer or dict(type='ContourSilhouette', image_size=(224, 224)))
        self.renderer = RENDERERS.build(dict(renderer, faces=self.body.faces))
        self.refiner_options = dict(refiner or {})
        self.regressor = regressor
        self.init_root = init_root
        self.fit_batch_size = fit_batch_size
        self.check_inputs = check_inputs
        self.on_bad_frame = on_bad_frame
        self.calibration: Calibration | None = None
        self.agreement: dict[str, Any] = {}
        self.options = dict(
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
            on_bad_frame=on_bad_frame,
        )
        self.device = torch.device(get_device())
        self.refiner: FitRefiner
        self.joint_regressor: JointRegressor  # used while refining
        self.store: PseudoGTStore
        #: Stored arrays of this process's part of the last batch, with the frames left out.
        self.stored: dict[str, Array] = {}
        self.trains_discriminators = True
        self.job: Job | None = None

    def _calibration_options(self, options: dict[str, Any] | None) -> CalibrationOptions | None:
        """Check options that depend on one another.

        Raises:
            ValueError: They contradict each other.
        """
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
        adversarial = self.energy.requires('plausibility')
        if adversarial:
            raise ValueError(
                f'calibration: the terms {adversarial} need discriminators, which are trained '
                'later, batch by batch: switch these terms off'
            )
        chosen = CalibrationOptions(**options)
        changeable = [name for name in REFINER_OPTIONS if name != 'share']  # which batches take on
        unknown = sorted(set(chosen.refiner or {}) - set(changeable))
        if unknown:
            raise ValueError(
                f'calibration: refiner: found {unknown}, expected some of {changeable}'
            )
        return chosen

    # ------------------------------------------------------------------ before any refinement

    def before_run(self, runner: Runner) -> None:
        """Lock the work directory, and compare settings before a checkpoint is loaded."""
        if self.job is not None or isinstance(runner._train_loop, dict):
            return  # a test or validation run
        options = dict(self.options)
        if self.regressor is not None:
            options['regressor_weights'] = weights_digest(
                load_named_regressor(self.regressor, self.body)
            )
        if self.fits_from_joints.regressor is not None:
            options['initial_fits_weights'] = weights_digest(
                load_named_regressor(self.fits_from_joints.regressor, self.body)
            )
        self.job = job = refinement_job(runner, options, self.body)
        resume, named = runner._resume, runner.cfg.get('load_from')
        expected = expected_samples(runner)
        runner._load_from = on_main_process(lambda: begin(job, resume, named, expected))
        self.store = PseudoGTStore(job.shards)

    def before_train(self, runner: Runner) -> None:
        """Check the data, fit or load J_spin, and build the refiner."""
        assert self.job is not None
        job, work_dir = self.job, Path(runner.work_dir)
        expected = expected_samples(runner)
        on_main_process(lambda: check_stored(job, runner.iter, expected))
        self.body.to(self.device)
        self.renderer.to(self.device)
        self.energy.to(self.device)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        check_discriminator(model, self.body, self.energy)
        dataset = runner.train_dataloader.dataset
        # Refuse wrong options and data before the long fits to joints and of J_spin.
        check_first_sample(
            dataset,
            self.body,
            self.energy,
            self.renderer.image_size,
            needs_fits=self.regressor is None,
            needs_camera_pose=self.sharing.pose == 'moment',
        )
        if hasattr(dataset, 'check_projection'):
            # Triangulated joints are within the triangulation's own tolerance.
            own = getattr(dataset, 'triangulate', False)
            dataset.check_projection(tolerance=None if own else PROJECTION_TOLERANCE)
        make_refiner = partial(self._make_refiner, model)
        make_refiner(None)
        if self.sharing.pose == 'moment':
            check_moments(runner.train_dataloader)
        if not getattr(dataset, 'has_fits', True):
            ik_regressor = self.fits_from_joints.load_regressor(self.regressor, self.body)
            make_initial_fits(
                job,
                dataset,
                self.body,
                ik_regressor.to(self.device),
                self.fits_from_joints,
                seed=sampler_of(runner.train_dataloader).seed,
            )
        if self.check_inputs:
            self.agreement = on_main_process(lambda: check_inputs(dataset, self.body))
        first_frames: list[RefinementFrames] = []  # on the main process
        on_main_process(lambda: first_frames.append(self._first_frames(runner, dataset)))
        self.trains_discriminators = bool(self.energy.requires('plausibility'))
        if runner._train_loop is not None:
            runner._train_loop.trains_model = self.trains_discriminators
        if self.regressor is not None:
            spin = load_named_regressor(self.regressor, self.body)
        else:
            path = work_dir / 'J_spin.npy'
            fit = partial(
                fit_first_regressor,
                job,
                dataset,
                self.body,
                path,
                root=self.init_root,
                batch_size=self.fit_batch_size,
                provenance=_run_of(runner),
                log=runner.logger.info,
            )
            on_main_process(fit)
            spin = JointRegressor.load(path).reorder(H36M_JOINTS_MMPOSE)
        share = vars(self.sharing)
        weights = on_main_process(
            lambda: self._balance(make_refiner(spin), first_frames, dataset, job)
        )
        runner.message_hub.update_info('mmjrr_term_weights', weights)
        if self.calibration_options is not None:
            self.calibration = on_main_process(
                lambda: self._calibrate(runner, job, make_refiner, first_frames[0], spin, weights)
            )
            runner.message_hub.update_info('mmjrr_term_weights', self.calibration.weights)
            spin, share = self.calibration.regressor, sharing_after(self.sharing)
        self.joint_regressor = spin.to(self.device)
        self.refiner = make_refiner(self.joint_regressor, share=share)

    def _make_refiner(
        self, discriminator: Any, regressor: JointRegressor | None, **options: Any
    ) -> FitRefiner:
        return FitRefiner(
            self.body,
            cast(Any, None if regressor is None else regressor.to(self.device)),
            self.renderer,
            self.energy,
            discriminator,
            **{**self.refiner_options, **options},
        )

    def _first_frames(self, runner: Runner, dataset: Any) -> RefinementFrames:
        """Read the frames of the calibration or, without one, those that balance the terms."""
        seed = sampler_of(runner.train_dataloader).seed
        if self.calibration_options is not None:
            moments = self.calibration_options.moments
            indices = choose_moments(dataset, moments, seed)
            if len(indices) > MAX_CALIBRATION_FRAMES:
                raise ValueError(
                    f'calibration: moments: found {moments}, which are {len(indices)} frames; '
                    f'expected at most {MAX_CALIBRATION_FRAMES} frames, such as moments=400'
                )
        elif self.energy.couples_frames:  # which needs neighbors in time
            indices = list(range(min(len(dataset), BALANCE_FRAMES)))
        else:
            indices = choose_frames(dataset, BALANCE_FRAMES, seed, self.sharing.pose == 'moment')
        frames = RefinementFrames.of_dataset(dataset, indices, **self._frame_options())
        if self.sharing.pose == 'moment':
            frames.check_views()
        if self.calibration_options is not None:
            frames.check_shared(dataset, self.sharing)
        return frames

    def _frame_options(self) -> dict[str, Any]:
        """Return the options of :meth:`RefinementFrames.of_batch`."""
        return dict(
            image_size=self.renderer.image_size,
            device=self.device,
            needs_masks=bool(self.energy.requires('mask')),
        )

    def _balance(
        self, refiner: FitRefiner, first_frames: list[RefinementFrames], dataset: Any, job: Job
    ) -> dict[str, float]:
        """Return the terms' weights; take bad frames out of the one element of ``first_frames``."""

        def frames_of(indices: list[int]) -> RefinementFrames:
            return RefinementFrames.of_dataset(dataset, indices, **self._frame_options())

        leaves_out = self.on_bad_frame == 'skip'
        weights, first_frames[0] = balance_terms(
            refiner, first_frames[0], frames_of, job, leaves_out
        )
        return weights

    def _calibrate(
        self,
        runner: Runner,
        job: Job,
        make_refiner: Callable[..., FitRefiner],
        frames: RefinementFrames,
        regressor: JointRegressor,
        weights: dict[str, float],
    ) -> Calibration:
        options = self.calibration_options
        assert options is not None
        calibrator = Calibrator(
            frames,
            partial(make_refiner, **(options.refiner or {})),
            weights,
            job.work_dir,
            job.identity.digest,
            rounds=options.rounds,
            complete=len(frames.samples) == len(runner.train_dataloader.dataset),
            root=self.root,
            fit_batch_size=self.fit_batch_size,
            provenance=_run_of(runner),
            log=runner.logger.info,
            warn=runner.logger.warning,
            label_offsets=options.label_offsets,
            learn_regressor=self.learn_regressor,
            silhouette_ratio=options.silhouette_ratio,
        )
        return calibrator.run(regressor)

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
        if not self.trains_discriminators:
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
        options = self._frame_options()
        if batch_idx == 0:
            self.energy.check_batch(RefinementFrames.of_batch(data_batch, **options).observed)
        refinement = BatchRefinement(
            self.refiner,
            self.calibration,
            runner.message_hub.get_info('mmjrr_term_weights'),
            options,
            leaves_out=self.on_bad_frame == 'skip',
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
        on_main_process(lambda: self._finish(runner, Path(runner.work_dir)))

    def after_run(self, runner: Runner) -> None:
        """Unlock the work directory."""
        if self.job is not None:
            self.job.end()

    def _finish(self, runner: Runner, work_dir: Path) -> None:
        expected = expected_samples(runner)
        arrays, left_out = split_left_out(self.store.load(expected))
        if left_out:
            runner.logger.warning(listed(left_out))
        if not len(arrays['sample_idx']):
            raise DataError(f'refinement: no frame could be refined; {listed(left_out)}')
        total = len(runner.train_dataloader.dataset)
        if self.learn_regressor:
            fit_last_regressor(
                arrays,
                self.body,
                work_dir,
                None if self.calibration is None else self.calibration.label_offsets,
                frames_in_dataset=total,
                root=self.root,
                batch_size=self.fit_batch_size,
                provenance=_run_of(runner),
                log=runner.logger.info,
                warn=runner.logger.warning,
            )
        spin = self.regressor or f'J_spin sha256 {sha256(work_dir / "J_spin.npy")}'
        export_fits(
            work_dir / 'pseudo_gt.npz',
            arrays,
            dict(method='mmjrr refinement', regressor=spin, versions=versions(), **_run_of(runner)),
        )
        summary = write_summary(
            work_dir / 'refinement.json',
            arrays,
            frames_expected=len({index for batch in expected.values() for index in batch}),
            frames_in_dataset=total,
            term_weights=runner.message_hub.get_info('mmjrr_term_weights', None),
            left_out=left_out,
            agreement=self.agreement,
            calibration=None if self.calibration is None else self.calibration.summary,
        )
        runner.message_hub.update_info(
            'mmjrr_frames', {name: summary[name] for name in ('frames', 'frames_expected')}
        )
        runner.logger.info(
            f'Refined {summary["frames"]} of {summary["frames_expected"]} frames.\n'
            f'  pseudo ground truth (SPIN layout)  {work_dir / "pseudo_gt.npz"}\n'
            f'  summary                            {work_dir / "refinement.json"}'
        )
        if self.learn_regressor:
            runner.logger.info(
                f'  regressor J_opt                    {work_dir / "J_opt.npy"}\n'
                'Evaluate a model with it: add to its config\n'
                "  test_evaluator = dict(type='mmjrr.JointRegressorMetric', "
                f"regressors=['{work_dir / 'J_opt.npy'}'], protocol='paper')"
            )


def _log_means(runner: Runner, arrays: dict[str, Array]) -> None:
    """Log the means of the terms and overlaps of a batch's refined frames."""
    hub = runner.message_hub
    for name, value in arrays.items():
        if name.startswith('energy_') and len(value):
            hub.update_scalar(f'train/{name}', float(value.mean()))
    if len(arrays.get('iou', ())):
        hub.update_scalar('train/iou_init', float(arrays['init_iou'].mean()))
        hub.update_scalar('train/iou_opt', float(arrays['iou'].mean()))


def _run_of(runner: Runner) -> dict[str, Any]:
    return dict(seed=runner.seed, config=str(runner.cfg.filename or ''))
