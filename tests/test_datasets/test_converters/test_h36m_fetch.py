from __future__ import annotations

import builtins
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from h36m_layouts import TAKES, Truth, cameras_of, make_truth, write_h36m_fetch
from hypothesis import given, settings
from hypothesis import strategies as st
from malformed import FEW

h5py = pytest.importorskip('h5py')

from mmjrr.cli.convert import main  # noqa: E402
from mmjrr.datasets.converters.conversion import Conversion  # noqa: E402
from mmjrr.datasets.converters.h36m_fetch import find_h36m_fetch, read_h36m_fetch  # noqa: E402
from mmjrr.datasets.converters.source import Source  # noqa: E402
from mmjrr.errors import DataError  # noqa: E402
from mmjrr.geometry import first_camera_difference, load_cameras  # noqa: E402

NAMES = {(subject, str(a), str(b)): name for (subject, a, b), name in TAKES.items()}
ANN = 'annotation_body3d/h36m_fetch/h36m_train.npz'


@pytest.fixture(scope='module')
def truth() -> Truth:
    return make_truth()


def read(root: Path, *subjects: str, **arguments: Any) -> Source:
    return read_h36m_fetch(find_h36m_fetch(root, subjects), NAMES, root, **arguments)


def annotation(root: Path) -> Path:
    return root / 'processed/S1/Eating-1/annot.h5'


def test_joints_and_names_are_read(tmp_path: Path, truth: Truth) -> None:
    """17 of the 32 joints, meters, and the take's name for its number."""
    source = read(write_h36m_fetch(tmp_path, truth), 'S1', 'S9')
    order = [source.imgname.tolist().index(name) for name in truth.names]
    assert sorted(order) == list(range(len(truth.frame)))
    np.testing.assert_allclose(source.S[order][..., :3], truth.joints, atol=1e-12)
    np.testing.assert_allclose(source.part[order][..., :2], truth.pixels, atol=1e-12)
    assert 'S1_Eating_2.54138969_000001' in source.imgname[0]
    assert source.files[0] == 'processed/S1/Eating-1/imageSequence/54138969/img_000001.jpg'


def test_the_folder_or_its_processed_may_be_given(tmp_path: Path, truth: Truth) -> None:
    write_h36m_fetch(tmp_path, truth)
    files = find_h36m_fetch(tmp_path, ['S9'])
    assert files == find_h36m_fetch(tmp_path / 'processed', ['S9'])
    assert [file.parent.name for file in files] == ['Discussion-2']
    with pytest.raises(FileNotFoundError, match='no S5/<action>/annot.h5'):
        find_h36m_fetch(tmp_path, ['S1', 'S5'])


def test_it_becomes_mmposes_layout_with_images(tmp_path: Path, truth: Truth) -> None:
    source = read(write_h36m_fetch(tmp_path, truth), 'S1')
    out = tmp_path / 'out'
    report = Conversion(out=out, ann_file=ANN, fits_file='', image_root=tmp_path).run(source)
    with np.load(out / ANN) as arrays:
        names = arrays['imgname'].tolist()
        side = 200 * arrays['scale']
    assert report['frames'] == len(names) == 12
    of_s1 = truth.of('S1')
    order = [of_s1.names.index(name) for name in names]
    expected = 1.2 * (of_s1.pixels.max(1) - of_s1.pixels.min(1)).max(1)[order]
    np.testing.assert_allclose(side, expected, rtol=1e-5)
    assert all((out / 'images' / name).is_symlink() for name in names)


def test_unreadable_files_stop_the_conversion_or_are_left_out(tmp_path: Path, truth: Truth) -> None:
    path = annotation(write_h36m_fetch(tmp_path, truth))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match='S1/Eating-1/annot.h5.*truncated'):
        read(tmp_path, 'S1')
    source = read(tmp_path, 'S1', on_error='exclude')
    assert len(source) == 6 and len(source.left_out['files that cannot be read']) == 1


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('pose/3d', None, "'pose/3d' missing, found"),
        ('pose/3d', np.ones((6, 17, 3)), r'pose/3d: found shape \(6, 17, 3\)'),
        ('pose/3d', np.ones((6, 32, 3)), 'pose/3d: .*look like meters'),
        ('pose/2d', np.ones((5, 32, 2)), r'pose/2d: found float64 of shape \(5, 32, 2\)'),
        ('frame', np.ones((6, 1, 1)), r'frame: found shape \(6, 1, 1\)'),
        ('frame', np.full(6, 1.5), 'frame: .*expected whole numbers'),
        ('frame', np.full(6, np.nan), 'frame: .*expected whole numbers'),
        ('subject', np.full(6, 5), 'subject: found 5, expected that of the folder S1'),
        ('subaction', np.full(6, 3), 'action, subaction: found 4, 3, which metadata.xml'),
        ('camera', np.full(6, b'a'), 'camera: found .*expected numbers'),
    ],
)
def test_wrong_fields_are_named(
    tmp_path: Path, truth: Truth, field: str, value: Any, message: str
) -> None:
    path = annotation(write_h36m_fetch(tmp_path, truth))
    with h5py.File(path, 'a') as file:
        del file[field]
        if value is not None:
            file[field] = value
    with pytest.raises(DataError, match=f'annot.h5: {message}'):
        read(tmp_path, 'S1')


def test_claimed_sizes_are_not_believed(tmp_path: Path, truth: Truth) -> None:
    path = annotation(write_h36m_fetch(tmp_path, truth))
    with h5py.File(path, 'a') as file:
        del file['frame']
        file.create_dataset('frame', shape=(10**12,), dtype='i8', chunks=(1024,))
    with pytest.raises(DataError, match='frame: found shape .*at most'):
        read(tmp_path, 'S1')


@settings(FEW, max_examples=60)
@given(
    cut=st.integers(0, 10**6),
    damage=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
)
def test_damaged_files_are_refused_or_read(
    tmp_path: Path, truth: Truth, cut: int, damage: list[tuple[int, int]]
) -> None:
    path = annotation(tmp_path)
    if not (tmp_path / 'whole').exists():
        write_h36m_fetch(tmp_path, truth)
        (tmp_path / 'whole').write_bytes(path.read_bytes())
    content = bytearray((tmp_path / 'whole').read_bytes())
    for place, value in damage:
        content[place % min(len(content), 10_000)] = value  # where HDF5's own structures are
    path.write_bytes(content[: 1 + cut % (2 * len(content))])
    try:
        read_h36m_fetch([path], NAMES, tmp_path)
    except DataError as error:
        assert 'annot.h5' in str(error)


def test_the_lack_of_h5py_is_one_sentence(
    tmp_path: Path, truth: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_h36m_fetch(tmp_path, truth)
    importing = builtins.__import__

    def without_h5py(name: str, *args: Any, **more: Any) -> Any:
        if name == 'h5py':
            raise ImportError('no h5py')
        return importing(name, *args, **more)

    monkeypatch.setattr(builtins, '__import__', without_h5py)
    with pytest.raises(ImportError, match='pip install'):
        read(tmp_path, 'S1')


def test_takes_come_from_metadata_and_cameras_from_their_file(
    tmp_path: Path, truth: Truth, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_h36m_fetch(tmp_path / 'fetch', truth)
    metadata = (root / 'metadata.xml').rename(tmp_path / 'other.xml')
    (tmp_path / 'c.pkl').write_bytes(pickle.dumps(cameras_of(('S1',))))
    options = ['h36m-fetch', str(root), '--out', str(tmp_path / 'out'), '--subjects', 'S1']
    options += ['--no-images', '--cameras', str(tmp_path / 'c.pkl')]
    assert main(options) == 1
    assert 'metadata.xml: no such file; --metadata' in capsys.readouterr().err
    assert main([*options, '--metadata', str(metadata)]) == 0
    cameras = load_cameras(tmp_path / 'out/annotation_body3d/cameras.pkl')
    assert first_camera_difference(cameras, load_cameras(tmp_path / 'c.pkl')) is None
    assert {subject for subject, _ in cameras} == {'S1'}
