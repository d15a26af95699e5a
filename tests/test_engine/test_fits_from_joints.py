"""Refinement of a data set without fits: bodies fitted to its 3D joints come first."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from small_jobs import unnamed_regressor

from mmjrr.body_models import FREE_BODY_FILE, free_body
from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.annotations import Annotations
from mmjrr.datasets.fits import load_fits
from mmjrr.engine import fits_from_joints
from mmjrr.engine.first_regressor import weights_digest
from mmjrr.engine.fits_from_joints import FILE, FOLDER, FitsFromJoints
from mmjrr.errors import DataError
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement.inverse_kinematics import fit_to_joints
from mmjrr.regressors import JointRegressor

ANN = 'annotation_body3d/fps10/h36m_train.npz'
numbers = itertools.count()


def train(
    config: Path,
    work_dir: Path,
    resume: bool = False,
    hook: dict[str, Any] | None = None,
    **dataset: Any,
) -> None:
    cfg = Config.fromfile(str(config))
    cfg.work_dir, cfg.resume = str(work_dir), resume
    cfg.experiment_name = cfg.visualizer.name = f'test_fits_from_joints_{next(numbers)}'
    cfg.train_dataloader.dataset.update(fits_file=None, subjects=['S1'], **dataset)
    cfg.custom_hooks[0].refiner.num_iters = 2
    cfg.custom_hooks[0].initial_fits = dict(num_iters=20, num_starts=2)
    cfg.custom_hooks[0].update(hook or {})
    cfg.train_cfg.max_batches = 1
    Runner.from_cfg(cfg).train()


@pytest.fixture(scope='module')
def run(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work_dir = tmp_path_factory.mktemp('fits') / 'run'
    train(tiny_config, work_dir)
    return work_dir


@pytest.mark.slow
def test_the_run_begins_from_bodies_fitted_to_its_joints(run: Path, tiny_set: Path) -> None:
    fits, table = load_fits(run / FILE), Annotations.load(tiny_set / ANN)
    table = table.keep(np.isin(table.imgname, fits['imgname']))
    assert fits['imgname'].tolist() == table.imgname.tolist() and len(table) == 8
    regressor = JointRegressor.load('free_body_h36m').reorder(H36M_JOINTS_MMPOSE)
    labels = torch.from_numpy(table.S.astype(np.float32))
    expected = fit_to_joints(
        free_body(), regressor, labels[..., :3], labels[..., 3], num_iters=20, num_starts=2, seed=0
    )
    np.testing.assert_allclose(fits['transl'], expected['transl'], atol=1e-4)
    np.testing.assert_allclose(fits['pose'][:, 3:], expected['body_pose'], atol=1e-3)
    assert not (run / FOLDER).exists() and (run / 'J_spin.npy').is_file()
    summary = json.loads((run / 'refinement.json').read_text())
    assert summary['frames'] == 4


@pytest.mark.slow
def test_the_file_serves_another_run_as_fits_file(run: Path, tiny_set: Path) -> None:
    data = H36MFitsDataset(data_root=str(tiny_set), fits_file=str(run / FILE))
    assert data.has_fits and len(data) == 8
    np.testing.assert_array_equal(data.fit_sample(0)['transl'], load_fits(run / FILE)['transl'][0])


@pytest.mark.slow
def test_fits_of_a_male_body_say_so(tiny_config: Path, tmp_path: Path) -> None:
    body = Path(shutil.copy(FREE_BODY_FILE, tmp_path / 'SMPL_MALE.npz'))
    regressor = unnamed_regressor(tmp_path / 'J.npy')
    hook = dict(
        body_model=dict(type='SMPL', model_path=str(body)),
        regressor=str(regressor),
        learn_regressor=False,
    )
    train(tiny_config, tmp_path / 'run', hook=hook)
    for name in (FILE, 'pseudo_gt.npz'):
        assert set(load_fits(tmp_path / 'run' / name)['gender']) == {'male'}, name


@pytest.mark.slow
def test_an_interrupted_run_goes_on_after_the_parts_that_are_stored(
    run: Path, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of the parts is not reached; the resumed run makes that one only."""
    monkeypatch.setattr(fits_from_joints, 'FRAMES_PER_SHARD', 4)
    fitted: list[int] = []
    original = fits_from_joints.fit_rows

    def interrupted(*args: Any, **options: Any) -> dict[str, np.ndarray]:
        if len(fitted) == 1:
            raise KeyboardInterrupt
        fitted.append(len(args[2]))
        return original(*args, **options)

    monkeypatch.setattr(fits_from_joints, 'fit_rows', interrupted)
    work_dir = tmp_path / 'run'
    with pytest.raises(KeyboardInterrupt):
        train(tiny_config, work_dir)
    assert fitted == [4] and not (work_dir / FILE).exists()
    rest: list[int] = []

    def counted(*args: Any, **options: Any) -> dict[str, np.ndarray]:
        rest.append(len(args[2]))
        return original(*args, **options)

    monkeypatch.setattr(fits_from_joints, 'fit_rows', counted)
    train(tiny_config, work_dir, resume=True)
    assert rest == [4]
    fits = load_fits(work_dir / FILE)
    assert fits['imgname'].tolist() == load_fits(run / FILE)['imgname'].tolist()


@pytest.mark.slow
def test_the_record_has_the_regressor_that_is_taken_by_default(run: Path) -> None:
    recorded = json.loads((run / 'pseudo_gt' / 'identity.json').read_text())['refinement']
    taken = FitsFromJoints().load_regressor(None, free_body())
    assert recorded['initial_fits_weights'] == weights_digest(taken)
    provenance = load_fits(run / FILE)['provenance']
    assert provenance['regressor_sha256'] == weights_digest(taken)
    assert len(provenance['settings_sha256']) == 64


def test_frames_without_a_trunk_are_refused_before_any_fit(
    tiny_set: Path, tiny_config: Path, tmp_path: Path
) -> None:
    table = Annotations.load(tiny_set / ANN)
    table.S[1, :, 3] = 0
    table.save(tmp_path / 'unlabeled.npz')
    with pytest.raises(DataError, match=r'unlabeled\.npz: S: 1 of 8 frames.*triangulate=True'):
        train(tiny_config, tmp_path / 'run', ann_file=str(tmp_path / 'unlabeled.npz'))
    assert not (tmp_path / 'run' / FOLDER).exists()


def test_data_without_masks_are_refused_before_any_fit(tiny_config: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='silhouette term is on, but there is no mask'):
        train(tiny_config, tmp_path / 'run', mask_file=None, load_mask=False)
    assert not (tmp_path / 'run' / FOLDER).exists() and not (tmp_path / 'run' / FILE).exists()


def test_options_are_checked_and_smpl_needs_j_std() -> None:
    with pytest.raises(ValueError, match='initial_fits: num_starts: found 0'):
        FitsFromJoints(num_starts=0)
    with pytest.raises(ValueError, match=r'initial_fits: num_iters: found 2\.5, expected an int'):
        FitsFromJoints(num_iters=2.5)  # type: ignore[arg-type]
    body = free_body()
    assert FitsFromJoints().load_regressor(None, body).num_joints == 17
    body.name = 'smpl'
    with pytest.raises(FileNotFoundError, match='J_std'):
        FitsFromJoints().load_regressor(None, body)
