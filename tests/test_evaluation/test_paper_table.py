"""Table I: bold values, the paper's values beside, and its four formats."""

from __future__ import annotations

import csv
import io
import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mmjrr.errors import DataError
from mmjrr.evaluation import PROTOCOLS, Protocol
from mmjrr.evaluation.paper_table import PAPER, Cell, PaperTable, read_result, tables_of
from mmjrr.evaluation.result import EvaluationResult, Score


@pytest.fixture
def table() -> PaperTable:
    return PaperTable(
        'paper',
        {
            'SPIN': {'J_std': Cell(60.04, 41.26, 100), 'J_opt': Cell(60.0449, 40.0, 100)},
            'my_model & co': {'J_std': Cell(70.0, 50.0, 90)},
        },
    )


def test_the_papers_numbers_are_those_of_its_table():
    # Hedlin et al., Table I, row by row.
    printed = """60.4 / 41.3  57.0 / 39.6  56.9 / 39.7
                 62.9 / 43.1  60.1 / 41.7  60.0 / 41.5
                 101.6 / 62.3  98.4 / 61.9  98.3 / 61.9"""
    numbers = [float(text) for text in re.findall(r'[\d.]+', printed)]
    ours = [value for row in PAPER.values() for cell in row.values() for value in cell]
    assert ours == numbers
    assert list(PAPER) == ['SPIN', 'VIBE', 'MEVA']


def test_best_values_are_marked_as_they_are_printed(table):
    # 60.04 and 60.0449 are both printed as 60.0: neither is better.
    assert table.best('SPIN') == ({'J_std', 'J_opt'}, {'J_opt'})
    assert table.best('my_model & co') == (set(), set())
    line = table.to_markdown().splitlines()[4]
    assert line == ('| SPIN | **60.0** / 41.3 (60.4 / 41.3) | **60.0** / **40.0** (56.9 / 39.7) |')
    assert '*60.0 / *40.0 (56.9 / 39.7)' in table.to_text()
    assert r'\textbf{60.0} / \textbf{40.0} {\small(56.9 / 39.7)}' in table.to_latex()


def test_undefined_means_are_dashes():
    cells = {'J_std': Cell(math.nan, math.nan, 0), 'J_opt': Cell(50.0, math.nan, 1)}
    assert '–  *50.0 / –\n' in PaperTable('spin-p1', {'mine': cells}).to_text()


def test_the_caption_has_protocol_and_frames(table):
    assert table.caption == (
        'MPJPE / PA-MPJPE in mm, protocol paper (17 joints, pelvis-aligned, S9 and S11 without '
        'S11_Directions.54138969, all cameras), frames: SPIN 100, my_model & co 90. '
        'In parentheses: Hedlin et al., CRV 2022, Table I.'
    )
    same = PaperTable('spin-p1', {'SPIN': {'J_opt': Cell(1.0, 1.0, 7)}})
    assert same.caption.endswith(', 7 frames.')
    assert '(' not in same.to_markdown().splitlines()[4]  # the paper has no such protocol


def test_csv_has_all_digits_a_line_a_cell(table):
    rows = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert [(row['model'], row['regressor']) for row in rows] == [
        ('SPIN', 'J_std'), ('SPIN', 'J_opt'), ('my_model & co', 'J_std'),
    ]  # fmt: skip
    assert float(rows[1]['mpjpe_mm']) == 60.0449 and rows[1]['paper_mpjpe_mm'] == '56.9'
    assert rows[2]['paper_mpjpe_mm'] == '' and rows[2]['frames'] == '90'


def test_latex_escapes_and_balances(table):
    text = table.to_latex()
    assert r'my\_model \& co' in text and r'$J_{\mathrm{opt}}$' in text
    assert text.count('{') == text.count('}')
    assert {line.count(' & ') for line in text.splitlines() if line.endswith(r'\\')} == {2}


@pytest.mark.skipif(shutil.which('pdflatex') is None, reason='pdflatex is not installed')
def test_latex_compiles(table, tmp_path: Path):
    table.save(tmp_path / 'table.tex')
    (tmp_path / 'page.tex').write_text(
        r'\documentclass{article}\usepackage{booktabs}\begin{document}\input{table}\end{document}'
    )
    command = ['pdflatex', '-interaction=nonstopmode', '-halt-on-error', 'page.tex']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def test_results_become_a_table_for_each_protocol(tmp_path: Path):
    scores = [
        Score('J_opt', name, 'all', 'all', 5, value, value / 2)
        for name, value in (('paper', 50.0), ('spin-p1', 60.0))
    ]
    scores.append(Score('J_opt', 'paper', 'joint', 'head', 5, 99.0, 99.0))
    protocols = {name: Protocol(name, ('head',)) for name in ('paper', 'spin-p1')}
    result = EvaluationResult(tuple(scores), protocols, frames=5)
    saved = read_result(result.save(tmp_path / 'result.json'))
    for tables in (tables_of({'mine': result}), tables_of({'mine': saved})):
        assert [table.protocol for table in tables] == ['paper', 'spin-p1']
        assert tables[1].rows == {'mine': {'J_opt': Cell(60.0, 30.0, 5)}}


def result_of(regressor: str, annotations: str, joints=('head',)) -> dict:
    protocol = {**PROTOCOLS['paper'].to_dict(), 'joints': joints, 'pa_joints': joints}
    return EvaluationResult(
        (Score('J_opt', 'paper', 'all', 'all', 5, 50.0, 40.0),),
        {},
        frames=5,
        provenance=dict(
            regressors={'J_opt': {'provenance': {'file_sha256': regressor}}},
            annotations={'sha256': annotations},
            protocols={'paper': protocol},
        ),
    ).to_dict()


def test_rows_that_do_not_compare_are_marked():
    (table,) = tables_of({'A': result_of('1' * 64, 'a' * 64), 'B': result_of('1' * 64, 'a' * 64)})
    assert table.notes == []
    (table,) = tables_of({'A': result_of('1' * 64, 'a' * 64), 'B': result_of('2' * 64, 'b' * 64)})
    assert table.caption.endswith(
        'J_opt is not the same file in all rows: A 11111111, B 22222222. '
        'The rows are of different annotations: A aaaaaaaa, B bbbbbbbb.'
    )
    rows = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert [row['regressor_sha256'] for row in rows] == ['1' * 64, '2' * 64]
    assert rows[1]['annotations_sha256'] == 'b' * 64
    with pytest.raises(DataError, match="protocol 'paper' is not the same in all rows"):
        tables_of({'A': result_of('', ''), 'B': result_of('', '', joints=('head', 'spine'))})


def test_the_papers_numbers_stand_beside_its_own_protocol_only():
    joints = PROTOCOLS['paper'].joints
    (table,) = tables_of({'SPIN': result_of('', '', joints)})
    assert table.paper('SPIN', 'J_opt') == (56.9, 39.7)
    (table,) = tables_of({'SPIN': result_of('', '', ('head',))})  # another, of the same name
    assert table.paper('SPIN', 'J_opt') is None and '(1 joints, ' in table.caption


def test_other_files_are_no_results(tmp_path: Path):
    (tmp_path / 'fits.json').write_text('[1]')
    assert read_result(tmp_path / 'fits.json') is None
    assert read_result(tmp_path / 'fits.npz') is None
    (tmp_path / 'broken.json').write_text('{')
    with pytest.raises(DataError, match=r'broken\.json'):
        read_result(tmp_path / 'broken.json')


def test_an_unknown_format_is_refused(table, tmp_path: Path):
    with pytest.raises(ValueError, match=r'\.txt, \.md, \.tex or \.csv'):
        table.save(tmp_path / 'table.xlsx')
    assert not list(tmp_path.iterdir())
