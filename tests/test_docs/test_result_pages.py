"""The numbers on the pages are those of the files under docs/results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
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
    by_config['contour_100it_synthetic_authors'] = runs['authors_0']
    by_config['contour_100it_synthetic_equal-terms'] = runs['equal_terms_0']
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


def test_refinements_of_real_frames_are_collected_from_their_work_directories(
    result_pages: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """17 joints, each but the pelvis off by the same distance, in two frames."""
    work_dir = tmp_path / 'runs/real_frames/a_config'
    (work_dir / 'pseudo_gt').mkdir(parents=True)
    for number, (joints, pixels, iou) in enumerate(((0.04, 2.0, 0.9), (0.08, 4.0, 0.7))):
        np.savez(
            work_dir / f'pseudo_gt/batch_{number}_rank_000.npz',
            imgname=np.array([f'S1/frame_{number}.jpg']),
            init_energy_joint_3d=np.array([17 * 0.1**2]),
            energy_joint_3d=np.array([17 * joints**2]),
            init_energy_joint_2d=np.array([17 * (8 / 224) ** 2]),
            energy_joint_2d=np.array([17 * (pixels / 224) ** 2]),
            init_iou=np.array([0.5]),
            iou=np.array([iou]),
        )
    versions = dict(python='3', torch='2', numpy='1', numba='0')
    summary = dict(
        provenance=dict(config='configs/refinement/a_config.py', versions=versions),
        term_weights=dict(joint_3d=196.0, silhouette=100.0),
    )
    (work_dir / 'refinement.json').write_text(json.dumps(summary))
    monkeypatch.setattr(result_pages, 'RESULTS', tmp_path / 'results')
    assert result_pages.collect(tmp_path / 'runs', 'abcdef0') == ['a_config']
    results = {'real_frames': result_pages.read_results()['real_frames']}
    assert results['real_frames']['a_config']['config'] == 'a_config.py'
    root = (0.5 * (40**2 + 80**2)) ** 0.5
    assert result_pages.real_frame_table(results, ['a_config'])[2] == (
        f'| `a_config` | 100.0 → {root:.1f} | 40, 80 | 8.0 → 3.2 | 0.500 → 0.800 | 0.90, 0.70 |'
    )
    weights = result_pages.real_frame_weight_table(results, ['a_config'])
    assert weights[0] == '|  | `joint_3d` | `silhouette` |'
    assert weights[2] == '| `a_config` | 196 | 100 |'
    with pytest.raises(result_pages.MissingResultError, match='found no .*another'):
        result_pages.real_frame_table(results, ['another'])


def test_detector_masks_are_tabulated_by_image(result_pages: ModuleType) -> None:
    provenance = dict(
        commit='a', date='d', machine='m', versions=dict(python=3, torch=2, numpy=1, numba=0)
    )
    images = {
        f'S1/{name}.jpg': dict(
            iou=iou,
            shift_px=[-1, 7],
            iou_shifted=iou + 0.1,
            edge_shift_px=[0, 8],
            iou_with_itself=0.75,
        )
        for name, iou in (('one', 0.6), ('two', 0.8))
    }
    rows = result_pages.detector_mask_table(
        {'detector_masks': {'a': dict(images=images, **provenance)}}, ['a']
    )
    assert rows[2] == '| one | 0.600 | -1, +7 | 0.700 | +0, +8 | 0.750 |'
    assert rows[4] == '| mean | 0.700 |  | 0.800 |  | 0.750 |'


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
