"""Person masks of a dataset's images by Mask R-CNN, in the file that refinement reads.

    python tools/generate_masks.py configs/segmentation/mask-rcnn_r50_fpn_h36m.py
    python tools/generate_masks.py CONFIG CHECKPOINT --out data/h36m/masks/h36m_train.json

A run that was killed goes on where it was when the same command is given again, and ends in the
same bytes. Several processes: ``torchrun --nproc_per_node 4 tools/generate_masks.py CONFIG
--launcher pytorch``; the result is the same for any number.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import os.path as osp
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.dist import barrier, get_dist_info, init_dist, is_main_process
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader, Dataset

from mmjrr.datasets.masks import Masks
from mmjrr.engine import distribute_on_cpu
from mmjrr.errors import DataError
from mmjrr.io import sha256, versions
from mmjrr.jobs.progress import with_progress
from mmjrr.segmentation import MaskShards, choose_person, compare_masks, mask_entry
from mmjrr.segmentation.mask_shards import PARTS, Shard


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file with a model and a test_dataloader')
    parser.add_argument('checkpoint', nargs='?', help="the weights' file (default: the config's)")
    parser.add_argument(
        '--out', help='JSON file to write (default: masks/ under data_root, named as the ann_file)'
    )
    parser.add_argument(
        '--work-dir', help='folder for unfinished results (default: work_dirs/<config>)'
    )
    parser.add_argument(
        '--batch-size', type=int, help='images at once (default: the config says; 1 without a GPU)'
    )
    parser.add_argument('--soft', action='store_true', help='keep how sure each pixel is')
    parser.add_argument(
        '--skip-unreadable',
        action='store_true',
        help='leave out, count and list images that cannot be read, instead of stopping',
    )
    parser.add_argument(
        '--compare', metavar='FILE', help='true masks; prints the IoU with them at the end'
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='start anew, whatever --out and --work-dir hold'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value; lists as key="[a,b]" or key=a,b',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of a distributed run are started',
    )
    # torch.distributed.launch passes it as --local-rank, older versions as --local_rank.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """The command line over the config."""
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    stem = osp.splitext(osp.basename(args.config))[0]
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', stem)
    if args.checkpoint is not None:
        cfg.model.checkpoint = args.checkpoint
    if args.soft:
        cfg.model.soft = True
    if args.batch_size is not None:
        cfg.test_dataloader.batch_size = args.batch_size
    elif get_device() == 'cpu':  # where batches cost memory and save no time
        cfg.test_dataloader.batch_size = 1
    dataset = cfg.test_dataloader.dataset
    name = Path(dataset.get('ann_file', stem)).stem
    cfg.out = args.out or osp.join(dataset.get('data_root', ''), 'masks', f'{name}.json')
    if not cfg.out.endswith('.json'):
        raise ValueError(f'--out: found {cfg.out!r}, expected a file ending in .json')
    cfg.person = {'min_overlap': 0.3, **cfg.get('person', {})}
    for name, value in dict(
        batch_size=cfg.test_dataloader.batch_size, frames_per_shard=cfg.frames_per_shard
    ).items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f'{name}: found {value!r}, expected a number of images')
    return cfg


def main() -> None:
    args = parse_args()
    try:
        cfg = merge_args(Config.fromfile(args.config), args)
        generate(cfg, args)
    except (ImportError, FileNotFoundError, ValueError) as error:
        sys.exit(f'error: {error}')


def generate(cfg: Config, args: argparse.Namespace) -> None:
    logger = set_up(cfg)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    model = MODELS.build(cfg.model).to(get_device())
    size = cfg.frames_per_shard
    rows = [range(start, min(start + size, len(dataset))) for start in range(0, len(dataset), size)]
    shards = MaskShards(cfg.out, Path(cfg.work_dir) / 'masks', identity_of(cfg, dataset, model))
    if not args.overwrite:
        shards.check()
    barrier()  # all have looked before one changes anything
    if is_main_process():
        shards.prepare(args.overwrite)
    barrier()
    if not shards.finished:
        todo = shards.todo(len(rows))
        if len(todo) < len(rows):
            logger.info(f'{len(rows) - len(todo)} of {len(rows)} shards are there already')
        rank, processes = get_dist_info()
        mine = todo[rank::processes]
        batches = load(cfg, dataset, [rows[number] for number in mine])
        for number in with_progress(mine, len(mine), 'shards', logger.info):
            shards.put(number, make_shard(cfg, model, batches, rows[number], args.skip_unreadable))
        barrier()
        if is_main_process():
            shards.merge(len(rows))
    if is_main_process():
        report(cfg.out, args.compare)


def set_up(cfg: Config) -> MMLogger:
    logger = MMLogger.get_instance('mmjrr', log_level=cfg.get('log_level', 'INFO'))
    init_default_scope(cfg.get('default_scope', 'mmjrr'))
    env = cfg.get('env_cfg', {})
    distribute_on_cpu(cfg)
    if cfg.launcher != 'none' and not torch.distributed.is_initialized():
        init_dist(cfg.launcher, **env.get('dist_cfg', {}))
    set_multi_processing(**env.get('mp_cfg', {}), distributed=cfg.launcher != 'none')
    return logger


class Readable(Dataset):
    """A data set whose unreadable samples are their error's text, so that no batch is lost."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[str, dict[str, Any] | str]:
        try:
            return self.dataset.imgname(index), self.dataset[index]
        except (DataError, FileNotFoundError) as error:
            return self.dataset.imgname(index), str(error)


def load(cfg: Config, dataset: Any, shards: Sequence[range]) -> Iterator[list[Any]]:
    """The items of each shard's batches, one after the other, read by worker processes."""
    size = cfg.test_dataloader.batch_size
    return iter(
        DataLoader(
            Readable(dataset),
            batch_sampler=[
                list(rows[start : start + size])
                for rows in shards
                for start in range(0, len(rows), size)
            ],
            num_workers=cfg.test_dataloader.get('num_workers', 0),
            collate_fn=list,
        )
    )


def make_shard(
    cfg: Config, model: Any, batches: Iterator[list[Any]], rows: range, skip_unreadable: bool
) -> Shard:
    """What the model finds in the images of a shard."""
    shard: Shard = {part: {} for part in PARTS}
    for _ in range(0, len(rows), cfg.test_dataloader.batch_size):
        items = []
        for name, item in next(batches):
            if not isinstance(item, str):
                items.append((name, item))
            elif skip_unreadable:
                shard['excluded'][name] = item
            else:
                raise DataError(
                    f'{item}\nNothing is lost: repair it, or add --skip-unreadable, and give the '
                    'same command again'
                )
        if not items:
            continue
        samples = model.test_step(
            dict(
                inputs=dict(img=[item['inputs']['img'] for _, item in items]),
                data_samples=[item['data_samples'] for _, item in items],
            )
        )
        for (name, _), sample in zip(items, samples, strict=True):
            entry = entry_of(sample, cfg.person.min_overlap, model.soft)
            shard['without_person' if isinstance(entry, str) else 'masks'][name] = entry
    return shard


def entry_of(sample: Any, min_overlap: float, soft: bool) -> dict[str, Any] | str:
    """The annotated person's mask, of a data sample's ``pred_instances``, or why there is none."""
    found = sample.pred_instances
    boxes, scores = found.bboxes.cpu().numpy(), found.scores.cpu().numpy()
    masks = found.masks.cpu().numpy()
    joints, weights = sample.get('keypoints_2d'), sample.get('keypoints_2d_weight')
    choice = choose_person(
        boxes,
        scores,
        masks,
        None if joints is None else joints.cpu().numpy(),
        None if weights is None else weights.cpu().numpy(),
        sample.get('box'),
    )
    if choice is None:
        return 'no person was found'
    if choice.overlap < min_overlap:
        return (
            f'of {len(boxes)} people found none overlaps the annotated one by {min_overlap}, the '
            f'nearest by {choice.overlap:.2f}'
        )
    mask = masks[choice.instance]
    if not (mask >= 128).any():
        return 'the mask of the person found is empty'
    return mask_entry(mask, scores[choice.instance], boxes[choice.instance], choice.overlap, soft)


def identity_of(cfg: Config, dataset: Any, model: Any) -> dict[str, Any]:
    """What decides on the results, but for the images themselves."""
    used = dict(
        person=cfg.person,
        batch_size=cfg.test_dataloader.batch_size,
        frames_per_shard=cfg.frames_per_shard,
    )
    names = '\n'.join(dataset.imgname(row) for row in range(len(dataset)))
    data = Config(dict(dataset=cfg.test_dataloader.dataset)).to_dict()
    annotation = getattr(dataset, 'ann_file', None)
    checkpoint = model.made_by['checkpoint']
    return dict(
        model=model.made_by,
        checkpoint_sha256=None if checkpoint is None else sha256(checkpoint),
        weights=weights_of(model),
        data=data['dataset'],
        annotation_sha256=None if annotation is None else sha256(annotation),
        images=hashlib.sha256(names.encode()).hexdigest(),
        settings=json.loads(json.dumps(used)),
        versions=versions(),
    )


def weights_of(model: Any) -> str:
    """Checksum of the weights themselves: random ones have no file."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def report(out: str, truth: str | None) -> None:
    counts = json.loads(Path(out).read_bytes())['info']['counts']
    print(
        f'{counts["masks"]} masks are in {out}; {counts["without_person"]} images without the '
        f'person, {counts["excluded"]} excluded'
    )
    if truth is not None:
        found = compare_masks(Masks(out), Masks(truth))
        print(
            f'IoU with {truth}: {found["iou"]:.4f} over {found["frames"]} frames, of which '
            f'{found["lacking"]} have no mask; the worst, {found["worst"]}: '
            f'{found["worst_iou"]:.4f}'
        )


if __name__ == '__main__':
    main()
