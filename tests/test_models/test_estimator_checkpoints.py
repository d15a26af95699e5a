"""The authors' checkpoint files: weights that are read, and files that are refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.runner.checkpoint import load_checkpoint
from tool_modules import load_tool

from mmjrr.errors import DataError
from mmjrr.models import SPIN, VIBE
from mmjrr.models.estimators.released_weights import load_weights

ROOT = Path(__file__).resolve().parents[2]


def rewrite(*args):
    return load_tool('model_converters/rewrite_checkpoint.py').rewrite(*args)


@pytest.fixture(scope='module')
def model() -> SPIN:
    torch.manual_seed(1)
    return SPIN().eval()


@pytest.fixture(scope='module')
def released(model: SPIN) -> dict[str, torch.Tensor]:
    """Weights as SPIN's file names them, with SMPL's arrays among them."""
    names = {name: name.split('.', 1)[1] for name in model.state_dict()}
    weights = {names[name]: value.clone() for name, value in model.state_dict().items()}
    weights['smpl.v_template'] = torch.full((6890, 3), torch.nan)
    weights['smpl.J_regressor'] = torch.zeros(24, 6890)
    return weights


def saved(path: Path, content) -> Path:
    torch.save(content, path)
    return path


def same_weights(model: SPIN, other: SPIN) -> bool:
    ours, theirs = model.state_dict(), other.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize('prefix', ['', 'module.', 'model.', 'model.module.', 'hmr.'])
def test_a_file_as_released_loads_and_smpl_in_it_is_not_used(model, released, prefix, tmp_path):
    weights = {prefix + name: value for name, value in released.items()}
    path = saved(tmp_path / 'spin.pt', dict(model=weights, optimizer=dict(state={}), epoch=3))
    assert same_weights(SPIN(checkpoint=path), model)


def test_vibes_file_as_released_loads_with_the_mean_parameters_in_it(
    model: SPIN, released: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """Its writer keeps a NumPy scalar beside the weights, and its demo keeps SPIN's network."""
    torch.manual_seed(2)
    vibe = VIBE()
    for name in ('init_pose', 'init_shape', 'init_cam'):
        vibe.regressor.get_buffer(name).uniform_()
    weights = {name: value for name, value in vibe.state_dict().items()}
    of_spin = {f'hmr.{name}': value for name, value in released.items()}
    for prefix in ('', 'module.'):
        content = dict(
            epoch=np.int64(30),
            gen_state_dict={prefix + name: value for name, value in (weights | of_spin).items()},
            performance=np.float64(56.5),
        )
        loaded = VIBE(checkpoint=saved(tmp_path / 'vibe.pth.tar', content))
        for name, value in vibe.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value), name
        features = saved(tmp_path / 'spin.pt', dict(model=released))
        with_features = VIBE(checkpoint=tmp_path / 'vibe.pth.tar', pretrained_features=features)
        assert with_features.backbone is not None
        ours, theirs = with_features.backbone.state_dict(), model.backbone.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_file_of_lightning_loads(
    model: SPIN, released: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    content = {
        'state_dict': {f'model.{name}': value for name, value in released.items()},
        'pytorch-lightning_version': '1.1.8',
        'callbacks': {},
        'hyper_parameters': {'lr': 1e-4},
    }
    assert same_weights(SPIN(checkpoint=saved(tmp_path / 'epoch=1.ckpt', content)), model)


@pytest.mark.slow
def test_mmengines_own_loading_and_checkpoints_agree(model, released, tmp_path):
    other = SPIN()
    load_checkpoint(other, str(saved(tmp_path / 'spin.pt', dict(model=released))))
    assert same_weights(other, model)
    again = SPIN()
    load_checkpoint(again, str(saved(tmp_path / 'own.pth', dict(state_dict=model.state_dict()))))
    assert same_weights(again, model)


def test_part_of_a_larger_model_loads_its_part_alone(model):
    holder, other = torch.nn.Module(), torch.nn.Module()
    holder.first, holder.second = model, torch.nn.Linear(2, 3)
    other.first, other.second = SPIN(), torch.nn.Linear(2, 3)
    other.load_state_dict(holder.state_dict())
    assert same_weights(other.first, model)
    assert torch.equal(other.second.weight, holder.second.weight)


@pytest.mark.slow
def test_a_missing_a_renamed_and_a_misshapen_weight_are_each_named(released, tmp_path):
    missing = {name: value for name, value in released.items() if name != 'layer2.0.conv2.weight'}
    renamed = {name.replace('fc2.bias', 'fc3.bias'): value for name, value in released.items()}
    misshapen = dict(released, **{'decpose.weight': torch.zeros(72, 1024)})
    for weights, message in (
        (missing, r'missing: backbone\.layer2\.0\.conv2\.weight$'),
        (renamed, r'missing: regressor\.fc2\.bias; unexpected: fc3\.bias$'),
        (misshapen, r'decpose\.weight \(found \(72, 1024\), expected \(144, 1024\)\)$'),
    ):
        path = saved(tmp_path / 'bad.pt', dict(model=weights))
        with pytest.raises(DataError, match=message) as caught:
            SPIN(checkpoint=path)
        assert str(path) in str(caught.value)
        # MMEngine, which would warn and go on with random weights, is stopped too.
        with pytest.raises(DataError, match=message):
            load_checkpoint(SPIN(), str(path))


class Command:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def test_a_malicious_file_is_refused_by_name_and_not_run(released, tmp_path):
    trace = tmp_path / 'trace'
    path = saved(tmp_path / 'bad.pt', dict(model=released, epoch=Command(trace)))
    with pytest.raises(DataError, match='system'):
        SPIN(checkpoint=path)
    count, left_out = rewrite(path, tmp_path / 'clean.pt')
    assert count == len(released) and left_out == ['posix.system']
    assert not trace.exists()


class Meter:
    """Stands for an object that training code stores beside the weights."""

    def __init__(self) -> None:
        self.values = np.ones(2)


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_an_old_file_names_the_converter_which_makes_it_loadable(model, released, tmp_path):
    for zipped in (True, False):
        path = tmp_path / 'old.pth.tar'
        content = dict(model=released, performance=np.float64(56.5), meters={'a': Meter()})
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(DataError, match='rewrite_checkpoint.py') as caught:
            load_weights(SPIN(), path)
        assert 'scalar' in str(caught.value) or 'Meter' in str(caught.value)
        assert rewrite(path, tmp_path / 'new.pt') == (len(released), [f'{__name__}.Meter'])
        assert same_weights(SPIN(checkpoint=tmp_path / 'new.pt'), model)


@pytest.mark.slow
def test_files_that_are_no_checkpoints_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        SPIN(checkpoint=tmp_path / 'nowhere.pt')
    (tmp_path / 'text.pt').write_text('no checkpoint')
    for path, message in (
        (tmp_path / 'text.pt', r'text\.pt'),
        (saved(tmp_path / 'list.pt', [1, 2]), 'found a list'),
        (saved(tmp_path / 'numbers.pt', dict(epoch=1)), r"0 tensors and \['epoch'\]"),
    ):
        with pytest.raises(DataError, match=message):
            SPIN(checkpoint=path)
    cut = tmp_path / 'cut.pt'
    cut.write_bytes(
        saved(tmp_path / 'whole.pt', dict(model={'a': torch.ones(9)})).read_bytes()[:99]
    )
    with pytest.raises(DataError, match=r'cut\.pt'):
        SPIN(checkpoint=cut)


def test_vibes_features_come_from_spins_file(model, released, tmp_path):
    path = saved(tmp_path / 'spin.pt', dict(model=released))
    vibe = VIBE(pretrained_features=path)
    assert all(
        torch.equal(value, model.backbone.state_dict()[name])
        for name, value in vibe.backbone.state_dict().items()
    )
    own = {
        name: value for name, value in vibe.state_dict().items() if not name.startswith('backbone')
    }
    own['regressor.smpl.v_template'] = torch.zeros(6890, 3)
    vibe.load_state_dict(own)
    del own['encoder.gru.weight_ih_l1']
    with pytest.raises(DataError, match=r'missing: encoder\.gru\.weight_ih_l1$'):
        vibe.load_state_dict(own)
