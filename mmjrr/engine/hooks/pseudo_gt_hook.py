"""Hook that refines each batch, and fits the regressors J_spin before and J_opt after."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.dist import barrier, get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from mmjrr.datasets.image_names import parse_image_name
from mmjrr.engine.first_sample import NO_MASKS, check_discriminator, check_first_sample
from mmjrr.engine.fit_agreement import check_fits, measure_fits
from mmjrr.engine.mask_agreement import check_masks, measure_masks
from mmjrr.engine.pseudo_gt_export import export_fits, write_summary
from mmjrr.engine.refinement_job import begin, check_stored, expected_samples, refinement_job
from mmjrr.geometry import PerspectiveCamera
from mmjrr.io import sha256, versions
from mmjrr.jobs import Job, on_main_process
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement import (
    FitEnergy,
    FitRefiner,
    Observations,
    PseudoGTStore,
    RefinedFits,
    fit_regressor,
)
from mmjrr.refinement.regressor_fit import PARAMETERS
from mmjrr.refinement.store import batches_of
from mmjrr.registry import BODY_MODELS, HOOKS, RENDERERS
from mmjrr.regressors import JointRegressor

#: A regressor fitted to fewer frames than this does not generalize to other frames.
FEW_FRAMES = 100
#: Largest accepted distance in pixels between projected 3D joints and 2D joints, as the mean of a
#: camera. Human3.6M's own 2D joints are projections of its 3D joints. Detected joints are off by a
#: few pixels, joints in a wrong order by tens.
PROJECTION_TOLERANCE = 10.0
#: Options of :class:`~mmjrr.refinement.FitRefiner` that the hook's ``refiner`` can set.
REFINER_OPTIONS = ('num_iters', 'lr', 'betas', 'lr_mult', 'init_translation')


@HOOKS.register_module()
class SMPLPseudoGTHook(Hook):
    """Hook that refines SMPL fits into pseudo ground truth, and fits J_spin and J_opt.

    - ``before_run`` locks the work directory, and compares the settings with those with which the
      run was begun.
    - ``before_train`` checks the data, and fits J_spin, which regresses the annotated joints from
      the initial fits. A resumed run loads J_spin if it has one.
    - ``before_train_iter`` refines and stores the batch, and adds ``fits_init`` and
      ``fits_refined`` to it for the model's discriminator step. It does not refine a stored batch
      again.
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
            (Adam's moments), ``lr_mult`` and ``init_translation``.
        regressor: Name or file of the regressor used during refinement. Defaults to ``None``, which
            fits J_spin and uses it.
        init_root: Alignment of frames for the fit of J_spin: a joint's name, ``'mean'`` of the
            joints, or ``None`` for absolute positions. Defaults to ``'pelvis'``, since SPIN's
            translation is crude.
        root: Alignment of frames for the fit of J_opt. Defaults to ``'mean'``. In a single view,
            body size and distance are confused, which puts the refined depth off by several
            centimeters at five meters, so absolute positions (``None``) fit worse.
        fit_batch_size: Number of frames per batch of vertices when fitting regressors. Defaults to
            64.
        check_inputs: Whether to compare initial fits and masks with the annotated joints before
            the first batch, and to refuse those that cannot belong to their frames. Defaults to
            True.

    Raises:
        ValueError: An option is unknown or out of range.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        body_model: dict,
        renderer: dict | None = None,
        energy: dict | None = None,
        refiner: dict | None = None,
        regressor: str | None = None,
        init_root: str | None = 'pelvis',
        root: str | None = 'mean',
        fit_batch_size: int = 64,
        check_inputs: bool = True,
    ) -> None:
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
        self.energy = FitEnergy(**(energy or {}))
        self.body = BODY_MODELS.build(body_model)
        self.body.requires_grad_(False)
        renderer = dict(renderer or dict(type='ContourSilhouette', image_size=(224, 224)))
        self.renderer = RENDERERS.build(dict(renderer, faces=self.body.faces))
        self.refiner_options = dict(refiner or {})
        self.regressor = regressor
        self.init_root = init_root
        self.root = root
        self.fit_batch_size = fit_batch_size
        self.check_inputs = check_inputs
        self.agreement: dict[str, Any] = {}
        self.options = dict(
            body_model=body_model,
            renderer=renderer,
            energy=energy,
            refiner=refiner,
            regressor=regressor,
            init_root=init_root,
            root=root,
            fit_batch_size=fit_batch_size,
        )
        self.device = torch.device(get_device())
        self.refiner: FitRefiner
        self.spin: JointRegressor
        self.store: PseudoGTStore
        self.job: Job | None = None

    # ------------------------------------------------------------------ before any refinement

    def before_run(self, runner: Runner) -> None:
        """Lock the work directory, and compare settings before a checkpoint is loaded."""
        if self.job is not None or isinstance(runner._train_loop, dict):
            return  # a test or validation run
        options = dict(self.options)
        if self.regressor is not None:
            options['regressor_weights'] = _weights_digest(self._named_regressor())
        self.job = job = refinement_job(runner, options, self.body)
        resume, named = runner._resume, runner.cfg.get('load_from')
        runner._load_from = on_main_process(lambda: begin(job, resume, named))
        self.store = PseudoGTStore(job.shards)

    def before_train(self, runner: Runner) -> None:
        """Check the data, fit or load J_spin, and build the refiner."""
        assert self.job is not None
        job, work_dir = self.job, Path(runner.work_dir)
        on_main_process(lambda: check_stored(job, runner.iter))
        self.body.to(self.device)
        self.renderer.to(self.device)
        self.energy.to(self.device)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        check_discriminator(model, self.body, self.energy)
        dataset = runner.train_dataloader.dataset
        check_first_sample(
            dataset, self.body, self.energy, self.renderer.image_size, self.regressor is None
        )
        if hasattr(dataset, 'check_projection'):
            dataset.check_projection(tolerance=PROJECTION_TOLERANCE)
        if self.check_inputs:
            self.agreement = on_main_process(lambda: self._check_inputs(runner, dataset))
        make_refiner = partial(
            FitRefiner,
            body=self.body,
            renderer=self.renderer,
            energy=self.energy,
            discriminator=model,
            **self.refiner_options,
        )
        # Refuse wrong options before the long fit of J_spin.
        make_refiner(regressor=cast(Any, None))
        if self.regressor is not None:
            spin = self._named_regressor()
        else:
            on_main_process(lambda: self._fit_spin(runner, job, work_dir / 'J_spin.npy'))
            spin = JointRegressor.load(work_dir / 'J_spin.npy').reorder(H36M_JOINTS_MMPOSE)
        self.spin = spin.to(self.device)
        self.refiner = make_refiner(regressor=self.spin)
        weights = on_main_process(lambda: job.results().get('term_weights'))
        if weights is not None:
            runner.message_hub.update_info('mmjrr_term_weights', weights)

    def _check_inputs(self, runner: Runner, dataset: Any) -> dict[str, Any]:
        """Refuse fits and masks that do not belong to their frames; return their agreement."""
        agreement: dict[str, Any] = {}
        warnings = []
        if hasattr(dataset, 'fit_sample') and hasattr(self.body, 'articulate'):
            fits = measure_fits(dataset, self.body)
            warnings += check_fits(fits, 'initial fits')
            agreement['fits'] = asdict(fits)
        if getattr(dataset, 'masks', None) is not None:
            masks = measure_masks(dataset)
            warnings += check_masks(masks, 'masks')
            agreement['masks'] = asdict(masks)
        for warning in warnings:
            runner.logger.warning(warning)
        return agreement

    def _named_regressor(self) -> JointRegressor:
        regressor = JointRegressor.load(str(self.regressor)).reorder(H36M_JOINTS_MMPOSE)
        if regressor.body_model not in (self.body.name, 'unnamed'):
            raise ValueError(
                f'regressor {self.regressor!r} is for the body {regressor.body_model!r}, but '
                f'body_model is {self.body.name!r}'
            )
        return regressor

    def _fit_spin(self, runner: Runner, job: Job, path: Path) -> None:
        """Fit J_spin if this run has none; record its checksum, since all batches depend on it."""
        if not ('J_spin' in job.results() and path.is_file()):
            dataset = runner.train_dataloader.dataset
            runner.logger.info(f'Fitting J_spin on {len(dataset)} initial fits ...')
            fit_regressor(
                partial(self._initial_fits, dataset),
                self.body,
                path,
                count=len(dataset),
                root=self.init_root,
                provenance=dict(source='initial fits', **_run_of(runner)),
                log=runner.logger.info,
            )
        job.record_result('J_spin', _weights_digest(JointRegressor.load(path)))

    def _initial_fits(self, dataset: Any) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(dataset), self.fit_batch_size):
            samples = [
                dataset.fit_sample(index)
                for index in range(start, min(start + self.fit_batch_size, len(dataset)))
            ]
            yield {
                name: np.stack([np.asarray(sample[name]) for sample in samples])
                for name in (*PARAMETERS, 'keypoints_3d', 'keypoints_3d_weight')
            }

    # ------------------------------------------------------------------ refinement

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Refine and store the batch, or load it from the store, for the discriminator's step."""
        assert data_batch is not None
        hub = runner.message_hub
        arrays = None
        if hub.get_info('mmjrr_term_weights', None) is not None:
            # Without recorded weights all processes refine: the weights are means over all of them.
            sample_idx = [int(sample.sample_idx) for sample in data_batch['data_samples']]
            arrays = self.store.get(batch_idx, sample_idx, get_rank())
        if arrays is None:
            arrays = self._refine(runner, batch_idx, data_batch)
        for name in ('init', 'refined'):
            prefix = 'init_' if name == 'init' else ''
            data_batch[f'fits_{name}'] = {
                parameter: torch.from_numpy(arrays[f'{prefix}{parameter}']).to(self.device)
                for parameter in PARAMETERS
            }
        for name, value in arrays.items():
            if name.startswith('energy_'):
                hub.update_scalar(f'train/{name}', float(value.mean()))
        if 'iou' in arrays:
            hub.update_scalar('train/iou_init', float(arrays['init_iou'].mean()))
            hub.update_scalar('train/iou_opt', float(arrays['iou'].mean()))

    def _refine(self, runner: Runner, batch_idx: int, data_batch: dict) -> dict[str, np.ndarray]:
        init, observed = self._unpack(data_batch)
        hub = runner.message_hub
        weights = hub.get_info('mmjrr_term_weights', None)
        try:
            result = self.refiner.refine(init, observed, weights=weights)
        except (FloatingPointError, ValueError) as error:
            names = [sample.imgname for sample in data_batch['data_samples']]
            raise type(error)(f'{error}\nbatch {batch_idx}: {names}') from error
        if weights is None:
            # The weights come from the first iteration of the first batch and stay fixed: weights
            # measured in each batch would grow as the discriminators learn.
            job = self.job
            assert job is not None
            on_main_process(lambda: job.record_result('term_weights', result.weights))
            hub.update_info('mmjrr_term_weights', result.weights)
            shown = {name: float(f'{value:.4g}') for name, value in result.weights.items()}
            runner.logger.info(f'Weights of the terms: {shown}')
        arrays = _arrays(data_batch['data_samples'], observed, result)
        self.store.put(batch_idx, arrays, get_rank())
        return arrays

    def _unpack(self, data_batch: dict) -> tuple[dict[str, Tensor], Observations]:
        samples = data_batch['data_samples']

        def stacked(name: str) -> Tensor:
            return torch.stack([getattr(sample, name) for sample in samples]).to(self.device)

        box = torch.tensor(
            np.stack([np.asarray(sample.box, dtype=np.float32) for sample in samples])
        ).to(self.device)
        camera = PerspectiveCamera(
            stacked('focal_length'), stacked('principal_point'), stacked('distortion')
        ).crop(box, self.renderer.image_size)
        height, width = self.renderer.image_size
        scale = torch.stack(
            [width / (box[:, 2] - box[:, 0]), height / (box[:, 3] - box[:, 1])], dim=1
        )
        inputs = data_batch.get('inputs') or {}
        mask, mask_box, mask_cells = (
            None
            if inputs.get(name) is None
            else torch.stack([torch.as_tensor(value) for value in inputs[name]]).to(self.device)
            for name in ('mask', 'mask_box', 'mask_cells')
        )
        if mask_box is not None:
            mask_box = (mask_box - box[:, [0, 1, 0, 1]]) * scale[:, [0, 1, 0, 1]]
        if mask is None and self.energy.requires('mask'):
            raise ValueError(NO_MASKS)
        observed = Observations(
            keypoints_3d=stacked('keypoints_3d'),
            keypoints_3d_weight=stacked('keypoints_3d_weight'),
            keypoints_2d=(stacked('keypoints_2d') - box[:, None, :2]) * scale[:, None],
            keypoints_2d_weight=stacked('keypoints_2d_weight'),
            camera=camera,
            mask=mask,
            mask_box=mask_box,
            mask_cells=mask_cells,
            **(self._times(samples) if self.energy.couples_frames else {}),
        )
        return {name: stacked(name) for name in PARAMETERS}, observed

    def _times(self, samples: Any) -> dict[str, Tensor]:
        """Return a number for each frame's video, and the frame's number in it."""
        names = [parse_image_name(sample.imgname) for sample in samples]
        videos = [(name.sequence, name.camera) for name in names]
        number = {video: index for index, video in enumerate(videos)}
        return dict(
            video=torch.tensor([number[video] for video in videos], device=self.device),
            frame=torch.tensor([name.frame for name in names], device=self.device),
        )

    # ------------------------------------------------------------------ after all poses are refined

    def after_train(self, runner: Runner) -> None:
        """Fit J_opt, export the pseudo ground truth and the summary, and log their paths."""
        barrier()
        on_main_process(lambda: self._finish(runner, Path(runner.work_dir)))

    def after_run(self, runner: Runner) -> None:
        """Unlock the work directory."""
        if self.job is not None:
            self.job.end()

    def _finish(self, runner: Runner, work_dir: Path) -> None:
        expected = expected_samples(runner)
        arrays = self.store.load(expected)
        count, total = len(arrays['sample_idx']), len(runner.train_dataloader.dataset)
        runner.logger.info(f'Fitting J_opt on {count} refined fits of {total} ...')
        if count < FEW_FRAMES:
            runner.logger.warning(
                f'{count} frames are too few for a regressor: J_opt overfits their poses and noise '
                'and does not generalize'
            )
        fit_regressor(
            partial(batches_of, arrays, self.fit_batch_size),
            self.body,
            work_dir / 'J_opt.npy',
            count=count,
            root=self.root,
            provenance=dict(source='refined fits', **_run_of(runner)),
            log=runner.logger.info,
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
            agreement=self.agreement,
        )
        runner.logger.info(
            f'Refined {summary["frames"]} of {summary["frames_expected"]} frames.\n'
            f'  pseudo ground truth (SPIN layout)  {work_dir / "pseudo_gt.npz"}\n'
            f'  regressor J_opt                    {work_dir / "J_opt.npy"}\n'
            f'  summary                            {work_dir / "refinement.json"}\n'
            'Evaluate a model with it: add to its config\n'
            "  test_evaluator = dict(type='mmjrr.JointRegressorMetric', "
            f"regressors=['{work_dir / 'J_opt.npy'}'], protocol='paper')"
        )


def _arrays(samples: Any, observed: Observations, result: RefinedFits) -> dict[str, np.ndarray]:
    """Return the arrays of a batch that are stored."""
    arrays: dict[str, np.ndarray] = {
        'sample_idx': np.array([sample.sample_idx for sample in samples]),
        'imgname': np.array([sample.imgname for sample in samples]),
        'keypoints_3d': observed.keypoints_3d.cpu().numpy(),
        'keypoints_3d_weight': observed.keypoints_3d_weight.cpu().numpy(),
        'keypoints_2d': np.stack([sample.keypoints_2d.numpy() for sample in samples]),
        'box': np.stack([np.asarray(sample.box, dtype=np.float32) for sample in samples]),
    }
    for name in PARAMETERS:
        arrays[name] = result.refined[name].cpu().numpy()
        arrays[f'init_{name}'] = result.init[name].cpu().numpy()
    for name, value in result.terms_refined.items():
        arrays[f'energy_{name}'] = value.cpu().numpy()
        arrays[f'init_energy_{name}'] = result.terms_init[name].cpu().numpy()
    if result.iou_refined is not None and result.iou_init is not None:
        arrays['iou'] = result.iou_refined.cpu().numpy()
        arrays['init_iou'] = result.iou_init.cpu().numpy()
    return arrays


def _run_of(runner: Runner) -> dict[str, Any]:
    return dict(seed=runner.seed, config=str(runner.cfg.filename or ''))


def _weights_digest(regressor: JointRegressor) -> str:
    digest = hashlib.sha256(regressor.weight.detach().cpu().contiguous().numpy().tobytes())
    digest.update(' '.join(regressor.joint_names).encode())
    return digest.hexdigest()
