"""Frames of a synthetic set: agreement with masks, and photographs and masks that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmjrr.array_types import Array
from mmjrr.body_models import free_body
from mmjrr.datasets.masks import Masks, save_masks
from mmjrr.errors import DataError
from mmjrr.io import read_npz
from mmjrr.regressors import JointRegressor
from mmjrr.visualization.crops import box_with_mask
from mmjrr.visualization.frames import Frame, FrameData, FrameMaker
from mmjrr.visualization.report import GalleryOptions, PredictionSet, Report, report_predictions

MASKS = 'masks/h36m_test.json'


def true_frame(tiny_set: Path, masks: Path) -> Frame:
    """The first test frame with its true body."""
    truth = read_npz(tiny_set / 'truth/h36m_test.npz')
    pose, betas, transl = (
        torch.from_numpy(truth[name][:1]).float() for name in ('pose', 'betas', 'transl')
    )
    body = free_body()
    vertices = body(
        global_orient=pose[:, :3], body_pose=pose[:, 3:], betas=betas, transl=transl
    ).vertices[0]  # fmt: skip
    regressors = {'J': JointRegressor.load('free_body_h36m', dtype=torch.float64)}
    data = FrameData.load(
        tiny_set / 'annotation_body3d/fps10/h36m_test.npz', masks=masks, photos=False
    )
    maker = FrameMaker(data, regressors, np.asarray(body.faces))
    frame = maker.make('', str(truth['imgname'][0]), {'true': vertices.double().numpy()}, {})
    assert frame is not None
    return frame


def changed_masks(tiny_set: Path, folder: Path, change: object) -> Path:
    """Write the test frames' masks, each changed by a function."""
    masks = Masks(tiny_set / MASKS)
    assert callable(change)
    save_masks(folder / 'masks.json', {name: change(masks[name]) for name in masks.keys()})
    return folder / 'masks.json'


def test_a_part_of_the_mask_beside_the_crop_counts(tiny_set: Path, tmp_path: Path) -> None:
    exact = true_frame(tiny_set, tiny_set / MASKS)
    assert exact.iou['true'] > 0.9
    area = {}

    def with_second_person(mask: Array) -> Array:
        area['first'] = area.get('first', mask.sum())  # of the first frame
        second = np.zeros_like(mask)
        second[:, :60] = 1
        area['second'] = second.sum()
        return mask | second

    frame = true_frame(tiny_set, changed_masks(tiny_set, tmp_path, with_second_person))
    assert frame.box == exact.box and frame.box[0] > 60
    share = area['first'] / (area['first'] + area['second'])
    assert frame.iou['true'] == pytest.approx(share, abs=0.02)
    assert share < 0.7


def test_a_box_contains_box_and_mask() -> None:
    mask = np.zeros((50, 80))
    box = (20.0, 10.0, 40.0, 30.0)
    assert box_with_mask(box, mask) == box
    mask[10:30, 20:40] = 0.1
    assert box_with_mask(box, mask) == box
    mask[45, 70] = 1
    x0, y0, x1, y1 = box_with_mask(box, mask)
    assert x0 < 20 and y0 < 10 and x1 > 71 and y1 > 46 and x1 - x0 == y1 - y0


def test_masks_of_another_size_are_refused(tiny_set: Path, tmp_path: Path) -> None:
    half = changed_masks(tiny_set, tmp_path, lambda mask: mask[::2, ::2])
    with pytest.raises(DataError, match=r'masks\.json: mask of S9/.*: size: found \(50., 500\)'):
        true_frame(tiny_set, half)
    # Human3.6M's images have up to two rows more or fewer than its cameras.
    true_frame(tiny_set, changed_masks(tiny_set, tmp_path, lambda mask: mask[:-2]))


def report_of_estimates(tiny_set: Path, **options: Path) -> Report:
    """Make a report with three frames of simulated estimates."""
    estimates = PredictionSet('SPIN', [tiny_set / 'fits/spin_like_test.npz'], tiny_set)
    report = report_predictions(
        [estimates], {'J': 'free_body_h36m'}, body_model=dict(type='FreeBody'),
        options=GalleryOptions(frames=3, **options),
    )  # fmt: skip
    assert len(report.frames) == 3
    return report


def test_frames_without_a_mask_are_counted(tiny_set: Path, tmp_path: Path) -> None:
    report = report_of_estimates(tiny_set, masks=tiny_set / MASKS)
    assert not any('mask' in note for note in report.notes)
    first, *others = (frame.imgname for frame in report.frames)
    masks = Masks(tiny_set / MASKS)
    save_masks(tmp_path / 'one.json', {first: masks[first]})
    notes = report_of_estimates(tiny_set, masks=tmp_path / 'one.json').notes
    (note,) = (note for note in notes if 'mask' in note)
    counted, example = note.split(', such as ')
    assert counted == 'SPIN: 2 of 3 frames have no mask in one.json'
    assert example.removesuffix('.') in others
    with pytest.raises(
        DataError, match=r'--masks .*h36m_train\.json: found no mask of the 3 frames'
    ):
        report_of_estimates(tiny_set, masks=tiny_set / 'masks/h36m_train.json')


def test_a_folder_without_the_photographs_is_refused(tiny_set: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'--images .*: found no photograph of the 3 frames'):
        report_of_estimates(tiny_set, images=tmp_path)
    # The default folder may be missing.
    notes = report_of_estimates(tiny_set).notes
    (note,) = (note for note in notes if 'photograph' in note)
    assert note.startswith('There is no folder images next to the annotation')
