"""The command that carries a regressor to another mesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmjrr.body_models import free_body
from mmjrr.cli.transfer import main
from mmjrr.regressors import JointRegressor, MeshMapping


def write_obj(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    lines = [f'v {x:.7f} {y:.7f} {z:.7f}' for x, y, z in vertices]
    lines += [f'f {a} {b} {c}' for a, b, c in faces + 1]
    path.write_text('\n'.join(lines))


def test_a_regressor_is_carried_by_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = np.random.default_rng(0).permutation(6890)
    matrix = np.zeros((6890, 6890), np.float32)
    matrix[np.arange(6890), order] = 1  # the other mesh is numbered otherwise
    mapping = MeshMapping(matrix, 'other', 'free_body').save(tmp_path / 'm.npz')
    arguments = ['free_body_h36m', '--mapping', str(mapping), '--out', str(tmp_path / 'J.npy')]
    assert main(arguments) == 0
    carried = JointRegressor.load(tmp_path / 'J.npy')
    original = JointRegressor.load('free_body_h36m')
    np.testing.assert_allclose(carried.weight[:, order], original.weight, atol=1e-7)
    assert carried.body_model == 'other'
    assert carried.provenance['carried'][0]['from'] == 'free_body'
    assert 'not measured' in capsys.readouterr().out


@pytest.mark.slow
def test_templates_in_the_same_pose_give_the_mapping(tmp_path: Path) -> None:
    body = free_body()
    vertices = body.v_template.numpy()
    order = np.random.default_rng(0).permutation(6890)
    write_obj(tmp_path / 'own.obj', vertices, body.faces)
    write_obj(tmp_path / 'other.obj', vertices[order], np.argsort(order)[body.faces])
    arguments = ['free_body_h36m', '--template', str(tmp_path / 'other.obj')]
    arguments += ['--own-template', str(tmp_path / 'own.obj'), '--out', str(tmp_path / 'J.npy')]
    assert main([*arguments, '--mapping-out', str(tmp_path / 'm.npz')]) == 0
    carried, original = (
        JointRegressor.load(name)(body.v_template[index])
        for name, index in ((tmp_path / 'J.npy', order), ('free_body_h36m', slice(None)))
    )
    np.testing.assert_allclose(carried, original, atol=1e-5)
    assert MeshMapping.load(tmp_path / 'm.npz').source == 'other'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--out', 'J.txt'], '--out: J.txt: expected a path ending in .npy'),
        (['--out', 'J.npy'], 'found no --mapping, --to or --template'),
        (['--out', 'J.npy', '--template', 'a.obj'], '--own-template: missing'),
        (['--out', 'J.npy', '--to', 'smplx'], "none from the mesh 'smplx' to 'free_body'"),
        (['--out', 'J.npy', '--mapping', 'no.npz'], 'no.npz'),
        (['--out', 'J.NPY', '--to', 'anny'], '--out: J.NPY: expected a path ending in .npy, in lo'),
        (['--out', 'J.npy', '--to', 'anny', '--mapping-out', 'm.NPZ'], '--mapping-out: m.NPZ: exp'),
        (['--out', 'J.npy', '--to', 'anny', '--faces', 'no.obj'], '--faces: needs --mapping'),
        (['--out', 'J.npy', '--to', 'anny', '--own-template', 'no.obj'], 'needs --template'),
        (
            ['--out', 'J.npy', '--mapping', 'a.npz', '--template', 'b.obj'],
            'found both --mapping and --template',
        ),
    ],
)
def test_errors_are_one_line(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['free_body_h36m', *options]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
