"""``tools/eval_predictions.py``: its output, its files and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mmjrr.body_models import free_body
from mmjrr.cli import evaluate
from mmjrr.cli.evaluation_options import chosen_regressors, named_sets
from mmjrr.cli.options import parse
from mmjrr.regressors import JointRegressor

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def files(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """SPIN's layout whole and in two halves; a layout of nobody's."""
    folder = tmp_path_factory.mktemp('predictions')
    with np.load(tiny_set / 'fits' / 'spin_like_test.npz') as file:
        content = {name: file[name] for name in ('imgname', 'pose', 'betas')}
    np.savez(folder / 'first.npz', **{name: value[:3] for name, value in content.items()})
    np.savez(folder / 'second.npz', **{name: value[3:] for name, value in content.items()})
    rows = {
        'who': content['imgname'].tolist(),
        'out': {'theta': content['pose'].tolist(), 'beta': content['betas'].tolist()},
    }
    (folder / 'mine.json').write_text(json.dumps(rows))
    mixed = [1, 2, 0, 3, 4, 5, 6, 7]
    np.savez(folder / 'mixed.npz', **{name: value[mixed] for name, value in content.items()})
    paths = {path.stem: str(path) for path in folder.iterdir()}
    return {**paths, 'whole': str(tiny_set / 'fits' / 'spin_like_test.npz')}


@pytest.fixture
def run(tiny_set: Path, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: str, regressor: str = 'free_body_h36m') -> str:
        arguments = (*arguments, '--annotations', str(tiny_set), '--regressor', regressor)
        evaluate.run(parse(evaluate.add_arguments, None, arguments))
        return capsys.readouterr().out

    return run


def rows_of(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith('free_body_h36m ')]


@pytest.mark.slow
def test_several_files_are_parts_and_named_ones_are_sets(run, files, tmp_path) -> None:
    whole = run(files['whole'], '--out', str(tmp_path / 'whole.json'))
    assert "spin_like_test.npz: SPIN's layout; 8 bodies, parameters" in whole
    assert '8 of 8 annotated frames have a prediction (matched by name)' in whole
    parts = run(files['first'], files['second'])
    # The means, and the table of intervals.
    assert rows_of(parts) == rows_of(whole) and len(rows_of(whole)) == 2
    assert "first.npz, second.npz: SPIN's layout; 8 bodies" in parts
    sets = run(
        f'one={files["first"]}', f'two={files["second"]}', f'one={files["second"]}',
        '--out', str(tmp_path / 'sets.json'), '--protocol', 'paper', 'spin-p1', '--by', 'joint',
    )  # fmt: skip
    assert '3 of 8' not in sets and '5 of 8' in sets and '8 of 8' in sets
    assert 'By joint, protocol spin-p1' in sets
    saved = {
        name: json.loads((tmp_path / f'sets.{name}.json').read_text()) for name in ('one', 'two')
    }
    assert saved['two']['frames'] == 5 and saved['two']['title'] == 'two'
    whole_metrics = json.loads((tmp_path / 'whole.json').read_text())['metrics']
    for key, value in whole_metrics.items():  # the last bit depends on the split into parts
        assert saved['one']['metrics'][key] == pytest.approx(value, rel=1e-12)


@pytest.mark.slow
def test_folders_and_quoted_patterns_are_files(run, files, tmp_path) -> None:
    with np.load(files['whole']) as file:
        content = {name: file[name] for name in ('imgname', 'pose', 'betas')}
    for row, name in enumerate(content['imgname'].tolist()):
        rows = {key: content[key][row : row + 1] for key in ('pose', 'betas')}
        np.savez(tmp_path / Path(name).with_suffix('.npz').name, **rows)
    whole = rows_of(run(files['whole']))
    for path in (str(tmp_path), f'{tmp_path}/*.npz', f'mine={tmp_path}/S9_*.npz'):
        output = run(path)
        assert rows_of(output) == whole and '8 files' in output


@pytest.mark.slow
def test_rows_read_chosen_and_left_out_are_printed(run, files, tmp_path) -> None:
    with np.load(files['whole']) as file:
        content = {name: file[name].copy() for name in ('imgname', 'pose', 'betas')}
    content['betas'] = np.concatenate([content['betas'], content['betas']], 1)
    content['pose'][2] = 0
    twice = {name: np.concatenate([value, value]) for name, value in content.items()}
    twice['pose'][8:] *= 0.5
    np.savez(tmp_path / 'mine.npz', **twice, gender='male')
    options = ('--gender', 'neutral', '--num-betas', '10')
    output = run(str(tmp_path / 'mine.npz'), *options)
    assert '2 of 16 rows hold no body (2 all zeros)' in output
    assert '7 frames have several persons; the one nearest' in output
    assert '7 of 8 annotated frames have a prediction' in output
    assert '1 frames had no prediction' in output
    for wrong, message in (
        (['--missing', 'raise', *options], '1 of 8 annotated frames have no prediction'),
        (options[:2], 'betas: found 20 for each body'),
        (options[2:], "gender: found 'male', but the free body has no genders"),
        ([*options, '--person', 'largest'], "person='largest' needs boxes"),
    ):
        with pytest.raises((ValueError, OSError), match=message) as raised:
            run(str(tmp_path / 'mine.npz'), *wrong)
        assert '\n' not in str(raised.value)


def test_warnings_are_printed_after_the_tables(run, files, tmp_path) -> None:
    with np.load(files['whole']) as file:
        content = {name: file[name] for name in ('imgname', 'pose', 'betas')}
    np.savez(tmp_path / 'mine.npz', **{**content, 'pose': np.rad2deg(content['pose'])})
    assert 'Implausible: ' in run(str(tmp_path / 'mine.npz'))
    assert 'Implausible' not in run(files['whole'])


def test_fields_may_be_named(run, files) -> None:
    named = run(
        files['mine'],
        '--fields',
        'imgname=who',
        'pose=out.theta',
        'betas=out.beta',
        '--match',
        'name',
    )
    assert 'mine.json: fields named by --fields; 8 bodies' in named
    assert rows_of(named) == rows_of(run(files['whole']))


def test_unmatched_names_are_written_to_a_file(run, files, tmp_path) -> None:
    output = run(files['first'], '--unmatched-out', str(tmp_path / 'unmatched.txt'))
    assert '5 frames had no prediction' in output
    lines = (tmp_path / 'unmatched.txt').read_text().splitlines()
    with np.load(files['second']) as second:
        names = sorted(second['imgname'].tolist())
    assert lines == [f'first\tno prediction\t{name}' for name in names]


@pytest.mark.slow
def test_a_regressors_order_is_said_where_its_file_does_not(run, files, tmp_path) -> None:
    regressor = JointRegressor.load('free_body_h36m')
    plain = tmp_path / 'J.npy'
    np.save(plain, regressor.reorder('spin').weight.numpy())
    said = ('--joint-order', 'spin', '--body-model', 'free_body')
    output = run(files['whole'], *said, regressor=f'free_body_h36m={plain}')
    assert rows_of(output) == rows_of(run(files['whole']))
    with pytest.raises(ValueError, match=r'J.npy.*joint_order'):
        run(files['whole'], regressor=str(plain))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nothing.npz'], 'nothing.npz: no such file'),
        (['a=nothing.npz'], 'nothing.npz: no such file'),
        (['{whole}', '--out', 'result.txt'], 'result.txt: expected a path ending in .json'),
        (['{whole}', '--out', 'r.JSON'], 'r.JSON: expected a path .*in lower case'),
        (['a/b={first}', 'c={second}', '--out', 'r.json'], "--out: found the set 'a/b', expected"),
        (['{whole}', '--annotated-fields', 'a=b'], '--annotated-fields: needs --annotated-meshes'),
        (['{whole}', '--annotated-unit', 'mm'], '--annotated-unit: needs --annotated-meshes'),
        (['{whole}', '--out', '{whole}/r.json'], '--out: .*r.json: cannot be written, since '),
        (['{whole}', '--report', '{whole}/r.html'], '--report: .*r.html: cannot be written'),
        (['{whole}', '--unmatched-out', '/'], '--unmatched-out: /: found a folder, expected'),
        (['{whole}', '--mapping', 'nope.npz'], '--mapping: nope.npz: no such file'),
        (['{whole}', '--faces', 'nope.obj'], '--faces: nope.obj: no such file'),
        (['{whole}', '--joint-order', 'spin'], r"to be .*'left_hip'.*leave .*--joint-order\) out"),
        (['{mixed}', '--match', 'order'], 'found 3 of 8 names in another order.*--match name'),
        (['{whole}', '--no-photos'], '--no-photos: needs --report, which shows frames'),
        (['{whole}', '--masks', 'm.json'], '--masks: needs --report, which shows frames'),
        (['{whole}', '--subjects', 's9', 'S9'], "found 's9', of which there is no frame"),
        (['{whole}', '--all-protocols', '--protocol', 'paper'], '--protocol: found with --all'),
        (['{whole}', '--all-protocols', '--by', 'joint'], '--by: found with --all-protocols'),
        (['{whole}', '--exclude', 'S9_Greting'], "'S9_Greting' excludes no frame; sequences are"),
        (['{whole}', '--subjects', 's9'], r'none is of the subject s9.*--subjects all'),
        (['{whole}', '--protocol', 'papr'], "unknown protocol 'papr'; known"),
        (['{whole}', '--fields', 'pose'], '--fields: found .pose., expected NAME=VALUE'),
        (['{mine}'], 'has no image names.*--match order'),
        (['{first}', '--match', 'order'], '3 bodies for 8 frames'),
        (['{whole}', '--layout', 'vibe'], "is not of the layout 'vibe'"),
    ],
)  # fmt: skip
def test_errors_are_one_line(run, files, arguments, message) -> None:
    with pytest.raises((ValueError, OSError), match=message) as raised:
        run(*(argument.format(**files) for argument in arguments))
    assert '\n' not in str(raised.value)


def test_an_unknown_regressor_is_named_before_anything_is_read(run, files) -> None:
    with pytest.raises((ValueError, OSError), match=r"'J_best': found neither a file nor a name"):
        run(files['whole'], regressor='J_best')


def test_protocols_without_frames_are_left_out_of_the_table(
    tiny_set: Path, files, tmp_path, capsys
) -> None:
    """The annotation has no frame of the camera to which two protocols are restricted."""
    annotated = dict(np.load(tiny_set / 'annotation_body3d' / 'fps10' / 'h36m_test.npz'))
    predicted = dict(np.load(files['whole'], allow_pickle=True))
    for content in (annotated, predicted):
        names = content['imgname'].tolist()
        content['imgname'] = np.array([name.replace('60457274', '54138969') for name in names])
    np.savez(tmp_path / 'annotated.npz', **annotated)
    fields = ('imgname', 'pose', 'betas')
    np.savez(tmp_path / 'predicted.npz', **{name: predicted[name] for name in fields})
    arguments = [str(tmp_path / 'predicted.npz'), '--annotations', str(tmp_path / 'annotated.npz')]
    arguments += ['--regressor', 'free_body_h36m', '--all-protocols']
    evaluate.run(parse(evaluate.add_arguments, None, arguments))
    printed = capsys.readouterr().out
    assert 'spin-p2, hmr2 left out: no frame is of camera 60457274' in printed
    assert 'spin-p1, bedlam' in printed and printed.count('spin-p2') == 1


def test_sets_that_are_done_are_written_if_a_later_one_fails(
    tiny_set: Path, files, tmp_path, capsys
) -> None:
    with np.load(files['whole']) as file:
        content = {name: file[name] for name in ('pose', 'betas')}
    names = np.array([f'other/{number}.jpg' for number in range(8)])
    np.savez(tmp_path / 'other.npz', imgname=names, **content)
    arguments = [f'one={files["first"]}', f'two={tmp_path / "other.npz"}']
    arguments += ['--annotations', str(tiny_set), '--regressor', 'free_body_h36m', '--no-photos']
    arguments += ['--report', str(tmp_path / 'r.html'), '--frames', '2']
    arguments += ['--unmatched-out', str(tmp_path / 'unmatched.txt')]
    assert evaluate.main(arguments) == 1
    assert 'error: none of 8 predictions is of an annotated image' in capsys.readouterr().err
    lines = (tmp_path / 'unmatched.txt').read_text().splitlines()
    assert len(lines) == 5 and all(line.startswith('one\tno prediction') for line in lines)
    page = (tmp_path / 'r.html').read_text()
    assert 'Evaluation of one' in page and 'Evaluation of one, two' not in page


@pytest.mark.parametrize('target', ['annotations', 'meshes'])
def test_options_without_effect_are_noted(tiny_set: Path, files, tmp_path, capsys, target) -> None:
    with np.load(files['whole']) as file:
        pose, betas, names = (file[name] for name in ('pose', 'betas', 'imgname'))
    posed = free_body()(torch.from_numpy(betas), *map(torch.from_numpy, (pose[:, 3:], pose[:, :3])))
    np.savez(tmp_path / 'meshes.npz', imgname=names, vertices=posed.vertices.numpy())
    (tmp_path / 'faces.obj').touch()
    meshes = str(tmp_path / 'meshes.npz')
    compared = {'annotations': ['--annotations', str(tiny_set)],
                'meshes': ['--annotated-meshes', meshes]}[target]  # fmt: skip
    arguments = [meshes, *compared, '--regressor', 'free_body_h36m', '--gender', 'female']
    arguments += ['--num-betas', '3', '--rotation-6d', 'rows', '--frame-step', '5']
    arguments += ['--faces', str(tmp_path / 'faces.obj')]
    evaluate.run(parse(evaluate.add_arguments, None, arguments))
    printed = capsys.readouterr().out
    for note in (
        'gender (--gender), num_betas (--num-betas) have no effect, since the file holds vertices',
        'rotation_6d (--rotation-6d) has no effect, since the file has no 6D rotations',
        'frame_step (--frame-step) has no effect, since the file has image names',
        'faces (--faces) has no effect, since ',
    ):
        assert printed.count(note) == 1


def test_a_table_that_was_asked_for_and_cannot_be_made_is_named(files, tmp_path, capsys) -> None:
    with np.load(files['whole']) as file:
        content = {name: file[name] for name in ('pose', 'betas')}
    np.savez(tmp_path / 'run.npz', imgname=[f'anna/run/{n:06d}.jpg' for n in range(8)], **content)
    arguments = [str(tmp_path / 'run.npz'), '--annotated-meshes', str(tmp_path / 'run.npz')]
    arguments += ['--regressor', 'free_body_h36m', '--protocol', 'vibe', '--by', 'joint', 'camera']
    arguments += ['--out', str(tmp_path / 'result.json')]
    evaluate.run(parse(evaluate.add_arguments, None, arguments))
    printed = capsys.readouterr().out
    assert 'No table by camera: image names do not tell it' in printed and 'By joint' in printed


def test_sets_are_named_after_their_own_files(files) -> None:
    sets = named_sets([f'A={files["first"]}', files['second'], files['whole']])
    assert {name: len(paths) for name, paths in sets.items()} == {'A': 1, 'second': 2}


@pytest.mark.parametrize(('name', 'has_sidecar'), [('J.npz', False), ('J.npy', True)])
def test_only_npy_files_have_sidecars(tmp_path, name: str, has_sidecar: bool) -> None:
    (tmp_path / 'J.json').write_text('{}')
    (tmp_path / name).write_bytes(b'')
    (chosen,) = chosen_regressors([str(tmp_path / name)], 'spin', 'free_body')
    declared = {} if has_sidecar else {'body_model': 'free_body'}
    assert chosen == {'path': str(tmp_path / name), 'joint_order': 'spin', **declared}


def test_an_order_is_for_the_files_that_do_not_state_it(tmp_path) -> None:
    for name in ('stated.json', 'stated.npy', 'plain.npy'):
        (tmp_path / name).write_text('{}')
    paths = [str(tmp_path / f'{name}.npy') for name in ('stated', 'plain')]
    stated, plain = chosen_regressors([*paths], 'spin')
    assert 'joint_order' not in stated and plain['joint_order'] == 'spin'
