"""Findings of tools/check_setup.py in data sets with missing and damaged files."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_jobs
from mmengine.config import Config
from PIL import Image

from mmjrr.cli import check
from mmjrr.io import read_npz
from mmjrr.setup_check import PARTS, check_setup

ROOT = Path(__file__).resolve().parents[2]
REFINEMENT = ROOT / 'configs/refinement/contour_100it_synthetic.py'
FOUR_VIEWS = ROOT / 'configs/refinement/contour-4view_5x80it_synthetic.py'
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
    assert ' wrong' not in out  # each can be built


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


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / 'my photos'
    folder.mkdir()
    Image.fromarray(np.zeros((20, 10, 3), np.uint8)).save(folder / 'person.png')
    return folder


@pytest.mark.parametrize('model', ['spin', 'vibe', 'meva'])
def test_a_folder_of_images_is_opened(model, photos, capsys):
    config = ROOT / f'configs/inference/{model}_image-folder.py'
    _, findings = states(capsys, config, '--data-root', photos)
    images = findings['images']
    assert (images['state'], images['name'], images['detail']) == ('found', str(photos), '1 images')
    (photos / 'person.png').write_bytes(b'no image')
    _, findings = states(capsys, config, '--data-root', photos)
    assert findings['images']['state'] == 'wrong' and 'person.png' in findings['images']['detail']


@pytest.mark.parametrize(
    'config', sorted((ROOT / 'configs').glob('[!_]*/*.py')), ids=lambda p: p.stem
)
def test_every_config_with_data_takes_another_folder(config):
    pytest.importorskip('mmdet') if 'mask-rcnn_small' in config.stem else None
    cfg = Config.fromfile(str(config), import_custom_modules=False).to_dict()
    old = check.data_root_of(cfg, '/elsewhere', str(config))
    moved = check.moved(cfg, old, '/elsewhere')
    assert '/elsewhere' in repr([moved.get(name) for name in PARTS])


def test_a_data_folder_that_changes_nothing_is_refused(tmp_path, capsys):
    config = tmp_path / 'config.py'
    text = (
        "data_root = 'a'\n"
        "test_dataloader = dict(dataset=dict(type='ImageFolderDataset', data_root='b'))\n"
    )
    config.write_text(text + "val_dataloader = dict(dataset=dict(data_root='e'))")
    assert check.main([str(config), '--data-root', 'c d']) == 2
    error = capsys.readouterr().err
    assert error.startswith(f'error: --data-root c d: changes nothing in {config}: its ')
    assert "--cfg-options 'test_dataloader.dataset.data_root=c d'" in error
    assert "['b', 'e'], expected one" in error
    for name in ('a/', 'b'):  # that of the config, or the only one
        config.write_text(text.replace("'b'", repr(name)))
        _, findings = states(capsys, config, '--data-root', 'c d')
        assert findings['images']['name'] == 'c d'


@pytest.mark.parametrize(
    ('part', 'detail'),
    [
        ("dict(type='H36MFitsDataset', data_root=None)", 'data_root: found None, expected a path'),
        ("dict(type='H36MFitsDataset', mask_file=3)", 'mask_file: found 3, expected a path'),
        ("dict(type='ImageFolderDataset', data_root=None)", 'data_root: found None'),
        ("dict(type='SMPL', model_path=None)", 'model_path: found None, expected a path'),
        ("dict(type='SMPLX', model_path=[])", 'model_path: found [], expected a path'),
        (
            "dict(type='StoredPredictions', predictions=[3])",
            'predictions: found 3, expected a path',
        ),
        ("dict(type='StoredPredictions', predictions=None)", 'predictions: found None'),
        ("dict(type='CocoDataset', ann_file=None)", 'ann_file: found None, expected a path'),
        ("dict(type='CocoDataset', data_prefix='images')", 'cannot be checked: AttributeError'),
    ],
)
def test_an_option_of_another_type_is_wrong(part, detail, tmp_path, capsys):
    config = tmp_path / 'config.py'
    config.write_text(f'model = {part}')
    code, findings = states(capsys, config)
    assert code == 1
    assert findings['config']['state'] == 'wrong' and detail in findings['config']['detail']
    assert check.main([str(config)]) == 1


def test_weights_that_are_no_path_are_wrong(tmp_path, capsys):
    config = tmp_path / 'config.py'
    config.write_text("model = dict(type='SPIN')\nload_from = 3")
    _, findings = states(capsys, config)
    assert findings['config']['detail'] == 'load_from: found 3, expected a path'


def test_a_missing_body_is_put_where_the_config_names_it(tmp_path, capsys):
    config = tmp_path / 'config.py'
    for path, expected in (('x', 'x/SMPL_NEUTRAL.pkl'), ('x/mine.pkl', 'x/mine.pkl')):
        config.write_text(f"model = dict(type='SMPL', model_path={path!r})")
        _, findings = states(capsys, config)
        assert findings['body']['fix'].endswith(f', and put it at {expected}')


def test_commands_that_fix_name_folders_with_spaces(tmp_path, capsys):
    config, data = tmp_path / 'config.py', tmp_path / 'my data'
    data.mkdir()
    (data / 'synthetic.json').touch()
    config.write_text(
        f"data = dict(type='H36MFitsDataset', data_root={str(data)!r})\n"
        f"model = dict(type='SPIN', mean_params='my files/spin/smpl_mean_params.npz')\n"
        'test_dataloader = dict(dataset=data)'
    )
    _, findings = states(capsys, config)
    assert findings['annotation']['fix'].endswith(f" --out '{data}'")
    other = tmp_path / 'other data'
    config.write_text(
        "test_dataloader = dict(dataset=dict(type='H36MFitsDataset', fits_file='f.npz', "
        f"mask_file='m.json', data_root={str(other)!r}))"
    )
    _, findings = states(capsys, config)
    for kind, name in (('fits', 'f.npz'), ('masks', 'm.json')):
        words = shlex.split(findings[kind]['fix'])
        assert str(other / name) in words
        assert f'test_dataloader.dataset.data_root={other}' in words


def test_synchronous_sets_are_made_synchronous(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, findings = states(capsys, FOUR_VIEWS)
    assert findings['annotation']['fix'].endswith(' --out data/synthetic_h36m_4view --synchronous')


def test_another_data_folder_is_made_as_that_of_the_config(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for config, synchronous in ((REFINEMENT, ''), (FOUR_VIEWS, ' --synchronous')):
        _, findings = states(capsys, config, '--data-root', 'data/nowhere')
        for kind in REMOVED:
            fix = findings[kind]['fix']
            assert fix.endswith(f'make_synthetic_h36m.py --out data/nowhere{synchronous}')
    _, findings = states(capsys, REFINEMENT.with_name('contour_100it_h36m.py'))
    assert 'prepare_h36m.md' in findings['annotation']['fix']


@pytest.mark.parametrize(
    ('option', 'name', 'detail', 'fix'),
    [
        (
            'custom_hooks.0.regresor=J_std',
            'SMPLPseudoGTHook',
            'custom_hooks.0.regresor: SMPLPseudoGTHook has no such option; similar names: reg',
            'SMPLPseudoGTHook takes: body_model, renderer, ',
        ),
        (
            'custom_hooks.0.energy.terms.silouette=2',
            'SMPLPseudoGTHook',
            "terms: unknown ['silouette'], expected some of ['joint_3d'",
            '',
        ),
        (
            'custom_hooks.0.refiner.numiters=2',
            'SMPLPseudoGTHook',
            "refiner: unknown ['numiters'], expected some of ('num_iters'",
            '',
        ),
        (
            'custom_hooks.0.refiner.lr_mult.beta=2',
            'SMPLPseudoGTHook',
            "lr_mult: unknown ['beta'], expected some of ['pose_6d', 'betas'",
            '',
        ),
        (
            'custom_hooks.1.type=Nothing',
            'Nothing',
            'custom_hooks.1.type: Nothing is not in the mmjrr::hook registry',
            '',
        ),
        (
            'train_dataloader.sampler.shuffles=True',
            'train_dataloader',
            'sampler.shuffles: DefaultSampler has no such option; similar names: shuffle',
            '',
        ),
        (
            'train_dataloader.batchsize=2',
            'train_dataloader',
            'train_dataloader.batchsize: DataLoader has no such option; similar names: batch_size',
            '',
        ),
        (
            'train_dataloader.dataset.maskfile=few.json',
            'H36MFitsDataset',
            'dataset.maskfile: H36MFitsDataset has no such option; similar names: mask_file',
            'H36MFitsDataset takes: ann_file, data_root, ',
        ),
        (
            'train_dataloader.dataset.load_mask=False',
            'train_dataloader',
            'the silhouette term is on, but there is no mask',
            '',
        ),
        (
            'train_dataloader.dataset.crop_size=64,64',
            'train_dataloader',
            "crop_size: found (64, 64), expected the renderer's image_size (224, 224)",
            '',
        ),
        (
            'custom_hooks.0.renderer.image_size=64,64',
            'train_dataloader',
            "crop_size: found (224, 224), expected the renderer's image_size (64, 64)",
            '',
        ),
        (
            'custom_hooks.0.refiner.lr=-0.01',
            'SMPLPseudoGTHook',
            'lr: found -0.01, expected a positive number',
            '',
        ),
    ],
)
def test_a_wrong_option_is_told_as_the_run_tells_it(option, name, detail, fix, tmp_path, capsys):
    code, findings = states(
        capsys, REFINEMENT, '--data-root', tmp_path / 'none', '--cfg-options', option
    )
    assert code == 1
    config = findings['config']
    assert (config['state'], config['name']) == ('wrong', name)
    assert detail in config['detail'] and fix in config['fix']


def test_terms_that_need_an_estimators_fits_are_told_without_data(tmp_path, capsys):
    options = [
        'train_dataloader.dataset.fits_file=None',
        'custom_hooks.0.energy.terms.pose_prior.scale=5.4',
    ]
    _, findings = states(
        capsys, REFINEMENT, '--data-root', tmp_path / 'none', '--cfg-options', *options
    )
    said = "terms: ['pose_prior'] take rotations from an estimator, but fits_file is None"
    assert said in findings['config']['detail']


def test_a_wrong_option_of_an_image_folder_is_no_missing_image(photos, capsys):
    config = ROOT / 'configs/inference/spin_image-folder.py'
    options = ['--data-root', photos, '--cfg-options', 'test_dataloader.dataset.box_file=x.json']
    _, findings = states(capsys, config, *options)
    assert 'images' not in findings
    assert 'dataset.box_file: ImageFolderDataset has no such option' in findings['config']['detail']


def test_frames_without_several_views_are_wrong(data, capsys):
    _, findings = states(capsys, FOUR_VIEWS, '--data-root', data)
    assert findings['moments']['state'] == 'wrong'
    assert 'found one view of this moment' in findings['moments']['detail']
    assert '--synchronous' in findings['moments']['detail']


@pytest.mark.slow
def test_views_of_synchronous_cameras_are_found(tmp_path, capsys):
    data = small_jobs.synthetic_set(tmp_path / 'data', ('S1', 'S9'), 1, synchronous=True)
    code, findings = states(capsys, FOUR_VIEWS, '--data-root', data)
    assert code == 0
    assert findings['moments']['detail'].endswith(' moments of 4 views')
    from_joints = FOUR_VIEWS.with_name('contour-4view_8x80it_synthetic_from-joints.py')
    _, findings = states(capsys, from_joints, '--data-root', data)
    assert findings['moments']['state'] == 'found'
    options = ['--cfg-options', 'train_dataloader.dataset.cameras=[54138969]']
    _, findings = states(capsys, FOUR_VIEWS, '--data-root', data, *options)
    assert findings['moments']['state'] == 'wrong'


@pytest.mark.slow
def test_label_offsets_of_one_subject_and_wrong_options_of_rounds_are_wrong(tmp_path, capsys):
    data = small_jobs.synthetic_set(tmp_path / 'data', ('S1', 'S9'), 1, synchronous=True)
    for option, detail in (
        ('label_offsets=True', "label_offsets: found ['S1'] in the data set, expected at least"),
        ('refiner.num_iters=0', 'calibration: refiner: num_iters: found 0'),
    ):
        options = ['--cfg-options', f'custom_hooks.0.calibration.{option}']
        _, findings = states(capsys, FOUR_VIEWS, '--data-root', data, *options)
        assert detail in findings['config']['detail']


def test_fits_of_another_gender_are_wrong(data, capsys):
    arrays = read_npz(data / REMOVED['fits'])
    np.savez(data / REMOVED['fits'], **arrays, gender=np.full(len(arrays['imgname']), 'female'))
    code, findings = states(capsys, REFINEMENT, '--data-root', data)
    assert code == 1 and findings['fits']['state'] == 'found'
    assert findings['genders']['state'] == 'wrong'
    assert "'female'" in findings['genders']['detail']
    option = 'train_dataloader.dataset.fits_reading.gender=neutral'
    code, findings = states(capsys, REFINEMENT, '--data-root', data, '--cfg-options', option)
    assert code == 0 and 'genders' not in findings


def test_joints_in_the_order_of_spin_are_wrong(data, capsys):
    path = data / REMOVED['annotation']
    arrays = read_npz(path)
    swapped = [0, 4, 5, 6, 1, 2, 3, *range(7, 17)]
    arrays.update(S=arrays['S'][:, swapped], part=arrays['part'][:, swapped])
    np.savez(path, **arrays)
    _, findings = states(capsys, REFINEMENT, '--data-root', data)
    assert findings['annotation']['state'] == 'wrong'
    assert 'leg' in findings['annotation']['detail']


def test_an_interrupted_check_is_one_sentence(tmp_path, capsys, monkeypatch):
    (tmp_path / 'interrupted_package.py').write_text('raise KeyboardInterrupt')
    monkeypatch.syspath_prepend(tmp_path)
    config = tmp_path / 'config.py'
    config.write_text("custom_imports = dict(imports=['interrupted_package'])")
    assert check.main([str(config)]) == 130
    assert capsys.readouterr().err == '\nInterrupted.\n'


@pytest.mark.slow
def test_the_command_ends_with_the_number_of_its_findings(tmp_path, one_thread):
    config = tmp_path / 'config.py'
    config.write_text("model = dict(type='SMPL', model_path='nowhere')")
    command = [sys.executable, str(TOOL), str(config)]
    done = subprocess.run(command, capture_output=True, text=True, env=one_thread)
    assert done.returncode == 1 and done.stderr == ''
    assert done.stdout.splitlines()[-1].endswith(' found, 1 missing')
