"""Compare the fit of a joint regressor with SciPy's NNLS and OSQP, and measure its growth.

    python tools/benchmarks/solver.py [--small 50 100] [--frames 1000 5000] [--root mean]
    python tools/benchmarks/solver.py --full        # 50,000 and 300,000 frames

The bodies are the free body in random poses and shapes, posed again in each pass of the fit. The
joints are those of the packaged free-body regressor plus 5 mm of noise. SciPy's NNLS and OSQP (if
installed) solve for one row at a time, without alignment; ``--rows`` rows are timed and scaled to
17, and their residuals must equal those of mmjrr's rows. Each size of ``--frames`` runs in a
process of its own, which gives its memory.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from common import Record, arguments, clock, interleaved, parse, peak_memory, positive, seconds
from scipy import sparse
from scipy.optimize import nnls
from torch import Tensor

from mmjrr.body_models import LazyVertices, VertexMaker, free_body
from mmjrr.regressors import JointRegressor, fit_joint_regressor

FULL = [50_000, 300_000]
OSQP_SECONDS = 20.0


def main() -> None:
    """Run the benchmark and write its record."""
    parser = arguments(__doc__)
    parser.add_argument(
        '--small', type=positive, nargs='*', default=[50, 100], help='frames for the comparison'
    )
    parser.add_argument('--rows', type=positive, default=1, help='rows to time with NNLS and OSQP')
    parser.add_argument(
        '--frames', type=positive, nargs='*', default=[1000, 5000], help='frames for the growth'
    )
    parser.add_argument('--full', action='store_true', help=f'use {FULL} frames for the growth')
    parser.add_argument('--root', default='mean', help="alignment: a joint, 'mean' or 'none'")
    parser.add_argument('--alone', type=int, help=argparse.SUPPRESS)
    parser.set_defaults(rounds=2)
    args = parse(parser)
    roots = [*JointRegressor.load('free_body_h36m').joint_names, 'mean', 'none']
    if args.root not in roots:
        parser.error(f'--root {args.root}: expected one of {", ".join(roots)}')
    if args.alone:
        print(json.dumps(fit_alone(args.alone, args.root, args.seed)))
        return
    record = Record('solver', 'Regressor fit, 17 rows', vars(args) | {'out': ''})
    if args.small:
        record.table(
            ['frames', 'ours', 'SciPy NNLS', 'OSQP', 'NNLS / ours', 'residual over NNLS'],
            [_against_others(record, frames, args) for frames in args.small],
            f'Without alignment; the others: {args.rows} of 17 rows, scaled.',
        )
        if not _has_osqp():
            record.note('Left out: OSQP, which is not installed.')
    rows = []
    for frames in FULL if args.full else args.frames:
        measured = _in_new_process(frames, args)
        rows.append([
            f'{frames:,}', seconds(measured['seconds']), f'{measured["gigabytes"]:.2f} GB',
            f'{measured["gap"]:.1e}', f'{measured["distance"]:.2f} mm',
        ])  # fmt: skip
        record.content['timings'][f'{frames} frames'] = measured
        _targets(record, frames, measured)
    record.table(
        ['frames', 'ours', 'peak memory', 'relative gap', 'distance to the truth'],
        rows,
        f'Alignment by {args.root!r}. The time includes posing the bodies.',
    )
    record.write(args.out)


def _targets(record: Record, frames: int, measured: dict[str, float]) -> None:
    record.target(
        f'gap at {frames:,} frames', '<= 1e-6', f'{measured["gap"]:.1e}', measured['gap'] <= 1e-6
    )
    if frames == 50_000:
        record.target(
            '50,000 frames', '<= 60 s', seconds(measured['seconds']), measured['seconds'] <= 60
        )  # fmt: skip
    if frames == 300_000:
        record.target(
            'memory at 300,000 frames', '< 3 GB', f'{measured["gigabytes"]:.2f} GB',
            measured['gigabytes'] < 3,
        )  # fmt: skip


class Fits:
    """Re-iterable batches of random bodies, 5 m from the camera, and noisy joints.

    Parameters and joints are computed once, as if read from files; vertices in each iteration.
    """

    def __init__(self, frames: int, seed: int, size: int = 32, device: str = 'cpu') -> None:
        self.size = size
        self.maker = VertexMaker(free_body().to(device))
        self.truth = JointRegressor.load('free_body_h36m').to(device)
        generator = torch.Generator().manual_seed(seed)
        self.parameters = dict(
            betas=torch.randn(frames, 10, generator=generator),
            body_pose=0.25 * torch.randn(frames, 69, generator=generator),
            global_orient=torch.randn(frames, 3, generator=generator),
            transl=torch.tensor([[0.0, 0.0, 5.0]]).expand(frames, 3),
        )
        self.parameters = {name: value.to(device) for name, value in self.parameters.items()}
        joints = torch.cat([self.truth(v.of(self.truth.support)) for v in self.bodies()])
        noise = torch.randn(joints.shape, generator=generator, dtype=joints.dtype)
        self.joints = joints + 0.005 * noise.to(device)

    def bodies(self) -> Iterator[LazyVertices]:
        """Yield the bodies in batches, without their vertices."""
        for start in range(0, len(self.parameters['betas']), self.size):
            rows = slice(start, start + self.size)
            yield self.maker(**{name: v[rows] for name, v in self.parameters.items()})

    def __iter__(self) -> Iterator[tuple[LazyVertices, Tensor]]:
        return zip(self.bodies(), self.joints.split(self.size), strict=True)


def fit_alone(frames: int, root: str, seed: int) -> dict[str, float]:
    """Fit a regressor; return its seconds, memory and error."""
    fits = Fits(frames, seed)
    start = clock()
    fit = fit_joint_regressor(
        fits, fits.truth.joint_names, None if root == 'none' else root, body_model='free_body'
    )
    taken = clock() - start
    held_out = next(iter(Fits(64, seed + 1)))[0].of()
    error = fit.regressor(held_out) - fits.truth(held_out)
    return {
        'seconds': taken,
        'gigabytes': peak_memory() / 1024,
        'gap': float(fit.dual_gap),
        'distance': 1000 * (error - error[:, :1]).norm(dim=-1).mean().item(),
    }


def _in_new_process(frames: int, args: argparse.Namespace) -> dict[str, float]:
    command = [
        sys.executable, __file__, '--alone', str(frames), '--root', args.root,
        '--seed', str(args.seed), '--threads', str(args.threads),
        *(['--processor-time'] if args.processor_time else []),
    ]  # fmt: skip
    print(f'fitting {frames:,} frames ...', flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _against_others(record: Record, frames: int, args: argparse.Namespace) -> list[str]:
    batches = [(bodies.of(), joints) for bodies, joints in Fits(frames, args.seed)]
    names = JointRegressor.load('free_body_h36m').joint_names
    a, b = row_problems(batches)
    results: dict[str, Any] = {}

    def ours() -> None:
        results['ours'] = fit_joint_regressor(batches, names, None, body_model='free_body')

    def by_nnls() -> None:
        results['nnls'] = [row_by_nnls(a, b[:, j]) for j in range(args.rows)]

    def by_osqp() -> None:
        results['osqp'] = [row_by_osqp(a, b[:, j]) for j in range(args.rows)]
        results['osqp solved'] = all(row is not None for row in results['osqp'])

    sides = {'ours': ours, 'nnls': by_nnls, **({'osqp': by_osqp} if _has_osqp() else {})}
    times = interleaved(sides, args.rounds, warm_up=0)
    record.timings(f'{frames} frames against others', times)
    weight = results['ours'].regressor.weight.double().numpy()

    def residual(rows: Any) -> float:
        return sum(float(((a @ rows[j] - b[:, j]) ** 2).sum()) for j in range(args.rows))

    excess = residual(weight) / residual(results['nnls']) - 1
    # NNLS meets the sum of a row only approximately, by a heavily weighted equation, so its
    # residual can be slightly smaller.
    if not abs(excess) < 1e-3:
        raise AssertionError(f'{frames} frames: our residual is {excess:+.1e} off that of NNLS')
    if results.get('osqp solved'):
        off = residual(results['osqp']) / residual(results['nnls']) - 1
        if not abs(off) < 1e-2:
            raise AssertionError(f"{frames} frames: OSQP's residual is {off:+.1e} off that of NNLS")
    scale = len(names) / args.rows
    ours_time = times['ours'].median
    return [
        str(frames),
        seconds(ours_time),
        seconds(times['nnls'].median * scale),
        _osqp_cell(times, results, scale),
        f'{times["nnls"].median * scale / ours_time:.1f}',
        f'{excess:+.0e}',
    ]


def _osqp_cell(times: dict[str, Any], results: dict[str, Any], scale: float) -> str:
    if 'osqp' not in times:
        return 'not installed'
    shown = seconds(times['osqp'].median * scale)
    return shown if results['osqp solved'] else f'stopped after {shown}'


def row_problems(batches: list[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """Return equations (3N, V) and right sides (3N, J), relative to each frame's mean vertex."""
    vertices = np.concatenate([batch[0].double().numpy() for batch in batches])
    joints = np.concatenate([batch[1].numpy() for batch in batches])
    center = vertices.mean(1, keepdims=True)
    a = (vertices - center).transpose(0, 2, 1).reshape(-1, vertices.shape[1])
    return a, (joints - center).transpose(0, 2, 1).reshape(len(a), -1)


def row_by_nnls(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Solve for one row by NNLS, with a heavily weighted equation for its sum."""
    heavy = 1e3
    return nnls(np.vstack([a, np.full((1, a.shape[1]), heavy)]), np.append(b, heavy))[0]


def _has_osqp() -> bool:
    return importlib.util.find_spec('osqp') is not None


def row_by_osqp(a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """Solve for one row by OSQP: min r'r/2 with r = a w - b, sum(w) = 1, w >= 0.

    The variables are weights w and residuals r. Return None after OSQP_SECONDS without a solution.
    """
    import osqp

    equations, count = a.shape
    quadratic = sparse.block_diag([sparse.csc_matrix((count, count)), sparse.eye(equations)])
    constraints = sparse.vstack([
        sparse.hstack([sparse.csc_matrix(a), -sparse.eye(equations)]),
        sparse.hstack([np.ones((1, count)), sparse.csc_matrix((1, equations))]),
        sparse.hstack([sparse.eye(count), sparse.csc_matrix((count, equations))]),
    ])  # fmt: skip
    low = np.concatenate([b, [1.0], np.zeros(count)])
    high = np.concatenate([b, [1.0], np.full(count, np.inf)])
    solver = osqp.OSQP()
    solver.setup(
        quadratic.tocsc(), np.zeros(count + equations), constraints.tocsc(), low, high,
        verbose=False, eps_abs=1e-6, eps_rel=1e-6, max_iter=100000,
        time_limit=OSQP_SECONDS,
    )  # fmt: skip
    solution = solver.solve()
    return solution.x[:count] if solution.info.status == 'solved' else None


if __name__ == '__main__':
    main()
