"""Configs that come with the package are found by name."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from mmengine.hub import get_config

from mmjrr.cli import shipped
from mmjrr.cli.shipped import ROOT, config_file, no_such_config

FILE = ROOT / 'configs' / 'refinement' / 'contour_100it_h36m.py'


@pytest.mark.parametrize(
    'name',
    [
        'contour_100it_h36m',
        'contour_100it_h36m.py',
        'refinement/contour_100it_h36m',
        'mmjrr/refinement/contour_100it_h36m.py',
        'mmjrr::refinement/contour_100it_h36m.py',
    ],
)
def test_a_config_is_found_by_any_form_of_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Path(config_file(name)) == FILE


def test_a_file_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path('contour_100it_h36m.py').touch()
    assert config_file('contour_100it_h36m.py') == 'contour_100it_h36m.py'


def test_a_name_of_two_folders_is_refused() -> None:
    assert Path(config_file('inference/spin_h36m')).parent.name == 'inference'
    with pytest.raises(
        argparse.ArgumentTypeError, match='evaluation/spin_h36m, inference/spin_h36m'
    ):
        config_file('spin_h36m')


def test_an_unknown_name_is_kept_and_similar_names_are_told() -> None:
    assert config_file('contour_100it_h37m') == 'contour_100it_h37m'
    assert no_such_config('contour_100it_h37m').startswith(
        'contour_100it_h37m: no such file; similar names: contour_100it_h36m'
    )
    assert no_such_config('x.py') == 'x.py: no such file'


def test_mmengine_finds_the_configs_of_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after pip install: the package's folder has .mim with configs and the model index."""
    installed = tmp_path / 'mmjrr'
    installed.mkdir()
    (installed / '.mim').symlink_to(shipped.ROOT)
    monkeypatch.setattr('mmengine.hub.hub.get_installed_path', lambda package: str(installed))
    for name in ('refinement/contour_100it_h36m.py', '_base_/default_runtime.py'):
        assert get_config(f'mmjrr::{name}').filename.endswith(name)
