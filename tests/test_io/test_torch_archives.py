"""Files of torch.save: the same tensors as torch.load gives, and no code that they hold."""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmjrr.errors import DataError
from mmjrr.io import Skipped, UnsafePickleError, is_torch_file, read_pickle, read_torch

DTYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip


def saved(path: Path, content: Any, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one.detach(), other)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def content() -> dict[str, Any]:
    torch.manual_seed(0)
    base = torch.arange(24.0)
    tensors = {str(dtype): (torch.rand(3, 2) * 9).to(dtype) for dtype in DTYPES}
    return dict(
        state_dict=collections.OrderedDict(tensors),
        views=[
            base.reshape(4, 6).T,
            base[3:9:2],
            base[5],
            torch.empty(0, 3),
            base[:1].expand(5, 4),
        ],
        parameter=torch.nn.Parameter(torch.ones(2, requires_grad=True)),
        numpy=dict(array=np.eye(3), scalar=np.float64(2.5), text=np.array(['a', 'bc'])),
        plain=(1, 'two', None, True, 3.5, [b'bytes'], torch.Size([2, 3])),
    )


@pytest.mark.parametrize('zipped', [True, False])
def test_everything_reads_as_pytorch_reads_it(zipped: bool, tmp_path: Path) -> None:
    path = saved(tmp_path / 'a.pt', content(), zipped)
    assert is_torch_file(path)
    assert same(torch.load(path, weights_only=False), read_torch(path))


@pytest.mark.parametrize('zipped', [True, False])
def test_tensors_without_pytorch_are_arrays_of_the_same_values(
    zipped: bool, tmp_path: Path
) -> None:
    path = saved(tmp_path / 'a.pt', content(), zipped)
    arrays, expected = read_torch(path, as_torch=False), content()
    for name, tensor in expected['state_dict'].items():
        assert isinstance(arrays['state_dict'][name], np.ndarray)
        np.testing.assert_array_equal(arrays['state_dict'][name], tensor.float().numpy())
    for array, tensor in zip(arrays['views'], expected['views'], strict=True):
        np.testing.assert_array_equal(array, tensor.numpy())


@pytest.mark.parametrize('zipped', [True, False])
def test_tensors_that_share_a_storage_share_it_again(zipped: bool, tmp_path: Path) -> None:
    base = torch.zeros(6)
    path = saved(tmp_path / 'a.pt', dict(whole=base, part=base[2:4]), zipped)
    read = read_torch(path)
    read['part'] += 1
    assert read['whole'].tolist() == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.filterwarnings('ignore:Sparse CS[RC] tensor support is in beta:UserWarning')
@pytest.mark.parametrize('layout', ['coo', 'csr', 'csc'])
def test_sparse_tensors_read_as_sparse_matrices_of_the_same_values(
    zipped: bool, layout: str, tmp_path: Path
) -> None:
    values = torch.tensor([[0, 2.5, 0, -1], [0, 0, 0, 0], [4, 0, 0, 0.5]])
    tensor = getattr(values, f'to_sparse_{layout}' if layout != 'coo' else 'to_sparse')()
    path = saved(tmp_path / 'a.pt', dict(matrix=tensor), zipped)
    for as_torch in (True, False):
        matrix = read_torch(path, as_torch=as_torch)['matrix']
        assert matrix.format == layout
        np.testing.assert_array_equal(matrix.toarray(), values.numpy())


def test_values_at_one_place_of_a_sparse_tensor_add_up(tmp_path: Path) -> None:
    tensor = torch.sparse_coo_tensor([[1, 1], [0, 0]], [2.0, 3.0], (2, 2), check_invariants=True)
    matrix = read_torch(saved(tmp_path / 'a.pt', tensor), as_torch=False)
    np.testing.assert_array_equal(matrix.toarray(), tensor.to_dense().numpy())


def test_sparse_tensors_with_indices_outside_their_shape_are_refused(tmp_path: Path) -> None:
    # PyTorch stores what it is told not to check.
    outside = torch.sparse_coo_tensor([[9], [0]], [1.0], (2, 2), check_invariants=False)
    with pytest.raises(DataError, match=r'a\.pt: its sparse matrix: row: found numbers from 9'):
        read_torch(saved(tmp_path / 'a.pt', outside))


def test_sparse_tensors_of_three_axes_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / 'a.pt', torch.ones(2, 2, 2).to_sparse())
    with pytest.raises(DataError, match='other than two axes'):
        read_torch(path)


def test_tensors_in_plain_pickles_read_as_arrays(tmp_path: Path) -> None:
    path = tmp_path / 'a.pkl'
    path.write_bytes(pickle.dumps(dict(a=torch.arange(6.0).reshape(2, 3).T, b=torch.tensor(True))))
    read = read_pickle(path)
    np.testing.assert_array_equal(read['a'], [[0, 3], [1, 4], [2, 5]])
    assert read['b'].dtype == bool and read['b'].item() is True


class Scripted(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def test_torchscript_is_named_and_refused(tmp_path: Path) -> None:
    torch.jit.script(Scripted()).save(str(tmp_path / 'script.pt'))
    with pytest.raises(UnsafePickleError, match=r'script\.pt: holds code \(TorchScript'):
        read_torch(tmp_path / 'script.pt')


def test_a_package_of_code_is_refused(tmp_path: Path) -> None:
    from torch.package import PackageExporter

    with PackageExporter(str(tmp_path / 'package.pt')) as exporter:
        exporter.save_source_string('module', 'x = 1')
    with pytest.raises(UnsafePickleError, match=r'package\.pt: holds code'):
        read_torch(tmp_path / 'package.pt')


class Command:
    """Pickles into a call that writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize('zipped', [True, False])
def test_a_command_is_refused_by_name_or_skipped_and_never_run(
    zipped: bool, tmp_path: Path
) -> None:
    witness = tmp_path / 'witness'
    path = saved(tmp_path / 'a.pth', dict(w=torch.ones(2), meta=Command(witness)), zipped)
    with pytest.raises(UnsafePickleError, match=r"a\.pth: the pickle asks for '\w+\.\w+'"):
        read_torch(path)
    names: set[str] = set()
    read = read_torch(path, skip_unknown=True, skipped_names=names)
    assert torch.equal(read['w'], torch.ones(2)) and isinstance(read['meta'], Skipped)
    assert names and not witness.exists()
    torch.load(path, weights_only=False)  # the command is a live one
    assert witness.exists()


@pytest.mark.parametrize('zipped', [True, False])
def test_a_tensor_that_repeats_one_number_does_not_fill_the_memory(
    zipped: bool, tmp_path: Path
) -> None:
    path = saved(tmp_path / 'a.pt', torch.zeros(1).expand(48000, 6890, 3), zipped)
    with pytest.raises(DataError, match=r'a\.pt: a tensor: found contents of 3968640000 bytes'):
        read_torch(path)


def changed(path: Path, change: Any) -> Path:
    """The archive with its members passed through ``change(name, data)``; None drops one."""
    members = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            members[name] = archive.read(name)
    other = path.with_name('changed.pt')
    with zipfile.ZipFile(other, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            data = change(name, data)
            if data is not None:
                archive.writestr(name, data)
    return other


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda n, d: None if '/data/' in n else d, "storage '0' is missing"),
        (lambda n, d: d[:-1] if '/data/' in n else d, 'found 15 bytes'),
        (lambda n, d: None if n.endswith('.pkl') else d, 'expected one data.pkl'),
        (lambda n, d: d.replace(b'FloatStorage', b'TinyStorage!'), 'torch.TinyStorage!'),
        (lambda n, d: d.replace(b'K\x04\x85', b'K\x05\x85'), 'reaches element 4 of a storage of 4'),
    ],
)
def test_archives_that_contradict_themselves_are_refused(
    change: Any, message: str, tmp_path: Path
) -> None:
    path = changed(saved(tmp_path / 'a.pt', torch.zeros(4)), change)
    with pytest.raises(DataError, match=message) as caught:
        read_torch(path)
    assert str(path) in str(caught.value)


def test_files_truncated_anywhere_are_refused(tmp_path: Path) -> None:
    for zipped in (True, False):
        whole = saved(tmp_path / 'a.pt', content(), zipped).read_bytes()
        for end in range(0, len(whole) - 1, 97):
            (tmp_path / 'cut.pt').write_bytes(whole[:end])
            with pytest.raises(DataError, match=r'cut\.pt'):
                read_torch(tmp_path / 'cut.pt')


def test_an_npz_file_is_not_taken_for_one_of_pytorch(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.savez(file, a=np.ones(2))
    (tmp_path / 'a.npz').write_bytes(file.getvalue())
    assert not is_torch_file(tmp_path / 'a.npz')
    with pytest.raises(DataError, match=r'a\.npz: found the members'):
        read_torch(tmp_path / 'a.npz')
    with pytest.raises(FileNotFoundError, match='absent'):
        read_torch(tmp_path / 'absent.pt')
