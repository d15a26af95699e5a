"""SPIN's npz files of Human3.6M (Kolotouros et al., ICCV 2019), and files in their layout.

``h36m_valid_protocol1.npz``, ``h36m_valid_protocol2.npz``: ``imgname``, ``center``, ``scale`` and
``S`` (N, 24, 4), meters relative to the pelvis. ``h36m_train.npz`` also has ``part`` (N, 24, 3),
and, if made with MoSh's parameters, ``pose`` (N, 72), ``shape`` (N, 10) and possibly ``has_smpl``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmjrr.datasets.converters.source import Source, mmpose_image_names, numbers
from mmjrr.datasets.fits import image_names
from mmjrr.errors import DataError
from mmjrr.io import read_npz
from mmjrr.joints import reorder_index

#: SPIN's 24 joints as files of H36M hold them, by the names of mmjrr.joints. SPIN calls 12
#: "Neck (LSP)", 17 "Jaw (H36M)" and 18 "Head (H36M)"; the right leg is listed upwards.
SPIN_JOINTS: tuple[str, ...] = (
    'right_ankle', 'right_knee', 'right_hip', 'left_hip', 'left_knee', 'left_ankle',
    'right_wrist', 'right_elbow', 'right_shoulder', 'left_shoulder', 'left_elbow', 'left_wrist',
    'thorax', 'head_lsp', 'pelvis', 'thorax_mpii', 'spine', 'neck_base', 'head',
    'nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear',
)  # fmt: skip


def read_spin(path: str | Path) -> Source:
    """Read a file of SPIN's layout.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: The file is truncated or holds pickled objects, or a field is missing or has a
            wrong shape.
    """
    path = Path(path)
    raw = read_npz(path)
    missing = [name for name in ('imgname', 'center', 'scale', 'S') if name not in raw]
    if missing:
        raise DataError(f'{path}: {missing} missing, found {sorted(raw)}')
    files = image_names(path, raw['imgname'])
    count = len(files)
    index = reorder_index(SPIN_JOINTS, 'mmpose')
    part = np.zeros((count, len(index), 3))
    if 'part' in raw:
        part = numbers(path, raw, 'part', (count, len(SPIN_JOINTS), 3))[:, index]
    source = Source(
        path=path,
        imgname=mmpose_image_names(path, files),
        files=files,
        center=numbers(path, raw, 'center', (count, 2)),
        scale=numbers(path, raw, 'scale', (count,)),
        part=part,
        S=numbers(path, raw, 'S', (count, len(SPIN_JOINTS), 4))[:, index],
    )
    if 'pose' in raw and 'shape' in raw:
        source.pose = numbers(path, raw, 'pose', (count, 72))
        source.betas = numbers(path, raw, 'shape', (count, None))
        source.has_fit = np.ones(count, dtype=bool)
        if 'has_smpl' in raw:
            source.has_fit = numbers(path, raw, 'has_smpl', (count,)) > 0
    return source
