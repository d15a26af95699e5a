"""Frames that cannot be refined are left out, counted and listed; the run continues."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from small_jobs import fits_and_masks, several_views

from mmjrr.body_models import free_body
from mmjrr.cli.train import INCOMPLETE
from mmjrr.engine.bad_frames import (
    check_finite_weights,
    find_bad_frames,
    listed,
)
from mmjrr.engine.batch_refinement import BatchRefinement
from mmjrr.io import read_checkpoint
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement import FitEnergy, FitRefiner
from mmjrr.refinement.left_out import split_left_out, with_left_out
from mmjrr.regressors import JointRegressor
from mmjrr.rendering import ContourSilhouette

ROOT = Path(__file__).resolve().parents[2]


def test_frames_are_tried_one_by_one_and_their_errors_returned() -> None:
    def attempt(row: int) -> None:
        if row % 2:
            raise (ValueError if row == 1 else FloatingPointError)(f'row {row}\nmore')

    assert find_bad_frames(attempt, 4) == {1: 'row 1', 3: 'row 3'}

    def fails(row: int) -> None:
        raise RuntimeError('out of memory')

    with pytest.raises(RuntimeError, match='out of memory'):  # which no frame is to blame for
        find_bad_frames(fails, 2)


def test_stored_arrays_name_the_bad_frames_and_give_the_others_back() -> None:
    annotations = {'sample_idx': np.array([4, 7, 5]), 'imgname': np.array(['a', 'b', 'c'])}
    refined = {'sample_idx': np.array([4, 5]), 'betas': np.array([[1.0, 2], [3, 4]], np.float32)}
    stored = with_left_out(refined, annotations, {1: 'behind the camera'})
    assert stored['sample_idx'].tolist() == [4, 7, 5]
    assert np.isnan(stored['betas'][1]).all() and stored['betas'].dtype == np.float32
    good, left_out = split_left_out(stored)
    assert left_out == {'b': 'behind the camera'}
    assert good['sample_idx'].tolist() == [4, 5] and good['betas'].tolist() == [[1, 2], [3, 4]]
    everything, nothing = split_left_out(with_left_out(stored, annotations, {}))
    assert nothing == {} and len(everything['sample_idx']) == 3


@pytest.mark.parametrize('share', [{}, dict(pose='moment', betas='moment')])
def test_a_batch_of_only_bad_frames_is_stored_like_one_of_good_frames(
    share: dict[str, str], tmp_path: Path
) -> None:
    """The batch holds the four views of a moment; a good batch tells the layout."""
    dataset = fits_and_masks(several_views(tmp_path, ('S1',), moments=1))
    batch = pseudo_collate([dataset[index] for index in range(4)])
    body = free_body()
    off = dict.fromkeys(('adv_pose', 'adv_shape'), False)
    refiner = FitRefiner(
        body,
        JointRegressor.load('free_body_h36m').reorder(H36M_JOINTS_MMPOSE),
        ContourSilhouette(body.faces, image_size=(64, 64)),
        FitEnergy(off),
        num_iters=1,
        share=share,
    )
    options = dict(image_size=(64, 64), device=torch.device('cpu'))
    weights = dict.fromkeys(refiner.energy.terms, 1.0)
    refinement = BatchRefinement(refiner, None, weights, options, leaves_out=True)
    good, reasons = refinement.refine(batch, 'batch 0')
    assert not reasons
    for sample in batch['data_samples']:
        sample.betas.fill_(3000)
    bad, reasons = refinement.refine(batch, 'batch 1')
    names = [sample.imgname for sample in batch['data_samples']]
    assert list(reasons) == names
    assert all('betas: found 3000' in reason for reason in reasons.values())
    assert {name: (array.dtype.kind, array.shape) for name, array in bad.items()} == {
        name: (array.dtype.kind, array.shape) for name, array in good.items()
    }
    assert np.isnan(bad['betas']).all() and np.isnan(bad['init_energy_joint_3d']).all()
    assert bad['imgname'].tolist() == names and not len(split_left_out(bad)[0]['betas'])


def test_a_long_list_is_cut() -> None:
    text = listed({f'image {row}': 'reason' for row in range(25)})
    assert text.startswith('25 bad frames are left out:\n  image 0: reason\n')
    assert text.endswith('image 19: reason\n  and 5 more')


# -- a run -----------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def giant(tiny_set: Path, tiny_config: Path, tmp_path_factory: pytest.TempPathFactory):
    """A config whose data has a fit with betas of 3000, and the image's name."""
    folder = tmp_path_factory.mktemp('giant')
    shutil.copytree(tiny_set, folder / 'data')
    path = folder / 'data/fits/spin_like_train.npz'
    with np.load(path) as file:
        arrays = dict(file)
    for name in ('betas', 'shape'):
        if name in arrays:
            arrays[name][5] = 3000
    np.savez(path, **arrays)
    config = folder / 'giant.py'
    config.write_text(
        tiny_config.read_text().replace(repr(str(tiny_set)), repr(str(folder / 'data')))
    )
    return config, str(arrays['imgname'][5])


def train(config: Path, work_dir: Path, env: dict[str, str], *arguments: str, options: str = ''):
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(config), '--work-dir',
               str(work_dir), *arguments]  # fmt: skip
    command += ['--cfg-options', 'custom_hooks.0.check_inputs=False', *options.split()]
    return subprocess.run(command, env=env, capture_output=True, text=True)


@pytest.mark.slow
def test_a_fit_of_no_person_is_left_out_and_a_resumed_run_leaves_it_out_again(
    giant, tmp_path: Path, one_thread: dict[str, str]
) -> None:
    config, name = giant
    done = train(config, tmp_path / 'run', one_thread)
    assert done.returncode == INCOMPLETE, done.stderr[-3000:]
    summary = json.loads((tmp_path / 'run/refinement.json').read_text())
    assert (summary['frames'], summary['frames_expected']) == (23, 24)
    assert list(summary['frames_left_out']) == [name]
    assert 'betas: found 3000' in summary['frames_left_out'][name]
    assert f'1 bad frames are left out:\n  {name}: ' in done.stderr + done.stdout
    with np.load(tmp_path / 'run/pseudo_gt.npz') as file:
        assert name not in file['imgname'] and len(file['imgname']) == 23
    results = {
        file: (tmp_path / 'run' / file).read_bytes() for file in ('J_opt.npy', 'pseudo_gt.npz')
    }
    (tmp_path / 'run/J_opt.npy').unlink()
    for shard in sorted((tmp_path / 'run/pseudo_gt').rglob('batch_*.npz'))[1:4]:
        shard.unlink()
    assert train(config, tmp_path / 'run', one_thread, '--resume').returncode == INCOMPLETE
    assert results == {file: (tmp_path / 'run' / file).read_bytes() for file in results}


@pytest.mark.slow
def test_a_batch_of_only_bad_frames_ends_no_run(
    giant, tmp_path: Path, one_thread: dict[str, str]
) -> None:
    config, name = giant
    options = 'train_dataloader.batch_size=1 custom_hooks.0.refiner.num_iters=1'
    done = train(config, tmp_path / 'run', one_thread, options=options)
    assert done.returncode == INCOMPLETE, done.stderr[-3000:]
    summary = json.loads((tmp_path / 'run/refinement.json').read_text())
    assert (summary['frames'], summary['frames_expected']) == (23, 24)
    assert list(summary['frames_left_out']) == [name]
    assert np.isfinite([value for key, value in summary.items() if 'energy_' in key]).all()
    checkpoint = read_checkpoint(tmp_path / 'run/iter_24.pth')
    assert all(torch.isfinite(value).all() for value in checkpoint['state_dict'].values())
    steps = {int(state['step']) for state in checkpoint['optimizer']['state'].values()}
    assert steps == {23}  # the discriminators took no step after the batch without frames


@pytest.mark.slow
def test_processes_without_a_good_frame_wait_for_the_others(
    giant, tmp_path: Path, one_thread: dict[str, str], run_processes
) -> None:
    """Three processes have batches of two frames, of which one batch has a bad frame."""
    config, name = giant
    options = 'train_dataloader.batch_size=2 custom_hooks.0.refiner.num_iters=1'
    assert train(config, tmp_path / 'one', one_thread, options=options).returncode == INCOMPLETE
    command = [
        sys.executable, str(ROOT / 'tools/train.py'), str(config), '--work-dir',
        str(tmp_path / 'three'), '--launcher', 'pytorch', '--cfg-options',
        'custom_hooks.0.check_inputs=False', *options.split(),
    ]  # fmt: skip
    run_processes(command, 3, timeout=600, status_of_first=INCOMPLETE)
    states = []
    for run in ('one', 'three'):
        summary = json.loads((tmp_path / run / 'refinement.json').read_text())
        assert list(summary['frames_left_out']) == [name] and summary['frames'] == 23
        states.append(read_checkpoint(tmp_path / run / 'iter_12.pth')['state_dict'])
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, atol=1e-4, rtol=0)
    one, three = (np.load(tmp_path / run / 'pseudo_gt.npz')['pose'] for run in ('one', 'three'))
    np.testing.assert_allclose(one, three, rtol=0, atol=1e-4)


def test_discriminators_that_are_not_finite_are_not_blamed_on_the_frames() -> None:
    model = torch.nn.Linear(2, 1)
    check_finite_weights(model)
    check_finite_weights(None)
    with torch.no_grad():
        model.bias[0] = float('nan')
    with pytest.raises(FloatingPointError, match='discriminators: bias: found NaN or infinity'):
        check_finite_weights(model)


@pytest.mark.slow
def test_on_demand_a_bad_frame_ends_the_run_with_its_name(
    giant, tmp_path: Path, one_thread: dict[str, str]
) -> None:
    config, name = giant
    config = shutil.copy(config, tmp_path / 'raise.py')
    text = Path(config).read_text()
    Path(config).write_text(
        text.replace("type='SMPLPseudoGTHook',", "type='SMPLPseudoGTHook', on_bad_frame='raise',")
    )
    done = train(Path(config), tmp_path / 'run', one_thread)
    assert done.returncode == 1, done.stderr[-2000:]
    assert 'betas: found 3000' in done.stderr and name in done.stderr
    assert not (tmp_path / 'run/J_opt.npy').exists()
