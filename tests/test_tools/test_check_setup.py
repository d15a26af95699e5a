"""Findings of tools/check_setup.py in data sets with missing and damaged files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmjrr.cli import check
from mmjrr.io import read_npz
from mmjrr.setup_check import check_setup

ROOT = Path(__file__).resolve().parents[2]
REFINEMENT = ROOT / 'configs/refinement/contour_100it_synthetic.py'
TOOL = ROOT / 'tools/check_setup.py'


@pytest.fixture
def data(tiny_set: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_set, tmp_path / 'data')


def states(capsys, *arguments: object) -> tuple[int, dict[str, dict[str, str]]]:
    """Return the exit status, and the findings of each kind."""
    code = check.main([*map(str, arguments), '--json'])
    return code, {row['kind']: row for row in json.loads(capsys.readouterr().out)}


@pytest.mark.slow
def test_a_complete_set_is_found_without_its_optional_pictures(data, capsys):
    code, findings = states(capsys, REFINEMENT, '--data-root', data)
    assert code == 0
    assert {kind: row['state'] for kind, row in findings.items()} == {
        'package': 'found',
        'annotation': 'found',
        'cameras': 'found',
        'fits': 'found',
        'masks': 'found',
        'images': 'optional',  # the tiny set has none, and refinement needs them for pictures only
        'body': 'found',
    }
    assert findings['masks']['detail'] == (
        'masks of 24 of 24 frames; at least 100% of the joints lie on them'
    )


REMOVED = {
    'annotation': 'annotation_body3d/fps10/h36m_train.npz',
    'cameras': 'annotation_body3d/cameras.pkl',
    'fits': 'fits/spin_like_train.npz',
    'masks': 'masks/h36m_train.json',
}


@pytest.mark.slow
@pytest.mark.parametrize('kind', REMOVED)
def test_each_removed_file_is_missing_with_its_remedy(kind, data, capsys):
    (data / REMOVED[kind]).unlink()
    code, findings = states(capsys, REFINEMENT, '--data-root', data)
    assert code == 1
    assert [k for k, row in findings.items() if row['state'] == 'missing'] == [kind]
    assert findings[kind]['name'] == str(data / REMOVED[kind])
    assert f'make_synthetic_h36m.py --out {data}' in findings[kind]['fix']


@pytest.mark.slow
@pytest.mark.parametrize('kind', REMOVED)
@pytest.mark.parametrize('content', [b'', b'PK\x03\x04', b'{"masks": 3}', bytes(range(256))])
def test_each_damaged_file_is_wrong(kind, content, data, capsys):
    (data / REMOVED[kind]).write_bytes(content)
    code, findings = states(capsys, REFINEMENT, '--data-root', data)
    assert code == 1
    assert [k for k, row in findings.items() if row['state'] == 'wrong'] == [kind]
    assert findings[kind]['detail']


@pytest.mark.slow
def test_the_renderers_package_is_looked_for(data, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pytorch3d', None)
    monkeypatch.setitem(sys.modules, 'pytorch3d.renderer', None)
    config = ROOT / 'configs/refinement/pytorch3d_100it_synthetic.py'
    assert check.main([str(config), '--data-root', str(data)]) == 1
    printed = capsys.readouterr().out
    assert 'missing   package      pytorch3d' in printed and 'INSTALL.md' in printed


@pytest.mark.slow
def test_fits_of_other_images_are_wrong(data, capsys):
    arrays = read_npz(data / REMOVED['fits'])
    arrays['imgname'] = np.char.replace(arrays['imgname'], '.jpg', '9.jpg')
    np.savez(data / REMOVED['fits'], **arrays)
    _, findings = states(capsys, REFINEMENT, '--data-root', data)
    assert findings['fits']['state'] == 'wrong'
    assert 'none of them for the 24 frames' in findings['fits']['detail']


@pytest.mark.slow
def test_swapped_legs_are_wrong(data, capsys):
    path = data / REMOVED['annotation']
    arrays = read_npz(path)
    arrays['S'] = arrays['S'][:, [0, 4, 5, 6, 1, 2, 3, *range(7, 17)]]
    np.savez(path, **arrays)
    _, findings = states(capsys, REFINEMENT, '--data-root', data)
    assert findings['cameras']['state'] == 'wrong'
    assert "legs (as in SPIN's joint order) are swapped" in findings['cameras']['detail']


@pytest.mark.slow
def test_masks_of_another_size_are_wrong(data, capsys):
    path = data / REMOVED['masks']
    content = json.loads(path.read_bytes())
    name = sorted(content['masks'])[3]
    content['masks'][name]['size'][0] += 7
    path.write_text(json.dumps(content))
    _, findings = states(capsys, REFINEMENT, '--data-root', data)
    assert findings['masks']['state'] == 'wrong'
    detail = findings['masks']['detail']
    assert 'expected' in detail and 'of its camera' in detail


@pytest.mark.slow
def test_evaluation_names_regressors_body_and_weights(data, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv('MMJRR_HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    config = ROOT / 'configs/evaluation/vibe_h36m.py'
    assert check.main([str(config), '--data-root', str(data), '--json']) == 1
    rows = json.loads(capsys.readouterr().out)
    missing = {row['name']: row['fix'] for row in rows if row['state'] == 'missing'}
    assert set(missing) == {
        'J_std', 'J_spin', 'J_opt', 'data/smpl',
        'data/spin/model_checkpoint.pt', 'data/vibe/vibe_model_wo_3dpw.pth.tar',
        str(data / 'images'),
    }  # fmt: skip
    assert missing['J_opt'] == 'python tools/download.py J_opt --into data'
    assert missing['data/spin/model_checkpoint.pt'] == 'python tools/download.py spin --into data'
    assert 'data/smpl/SMPL_NEUTRAL.pkl' in missing['data/smpl']


@pytest.mark.parametrize(
    'config', sorted((ROOT / 'configs').glob('[!_]*/*.py')), ids=lambda p: p.stem
)
def test_every_config_is_checked(config, capsys, monkeypatch, tmp_path):
    pytest.importorskip('mmdet') if 'mask-rcnn_small' in config.stem else None
    monkeypatch.setenv('MMJRR_HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)  # nothing is there
    assert check.main([str(config)]) == 1
    out = capsys.readouterr().out
    assert ' missing' in out and '\x1b' not in out


def test_a_file_is_read_once_where_two_parts_name_it(data, monkeypatch):
    import mmjrr.datasets.masks

    read = []
    monkeypatch.setattr(
        mmjrr.datasets.masks,
        '_read',
        lambda p, of=mmjrr.datasets.masks._read: (read.append(p), of(p))[1],
    )
    dataset = dict(type='H36MFitsDataset', data_root=str(data), mask_file='masks/h36m_train.json')
    cfg = dict(train_dataloader=dict(dataset=dataset), val_dataloader=dict(dataset=dict(dataset)))
    findings = list(check_setup(cfg))
    assert [finding.state for finding in findings if finding.kind == 'masks'] == ['found']
    assert len(read) == 1


def test_a_package_that_is_too_old_is_wrong(monkeypatch):
    import importlib.metadata

    monkeypatch.setattr(importlib.metadata, 'requires', lambda _: ['numpy>=99', 'no-such-thing'])
    findings = {finding.name: finding for finding in check_setup({})}
    assert (
        findings['numpy>=99'].state == 'wrong' and 'expected >=99' in findings['numpy>=99'].detail
    )
    assert findings['no-such-thing'].state == 'missing'


def test_a_gpu_that_is_asked_for(capsys):
    import torch

    _, findings = states(capsys, REFINEMENT, '--gpu')
    assert findings['GPU']['state'] == ('found' if torch.cuda.is_available() else 'missing')


@pytest.mark.parametrize('text', ['x = (', 'raise RuntimeError("no")', None])
def test_a_config_that_is_none_is_one_sentence(text, tmp_path, capsys):
    config = tmp_path / 'config.py'
    if text is not None:
        config.write_text(text)
    assert check.main([str(config)]) == 1
    assert capsys.readouterr().err.startswith(f'error: {config}: not readable as a config')


@pytest.mark.slow
def test_the_command_ends_with_the_number_of_its_findings(tmp_path, one_thread):
    config = tmp_path / 'config.py'
    config.write_text("model = dict(type='SMPL', model_path='nowhere')")
    command = [sys.executable, str(TOOL), str(config)]
    done = subprocess.run(command, capture_output=True, text=True, env=one_thread)
    assert done.returncode == 1 and done.stderr == ''
    assert done.stdout.splitlines()[-1].endswith(' found, 1 missing')
