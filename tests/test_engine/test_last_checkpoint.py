"""A resumed run gets a complete checkpoint or none, and the log names unusable ones."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from mmjrr.engine import last_checkpoint as module
from mmjrr.engine.last_checkpoint import iteration_of, latest_checkpoint, repair_last_checkpoint


def save(work_dir: Path, iteration: int) -> Path:
    path = work_dir / f'iter_{iteration}.pth'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('data.pkl', bytes(range(256)) * iteration)
    return path


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(module, '_warn', lines.append)
    return lines


def last_checkpoint(work_dir: Path) -> Path | None:
    repair_last_checkpoint(work_dir)
    return latest_checkpoint(work_dir)


def point(work_dir: Path, text: str) -> None:
    (work_dir / 'last_checkpoint').write_text(text)


def test_the_named_one_is_taken(tmp_path: Path, said: list[str]) -> None:
    save(tmp_path, 10)
    path = save(tmp_path, 2)
    point(tmp_path, str(path))
    assert last_checkpoint(tmp_path) == path and not said
    assert iteration_of(path) == 2


def test_a_new_folder_has_none(tmp_path: Path, said: list[str]) -> None:
    assert last_checkpoint(tmp_path) is None
    assert not said and not list(tmp_path.iterdir())


def test_in_a_folder_that_was_moved_the_name_is_enough(tmp_path: Path, said: list[str]) -> None:
    path = save(tmp_path, 2)
    point(tmp_path, '/elsewhere/run/iter_2.pth\n')
    assert last_checkpoint(tmp_path) == path
    assert (tmp_path / 'last_checkpoint').read_text() == str(path) and not said


@pytest.mark.parametrize(
    ('text', 'fault'),
    [
        (None, 'last_checkpoint: missing'),
        ('', 'last_checkpoint: empty'),
        ('\0\0\0\0\n', 'last_checkpoint: empty'),
        ('iter_8.pth', 'iter_8.pth: missing'),
        ('iter_6.pth', 'iter_6.pth: not a whole checkpoint'),
        ('iter_4.pth', 'iter_4.pth: data.pkl: damaged'),
        ('iter_5.pth', 'iter_5.pth: not a whole checkpoint'),
    ],
)
@pytest.mark.parametrize('other', [True, False])
def test_an_unusable_checkpoint_is_logged_and_another_one_taken(
    tmp_path: Path, said: list[str], text: str | None, fault: str, other: bool
) -> None:
    truncated, damaged = save(tmp_path, 6), save(tmp_path, 4)
    truncated.write_bytes(truncated.read_bytes()[:-30])
    content = bytearray(damaged.read_bytes())
    content[200] ^= 1
    damaged.write_bytes(content)
    (tmp_path / 'iter_5.pth').touch()
    if text is not None:
        point(tmp_path, text and str(tmp_path / text) if text.startswith('iter') else text)
    whole = save(tmp_path, 2) if other else None
    assert last_checkpoint(tmp_path) == whole
    (line,) = said
    assert fault in line
    if whole is None:
        assert 'starts at the first iteration' in line
        assert not (tmp_path / 'last_checkpoint').exists()
    else:
        assert 'resumed from iter_2.pth' in line
        assert (tmp_path / 'last_checkpoint').read_text() == str(whole)
