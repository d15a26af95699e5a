"""Inference of a mesh estimator on a data set, written in SPIN's npz layout, as a resumable job."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from mmjrr.array_types import Array
from mmjrr.datasets.fits import load_fits, save_fits
from mmjrr.datasets.image_batches import UnreadableImage, load_batches, refuse_unreadable
from mmjrr.errors import DataError
from mmjrr.geometry import PIXELS_PER_SCALE, matrix_to_axis_angle
from mmjrr.io import sha256, versions
from mmjrr.io.paths import check_suffix
from mmjrr.jobs import Identity, Job, digest_of_names, digest_of_state, files_of

#: Arrays of a shard, and their number of values per frame; NaN if the model does not estimate them.
FIELDS = {'pose': 72, 'betas': 10, 'camera': 3, 'transl': 3, 'box': 4}

#: Rows of the data set that are estimated together, as a list of sequences.
Batch = list[list[int]]


def infer_meshes(
    dataset: Any,
    model: Any,
    cfg: Config,
    *,
    skip_unreadable: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Estimate the bodies in the frames of a data set, and write them to a file.

    A killed run resumes after its last stored batch. The file's bytes depend neither on
    interruptions nor on the number of processes. In a distributed run, call this function in all
    processes.

    Args:
        dataset: The data set; its samples contain images.
        model: The estimator.
        cfg: ``out`` (the file), ``work_dir``, ``model``, ``test_dataloader`` (``dataset``,
            ``batch_size``, ``num_workers``), ``seq_len``, and ``load_from`` (the weights' file).
        skip_unreadable: Whether to count and list frames with an unreadable image instead of
            stopping. A resumed run tries them again.
        overwrite: Whether to start again and replace an existing file and stored batches.

    Returns:
        The fits of the file, as :func:`~mmjrr.datasets.fits.load_fits` reads them.

    Raises:
        LockedError: Another run works in the work directory.
        DataError: An image is unreadable, an estimate is not finite, or the existing file or
            batches have other settings.
    """
    batches = make_batches(dataset, cfg.seq_len, cfg.test_dataloader.batch_size)
    job = Job(
        cfg.work_dir,
        'inference',
        _identity(cfg, dataset, model),
        '.npz',
        stem='batch',
        output=cfg.out,
        read_output_record=lambda path: load_fits(path).get('provenance'),
        remedy='choose another --out and --work-dir, or start again with --overwrite',
    )

    def make(numbers: list[int]) -> Iterator[dict[str, Array]]:
        chosen = [batches[number] for number in numbers]
        rows = [_rows(batch) for batch in chosen]
        loaded = load_batches(dataset, rows, cfg.test_dataloader.get('num_workers', 0))
        for batch, samples in zip(chosen, loaded, strict=True):
            yield estimate_batch(model, batch, samples, skip_unreadable)

    job.run(
        len(batches),
        make,
        lambda: _write(cfg, dataset, job, len(batches)),
        unit='batches',
        overwrite=overwrite,
        redo=lambda shard: bool((shard['error'] != '').any()),
    )
    return load_fits(cfg.out)


def check_settings(cfg: Config) -> None:
    """Check the settings of :func:`infer_meshes` before long work.

    Raises:
        ValueError: ``out`` does not end in ``.npz``, or ``seq_len`` or ``batch_size`` is not a
            positive integer.
    """
    check_suffix(cfg.out, '.npz', option='--out')
    for name, value in dict(seq_len=cfg.seq_len, batch_size=cfg.test_dataloader.batch_size).items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f'{name}: found {value!r}, expected a positive number of frames')


def make_batches(dataset: Any, seq_len: int, batch_size: int) -> list[Batch]:
    """Divide the rows of a data set into batches of about ``batch_size`` frames.

    Args:
        dataset: The data set; ``sequences(seq_len)`` gives its sequences.
        seq_len: Number of consecutive frames of a sequence, which the model sees together.
        batch_size: Number of frames of a batch; a batch has at least one sequence.
    """
    if seq_len == 1:
        sequences = [[row] for row in range(len(dataset))]
    else:
        sequences = dataset.sequences(seq_len)
    step = max(1, batch_size // seq_len)
    return [sequences[start : start + step] for start in range(0, len(sequences), step)]


def estimate_batch(
    model: Any, batch: Batch, samples: Sequence[Any], skip_unreadable: bool
) -> dict[str, Array]:
    """Estimate the bodies of a batch.

    Returns:
        Arrays with a row per frame: those of :data:`FIELDS`, ``sample_idx``, and ``error`` (the
        message of an unreadable image, or '').

    Raises:
        DataError: An image is unreadable and must not be skipped, or an estimate is not finite.
    """
    refuse_unreadable(samples, skip_unreadable)
    rows = _rows(batch)
    position = {row: index for index, row in enumerate(rows)}
    errors = [str(sample) if isinstance(sample, UnreadableImage) else '' for sample in samples]
    arrays = {name: np.full((len(rows), size), np.nan, 'f4') for name, size in FIELDS.items()}
    arrays['box'] = arrays['box'].astype('f8')
    readable = [[row for row in sequence if not errors[position[row]]] for sequence in batch]
    for length in sorted({len(sequence) for sequence in readable} - {0}):
        alike = [sequence for sequence in readable if len(sequence) == length]
        chosen = _rows(alike)
        predicted = _predict(model, [samples[position[row]] for row in chosen], length)
        for sample, row in zip(predicted, chosen, strict=True):
            for name, value in estimate_of(sample).items():
                arrays[name][position[row]] = value
    return dict(arrays, sample_idx=np.array(rows), error=np.array(errors, dtype=np.str_))


def _rows(batch: Batch) -> list[int]:
    return [row for sequence in batch for row in sequence]


@torch.no_grad()
def _predict(model: Any, items: list[Any], length: int) -> list[Any]:
    """Return the data samples with predictions of sequences that all have the same length."""
    inputs = {}
    for name in items[0]['inputs']:
        stacked = torch.stack([item['inputs'][name] for item in items])
        inputs[name] = stacked if length == 1 else stacked.unflatten(0, (-1, length))
    samples = [item['data_samples'] for item in items]
    return model.test_step(dict(inputs=inputs, data_samples=samples))


def estimate_of(sample: Any) -> dict[str, Array]:
    """Return the estimate in a data sample: those of :data:`FIELDS` that it has.

    Rotations are axis-angle.

    Raises:
        DataError: A value has another shape, or is not finite.
    """
    fields = {'box': np.array(sample.box)}
    orient, body = sample.pred_global_orient, sample.pred_body_pose
    if orient.shape[-2:] == (3, 3):
        matrices = torch.cat([orient.reshape(1, 3, 3), body.reshape(-1, 3, 3)])
        fields['pose'] = matrix_to_axis_angle(matrices.double()).flatten().cpu().numpy()
    else:
        fields['pose'] = torch.cat([orient.flatten(), body.flatten()]).cpu().numpy()
    for name in ('betas', 'camera', 'transl'):
        value = sample.get(f'pred_{name}')
        if value is not None:
            fields[name] = value.flatten().cpu().numpy()
    for name, value in fields.items():
        if value.shape != (FIELDS[name],) or not np.isfinite(value).all():
            raise DataError(
                f'{sample.imgname}: {name}: found {value!r:.200}, expected {FIELDS[name]} finite '
                'numbers'
            )
    return fields


def _write(cfg: Config, dataset: Any, job: Job, count: int) -> None:
    """Merge the shards into the file.

    Raises:
        DataError: A shard is missing or damaged, or no image is readable.
    """
    parts = list(job.shards.read_all([(number, None) for number in range(count)]))
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(arrays['sample_idx'], kind='stable')
    arrays = {name: array[order] for name, array in arrays.items()}
    if arrays['sample_idx'].tolist() != list(range(len(dataset))):
        raise DataError(
            f'{job.folder}: found {len(order)} frames, expected each of {len(dataset)} once; start '
            'again with --overwrite'
        )
    excluded = arrays['error'] != ''
    if excluded.all():
        raise DataError(f'none of {len(excluded)} images is readable: {arrays["error"][0]}')
    kept = {name: array[~excluded] for name, array in arrays.items()}
    names = np.array([dataset.imgname(row) for row in range(len(dataset))])
    box, checkpoint = kept['box'], cfg.get('load_from')
    has_file = checkpoint is not None and osp.isfile(checkpoint)
    save_fits(
        cfg.out,
        imgname=names[~excluded],
        pose=kept['pose'],
        betas=kept['betas'],
        camera=None if np.isnan(kept['camera']).any() else kept['camera'],
        transl=None if np.isnan(kept['transl']).any() else kept['transl'],
        center=(box[:, :2] + box[:, 2:]) / 2,
        scale=(box[:, 2] - box[:, 0]) / PIXELS_PER_SCALE,
        provenance=dict(
            method=f'mmjrr inference with {cfg.model.type}',
            config=str(cfg.filename or ''),
            checkpoint=checkpoint,
            checkpoint_sha256=sha256(checkpoint) if has_file else None,
            seq_len=cfg.seq_len,
            excluded=names[excluded].tolist(),
            **job.identity.as_dict(),
        ),
    )


def _identity(cfg: Config, dataset: Any, model: Any) -> Identity:
    used = Config(dict(model=cfg.model, dataset=cfg.test_dataloader.dataset)).to_dict()
    settings = dict(used, seq_len=cfg.seq_len, batch_size=cfg.test_dataloader.batch_size)
    return Identity(
        dict(
            settings=settings,
            weights=digest_of_state(model),
            images=digest_of_names(dataset),
            files=files_of(dataset, used['dataset']),
        ),
        dict(versions=versions()),
    )


def summary(path: str | Path, fits: dict[str, Any]) -> str:
    """Describe a file: its number of frames, and the images that were unreadable."""
    excluded = fits['provenance']['excluded']
    text = f'Wrote {len(fits["imgname"])} frames to {path}'
    if excluded:
        text += f'; {len(excluded)} images were unreadable: {", ".join(excluded[:3])}'
        text += ', ...' if len(excluded) > 3 else ''
    return text
