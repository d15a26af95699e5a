"""The hook that refines each batch and learns the regressors before and after."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.dist import barrier, get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from mmjrr.body_models import LazyVertices, VertexMaker
from mmjrr.datasets.fits import save_fits
from mmjrr.geometry import PIXELS_PER_SCALE, PerspectiveCamera
from mmjrr.io import atomic_write, sha256, versions
from mmjrr.jobs.progress import Progress
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement import FitEnergy, FitRefiner, PseudoGTStore
from mmjrr.refinement.refiner import Observations
from mmjrr.registry import BODY_MODELS, HOOKS, RENDERERS
from mmjrr.regressors import JointRegressor, fit_joint_regressor

#: With fewer frames than this a fitted regressor says nothing about other frames.
FEW_FRAMES = 100
#: Pixels between projected 3D joints and 2D joints, in the mean of a camera. Human3.6M's own 2D
#: joints are projections of its 3D joints; detected ones are a few pixels off, a joint order that
#: is not what it should be tens.
PROJECTION_TOLERANCE = 10.0
PARAMETERS = ('global_orient', 'body_pose', 'betas', 'transl')
NO_MASKS = (
    "the silhouette term is on, but there is no mask: set the dataset's mask_file and load_mask, "
    'or energy=dict(terms=dict(silhouette=False))'
)


@HOOKS.register_module()
class SMPLPseudoGTHook(Hook):
    """Refines SMPL fits into pseudo ground truth, and learns J_spin and J_opt.

    - ``before_train``: the first sample is checked for what the steps need; J_spin is fitted from
      the initial fits to the annotated joints (or loaded, when a resumed run has it).
    - ``before_train_iter``: the batch is refined, stored, and put into the batch as ``fits_init``
      and ``fits_refined`` for the model's discriminator step.
    - ``after_train``: J_opt is fitted from all refined fits, and pseudo ground truth is exported
      in SPIN's npz layout.

    It leaves in the work directory ``J_spin.npy`` and ``J_opt.npy`` (each with a ``.json`` of
    joint names, source and checksum), ``pseudo_gt.npz``, ``refinement.json`` (a summary), and the
    folder ``pseudo_gt`` of shards.

    Args:
        body_model: Config of the body model.
        renderer: Config of the silhouette renderer, without ``faces``; ``None`` only if the
            silhouette term is off. Defaults to ``dict(type='ContourSilhouette',
            image_size=(224, 224))``.
        energy: Options of :class:`mmjrr.refinement.FitEnergy`: which terms, and their weights.
        num_iters: Adam steps a batch. Defaults to 100.
        lr: Their learning rate. Defaults to 1e-2.
        betas: Adam's moments. Defaults to (0.9, 0.999).
        lr_mult: Factors on ``lr`` for ``'pose_6d'``, ``'betas'``, ``'transl'``. Defaults to 1.
        init_translation: Where the translation starts: ``'3d'``, ``'2d'`` or ``None``, as
            :class:`mmjrr.refinement.FitRefiner` says. Defaults to ``'3d'``.
        regressor: The regressor used while refining. Defaults to ``None``: J_spin, fitted here.
        init_root: How frames are aligned for the fit of J_spin: a joint's name, ``'mean'``, or
            ``None`` for absolute positions. Defaults to ``'pelvis'``, since SPIN's translation is
            crude.
        root: The same for J_opt. Defaults to ``'mean'``. The refined depth is off by as much as
            shape and distance are confused (several centimetres at five metres), so absolute
            positions (``None``) are the worse choice where only one view is refined.
        fit_batch_size: Frames for which vertices are computed at once for the fits. Defaults to 64.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        body_model: dict,
        renderer: dict | None = None,
        energy: dict | None = None,
        num_iters: int = 100,
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        lr_mult: dict[str, float] | None = None,
        init_translation: str | None = '3d',
        regressor: str | None = None,
        init_root: str | None = 'pelvis',
        root: str | None = 'mean',
        fit_batch_size: int = 64,
    ) -> None:
        if fit_batch_size < 1:
            raise ValueError(f'fit_batch_size: found {fit_batch_size}, expected at least 1')
        for name, value in (('init_root', init_root), ('root', root)):
            if value not in (*H36M_JOINTS_MMPOSE, 'mean', None):
                raise ValueError(
                    f"{name}: found {value!r}, expected 'mean', None or one of "
                    f'{list(H36M_JOINTS_MMPOSE)}'
                )
        self.energy = FitEnergy(**(energy or {}))
        self.body = BODY_MODELS.build(body_model)
        self.body.requires_grad_(False)
        renderer = dict(renderer or dict(type='ContourSilhouette', image_size=(224, 224)))
        self.renderer = RENDERERS.build(dict(renderer, faces=self.body.faces))
        self.num_iters = num_iters
        self.lr = lr
        self.betas = (betas[0], betas[1])
        self.lr_mult = lr_mult
        self.init_translation = init_translation
        self.regressor = regressor
        self.init_root = init_root
        self.root = root
        self.fit_batch_size = fit_batch_size
        self.refiner: FitRefiner

    # ------------------------------------------------------------------ before any refinement

    def before_train(self, runner: Runner) -> None:
        """Check folder and data, bring in J_spin, build the refiner."""
        self.work_dir = Path(runner.work_dir)
        self.store = PseudoGTStore(self.work_dir / 'pseudo_gt')
        self._check_store(runner)
        device = torch.device(get_device())
        self.device = device
        self.body.to(device)
        self.renderer.to(device)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._check_model(model)
        dataset = runner.train_dataloader.dataset
        self._check_resumed(runner)
        self._check_first_sample(dataset)
        if hasattr(dataset, 'check_projection'):
            dataset.check_projection(tolerance=PROJECTION_TOLERANCE)
        spin = self._initial_regressor(runner).to(device)
        self.spin = spin
        self.refiner = FitRefiner(
            body=self.body,
            regressor=spin,
            renderer=self.renderer,
            energy=self.energy,
            discriminator=model,
            num_iters=self.num_iters,
            lr=self.lr,
            betas=self.betas,
            lr_mult=self.lr_mult,
            init_translation=self.init_translation,
        )

    def _check_store(self, runner: Runner) -> None:
        if is_main_process():
            found = len(self.store.shards())
            if found and not runner._resume:
                raise FileExistsError(
                    f'{self.store.root} holds {found} refined batches of an earlier run: add '
                    '--resume to continue it, or choose another --work-dir'
                )
            # Batches past the checkpoint are refined again, to the same result.
            self.store.drop_from(runner.iter)
        barrier()

    @staticmethod
    def _check_resumed(runner: Runner) -> None:
        """A batch's number says which samples it holds only while these stay as they are."""
        loader = runner.train_dataloader
        settings = dict(
            samples=len(loader.dataset),
            batch_size=loader.batch_size,
            processes=get_world_size(),
            seed=loader.sampler.seed,  # the runner's own is set back to the checkpoint's
            shuffle=loader.sampler.shuffle,
        )
        known = runner.message_hub.get_info('mmjrr_batches', settings)
        if runner.iter > 0 and known != settings:
            raise ValueError(
                f'{runner.work_dir}: the run to resume was made with {known}, found {settings}; '
                'samples would be left out or refined twice. Take the same settings, or start '
                'again with another --work-dir'
            )
        runner.message_hub.update_info('mmjrr_batches', settings)

    def _check_model(self, model: Any) -> None:
        """The discriminators take this body's poses and shapes."""
        if not self.energy.enabled('adv_pose', 'adv_shape'):
            return
        if not hasattr(model, 'judge'):
            raise ValueError(
                f"an 'adv' term is on, but the model is {type(model).__name__}, expected "
                "dict(type='FitDiscriminator')"
            )
        one = self.body.v_template.new_zeros(1, self.body.num_betas)
        with torch.no_grad():
            model.judge(torch.eye(3).to(one).expand(1, 24, 3, 3), one)

    def _check_first_sample(self, dataset: Any) -> None:
        """What the first batch would stumble over, before the long fit of J_spin."""
        item = dataset[0]
        sample = item['data_samples']
        where = f'{type(dataset).__name__}: {sample.get("imgname")}'
        if self.regressor is None and not hasattr(dataset, 'fit_sample'):
            raise ValueError(
                f'{type(dataset).__name__} has no fit_sample(), from which J_spin is fitted: use '
                "H36MFitsDataset, or name a regressor in the hook's 'regressor'"
            )
        joints = len(H36M_JOINTS_MMPOSE)
        fits, camera = "the dataset's fits_file", "the dataset's camera_param_file"
        needed: dict[str, tuple[tuple[int, ...], str]] = {
            'keypoints_3d': ((joints, 3), 'the annotation'),
            'keypoints_3d_weight': ((joints,), 'the annotation'),
            'keypoints_2d': ((joints, 2), 'the annotation'),
            'keypoints_2d_weight': ((joints,), 'the annotation'),
            'focal_length': ((2,), camera),
            'principal_point': ((2,), camera),
            'distortion': ((5,), camera),
            'global_orient': ((3,), fits),
            'body_pose': ((69,), fits),
            'betas': ((self.body.num_betas,), fits),
            'transl': ((3,), fits),
            'box': ((4,), 'the annotation'),
        }
        for name, (shape, source) in needed.items():
            value = sample.get(name)
            if value is None:
                raise ValueError(f"{where}: has no '{name}', which comes from {source}")
            _check_array(f'{where}: {name}', value, shape)
        if self.energy.enabled('silhouette'):
            mask = (item.get('inputs') or {}).get('mask')
            if mask is None:
                raise ValueError(f'{where}: {NO_MASKS}')
            _check_array(f"{where}: mask (renderer's size)", mask, self.renderer.image_size)
            if float(mask.min()) < 0 or float(mask.max()) > 1:
                raise ValueError(
                    f'{where}: mask: found values from {float(mask.min()):g} to '
                    f'{float(mask.max()):g}, expected coverage in [0, 1]'
                )

    def _initial_regressor(self, runner: Runner) -> JointRegressor:
        if self.regressor is not None:
            regressor = JointRegressor.load(self.regressor).reorder(H36M_JOINTS_MMPOSE)
            if regressor.body_model not in (self.body.name, 'unnamed'):
                raise ValueError(
                    f'regressor {self.regressor!r} is for the body {regressor.body_model!r}, but '
                    f'body_model is {self.body.name!r}'
                )
            return regressor
        path = self.work_dir / 'J_spin.npy'
        if is_main_process() and not (runner._resume and path.is_file()):
            dataset = runner.train_dataloader.dataset
            runner.logger.info(f'Fitting J_spin on {len(dataset)} initial fits ...')
            fits = partial(self._initial_fits, dataset)
            self._fit(runner, fits, len(dataset), path, self.init_root, 'initial fits')
        barrier()
        return JointRegressor.load(path).reorder(H36M_JOINTS_MMPOSE)

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
        """Refine the batch, store it, hand it to the discriminator's step."""
        assert data_batch is not None
        init, observed = self._unpack(data_batch)
        hub = runner.message_hub
        weights = hub.get_info('mmjrr_term_weights', None)
        try:
            result = self.refiner.refine(init, observed, weights=weights)
        except (FloatingPointError, ValueError) as error:
            names = [sample.imgname for sample in data_batch['data_samples']]
            raise type(error)(f'{error}\nbatch {batch_idx}: {names}') from error
        if weights is None:
            # Measured once, at the first iteration of the first batch, and kept: a weight
            # measured anew in each batch would grow as the discriminators learn.
            hub.update_info('mmjrr_term_weights', result.weights)
            shown = {name: float(f'{value:.4g}') for name, value in result.weights.items()}
            runner.logger.info(f'Weights of the terms: {shown}')
        data_batch['fits_init'] = result.init
        data_batch['fits_refined'] = result.refined
        self._store(batch_idx, data_batch, observed, result)
        for name, value in result.terms_refined.items():
            hub.update_scalar(f'train/energy_{name}', float(value.mean()))
        if result.iou_refined is not None and result.iou_init is not None:
            hub.update_scalar('train/iou_init', float(result.iou_init.mean()))
            hub.update_scalar('train/iou_opt', float(result.iou_refined.mean()))

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
        mask = inputs.get('mask')
        if isinstance(mask, (list, tuple)):
            mask = torch.stack([torch.as_tensor(m) for m in mask])
        if mask is None and self.energy.enabled('silhouette'):
            raise ValueError(NO_MASKS)
        observed = Observations(
            keypoints_3d=stacked('keypoints_3d'),
            keypoints_3d_weight=stacked('keypoints_3d_weight'),
            keypoints_2d=(stacked('keypoints_2d') - box[:, None, :2]) * scale[:, None],
            keypoints_2d_weight=stacked('keypoints_2d_weight'),
            camera=camera,
            mask=None if mask is None else mask.to(self.device),
        )
        return {name: stacked(name) for name in PARAMETERS}, observed

    def _store(self, batch_idx: int, data_batch: dict, observed: Observations, result: Any) -> None:
        samples = data_batch['data_samples']
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
        if result.iou_refined is not None:
            arrays['iou'] = result.iou_refined.cpu().numpy()
            arrays['init_iou'] = result.iou_init.cpu().numpy()
        self.store.put(batch_idx, arrays, rank=get_rank())

    # ------------------------------------------------------------------ after all poses are refined

    def after_train(self, runner: Runner) -> None:
        """Fit J_opt, export pseudo ground truth, say where everything is."""
        barrier()
        if is_main_process():
            arrays = self.store.load()
            count = len(arrays['sample_idx'])
            total = len(runner.train_dataloader.dataset)
            runner.logger.info(f'Fitting J_opt on {count} refined fits of {total} ...')
            if count < FEW_FRAMES:
                runner.logger.warning(
                    f'{count} frames are too few for a regressor: J_opt will be fitted to their '
                    'poses and noise, and means nothing elsewhere'
                )
            fits = partial(self.store.batches, arrays, self.fit_batch_size)
            path = self.work_dir / 'J_opt.npy'
            self._fit(runner, fits, count, path, self.root, 'refined fits')
            self._export(runner, arrays)
            self._summarise(runner, arrays)
        barrier()

    def _fit(
        self,
        runner: Runner,
        fits: Callable[[], Iterator[dict[str, np.ndarray]]],
        count: int,
        path: Path,
        root: str | None,
        source: str,
    ) -> None:
        fit = fit_joint_regressor(
            _Meshes(fits, self.body),
            joint_names=H36M_JOINTS_MMPOSE,
            root=root,
            body_model=self.body.name,
            progress=_FitProgress(count, path.stem, runner.logger.info),
        )
        runner.logger.info(
            f'{path.stem}: {fit.n_frames} frames, {1000 * fit.rms:.1f} mm rms, '
            f'{int(np.sum(fit.regressor.weight.cpu().numpy() > 0))} weights, '
            f'relative gap {fit.gap:.1e}'
        )
        regressor = fit.regressor
        regressor.provenance.update(
            source=source,
            root=root,
            seed=runner.seed,
            config=str(runner.cfg.filename or ''),
            relative_gap=float(fit.gap),
            versions=versions(),
        )
        regressor.save(path)

    def _export(self, runner: Runner, arrays: dict[str, np.ndarray]) -> None:
        box = arrays['box']
        joints = np.concatenate(
            [arrays['keypoints_3d'], arrays['keypoints_3d_weight'][..., None]], axis=-1
        )
        save_fits(
            self.work_dir / 'pseudo_gt.npz',
            imgname=arrays['imgname'],
            pose=np.concatenate([arrays['global_orient'], arrays['body_pose']], axis=1),
            betas=arrays['betas'],
            transl=arrays['transl'],
            center=(box[:, :2] + box[:, 2:]) / 2,
            scale=(box[:, 2] - box[:, 0]) / PIXELS_PER_SCALE,
            part=arrays['keypoints_2d'],
            S=joints,
            provenance=dict(
                method='mmjrr refinement',
                config=str(runner.cfg.filename or ''),
                seed=runner.seed,
                regressor=self.regressor or f'J_spin sha256 {sha256(self.work_dir / "J_spin.npy")}',
                versions=versions(),
            ),
        )

    def _summarise(self, runner: Runner, arrays: dict[str, np.ndarray]) -> None:
        summary: dict[str, Any] = {'frames': len(arrays['sample_idx'])}
        for name, array in arrays.items():
            if name.startswith(('energy_', 'init_energy_')) or name in ('iou', 'init_iou'):
                summary[name] = float(array.astype(np.float64).mean())
        summary['term_weights'] = runner.message_hub.get_info('mmjrr_term_weights', None)
        with atomic_write(self.work_dir / 'refinement.json') as temporary:
            temporary.write_text(json.dumps(summary, indent=2) + '\n')
        runner.logger.info(
            f'Refined {summary["frames"]} frames.\n'
            f'  pseudo ground truth (SPIN layout)  {self.work_dir / "pseudo_gt.npz"}\n'
            f'  regressor J_opt                    {self.work_dir / "J_opt.npy"}\n'
            f'  summary                            {self.work_dir / "refinement.json"}\n'
            'Evaluate a model with it: add to its config\n'
            "  test_evaluator = dict(type='mmjrr.JointRegressorMetric', "
            f"regressors=['{self.work_dir / 'J_opt.npy'}'], protocol='paper')"
        )


def _check_array(where: str, value: Any, shape: tuple[int, ...]) -> None:
    array = value if isinstance(value, Tensor) else torch.as_tensor(value)
    if tuple(array.shape) != shape:
        raise ValueError(f'{where}: found shape {tuple(array.shape)}, expected {shape}')
    if not bool(torch.isfinite(array).all()):
        raise ValueError(f'{where}: found NaN or infinity')


class _FitProgress:
    """The solver's progress as lines of the log; it goes through the frames several times."""

    def __init__(self, count: int, name: str, log: Callable[[str], None]) -> None:
        self.count, self.name, self.log = count, name, log
        self.last = time.monotonic()
        self.stage, self.done = '', 0

    def __call__(self, stage: str, done: int) -> None:
        if stage != self.stage or done <= self.done:  # another pass
            what = f'frames ({self.name}, {stage})'
            self.progress = Progress(self.count, what, self.log, self.last)
        self.progress(done)
        self.stage, self.done, self.last = stage, done, time.monotonic()


class _Meshes:
    """Bodies and joints of fits, batch by batch, as often as they are gone through."""

    def __init__(self, fits: Callable[[], Iterator[dict[str, np.ndarray]]], body: Any) -> None:
        self.fits, self.vertices = fits, VertexMaker(body)

    def __iter__(self) -> Iterator[tuple[LazyVertices, Tensor]]:
        for batch in self.fits():
            joints = torch.from_numpy(batch['keypoints_3d']).clone()
            joints[torch.from_numpy(batch['keypoints_3d_weight']) <= 0] = float('nan')
            yield self.vertices(**{name: batch[name] for name in PARAMETERS}), joints
