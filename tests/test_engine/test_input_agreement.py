"""Masks and fits that do not belong to their frames are refused, with the likely reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from scipy.spatial.transform import Rotation

from mmjrr.body_models import SMPL, free_body
from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.masks import Masks, save_masks
from mmjrr.engine.fit_agreement import check_fits, measure_fits
from mmjrr.engine.frame_groups import FrameGroup, frame_groups
from mmjrr.engine.mask_agreement import check_masks, measure_masks
from mmjrr.errors import DataError

FITS = 'fits/spin_like_train.npz'
MASKS = 'masks/h36m_train.json'


@pytest.fixture(scope='module')
def body() -> SMPL:
    return free_body()


def dataset(root: Path, **files: Any) -> H36MFitsDataset:
    return H36MFitsDataset(data_root=str(root), **{'fits_file': FITS, 'mask_file': MASKS, **files})


def turned(axis: str, degrees: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(pose: np.ndarray) -> np.ndarray:
        turn = Rotation.from_euler(axis, degrees, degrees=True)
        root = (turn * Rotation.from_rotvec(pose[:, :3])).as_rotvec()
        return np.concatenate([root, pose[:, 3:]], 1)

    return change


def write_fits(root: Path, path: Path, change: Callable[[np.ndarray], np.ndarray]) -> str:
    with np.load(root / FITS) as file:
        fits = {name: file[name] for name in ('imgname', 'pose', 'betas', 'camera')}
    np.savez(path, **{**fits, 'pose': change(fits['pose'].astype(np.float64))})
    return str(path)


def write_masks(
    root: Path, path: Path, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
) -> str:
    masks = Masks(root / MASKS)
    names = list(json.loads((root / MASKS).read_text())['masks'])
    save_masks(path, change({name: masks[name] for name in names}))
    return str(path)


def each(change: Callable[[np.ndarray], np.ndarray]) -> Callable:
    return lambda masks: {name: change(mask) for name, mask in masks.items()}


def shifted(step: int) -> Callable:
    """Each image gets the mask of the image ``step`` places after it in the file."""

    def change(masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = sorted(masks)
        return dict(zip(names, [masks[n] for n in names[step:] + names[:step]], strict=True))

    return change


# ---------------------------------------------------------------------- right inputs


def test_right_fits_and_masks_pass_without_a_warning(tiny_set: Path, body: SMPL) -> None:
    data = dataset(tiny_set)
    fits, masks = measure_fits(data, body), measure_masks(data)
    assert {one.group for one in fits.groups} == {one.group for one in masks.groups}
    assert check_fits(fits, 'fits') == [] and check_masks(masks, 'masks') == []
    assert min(one.share for one in masks.groups) > 0.95


@pytest.mark.slow
def test_masks_without_hands_feet_and_head_pass(tiny_set: Path, tmp_path: Path) -> None:
    def cut(masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = dataset(tiny_set)
        joints = {rows.imgname(i): rows.get_data_info(i)['keypoints'][0] for i in range(len(rows))}
        ends = [3, 6, 10, 13, 16]  # ankles, head, wrists in MMPose's order
        for name, mask in masks.items():
            for x, y in joints[name][ends]:
                mask[max(int(y) - 9, 0) : int(y) + 9, max(int(x) - 9, 0) : int(x) + 9] = 0
        return masks

    file = write_masks(tiny_set, tmp_path / 'm.json', cut)
    report = measure_masks(dataset(tiny_set, mask_file=file))
    assert max(one.share for one in report.groups) < 0.75
    assert check_masks(report, 'm.json') == []


# ---------------------------------------------------------------------- wrong fits


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (turned('y', 90), r'turned by (8|9)\d° about the y axis'),
        (turned('x', 180), r'turned by -?1[78]\d° about the x axis'),
        (turned('z', -90), r'turned by -(8|9)\d° about the z axis'),
        (np.rad2deg, 'in degrees'),
        (np.negative, 'transposed'),
        (lambda pose: np.roll(pose, 1, 0), 'of the frame 1 before in the annotation file'),
        (lambda pose: np.roll(pose, -2, 0), 'of the frame 2 after in the annotation file'),
        (lambda pose: np.roll(pose, 9, 0), 'of other frames'),
    ],
)
def test_wrong_fits_are_refused_with_the_reason(
    change: Callable, reason: str, tiny_set: Path, tmp_path: Path, body: SMPL
) -> None:
    data = dataset(tiny_set, fits_file=write_fits(tiny_set, tmp_path / 'f.npz', change))
    with pytest.raises(DataError, match=rf'f\.npz: the joints of the fits .*{reason}'):
        check_fits(measure_fits(data, body), 'f.npz')


def test_zero_poses_and_large_betas_are_counted(tiny_set: Path, body: SMPL) -> None:
    data = dataset(tiny_set)
    original = data.fit_sample

    def changed(index: int) -> dict[str, np.ndarray]:
        sample = {name: np.array(value) for name, value in original(index).items()}
        if index == 3:
            for name in ('global_orient', 'body_pose', 'betas'):
                sample[name][:] = 0
        if index == 4:
            sample['betas'][1] = 7
        return sample

    data.fit_sample = changed  # type: ignore[method-assign]
    report = measure_fits(data, body)
    good = tuple(one for one in report.groups if one.error_mm < 180)
    assert sum(one.zero_poses for one in report.groups) == 1
    assert sum(one.large_betas for one in report.groups) == 1
    text = ' '.join(check_fits(replace(report, groups=good), 'f'))
    assert 'have shape coefficients beyond 5' in text


# ---------------------------------------------------------------------- wrong masks


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (each(lambda mask: 1 - mask), 'inverted'),
        (each(lambda mask: mask.ravel().reshape(mask.shape, order='F')), 'run along rows'),
        (each(lambda mask: mask[:, ::-1]), 'mirrored'),
        (each(lambda mask: mask[::-1]), 'upside down'),
        (each(lambda mask: mask[::-1, ::-1]), '180°'),
        (each(np.zeros_like), 'all masks are empty'),
        (each(np.ones_like), 'cover the whole image'),
        (shifted(1), r'of the frame 1 after in the (annotation file|file of the masks)'),
        (shifted(-1), r'of the frame 1 before in the (annotation file|file of the masks)'),
        (shifted(7), 'or be of other frames'),
    ],
)
def test_wrong_masks_are_refused_with_the_reason(
    change: Callable, reason: str, tiny_set: Path, tmp_path: Path
) -> None:
    file = write_masks(tiny_set, tmp_path / 'm.json', change)
    agreement = measure_masks(dataset(tiny_set, mask_file=file))
    with pytest.raises(DataError, match=rf'm\.json: \d+% of the annotated joints .*{reason}'):
        check_masks(agreement, 'm.json')


def empty_masks(part: float) -> Callable:
    """Every mask of a part of the images is empty."""

    def change(masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        random = np.random.default_rng(0)
        return {n: mask * (random.random() >= part) for n, mask in sorted(masks.items())}

    return change


@pytest.fixture
def one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """All frames are of one group: the cameras of the small set have few frames each."""
    monkeypatch.setattr(
        'mmjrr.engine.mask_agreement.frame_groups',
        lambda data, *_: [FrameGroup('S1 54138969', list(range(len(data))))],
    )


def test_some_empty_masks_are_counted_and_explained_by_no_mistake(
    tiny_set: Path, tmp_path: Path, one_group: None
) -> None:
    file = write_masks(tiny_set, tmp_path / 'm.json', empty_masks(0.2))
    report = measure_masks(dataset(tiny_set, mask_file=file))
    empty, frames = sum(g.empty for g in report.groups), sum(g.frames for g in report.groups)
    assert empty > 0 and not report.reason
    assert min(one.share for one in report.groups) > 0.95
    (warning,) = check_masks(report, 'm.json')
    assert warning.startswith(f'm.json: {empty} of {frames} masks that were looked at are empty')


def test_masks_most_of_which_are_empty_are_refused(
    tiny_set: Path, tmp_path: Path, one_group: None
) -> None:
    file = write_masks(tiny_set, tmp_path / 'm.json', empty_masks(0.8))
    report = measure_masks(dataset(tiny_set, mask_file=file))
    with pytest.raises(DataError, match=r'\d+ of these masks are empty'):
        check_masks(report, 'm.json')


# ---------------------------------------------------------------------- in a run


@pytest.mark.slow
def test_a_run_stops_before_its_first_batch(
    tiny_set: Path, tiny_config: Path, tmp_path: Path
) -> None:
    file = write_masks(tiny_set, tmp_path / 'm.json', each(lambda mask: 1 - mask))
    cfg = Config.fromfile(str(tiny_config))
    cfg.work_dir = str(tmp_path / 'run')
    cfg.train_dataloader.dataset.mask_file = file
    with pytest.raises(
        DataError, match=r'inverted.*go on with custom_hooks\.0\.check_inputs=False'
    ):
        Runner.from_cfg(cfg).train()
    assert not list((tmp_path / 'run').glob('pseudo_gt/*.npz'))
    assert not (tmp_path / 'run' / 'J_spin.npy').exists()


def test_the_sample_is_seeded_and_consumes_no_random_state(tiny_set: Path) -> None:
    data = dataset(tiny_set)
    np.random.seed(5)  # noqa: NPY002 - the global state is what must not change
    torch.manual_seed(5)
    first = frame_groups(data)
    assert first == frame_groups(data)
    after = np.random.rand(), torch.rand(1).item()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    assert after == (np.random.rand(), torch.rand(1).item())  # noqa: NPY002
