"""Checks of annotations against themselves, the cameras and the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.annotations import Annotations
from mmjrr.datasets.image_names import image_key, parse_image_name
from mmjrr.datasets.transforms import is_size
from mmjrr.errors import DataError
from mmjrr.geometry import MAX_DISTANCE, PerspectiveCamera, projection_errors
from mmjrr.joints import H36M_BONES, H36M_JOINTS_MMPOSE

#: Meters. Longer thighs mean that joints are in millimeters.
LONGEST_THIGH = 5.0
#: Millimeters. A pelvis nearer to the camera means that joints are in meters.
_NEAREST = 200.0


@dataclass
class AnnotationCheck:
    """Result of :func:`check_annotations`.

    Attributes:
        bad: (N,) bool, rows with a problem.
        problems: Image names by problem.
        cameras: For each subject and camera ``frames``, and, where 2D and 3D joints can be
            compared, ``mean_px`` and ``max_px``.
        bones: For each subject the largest deviation of a bone's length from its median, in mm.
        images: Number of images whose existence was checked.
        published: Number of frames in published files, or None if unknown.
    """

    bad: Array
    problems: dict[str, list[str]] = field(default_factory=dict)
    cameras: dict[str, dict[str, float]] = field(default_factory=dict)
    bones: dict[str, float] = field(default_factory=dict)
    images: int = 0
    published: int | None = None

    def note(self, problem: str, rows: Array, names: Array) -> None:
        """Record a problem of these rows (indices)."""
        if len(rows):
            self.problems.setdefault(problem, []).extend(names[rows].tolist())
            self.bad[rows] = True

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dict(
            frames=len(self.bad),
            published_frames=self.published,
            cameras=self.cameras,
            bones_vary_by_mm=self.bones,
            images_looked_for=self.images,
            problems=self.problems,
        )

    def table(self) -> str:
        """Format the result by subject and camera."""
        lines = ['subject camera      frames  mean px   max px  bones vary by']
        for name, measured in self.cameras.items():
            subject, camera = name.split()
            pixels = [f'{measured[key]:8.3f}' if key in measured else '       -'
                      for key in ('mean_px', 'max_px')]  # fmt: skip
            bones = f'{self.bones[subject]:.2f} mm' if subject in self.bones else '-'
            lines.append(
                f'{subject:7s} {camera:10s} {measured["frames"]:7.0f} {" ".join(pixels)}  {bones}'
            )
        if self.published is not None:
            lines.append(f'{len(self.bad)} frames; {self.published} are published')
        if self.images:
            lines.append(f'{self.images} images looked for')
        for problem, names in self.problems.items():
            lines.append(f'{len(names)} images: {problem}, such as {names[0]}')
        return '\n'.join(lines)


def check_annotations(
    annotations: Annotations,
    cameras: Mapping[tuple[str, str], PerspectiveCamera],
    image_root: str | Path | None = None,
    *,
    every_image: bool = False,
    tolerance_px: float = 2.0,
    tolerance_mm: float = 10.0,
    published: int | None = None,
    on_error: str = 'raise',
) -> AnnotationCheck:
    """Check annotations against themselves, the cameras and the images.

    Args:
        annotations: Rows to check.
        cameras: Cameras by subject and camera name. If empty, 2D and 3D joints are not compared.
        image_root: Folder of the images. Default: None, images are not checked.
        every_image: Whether to check the size of every image instead of one for each video; the
            others must exist. Default: False.
        tolerance_px: Largest mean distance of a frame's projected 3D joints from its 2D joints.
            Default: 2.
        tolerance_mm: Largest deviation of a bone from its median length in the subject.
            Default: 10.
        published: Number of frames in published files; a difference is reported, but is no error.
            Default: None, unknown.
        on_error: 'raise', or 'exclude', which marks rows as ``bad``. Default: 'raise'.

    Raises:
        DataError: There is a problem and ``on_error`` is 'raise'.
        ValueError: ``on_error`` is another word.
    """
    if on_error not in ('raise', 'exclude'):
        raise ValueError(f"on_error: found {on_error!r}, expected 'raise' or 'exclude'")
    check = AnnotationCheck(np.zeros(len(annotations), dtype=bool), published=published)
    parsed = [parse_image_name(name) for name in annotations.imgname.tolist()]
    keys = np.array([image_key(name) for name in annotations.imgname.tolist()], dtype=np.str_)
    repeated = np.ones(len(keys), dtype=bool)
    repeated[np.unique(keys, return_index=True)[1]] = False
    check.note('listed more than once', np.flatnonzero(repeated), annotations.imgname)
    _check_meters(annotations, check)
    groups: dict[tuple[str, str], list[int]] = {}
    for row, name in enumerate(parsed):
        groups.setdefault((name.subject, name.camera), []).append(row)
    for key, listed in sorted(groups.items()):
        rows = np.array(listed)
        check.cameras[' '.join(key)] = dict(frames=len(rows))
        if cameras and key not in cameras:
            check.note('their camera is missing from the camera file', rows, annotations.imgname)
        elif cameras:
            _check_projection(annotations, rows, key, cameras[key], tolerance_px, check)
    for subject in sorted({name.subject for name in parsed}):
        rows = np.flatnonzero([name.subject == subject for name in parsed])
        _check_bones(annotations, rows, subject, tolerance_mm, check)
    if image_root is not None:
        _check_images(annotations, Path(image_root), cameras, every_image, check)
    if check.problems and on_error == 'raise':
        raise DataError(f'annotations:\n{check.table()}')
    return check


def exclude_bad(
    annotations: Annotations, left_out: dict[str, list[str]], *args: Any, **options: Any
) -> tuple[Array, AnnotationCheck]:
    """Check annotations and remove rows with problems, until a check finds none.

    Args:
        annotations: Rows to check.
        left_out: Image names by problem, to which removed rows are added.
        args: Further arguments of :func:`check_annotations`.
        options: Keyword arguments of :func:`check_annotations`. With ``on_error='raise'`` nothing
            is removed.

    Returns:
        Indices of the kept rows, and their check.

    Raises:
        DataError: :func:`check_annotations` raises it, or no row is left.
    """
    rows = np.arange(len(annotations))
    while len(rows):
        check = check_annotations(annotations.keep(rows), *args, **options)
        if not check.bad.any():
            return rows, check
        for problem, names in check.problems.items():
            left_out.setdefault(problem, []).extend(names)
        rows = rows[~check.bad]
    raise DataError(f'annotations: no image is left: {list(left_out)}')


def millimeters_to_meters(
    where: str,
    joints: Array,  # (N, J, 3), millimeters in the camera frame, pelvis first
) -> Array:  # (N, J, 3), meters
    """Convert joints from millimeters to meters.

    Args:
        where: Beginning of error messages.
        joints: Joints to convert.

    Raises:
        DataError: The joints look like meters already.
    """
    if len(joints):
        depth = np.nanmedian(joints[:, 0, 2])
        if abs(depth) < _NEAREST:
            raise DataError(
                f'{where}: found depth {depth:.1f} of the pelvis, expected millimeters, above '
                f'{_NEAREST:.0f}; these look like meters'
            )
    return joints / 1000


def thigh_lengths(S: Array) -> Array:  # (N, 17, 4) -> (N,)
    """Measure the left thighs; NaN where one of the ends is not labeled."""
    hip, knee = (H36M_JOINTS_MMPOSE.index(f'left_{joint}') for joint in ('hip', 'knee'))
    length = np.linalg.norm(S[:, hip, :3] - S[:, knee, :3], axis=-1)
    return np.where((S[:, [hip, knee], 3] > 0).all(1), length, np.nan)


def _check_meters(annotations: Annotations, check: AnnotationCheck) -> None:
    S = annotations.S
    far = (S[:, 0, 3] > 0) & (np.abs(S[:, 0, 2]) > MAX_DISTANCE)
    check.note(
        'S is not in meters; it looks like millimeters',
        np.flatnonzero(far | (thigh_lengths(S) > LONGEST_THIGH)),
        annotations.imgname,
    )


def _check_projection(
    annotations: Annotations,
    rows: Array,
    key: tuple[str, str],
    camera: PerspectiveCamera,
    tolerance: float,
    check: AnnotationCheck,
) -> None:
    S, part = annotations.S[rows], annotations.part[rows]
    used = (S[..., 3] > 0) & (part[..., 2] > 0)
    if not used.any():
        return
    errors = projection_errors(camera, S[..., :3], part[..., :2], used)
    check.cameras[' '.join(key)].update(mean_px=errors.mean, max_px=errors.max)
    for swap, frames in errors.mismatches(tolerance).items():
        problem = (
            f'projected S is over {tolerance} px from part'
            if swap is None
            else f'{swap} are swapped between S and part'
        )
        check.note(problem, rows[frames], annotations.imgname)


def _check_bones(
    annotations: Annotations,
    rows: Array,
    subject: str,
    tolerance: float,
    check: AnnotationCheck,
) -> None:
    S = annotations.S[rows]
    wrong = np.zeros(len(rows), dtype=bool)
    largest = 0.0
    for bone in H36M_BONES:
        a, b = (H36M_JOINTS_MMPOSE.index(joint) for joint in bone)
        used = (S[:, [a, b], 3] > 0).all(1)
        if not used.any():
            continue
        length = 1000 * np.linalg.norm(S[:, a, :3] - S[:, b, :3], axis=-1)
        differs = np.where(used, np.abs(length - np.median(length[used])), 0)
        largest = max(largest, float(differs.max()))
        wrong |= ~(differs <= tolerance)
    check.bones[subject] = largest
    check.note(
        f"a bone differs by over {tolerance} mm from the subject's",
        rows[np.flatnonzero(wrong)],
        annotations.imgname,
    )


def _check_images(
    annotations: Annotations,
    root: Path,
    cameras: Mapping[tuple[str, str], PerspectiveCamera],
    every_image: bool,
    check: AnnotationCheck,
) -> None:
    """Check the size of one image of each video, and of all images if that one has a problem."""
    videos: dict[tuple[str, str, str], list[int]] = {}
    for row, name in enumerate(map(parse_image_name, annotations.imgname.tolist())):
        videos.setdefault((name.subject, name.camera, name.sequence), []).append(row)
    problems: dict[str, list[int]] = {}
    for (subject, camera, _), rows in videos.items():
        open_image = True
        for row in rows:
            problem = _problem_of_image(
                root / annotations.imgname[row], cameras.get((subject, camera)), open_image
            )
            check.images += 1
            open_image = every_image or problem is not None
            if problem is not None:
                problems.setdefault(problem, []).append(row)
    for description, bad in problems.items():
        check.note(description, np.array(bad), annotations.imgname)


def _problem_of_image(path: Path, camera: PerspectiveCamera | None, open_image: bool) -> str | None:
    """Return what is wrong with an image file; None if nothing is."""
    if not path.is_file():
        return 'there is no such image'
    if not open_image:
        return None
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            width, height = image.size
    except (UnidentifiedImageError, OSError, ValueError):
        return 'not a readable image'
    if camera is None or is_size((height, width), camera.image_shape()):
        return None
    rows, columns = camera.image_shape()
    return f'{width} x {height} pixels, expected {columns} x {rows} as of the camera'
