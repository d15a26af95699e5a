"""Compare the evaluation under three regressors with a plain loop over batches and samples.

    python tools/benchmarks/evaluation.py [--frames 2000] [--rounds 3] [--many 100000]

The plain loop does what evaluation scripts of mesh estimators do: bodies by ``smplx.lbs`` in
batches of 32, each regressor as a matrix over all vertices, root alignment, and a Procrustes
alignment by SVD for each sample. Its arrays are in memory, while mmjrr reads files, matches frames
by name and computes all breakdowns. The errors of both must agree to 0.001 mm. With ``--many``
frames, only mmjrr is timed, once, in a process of its own, which gives its memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from common import (
    Record,
    arguments,
    interleaved,
    parse,
    peak_memory,
    positive,
    seconds,
    synthetic_data,
)
from smplx_body import SmplxBody

import mmjrr
from mmjrr.body_models import FREE_BODY_FILE
from mmjrr.geometry import axis_angle_to_matrix
from mmjrr.io import atomic_write, read_npz
from mmjrr.regressors import JointRegressor

BATCH = 32


def main() -> None:
    """Run the benchmark and write its record."""
    parser = arguments(__doc__)
    parser.add_argument('--frames', type=positive, default=2000)
    parser.add_argument('--many', type=positive, default=100_000, help='frames for mmjrr alone')
    parser.add_argument('--alone', action='store_true', help=argparse.SUPPRESS)
    parser.set_defaults(rounds=3)
    args = parse(parser)
    if args.alone:
        print(json.dumps(evaluate_alone(args)))
        return
    record = Record('evaluation', 'Evaluation under three regressors', vars(args) | {'out': ''})
    annotation, fits = repeated_frames(
        synthetic_data(args.out, args.seed), args.out / 'evaluation', args.frames
    )
    regressors = three_regressors(args.out / 'data', args.seed)
    errors: dict[str, dict[str, float]] = {}

    def ours() -> None:
        errors['ours'] = evaluate(annotation, fits, regressors)

    frames = read_npz(annotation)['S'], read_npz(fits)

    def per_sample() -> None:
        errors['per sample'] = sample_by_sample(*frames, regressors)

    times = interleaved({'ours': ours, 'per-sample loop': per_sample}, args.rounds, warm_up=0)
    record.timings(f'{args.frames} frames', times)
    worst = max(abs(errors['ours'][key] - value) for key, value in errors['per sample'].items())
    if not worst < 1e-3:
        raise AssertionError(f'the sides differ by {worst:.2g} mm: {errors}')
    record.note(f'Largest difference of the {len(errors["ours"])} errors: {worst:.1e} mm.')
    slowest = times['per-sample loop'].median
    record.table(
        ['side', f'{args.frames:,} frames', 'frames/s', 'times faster'],
        [
            [
                name,
                seconds(timing.median),
                f'{args.frames / timing.median:.0f}',
                f'{slowest / timing.median:.2f}',
            ]
            for name, timing in times.items()
        ],
    )
    _many(record, args)
    record.write(args.out)


def _many(record: Record, args: argparse.Namespace) -> None:
    command = [
        sys.executable, __file__, '--alone', '--many', str(args.many), '--out', str(args.out),
        '--seed', str(args.seed), '--threads', str(args.threads),
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    record.content['timings'][f'{args.many} frames alone'] = measured
    name, taken, memory = f'{args.many:,} frames', measured['seconds'], measured['gigabytes']
    record.target(f'{name} under three regressors', '<= 600 s', seconds(taken), taken <= 600)
    record.target(f'memory at {name}', '< 3 GB', f'{memory:.2f} GB', memory < 3)


def evaluate_alone(args: argparse.Namespace) -> dict[str, float]:
    """Evaluate many frames; return seconds and the peak memory of this process."""
    data = synthetic_data(args.out, args.seed)
    annotation, fits = repeated_frames(data, args.out / 'evaluation', args.many)
    regressors = three_regressors(data, args.seed)
    start = time.perf_counter()
    evaluate(annotation, fits, regressors)
    return {
        'seconds': time.perf_counter() - start,
        'gigabytes': peak_memory() / 1024,
    }


def evaluate(
    annotation: Path, fits: Path, regressors: dict[str, JointRegressor]
) -> dict[str, float]:
    """Return the metrics of fits under three regressors."""
    return mmjrr.evaluate(fits, annotation, regressors, body_model='free_body').metrics()


def repeated_frames(data: Path, out: Path, count: int) -> tuple[Path, Path]:
    """Write annotation and fits of the synthetic test set, repeated under new frame numbers."""
    sources = (
        data / 'annotation_body3d/fps10/h36m_test.npz', data / 'fits/spin_like_test.npz'
    )  # fmt: skip
    names = read_npz(sources[0])['imgname']
    rows = np.arange(count) % len(names)
    turn = np.arange(count) // len(names)
    new_names = np.array([
        f'{name[:-10]}{100000 + int(name[-10:-4]) + 1000 * k:06d}.jpg'
        for name, k in zip(names[rows], turn, strict=True)
    ])  # fmt: skip
    paths = []
    for source in sources:
        arrays = read_npz(source)
        if not np.array_equal(arrays['imgname'], names):
            raise AssertionError('annotation and fits are in different orders')
        repeated = {k: v[rows] if v.shape[:1] == names.shape else v for k, v in arrays.items()}
        # Repeated rows differ slightly, so that a cache cannot speed up the evaluation.
        if 'pose' in repeated:
            repeated['pose'] = repeated['pose'] + 1e-3 * turn[:, None].astype(np.float32)
        repeated['imgname'] = new_names
        out.mkdir(parents=True, exist_ok=True)
        paths.append(out / f'{count}_{source.name}')
        with atomic_write(paths[-1]) as temporary, open(temporary, 'wb') as file:
            np.savez(file, **repeated)
    return paths[0], paths[1]


def three_regressors(data: Path, seed: int) -> dict[str, JointRegressor]:
    """Return J_std and two copies with perturbed weights and the same sparsity."""
    standard = JointRegressor.load(data / 'regressors/J_std.npy').reorder('mmpose')
    regressors = {'J_std': standard}
    for k in (1, 2):
        generator = torch.Generator().manual_seed(seed + k)
        weight = standard.weight * (1 + torch.rand(standard.weight.shape, generator=generator))
        weight = weight / weight.sum(1, keepdim=True)
        regressors[f'J_{k}'] = JointRegressor(weight, 'mmpose', standard.body_model)
    return regressors


def sample_by_sample(
    annotated: np.ndarray, fits: dict[str, np.ndarray], regressors: dict[str, JointRegressor]
) -> dict[str, float]:
    """Compute MPJPE and PA-MPJPE in mm, protocol 'paper', under the keys of ``metrics()``."""
    body = SmplxBody(FREE_BODY_FILE)
    errors: dict[str, list[float]] = {}
    for start in range(0, len(annotated), BATCH):
        rows = slice(start, start + BATCH)
        target = annotated[rows, :, :3]
        pose = torch.from_numpy(fits['pose'][rows]).unflatten(1, (24, 3))
        with torch.no_grad():
            betas = torch.from_numpy(fits['betas'][rows])
            vertices = body(axis_angle_to_matrix(pose), betas, torch.zeros(len(pose), 3))
        for name, regressor in regressors.items():
            joints = torch.matmul(regressor.weight, vertices).numpy()
            for predicted, goal in zip(joints, target, strict=True):
                predicted = predicted - predicted[0]
                goal = goal - goal[0]
                aligned = procrustes(predicted, goal)
                for kind, value in (('MPJPE', predicted), ('PA-MPJPE', aligned)):
                    error = np.sqrt(((value - goal) ** 2).sum(-1)).mean()
                    errors.setdefault(f'{name}/paper/{kind}', []).append(1000 * error)
    return {key: float(np.mean(values)) for key, values in errors.items()}


def procrustes(points: np.ndarray, goal: np.ndarray) -> np.ndarray:  # (J, 3) both
    """Align the points with the goal by the best similarity transform (Umeyama, 1991)."""
    points_mean, goal_mean = points.mean(0), goal.mean(0)
    x, y = points - points_mean, goal - goal_mean
    u, s, vt = np.linalg.svd(x.T @ y)
    sign = np.ones(3)
    sign[2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign) @ vt
    scale = (s * sign).sum() / (x**2).sum()
    return scale * x @ rotation + goal_mean


if __name__ == '__main__':
    main()
