r"""Train an estimator on initial and on refined fits, each with three regressors in its joint loss.

    python tools/analysis_tools/compare_training.py data/synthetic_h36m \
        work_dirs/contour_100it_synthetic --out docs/results/training.json

Six cells: fits (initial, refined) x regressor of the joint losses (J_std, J_spin, J_opt), each with
several seeds. The second argument is the work directory of a refinement of the same set, with
``pseudo_gt.npz``, ``J_spin.npy`` and ``J_opt.npy``. The test error is the distance of vertices from
the true ones (PVE), and MPJPE and PA-MPJPE under each regressor and under the true one; the PVE of
the training frames next to it tells whether a network learned its fits. A killed run continues with
the trainings that are missing; --finished reports those that are there.
"""

from __future__ import annotations

import argparse
import json
import os.path as osp
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmjrr.cli.options import parse, run_command
from mmjrr.cli.shipped import ROOT

FITS = ('initial', 'refined')
REGRESSORS = ('J_std', 'J_spin', 'J_opt')
TRAINING_PVE = 'PVE of training frames'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument('data_root', type=Path, help='folder of the synthetic set, with images')
    parser.add_argument('refinement', type=Path, help='work directory of its refinement')
    parser.add_argument(
        '--config',
        type=Path,
        default=ROOT / 'configs/training/spin-small_synthetic.py',
        help="config of the training (default: the package's spin-small_synthetic.py)",
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--iterations', type=int, help="iterations (default: the config's)")
    parser.add_argument('--jobs', type=int, default=2, help='processes (default: %(default)s)')
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/compare_training'),
        help='folder of the trainings (default: %(default)s)',
    )
    parser.add_argument(
        '--finished', action='store_true', help='report finished trainings only, and train none'
    )
    parser.add_argument('--out', type=Path, required=True, help='JSON file to write')


def run(args: argparse.Namespace) -> None:
    """Train all cells, write the results, and print them."""
    from mmjrr.io import atomic_write, sha256, versions
    from mmjrr.jobs import TaskPool

    files = {
        'config': args.config,
        'initial': args.data_root / 'fits/spin_like_train.npz',
        'refined': args.refinement / 'pseudo_gt.npz',
        'J_std': args.data_root / 'regressors/J_std.npy',
        'J_spin': args.refinement / 'J_spin.npy',
        'J_opt': args.refinement / 'J_opt.npy',
        'J_true': args.data_root / 'truth/J_true.npy',
    }
    missing = [str(path) for path in files.values() if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f'{missing[0]}: no such file; the first argument is a synthetic set, the second the '
            'work directory of its refinement'
        )
    if args.iterations is not None and args.iterations < 1:
        raise ValueError(f'--iterations: found {args.iterations}, expected at least 1')
    settings = {
        'iterations': args.iterations,
        'sha256': {name: sha256(path) for name, path in files.items()},
        'versions': versions(),
    }
    paths = {name: osp.abspath(path) for name, path in files.items()}
    cells = [(f, r, seed) for f in FITS for r in REGRESSORS for seed in args.seeds]
    tasks = [
        (
            paths,
            osp.abspath(args.data_root),
            osp.abspath(args.work_dir / f'{fits}_{regressor}_{seed}'),
            (fits, regressor, seed),
            settings,
        )
        for fits, regressor, seed in cells
    ]
    if args.finished:
        tasks = [task for task in tasks if _finished_metrics(task[2], task[3], settings)]
        if not tasks:
            raise FileNotFoundError(f'{args.work_dir}: no finished training of these files')
    with TaskPool(args.jobs) as pool:
        results = pool.run(train_or_read, tasks, 'trainings')
    runs = [
        dict(zip(('fits', 'regressor', 'seed'), task[3], strict=True), metrics=metrics)
        for task, metrics in zip(tasks, results, strict=True)
    ]
    errors = {fits: mean_body_error(paths[fits], osp.abspath(args.data_root)) for fits in FITS}
    with atomic_write(args.out) as temporary:
        record = dict(settings, mean_body_pve=errors, runs=runs)
        temporary.write_text(json.dumps(record, indent=1) + '\n')
    print(table(runs))
    for fits, error in errors.items():
        print(f'PVE of the mean of the {fits} fits, for every test frame: {error:.1f}')


def train_or_read(
    paths: dict[str, str],
    data_root: str,
    work_dir: str,
    cell: tuple[str, str, int],
    settings: dict[str, Any],
) -> dict[str, float]:
    """Return the errors of one training, from its file or checkpoint if it was finished before."""
    from mmjrr.io import atomic_write

    metrics = _finished_metrics(work_dir, cell, settings)
    if metrics is not None and TRAINING_PVE in metrics:
        return metrics
    metrics = train(
        paths, data_root, work_dir, cell, settings['iterations'], finished=metrics is not None
    )
    with atomic_write(Path(work_dir) / 'test_errors.json') as temporary:
        record = dict(settings=dict(settings, cell=list(cell)), metrics=metrics)
        temporary.write_text(json.dumps(record, indent=1) + '\n')
    return metrics


def _finished_metrics(
    work_dir: str, cell: tuple[str, str, int], settings: dict[str, Any]
) -> dict[str, float] | None:
    """Return the errors that a finished training recorded, None if there is none."""
    from mmjrr.io import read_json

    path = Path(work_dir) / 'test_errors.json'
    done = read_json(path) if path.is_file() else {}
    if done.get('settings') != dict(settings, cell=list(cell)):
        return None
    metrics: dict[str, float] = done['metrics']
    return metrics


def train(
    paths: dict[str, str],
    data_root: str,
    work_dir: str,
    cell: tuple[str, str, int],
    iterations: int | None,
    finished: bool = False,
) -> dict[str, float]:
    """Train one cell, and return its errors in mm.

    Args:
        paths: Files by name.
        data_root: Folder of the synthetic set.
        work_dir: Folder for the checkpoint and the log.
        cell: Fits, regressor and seed.
        iterations: Number of iterations. ``None``: the config's.
        finished: Whether the work directory has the checkpoint of this training, which is then
            measured without training. Default: False.
    """
    from mmengine.config import Config
    from mmengine.runner import Runner

    from mmjrr.engine import load_safely
    from mmjrr.engine.last_checkpoint import latest_checkpoint

    fits, regressor, seed = cell
    cfg = Config.fromfile(paths['config'])
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = data_root
    cfg.train_dataloader.dataset.fits_file = paths[fits]
    for name in ('joint_3d', 'joint_2d'):
        cfg.model.loss[name].regressor = paths[regressor]
    cfg.val_evaluator.regressors = {name: paths[name] for name in (*REGRESSORS, 'J_true')}
    if iterations is not None:
        cfg.train_cfg.max_iters = iterations
        cfg.param_scheduler[0].T_max = iterations
    cfg.train_cfg.val_interval = cfg.train_cfg.max_iters + 1  # tested once, below
    cfg.randomness = dict(seed=seed, deterministic=True)
    cfg.work_dir = work_dir
    cfg.experiment_name = cfg.visualizer.name = '_'.join(map(str, cell))
    cfg.visualizer.vis_backends = None
    cfg.log_level = 'WARNING'
    runner = Runner.from_cfg(cfg)
    if finished:
        load_safely()
        runner.load_checkpoint(str(latest_checkpoint(work_dir)))
    else:
        runner.train()
    metrics: dict[str, float] = {k: float(v) for k, v in runner.val().items()}
    metrics['PVE'] = vertex_error(runner.model, runner.val_dataloader, data_root, 'test')
    seen = cfg.val_dataloader.copy()
    seen.dataset.update({k: cfg.train_dataloader.dataset[k] for k in ('ann_file', 'subjects')})
    loader = runner.build_dataloader(seen)
    metrics[TRAINING_PVE] = vertex_error(runner.model, loader, data_root, 'train')
    return metrics


def vertex_error(model: Any, loader: Any, data_root: str, split: str) -> float:
    """Return the mean distance of predicted vertices from the true ones, in mm.

    Args:
        model: The estimator.
        loader: Loader of the frames.
        data_root: Folder of the synthetic set.
        split: ``'train'`` or ``'test'``, to which the frames belong.
    """
    import numpy as np
    import torch

    from mmjrr.datasets.synthetic.truth import SyntheticTruth
    from mmjrr.geometry import matrix_to_axis_angle

    rows: dict[str, list[Any]] = dict(imgname=[], pose=[], betas=[])
    model.eval()
    for batch in loader:
        with torch.no_grad():
            samples = model.val_step(batch)
        for sample in samples:
            rotations = torch.cat([sample.pred_global_orient[None], sample.pred_body_pose])
            rows['imgname'].append(sample.imgname)
            rows['pose'].append(matrix_to_axis_angle(rotations).flatten().cpu().numpy())
            rows['betas'].append(sample.pred_betas.cpu().numpy())
    truth = SyntheticTruth(data_root, model.body_model)
    return truth.vertex_error_mm({k: np.stack(v) for k, v in rows.items()}, split)


def mean_body_error(fits_file: str, data_root: str) -> float:
    """Return the PVE in mm of a constant prediction: the mean of the fits, for every test frame.

    Args:
        fits_file: The fits that a network would learn.
        data_root: Folder of the synthetic set.
    """
    import numpy as np
    from scipy.spatial.transform import Rotation

    from mmjrr.body_models import free_body
    from mmjrr.datasets.fits import load_fits
    from mmjrr.datasets.synthetic.truth import SyntheticTruth

    fits = load_fits(fits_file)
    joints = fits['pose'].reshape(-1, 24, 3).swapaxes(0, 1)
    pose = np.concatenate([Rotation.from_rotvec(joint).mean().as_rotvec() for joint in joints])
    truth = SyntheticTruth(data_root, free_body())
    names = truth.parameters('test')['imgname']
    mean_body = dict(
        imgname=names,
        pose=np.tile(pose, (len(names), 1)),
        betas=np.tile(fits['betas'].mean(0), (len(names), 1)),
    )
    return truth.vertex_error_mm(mean_body, 'test')


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table: means over seeds with standard deviations."""
    header, rows = table_rows(runs)
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def table_rows(runs: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the table; cells without a finished training have none."""
    from statistics import mean, stdev

    errors = [f'{name}/paper/MPJPE' for name in (*REGRESSORS, 'J_true')]
    errors = [name for name in errors if name in runs[0]['metrics']]
    header = ['Fits', 'Regressor of the loss', 'Seeds', TRAINING_PVE, 'PVE', *errors]
    rows = []
    for fits in FITS:
        for regressor in REGRESSORS:
            chosen = [r for r in runs if (r['fits'], r['regressor']) == (fits, regressor)]
            if not chosen:
                continue
            columns = [fits, regressor, str(len(chosen))]
            for name in header[3:]:
                values = [run['metrics'][name] for run in chosen]
                spread = f' ± {stdev(values):.1f}' if len(values) > 1 else ''
                columns.append(f'{mean(values):.1f}{spread}')
            rows.append(columns)
    return header, rows


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command(run, parse(add_arguments, __doc__, argv, prog))


if __name__ == '__main__':
    sys.exit(main())
