"""Simulated masks have the requested errors only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmjrr.cli.simulate_masks import main
from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.masks import Masks
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.segmentation import mask_iou
from mmjrr.segmentation.mask_cells import paste_cells
from mmjrr.segmentation.simulated_masks import MaskErrors, with_errors

JOINTS = {name: index for index, name in enumerate(H36M_JOINTS_MMPOSE)}
BOX = np.array([0.0, 0.0, 224.0, 224.0])


def a_leg() -> tuple[np.ndarray, np.ndarray]:
    """A vertical bar from the right knee at row 100 over the ankle at row 150 to row 165."""
    mask = np.zeros((224, 224), dtype=np.uint8)
    mask[90:165, 100:110] = 1
    joints = np.zeros((17, 2))
    joints[JOINTS['right_knee']] = 105, 100
    joints[JOINTS['right_ankle']] = 105, 150
    return mask, joints


def test_a_cut_takes_what_lies_beyond_the_ankle() -> None:
    mask, joints = a_leg()
    cut = with_errors(mask, joints, BOX, MaskErrors(cut=1.0), np.random.default_rng(0))
    assert cut[:147].tolist() == mask[:147].tolist()
    assert not cut[148:].any()
    kept = with_errors(mask, joints, BOX, MaskErrors(cut=0.0), np.random.default_rng(0))
    np.testing.assert_array_equal(kept, mask)


def test_an_object_hides_a_square_around_a_joint() -> None:
    mask, _ = a_leg()
    joints = np.full((17, 2), [104.0, 130.0])
    errors = MaskErrors(occluder=1.0)
    for box, half in ((BOX, 24), (BOX / 2, 12)):
        found = with_errors(mask, joints, box, errors, np.random.default_rng(0))
        expected = mask.copy()
        expected[130 - half : 130 + half] = 0
        np.testing.assert_array_equal(found, expected)


def test_a_part_of_another_person_lies_on_the_outline() -> None:
    mask, joints = a_leg()
    centers = set()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        found = with_errors(mask, joints, BOX, MaskErrors(neighbor=1.0), rng)
        assert (found >= mask).all()
        added = np.argwhere(found & ~mask.astype(bool))
        assert 300 < len(added) < np.pi * 16**2
        assert np.ptp(added, axis=0).max() < 2 * 16
        centers.add(tuple(added.mean(0).round()))
    assert len(centers) == 5


def test_new_errors_leave_the_choice_of_hands_and_feet() -> None:
    mask, joints = a_leg()
    for seed in range(5):
        cut, both = (
            with_errors(mask, joints, BOX, errors, np.random.default_rng(seed))
            for errors in (MaskErrors(cut=0.5), MaskErrors(cut=0.5, occluder=1e-9, neighbor=1e-9))
        )
        np.testing.assert_array_equal(cut, both)


@pytest.mark.parametrize('name', ['cut', 'occluder', 'neighbor'])
def test_a_probability_beyond_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f'{name}: found 1.5, expected a probability, 0 to 1'):
        MaskErrors(**{name: 1.5})


@pytest.mark.parametrize('pixels', [2, -2])
def test_growing_moves_the_outline_by_pixels_of_the_crop(pixels: int) -> None:
    mask, joints = a_leg()
    box = BOX / 2  # the crop enlarges the image twice, so a pixel of it is half one of the image
    grown = with_errors(mask, joints, box, MaskErrors(grow=pixels), np.random.default_rng(0))
    assert grown[120].sum() == int(mask[120].sum()) + pixels
    twice = with_errors(mask, joints, BOX, MaskErrors(grow=pixels), np.random.default_rng(0))
    assert twice[120].sum() == int(mask[120].sum()) + 2 * pixels


@pytest.mark.slow
def test_the_command_writes_masks_of_a_mask_head(
    tiny_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tiny_set), '--mask-head', '--cut', '0.5', '--seed', '1', '--out']
    assert main([*arguments, 'masks/simulated.json']) == 0
    assert main([*arguments, 'masks/again.json']) == 0
    written = (tiny_set / 'masks/simulated.json').read_bytes()
    assert written == (tiny_set / 'masks/again.json').read_bytes()
    assert 'mean IoU with the exact ones: 0.' in capsys.readouterr().out
    exact, simulated = (Masks(tiny_set / f'masks/{n}.json') for n in ('h36m_train', 'simulated'))
    assert len(simulated) == len(exact) and simulated.has_cells
    for name in exact.keys():
        mask = simulated[name]
        x0, y0, x1, y1 = simulated.boxes[simulated.row(name)]
        ys, xs = np.nonzero(mask)
        assert x0 <= xs.min() and xs.max() < x1 and y0 <= ys.min() and ys.max() < y1
        assert 0.5 < mask_iou(mask, exact[name]) < 1
        # Cells are means, so their sum is the area of the mask that the head saw.
        cells = simulated.cells(simulated.row(name))
        area = cells.mean() * (x1 - x0) * (y1 - y0)
        assert area == pytest.approx(mask.sum(), rel=0.1)


def test_samples_and_batches_have_the_box_and_the_cells(tiny_set: Path) -> None:
    assert main([str(tiny_set), '--mask-head', '--out', 'masks/head.json']) == 0
    dataset = H36MFitsDataset(
        data_root=str(tiny_set), mask_file='masks/head.json', load_mask=True, crop_size=(64, 64)
    )
    inputs = dataset[0]['inputs']
    assert dataset.masks is not None
    row = dataset.masks.row(dataset.imgname(0))
    np.testing.assert_array_equal(inputs['mask_box'], dataset.masks.boxes[row])
    np.testing.assert_array_equal(inputs['mask_cells'], dataset.masks.cells(row))


@pytest.mark.slow
def test_soft_masks_of_a_mask_head_are_the_pasted_cells(tiny_set: Path) -> None:
    assert main([str(tiny_set), '--mask-head', '--soft', '--out', 'masks/soft.json']) == 0
    masks = Masks(tiny_set / 'masks/soft.json')
    pasted = paste_cells(masks.cells(0), masks.boxes[0], tuple(masks.sizes[0].tolist()))
    assert np.abs(masks.decode(0) - pasted).max() <= 1 / 16 + 1 / 255


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--cut', '2'], 'cut: found 2'),
        (['--soft'], 'soft: found True without mask_head'),
        (['--grow', 'nan'], 'grow: found nan'),
        (['--out', 'masks/h36m_train.json'], 'another file than that of the exact masks'),
        (['--out', 'masks/h36m_test.json'], 'h36m_test.json: found a file that holds no simulated'),
        (['--out', 'fits/spin_like_train.json'], 'found a file that holds no simulated masks'),
        (['--out', 'masks/x.npz'], '--out: masks/x.npz: expected a path ending in .json'),
        (['--grow', '-100'], 'x.json: not written, since all '),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    tiny_set: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    (tiny_set / 'fits/spin_like_train.json').write_text('no JSON')
    before = {path: path.read_bytes() for path in tiny_set.rglob('*.json')}
    assert main([str(tiny_set), '--out', 'masks/x.json', *options]) == 1
    printed = capsys.readouterr()
    assert message in printed.err and printed.out == ''
    assert {path: path.read_bytes() for path in tiny_set.rglob('*.json')} == before
    assert not list(tiny_set.rglob('x.*'))


def test_simulated_masks_can_be_replaced(tiny_set: Path) -> None:
    for seed in ('1', '2'):
        options = ['--cut', '0.5', '--seed', seed, '--out', 'masks/replaced.json']
        assert main([str(tiny_set), *options]) == 0
        assert f'"seed": {seed}' in (tiny_set / 'masks/replaced.json').read_text()
