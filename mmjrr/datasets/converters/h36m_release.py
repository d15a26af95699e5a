"""Human3.6M as it is released: archives of videos and of joints, and ``metadata.xml``.

For each subject it has three archives, ``D2_Positions`` and ``D3_Positions_mono`` (CDF files of
32 joints a frame, in pixels and in millimetres before the camera) and ``Videos`` (50 frames a
second). Their files have the take's and the camera's name: ``Directions 1.54138969.cdf``.
"""

from __future__ import annotations

import io
import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.datasets.converters.annotations import (
    AnnotationCheck,
    Annotations,
    boxes_of_joints,
    check_annotations,
    exclude_bad,
    metres,
)
from mmjrr.datasets.converters.archives import unpack
from mmjrr.datasets.converters.metadata import Metadata, read_metadata
from mmjrr.datasets.converters.source import CAMERAS
from mmjrr.datasets.image_names import KNOWN_BAD_SEQUENCES, SPLITS
from mmjrr.engine.progress import Progress
from mmjrr.errors import DataError
from mmjrr.geometry import CameraParameters, first_difference, load_cameras, save_cameras
from mmjrr.io import MOST_EXPANSION, atomic_write, read_note, sha256, versions
from mmjrr.joints import H36M_JOINTS_RELEASE, reorder_index

#: Frames a second of the videos.
VIDEO_FPS = 50
#: Frames in others' files. ('train', 10): MMPose's and SPIN's h36m_train.npz. ('train', 50): what
#: those hold who keep every frame (MotionBERT names it in its code). Counts of the test subjects
#: differ between projects.
PUBLISHED = {('train', 10): 312188, ('train', 50): 1559752}

#: The archives, and what each has of every take.
_KINDS = dict(D2_Positions='.cdf', D3_Positions_mono='.cdf', Videos='.mp4')
#: The numbers by which the site's own file names know the subjects.
_SITE_NUMBERS = dict(S1=1, S7=2, S8=3, S9=4, S11=5, S5=6, S6=7)
#: The action in which all others are once more.
_ALL = '1'
#: The longest take has some 6,000 frames.
_MOST_FRAMES = 100_000
#: Bytes; 6,000 frames of doubles are 5 million.
_LARGEST = 100_000_000
#: Of one CDF file; the tests' take fewer than a hundred.
_MOST_READS = 20_000
_STATE = '.h36m_release'
_SOURCE = 'Human3.6M release'
_HINT = '\n--on-error exclude leaves out what is missing'


@dataclass(frozen=True)
class Take:
    """What one camera saw of one take."""

    subject: str  # 'S1'
    name: str  # 'Directions 1'
    camera: str  # '54138969'

    @property
    def file(self) -> str:
        """Name of its files in the release, without suffix."""
        return f'{self.name}.{self.camera}'

    @property
    def stem(self) -> str:
        """``S1_Directions_1.54138969``, as images are named."""
        return f'{self.subject}_{self.name.replace(" ", "_")}.{self.camera}'

    def imgname(self, index: int) -> str:
        """MMPose's name of a frame; files count from 1."""
        return f'{self.subject}/{self.stem}/{self.stem}_{index + 1:06d}.jpg'


@dataclass
class ReleaseConversion:
    """Human3.6M's release into MMPose's layout.

    It may be killed at any time and run again: archives, videos and frames that are done are not
    done again, and the result has the same bytes.

    Attributes:
        root: folder of the release; :func:`find_source` says what may be in it.
        out: folder of the data set.
        metadata: ``metadata.xml``.
        subjects: who is converted.
        fps: frames a second that are kept; a divisor of 50.
        workers: processes.
        unpacked: where archives are unpacked to. Default None: ``.h36m_release`` under ``out``.
        on_error: ``'raise'``, or ``'exclude'``: what is wrong is left out, counted and listed.
            What the release is known to lack is left out either way.
        every_image: look at every image's size, rather than at one of each video.
        tolerance_px: mean distance of a frame's projected 3D joints from its 2D joints.
    """

    root: Path
    out: Path
    metadata: Path
    subjects: Sequence[str]
    fps: int = 10
    workers: int = 2
    unpacked: Path | None = None
    on_error: str = 'raise'
    every_image: bool = False
    tolerance_px: float = 2.0

    def __post_init__(self) -> None:
        self.root, self.out = Path(self.root), Path(self.out)
        if self.fps < 1 or VIDEO_FPS % self.fps:
            raise ValueError(f'fps: found {self.fps}, expected a divisor of {VIDEO_FPS}')
        if self.workers < 1:
            raise ValueError(f'workers: found {self.workers}, expected 1 or more')
        if self.on_error not in ('raise', 'exclude'):
            raise ValueError(f"on_error: found {self.on_error!r}, expected 'raise' or 'exclude'")
        unknown = set(self.subjects) - {name for names in SPLITS.values() for name in names}
        if unknown or not self.subjects:
            raise ValueError(f'subjects: found {list(self.subjects)}, expected some of {SPLITS}')
        self.left_out: dict[str, list[str]] = {}

    def run(self) -> dict[str, dict[str, Any]]:
        """Convert; by split ``frames``, ``left_out`` (counts), ``check`` and ``file``.

        Raises:
            ImportError: there is no cdflib.
            FileNotFoundError: an archive or a subject's folder is missing.
            DataError: a file is damaged, or things do not fit together, and ``on_error`` is
                'raise'.
        """
        import_cdflib()
        metadata = read_metadata(self.metadata)
        self._check_out(metadata)
        takes = takes_of(metadata, self.subjects)
        sources = {
            (subject, kind): find_source(self.root, subject, kind)
            for subject in self.subjects
            for kind in _KINDS
        }
        with _Workers(self.workers) as workers:
            folders, archives = self._unpack(workers, sources, takes)
            takes = self._with_files(takes, folders)
            joints = self._joints(workers, takes, folders)
            if self.on_error == 'raise':  # before hours of work on videos
                self._check_joints(joints, metadata)
            rows = self._frames(workers, joints, folders)
        del joints
        if not (self.out / CAMERAS).exists():
            save_cameras(self.out / CAMERAS, metadata.cameras)
        result = {}
        for split, members in SPLITS.items():
            parts = [part for take, part in rows.items() if take.subject in members]
            if parts:
                result[split] = self._write(split, Annotations.concatenate(parts), metadata,
                                            archives)  # fmt: skip
        return result

    @property
    def _step(self) -> int:
        return VIDEO_FPS // self.fps

    def _drop(self, reason: str, what: Sequence[str]) -> None:
        if not what:
            return
        if self.on_error == 'raise':
            raise DataError(
                f'{reason}: {what[0]}'
                + (f' and {len(what) - 1} more' if len(what) > 1 else '')
                + _HINT
            )
        self.left_out.setdefault(reason, []).extend(what)

    def _drop_known(self, take: Take) -> None:
        """Nobody has it, so that it stops no one."""
        self.left_out.setdefault(KNOWN_BAD_SEQUENCES[take.stem], []).append(take.stem)

    def _file(self, split: str) -> Path:
        return self.out / f'annotation_body3d/fps{self.fps}/h36m_{split}.npz'

    # ------------------------------------------------------------------ the steps

    def _check_out(self, metadata: Metadata) -> None:
        """What others made stays."""
        for split in SPLITS:
            file = self._file(split)
            if file.exists() and read_note(file.with_suffix('.json')).get('source') != _SOURCE:
                raise DataError(f'{file}: is not of this converter; choose another folder')
        file = self.out / CAMERAS
        there = load_cameras(file) if file.exists() else metadata.cameras
        for key in metadata.cameras:
            if key not in there:
                raise DataError(f'{file}: lacks camera {key}; choose another folder')
        differs = first_difference(there, metadata.cameras, list(CameraParameters.__annotations__))
        if differs is not None:
            key, name = differs
            raise DataError(
                f'{file}: {name} of camera {key} differs from {self.metadata}; choose another '
                'folder'
            )

    def _check_joints(
        self, joints: Mapping[Take, tuple[np.ndarray, np.ndarray]], metadata: Metadata
    ) -> None:
        for subject in self.subjects:
            every = [
                annotations_of(take, *found, self._step)
                for take, found in joints.items()
                if take.subject == subject
            ]
            if every:
                check_annotations(
                    Annotations.concatenate(every),
                    metadata.cameras,
                    tolerance_px=self.tolerance_px,
                )

    def _unpack(
        self,
        workers: _Workers,
        sources: Mapping[tuple[str, str], Path],
        takes: Sequence[Take],
    ) -> tuple[dict[tuple[str, str], Path], list[dict[str, Any]]]:
        """Folders by subject and kind, and what the archives were."""
        into = self.out / _STATE if self.unpacked is None else Path(self.unpacked)
        folders, tasks = dict(sources), []
        for (subject, kind), source in sources.items():
            if source.is_file():
                folders[subject, kind] = into / subject / kind
                wanted = [take.file + _KINDS[kind] for take in takes if take.subject == subject]
                tasks.append((source, folders[subject, kind], wanted))
        return folders, workers.all(unpack, tasks, 'archives')

    def _with_files(
        self, takes: Sequence[Take], folders: Mapping[tuple[str, str], Path]
    ) -> list[Take]:
        """The takes whose files are all there."""
        lacking: dict[str, list[str]] = {}
        whole = []
        for take in takes:
            missing = [
                str(path)
                for kind, suffix in _KINDS.items()
                if not (path := folders[take.subject, kind] / (take.file + suffix)).is_file()
            ]
            if not missing:
                whole.append(take)
            elif take.stem in KNOWN_BAD_SEQUENCES:
                self._drop_known(take)
            else:
                lacking.setdefault('no such file in the release', []).extend(missing)
        for reason, paths in lacking.items():
            self._drop(reason, paths)
        if not whole:
            raise DataError(f'{self.root}: no take of {list(self.subjects)} has all its files')
        return whole

    def _joints(
        self,
        workers: _Workers,
        takes: Sequence[Take],
        folders: Mapping[tuple[str, str], Path],
    ) -> dict[Take, tuple[np.ndarray, np.ndarray]]:
        """(N, 17, 2) pixels and (N, 17, 3) metres of all frames that are kept."""
        tasks = [
            (
                folders[take.subject, 'D2_Positions'] / f'{take.file}.cdf',
                folders[take.subject, 'D3_Positions_mono'] / f'{take.file}.cdf',
                self._step,
            )
            for take in takes
        ]
        found = {}
        for take, result in zip(takes, workers.all(_joints_or_error, tasks, 'takes'), strict=True):
            if isinstance(result, DataError):
                self._drop('annotation not usable', [str(result)])
            else:
                found[take] = result
        if not found:
            raise DataError(f'{self.root}: no annotation can be used: {self.left_out}')
        return found

    def _frames(
        self,
        workers: _Workers,
        joints: Mapping[Take, tuple[np.ndarray, np.ndarray]],
        folders: Mapping[tuple[str, str], Path],
    ) -> dict[Take, Annotations]:
        tasks = [
            (
                folders[take.subject, 'Videos'] / f'{take.file}.mp4',
                self.out / 'images' / take.subject / take.stem,
                self.out / _STATE / 'videos' / f'{take.stem}.{self._step}.json',
                len(pixels),
                self._step,
            )
            for take, (pixels, _) in joints.items()
        ]
        if self.on_error == 'raise':
            for take, (video, _, _, count, step) in zip(joints, tasks, strict=True):
                if take.stem not in KNOWN_BAD_SEQUENCES:
                    check_video(video, step * (count - 1) + 1)
        rows = {}
        counts = workers.all(_frames_or_error, tasks, 'videos')
        for (take, found), count in zip(joints.items(), counts, strict=True):
            part = annotations_of(take, *found, self._step)
            whole = not isinstance(count, DataError) and count == len(part)
            if not whole and take.stem in KNOWN_BAD_SEQUENCES:
                self._drop_known(take)
                continue
            if isinstance(count, DataError):
                self._drop('video not usable', [str(count)])
                continue
            self._drop('video shorter than its annotation', part.imgname[count:].tolist())
            if count:
                rows[take] = part.keep(np.arange(count))
        if not rows:
            raise DataError(f'{self.root}: no video can be used: {self.left_out}')
        return rows

    def _write(
        self,
        split: str,
        annotations: Annotations,
        metadata: Metadata,
        archives: Sequence[dict[str, Any]],
    ) -> dict[str, Any]:
        file = self._file(split)
        left_out = {
            reason: mine
            for reason, names in self.left_out.items()
            if (mine := [name for name in names if _subject(name) in (*SPLITS[split], None)])
        }
        annotations, check = self._check(split, annotations, metadata, left_out)
        provenance = dict(
            source=_SOURCE,
            archives=list(archives),
            metadata_sha256=sha256(self.metadata),
            fps=self.fps,
            subjects=[name for name in SPLITS[split] if name in self.subjects],
            frames=len(annotations),
            left_out=left_out,
            check=check.as_dict(),
            on_error=self.on_error,
            versions=versions(),
        )
        annotations.save(file, provenance)
        counts = {reason: len(names) for reason, names in left_out.items()}
        return dict(frames=len(annotations), left_out=counts, check=check, file=file)

    def _check(
        self,
        split: str,
        annotations: Annotations,
        metadata: Metadata,
        left_out: dict[str, list[str]],
    ) -> tuple[Annotations, AnnotationCheck]:
        """The rows with which nothing is wrong."""
        complete = set(SPLITS[split]) <= set(self.subjects)
        kept, check = exclude_bad(
            annotations,
            left_out,
            metadata.cameras,
            self.out / 'images',
            every_image=self.every_image,
            tolerance_px=self.tolerance_px,
            published=PUBLISHED.get((split, self.fps)) if complete else None,
            on_error=self.on_error,
        )
        return annotations.keep(kept), check


def takes_of(metadata: Metadata, subjects: Iterable[str]) -> list[Take]:
    """All takes but ``_ALL``, in MMPose's order: by subject, action, subaction and camera.

    Raises:
        DataError: a name cannot be part of a file name.
    """
    cameras = list(dict.fromkeys(camera for _, camera in metadata.cameras))
    takes = []
    for subject in subjects:
        for (whose, action, _), name in metadata.takes.items():
            if whose != subject or action == _ALL:
                continue
            for camera in cameras:
                if not re.fullmatch(r'[A-Za-z][A-Za-z0-9 _]*', name) or not camera.isalnum():
                    raise DataError(f'metadata: take {name!r}, camera {camera!r}: not names')
                takes.append(Take(subject, name, camera))
    return takes


def find_source(root: str | Path, subject: str, kind: str) -> Path:
    """The folder of a subject's unpacked files, or else the archive.

    Folders and archives are looked for by the names that they have when unpacked as they are, in
    MMPose's script, in h36m-fetch, and on the site.

    Args:
        root: the release.
        subject: such as ``'S1'``.
        kind: ``'D2_Positions'``, ``'D3_Positions_mono'`` or ``'Videos'``.

    Raises:
        FileNotFoundError: there is none.
    """
    root, number = Path(root), _SITE_NUMBERS[subject]
    poses = kind != 'Videos'
    long = f'Poses_{kind}' if poses else kind
    folders = [f'{subject}/MyPoseFeatures/{kind}', f'{subject}/{long}', f'{subject}/{kind}']
    archives = [
        f'{long}_{subject}.tgz',
        f'{subject.lower()}/{kind}.tgz',
        f'{subject}/{kind}.tgz',
        f'{"Poses/" if poses else ""}{kind}/SubjectSpecific_{number}.tgz',
    ]
    for above in ('', 'extracted'):
        for folder in folders:
            if (root / above / folder).is_dir():
                return root / above / folder
    for above in ('', 'archives', 'original'):
        for archive in archives:
            if (root / above / archive).is_file():
                return root / above / archive
    raise FileNotFoundError(
        f'{root}: no {kind} of {subject}; expected a folder {folders[0]} or {folders[1]}, or an '
        f'archive {", ".join(archives)}'
    )


# ---------------------------------------------------------------------- one take


def _joints_or_error(*task: Any) -> tuple[np.ndarray, np.ndarray] | DataError:
    try:
        return read_joints(*task)
    except DataError as error:
        return error


def read_joints(
    pixels: Path, metric: Path, step: int
) -> tuple[np.ndarray, np.ndarray]:  # (N, 17, 2) pixels, (N, 17, 3) metres
    """Joints of every ``step``-th frame, in MMPose's order, of two CDF files.

    Raises:
        DataError: a file is damaged, or they do not fit together.
    """
    seen, placed = read_pose(pixels, 2), read_pose(metric, 3)
    if len(seen) != len(placed):
        raise DataError(
            f'{metric}: Pose: found {len(placed)} frames, expected {len(seen)}, as in {pixels}'
        )
    index = reorder_index(H36M_JOINTS_RELEASE, 'mmpose')
    return seen[::step, index], metres(f'{metric}: Pose', placed)[::step, index]


def read_pose(path: Path, axes: int) -> np.ndarray:  # (N, 32, axes)
    """``Pose`` of a CDF file.

    Raises:
        ImportError: there is no cdflib.
        FileNotFoundError: there is no such file.
        DataError: the file is damaged or holds something else.
    """
    cdflib = import_cdflib()
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    joints = len(H36M_JOINTS_RELEASE)
    if path.stat().st_size > _LARGEST:
        raise DataError(
            f'{path}: found {path.stat().st_size} bytes, expected at most {_LARGEST} of a CDF file '
            'of joints'
        )
    try:
        file = _from_memory(cdflib)(path)
        about = file.varinq('Pose')
        shape = (about.Last_Rec + 1, *about.Dim_Sizes)
        expected = f'(1, N, {joints * axes}) with N at most {_MOST_FRAMES}'
        most = min(_MOST_FRAMES, path.stat().st_size * MOST_EXPANSION // (joints * axes))
        if len(shape) != 3 or shape[0] != 1 or shape[2] != joints * axes or shape[1] > most:
            raise DataError(f'{path}: Pose: found shape {shape}, expected {expected}')
        pose = np.asarray(file.varget('Pose'), dtype=np.float64).reshape(-1, joints, axes)
    except DataError:
        raise
    except Exception as error:  # of a damaged file cdflib raises nearly anything
        raise DataError(
            f'{path}: Pose: not readable; truncated, or no CDF file '
            f'({type(error).__name__}: {error})'
        ) from error
    if not len(pose) or not np.isfinite(pose).all():
        raise DataError(f'{path}: Pose: found {len(pose)} frames, not all of them numbers')
    return pose


def _from_memory(cdflib: Any) -> Any:
    """A reader of the whole file: of a real file cdflib makes room for all that it claims."""

    class FromMemory(cdflib.CDF):  # type: ignore[misc]
        def _file_or_url_or_s3_handler(self, filename: str, *_: Any) -> io.BytesIO:
            return _FewReads(Path(filename).read_bytes())

    return FromMemory


class _FewReads(io.BytesIO):
    """A file that is not read forever: damaged CDF files have lists that lead into themselves."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._left = _MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f'more than {_MOST_READS} reads; its lists lead into themselves')
        return super().read(size)


def annotations_of(
    take: Take,
    pixels: np.ndarray,  # (N, 17, 2)
    joints: np.ndarray,  # (N, 17, 3), metres
    step: int,
) -> Annotations:
    """Rows of one take."""
    ones = np.ones((*pixels.shape[:2], 1))
    part = np.concatenate([pixels, ones], -1)
    center, scale = boxes_of_joints(part)
    names = [take.imgname(step * row) for row in range(len(part))]
    return Annotations(np.array(names), center, scale, part, np.concatenate([joints, ones], -1))


def _frames_or_error(*task: Any) -> int | DataError:
    try:
        return extract_frames(*task)
    except DataError as error:
        return error


def check_video(video: Path, frames: int) -> None:
    """See by its header alone whether a video has so many frames.

    Raises:
        DataError: it cannot be opened, or says that it has fewer.
    """
    import cv2

    capture = cv2.VideoCapture(str(video))
    try:
        if not capture.isOpened():
            raise DataError(f'{video}: not a readable video, truncated perhaps{_HINT}')
        found = round(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()
    if 0 < found < frames:
        raise DataError(f'{video}: found {found} frames, expected {frames}, as annotated{_HINT}')


def extract_frames(video: Path, folder: Path, record: Path, count: int, step: int) -> int:
    """Write every ``step``-th frame of a video as ``<folder's name>_<number from 1>.jpg``.

    Images that are there are left as they are: each is written whole or not at all.

    Args:
        video: the file.
        folder: where images go.
        record: file in which it is noted that, and how, this was done.
        count: how many to write.
        step: 1 for every frame.

    Returns:
        How many are there; fewer than ``count`` where the video is shorter.

    Raises:
        DataError: the video cannot be opened.
    """
    import cv2

    images = [folder / f'{folder.name}_{step * index + 1:06d}.jpg' for index in range(count)]
    there = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
    known = _known_length(record, video, count)
    expected = images if known is None else images[:known]
    if known is not None and all(image.name in there for image in expected):
        return len(expected)
    capture = cv2.VideoCapture(str(video))
    try:
        if not capture.isOpened():
            raise DataError(f'{video}: not a readable video, truncated perhaps')
        folder.mkdir(parents=True, exist_ok=True)
        written = 0
        for index in range(step * (count - 1) + 1 if count else 0):
            if not capture.grab():
                break
            if index % step:
                continue
            image = images[written]
            if image.name not in there:
                decoded, frame = capture.retrieve()
                if not decoded:
                    break
                _write_image(cv2, image, frame)
            written += 1
    finally:
        capture.release()
    with atomic_write(record) as temporary:
        temporary.write_text(json.dumps(dict(_identity(video, count), frames=written)))
    return written


def _identity(video: Path, count: int) -> dict[str, int]:
    return dict(bytes=video.stat().st_size, asked=count)


def _known_length(record: Path, video: Path, count: int) -> int | None:
    """How many frames were found before, when as many were asked of the same video."""
    noted = read_note(record)
    frames = noted.get('frames')
    known = isinstance(frames, int) and _identity(video, count).items() <= noted.items()
    return frames if known else None


def _write_image(cv2: Any, path: Path, frame: np.ndarray) -> None:
    done, data = cv2.imencode('.jpg', frame)
    if not done:
        raise DataError(f'{path}: a frame of shape {frame.shape} cannot be written')
    # Not atomic_write: waiting for the disk with each of 300,000 images takes longer than they do.
    part = path.with_name(f'.{path.name}.part')
    part.write_bytes(data.tobytes())
    os.replace(part, path)


def import_cdflib() -> Any:
    """The module, or a sentence that says what to install.

    Raises:
        ImportError: there is none.
    """
    try:
        import cdflib
    except ImportError as error:
        raise ImportError(
            "the release's CDF files are read with cdflib, which is not installed: "
            "pip install 'cdflib>=1.3'"
        ) from error
    return cdflib


def _subject(name: str) -> str | None:
    """Whose it is: of an image's name, a take's, or a path in a sentence."""
    found = re.findall(r'\b(S\d+)(?=[/_])', name)
    return found[-1] if found else None


class _Workers:
    """Processes, or none: one worker does all here."""

    def __init__(self, count: int) -> None:
        self._pool: ProcessPoolExecutor | None = None
        if count > 1:
            spawn = get_context('spawn')
            self._pool = ProcessPoolExecutor(count, spawn, initializer=_end_with_parent)

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def all(
        self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], what: str
    ) -> list[Any]:
        """``function(*task)`` of all, in their order; the first that fails ends it."""
        progress = Progress(len(tasks), what)
        if self._pool is None:
            results = []
            for done, task in enumerate(tasks, start=1):
                results.append(function(*task))
                progress(done)
            return results
        futures = [self._pool.submit(function, *task) for task in tasks]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            progress(done)
        return [future.result() for future in futures]


def _end_with_parent() -> None:
    """Let this process not outlive a killed parent, from which no more work comes."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
