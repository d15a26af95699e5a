from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from tool_modules import load_tool

from mmjrr.body_models import free_body
from mmjrr.datasets.h36m import H36MFitsDataset
from mmjrr.datasets.image_names import KNOWN_BAD_SEQUENCES
from mmjrr.datasets.synthetic import Settings, generate, generator, is_complete
from mmjrr.datasets.synthetic.actions import ACTIONS
from mmjrr.datasets.synthetic.camera_rig import CAMERA_IDS
from mmjrr.datasets.synthetic.dataset_files import MANIFEST
from mmjrr.datasets.synthetic.sequence_plan import plan_sequences
from mmjrr.datasets.synthetic.settings import settings_as_json
from mmjrr.datasets.synthetic.subjects import make_subject
from mmjrr.geometry import PerspectiveCamera, crop_weak_perspective_to_transl
from mmjrr.jobs import IdentityError
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.regressors import JointRegressor

SETTINGS = Settings(seed=5, subjects=('S1', 'S9'), frames_per_subject=2)


def checksums(root: Path) -> dict[str, str]:
    return json.loads((root / MANIFEST).read_text())['files']


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return generate(
        tmp_path_factory.mktemp('synthetic') / 'set', SETTINGS, workers=2, progress=False
    )


@pytest.fixture(scope='module')
def body():
    return free_body()


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def vertices_of(body, fit: dict[str, np.ndarray], transl: np.ndarray) -> torch.Tensor:
    dtype = body.v_template.dtype
    tensors = {key: torch.from_numpy(fit[key]).to(dtype) for key in ('pose', 'betas')}
    with torch.no_grad():
        out = body(
            betas=tensors['betas'],
            body_pose=tensors['pose'][:, 3:],
            global_orient=tensors['pose'][:, :3],
            transl=torch.from_numpy(transl).to(dtype),
        )
    return out.vertices.double()


def camera_of(root: Path, imgname: str) -> tuple[dict, PerspectiveCamera]:
    subject, camera_id = imgname.split('/')[0], imgname.split('.')[1].split('/')[0]
    camera = pickle.loads((root / 'annotation_body3d' / 'cameras.pkl').read_bytes())[
        subject, camera_id
    ]
    lens = PerspectiveCamera(
        torch.from_numpy(camera['f'][:, 0]),
        torch.from_numpy(camera['c'][:, 0]),
        torch.from_numpy(np.concatenate([camera['k'], camera['p']])[:, 0]),
    )
    return camera, lens


@pytest.mark.parametrize(('split', 'subject'), [('train', 'S1'), ('test', 'S9')])
def test_annotations_are_laid_out_as_mmpose_has_them(root, split, subject):
    arrays = read(root / 'annotation_body3d' / 'fps10' / f'h36m_{split}.npz')
    shapes = {key: array.shape for key, array in arrays.items()}
    assert shapes == {
        'imgname': (8,), 'center': (8, 2), 'scale': (8,), 'part': (8, 17, 3), 'S': (8, 17, 4),
    }  # fmt: skip
    assert len(set(arrays['imgname'].tolist())) == 8
    for name in arrays['imgname'].tolist():
        camera, _ = camera_of(root, name)
        folder, sequence, file = name.split('/')
        assert folder == subject and file.startswith(sequence + '_')
        image = cv2.imread(str(root / 'images' / name))
        assert image.shape == (camera['h'], camera['w'], 3)


def test_layout_has_the_keys_and_types_of_mmposes_own_file(root, shared_data):
    real = read(shared_data / 'h36m_mini' / 'test_h36m_body3d.npz')
    arrays = read(root / 'annotation_body3d' / 'fps10' / 'h36m_test.npz')
    assert set(arrays) == set(real)
    for key, array in real.items():
        assert arrays[key].dtype.kind == array.dtype.kind and arrays[key].ndim == array.ndim, key
        assert arrays[key].shape[1:] == array.shape[1:], key


def test_2d_joints_are_the_3d_ones_projected(root):
    arrays = read(root / 'annotation_body3d' / 'fps10' / 'h36m_test.npz')
    for name, joints, keypoints in zip(
        arrays['imgname'].tolist(), arrays['S'], arrays['part'], strict=True
    ):
        _, lens = camera_of(root, name)
        expected = lens.project(torch.from_numpy(joints[None, :, :3]))[0].numpy()
        np.testing.assert_allclose(keypoints[:, :2], expected, atol=1e-9)


def test_cameras_take_turns_unless_synchronous():
    for take in plan_sequences(Settings(frames_per_subject=40, frame_step=10)):
        moments = [frame for frames in take.frames for frame in frames]
        assert sorted(moments) == list(range(1, 1 + 10 * len(moments), 10))
    for take in plan_sequences(Settings(synchronous=True)):
        assert len(take.frames) == 4 and len(set(take.frames)) == 1


@pytest.mark.slow
def test_synchronous_cameras_see_the_same_joints_in_the_world(tmp_path):
    settings = Settings(
        seed=2, subjects=('S11',), frames_per_subject=1, synchronous=True, images=False
    )
    generate(tmp_path / 'set', settings, workers=1, progress=False)
    assert not (tmp_path / 'set' / 'images').exists()
    arrays = read(tmp_path / 'set' / 'annotation_body3d' / 'fps10' / 'h36m_test.npz')
    world = []
    for name, joints in zip(arrays['imgname'].tolist(), arrays['S'], strict=True):
        camera, _ = camera_of(tmp_path / 'set', name)
        world.append(joints[:, :3] @ camera['R'].T + camera['T'][:, 0])
    assert len(world) == 4
    np.testing.assert_allclose(world, world[:1] * 4, atol=1e-9)
    dataset = H36MFitsDataset(
        data_root=str(tmp_path / 'set'), ann_file='annotation_body3d/fps10/h36m_test.npz'
    )
    assert dataset.moments().tolist() == [0] * 4
    samples = [dataset[index]['data_samples'] for index in range(4)]
    from_samples = [s.keypoints_3d @ s.camera_rotation + s.camera_position for s in samples]
    np.testing.assert_allclose(torch.stack(from_samples), world, atol=2e-6)


@pytest.mark.parametrize('split', ['train', 'test'])
def test_masks_cover_the_true_body_and_hold_the_joints(root, split, body):
    arrays = read(root / 'annotation_body3d' / 'fps10' / f'h36m_{split}.npz')
    truth = read(root / 'truth' / f'h36m_{split}.npz')
    masks = json.loads((root / 'masks' / f'h36m_{split}.json').read_text())['masks']
    assert set(masks) == set(arrays['imgname'].tolist())
    vertices = vertices_of(body, truth, truth['transl'])
    inside = []
    for i, name in enumerate(arrays['imgname'].tolist()):
        _, lens = camera_of(root, name)
        mask = coco_mask.decode(
            {'size': masks[name]['size'], 'counts': masks[name]['counts'].encode()}
        )
        pixels = lens.project(vertices[i : i + 1])[0].numpy()
        rows, columns = np.nonzero(mask)
        np.testing.assert_allclose(pixels.min(0), [columns.min(), rows.min()], atol=1.6)
        np.testing.assert_allclose(pixels.max(0), [columns.max() + 1, rows.max() + 1], atol=1.6)
        column, row = np.floor(arrays['part'][i, :, :2]).astype(int).T
        inside.append(mask[row, column])
    assert np.mean(inside) > 0.95


@pytest.mark.parametrize(
    ('name', 'split'),
    [('spin_like', 'train'), ('spin_like', 'test'), ('vibe_like', 'test'), ('meva_like', 'test')],
)
def test_fits_lie_over_the_people_in_spins_layout(root, body, name, split):
    arrays = read(root / 'annotation_body3d' / 'fps10' / f'h36m_{split}.npz')
    fit = read(root / 'fits' / f'{name}_{split}.npz')
    assert {key: array.shape for key, array in fit.items() if key != 'provenance'} == {
        'imgname': (8,), 'pose': (8, 72), 'betas': (8, 10), 'shape': (8, 10), 'camera': (8, 3),
    }  # fmt: skip
    assert fit['imgname'].tolist() == arrays['imgname'].tolist()
    for i, image in enumerate(fit['imgname'].tolist()):
        _, lens = camera_of(root, image)
        transl = crop_weak_perspective_to_transl(
            torch.from_numpy(fit['camera'][i : i + 1]),
            torch.from_numpy(arrays['center'][i : i + 1]),
            torch.from_numpy(200 * arrays['scale'][i : i + 1]),
            lens,
        )
        one = {key: fit[key][i : i + 1] for key in ('pose', 'betas')}
        pixels = lens.project(vertices_of(body, one, transl.numpy()))[0].numpy()
        low, high = arrays['part'][i, :, :2].min(0), arrays['part'][i, :, :2].max(0)
        tolerance = 0.25 * (high - low).max()
        np.testing.assert_allclose(
            (pixels.min(0) + pixels.max(0)) / 2, (low + high) / 2, atol=tolerance
        )
        assert np.ptp(pixels, axis=0).max() == pytest.approx((high - low).max(), rel=0.35)


def test_test_subjects_have_no_initial_fits(root):
    assert sorted(path.name for path in (root / 'fits').iterdir()) == [
        'meva_like_test.npz', 'spin_like_test.npz', 'spin_like_train.npz', 'vibe_like_test.npz',
    ]  # fmt: skip


def test_true_regressor_explains_the_labels(root, body):
    arrays = read(root / 'annotation_body3d' / 'fps10' / 'h36m_train.npz')
    truth = read(root / 'truth' / 'h36m_train.npz')
    regressor = JointRegressor.load(root / 'truth' / 'J_true.npy', joint_order='mmpose')
    joints = regressor(vertices_of(body, truth, truth['transl'])).numpy()
    ankles = [3, 6]
    difference = np.delete(joints - arrays['S'][..., :3], ankles, axis=1)
    assert difference.std() == pytest.approx(0.003, rel=0.15)


def test_the_report_states_the_errors_of_the_simulated_estimators(root):
    report = json.loads((root / 'truth' / 'report.json').read_text())
    assert report['frames'] == {'train': 8, 'test': 8}
    assert set(report['mpjpe_mm']) == {
        'spin_like_train',
        'spin_like_test',
        'vibe_like_test',
        'meva_like_test',
    }
    assert 30 < report['mpjpe_mm']['spin_like_train'] < 90
    assert report['mpjpe_mm']['meva_like_test'] > report['mpjpe_mm']['spin_like_test']
    assert 8 < report['J_std_distance_mm'] < 35


@pytest.mark.slow
def test_bytes_depend_on_the_settings_and_not_on_workers_or_interruptions(
    root, tmp_path, monkeypatch
):
    out = tmp_path / 'set'
    calls = []
    write = generator._write_sequence

    def die_at_the_second(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(*args)

    monkeypatch.setattr(generator, '_write_sequence', die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        generate(out, SETTINGS, workers=1, progress=False)
    assert not is_complete(out, SETTINGS)
    generate(out, SETTINGS, workers=1, progress=False)
    assert len(calls) == 5  # four sequences, the one that was cut short twice
    assert checksums(out) == checksums(root)
    assert not (out / '.parts').exists()


def test_a_complete_set_is_left_alone(root):
    before = (root / MANIFEST).stat().st_mtime_ns
    generate(root, SETTINGS, progress=False)
    assert (root / MANIFEST).stat().st_mtime_ns == before


def test_a_set_of_other_settings_is_not_overwritten_unasked(root, tmp_path):
    with pytest.raises(ValueError, match='other folder|another folder'):
        generate(root, Settings(seed=6), progress=False)
    (tmp_path / 'images').mkdir()
    with pytest.raises(ValueError, match='did not write'):
        generate(tmp_path, SETTINGS, progress=False, overwrite=True)
    assert (tmp_path / 'images').is_dir()


@pytest.mark.slow
def test_a_part_of_other_settings_is_not_continued(tmp_path, monkeypatch):
    def die(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(generator, '_write_sequence', die)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, SETTINGS, workers=1, progress=False)
    other = replace(SETTINGS, jpeg_quality=50)
    with pytest.raises(IdentityError, match='settings.jpeg_quality: recorded 80, present 50'):
        generate(tmp_path, other, workers=1, progress=False)
    assert not (tmp_path / 'run.lock').exists()


@pytest.mark.slow
def test_without_ankle_offsets_only_the_labels_of_the_ankles_differ(root, tmp_path):
    settings = replace(SETTINGS, ankle_offsets=False, images=False)
    other = generate(tmp_path / 'other', settings, progress=False)
    assert 'ankle_offsets' not in json.loads((root / 'synthetic.json').read_text())['settings']
    assert not json.loads((other / 'synthetic.json').read_text())['settings']['ankle_offsets']
    ankles = [H36M_JOINTS_MMPOSE.index(f'{side}_ankle') for side in ('left', 'right')]
    others = [j for j in range(17) if j not in ankles]
    for split, name in (('train', 'S1'), ('test', 'S9')):
        path = f'annotation_body3d/fps10/h36m_{split}.npz'
        with_offsets, without = (np.load(folder / path)['S'] for folder in (root, other))
        np.testing.assert_array_equal(with_offsets[:, others], without[:, others])
        moved = np.linalg.norm((with_offsets - without)[:, ankles, :3], axis=-1)
        expected = np.linalg.norm(make_subject(SETTINGS.seed, name).ankle_offset, axis=-1)
        np.testing.assert_allclose(moved, np.broadcast_to(expected, moved.shape), rtol=1e-4)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="found \\('S2',\\)"):
        Settings(subjects=('S2',))
    with pytest.raises(ValueError, match='frames_per_subject: found 0, expected 1 to 1000000'):
        Settings(frames_per_subject=0)
    with pytest.raises(ValueError, match="actions: found \\('Dancing',\\), expected some of"):
        Settings(actions=('Dancing',))


def test_few_actions_give_longer_sequences_of_the_same_motion():
    settings = Settings(
        frames_per_subject=16, frame_step=5, actions=('Walking', 'Sitting'), synchronous=True
    )
    for take in plan_sequences(settings):
        assert take.action in ('Walking', 'Sitting')
        assert take.frames == (tuple(range(1, 41, 5)),) * 4
    assert settings_as_json(settings)['actions'] == ['Walking', 'Sitting']
    assert 'actions' not in settings_as_json(Settings())


@pytest.mark.parametrize('frames', [1, 16, 33])
def test_plan_spreads_a_subjects_moments_over_the_actions(frames):
    plan = plan_sequences(Settings(frames_per_subject=frames))
    for subject in Settings().subjects:
        own = [take for take in plan if take.subject == subject]
        assert len({take.action for take in own}) == len(own) == min(frames, len(ACTIONS))
        numbers = [len(take.frames[0]) for take in own]
        assert sum(numbers) == frames and max(numbers) - min(numbers) <= 1


def test_no_sequence_is_one_of_those_known_to_be_bad():
    for take in plan_sequences(Settings()):
        names = {take.name, *(f'{take.name}.{camera}' for camera in CAMERA_IDS)}
        assert not names & set(KNOWN_BAD_SEQUENCES)


def test_the_projects_own_dataset_reads_it(root):
    dataset = H36MFitsDataset(
        data_root=str(root),
        ann_file='annotation_body3d/fps10/h36m_train.npz',
        camera_param_file='annotation_body3d/cameras.pkl',
        fits_file='fits/spin_like_train.npz',
        mask_file='masks/h36m_train.json',
        load_mask=True,
    )
    assert len(dataset) == 8
    sample = dataset[0]
    assert sample['inputs']['mask'].shape == (224, 224)
    assert 0.05 < sample['inputs']['mask'].float().mean() < 0.6
    assert 3 < sample['data_samples'].transl[2] < 8


@pytest.mark.slow
def test_the_command_prints_its_files_and_its_errors(tmp_path, capsys):
    tool = load_tool('dataset_converters/make_synthetic_h36m.py')
    arguments = ['--out', str(tmp_path / 'set'), '--subjects', 'S11', '--frames-per-subject', '1']
    arguments += ['--no-images', '--workers', '1']
    assert tool.main(arguments) == 0
    assert "frames {'test': 4}" in capsys.readouterr().out
    assert tool.main(arguments) == 0
    assert 'complete already' in capsys.readouterr().out
    assert tool.main([*arguments, '--seed', '1']) == 2
    assert 'choose another folder' in capsys.readouterr().err


@pytest.mark.slow
def test_deviations_change_images_or_labels_alone(root, tmp_path):
    """A camera's error and lateness move its masks, and noise the labels, and nothing else."""

    def other(**options):
        settings = replace(SETTINGS, images=False, **options)
        return generate(tmp_path / '_'.join(options), settings, workers=1, progress=False)

    labels = 'annotation_body3d/fps10/h36m_train.npz'
    moved_cameras = dict(camera_rotation_error=0.25, camera_position_error=0.01)
    for options in (dict(camera_error=5.0), moved_cameras, dict(late_frames=1)):
        changed = other(**options)
        assert (changed / labels).read_bytes() == (root / labels).read_bytes()
        before, after = (
            json.loads((folder / 'masks/h36m_train.json').read_text())['masks']
            for folder in (root, changed)
        )
        moved = {name.split('.')[1][:8] for name in before if before[name] != after[name]}
        assert moved == ({CAMERA_IDS[-1]} if 'late_frames' in options else set(CAMERA_IDS))
        cameras = 'annotation_body3d/cameras.pkl'
        assert (changed / cameras).read_bytes() == (root / cameras).read_bytes()
    noisy = other(label_noise=3.0)
    before, after = (read(folder / labels)['S'][..., :3] for folder in (root, noisy))
    # The same draws, three times as large: their difference has twice the noise of 3 mm.
    assert abs(np.std(after - before) - 0.006) < 0.0005
    masks = (json.loads((f / 'masks/h36m_train.json').read_text())['masks'] for f in (root, noisy))
    assert len({json.dumps(one, sort_keys=True) for one in masks}) == 1
