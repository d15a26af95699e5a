"""Layouts of results files: tables of the paths at which other code bases store each field.

A path leads into the nested dicts and lists of a file. Dots separate its steps:

- ``*`` is every element of a dict or list, ``@`` the key of the last such element;
- a number is an element of a list, or an integer key of a dict;
- a list of dicts is traversed without a step;
- ``name[3:75]`` is columns 3 to 74 of an array's last axis, ``name[0]`` one column, ``[0:72]``
  columns 0 to 71 of a file that is one array;
- ``array#`` is the numbers of an array's rows, from 0;
- ``names{rows}`` is the elements of ``names`` at the numbers in ``rows``;
- ``a|b`` is ``a`` if the file has it, otherwise ``b``; ``a+b`` is ``a`` and ``b`` side by side.

A key can contain dots itself (``smpl.body_pose`` in a flat file).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.errors import DataError

#: Names and contents of the fields that are read.
FIELDS = {
    'imgname': 'image names',
    'vertices': '(N, V, 3)',
    'pose': '24 rotations, the global one first; 52 of SMPL-H, 55 of SMPL-X',
    'root': "one rotation, applied after the pose's global one (EasyMocap's Rh)",
    'global_orient': 'one rotation',
    'body_pose': '23 rotations; 21 of SMPL-H and SMPL-X',
    'betas': '(N, K)',
    'transl': '(N, 3)',
    'camera': '(N, C)',
    'frame': 'number of the frame in its video, from 0 (makes image names)',
    'gender': "'neutral', 'male' or 'female'",
    'track': 'identity of the person over frames',
    'bbox': '(N, 4) in the image, width and height last',
    'extrinsics': '(N, 4, 4) or (N, 3, 3), world to camera; turns roots and moves vertices',
    'valid': 'whether a frame shows the person',
    'lost': 'frames since the person was seen; bodies other than 0 are skipped',
}
#: Further fields of SMPL-H and SMPL-X, which are read next to ``body_pose`` under these names.
HANDS_AND_FACE = (
    'left_hand_pose',
    'right_hand_pose',
    'jaw_pose',
    'leye_pose',
    'reye_pose',
    'expression',
)
#: Ways to store a rotation in 6 numbers.
ROTATIONS_6D = ('interleaved', 'columns', 'rows')
#: Fields of the body; a caller that names the path of one must name those of all.
BODY_FIELDS = ('vertices', 'pose', 'root', 'global_orient', 'body_pose', 'betas')

Keys = tuple[Any, ...]


@dataclass(frozen=True)
class Layout:
    """Layout of a results file.

    Args:
        name: Name of the layout, as ``layout=`` takes it.
        about: Description that continues 'results.npz: ...'.
        needs: Paths that a file must all have to be recognized; ``path:82`` is an array whose last
            axis has 82 columns, ``path:mesh`` one of vertices (N, V, 3).
        fields: Path of each of :data:`FIELDS`; paths that a file does not have are skipped.
        source: Repository, commit and file whose writer was read; '' if many write this layout.
        name_format: Pattern that makes image names from frame numbers, as in
            :func:`~mmjrr.datasets.predictions.read_predictions`; '' if the file has names.
        body: Kind of the body of poses with 21 rotations ('smplx'), which the fields alone do not
            tell from SMPL-H's; '' if the layout does not say it.
        half_turn: Axis ('x') about which the writer turns vertices by 180 degrees; the reader turns
            them back. Such a layout is never recognized, only named.
    """

    name: str
    about: str
    needs: tuple[str, ...]
    fields: Mapping[str, str]
    source: str = ''
    name_format: str = ''
    body: str = ''
    half_turn: str = ''

    def fits(self, tree: Any) -> bool:
        """Return whether a file has all the paths that the layout needs."""
        return all(_is_there(tree, need) for need in self.needs)


_NAMES = (
    'imgname|image_path|img_path|image_name|img_name|image|file_name|filename|frame_path|imgnames'
    '|image_paths|img_names|image_names'
)

#: Layouts, in the order in which :func:`recognize` tries them.
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
        'mkocabas/VIBE, 851f779, demo.py; yohanshin/WHAM, 2b54f77, demo.py; '
        'mkocabas/PARE, f848b2f, pare/core/tester.py; HongwenZhang/PyMAF, c866830, demo.py',
    ),
    Layout(
        'tram',
        "TRAM's tracks (hps_track_0.npy)",
        ('pred_rotmat', 'pred_shape', 'pred_trans', 'frame'),
        {
            'frame': 'frame',
            'pose': 'pred_rotmat',
            'betas': 'pred_shape',
            'transl': 'pred_trans',
            'camera': 'pred_cam',
        },
        'yufu-wang/tram, 4861c11, lib/models/hmr_vimo.py',
    ),
    Layout(
        'gvhmr',
        "GVHMR's hmr4d_results.pt, bodies in the camera's frame",
        ('smpl_params_incam.global_orient', 'smpl_params_incam.body_pose'),
        {
            'frame': 'smpl_params_incam.global_orient#',
            'global_orient': 'smpl_params_incam.global_orient',
            'body_pose': 'smpl_params_incam.body_pose',
            'betas': 'smpl_params_incam.betas',
            'transl': 'smpl_params_incam.transl',
        },
        'zju3dv/GVHMR, 44fbc19, hmr4d/model/gvhmr/gvhmr_pl_demo.py',
        body='smplx',
    ),
    Layout(
        'prompthmr',
        "PromptHMR's results.pkl, bodies in the camera's frame",
        ('people.*.smplx_cam.pose', 'people.*.frames'),
        {
            'frame': 'people.*.frames',
            'track': 'people.*.@',
            'pose': 'people.*.smplx_cam.pose[0:66]',
            'betas': 'people.*.smplx_cam.shape',
            'transl': 'people.*.smplx_cam.trans',
        },
        'yufu-wang/PromptHMR, ea85d0a, pipeline/phmr_vid.py',
        body='smplx',
    ),
    Layout(
        'smpler-x',
        "SMPLer-X's npz of a person",
        (
            'global_orient',
            'body_pose',
            'left_hand_pose',
            'jaw_pose',
            'leye_pose',
            'expression',
            'betas',
            'transl',
        ),
        {
            'global_orient': 'global_orient',
            'body_pose': 'body_pose',
            'betas': 'betas',
            'transl': 'transl',
        },
        'caizhongang/SMPLer-X, 07f7a37, main/inference.py',
        body='smplx',
    ),
    Layout(
        'cliff',
        "CLIFF's npz: a row for each detection, names for each image",
        ('pose', 'shape', 'global_t', 'detection_all', 'imgname'),
        {
            'imgname': 'imgname{detection_all[0]}',
            'pose': 'pose',
            'betas': 'shape',
            'transl': 'global_t',
        },
        'haofanwang/CLIFF, f38cad8, demo.py; huawei-noah/noah-research, aa0f80c, CLIFF/demo.py',
    ),
    Layout(
        'romp',
        "ROMP's or BEV's npz of an image",
        ('results.smpl_thetas', 'results.smpl_betas'),
        {
            'pose': 'results.smpl_thetas',
            'betas': 'results.smpl_betas',
            'transl': 'results.cam_trans',
            'track': 'results.track_ids',
        },
        'Arthur151/ROMP, a8558ae, simple_romp/romp/utils.py',
    ),
    Layout(
        'romp-video',
        "ROMP's or BEV's video_results.npz",
        ('results.*.smpl_thetas', 'results.*.smpl_betas'),
        {
            'imgname': 'results.*.@',
            'pose': 'results.*.smpl_thetas',
            'betas': 'results.*.smpl_betas',
            'transl': 'results.*.cam_trans',
            'track': 'results.*.track_ids',
        },
        'Arthur151/ROMP, a8558ae, simple_romp/romp/utils.py',
    ),
    Layout(
        'pare-image',
        "PARE's pkl of an image",
        ('pred_pose', 'pred_shape', 'smpl_vertices'),
        {'pose': 'pred_pose', 'betas': 'pred_shape', 'camera': 'orig_cam'},
        'mkocabas/PARE, f848b2f, pare/core/tester.py',
    ),
    Layout(
        'hybrik',
        "HybrIK's res.pk",
        ('pred_thetas', 'pred_betas', 'img_path'),
        {
            'imgname': 'img_path',
            'pose': 'pred_thetas',
            'betas': 'pred_betas',
            'transl': 'transl',
            'camera': 'pred_camera',
        },
        'Jeff-sjtu/HybrIK, 9b8681d, scripts/demo_video.py',
    ),
    Layout(
        'sam-3d-body',
        "SAM 3D Body's persons in an image, as its estimator returns them",
        ('pred_vertices', 'pred_cam_t'),
        {'imgname': _NAMES, 'vertices': 'pred_vertices', 'transl': 'pred_cam_t'},
        'facebookresearch/sam-3d-body, b5c765a, sam_3d_body/sam_3d_body_estimator.py',
    ),
    Layout(
        'multi-hmr',
        "Multi-HMR's persons in an image, as its model returns them",
        ('v3d', 'rotvec'),
        {'imgname': _NAMES, 'vertices': 'v3d'},
        'naver/multi-hmr, 651fb41, model.py',
    ),
    Layout(
        '3dpw',
        "3DPW's sequence file, turned into the camera's frame",
        ('poses', 'betas', 'cam_poses', 'campose_valid', 'sequence'),
        {
            'frame': 'cam_poses#',
            'track': 'poses.*.@',
            'pose': 'poses.*',
            'betas': 'betas.*[:10]',
            'gender': 'genders.*',
            'extrinsics': 'cam_poses',
            'valid': 'campose_valid.*',
        },
        'nkolot/SPIN, 2476c43, datasets/preprocess/pw3d.py',
        '{file}/image_{frame:05d}',
    ),
    Layout(
        'emdb',
        "EMDB's sequence file, turned into the camera's frame",
        ('smpl.poses_root', 'smpl.poses_body', 'smpl.betas', 'camera.extrinsics'),
        {
            'frame': 'smpl.poses_root#',
            'global_orient': 'smpl.poses_root',
            'body_pose': 'smpl.poses_body',
            'betas': 'smpl.betas',
            'gender': 'gender',
            'extrinsics': 'camera.extrinsics',
            'valid': 'good_frames_mask',
        },
        'eth-ait/emdb, 9a4eab6, dataset.md',
        '{parent}/{folder}/images/{frame:05d}',
    ),
    Layout(
        'neuralannot-h36m',
        "NeuralAnnot's bodies of Human3.6M, turned into each camera's frame",
        ('neuralannot_h36m.body_pose',),
        {
            'imgname': 'neuralannot_h36m.imgname',
            'global_orient': 'neuralannot_h36m.root_pose',
            'body_pose': 'neuralannot_h36m.body_pose',
            'betas': 'neuralannot_h36m.shape',
        },
        'mks0601/NeuralAnnot_RELEASE, e747c2d, Human3.6M/demo_smpl.py',
        body='smplx',
    ),
    Layout(
        'neuralannot',
        "NeuralAnnot's JSON: bodies by annotation",
        ('*.smpl_param.pose', '*.smpl_param.shape', '*.cam_param'),
        {
            'imgname': '*.@',
            'pose': '*.smpl_param.pose',
            'betas': '*.smpl_param.shape',
            'transl': '*.smpl_param.trans',
        },
        'mks0601/NeuralAnnot_RELEASE, 7117815, MPII/demo_smpl.py',
    ),
    Layout(
        'neuralannot-smplx',
        "NeuralAnnot's JSON of SMPL-X: bodies by annotation",
        ('*.smplx_param.root_pose', '*.smplx_param.body_pose', '*.cam_param'),
        {
            'imgname': '*.@',
            'global_orient': '*.smplx_param.root_pose',
            'body_pose': '*.smplx_param.body_pose',
            'betas': '*.smplx_param.shape',
            'transl': '*.smplx_param.trans',
        },
        'mks0601/NeuralAnnot_RELEASE, e747c2d, MPII/demo_smplx.py',
        body='smplx',
    ),
    Layout(
        'bedlam',
        "BEDLAM's npz, bodies in the camera's frame",
        ('pose_cam', 'shape', 'trans_cam', 'imgname'),
        {
            'imgname': 'imgname',
            'pose': 'pose_cam',
            'betas': 'shape',
            'transl': 'trans_cam',
            'gender': 'gender',
        },
        'pixelite1201/BEDLAM, 9ad6adf, data_processing/df_full_body.py',
        body='smplx',
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
        'brjathu/PHALP, 96f7e6c, phalp/trackers/PHALP.py',
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
            'bbox': 'bbox_xywh',
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
        'hmr2',
        "meshes of 4D-Humans' demo, turned back by 180 degrees about x",
        ('vertices',),
        {'vertices': 'vertices'},
        'shubham-goel/4D-Humans, 6ec7965, demo.py',
        half_turn='x',
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
        'mesh-array',
        'an array of meshes',
        (':mesh',),
        {'vertices': ''},
        'naver/multi-hmr, 651fb41, demo.py',
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

#: Layout of files whose fields are recognized by their names (:func:`candidates`).
BY_WORDS = Layout('words', 'fields recognized by their names', (), {})


#: Number of points in an array (N, n, 3) above which they are vertices, not joints.
_MAX_JOINTS = 200

_VALUES = (int, float, str, bytes, type(None))


def recognize(tree: Any) -> Layout | None:
    """Return the first layout that fits a file, or None."""
    seen: set[str] = set()
    fields = _without_values(tree, seen)
    return next(
        (
            layout
            for layout in LAYOUTS
            if not layout.half_turn
            and all(_last_keys(need) & {'', *seen} for need in layout.needs)
            and layout.fits(fields)
        ),
        None,
    )


def _last_keys(need: str) -> set[str]:
    """Return the last keys of the paths in one of the ``needs`` of a layout; '' for the root."""
    return {path.partition(':')[0].rpartition('.')[2] for path in need.split('|')}


#: Last keys of the paths that layouts need.
_LAST_KEYS = {key for layout in LAYOUTS for need in layout.needs for key in _last_keys(need)}


def _without_values(tree: Any, seen: set[str]) -> Any:
    """Return a tree in which objects and lists that no layout needs are empty.

    Every path that a layout needs ends in a key. A list of plain values, and an object without such
    a key, therefore count for nothing, and checking the needs of each layout would otherwise
    traverse millions of them.

    Args:
        tree: The content of a file.
        seen: The last keys of needed paths that are in the tree, which are added.
    """
    if isinstance(tree, Mapping):
        fields = {key: _without_values(item, seen) for key, item in tree.items()}
        keys = {key.rpartition('.')[2] for key in fields if isinstance(key, str)} & _LAST_KEYS
        seen |= keys
        return fields if keys or any(map(_counts, fields.values())) else ()
    if isinstance(tree, (list, tuple)):
        items = [i if isinstance(i, _VALUES) else _without_values(i, seen) for i in tree]
        return items if any(map(_counts, items)) else ()
    return tree


def _counts(tree: Any) -> bool:
    return not isinstance(tree, _VALUES) and not (isinstance(tree, tuple) and not tree)


def _is_there(tree: Any, need: str) -> bool:
    """Return whether a file has one of the ``needs`` of a layout."""
    path, _, width = need.partition(':')
    for _, value in follow(tree, path):
        if width == 'mesh':
            return (
                isinstance(value, np.ndarray)
                and value.ndim == 3
                and value.shape[-1] == 3
                and value.shape[-2] > _MAX_JOINTS
            )
        return not width or (isinstance(value, np.ndarray) and value.shape[-1:] == (int(width),))
    return False


# -- paths ---------------------------------------------------------------------------------------

_COLUMNS = re.compile(r'(.*)\[(-?\d*)(:?)(-?\d*)\]')
_ROWS = re.compile(r'([^{}]+)\{([^{}]+)\}')


def follow(tree: Any, path: str) -> Iterator[tuple[Keys, Any]]:
    """Yield the values at a path, each with the keys that its ``*`` steps passed.

    Raises:
        DataError: Arrays cannot be put side by side, or an array has no such columns.

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
    """Return the alternatives of a path that the file has.

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


def _side_by_side(paths: Sequence[str], arrays: list[Array]) -> Array:
    """Flatten each array behind the leading axes that all share, and concatenate them."""
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
        raise DataError(
            f'{"+".join(paths)}: found shapes {shapes}, which cannot be put side by side'
        ) from error


def _columns(tree: Any, path: str) -> Iterator[tuple[Keys, Any]]:
    if path.endswith('#'):
        for keys, value in _columns(tree, path[:-1]):
            yield keys, np.arange(len(value))
        return
    rows = _ROWS.fullmatch(path)
    if rows is not None:
        yield from _rows(tree, path, *rows.groups())
        return
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


def _rows(tree: Any, path: str, items: str, numbers: str) -> Iterator[tuple[Keys, Any]]:
    """Yield the elements of ``items`` at the row numbers in ``numbers``."""
    rows_at = dict(_columns(tree, numbers))
    for keys, value in _columns(tree, items):
        if keys not in rows_at:
            continue
        rows = np.asarray(rows_at[keys])
        index = rows.astype(np.int64) if rows.dtype.kind in 'fiu' else np.full(1, -1)
        if index.ndim != 1 or (index < 0).any() or (index >= len(value)).any():
            raise DataError(
                f'{path}: found {rows.dtype} {rows.shape}, expected numbers below {len(value)}'
            )
        yield keys, np.asarray(value)[index]


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
        for length in range(len(steps), 0, -1):  # a key can contain dots
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

#: Common names of each field, without words that say whether it is predicted or annotated.
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
#: Words in a path that say that a field is predicted or annotated, or nothing about it.
_PREDICTED = {'pred', 'preds', 'predicted', 'prediction', 'predictions', 'est', 'estimated',
              'estimate', 'estimates', 'hat', 'output', 'outputs', 'result', 'results'}  # fmt: skip
_ANNOTATED = {'gt', 'gts', 'target', 'targets', 'true', 'truth', 'groundtruth', 'label', 'labels'}
_SMPL = {'smpl', 'params', 'param', 'parameters'}
PREDICTED, UNSAID, ANNOTATED = 2, 1, 0


@dataclass(frozen=True)
class Candidate:
    """A field of a file, recognized by its name.

    Args:
        field: The member of :data:`FIELDS` whose name it has.
        path: Its path.
        rank: :data:`PREDICTED`, :data:`UNSAID` or :data:`ANNOTATED`, by the words in its path.
    """

    field: str
    path: str
    rank: int


def candidates(tree: Any) -> list[Candidate]:
    """Return all fields of a file that are recognized by their names, in the file's order.

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
    """Return the name of a path's field without qualifying words, and the rank that they give."""
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
    """Yield the paths of arrays, lists of values and text, with ``*`` for items of collections."""
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
    """Return whether a dict has mostly images or persons as keys, not fields."""
    named = sum(_is_name(key) and _holds_fields(item) for key, item in tree.items())
    return named > len(tree) / 2


def _is_name(key: Any) -> bool:
    """Return whether a key is a number or the name of an image or person, not of a field."""
    if not isinstance(key, str):
        return True
    return any(c.isdigit() or c in './' for c in key) and _reduced(key)[0] not in _FIELD_OF


def _holds_fields(item: Any) -> bool:
    if isinstance(item, (list, tuple)):
        return not item or isinstance(item[0], Mapping)
    return isinstance(item, Mapping)


# -- messages ------------------------------------------------------------------------------------


def describe(tree: Any) -> str:
    """Describe the contents of a file in one line."""
    text = _described(tree, 3)
    return text if len(text) < 300 else text[:300] + ' ...'


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
