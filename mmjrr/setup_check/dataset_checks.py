"""Checks of datasets: annotations, cameras, fits, masks and images."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mmjrr.engine.fit_agreement import check_fits, measure_fits
from mmjrr.engine.joint_order import check_annotation
from mmjrr.engine.mask_agreement import check_masks, measure_masks
from mmjrr.errors import DataError
from mmjrr.registry import DATASETS
from mmjrr.setup_check.finding import Finding, as_path, look_up
from mmjrr.setup_check.package_checks import check_opencv
from mmjrr.setup_check.registration import register_check, short_name
from mmjrr.setup_check.remedies import remedy

if TYPE_CHECKING:
    from mmjrr.datasets.h36m import H36MFitsDataset
    from mmjrr.geometry import PerspectiveCamera

#: Cameras by subject and camera name.
Cameras: TypeAlias = 'dict[tuple[str, str], PerspectiveCamera]'


@register_check('H36MFitsDataset')
def _h36m(part: Mapping[str, Any]) -> Iterator[Finding]:
    files = _files(part)
    # Refuses wrong options before anything is read.
    DATASETS.build({**part, 'type': 'mmjrr.H36MFitsDataset', 'lazy_init': True})
    root, ann_file, images = files.root, files.annotation, files.images
    dataset: H36MFitsDataset | None = None
    cameras: Cameras = {}

    def annotations() -> str:
        nonlocal dataset
        dataset = build_dataset(part)
        selected = (
            f'{len(dataset)} of {dataset.report["annotated"]} frames selected, subjects '
            f'{_subjects(dataset)}'
        )
        return '; '.join([selected, *check_annotation(str(ann_file), dataset.annotations)])

    yield look_up('annotation', ann_file, annotations, remedy(ann_file, root))
    if files.cameras is not None:
        path = files.cameras
        yield look_up('cameras', path, lambda: _cameras(path, dataset, cameras), remedy(path, root))
    keys = None if dataset is None else _keys(dataset)
    if files.fits is not None:
        fits = files.fits
        fix = remedy(fits, root, _infer(fits, ann_file))
        yield look_up('fits', fits, lambda: _fits(fits, keys, cameras, part), fix)
    if files.masks:
        masks = files.masks
        fix = remedy(masks[0], root, _segment(masks[0], ann_file))
        yield look_up('masks', ', '.join(masks), lambda: _masks(masks, keys, cameras, part), fix)
    needed = _reads_images(part)
    if needed:
        yield check_opencv()
    yield look_up(
        'images',
        images,
        lambda: (
            _images(images, dataset, cameras) + ('' if needed else '; needed only for overlays')
        ),
        remedy(images, root),
        optional=not needed,
    )


@dataclass(frozen=True)
class _Files:
    """Paths of a data set's files; None where it has none."""

    root: Path
    annotation: Path
    cameras: Path | None
    fits: Path | None
    masks: list[str]
    images: Path


def _files(part: Mapping[str, Any]) -> _Files:
    """Return the paths of a data set's files.

    Raises:
        DataError: One is no path.
    """
    root = as_path('data_root', part.get('data_root', ''))

    def path(name: str, default: str | None = None) -> Path | None:
        value = part.get(name, default)
        return None if value is None else root / as_path(name, value)

    masks = part.get('mask_file')
    names = masks if isinstance(masks, (list, tuple)) else [] if masks is None else [masks]
    images = (part.get('data_prefix') or {}).get('img', 'images/')
    annotation = part.get('ann_file', 'annotation_body3d/fps10/h36m_train.npz')
    return _Files(
        root,
        root / as_path('ann_file', annotation),
        path('camera_param_file', 'annotation_body3d/cameras.pkl'),
        path('fits_file'),
        [str(root / as_path('mask_file', name)) for name in names],
        root / as_path('data_prefix.img', images),
    )


def _infer(path: Path, ann_file: Path) -> str:
    """Return the command that makes initial fits of an annotation."""
    return (
        'python tools/infer_mesh.py configs/inference/spin_h36m.py data/spin/model_checkpoint.pt '
        f'--out {shlex.quote(str(path))} --cfg-options {_dataset_of(ann_file)} (docs/inference.md)'
    )


def _segment(path: str, ann_file: Path) -> str:
    """Return the command that makes masks of an annotation."""
    return (
        'python tools/generate_masks.py configs/segmentation/mask-rcnn_r50_fpn_h36m.py '
        f'--out {shlex.quote(path)} --cfg-options {_dataset_of(ann_file)} (docs/masks.md)'
    )


def _dataset_of(ann_file: Path) -> str:
    """Return the ``--cfg-options`` that make a config use this annotation."""
    parts = ann_file.parts
    if 'annotation_body3d' not in parts:
        return shlex.quote(f'test_dataloader.dataset.ann_file={ann_file.absolute()}')
    at = parts.index('annotation_body3d')
    where = 'test_dataloader.dataset'
    return shlex.join(
        [f'{where}.data_root={Path(*parts[:at])}', f'{where}.ann_file={Path(*parts[at:])}']
    )


def _reads_images(part: Mapping[str, Any]) -> bool:
    steps = [short_name(str(step.get('type'))) for step in part.get('pipeline') or ()]
    return 'LoadImage' in steps


def _subjects(dataset: Any) -> str:
    names = {dataset.imgname(i).rsplit('/', 1)[-1].split('_')[0] for i in range(len(dataset))}
    return ' '.join(sorted(names, key=lambda name: (len(name), name)))


def _keys(dataset: Any) -> set[str]:
    from mmjrr.datasets.image_names import image_key

    return {image_key(dataset.imgname(index)) for index in range(len(dataset))}


def _cameras(path: Path, dataset: Any, needed: Cameras) -> str:
    """Check and describe a camera file, and add the dataset's cameras to ``needed``."""
    from mmjrr.datasets.image_names import parse_image_name
    from mmjrr.datasets.projection import check_projection
    from mmjrr.engine.refinement_start import PROJECTION_TOLERANCE
    from mmjrr.geometry import load_cameras

    cameras = load_cameras(path)
    if dataset is None:
        return f'{len(cameras)} cameras'
    names = [parse_image_name(dataset.imgname(index)) for index in range(len(dataset))]
    used = {(name.subject, name.camera) for name in names}
    missing = sorted(used - set(cameras))
    if missing:
        raise DataError(
            f'found no camera for {len(missing)} of {len(used)} subjects and cameras, such as '
            f'{missing[0]}'
        )
    needed.update({key: cameras[key] for key in used})
    errors = check_projection(dataset.annotations, needed, PROJECTION_TOLERANCE)
    worst = max((error['mean_px'] for error in errors.values()), default=0.0)
    return f'{len(cameras)} cameras; projected 3D joints are at most {worst:.2f} px from 2D joints'


def _fits(path: Path, keys: set[str] | None, cameras: Cameras, part: Mapping[str, Any]) -> str:
    """Check and describe a file of initial fits for the frames ``keys``."""
    from mmjrr.body_models import free_body
    from mmjrr.datasets.fits import load_fits
    from mmjrr.datasets.image_names import image_key

    fits = load_fits(path, **(part.get('fits_reading') or {}))
    valid = fits.get('valid', np.ones(len(fits['imgname']), dtype=bool))
    text = _of_frames('fits', {image_key(n) for n in fits['imgname'][valid].tolist()}, keys)
    if keys is None or not cameras:  # fits cannot be compared without frames and cameras
        return text
    if 'transl' not in fits and 'camera' not in fits:
        return f'{text}; without translation, which is fitted to the joints'
    # The free body is accurate enough here: wrong fits are off by much more than its skeleton.
    agreement = measure_fits(build_dataset(part, 'fits_file', 'camera_param_file'), free_body())
    warnings = check_fits(agreement, 'fits')
    worst = max(group.error_mm for group in agreement.groups)
    return '; '.join([f'{text}; joints are at most {worst:.0f} mm off', *warnings])


def _masks(
    files: list[str], keys: set[str] | None, cameras: Cameras, part: Mapping[str, Any]
) -> str:
    """Check and describe mask files for the frames ``keys``."""
    from mmjrr.datasets.image_names import parse_image_name
    from mmjrr.datasets.masks import Masks
    from mmjrr.datasets.transforms import is_size

    masks = Masks(files)
    for key in sorted(keys or ()):
        row = masks.row(key)
        name = parse_image_name(key)
        camera = cameras.get((name.subject, name.camera))
        if row < 0 or camera is None:
            continue
        height, width = masks.sizes[row].tolist()
        if not is_size((height, width), camera.image_shape()):
            raise DataError(
                f'the mask of {key} has the size {(height, width)}, expected '
                f'{camera.image_shape()} (h, w) of its camera'
            )
    if len(masks):
        masks.decode(0)
    text = _of_frames('masks', set(masks.keys()), keys)
    if keys is None:
        return text
    frames = build_dataset(part)
    frames.masks = masks
    agreement = measure_masks(frames)
    warnings = check_masks(agreement, 'masks')
    least = min(group.share for group in agreement.groups)
    return '; '.join([f'{text}; at least {least:.0%} of the joints lie on them', *warnings])


def build_dataset(part: Mapping[str, Any], *files: str) -> Any:
    """Build the dataset of a config with its annotation and only these files."""
    from mmjrr.datasets.h36m import H36MFitsDataset

    unused = {'type', 'load_mask', 'require', 'pipeline', 'fits_file', 'mask_file'} - set(files)
    options = {name: value for name, value in part.items() if name not in unused}
    if 'camera_param_file' not in files:
        options.update(camera_param_file=None, triangulate=False)
    return H36MFitsDataset(**options)


def _of_frames(items: str, available: set[str], keys: set[str] | None) -> str:
    """Describe how many of the frames ``keys`` have a fit or mask.

    Raises:
        DataError: None of them has one.
    """
    if keys is None:
        return f'{len(available)} {items}'
    number = len(available & keys)
    if not number:
        raise DataError(f'found {len(available)} {items}, none of them for the {len(keys)} frames')
    return f'{items} of {number} of {len(keys)} frames'


def _images(folder: Path, dataset: Any, cameras: Cameras) -> str:
    """Check size and readability of the first, middle and last image of a dataset."""
    from mmjrr.datasets.transforms import is_size, read_image

    if not folder.is_dir():
        raise FileNotFoundError('no such folder')
    if dataset is None:
        return 'exists'
    names = [dataset.imgname(i) for i in sorted({0, len(dataset) // 2, len(dataset) - 1})]
    for name in names:
        height, width = read_image(folder / name).shape[:2]
        camera = cameras.get(_camera_of(name))
        if camera is None:
            continue
        if not is_size((height, width), camera.image_shape()):
            raise DataError(
                f'{folder / name}: found size {(height, width)}, expected '
                f'{camera.image_shape()} (h, w) of its camera'
            )
    return f'{len(names)} of {len(dataset)} opened'


def _camera_of(imgname: str) -> tuple[str, str]:
    from mmjrr.datasets.image_names import parse_image_name

    name = parse_image_name(imgname)
    return name.subject, name.camera


@register_check('ImageFolderDataset')
def _image_folder(part: Mapping[str, Any]) -> Iterator[Finding]:
    from mmjrr.datasets.transforms import read_image

    root = as_path('data_root', part.get('data_root'))
    dataset: Any = None
    wrong: Exception | None = None
    try:
        dataset = DATASETS.build({**part, 'type': 'mmjrr.ImageFolderDataset'})
    except (OSError, DataError) as error:  # any other is of the options
        wrong = error

    def look() -> str:
        if wrong is not None:
            raise wrong
        for index in {0, len(dataset) - 1}:
            read_image(root / dataset.imgname(index))
        return f'{len(dataset)} images'

    yield look_up('images', root, look, 'put images there, or name another folder: --data-root')
    yield check_opencv()


@register_check('CocoDataset')
def _coco(part: Mapping[str, Any]) -> Iterator[Finding]:
    root = as_path('data_root', part.get('data_root') or '')
    path = root / as_path('ann_file', part.get('ann_file', ''))

    def look() -> str:
        if not path.is_file():
            raise FileNotFoundError('no such file')
        content = json.loads(path.read_bytes())
        return f'{len(content["images"])} images, {len(content["annotations"])} instances'

    command = f'python tools/dataset_converters/masks_to_coco.py {shlex.quote(str(root))}'
    yield look_up('annotation', path, look, command)
    images = root / as_path('data_prefix.img', (part.get('data_prefix') or {}).get('img', ''))
    yield look_up('images', images, lambda: _images(images, None, {}), remedy(images, root))
