"""Conversion of Human3.6M's release into MMPose's layout."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.annotations import Annotations, boxes_of_joints
from mmjrr.datasets.converters import CAMERA_FILE
from mmjrr.datasets.converters.annotation_checks import (
    AnnotationCheck,
    check_annotations,
    exclude_bad,
)
from mmjrr.datasets.converters.h36m_release.archives import unpack
from mmjrr.datasets.converters.h36m_release.pose_files import joints_or_error
from mmjrr.datasets.converters.h36m_release.release_files import SUFFIXES, find_source
from mmjrr.datasets.converters.h36m_release.takes import Take, takes_of
from mmjrr.datasets.converters.h36m_release.videos import (
    EXCLUDE_HINT,
    VIDEO_FPS,
    check_video,
    frames_or_error,
)
from mmjrr.datasets.converters.metadata import Metadata, read_metadata
from mmjrr.datasets.image_names import KNOWN_BAD_SEQUENCES, SPLITS
from mmjrr.errors import DataError
from mmjrr.geometry import first_camera_difference, load_cameras, save_cameras
from mmjrr.io import read_note, remove_temporary_files, sha256, versions
from mmjrr.io.cdf import import_cdflib
from mmjrr.jobs import TaskPool, lock_work_dir

#: Number of frames in published files by split and frames per second: ('train', 10) in MMPose's and
#: SPIN's h36m_train.npz, ('train', 50) in MotionBERT's. Counts of the test subjects differ between
#: projects.
PUBLISHED = {('train', 10): 312188, ('train', 50): 1559752}

#: Folder of unpacked archives and of records of finished videos.
_STATE = '.h36m_release'
_SOURCE = 'Human3.6M release'


@dataclass
class ReleaseConversion:
    """Conversion of Human3.6M's release into MMPose's layout.

    An interrupted conversion resumes with the missing archives, videos and frames, and gives the
    same bytes.

    Args:
        root: Folder of the release; :func:`find_source` lists the names of its files.
        out: Folder of the dataset.
        metadata: ``metadata.xml``.
        subjects: Subjects to convert.
        fps: Frames per second to keep, a divisor of 50. Default: 10.
        workers: Number of processes. Default: 2.
        unpacked: Folder of unpacked archives. Default: None, ``.h36m_release`` under ``out``.
        on_error: 'raise', or 'exclude', which drops, counts and lists takes and frames with
            problems. Known gaps of the release never raise. Default: 'raise'.
        every_image: Whether to check the size of every image instead of one for each video.
            Default: False.
        tolerance_px: Largest mean distance in pixels of a frame's projected 3D joints from its 2D
            joints. Default: 2.

    Raises:
        ValueError: An argument is out of range.
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
        """Convert the release and write the files.

        Returns:
            ``frames``, ``left_out`` (counts by reason), ``check`` and ``file`` by split.

        Raises:
            ImportError: cdflib is not installed.
            LockedError: Another conversion writes to ``out``.
            FileNotFoundError: An archive or a subject's folder is missing.
            DataError: A file is damaged, or files do not match, and ``on_error`` is 'raise'.
        """
        import_cdflib()
        metadata = read_metadata(self.metadata)
        with lock_work_dir(self.out):
            return self._run(metadata)

    def _run(self, metadata: Metadata) -> dict[str, dict[str, Any]]:
        self._check_out(metadata)
        self._remove_leftovers()
        takes = takes_of(metadata, self.subjects)
        sources = {
            (subject, kind): find_source(self.root, subject, kind)
            for subject in self.subjects
            for kind in SUFFIXES
        }
        with TaskPool(self.workers) as pool:
            folders, archives = self._unpack(pool, sources, takes)
            takes = self._with_files(takes, folders)
            joints = self._joints(pool, takes, folders)
            if self.on_error == 'raise':  # refuse bad joints before hours of work on videos
                self._check_joints(joints, metadata)
            rows = self._frames(pool, joints, folders)
        del joints
        if not (self.out / CAMERA_FILE).exists():
            save_cameras(self.out / CAMERA_FILE, dict(sorted(metadata.cameras.items())))
        result = {}
        for split, members in SPLITS.items():
            parts = [part for take, part in rows.items() if take.subject in members]
            if parts:
                result[split] = self._write(split, Annotations.concatenate(parts), metadata,
                                            archives)  # fmt: skip
        return result

    def _remove_leftovers(self) -> None:
        """Remove temporary files of killed conversions, except those of images.

        An image's temporary file has a fixed name, which the next conversion overwrites.
        """
        state = self.out / _STATE
        annotations = [self._file(split).parent for split in SPLITS]
        unpacked = [folder for folder in state.glob('*/*') if folder.is_dir()]
        records = [state, state / 'videos']
        for folder in {*annotations, (self.out / CAMERA_FILE).parent, *records, *unpacked}:
            remove_temporary_files(folder)

    @property
    def _step(self) -> int:
        return VIDEO_FPS // self.fps

    def _drop(self, reason: str, items: Sequence[str]) -> None:
        """Record excluded items, or raise if ``on_error`` is 'raise'."""
        if not items:
            return
        if self.on_error == 'raise':
            raise DataError(
                f'{reason}: {items[0]}'
                + (f' and {len(items) - 1} more' if len(items) > 1 else '')
                + EXCLUDE_HINT
            )
        self.left_out.setdefault(reason, []).extend(items)

    def _drop_known(self, take: Take) -> None:
        """Record a take that is missing from the official release."""
        self.left_out.setdefault(KNOWN_BAD_SEQUENCES[take.stem], []).append(take.stem)

    def _file(self, split: str) -> Path:
        return self.out / f'annotation_body3d/fps{self.fps}/h36m_{split}.npz'

    def _check_out(self, metadata: Metadata) -> None:
        """Refuse to overwrite files of another origin, lose subjects, or mix cameras."""
        for split, members in SPLITS.items():
            file = self._file(split)
            if not file.exists():
                continue
            note = read_note(file.with_suffix('.json'))
            if note.get('source') != _SOURCE:
                raise DataError(f'{file}: found a file of another origin; choose another folder')
            there, given = note.get('subjects') or [], set(members) & set(self.subjects)
            if given and not given.issuperset(there):
                wanted = [name for name in members if name in {*there, *given}]
                raise DataError(
                    f'{file}: found subjects {", ".join(there)}, of which a conversion of '
                    f'{", ".join(sorted(given))} would drop some; convert all at once '
                    f'(--subjects {" ".join(wanted)}), or choose another folder'
                )
        file = self.out / CAMERA_FILE
        existing = load_cameras(file) if file.exists() else metadata.cameras
        for key in metadata.cameras:
            if key not in existing:
                raise DataError(f'{file}: found no camera {key}; choose another folder')
        difference = first_camera_difference(existing, metadata.cameras)
        if difference is not None:
            key, name = difference
            raise DataError(
                f'{file}: {name} of camera {key} differs from {self.metadata}; choose another '
                'folder'
            )

    def _check_joints(self, joints: Mapping[Take, tuple[Array, Array]], metadata: Metadata) -> None:
        for subject in self.subjects:
            parts = [
                annotations_of(take, *take_joints, self._step)
                for take, take_joints in joints.items()
                if take.subject == subject
            ]
            if parts:
                check_annotations(
                    Annotations.concatenate(parts),
                    metadata.cameras,
                    tolerance_px=self.tolerance_px,
                )

    def _unpack(
        self,
        pool: TaskPool,
        sources: Mapping[tuple[str, str], Path],
        takes: Sequence[Take],
    ) -> tuple[dict[tuple[str, str], Path], list[dict[str, Any]]]:
        """Unpack archives; return folders by subject and kind, and records of the archives."""
        into = self.out / _STATE if self.unpacked is None else Path(self.unpacked)
        folders, tasks = dict(sources), []
        for (subject, kind), source in sources.items():
            if source.is_file():
                folders[subject, kind] = into / subject / kind
                file_names = [
                    take.file + SUFFIXES[kind] for take in takes if take.subject == subject
                ]
                tasks.append((source, folders[subject, kind], file_names))
        return folders, pool.run(unpack, tasks, 'archives')

    def _with_files(
        self, takes: Sequence[Take], folders: Mapping[tuple[str, str], Path]
    ) -> list[Take]:
        """Return the takes that have all their files."""
        absent: list[str] = []
        complete = []
        for take in takes:
            missing = [
                str(path)
                for kind, suffix in SUFFIXES.items()
                if not (path := folders[take.subject, kind] / (take.file + suffix)).is_file()
            ]
            if not missing:
                complete.append(take)
            elif take.stem in KNOWN_BAD_SEQUENCES:
                self._drop_known(take)
            else:
                absent += missing
        self._drop('no such file in the release', absent)
        if not complete:
            raise DataError(
                f'{self.root}: found no take of {list(self.subjects)} with all its files'
            )
        return complete

    def _joints(
        self,
        pool: TaskPool,
        takes: Sequence[Take],
        folders: Mapping[tuple[str, str], Path],
    ) -> dict[Take, tuple[Array, Array]]:
        """Read (N, 17, 2) pixels and (N, 17, 3) meters of the frames to keep."""
        tasks = [
            (
                folders[take.subject, 'D2_Positions'] / f'{take.file}.cdf',
                folders[take.subject, 'D3_Positions_mono'] / f'{take.file}.cdf',
                self._step,
            )
            for take in takes
        ]
        joints = {}
        for take, result in zip(takes, pool.run(joints_or_error, tasks, 'takes'), strict=True):
            if isinstance(result, DataError):
                self._drop('annotation not usable', [str(result)])
            else:
                joints[take] = result
        if not joints:
            raise DataError(f'{self.root}: no annotation can be used: {self.left_out}')
        return joints

    def _frames(
        self,
        pool: TaskPool,
        joints: Mapping[Take, tuple[Array, Array]],
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
        counts = pool.run(frames_or_error, tasks, 'videos')
        for (take, take_joints), count in zip(joints.items(), counts, strict=True):
            part = annotations_of(take, *take_joints, self._step)
            complete = not isinstance(count, DataError) and count == len(part)
            if not complete and take.stem in KNOWN_BAD_SEQUENCES:
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
            reason: names_of_split
            for reason, names in self.left_out.items()
            if (
                names_of_split := [
                    name for name in names if _subject(name) in (*SPLITS[split], None)
                ]
            )
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
        """Return the rows without problems, and their check."""
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


def annotations_of(
    take: Take,
    pixels: Array,  # (N, 17, 2)
    joints: Array,  # (N, 17, 3), meters
    step: int,
) -> Annotations:
    """Build the annotations of one take; frames are ``step`` video frames apart."""
    ones = np.ones((*pixels.shape[:2], 1))
    part = np.concatenate([pixels, ones], -1)
    center, scale = boxes_of_joints(part)
    names = [take.imgname(step * row) for row in range(len(part))]
    return Annotations(np.array(names), center, scale, part, np.concatenate([joints, ones], -1))


def _subject(name: str) -> str | None:
    """Find the subject in the name of an image or a take, or in a sentence with a path."""
    subjects = re.findall(r'\b(S\d+)(?=[/_])', name)
    return subjects[-1] if subjects else None
