from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from h36m_layouts import Truth, a_jpeg, cameras_of, make_truth, write_spin
from kill_points import Kill, os_killed_after

from mmjrr.body_models import free_body
from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.converters.conversion import Conversion
from mmjrr.datasets.converters.spin import SPIN_JOINTS, read_spin
from mmjrr.datasets.fits import load_fits
from mmjrr.errors import DataError
from mmjrr.geometry import load_cameras
from mmjrr.io import atomic

ANN, FITS = 'annotation_body3d/spin/h36m_train.npz', 'fits/spin_h36m_train.npz'


@pytest.fixture(scope='module')
def truth() -> Truth:
    return make_truth()


def convert(folder: Path, source: Path, **arguments: Any) -> dict[str, Any]:
    (folder / 'c.pkl').write_bytes(pickle.dumps(cameras_of()))
    arguments = {'cameras': load_cameras(folder / 'c.pkl'), **arguments}
    out = folder / 'out'
    return Conversion(out=out, ann_file=ANN, fits_file=FITS, **arguments).run(read_spin(source))


def load(folder: Path, name: str = ANN) -> dict[str, np.ndarray]:
    with np.load(folder / 'out' / name) as file:
        return {key: file[key] for key in file.files}


def test_the_training_file_becomes_mmposes_layout(tmp_path: Path, truth: Truth) -> None:
    """Names, order of joints, and the place before the camera, which SPIN's file lacks."""
    report = convert(tmp_path, write_spin(tmp_path / 's.npz', truth))
    arrays = load(tmp_path)
    assert arrays['imgname'].tolist() == truth.names
    np.testing.assert_allclose(arrays['S'][..., :3], truth.joints, atol=1e-6)
    np.testing.assert_allclose(arrays['part'][..., :2], truth.pixels, atol=1e-4)
    assert (arrays['S'][..., 3] == 1).all() and (arrays['part'][..., 2] == 1).all()
    assert report['frames'] == len(truth.frame) and not report['about_pelvis']
    assert report['left_out'] == {}


@pytest.mark.parametrize('about_pelvis', [False, True])
def test_real_frames_in_spins_order_become_those_in_mmposes(
    tmp_path: Path, shared_data: Path, about_pelvis: bool
) -> None:
    """MMPose tests with four frames in both layouts. Its own two files differ by 0.018 mm, and the
    pelvis by 0.02 px: of its two copies in H36M's skeleton, MMPose takes the first.
    """
    folder = shared_data / 'h36m_mini'
    with np.load(folder / 'test_h36m.npz') as file:
        fields = {name: file[name] for name in file.files}
    if about_pelvis:
        fields['S'][..., :3] -= fields['S'][:, 14:15, :3] * (fields['S'][..., 3:] > 0)
    np.savez(tmp_path / 's.npz', **fields)
    report = convert(tmp_path, tmp_path / 's.npz', cameras=load_cameras(folder / 'cameras.pkl'))
    arrays = load(tmp_path)
    with np.load(folder / 'test_h36m_body3d.npz') as file:
        assert arrays['imgname'].tolist() == file['imgname'].tolist()
        np.testing.assert_allclose(arrays['S'][..., :3], file['S'][..., :3], atol=5e-5)
        np.testing.assert_allclose(arrays['part'], file['part'], atol=0.03)
        np.testing.assert_allclose(arrays['center'], file['center'], atol=1e-3)
        np.testing.assert_allclose(arrays['scale'], file['scale'].ravel(), rtol=1e-5)
    assert max(one['max_px'] for one in report['check'].cameras.values()) < 0.03
    assert report['fits'] == 4


def test_boxes_are_mmposes_or_spins(tmp_path: Path, truth: Truth) -> None:
    source = write_spin(tmp_path / 's.npz', truth)
    side = (truth.pixels.max(1) - truth.pixels.min(1)).max(1)
    for boxes, factor in (('joints', 1.2), ('source', 0.9)):
        convert(tmp_path, source, boxes=boxes)
        arrays = load(tmp_path)
        np.testing.assert_allclose(arrays['scale'], factor * side / 200, rtol=1e-5)
        middle = (truth.pixels.max(1) + truth.pixels.min(1)) / 2
        np.testing.assert_allclose(arrays['center'], middle, atol=1e-3)


def test_fits_get_the_translation_that_the_body_says(tmp_path: Path, truth: Truth) -> None:
    has = np.ones(len(truth.frame))
    has[2] = 0
    source = write_spin(tmp_path / 's.npz', truth, has_smpl=has)
    report = convert(tmp_path, source, body=free_body())
    fits = load_fits(tmp_path / 'out' / FITS)
    kept = has > 0
    assert fits['imgname'].tolist() == np.array(truth.names)[kept].tolist()
    np.testing.assert_allclose(fits['pose'], truth.pose[kept], atol=1e-6)
    np.testing.assert_allclose(fits['betas'], truth.betas[kept], atol=1e-6)
    np.testing.assert_allclose(fits['transl'], truth.transl[kept], atol=1e-5)
    assert report['fits'] == kept.sum() and report['fits_to_labels_mm'] < 0.1


def test_the_data_set_reads_what_is_written(tmp_path: Path, truth: Truth) -> None:
    convert(tmp_path, write_spin(tmp_path / 's.npz', truth), body=free_body())
    dataset = H36MFitsDataset(data_root=str(tmp_path / 'out'), ann_file=ANN, fits_file=FITS)
    assert dataset.report['without_fit'] == 0 and len(dataset) == len(truth.frame)
    assert max(camera['max_px'] for camera in dataset.check_projection().values()) < 1e-2


def test_a_validation_file_serves_evaluation(tmp_path: Path, truth: Truth) -> None:
    """It has no 2D joints: its 3D joints stay about the pelvis, and its boxes are kept."""
    source = write_spin(tmp_path / 'v.npz', truth.of('S9'), train=False)
    report = convert(tmp_path, source, cameras=None)
    arrays, truth = load(tmp_path), truth.of('S9')
    assert report['about_pelvis'] and report['fits'] == 0
    np.testing.assert_allclose(arrays['S'][..., :3], truth.joints - truth.joints[:, :1], atol=1e-6)
    assert not arrays['part'].any()
    side = (truth.pixels.max(1) - truth.pixels.min(1)).max(1)
    np.testing.assert_allclose(arrays['scale'], 0.9 * side / 200, rtol=1e-5)
    dataset = H36MFitsDataset(
        data_root=str(tmp_path / 'out'), ann_file=ANN, camera_param_file=None, test_mode=True
    )
    assert len(dataset) == len(truth.frame)
    assert not (tmp_path / 'out' / FITS).exists()


def test_without_cameras_2d_joints_cannot_place_3d_ones(tmp_path: Path, truth: Truth) -> None:
    source = write_spin(tmp_path / 's.npz', truth)
    with pytest.raises(DataError, match='relative to the pelvis.*--cameras or --metadata'):
        convert(tmp_path, source, cameras=None)
    assert not (tmp_path / 'out' / ANN).exists()
    assert convert(tmp_path, source, cameras=None, without_cameras=True)['about_pelvis']


def test_images_are_linked_under_their_new_names(tmp_path: Path, truth: Truth) -> None:
    root = tmp_path / 'spin'
    (root / 'images').mkdir(parents=True)
    for row in range(1, len(truth.frame)):
        name = f'images/{truth.stem(row)}_{truth.frame[row]:06d}.jpg'
        (root / name).write_bytes(a_jpeg(gray=row))
    source = write_spin(tmp_path / 's.npz', truth)
    with pytest.raises(DataError, match='1 of .* images: image missing'):
        convert(tmp_path, source, image_root=root)
    for how in ('link', 'copy', 'copy'):  # what is there stays
        report = convert(tmp_path, source, image_root=root, images=how, on_error='exclude')
        assert report['left_out'] == {'image missing': 1}
        for row, name in enumerate(truth.names[1:], start=1):
            image = tmp_path / 'out/images' / name
            assert image.is_symlink()
            assert image.read_bytes() == a_jpeg(gray=row)
    assert load(tmp_path)['imgname'].tolist() == truth.names[1:]


def test_a_conversion_that_was_killed_goes_on_to_the_same_files(
    tmp_path: Path, truth: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / 'spin'
    (root / 'images').mkdir(parents=True)
    for row in range(len(truth.frame)):
        name = f'images/{truth.stem(row)}_{truth.frame[row]:06d}.jpg'
        (root / name).write_bytes(a_jpeg())
    source = write_spin(tmp_path / 's.npz', truth)

    def files(folder: Path) -> dict[str, bytes]:
        paths = [path for path in sorted((folder / 'out').rglob('*')) if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

    for folder in ('whole', 'killed'):
        (tmp_path / folder).mkdir()
    convert(tmp_path / 'whole', source, image_root=root, images='copy')
    # In the second image, in the ninth, and, after 10 more and three other files, in the last.
    for calls in (1, 7, 13):
        with monkeypatch.context() as patch, pytest.raises(Kill):
            patch.setattr(atomic, 'os', os_killed_after(calls, 'replace'))
            convert(tmp_path / 'killed', source, image_root=root, images='copy')
        assert not (tmp_path / 'killed/out' / ANN).exists()
    convert(tmp_path / 'killed', source, image_root=root, images='copy')
    assert files(tmp_path / 'killed') == files(tmp_path / 'whole')


def test_other_lenses_than_those_that_are_there_are_refused(tmp_path: Path, truth: Truth) -> None:
    source = write_spin(tmp_path / 's.npz', truth)
    convert(tmp_path, source)
    others = cameras_of()
    others['S1', '54138969']['f'] = others['S1', '54138969']['f'] + 1
    (tmp_path / 'd.pkl').write_bytes(pickle.dumps(others))
    with pytest.raises(DataError, match='focal_length of camera .*cameras.pkl has'):
        convert(tmp_path, source, cameras=load_cameras(tmp_path / 'd.pkl'))


def test_image_names_do_not_lead_out_of_their_folder(tmp_path: Path, truth: Truth) -> None:
    names = np.array([f'../S1_Eating.54138969_{i:06d}.jpg' for i in range(len(truth.frame))])
    (tmp_path / 'root').mkdir()
    (tmp_path / names[0][3:]).write_bytes(b'')
    source = write_spin(tmp_path / 's.npz', truth, imgname=names)
    with pytest.raises(DataError, match='imgname leads out of the folder of images'):
        convert(tmp_path, source, image_root=tmp_path / 'root', without_cameras=True)
    assert not (tmp_path / 'out').exists()


def swap(values: np.ndarray, **rows: Any) -> np.ndarray:
    values = np.array(values)
    for row, value in rows.items():
        values[int(row[1:])] = value
    return values


@pytest.mark.parametrize(
    ('field', 'value', 'reason'),
    [
        ('imgname', 'COCO_000000000001.jpg', 'names not of H36M'),
        ('imgname', 'other/S1_Eating_2.54138969_000001.jpg', 'listed more than once'),
        ('S', np.nan, 'S not finite'),
        ('part', np.inf, 'part not finite'),
        ('center', np.nan, 'center not finite'),
        ('scale', 0, 'scale not positive'),
        ('S', 0, 'no 3D joint'),
    ],
)
def test_wrong_rows_stop_the_conversion_or_are_left_out(
    tmp_path: Path, truth: Truth, field: str, value: Any, reason: str
) -> None:
    source = write_spin(tmp_path / 's.npz', truth)
    with np.load(source) as raw:
        changed = swap(raw[field].astype('U99') if field == 'imgname' else raw[field], _4=value)
    if field in ('S', 'part') and value != 0:
        changed[4, :, -1] = 1
    write_spin(tmp_path / 's.npz', truth, **{field: changed})
    with pytest.raises(DataError, match=f'1 of 18 images: {reason}'):
        convert(tmp_path, source)
    report = convert(tmp_path, source, on_error='exclude')
    assert report['left_out'] == {reason: 1}
    names = truth.names
    assert load(tmp_path)['imgname'].tolist() == names[:4] + names[5:]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(S=None), r"\['S'\] missing"),
        (dict(S=np.zeros((18, 17, 4))), r'S: found float64 of shape \(18, 17, 4\)'),
        (dict(center=np.zeros((17, 2))), 'center: found float64 of shape'),
        (dict(imgname=np.arange(18)), 'imgname: found int64'),
        (dict(pose=np.zeros((18, 69))), r'pose: .*\(18, 72\)'),
        (dict(imgname=np.array(['a'] * 18, dtype=object)), 'imgname: .*objects'),
    ],
)
def test_wrong_fields_are_named(
    tmp_path: Path, truth: Truth, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=f's.npz: {message}'):
        read_spin(write_spin(tmp_path / 's.npz', truth, **changes))


def test_millimeters_are_not_taken_for_meters(tmp_path: Path, truth: Truth) -> None:
    source = write_spin(tmp_path / 's.npz', truth)
    with np.load(source) as raw:
        joints = raw['S'] * [1000, 1000, 1000, 1]
    with pytest.raises(DataError, match='S: found thighs of .* look like millimeters'):
        convert(tmp_path, write_spin(source, truth, S=joints))


def test_swapped_legs_are_seen(tmp_path: Path, truth: Truth) -> None:
    """2D joints of one side and 3D joints of the other."""
    source = write_spin(tmp_path / 's.npz', truth)
    with np.load(source) as raw:
        part = raw['part'][:, [5, 4, 3, 2, 1, 0, *range(6, 24)]]
    with pytest.raises(DataError, match='legs.*swapped'):
        convert(tmp_path, write_spin(source, truth, part=part))


def test_poses_of_the_world_frame_are_refused(tmp_path: Path, truth: Truth) -> None:
    pose = truth.pose.copy()
    pose[:, :3] = 0  # upright in the room, upside down in the image
    source = write_spin(tmp_path / 's.npz', truth, pose=pose)
    with pytest.raises(DataError, match='pose: found limb joints .* mm from the labels'):
        convert(tmp_path, source, body=free_body())


def test_a_file_without_images_or_pelvis_is_named(tmp_path: Path, truth: Truth) -> None:
    source = write_spin(tmp_path / 's.npz', truth)
    fields = dict(np.load(source))
    np.savez(tmp_path / 'none.npz', **{name: value[:0] for name, value in fields.items()})
    with pytest.raises(DataError, match=r'none\.npz: found no images'):
        convert(tmp_path, tmp_path / 'none.npz')
    fields['S'][:, SPIN_JOINTS.index('pelvis'), 3] = 0
    np.savez(tmp_path / 'q.npz', **fields)
    with pytest.raises(DataError, match=r'q\.npz: S: found no labeled pelvis in \d+ frames'):
        convert(tmp_path, tmp_path / 'q.npz')


def test_the_cameras_that_are_there_serve_files_without(tmp_path: Path, truth: Truth) -> None:
    source = write_spin(tmp_path / 's.npz', truth)
    convert(tmp_path, source)
    path = tmp_path / 'out/annotation_body3d/cameras.pkl'
    written = path.read_bytes()
    assert not convert(tmp_path, source, cameras=None)['about_pelvis']
    assert path.read_bytes() == written
