"""Joints triangulated from the views of the synthetic set, compared with its 3D labels."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from small_jobs import several_views

from mmjrr.cli.main import main
from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.annotations import Annotations, parse_names
from mmjrr.datasets.fits import load_fits
from mmjrr.datasets.triangulated_joints import labeled_trunk_joints, triangulated_joints
from mmjrr.errors import DataError
from mmjrr.geometry import load_cameras
from mmjrr.joints import H36M_JOINTS_MMPOSE

ANN = 'annotation_body3d/fps10/h36m_train.npz'


@pytest.fixture(scope='module')
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two moments of one subject, seen by four cameras, with 2D joints only."""
    folder = several_views(tmp_path_factory.mktemp('views'), ('S1',), moments=2)
    table = Annotations.load(folder / ANN)
    table.save(folder / 'labeled.npz')
    table.S[:] = 0
    table.save(folder / ANN)
    return folder


def test_triangulated_joints_are_the_labels(views: Path) -> None:
    labels, table = Annotations.load(views / 'labeled.npz'), Annotations.load(views / ANN)
    cameras = triangulated_joints(table, load_cameras(views / 'annotation_body3d/cameras.pkl'))
    # The set's 2D joints are projections of its 3D joints, both in single precision.
    np.testing.assert_allclose(cameras.S[..., :3], labels.S[..., :3], atol=1e-4)
    np.testing.assert_array_equal(cameras.S[..., 3], 1)
    np.testing.assert_array_equal(cameras.part, labels.part)


def test_labels_stay_and_contradicting_2d_joints_lose_their_weight(views: Path) -> None:
    labels, table = Annotations.load(views / 'labeled.npz'), Annotations.load(views / ANN)
    table.S[:, 0] = labels.S[:, 0] + 0.5
    table.part[0, 5, :2] += 100
    table.part[2, 6, 2] = 0.5
    cameras = triangulated_joints(table, load_cameras(views / 'annotation_body3d/cameras.pkl'))
    np.testing.assert_array_equal(cameras.S[:, 0], table.S[:, 0])
    np.testing.assert_allclose(cameras.S[0, 5, :3], labels.S[0, 5, :3], atol=1e-4)
    assert cameras.part[0, 5, 2] == 0 and table.part[0, 5, 2] == 1
    assert (cameras.part[:, [0, 1, 2]] == table.part[:, [0, 1, 2]]).all()
    assert cameras.S[..., 3].min() == pytest.approx((0.5 + 3) / 4)


def test_joints_that_are_not_triangulated_are_counted_by_reason(
    views: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        'mmjrr.datasets.triangulated_joints.print_log', lambda text, **_: said.append(text)
    )
    cameras = load_cameras(views / 'annotation_body3d/cameras.pkl')
    whole = Annotations.load(views / ANN)
    report: dict[str, int] = {}
    triangulated_joints(whole, cameras, report=report)
    assert not said and report == dict(
        joints_triangulated=8 * 17, joints_in_one_view=0, joints_disagreeing=0, joints_imprecise=0
    )
    # The two cameras that face each other most.
    rig = {key: camera.to(torch.float64) for key, camera in cameras.items() if key[0] == 'S1'}
    one, other = min(
        combinations(rig, 2),
        key=lambda pair: float(rig[pair[0]].rotation[0, 2] @ rig[pair[1]].rotation[0, 2]),
    )
    ids = np.array([name.camera for name in parse_names('', whole.imgname.tolist())])
    table, ids = whole.keep(np.isin(ids, [one[1], other[1]])), ids[np.isin(ids, [one[1], other[1]])]
    loose = triangulated_joints(table, cameras, max_dilution=np.inf)
    # Joint 3 lies between the cameras, joint 4 is seen by one, joint 5 by two that disagree.
    # Exactly on the line between them, rounding errors would decide where the joint is.
    between = (0.45 * rig[one].position + 0.55 * rig[other].position)[None]
    between = between + torch.tensor([0.0, 0.0, 0.002]).to(between)
    for key in (one, other):
        pixels = rig[key].project(rig[key].world_to_camera(between))
        table.part[ids == key[1], 3, :2] = pixels[0, 0]
    table.part[ids == one[1], 4, 2] = 0
    table.part[ids == one[1], 5, :2] += 300
    result = triangulated_joints(table, cameras, max_dilution=500, report=report)
    assert report == dict(
        joints_triangulated=4 * 14, joints_in_one_view=4, joints_disagreeing=4, joints_imprecise=4
    )
    assert said[0].startswith('56 of 68 joints') and said[0].count(': 4 ') == 1
    np.testing.assert_array_equal(result.S[:, [3, 4, 5]], 0)
    np.testing.assert_array_equal(result.part, table.part)
    others = [joint for joint in range(17) if joint not in (3, 4, 5)]
    np.testing.assert_array_equal(result.S[:, others], loose.S[:, others])
    assert triangulated_joints(table, cameras).S[:, 3].max() == 0
    with pytest.raises(ValueError, match='max_dilution: found 0'):
        triangulated_joints(table, cameras, max_dilution=0)


def test_a_joint_far_outside_one_picture_is_triangulated_from_the_others(views: Path) -> None:
    labels, table = Annotations.load(views / 'labeled.npz'), Annotations.load(views / ANN)
    table.part[0, 3, :2] = -9999
    table = table.keep(np.arange(len(table)) != len(table) - 1)
    report: dict[str, int] = {}
    cameras = load_cameras(views / 'annotation_body3d/cameras.pkl')
    result = triangulated_joints(table, cameras, report=report)
    np.testing.assert_allclose(result.S[..., :3], labels.S[:-1, :, :3], atol=1e-4)
    assert result.part[0, 3, 2] == 0 and report['joints_triangulated'] == table.S[..., 0].size


def test_the_data_set_triangulates_from_the_kept_cameras_only(views: Path) -> None:
    labels = Annotations.load(views / 'labeled.npz')
    whole = H36MFitsDataset(data_root=str(views), triangulate=True)
    ids = sorted({name.split('.')[1][:8] for name in labels.imgname.tolist()})
    two = H36MFitsDataset(data_root=str(views), triangulate=True, cameras=ids[:2])
    assert (len(whole), len(two)) == (8, 4) and not whole.has_fits
    assert (whole.report['joints_triangulated'], two.report['joints_imprecise']) == (8 * 17, 0)
    np.testing.assert_allclose(two.labeled_joints(range(4))[..., 3], 1)
    with pytest.raises(DataError, match='no sample with all that is required'):
        H36MFitsDataset(data_root=str(views), triangulate=True, cameras=ids[:1])
    with pytest.raises(ValueError, match='camera_param_file: found None'):
        H36MFitsDataset(data_root=str(views), triangulate=True, camera_param_file=None)


def test_a_missing_camera_is_named(views: Path) -> None:
    table = Annotations.load(views / ANN)
    cameras = load_cameras(views / 'annotation_body3d/cameras.pkl')
    cameras.pop(('S1', '60457274'))
    with pytest.raises(ValueError, match='cameras: found none of S1 60457274'):
        triangulated_joints(table, cameras)


def test_moments_without_a_trunk_are_dropped_and_counted(views: Path) -> None:
    table = Annotations.load(views / ANN)
    trunk = [H36M_JOINTS_MMPOSE.index(n) for n in ('pelvis', 'left_hip', 'right_hip', 'spine',
                                                    'thorax')]  # fmt: skip
    video = table.imgname[0].split('/')[1].split('.')[0]
    first = np.array([video in name for name in table.imgname.tolist()])
    table.part[np.ix_(first, trunk)] = 0
    table.save(views / 'trunkless.npz')
    views_with_trunk = H36MFitsDataset(
        data_root=str(views), ann_file='trunkless.npz', triangulate=True
    )
    assert views_with_trunk.report['without_joints'] == 4 and len(views_with_trunk) == 4
    assert (labeled_trunk_joints(views_with_trunk.annotations) == 7).all()


def test_the_command_fits_bodies_to_triangulated_joints(
    views: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        'initial-fits', str(views / ANN), '--regressor', 'free_body_h36m', '--body-model',
        'free_body', '--iters', '30', '--starts', '1', '--out', str(tmp_path / 'f.npz'),
    ]  # fmt: skip
    cameras = str(views / 'annotation_body3d/cameras.pkl')
    assert main([*arguments, '--cameras', cameras]) == 0
    assert '8 of 8 frames have joints of the trunk in 3D' in capsys.readouterr().out
    fits, labels = load_fits(tmp_path / 'f.npz'), Annotations.load(views / 'labeled.npz')
    assert fits['imgname'].tolist() == labels.imgname.tolist()
    # A body's origin is within a hand's breadth of its pelvis.
    assert np.linalg.norm(fits['transl'] - labels.S[:, 0, :3], axis=1).max() < 0.4
    assert main(arguments) == 1  # without cameras there are no 3D joints
