"""Whatever a file's content, its loader reads it or raises an error that names the problem.

It must return, or raise ``FileNotFoundError`` or ``DataError`` with the file's name in it, in
little time and memory. ``test_fuzz.py`` tries random changes; here are kinds with a reason.
"""

from __future__ import annotations

import bz2
import io
import json
import pickle
import resource
import struct
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loaders import (
    CASES,
    NAMES,
    annotation,
    as_json,
    body,
    masks,
    npy,
    npz,
    pickled,
    read_dataset,
    read_masks,
)
from malformed import only_its_own_errors

from mmjrr.body_models import load_smpl_file
from mmjrr.datasets.fits import load_fits
from mmjrr.datasets.masks import Masks
from mmjrr.datasets.predictions import read_predictions
from mmjrr.errors import DataError
from mmjrr.geometry import load_cameras

# ---------------------------------------------------------------------- the claims


def read(case: str, folder: Path, content: bytes) -> None:
    name, _, _, load = CASES[case]
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)  # that of shards goes when they are merged
    path.write_bytes(content)
    with only_its_own_errors(path):
        load(path)


@pytest.fixture(autouse=True)
def _bounded_memory() -> Iterator[None]:
    """Allow eight gigabytes of further address space; larger allocations are errors."""
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 30), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize('case', CASES)
def test_undamaged_files_are_read(case, tmp_path):
    name, make, write, load = CASES[case]
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(write(make()))
    if case == 'sidecar':  # its checksum cannot be that of the file
        with pytest.raises(DataError, match='sha256'):
            load(tmp_path / name)
    else:
        load(tmp_path / name)


OTHERS = (
    b'', b'\0' * 100, b'PK\x05\x06' + b'\0' * 18, b'null', b'[' * 99999, b'{"masks": {}}',
    b'{"a": 1, "a": 2}', b'\x80\x02}.', b'\xff\xd8\xff',
)  # fmt: skip


@pytest.mark.parametrize('case', CASES)
def test_other_files_under_its_name(case, tmp_path):
    for content in OTHERS:
        read(case, tmp_path, content)


# ---------------------------------------------------------------------- files that claim much


def claiming(shape: tuple[int, ...], dtype: str, data: bytes = b'') -> bytes:
    """Return a .npy file whose header describes an array that the file lacks."""
    header = repr(dict(descr=dtype, fortran_order=False, shape=shape)).encode()
    header += b' ' * (-(len(header) + 11) % 64) + b'\n'
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(header)) + header + data


@pytest.mark.parametrize('shape', [(10**12,), (10**6, 10**6), (2**62, 4), (-1, 4), (1,) * 40])
@pytest.mark.parametrize('dtype', ['<f4', '<U1000000', '|S0', '<f8'])
@pytest.mark.parametrize('case', [c for c in CASES if CASES[c][0].endswith(('.npz', '.npy'))])
def test_arrays_that_are_claimed_and_not_there(case, shape, dtype, tmp_path):
    name, make, _, load = CASES[case]
    content = make()
    if isinstance(content, np.ndarray):
        written = claiming(shape, dtype)
    else:
        file = io.BytesIO()
        with zipfile.ZipFile(file, 'w') as archive:
            for number, (field, array) in enumerate(content.items()):
                archive.writestr(f'{field}.npy', npy(array) if number else claiming(shape, dtype))
        written = file.getvalue()
    (tmp_path / name).write_bytes(written)
    with pytest.raises(DataError, match=name):
        load(tmp_path / name)


def test_a_bomb_of_zeros_is_refused_before_it_unpacks(tmp_path):
    path = tmp_path / 'bomb.npz'
    size = 64 << 30
    header = claiming((size,), '|u1')
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('imgname.npy', header + bytes(1000))
    data = bytearray(path.read_bytes())
    for at in (data.find(b'PK\x03\x04') + 22, data.find(b'PK\x01\x02') + 24):
        data[at : at + 4] = struct.pack('<I', 0xFFFFFFF0)
    path.write_bytes(data)
    with pytest.raises(DataError, match='contents of 4294967280 bytes'):
        load_fits(path)


def test_run_lengths_that_cover_any_number_of_pixels(tmp_path):
    path = tmp_path / 'm.json'
    for size, counts in (
        ([1000, 1000], 'o' * 200_000),
        ([1000, 1000], 'oooooooooooo0' * 2),
        ([10**9, 10**9], '0'),
        ([2**31, 2**33], [2**64]),
        ([1000, 1000], [2**63, -(2**63) + 10**6]),
        ([1000, 1000], [0.5, 'x']),
        ([3, 3], [10**400]),
    ):
        path.write_text(json.dumps(dict(masks={'a.jpg': dict(size=size, counts=counts)})))
        with pytest.raises(DataError, match=r'm\.json'):
            read_masks(path)


def test_a_soft_mask_of_any_number_of_levels(tmp_path):
    path = tmp_path / 'm.json'
    entry = dict(size=[2, 2], counts='4', levels=['4'] * 256)
    path.write_text(json.dumps(dict(masks={'a.jpg': entry})))
    with pytest.raises(DataError, match=r"m\.json: mask of 'a\.jpg': levels: .* at most 255"):
        read_masks(path)


def test_an_image_that_is_listed_twice(tmp_path):
    arrays = annotation()
    arrays['imgname'] = np.array([NAMES[0], f'other/{NAMES[0]}', *NAMES[2:]])
    (tmp_path / 'a.npz').write_bytes(npz(arrays))
    with pytest.raises(DataError, match='listed more than once'):
        read_dataset(tmp_path / 'a.npz', ann_file='a.npz')
    entry = json.dumps(dict(size=[2, 2], counts='4'))
    (tmp_path / 'm.json').write_text(f'{{"masks": {{"a.jpg": {entry}, "a.jpg": {entry}}}}}')
    with pytest.raises(DataError, match=r"m\.json: .*found the name 'a\.jpg' twice"):
        Masks(tmp_path / 'm.json')


def test_millimeters_swapped_sides_and_masks_of_another_size(tmp_path):
    def dataset(arrays: dict[str, np.ndarray], entries: dict[str, Any]) -> None:
        (tmp_path / 'a.npz').write_bytes(npz(arrays))
        (tmp_path / 'm.json').write_bytes(as_json(entries))
        read_dataset(tmp_path / 'a.npz', ann_file='a.npz', mask_file='m.json')

    with pytest.raises(DataError, match='these look like millimeters'):
        dataset(dict(annotation(), S=annotation()['S'] * [1000, 1000, 1000, 1]), masks())
    swapped = annotation()
    swapped['part'] = swapped['part'][:, [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]]
    with pytest.raises(DataError, match='left and right are swapped'):
        dataset(swapped, masks())
    other = masks()
    other['masks'][NAMES[2]] = dict(size=[500, 500], counts=[250000])
    with pytest.raises(DataError, match=r'found \(500, 500\), expected .* the image size'):
        dataset(annotation(), other)


@pytest.mark.parametrize('reader', [load_cameras, load_smpl_file, read_predictions])
def test_pickles_that_ask_for_much_in_few_bytes(reader, tmp_path):
    begin = b'cnumpy.core.multiarray\n_reconstruct\n'
    nested = b']q\x00I1\na' + b''.join(
        b']q' + bytes([n]) + b'(h' + bytes([n - 1]) + b'h' + bytes([n - 1]) + b'e'
        for n in range(1, 60)
    )
    for content in (
        b'\x80\x02' + begin + b'(cnumpy\nndarray\n(I100000000000\ntU\x01btR.',  # 100 GB, empty
        b'\x80\x02cnumpy\nndarray\n(I100000000000\ntR.',
        b'\x80\x04\x8e' + struct.pack('<Q', 10**12) + b'x.',  # bytes that are not there
        b'\x80\x02}U\x01a' + nested + b's.',  # lists that hold each other twice, 60 deep
        b'\x80\x02]q\x00h\x00a.',  # a list that holds itself
        b'\x80\x02cos\nsystem\nU\x04true\x85R.',
    ):
        path = tmp_path / 'x.pkl'
        path.write_bytes(content)
        start = time.monotonic()
        with pytest.raises(DataError, match=r'x\.pkl'):
            reader(path)
        assert time.monotonic() - start < 5


def test_a_sparse_matrix_of_any_shape_is_not_unfolded(tmp_path):
    from scipy.sparse import csc_matrix

    content = dict(body(), J_regressor=csc_matrix((1_000_000, 1_000_000)))
    (tmp_path / 'b.pkl').write_bytes(pickled(content))
    with pytest.raises(DataError, match=r'b\.pkl: J_regressor: found shape \(1000000, 1000000\)'):
        load_smpl_file(tmp_path / 'b.pkl')
    content = dict(body(), v_template=csc_matrix((20_000_000, 3), dtype=bool).tocoo())
    (tmp_path / 'b.pkl').write_bytes(pickled(content))
    with pytest.raises(DataError, match=r'b\.pkl: v_template: found shape .*480000000 bytes'):
        load_smpl_file(tmp_path / 'b.pkl')


def test_the_arrays_of_a_body_share_one_limit(tmp_path):
    from scipy.sparse import coo_matrix

    template, faces = coo_matrix((8_000_000, 3)), coo_matrix((8_000_000, 3), dtype=np.int8)
    (tmp_path / 'b.pkl').write_bytes(pickled(dict(body(), v_template=template, f=faces)))
    with pytest.raises(DataError, match=r'b\.pkl: f: found shape \(8000000, 3\)'):
        load_smpl_file(tmp_path / 'b.pkl')


@pytest.mark.slow
def test_compressed_predictions_that_unpack_to_anything(tmp_path):
    path = tmp_path / 'b.pkl'
    path.write_bytes(bz2.compress(pickle.dumps(dict(pose=bytes(300_000_000)), protocol=4)))
    assert path.stat().st_size < 1000
    with pytest.raises(DataError, match=r'b\.pkl: found contents of .* once unpacked'):
        read_predictions(path)
