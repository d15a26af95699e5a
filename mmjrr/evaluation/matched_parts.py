"""Matches of the parts of a set of predictions with the annotated frames, part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmjrr.array_types import Array
from mmjrr.datasets.image_names import frame_identity, frame_key
from mmjrr.datasets.predictions import Predictions
from mmjrr.errors import DataError
from mmjrr.io.mapped import release
from mmjrr.io.texts import take_texts

from .annotated_frames import AnnotatedFrames

#: Number of bodies whose parameters are changed to explain implausible scores.
SAMPLE = 64


class MatchedParts:
    """Matches of the parts of a set of predictions, a file each, with the annotated frames.

    Args:
        annotated: The annotated frames.

    Attributes:
        part_of: Number of the part that has the frame's prediction, by frame; -1 if none has.
        unmatched: Image names of the predictions that belong to no counted frame.
        descriptions: File, checksum and numbers of bodies of each part, for the provenance.
        sample: Some bodies of the first part with matches, and their frames. None if there are no
            matches.
    """

    def __init__(self, annotated: AnnotatedFrames) -> None:
        self._annotated = annotated
        self.part_of = np.full(len(annotated.names), -1)
        self.unmatched: list[str] = []
        self.descriptions: list[dict[str, Any]] = []
        self.sample: tuple[Predictions, Array] | None = None

    def add(self, part: Predictions, rows: Array, unmatched: Sequence[str]) -> Array:
        """Add a part with its matches, as :func:`~.body_matching.match_part` finds them.

        Args:
            part: The predictions.
            rows: Row of each annotated frame's prediction; -1 if there is none.
            unmatched: Image names of the other predictions.

        Returns:
            The frames with a prediction.

        Raises:
            DataError: Another part has a prediction of the same frame.
        """
        frames = np.flatnonzero(rows >= 0)
        if self.sample is None and len(frames):
            sampled = frames[np.unique(np.linspace(0, len(frames) - 1, SAMPLE).astype(int))]
            self.sample = part.select(rows[sampled]), sampled
            release(*part.arrays().values())
        twice = frames[self.part_of[frames] >= 0]
        if len(twice):
            raise predicted_twice(
                take_texts(self._annotated.names, twice),
                part.name,
                self.descriptions[self.part_of[twice[0]]]['file'],
            )
        self.part_of[frames] = len(self.descriptions)
        self.unmatched += unmatched
        self.descriptions.append(_describe(part, len(frames)))
        return frames

    def skipped(self, missing: str) -> list[str]:
        """Return the image names of counted frames without a prediction.

        Args:
            missing: 'skip' or 'raise', as in :func:`~mmjrr.evaluation.evaluate`.

        Raises:
            DataError: No frame has a prediction, or one has none and ``missing`` is 'raise'.
        """
        annotated = self._annotated
        if not (self.part_of >= 0).any():
            raise _nothing_matches(self.unmatched, annotated, self.descriptions)
        without = np.flatnonzero(annotated.counted & (self.part_of < 0))
        names = list(take_texts(annotated.names, without))
        if names and missing == 'raise':
            raise DataError(
                f'{len(names)} of {int(annotated.counted.sum())} annotated frames have no '
                f'prediction, such as {names[0]}'
                + ''.join(f'; {note}' for note in _notes_on_no_body(self.descriptions))
                + "; missing='skip' (on the command line, --missing skip) leaves them out"
            )
        return names


def predicted_twice(names: Sequence[str], part: str, earlier: str) -> DataError:
    """Return the error for images that have predictions in two parts of a set.

    Args:
        names: The images.
        part: Name of the part.
        earlier: Name of the earlier part, which has the first of the images.
    """
    return DataError(
        f'{names[0]} and {len(names) - 1} more images have predictions in {part} and in {earlier}, '
        'expected those of one model in one of them; files with a person each are one set if a '
        "folder or a single quoted pattern, such as 'track_*.npz', names them"
    )


def _notes_on_no_body(descriptions: Sequence[Mapping[str, Any]]) -> list[str]:
    return [note for about in descriptions for note in about['notes'] if 'no body' in note]


def _describe(part: Predictions, matched: int) -> dict[str, Any]:
    is_file = part.source is not None and part.source.is_file()
    return {
        'file': part.source.name if is_file and part.source is not None else part.name,
        'sha256': part.checksum,
        'layout': part.layout,
        'kind': 'vertices' if part.vertices is not None else 'parameters',
        'bodies': len(part),
        'matched': matched,
        'notes': list(part.notes),
    }


def _nothing_matches(
    unmatched: Sequence[str], annotated: AnnotatedFrames, descriptions: Sequence[Mapping[str, Any]]
) -> DataError:
    annotated_name = annotated.names[int(np.argmax(annotated.counted))]
    if not unmatched:
        notes = '; '.join(_notes_on_no_body(descriptions)) or 'there are no bodies'
        return DataError(f'no frame has a prediction: {notes}')
    return DataError(
        f'none of {len(unmatched)} predictions is of an annotated image: predictions are named '
        f'like {unmatched[0]!r}, annotated images like {annotated_name!r}'
        f'{_shifted(unmatched, annotated)}. For predictions in the order of the annotation '
        "there is match='order' (on the command line, --match order)"
    )


def _shifted(unmatched: Sequence[str], annotated: AnnotatedFrames) -> str:
    """Tell how many names would match if frames were counted from another number."""
    annotated_keys = set(
        map(frame_key, take_texts(annotated.names, np.flatnonzero(annotated.counted)))
    )
    identities = [identity for identity in map(frame_identity, unmatched) if identity is not None]
    for step in (1, -1):
        count = sum(i._replace(frame=i.frame + step) in annotated_keys for i in identities)
        if count:
            return (
                f'; with {step:+d} on the frame numbers, {count} would match, so frames may be '
                f'counted from {"0" if step > 0 else "2"}'
            )
    return ''
