"""Run a mesh estimator over a dataset, and write what it finds in SPIN's npz layout.

    python tools/infer_mesh.py configs/inference/spin_h36m.py data/spin/model_checkpoint.pt
    python tools/infer_mesh.py CONFIG CHECKPOINT --out data/h36m/fits/spin_train.npz

A run that was killed goes on where it was when the same command is given again, and ends in the
same bytes. Several processes: ``torchrun --nproc_per_node 4 tools/infer_mesh.py CONFIG CHECKPOINT
--launcher pytorch``; the result is the same for any number.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import os.path as osp
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.dist import barrier, get_dist_info, init_dist, is_main_process
from mmengine.logging import MMLogger, print_log
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import set_random_seed
from mmengine.utils.dl_utils import set_multi_processing
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmjrr.datasets.fits import load_fits, save_fits
from mmjrr.engine import distribute_on_cpu
from mmjrr.errors import DataError
from mmjrr.geometry import PIXELS_PER_SCALE, matrix_to_axis_angle
from mmjrr.io import atomic_write, sha256, versions
from mmjrr.jobs.progress import with_progress
from mmjrr.models.estimators.checkpoints import load_weights
from mmjrr.refinement import PseudoGTStore

#: What a shard holds of a frame, and how many numbers each is; NaN where there is none.
FIELDS = {'pose': 72, 'betas': 10, 'camera': 3, 'transl': 3, 'box': 4}

#: Rows of the data set, sequence by sequence, that are read and estimated together.
Batch = list[list[int]]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file with a model and a test_dataloader')
    parser.add_argument(
        'checkpoint', nargs='?', help="the weights' file; 'none' where the config names it"
    )
    parser.add_argument('--out', help='npz file to write (default: <work-dir>/<config>.npz)')
    parser.add_argument(
        '--work-dir', help='folder for unfinished results (default: work_dirs/<config>)'
    )
    parser.add_argument('--batch-size', type=int, help='frames at once (default: the config says)')
    parser.add_argument(
        '--skip-unreadable',
        action='store_true',
        help='leave out, count and list frames whose image cannot be read, instead of stopping',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='start anew, whatever --out and --work-dir hold',
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
    if args.checkpoint not in (None, 'none'):
        cfg.load_from = args.checkpoint
    if args.batch_size is not None:
        cfg.test_dataloader.batch_size = args.batch_size
    cfg.out = args.out or osp.join(cfg.work_dir, f'{stem}.npz')
    if not cfg.out.endswith('.npz'):
        raise SystemExit(f'--out: found {cfg.out!r}, expected a file ending in .npz')
    cfg.setdefault('seq_len', 1)
    for name, value in dict(seq_len=cfg.seq_len, batch_size=cfg.test_dataloader.batch_size).items():
        if not isinstance(value, int) or value < 1:
            raise SystemExit(f'{name}: found {value!r}, expected a number of frames')
    return cfg


def main() -> None:
    args = parse_args()
    cfg = merge_args(Config.fromfile(args.config), args)
    logger = set_up(cfg)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    model = build_model(cfg)
    batches = make_batches(dataset, cfg.seq_len, cfg.test_dataloader.batch_size)
    results = Results(cfg, identity_of(cfg, dataset, model))
    results.check(args.overwrite)
    barrier()  # all have looked before one changes anything
    if is_main_process():
        results.prepare(args.overwrite)
    barrier()
    if not results.finished:
        done = results.done()
        barrier()  # all have looked before one adds to it
        todo = [number for number in range(len(batches)) if number not in done]
        if len(todo) < len(batches):
            logger.info(f'{len(batches) - len(todo)} of {len(batches)} batches are there already')
        rank, processes = get_dist_info()
        mine = todo[rank::processes]
        pairs = zip(mine, load(cfg, dataset, batches, mine), strict=True)
        for number, items in with_progress(pairs, len(mine), 'batches', logger.info):
            arrays = estimate(model, batches[number], items, args.skip_unreadable)
            results.store.put(number, arrays)
        barrier()
        if is_main_process():
            results.write(dataset)
    if is_main_process():
        logger.info(results.summary())


def set_up(cfg: Config) -> MMLogger:
    """What MMEngine's Runner does before it builds anything."""
    logger = MMLogger.get_instance('mmjrr', log_level=cfg.get('log_level', 'INFO'))
    init_default_scope(cfg.get('default_scope', 'mmjrr'))
    env = cfg.get('env_cfg', {})
    distribute_on_cpu(cfg)
    if cfg.launcher != 'none' and not torch.distributed.is_initialized():
        init_dist(cfg.launcher, **env.get('dist_cfg', {}))
    set_multi_processing(**env.get('mp_cfg', {}), distributed=cfg.launcher != 'none')
    set_random_seed(**cfg.get('randomness', dict(seed=0)))
    return logger


def build_model(cfg: Config) -> nn.Module:
    model = MODELS.build(cfg.model)
    if cfg.get('load_from') is not None:
        load_weights(model, cfg.load_from)
    elif cfg.model.get('checkpoint') is None:
        print_log('No checkpoint is given: the weights are random', 'current', logging.WARNING)
    return model.to(get_device()).eval()


def make_batches(dataset: Any, seq_len: int, batch_size: int) -> list[Batch]:
    """All rows of the data set, in batches of about ``batch_size`` frames."""
    if seq_len == 1:
        sequences = [[row] for row in range(len(dataset))]
    else:
        sequences = dataset.sequences(seq_len)
    step = max(1, batch_size // seq_len)
    return [sequences[start : start + step] for start in range(0, len(sequences), step)]


class Readable(Dataset):
    """A data set whose unreadable samples are their error's text, so that no batch is lost."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any] | str:
        try:
            return self.dataset[index]
        except (DataError, FileNotFoundError) as error:
            return str(error)


def load(
    cfg: Config, dataset: Any, batches: Sequence[Batch], numbers: Sequence[int]
) -> Iterator[list[dict[str, Any] | str]]:
    """The items of each of the numbered batches, read by worker processes."""
    return iter(
        DataLoader(
            Readable(dataset),
            batch_sampler=[sum(batches[number], []) for number in numbers],
            num_workers=cfg.test_dataloader.get('num_workers', 0),
            collate_fn=list,
        )
    )


def estimate(
    model: Any, batch: Batch, items: list[dict[str, Any] | str], skip_unreadable: bool
) -> dict[str, np.ndarray]:
    """What the model finds in a batch: arrays of :data:`FIELDS`, ``sample_idx`` and ``error``.

    Raises:
        DataError: an image is unreadable and must not be skipped, or an estimate is not finite.
    """
    rows = sum(batch, [])
    place = {row: index for index, row in enumerate(rows)}
    errors = [item if isinstance(item, str) else '' for item in items]
    if any(errors) and not skip_unreadable:
        raise DataError(
            f'{next(filter(None, errors))}\nNothing is lost: repair it, or add --skip-unreadable, '
            'and give the same command again'
        )
    arrays = {name: np.full((len(rows), size), np.nan, 'f4') for name, size in FIELDS.items()}
    arrays['box'] = arrays['box'].astype('f8')
    readable = [[row for row in sequence if not errors[place[row]]] for sequence in batch]
    for length in sorted({len(sequence) for sequence in readable} - {0}):
        alike = [sequence for sequence in readable if len(sequence) == length]
        chosen = [items[place[row]] for sequence in alike for row in sequence]
        for sample, row in zip(run(model, chosen, length), sum(alike, []), strict=True):
            for name, value in fields_of(sample).items():
                arrays[name][place[row]] = value
    return dict(arrays, sample_idx=np.array(rows), error=np.array(errors, dtype=np.str_))


@torch.no_grad()
def run(model: Any, items: list[Any], length: int) -> list[Any]:
    """Data samples with predictions, one a frame; the items are sequences of ``length``."""
    inputs = {}
    for name in items[0]['inputs']:
        stacked = torch.stack([item['inputs'][name] for item in items])
        inputs[name] = stacked if length == 1 else stacked.unflatten(0, (-1, length))
    samples = [item['data_samples'] for item in items]
    return model.test_step(dict(inputs=inputs, data_samples=samples))


def fields_of(sample: Any) -> dict[str, np.ndarray]:
    """The estimate in a data sample, rotations as axis-angle."""
    found = {'box': np.array(sample.box)}
    orient, body = sample.pred_global_orient, sample.pred_body_pose
    if orient.shape[-2:] == (3, 3):
        matrices = torch.cat([orient.reshape(1, 3, 3), body.reshape(-1, 3, 3)])
        found['pose'] = matrix_to_axis_angle(matrices.double()).flatten().cpu().numpy()
    else:
        found['pose'] = torch.cat([orient.flatten(), body.flatten()]).cpu().numpy()
    for name in ('betas', 'camera', 'transl'):
        value = sample.get(f'pred_{name}')
        if value is not None:
            found[name] = value.flatten().cpu().numpy()
    for name, value in found.items():
        if value.shape != (FIELDS[name],) or not np.isfinite(value).all():
            raise DataError(
                f'{sample.imgname}: {name}: found {value!r:.200}, expected {FIELDS[name]} finite '
                'numbers'
            )
    return found


class Results:
    """Where results are kept until all are there, and the file that they become.

    Args:
        cfg: The config, with ``out`` and ``work_dir``.
        identity: What the results depend on, by name.
    """

    def __init__(self, cfg: Config, identity: dict[str, Any]) -> None:
        self.cfg = cfg
        self.identity = identity
        self.out = Path(cfg.out)
        self.store = PseudoGTStore(Path(cfg.work_dir) / 'inference')
        self.identity_file = self.store.root / 'identity.json'
        self.finished = False

    def check(self, overwrite: bool) -> None:
        """Refuse to go on from what something else has made."""
        if overwrite:
            return
        if self.out.exists():
            self._compare(self.out, load_fits(self.out).get('provenance', {}))
            self.finished = True
        elif self.store.shards():
            known = self.identity_file.exists()
            found = json.loads(self.identity_file.read_bytes()) if known else {}
            self._compare(self.store.root, found)

    def prepare(self, overwrite: bool) -> None:
        """Leave what this run can use: whole shards without a failure."""
        if overwrite:
            self.out.unlink(missing_ok=True)
        if overwrite or self.finished:
            shutil.rmtree(self.store.root, ignore_errors=True)
        if self.finished:
            return
        cut_off = [(self.out.parent, f'.{self.out.stem}.'), (self.store.root, '.')]
        for folder, start in cut_off:  # what a killed run was writing
            for path in folder.glob('.*'):
                if path.name.startswith(start):
                    path.unlink()
        for path in self.store.shards():
            if not _is_good(path):
                path.unlink()
        with atomic_write(self.identity_file) as temporary:
            temporary.write_text(json.dumps(self.identity, indent=2) + '\n')

    def done(self) -> set[int]:
        """Numbers of the batches that are there."""
        return {int(path.name.split('_')[1]) for path in self.store.shards()}

    def write(self, dataset: Any) -> None:
        """Make one file of all shards, and remove them.

        Raises:
            DataError: no frame is left.
            RuntimeError: shards have gone.
        """
        arrays = self.store.load()
        if len(arrays['sample_idx']) != len(dataset):
            found = f'{len(arrays["sample_idx"])} frames, expected {len(dataset)}'
            raise RuntimeError(f'{self.store.root}: found {found}; give the same command again')
        excluded = arrays['error'] != ''
        if excluded.all():
            raise DataError(f'none of {len(excluded)} images is readable: {arrays["error"][0]}')
        kept = {name: array[~excluded] for name, array in arrays.items()}
        names = np.array([dataset.imgname(row) for row in arrays['sample_idx'].tolist()])
        box, checkpoint = kept['box'], self.cfg.get('load_from')
        known = checkpoint is not None and osp.isfile(checkpoint)
        save_fits(
            self.out,
            imgname=names[~excluded],
            pose=kept['pose'],
            betas=kept['betas'],
            camera=None if np.isnan(kept['camera']).any() else kept['camera'],
            transl=None if np.isnan(kept['transl']).any() else kept['transl'],
            center=(box[:, :2] + box[:, 2:]) / 2,
            scale=(box[:, 2] - box[:, 0]) / PIXELS_PER_SCALE,
            provenance=dict(
                method=f'mmjrr inference with {self.cfg.model.type}',
                config=str(self.cfg.filename or ''),
                checkpoint=checkpoint,
                checkpoint_sha256=sha256(checkpoint) if known else None,
                seq_len=self.cfg.seq_len,
                excluded=names[excluded].tolist(),
                **self.identity,
            ),
        )
        shutil.rmtree(self.store.root)

    def summary(self) -> str:
        fits = load_fits(self.out)
        excluded = fits['provenance']['excluded']
        text = f'{len(fits["imgname"])} frames are in {self.out}'
        if excluded:
            text += f'; {len(excluded)} images were unreadable: {", ".join(excluded[:3])}'
            text += ', ...' if len(excluded) > 3 else ''
        return text

    def _compare(self, path: Path, found: dict[str, Any]) -> None:
        others = [name for name, value in self.identity.items() if found.get(name) != value]
        if others:
            raise SystemExit(
                f'{path}: holds results of other {", ".join(others)}: choose another --out and '
                '--work-dir, or add --overwrite to start anew'
            )


def _is_good(shard: Path) -> bool:
    try:
        with np.load(shard, allow_pickle=False) as file:
            return not (file['error'] != '').any()
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, KeyError):
        return False


def identity_of(cfg: Config, dataset: Any, model: nn.Module) -> dict[str, Any]:
    """Checksums of what decides on the results, but for the images themselves."""
    used = Config(dict(model=cfg.model, dataset=cfg.test_dataloader.dataset)).to_dict()
    used.update(seq_len=cfg.seq_len, batch_size=cfg.test_dataloader.batch_size)
    weights = hashlib.sha256()
    for name, value in model.state_dict().items():
        weights.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        weights.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    names = '\n'.join(dataset.imgname(row) for row in range(len(dataset)))
    return dict(
        settings=hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest(),
        weights=weights.hexdigest(),
        images=hashlib.sha256(names.encode()).hexdigest(),
        files={str(path): sha256(path) for path in files_in(used['dataset'])},
        versions=versions(),
    )


def files_in(config: dict[str, Any], root: str = '') -> list[Path]:
    """Files that a data set's config names."""
    root = str(config.get('data_root', root))
    found: list[Path] = []
    for value in config.values():
        if isinstance(value, dict):
            found += files_in(value, root)
        elif isinstance(value, str):
            paths = {Path(value), Path(root) / value}
            found += sorted(path for path in paths if path.is_file())
    return found


if __name__ == '__main__':
    main()
