"""What a config needs, and whether it is there: packages, bodies, regressors, weights, data."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.downloads import FILES, RemoteFile
from mmjrr.errors import DataError
from mmjrr.io import sha256
from mmjrr.regressors.zoo import ZOO, search_folders

FOUND, MISSING, WRONG, OPTIONAL = 'found', 'missing', 'wrong', 'optional'
_PREPARE = 'docs/prepare_h36m.md says how to make it'
#: How data sets that are made here are made, by the name of their folder.
_MADE_BY = {
    'synthetic_h36m': 'python tools/dataset_converters/make_synthetic_h36m.py --out {root}',
    'h36m_mini': 'python tools/dataset_converters/h36m_mini.py SRC {root} (docs/real_frames.md)',
}
#: What of a config the runner and the tools build; other names are variables of the config.
_PARTS = (
    'train_dataloader', 'val_dataloader', 'test_dataloader', 'model', 'val_evaluator',
    'test_evaluator', 'default_hooks', 'custom_hooks', 'visualizer',
)  # fmt: skip
_SEGMENTATION = 'pip install --no-deps -r requirements/segmentation.txt'


@dataclass(frozen=True)
class Finding:
    """One thing that a config needs.

    Args:
        state: 'found', 'missing', 'wrong', or 'optional': missing, and the run goes without it.
        kind: 'package', 'body', 'regressor', 'annotation', ...
        name: which one: its name, or its path.
        detail: what was found.
        mend: the command or page that mends it.
    """

    state: str
    kind: str
    name: str
    detail: str = ''
    mend: str = ''

    @property
    def bad(self) -> bool:
        return self.state in (MISSING, WRONG)


def check_setup(
    cfg: Mapping[str, Any], checkpoint: str | Path | None = None, gpu: bool = False
) -> Iterator[Finding]:
    """All that a config needs, one after the other, as each is looked at.

    A file that several parts of the config name is read once. Nothing that is found raises.

    Args:
        cfg: the config.
        checkpoint: weights of its model, where they are given on the command line.
        gpu: whether a GPU is needed.
    """
    yield from _packages()
    for name in (cfg.get('custom_imports') or {}).get('imports', ()):
        yield _looked_at('package', name, partial(_import, name), mend='install it')
    if gpu:
        yield _gpu()
    seen: set[str] = set()
    for part in _components([cfg.get(name) for name in _PARTS]):
        check = CHECKS.get(_short(part['type']))
        identity = json.dumps(part, sort_keys=True, default=str)
        if check is not None and identity not in seen:
            seen.add(identity)
            for finding in check(part):
                key = f'{finding.kind} {finding.name}'
                if key not in seen:
                    seen.add(key)
                    yield finding
    yield from _weights(cfg, checkpoint)


#: Checks by the name of a component's class; each takes the component's config.
CHECKS: dict[str, Callable[[Mapping[str, Any]], Iterator[Finding]]] = {}


def register_check(name: str) -> Callable:
    """Makes a function the check of the components of that type."""

    def add(check: Callable) -> Callable:
        CHECKS[name] = check
        return check

    return add


def _components(part: Any) -> Iterator[Mapping[str, Any]]:
    """All dicts that have a type, outermost first."""
    if isinstance(part, Mapping):
        if isinstance(part.get('type'), str):
            yield part
        for value in part.values():
            yield from _components(value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            yield from _components(value)


def _looked_at(
    kind: str, name: Any, look: Callable[[], str], mend: str = '', optional: bool = False
) -> Finding:
    """What ``look`` says, or what it raised."""
    try:
        return Finding(FOUND, kind, str(name), look())
    except (FileNotFoundError, ModuleNotFoundError) as error:
        # What goes on after the first clause says where to get it, as ``mend`` does.
        text = re.split(r'\. |; ', _line(error, name))[0]
        return Finding(OPTIONAL if optional else MISSING, kind, str(name), text, mend)
    except Exception as error:  # anything a broken file or environment can bring up is a finding
        return Finding(WRONG, kind, str(name), _line(error, name), mend)


def _line(error: Exception, name: Any) -> str:
    """Its text in a line, without the name that stands before it in the table."""
    text = ' '.join(str(error).split()).removeprefix(f'{name}: ') or type(error).__name__
    return text if len(text) < 400 else text[:400] + ' ...'


def _short(name: str) -> str:
    return name.rsplit('.', 1)[-1]


def _mend(path: str | Path, root: str | Path = '', otherwise: str = _PREPARE) -> str:
    """How a file comes to where it belongs."""
    folder = 'synthetic_h36m' if (Path(root) / 'synthetic.json').is_file() else Path(root).name
    if folder in _MADE_BY:
        return _MADE_BY[folder].format(root=str(root).rstrip('/'))
    if Path(path).parts[:1] == ('work_dirs',):
        return f'python tools/train.py with the config {Path(path).parts[1]}.py writes it'
    item = next((f for f in FILES.values() if Path(path).as_posix().endswith('/' + f.path)), None)
    return otherwise if item is None else _fetch(item, path)


def _fetch(item: RemoteFile, path: str | Path) -> str:
    if item.url is None:
        return f'get {item.file} from {item.page}, and put it at {path}'
    folder = Path(path).as_posix()[: -len(item.path)].rstrip('/') or '.'
    return f'python tools/download.py {item.name} --into {folder}'


# ---------------------------------------------------------------------- packages and machine


def _packages() -> Iterator[Finding]:
    """What mmjrr itself asks for, in the ranges that it declares."""
    try:
        declared = importlib.metadata.requires('mmjrr') or []
    except importlib.metadata.PackageNotFoundError:
        declared = []
        yield Finding(WRONG, 'package', 'mmjrr', 'is not installed', 'pip install -e .')
    for line in declared:
        if 'extra ==' not in line:
            yield _looked_at('package', line, partial(_version, line), f"pip install '{line}'")


def _version(line: str) -> str:
    from packaging.requirements import Requirement

    wanted = Requirement(line)
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        raise ModuleNotFoundError('is not installed') from None
    if not wanted.specifier.contains(version, prereleases=True):
        raise DataError(f'found {version}, expected {wanted.specifier}')
    return version


def _import(name: str) -> str:
    module = importlib.import_module(name)
    return str(getattr(module, '__version__', ''))


def _opencv() -> Finding:
    return _looked_at(
        'package', 'cv2', lambda: _import('cv2'), "pip install 'opencv-python-headless<4.12'"
    )


def _gpu() -> Finding:
    def look() -> str:
        import torch

        if not torch.cuda.is_available():
            raise FileNotFoundError(f'PyTorch {torch.__version__} sees none')
        about = torch.cuda.get_device_properties(0)
        torch.ones(1, device='cuda').sum().item()  # a driver that is too old shows here
        return (
            f'{about.name}, {about.total_memory / 2**30:.0f} GiB, one of '
            f'{torch.cuda.device_count()}'
        )

    return _looked_at(
        'GPU', 'cuda', look, 'a driver, and a PyTorch built for it: https://pytorch.org'
    )


# ---------------------------------------------------------------------- bodies and regressors


@register_check('SMPL')
def _smpl(part: Mapping[str, Any]) -> Iterator[Finding]:
    from mmjrr.body_models.smpl import find_smpl_file, load_smpl_file

    path, gender = part.get('model_path', ''), part.get('gender', 'neutral')
    mend = _fetch(FILES['smpl'], Path(path) / f'SMPL_{str(gender).upper()}.pkl')

    def look() -> str:
        file = find_smpl_file(path, gender)
        data = load_smpl_file(file)
        betas = data['shapedirs'].shape[2]
        if part.get('num_betas', 10) > betas:
            raise DataError(f'{file}: found {betas} shape components, expected 10')
        return f'{file.name}: {len(data["v_template"])} vertices, {betas} shape components'

    yield _looked_at('body', path, look, mend)


@register_check('FreeBody')
def _free_body(part: Mapping[str, Any]) -> Iterator[Finding]:
    from mmjrr.body_models.free_body import FREE_BODY_FILE
    from mmjrr.body_models.smpl import load_smpl_file

    def look() -> str:
        return f'{len(load_smpl_file(FREE_BODY_FILE)["v_template"])} vertices, in the package'

    yield _looked_at('body', 'free_body', look, 'pip install -e .')


@register_check('JointRegressorMetric')
def _metric(part: Mapping[str, Any]) -> Iterator[Finding]:
    given = part.get('regressors') or ()
    single = isinstance(given, str) or (isinstance(given, Mapping) and 'path' in given)
    entries = [given] if single else list(given.values() if isinstance(given, Mapping) else given)
    for entry in entries:
        yield _regressor(entry)


@register_check('SMPLPseudoGTHook')
def _pseudo_gt(part: Mapping[str, Any]) -> Iterator[Finding]:
    if part.get('regressor') is not None:
        yield _regressor(part['regressor'])


def _regressor(entry: Any) -> Finding:
    from mmjrr.evaluation.regressed_joints import load_regressors

    name = entry
    if isinstance(entry, Mapping):
        name = entry.get('path') or entry.get('path_or_name')

    def look() -> str:
        regressor = next(iter(load_regressors([entry]).values()))
        known = ZOO.get(str(name))
        checked = known is not None and known.sha256 is not None
        return (
            f'{regressor.provenance["file"]}: {regressor.num_joints} joints of the body '
            f'{regressor.body_model!r}, sha256 {regressor.provenance["file_sha256"][:8]}'
            + (' (as published)' if checked else '')
        )

    return _looked_at('regressor', name, look, _mend_regressor(str(name)))


def _mend_regressor(name: str) -> str:
    if name in FILES:
        return _fetch(FILES[name], search_folders()[-1] / FILES[name].path)
    if name == 'J_spin':
        run = 'contour_100it_h36m'
        return (
            f'python tools/train.py configs/refinement/{run}.py fits it; then copy '
            f'work_dirs/{run}/J_spin.npy and J_spin.json into {search_folders()[-1]}'
        )
    if name in ZOO:
        return f'{ZOO[name].source} It goes to {search_folders()[-1] / ZOO[name].filename}'
    return _mend(name, Path(name).parent.parent, 'a refinement run writes one: docs/refinement.md')


@register_check('PyTorch3DSilhouette')
def _pytorch3d(part: Mapping[str, Any]) -> Iterator[Finding]:
    from mmjrr.rendering.pytorch3d.silhouette import INSTALL

    yield _looked_at('package', 'pytorch3d', partial(_import, 'pytorch3d.renderer'), INSTALL)


# ---------------------------------------------------------------------- data sets


@register_check('H36MFitsDataset')
def _h36m(part: Mapping[str, Any]) -> Iterator[Finding]:
    from mmjrr.datasets.h36m import H36MFitsDataset

    root = Path(part.get('data_root', ''))
    ann_file = root / part.get('ann_file', 'annotation_body3d/fps10/h36m_train.npz')
    found: list[H36MFitsDataset] = []

    def annotations() -> str:
        alone = ('fits_file', 'mask_file', 'load_mask', 'load_image', 'require', 'pipeline')
        settings = {k: v for k, v in part.items() if k not in (*alone, 'type')}
        found.append(H36MFitsDataset(**{**settings, 'camera_param_file': None}))
        of = f' of {found[0].report["annotated"]}'
        return f'{len(found[0])}{of} frames selected, subjects {_subjects(found[0])}'

    yield _looked_at('annotation', ann_file, annotations, _mend(ann_file, root))
    dataset = found[0] if found else None
    camera_file = part.get('camera_param_file', 'annotation_body3d/cameras.pkl')
    if camera_file is not None:
        path = root / camera_file
        yield _looked_at('cameras', path, lambda: _cameras(path, dataset), _mend(path, root))
    keys = None if dataset is None else _keys(dataset)
    if part.get('fits_file') is not None:
        path = root / part['fits_file']
        mend = _mend(path, root, _infer(path, ann_file))
        yield _looked_at('fits', path, lambda: _fits(path, keys), mend)
    if part.get('mask_file') is not None:
        listed = part['mask_file']
        files = [str(root / f) for f in ([listed] if isinstance(listed, str) else listed)]
        mend = _mend(files[0], root, _segment(files[0], ann_file))
        yield _looked_at('masks', ', '.join(files), lambda: _masks(files, keys, dataset), mend)
    images = root / (part.get('data_prefix') or {}).get('img', 'images/')
    needed = _reads_images(part)
    if needed:
        yield _opencv()
    yield _looked_at(
        'images',
        images,
        lambda: _images(images, dataset) + ('' if needed else '; for pictures of fits alone'),
        _mend(images, root),
        optional=not needed,
    )


def _infer(path: Path, ann_file: Path) -> str:
    return (
        'python tools/infer_mesh.py configs/inference/spin_h36m.py data/spin/model_checkpoint.pt '
        f'--out {path} --cfg-options {_dataset_of(ann_file)} (docs/inference.md)'
    )


def _segment(path: str, ann_file: Path) -> str:
    return (
        'python tools/generate_masks.py configs/segmentation/mask-rcnn_r50_fpn_h36m.py '
        f'--out {path} --cfg-options {_dataset_of(ann_file)} (docs/masks.md)'
    )


def _dataset_of(ann_file: Path) -> str:
    """The options that make another config's data set that of this annotation."""
    parts = ann_file.parts
    if 'annotation_body3d' not in parts:
        return f'test_dataloader.dataset.ann_file={ann_file.absolute()}'
    at = parts.index('annotation_body3d')
    where = 'test_dataloader.dataset'
    return f'{where}.data_root={Path(*parts[:at])} {where}.ann_file={Path(*parts[at:])}'


def _reads_images(part: Mapping[str, Any]) -> bool:
    steps = [_short(str(step.get('type'))) for step in part.get('pipeline') or ()]
    return bool(part.get('load_image')) or 'LoadImage' in steps


def _subjects(dataset: Any) -> str:
    names = {dataset.imgname(i).rsplit('/', 1)[-1].split('_')[0] for i in range(len(dataset))}
    return ' '.join(sorted(names, key=lambda name: (len(name), name)))


def _keys(dataset: Any) -> set[str]:
    from mmjrr.datasets.image_names import image_key

    return {image_key(dataset.imgname(index)) for index in range(len(dataset))}


def _cameras(path: Path, dataset: Any) -> str:
    from mmjrr.datasets.image_names import parse_image_name
    from mmjrr.engine.hooks.pseudo_gt_hook import PROJECTION_TOLERANCE
    from mmjrr.geometry import load_cameras

    cameras = load_cameras(path)
    if dataset is None:
        return f'{len(cameras)} cameras'
    names = [parse_image_name(dataset.imgname(index)) for index in range(len(dataset))]
    wanted = {(name.subject, name.camera) for name in names}
    lacking = sorted(wanted - set(cameras))
    if lacking:
        raise DataError(f'lacks {len(lacking)} of {len(wanted)} cameras, such as {lacking[0]}')
    dataset.cameras = {key: cameras[key] for key in wanted}
    found = dataset.check_projection(tolerance=PROJECTION_TOLERANCE)
    worst = max((about['mean_px'] for about in found.values()), default=0.0)
    return f'{len(cameras)} cameras; 3D joints project to {worst:.2f} px from 2D joints at most'


def _fits(path: Path, keys: set[str] | None) -> str:
    from mmjrr.datasets.fits import load_fits
    from mmjrr.datasets.image_names import image_key

    fits = load_fits(path)
    if 'transl' not in fits and 'camera' not in fits:
        raise DataError("has neither 'transl' nor 'camera', expected one")
    valid = fits.get('valid', np.ones(len(fits['imgname']), dtype=bool))
    return _of_frames('fits', {image_key(n) for n in fits['imgname'][valid].tolist()}, keys)


def _masks(files: list[str], keys: set[str] | None, dataset: Any) -> str:
    from mmjrr.datasets.image_names import parse_image_name
    from mmjrr.datasets.masks import Masks
    from mmjrr.datasets.transforms import is_size

    masks = Masks(files)
    for key in sorted(keys or ()):
        row = masks.row(key)
        name = parse_image_name(key)
        camera = dataset.cameras.get((name.subject, name.camera))
        if row < 0 or camera is None:
            continue
        height, width = masks.sizes[row].tolist()
        if not is_size((height, width), (camera.height, camera.width)):
            raise DataError(
                f'the mask of {key} has the size {(height, width)}, expected '
                f'{(camera.height, camera.width)} (h, w) of its camera'
            )
    if len(masks):
        masks.decode(0)
    return _of_frames('masks', set(masks.keys()), keys)


def _of_frames(what: str, have: set[str], keys: set[str] | None) -> str:
    if keys is None:
        return f'{len(have)} {what}'
    number = len(have & keys)
    if not number:
        raise DataError(f'{len(have)} {what}, of none of the {len(keys)} frames')
    return f'{what} of {number} of {len(keys)} frames'


def _images(folder: Path, dataset: Any) -> str:
    from mmjrr.datasets.transforms import is_size, read_image

    if not folder.is_dir():
        raise FileNotFoundError('no such folder')
    if dataset is None:
        return 'is there'
    names = [dataset.imgname(i) for i in sorted({0, len(dataset) // 2, len(dataset) - 1})]
    for name in names:
        height, width = read_image(folder / name).shape[:2]
        camera = dataset.cameras.get(tuple(_camera_of(name)))
        if camera is None:
            continue
        if not is_size((height, width), (camera.height, camera.width)):
            raise DataError(
                f'{folder / name}: found size {(height, width)}, expected '
                f'{(camera.height, camera.width)} (h, w) of its camera'
            )
    return f'{len(names)} of {len(dataset)} opened'


def _camera_of(imgname: str) -> tuple[str, str]:
    from mmjrr.datasets.image_names import parse_image_name

    name = parse_image_name(imgname)
    return name.subject, name.camera


@register_check('ImageFolderDataset')
def _image_folder(part: Mapping[str, Any]) -> Iterator[Finding]:
    from mmjrr.datasets.image_folder import ImageFolderDataset
    from mmjrr.datasets.transforms import read_image

    def look() -> str:
        settings = {k: v for k, v in part.items() if k not in ('type', 'pipeline')}
        dataset = ImageFolderDataset(**settings)
        for index in {0, len(dataset) - 1}:
            read_image(dataset.data_root / dataset.imgname(index))
        return f'{len(dataset)} images'

    root = part.get('data_root', '')
    yield _looked_at('images', root, look, 'put images there, or name another folder: --data-root')
    yield _opencv()


@register_check('CocoDataset')
def _coco(part: Mapping[str, Any]) -> Iterator[Finding]:
    root = Path(part.get('data_root') or '')
    path = root / part.get('ann_file', '')

    def look() -> str:
        if not path.is_file():
            raise FileNotFoundError('no such file')
        content = json.loads(path.read_bytes())
        return f'{len(content["images"])} images, {len(content["annotations"])} instances'

    made = f'python tools/dataset_converters/masks_to_coco.py {root}'
    yield _looked_at('annotation', path, look, made)
    images = root / (part.get('data_prefix') or {}).get('img', '')
    yield _looked_at('images', images, lambda: _images(images, None), _mend(images, root))


# ---------------------------------------------------------------------- models and weights


@register_check('StoredPredictions')
def _stored(part: Mapping[str, Any]) -> Iterator[Finding]:
    from mmjrr.models.stored_predictions import StoredPredictions

    given: Any = part.get('predictions') or ()
    for path in [given] if isinstance(given, str) else given:

        def look(path: Any = path) -> str:
            return f'{len(StoredPredictions(path))} images'

        mend = _mend(path, Path(path).parent.parent, 'tools/infer_mesh.py: docs/inference.md')
        yield _looked_at('predictions', path, look, mend)


@register_check('VIBE')
@register_check('MEVA')
@register_check('SPIN')
def _estimator(part: Mapping[str, Any]) -> Iterator[Finding]:
    from mmjrr.models.estimators.hmr import load_mean_params
    from mmjrr.models.estimators.vibe import load_features

    def mean_params(path: str) -> str:
        return f'{len(load_mean_params(path))} arrays'

    def features(path: str) -> str:
        return f'{sum(p.numel() for p in load_features(path).parameters()) / 1e6:.0f} M weights'

    for name, look in (('mean_params', mean_params), ('pretrained_features', features)):
        path = part.get(name)
        if path is not None:
            yield _looked_at('weights', path, partial(look, path), _mend(path))


@register_check('MaskRCNN')
def _mask_rcnn(part: Mapping[str, Any]) -> Iterator[Finding]:
    from mmjrr.segmentation.mmcv_ops import ensure_mmcv_ops

    packages = ['torchvision']
    if part.get('backend', 'mmdet') == 'mmdet':
        yield _looked_at('package', 'mmcv.ops', ensure_mmcv_ops, _SEGMENTATION)
        packages = ['mmdet']
    ready = True
    for name in packages:
        finding = _looked_at('package', name, partial(_import, name), _SEGMENTATION)
        ready = ready and not finding.bad
        yield finding
    path = part.get('checkpoint')
    if path is not None:
        yield _looked_at('weights', path, lambda: _mask_weights(part, ready), _mend(path))


def _mask_weights(part: Mapping[str, Any], ready: bool) -> str:
    """With the packages there, the network takes them; without, they are read."""
    from mmjrr.registry import MODELS
    from mmjrr.segmentation.mask_rcnn import read_checkpoint

    known = next((f for f in FILES.values() if Path(part['checkpoint']).name == f.path), None)
    if not ready:
        return f'{len(read_checkpoint(part["checkpoint"]))} entries, not tried in the network'
    MODELS.build({**part, 'type': 'mmjrr.MaskRCNN'})
    if known is None or known.sha256 is None:
        return 'fit the network'
    same = sha256(part['checkpoint']).startswith(known.sha256)
    return 'fit the network' + (', as published' if same else ', other than those published')


#: Models whose weights come on the command line, and the file they are of, of :data:`FILES`.
_WEIGHTS_OF = {'SPIN': 'spin', 'VIBE': 'vibe', 'MEVA': 'meva'}


def _weights(cfg: Mapping[str, Any], checkpoint: str | Path | None) -> Iterator[Finding]:
    model = cfg.get('model') or {}
    kind = _short(str(model.get('type', '')))
    given = checkpoint or cfg.get('load_from')
    if kind in _WEIGHTS_OF:
        item = FILES[_WEIGHTS_OF[kind]]
        path = Path(given) if given else _where(item)
        yield _looked_at('weights', path, lambda: _estimator_weights(model, path), _mend(path))
    elif given:
        yield _looked_at('weights', given, lambda: _any_weights(given), _mend(given))


def _where(item: RemoteFile) -> Path:
    folders = search_folders()
    return next(
        (f / item.path for f in folders if (f / item.path).exists()), folders[-1] / item.path
    )


def _estimator_weights(model: Mapping[str, Any], path: Path) -> str:
    from mmjrr.models.estimators.checkpoints import load_weights
    from mmjrr.registry import MODELS

    # By its full name: another package's scope may be the current one.
    kind = _short(model['type'])
    settings = {k: v for k, v in model.items() if k != 'pretrained_features'}
    settings['type'] = f'mmjrr.{kind}'
    if not Path(settings.get('mean_params') or '').is_file():
        settings.pop('mean_params', None)
    load_weights(MODELS.build(settings), path)
    return f'fit {kind}; give it on the command line'


def _any_weights(path: str | Path) -> str:
    from mmjrr.models.estimators.checkpoints import read_checkpoint

    return f'{len(read_checkpoint(path))} entries'


def overview(findings: Sequence[Finding]) -> str:
    """The last lines: what is missing or wrong and how to mend it, or that nothing is."""
    bad = [finding for finding in findings if finding.bad]
    optional = sum(finding.state == OPTIONAL for finding in findings)
    lines = []
    for finding in bad:
        mend = finding.mend or finding.detail
        if finding.state == WRONG and mend.startswith('python tools/download.py'):
            mend = f'move it away, then {mend}'  # what is there is not overwritten
        lines += [f'{finding.name}: {finding.state}', f'    {mend}']
    total = f'{len(findings) - len(bad) - optional} found'
    for state in (MISSING, WRONG):
        count = sum(finding.state == state for finding in findings)
        total += f', {count} {state}' if count else ''
    if optional:
        total += f', {optional} optional not there'
    return '\n'.join([*lines, total])
