"""Scores, tables and files."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from mmjrr.evaluation import (
    EvaluationResult,
    FrameErrors,
    Protocol,
    Score,
    format_protocol_table,
    score_frames,
)
from mmjrr.evaluation.uncertainty import ErrorInterval
from mmjrr.regressors.zoo import ZOO

TOY = Protocol('toy', joints=('head', 'left_hip'), root=None)


@pytest.fixture
def result() -> EvaluationResult:
    joints = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 8.0]])
    errors = FrameErrors(np.nanmean(joints, 1), np.nanmean(joints, 1) / 2, joints, joints / 2)
    groups = {'subject': ['S11', 'S9', 'S11']}
    scores = score_frames('J_opt', TOY, errors, groups)
    return EvaluationResult(tuple(scores), {'toy': TOY}, frames=3, title='Mine')


def test_scores_are_means_over_frames_groups_and_joints(result):
    scores = {(s.by, s.group): (s.frames, s.mpjpe, s.pa_mpjpe) for s in result.scores}
    assert scores == {
        ('all', 'all'): (3, (1.5 + 3 + 6.5) / 3, (1.5 + 3 + 6.5) / 6),
        ('joint', 'head'): (3, 3.0, 1.5),
        ('joint', 'left_hip'): (2, 5.0, 2.5),
        ('subject', 'S9'): (1, 3.0, 1.5),
        ('subject', 'S11'): (2, 4.0, 2.0),
    }
    assert [s.group for s in result.select('toy', 'subject')] == ['S9', 'S11']


def test_metrics_are_keyed_by_regressor_protocol_and_error(result):
    assert result.metrics() == {'J_opt/toy/MPJPE': 11 / 3, 'J_opt/toy/PA-MPJPE': 11 / 6}


def test_it_prints_as_its_tables(result):
    text = str(result)
    assert 'Mine: protocol toy (2 joints, absolute, all cameras), 3 frames' in text
    assert 'J_opt             3.7            1.8' in text
    assert 'left_hip       2  5.0 / 2.5' in text
    assert 'By subject' not in result.format(by=('joint',))


def test_json_holds_everything_and_no_nan(result, tmp_path):
    nothing = Score('J', 'toy', 'joint', 'head', 0, float('nan'), float('nan'))
    result = EvaluationResult((*result.scores, nothing), {'toy': TOY}, 3, provenance={'a': 1})
    result.save(tmp_path / 'r.json')
    read = json.loads((tmp_path / 'r.json').read_text(), parse_constant=pytest.fail)
    assert read['metrics']['J_opt/toy/MPJPE'] == 11 / 3
    assert read['scores'][-1]['mpjpe'] is None
    assert read['provenance'] == {'a': 1}
    assert [p.name for p in tmp_path.iterdir()] == ['r.json']


def test_csv_reads_back_exactly_with_its_provenance_beside_it(result, tmp_path):
    result.save(tmp_path / 'r.csv')
    with open(tmp_path / 'r.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [float(row['mpjpe']) for row in rows] == [s.mpjpe for s in result.scores]
    assert rows[-1]['group'] == 'S11'
    about = json.loads((tmp_path / 'r.provenance.json').read_text())
    assert about['title'] == 'Mine' and about['unit'] == 'mm'


def test_other_suffixes_are_refused(result, tmp_path):
    with pytest.raises(ValueError, match='ending in .json or .csv'):
        result.save(tmp_path / 'r.txt')


def test_tables_describe_the_released_j_opt(result):
    about = {'provenance': ZOO['J_opt'].provenance}
    told = replace(result, provenance={'regressors': {'J_opt': about, 'J_std': {}}})
    assert "J_opt: the released file is J_std reweighted: its weights lie on J_std's" in str(told)
    assert str(told).count('reweighted') == 1


def test_an_undefined_error_has_a_dash_and_a_reason(result):
    text = result.format((), ('PVE', 'MPJPE', 'ACCEL'))
    assert 'PVE is undefined: it needs annotated meshes' in text and '--annotated-meshes' in text
    assert 'ACCEL is undefined: no three frames are consecutive' in text
    assert 'MPJPE is undefined' not in text and 'undefined' not in result.format()
    scores = [replace(score, pa_mpjpe=float('nan')) for score in result.scores]
    other = [replace(score, protocol='other') for score in result.scores]
    both = {'toy': TOY, 'other': replace(TOY, name='other')}
    text = str(replace(result, scores=(*scores, *other), protocols=both))
    assert 'PA-MPJPE is undefined under toy: no frame has three annotated joints' in text
    assert '5.0 / –' in text and 'nan' not in text


def test_a_frame_without_a_pa_mpjpe_is_counted():
    joints = np.ones((3, 2))
    undefined = np.full(3, np.nan)
    errors = FrameErrors(joints[:, 0], undefined, joints, joints * np.nan)
    assert score_frames('J', TOY, errors, {})[0].frames == 3


def test_intervals_are_those_of_the_errors_asked_for(result):
    intervals = [
        ErrorInterval('toy', error, 'J_opt', None, 3.0, 2.0, 4.0, 5, 1)
        for error in ('mpjpe', 'pa_mpjpe')
    ]
    result = replace(result, intervals=tuple(intervals))
    assert 'bootstrap of 5 sequences within 1 subject\n' in result.format(())
    table = result.format((), ('MPJPE', 'ACCEL')).partition('intervals')[2]
    assert 'MPJPE (mm)' in table and 'PA-MPJPE' not in table
    assert 'intervals' not in result.format((), ('ACCEL',))


def test_the_table_of_protocols_says_why_an_error_is_undefined_and_spreads_those_asked_for(result):
    other = [replace(score, protocol='other', mpjpe=9.0) for score in result.scores]
    both = {'toy': TOY, 'other': replace(TOY, name='other')}
    result = replace(result, scores=(*result.scores, *other), protocols=both)
    text = format_protocol_table(result, ('MPJPE', 'PVE'))
    assert 'PVE is undefined' in text and 'MPJPE of the same predictions' in text
    assert 'PA-MPJPE of the same' not in text
