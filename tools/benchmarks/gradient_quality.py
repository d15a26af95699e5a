"""Compare the quality of renderers: refine the same fits by 100 steps with each.

    python tools/benchmarks/gradient_quality.py [--device cuda] [--frames 16] [--size 224]

The bodies are the free body in random poses, shapes and views. Their joints and masks are known
exactly; the masks come from a finer silhouette than that of any compared renderer. The energy is
the demo's without the discriminators. On a CPU PyTorch3D draws in tiles, which gives the same
images faster.

Each renderer refines twice. The second time, shapes start :data:`MOVED` standard deviations away:
rounding decides which local minimum some frames end in, and the two results show by how much that
changes the means.
"""

from __future__ import annotations

import argparse

import torch
from common import Record, arguments, clock, parse, positive, seconds
from silhouette import SETTINGS, Maker, crop_around, installed
from torch import Tensor

from mmjrr.body_models import free_body
from mmjrr.refinement import FitEnergy, FitRefiner, Observations
from mmjrr.refinement.refiner import soft_iou
from mmjrr.regressors import JointRegressor
from mmjrr.rendering import ContourSilhouette, SilhouetteRenderer

#: Standard deviations of shape by which the second start differs from the first.
MOVED = 1e-6


def main() -> None:
    """Run the benchmark and write its record."""
    parser = arguments(__doc__, on_gpu_too=True)
    parser.add_argument('--frames', type=positive, default=16)
    parser.add_argument('--size', type=positive, default=224, help='side of the images in pixels')
    args = parse(parser)
    if args.size < 4:
        parser.error(
            f'--size {args.size}: expected 4 or more, for the energy has blocks of 4 pixels'
        )
    record = Record(
        'gradient_quality',
        'Quality of the gradients of renderers',
        vars(args) | {'out': ''},
        args.device,
    )
    theirs = installed(record, args.device)
    if args.device == 'cpu':  # in tiles the pictures are the same
        theirs = {name: maker for name, maker in theirs.items() if name not in SETTINGS}
    record.table(
        ['renderer', 'IoU', 'per-vertex error, mm', 'an iteration, an image'],
        refine_with_each(theirs, args),
        f'From the same {args.frames} perturbed fits, 100 steps, {args.size}x{args.size}; second '
        f'numbers: shapes start {MOVED:g} standard deviations away.',
    )
    record.write(args.out)


def refine_with_each(theirs: dict[str, Maker], args: argparse.Namespace) -> list[list[str]]:
    """Refine the same perturbed fits to the same masks with each renderer."""
    size = (args.size, args.size)
    body = free_body().to(args.device)
    regressor = JointRegressor.load('free_body_h36m').to(args.device)
    generator = torch.Generator().manual_seed(args.seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(args.device)

    count = args.frames
    truth = dict(
        global_orient=body.v_template.new_tensor([torch.pi, 0.0, 0.0]) + 0.3 * normal(count, 3),
        body_pose=0.2 * normal(count, 69),
        betas=normal(count, 10),
        transl=body.v_template.new_tensor([[0.0, 0.0, 5.0]]).expand(count, 3).clone(),
    )
    init = dict(
        global_orient=truth['global_orient'] + 0.1 * normal(count, 3),
        body_pose=truth['body_pose'] + 0.15 * normal(count, 69),
        betas=0.3 * truth['betas'],
        transl=truth['transl'].clone(),
    )
    with torch.no_grad():
        vertices = body(**truth).vertices
        joints = regressor(vertices)
        camera = crop_around(vertices, args.size)
        finer = ContourSilhouette(body.faces, size, supersampling=4).to(args.device)
        mask = finer(vertices, camera)
        observed = Observations(
            keypoints_3d=joints,
            keypoints_3d_weight=joints.new_ones(joints.shape[:2]),
            keypoints_2d=camera.project(joints),
            keypoints_2d_weight=joints.new_ones(joints.shape[:2]),
            camera=camera,
            mask=mask,
        )
    energy = FitEnergy(
        terms=dict(
            joint_3d=dict(scale=1.0),
            joint_2d=dict(scale=1.0),
            silhouette=dict(scale=10.0),
            adv_pose=False,
            adv_shape=False,
        )
    )
    judge = ContourSilhouette(body.faces, size).to(args.device)
    renderers: dict[str, SilhouetteRenderer | None] = {'none (before)': None, 'ours': judge}
    for name, maker in theirs.items():
        renderers[name] = maker(body.faces_tensor, size).to(args.device)
    moved = dict(init, betas=init['betas'] + MOVED * normal(count, 10))
    rows = []
    for name, renderer in renderers.items():
        fits, each = [init], ''
        if renderer is not None:
            rates = dict(betas=3.0, transl=0.3)
            # The first step loads libraries and compiles, so it is not timed.
            FitRefiner(body, regressor, renderer, energy, num_iters=1).refine(init, observed)
            refiner = FitRefiner(body, regressor, renderer, energy, lr_mult=rates)
            start = clock()
            fits = [refiner.refine(start_fits, observed).refined for start_fits in (init, moved)]
            each = seconds((clock() - start) / refiner.num_iters / count / len(fits))
        ious, errors = [], []
        for parameters in fits:
            with torch.no_grad():
                fitted = body(**parameters).vertices
                ious.append(float(soft_iou(judge(fitted, camera), mask).mean()))
            errors.append(1000 * float((fitted - vertices).norm(dim=-1).mean()))
        rows.append([
            name, ', '.join(f'{iou:.3f}' for iou in ious),
            ', '.join(f'{error:.1f}' for error in errors), each,
        ])  # fmt: skip
    return rows


if __name__ == '__main__':
    main()
