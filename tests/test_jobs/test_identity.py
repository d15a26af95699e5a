"""Results of other settings are refused, and each differing setting is listed."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_body import small_body

from mmjrr.body_models import SMPL, free_body
from mmjrr.jobs import Identity, IdentityError, digest_of_state, files_of, identity

SETTINGS: dict[str, Any] = {
    'refiner': {'num_iters': 100, 'lr_mult': {'betas': 3.0}, 'levels': (1, 4)},
    'data': {'cameras': ['54138969', '60457274'], 'fits_sha256': 'a' * 64},
}


def changed(**values: Any) -> Identity:
    settings = {name: dict(group) for name, group in SETTINGS.items()}
    for name, value in values.items():
        group, key = name.split('__')
        settings[group][key] = value
    return Identity(settings)


def test_equal_settings_pass_whatever_their_types() -> None:
    recorded = changed(refiner__levels=[1, 4]).as_dict()
    Identity(SETTINGS).check('run', recorded, '')
    assert Identity(SETTINGS).digest == changed(refiner__levels=[1, 4]).digest


def test_each_differing_setting_is_listed_with_both_values() -> None:
    present = changed(
        refiner__num_iters=50, refiner__lr_mult={'transl': 0.3}, data__cameras=['1', '60457274']
    )
    with pytest.raises(IdentityError) as error:
        present.check('runs/a', Identity(SETTINGS).as_dict(), 'choose another --work-dir')
    assert str(error.value).splitlines() == [
        'runs/a: was made with other settings:',
        '  refiner.num_iters: recorded 100, present 50',
        '  refiner.lr_mult.transl: recorded nothing, present 0.3',
        '  refiner.lr_mult.betas: recorded 3.0, present nothing',
        '  data.cameras[0]: recorded "54138969", present "1"',
        'Restore the recorded settings, choose another --work-dir',
    ]
    assert present.digest != Identity(SETTINGS).digest


@pytest.mark.parametrize('recorded', [{}, None, [], 'text'])
def test_a_record_without_settings_is_of_something_else(recorded: Any) -> None:
    with pytest.raises(IdentityError, match='refiner: recorded nothing'):
        Identity(SETTINGS).check('run', recorded, '')


def test_another_environment_is_a_warning(caplog, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, int]] = []
    monkeypatch.setattr(
        identity, 'print_log', lambda text, logger, level: said.append((text, level))
    )
    begun = Identity(SETTINGS, {'versions': {'torch': '2.1.2', 'numpy': '1.26.4'}})
    present = Identity(SETTINGS, {'versions': {'torch': '2.2.0', 'numpy': '1.26.4'}})
    present.check('run', begun.as_dict(), '')
    ((text, level),) = said
    assert text.startswith('run: versions.torch: recorded "2.1.2", present "2.2.0"')
    assert level == logging.WARNING
    assert present.digest == begun.digest


def test_long_values_are_cut() -> None:
    (difference,) = Identity({'names': 'a' * 1000}).differences({'names': 'b' * 1000})
    assert len(str(difference)) < 250


class Base:
    def __init__(self, root: str = '') -> None: ...


class Data(Base):
    def __init__(
        self,
        ann_file: str = 'train.npz',
        camera_param_file: str | None = 'cameras.pkl',
        mask_file: Any = None,
        data_root: str = '',
        **options: Any,
    ) -> None: ...


def test_files_are_those_of_the_config_and_of_the_defaults(tmp_path: Path) -> None:
    names = ('train.npz', 'cameras.pkl', 'fits.npz', 'masks/a.json', 'masks/b.json')
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    config = dict(
        type='Data', data_root=str(tmp_path), fits_file='fits.npz', mask_file='masks/*.json',
        data_prefix=dict(img='masks'), subjects=['S1'],
    )  # fmt: skip
    files = files_of(Data(), config)
    expected = {
        'ann_file': 'train.npz', 'camera_param_file': 'cameras.pkl', 'fits_file': 'fits.npz',
        'mask_file[0]': 'masks/a.json', 'mask_file[1]': 'masks/b.json',
    }  # fmt: skip
    assert files == {
        option: hashlib.sha256(name.encode()).hexdigest() for option, name in expected.items()
    }
    config.update(camera_param_file=None, mask_file=['masks/b.json', 'masks/a.json'])
    assert files_of(Data(), config)['mask_file[0]'] == files['mask_file[1]']
    assert 'camera_param_file' not in files_of(Data(), config)


@pytest.mark.parametrize('fits_file', ['fits', 'fits/**/*.pkl'])
def test_files_of_a_folder_count_whatever_its_depth(tmp_path: Path, fits_file: str) -> None:
    for name in ('fits/S1/a.pkl', 'fits/b.pkl', 'S1/image.jpg'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    config = dict(
        type='Data', data_root=str(tmp_path), fits_file=fits_file, subjects=['S1'],
        data_prefix=dict(img='S1'),
    )  # fmt: skip
    before = files_of(Data(), config)
    assert list(before) == ['fits_file[0]', 'fits_file[1]']
    (tmp_path / 'fits/README.txt').write_text('not read')
    assert files_of(Data(), config) == before
    (tmp_path / 'fits/S1/a.pkl').write_text('changed')
    after = files_of(Data(), config)
    assert after['fits_file[0]'] != before['fits_file[0]']
    assert after['fits_file[1]'] == before['fits_file[1]']


def test_the_digest_of_a_module_sees_every_value_and_name() -> None:
    layer = torch.nn.Linear(2, 2)
    before = digest_of_state(layer)
    assert digest_of_state(layer) == before
    with torch.no_grad():
        layer.bias[1] += 1e-7
    after = digest_of_state(layer)
    assert after != before
    assert digest_of_state(torch.nn.ModuleDict({'layer': layer})) != after
    assert digest_of_state(layer.double()) != after


def test_the_digest_of_a_body_is_that_of_its_arrays_wherever_they_are(tmp_path: Path) -> None:
    arrays = small_body()
    np.savez(tmp_path / 'a.npz', **arrays)
    np.savez(tmp_path / 'SMPL_MALE.npz', **arrays)
    body = SMPL(tmp_path / 'a.npz')
    expected = digest_of_state(body)
    same = SMPL(tmp_path / 'SMPL_MALE.npz', gender='male')
    body(body_pose=torch.zeros(1, 69, requires_grad=True))
    body.train(False).requires_grad_(False)
    assert digest_of_state(same) == digest_of_state(body) == expected
    digests = {expected, digest_of_state(SMPL(tmp_path / 'a.npz', num_betas=9))}
    for name in ('v_template', 'shapedirs', 'posedirs', 'weights', 'J_regressor'):
        np.savez(tmp_path / 'other.npz', **{**arrays, name: 1.01 * arrays[name]})
        digests.add(digest_of_state(SMPL(tmp_path / 'other.npz')))
    np.savez(tmp_path / 'other.npz', **{**arrays, 'f': arrays['f'][::-1]})
    digests.add(digest_of_state(SMPL(tmp_path / 'other.npz')))
    assert len(digests) == 8 and hashlib.sha256().hexdigest() not in digests


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_the_digest_does_not_depend_on_the_device() -> None:
    body = free_body()
    assert digest_of_state(body) == digest_of_state(body.to('cuda'))
