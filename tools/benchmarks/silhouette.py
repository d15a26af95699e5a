"""Silhouettes, forward and backward: the contour renderer against PyTorch3D's soft silhouette.

    python tools/benchmarks/silhouette.py [--device cuda] [--rounds 5]
    python tools/benchmarks/silhouette.py --full     # PyTorch3D at every size, too: hours on a CPU

Bodies are the free body in random poses, shapes and views, as large as a crop shows them. Batch,
image and mesh grow one at a time from 16 images of 224x224 and 6,890 vertices. On a CPU PyTorch3D
draws the images of a batch one after the other, so one of them is timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from common import Record, arguments, device, interleaved, parse, positive, seconds
from torch import Tensor

from mmjrr.body_models import free_body
from mmjrr.rendering import (
    ContourSilhouette,
    PerspectiveCamera,
    PyTorch3DSilhouette,
    SilhouetteRenderer,
)

BATCH, SIZE, SUBDIVISIONS = 16, 224, 0
#: PyTorch3D's settings by name: the paper's authors', and the one of its documentation.
THEIRS = {
    "PyTorch3D, authors'": dict(faces_per_pixel=1, blur_radius=0.0, sigma=1e-4),
    'PyTorch3D, 50 faces': dict(faces_per_pixel=50, blur_radius=9.2e-4, sigma=1e-4),
}
#: Times faster than PyTorch3D's an image, authors' setting, batch 16, 224x224.
MARKS = {'cpu': 2000, 'cuda': 10}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument('--device', type=device, default='cpu')
    parser.add_argument('--supersampling', type=positive, default=2)
    parser.add_argument('--full', action='store_true', help='PyTorch3D at every size')
    args = parse(parser)
    record = Record('silhouette', 'Silhouette, forward and backward', vars(args) | {'out': ''})
    theirs = installed(record)
    cases = [(BATCH, SIZE, SUBDIVISIONS)]
    cases += [(batch, SIZE, SUBDIVISIONS) for batch in (1, 64, 256)]
    cases += [(BATCH, size, SUBDIVISIONS) for size in (112, 512, 1024)]
    cases += [(BATCH, SIZE, subdivisions) for subdivisions in (1, 2)]
    rows = []
    for case in cases:
        compared = theirs if args.full or case == cases[0] else {}
        rows.append(compare(record, case, compared, args))
    record.table(
        ['images', 'size', 'vertices', 'ours, an image', *(f'{name}, an image' for name in theirs)],
        [row[: 4 + len(theirs)] + [''] * (4 + len(theirs) - len(row)) for row in rows],
    )
    record.write(args.out)


def installed(record: Record) -> dict[str, dict]:
    """The settings of PyTorch3D to compare with; none where it is not installed."""
    try:
        PyTorch3DSilhouette([[0, 1, 2]])
    except ImportError as error:
        record.note(f'left out: {error}')
        return {}
    return THEIRS


def compare(
    record: Record, case: tuple[int, int, int], theirs: dict[str, dict], args: argparse.Namespace
) -> list[str]:
    batch, size, subdivisions = case
    vertices, faces, camera = random_bodies(batch, size, args.seed)
    for _ in range(subdivisions):
        vertices, faces = subdivided(vertices, faces)
    vertices, camera = vertices.to(args.device), camera.to(args.device, vertices.dtype)
    count = batch if args.device.startswith('cuda') else 1
    first = PerspectiveCamera(camera.focal_length[:count], camera.principal_point[:count])
    ours = ContourSilhouette(faces, (size, size), supersampling=args.supersampling)
    sides: dict[str, Callable[[], None]] = {
        'ours': step(ours.to(args.device), vertices, camera, args.seed)
    }
    for name, setting in theirs.items():
        renderer = PyTorch3DSilhouette(faces, (size, size), **setting).to(args.device)
        check_outline(ours, renderer, vertices[:count], first)
        sides[name] = step(renderer, vertices[:count], first, args.seed)
    rounds = args.rounds
    if not theirs and batch * size * size < 2e6:
        rounds *= 4
    elif theirs and count == 1:
        rounds = max(2, rounds // 2)  # PyTorch3D takes many seconds on a CPU
    # A single short run after many seconds of the other side finds cold caches.
    repeats = 10 if theirs and count == 1 else 1
    sides['ours'] = repeated(sides['ours'], repeats)
    found = interleaved(sides, rounds)
    record.timings(
        f'{batch} images of {size}x{size} ({repeats} times), {vertices.shape[1]} vertices', found
    )
    per_image = {name: time.median / (batch * repeats if name == 'ours' else count)
                 for name, time in found.items()}  # fmt: skip
    name = next(iter(theirs), None)
    if name is not None and case == (BATCH, SIZE, SUBDIVISIONS):
        ratio = per_image[name] / per_image['ours']
        wanted = MARKS['cuda' if args.device.startswith('cuda') else 'cpu']
        record.mark(
            "an image, times faster than PyTorch3D's (authors' setting)",
            f'at least {wanted:,}',
            f'{ratio:,.0f}',
            ratio >= wanted,
        )
    if case == (BATCH, SIZE, SUBDIVISIONS) and not args.device.startswith('cuda'):
        record.mark(
            'an image of 224x224, batch 16',
            'at most 2 ms',
            seconds(per_image['ours']),
            per_image['ours'] <= 2e-3,
        )
    return [str(batch), f'{size}x{size}', f'{vertices.shape[1]:,}',
            *(seconds(value) for value in per_image.values())]  # fmt: skip


def repeated(run: Callable[[], None], times: int) -> Callable[[], None]:
    def run_all() -> None:
        for _ in range(times):
            run()

    return run_all


def step(
    renderer: SilhouetteRenderer, vertices: Tensor, camera: PerspectiveCamera, seed: int
) -> Callable[[], None]:
    """Draw, and take the gradient with respect to the vertices."""
    vertices = vertices.clone().requires_grad_()
    generator = torch.Generator().manual_seed(seed)
    upstream = torch.rand(len(vertices), *renderer.image_size, generator=generator)
    upstream = upstream.to(vertices.device)

    def run() -> None:
        torch.autograd.grad(renderer(vertices, camera), vertices, upstream)

    return run


def check_outline(
    ours: ContourSilhouette,
    theirs: PyTorch3DSilhouette,
    vertices: Tensor,
    camera: PerspectiveCamera,
) -> None:
    """Both draw the same body: full pixels have their centre covered, empty ones have not.

    Raises:
        AssertionError: they do not.
    """
    with torch.no_grad():
        coverage, covered = ours(vertices, camera), theirs.covered(vertices, camera)
    wrong = int((~covered & (coverage > 1 - 1e-4)).sum() + (covered & (coverage < 1e-4)).sum())
    if wrong > 1e-4 * covered.sum():
        raise AssertionError(f'the outlines differ in {wrong} pixels')


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
    return vertices, body.faces_tensor, crop_around(vertices, size)


def crop_around(vertices: Tensor, size: int) -> PerspectiveCamera:
    camera = PerspectiveCamera([[1145.0, 1145.0]], [[0.0, 0.0]])
    pixels = camera.project(vertices)
    low, high = pixels.amin(1), pixels.amax(1)
    half = 0.55 * (high - low).amax(1, keepdim=True)
    middle = (low + high) / 2
    return camera.crop(torch.cat([middle - half, middle + half], 1), (size, size))


def subdivided(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Each triangle as four, by the middles of its sides."""
    corners = faces.numpy()
    sides = np.sort(corners[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, which = np.unique(sides, axis=0, return_inverse=True)
    a, b, c = corners.T
    ab, bc, ca = (which.reshape(-1, 3) + vertices.shape[1]).T
    new = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    middles = vertices[:, edges].mean(2)
    return torch.cat([vertices, middles], 1), torch.from_numpy(
        np.concatenate([np.stack(face, 1) for face in new])
    )


if __name__ == '__main__':
    main()
