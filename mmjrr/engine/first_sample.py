"""Checks of a data set and a model before refinement begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmjrr.datasets.image_names import parse_image_name
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement import FitEnergy

NO_MASKS = (
    "the silhouette term is on, but there is no mask: set the dataset's mask_file and load_mask, "
    'or energy=dict(terms=dict(silhouette=False)), and where outline offsets are on '
    "refiner=dict(share=dict(outline_offset='fixed', part_outline_offset='fixed'))"
)


def check_first_sample(
    dataset: Any,
    body: Any,
    energy: FitEnergy,
    image_size: tuple[int, int],
    needs_fits: bool,
    needs_camera_pose: bool = False,
) -> None:
    """Check that the first sample has all fields that refinement needs.

    Args:
        dataset: The data set. Fits are not checked if its ``has_fits`` is False.
        body: The body model.
        energy: The energy, whose enabled terms determine whether a mask is needed. A mask that
            is there is checked without them too.
        image_size: Height and width of the renderer's image.
        needs_fits: Whether J_spin is fitted, which needs ``dataset.fit_sample``.
        needs_camera_pose: Whether bodies are in the world's frame. Default: False.

    Raises:
        ValueError: A field is missing, has another shape, or is not finite.
    """
    item = dataset[0]
    sample = item['data_samples']
    where = f'{type(dataset).__name__}: {sample.get("imgname")}'
    if needs_fits and not hasattr(dataset, 'fit_sample'):
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
        'box': ((4,), 'the annotation'),
    }
    if getattr(dataset, 'has_fits', True):
        needed |= {
            'global_orient': ((3,), fits),
            'body_pose': ((69,), fits),
            'betas': ((body.num_betas,), fits),
            'transl': ((3,), fits),
        }
    if needs_camera_pose:
        needed |= {'camera_rotation': ((3, 3), camera), 'camera_position': ((3,), camera)}
    for name, (shape, source) in needed.items():
        value = sample.get(name)
        if value is None:
            raise ValueError(f"{where}: has no '{name}', which comes from {source}")
        _check_array(f'{where}: {name}', value, shape)
    mask = (item.get('inputs') or {}).get('mask')
    if mask is None and energy.requires('mask'):
        raise ValueError(f'{where}: {NO_MASKS}')
    if mask is not None:  # without the silhouette term, overlaps with masks are stored
        _check_array(f"{where}: mask (renderer's size)", mask, image_size)
        if float(mask.min()) < 0 or float(mask.max()) > 1:
            raise ValueError(
                f'{where}: mask: found values from {float(mask.min()):g} to '
                f'{float(mask.max()):g}, expected coverage in [0, 1]'
            )


def check_rotation_terms(energy: FitEnergy, has_fits: bool) -> None:
    """Refuse terms that take rotations from an estimator's fits where there are none.

    Raises:
        ValueError: There is such a term, and no fits.
    """
    names = energy.requires('initial_fits')
    if names and not has_fits:
        switches = ' '.join(f'custom_hooks.0.energy.terms.{name}=False' for name in names)
        raise ValueError(
            f'terms: {names} take rotations from an estimator, but fits_file is None, and fits '
            f'to joints do not know how hands and feet turn; switch them off: {switches}'
        )


def subjects_of(dataset: Any) -> list[str]:
    """Return the names of a data set's subjects, in alphabetical order."""
    names = (parse_image_name(dataset.imgname(index)) for index in range(len(dataset)))
    return sorted({name.subject for name in names})


def check_subjects(subjects: Sequence[str], source: str) -> None:
    """Refuse label offsets of a single subject: they are differences between subjects.

    Args:
        subjects: Names of the subjects.
        source: Where they are from, for the message.

    Raises:
        ValueError: There are fewer than two.
    """
    if len(subjects) < 2:
        raise ValueError(
            f'calibration: label_offsets: found {list(subjects)} in {source}, expected at least '
            'two subjects: take more, or set label_offsets=False'
        )


def check_discriminator(model: Any, body: Any, energy: FitEnergy) -> None:
    """Check that the discriminators accept the body's poses and shapes, if a term needs them.

    Raises:
        ValueError: The model has no discriminators, or they are for other poses or shapes.
    """
    if not energy.requires('plausibility'):
        return
    if not hasattr(model, 'judge'):
        raise ValueError(
            f"an 'adv' term is on, but the model is {type(model).__name__}, expected "
            "dict(type='FitDiscriminator')"
        )
    betas = body.v_template.new_zeros(1, body.num_betas)
    with torch.no_grad():
        model.judge(torch.eye(3).to(betas).expand(1, 24, 3, 3), betas)


def _check_array(where: str, value: Any, shape: tuple[int, ...]) -> None:
    array = value if isinstance(value, Tensor) else torch.as_tensor(value)
    if tuple(array.shape) != shape:
        raise ValueError(f'{where}: found shape {tuple(array.shape)}, expected {shape}')
    if not bool(torch.isfinite(array).all()):
        raise ValueError(f'{where}: found NaN or infinity')
