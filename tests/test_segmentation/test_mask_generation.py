"""Which of the found people mask generation takes, with a network that finds given boxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from PIL import Image

from mmjrr.cli import masks
from mmjrr.cli.options import parse
from mmjrr.cli.runtime import read_config
from mmjrr.datasets import ImageFolderDataset
from mmjrr.segmentation import generate_masks

#: A narrow person, and a wide neighbor, who has more in common with the square around the first.
PERSON, NEIGHBOR = (60.0, 10.0, 85.0, 110.0), (40.0, 5.0, 140.0, 115.0)
ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / 'configs/segmentation/mask-rcnn_small_synthetic_masks.py')


class Finder(torch.nn.Module):
    """A network that finds the same people in each image."""

    made_by = dict(checkpoint=None)
    soft = False

    def __init__(self, *boxes: tuple[float, ...]) -> None:
        super().__init__()
        self.boxes = boxes

    def test_step(self, batch: dict) -> list:
        """Add the people to each data sample."""
        for image, sample in zip(batch['inputs']['img'], batch['data_samples'], strict=True):
            found = torch.zeros(len(self.boxes), *image.shape[:2], dtype=torch.uint8)
            for mask, box in zip(found, self.boxes, strict=True):
                x0, y0, x1, y1 = map(int, box)
                mask[y0:y1, x0:x1] = 255
            instances = InstanceData(
                bboxes=torch.tensor(self.boxes), scores=torch.linspace(0.9, 0.8, len(self.boxes))
            )
            instances.masks = found
            sample.set_field(instances, 'pred_instances')
        return batch['data_samples']


@pytest.mark.parametrize('found', [(PERSON,), (NEIGHBOR, PERSON)])
def test_the_annotated_box_decides_not_the_square_around_it(
    tmp_path: Path, found: tuple[tuple[float, ...], ...]
) -> None:
    (tmp_path / 'images').mkdir()
    Image.fromarray(np.zeros((120, 160, 3), np.uint8)).save(tmp_path / 'images/a.png')
    (tmp_path / 'boxes.json').write_text(json.dumps({'a.png': PERSON}))
    settings = dict(data_root=str(tmp_path / 'images'), boxes=str(tmp_path / 'boxes.json'))
    pipeline = [dict(type='LoadImage'), dict(type='PackMeshInputs')]
    dataset = ImageFolderDataset(**settings, pipeline=pipeline)
    cfg = Config(
        dict(
            out=str(tmp_path / 'masks.json'),
            work_dir=str(tmp_path / 'work'),
            test_dataloader=dict(
                batch_size=1, dataset=dict(type='ImageFolderDataset', pipeline=pipeline, **settings)
            ),
            frames_per_shard=2,
            person=dict(min_overlap=0.3),
        )
    )
    assert generate_masks(dataset, Finder(*found), cfg)['masks'] == 1
    (entry,) = json.loads(Path(cfg.out).read_bytes())['masks'].values()
    assert entry['box'] == list(PERSON) and entry['overlap'] == 1


def test_on_a_cpu_images_come_one_by_one_unless_an_option_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr('mmengine.device.get_device', lambda: 'cpu')
    option = ['--cfg-options', 'test_dataloader.batch_size=4']
    for words, expected in ([], 1), (option, 4), ([*option, '--batch-size', '3'], 3):
        args = parse(masks.add_arguments, None, [CONFIG, *words])
        cfg = masks.merge_arguments(read_config(args), args)
        assert cfg.test_dataloader.batch_size == expected


def test_true_masks_are_read_before_any_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('mmjrr.segmentation.generate_masks', lambda *_, **__: pytest.fail('made'))
    (tmp_path / 'no_masks.json').write_text('{}')
    for name, message in (('none.json', 'no such file'), ('no_masks.json', 'found no masks')):
        assert masks.main([CONFIG, '--out', 'masks.json', '--compare', name]) == 1
        error = capsys.readouterr().err
        assert name in error and message in error
