"""Both backends, with small networks and random weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.structures import BaseDataElement

from mmjrr.errors import DataError
from mmjrr.segmentation import MaskRCNN, mask_rcnn
from mmjrr.segmentation.mmcv_ops import INSTALL

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    'mmdet': dict(
        config=str(ROOT / 'configs' / 'segmentation' / 'mask-rcnn_small_synthetic.py'),
        max_instances=6,
    ),
    'torchvision': dict(
        options=dict(
            num_classes=2, min_size=64, max_size=64, rpn_post_nms_top_n_test=20,
        ),
        max_instances=6,
    ),
}  # fmt: skip


def small(backend: str, checkpoint: str | None = None, **changes) -> MaskRCNN:
    for package in ('torchvision', 'mmdet', 'mmcv')[: 3 if backend == 'mmdet' else 1]:
        pytest.importorskip(package, reason=f'{package} is not installed: {INSTALL}')
    return MaskRCNN(checkpoint, backend=backend, **{**SMALL[backend], **changes})


def image(height: int = 96, width: int = 80, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 90, np.uint8)
    picture[20:70, 30:50] = rng.integers(0, 256, 3)
    return picture


def find(model: MaskRCNN, *images: np.ndarray) -> list:
    samples = model.test_step(dict(inputs=dict(img=list(images))))
    return [sample.pred_instances for sample in samples]


@pytest.fixture(scope='module', params=['mmdet', 'torchvision'])
def model(request: pytest.FixtureRequest) -> MaskRCNN:
    torch.manual_seed(0)
    return small(request.param)


def test_instances_are_boxes_scores_and_masks_of_the_whole_image(model: MaskRCNN) -> None:
    for picture, instances in zip(
        (image(), image(60, 110)), find(model, image(), image(60, 110)), strict=True
    ):
        height, width = picture.shape[:2]
        count = len(instances.scores)
        assert 0 < count <= 6
        assert instances.bboxes.shape == (count, 4) and instances.bboxes.dtype == torch.float32
        assert (instances.bboxes[:, :2] >= 0).all()
        assert (instances.bboxes[:, 2:] <= torch.tensor([width, height]) + 1e-3).all()
        assert (instances.scores[:-1] >= instances.scores[1:]).all()
        assert (instances.scores > 0.05).all()
        assert instances.masks.shape == (count, height, width)
        assert instances.masks.dtype == torch.uint8
        assert set(instances.masks.unique().tolist()) == {0, 255}
        for (x0, y0, x1, y1), mask in zip(instances.bboxes.tolist(), instances.masks, strict=True):
            rows, columns = np.nonzero(mask.numpy())
            assert len(rows) == 0 or (
                rows.min() >= y0 - 2 and rows.max() <= y1 + 1
                and columns.min() >= x0 - 2 and columns.max() <= x1 + 1
            )  # fmt: skip


def test_data_samples_keep_what_they_hold(model: MaskRCNN) -> None:
    sample = BaseDataElement(metainfo=dict(imgname='a.jpg'))
    (returned,) = model.test_step(dict(inputs=dict(img=[image()]), data_samples=[sample]))
    assert returned.imgname == 'a.jpg' and 'pred_instances' in returned


def test_a_batch_finds_what_single_images_find(model: MaskRCNN) -> None:
    images = [image(seed=1), image(seed=2)]
    for together, alone in zip(
        find(model, *images), [find(model, one)[0] for one in images], strict=True
    ):
        torch.testing.assert_close(together.bboxes, alone.bboxes, atol=0.01, rtol=0)
        torch.testing.assert_close(together.scores, alone.scores)


def test_channels_are_taken_as_red_green_blue(model: MaskRCNN) -> None:
    """mmdet's pipelines begin with OpenCV's order; what reaches the network must be RGB."""
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 255
    seen: list[torch.Tensor] = []
    hook = model.network.backbone.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    )
    find(model, red)
    hook.remove()
    channels = seen[0][0].mean((1, 2))
    assert channels[0] > 1 > 0 > channels[1] and channels[2] < 0


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['mmdet', 'torchvision'])
def test_weights_come_back_from_a_file_and_soft_masks_cut_are_the_binary_ones(
    backend: str, tmp_path: Path
) -> None:
    first = small(backend)
    path = tmp_path / 'weights.pth'
    torch.save({'meta': {}, 'state_dict': first.network.state_dict()}, path)
    second = small(backend, str(path), soft=True)
    (binary,), (soft,) = find(first, image()), find(second, image())
    torch.testing.assert_close(soft.bboxes, binary.bboxes)
    assert len(soft.masks.unique()) > 2
    # mmdet's soft masks lose their fraction, so a hair's breadth around one half may differ.
    sure = (soft.masks < 127) | (soft.masks > 128)
    assert sure.float().mean() > 0.5
    assert torch.equal((soft.masks[sure] >= 128), (binary.masks[sure] == 255))
    assert second.made_by['checkpoint'] == str(path)


def test_the_same_class_is_built_from_a_config_of_any_scope() -> None:
    pytest.importorskip('torchvision', reason=f'torchvision is not installed: {INSTALL}')
    config = dict(type='mmjrr.MaskRCNN', checkpoint=None, backend='torchvision')
    config['options'] = SMALL['torchvision']['options']
    assert isinstance(ROOT_MODELS.build(config), MaskRCNN)


def test_other_classes_than_people_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small('torchvision')
    answer = dict(
        boxes=torch.tensor([[0.0, 0, 5, 5], [1, 1, 9, 9], [2, 2, 8, 8]]),
        labels=torch.tensor([3, 1, 1]),
        scores=torch.tensor([0.9, 0.5, 0.7]),
        masks=torch.rand(3, 1, 12, 12),
    )
    monkeypatch.setattr(model.network, 'forward', lambda images: [answer])
    (instances,) = find(model, image(12, 12))
    assert instances.scores.tolist() == pytest.approx([0.7, 0.5])
    assert torch.equal(instances.masks[0] > 0, answer['masks'][2, 0] >= 0.5)


def test_the_person_is_found_by_name_among_the_classes_of_a_checkpoint() -> None:
    from mmengine.config import Config

    cfg = Config(dict(test_dataloader=dict(dataset=dict())))
    person = mask_rcnn.person_of_mmdet
    assert person(cfg, None) == 0
    assert person(cfg, {'meta': {'CLASSES': ('dog', 'person')}}) == 1
    assert person(cfg, {'meta': {'dataset_meta': {'classes': ['a', 'b', 'person']}}}) == 2
    with pytest.raises(DataError, match="'dog'.*'person'"):
        person(cfg, {'meta': {'CLASSES': ('dog', 'cat')}})


# ------------------------------------------------------------------ errors


@pytest.mark.slow
def test_a_checkpoint_that_is_not_there_broken_or_anothers_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='none.pth.*docs/masks.md'):
        small('torchvision', str(tmp_path / 'none.pth'))
    path = tmp_path / 'weights.pth'
    path.write_bytes(b'PK\x03\x04 truncated')
    with pytest.raises(DataError, match='weights.pth: not readable as a file of torch.save'):
        small('torchvision', str(path))
    state = small('torchvision').network.state_dict()
    name = 'roi_heads.box_predictor.cls_score.weight'
    for change, message in (
        ({name: None}, f'1 of .* weights missing.*{name}'),
        ({name: torch.zeros(91, 1024)}, f'{name}: found shape .91, 1024., expected .2, 1024.'),
        ({name: torch.full((2, 1024), np.nan)}, f'{name}: found values that are not finite'),
    ):
        changed = {**state, **change}
        torch.save({n: v for n, v in changed.items() if v is not None}, path)
        with pytest.raises(DataError, match=message):
            small('torchvision', str(path))


class Dangerous:
    def __reduce__(self):
        return (print, ('this must not run',))


def test_nothing_in_a_checkpoint_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / 'weights.pth'
    torch.save({'state_dict': {}, 'x': Dangerous()}, path)
    with pytest.raises(DataError, match=r"asks for '\w+\.print'"):
        MaskRCNN(str(path), backend='torchvision')
    assert 'must not run' not in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(backend='other'), "backend: found 'other'"),
        (dict(score_thr=1), 'score_thr: found 1'),
        (dict(max_instances=0), 'max_instances: found 0'),
        (dict(backend='torchvision', config='x.py'), "config: found 'x.py', expected None"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaskRCNN(None, **arguments)


def test_images_of_another_kind_are_refused(model: MaskRCNN) -> None:
    with pytest.raises(ValueError, match='found float64 of shape'):
        find(model, image() / 255)


@pytest.mark.parametrize('backend', ['mmdet', 'torchvision'])
def test_a_missing_backend_is_one_sentence_with_the_command(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mask_rcnn, 'ensure_mmcv_ops', lambda: 'nothing')
    monkeypatch.setitem(sys.modules, backend, None)
    with pytest.raises(ImportError) as error:
        MaskRCNN(None, backend=backend)
    assert str(error.value) == f'{backend} is not installed: {INSTALL}'
