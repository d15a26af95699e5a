"""The demo's terminal shows plain lines; the log file has everything."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.logging import print_log

from mmjrr.cli.console import build_runner


def test_descriptions_of_mmengine_go_to_the_log_file_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(
        dict(
            model=dict(type='FitDiscriminator'),
            default_scope='mmjrr',
            custom_imports=dict(imports=['mmjrr']),
            work_dir=str(tmp_path),
            experiment_name=f'console_{tmp_path.name}',
        )
    )
    runner = build_runner(config)
    assert 'System environment' not in capsys.readouterr().out
    print_log('12 of 20 parts\nand more', logger='current')
    print_log('few frames', logger='current', level=logging.WARNING)
    print_log('"FileClient" will be deprecated in future', logger='current', level=logging.WARNING)
    runner.logger.info('of ours')
    assert capsys.readouterr().out == (
        '  12 of 20 parts\n  and more\n  warning: few frames\n  of ours\n'
    )
    log = next(tmp_path.glob('*/*.log')).read_text()
    for text in ('System environment', 'Config:', '12 of 20 parts', 'FileClient'):
        assert text in log
