"""``tools/analysis_tools/label_offset_errors.py``: planted offsets are found on true bodies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tool_modules import load_tool


@pytest.mark.slow
def test_offsets_are_found_to_some_standard_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With 3 mm of noise per axis, the mean of 15 moments has a standard error of 0.8 mm."""
    tool, out = load_tool('analysis_tools/label_offset_errors.py'), tmp_path / 'errors.json'
    assert tool.main(['--seeds', '1', '--moments', '1', '--out', str(out)]) == 0
    (row,) = json.loads(out.read_text())['rows']
    assert row['moments'] == 15 and row['ankles'] == 10
    assert row['max_vertex_distance'] == 0.2
    assert 0.6 < row['standard_error_mm'] < 1.6
    assert 0.5 < row['rms_in_standard_errors'] < 2
    assert row['mean_mm'] < row['largest_mm'] < 5
    assert '15 moments a subject, vertices within 20 cm: error' in capsys.readouterr().out

    pages = load_tool('analysis_tools/result_pages.py')
    monkeypatch.setattr(pages, 'RESULTS', tmp_path / 'results')
    (tmp_path / 'label_offset_errors').mkdir()
    out.rename(tmp_path / 'label_offset_errors' / 'true.json')
    assert pages.collect(tmp_path, 'abc') == ['true']
    table = pages.label_offset_error_table(pages.read_results(), ['true'])
    assert table[2].startswith('| 15 | 20 cm | 10 | ')
    with pytest.raises(pages.MissingResultError):
        pages.label_offset_error_table(pages.read_results(), ['not-there'])


@pytest.mark.parametrize('options', [['--moments', '0'], ['--max-vertex-distances', '0.2', '-1']])
def test_numbers_that_are_too_small_are_refused(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    tool = load_tool('analysis_tools/label_offset_errors.py')
    assert tool.main(options) == 2
    assert capsys.readouterr().err.startswith(f'error: {options[0]}: found ')


def test_a_file_of_another_kind_is_refused_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = load_tool('analysis_tools/label_offset_errors.py')
    assert tool.main(['--out', str(tmp_path / 'a.txt')]) == 1
    assert 'a.txt: expected a path ending in .json' in capsys.readouterr().err
