"""SPIN's model is trained by MMPose's tools/train.py, and six cells are compared by a command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmjrr.cli.compare_training import main
from mmjrr.datasets.synthetic import Settings, generate

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

CONFIG = """
_base_ = [{base!r}]
data_root = {data_root!r}
regressor = data_root + '/regressors/J_std.npy'
train_dataloader = dict(batch_size=4, dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = dict(regressors=dict(J_std=regressor))
model = dict(
    loss=dict(joint_3d=dict(regressor=regressor), joint_2d=dict(regressor=regressor)),
)
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
"""


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('data')
    settings = Settings(seed=3, subjects=('S1', 'S5', 'S9'), frames_per_subject=1)
    generate(folder, settings, workers=1, progress=False)
    return folder


@pytest.fixture(scope='module')
def config(data: Path) -> Path:
    path = data / 'config.py'
    base = str(ROOT / 'configs/training/spin-small_synthetic.py')
    path.write_text(CONFIG.format(base=base, data_root=str(data)))
    return path


def test_mmposes_tool_trains_it(
    mmpose_folder: Path, config: Path, tmp_path: Path, one_thread: dict[str, str]
) -> None:
    done = subprocess.run(
        [
            sys.executable, str(mmpose_folder / 'tools/train.py'), str(config),
            '--work-dir', str(tmp_path),
        ],
        env={**one_thread, 'PYTHONPATH': str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )  # fmt: skip
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-5000:]
    assert (tmp_path / 'iter_2.pth').is_file()
    for name in ('pose', 'betas', 'scale', 'joint_3d', 'joint_2d', 'silhouette'):
        assert f'loss_{name}: ' in printed, name
    assert 'J_std/paper/MPJPE: ' in printed


def test_six_cells_are_trained_once_and_compared(
    data: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refinement = tmp_path / 'refinement'
    refinement.mkdir()
    (refinement / 'pseudo_gt.npz').write_bytes((data / 'fits/spin_like_train.npz').read_bytes())
    for name in ('J_spin', 'J_opt'):
        for suffix in ('npy', 'json'):
            source = data / f'regressors/J_std.{suffix}'
            (refinement / f'{name}.{suffix}').write_bytes(source.read_bytes())
    out = tmp_path / 'training.json'
    arguments = [
        str(data), str(refinement), '--config', str(config), '--seeds', '0', '--iterations', '1',
        '--jobs', '1', '--work-dir', str(tmp_path / 'cells'), '--out', str(out),
    ]  # fmt: skip
    assert main(arguments) == 0
    runs = json.loads(out.read_text())['runs']
    assert len({(run['fits'], run['regressor']) for run in runs}) == 6
    # All cells have the same files here, so all have the same errors.
    assert all(run['metrics'] == runs[0]['metrics'] for run in runs)
    table = capsys.readouterr().out
    errors = [runs[0]['metrics'][name] for name in ('PVE of training frames', 'PVE')]
    assert f'| refined | J_opt | 1 | {errors[0]:.1f} | {errors[1]:.1f} |' in table
    checkpoints = {path: path.stat().st_mtime_ns for path in (tmp_path / 'cells').rglob('*.json')}
    written = out.read_bytes()
    assert main(arguments) == 0
    assert out.read_bytes() == written
    assert checkpoints == {path: path.stat().st_mtime_ns for path in checkpoints}
    assert all(0 < error < 1000 for error in json.loads(written)['mean_body_pve'].values())
    # A training that was finished without the error of its own frames is measured, not repeated.
    first = tmp_path / 'cells/initial_J_std_0/test_errors.json'
    record = json.loads(first.read_text())
    error = record['metrics'].pop('PVE of training frames')
    assert 0 < error < 1000
    first.write_text(json.dumps(record))
    (tmp_path / 'cells/refined_J_std_0/test_errors.json').unlink()
    trained = first.with_name('iter_1.pth').stat().st_mtime_ns
    assert main([*arguments, '--finished']) == 0
    assert first.with_name('iter_1.pth').stat().st_mtime_ns == trained
    finished = json.loads(out.read_text())['runs']
    assert len(finished) == 5
    for name, value in runs[0]['metrics'].items():
        assert finished[0]['metrics'][name] == pytest.approx(value, abs=1e-3), name
    (refinement / 'J_opt.npy').unlink()
    assert main(arguments) == 1
    assert 'J_opt.npy: no such file' in capsys.readouterr().err
