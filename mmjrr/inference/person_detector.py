"""Boxes of people from a detector of mmdet."""

from __future__ import annotations

import os.path as osp
import warnings
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.infer import BaseInferencer
from torch import Tensor, nn

from mmjrr.array_types import Array
from mmjrr.downloads import FILES
from mmjrr.errors import DataError
from mmjrr.io import read_checkpoint
from mmjrr.segmentation.mask_rcnn import build_mmdet, load_weights, person_of_mmdet
from mmjrr.segmentation.mmcv_ops import ensure_mmcv_ops

from .known_files import find_by_url, find_file
from .surroundings import check_device

#: Config and name in :data:`~mmjrr.downloads.FILES` of the detector that is used by default.
DEFAULT_CONFIG = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_2x_coco.py'
DEFAULT_WEIGHTS = 'mask_rcnn_mmdet'


class PersonDetector:
    """Detector of people: any model of mmdet that predicts boxes.

    Args:
        model: mmdet's config: a file, ``mmdet::FOLDER/NAME.py``, a name or alias in mmdet's
            metafiles, such as ``'rtmdet-m'``, or a config object. Default: None, Mask R-CNN with
            a ResNet-50.
        weights: File of the weights. Default: None, the file that mmdet publishes for this name,
            in a folder of downloads.
        category_ids: Indices of the classes to keep. Default: None, the class person.
        device: Device of the model. Default: None, MMEngine's choice.

    Raises:
        ImportError: mmdet is not installed.
        FileNotFoundError: There is no such config, or the weights are not on this machine.
        DataError: The weights are damaged, or belong to another network.
        ValueError: There is no model of this name, no such device, or no such class.
    """

    def __init__(
        self,
        model: str | dict[str, Any] | None = None,
        weights: str | Path | None = None,
        category_ids: int | Sequence[int] | None = None,
        device: str | None = None,
    ) -> None:
        check_device(device)
        ensure_mmcv_ops()  # must precede any import of mmdet
        cfg, url = _read_config(DEFAULT_CONFIG if model is None else model)
        if weights is None:
            if model is None:
                weights = find_file(FILES[DEFAULT_WEIGHTS])
            elif url is not None:
                weights = find_by_url(url)
            else:
                raise ValueError(
                    "det_weights: found None, expected the file of the detector's weights, since "
                    f'no published weights are known for {model!r:.80}'
                )
        self.weights = Path(weights)
        content = read_checkpoint(weights)
        _without_pretraining(cfg.model)
        self._network, self._prepare = build_mmdet(cfg)
        load_weights(self._network, content, str(weights))
        self._network.to(get_device() if device is None else device).eval()
        if category_ids is None:
            category_ids = person_of_mmdet(cfg, content)
        self.category_ids = [category_ids] if isinstance(category_ids, int) else list(category_ids)
        _check_categories(self.category_ids, self._network)

    @torch.no_grad()
    def detect(
        self, image: Array, bbox_thr: float = 0.3, nms_thr: float = 0.3
    ) -> tuple[Array, Array]:
        """Detect the people in an image.

        Args:
            image: (h, w, 3) uint8, RGB.
            bbox_thr: Scores must be above it, 0 to 1. Default: 0.3.
            nms_thr: Boxes that overlap a better one by more (IoU) are dropped, 0 to 1. Default:
                0.3.

        Returns:
            Boxes (N, 4), x0, y0, x1, y1 in pixels, and scores (N,), best first.

        Raises:
            ValueError: A threshold is not within 0 to 1.
        """
        from mmcv.ops import nms

        check_thresholds(bbox_thr=bbox_thr, nms_thr=nms_thr)
        item = self._prepare(dict(img=image[..., ::-1], img_id=0))
        (result,) = self._network.test_step({name: [value] for name, value in item.items()})
        instances = result.pred_instances
        keep = torch.zeros_like(instances.labels, dtype=torch.bool)
        for category in self.category_ids:
            keep |= instances.labels == category
        keep &= instances.scores > bbox_thr
        boxes, scores = instances.bboxes[keep].float(), instances.scores[keep].float()
        if not len(boxes):
            return np.zeros((0, 4)), np.zeros(0)
        kept: Tensor = nms(boxes, scores, nms_thr)[1]
        return boxes[kept].double().cpu().numpy(), scores[kept].double().cpu().numpy()


def check_thresholds(**thresholds: float) -> None:
    """Check thresholds of scores and overlaps, by name.

    Raises:
        ValueError: One is not within 0 to 1.
    """
    for name, value in thresholds.items():
        if not (isinstance(value, Real) and 0 <= value <= 1):
            raise ValueError(f'{name}: found {value!r}, expected a number from 0 to 1')


def _check_categories(category_ids: Sequence[int], network: nn.Module) -> None:
    """Check that a network has the classes.

    Raises:
        ValueError: It does not, or there are none.
    """
    head = getattr(getattr(network, 'roi_head', network), 'bbox_head', None)
    head = head[-1] if isinstance(head, nn.ModuleList) else head  # of a cascade
    count = getattr(head, 'num_classes', None)
    found = f'det_cat_ids: found {list(category_ids)}, expected'
    if not category_ids:
        raise ValueError(f'{found} at least one class')
    for index in category_ids:
        if not isinstance(index, int) or index < 0 or (count is not None and index >= count):
            expected = 'indices of classes' if count is None else f'indices from 0 to {count - 1}'
            raise ValueError(f'{found} {expected}')


def _read_config(model: str | dict[str, Any]) -> tuple[Config, str | None]:
    """Return a config of mmdet, and the address of its published weights if it is known."""
    if not isinstance(model, str):
        return (model if isinstance(model, Config) else Config(model)).copy(), None
    with warnings.catch_warnings():  # MMEngine looks up base configs of other packages by it
        warnings.filterwarnings('ignore', 'pkg_resources is deprecated', UserWarning)
        if '::' in model:
            from mmengine.hub import get_config

            return get_config(model), None
        if osp.isfile(model):
            return Config.fromfile(model), None
        if model.endswith('.py'):
            raise FileNotFoundError(f'det_model: {model}: no such config')
        folder = BaseInferencer._get_repo_or_mim_dir('mmdet')
        for entry in BaseInferencer._get_models_from_metafile(folder):
            aliases = entry.get('Alias') or []
            names = [entry['Name'], *([aliases] if isinstance(aliases, str) else aliases)]
            if model.lower() in [name.lower() for name in names]:
                urls = entry.get('Weights')
                url = urls[0] if isinstance(urls, list) else urls
                return Config.fromfile(osp.join(folder, entry['Config'])), url
    raise ValueError(f'det_model: found {model!r}, expected a config file or a name of mmdet')


def _without_pretraining(model: Any) -> None:
    """Drop downloads of pretrained weights, and Mask R-CNN's masks, which boxes do not need.

    Raises:
        DataError: The config has no model.
    """
    if not isinstance(model, dict) or 'type' not in model:
        raise DataError('det_model: the config has no model')
    for part in (model, model.get('backbone')):
        if isinstance(part, dict):
            part.pop('pretrained', None)
            part.pop('init_cfg', None)
    heads = model.get('roi_head')
    if isinstance(heads, dict) and not isinstance(heads.get('bbox_head'), list):
        for name in ('mask_head', 'mask_roi_extractor'):
            heads.pop(name, None)
