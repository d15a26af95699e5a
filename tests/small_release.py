"""Writer of a tiny release of Human3.6M with known joints, unpacked and in archives."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from h36m_layouts import INTRINSICS, PLACES_OF_32, make_truth, project, write_cdf, write_video
from scipy.spatial.transform import Rotation

#: Subjects' names of takes by action and subaction; the first is that of all others once more.
TAKES = {('1', '1'): ('_ALL 1', '_ALL'), ('4', '1'): ('Eating 2', 'Eating'),
         ('12', '2'): ('TakingPhoto', 'Photo 1')}  # fmt: skip
SUBJECTS = ('S1', 'S9')
COUNT = 11
KINDS = dict(D2_Positions='MyPoseFeatures/D2_Positions', Videos='Videos',
             D3_Positions_mono='MyPoseFeatures/D3_Positions_mono')  # fmt: skip


def known_joints() -> dict[tuple[str, str, str], np.ndarray]:  # (11, 17, 3), meters
    """A person of each subject's bones who turns and walks, by subject, take and camera."""
    truth, rng = make_truth(), np.random.default_rng(4)
    joints = {}
    for column, subject in enumerate(SUBJECTS):
        person = truth.joints[np.flatnonzero(truth.subject == subject)[0]]
        person = person - person[:1]
        for key, names in TAKES.items():
            for camera in INTRINSICS:
                if key == ('1', '1'):
                    continue
                turns = Rotation.from_euler('y', np.arange(COUNT)[:, None] * rng.uniform(5, 9),
                                            degrees=True)  # fmt: skip
                place = rng.uniform([-0.5, -0.2, 4], [0.5, 0.2, 6])
                walk = np.linspace(0, 0.3, COUNT)[:, None] * [1, 0, 0]
                turned = np.stack([turn.apply(person) for turn in turns])
                joints[subject, names[column], camera] = turned + (place + walk)[:, None]
    return joints


def write_metadata(path: Path) -> Path:
    """The release's layout: takes by number for 11 subjects, and the vector w0 of the cameras."""
    subjects = [f'S{number}' for number in range(1, 12)]
    rows = [('Action', 'subaction', *subjects)]
    for key, names in TAKES.items():
        by = dict(zip(SUBJECTS, names, strict=True))
        rows.append((*key, *(by.get(subject, 'Nothing') for subject in subjects)))
    table = ''.join(f'<tr>{"".join(f"<td>{cell}</td>" for cell in row)}</tr>' for row in rows)
    numbers: list[float] = []
    for _ in INTRINSICS:
        for place in range(11):
            numbers += [0.3, -1.2, 0.1, 1800 + 10 * place, 4900, 1500]
    for focal, center, distortion, _ in INTRINSICS.values():
        numbers += [*focal, *center, *distortion]
    cameras = ''.join(f'<item>{name}</item>' for name in INTRINSICS)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<?xml version="1.0"?><doc><mapping>{table}</mapping><dbcameras><index2id>{cameras}'
        f'</index2id></dbcameras><w0>[{" ".join(map(str, numbers))}]</w0></doc>'
    )
    return path


def write_release(root: Path, subjects: Sequence[str] = SUBJECTS) -> Path:
    """Write it unpacked, with ``S1/MyPoseFeatures/D2_Positions`` and so on."""
    write_metadata(root / 'metadata.xml')
    rng = np.random.default_rng(2)
    for (subject, take, camera), joints in known_joints().items():
        if subject not in subjects:
            continue
        two = rng.uniform(0, 1000, (COUNT, 32, 2))
        three = rng.uniform(-500, 500, (COUNT, 32, 3))
        two[:, PLACES_OF_32], three[:, PLACES_OF_32] = project(joints, camera), 1000 * joints
        write_cdf(root / subject / KINDS['D2_Positions'] / f'{take}.{camera}.cdf',
                  two.reshape(COUNT, 64))  # fmt: skip
        write_cdf(root / subject / KINDS['D3_Positions_mono'] / f'{take}.{camera}.cdf',
                  three.reshape(COUNT, 96))  # fmt: skip
        write_video(
            root / subject / 'Videos' / f'{take}.{camera}.mp4', COUNT, INTRINSICS[camera][3]
        )
    return root


def pack(release: Path, root: Path, subjects: Sequence[str] = SUBJECTS) -> Path:
    """Write an unpacked release in archives, as h36m-fetch names them."""
    root.mkdir(parents=True, exist_ok=True)
    shutil.copy(release / 'metadata.xml', root)
    for subject in subjects:
        for kind, folder in KINDS.items():
            name = kind if kind == 'Videos' else f'Poses_{kind}'
            with tarfile.open(root / f'{name}_{subject}.tgz', 'w:gz') as tar:
                tar.add(release / subject / folder, arcname=f'{subject}/{folder}')
    return root
