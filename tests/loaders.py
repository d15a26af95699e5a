"""Loaders of foreign files, each with a small valid file.

The tests of malformed files and the fuzz harness go through :data:`CASES`.
"""

from __future__ import annotations

import bz2
import io
import json
import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_matrix

from mmjrr.body_models import load_smpl_file
from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.annotations import Annotations
from mmjrr.datasets.fits import load_fits
from mmjrr.datasets.image_folder import ImageFolderDataset
from mmjrr.datasets.masks import Masks
from mmjrr.datasets.predictions import read_predictions
from mmjrr.datasets.run_length import encode_rle
from mmjrr.datasets.transforms import read_image
from mmjrr.evaluation.paper_table import read_result, tables_of
from mmjrr.geometry import load_cameras
from mmjrr.io import mapped as io_mapped
from mmjrr.io import npy as io_npy
from mmjrr.io import npz as io_npz
from mmjrr.io import read_checkpoint, read_mesh_faces, read_npy, weights_of
from mmjrr.io import texts as io_texts
from mmjrr.jobs import Identity, Job, ShardFolder
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.models.estimators.hmr import load_mean_params
from mmjrr.models.stored_predictions import StoredPredictions
from mmjrr.refinement.store import PseudoGTStore
from mmjrr.regressors import JointRegressor, LabelOffsets, MeshMapping
from mmjrr.segmentation import write_mask_file
from mmjrr.segmentation.mask_generation import _recorded_identity
from mmjrr.visualization.report.from_work_dir import _curves

NAMES = [
    f'S{subject}/S{subject}_Walking.54138969/S{subject}_Walking.54138969_{frame:06d}.jpg'
    for subject in (1, 9)
    for frame in (1, 6)
]
COUNT = len(NAMES)


# ---------------------------------------------------------------------- files that are taken


def annotation() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    joints = np.ones((COUNT, 17, 4), np.float32)
    joints[..., :3] = rng.normal(0, 0.3, (COUNT, 17, 3)) + [0, 0, 5]
    part = np.ones((COUNT, 17, 3), np.float32)
    part[..., :2] = 1000 * joints[..., :2] / joints[..., 2:3] + 500
    return dict(
        imgname=np.array(NAMES),
        center=np.full((COUNT, 2), 500.0),
        scale=np.full(COUNT, 2.0),
        part=part,
        S=joints,
    )


def fits() -> dict[str, np.ndarray]:
    return dict(
        imgname=np.array(NAMES),
        pose=np.full((COUNT, 72), 0.1),
        betas=np.zeros((COUNT, 10)),
        camera=np.ones((COUNT, 3)),
        transl=np.full((COUNT, 3), 4.0, np.float32),
        has_smpl=np.ones(COUNT),
        provenance=np.array('{}'),
    )


def cameras() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (f'S{subject}', '54138969'): dict(
            R=np.eye(3), T=np.zeros((3, 1)), c=np.full((2, 1), 500.0), f=np.full((2, 1), 1000.0),
            k=np.zeros((3, 1)), p=np.zeros((2, 1)), w=1000, h=1002, id='54138969',
        )
        for subject in (1, 9)
    }  # fmt: skip


def masks() -> dict[str, Any]:
    mask = np.zeros((1002, 1000), np.uint8)
    mask[300:700, 400:600] = 1
    code = encode_rle(mask).decode()
    entry = dict(size=[1002, 1000], counts=code, score=0.9, box=[0, 0, 1, 1], overlap=0.5)
    content = {name: dict(entry) for name in NAMES}
    content[NAMES[0]]['levels'] = [code] * 8
    content[NAMES[1]]['counts'] = [500000, 2000, 500000]
    return dict(info={}, masks=content, without_person={'x': 'none'})


def body() -> dict[str, np.ndarray]:
    vertices = 30
    return dict(
        v_template=np.zeros((vertices, 3)),
        shapedirs=np.zeros((vertices, 3, 10)),
        posedirs=np.zeros((vertices, 3, 207)),
        weights=np.full((vertices, 24), 1 / 24),
        J_regressor=np.full((24, vertices), 1 / vertices),
        f=np.array([[0, 1, 2]]),
        kintree_table=np.array([[-1, *range(23)], list(range(24))]),
    )


def matrix() -> np.ndarray:
    weight = np.zeros((17, 50), np.float32)
    weight[np.arange(17), np.arange(17)] = 1
    return weight


def sparse() -> dict[str, np.ndarray]:
    return dict(
        rows=np.arange(17), columns=np.arange(17), values=np.ones(17), shape=np.array([17, 50])
    )


def evaluation() -> dict[str, Any]:
    score = dict(
        regressor='J_opt', protocol='paper', by='all', group='all', mpjpe=50.0, pa_mpjpe=40.0,
        frames=4,
    )  # fmt: skip
    about = dict(
        protocols={'paper': dict(joints=list(H36M_JOINTS_MMPOSE))},
        regressors={'J_opt': {'provenance': {'file_sha256': '0'}}},
        annotations={'sha256': '1'},
    )
    return dict(scores=[score], provenance=about, title='x')


def predictions() -> dict[str, np.ndarray]:
    return {name: fits()[name] for name in ('imgname', 'pose', 'betas', 'transl')}


def mean_params() -> dict[str, np.ndarray]:
    return dict(pose=np.zeros(144), shape=np.zeros(10), cam=np.zeros(3))


def shard() -> dict[str, np.ndarray]:
    label = np.array(json.dumps(dict(run='run', number=1, rank=0)))
    arrays = dict(sample_idx=np.arange(4), pose=np.zeros((4, 72)), transl=np.zeros((4, 3)))
    return dict(arrays, shard=label)


# ---------------------------------------------------------------------- how they are written


def npz(arrays: Any, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return an npz file without times, so that equal arrays give equal bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        for name, value in arrays.items():
            archive.writestr(zipfile.ZipInfo(f'{name}.npy'), npy(value), method)
    return file.getvalue()


def npz_compressed(arrays: Any) -> bytes:
    return npz(arrays, zipfile.ZIP_DEFLATED)


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def torch_file(content: Any, new: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=new)
    return file.getvalue()


def compressed_rows() -> torch.Tensor:
    """Return a mapping in PyTorch's CSR layout, without PyTorch's warning that it may change."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return torch.eye(4).to_sparse_csr()


def ply(_: Any = None) -> bytes:
    """Return a PLY file of a tetrahedron."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], '<f4')
    faces = np.array([(3, (0, 2, 1)), (3, (0, 1, 3)), (3, (0, 3, 2))], 'u1,(3,)<i4')
    header = (
        'ply\nformat binary_little_endian 1.0\nelement vertex 4\nproperty float x\n'
        'property float y\nproperty float z\nelement face 3\n'
        'property list uchar int vertex_indices\nend_header\n'
    )
    return header.encode() + corners.tobytes() + faces.tobytes()


def neuralannot_bodies() -> dict[str, Any]:
    """Return NeuralAnnot's bodies at two moments of an action."""
    body = dict(pose=np.full(72, 0.1), shape=np.zeros(10), trans=np.ones(3))
    return {'14': {'1': {'0': body, '1': dict(body)}}}


def neuralannot_cameras() -> dict[str, Any]:
    camera = dict(R=np.eye(3), t=np.ones(3), f=[1145.0, 1145.0], c=[512.0, 512.0])
    return {'1': camera, '2': dict(camera)}


def label_offsets() -> dict[str, np.ndarray]:
    return dict(
        subjects=np.array(['S1', 'S5']),
        joint_names=np.array(['pelvis', 'left_ankle']),
        parts=np.array(['pelvis', 'left_ankle']),
        values=np.full((2, 2, 3), 0.01),
    )


def log_of_run() -> list[dict[str, Any]]:
    return [dict(step=step, iou=0.5 + step / 100, loss=1 / (1 + step)) for step in range(4)]


def json_lines(content: Any) -> bytes:
    lines = content if isinstance(content, list) else [content]
    return b'\n'.join(map(as_json, lines))


def pickled(content: Any) -> bytes:
    return pickle.dumps(content, protocol=2)


def plain(value: Any) -> Any:
    """Return values that JSON can hold."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return plain(value.tolist()) if isinstance(value, (np.ndarray, np.generic)) else value


def as_json(content: Any) -> bytes:
    return json.dumps(plain(content), default=str).encode()


def tensors(arrays: Any) -> Any:
    if not isinstance(arrays, dict):
        return arrays
    return {
        name: torch.from_numpy(value)
        if isinstance(value, np.ndarray) and value.dtype.kind in 'fi'
        else plain(value)
        for name, value in arrays.items()
    }


def saved_tensors(arrays: Any) -> bytes:
    return torch_file(tensors(arrays))


def saved_tensors_old(arrays: Any) -> bytes:
    """Return a file in PyTorch's old format, of one storage.

    The format names a storage by its address, which is replaced by a constant.
    """
    content = tensors(arrays)
    parts = {name: value for name, value in content.items() if torch.is_tensor(value)}
    flat = torch.cat([value.double().flatten() for value in parts.values()] or [torch.zeros(0)])
    sizes = [value.numel() for value in parts.values()]
    for (name, value), piece in zip(parts.items(), flat.split(sizes) if parts else (), strict=True):
        content[name] = piece.view(value.shape)
    return re.sub(rb'X.\0\0\0[0-9]{9,}', b'X\x0a\0\0\x000123456789', torch_file(content, new=False))


# ---------------------------------------------------------------------- how they are read


def read_dataset(path: Path, **files: str) -> None:
    """Read a data set: its files, all samples, and the projection check."""
    others = dict(
        ann_file=('ann.npz', npz(annotation())),
        camera_param_file=('cameras.pkl', pickled(cameras())),
        fits_file=('fits.npz', npz(fits())),
        mask_file=('masks.json', as_json(masks())),
    )
    for argument, (name, content) in others.items():
        if argument not in files:
            (path.parent / name).write_bytes(content)
            files[argument] = name
    dataset = H36MFitsDataset(data_root=str(path.parent), load_mask=True, **files)
    for index in range(len(dataset)):
        dataset[index]
    dataset.check_projection(tolerance=10.0)


def mapped(load: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Return a reader that maps every array, not large ones only."""

    def read(path: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for module in (io_mapped, io_npy, io_npz, io_texts):
                patch.setattr(module, 'MAPPED_FROM', 1)
            load(path)

    return read


@mapped
def read_mapped_predictions(path: Path) -> None:
    """Read all columns of mapped predictions."""
    for value in read_predictions(path, mapped=True).columns().values():
        list(value)


def read_neuralannot(path: Path) -> None:
    others = {
        'Human36M_subject1_SMPL_NeuralAnnot.json': neuralannot_bodies(),
        'Human36M_subject1_camera.json': neuralannot_cameras(),
    }
    for name, content in others.items():
        if name != path.name:
            (path.parent / name).write_bytes(as_json(content))
    read_predictions(path.parent / 'Human36M_subject1_SMPL_NeuralAnnot.json')


def read_log(path: Path) -> None:
    _curves(path.parents[2])


def begin_job(path: Path) -> None:
    job = Job(path.parents[1], path.parent.name, Identity(dict(seed=1)), '.json')
    job.begin()
    job.end()


def read_masks(path: Path) -> None:
    masks = Masks(path)
    for row in range(len(masks)):
        masks.decode(row)


def read_boxes(path: Path) -> None:
    folder = path.parent / 'images'
    folder.mkdir(exist_ok=True)
    for name in ('1.jpg', '2.jpg'):
        (folder / name).write_bytes(b'')
    ImageFolderDataset(folder, boxes=path)


def read_weights(path: Path) -> None:
    weights_of(read_checkpoint(path), str(path))


def read_table(path: Path) -> None:
    content = read_result(path)
    for table in tables_of({'SPIN': content}) if content is not None else ():
        for write in (table.to_text, table.to_markdown, table.to_latex, table.to_csv):
            write()


def read_shards(path: Path) -> None:
    store = PseudoGTStore(ShardFolder(path.parent, 'run', '.npz', 'batch'))
    first = shard()
    first.pop('shard')
    store.put(0, first)
    index = first['sample_idx'].tolist()
    store.load({(0, 0): index, (1, 0): index})


def read_mask_shards(path: Path) -> None:
    for number, name in enumerate(NAMES):
        other = path.parent / f'shard_{number:07d}.json'
        if other != path:
            parts = dict(masks={name: dict(size=[2, 2], counts='4')}, without_person={})
            label = dict(run='run', number=number, rank=None)
            other.write_text(json.dumps(dict(parts, excluded={}, shard=label)))
    shards = ShardFolder(path.parent, 'run', '.json')
    write_mask_file(path.parent / 'out.json', shards, COUNT, dict(seed=1))


def read_identity(path: Path) -> None:
    Identity(dict(seed=1)).check(path, _recorded_identity(path), '')


def load_regressor(path: Path) -> None:
    JointRegressor.load(path, joint_order='mmpose', body_model='toy')


def load_regressor_beside(path: Path) -> None:
    regressor = JointRegressor(torch.from_numpy(matrix()), 'mmpose', body_model='toy')
    content = path.read_bytes()
    regressor.save(path.with_suffix('.npy'))
    path.write_bytes(content)
    JointRegressor.load(path.with_suffix('.npy'))


def sidecar() -> dict[str, Any]:
    return dict(
        format='mmjrr.joint_regressor/1', joint_names=['x'] * 17, body_model='toy',
        shape=[17, 50], sha256='0', cleaning=[], provenance={},
    )  # fmt: skip


def picture(_: Any = None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(12000, dtype=np.uint8).reshape(40, 100, 3)).save(file, 'JPEG')
    return file.getvalue()


def picture_png(_: Any = None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(12000, dtype=np.uint8).reshape(40, 100, 3)).save(file, 'PNG')
    return file.getvalue()


Case = tuple[str, Callable[[], Any], Callable[[Any], bytes], Callable[[Path], Any]]


def barycentric() -> dict[str, Any]:
    return dict(
        triangle_ids=np.array([0, 1, 1]),
        baryc_coords=np.full((3, 3), 1 / 3),
        faces=np.array([[0, 1, 2], [1, 2, 3]]),
    )


#: By loader and kind of file: its name, what it holds, how that is written and read.
CASES: dict[str, Case] = {
    'annotation': ('a.npz', annotation, npz, lambda p: read_dataset(p, ann_file=p.name)),
    'annotation, compressed': (
        'a.npz', annotation, npz_compressed, lambda p: read_dataset(p, ann_file=p.name)
    ),
    'fits': ('f.npz', fits, npz, load_fits),
    'fits of a data set': ('f.npz', fits, npz, lambda p: read_dataset(p, fits_file=p.name)),
    'cameras': ('c.pkl', cameras, pickled, load_cameras),
    'cameras of a data set': (
        'c.pkl', cameras, pickled, lambda p: read_dataset(p, camera_param_file=p.name)
    ),
    'masks': ('m.json', masks, as_json, read_masks),
    'masks of a data set': ('m.json', masks, as_json, lambda p: read_dataset(p, mask_file=p.name)),
    'boxes': (
        'b.json', lambda: {'1.jpg': [0, 0, 5, 6], '2.jpg': [1.5, 2, 3, 4]}, as_json, read_boxes
    ),
    'body, pickle': ('b.pkl', body, pickled, load_smpl_file),
    'body, npz': ('b.npz', body, npz, load_smpl_file),
    'regressor, npy': ('J.npy', matrix, npy, load_regressor),
    'regressor, npz': ('J.npz', lambda: dict(weight=matrix()), npz, load_regressor),
    'regressor, sparse': ('J.npz', sparse, npz, load_regressor),
    'regressor, pt': ('J.pt', lambda: torch.from_numpy(matrix()), torch_file, load_regressor),
    'regressor, dict': ('J.pt', lambda: dict(weight=matrix()), saved_tensors, load_regressor),
    'regressor, sparse pt': (
        'J.pt', lambda: torch.from_numpy(matrix()).to_sparse(), torch_file, load_regressor
    ),
    'sidecar': ('J.json', sidecar, as_json, load_regressor_beside),
    'mapping, pickle': (
        'm.pkl', lambda: {'matrix': csr_matrix(np.eye(4))}, pickled, MeshMapping.load
    ),
    'mapping, barycentric': ('m.npz', barycentric, npz, MeshMapping.load),
    'mapping, rows and columns': (
        'm.npz',
        lambda: dict(rows=np.arange(4), columns=np.arange(4), values=np.ones(4),
                     shape=np.array([4, 4])),
        npz,
        MeshMapping.load,
    ),
    'mapping, sparse pt': ('m.pt', compressed_rows, torch_file, MeshMapping.load),
    'faces, ply': ('m.ply', lambda: None, ply, read_mesh_faces),
    'faces, obj': (
        'm.obj',
        lambda: 'v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 2/1 3/1 4/1\n',
        str.encode,
        read_mesh_faces,
    ),
    'stored predictions': ('p.npz', predictions, npz, StoredPredictions),
    'stored vertices': (
        'p.npz',
        lambda: dict(imgname=np.array(NAMES), vertices=np.ones((COUNT, 9, 1)) * np.eye(9, 3)),
        npz,
        StoredPredictions,
    ),
    'predictions, npz': ('p.npz', predictions, npz, read_predictions),
    'predictions, pickle': ('p.pkl', predictions, pickled, read_predictions),
    'predictions, zlib': (
        'p.pkl', predictions, lambda c: zlib.compress(pickled(c)), read_predictions
    ),
    'predictions, bz2': (
        'p.pkl', predictions, lambda c: bz2.compress(pickled(c)), read_predictions
    ),
    'predictions, JSON': ('p.json', predictions, as_json, read_predictions),
    'predictions, pt': ('p.pt', predictions, saved_tensors, read_predictions),
    'predictions, old pt': ('p.pt', predictions, saved_tensors_old, read_predictions),
    'predictions, mapped npz': ('p.npz', predictions, npz, read_mapped_predictions),
    'array, mapped npy': (
        'a.npy', lambda: np.eye(9, 3), npy, mapped(lambda p: list(read_npy(p, mapped=True)))
    ),
    'annotation, mapped': (
        'a.npz', annotation, npz, mapped(lambda p: Annotations.load(p, mapped=True))
    ),
    'bodies of NeuralAnnot': (
        'Human36M_subject1_SMPL_NeuralAnnot.json', neuralannot_bodies, as_json, read_neuralannot
    ),
    'cameras of NeuralAnnot': (
        'Human36M_subject1_camera.json', neuralannot_cameras, as_json, read_neuralannot
    ),
    'label offsets': ('o.npz', label_offsets, npz, LabelOffsets.load),
    'record of a job': ('job/identity.json', lambda: dict(seed=1), as_json, begin_job),
    'log of a run': ('1/vis_data/scalars.json', log_of_run, json_lines, read_log),
    'mean parameters': ('m.npz', mean_params, npz, load_mean_params),
    'checkpoint': ('w.pt', lambda: dict(model=dict(w=torch.ones(3))), torch_file, read_weights),
    'checkpoint of Mask R-CNN': (
        'w.pt', lambda: dict(state_dict=dict(w=torch.ones(3))), torch_file, read_checkpoint
    ),
    'evaluation': ('r.json', evaluation, as_json, read_table),
    'refined fits': ('batch_0000001_rank_000.npz', shard, npz, read_shards),
    'mask shard': (
        'shard_0000001.json',
        lambda: dict(
            masks={NAMES[1]: dict(size=[2, 2], counts='4')},
            without_person={'x': 'none'},
            excluded={},
            shard=dict(run='run', number=1, rank=None),
        ),
        as_json,
        read_mask_shards,
    ),
    'finished masks': ('out.json', lambda: dict(info=dict(identity=dict(seed=1))), as_json,
                       read_identity),
    'JPEG': ('i.jpg', lambda: None, picture, read_image),
    'PNG': ('i.png', lambda: None, picture_png, read_image),
}  # fmt: skip
