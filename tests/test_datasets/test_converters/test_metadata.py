from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from h36m_layouts import INTRINSICS, TAKES, write_metadata
from scipy.spatial.transform import Rotation

from mmjrr.datasets.converters.metadata import read_metadata
from mmjrr.errors import DataError
from mmjrr.geometry import CAMERA_PARAMETERS, load_cameras


def test_takes_are_read_by_their_numbers(tmp_path: Path) -> None:
    takes = read_metadata(write_metadata(tmp_path / 'm.xml')).takes
    assert len(takes) == 16 * 2 * 11
    for (subject, action, subaction), name in TAKES.items():
        assert takes[subject, str(action), str(subaction)] == name


def test_cameras_of_all_subjects_are_read(tmp_path: Path) -> None:
    """The writer gives camera i of subject j the place (1800 + 10 (11 i + j), 4900, 1500) mm."""
    cameras = read_metadata(write_metadata(tmp_path / 'm.xml')).cameras
    assert len(cameras) == 44
    camera = cameras['S9', '60457274']
    np.testing.assert_allclose(camera.position[0], [(1800 + 10 * (33 + 8)) / 1000, 4.9, 1.5])
    turns = Rotation.from_euler('XYZ', [0.3, -1.2, 0.1]).as_matrix()
    np.testing.assert_allclose(camera.rotation[0], turns, atol=1e-12)
    f, c, distortion, height = INTRINSICS['60457274']
    np.testing.assert_array_equal(camera.focal_length[0], f)
    np.testing.assert_array_equal(camera.principal_point[0], c)
    np.testing.assert_array_equal(camera.distortion[0], distortion)
    assert camera.image_shape() == (height, 1000)


def test_real_cameras_come_back(tmp_path: Path, shared_data: Path) -> None:
    """MMPose's cameras.pkl, written as metadata.xml is, is read as the same cameras."""
    real = load_cameras(shared_data / 'h36m_mini/cameras.pkl')
    names = sorted({camera for _, camera in real})
    numbers: list[float] = []
    for name in names:
        for subject in range(1, 12):
            camera = real[f'S{subject}', name]
            numbers += Rotation.from_matrix(camera.rotation[0]).as_euler('XYZ').tolist()
            numbers += (1000 * camera.position[0]).tolist()
    for name in names:
        camera = real['S1', name]
        for value in (camera.focal_length, camera.principal_point, camera.distortion):
            numbers += value[0].tolist()
    path = write_metadata(tmp_path / 'm.xml')
    before, rest = path.read_text().split('<w0>')
    path.write_text(
        f'{before}<w0>[{" ".join(map(repr, map(float, numbers)))}]</w0>{rest.split("</w0>")[1]}'
    )
    cameras = read_metadata(path).cameras
    assert cameras.keys() == real.keys()
    for key, camera in real.items():
        for name in CAMERA_PARAMETERS:
            np.testing.assert_allclose(
                getattr(cameras[key], name), getattr(camera, name), atol=1e-9
            )


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('<a>', '<b>', 'not readable XML'),
        ('<td>S11</td>', '', 'mapping: found subjects'),
        ('0.3 -1.2', '0.3', 'w0: found 299 numbers, expected 300'),
        ('0.3 -1.2', '0.3 x', 'w0: not numbers'),
        ('0.3 -1.2', '0.3 nan', 'w0: camera 54138969 of S1: R'),
        ('4900.0', '4900000.0', 'look like millimeters'),
        ('<a>', '<!DOCTYPE a [<!ENTITY b "c">]><a>', 'a document type'),
    ],
)
def test_errors_name_the_file_and_the_field(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = write_metadata(tmp_path / 'm.xml')
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=f'm.xml: .*{message}'):
        read_metadata(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='no.xml: no such file'):
        read_metadata(tmp_path / 'no.xml')
