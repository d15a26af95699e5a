"""Loaders of other layouts of Human3.6M, each with a small valid file.

The tests of malformed sources and the fuzz harness go through them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from h36m_layouts import (
    make_truth,
    write_cdf,
    write_h36m_fetch,
    write_human_data,
    write_metadata,
    write_spin,
    write_video,
)
from loaders import Case

from mmjrr.datasets.converters.conversion import Conversion
from mmjrr.datasets.converters.h36m_fetch import find_h36m_fetch, read_h36m_fetch
from mmjrr.datasets.converters.h36m_release.pose_files import read_pose
from mmjrr.datasets.converters.h36m_release.videos import extract_frames
from mmjrr.datasets.converters.human_data import read_human_data
from mmjrr.datasets.converters.metadata import read_metadata
from mmjrr.datasets.converters.pose2sim import JOINTS, read_detections, read_qualisys_calibration
from mmjrr.datasets.converters.source import Source
from mmjrr.datasets.converters.spin import read_spin
from mmjrr.errors import DataError

TRUTH = make_truth()
ANNOTATION = 'processed/S1/Eating-2/annot.h5'


def convert(source: Source, folder: Path) -> None:
    for on_error in ('raise', 'exclude'):
        try:
            Conversion(
                out=folder / 'out',
                ann_file='ann.npz',
                fits_file='fits.npz',
                without_cameras=True,
                on_error=on_error,
            ).run(source)
        except DataError:
            if on_error == 'exclude':
                raise


def convert_spin(path: Path) -> None:
    convert(read_spin(path), path.parent)


def convert_human_data(path: Path) -> None:
    convert(read_human_data(path), path.parent)


def convert_h36m_fetch(path: Path) -> None:
    root = path.parents[3]
    takes = read_metadata(root / 'metadata.xml').takes
    convert(read_h36m_fetch([path], takes, root), root)


def h36m_fetch(path: Path) -> None:
    write_h36m_fetch(path.parents[3], TRUTH.of('S1'))
    shutil.copy(find_h36m_fetch(path.parents[3], ['S1'])[0], path.with_suffix('.copy'))
    path.with_suffix('.copy').replace(path)


def write_joints(path: Path) -> None:
    write_cdf(path, np.random.default_rng(0).normal(size=(20, 96)))


def write_calibration(path: Path) -> None:
    """A camera of Qualisys."""
    names = ('r11', 'r12', 'r13', 'r21', 'r22', 'r23', 'r31', 'r32', 'r33', 'x', 'y', 'z')
    transform = dict(zip(names, (0, -1, 0, 0, 0, 1, -1, 0, 0, 1000, 2000, 3000), strict=True))
    intrinsic = dict(
        focalLengthU=64000, focalLengthV=70400, centerPointU=32000, centerPointV=25600,
        radialDistortion1=-0.1, radialDistortion2=0.2, radialDistortion3=0,
        tangentalDistortion1=0.01, tangentalDistortion2=-0.02,
    )  # fmt: skip
    parts = dict(
        fov_video=dict(left=0, top=0, right=999, bottom=799),
        transform=transform,
        intrinsic=intrinsic,
    )
    elements = ''.join(
        f'<{part} ' + ' '.join(f'{name}="{value}"' for name, value in values.items()) + '/>'
        for part, values in parts.items()
    )
    path.write_text(
        f'<calibration><cameras><camera serial="cam07">{elements}</camera></cameras></calibration>'
    )


def write_detections(path: Path) -> None:
    names = np.array(sorted({name for source in JOINTS.values() for name in source}))
    joints = np.ones((3, len(names), 3), np.float32)
    np.savez(path, joints=joints, names=names, masks=np.full((3, 4, 5), 255, np.uint8))


def read_video(path: Path) -> None:
    """Read a whole video: existing images would not be written again."""
    folder = path.parent / 'S1_Eating_2.54138969'
    shutil.rmtree(folder, ignore_errors=True)
    count = extract_frames(path, folder, path.with_suffix('.json'), 6, 5)
    assert len(list(folder.glob('*.jpg'))) == count <= 6


WRITERS: dict[str, tuple[str, Callable[[Path], Any], Callable[[Path], Any]]] = {
    'SPIN, training': ('h.npz', lambda p: write_spin(p, TRUTH), convert_spin),
    'SPIN, validation': ('h.npz', lambda p: write_spin(p, TRUTH, train=False), convert_spin),
    'HumanData': ('h.npz', lambda p: write_human_data(p, TRUTH), convert_human_data),
    'metadata': ('metadata.xml', write_metadata, read_metadata),
    'joints of the release': ('t.cdf', write_joints, lambda p: read_pose(p, 3)),
    'video of the release': ('t.mp4', lambda p: write_video(p, 26, 96), read_video),
    'calibration of Pose2Sim': ('c.qca.txt', write_calibration, read_qualisys_calibration),
    'detections of Pose2Sim': ('01.npz', write_detections, read_detections),
    'h36m-fetch': (ANNOTATION, h36m_fetch, convert_h36m_fetch),
}


def load_alone(load: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """A reader that finds the files beside the one it reads."""

    def read(path: Path) -> None:
        if path.name == 'annot.h5':
            write_metadata(path.parents[3] / 'metadata.xml')
        load(path)

    return read


@lru_cache
def content_of(source: str) -> bytes:
    """Return the content of a valid file."""
    name, write, _ = WRITERS[source]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        return path.read_bytes()


#: As :data:`loaders.CASES`.
SOURCES: dict[str, Case] = {
    source: (name, lambda: None, lambda _, source=source: content_of(source), load_alone(load))
    for source, (name, _, load) in WRITERS.items()
}
