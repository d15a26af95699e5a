"""Options of tools/train.py and tools/test.py, which are MMPose's, and their effect on a config."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from mmengine.config import Config

from mmjrr.cli import test as test_command
from mmjrr.cli import train
from mmjrr.cli.options import OptionError, parse
from mmjrr.cli.runtime import read_config
from mmjrr.engine.checkpoint import first_weights

ROOT = Path(__file__).resolve().parents[2]
REFINE = str(ROOT / 'configs/refinement/contour_100it_synthetic.py')
EVALUATE = str(ROOT / 'configs/evaluation/stored-spin-like_synthetic.py')
#: What MMPose 1.3's tools take.
BOTH = [
    '--work-dir w', '--show-dir s', '--show', '--interval 3', '--wait-time 2',
    '--cfg-options log_level=ERROR', '--launcher slurm', '--local_rank 1', '--local-rank 1',
]  # fmt: skip
TRAIN = ['--resume', '--resume a.pth', '--amp', '--no-validate', '--auto-scale-lr']
TEST = ['--out o.json', '--dump d.pkl', '--badcase']


@pytest.fixture(autouse=True)
def _rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('LOCAL_RANK', '0')


COMMANDS = {'train': train, 'test': test_command}


def arguments(tool: str, *words: str) -> argparse.Namespace:
    return parse(COMMANDS[tool].add_arguments, None, words)


def merge(tool: str, config: str, *words: str, **changes) -> Config:
    args = arguments(tool, config, *words)
    cfg = read_config(args)
    cfg.merge_from_dict(changes)
    return COMMANDS[tool].merge_arguments(cfg, args)


@pytest.mark.parametrize(
    ('tool', 'option'),
    [('train', option) for option in BOTH + TRAIN] + [('test', option) for option in BOTH + TEST],
)
def test_options_of_mmpose_are_taken(tool: str, option: str) -> None:
    words = ['config.py', *(['checkpoint.pth'] if tool == 'test' else []), *option.split()]
    arguments(tool, *words)


def test_where_results_go_and_what_is_resumed() -> None:
    cfg = merge('train', REFINE)
    assert cfg.work_dir == 'work_dirs/contour_100it_synthetic' and not cfg.resume
    cfg = merge('train', REFINE, '--resume', '--work-dir', 'here')
    assert (cfg.work_dir, cfg.resume, cfg.load_from) == ('here', True, None)
    cfg = merge('train', REFINE, '--resume', 'a.pth', '--cfg-options', 'work_dir=there')
    assert (cfg.work_dir, cfg.resume, cfg.load_from) == ('there', True, 'a.pth')


def test_a_resumed_run_knows_the_weights_with_which_it_began() -> None:
    begun = {'load_from': 'weights.pth'}
    assert first_weights(merge('train', REFINE)) is None
    assert first_weights(merge('train', REFINE, **begun)) == 'weights.pth'
    for words, checkpoint in (['--resume'], None), (['--resume', 'a.pth'], 'a.pth'):
        assert first_weights(merge('train', REFINE, *words)) is None
        cfg = merge('train', REFINE, *words, **begun)
        assert (cfg.load_from, first_weights(cfg)) == (checkpoint, 'weights.pth')
        again = merge('train', REFINE, '--resume', **cfg.to_dict())  # the config that a run writes
        assert (again.load_from, first_weights(again)) == (None, 'weights.pth')


@pytest.mark.parametrize('option', ['randomness.seed.a=1', 'custom_hooks.9.type=a'])
def test_options_that_do_not_fit_the_config_are_named(option: str) -> None:
    with pytest.raises(OptionError, match='--cfg-options: .*contour_100it_synthetic'):
        merge('train', REFINE, '--cfg-options', option)


def test_options_that_change_nothing_are_refused() -> None:
    message = "custom_hook.0.regressor: .* has no setting 'custom_hook'; similar names: custom_hook"
    with pytest.raises(OptionError, match=message):
        merge('train', REFINE, '--cfg-options', 'custom_hook.0.regressor=J_std')
    options = ['resume=True', 'load_from=a.pth', 'randomness.seed=1', 'visualizer.name=a',
               'experiment_name=a', 'auto_scale_lr.enable=True', 'find_unused_parameters=True',
               'data_root=a']  # fmt: skip
    cfg = merge('train', REFINE, '--cfg-options', *options)
    assert cfg.experiment_name == 'a' and cfg.auto_scale_lr.enable


def test_training_switches() -> None:
    cfg = merge(
        'train', REFINE, '--amp', '--no-validate', '--auto-scale-lr',
        auto_scale_lr=dict(base_batch_size=16), val_cfg=dict(),
    )  # fmt: skip
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.optimizer.lr == 1e-3
    assert cfg.val_cfg is None and cfg.auto_scale_lr.enable
    with pytest.raises(OptionError, match='has no auto_scale_lr'):
        merge('train', REFINE, '--auto-scale-lr')


def test_pictures_of_refinement_go_where_they_are_wanted() -> None:
    cfg = merge('train', REFINE, '--show-dir', 'pictures', '--interval', '2')
    assert cfg.custom_hooks[1].interval == 2
    assert cfg.visualizer.save_dir == 'pictures'
    with pytest.raises(OptionError, match='use --show-dir'):
        merge('train', REFINE, '--show')
    with pytest.raises(OptionError, match='RefinementVisualizationHook'):
        merge('train', REFINE, '--show-dir', 'x', custom_hooks=[])


def test_hooks_of_other_models_are_switched_on() -> None:
    hooks = {'default_hooks.visualization': dict(type='V'), 'default_hooks.badcase': dict(type='B')}
    for tool, config in (('train', REFINE), ('test', EVALUATE)):
        cfg = merge(tool, config, '--show-dir', 'x', '--interval', '5', **hooks)
        hook = cfg.default_hooks.visualization
        assert (hook.enable, hook.show, hook.interval, hook.out_dir) == (True, False, 5, 'x')
    metric = {'default_hooks.badcase.metric_type': 'accuracy'}
    cfg = merge('test', EVALUATE, '--badcase', '--show', **hooks, **metric)
    assert cfg.default_hooks.badcase.enable and cfg.default_hooks.badcase.show
    assert cfg.default_hooks.badcase.metric == cfg.test_evaluator
    assert 'enable' not in cfg.default_hooks.visualization
    for option in ('--badcase', '--show'):
        with pytest.raises(OptionError, match=option):
            merge('test', EVALUATE, option)


def test_dumping_keeps_the_evaluator() -> None:
    cfg = merge('test', EVALUATE, 'none', '--dump', 'd.pkl')
    # The dump comes first: it is written even if the metric fails.
    assert [e.type for e in cfg.test_evaluator] == ['mmengine.DumpResults', 'JointRegressorMetric']
    assert cfg.load_from is None
    with pytest.raises(OptionError, match='ending in .pkl'):
        merge('test', EVALUATE, '--dump', 'd.json')


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        ('--out', ['--out', '{file}/o.json']),
        ('--dump', ['--dump', '{file}/d.pkl']),
        ('test_evaluator.out_file', ['--cfg-options', 'test_evaluator.out_file={file}/o.csv']),
    ],
)
def test_results_that_cannot_be_written_are_told_before_the_run(option, words, tmp_path) -> None:
    file = tmp_path / 'file'
    file.touch()
    with pytest.raises(OptionError, match=f'{option}: .*cannot be written, since {file} is no'):
        merge('test', EVALUATE, 'none', *(word.format(file=file) for word in words))
