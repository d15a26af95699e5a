"""Generation of masks of the annotated persons in a dataset's images, as a resumable job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmjrr.datasets.image_batches import UnreadableImage, load_batches, refuse_unreadable
from mmjrr.io import read_json, sha256, versions
from mmjrr.io.paths import check_suffix
from mmjrr.jobs import Identity, Job, digest_of_names, digest_of_state, files_of
from mmjrr.segmentation.mask_file import PARTS, mask_entry, write_mask_file
from mmjrr.segmentation.person_choice import choose_person

Shard = dict[str, dict[str, Any]]


def generate_masks(
    dataset: Any,
    model: Any,
    cfg: Config,
    *,
    skip_unreadable: bool = False,
    overwrite: bool = False,
) -> dict[str, int]:
    """Generate a mask of the annotated person in each image of a dataset, and write the mask file.

    A killed run resumes after its last stored shard. The file's bytes depend neither on
    interruptions nor on the number of processes. In a distributed run, call this function in all
    processes.

    Args:
        dataset: The dataset; its samples contain images.
        model: The network, such as :class:`~mmjrr.segmentation.MaskRCNN`.
        cfg: ``out`` (the file), ``work_dir``, ``test_dataloader`` (``dataset``, ``batch_size``,
            ``num_workers``), ``frames_per_shard`` and ``person.min_overlap``.
        skip_unreadable: Whether to count and list unreadable images instead of stopping.
        overwrite: Whether to start again and replace an existing file and stored shards.

    Returns:
        The number of images for each of ``'masks'``, ``'without_person'`` and ``'excluded'``
        (unreadable).

    Raises:
        LockedError: Another run works in the work directory.
        DataError: An image is unreadable, or the existing file or shards have other settings.
    """
    size = cfg.frames_per_shard
    rows = [range(start, min(start + size, len(dataset))) for start in range(0, len(dataset), size)]
    identity = _identity(cfg, dataset, model)
    job = Job(
        cfg.work_dir,
        'masks',
        identity,
        '.json',
        output=cfg.out,
        read_output_record=_recorded_identity,
        remedy='choose another --out and --work-dir, or start again with --overwrite',
    )

    def make(numbers: list[int]) -> Iterator[Shard]:
        return _make_shards(cfg, dataset, model, [rows[n] for n in numbers], skip_unreadable)

    def write_output() -> None:
        write_mask_file(cfg.out, job.shards, len(rows), identity.as_dict())

    job.run(len(rows), make, write_output, overwrite=overwrite)
    return read_json(cfg.out)['info']['counts']


def _identity(cfg: Config, dataset: Any, model: Any) -> Identity:
    data = Config(dict(dataset=cfg.test_dataloader.dataset)).to_dict()['dataset']
    checkpoint = model.made_by['checkpoint']
    return Identity(
        dict(
            model=model.made_by,
            checkpoint_sha256=None if checkpoint is None else sha256(checkpoint),
            weights=digest_of_state(model),
            data=data,
            files=files_of(dataset, data),
            images=digest_of_names(dataset),
            settings=dict(
                person=cfg.person,
                batch_size=cfg.test_dataloader.batch_size,
                frames_per_shard=cfg.frames_per_shard,
            ),
        ),
        dict(versions=versions()),
    )


def _recorded_identity(path: Path) -> Any:
    """Return the identity in a mask file; None if it has none."""
    content = read_json(path)
    info = content.get('info') if isinstance(content, dict) else None
    return info.get('identity') if isinstance(info, dict) else None


def _make_shards(
    cfg: Config, dataset: Any, model: Any, shards: list[range], skip_unreadable: bool
) -> Iterator[Shard]:
    """Yield the contents of each shard, given as a range of dataset rows."""
    size = cfg.test_dataloader.batch_size
    batches = [
        [rows[start : start + size] for start in range(0, len(rows), size)] for rows in shards
    ]
    loaded = load_batches(
        dataset,
        [batch for shard in batches for batch in shard],
        cfg.test_dataloader.get('num_workers', 0),
    )
    for shard in batches:
        content: Shard = {part: {} for part in PARTS}
        for batch in shard:
            samples = next(loaded)
            refuse_unreadable(samples, skip_unreadable)
            _segment(cfg, model, [dataset.get_data_info(row) for row in batch], samples, content)
        yield content


def _segment(
    cfg: Config, model: Any, infos: list[dict[str, Any]], samples: list[Any], shard: Shard
) -> None:
    """Segment the images of a batch, and add their entries to a shard.

    Args:
        cfg: As in :func:`generate_masks`.
        model: See there.
        infos: The annotation of each image: ``imgname`` and, optionally, ``annotated_box`` or
            ``box``.
        samples: The samples after the pipeline.
        shard: The shard.
    """
    readable = []
    for info, sample in zip(infos, samples, strict=True):
        if isinstance(sample, UnreadableImage):
            shard['excluded'][info['imgname']] = str(sample)
        else:
            readable.append((info, sample))
    if not readable:
        return
    predicted = model.test_step(
        dict(
            inputs=dict(img=[sample['inputs']['img'] for _, sample in readable]),
            data_samples=[sample['data_samples'] for _, sample in readable],
        )
    )
    for (info, _), sample in zip(readable, predicted, strict=True):
        box = info.get('annotated_box', info.get('box'))
        entry = _entry(sample, box, cfg.person.min_overlap, model.soft)
        part = 'without_person' if isinstance(entry, str) else 'masks'
        shard[part][info['imgname']] = entry


def _entry(
    sample: Any, box: Sequence[float] | None, min_overlap: float, soft: bool
) -> dict[str, Any] | str:
    """Return the annotated person's entry from ``pred_instances``, or why there is none."""
    instances = sample.pred_instances
    boxes, scores = instances.bboxes.cpu().numpy(), instances.scores.cpu().numpy()
    masks = instances.masks.cpu().numpy()
    joints, weights = sample.get('keypoints_2d'), sample.get('keypoints_2d_weight')
    choice = choose_person(
        boxes,
        scores,
        masks,
        None if joints is None else joints.cpu().numpy(),
        None if weights is None else weights.cpu().numpy(),
        box,
    )
    if choice is None:
        return 'no person was found'
    if choice.overlap < min_overlap:
        return (
            f'none of {len(boxes)} detected people overlaps the annotated person by at least '
            f'{min_overlap}; the largest overlap is {choice.overlap:.2f}'
        )
    mask = masks[choice.instance]
    if not (mask >= 128).any():
        return "the detected person's mask is empty"
    return mask_entry(mask, scores[choice.instance], boxes[choice.instance], choice.overlap, soft)


def check_settings(cfg: Config) -> None:
    """Check the settings of :func:`generate_masks` before long work.

    Raises:
        ValueError: ``out`` does not end in ``.json``, or ``batch_size`` or ``frames_per_shard`` is
            not a positive integer.
    """
    check_suffix(cfg.out, '.json', option='--out')
    numbers = dict(batch_size=cfg.test_dataloader.batch_size, frames_per_shard=cfg.frames_per_shard)
    for name, value in numbers.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f'{name}: found {value!r}, expected a positive number of images')
