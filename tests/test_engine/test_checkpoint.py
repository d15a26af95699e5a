"""MMEngine's runs load their own checkpoints completely, and run no code of foreign ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner
from torch import nn

from mmjrr.engine import load_safely
from mmjrr.engine.checkpoint import latest_checkpoint, load_from_local
from mmjrr.errors import DataError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


class Toy(BaseModel):
    """One linear layer and a batch norm, trained on numbers."""

    def __init__(self, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.layer, self.norm = nn.Linear(3, 2), nn.BatchNorm1d(2)

    def forward(self, inputs: list[torch.Tensor], mode: str = 'tensor') -> Any:
        loss = self.norm(self.layer(torch.stack(inputs))).square().mean()
        return dict(loss=loss) if mode == 'loss' else [loss]


def runner(work_dir: Path, hook: bool = True, model: nn.Module | None = None, **options) -> Runner:
    torch.manual_seed(1)
    return Runner(
        model=Toy() if model is None else model,
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=[dict(inputs=row) for row in torch.randn(8, 3)],
            batch_size=4,
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        train_cfg=dict(by_epoch=False, max_iters=4),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
        param_scheduler=dict(type='StepLR', step_size=1, by_epoch=False),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2)),
        experiment_name=f'toy_{os.urandom(8).hex()}',
        log_level='ERROR',
        **{'custom_hooks': [dict(type='mmjrr.SafeCheckpointHook')] if hook else [], **options},
    )


@pytest.fixture(autouse=True)
def _loaders_as_before() -> Iterator[None]:
    schemes = CheckpointLoader._schemes
    CheckpointLoader._schemes = dict(schemes)
    yield
    CheckpointLoader._schemes = schemes


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work directory of a run of four steps, with checkpoints after two and four."""
    folder = tmp_path_factory.mktemp('toy')
    runner(folder, hook=False).train()
    return folder


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, HistoryBuffer):
        return equal(one.data, other.data) and one.max_length == other.max_length
    if isinstance(one, (torch.Tensor, np.ndarray)):
        return bool((one == other).all()) and one.dtype == other.dtype
    return one == other


# ---------------------------------------------------------------------- MMEngine's own files


def test_a_checkpoint_of_mmengine_comes_back_whole(trained: Path) -> None:
    path = trained / 'iter_4.pth'
    options = {} if 'weights_only' not in torch.load.__code__.co_varnames else dict(
        weights_only=False
    )  # fmt: skip
    expected = torch.load(path, **options)  # made here
    loaded = load_from_local(str(path))
    assert loaded.keys() == expected.keys() == {
        'meta', 'state_dict', 'message_hub', 'optimizer', 'param_schedulers'
    }  # fmt: skip
    assert isinstance(loaded['message_hub']['log_scalars']['train/loss'], HistoryBuffer)
    assert len(loaded['message_hub']['log_scalars']['train/loss'].data[0]) == 4
    for name in loaded:
        assert equal(loaded[name], expected[name]), name
    history = loaded['message_hub']['log_scalars']['train/loss']
    assert history.statistics('mean', 2) == pytest.approx(history.data[0][-2:].mean())


@pytest.mark.parametrize('auto', [True, False])
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(
    trained: Path, tmp_path: Path, auto: bool
) -> None:
    (tmp_path / 'iter_2.pth').write_bytes((trained / 'iter_2.pth').read_bytes())
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_2.pth'))
    again = runner(tmp_path, resume=True, load_from=None if auto else str(tmp_path / 'iter_2.pth'))
    again.train()
    assert again.iter == 4
    resumed, expected = (load_from_local(str(d / 'iter_4.pth')) for d in (tmp_path, trained))
    for name in ('state_dict', 'optimizer', 'param_schedulers'):
        assert equal(resumed[name], expected[name]), name


def test_a_fresh_run_loads_weights(trained: Path, tmp_path: Path) -> None:
    run = runner(tmp_path, load_from=str(trained / 'iter_4.pth'))
    run.call_hook('before_run')
    run.load_or_resume()
    expected = load_from_local(str(trained / 'iter_4.pth'))['state_dict']
    assert equal(dict(run.model.state_dict()), dict(expected))


@pytest.mark.parametrize('hook', ['SafeCheckpointHook', 'ResumableCheckpointHook'])
@pytest.mark.parametrize('pointer', ['absent', 'of a truncated checkpoint'])
def test_without_a_checkpoint_a_resumed_run_begins_with_its_first_weights(
    trained: Path, tmp_path: Path, hook: str, pointer: str
) -> None:
    if pointer != 'absent':
        (tmp_path / 'iter_2.pth').write_bytes((trained / 'iter_2.pth').read_bytes()[:1000])
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_2.pth'))
    weights = trained / 'iter_4.pth'
    cfg = dict(resume=True, begin_from=str(weights))
    run = runner(
        tmp_path, hook=False, resume=True, cfg=cfg, custom_hooks=[dict(type=f'mmjrr.{hook}')]
    )
    run.call_hook('before_run')
    run.load_or_resume()
    run.call_hook('after_run')
    expected = load_from_local(str(weights))['state_dict']
    assert equal(dict(run.model.state_dict()), dict(expected))
    assert run._train_loop['max_iters'] == 4  # weights alone, not the iteration


def test_a_resumed_run_prefers_its_checkpoint_to_its_first_weights(
    trained: Path, tmp_path: Path
) -> None:
    (tmp_path / 'iter_2.pth').write_bytes((trained / 'iter_2.pth').read_bytes())
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_2.pth'))
    cfg = dict(resume=True, begin_from=str(trained / 'nowhere.pth'))
    run = runner(tmp_path, resume=True, cfg=cfg)
    run.train()
    assert run.iter == 4
    resumed, expected = (load_from_local(str(d / 'iter_4.pth')) for d in (tmp_path, trained))
    assert equal(resumed['state_dict'], expected['state_dict'])


def test_nothing_to_resume_is_a_new_run(tmp_path: Path) -> None:
    run = runner(tmp_path, resume=True)
    run.train()
    assert run.iter == 4


def test_tensors_go_to_the_device_that_is_asked_for(trained: Path) -> None:
    content = load_from_local(str(trained / 'iter_4.pth'), 'meta')
    assert content['state_dict']['layer.weight'].device.type == 'meta'
    assert content['meta']['iter'] == 4


def test_importing_mmjrr_leaves_mmengine_as_it_is() -> None:
    code = (
        'from mmengine.runner import CheckpointLoader as C; before = dict(C._schemes); '
        'import mmjrr; assert C._schemes == before'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


# ----------------------------------------------------------------------   untrusted files


class Command:
    """Creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.path}'",)


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[Path]:
    """A checkpoint that creates the file ``was_run`` beside itself if anything in it is run."""
    folder = tmp_path / 'stranger'
    folder.mkdir()
    torch.save(dict(state_dict={}, meta=Command(folder / 'was_run')), folder / 'command.pth')
    yield folder / 'command.pth'
    assert not (folder / 'was_run').exists()


@pytest.mark.parametrize('resume', [True, False])
def test_a_command_in_a_checkpoint_is_refused(hostile: Path, tmp_path: Path, resume: bool) -> None:
    with pytest.raises(DataError, match=r"command\.pth: .*'posix\.system'"):
        runner(tmp_path / 'run', load_from=str(hostile), resume=resume).train()


def test_a_command_in_weights_of_a_model_is_refused(hostile: Path, tmp_path: Path) -> None:
    model = Toy(init_cfg=dict(type='Pretrained', checkpoint=str(hostile)))
    with pytest.raises(DataError, match=r"command\.pth: .*'posix\.system'"):
        runner(tmp_path / 'run', model=model).train()


def test_the_config_in_a_checkpoint_is_not_executed(trained: Path, tmp_path: Path) -> None:
    content = load_from_local(str(trained / 'iter_2.pth'))
    content['meta']['config'] = f'open({str(tmp_path / "was_run")!r}, "w")'
    torch.save(content, tmp_path / 'config.pth')
    run = runner(tmp_path / 'run', load_from=str(tmp_path / 'config.pth'), resume=True)
    run.train()
    assert run.iter == 4 and not (tmp_path / 'was_run').exists()


class Attribute:
    def __reduce__(self) -> tuple:
        return getattr, (HistoryBuffer, '__init__')


def test_a_checkpoint_may_name_no_attribute_but_the_statistics(tmp_path: Path) -> None:
    torch.save(dict(message_hub=Attribute()), tmp_path / 'bad.pth')
    with pytest.raises(DataError, match='__init__'):
        load_from_local(str(tmp_path / 'bad.pth'))


def test_a_truncated_checkpoint_is_named(trained: Path, tmp_path: Path) -> None:
    content = (trained / 'iter_2.pth').read_bytes()
    for size in (0, 100, len(content) - 100):
        (tmp_path / 'cut.pth').write_bytes(content[:size])
        with pytest.raises(DataError, match=r'cut\.pth'):
            load_from_local(str(tmp_path / 'cut.pth'))
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        load_from_local(str(tmp_path / 'nowhere.pth'))


@pytest.mark.parametrize(
    'address',
    [
        'http://127.0.0.1:9/a.pth',
        's3://bucket/a.pth',
        'cluster:s3://bucket/a.pth',
        'petrel://bucket/a.pth',
        'pavi://a',
        'torchvision://no_such_model',
        'openmmlab://no_such_model',
        'mmcls://no_such_model',
        'https://127.0.0.1:9/',
        'https://127.0.0.1:9/..',
        'https://127.0.0.1:9/a.pth',
    ],
)
def test_addresses_are_fetched_over_https_alone(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(torch, 'load', lambda *_, **__: pytest.fail('torch.load is called'))
    load_safely()
    with pytest.raises((DataError, OSError), match='https|no such model|no name|cannot be re'):
        CheckpointLoader.load_checkpoint(address)


def test_schemes_of_other_packages_are_fetched_safely_too() -> None:
    CheckpointLoader.register_scheme('other://', lambda *_: pytest.fail('its loader is called'))
    load_safely()
    with pytest.raises(DataError, match='found an address that is not https'):
        CheckpointLoader.load_checkpoint('other://a.pth')


# ---------------------------------------------------------------------- last_checkpoint


def test_the_latest_checkpoint_lies_in_the_work_directory(tmp_path: Path) -> None:
    work_dir = tmp_path / 'run'
    work_dir.mkdir()
    assert latest_checkpoint(work_dir) is None
    (work_dir / 'iter_1.pth').write_bytes(b'')
    for text in (str(work_dir / 'iter_1.pth'), 'iter_1.pth', f'{work_dir}/iter_1.pth\n'):
        (work_dir / 'last_checkpoint').write_text(text)
        assert latest_checkpoint(work_dir) == work_dir / 'iter_1.pth'


def test_a_relative_name_counts_from_where_the_run_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'epoch_1.pth').write_bytes(b'')
    (tmp_path / 'run' / 'last_checkpoint').write_text('run/epoch_1.pth')  # as MMEngine writes it
    assert latest_checkpoint('run') == Path('run/epoch_1.pth')


@pytest.mark.parametrize('kind', ['absolute', 'dots', 'dots inside', 'name', 'link', 'folder'])
def test_a_latest_checkpoint_outside_is_refused(hostile: Path, tmp_path: Path, kind: str) -> None:
    work_dir = tmp_path / 'run'
    work_dir.mkdir()
    (work_dir / 'link.pth').symlink_to(hostile)
    text = {
        'absolute': str(hostile),
        'dots': f'{work_dir}/../stranger/command.pth',
        'dots inside': f'{work_dir}/../run/link.pth',
        'name': '..',
        'link': 'link.pth',
        'folder': '/',
    }[kind]
    (work_dir / 'last_checkpoint').write_text(text)
    with pytest.raises(DataError, match='last_checkpoint: found .* expected a file in .*--resume'):
        runner(work_dir, resume=True).train()


@pytest.mark.parametrize('text', ['', '\n', 'a\nb', '\0', '\ud800'])
def test_a_latest_checkpoint_without_a_name_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / 'last_checkpoint').write_bytes(text.encode(errors='surrogatepass'))
    with pytest.raises((DataError, FileNotFoundError), match='last_checkpoint'):
        latest_checkpoint(tmp_path)


# ---------------------------------------------------------------------- our tools


def run_tool(tool: str, *arguments: object, env: dict[str, str]) -> str:
    command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode
    return done.stderr


@pytest.mark.parametrize('how', ['named', 'latest'])
def test_training_refuses_a_command(
    hostile: Path, tiny_config: Path, tmp_path: Path, one_thread: dict[str, str], how: str
) -> None:
    work_dir = tmp_path / 'run'
    work_dir.mkdir()
    (work_dir / 'last_checkpoint').write_text(str(hostile))
    resume = ['--resume', hostile] if how == 'named' else ['--resume']
    error = run_tool('train.py', tiny_config, '--work-dir', work_dir, *resume, env=one_thread)
    expected = "'posix.system'" if how == 'named' else 'last_checkpoint: found'
    assert 'error: ' in error and expected in error


def test_testing_refuses_a_command(
    hostile: Path, tiny_set: Path, tmp_path: Path, one_thread: dict[str, str]
) -> None:
    config = ROOT / 'configs/evaluation/stored-spin-like_synthetic.py'
    options = [
        f'test_dataloader.dataset.data_root={tiny_set}',
        f'model.predictions={tiny_set}/fits/spin_like_test.npz',
        'test_evaluator.regressors.J_std=free_body_h36m',
        'test_evaluator.regressors.J_opt=free_body_h36m',
    ]
    error = run_tool(
        'test.py', config, hostile, '--work-dir', tmp_path / 'run', '--cfg-options', *options,
        env=one_thread,
    )  # fmt: skip
    assert "'posix.system'" in error
