"""Evaluation, stored predictions and fits accept the same results files."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from h36m_layouts import TAKES, write_metadata
from mmengine.structures import BaseDataElement
from scipy.spatial.transform import Rotation

from mmjrr.datasets.fits import load_fits
from mmjrr.datasets.predictions import match_names, read_predictions
from mmjrr.errors import DataError
from mmjrr.models import StoredPredictions

from .bodies import BETAS, COUNT, MATRICES, NAMES, OTHER_BETAS, OTHER_POSE, POSE

MATRICES_32 = MATRICES.astype(np.float32)


def spin(folder: Path) -> Path:
    np.savez(folder / 'f.npz', imgname=NAMES, pose=POSE, shape=BETAS)
    return folder / 'f.npz'


def truth_beside(folder: Path) -> Path:
    np.savez(
        folder / 'f.npz', imgname=NAMES, pose=OTHER_POSE, betas=OTHER_BETAS,
        pred_pose=MATRICES_32, pred_shape=BETAS,
    )  # fmt: skip
    return folder / 'f.npz'


def easymocap(folder: Path) -> Path:
    content = {
        Path(name).name: [
            dict(
                id=0,
                Rh=POSE[i : i + 1, :3].tolist(),
                poses=[[0.0] * 3 + POSE[i, 3:].tolist()],
                shapes=BETAS[i : i + 1].tolist(),
            )
        ]
        for i, name in enumerate(NAMES)
    }
    (folder / 'f.json').write_text(json.dumps(content))
    return folder / 'f.json'


def file_per_image(folder: Path) -> Path:
    for i, name in enumerate(NAMES):
        file = folder / 'files' / Path(name).with_suffix('.npz').name
        file.parent.mkdir(exist_ok=True)
        np.savez(file, pose=POSE[i : i + 1], betas=BETAS[i : i + 1])
    return folder / 'files'


def npy(folder: Path) -> Path:
    np.save(folder / 'f.npy', dict(imgname=NAMES, pose=POSE, betas=BETAS))
    return folder / 'f.npy'


def nested(folder: Path) -> Path:
    content = {'imgname': NAMES, 'pred': {'pose': POSE, 'betas': BETAS}}
    (folder / 'f.pkl').write_bytes(pickle.dumps(content))
    return folder / 'f.pkl'


def torch_file(folder: Path) -> Path:
    torch.save({'imgname': NAMES, 'pose': torch.from_numpy(POSE), 'betas': BETAS}, folder / 'f.pt')
    return folder / 'f.pt'


def other_spelling(folder: Path) -> Path:
    names = [name.replace('Walking_1', 'walking 1') for name in NAMES]
    np.savez(folder / 'f.npz', imgname=names, pose=POSE, betas=BETAS)
    return folder / 'f.npz'


def twice(folder: Path) -> Path:
    np.savez(
        folder / 'f.npz',
        imgname=NAMES * 2,
        pose=np.concatenate([POSE, POSE]),
        betas=np.concatenate([BETAS, BETAS]),
    )
    return folder / 'f.npz'


@pytest.mark.parametrize(
    'write',
    [spin, truth_beside, easymocap, file_per_image, npy, nested, torch_file, other_spelling, twice],
)
def test_every_user_of_results_files_reads_the_same_bodies(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    path = write(tmp_path)
    expected = MATRICES.reshape(COUNT, -1)

    def assert_wanted(pose: np.ndarray, betas: np.ndarray) -> None:
        matrices = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix()
        np.testing.assert_allclose(matrices.reshape(COUNT, -1), expected, atol=3e-6)
        np.testing.assert_allclose(betas, BETAS, atol=1e-7)

    read = read_predictions(path)
    assert read.imgname is not None and read.betas is not None
    if write is not twice:
        rows = match_names(read.imgname, NAMES)
        assert_wanted(read.pose()[rows], read.betas[rows])
    fits = load_fits(path)
    rows = match_names(fits['imgname'].tolist(), NAMES)
    assert_wanted(fits['pose'][rows], fits['betas'][rows])
    model = StoredPredictions(path)
    samples = [BaseDataElement(metainfo=dict(imgname=name)) for name in NAMES]
    answers = model(data_samples=samples)
    assert len(answers) == COUNT == len(fits['imgname'])
    for answer, matrices in zip(answers, MATRICES, strict=True):
        body = answer.pred_body_pose.numpy()
        if body.ndim == 1:
            body = Rotation.from_rotvec(body.reshape(-1, 3)).as_matrix()
        np.testing.assert_allclose(body, matrices[1:], atol=3e-6)


def test_rows_without_a_body_are_no_fit_and_no_answer(tmp_path: Path) -> None:
    pose = POSE.copy()
    pose[[1, 4]] = 0
    np.savez(tmp_path / 'f.npz', imgname=NAMES, pose=pose, betas=BETAS)
    assert load_fits(tmp_path / 'f.npz')['valid'].tolist() == [True, False, True, True, False, True]
    with pytest.raises(DataError, match=r"2 of 6 rows hold no body, .*000002.jpg; missing='skip'"):
        StoredPredictions(tmp_path / 'f.npz')
    model = StoredPredictions(tmp_path / 'f.npz', missing='skip')
    first, second = model(
        data_samples=[BaseDataElement(metainfo=dict(imgname=name)) for name in NAMES[:2]]
    )
    assert 'pred_betas' in first and 'pred_betas' not in second


def test_options_of_the_reader_are_those_of_stored_predictions(tmp_path: Path) -> None:
    rows = MATRICES_32[..., :2, :].reshape(COUNT, 144)
    more = np.concatenate([BETAS, BETAS], 1)
    np.savez(tmp_path / 'f.npz', who=NAMES, x=rows, y=more, gender='male')
    fields = dict(imgname='who', pose='x', betas='y', gender='gender')
    with pytest.raises(DataError, match='6D rotations that may be columns or rows'):
        StoredPredictions(tmp_path / 'f.npz', fields=fields, gender='male')
    with pytest.raises(DataError, match="gender: found 6 male bodies, expected only 'neutral'"):
        StoredPredictions(tmp_path / 'f.npz', fields=fields, rotation_6d='rows')
    model = StoredPredictions(
        tmp_path / 'f.npz', fields=fields, rotation_6d='rows', gender='male', num_betas=10
    )
    (answer,) = model(data_samples=[BaseDataElement(metainfo=dict(imgname=NAMES[3]))])
    np.testing.assert_allclose(answer.pred_body_pose, MATRICES[3, 1:], atol=3e-6)
    np.testing.assert_array_equal(answer.pred_betas, BETAS[3])
    with pytest.raises(ValueError, match="regressor: missing, and person='nearest'"):
        StoredPredictions(tmp_path / 'f.npz', person='nearest')


def test_names_with_a_subaction_need_metadata_in_stored_predictions(
    tmp_path: Path,
) -> None:
    names = [f's_09_act_03_subact_02_ca_04_{n:06d}.jpg' for n in range(1, 1 + COUNT)]
    np.savez(tmp_path / 'f.npz', imgname=names, pose=POSE, betas=BETAS)
    with pytest.raises(DataError, match=r's_09_act_03_subact_02_ca_04_000001.jpg. has a subaction'):
        StoredPredictions(tmp_path / 'f.npz')
    file = write_metadata(tmp_path / 'metadata.xml')
    assert TAKES['S9', 3, 2] == 'Discussion 2'
    model = StoredPredictions(tmp_path / 'f.npz', metadata=file)
    name = 'S9/S9_Discussion_2.60457274/S9_Discussion_2.60457274_000003.jpg'
    (answer,) = model(data_samples=[BaseDataElement(metainfo=dict(imgname=name))])
    np.testing.assert_array_equal(answer.pred_betas, BETAS[2])
