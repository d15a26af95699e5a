"""Compare the demo's refinement with a plain loop of the same energy on ``smplx``.

    python tools/benchmarks/refinement.py [--batch 16] [--iterations 100] [--batches 16 64 256]
    python tools/benchmarks/refinement.py --device cuda --batch 512 --frames 20000

The plain loop is a straightforward implementation: ``smplx.lbs``, the regressor as a matrix over
all vertices, and ``torch.optim.Adam`` with default settings. It uses mmjrr's renderer, and the
terms of both must agree at the first iteration. If PyTorch3D is installed, the loop is also timed
with its renderer.

The benchmark also measures one iteration against only ``smplx.lbs`` forward and backward, the
fraction of the time for data loading, and speed and peak memory of each batch size, each in a
process of its own. With ``--frames``, mmjrr refines that many frames, and the time for all training
images of Human3.6M is extrapolated.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import (
    Record,
    Timing,
    arguments,
    check_same,
    interleaved,
    parse,
    peak_memory,
    positive,
    seconds,
    synthetic_data,
)
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from silhouette import draw_a_triangle
from smplx_body import SmplxBody, body_file
from torch import Tensor

from mmjrr.body_models import SMPL
from mmjrr.engine.refinement_frames import RefinementFrames
from mmjrr.geometry import axis_angle_to_matrix, matrix_to_rotation_6d, rotation_6d_to_matrix
from mmjrr.refinement import FitRefiner
from mmjrr.refinement.allocator import keep_freed_memory
from mmjrr.registry import DATASETS, HOOKS, MODELS
from mmjrr.regressors import JointRegressor
from mmjrr.rendering import ContourSilhouette, PyTorch3DSilhouette

#: Training images of Human3.6M in MMPose's layout, and minutes that they may take on an H100.
H36M_FRAMES, H36M_MINUTES = 312_188, 15

FREE_BODY, POSE_BLEND_SHAPES = 'free body', 'with pose blend shapes'
#: Iterations by which one is timed.
STEPS = 10
CONFIG = Path(__file__).resolve().parents[2] / 'configs/refinement/contour_100it_synthetic.py'


def main() -> None:
    """Run the benchmark and write its record."""
    parser = arguments(__doc__, on_gpu_too=True)
    parser.add_argument('--batch', type=positive, default=16)
    parser.add_argument('--iterations', type=positive, default=100)
    parser.add_argument(
        '--batches',
        type=positive,
        nargs='*',
        default=[16, 64, 256],
        help='batch sizes for speed and memory',
    )
    parser.add_argument(
        '--frames', type=positive, help='number of frames to refine for the extrapolation'
    )
    parser.add_argument('--alone', type=positive, help=argparse.SUPPRESS)
    parser.set_defaults(rounds=2)
    args = parse(parser)
    if args.alone:
        print(*_alone(args))
        return
    keep_freed_memory()
    record = Record('refinement', 'Refinement', vars(args) | {'out': ''}, args.device)
    rows, per_step = [], []
    for pose_blend_shapes in (False, True):
        case = Case(args, args.batch, pose_blend_shapes)
        rows += _frames_per_second(record, case, args)
        per_step.append(_one_iteration(record, case, args))
    record.table(
        ['body', 'refined by', f'{args.iterations} iterations', 'frames/s', 'ours is faster by'],
        rows,
        f'{args.batch} frames at once, 224 x 224, all terms.',
    )
    record.table(
        ['body', 'one iteration', 'smplx.lbs alone', 'ratio'],
        per_step,
        'One iteration, all that it does, against forward and backward of `smplx.lbs`.',
    )
    _data_loading(record, args)
    if args.frames:
        _many_frames(record, args)
    if args.batches:
        by_size = [_in_new_process(record, args, size) for size in args.batches]
        record.table(
            ['batch', 'an iteration, a frame', 'frames/s', 'peak memory'],
            by_size,
            f'{POSE_BLEND_SHAPES.capitalize()}; frames a second for 100 iterations; memory beyond '
            'that of a loaded process.',
        )
    record.write(args.out)


class Case:
    """Batch of the synthetic set, the demo's refiner for it, and the plain loop."""

    def __init__(
        self,
        args: argparse.Namespace,
        batch: int,
        pose_blend_shapes: bool,
        data: Path | None = None,  # default: a small synthetic set
    ) -> None:
        torch.manual_seed(args.seed)
        self.name = POSE_BLEND_SHAPES if pose_blend_shapes else FREE_BODY
        self.batch = batch
        data = data or synthetic_data(args.out, args.seed)
        config = Config.fromfile(str(CONFIG))
        config.train_dataloader.dataset.data_root = str(data)
        self.dataset = DATASETS.build(config.train_dataloader.dataset)
        hook: Any = HOOKS.build(config.custom_hooks[0])
        hook.device = torch.device(args.device)
        items = [self.dataset[i] for i in range(min(batch, len(self.dataset)))]
        items = [items[i % len(items)] for i in range(batch)]
        frames = RefinementFrames.of_batch(
            pseudo_collate(items), hook.renderer.image_size, hook.device
        )
        self.init, self.observed = frames.init, frames.observed
        path = body_file(args.out, pose_blend_shapes, args.seed)
        body = SMPL(path)
        body.name = 'free_body'
        self.refiner = FitRefiner(
            body=body.requires_grad_(False).to(args.device),
            regressor=JointRegressor.load(data / 'regressors/J_std.npy')
            .reorder('mmpose')
            .to(args.device),
            renderer=hook.renderer.to(args.device),
            energy=hook.energy,
            discriminator=MODELS.build(config.model).to(args.device),
            num_iters=args.iterations,
            **{k: v for k, v in hook.options.refiner.items() if k != 'num_iters'},
        )
        self.smplx = SmplxBody(path, device=args.device)

    def refine(self, iterations: int) -> Any:
        """Refine the case's batch."""
        self.refiner.num_iters = iterations
        return self.refiner.refine(self.init, self.observed)


class PlainLoop:
    """Plain loop: Adam on the energy of the paper, without optimizations for speed."""

    def __init__(self, case: Case, renderer: Any, start_transl: Tensor) -> None:
        self.case, self.renderer, self.transl = case, renderer, start_transl
        self.regressor = case.refiner.regressor.weight

    def terms(self, pose_6d: Tensor, betas: Tensor, transl: Tensor) -> dict[str, Tensor]:
        """Return the terms of the energy, each as a mean over the batch."""
        case, seen = self.case, self.case.observed
        rotations = rotation_6d_to_matrix(pose_6d)
        vertices = case.smplx(rotations, betas, transl)
        joints = torch.einsum('jv,bvc->bjc', self.regressor, vertices)
        in_3d = (joints - joints[:, :1]) - (seen.keypoints_3d - seen.keypoints_3d[:, :1])
        in_2d = (seen.camera.project(joints) - seen.keypoints_2d) / 224
        silhouette = self.renderer(vertices, seen.camera)
        assert seen.mask is not None and case.refiner.discriminator is not None
        levels = [
            (F.avg_pool2d(silhouette[:, None], side) - F.avg_pool2d(seen.mask[:, None], side)) ** 2
            for side in (1, 4)
        ]
        pose, shape = case.refiner.discriminator.judge(rotations, betas)
        weight = seen.keypoints_3d_weight * seen.keypoints_3d_weight[:, :1]
        return {
            'joint_3d': (weight * (in_3d**2).sum(-1)).sum(1),
            'joint_2d': (seen.keypoints_2d_weight * (in_2d**2).sum(-1)).sum(1),
            'silhouette': sum(level.mean((1, 2, 3)) for level in levels),  # type: ignore[dict-item]
            'adv_pose': ((1 - pose) ** 2).sum(1),
            'adv_shape': ((1 - shape) ** 2).sum(1),
        }

    def refine(self, iterations: int) -> dict[str, Tensor]:
        """Refine, and return the terms of the first iteration."""
        case, refiner = self.case, self.case.refiner
        pose = torch.cat([case.init['global_orient'], case.init['body_pose']], 1)
        rotations = axis_angle_to_matrix(pose.unflatten(1, (-1, 3)))
        variables = {
            'pose_6d': matrix_to_rotation_6d(rotations).requires_grad_(),
            'betas': case.init['betas'].clone().requires_grad_(),
            'transl': self.transl.clone().requires_grad_(),
        }
        optimizer = torch.optim.Adam(
            [
                {'params': [value], 'lr': refiner.lr * refiner.lr_mult.get(name, 1.0)}
                for name, value in variables.items()
            ]
        )
        first: dict[str, Tensor] = {}
        for _ in range(iterations):
            terms = self.terms(**variables)
            if not first:
                first = {name: value.detach() for name, value in terms.items()}
                weights = refiner.energy.balance({k: float(v.mean()) for k, v in first.items()})
            loss = sum(weights[name] * value.sum() for name, value in terms.items())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[union-attr]
            optimizer.step()
        return first


def _frames_per_second(record: Record, case: Case, args: argparse.Namespace) -> list[list[str]]:
    ours = case.refine(1)
    plain = PlainLoop(case, case.refiner.renderer, ours.init['transl'])
    for name, value in plain.refine(1).items():
        check_same(f'{case.name}, {name}', ours.terms_init[name], value, 1e-3)
    sides = {
        'ours': lambda: case.refine(args.iterations),
        'smplx and our renderer': lambda: plain.refine(args.iterations),
    }
    loops = {
        name: PlainLoop(case, renderer, ours.init['transl'])
        for name, renderer in _pytorch3d(record, case, args.device).items()
    }
    if args.device != 'cpu':
        sides |= {name: partial(loop.refine, args.iterations) for name, loop in loops.items()}
        for loop in loops.values():
            loop.refine(1)  # loads its kernels
    timings = interleaved(sides, args.rounds, warm_up=0)
    record.timings(f'{case.name}, {args.iterations} iterations', timings)
    medians = {name: timing.median for name, timing in timings.items()}
    if args.device == 'cpu' and case.name == FREE_BODY:
        # 100 iterations would take hours. Time one and two iterations of one body instead.
        for name, loop in loops.items():
            some = {str(n): partial(loop.refine, n) for n in (1, 2)}
            one, two = (timing.median for timing in interleaved(some, 1, warm_up=0).values())
            medians[f'{name} (extrapolated)'] = one + (two - one) * (args.iterations - 1)
    fps = case.batch / medians['ours'] * args.iterations / 100
    _mark_speed(record, case.batch, case.name, fps)
    return [
        [case.name, name, seconds(value), f'{case.batch / value:.3g}',
         f'{value / medians["ours"]:,.{0 if value > 100 * medians["ours"] else 2}f}']
        for name, value in medians.items()
    ]  # fmt: skip


def _mark_speed(record: Record, batch: int, body: str, fps: float) -> None:
    what = f'frames a second for 100 iterations, {batch} at once, {body}'
    record.target(what, '>= 4', f'{fps:.2f}', fps >= 4)


def _pytorch3d(record: Record, case: Case, device: str) -> dict[str, Any]:
    """Return PyTorch3D's renderer in the authors' setting: without and, on a CPU, with tiles."""
    ways = {'smplx and PyTorch3D': dict(tile_size=None)}
    if device == 'cpu':
        ways['smplx and PyTorch3D, in tiles'] = {}
    makers = {name: partial(PyTorch3DSilhouette, **options) for name, options in ways.items()}
    try:
        draw_a_triangle(next(iter(makers.values())), device)
    except (ImportError, RuntimeError) as error:
        record.note(f'Left out: the loop with PyTorch3D. {str(error).splitlines()[0]}')
        return {}
    faces = case.refiner.body.faces_tensor
    return {name: maker(faces, (224, 224)).to(device) for name, maker in makers.items()}


def _one_iteration(record: Record, case: Case, args: argparse.Namespace) -> list[str]:
    sides = short_and_long(case) | {'smplx.lbs': smplx_forward_and_backward(case, STEPS)}
    timings = interleaved(sides, 3 * args.rounds)
    record.timings(f'{case.name}, {STEPS} iterations', timings)
    ours, theirs = iteration_seconds(timings), timings['smplx.lbs'].median / STEPS
    record.target(
        f'one iteration / smplx.lbs, {case.name}', '<= 1.8', f'{ours / theirs:.2f}',
        ours <= 1.8 * theirs,
    )  # fmt: skip
    return [case.name, seconds(ours), seconds(theirs), f'{ours / theirs:.2f}']


def smplx_forward_and_backward(case: Case, times: int = 1) -> Callable[[], None]:
    """Return a function that computes smplx's vertices and their gradients."""
    pose = torch.cat([case.init['global_orient'], case.init['body_pose']], 1).unflatten(1, (-1, 3))
    inputs = [
        value.clone().requires_grad_()
        for value in (axis_angle_to_matrix(pose), case.init['betas'], case.init['transl'])
    ]
    upstream = inputs[0].new_ones(case.batch, len(case.smplx.v_template), 3)

    def run() -> None:
        for _ in range(times):
            torch.autograd.grad(case.smplx(*inputs), inputs, upstream)

    return run


def short_and_long(case: Case) -> dict[str, Callable[[], Any]]:
    """Return a short and a long refinement, whose difference cancels the fixed cost of a batch."""
    return {'short': lambda: case.refine(1), 'long': lambda: case.refine(1 + STEPS)}


def iteration_seconds(timings: dict[str, Timing]) -> float:
    """Return the seconds of one iteration from the times of :func:`short_and_long`."""
    return (timings['long'].median - timings['short'].median) / STEPS


def _data_loading(record: Record, args: argparse.Namespace) -> None:
    case = Case(args, args.batch, False)
    count = len(case.dataset)
    sides = {
        'loading': lambda: pseudo_collate([case.dataset[i % count] for i in range(args.batch)]),
        'refinement': lambda: case.refine(args.iterations),
    }
    timings = interleaved(sides, 1, warm_up=0)
    loading, refining = timings['loading'].median, timings['refinement'].median
    share = loading / (loading + refining)
    record.target(
        'data loading, share of refinement, no worker processes', '< 5 %', f'{share:.1%}',
        share < 0.05,
    )  # fmt: skip


def _many_frames(record: Record, args: argparse.Namespace) -> None:
    case = Case(args, args.batch, False)
    batches = max(args.frames // args.batch, 1)

    def refine_all() -> None:
        for _ in range(batches):
            case.refine(args.iterations)

    taken = interleaved({'ours': refine_all}, 1, warm_up=0)['ours'].median
    minutes = taken / (batches * args.batch) * H36M_FRAMES / 60
    what = (
        f'minutes for all {H36M_FRAMES:,} training images of Human3.6M, from '
        f'{batches * args.batch:,} refined'
    )
    if args.device == 'cpu':
        record.note(f'{what}: {minutes:.0f}.')
    else:
        record.target(what, f'<= {H36M_MINUTES}', f'{minutes:.1f}', minutes <= H36M_MINUTES)


def _in_new_process(record: Record, args: argparse.Namespace, size: int) -> list[str]:
    command = [
        sys.executable, __file__, '--alone', str(size), '--out', str(args.out), '--seed',
        str(args.seed), '--threads', str(args.threads), '--device', args.device,
        '--rounds', str(args.rounds),
    ]  # fmt: skip
    if args.processor_time:
        command.append('--processor-time')
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    memory, iteration, hundred = map(float, done.stdout.splitlines()[-1].split())
    fps = size / hundred
    if size != args.batch:
        _mark_speed(record, size, POSE_BLEND_SHAPES, fps)
    return [str(size), seconds(iteration / size), f'{fps:.2f}', f'{memory:.0f} MB']


def _alone(args: argparse.Namespace) -> tuple[float, float, float]:
    """Measure memory and time of one batch size in this process.

    Returns:
        MB that two iterations add to the process (on a GPU, to its allocated memory), seconds of
        one iteration, and seconds of 100 iterations.
    """
    case = Case(args, args.alone, True)
    draw_a_triangle(ContourSilhouette, args.device)  # loads Numba, whose memory does not count
    on_gpu = args.device != 'cpu'
    before = torch.cuda.memory_allocated(args.device) / 2**20 if on_gpu else _resident()
    case.refine(2)
    peak = torch.cuda.max_memory_allocated(args.device) / 2**20 if on_gpu else peak_memory()
    timings = interleaved(short_and_long(case), args.rounds)
    iteration = iteration_seconds(timings)
    return peak - before, iteration, timings['short'].median + 99 * iteration


def _resident() -> float:
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


if __name__ == '__main__':
    main()
