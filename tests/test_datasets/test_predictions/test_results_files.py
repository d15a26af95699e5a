"""Folders, patterns and ``.npy`` files, and image names from the files' names."""

from __future__ import annotations

import datetime
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmjrr.datasets.predictions import read_predictions
from mmjrr.errors import DataError

from .bodies import BETAS, COUNT, NAMES, POSE, VERTICES, assert_is_the_set

STEMS = [Path(name).stem for name in NAMES]


def save_rows(file: Path, rows: slice) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, pose=POSE[rows], betas=BETAS[rows])


def test_a_folder_with_a_file_for_each_image_is_one_set_named_by_its_files(tmp_path: Path) -> None:
    for row, stem in enumerate(STEMS):
        save_rows(tmp_path / f'{stem}.npz', slice(row, row + 1))
    (tmp_path / 'readme.txt').write_text('not results')
    predictions = read_predictions(tmp_path)
    assert_is_the_set(predictions)
    assert [Path(name).name for name in predictions.imgname or []] == STEMS
    assert predictions.source == tmp_path and f'{COUNT} files' in predictions.notes


def test_folders_within_are_read_and_their_names_kept(tmp_path: Path) -> None:
    for row, name in enumerate(NAMES):
        save_rows(tmp_path / 'out' / Path(name).with_suffix('.npz'), slice(row, row + 1))
    predictions = read_predictions(tmp_path / 'out')
    assert_is_the_set(predictions)
    assert all(name.endswith(NAMES[i][:-4]) for i, name in enumerate(predictions.imgname or []))


def test_a_pattern_chooses_files(tmp_path: Path) -> None:
    for row, stem in enumerate(STEMS):
        save_rows(tmp_path / f'{"ab"[row % 2]}' / f'{stem}.npz', slice(row, row + 1))
    assert_is_the_set(read_predictions(f'{tmp_path}/a/*.npz'), [0, 2, 4])
    assert len(read_predictions(f'{tmp_path}/**/*.npz')) == COUNT
    with pytest.raises(FileNotFoundError, match=r'c/\*.npz: no file matches the pattern'):
        read_predictions(f'{tmp_path}/c/*.npz')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='empty: no file that ends in .npz'):
        read_predictions(tmp_path / 'empty')


def test_a_single_file_that_is_named_after_an_image_is_of_that_image(tmp_path: Path) -> None:
    save_rows(tmp_path / f'{STEMS[2]}.npz', slice(2, 3))
    predictions = read_predictions(tmp_path / f'{STEMS[2]}.npz')
    assert [Path(name).name for name in predictions.imgname or []] == [STEMS[2]]
    save_rows(tmp_path / 'results.npz', slice(2, 3))
    assert read_predictions(tmp_path / 'results.npz').imgname is None


@pytest.mark.parametrize(
    'folder', ['S9_Walking_1.60457274', 'S9/Walking 1.60457274', 'S9/Videos/Walking 1.60457274']
)
def test_a_file_for_each_video_has_its_frames(tmp_path: Path, folder: str) -> None:
    """As VIBE and WHAM write them, run on the release's own videos."""
    video = tmp_path / folder
    save_rows(video.parent / f'{video.name}.npz', slice(None))
    predictions = read_predictions(video.parent)
    assert_is_the_set(predictions)
    assert [name[-6:] for name in predictions.imgname or []] == [
        f'{n:06d}' for n in range(1, COUNT + 1)
    ]
    (video.parent / f'{video.name}.npz').unlink()
    video.mkdir()
    track = {1: {'pose': POSE, 'betas': BETAS, 'frame_ids': np.arange(10, 10 + COUNT)}}
    (video / 'wham_output.pkl').write_bytes(pickle.dumps(track))
    predictions = read_predictions(f'{tmp_path}/**/wham_output.pkl')
    assert_is_the_set(predictions)
    assert (predictions.imgname or [''])[0].endswith('_000011')


def test_files_of_several_bodies_that_nothing_names_are_refused(tmp_path: Path) -> None:
    save_rows(tmp_path / 'part1.npz', slice(0, 3))
    with pytest.raises(DataError, match=r'part1.npz: found 3 bodies without image names'):
        read_predictions(tmp_path)


@pytest.mark.parametrize(
    'content',
    [
        {'imgname': np.array(NAMES), 'pose': POSE, 'betas': BETAS},
        [{'imgname': n, 'pose': POSE[i], 'betas': BETAS[i]} for i, n in enumerate(NAMES)],
    ],
    ids=['dict', 'list of dicts'],
)
def test_npy_files_of_a_dict_or_list_are_read(tmp_path: Path, content: Any) -> None:
    np.save(tmp_path / 'results.npy', content)
    predictions = read_predictions(tmp_path / 'results.npy')
    assert_is_the_set(predictions)
    assert predictions.imgname == NAMES


def test_npy_files_of_an_array_are_read_by_their_columns(tmp_path: Path) -> None:
    np.save(tmp_path / 'all.npy', np.concatenate([BETAS, POSE], 1).astype(np.float64))
    fields = {'pose': '[10:82]', 'betas': '[0:10]'}
    assert_is_the_set(read_predictions(tmp_path / 'all.npy', fields=fields))
    np.save(tmp_path / 'vertices.npy', VERTICES)
    predictions = read_predictions(tmp_path / 'vertices.npy', fields={'vertices': '[0:3]'})
    np.testing.assert_array_equal(predictions.vertices, VERTICES)


def test_numpy_arrays_and_scalars_in_torch_files_are_read(tmp_path: Path) -> None:
    content = {'imgname': np.array(NAMES), 'pose': POSE, 'betas': torch.from_numpy(BETAS),
               'epoch': np.int64(3), 'loss': np.float32(0.5)}  # fmt: skip
    torch.save(content, tmp_path / 'results.pt')
    predictions = read_predictions(tmp_path / 'results.pt')
    assert_is_the_set(predictions)
    assert predictions.imgname == NAMES


def test_harmless_metadata_in_pickles_is_skipped(tmp_path: Path) -> None:
    content = {'imgname': NAMES, 'pose': POSE, 'betas': BETAS, 'config': Path('/data/config.yaml'),
               'device': torch.device('cpu'), 'date': datetime.datetime(2024, 1, 2),
               'day': datetime.date(2024, 1, 2), 'dtype': torch.float32}  # fmt: skip
    (tmp_path / 'results.pkl').write_bytes(pickle.dumps(content))
    assert_is_the_set(read_predictions(tmp_path / 'results.pkl'))
    torch.save(content, tmp_path / 'results.pt')
    assert_is_the_set(read_predictions(tmp_path / 'results.pt'))


@pytest.mark.parametrize('suffix', ['.obj', '.ply'])
def test_a_folder_of_meshes_is_vertices_named_by_its_files(tmp_path: Path, suffix: str) -> None:
    for vertices, stem in zip(VERTICES, STEMS, strict=True):
        lines = [' '.join(map(repr, row)) for row in vertices.astype(float).tolist()]
        if suffix == '.obj':
            text = '# mesh\n' + ''.join(f'v {line}\nvt 0 0\n' for line in lines) + 'f 1 2 3\n'
        else:
            header = f'ply\nformat ascii 1.0\nelement vertex {len(lines)}\n'
            header += ''.join(f'property float {axis}\n' for axis in 'xyz') + 'end_header\n'
            text = header + '\n'.join(lines) + '\n'
        (tmp_path / f'{stem}{suffix}').write_text(text)
    predictions = read_predictions(tmp_path)
    np.testing.assert_array_equal(predictions.vertices, VERTICES)
    assert [Path(name).name for name in predictions.imgname or []] == STEMS
