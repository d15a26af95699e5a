from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from h36m_layouts import Truth, a_jpeg, cameras_of, make_truth

from mmjrr.datasets.annotations import Annotations, boxes_of_joints
from mmjrr.datasets.converters.annotation_checks import AnnotationCheck, check_annotations
from mmjrr.errors import DataError
from mmjrr.geometry import (
    PerspectiveCamera,
    camera_from_fields,
    load_cameras,
)


@pytest.fixture(scope='module')
def truth() -> Truth:
    return make_truth()


@pytest.fixture(scope='module')
def cameras() -> dict[tuple[str, str], PerspectiveCamera]:
    return {key: camera_from_fields('', value) for key, value in cameras_of().items()}


def annotations_of(truth: Truth) -> Annotations:
    ones = np.ones((*truth.joints.shape[:2], 1))
    part = np.concatenate([truth.pixels, ones], -1)
    center, scale = boxes_of_joints(part)
    return Annotations(
        np.array(truth.names), center, scale, part, np.concatenate([truth.joints, ones], -1)
    )


def found_in(annotations: Annotations, *args: Any, **kwargs: Any) -> AnnotationCheck:
    """Return the defects found, after checking that they stop a conversion by default."""
    with pytest.raises(DataError):
        check_annotations(annotations, *args, **kwargs)
    return check_annotations(annotations, *args, **kwargs, on_error='exclude')


def test_nothing_is_wrong_with_true_annotations(truth: Truth, cameras: Any) -> None:
    check = check_annotations(annotations_of(truth), cameras)
    assert not check.bad.any() and check.problems == {}
    assert check.cameras.keys() == {'S1 54138969', 'S1 60457274', 'S9 54138969', 'S9 60457274'}
    assert all(errors['max_px'] < 1e-6 for errors in check.cameras.values())
    assert max(check.bones.values()) < 1e-6


def test_the_four_real_frames_pass(shared_data: Path) -> None:
    """Projected 3D joints are within 1 px of the 2D ones, and the boxes are MMPose's own."""
    with np.load(shared_data / 'h36m_mini/test_h36m_body3d.npz') as file:
        fields = {name: file[name] for name in ('imgname', 'center', 'scale', 'part', 'S')}
    annotations = Annotations(**fields)
    check = check_annotations(
        annotations,
        load_cameras(shared_data / 'h36m_mini/cameras.pkl'),
        shared_data / 'h36m_mini',
        every_image=True,
    )
    assert len(check.cameras) == 4 and check.images == 4
    assert all(errors['max_px'] < 1 for errors in check.cameras.values())
    center, scale = boxes_of_joints(annotations.part)
    np.testing.assert_allclose(center, fields['center'], atol=1e-3)
    np.testing.assert_allclose(scale, fields['scale'].ravel(), rtol=1e-5)


def test_saved_annotations_load_unchanged_and_have_equal_bytes(
    tmp_path: Path, truth: Truth
) -> None:
    annotations = annotations_of(truth)
    for name in 'ab':
        annotations.save(tmp_path / f'{name}.npz', provenance={'b': 1, 'a': 2})
    assert (tmp_path / 'a.npz').read_bytes() == (tmp_path / 'b.npz').read_bytes()
    assert (tmp_path / 'a.json').read_text() == '{\n "a": 2,\n "b": 1\n}\n'
    with np.load(tmp_path / 'a.npz', allow_pickle=False) as file:
        assert file['imgname'].tolist() == truth.names
        np.testing.assert_array_equal(file['S'], annotations.S.astype(np.float32))


def test_parts_are_put_one_after_the_other(truth: Truth) -> None:
    both = Annotations.concatenate([annotations_of(truth.of(name)) for name in ('S9', 'S1')])
    assert both.imgname.tolist() == truth.of('S9').names + truth.of('S1').names
    assert len(both.keep(both.scale > 0)) == len(both) == len(truth.frame)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(DataError, match=r'part: found shape \(2, 16, 3\), expected \(2, 17, 3\)'):
        Annotations(
            np.array(['a', 'b']), np.zeros((2, 2)), np.ones(2), np.ones((2, 16, 3)),
            np.ones((2, 17, 4)),
        )  # fmt: skip


def test_boxes_are_of_labeled_joints_alone() -> None:
    part = np.zeros((1, 17, 3))
    part[0, 3], part[0, 5] = (100, 200, 1), (300, 240, 1)
    part[0, 7] = 5000, 5000, 0
    center, scale = boxes_of_joints(part)
    np.testing.assert_allclose(center, [[200, 220]])
    np.testing.assert_allclose(scale, [1.2 * 200 / 200])


LEGS = [0, 4, 5, 6, 1, 2, 3, *range(7, 17)]
MIRRORED = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]


@pytest.mark.parametrize(
    ('order', 'problem'),
    [
        (LEGS, "the legs (as in SPIN's joint order) are swapped between S and part"),
        (MIRRORED, 'left and right are swapped between S and part'),
    ],
)
def test_swapped_sides_are_seen(truth: Truth, cameras: Any, order: list[int], problem: str) -> None:
    annotations = annotations_of(truth)
    annotations.part[4:6] = annotations.part[4:6, order]
    check = found_in(annotations, cameras)
    assert check.problems == {problem: truth.names[4:6]}
    assert np.flatnonzero(check.bad).tolist() == [4, 5]
    assert problem in check.table()


def test_shifted_2d_joints_are_seen(truth: Truth, cameras: Any) -> None:
    annotations = annotations_of(truth)
    annotations.part[3, :, 0] += 3
    check = found_in(annotations, cameras)
    assert check.problems == {'projected S is over 2.0 px from part': [truth.names[3]]}
    assert not check_annotations(annotations, cameras, tolerance_px=4).problems
    assert not check_annotations(annotations, {}).problems  # nothing to compare with


def test_stretched_bones_are_seen(truth: Truth) -> None:
    annotations = annotations_of(truth)
    annotations.S[7, 3, :3] += 0.02 * np.array([0.6, 0.8, 0])  # 20 mm, the right ankle
    stretch = abs(np.linalg.norm(annotations.S[7, 3, :3] - annotations.S[7, 2, :3])
                  - np.linalg.norm(annotations.S[6, 3, :3] - annotations.S[6, 2, :3]))  # fmt: skip
    check = found_in(annotations, {}, tolerance_mm=0.5 * 1000 * stretch)
    assert list(check.problems.values()) == [[truth.names[7]]]
    assert check.bones['S1'] == pytest.approx(1000 * stretch)


def test_millimeters_are_seen(truth: Truth) -> None:
    annotations = annotations_of(truth)
    annotations.S[..., :3] *= 1000
    check = found_in(annotations, {}, tolerance_mm=1e9)
    assert list(check.problems) == ['S is not in meters; it looks like millimeters']
    assert check.bad.all()


def test_a_missing_camera_is_seen(truth: Truth, cameras: Any) -> None:
    some = {key: value for key, value in cameras.items() if key[0] == 'S1'}
    check = found_in(annotations_of(truth), some)
    assert check.problems == {'their camera is missing from the camera file': truth.of('S9').names}


def test_names_listed_twice_are_seen(truth: Truth) -> None:
    annotations = annotations_of(truth)
    annotations.imgname[5] = 'elsewhere/' + annotations.imgname[2].rsplit('/', 1)[1]
    check = found_in(annotations, {})
    assert check.problems == {'listed more than once': [annotations.imgname[5]]}


def test_missing_broken_and_smaller_images_are_seen(
    tmp_path: Path, truth: Truth, cameras: Any
) -> None:
    truth = truth.of('S9')
    annotations = annotations_of(truth)
    for row, name in enumerate(truth.names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        content = {0: b'no image', 2: None, 4: a_jpeg(700), 5: a_jpeg(1000)}.get(row, a_jpeg())
        if content is not None:
            (tmp_path / name).write_bytes(content)
    check = found_in(annotations, cameras, tmp_path, every_image=True)
    assert check.problems == {
        'not a readable image': [truth.names[0]],
        'there is no such image': [truth.names[2]],
        '1000 x 700 pixels, expected 1000 x 1002 as of the camera': [truth.names[4]],
    }
    sampled = found_in(annotations, cameras, tmp_path)  # row 4's video begins with a good one
    assert sorted(sampled.problems) == ['not a readable image', 'there is no such image']


def test_counts_are_shown_beside_the_published_ones(truth: Truth, cameras: Any) -> None:
    check = check_annotations(annotations_of(truth), cameras, published=312188)
    assert '18 frames; 312188 are published' in check.table()
    assert check.as_dict()['published_frames'] == 312188
