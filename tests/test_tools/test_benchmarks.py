"""The benchmarks' common functions, and the agreement of their sides on small inputs."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from mmengine.config import Config

FOLDER = Path(__file__).resolve().parents[2] / 'tools/benchmarks'


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """A benchmark's module, which finds its neighbors as it does when run as a script."""
    monkeypatch.syspath_prepend(str(FOLDER))
    names = [path.stem for path in FOLDER.glob('*.py')]
    hidden = {name: sys.modules.pop(name) for name in names if name in sys.modules}

    def loaded(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield loaded
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update(hidden)


BENCHMARKS = [p.stem for p in sorted(FOLDER.glob('*.py')) if '__main__' in p.read_text()]


@pytest.mark.parametrize('name', BENCHMARKS)
def test_a_benchmark_finds_what_it_imports(load, name: str) -> None:
    assert load(name).__doc__


def test_sides_run_in_turn_and_warm_up_does_not_count(load) -> None:
    order: list[str] = []
    sides = {'a': lambda: order.append('a'), 'b': lambda: order.append('b')}
    times = load('common').interleaved(sides, rounds=3, warm_up=1)
    assert ''.join(order) == 'abababab'
    assert list(times) == ['a', 'b'] and all(len(timing.all) == 3 for timing in times.values())
    timing = times['a']
    assert timing.median == sorted(timing.all)[1] and timing.spread >= 0


def test_a_longer_run_that_takes_less_time_is_no_measurement(load) -> None:
    large_runs = load('large_runs')
    assert large_runs._positive(2.5) == 2.5
    with pytest.raises(SystemExit, match='1.5 s less than a shorter one; measure with more'):
        large_runs._positive(-1.5)


def test_the_options_for_human36m_are_those_of_its_config(load, tmp_path: Path) -> None:
    large_runs = load('large_runs')
    hook = Config.fromfile(large_runs.h36m_options(tmp_path)).custom_hooks[0]
    of_h36m = Config.fromfile(str(large_runs.ROOT / large_runs.FOUR_VIEWS_H36M)).custom_hooks[0]
    assert hook.energy == of_h36m.energy
    assert hook.energy.terms.silhouette.mask_cells and hook.energy.terms.silhouette.gate
    assert hook.refiner.share == of_h36m.refiner.share
    assert hook.refiner.share.part_outline_offset == 'subject'
    assert hook.calibration.max_ratios == of_h36m.calibration.max_ratios
    assert hook.body_model.type == 'FreeBody'  # which needs no files


def test_nothing_to_time_is_refused(load) -> None:
    common = load('common')
    with pytest.raises(ValueError, match='found .* 0 rounds, expected at least one'):
        common.interleaved({'a': lambda: None}, rounds=0)
    with pytest.raises(ValueError, match=r'found sides \[\], 1 rounds, expected at least one'):
        common.interleaved({}, rounds=1)


def test_sides_that_differ_are_refused(load) -> None:
    common = load('common')
    assert common.check_same('x', [1.0, 2.0], [1.0, 2.0], 1e-9) == 0
    with pytest.raises(AssertionError, match='x: the sides differ by 5.0e-01'):
        common.check_same('x', [1.0, 1.0], [1.0, 2.0], 1e-3)
    with pytest.raises(AssertionError):
        common.check_same('x', [float('nan')], [1.0], 1e-3)


def test_a_record_becomes_json_and_then_markdown(load, tmp_path: Path) -> None:
    common, report = load('common'), load('report')
    record = common.Record('body', 'Body model', {'batch': 1})
    record.table(['batch', 'ours'], [['1', '2 ms']], 'A caption.')
    record.target('speed', '>= 4', '5', True)
    record.target('size', '< 3', '4', False)
    record.note('Left out: something.')
    record.note('Left out: something.')
    record.timings('one', common.interleaved({'ours': lambda: None}, 2))
    record.write(tmp_path)
    content = json.loads((tmp_path / 'body.json').read_text())
    assert content['machine']['torch'] == torch.__version__
    assert len(content['timings']['one']['ours']['all']) == 2
    text = report.report(report.read_records(tmp_path))
    assert '## Body model' in text and 'A caption.' in text and '| 1     | 2 ms |' in text
    assert text.count('Left out: something.') == 1
    assert '≥ 4' in text and text.count('**not met**') == 1
    with pytest.raises(FileNotFoundError, match='has none of'):
        report.read_records(tmp_path / 'empty')


def test_the_other_sides_body_is_smplx(load) -> None:
    smplx_body = load('smplx_body')
    from mmjrr.body_models import free_body
    from mmjrr.geometry import axis_angle_to_matrix

    rotations = axis_angle_to_matrix(0.3 * torch.randn(2, 24, 3))
    betas, transl = torch.randn(2, 10), torch.randn(2, 3)
    theirs = smplx_body.SmplxBody(smplx_body.body_file(Path(), False))(rotations, betas, transl)
    ours = free_body()(betas, rotations[:, 1:], rotations[:, :1], transl).vertices
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)


def test_the_sample_loops_alignment_undoes_a_similarity(load) -> None:
    evaluation = load('evaluation')
    rng = np.random.default_rng(0)
    goal = rng.normal(size=(17, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    np.testing.assert_allclose(evaluation.procrustes(2 * goal @ turn + 5, goal), goal, atol=1e-12)
    mirrored = evaluation.procrustes(goal * [-1, 1, 1], goal)
    assert np.abs(mirrored - goal).max() > 0.1  # a mirror image is no rotation


def test_fits_are_the_same_each_time_they_are_gone_through(load) -> None:
    fits = load('solver').Fits(70, seed=3)
    first, second = list(fits), list(fits)
    assert [len(bodies) for bodies, _ in first] == [32, 32, 6]
    for (a, b), (c, d) in zip(first, second, strict=True):
        assert torch.equal(a.of(), c.of()) and torch.equal(b, d)


def test_exponent_of_linear_and_square(load) -> None:
    exponent = load('linear').exponent
    assert exponent({8: 1.0, 16: 2.0, 32: 4.0}) == pytest.approx(1)
    assert exponent({8: 1.0, 16: 4.0, 32: 16.0}) == pytest.approx(2)


@pytest.mark.slow
def test_peak_memory_is_the_processs_own(load) -> None:
    """The memory of its parent at the start does not count."""
    child = 'import common; print(common.peak_memory())'
    parent = (
        'import subprocess, sys; much = bytearray(1 << 30); '
        f'subprocess.run([sys.executable, "-c", {child!r}], check=True)'
    )
    done = subprocess.run(
        [sys.executable, '-c', parent], cwd=FOLDER, stdout=subprocess.PIPE, check=True, text=True
    )
    assert 20 < float(done.stdout) < 1000
    common = load('common')
    before = common.peak_memory()
    much = np.ones(100 << 17)  # 100 MiB
    assert common.peak_memory() >= before and common.peak_memory() > much.nbytes / 2**20


def test_renderers_that_are_not_installed_are_left_out_and_noted(load, monkeypatch) -> None:
    silhouette = load('silhouette')
    for name in ('pytorch3d', 'pytorch3d.renderer', 'nvdiffrast', 'nvdiffrast.torch'):
        monkeypatch.setitem(sys.modules, name, None)
    record = load('common').Record('silhouette', 'Silhouette', {})
    assert silhouette.installed(record, 'cpu') == {}
    assert len(record.content['notes']) == 1 and 'PyTorch3D' in record.content['notes'][0]
    assert silhouette.installed(record, 'cuda') == {}
    assert any('nvdiffrast' in note for note in record.content['notes'])


def test_outlines_that_differ_are_refused(load) -> None:
    silhouette = load('silhouette')
    vertices, faces, camera = silhouette.random_bodies(1, 64, 0)
    ours = silhouette.ContourSilhouette(faces, (64, 64))

    class Other:
        def __init__(self, shift: int) -> None:
            self.shift = shift

        def covered(self, *drawn):
            return ours(*drawn).roll(self.shift, 2) > 0.5

    silhouette.check_outline(ours, Other(0), vertices, camera)
    with pytest.raises(AssertionError, match='outlines differ'):
        silhouette.check_outline(ours, Other(3), vertices, camera)


@pytest.mark.slow
def test_renderers_are_judged_by_iou_and_vertices(load) -> None:
    quality = load('gradient_quality')
    args = argparse.Namespace(frames=1, size=48, seed=0, device='cpu')
    before, after = quality.refine_with_each({}, args)
    assert after[0] == 'ours' and after[3]
    ious, errors = (list(map(float, after[column].split(', '))) for column in (1, 2))
    assert len(ious) == len(errors) == 2
    assert min(ious) > float(before[1]) and max(errors) < float(before[2])


def test_a_drawing_without_host_sync_leaves_the_renderer_as_it_was(load) -> None:
    silhouette = load('silhouette')
    vertices, faces, camera = silhouette.random_bodies(1, 48, 0)
    renderer = silhouette.ContourSilhouette(faces, (48, 48), compiled=False)
    capacities = []
    render = renderer.render
    renderer.render = lambda *drawn: capacities.append(renderer._capacity) or render(*drawn)
    silhouette.queued_step(renderer, vertices, camera, 0)()
    assert len(capacities) == 2 and None not in capacities
    assert renderer._capacity is None and renderer._deferred is None


def test_a_value_outside_its_limit_is_named(load, tmp_path: Path) -> None:
    agreement = load('gpu').Agreement()
    exact = torch.tensor([3.0, 4.0], dtype=torch.float64)
    agreement.add('vertices', exact + torch.tensor([0.0, 0.5]), exact, 1e-2)
    agreement.add('joints', exact.float(), exact, 1e-6)
    record = load('common').Record('device', 'Every path', {})
    agreement.write(record, 'Here')
    assert record.content['tables'][0]['rows'][0] == ['vertices', 'float64', '1.0e-01', '1e-02']
    target = record.content['targets'][0]
    assert target['measured'] == '1 of 2; not vertices, float64' and not target['met']


def test_after_a_section_that_fails_the_next_one_runs(load, tmp_path: Path, monkeypatch) -> None:
    gpu = load('gpu')

    def fails(record, args) -> None:
        raise RuntimeError('no kernel image\nis available')

    sections = {'first': fails, 'second': lambda record, args: record.note('done')}
    monkeypatch.setattr(gpu, 'SECTIONS', sections)
    args = argparse.Namespace(
        sections=['first', 'second'], minutes=6, began=time.time(), device='cpu', results=tmp_path
    )
    record = gpu.Record('device', 'Every path', {})
    record.content['sections'] = {}
    gpu.run_sections(record, args)
    content = json.loads((tmp_path / 'device.json').read_text())
    assert content['notes'] == ['Failed: first. RuntimeError: no kernel image', 'done']
    assert list(content['sections']) == ['first', 'second']
    args.minutes = 0
    gpu.run_sections(record, args)
    assert record.content['notes'][2:] == [
        'Left out: first, no time.', 'Left out: second, no time.'
    ]  # fmt: skip


def test_a_folder_without_wheels_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        ['bash', str(FOLDER / 'gpu.sh'), '--wheels', str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == f'{tmp_path}: found no wheel, expected a folder of wheels\n'


@pytest.mark.slow
def test_a_loop_of_batches_scores_as_the_package_does(load, tmp_path: Path) -> None:
    peers, common, evaluation = load('peers'), load('common'), load('evaluation')
    data = common.synthetic_data(tmp_path, frames_per_subject=4, workers=1)
    annotation, fits = evaluation.repeated_frames(data, tmp_path, 40)
    regressor = peers.JointRegressor.load(data / 'regressors/J_std.npy').reorder('mmpose')
    loop = peers.spin_loop(peers.read_npz(annotation)['S'], peers.read_npz(fits), regressor)
    scores = peers.mmjrr.evaluate(
        fits, annotation, {'J_std': regressor}, protocol='spin-p1', body_model='free_body'
    ).metrics()
    for kind, score in loop.items():
        assert scores[f'J_std/spin-p1/{kind}'] == pytest.approx(score, abs=1e-3)


def test_a_row_by_nnls_is_on_the_simplex(load) -> None:
    solver = load('solver')
    rng = np.random.default_rng(0)
    a, row = rng.normal(size=(30, 8)), rng.dirichlet(np.ones(8))
    np.testing.assert_allclose(solver.row_by_nnls(a, a @ row), row, atol=1e-6)
