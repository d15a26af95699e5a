"""The smallest demo, by its command, and the files that it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmjrr.segmentation.mmcv_ops import INSTALL

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=900)


def test_the_demo_writes_its_summary_overlays_and_table(tmp_path: Path) -> None:
    out = tmp_path / 'demo'
    demo = run(
        'tools/demo.py', '--out', str(out), '--frames-per-subject', '1', '--workers', '1',
        '--seed', '5',
    )  # fmt: skip
    assert demo.returncode == 0, demo.stderr[-3000:]
    summary = json.loads((out / 'summary.json').read_text())
    assert list(summary['table']) == ['SPIN-like', 'VIBE-like', 'MEVA-like']
    for row in summary['table'].values():
        assert list(row) == ['J_std', 'J_spin', 'J_opt']
        for cell in row.values():
            assert 10 < cell['pa_mpjpe'] < cell['mpjpe'] < 200
    fits = summary['pseudo_gt']
    assert fits['pve_opt_mm'] < fits['pve_init_mm']
    assert fits['iou_opt'] > fits['iou_init']
    assert set(summary['regressor_error_mm']) == {'J_std', 'J_spin', 'J_opt', 'floor'}
    assert len(summary['rounds']) == 5
    assert summary['rounds'][-1]['pve_mm'] == fits['pve_opt_mm']
    assert summary['seed'] == 5
    assert summary['frames'] == 5 * 4
    assert summary['test_frames'] == 2 * 4
    assert set(summary['seconds']) == {'data', 'refinement', 'evaluation', 'truth', 'labels'}
    assert (summary['cameras'], summary['config']) == (
        'synchronous', 'contour-4view_5x80it_synthetic.py',
    )  # fmt: skip
    assert list((out / 'overlays').glob('*.png'))
    page = (out / 'report.html').read_text()
    for section in ('errors', 'truth', 'refinement', 'regressors', 'labels', 'frames'):
        assert f'id="{section}"' in page
    for name in ('SPIN-like', 'J_opt', 'summary.json', 'vertex error'):
        assert name in demo.stdout


def test_the_demo_refines_from_masks_of_the_network_that_it_trains(tmp_path: Path) -> None:
    for package in ('torchvision', 'mmdet', 'mmcv'):
        pytest.importorskip(package, reason=f'{package} is not installed: {INSTALL}')
    out, config = tmp_path / 'demo', tmp_path / 'tiny.py'
    resize = "dict(type='Resize', scale=(192, 192), keep_ratio=True)"
    config.write_text(
        f"""_base_ = ['{ROOT}/configs/segmentation/mask-rcnn_small_synthetic.py']
train_cfg = dict(max_iters=40)
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10)]
train_pipeline = _base_.train_dataloader.dataset.pipeline
train_pipeline[2] = {resize}
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_pipeline = _base_.test_dataloader.dataset.pipeline
test_pipeline[1] = {resize}
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
"""
    )
    refinement = tmp_path / 'refinement.py'
    refinement.write_text(  # masks after 40 steps miss half of the joints, which is refused
        f"_base_ = ['{ROOT}/configs/refinement/contour_100it_synthetic.py']\n"
        'custom_hooks = _base_.custom_hooks\ncustom_hooks[0].check_inputs = False\n'
    )
    command = (
        'tools/demo.py', '--out', str(out), '--frames-per-subject', '1', '--workers', '1',
        '--masks', 'maskrcnn', '--masks-config', str(config), '--config', str(refinement),
    )  # fmt: skip
    demo = run(*command)
    assert demo.returncode == 0, demo.stdout[-2000:] + demo.stderr[-3000:]
    assert 'Iter(train)' in demo.stdout
    summary = json.loads((out / 'summary.json').read_text())
    masks = summary['masks']
    assert masks['made_by'] == 'maskrcnn'
    assert 0 < masks['iou_train'] < 0.99
    assert 0 < masks['iou_test'] < 0.99
    assert summary['frames'] == 5 * 4 - masks['missing_train']
    cfg = next((out / 'refinement').glob('*.py')).read_text()
    assert str(out / 'segmentation' / 'masks_train.json') in cfg
    assert f'{masks["iou_test"]:.3f} on S9 and S11' in demo.stdout

    weights = (out / 'segmentation' / 'weights.pth').stat()
    again = run(*command)  # what is there is not made again, and the results are the same
    assert again.returncode == 0, again.stderr[-3000:]
    assert (out / 'segmentation' / 'weights.pth').stat().st_mtime_ns == weights.st_mtime_ns
    repeated = json.loads((out / 'summary.json').read_text())
    assert {**repeated, 'seconds': None} == {**summary, 'seconds': None}


def test_a_config_of_another_task_is_refused_at_once(tmp_path: Path) -> None:
    for package in ('torchvision', 'mmdet', 'mmcv'):
        pytest.importorskip(package, reason=f'{package} is not installed: {INSTALL}')
    demo = run(
        'tools/demo.py', '--out', str(tmp_path / 'out'), '--masks', 'maskrcnn',
        '--masks-config', 'configs/refinement/contour_100it_synthetic.py',
    )  # fmt: skip
    assert demo.returncode == 2
    assert 'its model is FitDiscriminator, expected a MaskRCNN' in demo.stderr
    assert not (tmp_path / 'out').exists()


def test_a_missing_config_is_named_at_once(tmp_path: Path) -> None:
    for option in ('--config', '--masks-config'):
        demo = run('tools/demo.py', '--out', str(tmp_path / 'out'), option, 'no.py')
        assert demo.returncode == 2
        assert f'{option} no.py: no such file' in demo.stderr
    assert not (tmp_path / 'out').exists()


def test_views_that_share_a_pose_cannot_take_turns(tmp_path: Path) -> None:
    demo = run('tools/demo.py', '--out', str(tmp_path / 'out'), '--cameras', 'in-turns')
    assert demo.returncode == 2
    assert 'whose views share a pose; expected synchronous' in demo.stderr
    assert not (tmp_path / 'out').exists()
