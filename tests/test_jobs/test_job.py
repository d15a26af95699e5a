"""A job that is killed anywhere ends in the same bytes, and never from other settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from kill_points import Kill, os_killed_after

from mmjrr.errors import DataError
from mmjrr.io import atomic, atomic_write, read_npz
from mmjrr.jobs import Identity, IdentityError, Job, job, lock_work_dir
from mmjrr.jobs.lock import LOCK_FILE

COUNT = 3


def make_job(work_dir: Path, scale: float = 2.0, **environment: str) -> Job:
    def recorded(path: Path) -> Any:
        return json.loads(str(read_npz(path)['identity']))

    return Job(
        work_dir, 'squares', Identity({'scale': scale}, environment), '.npz',
        output=work_dir / 'out.npz', read_output_record=recorded,
    )  # fmt: skip


def run(work_dir: Path, scale: float = 2.0, overwrite: bool = False) -> list[int]:
    """Run the job to its end; return the shards that were made."""
    job = make_job(work_dir, scale)
    job.begin(overwrite)
    try:
        if job.finished:
            return []
        made = job.shards.missing(COUNT)
        for number in made:
            job.shards.put(number, {'value': np.array([scale * number])})
        parts = list(job.shards.read_all([(number, None) for number in range(COUNT)]))
        with atomic_write(work_dir / 'out.npz') as temporary, open(temporary, 'wb') as file:
            np.savez(
                file,
                value=np.concatenate([part['value'] for part in parts]),
                identity=np.array(json.dumps(job.identity.as_dict())),
            )
        job.remove_shards()
        return made
    finally:
        job.end()


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


@pytest.mark.parametrize('call', ['replace', 'fsync', 'chmod'])
def test_a_job_killed_at_every_write_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    run(tmp_path / 'whole')
    moments = 0
    for after in range(100):
        work_dir = tmp_path / f'killed_{after}'
        with monkeypatch.context() as patch:
            patch.setattr(atomic, 'os', os_killed_after(after, call))
            try:
                run(work_dir)
                break
            except Kill:
                moments += 1
        run(work_dir)
        assert files(work_dir) == files(tmp_path / 'whole')
    assert moments == 1 + COUNT + 1  # the record, the shards, the output


def test_a_job_killed_while_it_removes_shards_only_tidies_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise Kill

    with monkeypatch.context() as patch, pytest.raises(Kill):
        patch.setattr(job, 'shutil', SimpleNamespace(rmtree=die))
        run(tmp_path)
    assert (tmp_path / 'squares').is_dir()
    before = (tmp_path / 'out.npz').read_bytes()
    assert run(tmp_path) == []
    assert files(tmp_path) == {'out.npz': before}


def test_a_begun_folder_keeps_files_of_the_same_settings_alone(tmp_path: Path) -> None:
    def begin(seed: int) -> bool:
        with Job(tmp_path, 'weights', Identity({'seed': seed}), '.json').begun() as same:
            assert (tmp_path / LOCK_FILE).is_file()
            (tmp_path / 'weights' / f'{seed}').touch()
            return same

    (tmp_path / 'weights').mkdir()
    (tmp_path / 'weights/.identity.tmp-a1b2c3d4.json').touch()
    assert not begin(1)
    assert set(files(tmp_path)) == {'weights/1', 'weights/identity.json'}
    assert begin(1)
    assert not begin(2)
    assert set(files(tmp_path)) == {'weights/2', 'weights/identity.json'}


@pytest.mark.parametrize('record', [None, '{"name": "of another program"}'])
def test_a_begun_folder_of_others_is_refused_and_left_alone(
    tmp_path: Path, record: str | None
) -> None:
    mine = tmp_path / 'weights/mine/photo.jpg'
    mine.parent.mkdir(parents=True)
    mine.touch()
    if record is not None:
        (tmp_path / 'weights/identity.json').write_text(record)
    before = files(tmp_path)
    begun = Job(tmp_path, 'weights', Identity({'seed': 1}), '.json')
    message = r'weights: found .*, expected an empty folder or one with'
    with pytest.raises(DataError, match=message), begun.begun():
        pass
    assert files(tmp_path) == before


def test_a_folder_half_removed_by_a_kill_is_removed_wholly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(seed: int) -> bool:
        with Job(tmp_path, 'weights', Identity({'seed': seed}), '.json').begun() as same:
            return same

    for moment in range(2):  # in a folder of the job's folder, and at its record
        begin(1)
        (tmp_path / 'weights/run').mkdir()
        for name in ('old', 'run/a', 'run/b'):
            (tmp_path / 'weights' / name).touch()
        removed: list[Path] = []
        with monkeypatch.context() as patch, pytest.raises(Kill):

            def remove_a_file(
                folder: Path, last: int = moment, removed: list[Path] = removed, **_: Any
            ) -> None:
                if len(removed) < last:
                    removed.append(folder)
                    shutil.rmtree(folder)
                    return
                next(path for path in sorted(folder.iterdir()) if path.is_file()).unlink()
                raise Kill

            patch.setattr(job, 'shutil', SimpleNamespace(rmtree=remove_a_file))
            begin(2)
        assert not begin(2)
        assert set(files(tmp_path)) == {'weights/identity.json'}


def test_only_missing_shards_are_made(tmp_path: Path) -> None:
    begun = make_job(tmp_path)
    begun.begin()
    begun.shards.put(1, {'value': np.array([2.0])})
    begun.end()
    assert run(tmp_path) == [0, 2]
    assert read_npz(tmp_path / 'out.npz')['value'].tolist() == [0, 2, 4]


def test_other_settings_are_refused_before_and_after_the_end(tmp_path: Path) -> None:
    begun = make_job(tmp_path)
    begun.begin()
    begun.shards.put(0, {'value': np.array([0.0])})
    begun.end()
    with pytest.raises(IdentityError, match=r'squares: .*\n  scale: recorded 2.0, present 3.0\n'):
        run(tmp_path, scale=3.0)
    run(tmp_path)
    before = files(tmp_path)
    with pytest.raises(IdentityError, match=r'out.npz: .*\n  scale: recorded 2.0, present 3.0\n'):
        run(tmp_path, scale=3.0)
    assert files(tmp_path) == before
    assert run(tmp_path, scale=3.0, overwrite=True) == [0, 1, 2]


def test_shards_without_a_record_are_not_continued(tmp_path: Path) -> None:
    begun = make_job(tmp_path)
    begun.begin()
    begun.shards.put(0, {'value': np.array([0.0])})
    begun.end()
    begun.record.path.unlink()
    with pytest.raises(DataError, match='holds shards, but no identity.json'):
        run(tmp_path)
    begun.record.path.write_text('{"scale"')
    with pytest.raises(DataError, match='identity.json: not readable as JSON'):
        run(tmp_path)
    run(tmp_path, overwrite=True)


def test_the_work_directory_is_locked_meanwhile_and_free_afterwards(tmp_path: Path) -> None:
    begun = make_job(tmp_path)
    begun.begin()
    assert lock_work_dir(tmp_path) is begun.lock
    begun.end()
    assert not (tmp_path / 'run.lock').exists()
    with pytest.raises(IdentityError):
        make_job(tmp_path, 3.0).begin()
    assert not (tmp_path / 'run.lock').exists()


def test_half_written_files_are_removed_and_others_stay(tmp_path: Path) -> None:
    leftovers = [
        'squares/.shard_0000001.tmp-a1b2c3d4.npz',
        '.out.tmp-x_y_z_1_.npz',
        '.iter_3.tmp-abcdefgh.pth',
    ]
    others = ['.gitignore', 'squares/notes.txt', '.hidden/.out.tmp-a1b2c3d4.npz', '.out.npz']
    others += ['.editor.settings', '.editor.settings.json']
    for name in leftovers + others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('half')
    begun = make_job(tmp_path)
    begun.begin()
    begun.end()
    assert not [name for name in leftovers if (tmp_path / name).exists()]
    assert not [name for name in others if not (tmp_path / name).exists()]


def test_beside_an_output_elsewhere_only_its_own_leftovers_go(tmp_path: Path) -> None:
    out, work_dir = tmp_path / 'data' / 'out.npz', tmp_path / 'work'
    out.parent.mkdir()
    own, other = (out.parent / f'.{stem}.tmp-a1b2c3d4.npz' for stem in ('out', 'another'))
    own.touch()
    other.touch()
    begun = Job(work_dir, 'squares', Identity({'a': 1}), '.npz', output=out)
    begun.begin()
    begun.end()
    assert not own.exists() and other.exists()


def test_intermediate_results_are_recorded_once(tmp_path: Path) -> None:
    begun = make_job(tmp_path, torch='2.1')
    begun.begin()
    begun.record_result('J_spin', 'abc')
    begun.end()
    again = make_job(tmp_path, torch='2.1')
    again.begin()
    assert again.results() == {'J_spin': 'abc'}
    again.record_result('J_spin', 'abc')
    with pytest.raises(IdentityError, match='J_spin: recorded "abc", present "def"'):
        again.record_result('J_spin', 'def')
    again.end()
