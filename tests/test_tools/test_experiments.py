"""``tools/analysis_tools/experiments.py``: its cells, and the tables of its results."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from mmengine.config import Config
from scipy.spatial.transform import Rotation
from tool_modules import load_tool

from mmjrr.body_models import free_body
from mmjrr.datasets.synthetic import Settings
from mmjrr.datasets.synthetic.truth import SyntheticTruth
from mmjrr.engine.calibration import CalibrationOptions
from mmjrr.io import read_npz
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS
from mmjrr.refinement import FitEnergy
from mmjrr.refinement.refiner import sharing_of
from mmjrr.regressors import JointRegressor
from mmjrr.segmentation.simulated_masks import MaskErrors

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def experiments() -> ModuleType:
    return load_tool('analysis_tools/experiments.py')


def arguments(**changes: object) -> argparse.Namespace:
    values: dict[str, object] = dict(
        only=['*'],
        seeds=[0, 1, 2, 3, 4],
        network_masks='{seed}.json',
        soft_masks='soft/{seed}.json',
        long_masks='long/{seed}.json',
        longest_masks='longest/{seed}.json',
        steps=None,
        device='cpu',
    )
    return argparse.Namespace(**{**values, **changes})


def test_options_of_human36m_are_those_of_its_config(
    experiments: ModuleType, tmp_path: Path
) -> None:
    experiment = experiments.EXPERIMENTS['masks-head-h36m-limb-gate']
    cfg = experiments._config(arguments(), experiment, 3, tmp_path, None, tmp_path)
    (hook,) = cfg.to_dict()['custom_hooks']
    path = experiments.ROOT / 'configs/refinement/contour-4view_5x80it_h36m.py'
    of_h36m = Config.fromfile(str(path)).to_dict()['custom_hooks'][0]
    energy, expected = (FitEnergy(**options['energy']) for options in (hook, of_h36m))
    assert energy.terms.keys() == expected.terms.keys()
    for name, term in energy.terms.items():
        own, other = (
            {key: value for key, value in vars(each).items() if not key.startswith('_')}
            for each in (term, expected.terms[name])
        )
        assert own == other and 'scale' in own, name
    assert hook['refiner']['share'] == of_h36m['refiner']['share']
    assert hook['calibration']['max_ratios'] == of_h36m['calibration']['max_ratios']


def test_every_experiment_is_one_that_can_be_run(experiments: ModuleType, tmp_path: Path) -> None:
    for name, experiment in experiments.EXPERIMENTS.items():
        Settings(seed=0, synchronous=True, images=False, **experiment.data)
        if not (experiment.masks is None or isinstance(experiment.masks, str)):
            MaskErrors(**experiment.masks)
        cfg = experiments._config(arguments(), experiment, 3, tmp_path, None, tmp_path)
        (hook,) = cfg.to_dict()['custom_hooks']
        energy = FitEnergy(**hook['energy'])
        sharing = sharing_of(hook['refiner']['share'])
        if hook['calibration'] is None:
            assert not sharing.couples_moments, name
        else:
            assert not energy.requires('plausibility'), name
            options = CalibrationOptions(**hook['calibration'])
            assert not (options.label_offsets and hook['root'] == 'mean'), name


def test_cells_of_three_seeds_come_before_further_ones(experiments: ModuleType) -> None:
    cells = [cell[1:] for cell in sorted(experiments._cells(arguments()), key=lambda c: c[0])]
    assert len(set(cells)) == len(cells)
    first = ['masks-exact', 'masks-head-cells-gate', 'masks-network-cells-gate', 'one-view']
    assert cells[:20] == [(name, seed) for name in first for seed in range(5)]
    seeds = [seed for name, seed in cells[20:]]
    assert max(seeds[: seeds.index(3)]) == 2 and set(seeds[seeds.index(3) :]) == {3, 4}


def test_experiments_on_masks_that_are_not_there_are_left_out(experiments: ModuleType) -> None:
    names = {name for _, name, _ in experiments._cells(arguments(network_masks=None))}
    assert names and not any('network' in name for name in names)
    assert 'masks-soft-lens' in names
    for word in ('soft', 'long', 'longest'):
        cells = experiments._cells(arguments(**{f'{word}_masks': None}))
        assert not any(f'masks-{word}-' in name for _, name, _ in cells)


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        ('masks/{seed}.json', r'--longest-masks: .*masks/0\.json: no such file'),
        ('masks/{sed}.json', r"--longest-masks: found '.*\{sed\}\.json', expected .*\{seed\}"),
    ],
)
def test_files_of_masks_are_looked_for_first(
    experiments: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    files: str,
    message: str,
) -> None:
    only = ['--only', 'masks-longest-*', '--seeds', '0', '1']
    given = ['--longest-masks', str(tmp_path / files)]
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.setattr(
        'sys.argv', ['experiments.py', '--out', str(tmp_path / 'out'), *only, *given]
    )
    with pytest.raises(SystemExit):
        experiments.main()
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / 'out').exists()


def test_a_cell_of_other_settings_is_refused(experiments: ModuleType, tmp_path: Path) -> None:
    (tmp_path / 'cells').mkdir()
    args = arguments(out=tmp_path, frames_per_subject=None)
    assert not experiments._is_finished(args, 'clothes', 0)
    settings = experiments._settings(args, experiments.EXPERIMENTS['clothes'])
    scheduled = replace(experiments.EXPERIMENTS['clothes'], first=True)
    assert experiments._settings(args, scheduled) == settings
    path = tmp_path / 'cells/clothes_0.json'
    path.write_text(json.dumps(dict(settings=settings)))
    assert experiments._is_finished(args, 'clothes', 0)
    with pytest.raises(SystemExit, match=r'clothes_0\.json: steps: found None, expected 3'):
        experiments._is_finished(arguments(out=tmp_path, frames_per_subject=None, steps=3),
                                 'clothes', 0)  # fmt: skip


@pytest.mark.slow
def test_joints_of_a_detector_are_noisy_and_have_no_3d_label(
    experiments: ModuleType, tmp_path: Path
) -> None:
    """With 3 pixels of noise and 4 cameras at 5 m, joints are triangulated to some 2 cm."""
    args = argparse.Namespace(data=tmp_path, out=tmp_path, frames_per_subject=2)
    data = experiments._data_set(args, experiments.EXPERIMENTS['from-2d-joints'], 0)
    folder = data / 'annotation_body3d' / 'fps10'
    found, of_set = (read_npz(folder / f'h36m_train{word}.npz') for word in ('', '_of_set'))
    assert (found['S'][..., 3] == 0).all() and (found['part'][..., 2] == 1).all()
    noise = found['part'][..., :2] - of_set['part'][..., :2]
    assert abs(noise.mean()) < 0.3 and 2.8 < noise.std() < 3.2
    distances = np.linalg.norm(found['S'][..., :3] - of_set['S'][..., :3], axis=-1)
    assert 0.01 < distances.mean() < 0.025
    assert SyntheticTruth(data, free_body()).floor_mm() > 3
    before = (folder / 'h36m_train.npz').read_bytes()
    (data / 'detected_joints.json').unlink()  # as if it had been killed
    experiments._data_set(args, experiments.EXPERIMENTS['from-2d-joints'], 0)
    assert (folder / 'h36m_train.npz').read_bytes() == before


def test_cameras_are_right_if_the_planted_errors_are_found(
    experiments: ModuleType, tmp_path: Path
) -> None:
    settings = dict(camera_rotation_error=0.25, camera_position_error=0.01)
    (tmp_path / 'synthetic.json').write_text(json.dumps(dict(settings=settings)))
    labels = tmp_path / 'annotation_body3d/fps10/h36m_train.npz'
    labels.parent.mkdir(parents=True)
    rotations, translations, names = {}, {}, []
    for name, camera, true in experiments._cameras(tmp_path, 3):
        subject, camera_id = name.split()
        names.append(f'{subject}/{subject}_Walking.{camera_id}/{subject}_Walking.{camera_id}_1.jpg')
        turn = (true.rotation[0] @ camera.rotation[0].T).numpy()
        rotations[name] = Rotation.from_matrix(turn).as_rotvec(degrees=True)
        shift = true.rotation[0] @ (camera.position[0] - true.position[0])
        translations[name] = (1000 * shift).tolist()
    joints = np.random.default_rng(0).normal(0, 0.4, (20, 17, 4)) + [0, 0, 5, 0]
    np.savez(labels, imgname=np.array(names), S=joints)
    wrong = experiments._camera_errors(tmp_path, dict(calibration={}), 3)
    assert wrong['before'] == wrong['after']
    angles = [np.linalg.norm(rotvec) for rotvec in rotations.values()]
    distances = [np.linalg.norm(shift) for shift in translations.values()]
    assert wrong['before']['degrees'] == pytest.approx(np.mean(angles), abs=0.01)
    assert wrong['before']['mm'] == pytest.approx(np.mean(distances), abs=0.01)
    assert wrong['before']['px'] > 3
    found = dict(extrinsic_rotation_deg=rotations, extrinsic_translation_mm=translations)
    right = experiments._camera_errors(tmp_path, dict(calibration=found), 3)
    assert right == dict(before=wrong['before'], after=dict(px=0.0, degrees=0.0, mm=0.0))


def test_poses_beyond_limits_are_counted_and_deviations_from_uniform_motion_measured(
    experiments: ModuleType, tmp_path: Path
) -> None:
    names = [f'S1/S1_Eating.54138969/S1_Eating.54138969_{frame:06d}.jpg' for frame in (1, 6, 11)]
    work_dir = tmp_path / 'run'

    def write(path: Path, bent: list[int], moved: float, order: list[int]) -> None:
        pose, transl = np.zeros((3, 24, 3)), np.zeros((3, 3))
        pose[bent, SMPL_JOINTS.index('left_knee'), 0] = -0.5  # bent forward
        transl[:, 2], transl[1, 0] = [5.0, 5.1, 5.2], moved
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            path,
            imgname=np.array(names)[order],
            pose=pose.reshape(3, 72)[order],
            betas=np.zeros((3, 10)),
            transl=transl[order],
        )

    write(tmp_path / 'truth/h36m_train.npz', [], 0.006, [2, 0, 1])
    write(tmp_path / 'fits/spin_like_train.npz', [0, 2], 0.0, [1, 2, 0])
    write(work_dir / 'pseudo_gt.npz', [1], 0.0, [0, 1, 2])
    shares = experiments._beyond_limits(tmp_path, work_dir)
    assert shares == dict(true=0.0, initial=0.6667, refined=0.3333)
    write(work_dir / 'pseudo_gt.npz', [], 0.003, [1, 0, 2])
    weights = np.zeros((17, free_body().num_vertices))
    weights[:, :100] = 0.01
    JointRegressor(weights, H36M_JOINTS_MMPOSE).save(tmp_path / 'truth/J_true.npy')
    # Of three axes, one is off.
    deviations = experiments._deviations(tmp_path, work_dir)
    assert deviations == dict(true=pytest.approx(3.46), refined=pytest.approx(1.73))


def test_seeds_with_different_settings_are_not_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = load_tool('analysis_tools/result_pages.py')
    monkeypatch.setattr(pages, 'RESULTS', tmp_path / 'results')
    (tmp_path / 'cells').mkdir()
    for seed in (0, 1):
        cell = dict(experiment='clothes', seed=seed, settings=dict(steps=seed))
        (tmp_path / 'cells' / f'clothes_{seed}.json').write_text(json.dumps(cell))
    with pytest.raises(ValueError, match='clothes: found seeds with different settings'):
        pages.collect(tmp_path, 'abc')


def test_results_become_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = load_tool('analysis_tools/result_pages.py')
    monkeypatch.setattr(pages, 'RESULTS', tmp_path / 'results')
    (tmp_path / 'cells').mkdir()
    for seed, error in ((0, 2.0), (1, 4.0)):
        cell = dict(
            experiment='clothes',
            seed=seed,
            settings={},
            config='a.py',
            device='a GPU',
            versions=dict(python='3', torch='2', numpy='2', numba='0'),
            pseudo_gt=dict(pve_opt_mm=5.0 + seed, pve_init_mm=70.0),
            regressor_error_mm=dict(J_spin=20.0 + seed, J_opt=error, floor=1.5),
            rounds=[dict(pve_mm=9.0, regressor_error_mm=3.0 + seed)] * 2,
            refinement=dict(
                term_weights=dict(joint_3d=2.0, silhouette=12.0),
                calibration=dict(
                    rounds=[
                        dict(joint_3d=1.0, silhouette=1.0 + seed),
                        dict(joint_3d=1.0, silhouette=1.0, silhouette_weight=6.0),
                    ]
                ),
            ),
            parts=dict(foot=dict(fits=error, shape=1.0, pose=2.0, initial=9.0)),
            more='than is kept',
        )
        (tmp_path / 'cells' / f'clothes_{seed}.json').write_text(json.dumps(cell))
    assert pages.collect(tmp_path, 'abc') == ['clothes']
    _more_seeds_are_added_and_other_settings_refused(pages, tmp_path)
    kept = json.loads((tmp_path / 'results/experiments/clothes.json').read_text())
    assert [cell['seed'] for cell in kept['cells']] == [0, 1] and 'more' not in kept['cells'][0]
    assert 'earlier' not in kept
    results = pages.read_results()
    table = pages.experiment_table(results, ['not-there', 'clothes'])
    assert table[2] == '| clothes | 2 | 5.5 (6.0) | 3.0 (4.0) | 1.5 (2.5) |'
    assert 'a GPU' in table[-1]
    rounds = pages.experiment_round_table(results, ['clothes'])
    assert rounds[2] == '| clothes | 2 | 9.0 / 3.5 | 9.0 / 3.5 |'
    starts = pages.experiment_start_table(results, ['clothes'])
    assert starts[0] == '|  | seeds | start | 1 | 2 |'
    assert starts[2] == '| clothes | 2 | 70.0 / 20.5 | 9.0 / 3.5 | 9.0 / 3.5 |'
    balance = pages.experiment_balance_table(results, ['clothes'])
    assert balance[2] == '| clothes | 2 | 9.0 (12.0) | 3.0 (3.0) |'
    for cell in results['experiments']['clothes']['cells']:
        errors = dict(px=4.0 + cell['seed'], degrees=0.5, mm=12.0)
        cell['cameras'] = dict(before=errors, after=dict(px=0.25, degrees=0.1, mm=2.0))
    table = pages.experiment_table(results, ['clothes'])
    assert table[0].endswith('| cameras, px | degrees | mm |')
    assert table[2].endswith('| 4.5 → 0.2 | 0.50 → 0.10 | 12 → 2 |')
    parts = pages.experiment_part_table(results, ['clothes'])
    assert parts[2] == '| foot | 3.0 / 1.0 / 2.0 | 9.0 |'
    with pytest.raises(pages.MissingResultError, match='found no poses'):
        pages.experiment_pose_table(results, ['clothes'])
    for cell in results['experiments']['clothes']['cells']:
        cell['beyond_limits'] = dict(true=0.0, initial=0.2, refined=0.1 * cell['seed'])
    table = pages.experiment_pose_table(results, ['clothes'])
    assert table[0] == '|  | seeds | beyond limits: true | initial | refined |'
    assert table[2] == '| clothes | 2 | 0.0% | 20.0% | 5.0% |'
    for cell in results['experiments']['clothes']['cells']:
        cell['deviation_mm'] = dict(true=7.0, refined=8.0 + cell['seed'])
    table = pages.experiment_pose_table(results, ['clothes'])
    assert table[2].endswith('| 5.0% | 7.0 | 8.5 |')
    with pytest.raises(pages.MissingResultError):
        pages.experiment_table(results, ['not-there'])


def _more_seeds_are_added_and_other_settings_refused(pages: ModuleType, folder: Path) -> None:
    """Collect one more seed, then the same with other settings, and restore what was there."""
    result = folder / 'results/experiments/clothes.json'
    before = result.read_text()
    more = folder / 'more/cells'
    more.mkdir(parents=True)
    cell = json.loads((folder / 'cells/clothes_1.json').read_text())
    cell |= dict(seed=4, device='a CPU', settings=dict(hook={}, steps=None))
    (more / 'clothes_4.json').write_text(json.dumps(cell))
    assert pages.collect(more.parent, 'def', add=True) == ['clothes']
    table = pages.experiment_table(pages.read_results(), ['clothes'])
    assert table[2].startswith('| clothes | 3 | ')
    assert 'commit abc' in table[-1] and 'commit def' in table[-1] and 'a CPU' in table[-1]
    seeds = [cell['seed'] for cell in json.loads(result.read_text())['cells']]
    assert seeds == [0, 1, 4]
    # The same again from another commit: the one before has no seed left, and is not named.
    assert pages.collect(more.parent, 'ghi', add=True) == ['clothes']
    line = pages.experiment_table(pages.read_results(), ['clothes'])[-1]
    assert 'commit abc' in line and 'commit def' not in line and 'commit ghi' in line
    cell['settings'] = dict(steps=3)
    (more / 'clothes_4.json').write_text(json.dumps(cell))
    with pytest.raises(ValueError, match='different settings'):
        pages.collect(more.parent, 'def', add=True)
    result.write_text(before)
