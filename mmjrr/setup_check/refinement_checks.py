"""Checks of what a run builds from a config before its first batch, and of refined frames.

These are the checks of a run itself; those that need images, masks or long computations are left
out.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.dataset import pseudo_collate

from mmjrr.registry import HOOKS, LOOPS, MODELS
from mmjrr.setup_check.config_findings import ConfigFindings
from mmjrr.setup_check.dataset_checks import build_dataset
from mmjrr.setup_check.finding import Finding, look_up
from mmjrr.setup_check.registration import short_name

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from mmjrr.array_types import IndexArray
    from mmjrr.engine import SMPLPseudoGTHook
    from mmjrr.engine.refinement_frames import RefinementFrames

#: Keys of the loops for which the Runner builds the loader of the same name.
_LOOPS = ('train', 'val', 'test')


class _StandIn(list[int]):
    """A data set without data, with which samplers can be built."""

    def moments(self) -> IndexArray:
        return np.arange(len(self))


def check_components(
    cfg: Mapping[str, Any], errors: ConfigFindings, files_are_right: bool
) -> Iterator[Finding]:
    """Build hooks, loaders and refiner as a run does, and check the frames of a refinement.

    Args:
        cfg: The config.
        errors: Converts errors to findings.
        files_are_right: Whether the data set's files have been checked and are right.
    """
    from mmjrr.engine import SMPLPseudoGTHook

    hooks = []
    for part in _hooks(cfg):
        hooks.append((yield from errors.built(part['type'], partial(HOOKS.build, part))))
    loaders = {}
    for name in (f'{loop}_dataloader' for loop in _LOOPS if cfg.get(f'{loop}_cfg') is not None):
        if isinstance(cfg.get(name), Mapping):
            build = partial(_loader, cfg, name, files_are_right)
            loaders[name] = yield from errors.built(name, build)
    hook = next((hook for hook in hooks if isinstance(hook, SMPLPseudoGTHook)), None)
    if hook is not None:
        yield from _refinement(cfg, errors, hook, loaders.get('train_dataloader'))


def _hooks(cfg: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the hooks of a config, without their priority, which the Runner takes out."""
    default, custom = cfg.get('default_hooks') or {}, cfg.get('custom_hooks') or ()
    for part in [*default.values(), *custom]:
        if isinstance(part, Mapping) and isinstance(part.get('type'), str):
            yield {name: value for name, value in part.items() if name != 'priority'}


def _loader(cfg: Mapping[str, Any], name: str, files_are_right: bool) -> DataLoader[Any]:
    """Build a data loader; that of a refinement has its annotation, fits and cameras."""
    from mmengine.runner import Runner

    part = cfg[name]
    refines = name == 'train_dataloader' and _loop(cfg) == 'RefinementLoop'
    dataset: Any = _StandIn(range(8))
    if refines and files_are_right and short_name(part['dataset']['type']) == 'H36MFitsDataset':
        dataset = build_dataset(part['dataset'], 'fits_file', 'camera_param_file')
    part = {**part, 'dataset': dataset}
    seed = (cfg.get('randomness') or {}).get('seed') or 0
    if not refines:
        return Runner.build_dataloader(part, seed=seed)
    runner = SimpleNamespace(
        build_dataloader=Runner.build_dataloader,
        seed=seed,
        visualizer=SimpleNamespace(),
        _randomness_cfg={},
    )
    loop = LOOPS.build(cfg['train_cfg'], default_args=dict(runner=runner, dataloader=part))
    return loop.dataloader


def _loop(cfg: Mapping[str, Any]) -> str:
    return short_name(str((cfg.get('train_cfg') or {}).get('type')))


def _refinement(
    cfg: Mapping[str, Any],
    errors: ConfigFindings,
    hook: SMPLPseudoGTHook,
    loader: DataLoader[Any] | None,
) -> Iterator[Finding]:
    """Check the options of a refinement against each other, and its first frames."""
    part = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    yield from errors.built('SMPLPseudoGTHook', partial(_build_refiners, cfg.get('model'), hook))
    yield from errors.built('train_dataloader', partial(_check_masks, part, hook))
    yield from errors.built('SMPLPseudoGTHook', partial(_check_terms, part, hook))
    if loader is None:
        return
    yield from errors.built('train_dataloader', partial(_check_batches, loader, hook))
    dataset: Any = loader.dataset
    if isinstance(dataset, _StandIn):
        return
    yield from errors.built('train_dataloader', partial(_check_first_sample, dataset, hook))
    calibration = hook.options.calibration_options
    if calibration is not None and calibration.label_offsets:
        yield from errors.built('train_dataloader', partial(_check_subjects, dataset))
    yield from _genders(dataset, hook)
    if hook.options.sharing.pose == 'moment':
        yield look_up('moments', dataset.ann_file, partial(_moments, loader, hook))


def _build_refiners(model: Mapping[str, Any] | None, hook: SMPLPseudoGTHook) -> None:
    """Build the model and the refiners of the calibration and the batches."""
    from mmjrr.engine.first_sample import check_discriminator
    from mmjrr.refinement import FitRefiner

    discriminator = MODELS.build(model) if model is not None else None
    check_discriminator(discriminator, hook.body, hook.energy)
    regressor: Any = None  # as for the run's own check
    hook.options.check_refiners(
        partial(FitRefiner, hook.body, regressor, hook.renderer, hook.energy, discriminator)
    )


def _check_masks(part: Mapping[str, Any], hook: SMPLPseudoGTHook) -> None:
    from mmjrr.datasets import H36MFitsDataset
    from mmjrr.engine.first_sample import NO_MASKS

    if short_name(str(part.get('type'))) != 'H36MFitsDataset':
        return
    if hook.energy.requires('mask') and not part.get('load_mask'):
        raise ValueError(NO_MASKS)
    default = inspect.signature(H36MFitsDataset).parameters['crop_size'].default
    size, expected = tuple(part.get('crop_size', default)), tuple(hook.renderer.image_size)
    if part.get('load_mask') and size != expected:
        raise ValueError(
            f"crop_size: found {size}, expected the renderer's image_size {expected}, since masks "
            'are compared with silhouettes'
        )


def _check_terms(part: Mapping[str, Any], hook: SMPLPseudoGTHook) -> None:
    from mmjrr.engine.first_sample import check_rotation_terms

    known = short_name(str(part.get('type'))) == 'H36MFitsDataset'
    check_rotation_terms(hook.energy, not known or part.get('fits_file') is not None)


def _check_batches(loader: DataLoader[Any], hook: SMPLPseudoGTHook) -> None:
    from mmjrr.engine.refinement_start import check_batches

    check_batches(loader, hook.options.sharing)


def _check_first_sample(dataset: Any, hook: SMPLPseudoGTHook) -> None:
    """Check the fields of the first sample except its mask, which the dataset does not have."""
    from mmjrr.engine.first_sample import check_first_sample
    from mmjrr.refinement import FitEnergy

    check_first_sample(
        dataset,
        hook.body,
        FitEnergy(terms=dict(silhouette=False)),
        hook.renderer.image_size,
        needs_fits=hook.options.regressor is None,
        needs_camera_pose=hook.options.sharing.pose == 'moment',
    )


def _check_subjects(dataset: Any) -> None:
    from mmjrr.engine.first_sample import check_subjects, subjects_of

    check_subjects(subjects_of(dataset), 'the data set')


def _genders(dataset: Any, hook: SMPLPseudoGTHook) -> Iterator[Finding]:
    """Yield a finding if fits have another gender than the body."""
    from mmjrr.engine.fit_genders import check_genders

    def look() -> str:
        check_genders(dataset, hook.body)
        return ''

    finding = look_up('genders', dataset.fits_file, look)
    if finding.bad:
        yield finding


def _moments(loader: DataLoader[Any], hook: SMPLPseudoGTHook) -> str:
    """Check the views of some moments, and describe all."""
    from mmjrr.engine.refinement_frames import choose_frames
    from mmjrr.engine.refinement_start import BALANCE_FRAMES
    from mmjrr.engine.samplers import sampler_of

    dataset: Any = loader.dataset
    indices = choose_frames(dataset, BALANCE_FRAMES, sampler_of(loader).seed, by_moment=True)
    _frames(dataset, indices, hook).check_views()
    views = np.bincount(dataset.moments())
    least, most = views.min(), views.max()
    return f'{len(views)} moments of {most if least == most else f"{least} to {most}"} views'


def _frames(dataset: Any, indices: list[int], hook: SMPLPseudoGTHook) -> RefinementFrames:
    """Read frames without masks; those without a fit get one of zeros, which views do not need."""
    import torch

    from mmjrr.engine.refinement_frames import RefinementFrames

    batch: Any = pseudo_collate([dataset[index] for index in indices])
    sizes = dict(global_orient=3, body_pose=69, betas=hook.body.num_betas, transl=3)
    for sample in batch['data_samples']:
        for name, size in sizes.items():
            if name not in sample:
                sample.set_field(torch.zeros(size), name)
    return RefinementFrames.of_batch(
        batch, hook.renderer.image_size, torch.device('cpu'), needs_masks=False
    )
