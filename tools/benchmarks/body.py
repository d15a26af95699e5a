"""Compare the body model, forward and backward, with ``smplx.lbs``.

    python tools/benchmarks/body.py [--device cuda] [--batches 1 16 64 256]

Both receive the same rotation matrices, shapes, translations and gradients of the vertices. The
bodies are the free body, and the free body with pose blend shapes, which costs as much as SMPL.
"""

from __future__ import annotations

import argparse

import torch
from common import Record, arguments, check_same, interleaved, parse, positive, seconds
from smplx_body import SmplxBody, body_file

from mmjrr.body_models import SMPL
from mmjrr.geometry import axis_angle_to_matrix


def main() -> None:
    """Run the benchmark and write its record."""
    parser = arguments(__doc__, on_gpu_too=True)
    parser.add_argument('--batches', type=positive, nargs='+', default=[1, 16, 64, 256])
    args = parse(parser)
    record = Record(
        'body', 'Body model, forward and backward', vars(args) | {'out': ''}, args.device
    )
    rows = []
    for pose_blend_shapes in (False, True):
        path = body_file(args.out, pose_blend_shapes, args.seed)
        ours, theirs = SMPL(path).to(args.device), SmplxBody(path, device=args.device)
        name = 'with pose blend shapes' if pose_blend_shapes else 'free body'
        for batch in args.batches:
            rows.append(_row(record, name, batch, ours, theirs, args))
    record.table(['body', 'batch', 'ours', 'smplx.lbs', 'times faster'], rows)
    record.write(args.out)


def _row(
    record: Record,
    name: str,
    batch: int,
    ours: SMPL,
    theirs: SmplxBody,
    args: argparse.Namespace,
) -> list[str]:
    generator = torch.Generator().manual_seed(args.seed)
    rotations = axis_angle_to_matrix(0.3 * torch.randn(batch, 24, 3, generator=generator))
    betas = torch.randn(batch, 10, generator=generator)
    transl = torch.randn(batch, 3, generator=generator)
    upstream = torch.randn(batch, ours.num_vertices, 3, generator=generator).to(args.device)
    rotations, betas, transl = inputs = [
        value.to(args.device).requires_grad_() for value in (rotations, betas, transl)
    ]

    def our_vertices() -> torch.Tensor:
        return ours(
            global_orient=rotations[:, :1], body_pose=rotations[:, 1:], betas=betas, transl=transl
        ).vertices

    def their_vertices() -> torch.Tensor:
        return theirs(rotations, betas, transl)

    sides = {
        side: lambda forward=forward: torch.autograd.grad(forward(), inputs, upstream)
        for side, forward in (('ours', our_vertices), ('smplx.lbs', their_vertices))
    }
    check_same('vertices', our_vertices().detach(), their_vertices().detach(), 1e-5)
    for a, b in zip(sides['ours'](), sides['smplx.lbs'](), strict=True):
        check_same('gradients', a, b, 1e-3)
    timings = interleaved(sides, args.rounds * (4 if batch < 64 else 1))
    record.timings(f'{name}, batch {batch}', timings)
    a, b = timings['ours'].median, timings['smplx.lbs'].median
    return [name, str(batch), seconds(a), seconds(b), f'{b / a:.2f}']


if __name__ == '__main__':
    main()
