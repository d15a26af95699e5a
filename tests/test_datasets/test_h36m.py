from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import ConcatDataset, pseudo_collate
from pycocotools import mask as coco_mask
from torch.utils.data import DataLoader

from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.image_names import is_listed, parse_image_name
from mmjrr.datasets.masks import encode_cells
from mmjrr.errors import DataError
from mmjrr.joints import H36M_JOINTS_MMPOSE, reorder_index
from mmjrr.registry import DATASETS

ROOT = Path(__file__).resolve().parents[2]
SEQUENCES = ['S1_Directions_1.54138969', 'S1_Walking.60457274', 'S9_Greeting.54138969']
FRAMES = [1, 6, 11, 16]
NAMES = [f'{s.split("_")[0]}/{s}/{s}_{f:06d}.jpg' for s in SEQUENCES for f in FRAMES]
ANN, FITS, MASKS = 'annotation_body3d/fps10/h36m_train.npz', 'fits/x_train.npz', 'masks/m.json'
LEFT_RIGHT = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]


def camera_of(name: str) -> dict[str, Any]:
    focal = 1145.0 if '54138969' in name else 1150.0
    return dict(
        R=np.eye(3), T=np.zeros((3, 1)), c=np.array([[512.0], [515.0]]),
        f=np.array([[focal], [focal]]), k=np.array([[-0.2], [0.24], [0.0]]),
        p=np.array([[0.001], [-0.002]]), w=1000, h=1002,
    )  # fmt: skip


def project(points: np.ndarray, camera: dict[str, Any]) -> np.ndarray:  # (J, 3) -> (J, 2)
    """H36M's camera, written out."""
    x, y = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]
    k, p = camera['k'].ravel(), camera['p'].ravel()
    r2 = x**2 + y**2
    factor = 1 + k[0] * r2 + k[1] * r2**2 + k[2] * r2**3 + p[0] * y + p[1] * x
    plane = np.stack([x * factor + p[1] * r2, y * factor + p[0] * r2], 1)
    return plane * camera['f'].ravel() + camera['c'].ravel()


def arrays() -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    count = len(NAMES)
    S = rng.normal([0, 0, 5], 0.3, (count, 17, 3))
    part = np.stack([project(s, camera_of(n)) for s, n in zip(S, NAMES, strict=True)])
    ones = np.ones((count, 17, 1))
    annotation = dict(
        imgname=np.array(NAMES), center=rng.uniform(450, 550, (count, 2)),
        scale=rng.uniform(1.5, 2.0, count), part=np.concatenate([part, ones], 2),
        S=np.concatenate([S, ones], 2),
    )  # fmt: skip
    fits = dict(
        imgname=np.array([name.rsplit('/', 1)[1] for name in reversed(NAMES)]),
        pose=rng.normal(size=(count, 72)), betas=rng.normal(size=(count, 10)),
        transl=rng.normal([0, 0, 5], 0.1, (count, 3)),
    )  # fmt: skip
    return dict(annotation=annotation, fits=fits)


def write(root: Path, changes: dict[str, dict[str, Any]] | None = None, size=(1002, 1000)) -> Path:
    content = arrays()
    for group, values in (changes or {}).items():
        content[group] = {k: v for k, v in {**content[group], **values}.items() if v is not None}
    for path, group in ((ANN, 'annotation'), (FITS, 'fits')):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        np.savez(root / path, **content[group])
    cameras = {(s, c): camera_of(c) for s in ('S1', 'S9') for c in ('54138969', '60457274')}
    (root / 'annotation_body3d/cameras.pkl').write_bytes(pickle.dumps(cameras))
    mask = np.zeros(size, dtype=np.uint8, order='F')
    mask[300:700, 400:600] = 1
    code = coco_mask.encode(mask)['counts'].decode()
    entries = {name: {'size': list(size), 'counts': code, 'score': 0.9} for name in NAMES}
    (root / 'masks').mkdir(exist_ok=True)
    (root / MASKS).write_text(json.dumps({'info': {}, 'masks': entries}))
    return root


def build(root: Path, **arguments: Any) -> H36MFitsDataset:
    return H36MFitsDataset(**{
        'data_root': str(root), 'fits_file': FITS, 'mask_file': MASKS, 'load_mask': True,
        'exclude_sequences': None, **arguments,
    })  # fmt: skip


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp('h36m'))


def test_an_item_holds_what_the_files_say(root: Path) -> None:
    dataset, content = build(root), arrays()
    assert len(dataset) == len(NAMES)
    sample = dataset[5]['data_samples']
    annotation, fits = content['annotation'], content['fits']
    fit_row = len(NAMES) - 1 - 5
    expected = dict(
        keypoints_3d=annotation['S'][5, :, :3], keypoints_3d_weight=np.ones(17),
        keypoints_2d=annotation['part'][5, :, :2], keypoints_2d_weight=np.ones(17),
        focal_length=[1150.0, 1150.0], principal_point=[512.0, 515.0],
        distortion=[-0.2, 0.24, 0.0, 0.001, -0.002], camera_rotation=np.eye(3),
        camera_position=[0.0, 0.0, 0.0], global_orient=fits['pose'][fit_row, :3],
        body_pose=fits['pose'][fit_row, 3:], betas=fits['betas'][fit_row],
        transl=fits['transl'][fit_row],
    )  # fmt: skip
    assert set(sample.keys()) == set(expected)
    for name, value in expected.items():
        field = getattr(sample, name)
        assert field.dtype == torch.float32
        np.testing.assert_allclose(field, np.asarray(value, dtype=np.float32), err_msg=name)
    side = 200 * annotation['scale'][5]
    np.testing.assert_allclose(sample.box[:2], annotation['center'][5] - side / 2)
    np.testing.assert_allclose(sample.box[2:], annotation['center'][5] + side / 2)
    assert (sample.imgname, sample.sample_idx, sample.img_shape) == (NAMES[5], 5, (1002, 1000))
    assert sample.img_path == str(root / 'images' / NAMES[5])
    assert (sample.subject, sample.action) == ('S1', 'Walking')
    assert (sample.camera, sample.frame) == ('60457274', 6)


def test_moments_are_the_frames_of_one_instant(root: Path) -> None:
    dataset = build(root)
    instant = [name.split('/')[-1] for name in NAMES]
    instant = [(name.split('.')[0], name.split('_')[-1]) for name in instant]
    moments = dataset.moments()
    for i, j in itertools.product(range(len(NAMES)), repeat=2):
        assert (moments[i] == moments[j]) == (instant[i] == instant[j])
    assert sorted(set(moments.tolist())) == list(range(len(set(instant))))


def test_the_mask_crop_keeps_the_masks_area(root: Path) -> None:
    item = build(root, bbox_padding=1.5)[0]
    mask, box = item['inputs']['mask'], item['data_samples'].box
    assert mask.shape == (224, 224) and mask.dtype == torch.float32
    pixel = (box[2] - box[0]) * (box[3] - box[1]) / 224**2
    assert float(mask.double().sum()) * pixel == pytest.approx(400 * 200, rel=1e-5)


def test_fit_samples_equal_items_and_read_no_mask(root: Path) -> None:
    dataset = build(root)
    item = dataset[3]['data_samples']
    dataset.masks = None
    for name, value in dataset.fit_sample(3).items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, getattr(item, name), err_msg=name)
    assert dataset.fit_sample(3)['body_pose'].shape == (69,)


def test_a_dataloader_with_workers_collates_items(root: Path) -> None:
    loader = DataLoader(build(root), batch_size=4, collate_fn=pseudo_collate, num_workers=1)
    names = [s.imgname for batch in loader for s in batch['data_samples']]
    assert names == NAMES


def test_it_is_built_by_name_and_has_joint_names() -> None:
    assert DATASETS.get('H36MFitsDataset') is H36MFitsDataset
    assert H36MFitsDataset.METAINFO['joint_names'] == H36M_JOINTS_MMPOSE


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (dict(subjects=['S9']), NAMES[8:]),
        (dict(actions=['Directions']), NAMES[:4]),
        (dict(cameras=['60457274']), NAMES[4:8]),
        (dict(frame_step=2), NAMES[::2]),
        (dict(frame_step=3), [n for n in NAMES if n[-10:-4] in ('000001', '000016')]),
        (dict(exclude_sequences='known_bad'), NAMES[:8]),
        (dict(exclude_sequences=['S1_Walking.60457274']), NAMES[:4] + NAMES[8:]),
        (dict(exclude_sequences=['S1_Walking', 'known_bad']), NAMES[:4]),
        (dict(filter_cfg=dict(subjects=['S9'], frame_step=2)), NAMES[8::2]),
    ],
)
def test_samples_are_chosen_by_config(root: Path, arguments: dict, expected: list[str]) -> None:
    dataset = build(root, **arguments)
    assert [dataset.imgname(i) for i in range(len(dataset))] == expected
    assert [dataset[i]['data_samples'].imgname for i in range(len(dataset))] == expected
    assert dataset.report['annotated'] == len(NAMES) and dataset.report['kept'] == len(expected)


def test_frame_steps_follow_frame_numbers_not_the_files_order(tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(len(NAMES))
    content = {k: v[order] for k, v in arrays()['annotation'].items()}
    dataset = build(write(tmp_path, dict(annotation=content)), frame_step=2)
    assert sorted(dataset.imgname(i) for i in range(len(dataset))) == sorted(NAMES[::2])
    assert dataset.check_projection(tolerance=0.01)['S1 60457274']['frames'] == 2


def test_an_empty_choice_lists_the_possible_values(root: Path) -> None:
    with pytest.raises(DataError, match=r"no sample of 12 is left.*subjects \['S1', 'S9'\]"):
        build(root, subjects=['S2'])


def without_some_fits_and_masks(root: Path) -> Path:
    fits = {k: v[2:] for k, v in arrays()['fits'].items()}  # reversed: the last two names
    write(root, dict(fits=fits))
    masks = json.loads((root / MASKS).read_text())
    del masks['masks'][NAMES[0]]
    (root / MASKS).write_text(json.dumps(masks))
    return root


def test_samples_without_fit_or_mask_are_dropped_and_counted(tmp_path: Path) -> None:
    dataset = build(without_some_fits_and_masks(tmp_path))
    assert [dataset.imgname(i) for i in range(len(dataset))] == NAMES[1:-2]
    report = dataset.report
    assert (report['without_fit'], report['without_mask'], report['dropped']) == (2, 1, 3)
    np.testing.assert_allclose(
        dataset.fit_sample(0)['betas'], arrays()['fits']['betas'][-2].astype(np.float32)
    )


def test_what_is_required_can_be_chosen(tmp_path: Path) -> None:
    root = without_some_fits_and_masks(tmp_path)
    assert len(build(root, require=['mask'])) == 11
    dataset = build(root, test_mode=True, load_mask=False)
    assert len(dataset) == 12
    assert 'betas' not in dataset[11]['data_samples'] and 'betas' in dataset[0]['data_samples']
    with pytest.raises(DataError, match='found no fit'):
        dataset.fit_sample(11)
    with pytest.raises(ValueError, match="add 'mask' to require"):
        build(root, require=['fit'])


def test_the_log_says_what_becomes_of_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr('mmjrr.datasets.h36m.print_log', lambda text, **_: lines.append(text))
    root = without_some_fits_and_masks(tmp_path)
    build(root, require=['mask'])
    assert lines.pop().endswith('11 of 12 samples of ' + str(root / ANN) + (
        '; 2 without a fit; 1 dropped, without a mask'
    ))  # fmt: skip
    build(root, fits_file=None)
    assert 'fits_file is not set, so no sample has a fit; 1 dropped, without a' in lines.pop()
    build(root, fits_file=None, test_mode=True, mask_file=None, load_mask=False, frame_step=2)
    assert lines.pop().endswith("; not selected: {'frame_step': 6}")
    masks = json.loads((root / MASKS).read_text())
    masks['masks'][NAMES[4]]['cells'] = encode_cells(np.ones((2, 2)))
    (root / MASKS).write_text(json.dumps(masks))
    lines.clear()
    assert 'mask_cells' not in build(root)[0]['inputs']
    assert 'cells: found them in 1 of 11 masks' in lines[0] and len(lines) == 2
    build(root, load_mask=False)
    assert len(lines) == 3


def test_evaluation_needs_neither_fits_nor_masks(root: Path) -> None:
    dataset = build(root, fits_file=None, mask_file=None, load_mask=False, test_mode=True)
    item = dataset[0]
    assert item['inputs'] == {} and 'betas' not in item['data_samples']
    assert len(dataset) == 12


def test_weak_perspective_cameras_become_translations(tmp_path: Path) -> None:
    """A camera (s, 0, 0) puts the origin in the box's center at the depth where the box's
    size in meters is 2 / s."""
    scale = np.full(len(NAMES), 0.8)
    camera = np.stack([scale, 0 * scale, 0 * scale], 1)
    root = write(tmp_path, dict(fits=dict(transl=None, camera=camera)))
    dataset, annotation = build(root), arrays()['annotation']
    transl = np.stack([dataset.fit_sample(i)['transl'] for i in range(len(NAMES))])
    for i, name in enumerate(NAMES):
        lens = camera_of(name)
        seen = project(transl[i : i + 1].astype(np.float64), lens)[0]
        np.testing.assert_allclose(seen, annotation['center'][i], atol=1e-2)
        pixels_per_meter = lens['f'][0, 0] / transl[i, 2]
        assert 2 / 0.8 * pixels_per_meter == pytest.approx(200 * annotation['scale'][i], rel=1e-5)


def test_joints_without_weight_may_be_nan_and_come_out_as_zero(tmp_path: Path) -> None:
    content = arrays()['annotation']
    content['S'][2, 4] = [np.nan, np.nan, np.nan, 0]
    dataset = build(write(tmp_path, dict(annotation=dict(S=content['S']))))
    sample = dataset.fit_sample(2)
    assert sample['keypoints_3d_weight'].tolist() == [1.0] * 4 + [0.0] + [1.0] * 12
    assert sample['keypoints_3d'][4].tolist() == [0, 0, 0]


def test_2d_joints_without_confidence_count_fully(tmp_path: Path) -> None:
    part = arrays()['annotation']['part'][..., :2]
    sample = build(write(tmp_path, dict(annotation=dict(part=part))))[0]['data_samples']
    assert sample.keypoints_2d_weight.tolist() == [1.0] * 17


def changed(field: str, row: int, value: Any) -> np.ndarray:
    array = arrays()['annotation'][field].copy()
    array[row] = value
    return array


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('imgname', np.array([*NAMES[:-1], NAMES[0]]), 'imgname: found 1 images listed more'),
        ('imgname', np.array([*NAMES[:-1], 'x.jpg']), "imgname: image name 'x.jpg'"),
        (
            'imgname',
            np.array([NAMES[0], *(f'/{n}' for n in NAMES[1:])]),
            "imgname: row 1: found '/S",
        ),
        ('imgname', np.array([f'a/../../{name}' for name in NAMES]), 'row 0: .*, without ..'),
        ('imgname', np.array([f'..\\\\{name}' for name in NAMES]), 'expected a path inside'),
        ('S', arrays()['annotation']['S'][:5], r'S: found shape \(5, 17, 4\), expected \(12, 17'),
        ('S', np.zeros((12, 24, 4)), r'S: found shape \(12, 24, 4\).*17 joints'),
        ('S', changed('S', 7, np.nan), f'S: 1 of 12 rows are not finite, the first is {NAMES[7]}'),
        ('S', arrays()['annotation']['S'] * [1000, 1000, 1000, 1], 'expected meters.*millimeters'),
        ('part', changed('part', 3, np.inf), 'part: 1 of 12 rows are not finite'),
        ('center', np.zeros((12, 3)), r'center: found shape \(12, 3\)'),
        ('scale', changed('scale', 2, 0.0), f'scale: found 0.0 at {NAMES[2]}'),
        ('scale', None, r"\['scale'\] missing"),
    ],
)
def test_broken_annotations_are_named(tmp_path: Path, field: str, value: Any, message: str) -> None:
    root = write(tmp_path, dict(annotation={field: value}))
    with pytest.raises(DataError, match=rf'h36m_train\.npz: .*{message}'):
        build(root)


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('imgname', np.array([NAMES[0]] * 12), 'has 12 predictions'),
        ('transl', np.array([[0, 0, -5.0]] * 12), 'transl: .*behind the camera'),
        ('transl', np.array([[0, 0, 5000.0]] * 12), 'transl: found 5000, expected meters'),
    ],
)
def test_broken_fits_are_named(tmp_path: Path, field: str, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf'x_train\.npz: .*{message}'):
        build(write(tmp_path, dict(fits={field: value})))


def test_fits_without_any_translation_start_at_the_annotated_pelvis(tmp_path: Path) -> None:
    root = write(tmp_path, dict(fits=dict(transl=None)))
    data = build(root)
    for row in range(len(data)):
        sample = data[row]['data_samples']
        torch.testing.assert_close(sample.transl, sample.keypoints_3d[0])
    path = root / 'annotation_body3d/fps10/h36m_train.npz'
    content = dict(np.load(path))
    content['S'][3, 0, 3] = 0
    np.savez(path, **content)
    mean = content['S'][3, 1:, :3].mean(0)
    np.testing.assert_allclose(build(root).fit_sample(3)['transl'], mean, rtol=1e-5)


def test_fits_without_any_translation_or_3d_joints_start_on_the_axis_of_the_box(
    tmp_path: Path,
) -> None:
    root = write(tmp_path, dict(fits=dict(transl=None)))
    path = root / 'annotation_body3d/fps10/h36m_train.npz'
    content = dict(np.load(path))
    content['S'][:, :, 3] = 0
    np.savez(path, **content)
    data = build(root)
    for row, name in enumerate(NAMES):
        lens, transl = camera_of(name), data.fit_sample(row)['transl'].astype(np.float64)
        np.testing.assert_allclose(
            project(transl[None], lens)[0], content['center'][row], atol=1e-3
        )
        side_in_pixels = 2.0 * lens['f'].mean() / transl[2]  # of two meters at this depth
        assert side_in_pixels == pytest.approx(200 * content['scale'][row], rel=1e-5)
    with pytest.raises(DataError, match="found no 'transl'; set camera_param_file"):
        build(root, camera_param_file=None, mask_file=None, load_mask=False).full_init()


def test_results_that_number_the_frames_of_a_video_can_be_the_fits(tmp_path: Path) -> None:
    """WHAM's and VIBE's layout: persons, their frames, poses and shapes, no image names."""
    root = write(tmp_path)
    fits = arrays()['fits']
    person = dict(frame_ids=np.arange(4), pose=fits['pose'][:4], betas=fits['betas'][:4])
    (root / 'fits/video.pkl').write_bytes(pickle.dumps({0: person}))
    video = SEQUENCES[0]
    data = build(
        root, fits_file='fits/video.pkl', frame_step=5,
        fits_reading=dict(name_format=video + '_{number:06d}'),
    )  # fmt: skip
    assert [data.imgname(i) for i in range(len(data))] == NAMES[:1]  # frames 1 to 4 of the video
    np.testing.assert_allclose(
        data.fit_sample(0)['body_pose'], fits['pose'][0, 3:].astype(np.float32)
    )


def test_images_without_a_person_in_the_fits_are_dropped_and_counted(tmp_path: Path) -> None:
    root = write(tmp_path)
    fits = arrays()['fits']
    persons = {
        str(name): {key: fits[key][row : row + 1] for key in ('pose', 'betas', 'transl')}
        for row, name in enumerate(fits['imgname'])
    }
    first = NAMES[0].rsplit('/', 1)[1]
    persons[first] = dict(pose=np.zeros((0, 72)), betas=np.zeros((0, 10)), transl=np.zeros((0, 3)))
    (root / 'fits/images.pkl').write_bytes(pickle.dumps(persons))
    data = build(root, fits_file='fits/images.pkl')
    assert [data.imgname(i) for i in range(len(data))] == NAMES[1:]
    assert (data.report['without_fit'], data.report['dropped']) == (1, 1)
    np.testing.assert_allclose(
        data.fit_sample(0)['body_pose'], fits['pose'][-2, 3:].astype(np.float32)
    )
    everything = build(root, fits_file='fits/images.pkl', test_mode=True)
    assert [everything.imgname(i) for i in range(len(everything))] == NAMES
    with pytest.raises(DataError, match=f'{first}: found no fit'):
        everything.fit_sample(0)


def test_weak_perspective_cameras_without_scale_are_named(tmp_path: Path) -> None:
    root = write(tmp_path, dict(fits=dict(transl=None, camera=np.zeros((12, 3)))))
    with pytest.raises(DataError, match=r'x_train\.npz: camera: .*positive'):
        build(root)


def test_a_camera_that_is_missing_from_the_file_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / 'annotation_body3d/cameras.pkl'
    cameras = pickle.loads(path.read_bytes())
    del cameras['S9', '54138969']
    path.write_bytes(pickle.dumps(cameras))
    with pytest.raises(DataError, match=r"cameras\.pkl: found no camera \('S9', '54138969'\)"):
        build(tmp_path)
    assert len(build(tmp_path, subjects=['S1'])) == 8


def test_masks_of_another_size_than_the_image_are_named(tmp_path: Path) -> None:
    root = write(tmp_path, size=(1000, 999))
    with pytest.raises(DataError, match=r'found \(1000, 999\), expected .*\(1002, 1000\)'):
        build(root)


def test_two_rows_more_or_less_are_h36ms_own(tmp_path: Path) -> None:
    assert build(write(tmp_path, size=(1000, 1000)))[0]['data_samples'].img_shape == (1000, 1000)


def test_the_projection_check_measures_every_camera(root: Path) -> None:
    camera = build(root).check_projection(tolerance=0.01)
    assert set(camera) == {'S1 54138969', 'S1 60457274', 'S9 54138969'}
    assert all(value['max_px'] < 1e-2 for value in camera.values())


def test_swapped_sides_are_detected_and_named(tmp_path: Path) -> None:
    part = arrays()['annotation']['part']
    dataset = build(write(tmp_path, dict(annotation=dict(part=part[:, LEFT_RIGHT]))))
    with pytest.raises(DataError, match='left and right are swapped between S and part'):
        dataset.check_projection()


@pytest.mark.parametrize('field', ['S', 'part'])
def test_legs_in_spins_order_are_detected_and_named(tmp_path: Path, field: str) -> None:
    changed = arrays()['annotation'][field][:, reorder_index('mmpose', 'spin')]
    dataset = build(write(tmp_path, dict(annotation={field: changed})))
    with pytest.raises(DataError, match=r"the legs \(as in SPIN's joint order\) are swapped"):
        dataset.check_projection()


def test_joints_without_a_place_before_the_camera_do_not_pass(tmp_path: Path) -> None:
    joints = arrays()['annotation']['S'].copy()
    joints[..., :3] -= joints[:, :1, :3]  # relative to the pelvis
    dataset = build(write(tmp_path, dict(annotation=dict(S=joints))))
    with pytest.raises(DataError, match='projected S is nan px from part'):
        dataset.check_projection(tolerance=10)


def test_the_projection_check_names_cameras_and_sequences_that_are_off(tmp_path: Path) -> None:
    part = arrays()['annotation']['part'] + [30, 0, 0]
    dataset = build(write(tmp_path, dict(annotation=dict(part=part))))
    assert dataset.check_projection()['S9 54138969']['mean_px'] == pytest.approx(30, rel=1e-3)
    with pytest.raises(DataError, match='S1 54138969: projected S is 30.0 px'):
        dataset.check_projection(tolerance=5)


def test_the_pipeline_transforms_items(root: Path) -> None:
    def mark(sample: dict) -> dict:
        return {**sample, 'marked': True}

    sample = build(root, pipeline=[mark])[2]
    assert sample['marked'] and sample['imgname'] == NAMES[2]
    packed = build(root, pipeline=[mark, dict(type='PackMeshInputs')])[2]
    assert packed['data_samples'].imgname == NAMES[2] and 'mask' in packed['inputs']


@pytest.mark.slow
def test_a_pipeline_that_returns_none_is_an_error_unless_others_may_replace_it(root: Path) -> None:
    def only_the_last(sample: dict) -> dict | None:
        return sample if sample['imgname'] == NAMES[-1] else None

    with pytest.raises(ValueError, match=rf'{NAMES[0]}: the pipeline returned None'):
        build(root, pipeline=[only_the_last])[0]
    with pytest.raises(ValueError, match='the pipeline returned None'):
        build(root, pipeline=[only_the_last], test_mode=True, max_refetch=1000)[0]
    dataset = build(root, pipeline=[only_the_last], max_refetch=1000)
    assert dataset[0]['imgname'] == NAMES[-1]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(frame_step=0), 'frame_step: found 0'),
        (dict(crop_size=(224,)), 'crop_size'),
        (dict(bbox_padding=0), 'bbox_padding'),
        (dict(mask_file=None), 'mask_file: found None'),
        (dict(require=['joints']), 'require: found'),
        (dict(require=['fit'], fits_file=None), 'fits_file: found None'),
        (dict(subjects='S1'), "subjects: found 'S1', expected a list"),
        (dict(exclude_sequences='bad'), 'exclude_sequences'),
        (dict(filter_cfg=dict(subject=['S1'])), "filter_cfg: found 'subject', expected some of"),
        (dict(subjects=['S1'], filter_cfg=dict(subjects=['S9'])), 'subjects: found .* remove one'),
    ],
)
def test_wrong_arguments_are_refused(root: Path, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(root, **arguments)


def test_crops_that_are_not_square_contain_the_square_box(root: Path) -> None:
    dataset, square = build(root, crop_size=(256, 192)), build(root)
    item = dataset[0]
    x0, y0, x1, y1 = item['data_samples'].box
    u0, v0, u1, v1 = square[0]['data_samples'].box
    assert item['inputs']['mask'].shape == (256, 192)
    assert (x1 - x0) / (y1 - y0) == pytest.approx(192 / 256)
    np.testing.assert_allclose([x0, x1], [u0, u1])
    assert y0 < v0 and y1 > v1


def test_the_evaluation_configs_keep_the_sequences_that_published_numbers_hold() -> None:
    """SPIN and the paper skip no take of S9; images of S11's Directions.54138969 do not exist."""
    cfg = Config.fromfile(str(ROOT / 'configs/evaluation/stored-spin_h36m.py'))
    excluded = cfg.test_dataloader.dataset.exclude_sequences
    takes = ('S9_Greeting', 'S9_SittingDown_1', 'S9_Waiting_1', 'S11_Directions')
    names = [f'{take}.{camera}_000001.jpg' for take in takes for camera in ('54138969', '60457274')]
    left_out = [name for name in names if is_listed(parse_image_name(name), excluded)]
    assert left_out == ['S11_Directions.54138969_000001.jpg']


# ------------------------------------------------------------------ as MMEngine's datasets are used


def names_of(dataset: H36MFitsDataset) -> list[str]:
    return [dataset.imgname(i) for i in range(len(dataset))]


@pytest.mark.slow
@pytest.mark.parametrize('serialize_data', [True, False])
def test_indices_keep_some_samples_with_their_own_values(root: Path, serialize_data: bool) -> None:
    whole = build(root)
    for indices, rows in ((3, [0, 1, 2]), ([7, 2], [7, 2])):
        dataset = build(root, indices=indices, serialize_data=serialize_data)
        assert names_of(dataset) == [NAMES[row] for row in rows]
        for index, row in enumerate(rows):
            sample, expected = dataset[index]['data_samples'], whole[row]['data_samples']
            assert sample.sample_idx == index and sample.box == expected.box
            assert all(torch.equal(sample.get(key), expected.get(key)) for key in expected.keys())
            assert torch.equal(dataset[index]['inputs']['mask'], whole[row]['inputs']['mask'])
            np.testing.assert_array_equal(
                dataset.fit_sample(index)['transl'], whole.fit_sample(row)['transl']
            )


def test_fits_made_later_are_needed_of_the_kept_samples_only(root: Path, tmp_path: Path) -> None:
    dataset, expected = build(root, fits_file=None, indices=[7, 2]), build(root)
    fits = arrays()['fits']
    for kept, missing in (([7, 2], None), ([2], NAMES[7])):
        rows = [len(NAMES) - 1 - row for row in kept]  # the fits are in reverse order
        np.savez(tmp_path / 'made.npz', **{name: value[rows] for name, value in fits.items()})
        if missing is None:
            dataset.read_fits(tmp_path / 'made.npz')
            for index, row in enumerate(kept):
                np.testing.assert_array_equal(
                    dataset.fit_sample(index)['transl'], expected.fit_sample(row)['transl']
                )
        else:
            with pytest.raises(DataError, match=f'found no fit of {missing} and 0 more'):
                dataset.read_fits(tmp_path / 'made.npz')


def test_a_subset_shares_the_tables_and_checks_its_own_frames(root: Path) -> None:
    dataset = build(root)
    subset = dataset.get_subset([4, 8])
    assert names_of(subset) == [NAMES[4], NAMES[8]] and len(dataset) == len(NAMES)
    assert subset.annotations is dataset.annotations and subset.masks is dataset.masks
    assert {key: value['frames'] for key, value in subset.check_projection().items()} == {
        'S1 60457274': 1, 'S9 54138969': 1
    }  # fmt: skip
    assert subset.sequences(seq_len=4) == [[0], [1]]


def test_a_lazy_dataset_reads_files_on_first_use(tmp_path: Path) -> None:
    dataset = build(tmp_path, lazy_init=True)
    assert dataset.metainfo['joint_names'] == H36M_JOINTS_MMPOSE and dataset.report == {}
    with pytest.raises(FileNotFoundError, match=r'h36m_train\.npz'):
        len(dataset)
    write(tmp_path)
    assert dataset.imgname(3) == NAMES[3] and dataset.report['kept'] == len(NAMES)


def test_datasets_are_concatenated(root: Path) -> None:
    parts = [build(root, subjects=[subject]) for subject in ('S9', 'S1')]
    dataset = ConcatDataset(parts)
    names = [dataset[i]['data_samples'].imgname for i in range(len(dataset))]
    assert names == NAMES[8:] + NAMES[:8]


def test_metainfo_can_be_replaced_without_changing_the_class(root: Path) -> None:
    dataset = build(root, metainfo=dict(classes=('person',)))
    assert dataset.metainfo['classes'] == ('person',)
    assert dataset.metainfo['joint_names'] == H36M_JOINTS_MMPOSE
    assert 'classes' not in H36MFitsDataset.METAINFO


def test_a_sample_before_packing_has_an_axis_of_one_instance(root: Path) -> None:
    sample, packed = build(root, pipeline=[])[5], build(root)[5]['data_samples']
    for name, key in dict(
        keypoints='keypoints_2d', keypoints_visible='keypoints_2d_weight',
        keypoints_3d='keypoints_3d', keypoints_3d_visible='keypoints_3d_weight',
        lifting_target='keypoints_3d', lifting_target_visible='keypoints_3d_weight',
    ).items():  # fmt: skip
        np.testing.assert_array_equal(sample[name], packed.get(key)[None], err_msg=name)
    np.testing.assert_allclose(sample['bbox'], [packed.box], rtol=1e-6)
    camera = sample['camera_param']
    for name, value in camera_of(NAMES[5]).items():
        np.testing.assert_array_equal(camera[name], value, err_msg=name)


def test_transforms_that_work_in_place_leave_the_dataset_as_it_was(root: Path) -> None:
    def spoil(sample: dict) -> dict:
        for value in (*sample.values(), *sample['camera_param'].values()):
            if isinstance(value, np.ndarray) and value.dtype.kind == 'f':
                value[...] = np.nan
        return sample

    dataset = build(root)
    before = dataset[1]['data_samples']
    spoiled = build(root, pipeline=[spoil])
    spoiled[1]
    spoiled.pipeline = dataset.pipeline
    after = spoiled[1]['data_samples']
    assert all(torch.equal(after.get(key), before.get(key)) for key in before.keys())
