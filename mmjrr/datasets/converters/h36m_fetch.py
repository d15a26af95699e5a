"""h36m-fetch's layout of Human3.6M: an ``annot.h5`` and images for each action of each subject.

The paper's authors used this layout::

    processed/S1/Directions-1/annot.h5
    processed/S1/Directions-1/imageSequence/54138969/img_000001.jpg

``annot.h5`` holds ``pose/2d`` (N, 32, 2) pixels, ``pose/3d`` (N, 32, 3) millimeters in the camera
frame, and ``frame`` (counted from 1), ``camera``, ``subject``, ``action``, ``subaction`` (N,).
Takes are numbered; ``metadata.xml`` has their names, which are part of H36M's image names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.converters.annotation_checks import millimeters_to_meters
from mmjrr.datasets.converters.source import Source, numbers
from mmjrr.errors import DataError
from mmjrr.jobs.progress import with_progress
from mmjrr.joints import H36M_JOINTS_RELEASE, reorder_index

_FIELDS: dict[str, tuple[int | None, ...]] = {
    'pose/2d': (None, 32, 2),
    'pose/3d': (None, 32, 3),
    'frame': (None,),
    'camera': (None,),
    'subject': (None,),
    'action': (None,),
    'subaction': (None,),
}
#: The longest take has about 6,000 frames in each of four cameras.
_MAX_FRAMES = 1_000_000


def find_h36m_fetch(root: str | Path, subjects: Sequence[str]) -> list[Path]:
    """Find the ``annot.h5`` files of subjects in h36m-fetch's folder or its ``processed``.

    Raises:
        FileNotFoundError: A subject has none.
    """
    root = Path(root)
    processed = root / 'processed' if (root / 'processed').is_dir() else root
    files_of = {subject: sorted((processed / subject).glob('*/annot.h5')) for subject in subjects}
    missing = [subject for subject, files in files_of.items() if not files]
    if missing:
        raise FileNotFoundError(
            f'{processed}: found no {missing[0]}/<action>/annot.h5, nor of {len(missing) - 1} more '
            f'subjects of {list(subjects)}'
        )
    return [file for files in files_of.values() for file in files]


def read_h36m_fetch(
    files: Sequence[Path],
    takes: Mapping[tuple[str, str, str], str],
    root: Path,
    on_error: str = 'raise',
) -> Source:
    """Read files into one source.

    Args:
        files: ``annot.h5`` files.
        takes: Names of takes by subject, action and subaction, as in ``metadata.xml``:
            ``{('S1', '2', '1'): 'Directions 1'}``.
        root: Folder to which image names in the result are relative.
        on_error: 'raise', or 'exclude', which leaves out unreadable files, counted and listed.
            Default: 'raise'.

    Raises:
        ImportError: h5py is not installed.
        DataError: A file is truncated, a field is missing or wrong, or a take has no name.
    """
    h5py = _h5py()
    parts: list[dict[str, Array]] = []
    unreadable: list[str] = []
    for path in with_progress(files, len(files), 'files'):
        try:
            parts.append(_read(h5py, path, takes, root))
        except DataError as error:
            if on_error == 'raise':
                raise
            unreadable.append(str(error))
    if not parts:
        raise DataError(f'{root}: none of {len(files)} files can be read: {unreadable[:1]}')
    merged: dict[str, Any] = {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    source = Source(path=root, **merged)
    if unreadable:
        source.left_out['files that cannot be read'] = unreadable
    return source


def _read(
    h5py: Any, path: Path, takes: Mapping[tuple[str, str, str], str], root: Path
) -> dict[str, Array]:
    raw: dict[str, Array] = {}
    name = ''
    try:
        with h5py.File(path, 'r') as file:
            for name in _FIELDS:
                if not isinstance(file.get(name), h5py.Dataset):
                    raise DataError(f"{path}: '{name}' missing, found {sorted(_names(h5py, file))}")
                _check_shape(path, name, file[name].shape)
                raw[name] = file[name][()]
    except DataError:
        raise
    except Exception as error:  # h5py can raise nearly anything for a damaged file
        where = f'{path}: {name}' if name else f'{path}'
        raise DataError(
            f'{where}: not readable; truncated, or no HDF5 file ({type(error).__name__}: {error})'
        ) from error
    count = len(raw['frame']) if raw['frame'].ndim else 0
    value = {
        field: numbers(path, raw, field, (count, *shape[1:])) for field, shape in _FIELDS.items()
    }
    index = reorder_index(H36M_JOINTS_RELEASE, 'mmpose')
    joints, seen = value['pose/3d'][:, index], value['pose/2d'][:, index]
    files, imgname = _image_names(path, value, takes, root)
    ones = np.ones((count, len(index), 1))
    return dict(
        imgname=imgname,
        files=files,
        part=np.concatenate([seen, ones], -1),
        S=np.concatenate([millimeters_to_meters(f'{path}: pose/3d', joints), ones], -1),
    )


def _check_shape(path: Path, name: str, shape: tuple[int, ...]) -> None:
    """Check a shape before reading: a file of few bytes can claim any size."""
    expected = _FIELDS[name]
    if len(shape) != len(expected) or shape[1:] != expected[1:] or shape[0] > _MAX_FRAMES:
        raise DataError(
            f'{path}: {name}: found shape {shape}, expected '
            f'({", ".join(["N", *map(str, expected[1:])])}) with N at most {_MAX_FRAMES}'
        )


def _image_names(
    path: Path,
    value: dict[str, Array],
    takes: Mapping[tuple[str, str, str], str],
    root: Path,
) -> tuple[Array, Array]:  # (N,) str in the source, (N,) str in MMPose's layout
    folder = path.parent.relative_to(root).as_posix()
    files, names = [], []
    numbered = ('subject', 'action', 'subaction', 'camera', 'frame')
    for field in numbered:
        if not (value[field] % 1 == 0).all():
            raise DataError(f'{path}: {field}: found fractions, expected whole numbers')
    columns = [value[field].astype(np.int64).tolist() for field in numbered]
    for subject, action, subaction, camera, frame in zip(*columns, strict=True):
        if f'S{subject}' != path.parent.parent.name:
            raise DataError(
                f'{path}: subject: found {subject}, expected that of the folder '
                f'{path.parent.parent.name}'
            )
        take = takes.get((f'S{subject}', str(action), str(subaction)))
        if take is None:
            raise DataError(
                f'{path}: action, subaction: found {action}, {subaction}, which metadata.xml does '
                f'not name for S{subject}'
            )
        files.append(f'{folder}/imageSequence/{camera}/img_{frame:06d}.jpg')
        stem = f'S{subject}_{take.replace(" ", "_")}.{camera}'
        names.append(f'S{subject}/{stem}/{stem}_{frame:06d}.jpg')
    return np.array(files, dtype=np.str_), np.array(names, dtype=np.str_)


def _names(h5py: Any, file: Any) -> list[str]:
    names: list[str] = []
    file.visititems(
        lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
    )
    return names


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "annot.h5 is read with h5py, which is not installed: pip install 'h5py>=3'"
        ) from error
    return h5py
