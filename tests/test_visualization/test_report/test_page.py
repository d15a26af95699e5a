"""The page as a file: complete, self-contained, small, escaped and reproducible."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_example import HOSTILE, example_report

from mmjrr.cli import report as report_command
from mmjrr.cli.options import OptionError, parse
from mmjrr.errors import DataError
from mmjrr.io import sha256
from mmjrr.visualization.report import report_results_file, write_report
from mmjrr.visualization.report.content import Truth
from mmjrr.visualization.report.page import _round_charts, render

VENDOR = Path(__file__).parents[3] / 'mmjrr/visualization/report/vendor/three'


class Elements(HTMLParser):
    """Counts elements, collects URLs and the text of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.urls: list[str] = []
        self.handlers: list[str] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ('src', 'href'):
                self.urls.append(value or '')
            if name.startswith('on'):
                self.handlers.append(name)
            if name == 'id':
                self.ids.append(value or '')


@pytest.fixture(scope='module')
def page() -> str:
    return render(example_report())


def test_the_page_loads_nothing_from_elsewhere(page: str) -> None:
    elements = Elements(page)
    assert elements.urls and all(url.startswith(('#', 'data:')) for url in elements.urls)
    assert "default-src 'none'" in page


def test_hostile_names_stay_text(page: str) -> None:
    elements = Elements(page)
    assert elements.tags.count('script') == 4 and not elements.handlers
    # The only pictures are those of the regressors' weights.
    assert elements.tags.count('img') == 3
    assert page.count('</script>') == 4
    assert '49' not in re.sub(r'[^<>]*base64[^<>]*', '', page.split('<p class="lead">')[1][:40])
    data = page.split('id="gallery-data">')[1].split('</script>')[0]
    names = [frame['name'] for frame in json.loads(data)['frames']]
    assert names[0] == f'S9/{HOSTILE[1]}_13.jpg'
    assert '<' not in data and '\u2028' not in data


def test_links_lead_to_sections_that_exist(page: str) -> None:
    elements = Elements(page)
    assert len(elements.ids) == len(set(elements.ids))
    targets = [url[1:] for url in elements.urls if url.startswith('#')]
    assert len(targets) == 7 and set(targets) <= set(elements.ids)


def test_equal_reports_give_equal_bytes(page: str) -> None:
    assert render(example_report()) == page


def test_only_posed_vertices_are_stored_and_the_worst_ten_whole(page: str) -> None:
    data = json.loads(page.split('id="gallery-data">')[1].split('</script>')[0])
    kinds = [next(iter(frame['meshes'].values()))['kind'] for frame in data['frames']]
    assert kinds == ['whole'] * 10 + ['coarse'] * 4
    assert set(data['frames'][0]) == {
        'source', 'name', 'labels', 'size', 'camera', 'photo', 'mask', 'meshes', 'joints',
        'points', 'iou', 'mpjpe', 'init',
    }  # fmt: skip


def test_an_empty_report_is_a_page_too(tmp_path: Path) -> None:
    report = example_report()
    report.frames, report.evaluations, report.refinement = [], [], None
    report.label_consistency = report.body_picture = None
    path = write_report(report, tmp_path / 'r.html')
    assert Elements(path.read_text()).tags.count('script') == 1
    assert path.stat().st_size < 60_000


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'expected a path ending in \.html'):
        write_report(example_report(1), tmp_path / 'report.pdf')


def test_vendored_scripts_are_the_files_of_the_package() -> None:
    table = (VENDOR / 'README.md').read_text()
    for name in ('three.module.min.js', 'OrbitControls.js'):
        assert sha256(VENDOR / name) in table


@pytest.mark.slow
def test_label_offsets_are_shown_by_length_and_a_broken_file_is_named(page: str) -> None:
    mark = '<b aria-hidden="true">●</b><span class="unseen"> significant</span>'
    assert f'<span>5.0 {mark}</span>' in page
    for content in ({'format': 'other'}, {'format': 'mmjrr.label_consistency/1', 'offsets': 3}):
        report = example_report(1)
        report.label_consistency = content
        with pytest.raises(DataError, match=r'label_consistency\.json'):
            render(report)


def test_label_offsets_that_are_not_tested_or_not_known_are_marked() -> None:
    report = example_report(1)
    report.frames, report.evaluations, report.body_picture = [], [], None
    entries = [
        dict(offset_mm=[3.0, 4.0, 0.0], pvalue=None, significant=False),
        dict(offset_mm=None, pvalue=None, significant=False),
        dict(offset_mm=[0.0, 0.0, 2.0], pvalue=0.5, significant=False),
    ]
    report.label_consistency |= {
        'offsets': {f'S{row}': {'joints': {'head': entry}} for row, entry in enumerate(entries)}
    }
    shown = render(report).split('id="labels"')[1].split('</section>')[0]
    mark = '<b aria-hidden="true">○</b><span class="unseen"> not tested</span>'
    assert f'<span>5.0 {mark}</span>' in shown and shown.count(mark) == 1
    assert '<span>–</span>' in shown and '<span>2.0</span>' in shown
    assert '○ those that could not be tested' in shown


SUMMARY = {
    'regressor_error_mm': {'J_std': 20.0, 'J_opt': 2.0, 'floor': 1.0},
    'pseudo_gt': {'pve_init_mm': 70.0, 'pve_opt_mm': 3.0},
    'rounds': [
        {'pve_mm': 9.0, 'regressor_error_mm': 5.0},
        {'pve_mm': 3.0, 'regressor_error_mm': 2.0},
    ],
}


def test_a_comparison_with_the_truth_is_a_section_of_its_own(page: str) -> None:
    assert 'id="truth"' not in page
    report = example_report(1)
    report.truth = Truth.from_summary('s.json', SUMMARY)
    shown = render(report).split('id="truth"')[1].split('</section>')[0]
    assert 'style="--part:0.1000"><span>2.0</span>' in shown  # of J_std's 20 mm
    assert '<th scope="row">initial fits</th><td>70.0</td>' in shown
    assert 'Distance from the truth by round' in shown and 'Floor:' in shown
    assert Truth.from_summary('s.json', {'table': {}}) is None
    for broken in (SUMMARY | {'pseudo_gt': 3}, SUMMARY | {'regressor_error_mm': {'J_std': 'x'}}):
        with pytest.raises(DataError, match=r's\.json: a field is missing or garbled'):
            Truth.from_summary('s.json', broken)
    report.truth = Truth.from_summary('s.json', SUMMARY | {'regressor_error_mm': {}})
    assert 'initial fits' in render(report)


def test_the_terms_of_the_energy_are_named_and_no_others() -> None:
    report = example_report(1)
    assert report.refinement is not None
    report.refinement.energies = {'silhouette': (2.0, 1.0), 'joint_3d': (3.0, 1.0)}
    assert (
        'They measure the distance of the joints from the labels in space and the difference '
        'between silhouette and mask.' in render(report)
    )


def test_rounds_of_a_calibration_are_drawn_relative_to_the_first() -> None:
    rounds = [
        {'joint_3d': 0.008, 'iou': 0.95, 'silhouette_weight': 8.0},
        {'joint_3d': 0.002, 'iou': 0.98, 'silhouette_weight': 2.0},
    ]
    energies, iou = _round_charts({'calibration': {'rounds': rounds}})
    assert energies is not None and energies.rows == [['joint 3d', '100', '25', '25', '100']]
    assert iou is not None and iou.rows == [['IoU', '0.95', '0.98', '0.95', '0.98']]
    for summary in ({}, {'calibration': 3}, {'calibration': {'rounds': [1]}}):
        assert _round_charts(summary) == []


def test_corrections_of_a_calibration_are_tables_by_camera_and_by_subject() -> None:
    report = example_report()
    assert report.refinement is not None
    report.refinement.summary['calibration'] = dict(
        principal_point_px={'S1 a': [1.5, -2.0], 'S1 b': [0.25, 3.0]},
        extrinsic_rotation_deg={'S1 a': [0.1, 0.2, -0.3], 'S1 b': [0.0, 0.0, 0.4]},
        extrinsic_translation_mm=HOSTILE,
        outline_offset_mm={'S1': 9.5},
    )
    page = render(report)
    for part in (
        'Principal point, px</th><th scope="col" class="number">Extrinsic rotation, deg</th>',
        '<th scope="row">S1 b</th><td>0.25, 3.00</td><td>0.00, 0.00, 0.40</td>',
        '<th scope="row">S1</th><td>9.50</td>',
    ):
        assert part in page
    assert 'translation, mm' not in page


def result_file(path: Path, **changes: object) -> Path:
    score = dict(regressor='J_opt', protocol='paper', by='all', group='all', frames=3,
                 mpjpe=51.25, pa_mpjpe=None)  # fmt: skip
    protocol = dict(joints=['head'], root='pelvis', cameras=None, subjects=['S9'])
    content = dict(
        format='mmjrr.evaluation/1', title='mine', frames=3, scores=[score], skipped=['a'],
        left_out={'paper': {'subject': {'S1': 4}}}, notes=['odd'],
        provenance={'protocols': {'paper': protocol}},
    )  # fmt: skip
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_a_results_file_becomes_a_page_with_its_numbers(tmp_path: Path) -> None:
    report = report_results_file(result_file(tmp_path / 'r.json'))
    page = render(report)
    assert '51.2' in page and 'mine' in page and 'Implausible: odd' in page
    assert '4 of subject S1' in page and '1 frames have no prediction' in page
    assert np.isnan(report.evaluations[0].scores[0].pa_mpjpe)


def test_intervals_of_a_results_file_are_a_table(tmp_path: Path) -> None:
    common = dict(protocol='paper', sequences=30, subjects=2, confidence_level=0.95)
    spin = dict(common, regressor='J_spin', reference=None)
    opt = dict(common, regressor='J_opt', reference='J_spin')
    intervals = [
        dict(spin, error='mpjpe', value=52.21, low=49.97, high=54.44),
        dict(opt, error='mpjpe', value=3.861, low=2.587, high=5.018),
        dict(spin, error='pa_mpjpe', value=33.2, low=31.5, high=34.8),
    ]
    page = render(report_results_file(result_file(tmp_path / 'r.json', intervals=intervals)))
    for part in (
        '95 % intervals, protocol paper: bootstrap of 30 sequences within 2 subjects',
        'J_spin</th><td>52.2 [50.0, 54.4]</td><td>33.2 [31.5, 34.8]</td>',
        'J_opt - J_spin</th><td>+3.86 [+2.59, +5.02]</td><td>–</td>',
    ):
        assert part in page
    without = render(report_results_file(result_file(tmp_path / 'r.json')))
    assert 'intervals' not in without


def test_scores_without_a_value_are_dashes_that_sort_as_no_number(tmp_path: Path) -> None:
    content = json.loads(result_file(tmp_path / 'r.json').read_text())
    undefined = {**content['scores'][0], 'protocol': 'mmpose', 'frames': 0, 'mpjpe': None}
    protocols = dict.fromkeys(('paper', 'mmpose'), content['provenance']['protocols']['paper'])
    changes = dict(scores=[*content['scores'], undefined], provenance={'protocols': protocols})
    page = render(report_results_file(result_file(tmp_path / 'r.json', **changes)))
    assert '<td data-value="" class="bar' in page and '<span>–' in page
    assert 'data-value="nan"' not in page and '>nan<' not in page


@pytest.mark.parametrize(
    'option',
    [
        ['--frames', '200'],
        ['--no-photos'],
        ['--images', '.'],
        ['--masks', 'm.json'],
        ['--cameras', 'c.pkl'],
        ['--data-root', '/nowhere'],
        ['--body-model', 'free_body'],
    ],
)
def test_options_of_frames_are_refused_with_a_results_file(
    tmp_path: Path, option: list[str]
) -> None:
    arguments = [str(result_file(tmp_path / 'r.json')), *option]
    with pytest.raises(OptionError, match=rf'^{option[0]}: .*r\.json is a file of results'):
        report_command.run(parse(report_command.add_arguments, None, arguments))
    assert not (tmp_path / 'r.html').exists()
    report_command.run(parse(report_command.add_arguments, None, arguments[:1]))
    assert (tmp_path / 'r.html').is_file()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(format='other'), "found 'other', expected 'mmjrr.evaluation/1'"),
        (dict(scores=[{'regressor': 'J'}]), 'missing or invalid field'),
        (dict(provenance={}), 'missing or invalid field'),
        (dict(scores=3), 'missing or invalid field'),
        (dict(scores=[]), 'scores: found none of all frames of protocol paper, expected each'),
        (dict(intervals=[{'protocol': 'paper'}]), 'missing or invalid field'),
        (
            dict(intervals=[dict(error='iou', reference=None)]),
            "invalid field .intervals: error: found 'iou', expected one of",
        ),
    ],
)
def test_a_broken_results_file_is_named(tmp_path: Path, changes: dict, message: str) -> None:
    path = result_file(tmp_path / 'r.json', **changes)
    with pytest.raises(DataError, match=message) as error:
        report_results_file(path)
    assert str(path) in str(error.value)
