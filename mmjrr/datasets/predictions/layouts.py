"""Tables of where the results files of other code bases keep which field.

A layout is data: for each field a path into the nested dicts and lists of the file. The steps of a
path are separated by dots:

- ``*`` is every element of a dict or list, ``@`` the key of the element that was reached;
- a number is an element of a list, or an integer key of a dict;
- a list of dicts is traversed without a step;
- ``name[3:75]`` is columns 3 to 74 of an array's last axis, ``[0:72]`` those of the file's only
  array, ``name[0]`` one column;
- ``a|b`` is ``a`` where the file has it, otherwise ``b``; ``a+b`` is ``a`` and ``b`` side by side.

A key that itself holds dots is found too (``smpl.body_pose`` in a flat file).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmjrr.errors import DataError

#: Fields that are read, and what each holds.
FIELDS = {
    'imgname': 'image names',
    'vertices': '(N, V, 3)',
    'pose': '24 rotations, the global one first',
    'root': "one rotation that is applied after the pose's own (EasyMocap's Rh)",
    'global_orient': 'one rotation',
    'body_pose': '23 rotations',
    'betas': '(N, K)',
    'transl': '(N, 3)',
    'camera': '(N, C)',
    'frame': "number of the frame in its video, from 0 (for images' names)",
    'gender': "'neutral', 'male' or 'female'",
    'track': 'identity of the person over frames',
    'bbox': '(N, 4) in the image, width and height last',
    'lost': 'frames since the person was seen; bodies that are not 0 are left out',
}
#: Ways to store a rotation in 6 numbers.
ROTATIONS_6D = ('interleaved', 'columns', 'rows')
#: Fields that say the body; naming one of them means naming all that are to be read.
BODY_FIELDS = ('vertices', 'pose', 'root', 'global_orient', 'body_pose', 'betas')

Keys = tuple[Any, ...]


@dataclass(frozen=True)
class Layout:
    """One way to store results.

    Args:
        name: name to ask for it by.
        about: who writes it, as it continues 'results.npz: ...'.
        needs: paths that must all be there for the layout to be recognized; ``path:82`` is an
            array whose last axis has 82 columns.
        fields: path of each of :data:`FIELDS`; those that are not in the file are skipped.
    """

    name: str
    about: str
    needs: tuple[str, ...]
    fields: Mapping[str, str]

    def fits(self, tree: Any) -> bool:
        """Tell whether all that is needed is there."""
        return all(_is_there(tree, need) for need in self.needs)


_NAMES = (
    'imgname|image_path|img_path|image_name|img_name|image|file_name|filename|frame_path|imgnames'
    '|image_paths|img_names|image_names'
)

#: Layouts in the order in which they are tried.
LAYOUTS = (
    Layout(
        'mmhuman3d',
        "MMHuman3D's HumanData",
        ('smpl.body_pose', 'smpl.global_orient', 'smpl.betas', 'image_path'),
        {
            'imgname': 'image_path',
            'global_orient': 'smpl.global_orient',
            'body_pose': 'smpl.body_pose',
            'betas': 'smpl.betas',
            'transl': 'smpl.transl',
            'vertices': 'verts|vertices',
            'camera': 'pred_cams',
            'frame': 'frame_id',
            'gender': 'meta.gender',
        },
    ),
    Layout(
        'mmhuman3d-results',
        "what MMHuman3D's models return",
        ('smpl_pose', 'smpl_beta|smpl_betas'),
        {
            'imgname': 'image_path',
            'pose': 'smpl_pose',
            'betas': 'smpl_beta|smpl_betas',
            'vertices': 'vertices',
            'camera': 'camera',
        },
    ),
    Layout(
        'mmhuman3d-json',
        "MMHuman3D's result_keypoints.json",
        ('keypoints', 'poses', 'betas'),
        {'pose': 'poses', 'betas': 'betas'},
    ),
    Layout(
        'vibe',
        "VIBE's or WHAM's output: persons and their frames",
        ('*.frame_ids', '*.pose', '*.betas'),
        {
            'frame': '*.frame_ids',
            'track': '*.@',
            'pose': '*.pose',
            'betas': '*.betas',
            'vertices': '*.verts',
            'transl': '*.trans',
            'camera': '*.pred_cam',
            'bbox': '*.bboxes',
        },
    ),
    Layout(
        '4d-humans',
        "4D-Humans' tracks, as PHALP writes them: frames and their persons",
        ('*.smpl.global_orient', '*.smpl.body_pose', '*.smpl.betas', '*.tracked_time'),
        {
            'imgname': '*.frame_path|*.@',
            'track': '*.tid.*',
            'global_orient': '*.smpl.global_orient',
            'body_pose': '*.smpl.body_pose',
            'betas': '*.smpl.betas',
            'camera': '*.camera.*',
            'bbox': '*.bbox.*',
            'lost': '*.tracked_time.*',
            'frame': '*.time',
        },
    ),
    Layout(
        'easymocap',
        "EasyMocap's persons by image, root rotation in Rh",
        ('*.Rh', '*.poses', '*.shapes'),
        {
            'imgname': '*.@',
            'track': '*.id',
            'root': '*.Rh',
            'pose': '*.poses',
            'betas': '*.shapes',
            'transl': '*.Th',
        },
    ),
    Layout(
        'easymocap-frame',
        "EasyMocap's persons, root rotation in Rh",
        ('Rh|annots.Rh', 'poses|annots.poses', 'shapes|annots.shapes'),
        {
            'track': 'id|annots.id',
            'root': 'Rh|annots.Rh',
            'pose': 'poses|annots.poses',
            'betas': 'shapes|annots.shapes',
            'transl': 'Th|annots.Th',
        },
    ),
    Layout(
        'mmengine',
        'predictions of a model under MMEngine',
        ('pred_vertices|pred_body_pose',),
        {
            'imgname': _NAMES,
            'vertices': 'pred_vertices',
            'global_orient': 'pred_global_orient',
            'body_pose': 'pred_body_pose',
            'betas': 'pred_betas',
            'transl': 'pred_transl',
            'camera': 'pred_camera|pred_cam',
            'gender': 'gender',
        },
    ),
    Layout(
        'spin',
        "SPIN's layout",
        ('pose', 'betas|shape'),
        {
            'imgname': _NAMES,
            'vertices': 'vertices|verts',
            'pose': 'pose',
            'betas': 'betas|shape',
            'transl': 'transl',
            'camera': 'camera',
            'gender': 'gender',
        },
    ),
    Layout(
        'plain',
        'fields under their usual names',
        ('vertices|verts|body_pose',),
        {
            'imgname': _NAMES,
            'vertices': 'vertices|verts',
            'global_orient': 'global_orient',
            'body_pose': 'body_pose',
            'betas': 'betas|shape',
            'transl': 'transl',
            'camera': 'camera|pred_cam',
            'gender': 'gender',
        },
    ),
    Layout(
        'theta-85',
        'an array with camera (3), pose (72) and betas (10)',
        (':85',),
        {'camera': '[0:3]', 'pose': '[3:75]', 'betas': '[75:85]'},
    ),
    Layout(
        'theta-82',
        'an array with pose (72) and betas (10)',
        (':82',),
        {'pose': '[0:72]', 'betas': '[72:82]'},
    ),
    Layout(
        'by-image',
        'a dict by image name',
        ('*.vertices|*.verts|*.pose|*.body_pose',),
        {
            'imgname': '*.@',
            'vertices': '*.vertices|*.verts',
            'pose': '*.pose',
            'global_orient': '*.global_orient',
            'body_pose': '*.body_pose',
            'betas': '*.betas|*.shape',
            'transl': '*.transl',
            'gender': '*.gender',
        },
    ),
)

#: Name of the layout that :func:`detect_by_words` finds, and how it is described.
BY_WORDS = Layout('words', 'fields recognized by their names', (), {})


_VALUES = (int, float, str, bytes, type(None))


def recognize(tree: Any) -> Layout | None:
    """Return the first layout that fits, or None."""
    fields = _without_values(tree)
    return next((layout for layout in LAYOUTS if layout.fits(fields)), None)


def _without_values(tree: Any) -> Any:
    """Return a tree without the items of lists in which there are only values.

    No path leads into such a list. Each need of each layout would go through millions of numbers.
    """
    if isinstance(tree, Mapping):
        return {key: _without_values(item) for key, item in tree.items()}
    if isinstance(tree, (list, tuple)):
        items = [item if isinstance(item, _VALUES) else _without_values(item) for item in tree]
        return items if any(not isinstance(i, _VALUES) and not _is_empty(i) for i in items) else ()
    return tree


def _is_empty(tree: Any) -> bool:
    return isinstance(tree, tuple) and not tree


def _is_there(tree: Any, need: str) -> bool:
    path, _, width = need.partition(':')
    for _, value in follow(tree, path):
        return not width or (isinstance(value, np.ndarray) and value.shape[-1:] == (int(width),))
    return False


# -- paths ---------------------------------------------------------------------------------------

_COLUMNS = re.compile(r'(.*)\[(-?\d*)(:?)(-?\d*)\]')


def follow(tree: Any, path: str) -> Iterator[tuple[Keys, Any]]:
    """Yield what lies at a path, with the keys that were passed on the way.

    Raises:
        DataError: arrays that are to be joined, or columns that are to be taken, do not fit.

    >>> list(follow({'p': {'x': 1}, 'q': {'x': 2}}, '*.x'))
    [(('p',), 1), (('q',), 2)]
    >>> list(follow([{'x': 1}, {'y': 2}], 'z|x'))
    [((0,), 1)]
    >>> list(follow({'a': np.zeros((4, 85))}, 'a[3:75]'))[0][1].shape
    (4, 72)
    >>> list(follow({'Rh': np.zeros((1, 3)), 'poses': np.zeros((1, 69))}, 'Rh+poses'))[0][1].shape
    (1, 72)
    """
    if isinstance(tree, Mapping) and path in tree:
        yield (), tree[path]
        return
    for alternative in path.split('|'):
        leaves = _joined(tree, alternative.split('+'))
        first = next(leaves, None)
        if first is not None:
            yield first
            yield from leaves
            return


def alternatives(tree: Any, path: str) -> list[str]:
    """Return those of a path's alternatives that lead anywhere.

    >>> alternatives({'betas': 1, 'shape': 2}, 'beta|betas|shape')
    ['betas', 'shape']
    """
    return [part for part in path.split('|') if next(follow(tree, part), None) is not None]


def _joined(tree: Any, paths: Sequence[str]) -> Iterator[tuple[Keys, Any]]:
    if len(paths) == 1:
        yield from _columns(tree, paths[0])
        return
    leaves = [dict(_columns(tree, path)) for path in paths]
    for keys in leaves[0]:
        if all(keys in other for other in leaves):
            yield keys, _side_by_side(paths, [np.asarray(other[keys]) for other in leaves])


def _side_by_side(paths: Sequence[str], arrays: list[np.ndarray]) -> np.ndarray:
    """Join arrays along what follows the leading axes that they have in common."""
    shapes = [array.shape for array in arrays]
    most = min(map(len, shapes)) - 1
    lead = 0
    while lead < most and len({shape[lead] for shape in shapes}) == 1:
        lead += 1
    try:
        if most and not lead:
            raise ValueError('the first axes differ')
        return np.concatenate([array.reshape(*shapes[0][:lead], -1) for array in arrays], axis=-1)
    except ValueError as error:
        raise DataError(f'{"+".join(paths)}: shapes {shapes} do not go side by side') from error


def _columns(tree: Any, path: str) -> Iterator[tuple[Keys, Any]]:
    match = _COLUMNS.fullmatch(path)
    if match is None:
        yield from _walk(tree, path.split('.') if path else [], ())
        return
    name, first, colon, last = match.groups()
    for keys, value in _walk(tree, name.split('.') if name else [], ()):
        array = np.asarray(value)
        if not array.ndim or not (first or colon):
            raise DataError(f'{path}: found shape {array.shape}, which has no columns')
        width = array.shape[-1]
        bounds = [int(text) for text in (first, last) if text]
        if any(not -width <= bound <= width for bound in bounds):
            raise DataError(f'{path}: found shape {array.shape}, whose last axis has {width}')
        if colon:
            yield (
                keys,
                array[..., slice(int(first) if first else None, int(last) if last else None)],
            )
        elif int(first) >= width:
            raise DataError(f'{path}: found shape {array.shape}, whose last axis has {width}')
        else:
            yield keys, array[..., int(first)]


def _walk(tree: Any, steps: Sequence[str], keys: Keys) -> Iterator[tuple[Keys, Any]]:
    if not steps:
        if tree is not None:
            yield keys, tree
        return
    step, rest = steps[0], steps[1:]
    if step == '@':
        if keys:
            yield keys, keys[-1]
    elif isinstance(tree, Mapping):
        if step == '*':
            for key, item in tree.items():
                yield from _walk(item, rest, (*keys, key))
            return
        for length in range(len(steps), 0, -1):  # a key may hold dots itself
            key = '.'.join(steps[:length])
            if key in tree:
                yield from _walk(tree[key], steps[length:], keys)
                return
        if step.isdigit() and int(step) in tree:
            yield from _walk(tree[int(step)], rest, keys)
    elif isinstance(tree, (list, tuple)) or _holds_objects(tree):
        if step.isdigit():
            if int(step) < len(tree):
                yield from _walk(tree[int(step)], rest, keys)
            return
        inner = rest if step == '*' else steps
        for index, item in enumerate(tree):
            yield from _walk(item, inner, (*keys, index))
    elif step == '*' and isinstance(tree, np.ndarray) and tree.ndim:
        for index, item in enumerate(tree):
            yield from _walk(item, rest, (*keys, index))


def _holds_objects(tree: Any) -> bool:
    return isinstance(tree, np.ndarray) and tree.dtype.hasobject and tree.ndim == 1


# -- fields by their names -----------------------------------------------------------------------

#: Names of fields in repositories, without what says whose they are.
WORDS = {
    'vertices': ('vertices', 'verts', 'mesh', 'meshes', 'mesh_vertices'),
    'pose': (
        'pose', 'poses', 'theta', 'thetas', 'full_pose', 'fullpose', 'rotmat', 'rotmats',
        'pose_rotmat', 'pose_aa',
    ),
    'root': ('rh',),
    'global_orient': (
        'global_orient', 'global_orientation', 'root_orient', 'root_orientation', 'root_pose',
        'orient',
    ),
    'body_pose': ('body_pose', 'pose_body', 'body_poses', 'poses_body'),
    'betas': ('betas', 'beta', 'shape', 'shapes', 'shape_params'),
    'transl': ('transl', 'trans', 'translation', 'th'),
    'camera': ('camera', 'cam'),
    'imgname': tuple(_NAMES.split('|')),
    'frame': ('frame_ids', 'frame_id', 'frame_idx'),
    'gender': ('gender', 'genders'),
    'track': ('track_id', 'track_ids', 'tid', 'person_id', 'id'),
    'bbox': ('bbox', 'bboxes'),
}  # fmt: skip
_FIELD_OF = {word: field for field, words in WORDS.items() for word in words}
#: Words beside a field's name that say whose it is.
_PREDICTED = {'pred', 'preds', 'predicted', 'prediction', 'predictions', 'est', 'estimated',
              'estimate', 'estimates', 'hat', 'output', 'outputs', 'result', 'results'}  # fmt: skip
_ANNOTATED = {'gt', 'gts', 'target', 'targets', 'true', 'truth', 'groundtruth', 'label', 'labels'}
_SMPL = {'smpl', 'params', 'param', 'parameters'}
PREDICTED, UNSAID, ANNOTATED = 2, 1, 0


@dataclass(frozen=True)
class Candidate:
    """A field of a file, recognized by its name.

    Args:
        field: the one of :data:`FIELDS` that it may be.
        path: where it is.
        rank: :data:`PREDICTED`, :data:`UNSAID` or :data:`ANNOTATED`, from words in its path.
    """

    field: str
    path: str
    rank: int


def candidates(tree: Any) -> list[Candidate]:
    """Return all fields of a file that are recognized by their names, in its order.

    >>> [c.path for c in candidates({'pose': 1, 'pred': {'theta': 2}, 'other': 3})]
    ['pose', 'pred.theta']
    """
    recognized: dict[str, Candidate] = {}
    for path in _paths(tree, 4):
        name, rank = _reduced(path)
        field = _FIELD_OF.get(name)
        if field is not None:
            recognized.setdefault(path, Candidate(field, path, rank))
    return list(recognized.values())


def _reduced(path: str) -> tuple[str, int]:
    """Split a path into the name of its field and what it says about whose the field is."""
    steps = [[word for word in re.split(r'[_\W]+', step.lower()) if word]
             for step in path.split('.')]  # fmt: skip
    words = {word for step in steps for word in step}
    rank = UNSAID
    if words & _ANNOTATED:
        rank = ANNOTATED
    elif words & _PREDICTED:
        rank = PREDICTED
    name = [word for word in steps[-1] if word not in _ANNOTATED | _PREDICTED | _SMPL]
    return '_'.join(name), rank


def _paths(tree: Any, depth: int) -> Iterator[str]:
    """Yield paths of arrays, lists of values and text; elements of collections as ``*``."""
    if isinstance(tree, (list, tuple)) or _holds_objects(tree):
        for item in list(tree[:3]):
            if isinstance(item, (Mapping, list, tuple)) and depth:
                yield from _paths(item, depth - 1)
        return
    if not isinstance(tree, Mapping) or not depth:
        return
    if _is_collection(tree):
        yield from (f'*.{path}' for item in list(tree.values())[:8] for path in _paths(item, depth))
        return
    for key, item in tree.items():
        if not isinstance(key, str):
            continue
        inner = [f'{key}.{path}' for path in _paths(item, depth - 1)]
        yield from inner or [key]


def _is_collection(tree: Mapping[Any, Any]) -> bool:
    """Tell a dict of images or persons, perhaps with some metadata, from a dict of fields."""
    named = sum(_is_name(key) and _holds_fields(item) for key, item in tree.items())
    return named > len(tree) / 2


def _is_name(key: Any) -> bool:
    """Tell a number or an image's or person's name from the name of a field."""
    if not isinstance(key, str):
        return True
    return any(c.isdigit() or c in './' for c in key) and _reduced(key)[0] not in _FIELD_OF


def _holds_fields(item: Any) -> bool:
    if isinstance(item, (list, tuple)):
        return not item or isinstance(item[0], Mapping)
    return isinstance(item, Mapping)


# -- messages ------------------------------------------------------------------------------------


def describe(tree: Any) -> str:
    """Describe in a line what a file holds."""
    text = _described(tree, 3)
    return text if len(text) < 600 else text[:600] + ' ...'


def _described(tree: Any, depth: int) -> str:
    if isinstance(tree, Mapping):
        shown = list(tree.items())[:12]
        items = [
            f'{key}: {_described(item, depth - 1)}' if depth else str(key) for key, item in shown
        ]
        return '{' + ', '.join(items) + (', ...' if len(tree) > len(shown) else '') + '}'
    if isinstance(tree, (list, tuple)):
        inner = f', the first {_described(tree[0], depth - 1)}' if len(tree) and depth else ''
        return f'a list of {len(tree)}{inner}'
    if isinstance(tree, np.ndarray):
        return f'{tree.dtype} {tree.shape}'
    return type(tree).__name__
