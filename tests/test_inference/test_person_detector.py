"""A small detector of mmdet, built from a config, with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmjrr.datasets.fits import load_fits
from mmjrr.errors import DataError
from mmjrr.inference import MeshInferencer, PersonDetector

from .random_pictures import pictures

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / 'configs/segmentation/mask-rcnn_small_synthetic.py')


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the small Mask R-CNN, in mmdet's format."""
    pytest.importorskip('mmdet')
    from mmengine.config import Config

    from mmjrr.segmentation.mask_rcnn import build_mmdet

    torch.manual_seed(0)
    network, _ = build_mmdet(Config.fromfile(CONFIG))
    path = tmp_path_factory.mktemp('detector') / 'detector.pth'
    meta = dict(dataset_meta=dict(classes=('person',)))
    torch.save(dict(state_dict=network.state_dict(), meta=meta), path)
    return path


@pytest.fixture(scope='module')
def detector(weights: Path) -> PersonDetector:
    return PersonDetector(CONFIG, weights, device='cpu')


@pytest.fixture(scope='module')
def inferencer(weights: Path, spin_weights: Path) -> MeshInferencer:
    return MeshInferencer('spin', spin_weights, 'cpu', det_model=CONFIG, det_weights=str(weights))


def iou(first: np.ndarray, second: np.ndarray) -> float:
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    shared = np.clip(high - low, 0, None).prod()
    areas = [(box[2:] - box[:2]).prod() for box in (first, second)]
    return float(shared / (sum(areas) - shared))


def test_boxes_lie_in_the_image_above_the_threshold_and_apart(detector: PersonDetector) -> None:
    (image,) = pictures(1, (160, 120))
    boxes, scores = detector.detect(image, bbox_thr=0.0, nms_thr=0.3)
    assert len(boxes) > 1 and boxes.shape == (len(scores), 4)
    assert (
        (boxes >= 0).all() and (boxes[:, [0, 2]] <= 120).all() and (boxes[:, [1, 3]] <= 160).all()
    )
    assert (np.diff(scores) <= 0).all()
    for row, box in enumerate(boxes):
        assert all(iou(box, other) <= 0.3 + 1e-6 for other in boxes[row + 1 :])
    threshold = float(np.median(scores))
    fewer, above = detector.detect(image, bbox_thr=threshold, nms_thr=0.3)
    assert (above > threshold).all() and len(fewer) < len(boxes)
    assert len(detector.detect(image, bbox_thr=1.0)[0]) == 0


@pytest.mark.slow
def test_boxes_are_those_of_mmdets_own_inferencer(weights: Path, detector: PersonDetector) -> None:
    from mmdet.apis import DetInferencer
    from mmengine.config import Config

    cfg = Config.fromfile(CONFIG)
    cfg.visualizer = dict(type='DetLocalVisualizer')
    with pytest.MonkeyPatch.context() as patch:
        # Its network is given the same weights, which mmdet itself would unpickle.
        patch.setattr('warnings.warn', lambda *args, **kwargs: None)
        theirs = DetInferencer(cfg, device='cpu', show_progress=False)
    theirs.model.load_state_dict(torch.load(weights)['state_dict'])
    (image,) = pictures(1, (160, 120))
    result = theirs(image[..., ::-1], return_datasamples=True)['predictions'][0].pred_instances
    boxes, scores = detector.detect(image, bbox_thr=0.0, nms_thr=1.0)
    order = np.argsort(-result.scores.numpy(), kind='stable')
    np.testing.assert_allclose(scores, result.scores.numpy()[order], atol=1e-5)
    np.testing.assert_allclose(boxes, result.bboxes.numpy()[order], atol=1e-2)


def test_the_inferencer_takes_its_boxes(weights: Path, inferencer: MeshInferencer) -> None:
    (image,) = pictures(1, (160, 120))
    expected, scores = PersonDetector(CONFIG, weights, device='cpu').detect(
        np.ascontiguousarray(image[..., ::-1]), 0.0, 0.1
    )
    (result,) = inferencer(image, bbox_thr=0.0, nms_thr=0.1)
    persons = result['predictions'][0]
    np.testing.assert_allclose([person['bbox'] for person in persons], expected, atol=1e-2)
    np.testing.assert_allclose([person['bbox_score'] for person in persons], scores, atol=1e-5)
    (nobody,) = inferencer(image, bbox_thr=1.0)
    assert nobody['predictions'] == [[]]


def test_the_file_states_the_detector_only_if_its_boxes_were_taken(
    inferencer: MeshInferencer, tmp_path: Path
) -> None:
    (image,) = pictures(1, (160, 120))
    for options, stated in ((dict(bbox_thr=0.0), True), (dict(bboxes=[[0, 0, 50, 90]]), False)):
        list(inferencer(image, pred_out_dir=tmp_path, **options))
        provenance = load_fits(tmp_path / 'predictions.npz')['provenance']
        assert (provenance['detector_sha256'] is not None) == stated


@pytest.mark.parametrize(
    ('name', 'value'),
    [('bbox_thr', 30), ('bbox_thr', -1.0), ('nms_thr', 50.0), ('nms_thr', float('nan'))],
)
def test_thresholds_that_are_no_fractions_are_refused(
    detector: PersonDetector, inferencer: MeshInferencer, name: str, value: float
) -> None:
    (image,) = pictures(1, (160, 120))
    message = f'{name}: found {value}, expected a number from 0 to 1'
    with pytest.raises(ValueError, match=message):
        detector.detect(image, **{name: value})
    with pytest.raises(ValueError, match=message):
        inferencer(image, **{name: value})


@pytest.mark.parametrize('category_ids', [7, [0, 1], [-1], []])
def test_classes_that_the_detector_does_not_have_are_refused(
    weights: Path, category_ids: int | list[int]
) -> None:
    with pytest.raises(ValueError, match=r'det_cat_ids: found \[.*expected (indices|at least one)'):
        PersonDetector(CONFIG, weights, category_ids, device='cpu')


def test_wrong_detectors_are_refused_in_a_sentence(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('MMJRR_HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="found 'no-such-model'"):
        PersonDetector('no-such-model', weights)
    with pytest.raises(FileNotFoundError, match='none.py: no such config'):
        PersonDetector('none.py', weights)
    with pytest.raises(ValueError, match='det_weights: found None'):
        PersonDetector(CONFIG)
    with pytest.raises(FileNotFoundError, match=r'rtmdet_m_8xb32.*download https://'):
        PersonDetector('rtmdet_m_8xb32-300e_coco')
    torch.save(dict(state_dict=dict(a=torch.zeros(2))), tmp_path / 'other.pth')
    with pytest.raises(DataError, match='belongs to another network'):
        PersonDetector(CONFIG, tmp_path / 'other.pth')
