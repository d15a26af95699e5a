"""Any model's stored predictions under any regressors, in one call."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import MMLogger

from mmjrr.body_models import SMPL
from mmjrr.datasets.fits import image_names
from mmjrr.datasets.h36m import H36MFitsDataset
from mmjrr.datasets.image_names import image_key
from mmjrr.datasets.predictions import (
    Predictions,
    match_names,
    predictions_from,
    read_predictions,
)
from mmjrr.errors import DataError
from mmjrr.io import read_npz, sha256

from .joint_regressor_metric import JointRegressorMetric
from .protocols import Protocol
from .regressed_joints import RegressorLike, load_regressors
from .report import BREAKDOWNS, EvaluationResult

#: Where the annotation lies in a folder of MMPose's layout.
TEST_ANNOTATION = 'annotation_body3d/fps10/h36m_test.npz'
#: What configs/_base_/h36m_evaluation.py leaves out: there are no images of it.
EXCLUDED = ('S11_Directions.54138969',)
#: Frames handed to the metric at once.
_CHUNK = 256

PredictionsLike = str | Path | Predictions | Mapping[str, Any]


def evaluate(
    predictions: PredictionsLike | Sequence[PredictionsLike],
    annotations: str | Path | H36MFitsDataset,
    regressors: RegressorLike | Sequence[RegressorLike] | Mapping[str, RegressorLike],
    protocol: str | dict | Protocol | Sequence[str | dict | Protocol] = 'paper',
    *,
    body_model: str | Path | dict[str, Any] | SMPL | None = None,
    layout: str = 'auto',
    fields: Mapping[str, str] | None = None,
    name_format: str | None = None,
    match: str = 'name',
    unit: str = 'm',
    exclude_sequences: str | Sequence[str] | None = EXCLUDED,
    by: Sequence[str] = BREAKDOWNS,
    title: str = '',
    progress: bool = False,
) -> EvaluationResult:
    """MPJPE and PA-MPJPE of stored predictions, to the digit as a Runner's metric gives them.

    Args:
        predictions: a file of results of any model, several that make up one set, a
            :class:`~mmjrr.evaluation.Predictions`, or arrays by name.
        annotations: MMPose's npz of Human3.6M, the folder that has it as
            ``annotation_body3d/fps10/h36m_test.npz``, or a data set.
        regressors: what :func:`~mmjrr.evaluation.load_regressors` takes: ``'J_opt'``,
            ``['J_std', 'mine.npy']``, ``dict(old='a/J.npy', new='b/J.npy')``.
        protocol: one or several, by name or as a dict. Default 'paper'.
        body_model: what turns parameters into vertices: a SMPL file or folder, ``'free_body'``,
            a config, or the body itself. Not needed for stored vertices. Default None: the free
            body where the regressors are for it.
        layout, fields, name_format: how the files are read, as
            :func:`~mmjrr.evaluation.read_predictions` takes them.
        match: 'name': a body belongs to the annotated frame of the same image name. 'order': the
            n-th body to the n-th annotated frame; there must be as many. Default 'name'.
        unit: of vertices and ``transl``, 'm' or 'mm'. Default 'm'.
        exclude_sequences: annotated sequences to leave out, as
            :class:`~mmjrr.datasets.H36MFitsDataset` takes them (unused where a data set is given).
            Default: the one that has no images.
        by: breakdowns to make.
        title: name of what is evaluated.
        progress: write to stderr how far it is, and how long it will take.

    Returns:
        The scores. Annotated frames without a prediction are its ``skipped``, predictions that
        belong to no annotated frame its ``unmatched``.

    Raises:
        FileNotFoundError: a file is not there.
        DataError: a file is broken or cannot be understood, an image has several predictions, or
            nothing matches.
        ValueError: an argument is wrong, or a value of a prediction is.
    """
    if match not in ('name', 'order'):
        raise ValueError(f"match: found {match!r}, expected 'name' or 'order'")
    parts = _listed(predictions)
    loaded = load_regressors(regressors)
    metric = JointRegressorMetric(
        loaded,
        protocol,
        body_config(body_model, [regressor.body_model for regressor in loaded.values()]),
        prediction_unit=unit,
        by=by,
        missing='skip',
        title=title,
    )
    annotated = AnnotatedFrames(annotations, exclude_sequences)
    metric.dataset_meta = annotated.dataset.metainfo
    if match == 'order' and len(parts) > 1:
        raise ValueError(f"match='order' is for one file, found {len(parts)}")

    place = np.full(len(annotated.names), -1)  # which part has the frame
    unmatched: list[str] = []
    about: list[dict[str, Any]] = []
    for number, given in enumerate(parts):
        part = _read(given, layout, fields, name_format)
        if part.vertices is None and not metric.joints.has_body:
            raise ValueError(
                f'{_called(part)}: has SMPL parameters and no vertices: say which body they '
                "are of, body_model='path/to/SMPL_NEUTRAL.pkl' (on the command line, "
                "--body-model); 'free_body' is the free one"
            )
        names = names_of(part, annotated, match)
        rows = match_names(names, annotated.names, _called(part))
        matched = np.flatnonzero(rows >= 0)
        twice = matched[place[matched] >= 0]
        if len(twice):
            raise DataError(
                f'{annotated.names[twice[0]]} and {len(twice) - 1} more images have predictions '
                f'in {_called(part)} and in {about[place[twice[0]]]["file"]}'
            )
        place[matched] = number
        unused = np.setdiff1d(np.arange(len(names)), rows[matched])
        unmatched += [names[row] for row in unused]
        about.append(_about(part, len(matched)))
        _feed(metric, annotated, part, matched, rows[matched], progress)
    if not (place >= 0).any():
        raise _nothing_matches(unmatched, annotated.names)
    metric.results += [{'skipped': annotated.names[row]} for row in np.flatnonzero(place < 0)]
    shown = _Progress('Computing joints', progress)
    result = metric.finish(shown.update)
    shown.close()
    known_out = [name for name in unmatched if image_key(name) in annotated.left_out]
    return replace(
        result,
        unmatched=tuple(unmatched),
        provenance={
            **result.provenance,
            'predictions': about,
            'annotations': {
                'file': annotated.path.name,
                'sha256': sha256(annotated.path),
                'frames': len(annotated.names),
                'frames_left_out': annotated.dataset.report['excluded_sequence'],
                'predictions_left_out': len(known_out),
            },
            'arguments': {'match': match, 'unit': unit, 'body_model': str(body_model)},
        },
    )


# -- what is given -------------------------------------------------------------------------------


class AnnotatedFrames:
    """The frames to evaluate on, and the names of all that the file lists."""

    def __init__(self, given: Any, exclude_sequences: str | Sequence[str] | None) -> None:
        if isinstance(given, H36MFitsDataset):
            self.dataset, self.path = given, Path(given.ann_file)
        elif isinstance(given, (str, Path)):
            self.path = Path(given)
            if self.path.is_dir():
                self.path = self.path / TEST_ANNOTATION
            with _quiet():
                self.dataset = H36MFitsDataset(
                    ann_file=str(self.path),
                    camera_param_file=None,
                    exclude_sequences=exclude_sequences,
                    test_mode=True,
                )
        else:
            raise ValueError(
                f'annotations: found {type(given).__name__}, expected a path or a H36MFitsDataset'
            )
        self.names = [self.dataset.imgname(row) for row in range(len(self.dataset))]
        self.listed = image_names(self.path, read_npz(self.path)['imgname']).tolist()
        kept = set(map(image_key, self.names))
        self.left_out = set(map(image_key, self.listed)) - kept


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing below a warning from MMEngine's logger."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def read_parts(predictions: Any) -> list[Predictions]:
    """All parts of a set of predictions, read as far as they are files."""
    return [_read(part, 'auto', None, None) for part in _listed(predictions)]


def _listed(predictions: Any) -> list[Any]:
    if isinstance(predictions, (str, Path, Predictions, Mapping)):
        return [predictions]
    parts = list(predictions)
    if not parts:
        raise ValueError('predictions: found none, expected at least one file')
    return parts


def _read(given: Any, layout: str, fields: Any, name_format: str | None) -> Predictions:
    if isinstance(given, Predictions):
        return given
    if isinstance(given, (str, Path)):
        return read_predictions(given, layout, fields, name_format)
    return predictions_from(given, 'predictions', layout, fields, name_format)


def body_config(given: Any, of_regressors: Sequence[str]) -> Any:
    """A body, its config, or None, from what a caller may give; of which body regressors are."""
    if given is None:
        plain = {name.replace('_', '').lower() for name in of_regressors}
        return dict(type='FreeBody') if plain == {'freebody'} else None
    if given == 'free_body':
        return dict(type='FreeBody')
    return dict(type='SMPL', model_path=str(given)) if isinstance(given, (str, Path)) else given


def names_of(part: Predictions, annotated: AnnotatedFrames, match: str) -> list[str]:
    """Image names of predictions: their own, or, by order, those of the annotation.

    Raises:
        DataError: there are none, or not as many as the annotation has.
    """
    if match == 'name':
        if part.imgname is None:
            raise DataError(
                f'{_called(part)}: has no image names. If its {len(part)} bodies are in the order '
                f"of the annotation's {len(annotated.listed)} frames, say match='order' (on the "
                'command line, --match order)'
                + (
                    '; name_format (--name-format) makes names of its frame numbers'
                    if part.frame is not None
                    else ''
                )
            )
        return part.imgname
    for names in (annotated.listed, annotated.names):
        if len(names) == len(part):
            return names
    raise DataError(
        f"{_called(part)}: match='order' needs a body for each annotated frame: found "
        f'{len(part)} bodies for {len(annotated.listed)} frames of {annotated.path} '
        f'({len(annotated.names)} without the sequences that are left out)'
    )


def _called(part: Predictions) -> str:
    return str(part.source or 'predictions')


def _about(part: Predictions, matched: int) -> dict[str, Any]:
    file = part.source if part.source is not None and part.source.is_file() else None
    return {
        'file': _called(part) if file is None else file.name,
        'sha256': None if file is None else sha256(file),
        'layout': part.layout,
        'kind': 'vertices' if part.vertices is not None else 'parameters',
        'bodies': len(part),
        'matched': matched,
        'notes': list(part.notes),
    }


def _nothing_matches(found: Sequence[str], wanted: Sequence[str]) -> DataError:
    return DataError(
        f'none of {len(found)} predictions is of an annotated image: predictions are named like '
        f'{found[0]!r}, annotated images like {wanted[0]!r}. For predictions in the order of the '
        "annotation there is match='order' (on the command line, --match order)"
    )


# -- through the metric --------------------------------------------------------------------------

_PREDICTED = ('vertices', 'global_orient', 'body_pose', 'betas', 'transl')


def _feed(
    metric: JointRegressorMetric,
    annotated: AnnotatedFrames,
    part: Predictions,
    frames: np.ndarray,  # rows of the annotation
    rows: np.ndarray,  # their rows of the predictions
    progress: bool,
) -> None:
    """Give the metric what a Runner would: predictions and data samples, batch by batch."""
    columns = {
        f'pred_{name}': getattr(part, name)
        for name in _PREDICTED
        if getattr(part, name) is not None
    }
    shown = _Progress('Matching frames', progress)
    for start in range(0, len(frames), _CHUNK):
        chosen = slice(start, start + _CHUNK)
        samples = [
            annotated.dataset[int(frame)]['data_samples'].to_dict() for frame in frames[chosen]
        ]
        predicted = [
            {name: values[row] for name, values in columns.items()} for row in rows[chosen]
        ]
        metric.process({'data_samples': samples}, predicted)
        shown.update(min(start + _CHUNK, len(frames)), len(frames))
    shown.close()


class _Progress:
    """A line on stderr with the time left; on a terminal it stays one line."""

    def __init__(self, what: str, on: bool) -> None:
        self.what, self.on = what, on
        self.start = self.shown = time.monotonic()
        self.wrote = False

    def update(self, done: int, total: int) -> None:
        now = time.monotonic()
        wait = 0.5 if sys.stderr.isatty() else 10.0
        if not self.on or (now - self.shown < wait and not (self.wrote and done == total)):
            return
        self.shown, self.wrote = now, True
        left = (now - self.start) / max(done, 1) * (total - done)
        line = f'{self.what}: {done} of {total}, {left:.0f} s left'
        sys.stderr.write(f'\r{line:<60}' if sys.stderr.isatty() else f'{line}\n')
        sys.stderr.flush()

    def close(self) -> None:
        if self.wrote and sys.stderr.isatty():
            sys.stderr.write('\n')
