"""A model that looks its answers up: stored estimates, evaluated like any model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import nn

from mmjrr.datasets.fits import image_names, load_fits
from mmjrr.datasets.image_names import image_key
from mmjrr.errors import DataError
from mmjrr.io import read_npz
from mmjrr.registry import MODELS


@MODELS.register_module()
class StoredPredictions(BaseModel):
    """Answers with the predictions that a file holds for an image, matched by its name.

    In predict mode data samples come back with ``pred_global_orient`` (3,), ``pred_body_pose``
    (69,), ``pred_betas`` (K,) and, where stored, ``pred_transl`` (3,); or with ``pred_vertices``
    (V, 3). So ``tools/test.py`` evaluates a file of results as it does a model.

    Args:
        predictions: one or several ``.npz`` files in SPIN's layout: ``imgname`` (N,), ``pose``
            (N, 72) axis-angle with the global orientation first, ``betas`` (or ``shape``) (N, K)
            and optionally ``transl`` (N, 3), metres; or ``imgname`` and ``vertices`` (N, V, 3).
        missing: what to do for an image that no file has: 'raise', or 'skip' (its data sample
            comes back without predictions). Default 'raise'.
        data_preprocessor: as in MMEngine.
        init_cfg: as in MMEngine; there is nothing to initialise.

    Raises:
        FileNotFoundError: a file is not there.
        DataError: a file is broken, or an image is in two of them.
        ValueError: an argument is wrong; or, in predict mode, an image has no prediction.
    """

    def __init__(
        self,
        predictions: str | Path | Sequence[str | Path],
        missing: str = 'raise',
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if missing not in ('raise', 'skip'):
            raise ValueError(f"missing: found {missing!r}, expected 'raise' or 'skip'")
        self.missing = missing
        paths = [predictions] if isinstance(predictions, (str, Path)) else list(predictions)
        if not paths:
            raise ValueError('predictions: found no file, expected at least one')
        self.paths = [Path(path) for path in paths]
        self._fields: list[dict[str, np.ndarray]] = []
        self._rows: dict[str, tuple[int, int]] = {}  # image -> file and row
        for path in self.paths:
            self._add(path)
        # DistributedDataParallel refuses a module without a parameter.
        self.unused = nn.Parameter(torch.zeros(()))

    def __len__(self) -> int:
        return len(self._rows)

    def forward(
        self,
        inputs: Any = None,
        data_samples: Sequence[BaseDataElement] | None = None,
        mode: str = 'predict',
    ) -> list[BaseDataElement]:
        """The data samples with their predictions. ``inputs`` is not looked at.

        Raises:
            ValueError: ``mode`` is not 'predict', a sample has no ``imgname``, or (with
                ``missing='raise'``) there is no prediction for it.
        """
        if mode != 'predict':
            raise ValueError(f"StoredPredictions: mode={mode!r}, expected 'predict'")
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
        place = self._rows.get(image_key(name))
        if place is not None:
            file, row = place
            for field, values in self._fields[file].items():
                sample.set_field(torch.from_numpy(values[row]).to(self._device()), field)
        elif self.missing == 'raise':
            raise ValueError(
                f'{name}: no prediction in {", ".join(map(str, self.paths))} ({len(self)} images); '
                "missing='skip', for model and metric, leaves such frames out"
            )
        return sample

    def _device(self) -> torch.device:
        return self.unused.device

    def _add(self, path: Path) -> None:
        names, fields = _read(path)
        for row, name in enumerate(names):
            place = (len(self._fields), row)
            if self._rows.setdefault(image_key(name), place) != place:
                other = self.paths[self._rows[image_key(name)][0]]
                raise DataError(f'{path}: imgname: {name!r} is also in {other}, or in it twice')
        self._fields.append(fields)


def _read(path: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Image names and the fields to set, an array with a row for each name."""
    raw = read_npz(path)
    if 'vertices' not in raw:
        fits = load_fits(path)
        fields = {
            'pred_global_orient': fits['pose'][:, :3],
            'pred_body_pose': fits['pose'][:, 3:],
            'pred_betas': fits['betas'],
        }
        if 'transl' in fits:
            fields['pred_transl'] = fits['transl']
        return fits['imgname'].tolist(), fields
    if 'imgname' not in raw:
        raise DataError(f"{path}: lacks 'imgname', found {sorted(raw)}")
    names = image_names(path, raw['imgname']).tolist()
    vertices = raw['vertices']
    if vertices.ndim != 3 or vertices.shape[::2] != (len(names), 3) or vertices.dtype.kind != 'f':
        raise DataError(
            f'{path}: vertices: found {vertices.dtype} of shape {vertices.shape}, expected floats '
            f'({len(names)}, V, 3)'
        )
    return names, {'pred_vertices': vertices.astype(np.float32, copy=False)}
