"""Where results of other code bases keep what; recognised by the names of their fields.

A layout is data: for each field a path into the nested dicts and lists of the file. The steps of
a path are separated by dots. ``*`` stands for every element of a dict or list, ``@`` for the key
of the element that was reached; a list of dicts is gone through without saying so; a number picks
from a list. ``a|b`` is ``a`` where that is there, else ``b``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: What can be read, and what it is.
FIELDS = {
    'imgname': 'image names',
    'vertices': '(N, V, 3)',
    'pose': '24 rotations, the global one first',
    'global_orient': 'one rotation',
    'body_pose': '23 rotations',
    'betas': '(N, K)',
    'transl': '(N, 3)',
    'camera': '(N, C)',
    'frame': "number of the frame in its video, from 0 (for images' names)",
    'lost': 'how many frames ago the person was seen; what is not 0 is left out',
}
#: Fields that say the body; naming one of them means naming all that are there.
BODY_FIELDS = ('vertices', 'pose', 'global_orient', 'body_pose', 'betas')

Keys = tuple[Any, ...]


@dataclass(frozen=True)
class Layout:
    """One way to keep results.

    Args:
        name: to ask for it by.
        about: who writes it, as 'read as ...' goes on.
        needs: paths that must all be there for it to be recognised.
        fields: path of each of :data:`FIELDS`; those that are not in the file are skipped.
    """

    name: str
    about: str
    needs: tuple[str, ...]
    fields: Mapping[str, str]

    def fits(self, tree: Any) -> bool:
        """Whether all that is needed is there."""
        return all(exists(tree, path) for path in self.needs)


_NAMES = 'imgname|image_path|img_path|image_name|img_name|image|file_name|filename|frame_path'

#: In the order in which they are tried.
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
            'pose': '*.pose',
            'betas': '*.betas',
            'vertices': '*.verts',
            'transl': '*.trans',
            'camera': '*.pred_cam',
        },
    ),
    Layout(
        '4d-humans',
        "4D-Humans' tracks, as PHALP writes them: frames and their persons",
        ('*.smpl.global_orient', '*.smpl.body_pose', '*.smpl.betas', '*.tracked_time'),
        {
            'imgname': '*.frame_path|*.@',
            'global_orient': '*.smpl.global_orient',
            'body_pose': '*.smpl.body_pose',
            'betas': '*.smpl.betas',
            'camera': '*.camera.*',
            'lost': '*.tracked_time.*',
            'frame': '*.time',
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
        },
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
        },
    ),
)


def recognise(tree: Any) -> Layout | None:
    """The first layout that fits."""
    return next((layout for layout in LAYOUTS if layout.fits(tree)), None)


def exists(tree: Any, path: str) -> bool:
    """Whether a path leads anywhere."""
    return next(follow(tree, path), None) is not None


def follow(tree: Any, path: str) -> Iterator[tuple[Keys, Any]]:
    """What lies at a path, with the keys that were passed on the way.

    >>> list(follow({'p': {'x': 1}, 'q': {'x': 2}}, '*.x'))
    [(('p',), 1), (('q',), 2)]
    >>> list(follow([{'x': 1}, {'y': 2}], 'z|x'))
    [((0,), 1)]
    """
    for alternative in path.split('|'):
        found = _walk(tree, alternative.split('.'), ())
        first = next(found, None)
        if first is not None:
            yield first
            yield from found
            return


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
        elif step in tree:
            yield from _walk(tree[step], rest, keys)
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


def describe(tree: Any) -> str:
    """What a file holds, in a line."""
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
