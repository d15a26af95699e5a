"""Files made to run commands, to crash the interpreter or to exhaust memory are refused by name.

Every kind is put before every reader of such files, in a forked process with a limit on memory.
"""

from __future__ import annotations

import importlib.util
import io
import multiprocessing
import os
import pickle
import resource
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from loaders import annotation, body

import mmjrr
from mmjrr.body_models import load_smpl_file
from mmjrr.datasets.fits import load_fits
from mmjrr.datasets.predictions import read_predictions
from mmjrr.engine.checkpoint import load_from_local
from mmjrr.errors import DataError
from mmjrr.geometry import load_cameras
from mmjrr.io import read_checkpoint
from mmjrr.models.estimators.hmr import load_mean_params
from mmjrr.models.stored_predictions import StoredPredictions
from mmjrr.regressors import JointRegressor
from mmjrr.segmentation import MaskRCNN
from mmjrr.setup_check import check_setup

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='limits are those of Linux')
ROOT = Path(__file__).resolve().parents[1]
#: Bytes of addresses beyond those in use. The files are smaller than a megabyte.
MEMORY = 3 << 29


# -- pickles by hand -------------------------------------------------------------------------------


def name(module: str, attribute: str) -> bytes:
    return f'c{module}\n{attribute}\n'.encode()


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def text(value: str) -> bytes:
    return b'X' + struct.pack('<I', len(value)) + value.encode()


def raw(value: bytes) -> bytes:
    return b'B' + struct.pack('<I', len(value)) + value


def dtype(code: str, flags: int = 0, size: int = -1) -> bytes:
    state = b'(' + number(3) + text('|') + b'NNN' + number(size) + number(-1) + number(flags) + b't'
    return name('numpy', 'dtype') + b'(' + text(code) + b'\x89\x88tR' + state + b'b'


def array(kind: bytes, shape: tuple[int, ...], data: bytes) -> bytes:
    return (
        name('numpy.core.multiarray', '_reconstruct') + b'(' + name('numpy', 'ndarray')
        + b'(' + number(0) + b't' + raw(b'b') + b'tR(' + number(1)
        + b'(' + b''.join(map(number, shape)) + b't' + kind + b'\x89' + raw(data) + b'tb'
    )  # fmt: skip


def call(module: str, function: str, *arguments: bytes) -> bytes:
    return name(module, function) + b'(' + b''.join(arguments) + b'tR'


def everywhere(value: bytes) -> bytes:
    """A pickle in which a value stands wherever a reader of SMPL, cameras or results looks."""
    fields = [*body(), 'vertices', 'pose', 'betas', 'imgname', 'state_dict', 'model', 'weight',
              'shape', 'cam', 'R', 'T', 'c', 'f', 'k', 'p', 'w', 'h']  # fmt: skip
    camera = b'}(' + b''.join(text(field) + value for field in 'RTcfkpwh') + b'u'
    entries = b''.join(text(field) + value for field in dict.fromkeys(fields))
    return b'\x80\x04}(' + entries + b'(' + text('S1') + text('54138969') + b't' + camera + b'u.'


# -- kinds of files --------------------------------------------------------------------------------

POINTERS = b'A' * 72


class Call:
    """Pickles as a call."""

    def __init__(self, function: Callable, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def command(folder: Path) -> Call:
    return Call(os.system, f"touch '{folder / 'was_run'}'")


def saved(content: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def sparse_body(change: Callable[[Any], None], kind: str = 'csc') -> bytes:
    matrix = getattr(scipy.sparse, f'{kind}_matrix')(np.eye(24, 30))
    change(matrix)
    return pickle.dumps({**body(), 'J_regressor': matrix}, 2)


def set_items(attribute: str, value: int) -> Callable[[Any], None]:
    def change(matrix: Any) -> None:
        values = np.full_like(getattr(matrix, attribute), value)
        setattr(matrix, attribute, values)

    return change


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def torchscript(folder: Path) -> bytes:
    """A module whose ``__setstate__`` overwrites the file ``victim``, as TorchScript in a .pt."""
    source = folder / 'script_source.py'  # TorchScript compiles from a file
    source.write_text(
        f"""
import torch

class Script(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.t = torch.zeros(1)

    @torch.jit.export
    def __getstate__(self):
        return (torch.zeros(3), self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):
        t = torch.from_file({str(folder / 'victim')!r}, True, 9, dtype=torch.uint8)
        t.fill_(88)
        self.t = t
        self.training = state[1]

    def forward(self, y: torch.Tensor):
        return y
"""
    )
    spec = importlib.util.spec_from_file_location('script_source', source)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules['script_source'] = module
    try:
        spec.loader.exec_module(module)
        torch.jit.script(module.Script()).save(str(folder / 'script.pt'))
    finally:
        del sys.modules['script_source']
    (folder / 'victim').write_text('untouched')
    return (folder / 'script.pt').read_bytes()


KINDS: dict[str, Callable[[Path], bytes]] = {
    # Commands.
    'command, pickle': lambda f: pickle.dumps(dict(pose=command(f)), 2),
    'command, newest pickle': lambda f: pickle.dumps(dict(pose=command(f))),
    'command, pt': lambda f: saved(dict(state_dict={}, meta=command(f))),
    'command, old pt': lambda f: saved(
        dict(state_dict={}, meta=command(f)), _use_new_zipfile_serialization=False
    ),
    'command, npz': lambda f: npz(pose=np.array([command(f)], dtype=object)),
    'eval': lambda f: pickle.dumps(Call(eval, f"open({str(f / 'was_run')!r}, 'w')"), 2),
    'attribute of a module': lambda f: everywhere(
        call('builtins', 'getattr', name('os', 'path'), text('exists'))
    ),
    'torchscript': torchscript,
    # Pointers.
    'objects without flags': lambda f: everywhere(array(dtype('O8'), (9,), POINTERS)),
    'objects': lambda f: everywhere(array(dtype('O', 63), (9,), POINTERS)),
    'void': lambda f: everywhere(array(dtype('V8', 0, 8), (9,), POINTERS)),
    'scalar of objects': lambda f: everywhere(
        call('numpy.core.multiarray', 'scalar', dtype('O8'), raw(POINTERS[:8]))
    ),
    'objects in npz': lambda f: npz(pose=np.array([{}, None] * 4, dtype=object)),
    'sparse, indices': lambda f: sparse_body(set_items('indices', 1 << 28)),
    'sparse, negative': lambda f: sparse_body(set_items('indices', -5)),
    'sparse, pointers': lambda f: sparse_body(set_items('indptr', 1 << 30)),
    'sparse rows': lambda f: sparse_body(set_items('indices', 1 << 28), 'csr'),
    'sparse coordinates': lambda f: sparse_body(set_items('row', 1 << 28), 'coo'),
    # Memory.
    'bytearray of 4 GB': lambda f: everywhere(call('builtins', 'bytearray', number(4 * 10**9))),
    'bytes of 4 GB': lambda f: everywhere(call('builtins', 'bytes', number(4 * 10**9))),
    'list of a range': lambda f: everywhere(
        call('builtins', 'list', call('builtins', 'range', number(10**9)))
    ),
    'scalar of 2 GB': lambda f: everywhere(
        call('numpy.core.multiarray', 'scalar', dtype('V2000000000', 0, 2 * 10**9))
    ),
    'text of 4 GB': lambda f: everywhere(array(dtype('U1000000000'), (1,), b'')),
    'objects of no length': lambda f: everywhere(array(dtype('O'), (6 * 10**7, 0), b'')),
    'stride 0': lambda f: saved(dict(vertices=torch.zeros(1).expand(48000, 6890, 3))),
    'memo': lambda f: b'\x80\x04Nr\xff\xff\xff\x7f.',
    'long bytes': lambda f: b'\x80\x05\x96' + struct.pack('<Q', 1 << 40) + b'x.',
    'lists in lists': lambda f: b'\x80\x02]q\x00I1\na' + b''.join(
        b']q' + bytes([n]) + b'(h' + bytes([n - 1]) + b'h' + bytes([n - 1]) + b'e'
        for n in range(1, 60)
    ) + b'.',
    'array many times': lambda f: b'\x80\x04}' + array(dtype('f8'), (1000,), bytes(8000))
    + b'\x94(' + b''.join(text(f'k{n}') + b'h\x00' for n in range(100_000)) + b'u.',
    'empty vertices': lambda f: npz(
        imgname=np.array(['a'] * 1000), vertices=np.zeros((1000, 100_000, 0, 3), np.float32)
    ),
}  # fmt: skip


# -- readers ---------------------------------------------------------------------------------------


def rewrite(path: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        'rewrite_checkpoint', ROOT / 'tools/model_converters/rewrite_checkpoint.py'
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.rewrite(path, path.with_name('rewritten.pt'))


def evaluate(path: Path) -> None:
    annotations = path.with_name('annotations.npz')
    annotations.write_bytes(npz(**annotation()))
    mmjrr.evaluate(path, annotations, 'free_body_h36m', body_model=dict(type='FreeBody'))


def setup(path: Path) -> None:
    findings = list(check_setup(dict(load_from=str(path), model=dict(type='Unknown'))))
    (weights,) = (finding for finding in findings if finding.kind == 'weights')
    if weights.bad:
        raise DataError(f'{path}: {weights.detail}')


def regressor(path: Path) -> None:
    JointRegressor.load(path, joint_order='mmpose', body_model='toy')


READERS: dict[str, Callable[[Path], Any]] = {
    'results.pkl': read_predictions,
    'results.pt': read_predictions,
    'results.npz': read_predictions,
    'stored.npz': StoredPredictions,
    'fits.npz': load_fits,
    'mean_params.npz': load_mean_params,
    'cameras.pkl': load_cameras,
    'SMPL_NEUTRAL.pkl': load_smpl_file,
    'J.pt': regressor,
    'J.npy': regressor,
    'J.npz': regressor,
    'weights.pth': read_checkpoint,
    'mmengine.pth': load_from_local,
    'mask_rcnn.pth': lambda path: MaskRCNN(backend='torchvision', checkpoint=str(path)),
    'to_rewrite.pth': rewrite,
    'checked.pth': setup,
    'evaluated.pkl': evaluate,
    'evaluated.pt': evaluate,
}


def read_all(connection: Any, folder: Path, content: bytes) -> None:
    """Read a file with every reader, under each of its names, and send the results."""
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    for file, read in READERS.items():
        path = folder / file
        path.write_bytes(content)
        connection.send((file, 'did not end'))
        try:
            read(path)
            result = 'taken'
        except (DataError, FileNotFoundError) as error:
            expected = str(path) in str(error) and 'more memory than this' not in str(error)
            result = 'refused' if expected else f'{type(error).__name__}: {error}'
        except BaseException as error:
            result = f'raised {type(error).__name__}: {error}'
        connection.send((file, result))
    connection.close()


@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS)
def test_a_hostile_file_is_refused_by_every_reader(kind: str, tmp_path: Path) -> None:
    content = KINDS[kind](tmp_path)
    assert len(content) < 2_000_000
    context = multiprocessing.get_context('fork')
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=read_all, args=(theirs, tmp_path, content))
    process.start()
    theirs.close()
    results: dict[str, str] = {}
    try:
        while True:
            assert ours.poll(120), f'no end: {results}'
            file, result = ours.recv()
            results[file] = result
    except EOFError:
        process.join()
    finally:
        process.kill()
    assert set(results) == set(READERS) and process.exitcode == 0, results
    assert not {file: result for file, result in results.items() if result != 'refused'}
    assert not (tmp_path / 'was_run').exists()
    victim = tmp_path / 'victim'
    assert not victim.exists() or victim.read_text() == 'untouched'


def test_the_files_do_harm_where_nothing_stops_them(tmp_path: Path) -> None:
    pickle.loads(KINDS['command, pickle'](tmp_path))
    assert (tmp_path / 'was_run').exists()
    torch.jit.load(io.BytesIO(KINDS['torchscript'](tmp_path)))
    assert (tmp_path / 'victim').read_text() == 'X' * 9
