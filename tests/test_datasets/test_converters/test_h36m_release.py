"""A tiny release, written from known values, becomes the known annotations."""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
from h36m_layouts import INTRINSICS, project, write_cdf, write_video
from kill_points import Kill
from small_release import COUNT, KINDS, SUBJECTS, known_joints, pack, write_release

from mmjrr.datasets import H36MFitsDataset
from mmjrr.datasets.converters.h36m_release import archives, videos
from mmjrr.datasets.converters.h36m_release.archives import unpack
from mmjrr.datasets.converters.h36m_release.pose_files import read_pose
from mmjrr.datasets.converters.h36m_release.release_conversion import ReleaseConversion
from mmjrr.datasets.converters.h36m_release.release_files import find_source
from mmjrr.errors import DataError
from mmjrr.geometry import load_cameras, save_cameras
from mmjrr.jobs import Record

pytestmark = pytest.mark.slow

pytest.importorskip('cdflib', reason='cdflib is not installed')
TOOL = Path(__file__).resolve().parents[3] / 'tools/dataset_converters/h36m.py'


@pytest.fixture(scope='module')
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp('release'))


@pytest.fixture(scope='module')
def packed(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(release, tmp_path_factory.mktemp('packed'))


@pytest.fixture
def copy(release: Path, tmp_path: Path) -> Path:
    """A copy of the release, which a test may damage."""
    return Path(shutil.copytree(release, tmp_path / 'release'))


def conversion(root: Path, out: Path, **changes: Any) -> ReleaseConversion:
    options: dict[str, Any] = dict(subjects=SUBJECTS, workers=1)
    return ReleaseConversion(root, out, root / 'metadata.xml', **{**options, **changes})


@pytest.fixture(scope='module')
def converted(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('out')
    conversion(release, out).run()
    return out


def results_in(out: Path) -> dict[str, bytes]:
    """Return the content of all files but the converter's own records."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob('*'))
        if path.is_file() and '.h36m_release' not in path.parts and path.suffix != '.json'
    }


@pytest.mark.parametrize(('split', 'subject'), [('train', 'S1'), ('test', 'S9')])
def test_annotations_are_the_known_values(converted: Path, split: str, subject: str) -> None:
    """Take by take, in the order of metadata.xml, every fifth frame; names count from 1."""
    names, joints, pixels = [], [], []
    for (whose, take, camera), true_joints in known_joints().items():
        if whose == subject:
            stem = f'{subject}_{take.replace(" ", "_")}.{camera}'
            names += [f'{subject}/{stem}/{stem}_{frame:06d}.jpg' for frame in (1, 6, 11)]
            joints.append(true_joints[::5])
            pixels.append(project(true_joints[::5], camera))
    seen = np.concatenate(pixels)
    low, high = seen.min(1), seen.max(1)
    with np.load(converted / f'annotation_body3d/fps10/h36m_{split}.npz') as arrays:
        assert arrays['imgname'].tolist() == names
        np.testing.assert_allclose(arrays['S'][..., :3], np.concatenate(joints), atol=1e-6)
        np.testing.assert_allclose(arrays['part'][..., :2], seen, atol=1e-4)
        assert (arrays['S'][..., 3] == 1).all() and (arrays['part'][..., 2] == 1).all()
        np.testing.assert_allclose(arrays['center'], (low + high) / 2, atol=1e-4)
        np.testing.assert_allclose(arrays['scale'], 1.2 * (high - low).max(1) / 200, rtol=1e-6)


def test_images_are_the_frames_of_their_names(converted: Path) -> None:
    images = sorted((converted / 'images').rglob('*.jpg'))
    assert len(images) == 8 * 3
    for path in images:
        image = cv2.imread(str(path))
        frame, camera = int(path.stem[-6:]), path.parent.name.rsplit('.', 1)[1]
        assert image.shape == (INTRINSICS[camera][3], 1000, 3)
        assert abs(image.mean() - 20 * frame) < 4


def test_the_data_set_reads_it_and_joints_meet(converted: Path) -> None:
    dataset = H36MFitsDataset(
        data_root=str(converted), ann_file='annotation_body3d/fps10/h36m_train.npz'
    )
    assert len(dataset) == 12
    assert max(camera['max_px'] for camera in dataset.check_projection().values()) < 1e-2


def test_cameras_are_those_of_metadata(converted: Path) -> None:
    cameras = load_cameras(converted / 'annotation_body3d/cameras.pkl')
    assert len(cameras) == 22
    np.testing.assert_allclose(cameras['S9', '60457274'].position[0], [1.88, 4.9, 1.5])


def test_provenance_and_check_are_written_beside(converted: Path) -> None:
    record = json.loads((converted / 'annotation_body3d/fps10/h36m_train.json').read_text())
    assert record['frames'] == 12 and record['left_out'] == {} and record['fps'] == 10
    assert record['check']['images_looked_for'] == 12
    assert record['check']['cameras']['S1 54138969']['max_px'] < 1e-6
    assert record['check']['bones_vary_by_mm']['S1'] < 1e-6


def test_every_frame_can_be_kept(release: Path, converted: Path, tmp_path: Path) -> None:
    result = conversion(release, tmp_path, fps=50, subjects=['S9']).run()
    assert list(result) == ['test'] and result['test']['frames'] == 4 * COUNT
    fewer, all_frames = results_in(converted), results_in(tmp_path)
    shared = [name for name in fewer if name.startswith('images/S9')]
    assert len(shared) == 12 and all(all_frames[name] == fewer[name] for name in shared)


def test_archives_killed_on_the_way_give_the_same(
    packed: Path, converted: Path, tmp_path: Path
) -> None:
    """Two processes are killed by SIGKILL; two further ones finish the conversion."""
    command = [sys.executable, str(TOOL), str(packed), '--out', str(tmp_path), '--workers', '2',
               '--subjects', *SUBJECTS]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob('images/*/*/*.jpg')):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / 'annotation_body3d').exists()
    conversion(packed, tmp_path, workers=2).run()
    left = {name: data for name, data in results_in(tmp_path).items() if not name.endswith('.part')}
    assert left == results_in(converted)
    record = json.loads((tmp_path / 'annotation_body3d/fps10/h36m_train.json').read_text())
    assert len(record['archives']) == 6 and all(one['sha256'] for one in record['archives'])


def test_killed_before_and_after_each_record_a_piece_of_work_ends_the_same(
    release: Path, packed: Path, tmp_path: Path
) -> None:
    """An archive is recorded when it is begun and when it is finished, a video when finished."""

    def result_after_kills(piece: Callable[[], Any], writes: int) -> Any:
        write, kills = Record.write, 0
        for side in ('before', 'after') * (writes + 1):

            def stop(record: Record, *results: Any, side: str = side) -> None:
                if side == 'after':
                    write(record, *results)
                raise Kill

            with mock.patch.object(Record, 'write', stop):
                try:
                    result = piece()
                    break
                except Kill:
                    kills += 1
        assert kills == 2 * writes
        return result

    names = {path.name for path in (release / 'S9/Videos').iterdir()}
    archive = packed / 'Videos_S9.tgz'
    unpacked = result_after_kills(lambda: unpack(archive, tmp_path / 'a', names), writes=2)
    assert unpacked == unpack(archive, tmp_path / 'b', names) and unpacked['files'] == 4
    video = release / 'S9/Videos' / min(names)
    for folder, extract in (
        ('c', lambda piece: result_after_kills(piece, writes=1)),
        ('d', lambda piece: piece()),
    ):
        images, record = tmp_path / folder / 'take', tmp_path / folder / 'record.json'
        assert extract(lambda: videos.extract_frames(video, images, record, 3, 5)) == 3  # noqa: B023
    for one, other in (('a', 'b'), ('c', 'd')):
        assert contents(tmp_path / one) == contents(tmp_path / other)


def contents(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob('*') if path.is_file()
    }


def test_finished_files_are_not_converted_again(packed: Path, tmp_path: Path) -> None:
    conversion(packed, tmp_path, subjects=['S1']).run()
    before = results_in(tmp_path)
    with (
        mock.patch.object(archives, '_unpack', side_effect=AssertionError),
        mock.patch.object(videos, '_write_image', side_effect=AssertionError),
    ):
        conversion(packed, tmp_path, subjects=['S1']).run()
    lost = next((tmp_path / 'images').rglob('*_000006.jpg'))
    lost.unlink()  # by whom ever
    conversion(packed, tmp_path, subjects=['S1']).run()
    assert results_in(tmp_path) == before


def test_the_command_prints_the_paths_of_its_files(
    release: Path, converted: Path, tmp_path: Path
) -> None:
    def command(*arguments: str | Path) -> tuple[int, str]:
        said = io.StringIO()
        with (
            mock.patch.object(sys, 'argv', [str(TOOL), *map(str, arguments)]),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            pytest.raises(SystemExit) as exit,
        ):
            runpy.run_path(str(TOOL), run_name='__main__')
        return exit.value.code, said.getvalue()  # type: ignore[return-value]

    code, said = command(
        release, '--out', converted, '--subjects', 'S1', 'S9', '--workers', '1', '--every-image'
    )
    assert code == 0 and '12 frames are in' in said and 'S9      60457274' in said
    assert "ann_file='annotation_body3d/fps10/h36m_test.npz'" in said
    code, said = command(release, '--out', tmp_path, '--workers', '1')
    assert code == 1 and said.startswith('error: ') and 'no D2_Positions of S5' in said


# ---------------------------------------------------------------------- bad input

EATING = 'S1/{}/Eating 2.54138969'
CASES = {
    'truncated annotation': 'annotation not usable',
    'annotations of another length': 'annotation not usable',
    'meters': 'annotation not usable',
    'no annotation': 'no such file in the release',
    'no video': 'no such file in the release',
    'truncated video': 'video not usable',
    'no video at all': 'video not usable',
}


def spoil(root: Path, case: str) -> None:
    two = root / f'S1/{KINDS["D2_Positions"]}/Eating 2.54138969.cdf'
    three = root / f'S1/{KINDS["D3_Positions_mono"]}/Eating 2.54138969.cdf'
    video = root / 'S1/Videos/Eating 2.54138969.mp4'
    if case == 'truncated annotation':
        two.write_bytes(two.read_bytes()[:900])
    elif case == 'annotations of another length':
        write_cdf(three, np.ones((7, 96)))
    elif case == 'meters':
        write_cdf(three, read_pose(three, 3).reshape(COUNT, 96) / 1000)
    elif case == 'no annotation':
        three.unlink()
    elif case == 'no video':
        video.unlink()
    elif case == 'truncated video':
        video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    elif case == 'no video at all':
        video.write_text('Please sign in.')


@pytest.mark.parametrize(('case', 'reason'), CASES.items())
def test_damaged_recordings_stop_the_conversion_or_are_left_out(
    copy: Path, tmp_path: Path, case: str, reason: str
) -> None:
    spoil(copy, case)
    with pytest.raises(DataError, match=r'Eating 2\.54138969\.(cdf|mp4)'):
        conversion(copy, tmp_path / 'out', subjects=['S1']).run()
    result = conversion(copy, tmp_path / 'out', subjects=['S1'], on_error='exclude').run()['train']
    assert result['left_out'] == {reason: 1} and result['frames'] == 9
    with np.load(result['file']) as arrays:
        assert not any('Eating_2.54138969' in name for name in arrays['imgname'])


def test_a_video_shorter_than_its_annotation(copy: Path, tmp_path: Path) -> None:
    write_video(copy / 'S1/Videos/Eating 2.54138969.mp4', 8, 1002)
    with pytest.raises(DataError, match=r'Eating 2.54138969.mp4: found 8 frames, expected 11'):
        conversion(copy, tmp_path / 'out', subjects=['S1']).run()
    result = conversion(copy, tmp_path / 'out', subjects=['S1'], on_error='exclude').run()['train']
    assert result['frames'] == 11
    assert result['left_out'] == {'video shorter than its annotation': 1}
    listed = json.loads(result['file'].with_suffix('.json').read_text())['left_out']
    assert listed == {
        'video shorter than its annotation': [
            'S1/S1_Eating_2.54138969/S1_Eating_2.54138969_000011.jpg'
        ]
    }


def test_swapped_sides_are_seen_before_videos_are_touched(copy: Path, tmp_path: Path) -> None:
    path = copy / f'S1/{KINDS["D2_Positions"]}/Eating 2.54138969.cdf'
    pose = read_pose(path, 2)
    order = [0, 6, 7, 8, 4, 5, 1, 2, 3, *range(9, 32)]
    write_cdf(path, pose[:, order].reshape(COUNT, 64))
    with pytest.raises(DataError, match='the legs .* are swapped between S and part'):
        conversion(copy, tmp_path / 'out', subjects=['S1']).run()
    assert not (tmp_path / 'out').exists()
    result = conversion(copy, tmp_path / 'out', subjects=['S1'], on_error='exclude').run()['train']
    assert result['frames'] == 9
    assert result['left_out'] == {
        "the legs (as in SPIN's joint order) are swapped between S and part": 3
    }


def test_a_video_of_another_size_is_seen(copy: Path, tmp_path: Path) -> None:
    write_video(copy / 'S1/Videos/Eating 2.54138969.mp4', COUNT, 800)
    with pytest.raises(DataError, match='1000 x 800 pixels, expected 1000 x 1002 as of the camera'):
        conversion(copy, tmp_path / 'out', subjects=['S1']).run()


def test_a_video_that_the_release_lacks_is_left_out(copy: Path, tmp_path: Path) -> None:
    """The video of S11's first Directions from camera 54138969."""
    metadata = copy / 'metadata.xml'
    cells = ('Nothing', 'Directions')
    for row in ('4', '12'):
        before, after = metadata.read_text().split(f'<tr><td>{row}</td>')
        own_row, rest = after.split('</tr>', 1)
        head, _, _ = own_row.rpartition('<td>')
        own_row = f'{head}<td>{cells[1] if row == "4" else "Other"}</td>'
        metadata.write_text(f'{before}<tr><td>{row}</td>{own_row}</tr>{rest}')
    shutil.copytree(copy / 'S9', copy / 'S11')
    for path in list((copy / 'S11').rglob('*.*')):
        if path.is_file():
            new = path.name.replace('Photo 1', 'Other').replace('Eating', 'Directions')
            path.rename(path.with_name(new))
    video = copy / 'S11/Videos/Directions.54138969.mp4'
    for spoilt in ('short', 'half', 'gone'):
        if spoilt == 'short':
            write_video(video, 8, 1002)
        elif spoilt == 'half':
            video.write_bytes(video.read_bytes()[:5000])
        else:
            video.unlink()
        result = conversion(copy, tmp_path / spoilt, subjects=['S11']).run()['test']
        assert result['frames'] == 9
        assert result['left_out'] == {'the video file is missing from the release': 1}


def test_options_are_checked(tmp_path: Path) -> None:
    for changes in (dict(fps=12), dict(workers=0), dict(on_error='skip'), dict(subjects=['S2'])):
        with pytest.raises(ValueError, match=next(iter(changes))):
            conversion(tmp_path, tmp_path, **changes)


def test_files_of_another_origin_are_not_replaced(
    release: Path, converted: Path, tmp_path: Path
) -> None:
    shutil.copytree(converted / 'annotation_body3d', tmp_path / 'a/annotation_body3d')
    conversion(release, tmp_path / 'a').run()  # its own
    (tmp_path / 'a/annotation_body3d/fps10/h36m_test.json').unlink()
    with pytest.raises(DataError, match=r'h36m_test.npz: found a file of another origin'):
        conversion(release, tmp_path / 'a').run()
    cameras = load_cameras(converted / 'annotation_body3d/cameras.pkl')
    cameras['S1', '60457274'].focal_length[0, 0] += 10
    save_cameras(tmp_path / 'b/annotation_body3d/cameras.pkl', cameras)
    with pytest.raises(DataError, match=r"focal_length of camera \('S1', '60457274'\) differs"):
        conversion(release, tmp_path / 'b').run()


def test_subjects_of_an_earlier_conversion_are_not_dropped(
    release: Path, converted: Path, tmp_path: Path
) -> None:
    shutil.copytree(converted / 'annotation_body3d', tmp_path / 'annotation_body3d')
    record = tmp_path / 'annotation_body3d/fps10/h36m_test.json'
    before = json.loads(record.read_text())
    record.write_text(json.dumps({**before, 'subjects': ['S9', 'S11']}))
    for subjects in (['S9'], ['S1', 'S11']):
        with pytest.raises(DataError, match=r'found subjects S9, S11, .*--subjects S9 S11'):
            conversion(release, tmp_path, subjects=subjects).run()
    record.write_text(json.dumps(before))
    conversion(release, tmp_path, subjects=['S9']).run()


def test_names_that_lead_elsewhere_are_refused(copy: Path, tmp_path: Path) -> None:
    path = copy / 'metadata.xml'
    path.write_text(path.read_text().replace('Eating 2', '../../Eating 2'))
    with pytest.raises(DataError, match=r"take '\.\./\.\./Eating 2'"):
        conversion(copy, tmp_path / 'out').run()


def test_cdflib_is_asked_for_in_a_sentence(release: Path, tmp_path: Path) -> None:
    with (
        mock.patch.dict(sys.modules, {'cdflib': None}),
        pytest.raises(ImportError, match='pip install'),
    ):
        conversion(release, tmp_path).run()


@pytest.mark.parametrize(
    'place',
    [
        'S1/MyPoseFeatures/D2_Positions/', 'extracted/S1/Poses_D2_Positions/',
        'Poses_D2_Positions_S1.tgz', 'archives/Poses_D2_Positions_S1.tgz', 's1/D2_Positions.tgz',
        'Poses/D2_Positions/SubjectSpecific_1.tgz',
    ],
)  # fmt: skip
def test_the_release_is_found_under_other_projects_names(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    if place.endswith('/'):
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')
    assert find_source(tmp_path, 'S1', 'D2_Positions') == path


# ---------------------------------------------------------------------- archives


def archive_of(path: Path, *members: tuple[str, dict[str, Any], bytes]) -> Path:
    with tarfile.open(path, 'w:gz') as tar:
        for name, fields, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in fields.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(content))
    return path


GOOD = ('S1/Videos/a.mp4', {}, b'video')


@pytest.mark.parametrize(
    'evil',
    [
        ('../../a.mp4', {}, b'evil'),
        ('S1/../../a.mp4', {}, b'evil'),
        ('/etc/a.mp4', {}, b'evil'),
        ('..\\a.mp4', {}, b'evil'),
        ('S1/a.mp4', dict(type=tarfile.SYMTYPE, linkname='/etc/passwd'), b''),
        ('S1/a.mp4', dict(type=tarfile.LNKTYPE, linkname='../../b'), b''),
        ('S1/a.mp4', dict(type=tarfile.CHRTYPE, devmajor=1, devminor=5), b''),
        ('S1/a.mp4', dict(type=tarfile.FIFOTYPE), b''),
        ('S1/a.mp4', {}, b'again'),
    ],
)
def test_an_evil_archive_is_refused(tmp_path: Path, evil: Any) -> None:
    path = archive_of(tmp_path / 'e.tgz', GOOD, evil)
    with pytest.raises(DataError, match='e.tgz'):
        unpack(path, tmp_path / 'deep/into', {'a.mp4', 'b'})
    outside = [p for p in tmp_path.rglob('*') if p.is_file() and 'into' not in p.parts]
    assert outside == [path]
    assert not any(p.is_symlink() for p in tmp_path.rglob('*'))


def test_files_land_flat_and_others_are_left(tmp_path: Path) -> None:
    path = archive_of(tmp_path / 'a.tgz', ('S1', dict(type=tarfile.DIRTYPE), b''), GOOD,
                      ('S1/Videos/_ALL.mp4', {}, b'much'))  # fmt: skip
    record = unpack(path, tmp_path / 'into', {'a.mp4', 'missing.mp4'})
    assert record['files'] == 1 and (tmp_path / 'into/a.mp4').read_bytes() == b'video'
    assert {p.name for p in (tmp_path / 'into').glob('*.mp4')} == {'a.mp4'}


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, '_MIN_LIMIT', 1 << 20)
    path = archive_of(tmp_path / 'bomb.tgz', ('a.mp4', {}, bytes(20 << 20)))
    most = 100 * path.stat().st_size
    with pytest.raises(DataError, match=rf'bomb\.tgz: found contents .* expected at most {most} '):
        unpack(path, tmp_path / 'into', {'a.mp4'})
    assert sum(p.stat().st_size for p in (tmp_path / 'into').rglob('*')) < 1 << 20


@pytest.mark.parametrize('format', [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path, format: int) -> None:
    path = tmp_path / 'e.tgz'
    with tarfile.open(path, 'w:gz', format=format) as tar:
        tar.addfile(tarfile.TarInfo('S1/' + 'a' * (3 << 20)))
    with pytest.raises(DataError, match=r'e\.tgz: .* bytes, expected at most'):
        unpack(path, tmp_path / 'out', {'a.mp4'})


@pytest.mark.parametrize('share', [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_archive_is_an_error_and_nothing_done_is_lost(
    tmp_path: Path, share: float
) -> None:
    noise = np.random.default_rng(0).bytes(300_000)
    whole = archive_of(tmp_path / 'a.tgz', GOOD, ('b.mp4', {}, noise), ('c.mp4', {}, noise[::-1]))
    data, names = whole.read_bytes(), {'a.mp4', 'b.mp4', 'c.mp4'}
    whole.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match='a.tgz: not readable; possibly truncated'):
        unpack(whole, tmp_path / 'into', names)
    whole.write_bytes(data)
    assert unpack(whole, tmp_path / 'into', names)['files'] == 3
    assert (tmp_path / 'into/c.mp4').read_bytes() == noise[::-1]


def test_another_archive_replaces_what_the_first_left(tmp_path: Path) -> None:
    unpack(archive_of(tmp_path / 'a.tgz', GOOD), tmp_path / 'into', {'a.mp4'})
    other = archive_of(tmp_path / 'b.tgz', ('a.mp4', {}, b'VIDEO'))
    unpack(other, tmp_path / 'into', {'a.mp4'})
    assert (tmp_path / 'into/a.mp4').read_bytes() == b'VIDEO'


def test_another_archive_replaces_files_of_the_same_size_after_a_kill(tmp_path: Path) -> None:
    """The kill comes before the first file of the second archive."""
    unpack(archive_of(tmp_path / 'a.tgz', GOOD), tmp_path / 'into', {'a.mp4'})
    other = archive_of(tmp_path / 'b.tgz', ('a.mp4', {}, b'VIDEO'))
    killed = mock.patch.object(archives, '_write', side_effect=KeyboardInterrupt)
    with killed, pytest.raises(KeyboardInterrupt):
        unpack(other, tmp_path / 'into', {'a.mp4'})
    unpack(other, tmp_path / 'into', {'a.mp4'})
    assert (tmp_path / 'into/a.mp4').read_bytes() == b'VIDEO'
