"""The paper's figures, drawn from a refinement's work directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjrr.array_types import Array, FloatArray
from mmjrr.body_models import SMPL
from mmjrr.datasets.image_names import image_key
from mmjrr.errors import DataError
from mmjrr.evaluation.protocols import frame_errors
from mmjrr.geometry import PerspectiveCamera
from mmjrr.io import read_json, versions, write_json
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement.regressor_fit import PARAMETERS
from mmjrr.registry import BODY_MODELS

from .frames import Frame, FrameData, FrameMaker, labels_of
from .panels import Panel, save_panels
from .shaded_body import BODY_COLOR, ShadedBody, shade_body
from .work_dir import (
    DatasetFiles,
    body_of_work_dir,
    fitted_vertices,
    load_regressors,
    read_record,
    regressed_joints,
    stored_fits,
)

#: Numbers of the figures, and what each shows.
FIGURES = {
    1: 'labels, and the joints of the same body under the first and the last regressor',
    2: 'a body and the joints that a regressor computes from it',
    3: 'photograph, mask and rendered body',
    4: 'with and without the discriminators',
    5: 'before and after the refinement',
    6: 'with and without the silhouette term',
    7: 'as figure 1, for more frames',
    8: 'labels of the ankles of two subjects',
}
#: File next to the figures that describes them.
RECORD = 'figures.json'
#: Side of a panel in pixels.
PANEL_SIZE = 560
_INITIAL_COLOR = (0.86, 0.68, 0.52)
_LABEL, _STANDARD, _LEARNED = '#19e68c', '#ff7a2f', '#c77dff'
_MARKERS = {'label': ('o', _LABEL), 'first': ('x', _STANDARD), 'last': ('D', _LEARNED)}
_ANKLES = ('left_ankle', 'right_ankle')


class FigureSource:
    """Frames of a refinement's work directory, drawn at the size of a figure's panels.

    Args:
        work_dir: The work directory.
        data_root: Folder of the data set, if it has moved. Default: the run's own record.
        photos: Whether to show photographs. Default: True.

    Attributes:
        imgname: Names of the refined frames that are annotated, sorted.
        row_of: Their rows by name.
        errors: MPJPE of the refined bodies in mm by regressor, (N,).
        left_out: By image name why frames could not be refined, which no figure shows.

    Raises:
        DataError: The folder is no work directory, there are no refined fits or no regressor, or
            no refined frame is annotated.
        FileNotFoundError: The data set is not where the run had it.
    """

    def __init__(self, work_dir: Path, data_root: Path | None = None, photos: bool = True) -> None:
        record = read_record(work_dir)
        self.work_dir = work_dir
        self.body: SMPL = BODY_MODELS.build(body_of_work_dir(work_dir))
        dataset = DatasetFiles(record.get('data') or {}, data_root, work_dir)
        if not dataset.annotation.is_file():
            raise FileNotFoundError(
                f'{dataset.annotation}: no such file; --data-root names the folder of the data set'
            )
        self.notes: list[str] = []
        self.regressors = load_regressors(work_dir, dataset.root, self.body.name, self.notes)
        fits, self.left_out = stored_fits(work_dir)
        if not fits or not self.regressors:
            raise DataError(f'{work_dir}: found no refined fits or no regressor to draw')
        self.data = FrameData.load(
            dataset.annotation, dataset.cameras, dataset.images, dataset.masks or None, photos
        )
        name_of = {image_key(name): name for name in self.data.row_of}
        named = [(name_of.get(image_key(str(n))), row) for row, n in enumerate(fits['imgname'])]
        kept = sorted((name, row) for name, row in named if name is not None)
        if not kept:
            raise DataError(
                f'{work_dir}: found no refined frame that is in {dataset.annotation}; --data-root '
                'names the folder of the data set'
            )
        self.imgname = [name for name, _ in kept]
        self.row_of = {name: row for row, name in enumerate(self.imgname)}
        self.fits: dict[str, Array] = {n: v[[row for _, row in kept]] for n, v in fits.items()}
        self.maker = FrameMaker(
            self.data, self.regressors, np.asarray(self.body.faces), size=PANEL_SIZE
        )
        rows = [self.data.row_of[name] for name in self.imgname]
        target = self.data.annotations.S[rows].astype(np.float64)
        weights = self.maker.regressors
        self.joints = regressed_joints(self.fits, '', self.body, weights)
        self.labels = np.where(target[..., 3:] > 0, target[..., :3], np.nan)
        self.errors = {
            name: frame_errors(
                joints * 1000, target[..., :3] * 1000, 'mmpose', 'mmpose', target[..., 3]
            ).mpjpe
            for name, joints in self.joints.items()
        }

    def frame(self, imgname: str) -> Frame:
        """Return a frame with its initial and refined body.

        Raises:
            DataError: The frame was not refined, or its body is behind the camera.
        """
        row = self.row_of.get(imgname)
        if row is None:
            raise DataError(f'{self.work_dir}: {imgname} is not among the refined frames')
        has_init = all(f'init_{name}' in self.fits for name in PARAMETERS)
        states = {'initial': 'init_', 'refined': ''} if has_init else {'refined': ''}
        part = {name: values[row : row + 1] for name, values in self.fits.items()}
        meshes = {
            state: fitted_vertices(part, prefix, self.body)[0] for state, prefix in states.items()
        }
        errors = {name: float(values[row]) for name, values in self.errors.items()}
        frame = self.maker.make('', imgname, meshes, errors)
        if frame is None:
            raise DataError(f'{self.work_dir}: {imgname}: the body is behind the camera')
        return frame

    def quantile(self, values: FloatArray, *shares: float) -> list[str]:
        """Return the names of the frames at the given shares of the sorted values.

        Raises:
            DataError: No value is finite.
        """
        finite = np.flatnonzero(np.isfinite(values))
        if not len(finite):
            raise DataError(
                f'{self.work_dir}: none of {len(values)} refined frames has finite errors, from '
                'which frames are chosen; --images names some'
            )
        order = finite[np.argsort(values[finite], kind='stable')]
        return [self.imgname[order[round(share * (len(order) - 1))]] for share in shares]

    @property
    def gain(self) -> FloatArray:
        """MPJPE in mm under the first regressor minus that under the last, (N,)."""
        errors = list(self.errors.values())
        return errors[0] - errors[-1]


def draw_figures(
    work_dir: Path,
    out: Path,
    figures: Sequence[int] = tuple(FIGURES),
    without_discriminator: Path | None = None,
    without_silhouette: Path | None = None,
    images: Sequence[str] = (),
    data_root: Path | None = None,
    photos: bool = True,
) -> dict[int, Path]:
    """Draw the paper's figures from a refinement, and write what they show to ``figures.json``.

    Frames are chosen by rule, not by eye: the frame of the median gain or change. ``figures.json``
    is written after each picture; its entries for pictures that are not drawn again are kept.

    Args:
        work_dir: The refinement's work directory.
        out: Folder to write.
        figures: Numbers of the figures. Default: all.
        without_discriminator: Work directory of the same refinement without the discriminators,
            which figure 4 needs. Default: none, which leaves the figure out.
        without_silhouette: The same without the silhouette term, for figure 6. Default: none.
        images: Image names to draw in place of the chosen ones. Default: none.
        data_root: Folder of the data set, if it has moved. Default: the run's own record.
        photos: Whether to show photographs. Default: True.

    Returns:
        The pictures by number.

    Raises:
        DataError: A folder is no work directory, or lacks a frame; or two folders that a figure
            compares have no frame in common.
        FileNotFoundError: The data set is not where the run had it.
        ImportError: matplotlib is not installed.
        ValueError: A number is unknown.
    """
    unknown = sorted(set(figures) - set(FIGURES))
    if unknown:
        raise ValueError(f'figures: found {unknown}, expected some of {sorted(FIGURES)}')
    source = FigureSource(work_dir, data_root, photos)
    ablations = {
        number: None if folder is None else FigureSource(folder, data_root, photos)
        for number, folder in ((4, without_discriminator), (6, without_silhouette))
    }
    chosen_images = [_named(source, name) for name in images]
    pictures: dict[int, Path] = {}
    shown = _kept_entries(out)
    for number in sorted(set(figures)):
        other = ablations.get(number)
        if number in ablations and other is None:
            continue
        rows, rule = _ROWS[number](source, chosen_images, other)
        if not rows:
            continue
        path = out / f'figure_{number}.jpg'
        save_panels(path, [panels for _, panels in rows])
        pictures[number] = path
        shown[path.name] = {
            'shows': FIGURES[number],
            'frames': [name for name, _ in rows],
            'chosen': 'by name' if chosen_images and number != 8 else rule,
            'run': work_dir.name,
            **({} if other is None else {'other_run': other.work_dir.name}),
            **({'frames_left_out': len(source.left_out)} if source.left_out else {}),
            'versions': versions(),
        }
        write_json(out / RECORD, {'figures': dict(sorted(shown.items()))})
    return pictures


def _kept_entries(out: Path) -> dict[str, Any]:
    """Return the entries of the folder's ``figures.json`` whose pictures are there."""
    if not (out / RECORD).is_file():
        return {}
    content = read_json(out / RECORD)
    entries = content.get('figures') if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise DataError(
            f'{out / RECORD}: figures: found no JSON object, expected the entries of an earlier '
            'run; remove the file'
        )
    return {name: entry for name, entry in entries.items() if (out / name).is_file()}


Rows = tuple[list[tuple[str, list[Panel]]], str]


def _named(source: FigureSource, name: str) -> str:
    """Return the refined frame of which an image name is a part.

    Raises:
        DataError: No frame, or several, contain the name.
    """
    hits = [imgname for imgname in source.imgname if name in imgname]
    if len(hits) != 1:
        raise DataError(
            f'--images {name}: {len(hits)} refined frames have this in their name, expected one; '
            f'they are named like {source.imgname[0]!r}'
        )
    return hits[0]


# ---------------------------------------------------------------------- pictures of a frame


def photo_of(frame: Frame) -> Array:
    """Return the photograph; a gray picture if there is none."""
    if frame.photo is not None:
        return frame.photo
    return np.full((frame.size, frame.size, 3), 225, dtype=np.uint8)


def camera_of(frame: Frame) -> PerspectiveCamera:
    """Return the camera of the frame's crop."""
    fx, fy, cx, cy, *distortion = frame.camera
    return PerspectiveCamera(
        torch.tensor([fx, fy], dtype=torch.float64),
        torch.tensor([cx, cy], dtype=torch.float64),
        torch.tensor(distortion, dtype=torch.float64),
    )


def shaded(frame: Frame, mesh: str, faces: Array, initial: bool = False) -> ShadedBody:
    """Draw one of the frame's bodies."""
    size = (frame.size, frame.size)
    color = _INITIAL_COLOR if initial else BODY_COLOR
    return shade_body(frame.meshes[mesh], faces, camera_of(frame), size, color)


def over_photo(frame: Frame, mesh: str, faces: Array, opacity: float = 0.9) -> Array:
    """Draw one of the frame's bodies over its photograph."""
    body = shaded(frame, mesh, faces, initial=mesh == 'initial')
    return body.over(photo_of(frame), opacity)


def _points(frame: Frame, name: str, label: str, kind: str) -> tuple[FloatArray, str, str, str]:
    marker, color = _MARKERS[kind]
    return frame.points[name], label, marker, color


def _joints_panels(source: FigureSource, imgname: str) -> list[Panel]:
    frame = source.frame(imgname)
    first, *_, last = [*source.regressors, *source.regressors]
    photo = photo_of(frame)
    labels = _points(frame, 'label', 'labels', 'label')

    def panel(name: str, kind: str) -> Panel:
        points = _points(frame, name, f"{name}'s joints", kind)
        return Panel(
            photo, f'{name}: MPJPE {frame.mpjpe[name]:.0f} mm', [labels, points], links=True
        )

    panels = [Panel(over_photo(frame, 'refined', source.body.faces), 'the body', [])]
    panels += [panel(first, 'first')]
    return [*panels, panel(last, 'last')] if last != first else panels


def _figure_1(source: FigureSource, chosen_images: list[str], _: Any) -> Rows:
    names = chosen_images[:1] or source.quantile(source.gain, 0.5)
    rule = 'the median of the MPJPE that the last regressor gains over the first'
    return [(name, _joints_panels(source, name)) for name in names], rule


def _figure_7(source: FigureSource, chosen_images: list[str], _: Any) -> Rows:
    names = chosen_images or list(dict.fromkeys(source.quantile(source.gain, 0.1, 0.35, 0.65, 0.9)))
    rule = 'at 10, 35, 65 and 90 % of the MPJPE that the last regressor gains over the first'
    return [(name, _joints_panels(source, name)) for name in names], rule


def _figure_2(source: FigureSource, chosen_images: list[str], _: Any) -> Rows:
    last = list(source.regressors)[-1]
    (name, *_rest) = chosen_images or source.quantile(source.errors[last], 0.5)
    frame = source.frame(name)
    blank = np.full((frame.size, frame.size, 3), 255, dtype=np.uint8)
    body = shaded(frame, 'refined', source.body.faces)
    points = _points(frame, last, f"{last}'s joints", 'last')
    weight = source.maker.regressors[last]
    used = np.flatnonzero(weight.any(0))
    vertices = torch.from_numpy(frame.meshes['refined'][used])[None]
    pixels = camera_of(frame).project(vertices)[0].numpy()
    support = (pixels, 'vertices of nonzero weight', '.', '#1f2d3d')
    panels = [
        Panel(body.over(blank), 'the body', []),
        Panel(body.over(blank, 0.55), f'vertices and joints of {last}', [support, points]),
    ]
    return [(name, panels)], 'the median of the MPJPE under the last regressor'


def _figure_3(source: FigureSource, chosen_images: list[str], _: Any) -> Rows:
    last = list(source.regressors)[-1]
    (name, *_rest) = chosen_images or source.quantile(source.errors[last], 0.5)
    frame = source.frame(name)
    if not frame.mask:
        return [], ''
    mask = _filled(frame)
    blank = np.full((frame.size, frame.size, 3), 255, dtype=np.uint8)
    panels = [
        Panel(photo_of(frame), 'photograph', []),
        Panel(mask, 'mask', []),
        Panel(shaded(frame, 'refined', source.body.faces).over(blank), 'rendered body', []),
    ]
    return [(name, panels)], 'the median of the MPJPE under the last regressor'


def _filled(frame: Frame) -> Array:
    import cv2

    mask = np.zeros((frame.size, frame.size, 3), dtype=np.uint8)
    shift = 4
    shapes = [np.rint((shape - 0.5) * 2**shift).astype(np.int32) for shape in frame.mask]
    cv2.fillPoly(mask, shapes, (255, 255, 255), cv2.LINE_AA, shift)
    return mask


def _figure_5(source: FigureSource, chosen_images: list[str], _: Any) -> Rows:
    names = chosen_images
    if not names:
        if 'init_transl' not in source.fits:
            return [], ''
        before = regressed_joints(source.fits, 'init_', source.body, source.maker.regressors)
        last = list(source.regressors)[-1]
        moved = np.linalg.norm(before[last] - source.joints[last], axis=-1).mean(1)
        names = source.quantile(moved, 0.5, 0.9)
    rows = []
    for name in names:
        frame = source.frame(name)
        if 'initial' not in frame.meshes:
            return [], ''
        panels = [Panel(photo_of(frame), 'photograph', [])]
        for state, title in (('initial', 'before'), ('refined', 'after')):
            iou = f', IoU {frame.iou[state]:.2f}' if state in frame.iou else ''
            panels.append(Panel(over_photo(frame, state, source.body.faces), title + iou, []))
        rows.append((name, panels))
    return rows, 'at 50 and 90 % of the distance by which the refinement moves the joints'


def _ablation(
    title: str,
) -> Callable[[FigureSource, list[str], FigureSource | None], Rows]:
    def rows(source: FigureSource, chosen_images: list[str], other: FigureSource | None) -> Rows:
        assert other is not None
        names = chosen_images
        if not names:
            last = list(source.regressors)[-1]
            common = [name for name in source.row_of if name in other.row_of]
            if not common:
                raise DataError(
                    f'{source.work_dir}, {other.work_dir}: found no frame that both refined, '
                    f'expected some to compare with and without the {title}'
                )
            positions = fitted_positions(source, common, last)
            difference = np.linalg.norm(positions - fitted_positions(other, common, last), axis=-1)
            order = np.argsort(difference.mean(1), kind='stable')
            names = [common[order[round(share * (len(order) - 1))]] for share in (0.5, 1.0)]
        made = []
        for name in names:
            frame, without = source.frame(name), other.frame(name)
            faces = source.body.faces
            panels = [
                Panel(photo_of(frame), 'photograph', []),
                Panel(over_photo(frame, 'refined', faces), f'with the {title}', []),
                Panel(over_photo(without, 'refined', faces), f'without the {title}', []),
            ]
            made.append((name, panels))
        return made, 'the median and the largest difference of the joints'

    return rows


def fitted_positions(source: FigureSource, names: Sequence[str], regressor: str) -> FloatArray:
    """Return the joints (N, J, 3) of the refined bodies of frames, under a regressor."""
    rows = [source.row_of[name] for name in names]
    joints: FloatArray = source.joints.get(regressor, list(source.joints.values())[-1])[rows]
    return joints


def _figure_8(source: FigureSource, chosen_images: list[str], _: Any) -> Rows:
    """Show the ankles of the two subjects whose labels differ the most from the body's ankles."""
    last = list(source.regressors)[-1]
    names = list(H36M_JOINTS_MMPOSE)
    index = [names.index(joint) for joint in _ANKLES]
    above = _height_above(source, last, index)  # (N,), meters along the shin, upwards
    subjects = np.array([labels_of(name).get('subject', '?') for name in source.imgname])
    finite = np.isfinite(above)
    means = {
        subject: float(np.median(above[finite & (subjects == subject)]))
        for subject in dict.fromkeys(subjects[finite])
    }
    if len(means) < 2:
        return [], ''
    ordered = sorted(means, key=lambda subject: means[subject])
    row: list[Panel] = []
    shown = []
    for subject in (ordered[0], ordered[-1]):
        frames_of_subject = np.flatnonzero(finite & (subjects == subject))
        chosen = frames_of_subject[np.argmin(np.abs(above[frames_of_subject] - means[subject]))]
        name = source.imgname[chosen]
        frame = source.frame(name)
        points = _points(frame, 'label', 'labels', 'label')
        side = 'above' if means[subject] > 0 else 'below'
        title = f"{subject}: labels {abs(1000 * means[subject]):.0f} mm {side} {last}'s ankles"
        row.append(
            Panel(
                photo_of(frame), title, [points, _points(frame, last, f"{last}'s joints", 'last')],
                window=_around(frame.points['label'][index], frame.size),
            )
        )  # fmt: skip
        shown.append(name)
    rule = 'the two subjects whose ankle labels differ the most along the shin; the median frame'
    return [(' and '.join(shown), row)], rule


def _height_above(source: FigureSource, regressor: str, ankles: Sequence[int]) -> FloatArray:
    """Return how far labels of ankles lie above the regressor's, along the shin, in meters.

    Depth is left out: it is invisible in the picture, and uncertain with one view.
    """
    names = list(H36M_JOINTS_MMPOSE)
    knees = [names.index(joint.replace('ankle', 'knee')) for joint in _ANKLES]
    joints = source.joints[regressor]
    shin = (joints[:, knees] - joints[:, list(ankles)])[..., :2]
    shin = shin / np.linalg.norm(shin, axis=-1, keepdims=True)
    offset = (source.labels[:, list(ankles)] - joints[:, list(ankles)])[..., :2]
    above: FloatArray = (offset * shin).sum(-1).mean(1)
    return above


def _around(points: FloatArray, size: int) -> tuple[float, float, float, float]:
    """Return a square window around points, a third of the picture wide at least."""
    points = points[np.isfinite(points).all(1)]
    center = points.mean(0)
    half = min(max(float(np.ptp(points, axis=0).max()) * 0.75, size / 6), size / 2)
    x, y = np.clip(center, half, size - half).tolist()
    return x - half, y - half, x + half, y + half


_ROWS: Mapping[int, Callable[[FigureSource, list[str], Any], Rows]] = {
    1: _figure_1,
    2: _figure_2,
    3: _figure_3,
    4: _ablation('discriminators'),
    5: _figure_5,
    6: _ablation('silhouette term'),
    7: _figure_7,
    8: _figure_8,
}
