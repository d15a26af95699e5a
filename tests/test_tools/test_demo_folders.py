"""What the demos keep, replace and refuse in their output folder, and the commands they print."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mmjrr.cli import demo, demo_pose2sim


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ('command', 'name'),
    [
        (demo, 'refinement'),
        (demo_pose2sim, 'mediapipe'),
        (demo_pose2sim, 'four_views'),
        (demo_pose2sim, 'without_03'),
        (demo_pose2sim, 'free_shapes'),
        (demo_pose2sim, 'data/recording'),
    ],
)
def test_folders_of_others_are_refused_before_any_work(command, name, tmp_path, capsys):
    mine = tmp_path / name / 'results' / 'mine.txt'
    mine.parent.mkdir(parents=True)
    mine.write_text('mine')
    assert command.main(['--out', str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f'error: {tmp_path / name}: found results, expected an empty folder')
    assert files(tmp_path) == {f'{name}/results/mine.txt': b'mine'}


def test_pictures_replace_only_those_of_the_demo(tmp_path):
    drawn = tmp_path / 'refinement/run/vis_data/vis_image/refinement_new_0.png'
    drawn.parent.mkdir(parents=True)
    drawn.write_text('new')
    overlays = tmp_path / 'overlays'
    for name in ('refinement_old_0.png', 'mine.png', 'sub/refinement_mine.png'):
        (overlays / name).parent.mkdir(parents=True, exist_ok=True)
        (overlays / name).write_text('old')
    assert demo.collect_overlays(tmp_path / 'refinement', overlays) == 1
    assert files(overlays) == {
        'mine.png': b'old', 'refinement_new_0.png': b'new', 'sub/refinement_mine.png': b'old',
    }  # fmt: skip


@pytest.mark.slow
def test_a_finished_refinement_is_kept_and_one_of_other_settings_replaced(
    tiny_set, tiny_config, tmp_path
):
    work_dir = tmp_path / 'demo' / 'refinement'

    def refine(seed: int) -> dict[str, tuple[bytes, int]]:
        args = argparse.Namespace(config=str(tiny_config), seed=seed)
        demo.refine(args, tiny_set, work_dir, None)
        return {
            name: ((work_dir / name).read_bytes(), (work_dir / name).stat().st_mtime_ns)
            for name in ('J_opt.npy', 'pseudo_gt.npz', 'refinement.json')
        }

    first = refine(0)
    assert refine(0) == first
    (work_dir / 'refinement.json').unlink()  # a demo that was killed before the end
    continued = refine(0)
    assert {name: content for name, (content, _) in continued.items()} == {
        name: content for name, (content, _) in first.items()
    }
    assert len(list(work_dir.glob('*/vis_data'))) == 2
    assert refine(1)['pseudo_gt.npz'] != first['pseudo_gt.npz']
    assert len(list(work_dir.glob('*/vis_data'))) == 1


@pytest.mark.parametrize(
    ('options', 'status', 'reason'),
    [
        (['--workers', '0'], 2, '--workers 0: expected at least 1'),
        (['--seed', '-1'], 2, '--seed -1: expected 0 to 4294967295'),
        (['--seed', str(2**32)], 2, '--seed 4294967296: expected 0 to 4294967295'),
        (['--out', 'file'], 2, '--out file: found a file, expected a folder'),
    ],
)
def test_ordinary_errors_are_one_sentence(options, status, reason, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').touch()
    assert demo.main(options) == status
    error = capsys.readouterr().err
    assert error.startswith('error: ') and reason in error and error.count('\n') == 1
    assert [path.name for path in tmp_path.iterdir()] == ['file']


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / 'file').touch()
    command = [sys.executable, '-m', 'mmjrr.cli.demo', '--out', str(tmp_path / 'file/demo')]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith('error: ') and 'Not a directory' in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_file_in_place_of_the_folder_is_one_sentence(tmp_path, capsys):
    (tmp_path / 'file').touch()
    assert demo_pose2sim.main(['--out', str(tmp_path / 'file')]) == 2
    assert 'file: found a file, expected a folder' in capsys.readouterr().err


SUMMARY = {
    'table': {
        name: {regressor: {'mpjpe': 1.0, 'pa_mpjpe': 1.0} for regressor in demo.REGRESSORS}
        for name in demo.ESTIMATORS
    },
    'pseudo_gt': dict(pve_init_mm=2.0, pve_opt_mm=1.0, iou_init=0.5, iou_opt=0.9),
    'masks': {'made_by': 'rendered'},
    'regressor_error_mm': dict(J_std=3.0, J_spin=2.0, J_opt=1.0, floor=0.0),
    'rounds': [],
    'frames': 20,
    'test_frames': 8,
    'seconds': {'data': 1.0},
}


def test_the_printed_commands_name_folders_with_spaces(tmp_path, capsys):
    out = tmp_path / "user's results"
    demo.report(SUMMARY, out, 0)
    printed = capsys.readouterr().out.partition('Next:\n')[2].replace('\\\n', '')
    commands = [shlex.split(line, comments=True) for line in printed.splitlines()]
    evaluate, paper, check = ([*command[1:]] for command in commands if command)
    assert evaluate == [
        'evaluate', str(out / 'data/fits/spin_like_test.npz'), '--annotations', str(out / 'data'),
        '--regressor', f'J_opt={out / "refinement/J_opt.npy"}',
    ]  # fmt: skip
    assert paper == ['demo', '--config', 'contour_100it_synthetic', '--out', f'{out}_paper']
    assert check == ['check', 'contour-4view_5x80it_h36m']
