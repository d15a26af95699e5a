"""Label offsets as values: displacements of posed bodies, and their file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_body import small_body

from mmjrr.body_models import SMPL
from mmjrr.errors import DataError
from mmjrr.joints import H36M_JOINTS_MMPOSE, SMPL_JOINTS, SMPL_PARENTS
from mmjrr.regressors.label_offsets import CARRYING_PARTS, LabelOffsets, part_rotations

NAMES = ('left_ankle', 'head', 'right_wrist')


def example(seed=0):
    values = np.random.default_rng(seed).normal(0, 0.01, (2, 3, 3))
    return LabelOffsets(['S1', 'S5'], NAMES, values)


def test_every_joint_of_h36m_has_a_part_on_the_same_side():
    assert set(CARRYING_PARTS) == set(H36M_JOINTS_MMPOSE)
    for joint, part in CARRYING_PARTS.items():
        assert part in SMPL_JOINTS
        side = joint.partition('_')[0] if joint.startswith(('left', 'right')) else ''
        assert not part.startswith(('left', 'right')) or part.startswith(side)


def test_displacements_turn_offsets_with_their_parts(tmp_path):
    np.savez(tmp_path / 'SMPL_NEUTRAL.npz', **small_body())
    body = SMPL(tmp_path / 'SMPL_NEUTRAL.npz', dtype=torch.float64)
    rng = np.random.default_rng(1)
    root, pose = (torch.from_numpy(rng.normal(0, 1, (4, n))) for n in (3, 69))
    rotations = part_rotations(body, global_orient=root, body_pose=pose)

    # The same rotations from the chain of parents, with SciPy.
    from scipy.spatial.transform import Rotation

    local = torch.cat([root, pose], 1).reshape(4, 24, 3).numpy()
    expected = np.empty((4, 24, 3, 3))
    for n in range(4):
        for j, parent in enumerate(SMPL_PARENTS):
            own = Rotation.from_rotvec(local[n, j]).as_matrix()
            expected[n, j] = own if parent < 0 else expected[n, parent] @ own
    np.testing.assert_allclose(rotations.numpy(), expected, atol=1e-12)

    offsets = example()
    index = offsets.index_of(['S5', 'S1', 'S9', 'S5'])
    assert index.tolist() == [1, 0, -1, 1]
    displacement = offsets.displacements(rotations, index).numpy()
    for n, row in enumerate(index.tolist()):
        for j, name in enumerate(NAMES):
            part = expected[n, SMPL_JOINTS.index(CARRYING_PARTS[name])]
            value = part @ offsets.values[row, j].numpy() if row >= 0 else np.zeros(3)
            np.testing.assert_allclose(displacement[n, j], value, atol=1e-12)


def test_displacements_are_differentiable_in_the_rotations():
    offsets = example()
    rotations = torch.randn(2, 24, 3, 3, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([1, -1])
    assert torch.autograd.gradcheck(lambda r: offsets.displacements(r, index), [rotations])
    offsets.displacements(rotations, index).sum().backward()
    assert rotations.grad is not None and not rotations.grad[1].any()
    assert offsets.displacements(rotations.float(), index).dtype == torch.float32


def test_a_file_holds_everything(tmp_path):
    parts = dict(left_ankle='left_foot', head='neck', right_wrist='right_wrist')
    provenance = dict(source='refined fits', seed=3)
    saved = LabelOffsets(['S1', 'S5'], NAMES, example().values, parts, provenance)
    loaded = LabelOffsets.load(saved.save(tmp_path / 'offsets.npz'))
    assert loaded.subjects == saved.subjects and loaded.joint_names == saved.joint_names
    assert loaded.part_index == saved.part_index != example().part_index
    assert torch.equal(loaded.values, saved.values)
    assert loaded.provenance == provenance
    again = saved.save(tmp_path / 'again.npz')
    assert again.read_bytes() == (tmp_path / 'offsets.npz').read_bytes()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(values=None), r"found no \['values'\]"),
        (dict(values=np.zeros((2, 2, 3))), 'values: found shape'),
        (dict(values=np.full((2, 3, 3), np.nan)), 'expected finite'),
        (dict(parts=np.array(['a', 'b', 'c'])), 'parts: found'),
        (dict(parts=np.array(['head'])), 'shorter'),
        (dict(subjects=np.array(['S1', 'S1'])), 'expected each once'),
        (dict(joint_names=np.array(['head', 'head', 'neck'])), 'more than once'),
        (dict(provenance=np.array('{')), 'Expecting'),
        (dict(provenance=np.array('3')), "'int' object"),
        (dict(subjects=np.array([b'\xff', b'S5'])), "can't decode"),
    ],
)
def test_broken_files_are_named(tmp_path, change, message):
    path = example().save(tmp_path / 'offsets.npz')
    fields = {**np.load(path), **change}
    np.savez(path, **{name: value for name, value in fields.items() if value is not None})
    with pytest.raises(DataError, match=message) as error:
        LabelOffsets.load(path)
    assert str(path) in str(error.value)


def test_wrong_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match=r'ending in \.npz'):
        example().save(tmp_path / 'offsets.npy')
    with pytest.raises(ValueError, match='rotations: found'):
        example().displacements(torch.zeros(2, 10, 3, 3), torch.zeros(2, dtype=torch.long))
    with pytest.raises(FileNotFoundError):
        LabelOffsets.load(tmp_path / 'none.npz')
