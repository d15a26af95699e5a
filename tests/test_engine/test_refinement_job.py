"""A resumed refinement continues the run that was begun, and loses no batch."""

from __future__ import annotations

import copy
import itertools
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kill_points import Kill, killed_after, os_killed_after
from mmengine.config import Config
from mmengine.runner import Runner
from small_jobs import unnamed_regressor

from mmjrr.body_models import FREE_BODY_FILE
from mmjrr.engine import SMPLPseudoGTHook
from mmjrr.engine.refinement_job import begin, settings_digest
from mmjrr.errors import DataError
from mmjrr.io import atomic, sha256
from mmjrr.jobs import Identity, IdentityError, Job, LockedError

pytestmark = pytest.mark.slow

RESULTS = (
    'J_spin.npy', 'J_spin.json', 'J_opt.npy', 'J_opt.json', 'pseudo_gt.npz', 'refinement.json',
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]
numbers = itertools.count()


@pytest.fixture(scope='module')
def config(tiny_config: Path) -> Config:
    """24 frames in six batches of one iteration; a checkpoint after every second."""
    cfg = Config.fromfile(str(tiny_config))
    cfg.custom_hooks[0].refiner.num_iters = 1
    cfg.log_level = 'WARNING'
    return cfg


def run(config: Config, work_dir: Path, resume: bool = True, **changes: Any) -> Runner:
    """Train in this process, with a new hook and a new message hub as in a process of its own."""
    cfg = config.copy()
    cfg.merge_from_dict({
        'work_dir': str(work_dir), 'resume': resume, **changes,
    })  # fmt: skip
    cfg.experiment_name = cfg.visualizer.name = f'refinement_job_{next(numbers)}'
    runner = Runner.from_cfg(cfg)
    try:
        runner.train()
    finally:
        for hook in runner.hooks:
            if isinstance(hook, SMPLPseudoGTHook):
                hook.after_run(runner)
    return runner


def run_until(config: Config, work_dir: Path, batches: int, monkeypatch: Any) -> None:
    """Train, and kill the run when ``batches`` batches are stored."""
    with monkeypatch.context() as patch, pytest.raises(Kill):
        patch.setattr(SMPLPseudoGTHook, '_refine', killed_after(batches, SMPLPseudoGTHook._refine))
        run(config, work_dir)


@pytest.fixture(scope='module')
def whole(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work_dir = tmp_path_factory.mktemp('whole') / 'run'
    run(config, work_dir)
    return work_dir


def assert_same_results(work_dir: Path, whole: Path) -> None:
    for name in RESULTS:
        assert (work_dir / name).read_bytes() == (whole / name).read_bytes(), name
    leftovers = [path for path in work_dir.rglob('*') if path.name.startswith('.')]
    assert not leftovers and not (work_dir / 'run.lock').exists()


# ------------------------------------------------------------------ kills


@pytest.mark.parametrize('call', ['replace', 'fsync'])
def test_a_run_killed_at_successive_writes_ends_in_the_same_bytes(
    config: Config, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Each run gets one write further than the one before: from nothing to the end."""
    kills = 0
    for writes in range(100):
        with monkeypatch.context() as patch:
            patch.setattr(atomic, 'os', os_killed_after(writes, call))
            try:
                run(config, tmp_path)
                break
            except Kill:
                kills += 1
    assert kills >= 6
    assert_same_results(tmp_path, whole)


def test_stored_batches_are_not_refined_again(
    config: Config, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_until(config, tmp_path, 5, monkeypatch)
    refined = count_refined(monkeypatch)
    run(config, tmp_path)
    assert len(refined) == 1  # though the checkpoint is of batch 4
    assert_same_results(tmp_path, whole)


def count_refined(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    refine, batches = SMPLPseudoGTHook._refine, []

    def counted(self: Any, runner: Any, batch_idx: int, data_batch: dict) -> Any:
        batches.append(batch_idx)
        return refine(self, runner, batch_idx, data_batch)

    monkeypatch.setattr(SMPLPseudoGTHook, '_refine', counted)
    return batches


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    'harm',
    [
        lambda folder: (folder / 'last_checkpoint').unlink(),
        lambda folder: truncate(folder / 'iter_4.pth'),
    ],
    ids=['pointer deleted', 'checkpoint truncated'],
)
def test_without_a_whole_checkpoint_it_resumes_from_the_stored_batches(
    config: Config, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable
) -> None:
    run_until(config, tmp_path, 5, monkeypatch)
    harm(tmp_path)
    refined = count_refined(monkeypatch)
    run(config, tmp_path)
    assert refined == [5]
    assert_same_results(tmp_path, whole)


def test_killed_before_its_first_checkpoint_it_begins_with_the_same_weights(
    config: Config, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``load_from`` names the discriminators of another run; hooks are those of tools/train.py."""
    config = config.copy()
    config.custom_hooks = [*config.custom_hooks, dict(type='SafeCheckpointHook')]
    weights = str(whole / 'iter_6.pth')
    expected = tmp_path / 'whole'
    run(config, expected, resume=False, load_from=weights)
    fits = [(folder / 'pseudo_gt.npz').read_bytes() for folder in (expected, whole)]
    assert fits[0] != fits[1]
    work_dir = tmp_path / 'run'
    with monkeypatch.context() as patch, pytest.raises(Kill):
        patch.setattr(SMPLPseudoGTHook, '_refine', killed_after(1, SMPLPseudoGTHook._refine))
        run(config, work_dir, resume=False, load_from=weights)
    assert not list(work_dir.glob('*.pth'))
    for other in (None, str(whole / 'J_opt.npy')):
        with pytest.raises(IdentityError, match=r'  files.load_from: recorded "\w+", present '):
            run(config, work_dir, begin_from=other)
    run(config, work_dir, begin_from=weights)
    assert_same_results(work_dir, expected)


# ------------------------------------------------------------------ completeness


def shard(work_dir: Path, number: int) -> Path:
    return work_dir / 'pseudo_gt' / f'batch_{number:07d}_rank_000.npz'


def copy_of(whole: Path, tmp_path: Path) -> Path:
    """A run that has refined everything and has yet to export."""
    work_dir = tmp_path / 'run'
    shutil.copytree(whole, work_dir)
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'iter_6.pth'))
    for name in ('J_opt.npy', 'J_opt.json', 'pseudo_gt.npz', 'refinement.json'):
        (work_dir / name).unlink()
    return work_dir


def test_a_deleted_shard_is_refined_again(
    config: Config, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_dir = copy_of(whole, tmp_path)
    shard(work_dir, 2).unlink()
    refined = count_refined(monkeypatch)
    run(config, work_dir)
    assert refined == [2]
    assert_same_results(work_dir, whole)


def test_a_shard_that_goes_while_it_runs_stops_the_export(
    config: Config, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_dir = copy_of(whole, tmp_path)
    after_train = SMPLPseudoGTHook.after_train

    def lose(self: Any, runner: Any) -> None:
        shard(work_dir, 3).unlink()
        after_train(self, runner)

    with monkeypatch.context() as patch, pytest.raises(DataError, match='batch_0000003.*missing'):
        patch.setattr(SMPLPseudoGTHook, 'after_train', lose)
        run(config, work_dir)
    assert not (work_dir / 'J_opt.npy').exists()
    run(config, work_dir)
    assert_same_results(work_dir, whole)


def test_moved_broken_and_foreign_shards_stop_the_export_by_name(
    config: Config, whole: Path, tmp_path: Path
) -> None:
    work_dir = copy_of(whole, tmp_path)
    shutil.copy(shard(work_dir, 1), shard(work_dir, 2))
    with pytest.raises(DataError, match=r'batch_0000002.*: found shard 1 .* expected shard 2'):
        run(config, work_dir)
    truncate(shard(work_dir, 2))
    with pytest.raises(DataError, match=r'batch_0000002.*: not a readable shard'):
        run(config, work_dir)
    run(config, tmp_path / 'other', **{'custom_hooks.0.refiner.lr': 0.02})
    shutil.copy(shard(tmp_path / 'other', 2), shard(work_dir, 2))
    with pytest.raises(DataError, match=r'batch_0000002.*: belongs to another run'):
        run(config, work_dir)
    shutil.copy(shard(whole, 2), shard(work_dir, 2))
    shutil.copy(shard(whole, 2), shard(work_dir, 6))
    with pytest.raises(DataError, match=r'batch_0000006.*: found shard 2 .* expected shard 6'):
        run(config, work_dir)
    assert not (work_dir / 'J_opt.npy').exists()


def test_fewer_batches_than_are_stored_are_refused_at_once(config: Config, whole: Path) -> None:
    with pytest.raises(
        DataError, match=r'pseudo_gt: found 6 batches .* at most the 3 .*max_batches.* at least 6'
    ) as error:
        run(config, whole, **{'train_cfg.max_batches': 3})
    assert any(entry.name == 'before_run' for entry in error.traceback)
    assert not (whole / 'run.lock').exists()


def test_a_named_checkpoint_needs_the_batches_before_it(
    config: Config, whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match='batch_0000000_rank_000.npz: missing, though .* batch 6'):
        run(config, tmp_path / 'new', load_from=str(whole / 'iter_6.pth'))


def test_the_summary_counts_frames(whole: Path, config: Config, tmp_path: Path) -> None:
    summary = Config.fromfile(str(whole / 'refinement.json'))
    assert summary.frames == summary.frames_expected == summary.frames_in_dataset == 24
    run(config, tmp_path, **{'train_cfg.max_batches': 2})
    summary = Config.fromfile(str(tmp_path / 'refinement.json'))
    assert (summary.frames, summary.frames_expected, summary.frames_in_dataset) == (8, 8, 24)


# ------------------------------------------------------------------ identity

CHANGES = {
    'refinement.refiner.num_iters': ('custom_hooks.0.refiner.num_iters', 3),
    'refinement.energy': ('custom_hooks.0.energy', dict(terms=dict(joint_3d=dict(scale=2.0)))),
    'refinement.root': ('custom_hooks.0.root', 'pelvis'),
    'batches.batch_size': ('train_dataloader.batch_size', 8),
    'batches.seed': ('randomness.seed', 9),
    'data.cameras': ('train_dataloader.dataset.cameras', ['54138969', '60457274']),
    'optim_wrapper.optimizer.lr': ('optim_wrapper.optimizer.lr', 0.5),
}


@pytest.mark.parametrize('setting', CHANGES)
def test_another_setting_is_refused_with_both_values(
    config: Config, whole: Path, setting: str
) -> None:
    before = {name: (whole / name).read_bytes() for name in RESULTS}
    option, value = CHANGES[setting]
    with pytest.raises(IdentityError, match=rf'  {setting}\S*: recorded .*, present ') as error:
        run(config, whole, **{option: value})
    assert 'another --work-dir' in str(error.value)
    assert before == {name: (whole / name).read_bytes() for name in RESULTS}


FILES = {
    'fits_file': 'fits/spin_like_train.npz',
    'mask_file': 'masks/h36m_train.json',
    'ann_file': 'annotation_body3d/fps10/h36m_train.npz',
    'camera_param_file': 'annotation_body3d/cameras.pkl',
}


@pytest.mark.parametrize('option', FILES)
def test_another_content_of_a_file_is_refused(
    config: Config, whole: Path, tiny_set: Path, option: str
) -> None:
    """Any byte counts: the end of these files can be changed without harm."""
    path = tiny_set / FILES[option]
    content = path.read_bytes()
    try:
        if path.suffix == '.npz':
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            np.savez(path, more=np.zeros(1), **arrays)
        else:
            path.write_bytes(content + b'\n')
        with pytest.raises(IdentityError, match=f'  files.{option}: recorded "'):
            run(config, whole)
    finally:
        path.write_bytes(content)


def test_another_body_in_the_same_file_is_refused(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, work_dir = tmp_path / 'SMPL_NEUTRAL.npz', tmp_path / 'run'
    shutil.copy(FREE_BODY_FILE, path)
    changed = copy.deepcopy(config)
    changed.custom_hooks[0].update(
        body_model=dict(type='SMPL', model_path=str(path)),
        regressor=str(unnamed_regressor(tmp_path / 'J.npy')),
    )
    run_until(changed, work_dir, 1, monkeypatch)
    with np.load(FREE_BODY_FILE, allow_pickle=False) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, 'v_template': arrays['v_template'] * np.float32(1.001)})
    with pytest.raises(IdentityError, match=r'  body: recorded "\w{64}", present "\w{64}"'):
        run(changed, work_dir)


def test_another_j_spin_is_refused(
    config: Config, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_until(config, tmp_path, 3, monkeypatch)
    for name in ('J_spin.npy', 'J_spin.json'):
        shutil.copy(whole / name.replace('spin', 'opt'), tmp_path / name)
    with pytest.raises(IdentityError, match='  J_spin: recorded "'):
        run(config, tmp_path)
    for name in ('J_spin.npy', 'J_spin.json'):
        (tmp_path / name).unlink()
    run(config, tmp_path)  # is fitted again
    assert_same_results(tmp_path, whole)


def test_refined_batches_without_a_record_are_refused(
    config: Config, whole: Path, tmp_path: Path
) -> None:
    work_dir = copy_of(whole, tmp_path)
    (work_dir / 'pseudo_gt' / 'identity.json').unlink()
    with pytest.raises(DataError, match='holds shards, but no identity.json'):
        run(config, work_dir)


# ------------------------------------------------------------------ two runs at once


def test_a_second_run_at_once_is_refused(config: Config, tmp_path: Path) -> None:
    code = (
        'import sys, time; from mmjrr.jobs import lock_work_dir; lock_work_dir(sys.argv[1]); '
        "print('locked', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, '-c', code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == 'locked\n'
        for resume in (True, False):
            with pytest.raises(LockedError, match=f'process {other.pid}'):
                run(config, tmp_path, resume=resume)
    finally:
        other.kill()
        other.communicate()  # closes the pipe
    assert not (tmp_path / 'pseudo_gt').exists()


def test_half_written_files_from_before_the_first_batch_are_removed(
    tmp_path: Path,
) -> None:
    job = Job(tmp_path, 'pseudo_gt', Identity({}, {}), '.npz', stem='batch')
    folders = [tmp_path / 'calibration', tmp_path / 'initial_fits']
    names = ['round_0000000.npz', 'shard_0000000.npz']
    for resume in (True, False):
        for folder, name in zip(folders, names, strict=True):
            folder.mkdir(exist_ok=True)
            (folder / '.round_0000001.tmp-abcdefgh.npz').touch()
            if resume:
                (folder / name).touch()
        begin(job, resume, None, [])
        job.end()
        for folder, name in zip(folders, names, strict=True):
            rest = [name] if resume else []
            assert [path.name for path in folder.glob('*')] == rest
            (folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ('file', 'message'),
    [
        ('pseudo_gt/batch_0000000_rank_000.npz', 'pseudo_gt holds 1 refined batches of an earlier'),
        ('calibration/round_0000000.npz', 'calibration holds 1 rounds of an earlier run'),
        ('initial_fits/shard_0000000.npz', 'initial_fits holds 1 parts of an earlier run'),
        ('initial_fits.npz', 'holds initial_fits.npz of an earlier run'),
    ],
)
def test_without_resume_nothing_that_an_earlier_run_has_computed_is_removed(
    file: str, message: str, tmp_path: Path
) -> None:
    job = Job(tmp_path, 'pseudo_gt', Identity({}, {}), '.npz', stem='batch')
    begin(job, False, None, [])
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text('hours of work')
    if file == 'initial_fits.npz':
        job.record_result('initial_fits', sha256(path))
    record = (tmp_path / 'pseudo_gt' / 'identity.json').read_bytes()
    job.end()
    with pytest.raises(FileExistsError, match=f'{message}.*: add --resume to continue it'):
        begin(job, False, None, [])
    assert path.read_text() == 'hours of work'
    assert (tmp_path / 'pseudo_gt' / 'identity.json').read_bytes() == record


def test_settings_are_those_of_the_result() -> None:
    """Neither the number of processes counts nor a trial's length that is the whole run."""
    digests = {
        (processes, batches): settings_digest(
            Identity({'batches': dict(samples=48, processes=processes)}, {}),
            8 // processes,
            batches,
        )
        for processes, batches in ((1, 8), (2, 4), (1, 4), (2, 2))
    }
    assert digests[1, 8] == digests[2, 4]
    assert digests[1, 4] == digests[2, 2]
    assert digests[1, 8] != digests[1, 4]
