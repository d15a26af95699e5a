"""The choice of drawn samples, and the places at which they are drawn."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from small_jobs import fits_and_masks

from mmjrr.body_models import free_body
from mmjrr.datasets import H36MFitsDataset
from mmjrr.engine import RefinementLoop, RefinementVisualizationHook, SMPLPseudoGTHook
from mmjrr.engine.hooks import visualization_hook
from mmjrr.regressors import JointRegressor
from mmjrr.rendering import ContourSilhouette

CROP, SIZE, GRAY = 64, 256, 96
PARAMETERS = ('global_orient', 'body_pose', 'betas', 'transl')


class Refining(SMPLPseudoGTHook):
    """A hook that has refined already."""

    def __init__(self, tiny_set: Path) -> None:
        self.device = torch.device('cpu')
        self.body = free_body().requires_grad_(False)
        self.renderer = ContourSilhouette(self.body.faces, image_size=(CROP, CROP))
        regressor = JointRegressor.load(tiny_set / 'truth' / 'J_true.npy')
        self.started: Any = SimpleNamespace(joint_regressor=regressor)


class Pictures:
    """Stands in for the visualizer."""

    def __init__(self) -> None:
        self.drawn: dict[str, np.ndarray] = {}
        self.steps: list[int] = []

    def add_image(self, name: str, image: np.ndarray, step: int) -> None:
        self.drawn[name] = image
        self.steps.append(step)


@pytest.fixture(scope='module')
def dataset(tiny_set: Path) -> H36MFitsDataset:
    return fits_and_masks(tiny_set)


@pytest.fixture(scope='module')
def batch(dataset: H36MFitsDataset, tiny_set: Path) -> dict[str, Any]:
    """The first four samples; refined fits are the truth, initial ones are 40 cm to its right."""
    batch = pseudo_collate([dataset[index] for index in range(4)])
    with np.load(tiny_set / 'truth' / 'h36m_train.npz') as truth:
        rows = [truth['imgname'].tolist().index(s.imgname) for s in batch['data_samples']]
        true = {name: torch.from_numpy(truth[name][rows]).float() for name in truth.files[1:]}
    fits = dict(
        global_orient=true['pose'][:, :3],
        body_pose=true['pose'][:, 3:],
        betas=true['betas'],
        transl=true['transl'],
    )
    moved = true['transl'] + torch.tensor([0.4, 0.0, 0.0])
    before = {**fits, 'transl': moved}
    arrays = {name: value.numpy() for name, value in fits.items()}
    arrays |= {f'init_{name}': value.numpy() for name, value in before.items()}
    return {**batch, 'stored': {**arrays, 'left_out': np.array(['', '', '', ''])}}


@pytest.fixture
def runner(dataset: H36MFitsDataset, tiny_set: Path) -> SimpleNamespace:
    return SimpleNamespace(
        hooks=[Refining(tiny_set)],
        visualizer=Pictures(),
        train_dataloader=SimpleNamespace(dataset=dataset),
        _train_loop=RefinementLoop.__new__(RefinementLoop),
    )


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(visualization_hook, 'print_log', lambda text, **_: said.append(text))
    return said


def draw(runner: Any, batch: dict, steps: int = 1, **options: Any) -> dict[str, np.ndarray]:
    hook = RefinementVisualizationHook(size=SIZE, **options)
    hook.before_train(runner)
    if runner.hooks:
        runner.hooks[0].stored = batch['stored']
    for step in range(steps):
        hook.after_train_iter(runner, step, batch)
    return runner.visualizer.drawn


def picture_name(sample: Any) -> str:
    return f'refinement_{Path(sample.imgname).stem}'


def test_samples_are_chosen_by_index_and_by_name(runner, batch) -> None:
    samples = batch['data_samples']
    drawn = draw(runner, batch, samples=[samples[1].sample_idx, samples[3].imgname])
    assert set(drawn) == {picture_name(samples[1]), picture_name(samples[3])}


def test_the_first_sample_of_every_nth_batch_is_drawn(runner, batch) -> None:
    drawn = draw(runner, batch, steps=7, interval=3)
    assert set(drawn) == {picture_name(batch['data_samples'][0])}
    assert runner.visualizer.steps == [0, 3, 6]


@pytest.mark.parametrize('options', [dict(), dict(samples=[0], interval=1, enable=False)])
def test_nothing_is_drawn_by_default(runner, batch, options: dict) -> None:
    assert not draw(runner, batch, steps=2, **options)


def test_a_frame_that_is_left_out_is_not_drawn(runner, batch) -> None:
    left_out = np.array(['', 'behind the camera', '', ''])
    changed = {**batch, 'stored': {**batch['stored'], 'left_out': left_out}}
    samples = batch['data_samples']
    drawn = draw(runner, changed, samples=[samples[1].sample_idx, samples[2].sample_idx])
    assert set(drawn) == {picture_name(samples[2])}


def test_of_a_fit_behind_the_camera_the_rest_is_drawn(runner, batch, warnings: list[str]) -> None:
    sample = batch['data_samples'][2]
    betas = batch['stored']['init_betas'].copy()
    betas[2] = 3000
    changed = {**batch, 'stored': {**batch['stored'], 'init_betas': betas}}
    (picture,) = draw(runner, changed, samples=[2]).values()
    (text,) = warnings
    assert text.startswith(f'{sample.imgname}: the init fit is not drawn: ')
    assert 'behind the camera' in text
    runner.visualizer.drawn.clear()
    (expected,) = draw(runner, batch, samples=[2]).values()
    assert (picture[:, SIZE:] == expected[:, SIZE:]).all()
    red, green, blue = picture[24:, :SIZE].astype(int).transpose(2, 0, 1)  # below the title
    outline, labels = np.minimum(red, blue) > GRAY + 50, green - np.maximum(red, blue) > 50
    assert outline.sum() > 100 and labels.sum() > 100
    assert (red - green <= 20).all(), 'neither the mesh nor its joints'


def test_samples_that_the_data_set_lacks_are_warned_of(
    runner, dataset: H36MFitsDataset, warnings: list[str]
) -> None:
    samples = [0, 23, dataset.imgname(7)]
    RefinementVisualizationHook(samples).before_run(runner)
    RefinementVisualizationHook([24], enable=False).before_run(runner)
    assert not warnings
    RefinementVisualizationHook([*samples, 24, 'S1/nope.jpg']).before_run(runner)
    (text,) = warnings
    assert 'samples: found 2 that the data set of 24 samples does not have, such as 24' in text
    runner._train_loop = {}
    RefinementVisualizationHook([24]).before_run(runner)  # a test run


def test_the_mesh_lies_on_the_mask_where_the_fit_is_right(runner, batch) -> None:
    (picture,) = draw(runner, batch, samples=[2]).values()
    assert picture.shape == (SIZE, 2 * SIZE, 3) and picture.dtype == np.uint8
    mask = cv2.resize(batch['inputs']['mask'][2].numpy(), (SIZE, SIZE)) > 0.5
    halves = {}
    for name, half in (('init', picture[:, :SIZE]), ('refined', picture[:, SIZE:])):
        drawn = (half != GRAY).any(-1)  # the body, and over it its joints and the outline
        drawn, seen = drawn[24:], mask[24:]  # below the title
        halves[name] = (drawn & seen).sum() / (drawn | seen).sum()
    assert halves['refined'] > 0.85
    assert halves['init'] < 0.5


def test_the_image_is_cropped_like_the_mask(runner, batch, tmp_path: Path) -> None:
    """A white dot in the photograph appears where the camera of the crop sees it."""
    sample = batch['data_samples'][0]
    x0, y0, x1, y1 = sample.box
    column, row = int(x0 + 0.25 * (x1 - x0)), int(y0 + 0.75 * (y1 - y0))
    photo = np.zeros((1002, 1000, 3), dtype=np.uint8)
    photo[row - 4 : row + 5, column - 4 : column + 5] = (255, 0, 0)  # BGR: blue
    cv2.imwrite(str(tmp_path / 'a.png'), photo)
    size = 1024  # a crop pixel is less than one of the photograph
    hook = RefinementVisualizationHook(size=size)
    crop = hook._image(str(tmp_path / 'a.png'), torch.tensor(sample.box))
    assert crop.shape == (size, size, 3)
    rows, columns = np.nonzero(crop[..., 2] > 127)
    expected = (column + 0.5 - x0) / (x1 - x0) * size, (row + 0.5 - y0) / (y1 - y0) * size
    assert columns.mean() + 0.5 == pytest.approx(expected[0], abs=0.3)
    assert rows.mean() + 0.5 == pytest.approx(expected[1], abs=0.3)
    assert not crop[..., 0].any()  # RGB now
    assert (hook._image('no/such.jpg', torch.tensor(sample.box)) == GRAY).all()


def test_the_renderer_that_refines_keeps_its_size(runner, batch) -> None:
    draw(runner, batch, samples=[0])
    assert runner.hooks[0].renderer.image_size == (CROP, CROP)


def test_it_needs_the_hook_that_refines() -> None:
    with pytest.raises(ValueError, match='no SMPLPseudoGTHook'):
        RefinementVisualizationHook(samples=[0]).before_train(SimpleNamespace(hooks=[]))


@pytest.mark.parametrize('options', [dict(interval=-1), dict(size=31)])
def test_wrong_options_are_named(options: dict) -> None:
    (name, value), *_ = options.items()
    with pytest.raises(ValueError, match=f'{name}: found {value}, expected at least'):
        RefinementVisualizationHook(**options)
