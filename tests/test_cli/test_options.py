"""Commands parse without heavy imports, and report errors in one sentence."""

from __future__ import annotations

import argparse
import pkgutil
import re
import subprocess
import sys

import pytest

from mmjrr import cli
from mmjrr.cli import evaluation_options
from mmjrr.cli import main as mmjrr_command
from mmjrr.cli.config_options import add_config_options, add_launcher_options
from mmjrr.cli.options import EXPECTED, OptionError, parse, run_command
from mmjrr.datasets.predictions.bodies import ROTATIONS_6D
from mmjrr.errors import DataError, LockedError
from mmjrr.evaluation.predicted_body import GENDERS

HELP = """
import sys
from importlib import import_module
for name in sys.argv[1:]:
    module = import_module(f'mmjrr.cli.{name}')
    try:
        module.main(['--help'])
    except SystemExit as error:
        assert error.code == 0
print('HEAVY', sorted({'torch', 'numba', 'cv2', 'scipy', 'mmengine'} & set(sys.modules)))
"""
COMMANDS = [
    module.name
    for module in pkgutil.iter_modules(cli.__path__)
    if module.name not in ('config_errors', 'console', 'main', 'runtime', 'shipped')
    and 'options' not in module.name
]


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, '-c', HELP, *COMMANDS], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == 'HEAVY []'
    assert done.stdout.count('usage:') == len(COMMANDS)


def test_settings_of_the_config_are_read_as_mmengine_reads_them(monkeypatch) -> None:
    monkeypatch.delenv('LOCAL_RANK', raising=False)

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_config_options(parser)
        add_launcher_options(parser)

    args = parse(add_arguments, None, ['--cfg-options', 'a.b=1', 'c=[1,2]', 'd=x', 'e=None'])
    assert args.cfg_options == {'a.b': 1, 'c': [1, 2], 'd': 'x', 'e': None}
    assert parse(add_arguments, None, []).cfg_options is None


@pytest.mark.parametrize(
    ('error', 'status'),
    [
        (DataError('a.npz: S: found 3'), 1),
        (LockedError('in use'), 1),
        (FileNotFoundError('a.npz: no such file'), 1),
        (OptionError('--amp: not possible'), 2),
    ],
)
def test_expected_errors_are_one_sentence(capsys, error: Exception, status: int) -> None:
    def run(args: argparse.Namespace) -> None:
        raise error

    assert run_command(run, argparse.Namespace(), EXPECTED) == status
    assert capsys.readouterr().err == f'error: {error}\n'


def test_other_errors_keep_their_traceback() -> None:
    def run(args: argparse.Namespace) -> None:
        raise ValueError('in the depths of a model')

    with pytest.raises(ValueError, match='depths'):
        run_command(run, argparse.Namespace(), EXPECTED)
    assert run_command(run, argparse.Namespace()) == 1


def test_ctrl_c_ends_with_a_sentence_and_no_traceback(capsys) -> None:
    def run(args: argparse.Namespace) -> None:
        raise KeyboardInterrupt

    assert run_command(run, argparse.Namespace(), EXPECTED, 'Interrupted. Go on.') == 130
    assert capsys.readouterr().err == '\nInterrupted. Go on.\n'


def test_the_exit_status_is_the_commands() -> None:
    assert run_command(lambda args: 3, argparse.Namespace()) == 3
    assert run_command(lambda args: None, argparse.Namespace()) == 0


def test_the_parsers_copies_are_the_librarys_constants() -> None:
    assert evaluation_options.ROTATIONS_6D == ROTATIONS_6D
    assert evaluation_options.GENDERS == GENDERS


def test_every_command_has_a_name_in_mmjrr(capsys) -> None:
    modules = {module for module, _ in mmjrr_command.COMMANDS.values()}
    assert modules == set(COMMANDS)
    for name in mmjrr_command.COMMANDS:
        with pytest.raises(SystemExit) as done:
            mmjrr_command.main([name, '--help'])
        assert done.value.code == 0
        assert capsys.readouterr().out.startswith(f'usage: mmjrr {name} ')


def test_an_unknown_command_is_told_the_known_ones(capsys) -> None:
    with pytest.raises(SystemExit) as done:
        mmjrr_command.main(['evalaute'])
    assert done.value.code == 2
    assert "invalid choice: 'evalaute'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        mmjrr_command.main(['--help'])
    assert re.search(r'refine +refine SMPL fits', capsys.readouterr().out)
