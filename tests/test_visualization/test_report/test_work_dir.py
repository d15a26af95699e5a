"""Reports of finished, unfinished, moved and broken work directories, and of other folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmjrr.body_models import free_body
from mmjrr.datasets.predictions import read_predictions
from mmjrr.errors import DataError
from mmjrr.evaluation import mpjpe
from mmjrr.io import read_npz
from mmjrr.refinement.regressor_fit import PARAMETERS
from mmjrr.regressors import JointRegressor
from mmjrr.visualization.paper_figures import draw_figures
from mmjrr.visualization.posed_bodies import posed_bodies
from mmjrr.visualization.report import GalleryOptions, Report, report_work_dir
from mmjrr.visualization.report.page import render

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def work_dir(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cfg = Config.fromfile(str(tiny_config))
    cfg.work_dir = str(tmp_path_factory.mktemp('work_dir'))
    cfg.experiment_name = cfg.visualizer.name = 'report_work_dir'
    cfg.default_hooks.logger.interval = 1
    Runner.from_cfg(cfg).train()
    return Path(cfg.work_dir)


@pytest.fixture(scope='module')
def report(work_dir: Path) -> Report:
    return report_work_dir(work_dir, GalleryOptions(frames=6))


def test_errors_of_the_training_frames_are_those_of_the_exported_fits(
    report: Report, work_dir: Path
) -> None:
    refined = next(e for e in report.evaluations if e.title == 'Training frames, refined fits')
    fits = read_npz(work_dir / 'pseudo_gt.npz')
    vertices = np.stack(
        posed_bodies(read_predictions(work_dir / 'pseudo_gt.npz'), free_body(), translate=True)
    )
    weight = JointRegressor.load(work_dir / 'J_opt.npy').reorder('mmpose').weight.double().numpy()
    joints, labels = weight @ vertices, fits['S'][..., :3].astype(float)
    expected = mpjpe(
        torch.from_numpy(1000 * (joints - joints[:, :1])),
        torch.from_numpy(1000 * (labels - labels[:, :1])),
    ).mean()
    score = next(s for s in refined.scores if (s.by, s.regressor) == ('all', 'J_opt'))
    assert score.mpjpe == pytest.approx(float(expected), abs=0.01)
    assert refined.is_training and score.frames == len(fits['imgname']) == 24


def test_frames_are_the_worst_with_both_meshes_masks_and_the_stored_overlap(
    report: Report, work_dir: Path
) -> None:
    assert len(report.frames) == 6
    worst = [frame.worst for frame in report.frames]
    assert worst == sorted(worst, reverse=True)
    everything = report.evaluations[-1].errors
    assert worst[0] == pytest.approx(max(everything['paper-training', 'J_opt']))
    frame = report.frames[0]
    assert set(frame.meshes) == {'initial', 'refined'} and frame.mask and frame.photo is None
    shards = [read_npz(p) for p in sorted((work_dir / 'pseudo_gt').rglob('batch_*.npz'))]
    stored = dict(
        pair for shard in shards for pair in zip(shard['imgname'], shard['iou'], strict=True)
    )
    # The stored overlap is measured at 64 pixels and in another crop.
    assert frame.iou['refined'] == pytest.approx(stored[frame.imgname], abs=0.06)
    label = frame.points['label']
    assert np.isfinite(label).all() and (label > 0).all() and (label < frame.size).all()


def test_curves_energies_and_regressors_are_there_and_the_page_renders(report: Report) -> None:
    assert report.refinement is not None and {'iou_opt', 'iou_init'} <= set(
        report.refinement.curves
    )
    assert {'joint_2d', 'silhouette'} <= set(report.refinement.energies)
    assert list(report.regressors) == ['J_std', 'J_spin', 'J_opt']
    (note,) = report.notes  # the set has no pictures
    assert 'Training frames: 6 of 6 frames have no photograph in images' in note
    page = render(report)
    assert 'Refinement' in page and 'Agreement of silhouettes with masks' in page


def copied(work_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(work_dir, tmp_path / 'copy'))


def test_an_unfinished_run_is_reported_as_far_as_it_is(work_dir: Path, tmp_path: Path) -> None:
    unfinished = copied(work_dir, tmp_path)
    for name in ('J_opt.npy', 'J_opt.json', 'pseudo_gt.npz', 'refinement.json'):
        (unfinished / name).unlink()
    sorted((unfinished / 'pseudo_gt').rglob('batch_*.npz'))[-1].unlink()
    scalars = next(unfinished.glob('*/vis_data/scalars.json'))
    odd = ('{"step": Infinity}', f'{{"step": 1, "iou": {10**400}}}', '[' * 99999, '[1]')
    # A killed run leaves half a line.
    scalars.write_text('\n'.join((*odd, scalars.read_text()[:-20])))
    report = report_work_dir(unfinished, GalleryOptions(frames=2))
    assert report.evaluations[-1].frames == 20 and list(report.regressors) == ['J_std', 'J_spin']
    assert any('has not finished' in note for note in report.notes)
    render(report)


def test_frames_that_could_not_be_refined_are_counted_and_not_shown(
    work_dir: Path, tmp_path: Path
) -> None:
    """A whole batch of four frames is left out, and one frame of another batch."""
    run = copied(work_dir, tmp_path)
    for number, bad in ((1, [0, 1, 2, 3]), (3, [2])):
        path = run / 'pseudo_gt' / f'batch_{number:07d}_rank_000.npz'
        arrays = read_npz(path)
        arrays['left_out'] = np.array([''] * 4, dtype='<U17')
        arrays['left_out'][bad] = 'behind the camera'
        for name in arrays:
            if name.removeprefix('init_') in PARAMETERS or 'energy_' in name or 'iou' in name:
                arrays[name][bad] = np.nan
        np.savez(path, **arrays)
    report = report_work_dir(run, GalleryOptions(frames=2, photos=False))
    assert [evaluation.frames for evaluation in report.evaluations] == [19, 19]
    (note,) = report.notes
    assert note.startswith('5 of 24 frames could not be refined and are left out: S')
    assert '(behind the camera), and 4 more' in note
    assert np.isfinite(list(report.refinement.energies.values())).all()
    assert np.isfinite([report.refinement.init_iou, report.refinement.iou]).all()
    render(report)
    (picture,) = draw_figures(run, tmp_path / 'figures', [2]).values()
    entry = json.loads((picture.parent / 'figures.json').read_text())['figures'][picture.name]
    assert entry['frames_left_out'] == 5


def test_without_its_batches_the_exported_fits_are_reported(
    work_dir: Path, report: Report, tmp_path: Path
) -> None:
    run = copied(work_dir, tmp_path)
    batches = sorted((run / 'pseudo_gt').rglob('batch_*.npz'))
    batches[0].unlink()
    notes = report_work_dir(run, GalleryOptions(frames=2, photos=False)).notes
    assert notes == ['4 of 24 frames are missing from the batches in pseudo_gt and are not shown.']
    for path in batches[1:]:
        path.unlink()
    exported = report_work_dir(run, GalleryOptions(frames=2, photos=False))
    (evaluation,) = exported.evaluations
    assert evaluation.title == 'Training frames, refined fits' and evaluation.frames == 24
    assert repr(evaluation.scores) == repr(report.evaluations[-1].scores)
    assert set(exported.frames[0].meshes) == {'refined'}
    (note,) = exported.notes
    assert note.startswith('pseudo_gt has no batches: the refined fits are those of pseudo_gt.npz.')
    render(exported)
    figures = draw_figures(run, tmp_path / 'figures', [2])
    assert len(figures) == 1
    (run / 'pseudo_gt.npz').unlink()
    empty = report_work_dir(run, GalleryOptions(frames=2, photos=False))
    assert 'Training frames are not shown: the work directory has no refined fits.' in empty.notes
    render(empty)


def test_without_its_data_set_the_rest_is_reported(work_dir: Path, tmp_path: Path) -> None:
    moved = copied(work_dir, tmp_path)
    record = moved / 'pseudo_gt' / 'identity.json'
    content = json.loads(record.read_text())
    content['data']['data_root'] = str(tmp_path / 'nowhere')
    record.write_text(json.dumps(content))
    report = report_work_dir(moved, GalleryOptions(frames=2))
    assert report.frames == [] and any('--data-root' in note for note in report.notes)
    render(report)


def test_photographs_are_left_out_on_demand(work_dir: Path) -> None:
    report = report_work_dir(work_dir, GalleryOptions(frames=2, photos=False))
    assert all(frame.photo is None for frame in report.frames)


def test_files_that_do_not_fit_the_refinement_are_told(
    work_dir: Path, tiny_set: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(tiny_set, tmp_path / 'set'))
    options = GalleryOptions(frames=2, photos=False)
    assert report_work_dir(work_dir, options, moved).notes == []
    annotation = moved / 'annotation_body3d/fps10/h36m_train.npz'
    content = read_npz(annotation)
    content['S'][..., 0] *= 1.05
    np.savez(annotation, **content)
    (note,) = report_work_dir(work_dir, options, moved).notes
    assert note.startswith('h36m_train.npz is not the file of the refinement')
    # The masks of the test frames are named.
    options.masks = moved / 'masks/h36m_test.json'
    with pytest.raises(DataError, match=r'--masks .*h36m_test\.json: found no mask of the 2'):
        report_work_dir(work_dir, options, moved)
    # They are in the place of those of the training frames.
    shutil.copy(options.masks, moved / 'masks/h36m_train.json')
    options.masks = None
    notes = report_work_dir(work_dir, options, moved).notes
    assert any(note.startswith('h36m_train.json is not the file') for note in notes)
    assert any('Training frames: 2 of 2 frames have no mask' in note for note in notes)


def test_other_folders_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='found no pseudo_gt/identity.json, expected'):
        report_work_dir(tmp_path)
    with pytest.raises(FileNotFoundError, match='no such folder'):
        report_work_dir(tmp_path / 'none')
    (tmp_path / 'pseudo_gt').mkdir()
    (tmp_path / 'pseudo_gt' / 'identity.json').write_text('[1]')
    with pytest.raises(DataError, match='found no settings of a refinement'):
        report_work_dir(tmp_path)
