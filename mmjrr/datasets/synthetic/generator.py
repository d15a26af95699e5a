"""Writes the synthetic H36M: MMPose's layout, every byte decided by the settings.

Under the output folder::

    annotation_body3d/fps10/h36m_{train,test}.npz   imgname, center, scale, part, S
    annotation_body3d/cameras.pkl                   {(subject, camera): R, T, c, f, k, p, w, h}
    images/S1/S1_Walking_1.54138969/S1_Walking_1.54138969_000001.jpg
    masks/h36m_{train,test}.json                    COCO RLE by image name
    fits/spin_like_train.npz                        initial fits, SPIN's layout
    fits/{spin,vibe,meva}_like_test.npz             the estimators' predictions
    regressors/J_std.npy (and its sidecar)          the biased regressor, to be replaced
    truth/                                          what only checks may read
    synthetic.json                                  settings and checksums, written last

``truth/`` holds ``h36m_{train,test}.npz`` (``imgname``, ``pose``, ``betas``, ``transl``, camera
frame), ``J_true.npy``, and ``report.json`` with the measured errors of what was simulated.
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from mmengine.utils import ProgressBar
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mmjrr.datasets.converters.annotations import boxes_of_joints
from mmjrr.datasets.fits import save_fits
from mmjrr.datasets.image_names import KNOWN_BAD_SEQUENCES, parse_image_name
from mmjrr.datasets.masks import encode_rle
from mmjrr.datasets.synthetic import cameras as camera_rig
from mmjrr.datasets.synthetic.fits import ESTIMATORS, estimate, estimate_transl
from mmjrr.datasets.synthetic.images import draw_person, draw_room, exact_mask, vertex_colours
from mmjrr.datasets.synthetic.motion import ACTIONS, FRAME_RATE, sample_motion
from mmjrr.datasets.synthetic.posing import global_rotations, pose_body, rest_body
from mmjrr.datasets.synthetic.regressors import (
    fit_standard_regressor,
    label_joints,
    make_true_regressor,
)
from mmjrr.datasets.synthetic.seeding import stream
from mmjrr.datasets.synthetic.subjects import SUBJECTS, TRAIN_SUBJECTS, make_subject
from mmjrr.geometry import PIXELS_PER_SCALE, transl_to_crop_weak_perspective
from mmjrr.io import atomic_write, sha256
from mmjrr.regressors import JointRegressor

if TYPE_CHECKING:
    from mmjrr.body_models import SMPL

#: Raised whenever the same settings would write something else.
FORMAT = 1
MANIFEST = 'synthetic.json'
_PARTS = '.parts'
_FOLDERS = ('annotation_body3d', 'images', 'masks', 'fits', 'regressors', 'truth', _PARTS)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What to write.

    Attributes:
        seed: decides everything that is random.
        subjects: which of H36M's seven subjects.
        frames_per_subject: images of each subject from each of the four cameras.
        frame_step: raw frames (50 a second) between neighbouring moments of a sequence.
        synchronous: whether the cameras show the same moments, as H36M's do. Otherwise they take
            turns, which gives four times as many different poses for the same number of images.
        images: whether to paint the pictures; without them the rest is the same.
        jpeg_quality: 1 to 100.
    """

    seed: int = 0
    subjects: tuple[str, ...] = SUBJECTS
    frames_per_subject: int = 16
    frame_step: int = 50
    synchronous: bool = False
    images: bool = True
    jpeg_quality: int = 80
    format: int = field(default=FORMAT, init=False)

    def __post_init__(self) -> None:
        unknown = [name for name in self.subjects if name not in SUBJECTS]
        if unknown or not self.subjects or len(set(self.subjects)) != len(self.subjects):
            raise ValueError(
                f'subjects must be some of {list(SUBJECTS)}, each once; found {self.subjects}'
            )
        for name, low, high in (
            ('seed', 0, 2**63), ('frames_per_subject', 1, 10**6), ('frame_step', 1, 10**4),
            ('jpeg_quality', 1, 100),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise ValueError(f'{name} must be in {low}..{high}, found {getattr(self, name)}')


@dataclass(frozen=True)
class Take:
    """One subject performing one action once.

    Attributes:
        subject: e.g. ``'S1'``.
        action: e.g. ``'Walking'``.
        frames: for each of the four cameras, raw frame numbers, counted from 1.
    """

    subject: str
    action: str
    frames: tuple[tuple[int, ...], ...]

    @property
    def name(self) -> str:
        """H36M's name of the sequence, none of those that are excluded as known to be bad."""
        names = (f'{self.subject}_{self.action}_{number}' for number in (1, 2))
        return next(name for name in names if name not in KNOWN_BAD_SEQUENCES)


def plan_sequences(settings: Settings) -> list[Take]:
    """The sequences to make: each subject's moments spread evenly over all fifteen actions."""
    plan = []
    for subject in settings.subjects:
        rng = stream(settings.seed, 'plan', subject)
        actions = rng.permutation(sorted(ACTIONS)).tolist()
        numbers = {
            action: len(range(i, settings.frames_per_subject, len(actions)))
            for i, action in enumerate(actions)
        }
        plan += [
            Take(subject, action, _camera_frames(settings, numbers[action]))
            for action in sorted(actions)
            if numbers[action]
        ]
    return plan


def _camera_frames(settings: Settings, number: int) -> tuple[tuple[int, ...], ...]:
    cameras = len(camera_rig.CAMERA_IDS)
    starts = [0 if settings.synchronous else number * camera for camera in range(cameras)]
    return tuple(
        tuple(1 + settings.frame_step * (start + k) for k in range(number)) for start in starts
    )


def generate(
    out: str | Path,
    settings: Settings | None = None,
    workers: int = 2,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write the data set, or do nothing where it is complete already.

    The bytes depend on the settings alone, not on the number of workers. A run that was cut short
    goes on where it stopped.

    Args:
        out: the folder to write to; becomes the data root.
        settings: what to write; the defaults give 320 training and 128 test images.
        workers: processes.
        overwrite: replace a data set of other settings instead of refusing.
        progress: show a progress bar.

    Returns:
        ``out``.

    Raises:
        ValueError: ``out`` holds a data set of other settings, or files that are none.
    """
    out, settings = Path(out), settings or Settings()
    if workers < 1:
        raise ValueError(f'workers must be 1 or more, found {workers}')
    if is_complete(out, settings):
        return out
    _prepare(out, settings, overwrite)
    sequences = plan_sequences(settings)
    tasks: list[Callable[[], Any]] = []
    with _Pool(workers) as pool:
        if not (out / _PARTS / 'J_std.npy').is_file():
            tasks.append(pool.submit(_write_regressors, out, settings))
        for sequence in sequences:
            if not _part_path(out, sequence).is_file():
                tasks.append(pool.submit(_write_sequence, out, settings, sequence))
        bar = ProgressBar(len(tasks)) if progress and tasks else None
        for result in tasks:
            result()
            if bar is not None:
                bar.update()
        if bar is not None:
            print()
    _assemble(out, settings, sequences)
    return out


def is_complete(out: str | Path, settings: Settings) -> bool:
    """Whether ``out`` holds the whole data set of these settings (files are looked for only)."""
    manifest = _read_manifest(Path(out))
    return (
        manifest is not None
        and manifest['settings'] == _as_json(settings)
        and all((Path(out) / name).is_file() for name in manifest['files'])
    )


def _read_manifest(out: Path) -> dict[str, Any] | None:
    path = out / MANIFEST
    return json.loads(path.read_text()) if path.is_file() else None


def _as_json(settings: Settings) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(settings)))


def _prepare(out: Path, settings: Settings, overwrite: bool) -> None:
    """Leave a folder that holds nothing, or the parts of an earlier run of the same settings."""
    begun = out / _PARTS / 'settings.json'
    found = None
    if begun.is_file():
        found = json.loads(begun.read_text())
    elif (manifest := _read_manifest(out)) is not None:
        found = manifest['settings']
    if found is None and any((out / name).exists() for name in _FOLDERS):
        raise ValueError(
            f'{out}: holds data that this generator did not write; choose another folder'
        )
    if found is not None and found != _as_json(settings) and not overwrite:
        raise ValueError(
            f'{out}: holds the synthetic set of {found}, expected {_as_json(settings)}; '
            'choose another folder, or overwrite'
        )
    if not begun.is_file() or found != _as_json(settings):
        for name in _FOLDERS:  # the parts last but the manifest: they say whose folder it is
            shutil.rmtree(out / name, ignore_errors=True)
        (out / MANIFEST).unlink(missing_ok=True)
    for folder in _FOLDERS:
        for temporary in (out / folder).rglob('.*'):  # of files that a killed run was writing
            temporary.unlink()
    _write_json(begun, _as_json(settings))


class _Pool:
    """Processes, or none: with one worker everything runs here."""

    def __init__(self, workers: int) -> None:
        self._executor: ProcessPoolExecutor | None = None
        if workers > 1:
            self._executor = ProcessPoolExecutor(workers, mp_context=get_context('spawn'))

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def submit(self, function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        """A call that gives the result, when asked."""
        if self._executor is None:
            return lambda: _single_threaded(function, *args)
        future: Future[Any] = self._executor.submit(_single_threaded, function, *args)
        return future.result


def _single_threaded(function: Callable[..., Any], *args: Any) -> Any:
    """Sums must not depend on how many threads share them."""
    torch_threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        return function(*args)
    finally:
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(cv_threads)


@dataclass(frozen=True)
class _World:
    body: SMPL
    truth: JointRegressor
    faces: NDArray[np.int64]


@lru_cache(maxsize=1)
def _world(seed: int) -> _World:
    from mmjrr.body_models import free_body

    body = free_body()
    return _World(body, make_true_regressor(seed, body), np.asarray(body.faces, dtype=np.int64))


def _write_regressors(out: Path, settings: Settings) -> None:
    world = _world(settings.seed)
    (out / 'truth').mkdir(exist_ok=True)
    (out / 'regressors').mkdir(exist_ok=True)
    world.truth.save(out / 'truth' / 'J_true.npy')
    fit_standard_regressor(settings.seed, world.body, world.truth).save(
        out / 'regressors' / 'J_std.npy'
    )
    (out / _PARTS / 'J_std.npy').touch()


def _part_path(out: Path, sequence: Take) -> Path:
    return out / _PARTS / f'{sequence.name}.npz'


@dataclass(frozen=True)
class _Truth:
    """True bodies of one subject in the world at T moments, metres; labels (T, 17, 3)."""

    frames: tuple[int, ...]
    times: Array
    pose: Array
    betas: Array
    rest_pelvis: Array
    vertices: Array
    pelvis: Array
    labels: Array


def _true_bodies(world: _World, seed: int, sequence: Take, frames: tuple[int, ...]) -> _Truth:
    subject = make_subject(seed, sequence.subject)
    times = (np.array(frames) - 1) / FRAME_RATE
    motion = sample_motion(seed, sequence.subject, sequence.action, times)
    pose = np.concatenate([motion.global_orient[:, None], motion.body_pose], 1)
    vertices = pose_body(world.body, subject.betas, pose)
    rest_pelvis = rest_body(world.body, subject.betas[None])[1][0, 0]
    shift = np.column_stack([motion.position - rest_pelvis[:2], -vertices[:, :, 2].min(1)])
    vertices = vertices + shift[:, None]  # the lowest point touches the floor
    rotations = global_rotations(pose)
    labels = np.stack([
        label_joints(world.truth, vertices[i], rotations[i], subject,
                     stream(seed, 'label', sequence.name, frame))
        for i, frame in enumerate(frames)
    ])  # fmt: skip
    pelvis = rest_pelvis + shift
    return _Truth(frames, times, pose, subject.betas, rest_pelvis, vertices, pelvis, labels)


def _write_sequence(out: Path, settings: Settings, sequence: Take) -> None:
    """Everything of one sequence: its images, and one part with the arrays of its four views."""
    world = _world(settings.seed)
    cameras = camera_rig.make_cameras(settings.seed, sequence.subject)
    views = []
    for frames, (camera_id, camera) in zip(sequence.frames, cameras.items(), strict=True):
        truth = _true_bodies(world, settings.seed, sequence, frames)
        views.append(_make_view(out, settings, sequence, world, truth, camera_id, camera))
    part = {key: np.concatenate([view[key] for view in views]) for key in views[0]}
    _write_npz(_part_path(out, sequence), part)


def _make_view(
    out: Path,
    settings: Settings,
    sequence: Take,
    world: _World,
    truth: _Truth,
    camera_id: str,
    camera: dict[str, Any],
) -> dict[str, NDArray[Any]]:
    stem = f'{sequence.name}.{camera_id}'
    joints = camera_rig.world_to_camera(truth.labels, camera)
    keypoints = np.stack([camera_rig.project(frame, camera) for frame in joints])
    ones = np.ones((*joints.shape[:2], 1))
    part = np.concatenate([keypoints, ones], 2)
    center, scale = boxes_of_joints(part)
    to_camera = Rotation.from_matrix(camera['R'].T)
    pose = truth.pose.copy()
    pose[:, 0] = (to_camera * Rotation.from_rotvec(pose[:, 0])).as_rotvec()
    pelvis = camera_rig.world_to_camera(truth.pelvis, camera)
    view: dict[str, NDArray[Any]] = {
        'imgname': np.array(
            [f'{sequence.subject}/{stem}/{stem}_{frame:06d}.jpg' for frame in truth.frames]
        ),
        'center': center,
        'scale': scale,
        'part': part,
        'S': np.concatenate([joints, ones], 2),
        'pose': pose.reshape(-1, 72),
        'betas': np.tile(truth.betas, (len(pose), 1)),
        'transl': pelvis - truth.rest_pelvis,
    }
    view |= _estimates(settings.seed, stem, sequence, world, truth, view, pelvis, camera)
    view['mask'] = _draw(out, settings, world, truth, view['imgname'].tolist(), camera)
    return view


def _estimates(
    seed: int,
    stem: str,
    sequence: Take,
    world: _World,
    truth: _Truth,
    view: dict[str, NDArray[Any]],
    pelvis: Array,
    camera: dict[str, Any],
) -> dict[str, NDArray[Any]]:
    """What each estimator makes of a view: ``<name>_{pose,betas,camera}``, and its errors in mm."""
    names = ['spin_like'] if sequence.subject in TRAIN_SUBJECTS else list(ESTIMATORS)
    found: dict[str, NDArray[Any]] = {}
    lens = camera_rig.perspective_camera(camera)
    direction = pelvis / np.linalg.norm(pelvis, axis=1, keepdims=True)
    true_pose = view['pose'].reshape(-1, 24, 3)
    for name in names:
        pose, betas = estimate(seed, name, stem, truth.times, true_pose, truth.betas, direction)
        rest_vertices, rest_joints = rest_body(
            world.body, np.concatenate([truth.betas[None], betas])
        )
        height = np.ptp(rest_vertices[:, :, 1], axis=1)
        box: Array = PIXELS_PER_SCALE * view['scale']
        transl = estimate_transl(
            stream(seed, 'camera_error', name, stem),
            ESTIMATORS[name],
            pelvis=pelvis,
            size_ratio=height[1:] / height[0],
            rest_pelvis=rest_joints[1:, 0],
            camera=lens,
            box=box,
        )
        found[f'{name}_camera'] = transl_to_crop_weak_perspective(
            torch.from_numpy(transl),
            torch.from_numpy(view['center']),
            torch.from_numpy(box),
            lens,
            root=torch.from_numpy(rest_joints[1:, 0].copy()),
        ).numpy()
        found[f'{name}_pose'], found[f'{name}_betas'] = pose.reshape(-1, 72), betas
        vertices = pose_body(world.body, betas, pose)
        joints = world.truth(torch.from_numpy(vertices)).numpy()
        found[f'{name}_error'] = _root_aligned_mm(joints, view['S'][..., :3])
    return found


def _root_aligned_mm(found: Array, expected: Array) -> Array:
    """(T, J, 3) metres twice, the root first, to (T, J) millimetres."""
    difference = (found - found[:, :1]) - (expected - expected[:, :1])
    return 1000 * np.linalg.norm(difference, axis=-1)


def _draw(
    out: Path,
    settings: Settings,
    world: _World,
    truth: _Truth,
    names: list[str],
    camera: dict[str, Any],
) -> NDArray[Any]:
    """Write the images of a view; returns its masks, (T,) COCO RLE strings."""
    subject = make_subject(settings.seed, names[0].split('/')[0])
    rest_vertices, rest_joints = rest_body(world.body, np.zeros((1, 10)))
    colours = vertex_colours(rest_vertices[0], rest_joints[0], subject.clothes)
    room = draw_room(stream(settings.seed, 'room', subject.name), camera)
    encoded = []
    for name, world_vertices in zip(names, truth.vertices, strict=True):
        vertices = camera_rig.world_to_camera(world_vertices, camera)
        pixels = camera_rig.project(vertices, camera)
        mask = exact_mask(pixels, world.faces, (camera['h'], camera['w']))
        encoded.append(encode_rle(mask).decode('ascii'))
        if settings.images:
            rng = stream(settings.seed, 'image', name)
            image = draw_person(room, vertices, pixels, world.faces, colours, camera, rng)
            _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality])
            path = out / 'images' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                Path(temporary).write_bytes(data.tobytes())
    return np.array(encoded)


def _assemble(out: Path, settings: Settings, sequences: list[Take]) -> None:
    parts = {}
    for sequence in sequences:
        with np.load(_part_path(out, sequence), allow_pickle=False) as part:
            parts[sequence] = {key: part[key] for key in part.files}
    report: dict[str, Any] = {'frames': {}, 'mpjpe_mm': {}}
    for split in ('train', 'test'):
        chosen = [
            parts[s] for s in sequences if (s.subject in TRAIN_SUBJECTS) == (split == 'train')
        ]
        if chosen:
            _write_split(
                out,
                settings,
                split,
                {k: np.concatenate([p[k] for p in chosen]) for k in chosen[0]},
                report,
            )
    rig = {
        (subject, camera_id): camera
        for subject in settings.subjects
        for camera_id, camera in camera_rig.make_cameras(settings.seed, subject).items()
    }
    with atomic_write(out / 'annotation_body3d' / 'cameras.pkl') as temporary:
        Path(temporary).write_bytes(pickle.dumps(rig, protocol=4))
    report['J_std_distance_mm'] = _single_threaded(_standard_error, out, settings, parts)
    _write_json(out / 'truth' / 'report.json', report)
    files = [
        path
        for path in sorted(out.rglob('*'))
        if path.is_file() and path.relative_to(out).parts[0] in _FOLDERS[:-1]
    ]
    manifest = {
        'settings': _as_json(settings),
        'files': {path.relative_to(out).as_posix(): sha256(path) for path in files},
    }
    _write_json(out / MANIFEST, manifest)
    shutil.rmtree(out / _PARTS)


def _write_split(
    out: Path,
    settings: Settings,
    split: str,
    arrays: dict[str, NDArray[Any]],
    report: dict[str, Any],
) -> None:
    for folder in ('annotation_body3d/fps10', 'masks', 'fits', 'truth'):
        (out / folder).mkdir(parents=True, exist_ok=True)
    names = arrays['imgname']
    annotations = {key: arrays[key] for key in ('imgname', 'center', 'scale', 'part', 'S')}
    _write_npz(out / 'annotation_body3d' / 'fps10' / f'h36m_{split}.npz', annotations)
    _write_npz(
        out / 'truth' / f'h36m_{split}.npz',
        {k: arrays[k] for k in ('imgname', 'pose', 'betas', 'transl')},
    )
    report['frames'][split] = len(names)
    for estimator in ESTIMATORS:
        if f'{estimator}_pose' in arrays:
            fit = {key: arrays[f'{estimator}_{key}'] for key in ('pose', 'betas', 'camera')}
            save_fits(
                out / 'fits' / f'{estimator}_{split}.npz',
                imgname=names,
                **fit,
                provenance={'made_by': 'mmjrr.datasets.synthetic', 'seed': settings.seed},
            )
            report['mpjpe_mm'][f'{estimator}_{split}'] = float(arrays[f'{estimator}_error'].mean())
    heights = {camera_id: height for camera_id, (_, height) in camera_rig.CAMERA_PLACES.items()}
    masks = {
        name: {
            'size': [heights[parse_image_name(name).camera], 1000],
            'counts': counts,
            'score': 1.0,
        }
        for name, counts in zip(names.tolist(), arrays['mask'].tolist(), strict=True)
    }
    info = {'description': 'synthetic H36M: exact masks', 'settings': _as_json(settings)}
    _write_json(out / 'masks' / f'h36m_{split}.json', {'info': info, 'masks': masks})


def _standard_error(
    out: Path, settings: Settings, parts: dict[Take, dict[str, NDArray[Any]]]
) -> float | None:
    """Mean distance of J_std's joints from the true ones, root-aligned, on the true test meshes."""
    world = _world(settings.seed)
    standard = JointRegressor.load(out / 'regressors' / 'J_std.npy', joint_order='mmpose')
    errors = []
    for sequence, part in parts.items():
        if sequence.subject not in TRAIN_SUBJECTS:
            pose = part['pose'].reshape(-1, 24, 3)
            vertices = torch.from_numpy(pose_body(world.body, part['betas'], pose))
            errors.append(
                _root_aligned_mm(standard(vertices).numpy(), world.truth(vertices).numpy())
            )
    return float(np.concatenate(errors).mean()) if errors else None


def _write_npz(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, open(temporary, 'wb') as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _write_json(path: Path, content: Any) -> None:
    with atomic_write(path) as temporary:
        Path(temporary).write_text(json.dumps(content, indent=1, sort_keys=True) + '\n')
