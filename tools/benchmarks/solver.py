"""Times fit_joint_regressor on the free body, and against SciPy's NNLS.

    python tools/benchmarks/solver.py [--frames 320] [--root pelvis|mean|none] [--nnls-joints 1]

Joints are those of the packaged free-body regressor plus 5 mm of noise. SciPy's NNLS takes one
row at a time without alignment, with the row's sum as one heavy equation; ``--nnls-joints`` rows
are timed, and the ratio is to our time for all 17 rows without alignment, scaled to 17.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from mmjrr.body_models import free_body
from mmjrr.regressors import JointRegressor, fit_joint_regressor


def make_batches(
    truth: JointRegressor, frames: int, seed: int, size: int = 64
) -> list[tuple[Tensor, Tensor]]:
    """Random poses and shapes of the free body, 5 m from the camera, and noisy joints."""
    body = free_body()
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for start in range(0, frames, size):
        count = min(size, frames - start)
        with torch.no_grad():
            vertices = body(
                betas=torch.randn(count, 10, generator=generator),
                body_pose=0.25 * torch.randn(count, 69, generator=generator),
                global_orient=torch.randn(count, 3, generator=generator),
                transl=torch.tensor([[0.0, 0.0, 5.0]]).expand(count, 3),
            ).vertices
        joints = truth(vertices.double())
        noise = 0.005 * torch.randn(joints.shape, generator=generator, dtype=joints.dtype)
        batches.append((vertices, joints + noise))
    return batches


def distance(found: JointRegressor, truth: JointRegressor, vertices: Tensor) -> float:
    """Mean distance of two regressors' joints, pelvis-aligned, millimetres."""
    error = found(vertices.double()) - truth(vertices.double())
    return 1000 * (error - error[:, :1]).norm(dim=-1).mean().item()


def time_nnls(batches: list[tuple[Tensor, Tensor]], rows: int) -> float:
    """Seconds of SciPy's NNLS for the first rows."""
    vertices = np.concatenate([batch[0].double().numpy() for batch in batches])
    joints = np.concatenate([batch[1].numpy() for batch in batches])
    centre = vertices.mean(1, keepdims=True)
    a = (vertices - centre).transpose(0, 2, 1).reshape(-1, vertices.shape[1])
    a = np.vstack([a, np.full((1, a.shape[1]), 1e3)])
    started = time.perf_counter()
    for j in range(rows):
        nnls(a, np.append((joints[:, j] - centre[:, 0]).ravel(), 1e3))
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--frames', type=int, default=320)
    parser.add_argument('--root', default='pelvis', help='a joint, mean, or none')
    parser.add_argument('--nnls-joints', type=int, default=0, help='rows to time with SciPy')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()

    truth = JointRegressor.load('free_body_h36m', dtype=torch.float64)
    batches = make_batches(truth, args.frames, args.seed)
    held_out = make_batches(truth, 64, args.seed + 1)[0][0]
    roots = [None if args.root == 'none' else args.root]
    if args.nnls_joints and roots != [None]:
        roots.append(None)
    for root in roots:
        started = time.perf_counter()
        fit = fit_joint_regressor(batches, truth.joint_names, root, body_model='free_body')
        seconds = time.perf_counter() - started
        print(
            f'root={root} frames={fit.n_frames} seconds={seconds:.2f} gap={fit.gap:.1e} '
            f'solves={fit.iterations} rms={1000 * fit.rms:.2f}mm support='
            f'{sum(fit.support_sizes.values())} distance_to_truth='
            f'{distance(fit.regressor, truth, held_out):.2f}mm'
        )
    if args.nnls_joints:
        reference = time_nnls(batches, args.nnls_joints) * 17 / args.nnls_joints
        print(f'scipy nnls, 17 rows: seconds={reference:.1f} ratio={reference / seconds:.1f}')


if __name__ == '__main__':
    main()
