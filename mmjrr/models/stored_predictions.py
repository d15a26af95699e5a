"""Model that looks up stored predictions, so that MMEngine's test loop evaluates them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import nn

from mmjrr.array_types import Array
from mmjrr.datasets.converters.metadata import read_metadata
from mmjrr.datasets.image_names import FrameIdentity, frame_identity, frame_key
from mmjrr.datasets.predictions import Predictions, match_bodies, read_predictions
from mmjrr.datasets.predictions.bodies import mark_absurd_betas
from mmjrr.datasets.predictions.layouts import HANDS_AND_FACE
from mmjrr.datasets.predictions.matching import takes_by_subaction
from mmjrr.datasets.predictions.persons import distinct_bodies
from mmjrr.errors import DataError
from mmjrr.io.mapped import JoinedRows
from mmjrr.registry import MODELS

from .nearest_person import NearestPerson


@MODELS.register_module()
class StoredPredictions(BaseModel):
    """Model that looks up the prediction of an image, by its name, in results files.

    With it, ``tools/test.py`` evaluates stored predictions like a network. In predict mode it adds
    ``pred_global_orient`` (3,), ``pred_body_pose`` (69,) or, of SMPL-H and SMPL-X, (63,),
    ``pred_betas`` (K,) and, if stored, ``pred_transl`` (3,) and the hands and face, such as
    ``pred_jaw_pose``, to the data samples; or ``pred_vertices`` (V, 3) if the files have vertices.
    Rotations that are stored as matrices or 6D keep their representation.

    Args:
        predictions: One or several files, folders or patterns that
            :func:`~mmjrr.datasets.predictions.read_predictions` reads.
        missing: Treatment of images whose prediction is missing, all zeros or NaN: 'raise', or
            'skip', which returns the data sample without predictions. Default: 'raise'.
        layout: As in :func:`~mmjrr.datasets.predictions.read_predictions`. Default: 'auto'.
        fields: As in :func:`~mmjrr.datasets.predictions.read_predictions`. Default: None.
        name_format: As in :func:`~mmjrr.datasets.predictions.read_predictions`. Default: None.
        rotation_6d: As in :func:`~mmjrr.datasets.predictions.read_predictions`. Default: None.
        frame_step: As in :func:`~mmjrr.datasets.predictions.read_predictions`. Default: 1.
        person: Person to take from images with several: 'nearest' (to the sample's annotated
            joints), 'largest' (in the image), or a track. Their number is logged. Default: None,
            which refuses several persons.
        regressor: For ``person='nearest'``, the regressor that computes the persons' joints, as in
            :func:`~mmjrr.evaluation.load_regressors`. Default: None.
        body_model: For ``person='nearest'``, the config of the body of predicted parameters.
            Default: None, the body that the regressor is for.
        mapping: For ``person='nearest'``, the file of the mapping to the regressor's mesh, as in
            :func:`mmjrr.evaluate`. Default: None.
        gender: Gender of the body with which the metric evaluates; files that state another are
            refused. Default: 'neutral'.
        num_betas: Number of first betas of each body to use. Default: None, all.
        metadata: Human3.6M's ``metadata.xml``, which gives the take of image names with a
            subaction. Default: None, which refuses such names.
        data_preprocessor: As in MMEngine.
        init_cfg: As in MMEngine; there is nothing to initialize.

    Raises:
        FileNotFoundError: A file does not exist.
        DataError: A file is damaged, an image has several predictions, or rows have no body and
            ``missing`` is 'raise'.
        ValueError: An argument is wrong.
    """

    def __init__(
        self,
        predictions: str | Path | Sequence[str | Path],
        missing: str = 'raise',
        layout: str = 'auto',
        fields: Mapping[str, str] | None = None,
        name_format: str | None = None,
        rotation_6d: str | None = None,
        frame_step: int = 1,
        person: str | None = None,
        regressor: Any = None,
        body_model: dict[str, Any] | None = None,
        mapping: str | None = None,
        gender: str = 'neutral',
        num_betas: int | None = None,
        metadata: str | Path | None = None,
        data_preprocessor: dict[str, Any] | nn.Module | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if missing not in ('raise', 'skip'):
            raise ValueError(f"missing: found {missing!r}, expected 'raise' or 'skip'")
        if person == 'nearest' and regressor is None:
            raise ValueError(
                "regressor: missing, and person='nearest' compares joints that it computes with "
                "annotated ones; expected a name or file, such as regressor='J_std'"
            )
        self.nearest = None
        if person == 'nearest':
            self.nearest = NearestPerson(regressor, body_model, mapping)
        self.missing = missing
        paths = [predictions] if isinstance(predictions, (str, Path)) else list(predictions)
        if not paths:
            raise ValueError('predictions: found no file, expected at least one')
        self.paths = [Path(path) for path in paths]
        self._parts: list[Predictions] = []
        self._fields: list[dict[str, Array | JoinedRows]] = []
        self._persons: dict[Any, list[int]] = {}  # rows of images with several, by frame
        self._rows: dict[Any, tuple[int, int]] = {}  # index of file and row, by frame
        takes = {} if metadata is None else takes_by_subaction(read_metadata(metadata).takes)
        for path in self.paths:
            part = read_predictions(
                path, layout, fields, name_format, rotation_6d, frame_step=frame_step
            )
            part = mark_absurd_betas(part)
            part.require_gender(gender)
            if num_betas is not None:
                part = part.with_num_betas(num_betas)
            self._add(part, person, takes)
        # DistributedDataParallel needs at least one parameter.
        self.unused = nn.Parameter(torch.zeros(()))

    def __len__(self) -> int:
        return len(self._rows)

    def forward(
        self,
        inputs: Any = None,
        data_samples: Sequence[BaseDataElement] | None = None,
        mode: str = 'predict',
    ) -> list[BaseDataElement]:
        """Add the predictions to the data samples and return them; ignore ``inputs``.

        Raises:
            ValueError: ``mode`` is not 'predict', a sample has no ``imgname``, or it has no
                prediction and ``missing`` is 'raise'.
        """
        if mode != 'predict':
            raise ValueError(f"StoredPredictions: mode: found {mode!r}, expected 'predict'")
        if data_samples is None:
            raise ValueError('StoredPredictions: the batch has no data_samples')
        return [self._answer(sample) for sample in data_samples]

    def _answer(self, sample: BaseDataElement) -> BaseDataElement:
        name = sample.get('imgname')
        if name is None:
            raise ValueError(
                'StoredPredictions: a data sample has no imgname; it has '
                f'{sorted(sample.all_keys())}'
            )
        place = self._rows.get(frame_key(name))
        if place is not None:
            file, row = place
            if frame_key(name) in self._persons and self.nearest is not None:
                persons = self._persons[frame_key(name)]
                row = self.nearest.choose(self._parts[file], persons, sample)
            for field, values in self._fields[file].items():
                sample.set_field(torch.from_numpy(values[row]).to(self.unused.device), field)
        elif self.missing == 'raise':
            raise ValueError(
                f'{name}: no prediction in {", ".join(map(str, self.paths))} ({len(self)} images); '
                "missing='skip', for model and metric, skips such frames"
            )
        return sample

    def _add(
        self, part: Predictions, person: str | None, takes: Mapping[tuple[Any, ...], str]
    ) -> None:
        """Add the predictions of one file.

        Raises:
            DataError: The predictions have no names, rows without a body, or images of another
                file.
        """
        if part.imgname is None:
            raise DataError(f'{part.name}: imgname: missing, expected the image name of each body')
        part.require_known_rotations()
        valid = part.is_valid()
        if self.missing == 'raise' and not valid.all():
            raise DataError(
                f'{part.name}: {int((~valid).sum())} of {len(part)} rows hold no body, the first '
                f"is {part.imgname[int(np.argmin(valid))]}; missing='skip', for model and metric, "
                'skips such frames'
            )
        names: dict[Any, str] = {}
        for name in part.imgname:
            names.setdefault(_key(part, name, takes), name)
        rows, notes = self._rows_of(part, names, person)
        for note in notes:
            print_log(f'{part.name}: {note}', logger='current')
        for (key, name), row in zip(names.items(), rows, strict=True):
            place = (len(self._fields), row)
            if row >= 0 and self._rows.setdefault(key, place) != place:
                other = self.paths[self._rows[key][0]]
                raise DataError(f'{part.name}: imgname: {name!r} is also in {other}')
        self._parts.append(part)
        self._fields.append(_answers(part))

    def _rows_of(
        self, part: Predictions, names: Mapping[Any, str], person: str | None
    ) -> tuple[list[int], Sequence[str]]:
        """Return the row of each frame, -1 for none, and notes on the choice of persons."""
        if self.nearest is None:
            matches = match_bodies(part, list(names.values()), person)
            return matches.rows.tolist(), matches.notes
        bodies = distinct_bodies(part, list(names.values()))
        several = {key: rows for key, rows in zip(names, bodies, strict=True) if len(rows) > 1}
        self._persons.update(several)
        note = (
            f'{len(several)} frames have several persons; the one nearest to the annotated joints '
            'is taken'
        )
        return [rows[0] if rows else -1 for rows in bodies], [note] if several else []


def _key(part: Predictions, name: str, takes: Mapping[tuple[Any, ...], str]) -> FrameIdentity | str:
    """Return the key of an image's frame, with a subaction replaced by its take.

    Raises:
        DataError: The name has a subaction, and ``takes`` does not have its take.
    """
    identity = frame_identity(name)
    if identity is None or identity.take is not None:
        return frame_key(name)
    take = takes.get(identity[:4])
    if take is None:
        raise DataError(
            f"{part.name}: imgname: {name!r} has a subaction; set metadata to the release's "
            'metadata.xml, which says which take that is'
        )
    return identity._replace(take=take, subaction=None)


def _answers(part: Predictions) -> dict[str, Array | JoinedRows]:
    """Return the ``pred_`` fields of data samples, as arrays with a row for each body."""
    if part.vertices is not None:
        return {'pred_vertices': part.vertices}
    assert part.global_orient is not None and part.body_pose is not None and part.betas is not None
    pose = part.body_pose
    is_axis_angle = pose.ndim == 3 and pose.shape[-1] == 3
    answers = {
        'pred_global_orient': part.global_orient,
        'pred_body_pose': pose.reshape(len(part), -1) if is_axis_angle else pose,
        'pred_betas': part.betas,
    }
    for name in ('transl', *HANDS_AND_FACE):
        if getattr(part, name) is not None:
            answers[f'pred_{name}'] = getattr(part, name)
    return {name: np.ascontiguousarray(values) for name, values in answers.items()}
