from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from h36m_layouts import PLACES_OF_190, Truth, cameras_of, make_truth, write_human_data
from hypothesis import given, settings
from hypothesis import strategies as st
from malformed import FEW

from mmjrr.body_models import free_body
from mmjrr.cli.convert import main
from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.converters.conversion import Conversion
from mmjrr.datasets.converters.human_data import read_human_data
from mmjrr.datasets.fits import load_fits
from mmjrr.errors import DataError
from mmjrr.geometry import CAMERA_PARAMETERS, first_camera_difference, load_cameras

ANN, FITS = 'annotation_body3d/human_data/h36m_train.npz', 'fits/human_data_h36m_train.npz'


@pytest.fixture(scope='module')
def truth() -> Truth:
    return make_truth()


def convert(folder: Path, source: Path, **arguments: Any) -> dict[str, Any]:
    conversion = Conversion(out=folder / 'out', ann_file=ANN, fits_file=FITS, **arguments)
    return conversion.run(read_human_data(source))


def load(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / 'out' / ANN) as file:
        return {key: file[key] for key in file.files}


@pytest.mark.parametrize('compressed', [True, False])
def test_a_file_becomes_mmposes_layout(tmp_path: Path, truth: Truth, compressed: bool) -> None:
    """In a compressed file joints stand in HumanData's order, sides alternating."""
    report = convert(tmp_path, write_human_data(tmp_path / 'h.npz', truth, compressed))
    arrays = load(tmp_path)
    assert arrays['imgname'].tolist() == truth.names
    np.testing.assert_allclose(arrays['S'][..., :3], truth.joints, atol=1e-6)
    np.testing.assert_allclose(arrays['part'][..., :2], truth.pixels, atol=1e-4)
    assert (arrays['S'][..., 3] == 1).all() and (arrays['part'][..., 2] == 1).all()
    assert report['frames'] == len(truth.frame) and not report['about_pelvis']


def test_its_cameras_become_mmposes(tmp_path: Path, truth: Truth) -> None:
    convert(tmp_path, write_human_data(tmp_path / 'h.npz', truth))
    (tmp_path / 'c.pkl').write_bytes(pickle.dumps(cameras_of()))
    expected = load_cameras(tmp_path / 'c.pkl')
    cameras = load_cameras(tmp_path / 'out/annotation_body3d/cameras.pkl')
    assert cameras.keys() == expected.keys()
    for key, camera in expected.items():
        for name in CAMERA_PARAMETERS:
            np.testing.assert_allclose(
                getattr(cameras[key], name), getattr(camera, name), atol=1e-12
            )


def test_fits_and_the_data_set_that_reads_them(tmp_path: Path, truth: Truth) -> None:
    has = np.ones(len(truth.frame))
    has[[0, 3]] = 0
    source = write_human_data(tmp_path / 'h.npz', truth, has_smpl=has)
    report = convert(tmp_path, source, body=free_body())
    fits, kept = load_fits(tmp_path / 'out' / FITS), has > 0
    assert fits['imgname'].tolist() == np.array(truth.names)[kept].tolist()
    np.testing.assert_allclose(fits['pose'], truth.pose[kept], atol=1e-6)
    np.testing.assert_allclose(fits['betas'], truth.betas[kept], atol=1e-6)
    np.testing.assert_allclose(fits['transl'], truth.transl[kept], atol=1e-5)
    assert report['fits'] == kept.sum()
    dataset = H36MFitsDataset(data_root=str(tmp_path / 'out'), ann_file=ANN, fits_file=FITS)
    assert dataset.report['without_fit'] == 2 and len(dataset) == kept.sum()
    assert max(camera['max_px'] for camera in dataset.check_projection().values()) < 1e-2


@pytest.mark.parametrize('zeros', [True, False])
def test_translations_of_the_file_are_kept_unless_they_are_zeros(
    tmp_path: Path, truth: Truth, zeros: bool
) -> None:
    smpl = dict(
        global_orient=truth.pose[:, None, :3], body_pose=truth.pose[:, 3:], betas=truth.betas,
        transl=0 * truth.transl if zeros else truth.transl,
    )  # fmt: skip
    convert(tmp_path, write_human_data(tmp_path / 'h.npz', truth, smpl=smpl))
    fits = load_fits(tmp_path / 'out' / FITS)
    assert ('transl' in fits) is not zeros
    if not zeros:
        np.testing.assert_allclose(fits['transl'], truth.transl, atol=1e-6)


@pytest.mark.parametrize(
    ('convention', 'order'),
    [
        ('h36m_mmpose', list(range(17))),
        ('h36m', [0, 4, 5, 6, 1, 2, 3, *range(7, 17)]),
    ],
)
def test_other_conventions_are_read_by_name(
    tmp_path: Path, truth: Truth, convention: str, order: list[int]
) -> None:
    count, ones = len(truth.frame), np.ones((len(truth.frame), 17, 1))
    source = write_human_data(
        tmp_path / 'h.npz', truth, compressed=False,
        keypoints2d=np.concatenate([truth.pixels, ones], -1)[:, order],
        keypoints3d=np.concatenate([truth.joints, ones], -1)[:, order],
        keypoints2d_mask=np.ones(17), keypoints3d_mask=None,
        keypoints2d_convention=convention, keypoints3d_convention=convention,
    )  # fmt: skip
    convert(tmp_path, source)
    np.testing.assert_allclose(load(tmp_path)['S'][..., :3], truth.joints, atol=1e-6)
    assert len(load(tmp_path)['S']) == count


def test_files_with_spins_joints_are_recognized(tmp_path: Path, truth: Truth) -> None:
    """There the neck's base is "jaw" and the head's top "head", not "head" and "headtop"."""
    places = list(PLACES_OF_190)
    places[9], places[10] = 151, 152
    mask = np.zeros(190)
    mask[places] = 1
    fields = {}
    for name, values in (('keypoints2d', truth.pixels), ('keypoints3d', truth.joints)):
        fields[name] = np.zeros((len(values), 190, values.shape[-1] + 1))
        fields[name][:, places, :-1], fields[name][:, places, -1] = values, 1
    source = write_human_data(
        tmp_path / 'h.npz', truth, False, keypoints2d_mask=mask, keypoints3d_mask=mask, **fields
    )
    np.testing.assert_allclose(read_human_data(source).S[..., :3], truth.joints, atol=1e-12)


class Bomb:
    """A pickle that creates a file when Python's own unpickler loads it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize('field', ['smpl', 'cam_param', 'image_path', 'keypoints3d'])
def test_nothing_in_a_file_is_run(tmp_path: Path, truth: Truth, field: str) -> None:
    bomb = dict(betas=Bomb(tmp_path / 'ran'))
    value = bomb if field in ('smpl', 'cam_param') else np.array([bomb] * 18, dtype=object)
    source = write_human_data(tmp_path / 'h.npz', truth, **{field: value})
    with pytest.raises(DataError, match=rf"h.npz: {field}: .*'(posix|nt).mkdir'"):
        read_human_data(source)
    assert not (tmp_path / 'ran').exists()
    with np.load(source, allow_pickle=True) as file:  # the bomb works
        assert file[field] is not None
    assert (tmp_path / 'ran').exists()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(image_path=None), r"\['image_path'\] missing"),
        (dict(keypoints3d=None), r'\[.keypoints3d \(or .*missing'),
        (dict(image_path=np.arange(18)), 'image_path: found'),
        (dict(keypoints3d_mask=np.ones(144)), 'keypoints3d_mask: found 144 joints, expected.*190'),
        (dict(keypoints3d_mask=None), 'keypoints3d_mask missing'),
        (dict(keypoints3d=np.ones((18, 190, 4))), 'keypoints3d: found 190 joints, expected 17'),
        (dict(keypoints2d=np.ones((17, 17, 3))), r'keypoints2d: .*\(17, 17, 3\)'),
        (dict(keypoints3d_convention='coco'), "keypoints3d_convention: found 'coco'"),
        (dict(bbox_xywh=np.ones((18, 3))), r'bbox_xywh: found shape \(18, 3\)'),
        (dict(smpl=dict(betas=np.ones((18, 10)))), r"smpl: \['global_orient'.* missing"),
        (dict(smpl=np.ones(18)), 'smpl: found ndarray'),
        (dict(smpl=dict(body_pose=np.ones((18, 21, 3)))), r'smpl.body_pose: .*\(18, 63\)'),
        (dict(cam_param={('S1', '54138969'): dict(W=1)}), 'cam_param: .*missing'),
    ],
)
def test_wrong_fields_are_named(
    tmp_path: Path, truth: Truth, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=f'h.npz: {message}'):
        read_human_data(write_human_data(tmp_path / 'h.npz', truth, **changes))


def test_missing_joints_are_named(tmp_path: Path, truth: Truth) -> None:
    source = write_human_data(tmp_path / 'h.npz', truth, compressed=False)
    with np.load(source) as raw:
        mask = raw['keypoints3d_mask']
    mask[7] = 0
    write_human_data(source, truth, compressed=False, keypoints3d_mask=mask)
    with pytest.raises(DataError, match=r"keypoints3d: .*\['left_ankle'\] missing of H36M's 17"):
        read_human_data(source)


def test_extrinsics_of_the_other_sense_are_refused(tmp_path: Path, truth: Truth) -> None:
    camera = dict(
        in_mat=np.diag([1145.0, 1145, 1]).tolist(), rotation_mat=np.eye(3).tolist(),
        translation=[0.1, 0.2, 5.0], W=1000, H=1002, k1=0.0, k2=0.0, k3=0.0, p1=0.0, p2=0.0,
    )  # fmt: skip
    source = write_human_data(tmp_path / 'h.npz', truth, cam_param={('S1', '54138969'): camera})
    with pytest.raises(DataError, match='translation: .*position of the camera in the room'):
        read_human_data(source)


@settings(FEW, max_examples=60)
@given(flip=st.integers(0, 10**6), value=st.integers(0, 255))
def test_damaged_pickles_are_refused_or_read(
    tmp_path: Path, truth: Truth, flip: int, value: int
) -> None:
    """With the zip's checksums right, so that the damage reaches the unpickler."""
    import zipfile

    whole = write_human_data(tmp_path / 'w.npz', truth.of('S9'))
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(tmp_path / 'd.npz', 'w') as new:
        for name in old.namelist():
            content = bytearray(old.read(name))
            if name in ('smpl.npy', 'cam_param.npy'):
                content[flip % len(content)] = value
            new.writestr(name, bytes(content))
    try:
        read_human_data(tmp_path / 'd.npz')
    except DataError as error:
        assert 'd.npz' in str(error)


def test_the_cameras_of_a_second_file_are_added(tmp_path: Path, truth: Truth) -> None:
    """Each file holds the cameras of its own subjects; the first entry of a camera is kept."""
    for subject in ('S1', 'S9'):
        convert(tmp_path, write_human_data(tmp_path / f'{subject}.npz', truth.of(subject)))
        assert load(tmp_path)['imgname'].tolist() == truth.of(subject).names
    path = tmp_path / 'out/annotation_body3d/cameras.pkl'
    (tmp_path / 'c.pkl').write_bytes(pickle.dumps(cameras_of()))
    assert {key[0] for key in load_cameras(path)} == {'S1', 'S9'}
    assert first_camera_difference(load_cameras(path), load_cameras(tmp_path / 'c.pkl')) is None
    written = path.read_bytes()
    convert(tmp_path, tmp_path / 'S1.npz')
    assert path.read_bytes() == written


def test_a_files_own_lenses_are_compared_with_those_that_are_there(
    tmp_path: Path, truth: Truth
) -> None:
    source = write_human_data(tmp_path / 'h.npz', truth)
    others = cameras_of()
    others['S1', '54138969']['f'] = others['S1', '54138969']['f'] + 1
    path = tmp_path / 'out/annotation_body3d/cameras.pkl'
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(others))
    with pytest.raises(DataError, match=r'h\.npz: focal_length of camera .*cameras.pkl has'):
        convert(tmp_path, source)
    options = ['human-data', str(source), '--out', str(tmp_path / 'out')]
    assert main(options) == 1
    assert main([*options, '--cameras', str(path), '--tolerance-px', '9']) == 0
