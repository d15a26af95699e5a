"""Reports of a work directory: of a refinement, or of the demo."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmjrr.array_types import Array, FloatArray
from mmjrr.body_models import SMPL
from mmjrr.datasets.image_names import image_key
from mmjrr.evaluation.protocols import frame_errors, get_protocol
from mmjrr.evaluation.result import score_frames
from mmjrr.io import read_json
from mmjrr.joints import H36M_JOINTS_MMPOSE
from mmjrr.refinement.left_out import without_nan
from mmjrr.refinement.regressor_fit import PARAMETERS
from mmjrr.registry import BODY_MODELS
from mmjrr.visualization.frames import FrameData, FrameMaker, labels_of
from mmjrr.visualization.work_dir import (
    DatasetFiles,
    body_of_work_dir,
    changed_files,
    existing_file,
    fitted_vertices,
    left_out_note,
    load_regressors,
    read_record,
    regressed_joints,
    stored_fits,
)

from .content import Evaluation, Refinement, Report, Truth
from .from_evaluation import GalleryOptions, PredictionSet, add_predictions, worst_first

#: Name of the refinement's frames.
_TRAINING = 'Training frames'
_SIMULATED = {
    'spin': 'A simulated estimator that errs as SPIN does: mean shapes and uncertain feet.',
    'vibe': 'A simulated estimator with smooth errors over time, like VIBE.',
    'meva': 'A simulated estimator with larger errors, like MEVA in single-frame mode.',
}
_NAMES = {'spin': 'SPIN-like', 'vibe': 'VIBE-like', 'meva': 'MEVA-like'}


def report_work_dir(
    folder: Path,
    options: GalleryOptions | None = None,
    data_root: Path | None = None,
    body_model: dict[str, Any] | None = None,
) -> Report:
    """Make a report of the demo's folder, or of a refinement's work directory.

    An unfinished refinement is reported in its present state.

    Args:
        folder: The demo's ``--out``, or the refinement's ``--work-dir``.
        options: Choice of the frames. Default: 200 frames with photographs.
        data_root: Folder of the data set, if it has moved. Default: the refinement's own record.
        body_model: Config of the body. Default: the refinement's own record.

    Raises:
        FileNotFoundError: The folder does not exist.
        DataError: The folder is neither, a file in it is broken, or the options name photographs
            or masks, of which no frame has one.
    """
    options = options or GalleryOptions()
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder}: no such folder')
    is_demo = (folder / 'refinement').is_dir() and (folder / 'data').is_dir()
    work_dir = folder / 'refinement' if is_demo else folder
    record = read_record(work_dir)
    if is_demo and data_root is None:
        data_root = folder / 'data'
    body: SMPL = BODY_MODELS.build(dict(body_model or body_of_work_dir(work_dir)))
    dataset = DatasetFiles(record.get('data') or {}, data_root, work_dir)
    report = Report(
        title='Joint regressors learned from a synthetic Human3.6M'
        if is_demo
        else f'Refinement in {work_dir.resolve().name}',
        summary=_DEMO_SUMMARY if is_demo else _REFINEMENT_SUMMARY,
        faces=np.asarray(body.faces),
    )
    report.regressors = load_regressors(work_dir, dataset.root, body.name, report.notes)
    tests = _tests(dataset.root) if is_demo and report.regressors else []
    share = options.frames // (1 + len(tests))
    for name, file in tests:
        item = PredictionSet(_NAMES[name], [file], dataset.root, explanation=_SIMULATED[name])
        test_options = GalleryOptions(
            frames=share,
            masks=options.masks or existing_file(dataset.root / 'masks' / 'h36m_test.json'),
            images=options.images,
            cameras=options.cameras,
            photos=options.photos,
        )
        add_predictions(report, item, report.regressors, 'paper', body, test_options, share)
    _add_refinement(
        report, work_dir, record, body, dataset, options, options.frames - share * len(tests)
    )
    options.check_used(report.frames)
    report.frames.sort(key=lambda frame: -frame.worst)
    report.label_consistency = _label_consistency(folder, work_dir)
    summary = existing_file(folder / 'summary.json')
    if summary is not None:
        content = read_json(summary)
        report.truth = Truth.from_summary(str(summary), content) if is_demo else None
        report.provenance = {'Demo': _without_table(content), **report.provenance}
    return report


_DEMO_SUMMARY = (
    'Synthetic people with known bodies are seen by four cameras. A regressor is learned from '
    'bodies that were refined to agree with masks and labels of the training subjects; it is '
    'tested with simulated estimators on the subjects S9 and S11, which it has never seen. J_std '
    'is a simulated counterpart of the standard regressor of Human3.6M.'
)
_REFINEMENT_SUMMARY = (
    'Bodies of the training frames, refined to agree with masks and labels, and the regressors '
    'fitted to them.'
)


def _tests(root: Path) -> list[tuple[str, Path]]:
    files = {name: root / 'fits' / f'{name}_like_test.npz' for name in _NAMES}
    return [(name, path) for name, path in files.items() if path.is_file()]


def _add_refinement(
    report: Report,
    work_dir: Path,
    record: Mapping[str, Any],
    body: SMPL,
    dataset: DatasetFiles,
    options: GalleryOptions,
    count: int,
) -> None:
    """Add curves, agreement and training frames of the refinement."""
    fits, left_out = stored_fits(work_dir)
    if left_out:
        report.notes.append(left_out_note(left_out, refined=len(fits.get('imgname', ()))))
    refinement = Refinement(curves=_curves(work_dir))
    summary = existing_file(work_dir / 'refinement.json')
    if summary is None:
        report.notes.append('The refinement has not finished: this is its state so far.')
    else:
        content = read_json(summary)
        refinement.summary = content if isinstance(content, dict) else {}
    for name in fits:
        before = fits.get(f'init_{name}')
        if name.startswith('energy_') and before is not None:
            refinement.energies[name.removeprefix('energy_')] = (
                float(before.astype(np.float64).mean()),
                float(fits[name].astype(np.float64).mean()),
            )
    if 'iou' in fits and 'init_iou' in fits:
        after = without_nan(fits['iou'].astype(np.float64))
        if len(after):
            refinement.iou = after
            refinement.init_iou = without_nan(fits['init_iou'].astype(np.float64))
    report.notes += _missing_notes(fits, left_out, refinement.summary)
    report.refinement = refinement
    report.provenance['Refinement'] = {
        name: value for name, value in record.items() if name not in ('images',)
    }
    for name, regressor in report.regressors.items():
        report.provenance[name] = regressor.provenance
    if not fits or not report.regressors:
        return
    if not dataset.annotation.is_file():
        report.notes.append(
            f'The data set is not at {dataset.root}: training frames are not shown (--data-root '
            'names its folder).'
        )
        return
    report.notes += _changed_notes(record, dataset, options)
    _add_training_frames(report, fits, body, dataset, options, count)


def _missing_notes(
    fits: Mapping[str, Array], left_out: Mapping[str, str], summary: Mapping[str, Any]
) -> list[str]:
    """Return sentences about frames and initial fits that a work directory lacks."""
    count = len(fits.get('imgname', ()))
    if not count:
        reason = 'no frame is refined' if left_out else 'the work directory has no refined fits'
        return [f'Training frames are not shown: {reason}.']
    notes = []
    expected, known = summary.get('frames_expected'), count + len(left_out)
    if isinstance(expected, int) and expected > known:
        notes.append(
            f'{expected - known} of {expected} frames are missing from the batches in pseudo_gt '
            'and are not shown.'
        )
    if not any(name.startswith('init_') for name in fits):
        notes.append(
            'pseudo_gt has no batches: the refined fits are those of pseudo_gt.npz. Initial fits, '
            'energies and the IoU of single frames are not shown.'
        )
    return notes


def _changed_notes(
    record: Mapping[str, Any], dataset: DatasetFiles, options: GalleryOptions
) -> list[str]:
    """Return a sentence about each file of the data set that is another one than in the run."""
    cameras = dataset.cameras if options.cameras is None else None
    files = {
        'ann_file': [dataset.annotation],
        'camera_param_file': [] if cameras is None else [cameras],
        'mask_file': dataset.masks if options.masks is None else [],
    }
    return [
        f'{path.name} is not the file of the refinement: its checksum differs from the recorded '
        'one. Training frames are shown and evaluated with the present file.'
        for path in changed_files(record, files)
    ]


def _add_training_frames(
    report: Report,
    fits: dict[str, Array],
    body: SMPL,
    dataset: DatasetFiles,
    options: GalleryOptions,
    count: int,
) -> None:
    data = FrameData.load(
        dataset.annotation,
        options.cameras or dataset.cameras,
        options.images or dataset.images,
        options.masks or dataset.masks or None,
        options.photos,
    )
    report.notes += [note for note in data.notes if note not in report.notes]
    key_of = {image_key(name): name for name in data.row_of}
    names = [key_of.get(image_key(str(name))) for name in fits['imgname']]
    kept = [row for row, name in enumerate(names) if name is not None]
    if not kept:
        report.notes.append(f'None of the refined frames is in {dataset.annotation.name}.')
        return
    fits = {name: values[kept] for name, values in fits.items()}
    imgname = [str(names[row]) for row in kept]
    rows = [data.row_of[name] for name in imgname]
    target = data.annotations.S[rows].astype(np.float64)
    weights = {
        name: regressor.reorder(H36M_JOINTS_MMPOSE).weight.double().numpy()
        for name, regressor in report.regressors.items()
    }
    has_init = all(f'init_{name}' in fits for name in PARAMETERS)
    states = {'initial': 'init_', 'refined': ''} if has_init else {'refined': ''}
    protocol = get_protocol(
        dict(type='paper', subjects='all', exclude_sequences=None, name='paper-training')
    )
    errors: dict[tuple[str, str], FloatArray] = {}
    labels = [labels_of(name) for name in imgname]
    for state, prefix in states.items():
        joints = regressed_joints(fits, prefix, body, weights)
        scores = []
        for regressor, regressed in joints.items():
            frame = frame_errors(
                regressed * 1000, target[..., :3] * 1000, 'mmpose', protocol, target[..., 3]
            )
            errors[state, regressor] = frame.mpjpe
            groups = {
                kind: [label.get(kind, '?') for label in labels]
                for kind in ('action', 'subject', 'camera')
            }
            scores += score_frames(regressor, protocol, frame, groups)
        report.evaluations.append(
            Evaluation(
                title=f'Training frames, {state} fits',
                frames=len(imgname),
                scores=scores,
                protocols={protocol.name: protocol.summary},
                errors={(protocol.name, name): errors[state, name] for name in report.regressors},
                explanation=_EXPLANATIONS[state],
                is_training=True,
            )
        )
    last = list(report.regressors)[-1]
    order = worst_first(errors['refined', last])[: max(count, 0)]
    maker = FrameMaker(data, report.regressors, np.asarray(body.faces))
    meshes = {
        state: fitted_vertices({n: v[order] for n, v in fits.items()}, prefix, body)
        for state, prefix in states.items()
    }
    frames = []
    for number, row in enumerate(order):
        made = maker.make(
            _TRAINING,
            imgname[row],
            {state: vertices[number] for state, vertices in meshes.items()},
            {name: float(errors['refined', name][row]) for name in report.regressors},
            {name: float(errors['initial', name][row]) for name in report.regressors}
            if has_init
            else None,
        )
        frames += [] if made is None else [made]
    report.frames += frames
    if len(frames) < len(order):
        hidden = len(order) - len(frames)
        report.notes.append(f'{hidden} training frames have a body behind the camera.')
    report.notes += data.missing_notes(_TRAINING, frames)
    if order:
        report.body_picture = meshes['refined'][-1]


_EXPLANATIONS = {
    'initial': 'The fits that the refinement started from. J_spin is fitted to exactly these '
    'frames, so its numbers here say how well it fits, not how well it generalizes.',
    'refined': 'The refined fits. J_opt is fitted to exactly these frames, so its numbers here say '
    'how well it fits, not how well it generalizes.',
}


def _curves(work_dir: Path) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Read what MMEngine logged: energies, IoU and losses by step; of a resumed run, all parts."""
    values: dict[str, dict[int, float]] = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
            try:
                entry = json.loads(line)
                step = int(entry['step'])
                numbers = {
                    name: float(value)
                    for name, value in entry.items()
                    if isinstance(value, (int, float)) and math.isfinite(value)
                }
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
                continue  # a killed run can leave half a line
            for name, value in numbers.items():
                values.setdefault(name, {})[step] = value
    return {
        name: (
            np.array(sorted(points), dtype=np.float64),
            np.array([points[s] for s in sorted(points)]),
        )
        for name, points in values.items()
        if len(points) > 1
    }


def _label_consistency(*folders: Path) -> dict[str, Any] | None:
    for folder in folders:
        path = folder / 'label_consistency.json'
        if path.is_file():
            content = read_json(path)
            if isinstance(content, dict):
                return content
    return None


def _without_table(summary: Any) -> Any:
    if isinstance(summary, dict):
        return {name: value for name, value in summary.items() if name != 'table'}
    return summary
