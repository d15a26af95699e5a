"""Pose2Sim's recording: its calibration, the clocks of its cameras, and the detector's joints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.converters import pose2sim
from mmjrr.datasets.converters.pose2sim import Detections
from mmjrr.errors import DataError
from mmjrr.geometry import PerspectiveCamera
from mmjrr.joints import H36M_JOINTS_MMPOSE

SCRIPT = Path(__file__).resolve().parents[2] / 'tools/dataset_converters/pose2sim_detections.py'
#: Names of mediapipe's joints that are used, and one that is not.
NAMES = ('nose', *(name for source in pose2sim.JOINTS.values() for name in source))


def qualisys(rows: list[list[float]], position: list[float], **changes: str) -> str:
    """Write a calibration of one camera as Qualisys does: 1/64 of a pixel, millimeters."""
    numbers = {f'r{i + 1}{j + 1}': rows[i][j] for i in range(3) for j in range(3)}
    numbers |= dict(zip('xyz', position, strict=True))
    transform = ' '.join(f'{name}="{value}"' for name, value in numbers.items())
    intrinsic = {
        'focalLengthU': '64000', 'focalLengthV': '70400', 'centerPointU': '32000',
        'centerPointV': '25600', 'radialDistortion1': '-0.1', 'radialDistortion2': '0.2',
        'radialDistortion3': '0', 'tangentalDistortion1': '0.01', 'tangentalDistortion2': '-0.02',
        **changes,
    }  # fmt: skip
    lens = ' '.join(f'{name}="{value}"' for name, value in intrinsic.items())
    return (
        '<calibration><cameras><camera serial="cam07"><fov_video left="0" top="0" right="999" '
        f'bottom="799"/><transform {transform}/><intrinsic {lens}/></camera></cameras>'
        '</calibration>'
    )


def looking_along_x() -> list[list[float]]:
    """Axes of a camera that looks along the world's x, z up: right -y, up z, backwards -x."""
    return [[0, -1, 0], [0, 0, 1], [-1, 0, 0]]


def test_a_calibration_projects_as_its_axes_say(tmp_path: Path) -> None:
    path = tmp_path / 'c.qca.txt'
    path.write_text(qualisys(looking_along_x(), [1000, 2000, 3000]))
    (camera,) = pose2sim.read_qualisys_calibration(path).values()
    assert list(pose2sim.read_qualisys_calibration(path)) == ['07']
    assert camera.image_shape() == (800, 1000)
    straight = torch.tensor([[[5.0, 2.0, 3.0]]]).double()
    local = camera.world_to_camera(straight)
    torch.testing.assert_close(local, torch.tensor([[[0.0, 0.0, 4.0]]]).double())
    # Half a pixel: the file's pixel centers are whole numbers.
    torch.testing.assert_close(camera.project(local)[0, 0].tolist(), [500.5, 400.5])
    undistorted = pose2sim.undistorted_camera(camera, (800, 1000))
    above_left = torch.tensor([[[5.0, 2.4, 3.4]]]).double()  # 0.4 m to the left and up, at 4 m
    pixel = undistorted.project(undistorted.world_to_camera(above_left))[0, 0]
    assert pixel.tolist() == pytest.approx([500.5 - 100, 400.5 - 110])


def test_distortion_is_opencvs(tmp_path: Path) -> None:
    import cv2

    path = tmp_path / 'c.qca.txt'
    path.write_text(qualisys(looking_along_x(), [0, 0, 0]))
    (camera,) = pose2sim.read_qualisys_calibration(path).values()
    point = np.array([[0.3, -0.2, 1.0]])
    matrix = np.array([[1000, 0, 500], [0, 1100, 400], [0, 0, 1.0]])
    expected, _ = cv2.projectPoints(
        point, np.zeros(3), np.zeros(3), matrix, np.array([-0.1, 0.2, 0.01, -0.02, 0])
    )
    projected = camera.project(torch.tensor(point)[None])[0]
    np.testing.assert_allclose(projected, expected[:, 0] + 0.5, atol=1e-9)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('<calibration/>', 'found no cameras/camera'),
        ('no XML', 'not readable XML'),
        ('<!DOCTYPE a [<!ENTITY b "c">]><calibration/>', 'expected plain XML'),
        (qualisys(looking_along_x(), [0, 0, 0], focalLengthU='x'), "focalLengthU: found 'x'"),
        (qualisys(looking_along_x(), [0, 0, 0], focalLengthU='-1'), 'found focal length'),
        (qualisys(looking_along_x(), [0, 0, float('nan')]), 'expected a finite number'),
        (qualisys([[1, 0, 0], [0, 2, 0], [0, 0, 1]], [0, 0, 0]), 'expected a rotation'),
    ],
)
def test_a_broken_calibration_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / 'c.qca.txt'
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        pose2sim.read_qualisys_calibration(path)
    with pytest.raises(FileNotFoundError):
        pose2sim.read_qualisys_calibration(tmp_path / 'none')


def recording(late: int) -> tuple[dict[str, Detections], dict[str, PerspectiveCamera]]:
    """Return a moving person seen by three cameras, the last of which is late by some frames."""
    frames, size = 40, (100, 120)
    rng = np.random.default_rng(0)
    offsets = rng.normal(0, 0.2, (len(NAMES), 3))
    speed = rng.normal(0, 0.02, (len(NAMES), 3))
    detections, cameras = {}, {}
    for number, angle in enumerate(np.deg2rad([0, 90, 200])):
        forward = -np.array([np.cos(angle), np.sin(angle), 0])
        rotation = np.stack([np.cross(forward, [0, 0, 1.0]), [0, 0, -1.0], forward])
        name = f'{number + 1:02d}'
        cameras[name] = PerspectiveCamera(
            [300.0, 300.0], [60.0, 50.0], [0.0] * 5, rotation=rotation.tolist(),
            position=(-4 * forward).tolist(), image_size=size,
        ).to(torch.float64)  # fmt: skip
        time = np.arange(frames) - (late if number == 2 else 0)
        points = torch.tensor(offsets + time[:, None, None] * speed).double()
        camera = cameras[name][[0] * frames]
        pixels = camera.project(camera.world_to_camera(points)).numpy()
        joints = np.concatenate([pixels, np.ones((frames, len(NAMES), 1))], -1).astype(np.float32)
        masks = np.zeros((frames, *size), np.uint8)
        masks[:, 20:80, 40:70] = 255
        detections[name] = Detections(joints, NAMES, masks)
    return detections, cameras


@pytest.mark.parametrize('late', [0, 3, -2])
def test_a_late_clock_is_found(late: int) -> None:
    detections, cameras = recording(late)
    part = {name: pose2sim.h36m_joints(detected) for name, detected in detections.items()}
    assert pose2sim.find_offsets(part, cameras) == {'01': 0, '02': 0, '03': late}


def test_joints_are_named_not_numbered() -> None:
    joints = np.zeros((1, len(NAMES), 3), np.float32)
    joints[0, :, 0] = np.arange(len(NAMES))
    joints[0, :, 2] = 0.9
    joints[0, NAMES.index('left_wrist'), 2] = 0.1
    joints[0, NAMES.index('right_knee')] = np.nan
    part = pose2sim.h36m_joints(Detections(joints, NAMES, np.zeros((1, 1, 1), np.uint8)))[0]
    for name in ('left_shoulder', 'right_hip', 'left_ankle'):
        assert part[H36M_JOINTS_MMPOSE.index(name)].tolist() == pytest.approx(
            [NAMES.index(name), 0, 0.9]
        )
    ears = (NAMES.index('left_ear') + NAMES.index('right_ear')) / 2
    assert part[H36M_JOINTS_MMPOSE.index('neck_base'), 0] == ears
    unseen = ('left_wrist', 'right_knee', 'pelvis', 'spine', 'thorax', 'head')
    assert {n for n, p in zip(H36M_JOINTS_MMPOSE, part, strict=True) if p[2] == 0} == set(unseen)


def test_the_data_set_is_one_that_refinement_reads(tmp_path: Path) -> None:
    detections, cameras = recording(3)
    for name in cameras:
        for frame in range(40):
            path = tmp_path / 'frames' / pose2sim.image_name(name, frame)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f'{name} {frame}')
    detections['02'].masks[10] = 0
    summary = pose2sim.convert_recording(detections, cameras, tmp_path, step=10)
    assert summary == dict(
        offsets={'01': 0, '02': 0, '03': 3}, moments=4, frames=11, without_person=1, step=10
    )
    data = H36MFitsDataset(
        data_root=str(tmp_path), mask_file='masks/h36m_train.json', load_mask=True, triangulate=True
    )
    assert len(data) == 11 and len(set(data.moments().tolist())) == 4
    # The middle of two images is not quite the image of the middle; a frame is over a pixel.
    assert max(error['mean_px'] for error in data.check_projection().values()) < 0.5
    info = data.get_data_info(len(data) - 1)
    assert Path(info['img_path']).read_text() == '03 33'  # the frame that shows moment 30
    center = (info['box'][0] + info['box'][2]) / 2, (info['box'][1] + info['box'][3]) / 2
    assert center == (55, 50)  # of the mask


def test_a_mask_keeps_its_largest_part_and_loses_small_holes() -> None:
    mask = np.zeros((60, 60), bool)
    mask[5:45, 5:45] = True
    expected = mask.copy()
    mask[20:22, 20:22] = False
    mask[50:55, 50:55] = True
    np.testing.assert_array_equal(pose2sim.largest_component(mask), expected)
    mask[20:40, 20:40] = False  # a large hole, as between arm and trunk
    assert not pose2sim.largest_component(mask)[30, 30]


def test_detections_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    detected = recording(0)[0]['01']
    path = tmp_path / 'd.npz'
    good = dict(joints=detected.joints, names=np.array(detected.names), masks=detected.masks)
    np.savez(path, **good)
    assert pose2sim.read_detections(path).names == NAMES
    for change, message in (
        (dict(joints=detected.joints[:, :5]), 'joints: found'),
        (dict(masks=detected.masks[:3]), 'masks: found'),
        (dict(names=np.array(['x', *NAMES[1:-1], 'y'])), 'expected also'),
    ):
        np.savez(path, **{**good, **change})
        with pytest.raises(DataError, match=message):
            pose2sim.read_detections(path)
    np.savez(path, joints=detected.joints)
    with pytest.raises(DataError, match=r"missing \['masks', 'names'\]"):
        pose2sim.read_detections(path)


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), str(tmp_path / 'out')],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and 'found no JPEG images' in done.stderr
