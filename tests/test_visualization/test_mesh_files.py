"""Bodies as GLB, PLY and OBJ, read again by others' readers, and the command that writes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mmjrr.body_models import free_body
from mmjrr.cli import export_meshes
from mmjrr.cli.options import OptionError, parse
from mmjrr.errors import DataError
from mmjrr.io.meshes import read_mesh_vertices
from mmjrr.visualization.mesh_files import FORMATS, file_names, write_mesh
from mmjrr.visualization.work_dir import body_of_work_dir

trimesh = pytest.importorskip('trimesh', reason='trimesh is not installed: pip install trimesh')

VERTICES = np.array([[0.0, 0, 5], [1, 0, 5], [0, 1, 6], [0, 0, 7]])
FACES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])


@pytest.mark.parametrize('kind', FORMATS)
def test_a_mesh_comes_back_upright_with_its_triangles(tmp_path: Path, kind: str) -> None:
    path = write_mesh(VERTICES, FACES, tmp_path / f'body.{kind}')
    mesh = trimesh.load(path, process=False, force='mesh')
    assert np.allclose(mesh.vertices, VERTICES * [1, -1, -1], atol=1e-6)
    assert np.array_equal(mesh.faces, FACES)
    first = path.read_bytes()
    assert write_mesh(VERTICES, FACES, path).read_bytes() == first
    if kind != 'glb':
        assert np.allclose(read_mesh_vertices(path), VERTICES * [1, -1, -1], atol=1e-6)


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'expected a path ending in \.glb'):
        write_mesh(VERTICES, FACES, tmp_path / 'body.stl')


def test_names_of_files_stay_in_the_folder_and_differ() -> None:
    names = ['S1/a.jpg', 'S5/a.jpg', '../../etc/passwd', 'x\\..\\y.png', '<b>;rm -rf.jpg', '..', '']
    made = list(file_names(names))
    assert made == ['a', 'a-2', 'passwd', 'y', '_b_rm_-rf', 'body', 'body-2']


@pytest.mark.parametrize(
    'names',
    [
        ['a.jpg', 'a.jpg', 'a-2.jpg'],
        ['a-2.jpg', 'a.jpg', 'a.jpg', 'a.jpg'],
        ['a.jpg', 'a.jpg', 'a-2.jpg', 'a-2.jpg', 'a-2-2.jpg', 'a.jpg'],
        ['a.jpg', 'A.jpg', 'A-2.jpg'],
    ],
)
def test_names_differ_from_those_that_were_numbered(names: list[str]) -> None:
    made = list(file_names(names))
    assert len({name.lower() for name in made}) == len(names)
    assert made[0] == names[0].removesuffix('.jpg')


def run(*arguments: str) -> None:
    export_meshes.run(parse(export_meshes.add_arguments, None, arguments))


@pytest.fixture(scope='module')
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp('results') / 'spin.npz'
    np.savez(
        path,
        imgname=['S9_Walking_1.54138969_000001.jpg', 'S9_Sitting.54138969_000006.jpg'],
        pose=0.1 * rng.normal(size=(2, 72)).astype(np.float32),
        betas=rng.normal(size=(2, 10)).astype(np.float32),
        transl=np.array([[0.1, 0.2, 5], [0, 0, 4]], np.float32),
    )
    return path


def test_the_command_writes_the_posed_bodies_of_a_results_file(
    results: Path, tmp_path: Path
) -> None:
    run(
        str(results), '--body-model', 'free_body', '--images', 'S9_Walking*', '--out', str(tmp_path)
    )
    (path,) = tmp_path.iterdir()
    assert path.name == 'S9_Walking_1.54138969_000001.glb'
    with np.load(results) as content:
        pose = torch.from_numpy(content['pose'][:1])
        expected = free_body()(
            global_orient=pose[:, :3], body_pose=pose[:, 3:],
            betas=torch.from_numpy(content['betas'][:1]),
            transl=torch.from_numpy(content['transl'][:1]),
        ).vertices[0]  # fmt: skip
    vertices = trimesh.load(path, process=False, force='mesh').vertices
    assert np.allclose(vertices, expected * torch.tensor([1, -1, -1]), atol=1e-5)


def test_vertices_in_centimeters_are_written_in_meters(tmp_path: Path) -> None:
    vertices = free_body().v_template.numpy()
    np.savez(tmp_path / 'results.npz', vertices=100 * vertices[None])
    out = tmp_path / 'meshes'
    run(
        str(tmp_path / 'results.npz'), '--body-model', 'free_body', '--unit', 'cm',
        '--out', str(out),
    )  # fmt: skip
    (path,) = out.iterdir()
    written = trimesh.load(path, process=False, force='mesh').vertices
    assert np.allclose(written, vertices * [1, -1, -1], atol=1e-6)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--body-model', 'free_body', '--images', 'none'], 'none of 2 bodies matches'),
        (['--body-model', 'free_body', '--max-meshes', '1'], '2 bodies would be written'),
        ([], '--body-model: found none'),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    results: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        run(str(results), *options, '--out', str(tmp_path / 'out'))
    assert not (tmp_path / 'out').exists()


def test_the_body_of_a_strangers_record_must_be_a_registered_one(tmp_path: Path) -> None:
    (tmp_path / 'pseudo_gt').mkdir()
    record = tmp_path / 'pseudo_gt' / 'identity.json'
    for name in ('os.system', 'mmjrr.os.system', 'antigravity', ''):
        record.write_text(json.dumps({'refinement': {'body_model': {'type': name}}}))
        with pytest.raises(DataError, match='body_model: found type'):
            body_of_work_dir(tmp_path)
    record.write_text(json.dumps({'refinement': {'body_model': {'type': 'mmjrr.FreeBody'}}}))
    assert body_of_work_dir(tmp_path) == {'type': 'mmjrr.FreeBody'}
