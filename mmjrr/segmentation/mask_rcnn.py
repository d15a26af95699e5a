"""Mask R-CNN of mmdet or torchvision, as one model that detects the people in images."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from mmjrr.array_types import Array
from mmjrr.errors import DataError
from mmjrr.io import read_checkpoint
from mmjrr.registry import MODELS
from mmjrr.segmentation.mmcv_ops import INSTALL, ensure_mmcv_ops

BACKENDS = ('mmdet', 'torchvision')


@MODELS.register_module()
class MaskRCNN(BaseModel):
    """Detector of people in images: boxes, scores and masks.

    ``test_step(dict(inputs=dict(img=images), data_samples=samples))`` takes images as (h, w, 3)
    uint8 RGB arrays of any sizes, and adds ``pred_instances`` to each data sample: ``bboxes``
    (N, 4) float32, x0, y0, x1, y1 in pixels; ``scores`` (N,) float32; and ``masks`` (N, h, w)
    uint8, 0 to 255 with ``soft``, 0 or 255 without. The tensors are on the model's device, in order
    of decreasing score.

    Args:
        checkpoint: File of the weights, or None for random weights.
        backend: 'mmdet' or 'torchvision'. Default: 'mmdet'.
        config: mmdet's config, by path or by name. Default:
            ``'mmdet::mask_rcnn/mask-rcnn_r50_fpn_2x_coco.py'``.
        options: For mmdet, settings that override the config, as ``{'model.neck.type': ...}``.
            For torchvision, arguments of ``maskrcnn_resnet50_fpn``, such as ``dict(min_size=600)``.
            Default: None.
        soft: Whether masks hold probabilities instead of being thresholded at one half.
            Default: False.
        score_thr: Lowest score of instances. Default: 0.05, which is low since the annotated person
            is chosen by overlap.
        max_instances: Largest number of instances of all classes per image; those with the
            highest scores are kept. Default: 30.

    Attributes:
        made_by: Dict of all settings that determine the results, for the provenance of files.

    Raises:
        ImportError: The backend is not installed.
        FileNotFoundError: There is no such checkpoint or config.
        DataError: The checkpoint is damaged, or belongs to another network.
        ValueError: An argument is out of range, or does not fit the backend.
    """

    def __init__(
        self,
        checkpoint: str | None,
        backend: str = 'mmdet',
        config: str | None = None,
        options: dict[str, Any] | None = None,
        soft: bool = False,
        score_thr: float = 0.05,
        max_instances: int = 30,
    ) -> None:
        super().__init__()
        if backend not in BACKENDS:
            raise ValueError(f'backend: found {backend!r}, expected one of {BACKENDS}')
        if not 0 <= score_thr < 1:
            raise ValueError(f'score_thr: found {score_thr}, expected 0 or more, below 1')
        if max_instances < 1:
            raise ValueError(f'max_instances: found {max_instances}, expected at least 1')
        if backend == 'torchvision' and config is not None:
            raise ValueError(
                f'config: found {config!r}, expected None for torchvision, whose settings go into '
                'options'
            )
        self.backend, self.soft = backend, soft
        self.made_by = dict(
            backend=backend, config=config, checkpoint=checkpoint, options=options or {},
            soft=soft, score_thr=score_thr, max_instances=max_instances,
        )  # fmt: skip
        if checkpoint is not None and not Path(checkpoint).is_file():
            raise FileNotFoundError(
                f'{checkpoint}: no such checkpoint (docs/masks.md says where to get it)'
            )
        content = None if checkpoint is None else read_checkpoint(checkpoint)
        if content is None:
            print_log('MaskRCNN: no checkpoint, so its weights are random', level=logging.WARNING)
        settings: dict[str, Any] = dict(
            options=options or {}, score_thr=score_thr, max_instances=max_instances
        )
        self.network: nn.Module
        if backend == 'mmdet':
            config = config or 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_2x_coco.py'
            operators = ensure_mmcv_ops()  # must precede any import of mmdet
            self.made_by.update(config=config, version=_version('mmdet'), operators=operators)
            cfg = read_mmdet_config(config, soft=soft, **settings)
            self.network, self.prepare = build_mmdet(cfg)
            self.person = person_of_mmdet(cfg, content)
        else:
            self.network = build_torchvision(**settings)
            self.person = 1  # torchvision counts COCO's categories from 1
            self.made_by.update(version=_version('torchvision'))
        if content is not None:
            load_weights(self.network, content, str(checkpoint))
        self.eval()

    def train(self, mode: bool = True) -> MaskRCNN:
        """Stay in evaluation mode; mmdet's and torchvision's own tools train these networks."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self,
        inputs: dict[str, Sequence[Array]],
        data_samples: Sequence[BaseDataElement] | None = None,
        mode: str = 'predict',
    ) -> list[BaseDataElement]:
        """Detect people in images; the class describes inputs and outputs."""
        if mode != 'predict':
            raise ValueError(f"mode: found {mode!r}, expected 'predict'")
        images = [np.asarray(image) for image in inputs['img']]
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise ValueError(
                    f'img: found {image.dtype} of shape {image.shape}, expected (h, w, 3) uint8'
                )
        samples = list(data_samples or [BaseDataElement() for _ in images])
        detect = self._detect_mmdet if self.backend == 'mmdet' else self._detect_torchvision
        for sample, instances in zip(samples, detect(images), strict=True):
            sample.set_field(instances, 'pred_instances')
        return samples

    def _detect_mmdet(self, images: list[Array]) -> list[InstanceData]:
        items = [self.prepare(dict(img=image[..., ::-1], img_id=0)) for image in images]
        batch = {name: [item[name] for item in items] for name in items[0]}
        results = [sample.pred_instances for sample in self.network.test_step(batch)]
        return [
            _instances(result.bboxes, result.scores, _in_bytes(result.masks), keep)
            for result in results
            for keep in [result.labels == self.person]
        ]

    def _detect_torchvision(self, images: list[Array]) -> list[InstanceData]:
        device = next(self.network.parameters()).device
        inputs = [
            torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1).float() / 255
            for image in images
        ]
        detections = []
        for result in self.network(inputs):
            keep = result['labels'] == self.person
            masks = (result['masks'][keep, 0] * 255).round().to(torch.uint8)
            if not self.soft:
                masks = (masks >= 128).to(torch.uint8) * 255
            keep_all = torch.ones(len(masks), dtype=torch.bool, device=device)
            detections.append(
                _instances(result['boxes'][keep], result['scores'][keep], masks, keep_all)
            )
        return detections


def _instances(boxes: Tensor, scores: Tensor, masks: Tensor, keep: Tensor) -> InstanceData:
    """Select instances by the boolean ``keep``, and sort them by decreasing score."""
    order = torch.argsort(scores[keep], descending=True, stable=True)
    return InstanceData(
        bboxes=boxes[keep][order].float(),
        scores=scores[keep][order].float(),
        masks=masks[keep][order],
    )


def _in_bytes(masks: Tensor) -> Tensor:
    """Convert boolean masks to 0 and 255; leave uint8 values 0 to 255 unchanged."""
    return masks.to(torch.uint8) * 255 if masks.dtype == torch.bool else masks


def _require(package: str) -> ModuleType:
    """Import a package; if it is missing, raise an ImportError with the command to install it."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        name = package.split('.')[0]
        if (error.name or '').split('.')[0] != name:
            raise
        raise ImportError(f'{name} is not installed: {INSTALL}') from error


def _version(package: str) -> str:
    return f'{package} {_require(package).__version__}'


# ------------------------------------------------------------------ mmdet


def read_mmdet_config(
    config: str, options: dict[str, Any], soft: bool, score_thr: float, max_instances: int
) -> Config:
    """Read a config of mmdet, set its thresholds, and turn off its downloads of weights.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The config's model is no Mask R-CNN.
    """
    if '::' in config:
        from mmengine.hub import get_config

        cfg = get_config(config)
    elif Path(config).is_file():
        with warnings.catch_warnings():  # MMEngine looks up base configs of other packages by it
            warnings.filterwarnings('ignore', 'pkg_resources is deprecated', UserWarning)
            cfg = Config.fromfile(config)
    else:
        raise FileNotFoundError(f'{config}: no such config')
    cfg.merge_from_dict(options)
    if cfg.get('model', {}).get('test_cfg', {}).get('rcnn') is None:
        raise DataError(f'{config}: expected a Mask R-CNN, with model.test_cfg.rcnn')
    cfg.model.backbone.init_cfg = None
    cfg.model.test_cfg.rcnn.update(score_thr=score_thr, max_per_img=max_instances)
    cfg.model.test_cfg.rcnn.mask_thr_binary = -1 if soft else 0.5  # negative: no threshold
    return cfg


def build_mmdet(cfg: Config) -> tuple[nn.Module, Any]:
    """Build the network and its image transform.

    Returns:
        The network, and the transform, which takes ``dict(img=(h, w, 3) uint8 BGR, img_id=0)``.
    """
    from mmcv.transforms import Compose
    from mmengine.registry import DefaultScope

    from mmjrr.segmentation import with_mmdet

    with DefaultScope.overwrite_default_scope('mmdet'):
        network = with_mmdet.MODELS.build(cfg.model)
        steps = [dict(type='mmdet.LoadImageFromNDArray')]
        for step in cfg.test_dataloader.dataset.pipeline:
            if not step['type'].split('.')[-1].startswith('Load'):
                steps.append(step)
        return network, Compose(steps)


def person_of_mmdet(cfg: Config, content: dict[str, Any] | None) -> int:
    """Return the index of the class person among the network's classes.

    Raises:
        DataError: The network has no such class.
    """
    meta = (content or {}).get('meta', {})
    classes = {**meta, **meta.get('dataset_meta', {})}
    names = classes.get('classes') or classes.get('CLASSES')
    if names is None:
        names = cfg.test_dataloader.dataset.get('metainfo', {}).get('classes')
    if names is None:  # the first class of COCO
        return 0
    if 'person' not in names:
        raise DataError(f"classes: found {list(names)[:5]} and more, expected 'person' among them")
    return list(names).index('person')


# ------------------------------------------------------------------ torchvision


def build_torchvision(options: dict[str, Any], score_thr: float, max_instances: int) -> nn.Module:
    """Build torchvision's Mask R-CNN (ResNet-50, FPN) without weights."""
    _require('torchvision')
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    arguments = dict(
        weights=None,
        weights_backbone=None,
        box_score_thresh=score_thr,
        box_detections_per_img=max_instances,
    )
    return maskrcnn_resnet50_fpn(**{**arguments, **options})


# ------------------------------------------------------------------ weights


def load_weights(network: nn.Module, content: dict[str, Any], where: str) -> None:
    """Load all weights of a checkpoint into a network; log the number of unused ones.

    Args:
        network: The network.
        content: The checkpoint: a ``state_dict``, or a dict that contains one.
        where: Name of the checkpoint, for messages.

    Raises:
        DataError: A weight is missing, has another shape, or is not finite.
    """
    weights = content.get('state_dict', content)
    expected = network.state_dict()
    missing = [
        name
        for name in expected
        if name not in weights and not name.endswith('num_batches_tracked')
    ]
    if missing:
        raise DataError(
            f'{where}: {len(missing)} of {len(expected)} weights missing, such as {missing[0]!r}; '
            'it belongs to another network'
        )
    for name, value in weights.items():
        if name in expected and value.shape != expected[name].shape:
            raise DataError(
                f'{where}: {name}: found shape {tuple(value.shape)}, expected '
                f'{tuple(expected[name].shape)}; it belongs to another network'
            )
        if name in expected and value.is_floating_point() and not value.isfinite().all():
            raise DataError(f'{where}: {name}: found values that are not finite')
    unknown = [name for name in weights if name not in expected]
    if unknown:
        print_log(f'{where}: {len(unknown)} weights are not used, such as {unknown[0]!r}')
    network.load_state_dict({n: v for n, v in weights.items() if n in expected}, strict=False)
