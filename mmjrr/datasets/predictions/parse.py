"""Conversion of the nested dicts and lists of a results file to arrays with a row per body."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.errors import DataError
from mmjrr.io import as_text
from mmjrr.io.mapped import as_list, converted, pieces, working_array
from mmjrr.io.texts import texts_of

from .bodies import (
    PART_COUNTS,
    Predictions,
    are_zeros,
    compose,
    join,
    mark_rows_without_body,
    matrices_of_6d,
    settle_rotations_6d,
)
from .layouts import (
    ANNOTATED,
    BODY_FIELDS,
    BY_WORDS,
    FIELDS,
    HANDS_AND_FACE,
    LAYOUTS,
    UNSAID,
    Candidate,
    Keys,
    Layout,
    alternatives,
    candidates,
    describe,
    follow,
    recognize,
)

#: Number of rotations in each field of rotations.
_COUNTS = {'pose': 24, 'root': 1, 'global_orient': 1, 'body_pose': 23}
#: Fields of all rotations of SMPL-H and SMPL-X in one array, with the number of each.
_WHOLE_POSES = {
    52: {'body_pose': 21, 'left_hand_pose': 15, 'right_hand_pose': 15},
    55: {'body_pose': 21, 'jaw_pose': 1, 'leye_pose': 1, 'reye_pose': 1, 'left_hand_pose': 15,
         'right_hand_pose': 15},
}  # fmt: skip
#: Numbers of rotations of SMPL-H and SMPL-X that fields may have, too.
_OTHER_COUNTS = {'pose': (22, *_WHOLE_POSES), 'body_pose': (21,)}
#: Names of other bodies by the number of rotations of a pose, including the global one.
_OTHER_BODIES = {127: 'MHR'}
#: Largest deviation from orthonormality of a matrix that is accepted as a rotation.
_ORTHONORMAL = 0.02
#: Layouts with common field names, which a code base may also use for other contents.
_GENERIC = ('mmhuman3d-results', 'mmengine', 'spin', 'plain', 'by-image')
_GENDERS = {
    'neutral': 'neutral', 'n': 'neutral', 'male': 'male', 'm': 'male', 'female': 'female',
    'f': 'female',
}  # fmt: skip
#: Fields that are ignored if only some elements of a file have them.
_OPTIONAL = ('transl', 'camera', 'gender', 'track', 'bbox', *HANDS_AND_FACE)
_TEXT = ('imgname', 'gender', 'track')


def parse(
    tree: Any,
    source: str | Path = 'predictions',
    layout: str = 'auto',
    fields: Mapping[str, str] | None = None,
    rotation_6d: str | None = None,
) -> Predictions:
    """Convert the contents of a results file to predicted bodies.

    Args:
        tree: Nested dicts and lists of arrays.
        source: The file, for messages.
        layout: As in :func:`~mmjrr.datasets.predictions.read_predictions`.
        fields: As in :func:`~mmjrr.datasets.predictions.read_predictions`.
        rotation_6d: As in :func:`~mmjrr.datasets.predictions.read_predictions`.

    Raises:
        DataError: The layout is unknown, a field is missing or has a wrong shape, it is open which
            of several bodies is the prediction, or ``root`` or ``extrinsics`` turns 6D rotations of
            which it is open whether they are columns or rows.
        ValueError: ``layout``, ``fields`` or ``rotation_6d`` has an unknown name.
    """
    source = Path(source)
    try:
        name, paths, notes = _choose(tree, source, layout, fields or {})
        paths = {**_beside_body_pose(tree, paths), **paths}
        leaves = {field: dict(follow(tree, where)) for field, where in paths.items()}
    except DataError as error:
        raise error if str(source) in str(error) else DataError(f'{source}: {error}') from error
    for field, where in (fields or {}).items():
        if not leaves[field]:
            raise DataError(
                f'{source}: {field}: found nothing at {where!r}; the file has {describe(tree)}'
            )
    leaves = {field: values for field, values in leaves.items() if values}
    if not any(field in leaves for field in ('vertices', 'pose', 'body_pose')):
        raise DataError(
            f"{source}: found none of 'vertices', 'pose' and 'body_pose' in the layout '{name}'; "
            f'the file has {describe(tree)}'
        )
    parts = [_rows(source, values, rotation_6d) for values in _elements(source, leaves)]
    whole = join(source, [part for part, _ in parts])
    whole.source, whole.layout = source, name
    about = next((item for item in LAYOUTS if item.name == name), BY_WORDS)
    whole.body = about.body
    if whole.vertices is not None:
        notes += _check_side_of_camera(whole, about)
    lost = sum(count for _, count in parts)
    if lost:
        notes += (f'{lost} bodies are skipped, since the tracker did not see them in the frame',)
    whole.notes = (*notes, *whole.notes)
    are_stored = not {'root', 'extrinsics'} & set(leaves)  # composed ones are matrices
    if rotation_6d is not None and are_stored and not whole.has_rotations_6d:
        whole = whole.without_effect(['rotation_6d'], 'the file has no 6D rotations')
    return settle_rotations_6d(mark_rows_without_body(whole), rotation_6d)


#: Factors of the coordinates in a turn by 180 degrees about an axis.
_HALF_TURNS = {'x': np.array([1, -1, -1], np.float32)}


def _check_side_of_camera(predictions: Predictions, layout: Layout) -> tuple[str, ...]:
    """Turn vertices back if the layout says how; note vertices that are all behind the camera."""
    vertices = predictions.vertices
    assert vertices is not None
    if layout.half_turn:
        predictions.vertices = working_array(vertices.shape, np.float32)
        for piece in pieces(vertices, predictions.vertices):
            predictions.vertices[piece] = vertices[piece] * _HALF_TURNS[layout.half_turn]
        return (f'vertices are turned back by 180 degrees about {layout.half_turn}',)
    with np.errstate(invalid='ignore'):  # NaN marks bodies that are not there
        behind = all((vertices[piece][..., 2] < 0).all() for piece in pieces(vertices))
    if not len(vertices) or not behind:
        return ()
    note = (
        "all vertices are behind the camera (z < 0), as in meshes that 4D-Humans' demo.py turns by "
        "180 degrees about x; layout='hmr2' (--layout hmr2) turns them back"
    )
    return (note,)


# -- which fields --------------------------------------------------------------------------------


def _beside_body_pose(tree: Any, paths: Mapping[str, str]) -> dict[str, str]:
    """Return the paths of hands and face, which are named as ``body_pose`` is."""
    path = paths.get('body_pose', '')
    if 'body_pose' not in path:
        return {}
    candidates = {field: path.replace('body_pose', field) for field in HANDS_AND_FACE}
    return {field: where for field, where in candidates.items() if next(follow(tree, where), None)}


_Choice = tuple[str, dict[str, str], tuple[str, ...]]


def _choose(tree: Any, source: Path, layout: str, named: Mapping[str, str]) -> _Choice:
    """Choose the name of the layout, the path of each field, and notes on the choice."""
    unknown = sorted(set(named) - set(FIELDS))
    if unknown:
        raise ValueError(f'fields: unknown {unknown}, expected some of {list(FIELDS)}')
    layouts = {item.name: item for item in LAYOUTS}
    if layout != 'auto' and layout not in layouts:
        raise ValueError(f"layout: found {layout!r}, expected 'auto' or one of {list(layouts)}")
    if any(field in named for field in BODY_FIELDS):
        base = recognize(tree) if layout == 'auto' else layouts[layout]
        recognized_paths = {} if base is None else _present(tree, base)
        if base is None:
            recognized_paths = _beside(tree)
        return 'fields', {**_without_body(recognized_paths), **named}, ()
    if layout != 'auto':
        if not layouts[layout].fits(tree):
            raise DataError(
                f'is not of the layout {layout!r}, which has {list(layouts[layout].needs)}; the '
                f'file has {describe(tree)}'
            )
        return layout, {**_present(tree, layouts[layout]), **named}, ()
    recognized = recognize(tree)
    if recognized is None or recognized.name in _GENERIC:
        choice = _by_words(tree, recognized)
        if choice is not None:
            return choice[0], {**choice[1], **named}, choice[2]
    if recognized is None:
        raise DataError(
            f'found no bodies: of no known layout, the file has {describe(tree)}. If these are '
            'bodies, name the paths of the fields, as in fields=dict(imgname=..., pose=..., '
            'betas=...); on the command line, --fields imgname=... pose=... betas=...'
        )
    return recognized.name, {**_present(tree, recognized), **named}, ()


def _without_body(paths: Mapping[str, str]) -> dict[str, str]:
    return {field: path for field, path in paths.items() if field not in BODY_FIELDS}


def _present(tree: Any, layout: Layout) -> dict[str, str]:
    """Return the path of each field of a layout that the file has.

    Raises:
        DataError: A field of the body has several paths, whose values differ.
    """
    paths = {}
    for field, path in layout.fields.items():
        present = alternatives(tree, path)
        if field == 'imgname':
            text = [name for name in present if _holds_text(tree, name)]
            present = text or [name for name in present if 'name' in name]
        if present:
            paths[field] = _one_of(tree, field, present) if field in BODY_FIELDS else present[0]
    return paths


def _beside(tree: Any) -> dict[str, str]:
    """Return the paths of image names, frame numbers and genders, recognized by their names."""
    paths: dict[str, str] = {}
    for candidate in candidates(tree):
        is_names = candidate.field == 'imgname' and _holds_text(tree, candidate.path)
        if is_names or candidate.field in ('frame', 'gender'):
            paths.setdefault(candidate.field, candidate.path)
    return paths


def _holds_text(tree: Any, path: str) -> bool:
    for _, value in follow(tree, path):
        first = value
        while isinstance(first, (list, tuple)) and first:
            first = first[0]
        if isinstance(first, np.ndarray):
            return first.dtype.kind in 'USO'
        return isinstance(first, (str, bytes))
    return False


def _one_of(tree: Any, field: str, paths: Sequence[str]) -> str:
    """Return the first of several paths to one field.

    Raises:
        DataError: Their values differ.
    """
    first = _leaves(tree, paths[0])
    for other in paths[1:]:
        if not _equal(first, _leaves(tree, other)):
            raise DataError(
                f'{field}: found {paths[0]!r} and {other!r}, which differ, and nothing says which '
                f'is the prediction; name all fields of the body, as in fields=dict({field}='
                f'{paths[0]!r}, ...) (on the command line, --fields {field}={paths[0]} ...)'
            )
    return paths[0]


def _leaves(tree: Any, path: str) -> list[Any]:
    return [value for _, value in follow(tree, path)]


def _equal(first: list[Any], second: list[Any]) -> bool:
    try:
        return len(first) == len(second) and all(
            _same_numbers(np.atleast_1d(a), np.atleast_1d(b))
            for a, b in zip(first, second, strict=True)
        )
    except (TypeError, ValueError):
        return False


def _same_numbers(first: Array, second: Array) -> bool:
    return first.shape == second.shape and all(
        np.array_equal(
            first[piece].astype(np.float64), second[piece].astype(np.float64), equal_nan=True
        )
        for piece in pieces(first, second)
    )


def _by_words(tree: Any, recognized: Layout | None) -> _Choice | None:
    """Choose fields by their names, predicted ones before annotated ones.

    Returns:
        The choice; None if no whole body is recognized.

    Raises:
        DataError: The file has only annotated bodies, or it is open which of several bodies is the
            prediction.
    """
    of_layout = {} if recognized is None else _present(tree, recognized)
    bodies = [
        candidate
        for candidate in candidates(tree)
        if candidate.field in BODY_FIELDS and _may_be(candidate.field, _first(tree, candidate.path))
    ]
    meshes = [body for body in bodies if body.field in ('vertices', 'pose', 'body_pose')]
    if not meshes:
        return None
    rank = max(body.rank for body in meshes)
    if rank == ANNOTATED:
        raise DataError(
            f'found only {", ".join(body.path for body in meshes)}, which by name are the ground '
            'truth; if they are the prediction, name them with fields= (--fields)'
        )
    paths = _paths_of_rank(tree, bodies, rank, of_layout)
    notes: tuple[str, ...] = ()
    unread = [b.path for b in bodies if b.path not in paths.values() and b.rank != rank]
    if unread:
        read = ', '.join(paths.values())
        notes = (f'{read} are taken for the prediction; {", ".join(unread)} are ignored',)
    layout_body = {field: path for field, path in of_layout.items() if field in BODY_FIELDS}
    if layout_body and all(paths.get(field) == path for field, path in layout_body.items()):
        assert recognized is not None
        return recognized.name, of_layout, notes
    paths = _with_columns(tree, paths)
    if 'vertices' not in paths and not (
        'betas' in paths and ('pose' in paths or {'global_orient', 'body_pose'} <= set(paths))
    ):
        return None
    return BY_WORDS.name, {**_not_of_the_body(tree, rank, paths), **paths}, notes


def _paths_of_rank(
    tree: Any, bodies: Sequence[Candidate], rank: int, of_layout: Mapping[str, str]
) -> dict[str, str]:
    """Return a path for each field of the body, preferring the layout's paths."""
    paths: dict[str, str] = {}
    for field in BODY_FIELDS:
        of_field = [body for body in bodies if body.field == field]
        chosen = [body.path for body in of_field if body.rank == rank]
        if not chosen and field in ('betas', 'global_orient', 'root'):
            chosen = [body.path for body in of_field if body.rank == UNSAID < rank]
        chosen.sort(key=lambda path: path != of_layout.get(field))
        if chosen:
            paths[field] = _one_of(tree, field, chosen)
    if 'pose' in paths and 'body_pose' in paths:
        return _without_repetition(tree, paths)
    return paths


def _not_of_the_body(tree: Any, rank: int, body_paths: Mapping[str, str]) -> dict[str, str]:
    """Return the paths of fields that are not of the body, predicted ones first."""
    paths: dict[str, str] = {}
    beside_body = [
        candidate for candidate in candidates(tree) if candidate.field not in BODY_FIELDS
    ]
    for candidate in sorted(beside_body, key=lambda candidate: -candidate.rank):
        if candidate.field == 'imgname' and not _holds_text(tree, candidate.path):
            continue
        if candidate.field in ('transl', 'camera') and candidate.rank < rank:
            continue
        paths.setdefault(candidate.field, candidate.path)
    if 'imgname' not in paths and any(path.startswith('*.') for path in body_paths.values()):
        paths['imgname'] = '*.@'
    return paths


def _with_columns(tree: Any, paths: dict[str, str]) -> dict[str, str]:
    """Split a path to camera, pose and betas (85 columns, HMR's theta) or pose and betas (82)."""
    pose = paths.get('pose')
    width = 0 if pose is None else (np.shape(_first(tree, pose)) or (0,))[-1]
    if width == 85:
        split = {'pose': f'{pose}[3:75]', 'betas': f'{pose}[75:85]', 'camera': f'{pose}[0:3]'}
    elif width == 82:
        split = {'pose': f'{pose}[0:72]', 'betas': f'{pose}[72:82]'}
    else:
        return paths
    return {**split, **paths, 'pose': split['pose']}


def _first(tree: Any, path: str) -> Any:
    return next((value for _, value in follow(tree, path)), None)


def _without_repetition(tree: Any, paths: dict[str, str]) -> dict[str, str]:
    """Drop ``global_orient`` and ``body_pose`` if ``pose`` has the same rotations.

    Raises:
        DataError: The rotations differ.
    """
    poses = [np.asarray(value) for value in _leaves(tree, paths['pose'])]
    bodies = [np.asarray(value) for value in _leaves(tree, paths['body_pose'])]
    same = len(poses) == len(bodies) and all(
        pose.size and pose.size % 24 == 0 and pose.size * 23 == body.size * 24
        and np.array_equal(_without_first(pose, len(body)), body.ravel())
        for pose, body in zip(poses, bodies, strict=True)
    )  # fmt: skip
    if same:
        return {f: p for f, p in paths.items() if f not in ('global_orient', 'body_pose')}
    raise DataError(
        f'found {paths["pose"]!r} and {paths["body_pose"]!r}, and nothing says which is the '
        'prediction; name the fields of one with fields= (--fields)'
    )


def _without_first(pose: Array, count: int) -> Array:
    """Return the values of all rotations but the first, of each of ``count`` bodies, flat."""
    per_body = pose.reshape(count, 24, -1) if pose.ndim > 1 else pose.reshape(1, 24, -1)
    return per_body[:, 1:].ravel()


def _may_be(field: str, value: Any) -> bool:
    """Return whether a value's shape is possible for the field."""
    try:
        shape = np.shape(value)
    except ValueError:
        return False
    if 0 in shape:
        return True
    if field == 'vertices':
        return len(shape) >= 2 and shape[-1] == 3 and shape[-2] > 3
    if field == 'betas':
        return bool(shape) and 1 <= shape[-1] <= 400
    if field in ('root', 'global_orient'):
        return any(shape[len(shape) - len(tail) :] == tail for tail in [*_tails(1), (3, 3)])
    if field == 'pose' and shape[-1:] in ((82,), (85,)):
        return True
    skipped = 24 - _COUNTS[field]
    rotations = [24 - skipped, *(count - skipped for count in _OTHER_BODIES)]
    rotations += _OTHER_COUNTS.get(field, ())
    return any(shape[len(shape) - len(tail) :] == tail for n in rotations for tail in _tails(n))


# -- elements and values -------------------------------------------------------------------------


def _elements(source: Path, leaves: Mapping[str, dict[Keys, Any]]) -> Iterator[dict[str, Array]]:
    """Yield arrays by field: stacked over all elements if shapes are equal, else per element."""
    primary = next(field for field in ('vertices', 'body_pose', 'pose') if field in leaves)
    keys = list(leaves[primary])
    rows: dict[str, list[Array]] = {}
    for field, values in leaves.items():
        of_elements = [_enclosing(values, key) for key in keys]
        if any(value is None for value in of_elements):
            if field in _OPTIONAL:
                continue
            key = '.'.join(map(str, keys[[value is None for value in of_elements].index(True)]))
            raise DataError(f'{source}: {field}: missing for {key}, which has other fields')
        rows[field] = [_value(source, field, value) for value in of_elements]
    equal = all(len({value.shape for value in values}) == 1 for values in rows.values())
    if len(keys) > 1 and equal:
        yield {field: np.stack(values) for field, values in rows.items()}
    else:
        for index in range(len(keys)):
            yield {field: values[index] for field, values in rows.items()}


def _enclosing(leaves: dict[Keys, Any], key: Keys) -> Any:
    """Return the value at a key or its longest prefix, such as one name for several persons."""
    for length in range(len(key), -1, -1):
        if key[:length] in leaves:
            return leaves[key[:length]]
    return None


def _value(source: Path, field: str, value: Any) -> Array:
    """Convert a value to an array: text to str, numbers to float32, frame numbers to int64."""
    try:
        array = np.asarray(value)
        if array.dtype.hasobject:
            array = np.array(array.tolist())
    except ValueError as error:
        raise DataError(f'{source}: {field}: is ragged ({error})') from error
    if field == 'track' and array.dtype.kind in 'iub':
        array = array.astype(np.str_)
    if field in _TEXT:
        array = as_text(f'{source}: {field}', array)
        kinds, expected = 'U', 'text'
    else:
        kinds, expected = 'fiub', 'numbers'
    if array.dtype.kind not in kinds and array.size:
        raise DataError(
            f'{source}: {field}: found {array.dtype} {array.shape}, expected {expected}'
        )
    if field in _TEXT:
        return array.astype(np.str_, copy=False)
    return converted(array, np.int64 if field in ('frame', 'lost') else np.float32)


# -- rows ----------------------------------------------------------------------------------------


def _rows(
    source: Path, values: dict[str, Array], rotation_6d: str | None
) -> tuple[Predictions, int]:
    """Flatten the axes of frames, sequences and persons into one row per body.

    Rotations of files with ``root`` or ``extrinsics`` are composed. Their 6D rotations become
    matrices first; those of other files stay as stored.

    Returns:
        The bodies, and the number of bodies skipped because the tracker did not see the person.
    """
    if not all(values[f].size for f in ('vertices', 'pose', 'body_pose') if f in values):
        return _nobody(values), 0
    values = _with_root(dict(values))
    lead = _lead(source, values)
    count = int(np.prod(lead, dtype=np.int64))
    part = Predictions()
    rotations = {
        field: _rotations(source, field, values[field], count)
        for field in _COUNTS
        if field in values
    }
    if 'root' in rotations or 'extrinsics' in values:
        rotations, part.notes = _without_6d(source, rotations, rotation_6d)
    if 'pose' in rotations:
        part.global_orient, part.body_pose = rotations['pose'][:, 0], rotations['pose'][:, 1:]
        _split_whole_pose(part)
        if 'root' in rotations:
            part.global_orient = compose(rotations['root'], rotations['pose'][:, :1])[:, 0]
    if 'global_orient' in rotations:
        part.global_orient = rotations['global_orient'][:, 0]
    part.body_pose = rotations.get('body_pose', part.body_pose)
    if 'vertices' in values:
        part.vertices = values['vertices'].reshape(count, *values['vertices'].shape[-2:])
    per_body = (
        ('betas', 1), ('transl', 1), ('camera', 1), ('bbox', 1), ('imgname', 0), ('frame', 0),
        ('gender', 0), ('track', 0),
    )  # fmt: skip
    for field, axes in per_body:
        if field in values:
            setattr(part, field, _per_row(source, field, values[field], axes, lead))
    for field in HANDS_AND_FACE:
        if field in values:
            setattr(part, field, _part_pose(source, field, values[field], count))
    if part.transl is not None and part.transl.shape[1:] != (3,):
        raise DataError(f'{source}: transl: found shape {values["transl"].shape}, expected (N, 3)')
    for field in _TEXT:
        if getattr(part, field) is not None:
            as_texts = texts_of if field == 'imgname' else as_list
            setattr(part, field, as_texts(getattr(part, field)))
    part = _with_genders(part)
    if part.vertices is None and not part.has_parameters:
        missing = [n for n in ('global_orient', 'betas') if getattr(part, n) is None]
        raise DataError(f'{source}: has body_pose, but no {" and no ".join(missing)}')
    if not part.has_parameters:
        part.global_orient = part.body_pose = part.betas = None
    if 'extrinsics' in values:
        extrinsics = _per_row(source, 'extrinsics', values['extrinsics'], 2, lead)
        if extrinsics.shape[1:] not in ((3, 3), (3, 4), (4, 4)):
            raise DataError(
                f'{source}: extrinsics: found shape {values["extrinsics"].shape}, expected '
                '(N, 3, 3), (N, 3, 4) or (N, 4, 4)'
            )
        _move_into_camera_frame(part, extrinsics)
    if 'valid' in values:
        part.valid = _per_row(source, 'valid', values['valid'], 0, lead) > 0
    if 'lost' in values:
        part = part.select(_per_row(source, 'lost', values['lost'], 0, lead) == 0)
    return part, count - len(part)


def _without_6d(
    source: Path, rotations: Mapping[str, Array], rotation_6d: str | None
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Return the rotations with all 6D ones converted to matrices, and notes.

    Raises:
        DataError: It is open whether the 6D rotations are columns or rows.
    """
    stored = {field: value for field, value in rotations.items() if value.shape[-1] == 6}
    if not stored:
        return dict(rotations), ()
    together = np.concatenate(list(stored.values()), axis=1)
    matrices, notes = matrices_of_6d(together, rotation_6d, source)
    ends = np.cumsum([value.shape[1] for value in stored.values()])
    split = dict(zip(stored, np.split(matrices, ends[:-1], axis=1), strict=True))
    return {**rotations, **split}, notes


def _move_into_camera_frame(part: Predictions, extrinsics: Array) -> None:
    """Turn root rotations and move vertices from the world into the camera frame, in place.

    Args:
        part: N bodies in the world.
        extrinsics: (N, 3, 3), (N, 3, 4) or (N, 4, 4), world to camera. Without a translation,
            vertices are only turned.
    """
    turn = extrinsics[:, :3, :3]
    part.transl = None  # of the world
    if part.global_orient is not None and part.body_pose is not None:
        empty = are_zeros(part.global_orient) & are_zeros(part.body_pose)
        turned = compose(turn[:, None], part.global_orient[:, None])[:, 0]
        part.global_orient = np.where(empty[:, None, None], np.float32(0), turned)
    if part.vertices is not None:
        world = part.vertices
        part.vertices = working_array(world.shape, np.float32)
        for piece in pieces(world, part.vertices):
            part.vertices[piece] = world[piece] @ turn[piece].swapaxes(-1, -2)
            if extrinsics.shape[2] == 4:
                part.vertices[piece] += extrinsics[piece, None, :3, 3]
        part.notes += ('vertices are moved from the world into the camera frame by extrinsics',)


def _split_whole_pose(part: Predictions) -> None:
    """Split all rotations of SMPL-H or SMPL-X but the first, in ``body_pose``, into fields."""
    assert part.body_pose is not None
    fields = _WHOLE_POSES.get(part.body_pose.shape[1] + 1, {})
    whole, start = part.body_pose, 0
    for field, number in fields.items():
        piece = whole[:, start : start + number]
        start += number
        if field != 'body_pose' and piece.ndim == 3:
            piece = piece.reshape(len(piece), -1)
        setattr(part, field, np.ascontiguousarray(piece))


def _part_pose(source: Path, field: str, value: Array, count: int) -> Array:
    """Return the rotations of a hand or of the face, or the expression, of each body."""
    if value.size % count:
        raise DataError(f'{source}: {field}: found shape {value.shape} for {count} bodies')
    flat = value.reshape(count, -1)
    number = PART_COUNTS.get(field)
    if number is not None and flat.shape[1] == 9 * number:
        return flat.reshape(count, number, 3, 3)
    return flat


def _nobody(values: Mapping[str, Array]) -> Predictions:
    """Return invalid rows for elements without a body, with their names and frame numbers."""
    names = values.get('imgname', np.empty(0, np.str_)).ravel()
    count = max(1, len(names))
    frame = values.get('frame', np.empty(0, np.int64)).ravel()
    return Predictions(
        imgname=[str(name) for name in names] if len(names) else None,
        frame=frame if len(frame) == count else None,
        valid=np.zeros(count, bool),
    )


def _with_root(values: dict[str, Array]) -> dict[str, Array]:
    """Rename root and a pose of 23 rotations to ``global_orient`` and ``body_pose``."""
    pose = values.get('pose')
    if 'root' in values and pose is not None:
        size = pose.size / max(values['root'].size, 1)
        if size == 23:
            values['body_pose'], values['global_orient'] = values.pop('pose'), values.pop('root')
    return values


def _with_genders(part: Predictions) -> Predictions:
    """Normalize the genders; drop them, with a note, if one is unknown."""
    if part.gender is None:
        return part
    genders = [_GENDERS.get(gender.strip().lower()) for gender in part.gender]
    if None in genders:
        unknown = part.gender[genders.index(None)]
        part.gender = None
        part.notes += (
            f"gender: found {unknown!r}, expected 'neutral', 'male' or 'female'; ignored",
        )
    else:
        part.gender = [str(gender) for gender in genders]
    return part


def _lead(source: Path, values: dict[str, Array]) -> tuple[int, ...]:
    """Return the sizes of the axes before each body's own axes, from vertices or pose."""
    if 'vertices' in values:
        shape = values['vertices'].shape
        if len(shape) < 2 or shape[-1] != 3:
            raise DataError(f'{source}: vertices: found shape {shape}, expected (N, V, 3)')
        return shape[:-2]
    field = 'body_pose' if 'body_pose' in values else 'pose'
    shape, n = values[field].shape, _COUNTS[field]
    for number in (n, *_OTHER_COUNTS.get(field, ())):
        for tail in _tails(number):
            if shape[len(shape) - len(tail) :] == tail:
                return shape[: len(shape) - len(tail)]
    raise DataError(
        f'{source}: {field}: found shape {shape}, expected {n} rotations: axis-angle (N, {3 * n}) '
        f'or (N, {n}, 3), matrices (N, {n}, 3, 3), or 6D (N, {n}, 6){_other_body(field, shape)}'
    )


def _other_body(field: str, shape: tuple[int, ...]) -> str:
    """Return a hint that names the body whose poses have this shape, or ''."""
    skipped = 24 - _COUNTS[field]
    for count, body in _OTHER_BODIES.items():
        rotations = count - skipped
        if any(shape[len(shape) - len(tail) :] == tail for tail in _tails(rotations)):
            return (
                f'; {rotations} rotations are those of {body}, which can be evaluated by its '
                'vertices (vertices=)'
            )
    return ''


def _tails(n: int) -> list[tuple[int, ...]]:
    """Return the possible shapes of n rotations."""
    return [(n, 3, 3), *((n, size) for size in (3, 6, 9)), *((n * size,) for size in (3, 6, 9))]


def _rotations(source: Path, field: str, value: Array, count: int) -> Array:
    """Return the rotations of each body, (count, n, 3), (count, n, 6) or (count, n, 3, 3).

    Raises:
        DataError: The shape is wrong, or a matrix is no rotation.
    """
    n = _COUNTS[field]
    size = value.size / max(count * n, 1)
    for other in _OTHER_COUNTS.get(field, ()):
        if size not in (3, 6, 9):
            n, size = other, value.size / max(count * other, 1)
    if size not in (3, 6, 9):
        raise DataError(
            f'{source}: {field}: found shape {value.shape} for {count} bodies, expected {n} '
            'rotations of each as axis-angle, 6D or matrices'
        )
    if size != 9:
        return value.reshape(count, n, int(size))
    matrices = value.reshape(count, n, 3, 3)
    for piece in pieces(matrices):
        wrong = _is_no_rotation(matrices[piece])
        if wrong.any():
            raise DataError(
                f'{source}: {field}: body {piece.start + int(np.argmax(wrong))} of {count} has a '
                'matrix that is no rotation'
            )
    return matrices


def _is_no_rotation(matrices: Array) -> Array:  # (N, n, 3, 3) -> (N,)
    """Return which bodies have a matrix that is no rotation; NaN and zeros do not count."""
    empty = np.isnan(matrices).all((1, 2, 3)) | ~matrices.any((1, 2, 3))
    off = np.abs(matrices @ matrices.swapaxes(-1, -2) - np.eye(3, dtype=np.float32)).max((1, 2, 3))
    with np.errstate(invalid='ignore'):  # NaN marks bodies that are not there
        off = np.maximum(off, np.where(np.linalg.det(matrices).min(1) > 0, 0, 1))
    return ~(off < _ORTHONORMAL) & ~empty


def _per_row(source: Path, field: str, value: Array, axes: int, lead: tuple[int, ...]) -> Array:
    """Return the value of a field for each body; repeat values that bodies share.

    Raises:
        DataError: The shape fits neither the bodies nor a sequence, image or file of them.
    """
    count = int(np.prod(lead, dtype=np.int64))
    tail = value.shape[value.ndim - axes :]
    axes_of_field = value.shape[: value.ndim - axes]
    number = int(np.prod(axes_of_field, dtype=np.int64))
    if number == count:
        return value.reshape(count, *tail)
    shared = ('betas', 'extrinsics', 'camera', 'imgname', 'gender', 'track', 'frame')
    if axes_of_field in ((1,), (1, 1)) and len(lead) == 1:
        axes_of_field = ()
    if field in shared and axes_of_field == lead[: len(axes_of_field)]:
        expanded = value.reshape(*axes_of_field, *(1,) * (len(lead) - len(axes_of_field)), *tail)
        return np.broadcast_to(expanded, (*lead, *tail)).reshape(count, *tail)
    raise DataError(
        f'{source}: {field}: found shape {value.shape}, expected one for each of {count} bodies'
        + (f' {lead}' if len(lead) > 1 else '')
    )
