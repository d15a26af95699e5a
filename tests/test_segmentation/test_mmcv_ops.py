"""The shim for mmcv's compiled operators."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from mmjrr.segmentation import mmcv_ops
from mmjrr.segmentation.mmcv_ops import (
    INSTALL,
    OperatorShim,
    ensure_mmcv_ops,
    nms,
    roi_align_backward,
    roi_align_forward,
)

pytest.importorskip('torchvision', reason=f'torchvision is not installed: {INSTALL}')


@pytest.fixture
def install_mmcv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a package ``mmcv`` before any other, with a module ``_ext`` of the given source."""

    def install(compiled: str | None) -> None:
        (tmp_path / 'mmcv').mkdir()
        (tmp_path / 'mmcv' / '__init__.py').write_text("__version__ = '2.1.0'\n")
        if compiled is not None:
            (tmp_path / 'mmcv' / '_ext.py').write_text(compiled)
        monkeypatch.syspath_prepend(tmp_path)

    for name in [name for name in sys.modules if name.partition('.')[0] == 'mmcv']:
        monkeypatch.delitem(sys.modules, name)
    for name in ('mmcv', 'mmcv._ext'):  # so that what the test imports goes again
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
    return install


# ------------------------------------------------------------------ operators, by slow twins


def iou(first: np.ndarray, second: np.ndarray, offset: int) -> float:
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]) + offset
    shared = max(sides[0], 0) * max(sides[1], 0)
    areas = [np.prod(box[2:] - box[:2] + offset) for box in (first, second)]
    return shared / (areas[0] + areas[1] - shared)


@pytest.mark.parametrize('offset', [0, 1])
def test_nms_keeps_what_no_surer_kept_box_overlaps(offset: int) -> None:
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 20, (80, 2))
    boxes = np.hstack([corner, corner + rng.uniform(1, 8, (80, 2))]).astype('f4')
    scores = rng.permutation(80).astype('f4')
    expected: list[int] = []
    for row in np.argsort(-scores).tolist():
        if all(iou(boxes[row], boxes[other], offset) <= 0.3 for other in expected):
            expected.append(row)
    kept = nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.3, offset)
    assert kept.tolist() == expected
    assert 5 < len(expected) < 75


def test_offset_changes_what_is_suppressed() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2]])  # IoU 1/3, and 2/4 of whole pixels
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.4, 0).tolist() == [0, 1]
    assert nms(boxes, scores, 0.4, 1).tolist() == [0]


def align(
    features: np.ndarray,  # (C, h, w)
    region: np.ndarray,  # (4,)
    size: int,
    scale: float,
    samples: int,
    aligned: bool,
) -> np.ndarray:
    """Mean of bilinear samples, written out."""
    x0, y0, x1, y1 = region * scale - (0.5 if aligned else 0)
    width, height = x1 - x0, y1 - y0
    if not aligned:
        width, height = max(width, 1), max(height, 1)
    out = np.zeros((len(features), size, size))
    for row in range(size):
        for column in range(size):
            for i in range(samples):
                for j in range(samples):
                    y = y0 + height / size * (row + (i + 0.5) / samples)
                    x = x0 + width / size * (column + (j + 0.5) / samples)
                    out[:, row, column] += bilinear(features, x, y) / samples**2
    return out


def bilinear(features: np.ndarray, x: float, y: float) -> np.ndarray:
    _, height, width = features.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(len(features))
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = features[:, top, left] * (1 - x + left) + features[:, top, right] * (x - left)
    lower = features[:, bottom, left] * (1 - x + left) + features[:, bottom, right] * (x - left)
    return upper * (1 - y + top) + lower * (y - top)


@pytest.mark.parametrize('aligned', [True, False])
def test_roi_align_is_the_mean_of_bilinear_samples(aligned: bool) -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(1, 3, 9, 11))
    regions = np.array([[2.0, 1, 13, 11], [0, 0, 22, 18], [5, 5, 5.5, 6], [-4, -3, 9, 8]])
    rois = np.hstack([np.zeros((4, 1)), regions])
    out = torch.zeros(4, 3, 3, 3, dtype=torch.float64)
    nothing = torch.zeros(0)
    roi_align_forward(
        torch.from_numpy(features), torch.from_numpy(rois), out, nothing, nothing,
        aligned_height=3, aligned_width=3, spatial_scale=0.5, sampling_ratio=2, pool_mode=1,
        aligned=aligned,
    )  # fmt: skip
    expected = [align(features[0], region, 3, 0.5, 2, aligned) for region in regions]
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-12)


def test_roi_align_gradient_is_the_transpose_of_the_forward_map() -> None:
    """The map is linear in its input, so <y, A x> = <A' y, x>."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 8, 8, generator=rng, dtype=torch.float64)
    y = torch.randn(5, 3, 4, 4, generator=rng, dtype=torch.float64)
    corner = torch.rand(5, 2, generator=rng, dtype=torch.float64) * 6
    index = torch.tensor([[0], [1], [0], [1], [1]])
    rois = torch.cat([index, corner, corner + 5], 1)
    settings = dict(
        aligned_height=4, aligned_width=4, spatial_scale=0.7, sampling_ratio=0, pool_mode=1,
        aligned=True,
    )  # fmt: skip
    nothing = torch.zeros(0)
    forward, backward = torch.zeros_like(y), torch.zeros_like(x)
    roi_align_forward(x, rois, forward, nothing, nothing, **settings)
    roi_align_backward(y, rois, nothing, nothing, backward, **settings)
    torch.testing.assert_close((forward * y).sum(), (backward * x).sum())
    assert backward.abs().sum() > 1


# ------------------------------------------------------------------ what it lacks


def test_operators_that_it_lacks_raise_with_their_name_when_called() -> None:
    shim = OperatorShim('torchvision')
    for name in ('deform_conv_forward', 'softnms', 'ms_deform_attn_forward'):
        operator = getattr(shim, name)  # mmcv.ops looks every one up
        with pytest.raises(NotImplementedError, match=name):
            operator(1, two=2)
    with pytest.raises(AttributeError, match='__path__'):
        shim.__path__  # noqa: B018
    empty = torch.zeros(0)
    for operator in (roi_align_forward, roi_align_backward):
        with pytest.raises(NotImplementedError, match=f'{operator.__name__}.*max'):
            operator(empty, empty, empty, empty, empty, 1, 1, 1.0, 0, 0, True)


# ------------------------------------------------------------------ when it is installed


def test_it_is_announced_once_and_found_by_an_import(
    install_mmcv, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_mmcv(None)
    said: list[str] = []
    monkeypatch.setattr(mmcv_ops, 'print_log', lambda message, **_: said.append(message))
    (origin,) = {ensure_mmcv_ops() for _ in range(3)}
    assert origin.startswith('torchvision') and origin.endswith('for mmcv-lite 2.1.0')
    assert isinstance(import_module('mmcv._ext'), OperatorShim)
    (line,) = said
    assert line.startswith('mmcv 2.1.0 has no compiled operators: nms, roi_align')


def test_compiled_operators_are_left_alone(install_mmcv) -> None:
    install_mmcv('nms = "compiled"\n')
    assert [ensure_mmcv_ops() for _ in range(3)] == ['mmcv 2.1.0'] * 3
    assert import_module('mmcv._ext').nms == 'compiled'


def test_compiled_operators_that_do_not_load_are_not_replaced(install_mmcv) -> None:
    install_mmcv('raise ImportError("undefined symbol: x")\n')
    with pytest.raises(ImportError, match='mmcv 2.1.0.*do not load.*undefined symbol') as error:
        ensure_mmcv_ops()
    assert torch.__version__ in str(error.value)
    assert 'mmcv._ext' not in sys.modules


@pytest.mark.parametrize('missing', ['mmcv', 'torchvision'])
def test_what_is_missing_is_one_sentence_with_the_command(
    missing: str, install_mmcv, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == 'torchvision':
        install_mmcv(None)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError) as error:
        ensure_mmcv_ops()
    assert missing in str(error.value) and str(error.value).endswith(INSTALL)
    assert '\n' not in str(error.value)


@pytest.mark.slow
def test_mmcvs_own_functions_run_on_it() -> None:
    """In a fresh interpreter: the operators are chosen once per process."""
    pytest.importorskip('mmcv', reason=f'mmcv is not installed: {INSTALL}')
    code = """
import torch
from mmjrr.segmentation import ensure_mmcv_ops
ensure_mmcv_ops()
import mmcv.ops
boxes = torch.tensor([[0., 0, 10, 10], [1, 0, 10, 10], [20, 20, 30, 30]])
print(mmcv.ops.batched_nms(boxes, torch.tensor([.5, .9, .7]), torch.zeros(3),
                           dict(type='nms', iou_threshold=0.5))[1].tolist())
x = torch.ones(1, 1, 8, 8, requires_grad=True)
y = mmcv.ops.roi_align(x, torch.tensor([[0., 0, 0, 8, 8]]), (2, 2), 1.0, 2, 'avg', True)
y.sum().backward()
print(y.flatten().tolist(), round(float(x.grad.sum()), 5))
"""
    command = [sys.executable, '-W', 'ignore', '-c', code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ['[1, 2]', '[1.0, 1.0, 1.0, 1.0] 4.0']
