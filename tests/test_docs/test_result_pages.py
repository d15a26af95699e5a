"""The numbers on the pages are those of the files under docs/results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from tool_modules import load_tool

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def result_pages() -> ModuleType:
    return load_tool('analysis_tools/result_pages.py')


def test_pages_hold_what_the_files_hold(result_pages: ModuleType) -> None:
    results = result_pages.read_results()
    pages = result_pages.pages()
    assert ROOT / 'README.md' in pages
    for page in pages:
        text = page.read_text(encoding='utf-8')
        assert result_pages.fill(text, results) == text, (
            f'{page}: run python tools/analysis_tools/result_pages.py write'
        )


def test_results_carry_their_provenance(result_pages: ModuleType) -> None:
    for kind, runs in result_pages.read_results().items():
        for name, run in runs.items():
            missing = {'commit', 'date', 'machine', 'versions'} - set(run)
            assert not missing, f'docs/results/{kind}/{name}.json: found no {missing}'
            assert 'dirty' not in run['commit'], f'docs/results/{kind}/{name}.json'


def test_provenance_names_each_machine_once(result_pages: ModuleType) -> None:
    versions = dict(python=3, torch=2, numpy=1, numba=0)
    cpu = dict(machine='A processor', versions=versions)
    before = dict(cpu, commit='a', date='2026-01-01')
    runs = [
        dict(cpu, commit='b', date='2026-01-02', earlier=[before]),
        dict(cpu, commit='c and d', date='2026-01-02'),
        dict(commit='a', date='2026-01-01', machine='A GPU', versions=versions),
    ]
    of_versions = 'Python 3, PyTorch 2, NumPy 1, Numba 0'
    assert result_pages._provenance(runs) == (
        f'*Measured on A GPU, {of_versions}, at commit a (2026-01-01); '
        f'on A processor, {of_versions}, at commits a (2026-01-01), b, c, d (2026-01-02).*'
    )


def test_unknown_tables_and_missing_results_are_refused(result_pages: ModuleType) -> None:
    page = '<!-- results: {} -->\n<!-- end of results -->'
    with pytest.raises(ValueError, match="found the table 'nothing'"):
        result_pages.fill(page.format('nothing'), result_pages.read_results())
    with pytest.raises(ValueError, match=r'demo/seed_99\.json: no such file'):
        result_pages.fill(page.format('regressors seed_99'), result_pages.read_results())
    optional = page.format('regressors seed_99').replace('results:', 'results?:')
    assert 'Not measured' in result_pages.fill(optional, result_pages.read_results())


def test_metafiles_state_the_same_numbers(result_pages: ModuleType) -> None:
    runs = result_pages.read_results()['demo']
    by_config = {run['config'].removesuffix('.py'): run for name, run in runs.items()}
    by_config['contour_100it_synthetic'] = runs['seed_0']
    metafile = yaml.safe_load((ROOT / 'configs/refinement/metafile.yml').read_text())
    checked = 0
    for model in metafile['Models']:
        for result in model.get('Results', ()):
            run = by_config[model['Name']]
            assert result['Metrics'] == {
                'PVE': round(run['pseudo_gt']['pve_opt_mm'], 1),
                'IoU': round(run['pseudo_gt']['iou_opt'], 3),
                'J_opt error': round(run['regressor_error_mm']['J_opt'], 1),
            }, model['Name']
            checked += 1
    assert checked >= 3


def test_readme_has_one_table_and_at_most_110_lines() -> None:
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    assert len(text.splitlines()) <= 110
    assert len(re.findall(r'<!-- results: ', text)) == 1


def test_summary_gives_means_and_the_worst_seed(
    result_pages: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cell(pve: float, j_opt: float) -> dict[str, object]:
        return dict(
            pseudo_gt=dict(pve_init_mm=70.0, pve_opt_mm=pve),
            regressor_error_mm=dict(J_std=20.0, J_spin=15.0, J_opt=j_opt, floor=2.0),
            label_offsets=dict(error_mm=[1.0, pve]),
        )

    cells = [cell(3.0, 2.5), cell(5.0, 3.5)]
    monkeypatch.setattr(
        result_pages,
        'SUMMARY_ROWS',
        {r'run_\d': ('runs', 'a.md'), 'off': ('off', 'b.md'), 'on': ('on', 'b.md#c')},
    )
    results = dict(
        demo=dict(run_0=cells[0], run_1=cells[1]),
        experiments=dict(
            off=dict(settings=dict(calibration=None), cells=cells),
            on=dict(settings=dict(calibration=dict(label_offsets=True)), cells=cells),
        ),
    )
    lines = result_pages.summary_table(results, [])
    numbers = '70.0 → 4.0 (5.0) | 15.0 (15.0) | 3.0 (3.5) | 1.0 (1.5)'
    assert lines[2:5] == [
        f'| [runs](docs/a.md) | {numbers} |  |',
        f'| [off](docs/b.md) | {numbers} |  |',
        f'| [on](docs/b.md#c) | {numbers} | 2.5 (5.0) |',
    ]


def test_rows_of_the_summary_have_five_seeds(result_pages: ModuleType) -> None:
    results = result_pages.read_results()
    for name in result_pages.SUMMARY_ROWS:
        if name in results['experiments']:
            cells = results['experiments'][name]['cells']
            assert sorted(cell['seed'] for cell in cells) == [0, 1, 2, 3, 4], name
        else:
            assert len(result_pages._runs(results, [name])) == 5, name


def test_a_record_from_a_gpu_keeps_its_machine_and_commit(
    result_pages: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = {'cpu': 'A processor', 'cores': 16, 'gpu': 'A GPU', 'torch': '2.11'}
    record = dict(title='Every path', machine=machine, tables=[], targets=[], notes=[])
    (tmp_path / 'benchmarks').mkdir()
    for name, commit in (('device', {}), ('device_gpu', {'commit': '1234567'})):
        path = tmp_path / f'benchmarks/{name}.json'
        path.write_text(json.dumps({**record, **commit}))
    monkeypatch.setattr(result_pages, 'RESULTS', tmp_path / 'results')
    assert result_pages.collect(tmp_path, 'abcdef0') == ['device', 'device_gpu']
    for name, commit in (('device', 'abcdef0'), ('device_gpu', '1234567')):
        content = json.loads((tmp_path / f'results/benchmarks/{name}.json').read_text())
        assert content['commit'] == commit
        assert content['machine'] == 'A processor, 16 cores, A GPU'
        assert content['versions'] == {'torch': '2.11'}


def test_kills_and_fuzz_are_counted_over_all_calls(result_pages: ModuleType) -> None:
    provenance = dict(
        commit='a', date='d', machine='m', versions=dict(python=3, torch=2, numpy=1, numba=0)
    )
    counts = {
        kind: dict(cases=6, run=number, kills=number, identical=number - 1)
        for number, kind in enumerate(('fsync', 'replace', 'unlink', 'random'), 2)
    }
    row = result_pages.kill_table({'kills': {'a_job': counts | provenance}}, [])[2]
    assert row == '| a job | 2 of 6 | 3 of 6 | 4 of 6 | 5 (5) | 14 | 10 of 14 |'
    outcomes = dict(ok=1, refused=2, raised=3, memory=4, crash=5, timeout=6)
    record = dict(seed=7, cases=1234, outcomes=outcomes, loaders={'a': {}}, longest_seconds=1.25)
    row = result_pages.fuzz_table({'fuzz': {'seed_7': record | provenance}}, [])[2]
    assert row == '| 7 | 1,234 | 1 | 1 | 2 | 3 | 5 | 6 | 4 | 1250 ms |'
