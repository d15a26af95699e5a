"""Result files of every format and layout give the same bodies, and none of their code is run."""

from __future__ import annotations

import base64
import collections
import json
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mmjrr.datasets.predictions import Predictions, predictions_from, read_predictions
from mmjrr.errors import DataError

COUNT = 6
NAMES = [f'S9/S9_Walking_1.60457274/S9_Walking_1.60457274_{f:06d}.jpg' for f in range(COUNT)]
RNG = np.random.default_rng(0)
POSE = (0.3 * RNG.normal(size=(COUNT, 72))).astype(np.float32)
BETAS = RNG.normal(size=(COUNT, 10)).astype(np.float32)
VERTICES = RNG.normal(size=(COUNT, 20, 3)).astype(np.float32)
MATRICES = Rotation.from_rotvec(POSE.reshape(-1, 3)).as_matrix().reshape(COUNT, 24, 3, 3)

# Written by joblib 1.4.2 with NumPy 1.26.4, without compression (here packed by zlib) and with
# compress=3:
#   {1: {'pose': (numpy.arange(144, dtype='f4') / 100).reshape(2, 72),
#        'betas': numpy.asfortranarray(numpy.arange(20, dtype='f4').reshape(2, 10)),
#        'frame_ids': numpy.array([3, 4]), 'joints2d': None}}
JOBLIB = zlib.decompress(
    base64.b64decode(
        'eNplk19IU1EAxu+mQ12SWuuPFFoIMQlMWoGE9xw1auJkNQkkGK07t3Wn+3Pd3agZwiymyy7N8IxUSqxZScUqLNpL'
        'EPOhl/nQ0156aC+96EMv86GX+rZpPXjZ2Xfvuef7ft+BcyOViTxXvsaZSTXO9Eql5JedTNk/7Ld73PY2X8grhW2S'
        'e2jEg9kGc/GxOxAQwoMBQZKcATbLWidY0Vgth+xDHkGWmaIpuZhS5XMIxbVYpGhkUZCczKQ29U7iyR9wwKyozuPe'
        'EQzjjVizc4fVatcZdi82xQaY3lShqDqZ2Wzu+4Or9GfigsyuaAWPx3/T5vUKEospR8pNSzyb4HHf8HmdvqDNHg46'
        'ZWaqD9krYCxuVJtr6dTmkp3xTAHawq9n+/l4JsS3WuM85vlNSxpzWT5lzGO+wKebNKTVWkcW5hsJ1pPbujayaekg'
        '1ngPgZfw2kGSMgqkOTpCkEM4LkLSTVEyyk/DFyf5MQbvPBlIL8KfJGuFFWSkiMGwipw0WZY+IytDdKmvyMuS6MY3'
        'ZObIlv47cvPE5fqJ7A2SS/5CfoH05n+DwVFrXE3RjepSVXSU19L1bC1FTxrdaKD5MR3ltYcoOtMt/VE6kG6iKeNx'
        'iv7U5TpB1wp62hw9SbEXmku2U4PBQOOZsxT7or35c3RZ4inHdYHRA8YFMIxg9IHRD8YlMCxgXAFjEIyrYFjBuAaG'
        'AMYQGC4wRDBGwPCBIYEhgxEC4xYYY2CMgxGBZwKcO/DdBSsK7yR4U/DHwJxGxn1wFeQ8ADuOrBnwHyJvFh0YMhPo'
        '8Qi5c+gyj+wF9HmM/CfotAjGEhhPwXgGRhKM52C8AOMlGCtgvALjNRhvwEiB8RaMd2C8B2MVjA9gfATjE02c2v5a'
        'FI3dGRRkJmrKp1+sFveItTjc2kkm7lVUF5lYLx4QD8fExuLZq/pTvsrmY93FfXNcO5Trwg/aBb1cnIdehy5BJegX'
        'aAT6AxorrseYwajHmOtOWHb61LgCgtdpczt2d4qikViHPvsUtbvj/2clHtz9Uf1rrCn1rdiOr9zWRN0Or3rY7/YF'
        '5dMOZg7JbX8BGPSiOQ=='
    )
)
JOBLIB_COMPRESSED = base64.b64decode(
    'eF5lk19IU1EAxu+mQ12SWuuPFFoIMQlMWoGE9xw1auJkNQkkGK07t3Wn+3Pd3agZghbTZZdmeEYqJdaspGIVFu0liPnQ'
    'y3zoaS89tJde9KGX+dBLfXdqPXjZ3Xfvuef7ft+Bc8bKkwVu6xplFs0oMyrlUlB2M2X/YNDp8zpbAhG/FHVI3oEhH0br'
    'rOprZygkRPtDgiS5Q2yGNY8z1VgpR5wDPkGWmaIruZhSEXAJ6lxMUnSyKEhuZtFauifwFgy5YFY05/HsCkfxRazaecJs'
    'recMuxefZH3MaClTNO3MarX2/MFV+rNwYeZU9ILPF7zp8PsFicWVI1tNSzyH4PPeCPjdgbDDGQ27ZWapjTjLYFQXqs83'
    'tevzqfZEtght4tdyvXwiG+Gb7Qke4/yGLYOxHJ82FzBe5DMNOtJsryHzc/UE88ltQwvZsLURe6KLwEt4fT9JmwXSGBsi'
    'yCEcN0YyDTEyzE/BlyCFEQbvHOnLLMCfIqvFZWSkicm0gpwMWZI+IytLDOmvyMuR2Po3ZObJpvE7cgvE4/mJ7HWST/1C'
    'fpF0F36DwVF7QkvRjRrSFXSY19O1XDVFTxpbr6OFEQPl9YcoOtNN41Hal2mgafNxiv7U4zlBV4tG2hg7SbEWmk+1UpPJ'
    'RBPZsxTrot2Fc3RJ4inHdYDRBcYFMMxg9IDRC8YlMGxgXAGjH4yrYNjBuAaGAMYAGB4wRDCGwAiAIYEhgxEB4xYYI2CM'
    'gjEGzzg4d+C7C1YM3gnwJuGPgzmFjPvgKsh5AHYCWdPgP0TeDDowZCbR4xFyZ9FlDtnz6PMY+U/QaQGMRTCegvEMjBQY'
    'z8F4AcZLMJbBeAXGazDegJEG4y0Y78B4D8YKGB/A+AjGJ5o8tX1aFJ3THRZkJuq2dr9YKe4Rq7G59RNM3KtoLjKxVjwg'
    'Ho6L9ereq1B37fb+47hjneq6Oa4VynXgB+2AXlbHodehi1AJ+gU6Bv0BjavzcU/jrsU925m07fSp8oQEv9vhde3uFEMj'
    'sQZ99ilab9v/YyUe3H2o/jXWlfqWbceXb2uyZodXORj0BsLyaRezRuSWvxj0ojk='
)


def save_npz(path: Path, content: dict[str, Any]) -> None:
    np.savez(path.with_suffix('.npz'), **content)
    path.with_suffix('.npz').rename(path)


def save_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, default=np.ndarray.tolist))


def save_pickle(path: Path, content: Any) -> None:
    path.write_bytes(pickle.dumps(content, 2))


def save_torch(path: Path, content: dict[str, Any]) -> None:
    tensors = {
        k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in content.items()
    }
    torch.save(tensors, path)


def save_old_torch(path: Path, content: dict[str, Any]) -> None:
    tensors = {
        k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in content.items()
    }
    torch.save(tensors, path, _use_new_zipfile_serialization=False)


def assert_is_the_set(predictions: Predictions, atol: float = 1e-6) -> None:
    """The bodies of this file, whatever representation they are in."""
    assert len(predictions) == COUNT
    assert predictions.pose().shape == (COUNT, 72)
    matrices = Rotation.from_rotvec(predictions.pose().reshape(-1, 3)).as_matrix()
    np.testing.assert_allclose(matrices, MATRICES.reshape(-1, 3, 3), atol=atol)
    np.testing.assert_allclose(predictions.betas, BETAS, atol=1e-7)


@pytest.mark.parametrize('save', [save_npz, save_json, save_pickle, save_torch, save_old_torch])
@pytest.mark.parametrize('suffix', ['right', 'wrong'])
def test_every_format_is_told_from_its_content(
    tmp_path: Path, save: Callable[[Path, Any], None], suffix: str
) -> None:
    path = tmp_path / ('results.' + save.__name__[5:] if suffix == 'right' else 'results.bin')
    save(path, {'imgname': NAMES, 'pose': POSE, 'betas': BETAS})
    predictions = read_predictions(path)
    assert_is_the_set(predictions)
    assert predictions.imgname == NAMES
    assert (predictions.layout, predictions.source) == ('spin', path)


# -- layouts -------------------------------------------------------------------------------------

PHALP = {
    name: {
        'time': row,
        'frame_path': name,
        'tid': [1, 2],
        'tracked_time': [0, 3],
        'smpl': [
            {
                'global_orient': MATRICES[row, :1].astype(np.float32),
                'body_pose': MATRICES[row, 1:].astype(np.float32),
                'betas': BETAS[row],
            },
            {
                'global_orient': np.eye(3, dtype=np.float32)[None],
                'body_pose': np.tile(np.eye(3, dtype=np.float32), (23, 1, 1)),
                'betas': np.zeros(10, np.float32),
            },
        ],
        'camera': [np.zeros(3), np.zeros(3)],
    }
    for row, name in enumerate(NAMES)
}
PHALP['empty'] = {
    'time': 9, 'frame_path': 'empty.jpg', 'tid': [], 'tracked_time': [], 'smpl': [], 'camera': []
}  # fmt: skip
VIBE = {
    person: {
        'pred_cam': np.zeros((stop - start, 3)),
        'verts': VERTICES[start:stop],
        'pose': POSE[start:stop],
        'betas': BETAS[start:stop],
        'joints3d': np.zeros((stop - start, 49, 3)),
        'joints2d': None,
        'frame_ids': np.arange(start, stop),
    }
    for person, start, stop in ((1, 0, 2), (7, 2, COUNT))
}
HUMAN_DATA = {
    'image_path': NAMES,
    'smpl': {
        'body_pose': POSE[:, 3:].reshape(-1, 23, 3),
        'global_orient': POSE[:, :3],
        'betas': BETAS,
    },
    'bbox_xywh': np.zeros((COUNT, 5)),
    '__data_len__': np.array(COUNT),
}
MMHUMAN3D_BATCHES = [
    {
        'image_path': NAMES[start:stop],
        'smpl_pose': MATRICES[start:stop].astype(np.float32),
        'smpl_beta': BETAS[start:stop],
        'camera': np.zeros((stop - start, 3)),
    }
    for start, stop in ((0, 4), (4, COUNT))
]
MMENGINE = [
    {
        'imgname': name,
        'pred_global_orient': torch.from_numpy(MATRICES[row, 0]).float(),
        'pred_body_pose': torch.from_numpy(MATRICES[row, 1:]).float(),
        'pred_betas': torch.from_numpy(BETAS[row]),
        'keypoints_3d': torch.zeros(17, 3),
    }
    for row, name in enumerate(NAMES)
]


@pytest.mark.parametrize(
    ('layout', 'save', 'content', 'named'),
    [
        ('mmhuman3d', save_npz, HUMAN_DATA, True),
        ('mmhuman3d-results', save_pickle, MMHUMAN3D_BATCHES, True),
        ('mmhuman3d-results', save_pickle, MMHUMAN3D_BATCHES[:1] + MMHUMAN3D_BATCHES[1:], True),
        (
            'mmhuman3d-json',
            save_json,
            {'keypoints': [], 'poses': MATRICES.tolist(), 'betas': BETAS.tolist()},
            False,
        ),
        ('vibe', save_pickle, collections.defaultdict(dict, VIBE), False),
        ('4d-humans', save_pickle, PHALP, True),
        ('mmengine', save_pickle, MMENGINE, True),
        ('spin', save_npz, {'pose': POSE, 'shape': BETAS, 'imgname': NAMES}, True),
        ('spin', save_npz, {'pose': POSE, 'betas': BETAS, 'pred_joints': np.zeros(3)}, False),
        (
            'plain',
            save_npz,
            {'global_orient': POSE[:, :3], 'body_pose': POSE[:, 3:], 'betas': BETAS},
            False,
        ),
        (
            'by-image',
            save_json,
            {
                name: {'pose': POSE[i].tolist(), 'betas': BETAS[i].tolist()}
                for i, name in enumerate(NAMES)
            },
            True,
        ),
    ],
)
def test_layouts_are_recognised_by_their_fields(
    tmp_path: Path, layout: str, save: Callable[[Path, Any], None], content: Any, named: bool
) -> None:
    path = tmp_path / 'results'
    save(path, content)
    predictions = read_predictions(path)
    assert predictions.layout == layout
    assert_is_the_set(predictions)
    assert predictions.imgname == (NAMES if named else None)
    assert read_predictions(path, layout=layout).layout == layout


def test_bodies_that_a_tracker_only_remembers_are_left_out_and_counted() -> None:
    predictions = predictions_from(PHALP)
    assert predictions.imgname == NAMES
    assert any(str(COUNT) in note and 'did not see' in note for note in predictions.notes)


def test_vibe_gets_names_from_its_frame_numbers(tmp_path: Path) -> None:
    folder = tmp_path / 'S9_Walking_1.60457274'
    folder.mkdir()
    save_pickle(folder / 'vibe_output.pkl', VIBE)
    predictions = read_predictions(folder / 'vibe_output.pkl', name_format='{folder}_{number:06d}')
    assert predictions.imgname == [f'S9_Walking_1.60457274_{n:06d}' for n in range(1, COUNT + 1)]
    np.testing.assert_array_equal(predictions.vertices, VERTICES)
    with pytest.raises(ValueError, match=r'name_format.*\{fame\}.*\{number\}'):
        read_predictions(folder / 'vibe_output.pkl', name_format='{fame}')
    with pytest.raises(ValueError, match='has no frame numbers'):
        predictions_from({'pose': POSE, 'betas': BETAS}, name_format='{frame}')


def test_arguments_without_effect_are_noted() -> None:
    content = {'imgname': NAMES, 'pose': POSE, 'betas': BETAS}
    notes = predictions_from(content, rotation_6d='rows', frame_step=5).notes
    assert [note.split(' has no effect')[0] for note in notes] == [
        'rotation_6d (--rotation-6d)',
        'frame_step (--frame-step)',
    ]
    rows = MATRICES[:, :, :2].reshape(COUNT, 24, 6)
    read = predictions_from({**content, 'pose': rows}, rotation_6d='rows')
    assert read.notes == ()
    composed = {**content, 'pose': rows, 'extrinsics': np.tile(np.eye(4), (COUNT, 1, 1))}
    fields = dict(imgname='imgname', pose='pose', betas='betas', extrinsics='extrinsics')
    assert predictions_from(composed, fields=fields, rotation_6d='rows').notes == ()
    numbered = {'frame': np.arange(COUNT), 'pose': POSE, 'betas': BETAS}
    named = predictions_from(
        numbered, name_format='{number:06d}', fields={'frame': 'frame'}, frame_step=5
    )
    assert named.imgname is not None and named.imgname[1] == '000006'
    assert not any('no effect' in note for note in named.notes)


@pytest.mark.parametrize('content', [JOBLIB, JOBLIB_COMPRESSED])
def test_joblib_files_are_read_without_joblib(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'vibe_output.pkl'
    path.write_bytes(content)
    predictions = read_predictions(path, name_format='{frame}')
    assert predictions.layout == 'vibe'
    np.testing.assert_array_equal(
        predictions.pose(), np.arange(144, dtype=np.float32).reshape(2, 72) / np.float32(100)
    )
    np.testing.assert_array_equal(predictions.betas, np.arange(20).reshape(2, 10))
    assert predictions.imgname == ['3', '4']


def test_any_other_layout_is_read_by_naming_fields(tmp_path: Path) -> None:
    content = [
        {
            'meta': {'file': name},
            'out': [{'theta': MATRICES[row].tolist(), 'b': BETAS[row].tolist()}],
        }
        for row, name in enumerate(NAMES)
    ]
    save_json(tmp_path / 'results.json', content)
    with pytest.raises(DataError, match=r'no known layout.*meta.*theta.*--fields'):
        read_predictions(tmp_path / 'results.json')
    fields = {'imgname': 'meta.file', 'pose': 'out.theta', 'betas': 'out.b'}
    predictions = read_predictions(tmp_path / 'results.json', fields=fields)
    assert_is_the_set(predictions)
    assert (predictions.imgname, predictions.layout) == (NAMES, 'fields')
    with pytest.raises(DataError, match=r"betas: found nothing at 'out\.beta'"):
        read_predictions(tmp_path / 'results.json', fields={**fields, 'betas': 'out.beta'})
    with pytest.raises(ValueError, match=r"unknown \['beta'\]"):
        read_predictions(tmp_path / 'results.json', fields={'beta': 'out.b'})


def test_a_named_field_goes_before_the_layouts_own() -> None:
    other = [name.replace('S9', 'S11') for name in NAMES]
    content = {'imgname': NAMES, 'real_name': other, 'pose': POSE, 'betas': BETAS}
    assert predictions_from(content, fields={'imgname': 'real_name'}).imgname == other


# -- rotations and sequences ---------------------------------------------------------------------

COLUMNS = MATRICES[..., :2].reshape(COUNT, 24, 6)


@pytest.mark.parametrize(
    'pose',
    [POSE, POSE.reshape(COUNT, 24, 3), MATRICES, MATRICES.reshape(COUNT, 24, 9),
     MATRICES.reshape(COUNT, 216), COLUMNS, COLUMNS.reshape(COUNT, 144)],
    ids=['aa', 'aa-24', 'matrix', 'matrix-9', 'matrix-216', '6d', '6d-144'],
)  # fmt: skip
@pytest.mark.parametrize('split', [False, True])
def test_all_representations_are_the_same_bodies(pose: np.ndarray, split: bool) -> None:
    content = {'pose': pose, 'betas': BETAS}
    if split:
        joints = pose.reshape(COUNT, 24, *(pose.shape[2:] or (pose.shape[1] // 24,)))
        content = {'global_orient': joints[:, 0], 'body_pose': joints[:, 1:], 'betas': BETAS}
    assert_is_the_set(predictions_from(content), atol=3e-6)


@pytest.mark.parametrize('axes', [(2, 3), (1, COUNT), (COUNT, 1), (1, 2, 3)])
def test_sequences_are_laid_end_to_end(axes: tuple[int, ...]) -> None:
    predictions = predictions_from(
        {
            'imgname': np.array(NAMES).reshape(axes),
            'global_orient': MATRICES[:, 0].reshape(*axes, 3, 3),
            'body_pose': POSE[:, 3:].reshape(*axes, 69),
            'betas': BETAS.reshape(*axes, 10),
        }
    )
    assert_is_the_set(predictions)
    assert predictions.imgname == NAMES


def test_one_shape_serves_all_frames_of_a_sequence() -> None:
    predictions = predictions_from({'pose': POSE.reshape(2, 3, 72), 'betas': BETAS[:2]})
    np.testing.assert_array_equal(predictions.betas, BETAS[[0, 0, 0, 1, 1, 1]])
    predictions = predictions_from({'pose': POSE, 'betas': BETAS[0]})
    np.testing.assert_array_equal(predictions.betas, BETAS[[0] * COUNT])


def test_stored_values_keep_their_digits() -> None:
    predictions = predictions_from({'pose': MATRICES.astype(np.float32), 'betas': BETAS})
    np.testing.assert_array_equal(predictions.body_pose, MATRICES[:, 1:].astype(np.float32))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'body_pose': np.zeros((4, 60)), 'betas': BETAS}, r'body_pose: .*\(4, 60\).*expected 23'),
        ({'pose': np.zeros((4, 70)), 'betas': BETAS}, r'pose: .*\(4, 70\), expected 24 rotations'),
        ({'pose': POSE, 'betas': BETAS[:4]}, r'betas: .*\(4, 10\), expected one for each of 6'),
        ({'pose': POSE, 'betas': BETAS, 'imgname': NAMES[:5]}, r'imgname: .*\(5,\).* of 6'),
        ({'pose': POSE, 'betas': BETAS, 'imgname': np.arange(6)}, r'imgname: .*expected text'),
        ({'pose': np.array(['x'] * 6), 'betas': BETAS}, r'pose: .*expected numbers'),
        ({'pose': 2 * MATRICES, 'betas': BETAS}, r'pose: body 0 of 6 .* no rotation'),
        ({'pose': MATRICES * np.array([1, 1, -1.0]), 'betas': BETAS}, 'no rotation'),
        ({'body_pose': POSE[:, 3:], 'betas': BETAS}, 'has body_pose, but no global_orient'),
        ({'vertices': np.zeros((4, 2))}, r'vertices: found shape \(4, 2\)'),
        ({'joints': np.zeros((4, 17, 3))}, r'no known layout, .*joints: float64 \(4, 17, 3\)'),
    ],
)  # fmt: skip
def test_errors_name_the_file_and_the_field(content: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        predictions_from(content, 'mine.npz')


# -- untrusted files ----------------------------------------------------------------------------


class Command:
    """Pickles into a call that writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize('kind', ['pkl', 'npz', 'pt', 'tensor'])
def test_commands_in_files_are_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    mark = tmp_path / 'it_ran'
    path = tmp_path / f'evil.{kind}'
    content: Any = {'pose': POSE, 'betas': BETAS, 'command': Command(mark)}
    if kind == 'npz':
        np.savez(path, pose=POSE, extra=np.array(Command(mark), dtype=object))
    elif kind == 'pt':
        torch.save(content, path)
    elif kind == 'tensor':  # inside the bytes of a tensor's storage
        tensor = pickle.dumps(torch.zeros(3), 4)
        start = tensor.index(b'FloatStorage') - len(b'ctorch\n')
        assert tensor[start : start + 7] == b'ctorch\n'
        path.write_bytes(tensor[:start] + b'cposix\nsystem\n  ' + tensor[start + 20 :])
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=r'evil'):
        read_predictions(path)
    assert not mark.exists()


def test_a_truncated_joblib_file_is_named_as_truncated(tmp_path: Path) -> None:
    path = tmp_path / 'vibe_output.pkl'
    path.write_bytes(JOBLIB[: len(JOBLIB) // 2])
    with pytest.raises(DataError, match='vibe_output.pkl: .*found 308 bytes, expected 576'):
        read_predictions(path)
