"""The same values in every layout become the same annotations, through the commands."""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from h36m_layouts import (
    Truth,
    make_truth,
    write_h36m_fetch,
    write_human_data,
    write_metadata,
    write_release,
    write_spin,
)

from mmjrr.body_models import FREE_BODY_FILE
from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.fits import load_fits
from mmjrr.geometry import load_cameras

TOOLS = Path(__file__).resolve().parents[3] / 'tools/dataset_converters'
LAYOUTS = ('release', 'spin', 'human_data', 'h36m_fetch')


def command(tool: str, *arguments: str | Path, code: int = 0) -> str:
    """Run a command in this process, which saves importing PyTorch, and return its output."""
    said, path = io.StringIO(), str(TOOLS / f'{tool}.py')
    with (
        mock.patch.object(sys, 'argv', [path, *map(str, arguments)]),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        pytest.raises(SystemExit) as exit,
    ):
        runpy.run_path(path, run_name='__main__')
    assert exit.value.code == code, said.getvalue()
    return said.getvalue()


@pytest.fixture(scope='module')
def truth() -> Truth:
    return make_truth()


@pytest.fixture(scope='module')
def converted(
    truth: Truth, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    """A data set for each layout, and the output of the commands."""
    pytest.importorskip('h5py')
    pytest.importorskip('cdflib')
    folder = tmp_path_factory.mktemp('layouts')
    body = ('--body-model', FREE_BODY_FILE)
    metadata = write_metadata(folder / 'metadata.xml')
    (folder / 'as_released').mkdir()
    write_release(folder / 'as_released', truth)
    write_spin(folder / 'h36m_train.npz', truth.of('S1'))
    write_human_data(folder / 'h36m_mosh_train.npz', truth.of('S1'))
    write_h36m_fetch(folder / 'fetch', truth)
    said = dict(
        release=command(
            'h36m', folder / 'as_released', '--out', folder / 'release', '--subjects', 'S1', 'S9',
            '--workers', '1', '--on-error', 'exclude',  # the other takes of metadata.xml
        ),
        spin=command(
            'spin_npz', folder / 'h36m_train.npz', '--out', folder / 'spin', '--metadata', metadata,
            *body,
        ),
        human_data=command(
            'human_data', folder / 'h36m_mosh_train.npz', '--out', folder / 'human_data', *body,
        ),
        h36m_fetch=command(
            'h36m_fetch', folder / 'fetch/processed', '--out', folder / 'h36m_fetch',
            '--subjects', 'S1', 'S9',
        ),
    )  # fmt: skip
    return folder, said


def annotations(folder: Path, layout: str) -> Path:
    if layout == 'release':
        return folder / layout / 'annotation_body3d/fps10/h36m_train.npz'
    name = 'h36m_mosh_train' if layout == 'human_data' else 'h36m_train'
    return folder / layout / f'annotation_body3d/{layout}/{name}.npz'


def sorted_fields(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        order = np.argsort(file['imgname'])
        return {name: file[name][order] for name in file.files}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_annotations_are_the_known_values(
    converted: tuple[Path, dict[str, str]], truth: Truth, layout: str
) -> None:
    fields, true_fields = sorted_fields(annotations(converted[0], layout)), truth.of('S1')
    order = np.argsort(true_fields.names)
    assert fields['imgname'].tolist() == sorted(true_fields.names)
    low, high = true_fields.pixels[order].min(1), true_fields.pixels[order].max(1)
    np.testing.assert_allclose(fields['S'][..., :3], true_fields.joints[order], atol=1e-6)
    np.testing.assert_allclose(fields['part'][..., :2], true_fields.pixels[order], atol=1e-4)
    np.testing.assert_allclose(fields['center'], (low + high) / 2, atol=1e-4)
    np.testing.assert_allclose(fields['scale'], 1.2 * (high - low).max(1) / 200, rtol=1e-6)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_the_data_set_reads_them_and_joints_meet(
    converted: tuple[Path, dict[str, str]], layout: str
) -> None:
    path = annotations(converted[0], layout)
    dataset = H36MFitsDataset(
        data_root=str(converted[0] / layout), ann_file=str(path.relative_to(converted[0] / layout))
    )
    assert max(camera['max_px'] for camera in dataset.check_projection().values()) < 1e-2


def test_fits_of_both_sources_are_the_same(
    converted: tuple[Path, dict[str, str]], truth: Truth
) -> None:
    spin = load_fits(converted[0] / 'spin/fits/spin_h36m_train.npz')
    human_data = load_fits(converted[0] / 'human_data/fits/human_data_h36m_mosh_train.npz')
    for name in ('imgname', 'pose', 'betas'):
        np.testing.assert_array_equal(spin[name], human_data[name])
    for fits in (spin, human_data):
        np.testing.assert_allclose(fits['transl'], truth.of('S1').transl, atol=1e-5)


def test_lenses_of_all_sources_are_the_same(converted: tuple[Path, dict[str, str]]) -> None:
    """Their places in the room are made up differently by the writers."""
    lenses = {}
    for layout in LAYOUTS:
        cameras = load_cameras(converted[0] / layout / 'annotation_body3d/cameras.pkl')
        camera = cameras['S1', '54138969']
        lenses[layout] = np.concatenate(
            [camera.focal_length[0], camera.principal_point[0], camera.distortion[0]]
        )
    for layout in LAYOUTS[1:]:
        np.testing.assert_allclose(lenses[layout], lenses['spin'], atol=1e-12)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_commands_say_what_was_checked_and_what_to_write(
    converted: tuple[Path, dict[str, str]], layout: str
) -> None:
    folder, said = converted
    assert 'S1      54138969' in said[layout] and 'mean px' in said[layout]
    path = annotations(folder, layout)
    assert f'12 frames are in {path}' in said[layout]
    assert f'ann_file={str(path.relative_to(folder / layout))!r}' in said[layout]
    assert ("fits_file='fits/" in said[layout]) is (layout in ('spin', 'human_data'))


@pytest.mark.parametrize(('layout', 'kept'), [('release', 'fps10'), ('h36m_fetch', 'h36m_fetch')])
def test_images_and_test_subjects_are_there(
    converted: tuple[Path, dict[str, str]], truth: Truth, layout: str, kept: str
) -> None:
    for name in truth.names:
        assert (converted[0] / layout / 'images' / name).is_file()
    test = converted[0] / layout / f'annotation_body3d/{kept}/h36m_test.npz'
    assert sorted_fields(test)['imgname'].tolist() == sorted(truth.of('S9').names)


def test_the_same_command_gives_the_same_bytes(converted: tuple[Path, dict[str, str]]) -> None:
    folder = converted[0]
    files = [path for path in sorted((folder / 'spin').rglob('*')) if path.is_file()]
    before = [path.read_bytes() for path in files]
    command(
        'spin_npz', folder / 'h36m_train.npz', '--out', folder / 'spin', '--metadata',
        folder / 'metadata.xml', '--body-model', FREE_BODY_FILE,
    )  # fmt: skip
    assert [path.read_bytes() for path in files] == before


@pytest.mark.parametrize(
    ('tool', 'arguments', 'sentence'),
    [
        ('spin_npz', ['no.npz'], 'error: no.npz: no such file'),
        ('human_data', ['no.npz'], 'error: no.npz: no such file'),
        ('h36m_fetch', ['nowhere'], 'metadata.xml: no such file'),
    ],
)
def test_errors_are_one_sentence(
    tmp_path: Path, tool: str, arguments: list[str], sentence: str
) -> None:
    said = command(tool, *arguments, '--out', tmp_path / 'out', code=1)
    assert sentence in said and said.startswith('error: ') and not (tmp_path / 'out').exists()
