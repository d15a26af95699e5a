"""Time of the contour silhouette, forward and backward, an image.

    python tools/benchmarks/silhouette.py [--batch 16] [--supersampling 2] [--device cpu] ...

Bodies are the free body in random poses, shapes and views, as large as a crop shows them. Printed
are medians over the repetitions, and what decides the time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from mmjrr.body_models import free_body
from mmjrr.rendering import ContourSilhouette, PerspectiveCamera


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    vertices, faces, camera = random_bodies(args.batch, args.size, args.seed)
    dtype = getattr(torch, args.dtype)
    vertices = vertices.to(args.device, dtype).requires_grad_()
    camera = camera.to(args.device, dtype)
    size = (args.size, args.size)
    silhouette = ContourSilhouette(faces, size, supersampling=args.supersampling).to(args.device)
    upstream = torch.rand(args.batch, args.size, args.size, device=args.device, dtype=dtype)

    def forward() -> None:
        with torch.no_grad():
            silhouette(vertices, camera)

    def forward_and_backward() -> None:
        vertices.grad = None
        silhouette(vertices, camera).backward(upstream)

    coordinates = camera.project(vertices).detach().permute(1, 2, 0).contiguous()
    edges = len(silhouette.boundary(coordinates).image) / args.batch
    coverage = float(silhouette(vertices, camera).mean())
    print(
        f'{args.batch} images of {args.size}x{args.size}, {vertices.shape[1]} vertices, '
        f'{len(faces)} faces, {edges:.0f} contour edges an image, {coverage:.0%} covered, '
        f'supersampling {args.supersampling}, {args.dtype} on {args.device}, '
        f'{torch.get_num_threads()} threads, torch {torch.__version__}'
    )
    for name, step in (('forward', forward), ('forward and backward', forward_and_backward)):
        wall, cpu = timed(step, args.repeat, args.device)
        wall, cpu = wall / args.batch, cpu / args.batch
        print(f'{name:>22}: {wall:.2f} ms an image ({cpu:.2f} ms CPU time)')


def random_bodies(batch: int, size: int, seed: int) -> tuple[Tensor, Tensor, PerspectiveCamera]:
    """Bodies (B, V, 3) 5 m away, faces, and cameras whose crops hold them as H36M's boxes do."""
    generator = torch.Generator().manual_seed(seed)
    body = free_body()
    with torch.no_grad():
        vertices = body(
            betas=torch.randn(batch, 10, generator=generator),
            body_pose=0.2 * torch.randn(batch, 69, generator=generator),
            global_orient=torch.tensor([torch.pi, 0.0, 0.0])
            + 0.3 * torch.randn(batch, 3, generator=generator),
            transl=torch.zeros(batch, 3),
        ).vertices
    vertices = vertices - vertices.mean(1, keepdim=True) + torch.tensor([0.0, 0.0, 5.0])
    camera = PerspectiveCamera([[1145.0, 1145.0]], [[0.0, 0.0]])
    pixels = camera.project(vertices)
    low, high = pixels.amin(1), pixels.amax(1)
    half = 0.55 * (high - low).amax(1, keepdim=True)
    middle = (low + high) / 2
    boxes = torch.cat([middle - half, middle + half], 1)
    return vertices, body.faces_tensor, camera.crop(boxes, (size, size))


def timed(step: Callable[[], None], repeat: int, device: str) -> tuple[float, float]:
    """Median wall-clock and CPU milliseconds of a step, after warming up."""
    for _ in range(3):
        step()
    walls, cpus = [], []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        if device.startswith('cuda'):
            torch.cuda.synchronize()
        walls.append((time.perf_counter() - wall) * 1e3)
        cpus.append((time.process_time() - cpu) * 1e3)
    return statistics.median(walls), statistics.median(cpus)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--size', type=int, default=224)
    parser.add_argument('--supersampling', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--dtype', choices=['float32', 'float64'], default='float32')
    parser.add_argument('--threads', type=int, default=0, help="torch's threads; 0: its default")
    parser.add_argument('--repeat', type=int, default=30)
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


if __name__ == '__main__':
    main()
