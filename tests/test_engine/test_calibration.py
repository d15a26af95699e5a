"""Calibration: its choice of moments, its rounds, and its results."""

from __future__ import annotations

import copy
import itertools
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from kill_points import Kill
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from small_jobs import fits_and_masks, several_views

from mmjrr.body_models import free_body
from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.fits import load_fits
from mmjrr.datasets.run_length import encode_rle
from mmjrr.datasets.synthetic import Settings, generate
from mmjrr.engine.batch_refinement import BatchRefinement
from mmjrr.engine.calibration import (
    Calibration,
    CalibrationOptions,
    Calibrator,
    lowered_weights,
    sharing_after,
)
from mmjrr.engine.refinement_end import refining_regressor
from mmjrr.engine.refinement_frames import (
    RefinementFrames,
    choose_frames,
    choose_moments,
    spread_rows,
)
from mmjrr.engine.refinement_options import RefinementOptions
from mmjrr.engine.term_balance import balance_terms
from mmjrr.errors import DataError
from mmjrr.io import sha256
from mmjrr.joints import BODY_PARTS, H36M_JOINTS_MMPOSE
from mmjrr.refinement import FitEnergy, FitRefiner
from mmjrr.refinement.left_out import split_left_out
from mmjrr.refinement.variables import Sharing
from mmjrr.regressors import JointRegressor, LabelOffsets
from mmjrr.rendering import ContourSilhouette

ROOT = Path(__file__).resolve().parents[2]
#: J_spin is fitted without the bad fits, too.
WITHOUT_BAD_FITS = pytest.mark.filterwarnings('ignore:fit_joint_regressor left out')
numbers = itertools.count()


@pytest.fixture(scope='module')
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two subjects, two moments each, four views; S5's second moment lacks a camera's mask."""
    folder = several_views(tmp_path_factory.mktemp('views'), moments=2)
    path = folder / 'masks' / 'h36m_train.json'
    masks = json.loads(path.read_text())
    del masks['masks'][sorted(masks['masks'])[-1]]
    path.write_text(json.dumps(masks))
    return folder


@pytest.fixture(scope='module')
def dataset(views: Path) -> H36MFitsDataset:
    return fits_and_masks(views)


def frames_of(dataset: H36MFitsDataset, indices: list[int]) -> RefinementFrames:
    return RefinementFrames.of_dataset(
        dataset, indices, image_size=(64, 64), device=torch.device('cpu')
    )


# -- frames ----------------------------------------------------------------------------------------


def test_frames_know_their_moments_subjects_and_cameras(dataset: H36MFitsDataset) -> None:
    frames = frames_of(dataset, choose_moments(dataset, None, seed=0))
    assert torch.bincount(frames.groups.moment).tolist().count(4) == 3
    assert sorted(torch.bincount(frames.groups.moment).tolist()) == [3, 4, 4, 4]
    assert frames.subjects == ['S1', 'S5'] and len(frames.cameras) == 8
    for row, sample in enumerate(frames.samples):
        assert frames.subjects[frames.groups.subject[row]] == sample.subject
        camera = frames.cameras[frames.groups.camera[row]]
        assert camera == f'{sample.subject} {sample.camera}'
    frames.check_views()


def test_views_of_different_instants_are_refused(dataset: H36MFitsDataset) -> None:
    frames = frames_of(dataset, choose_moments(dataset, None, seed=0))
    frames.observed.keypoints_3d[2, :, 0] += 0.2
    with pytest.raises(DataError, match=r'\d+ mm, in the world, from the mean of the cameras'):
        frames.check_views()


def test_moments_of_one_view_each_are_refused(dataset: H36MFitsDataset) -> None:
    first = [index for index in range(15) if dataset.imgname(index).count('.54138969')]
    with pytest.raises(DataError, match='found one view of this moment, and of all 4'):
        frames_of(dataset, first).check_views()


class Poses:
    """A data set of 40 moments of S1 and 3 of S5, two views each, with poses in clusters."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.poses = 0.01 * random.normal(size=(43, 69))
        self.poses[[7, 19]] += 3.0  # two rare poses of S1

    def __len__(self) -> int:
        return 86

    def moments(self) -> np.ndarray:
        return np.arange(86) % 43

    def imgname(self, index: int) -> str:
        moment = index % 43
        subject = 'S1' if moment < 40 else 'S5'
        return f'{subject}_Eating.{54138969 + index // 43}_{moment:06d}.jpg'

    def fit_sample(self, index: int) -> dict[str, Any]:
        return dict(body_pose=self.poses[index % 43])


def test_moments_are_spread_over_poses_and_subjects() -> None:
    data = Poses()
    chosen = choose_moments(data, 8, seed=1)
    assert chosen == choose_moments(data, 8, seed=1) != choose_moments(data, 8, seed=2)
    moments = [index % 43 for index in chosen]
    assert moments[::2] == moments[1::2] and len(set(moments)) == 8  # both views of eight moments
    assert {40, 41, 42} <= set(moments)  # S5 has only three; S1 has the others
    assert {7, 19} & set(moments)
    assert sorted(choose_moments(data, None, seed=1)) == list(range(86))
    assert sorted(choose_moments(data, 100, seed=1)) == list(range(86))


@pytest.mark.parametrize(
    ('sharing', 'missing'),
    [
        (Sharing('moment', 'subject'), r"the 2 that were chosen show none of \['S5'\]"),
        (Sharing(principal_point='camera'), r"\['S5 \d+', 'S5 \d+', 'S5 \d+', 'S5 \d+'\]"),
        (Sharing(outline_offset='subject'), r"\['S5'\]"),
    ],
)
def test_moments_that_do_not_show_a_subject_or_camera_with_variables_of_its_own_are_refused(
    dataset: H36MFitsDataset, sharing: Sharing, missing: str
) -> None:
    of_s1 = [index for index in range(15) if '/S1_' in dataset.imgname(index)]
    frames = frames_of(dataset, of_s1)
    with pytest.raises(ValueError, match=missing):
        frames.check_shared(dataset, sharing)
    frames.check_shared(dataset, Sharing('moment', 'moment'))
    frames_of(dataset, list(range(15))).check_shared(dataset, sharing)


def test_a_calibration_of_fewer_moments_than_subjects_is_refused(
    views: Path, tmp_path: Path
) -> None:
    runner = Runner.from_cfg(config_of(views, tmp_path, calibration=dict(moments=1)))
    with pytest.raises(ValueError, match=r"calibration: moments: the 1 .* show none of \['S"):
        runner.train()
    assert not (tmp_path / 'calibration').exists()


def test_rows_are_drawn_once_each_even_if_equal() -> None:
    points = np.zeros((5, 2))
    rows = spread_rows(points, 9, np.random.default_rng(0))
    assert sorted(rows) == list(range(5))


@pytest.mark.parametrize('by_moment', [False, True])
def test_random_frames_come_with_their_moments(by_moment: bool) -> None:
    data = Poses()
    chosen = choose_frames(data, 7, 3, by_moment)
    assert chosen == choose_frames(data, 7, 3, by_moment)
    assert len(chosen) == (8 if by_moment else 7) == len(set(chosen))
    if by_moment:
        assert {index % 43 for index in chosen} == {(index + 43) % 43 for index in chosen}
    assert sorted(choose_frames(data, 500, 3, by_moment)) == list(range(86))


EVERY_CORRECTION = dict(
    principal_point='camera',
    extrinsics='camera',
    outline_offset='subject',
    part_outline_offset='subject',
    joint_offset='all',
)


def test_shared_variables_are_fixed_after_calibration() -> None:
    after = sharing_after(Sharing('moment', 'subject', **EVERY_CORRECTION))
    assert after == dict(pose='moment', betas='fixed', **dict.fromkeys(EVERY_CORRECTION, 'fixed'))
    assert sharing_after(Sharing('frame', 'moment'))['betas'] == 'moment'


def calibration_of(**fields: Any) -> Calibration:
    regressor = JointRegressor.load('free_body_h36m').reorder(H36M_JOINTS_MMPOSE)
    return Calibration(**{
        'arrays': {}, 'regressor': regressor, 'sharing': Sharing('frame', 'subject'), 'shared': {},
        'summary': {}, 'complete': False, 'weights': dict(joint_3d=1.0), **fields,
    })  # fmt: skip


def test_stored_initial_fits_have_their_own_shapes(dataset: H36MFitsDataset) -> None:
    """Refinement starts with the subjects' calibrated shapes, and keeps them."""
    shapes = dict(S1=torch.full((10,), 0.5), S5=torch.full((10,), -0.5))
    calibration = calibration_of(shared=dict(betas=shapes))
    refiner = FitRefiner(
        free_body(), calibration.regressor, None,
        FitEnergy(terms=dict(adv_pose=False, adv_shape=False, silhouette=False, joint_2d=False)),
        num_iters=1, share=dict(betas='fixed'),
    )  # fmt: skip
    options = dict(image_size=(64, 64), device=torch.device('cpu'))
    indices = [0, 5, 9, 14]
    arrays, _ = BatchRefinement(refiner, calibration, calibration.weights, options, False).refine(
        pseudo_collate([dataset[index] for index in indices]), 'batch 0'
    )
    for row, index in enumerate(indices):
        shape = shapes[dataset[index]['data_samples'].subject]
        np.testing.assert_allclose(arrays['betas'][row], shape, atol=1e-6)
        for name in ('global_orient', 'body_pose', 'betas'):
            own = dataset.fit_sample(index)[name]
            np.testing.assert_array_equal(arrays[f'init_{name}'][row], own, name)


@pytest.mark.parametrize(
    ('rounds', 'complete', 'name'),
    [
        (None, False, 'J_spin'),
        (1, True, 'J_spin'),
        (3, True, 'calibration/J_round_2.npy'),
        (1, False, 'calibration/J_round_1.npy'),
        (3, False, 'calibration/J_round_3.npy'),
    ],
)
def test_the_regressor_that_refined_the_fits_is_recorded(
    rounds: int | None, complete: bool, name: str, tmp_path: Path
) -> None:
    """Round 4 was fitted too, but its result was not accepted."""
    files = ['J_spin.npy', *(f'calibration/J_round_{number}.npy' for number in range(1, 5))]
    (tmp_path / 'calibration').mkdir()
    for file in files:
        (tmp_path / file).write_text(file)
    calibration = None
    if rounds is not None:
        calibration = calibration_of(summary=dict(rounds=[{}] * rounds), complete=complete)
    options = RefinementOptions(body_model={})
    file = tmp_path / ('J_spin.npy' if name == 'J_spin' else name)
    assert refining_regressor(tmp_path, options, calibration) == f'{name} sha256 {sha256(file)}'


@pytest.mark.parametrize('learn_regressor', [True, False])
def test_a_named_regressor_that_refined_the_fits_is_recorded_by_its_name(
    learn_regressor: bool, tmp_path: Path
) -> None:
    options = RefinementOptions(
        body_model={}, regressor='free_body_h36m', learn_regressor=learn_regressor
    )
    calibration = calibration_of(summary=dict(rounds=[{}]), complete=learn_regressor)
    for result in (None, calibration):
        assert refining_regressor(tmp_path, options, result) == 'free_body_h36m'


# -- rounds ----------------------------------------------------------------------------------------


def config_of(views: Path, work_dir: Path, **changes: Any) -> Config:
    cfg = Config.fromfile(str(ROOT / 'configs/refinement/contour-4view_5x80it_synthetic.py'))
    cfg.merge_from_dict(
        {
            'work_dir': str(work_dir),
            'train_dataloader.dataset.data_root': str(views),
            'train_dataloader.dataset.crop_size': (64, 64),
            'train_dataloader.batch_size': 8,
            'log_level': 'WARNING',
        }
    )
    hook = cfg.custom_hooks[0]
    hook.renderer = dict(type='ContourSilhouette', image_size=(64, 64))
    hook.refiner.num_iters = 2
    hook.calibration.rounds = 2
    hook.calibration.update(changes.pop('calibration', {}))
    hook.refiner.share.update(changes.pop('share', {}))
    hook.check_inputs = False
    cfg.custom_hooks = [hook]
    cfg.merge_from_dict(changes)
    cfg.experiment_name = cfg.visualizer.name = f'calibration_{next(numbers)}'
    return cfg


RESULTS = ('J_spin.npy', 'J_opt.npy', 'pseudo_gt.npz', 'refinement.json')


@pytest.fixture(scope='module')
def whole(views: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work_dir = tmp_path_factory.mktemp('whole')
    Runner.from_cfg(config_of(views, work_dir)).train()
    return work_dir


@pytest.mark.slow
def test_all_moments_are_exported_as_calibrated(whole: Path) -> None:
    fits, second = (
        load_fits(whole / 'pseudo_gt.npz'),
        np.load(whole / 'calibration' / 'round_0000001.npz'),
    )
    order = np.argsort(second['sample_idx'])
    np.testing.assert_array_equal(fits['betas'], second['betas'][order])
    np.testing.assert_array_equal(fits['pose'][:, 3:], second['body_pose'][order])
    subjects = np.array([name.split('/')[0] for name in fits['imgname'].tolist()])
    for subject in ('S1', 'S5'):
        assert len(np.unique(fits['betas'][subjects == subject], axis=0)) == 1
    summary = json.loads((whole / 'refinement.json').read_text())
    assert (summary['frames'], summary['calibration']['moments']) == (15, 4)
    assert len(summary['calibration']['rounds']) == 2
    first, last = summary['calibration']['rounds']
    assert last['joint_3d'] < first['joint_3d']
    assert provenance_of(whole)['regressor'] == checksum_of(whole, 'calibration/J_round_1.npy')
    # J_opt is the last round's regressor, since it is fitted to the same fits.
    last_round = JointRegressor.load(whole / 'calibration' / 'J_round_2.npy')
    torch.testing.assert_close(
        JointRegressor.load(whole / 'J_opt.npy').weight, last_round.weight, atol=1e-4, rtol=0
    )


def test_a_calibration_of_all_moments_gives_its_fits_without_the_bad_frames(
    dataset: H36MFitsDataset,
) -> None:
    kept = [index for index in range(15) if index != 5]
    arrays = {'sample_idx': np.array(kept), 'betas': np.outer(kept, np.ones(10))}
    calibration = calibration_of(arrays=arrays, complete=True, left_out={5: 'no person'})
    options = dict(image_size=(64, 64), device=torch.device('cpu'))
    refinement = BatchRefinement(None, calibration, calibration.weights, options, True)
    for indices in ([5, 9, 4], [5], [0, 14]):
        batch = pseudo_collate([dataset[index] for index in indices])
        stored, reasons = refinement.refine(batch, 'batch 0')
        left_out = {dataset.imgname(5): 'no person'} if 5 in indices else {}
        assert reasons == left_out
        assert stored['sample_idx'].tolist() == indices
        good, listed = split_left_out(stored)
        assert good['betas'][:, 0].tolist() == [index for index in indices if index != 5]
        assert listed == left_out


def refiner_of(**options: Any) -> FitRefiner:
    body = free_body()
    terms = dict(adv_pose=False, adv_shape=False, joint_2d=False)
    return FitRefiner(
        body, JointRegressor.load('free_body_h36m').reorder(H36M_JOINTS_MMPOSE),
        ContourSilhouette(body.faces, image_size=(64, 64)), FitEnergy(terms), num_iters=1,
        init_translation=None, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ('name', 'values', 'reason'),
    [
        ('betas', [15.0] * 10, 'betas: found 15, expected at most 10 standard deviations'),
        ('transl', [0.0, 0, -3], 'behind the camera'),
    ],
)
def test_a_bad_fit_is_found_although_the_mean_of_those_that_share_it_is_good(
    name: str, values: list[float], reason: str, dataset: H36MFitsDataset
) -> None:
    bad, indices = 5, choose_moments(dataset, None, seed=0)

    def read(indices: list[int]) -> RefinementFrames:
        frames = frames_of(dataset, indices)
        for row, sample in enumerate(frames.samples):
            if int(sample.sample_idx) == bad:
                frames.init[name][row] = torch.tensor(values)
        return frames

    refiner = refiner_of(share=dict(pose='moment', betas='subject'))
    recorded: dict[str, Any] = {}
    job = SimpleNamespace(results=lambda: recorded, record_result=recorded.__setitem__)
    weights, good, left_out = balance_terms(refiner, read(indices), read, job, True)
    assert list(left_out) == [bad] and reason in left_out[bad]
    rest = [index for index in indices if index != bad]
    assert [int(sample.sample_idx) for sample in good.samples] == rest
    clean = frames_of(dataset, rest)
    terms = refiner.initial_terms(clean.init, clean.observed, clean.groups)
    assert weights == refiner.energy.balance(terms)


def test_a_bad_fit_of_a_batch_is_left_out_although_the_mean_of_its_moment_is_good(
    dataset: H36MFitsDataset,
) -> None:
    options = dict(image_size=(64, 64), device=torch.device('cpu'))
    refiner = refiner_of(share=dict(pose='moment', betas='moment'))
    weights = dict(joint_3d=1.0, silhouette=1.0)
    refinement = BatchRefinement(refiner, None, weights, options, True)

    def arrays_of(rows: list[int], bad: int | None) -> tuple[dict[str, Any], dict[str, str]]:
        batch = pseudo_collate([dataset[index] for index in rows])
        for sample in batch['data_samples']:
            if int(sample.sample_idx) == bad:
                sample.transl = torch.tensor([0.0, 0, -3])
        return refinement.refine(batch, 'batch 0')

    rows = choose_moments(dataset, 1, seed=0)
    bad, rest = rows[1], [rows[0], *rows[2:]]
    found, left_out = arrays_of(rows, bad)
    expected, none = arrays_of(rest, None)
    assert list(left_out) == [dataset.imgname(bad)] and not none
    assert 'behind the camera' in left_out[dataset.imgname(bad)]
    for name in ('body_pose', 'betas', 'transl'):
        np.testing.assert_array_equal(np.delete(found[name], 1, axis=0), expected[name])


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('transl', [0.0, 0, -3], r'behind the camera.* in sample 1\nframes: {second_chunk}'),
        ('keypoints_3d', [np.nan] * 3, r'not finite .*samples \[5\] .*\nframes: {bad}'),
    ],
)
def test_errors_of_a_round_name_the_frames(
    name: str, value: list[float], message: str, dataset: H36MFitsDataset, tmp_path: Path
) -> None:
    frames = frames_of(dataset, list(range(8)))
    changed = frames.init if name in frames.init else vars(frames.observed)
    changed[name][5] = torch.tensor(value)
    calibrator = Calibrator(
        frames, lambda regressor: refiner_of(chunk_size=4),
        dict(joint_3d=1.0, silhouette=1.0), tmp_path, 'run', rounds=1,
        complete=True, root=None, fit_batch_size=8, provenance={}, log=lambda line: None,
        warn=lambda line: None,
    )  # fmt: skip
    names = [sample.imgname for sample in frames.samples]
    listed = dict(second_chunk=re.escape(str(names[4:8])), bad=re.escape(str(names[5:6])))
    with pytest.raises((ValueError, FloatingPointError), match='(?s)' + message.format(**listed)):
        calibrator.run(JointRegressor.load('free_body_h36m'))


def test_a_subject_that_the_calibration_does_not_show_is_no_frames_error(
    dataset: H36MFitsDataset,
) -> None:
    """Not even if bad frames are left out, which all frames of the batch would be."""
    calibration = calibration_of(shared=dict(betas=dict(S1=torch.zeros(10))))
    options = dict(image_size=(64, 64), device=torch.device('cpu'))
    refinement = BatchRefinement(None, calibration, calibration.weights, options, True)
    both = [next(i for i in range(15) if f'/{s}_' in dataset.imgname(i)) for s in ('S1', 'S5')]
    with pytest.raises(ValueError, match=r"none shows \['S5'\]; choose more moments"):
        refinement.refine(pseudo_collate([dataset[index] for index in both]), 'batch 0')


def with_giants(views: Path, folder: Path, names: Sequence[str]) -> Path:
    """Copy a set, and give the fits of some images shapes of no person."""
    shutil.copytree(views, folder)
    path = folder / 'fits' / 'spin_like_train.npz'
    with np.load(path) as file:
        arrays = dict(file)
    rows = np.isin(arrays['imgname'].astype(str), names)
    assert rows.sum() == len(names)
    for name in {'betas', 'shape'} & set(arrays):
        arrays[name][rows] = 3000
    np.savez(path, **arrays)
    return folder


@pytest.mark.slow
@WITHOUT_BAD_FITS
def test_a_bad_frame_does_not_discard_the_calibration_of_all_moments(
    views: Path, dataset: H36MFitsDataset, tmp_path: Path
) -> None:
    name = dataset.imgname(5)
    cfg = config_of(with_giants(views, tmp_path / 'views', [name]), tmp_path / 'run')
    Runner.from_cfg(cfg).train()
    summary = json.loads((tmp_path / 'run' / 'refinement.json').read_text())
    assert (summary['frames'], summary['frames_expected']) == (14, 15)
    assert list(summary['frames_left_out']) == [name]
    fits = load_fits(tmp_path / 'run' / 'pseudo_gt.npz')
    second = np.load(tmp_path / 'run' / 'calibration' / 'round_0000001.npz')
    order = np.argsort(second['sample_idx'])
    assert fits['imgname'].tolist() == second['imgname'][order].tolist()
    np.testing.assert_array_equal(fits['betas'], second['betas'][order])
    np.testing.assert_array_equal(fits['pose'][:, 3:], second['body_pose'][order])
    provenance = provenance_of(tmp_path / 'run')
    assert provenance['regressor'] == checksum_of(tmp_path / 'run', 'calibration/J_round_1.npy')


@pytest.mark.slow
@WITHOUT_BAD_FITS
def test_a_subject_whose_chosen_frames_are_all_bad_ends_the_run_before_the_calibration(
    views: Path, dataset: H36MFitsDataset, tmp_path: Path
) -> None:
    chosen = [dataset.imgname(index) for index in choose_moments(dataset, 2, seed=0)]
    bad = [name for name in chosen if '/S5_' in name]
    cfg = config_of(
        with_giants(views, tmp_path / 'views', bad), tmp_path / 'run', calibration=dict(moments=2)
    )
    message = r"show none of \['S5'\].*\n\d bad frames"
    with pytest.raises(ValueError, match=message) as error:
        Runner.from_cfg(cfg).train()
    assert all(name in str(error.value) for name in bad)
    assert not (tmp_path / 'run' / 'calibration').exists()


@pytest.mark.slow
@WITHOUT_BAD_FITS
def test_smoothness_needs_no_neighbors_in_batches_whose_fits_are_those_of_the_calibration(
    tmp_path: Path,
) -> None:
    settings = Settings(
        subjects=('S1', 'S5'), actions=('Eating',), frames_per_subject=3, frame_step=5,
        synchronous=True, images=False,
    )  # fmt: skip
    views = generate(tmp_path / 'data', settings, workers=1, progress=False)
    bad = fits_and_masks(views).imgname(5)
    views = with_giants(views, tmp_path / 'views', [bad])
    cfg = config_of(views, tmp_path / 'run')
    cfg.train_dataloader.batch_size = 4  # a moment: no frame has its neighbors
    hook = cfg.custom_hooks[0]
    hook.energy.terms.smoothness = True
    hook.calibration.rounds = 1
    Runner.from_cfg(cfg).train()
    summary = json.loads((tmp_path / 'run' / 'refinement.json').read_text())
    assert summary['frames'] == 23 and list(summary['frames_left_out']) == [bad]
    assert summary['calibration']['rounds'][0]['smoothness'] > 0


@pytest.mark.slow
def test_empty_masks_are_counted_and_part_of_no_mean(views: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'data'
    shutil.copytree(views, folder)
    path = folder / 'masks' / 'h36m_train.json'
    masks = json.loads(path.read_text())
    empty = sorted(masks['masks'])[1:12:5]
    for name in empty:
        size = masks['masks'][name]['size']
        masks['masks'][name]['counts'] = encode_rle(np.zeros(size, np.uint8)).decode()
    path.write_text(json.dumps(masks))
    Runner.from_cfg(config_of(folder, tmp_path / 'run')).train()
    summary = json.loads((tmp_path / 'run' / 'refinement.json').read_text())
    assert (summary['frames'], summary['frames_with_empty_mask']) == (15, len(empty))
    with np.load(tmp_path / 'run' / 'calibration' / 'round_0000001.npz') as last:
        iou, shown = last['iou'], ~np.isin(last['imgname'], empty)
    assert np.isnan(iou).tolist() == (~shown).tolist()
    mean = pytest.approx(float(iou[shown].mean(dtype=np.float64)))
    assert summary['iou'] == mean == summary['calibration']['rounds'][-1]['iou']


def provenance_of(work_dir: Path) -> dict[str, Any]:
    with np.load(work_dir / 'pseudo_gt.npz') as file:
        return json.loads(str(file['provenance']))


def checksum_of(work_dir: Path, name: str) -> str:
    return f'{name} sha256 {sha256(work_dir / name)}'


def train_in_two_parts(cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill a run in its second round, and resume it."""
    refine, calls = FitRefiner.refine_jointly, []

    def stop(self: FitRefiner, *arguments: Any) -> Any:
        calls.append(len(calls))
        if len(calls) == 2:
            raise Kill
        return refine(self, *arguments)

    monkeypatch.setattr(FitRefiner, 'refine_jointly', stop)
    runner = Runner.from_cfg(cfg)
    with pytest.raises(Kill):
        runner.train()
    runner.hooks[-1].after_run(runner)
    for hook in runner.hooks:
        hook.after_run(runner)
    cfg.resume = True
    cfg.experiment_name = cfg.visualizer.name = f'calibration_{next(numbers)}'
    Runner.from_cfg(cfg).train()
    assert len(calls) == 3  # the first round is read from its file


@pytest.mark.slow
def test_a_run_killed_in_its_second_round_ends_in_the_same_bytes(
    views: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_in_two_parts(config_of(views, tmp_path), monkeypatch)
    for name in RESULTS:
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow
def test_other_moments_take_the_shapes_and_corrections_of_the_calibration(
    views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = dict(
        share=EVERY_CORRECTION,
        calibration=dict(moments=2),
    )
    Runner.from_cfg(config_of(views, tmp_path, **copy.deepcopy(changes))).train()
    fits = load_fits(tmp_path / 'pseudo_gt.npz')
    summary = json.loads((tmp_path / 'refinement.json').read_text())['calibration']
    last = len(summary['rounds']) - 1  # not the second round if that one drifts
    stored = np.load(tmp_path / 'calibration' / f'round_{last:07d}.npz')
    assert len(stored['imgname']) == 8 or len(stored['imgname']) == 7
    assert provenance_of(tmp_path)['regressor'] == checksum_of(
        tmp_path, f'calibration/J_round_{last + 1}.npy'
    )
    for subject, betas in zip(('S1', 'S5'), stored['value_betas'], strict=True):
        rows = [name.startswith(subject) for name in fits['imgname'].tolist()]
        np.testing.assert_allclose(
            fits['betas'][rows], np.broadcast_to(betas, fits['betas'][rows].shape), atol=1e-6
        )
    for name, size in (
        ('principal_point_px', 2), ('extrinsic_rotation_deg', 3), ('extrinsic_translation_mm', 3),
    ):  # fmt: skip
        assert [len(value) for value in summary[name].values()] == [size] * 8, name
    expected = np.rad2deg(stored['value_extrinsic_rotation'])
    np.testing.assert_allclose(
        list(summary['extrinsic_rotation_deg'].values()), expected, atol=0.006
    )
    assert np.abs(expected).max() > 0.01
    resumed = tmp_path / 'resumed'
    train_in_two_parts(config_of(views, resumed, **changes), monkeypatch)
    for name in RESULTS:
        assert (resumed / name).read_bytes() == (tmp_path / name).read_bytes(), name
    assert set(summary['outline_offset_mm']) == {'S1', 'S5'}
    assert {tuple(v) for v in summary['part_outline_offset_mm'].values()} == {tuple(BODY_PARTS)}
    # Offsets of a round's joints have no meaning with the regressor that is fitted after it.
    assert stored['value_joint_offset'].shape == (1, 51)
    assert 'joint_offset_mm' not in summary


@pytest.mark.slow
def test_priors_are_estimated_once_and_kept_by_a_resumed_run(
    views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is killed after its first round, and the fits that it started from are altered."""
    ratios = dict(silhouette=3.0, initial_pose=5.4, pose_prior=1.35)
    refine, calls = FitRefiner.refine_jointly, []
    seen: list[dict[str, Any]] = []

    def stop(self: FitRefiner, *arguments: Any) -> Any:
        calls.append(len(calls))
        terms = self.energy.terms
        seen.append(dict(deviation=terms['initial_pose'].deviation, mean=terms['pose_prior'].mean))
        if len(calls) == 2:
            raise Kill
        return refine(self, *arguments)

    monkeypatch.setattr(FitRefiner, 'refine_jointly', stop)

    def cfg(**changes: Any) -> Config:
        made = config_of(views, tmp_path, calibration=dict(moments=2, max_ratios=ratios), **changes)
        terms = made.custom_hooks[0].energy.terms
        terms.update(initial_pose=dict(scale=5.4), pose_prior=dict(scale=1.35))
        return made

    runner = Runner.from_cfg(cfg())
    with pytest.raises(Kill):
        runner.train()
    for hook in runner.hooks:
        hook.after_run(runner)
    identity = json.loads((tmp_path / 'pseudo_gt' / 'identity.json').read_text())
    estimates = identity['results']['term_estimates']
    assert set(estimates) == {'initial_pose', 'pose_prior'}
    monkeypatch.setattr('mmjrr.refinement.energy.FitEnergy.estimate', None)
    Runner.from_cfg(cfg(resume=True)).train()
    for name in ('deviation', 'mean'):
        torch.testing.assert_close(seen[-1][name], seen[0][name], rtol=0, atol=0)
    summary = json.loads((tmp_path / 'refinement.json').read_text())
    first, last = summary['calibration']['rounds']
    for name, ratio in ratios.items():
        assert last[f'{name}_weight'] <= first[f'{name}_weight']
        joints = summary['term_weights']['joint_3d'] * last['joint_3d']
        assert summary['term_weights'][name] * last[name] <= ratio * joints * (1 + 1e-6)


def test_priors_of_poses_are_refused_with_fits_that_are_made_from_joints(
    views: Path, tmp_path: Path
) -> None:
    cfg = config_of(views, tmp_path)
    cfg.custom_hooks[0].energy.terms.update(initial_pose=True, pose_prior=True)
    cfg.train_dataloader.dataset.fits_file = None
    with pytest.raises(ValueError, match=r"\['initial_pose', 'pose_prior'\] take rotations from"):
        Runner.from_cfg(cfg).train()


@pytest.mark.parametrize('third_iou', [0.93, 0.95])
def test_a_run_that_drifts_stops_at_the_round_before(
    third_iou: float, dataset: H36MFitsDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joints become better in every round, the silhouette term becomes worse in the third."""
    terms = [(0.9, 1.0, 0.93), (0.8, 0.9, 0.94), (0.7, 0.95, third_iou), (0.6, 0.9, 0.96)]
    warnings: list[str] = []
    calibrator = Calibrator(
        frames_of(dataset, [0]), lambda regressor: None, {}, tmp_path, 'run', rounds=4,
        complete=True, root=None, fit_batch_size=8, provenance={}, log=lambda line: None,
        warn=warnings.append,
    )  # fmt: skip

    def play(number: int, *_: Any) -> dict[str, np.ndarray]:
        names = ('energy_joint_3d', 'energy_silhouette', 'iou')
        return {name: np.array([value]) for name, value in zip(names, terms[number], strict=True)}

    monkeypatch.setattr(calibrator, '_round', play)
    monkeypatch.setattr(calibrator, '_fit', lambda number, arrays: (f'J{number}', None))
    monkeypatch.setattr(calibrator, '_result', lambda *arguments: arguments)
    result: Any = calibrator.run('J_spin')  # type: ignore[arg-type]
    arrays, regressor, summaries = result[:3]
    if third_iou > 0.94:  # a frame of its own
        assert (regressor, len(summaries)) == ('J3', 4) and not warnings
        return
    assert (regressor, len(summaries)) == ('J1', 2)
    assert float(arrays['energy_joint_3d'][0]) == 0.8
    assert warnings and 'round 3 drifts' in warnings[0]


def test_lowered_weights_are_inverse_variances() -> None:
    """A mean of 1000 measurements with standard deviation 1 and 2500 with 10, weighted in turns."""
    rng = np.random.default_rng(0)
    exact, wrong = rng.normal(0, 1, 1000), rng.normal(0, 10, 2500)
    weights = dict(joint_3d=1.0, silhouette=1.0)
    for _ in range(20):
        mean = np.average(
            np.concatenate([exact, wrong]),
            weights=np.repeat([weights['joint_3d'], weights['silhouette']], [1000, 2500]),
        )
        values = dict(
            joint_3d=float(np.square(exact - mean).sum()),
            silhouette=float(np.square(wrong - mean).sum()),
        )
        weights = lowered_weights(weights, values, dict(silhouette=2.5))
    assert weights['silhouette'] == pytest.approx(exact.var() / wrong.var(), rel=1e-3)
    assert weights['joint_3d'] == 1


def test_weights_are_not_raised_and_need_both_terms() -> None:
    weights = dict(joint_3d=2.0, silhouette=3.0, joint_2d=4.0)
    values = dict(joint_3d=0.5, silhouette=0.8, joint_2d=9.0)
    assert lowered_weights(weights, values, dict(silhouette=2.5)) == weights
    assert lowered_weights(dict(silhouette=3.0), dict(silhouette=9.0), dict(silhouette=0.1)) == {
        'silhouette': 3.0
    }


@pytest.mark.parametrize(('weight', 'value'), [(0.0, 0.5), (2.0, 0.0)])
def test_weights_stay_where_there_is_nothing_to_compare_them_with(
    weight: float, value: float
) -> None:
    weights = dict(joint_3d=weight, silhouette=3.0)
    values = dict(joint_3d=value, silhouette=0.8)
    assert lowered_weights(weights, values, dict(silhouette=2.5)) == weights


def test_rounds_lower_the_silhouettes_weight_and_do_not_take_that_for_drift(
    dataset: H36MFitsDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The silhouette's weight falls from 8 to 2.5 after round 1; the terms follow."""
    terms = [(1.0, 1.0), (0.8, 1.1), (0.8, 0.8)]
    weights_of_rounds: list[float] = []
    warnings: list[str] = []
    calibrator = Calibrator(
        frames_of(dataset, [0]), lambda regressor: None, dict(joint_3d=1.0, silhouette=8.0),
        tmp_path, 'run', rounds=3, complete=True, root=None, fit_batch_size=8, provenance={},
        log=lambda line: None, warn=warnings.append, max_ratios=dict(silhouette=2.5),
    )  # fmt: skip

    def play(number: int, *arguments: Any) -> dict[str, np.ndarray]:
        weights_of_rounds.append(arguments[-1]['silhouette'])
        joint_3d, silhouette = terms[number]
        return dict(
            energy_joint_3d=np.array([joint_3d]), energy_silhouette=np.array([silhouette]),
            iou=np.array([0.9 - 0.1 * number]),
        )  # fmt: skip

    monkeypatch.setattr(calibrator, '_round', play)
    monkeypatch.setattr(calibrator, '_fit', lambda number, arrays: (f'J{number}', None))
    monkeypatch.setattr(calibrator, '_result', lambda *arguments: arguments)
    result: Any = calibrator.run('J_spin')  # type: ignore[arg-type]
    after_round_2 = 2.5 * 0.8 / 1.1
    assert weights_of_rounds == pytest.approx([8, 2.5, after_round_2])
    assert [r['silhouette_weight'] for r in result[2]] == pytest.approx(weights_of_rounds)
    assert result[-1]['silhouette'] == pytest.approx(after_round_2)
    assert not warnings


@pytest.mark.parametrize(('complete', 'weight'), [(True, 8.0), (False, 2.5)])
def test_weights_are_those_with_which_all_frames_are_refined(
    complete: bool, weight: float, dataset: H36MFitsDataset, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """One round refines all frames with weight 8, or a part of them, and the rest with 2.5."""
    calibrator = Calibrator(
        frames_of(dataset, [0]), lambda regressor: None, dict(joint_3d=1.0, silhouette=8.0),
        tmp_path, 'run', rounds=1, complete=complete, root=None, fit_batch_size=8, provenance={},
        log=lambda line: None, warn=lambda line: None, max_ratios=dict(silhouette=2.5),
    )  # fmt: skip
    arrays = dict(energy_joint_3d=np.array([1.0]), energy_silhouette=np.array([1.0]))
    monkeypatch.setattr(calibrator, '_round', lambda *arguments: arrays)
    monkeypatch.setattr(calibrator, '_fit', lambda number, arrays: ('J', None))
    monkeypatch.setattr(calibrator, '_result', lambda *arguments: arguments)
    result: Any = calibrator.run('J_spin')  # type: ignore[arg-type]
    assert result[-1] == dict(joint_3d=1.0, silhouette=weight)


@pytest.mark.parametrize('ratio', [0, -1.0, float('nan'), float('inf')])
def test_a_ratio_that_is_not_positive_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match='max_ratios: silhouette: found'):
        CalibrationOptions(max_ratios=dict(silhouette=ratio))


def test_a_ratio_of_the_term_that_the_others_are_compared_with_is_refused() -> None:
    with pytest.raises(ValueError, match='max_ratios: found joint_3d, by whose value'):
        CalibrationOptions(max_ratios=dict(silhouette=3.0, joint_3d=0.5))


@pytest.mark.slow
def test_label_offsets_of_a_round_are_known_to_the_next_and_to_j_opt(
    views: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cfg = config_of(views, tmp_path / 'run', calibration=dict(label_offsets=True))
    offsets_of_rounds = []
    refine = FitRefiner.refine_jointly

    def record(self: FitRefiner, init: Any, observed: Any, *rest: Any) -> Any:
        offsets_of_rounds.append(observed.label_offsets)
        return refine(self, init, observed, *rest)

    monkeypatch.setattr(FitRefiner, 'refine_jointly', record)
    Runner.from_cfg(cfg).train()
    folder = tmp_path / 'run' / 'calibration'
    offsets = LabelOffsets.load(folder / 'label_offsets_round_1.npz')
    assert offsets_of_rounds[0] is None and offsets.subjects == ('S1', 'S5')
    assert {tuple(map(tuple, rows.tolist())) for rows in offsets_of_rounds[1].double()} <= {
        tuple(map(tuple, rows.float().double().tolist())) for rows in offsets.values
    }
    last = LabelOffsets.load(tmp_path / 'run' / 'label_offsets.npz')
    torch.testing.assert_close(
        last.values, LabelOffsets.load(folder / 'label_offsets_round_2.npz').values
    )
    sidecar = JointRegressor.load(tmp_path / 'run' / 'J_opt.npy').provenance
    assert sidecar['label_offsets_sha256'] == sha256(tmp_path / 'run' / 'label_offsets.npz')
    assert last.provenance['source'] == 'refined fits, round 2'
    assert last.provenance['settings_sha256'] == sidecar['settings_sha256']
    summary = json.loads((tmp_path / 'run' / 'refinement.json').read_text())['calibration']
    assert len(summary['label_offsets_mm']) == int((last.values != 0).any(-1).sum())
    untested = summary['label_offsets_untested']
    assert untested.startswith('None of the 34 pairs') and 'S5 ha' in untested
    assert f'J_round_2: label offsets: {untested}' in capsys.readouterr().out
    torch.testing.assert_close(
        JointRegressor.load(tmp_path / 'run' / 'J_opt.npy').weight,
        JointRegressor.load(folder / 'J_round_2.npy').weight,
        atol=1e-4,
        rtol=0,
    )


def test_label_offsets_need_a_root_that_does_not_spread_them(views: Path, tmp_path: Path) -> None:
    cfg = config_of(views, tmp_path, calibration=dict(label_offsets=True))
    cfg.custom_hooks[0].root = 'mean'
    with pytest.raises(ValueError, match="label_offsets: found it with root='mean'"):
        Runner.from_cfg(cfg)
