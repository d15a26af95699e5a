"""Other layouts of Human3.6M, damaged: converted, or refused by an error that names the file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from h36m_layouts import (
    make_truth,
    write_cdf,
    write_h36m_fetch,
    write_human_data,
    write_metadata,
    write_spin,
    write_video,
)
from hypothesis import given
from malformed import FEW, damaged, disfigured, only_its_own_errors

from mmjrr.datasets.converters.conversion import Conversion
from mmjrr.datasets.converters.h36m_fetch import find_h36m_fetch, read_h36m_fetch
from mmjrr.datasets.converters.h36m_release.pose_files import read_pose
from mmjrr.datasets.converters.h36m_release.videos import extract_frames
from mmjrr.datasets.converters.human_data import read_human_data
from mmjrr.datasets.converters.metadata import read_metadata
from mmjrr.datasets.converters.source import Source
from mmjrr.datasets.converters.spin import read_spin
from mmjrr.errors import DataError

TRUTH = make_truth()
ANNOTATION = 'processed/S1/Eating-2/annot.h5'


def convert(source: Source, folder: Path) -> None:
    for on_error in ('raise', 'exclude'):
        try:
            Conversion(
                out=folder / 'out',
                ann_file='ann.npz',
                fits_file='fits.npz',
                without_cameras=True,
                on_error=on_error,
            ).run(source)
        except DataError:
            if on_error == 'exclude':
                raise


def convert_spin(path: Path) -> None:
    convert(read_spin(path), path.parent)


def convert_human_data(path: Path) -> None:
    convert(read_human_data(path), path.parent)


def convert_h36m_fetch(path: Path) -> None:
    root = path.parents[3]
    takes = read_metadata(root / 'metadata.xml').takes
    convert(read_h36m_fetch([path], takes, root), root)


def h36m_fetch(path: Path) -> None:
    write_h36m_fetch(path.parents[3], TRUTH.of('S1'))
    shutil.copy(find_h36m_fetch(path.parents[3], ['S1'])[0], path.with_suffix('.copy'))
    path.with_suffix('.copy').replace(path)


def write_joints(path: Path) -> None:
    write_cdf(path, np.random.default_rng(0).normal(size=(20, 96)))


def read_video(path: Path) -> None:
    """As a whole: images that are there already are not written again."""
    folder = path.parent / 'S1_Eating_2.54138969'
    shutil.rmtree(folder, ignore_errors=True)
    count = extract_frames(path, folder, path.with_suffix('.json'), 6, 5)
    assert len(list(folder.glob('*.jpg'))) == count <= 6


WRITERS: dict[str, tuple[str, Callable[[Path], Any], Callable[[Path], Any]]] = {
    'SPIN, training': ('h.npz', lambda p: write_spin(p, TRUTH), convert_spin),
    'SPIN, validation': ('h.npz', lambda p: write_spin(p, TRUTH, train=False), convert_spin),
    'HumanData': ('h.npz', lambda p: write_human_data(p, TRUTH), convert_human_data),
    'metadata': ('metadata.xml', write_metadata, read_metadata),
    'joints of the release': ('t.cdf', write_joints, lambda p: read_pose(p, 3)),
    'video of the release': ('t.mp4', lambda p: write_video(p, 26, 96), read_video),
    'h36m-fetch': (ANNOTATION, h36m_fetch, convert_h36m_fetch),
}


@pytest.fixture
def source(request, tmp_path) -> tuple[Path, bytes, Callable[[Path], Any]]:
    """A whole file that is taken: its path, its bytes, and what reads it."""
    if request.param == 'h36m-fetch':
        pytest.importorskip('h5py')
    if request.param == 'joints of the release':
        pytest.importorskip('cdflib')
    name, write, load = WRITERS[request.param]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    load(path)
    return path, path.read_bytes(), load


@pytest.mark.parametrize('source', WRITERS, indirect=True)
def test_damaged_bytes(source):
    path, whole, load = source

    @FEW
    @given(damaged(whole))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        with only_its_own_errors(path):
            load(path)

    check()


@pytest.mark.parametrize('source', ['SPIN, training', 'HumanData'], indirect=True)
def test_disfigured_content(source):
    path, _, load = source
    with np.load(path, allow_pickle=True) as file:  # made here
        whole = {name: file[name] for name in file.files}
    whole = {name: value.item() if value.ndim == 0 else value for name, value in whole.items()}

    @FEW
    @given(disfigured(whole))
    def check(content: dict[str, Any]) -> None:
        try:
            np.savez(path, **content)
        except (TypeError, ValueError, AttributeError):
            return  # no such file can be written
        with only_its_own_errors(path):
            load(path)

    check()
