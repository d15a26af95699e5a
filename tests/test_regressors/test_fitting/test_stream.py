"""Frame streams: blocks, samples, usable frames, and batches that are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dense_reference import NAMES, in_batches, random_frames

from mmjrr.regressors import fit_joint_regressor
from mmjrr.regressors.fitting.stream import BLOCK_FRAMES, FrameStream


@pytest.mark.parametrize('size', [1, 7, 256, 1000])
def test_blocks_do_not_depend_on_the_batch_size(size):
    vertices, joints, _ = random_frames(frames=600)
    stream = FrameStream(in_batches(vertices, joints, size=size), NAMES, 'pelvis')
    blocks = list(stream.blocks('test'))
    assert [len(block) for block in blocks] == [BLOCK_FRAMES, BLOCK_FRAMES, 88]
    assert torch.equal(torch.cat([b.vertices for b in blocks]), torch.from_numpy(vertices))
    assert torch.equal(torch.cat([b.joints for b in blocks]), torch.from_numpy(joints))


@pytest.mark.parametrize('total', [1, 5, 8, 9, 15, 16, 17, 100, 1000])
def test_sampled_frames_are_evenly_spaced(total):
    vertices, joints, _ = random_frames(frames=total)
    numbered = vertices * 0 + np.arange(total)[:, None, None]
    sample, is_all = FrameStream(in_batches(numbered, joints, size=3), NAMES, 'pelvis').sample(8)
    frames = sample.vertices[:, 0, 0].tolist()
    assert is_all == (total <= 8) and len(frames) == min(total, 8)
    spacing = np.diff([*frames, total]) / (total / len(frames))
    assert spacing.min() > 0.5 and spacing.max() < 2.1


@pytest.mark.parametrize(
    ('root', 'expected'),
    [
        ('pelvis', [True, False, False, False]),
        ('mean', [True, True, False, False]),
        (None, [True, True, True, False]),
    ],
)
def test_frames_without_root_or_joints_are_dropped(root, expected):
    vertices, joints, _ = random_frames(frames=4)
    joints[1, 0] = np.nan  # all but the pelvis
    joints[2, 1:] = np.nan  # the pelvis alone
    joints[3] = np.nan
    stream = FrameStream([(vertices, joints)], NAMES, root)
    (frames,) = stream.usable_blocks('test')
    assert torch.equal(frames.vertices, torch.from_numpy(vertices[expected]))
    assert frames.n_dropped == 4 - sum(expected)
    assert np.isfinite(frames.joints.numpy()).all()


def test_batches_that_change_between_passes_are_refused(monkeypatch):
    monkeypatch.setattr('mmjrr.regressors.fitting.fit._SAMPLE_FRAMES', 100)
    vertices, joints, _ = random_frames(frames=300)

    class Shrinking:
        size = 300

        def __iter__(self):
            yield vertices[: self.size], joints[: self.size]
            self.size -= 1

    with pytest.raises(ValueError, match='found 299 frames, expected the 300 of the first pass'):
        fit_joint_regressor(Shrinking(), NAMES, body_model='toy')


def test_invalid_batches_are_refused():
    vertices, joints, _ = random_frames()

    def fit(*batch):
        fit_joint_regressor([batch], NAMES, body_model='toy', on_bad_frame='raise')

    with pytest.raises(ValueError, match='no frames'):
        fit_joint_regressor([], NAMES)
    with pytest.raises(ValueError, match='batch 0: found 1 items'):
        fit(vertices)
    with pytest.raises(ValueError, match='same N'):
        fit(vertices, joints[1:])
    with pytest.raises(ValueError, match=r'batch 0: frame \d+: vertices: found NaN'):
        fit(np.where(vertices > 5.5, np.nan, vertices), joints)
    with pytest.raises(ValueError, match=r'batch 0: frame \d+: joints: found infinity'):
        fit(vertices, np.where(joints > 5.2, np.inf, joints))
    with pytest.raises(ValueError, match='sample_weight: found negative'):
        fit(vertices, joints, -np.ones((40, 4)))
    with pytest.raises(ValueError, match=r'sample_weight: found shape \(40,\)'):
        fit(vertices, joints, np.ones(40))
    with pytest.raises(ValueError, match='batch 1: found 9 vertices and 4 joints, expected 10'):
        fit_joint_regressor([(vertices, joints), (vertices[:, 1:], joints)], NAMES)


def test_joints_missing_from_every_frame_are_refused():
    vertices, joints, _ = random_frames()
    joints[:, 3] = np.nan
    with pytest.raises(ValueError, match=r"\['head'\] are missing from every frame"):
        fit_joint_regressor([(vertices, joints)], NAMES, body_model='toy')
    joints[:, 0] = np.nan
    with pytest.raises(ValueError, match='40 were dropped'):
        fit_joint_regressor([(vertices, joints)], NAMES, body_model='toy')


@pytest.mark.parametrize(
    'convert',
    [
        lambda array: array.astype('>f8'),
        lambda array: np.ascontiguousarray(array[::-1])[::-1],
        lambda array: np.round(1000 * array).astype(np.int64),
        lambda array: torch.from_numpy(np.round(1000 * array)).int(),
    ],
    ids=['big-endian', 'negative strides', 'whole numbers', 'tensor of whole numbers'],
)
def test_arrays_of_any_type_and_layout_give_the_same_fit(convert):
    vertices, joints, _ = random_frames()
    converted = [convert(array) for array in (vertices, joints)]
    arrays = [v.numpy() if isinstance(v, torch.Tensor) else v for v in converted]
    plain = [array.astype(np.float64) for array in arrays]
    fit = fit_joint_regressor([converted], NAMES, body_model='toy')
    expected = fit_joint_regressor([plain], NAMES, body_model='toy')
    assert torch.equal(fit.regressor.weight, expected.regressor.weight)
