"""Errors of a config end in one sentence, defects of the program in a traceback."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.evaluator import Evaluator

from mmjrr.cli import test as test_command
from mmjrr.cli import train
from mmjrr.cli.config_errors import ConfigError, told_in_a_sentence
from mmjrr.registry import METRICS

ROOT = Path(__file__).resolve().parents[2]
EVALUATE = str(ROOT / 'configs/evaluation/stored-spin-like_synthetic.py')
numbers = itertools.count()


def error_of(
    command: Any, config: str, folder: Path, capsys: pytest.CaptureFixture[str], *options: str
) -> str:
    """Run a command that fails, and return what it says after the log."""
    name = f'test_config_errors_{next(numbers)}'
    words = [config, '--work-dir', str(folder / name), '--cfg-options', *options]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        status = command.main([*words, f'experiment_name={name}', f'visualizer.name={name}'])
    assert status == 1
    return capsys.readouterr().err.splitlines()[-1]


HOOK, DATASET = 'custom_hooks.0', 'train_dataloader.dataset'


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        (f'{DATASET}.subjects=S1', "subjects: found 'S1', expected a list, such as ['S1']"),
        (f'{HOOK}.refiner.numiters=2', "refiner: unknown ['numiters'], expected some of"),
        (f'{HOOK}.calibration.momnts=2', "calibration: unknown ['momnts'], expected some of"),
        (f'{HOOK}.initial_fits.starts=2', "initial_fits: unknown ['starts'], expected some of"),
        (f'{HOOK}.energy.term=2', "energy: unknown ['term'], expected some of"),
        (f'{HOOK}.energy.terms.silouette=2', "terms: unknown ['silouette'], expected some of"),
        (f'{HOOK}.energy.terms.silhouette.scal=2', "'scal'; similar names: scale"),
        (f'{HOOK}.regresor=J_std',
         f'{HOOK}.regresor: SMPLPseudoGTHook has no such option; similar names: regressor'),
        ('train_dataloader.batchsize=8',
         'train_dataloader.batchsize: DataLoader has no such option; similar names: batch_size'),
        (f'{DATASET}.maskfile=m.json',
         f'{DATASET}.maskfile: H36MFitsDataset has no such option; similar names: mask_file'),
        (f'{DATASET}.type=H36MDataset',
         f'{DATASET}.type: H36MDataset is not in the mmjrr::dataset registry'),
        ('optim_wrapper.optimizer.lr=-1', 'Invalid learning rate: -1'),
    ],
)  # fmt: skip
def test_wrong_options_of_a_refinement_are_named(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, message: str
) -> None:
    told = error_of(train, str(tiny_config), tmp_path, capsys, option)
    assert told.startswith('error: ') and message in told


def test_a_calibration_without_a_subject_is_told_in_a_sentence(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ['custom_hooks.0.calibration.moments=2', 'custom_hooks.0.refiner.share.betas=subject',
               'custom_hooks.0.energy.terms.adv_pose=False',
               'custom_hooks.0.energy.terms.adv_shape=False',
               'custom_hooks.0.regressor=free_body_h36m',
               'custom_hooks.0.check_inputs=False']  # fmt: skip
    told = error_of(train, str(tiny_config), tmp_path, capsys, *options)
    assert told.startswith('error: calibration: moments: the 2 that were chosen show none of [')


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('model.predictions={few}', 'no prediction in {few} (2 images)'),
        ('test_evaluator.protocol=papr', "unknown protocol 'papr'"),
        ('test_evaluator.protocols=paper',
         'evaluator.protocols: JointRegressorMetric has no such option; similar names: protocol'),
    ],
)  # fmt: skip
def test_wrong_options_of_an_evaluation_are_named(
    tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, message: str
) -> None:
    with np.load(tiny_set / 'fits/spin_like_test.npz') as file:
        np.savez(
            tmp_path / 'few.npz', **{name: file[name][:2] for name in ('imgname', 'pose', 'betas')}
        )
    few = str(tmp_path / 'few.npz')
    standard = tiny_set / 'regressors/J_std.npy'
    told = error_of(
        test_command, EVALUATE, tmp_path, capsys, f'test_dataloader.dataset.data_root={tiny_set}',
        f'model.predictions={tiny_set}/fits/spin_like_test.npz',
        f'test_evaluator.regressors.J_std={standard}', option.format(few=few),
    )  # fmt: skip
    assert told.startswith('error: ') and message.format(few=few) in told


def takes(known: int) -> int:
    return known


@pytest.mark.parametrize(
    'defect',
    [
        lambda: np.zeros(3) + np.zeros(2),
        lambda: int('word'),
        lambda: takes(unknown=1),  # type: ignore[call-arg]
        lambda: METRICS.build(dict(type=lambda: takes(unknown=1))),  # type: ignore[call-arg]
        lambda: {}['missing'],
        lambda: Evaluator([]).process(1, 2, 3),  # type: ignore[call-arg]
    ],
)
def test_defects_keep_their_traceback(defect: Any) -> None:
    with pytest.raises((TypeError, ValueError, KeyError)) as error, told_in_a_sentence(Config()):
        defect()
    assert not isinstance(error.value, ConfigError)
