"""Checks of models and their weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mmjrr.downloads import FILES, RemoteFile
from mmjrr.io import read_checkpoint, sha256
from mmjrr.regressors.zoo import search_folders
from mmjrr.setup_check.finding import Finding, as_path, look_up
from mmjrr.setup_check.package_checks import import_version
from mmjrr.setup_check.registration import register_check, short_name
from mmjrr.setup_check.remedies import SEGMENTATION_PACKAGES, remedy


@register_check('StoredPredictions')
def _stored(part: Mapping[str, Any]) -> Iterator[Finding]:
    from mmjrr.models.stored_predictions import StoredPredictions

    predictions: Any = part.get('predictions')
    for value in predictions if isinstance(predictions, (list, tuple)) else [predictions]:
        path = as_path('predictions', value)

        def look(path: Path = path) -> str:
            return f'{len(StoredPredictions(path))} images'

        fix = remedy(path, path.parent.parent, 'tools/infer_mesh.py: docs/inference.md')
        yield look_up('predictions', path, look, fix)


@register_check('VIBE')
@register_check('MEVA')
@register_check('SPIN')
def _estimator(part: Mapping[str, Any]) -> Iterator[Finding]:
    from mmjrr.models.estimators.hmr import load_mean_params
    from mmjrr.models.estimators.vibe import load_features

    def mean_params(path: Path) -> str:
        return f'{len(load_mean_params(path))} arrays'

    def features(path: Path) -> str:
        return f'{sum(p.numel() for p in load_features(path).parameters()) / 1e6:.0f} M weights'

    for name, look in (('mean_params', mean_params), ('pretrained_features', features)):
        if part.get(name) is not None:
            path = as_path(name, part[name])
            yield look_up('weights', path, partial(look, path), remedy(path))


@register_check('MaskRCNN')
def _mask_rcnn(part: Mapping[str, Any]) -> Iterator[Finding]:
    from mmjrr.segmentation.mmcv_ops import ensure_mmcv_ops

    packages = ['torchvision']
    if part.get('backend', 'mmdet') == 'mmdet':
        yield look_up('package', 'mmcv.ops', ensure_mmcv_ops, SEGMENTATION_PACKAGES)
        packages = ['mmdet']
    ready = True
    for name in packages:
        finding = look_up('package', name, partial(import_version, name), SEGMENTATION_PACKAGES)
        ready = ready and not finding.bad
        yield finding
    if part.get('checkpoint') is not None:
        path = as_path('checkpoint', part['checkpoint'])
        yield look_up('weights', path, lambda: _mask_weights(part, ready), remedy(path))


def _mask_weights(part: Mapping[str, Any], ready: bool) -> str:
    """Load weights into the network, or only read them if the network's packages are missing."""
    from mmjrr.registry import MODELS

    published = next((f for f in FILES.values() if Path(part['checkpoint']).name == f.path), None)
    if not ready:
        return f'{len(read_checkpoint(part["checkpoint"]))} entries, not loaded into the network'
    MODELS.build({**part, 'type': 'mmjrr.MaskRCNN'})
    if published is None or published.sha256 is None:
        return 'fit the network'
    same = sha256(part['checkpoint']).startswith(published.sha256)
    return 'fit the network' + (', as published' if same else ', differ from those published')


#: Names in :data:`FILES` of the weights of models that load them from the command line.
_WEIGHTS_OF = {'SPIN': 'spin', 'VIBE': 'vibe', 'MEVA': 'meva'}


def check_weights(cfg: Mapping[str, Any], checkpoint: str | Path | None) -> Iterator[Finding]:
    """Check the weights of a config's model, named on the command line or by ``load_from``."""
    model = cfg.get('model') or {}
    kind = short_name(str(model.get('type', '')))
    weights = checkpoint or cfg.get('load_from')
    if kind in _WEIGHTS_OF:
        item = FILES[_WEIGHTS_OF[kind]]
        path = as_path('load_from', weights) if weights else _find(item)
        yield look_up('weights', path, lambda: _estimator_weights(model, path), remedy(path))
    elif weights:
        as_path('load_from', weights)  # not taken as a path below: it may be an address
        yield look_up('weights', weights, lambda: _any_weights(weights), remedy(weights))


def _find(item: RemoteFile) -> Path:
    """Return where a file exists, or where it should be."""
    folders = search_folders()
    return next(
        (f / item.path for f in folders if (f / item.path).exists()), folders[-1] / item.path
    )


def _estimator_weights(model: Mapping[str, Any], path: Path) -> str:
    from mmjrr.models.estimators.released_weights import load_weights
    from mmjrr.registry import MODELS

    # Name the scope, since that of another package can be the default.
    kind = short_name(model['type'])
    settings = {k: v for k, v in model.items() if k != 'pretrained_features'}
    settings['type'] = f'mmjrr.{kind}'
    if not Path(settings.get('mean_params') or '').is_file():
        settings.pop('mean_params', None)
    load_weights(MODELS.build(settings), path)
    return f'fit {kind}; name the file on the command line'


def _any_weights(path: str | Path) -> str:
    return f'{len(read_checkpoint(path))} entries'
