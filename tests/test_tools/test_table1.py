"""``tools/table1.py`` and ``tools/analysis_tools/attribute_error.py`` on the tiny set."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_models_and_saved_results_make_one_table(tiny_set: Path, tmp_path: Path) -> None:
    fits, regressor = tiny_set / 'fits', tiny_set / 'regressors' / 'J_std.npy'
    arguments = ('--annotations', tiny_set, '--regressor', regressor, 'free_body_h36m')
    done = run(
        ROOT / 'tools/eval_predictions.py', f'MEVA={fits / "meva_like_test.npz"}', *arguments,
        '--out', tmp_path / 'meva.json',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = run(
        ROOT / 'tools/table1.py',
        f'SPIN={fits / "spin_like_test.npz"}', f'MEVA={tmp_path / "meva.json"}', *arguments,
        '--out', tmp_path / 'table.csv', tmp_path / 'table.md',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / 'table.csv').read_text().splitlines()))
    assert [(row['model'], row['regressor']) for row in rows] == [
        (model, name) for model in ('SPIN', 'MEVA') for name in ('J_std', 'free_body_h36m')
    ]
    for row in rows:
        assert f'{float(row["mpjpe_mm"]):.1f}' in done.stdout
    assert '(60.4 / 41.3)' in (tmp_path / 'table.md').read_text()


@pytest.mark.slow
def test_missing_inputs_are_named_in_one_sentence(tiny_set: Path, tmp_path: Path) -> None:
    fits = tiny_set / 'fits' / 'spin_like_test.npz'
    done = run(ROOT / 'tools/table1.py', f'SPIN={fits}', '--regressor', 'free_body_h36m')
    assert done.returncode == 1 and done.stderr == (
        'error: --annotations is needed to evaluate SPIN\n'
    )


@pytest.mark.slow
def test_attribution_needs_two_subjects(tiny_set: Path, tmp_path: Path) -> None:
    tool = ROOT / 'tools/analysis_tools/attribute_error.py'
    fits, regressor = tiny_set / 'fits', tiny_set / 'regressors' / 'J_std.npy'
    arguments = ('--original', regressor, '--corrected', 'free_body_h36m')
    one = run(tool, fits / 'spin_like_test.npz', '--annotations', tiny_set, *arguments)
    assert one.returncode == 1 and 'at least two subjects' in one.stderr
    # The training set has three.
    annotation = tiny_set / 'annotation_body3d' / 'fps10' / 'h36m_train.npz'
    done = run(
        tool, fits / 'spin_like_train.npz', '--annotations', annotation, *arguments,
        '--subjects', 'all',
        '--out', tmp_path / 'attribution.json', '--figure', tmp_path / 'attribution.png',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'Fitting on S5, S6, for S1' in done.stderr
    assert 'J_std - fitted' in done.stdout and (tmp_path / 'attribution.png').is_file()
