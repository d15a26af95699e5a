"""Configs that generate masks and train detectors."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from mmengine.config import Config

from mmjrr.registry import DATASETS, MODELS
from mmjrr.segmentation.mmcv_ops import INSTALL

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / 'configs' / 'segmentation').glob('*.py'))
TRAIN = [f'mask-rcnn_small_{name}synthetic' for name in ('', '9x_', '20x_')]
GENERATE = [path for path in CONFIGS if path.stem not in TRAIN]


@pytest.mark.parametrize('path', GENERATE, ids=lambda path: path.stem)
def test_a_config_that_generates_has_all_that_the_tool_reads(path: Path) -> None:
    cfg = Config.fromfile(str(path))
    assert cfg.default_scope == 'mmjrr' and 'mmjrr' in cfg.custom_imports.imports
    for registry, part in ((MODELS, cfg.model), (DATASETS, cfg.test_dataloader.dataset)):
        arguments = {name: value for name, value in part.items() if name != 'type'}
        inspect.signature(registry.get(part.type)).bind(**arguments)
    steps = [step['type'] for step in cfg.test_dataloader.dataset.pipeline]
    assert steps == ['LoadImage', 'PackMeshInputs']
    assert cfg.test_dataloader.dataset.data_root == cfg.data_root
    assert cfg.frames_per_shard % cfg.test_dataloader.batch_size == 0
    assert 0 < cfg.person.min_overlap < 1
    config = cfg.model.get('config')
    assert config is None or '::' in config or Path(config).is_file()


def test_further_training_continues_with_the_same_network_on_other_people() -> None:
    pytest.importorskip('mmdet', reason=f'mmdet is not installed: {INSTALL}')  # configs' base
    configs = [Config.fromfile(str(CONFIGS[0].with_name(f'{stem}.py'))) for stem in TRAIN]
    first = configs[0]
    steps = first.train_cfg.max_iters
    changes = zip(configs[1:], (6, 16), (9, 20), (None, 112), strict=True)
    for number, (further, sets, total, finest_scale) in enumerate(changes):
        extractor = further.model.roi_head.mask_roi_extractor
        assert extractor.pop('finest_scale', None) == finest_scale
        assert further.model == first.model
        assert further.load_from == f'work_dirs/{TRAIN[number]}/weights.pth'
        steps += further.train_cfg.max_iters
        assert steps == total * first.train_cfg.max_iters
        assert further.param_scheduler[-1].end == further.train_cfg.max_iters
        datasets = further.train_dataloader.dataset.datasets
        assert len({part.data_root for part in datasets}) == sets
        for part in datasets:
            assert part.data_root != first.data_root
            assert {**part, 'data_root': first.data_root} == first.train_dataloader.dataset


@pytest.mark.slow
def test_the_small_network_is_a_mask_rcnn_of_one_class() -> None:
    for package in ('torchvision', 'mmdet', 'mmcv'):
        pytest.importorskip(package, reason=f'{package} is not installed: {INSTALL}')
    from mmjrr.segmentation import MaskRCNN

    path = ROOT / 'configs' / 'segmentation' / 'mask-rcnn_small_synthetic.py'
    model = MaskRCNN(None, config=str(path))
    assert type(model.network).__module__.startswith('mmdet')
    assert model.network.roi_head.bbox_head.num_classes == 1
    assert sum(value.numel() for value in model.parameters()) < 6e6
    cfg = Config.fromfile(str(path))
    train, test = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
    assert (train.ann_file, test.ann_file) == (
        'annotations/person_train.json', 'annotations/person_test.json',
    )  # fmt: skip
