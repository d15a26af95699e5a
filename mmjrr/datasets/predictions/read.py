"""Reading of predictions from a file, a folder, a pattern, or objects in memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmjrr.datasets.image_names import frame_identity
from mmjrr.errors import DataError
from mmjrr.io import open_input

from .bodies import Predictions, join
from .layouts import LAYOUTS
from .neuralannot_h36m import is_by_moment, seen_by_cameras
from .parse import parse
from .results_files import load_results, result_files


def read_predictions(
    path: str | Path,
    layout: str = 'auto',
    fields: Mapping[str, str] | None = None,
    name_format: str | None = None,
    rotation_6d: str | None = None,
    content: Any = None,
    frame_step: int = 1,
    mapped: bool = False,
) -> Predictions:
    """Read predictions from npz, npy, pickle (also joblib's and MMEngine's), JSON, PyTorch or mesh.

    No code from a file is run. A file without image names that is named after an image or video of
    Human3.6M takes its image names from its own name.

    Args:
        path: A file, whose format is recognized from its content; a folder with a file for each
            image or video; or a pattern such as ``'output/*/wham_output.pkl'``.
        layout: Name of one of :data:`~mmjrr.datasets.predictions.layouts.LAYOUTS`, or 'auto', which
            recognizes the layout.
        fields: Paths of fields, such as ``dict(imgname='names', pose='out.theta[3:75]')``, which
            replace those of the layout. :mod:`mmjrr.datasets.predictions.layouts` describes paths.
            Naming one field of the body (vertices, pose, root, global_orient, body_pose, betas)
            replaces all of them.
        name_format: Pattern that makes image names from frame numbers. ``{frame}`` counts from 0,
            ``{number}`` from 1; ``{file}`` is the file's name without extension, ``{folder}`` the
            name of its folder and ``{parent}`` that of the folder above.
            ``'{folder}_{number:06d}'`` fits VIBE's output folders.
        rotation_6d: Storage order of 6D rotations, one of
            :data:`~mmjrr.datasets.predictions.layouts.ROTATIONS_6D`. Default: None, inferred from
            the values if possible.
        content: Contents of the file, if the caller has read it.
        frame_step: Number of video frames from one frame of the file to the next, if the model saw
            only every ``frame_step``-th frame and numbers these consecutively. Default: 1.
        mapped: Whether large arrays of npz and npy files stay in their file
            (:mod:`mmjrr.io.mapped`), and vertices of several files are read from them in place.

    Raises:
        FileNotFoundError: The file does not exist, or no file matches.
        DataError: A file is damaged, asks to run code, has no known layout, or a field has a wrong
            shape.
        ValueError: ``layout``, ``fields``, ``name_format`` or ``rotation_6d`` is wrong.
    """
    files = result_files(path)
    if files is None:
        checksum = None
        if content is None:
            with open_input(path) as opened:  # the checksum is that of the bytes that are read
                content, checksum = load_results(opened, mapped), opened.sha256()
        part = predictions_from(content, path, layout, fields, name_format, rotation_6d, frame_step)
        return replace(_named_by_file(part, 'image', frame_step), checksum=checksum)
    root = Path(path)
    parts = []
    for file in files:
        tree = load_results(file, mapped)
        part = predictions_from(tree, file, layout, fields, name_format, rotation_6d, frame_step)
        part = _named_by_file(part, 'image or video', frame_step)
        if part.imgname is None and part.frame is None:
            raise DataError(
                f'{file}: found {len(part)} bodies without image names or frame numbers, '
                "expected one, a file named after an image or after one of Human3.6M's videos"
            )
        parts.append(part)
    predictions = join(root, parts, mapped)
    layouts = list(dict.fromkeys(part.layout for part in parts))
    predictions.source, predictions.layout = root, layouts[0] if len(layouts) == 1 else 'words'
    predictions.notes = (f'{len(files)} files', *predictions.notes)
    return predictions


def predictions_from(
    tree: Any,
    source: str | Path = 'predictions',
    layout: str = 'auto',
    fields: Mapping[str, str] | None = None,
    name_format: str | None = None,
    rotation_6d: str | None = None,
    frame_step: int = 1,
) -> Predictions:
    """Convert nested dicts and lists of arrays, as a file has them, to predictions.

    Args:
        tree: The nested dicts and lists.
        source: Name of their origin, for messages and for ``name_format``.
        layout: As in :func:`read_predictions`.
        fields: As in :func:`read_predictions`.
        name_format: As in :func:`read_predictions`.
        rotation_6d: As in :func:`read_predictions`.
        frame_step: As in :func:`read_predictions`.

    Raises:
        DataError: The layout is unknown, or a field is missing or has a wrong shape.
        ValueError: An option has an unknown value.
    """
    if frame_step < 1:
        raise ValueError(f'frame_step: found {frame_step}, expected at least 1')
    if is_by_moment(tree):
        tree = seen_by_cameras(tree, Path(source))
    predictions = parse(tree, source, layout, fields, rotation_6d)
    if predictions.frame is not None:
        predictions = replace(predictions, frame=frame_step * predictions.frame)
    if frame_step > 1 and predictions.imgname is not None and name_format is None:
        predictions = predictions.without_effect(['frame_step'], 'the file has image names')
    if name_format is None and predictions.imgname is None:
        formats = {layout.name: layout.name_format for layout in LAYOUTS}
        name_format = formats.get(predictions.layout) or None
    if name_format is not None:
        return replace(predictions, imgname=_formatted(predictions, Path(source), name_format))
    if predictions.imgname is None and predictions.frame is not None:
        note = (
            'it has frame numbers but no image names; name_format (--name-format) makes image names'
        )
        return replace(predictions, notes=(*predictions.notes, note))
    return predictions


def _formatted(predictions: Predictions, source: Path, name_format: str) -> list[str]:
    if predictions.frame is None:
        raise ValueError(
            f'name_format: {source} has no frame numbers'
            + (', but it has image names' if predictions.imgname else '')
        )
    folder = source.absolute().parent
    try:
        return [
            name_format.format(
                frame=frame,
                number=frame + 1,
                file=source.stem,
                folder=folder.name,
                parent=folder.parent.name,
            )
            for frame in predictions.frame.tolist()
        ]
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        raise ValueError(
            f'name_format: {name_format!r}: {error!r}; expected only {{frame}}, {{number}}, '
            '{file}, {folder} and {parent}, as in {number:06d}'
        ) from error


#: A person's number after the image's name, as in 4D-Humans' meshes.
_PERSON = re.compile(r'(.*\d{3,})_\d{1,2}')


def _named_by_file(part: Predictions, kind: str, frame_step: int) -> Predictions:
    """Set the image names of bodies from the name of their file, if it has none.

    A file named after an image, perhaps with the number of a person, contains persons in that
    image; a folder may lie between it and the video's (``VIDEO/smplx/00001_0.npz``). A file named
    after a video contains one body per frame; with frame numbers, the folder can be named after
    the video.
    """
    if part.imgname is not None or part.source is None:
        return part
    file = part.source
    name = file.with_suffix('').as_posix()
    for image in (name, (file.parent.parent / file.stem).as_posix()):
        of_person = _PERSON.fullmatch(image)
        if of_person is not None and frame_identity(of_person[1]) is not None:
            image = of_person[1]
        if frame_identity(image) is not None:
            part = replace(part, imgname=[image] * len(part), notes=_without_advice(part))
            unused = ['frame_step'] if frame_step > 1 else []
            return part.without_effect(unused, 'the file is named after an image')
    folder = file.parent.as_posix()
    if part.frame is not None and frame_identity(f'{folder}_000001') is not None:
        name = folder
    if frame_identity(f'{name}_000001') is not None:
        numbers = (
            [frame_step * row for row in range(len(part))]
            if part.frame is None
            else part.frame.tolist()
        )
        names = [f'{name}_{frame + 1:06d}' for frame in numbers]
        note = f"image names are made from the file's name and frame numbers, such as {names[:1]}"
        return replace(part, imgname=names, notes=(*_without_advice(part), note))
    if kind != 'image' and len(part) == 1:
        return replace(part, imgname=[file.with_suffix('').as_posix()])
    return part


def _without_advice(part: Predictions) -> tuple[str, ...]:
    """Return the notes without the advice to set ``name_format``."""
    return tuple(note for note in part.notes if '--name-format' not in note)
