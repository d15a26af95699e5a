"""Compare the contour renderer, forward and backward, with PyTorch3D and nvdiffrast.

    python tools/benchmarks/silhouette.py [--device cuda] [--rounds 5]
    python tools/benchmarks/silhouette.py --full     # PyTorch3D without tiles at every size: slow

The bodies are the free body in random poses, shapes and views, at the size of a crop. Batch size,
image size and mesh size grow one at a time from 16 images of 224x224 and 6,890 vertices. On a CPU
PyTorch3D draws the images of a batch one by one, so only one image is timed: with PyTorch3D alone,
and with the tiles of mmjrr's PyTorch3D backend. On a GPU each timing waits for the device, also for
the contour renderer, although refinement does not wait.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
import torch
from common import Record, arguments, interleaved, parse, positive, seconds
from nvdiffrast_silhouette import NvdiffrastSilhouette
from torch import Tensor

from mmjrr.body_models import free_body
from mmjrr.geometry import PerspectiveCamera
from mmjrr.rendering import ContourSilhouette, PyTorch3DSilhouette, SilhouetteRenderer

BATCH, SIZE, SUBDIVISIONS = 16, 224, 0
#: PyTorch3D's settings by name: the paper's authors', and the one of its documentation.
AUTHORS, MANY_FACES = "PyTorch3D, authors'", 'PyTorch3D, 50 faces'
SETTINGS = {
    AUTHORS: dict(faces_per_pixel=1, blur_radius=0.0, sigma=1e-4),
    MANY_FACES: dict(faces_per_pixel=50, blur_radius=9.2e-4, sigma=1e-4),
}
IN_TILES, NVDIFFRAST = '{}, in tiles', 'nvdiffrast'
#: Our renderer as refinement on a GPU uses it.
QUEUED = 'ours, without host sync'
#: Times faster than PyTorch3D's an image, authors' setting, batch 16, 224x224.
MARKS = {'cpu': 2000, 'cuda': 10}

#: From faces and image size to a renderer that can say what is covered.
Maker = Callable[[Tensor, tuple[int, int]], Any]


def main() -> None:
    """Run the benchmark and write its record."""
    parser = arguments(__doc__, on_gpu_too=True)
    parser.add_argument('--supersampling', type=positive, default=2)
    parser.add_argument(
        '--full',
        action='store_true',
        help="time PyTorch3D without tiles, in the authors' setting, at every size",
    )
    args = parse(parser)
    record = Record(
        'silhouette', 'Silhouette, forward and backward', vars(args) | {'out': ''}, args.device
    )
    theirs = installed(record, args.device)
    cases = [(BATCH, SIZE, SUBDIVISIONS)]
    cases += [(batch, SIZE, SUBDIVISIONS) for batch in (1, 64, 256)]
    cases += [(BATCH, size, SUBDIVISIONS) for size in (112, 512, 1024)]
    cases += [(BATCH, SIZE, subdivisions) for subdivisions in (1, 2)]
    slow = set(SETTINGS) if args.device == 'cpu' else set()
    rows = []
    for case in cases:
        left_out = set() if case == cases[0] else slow - ({AUTHORS} if args.full else set())
        if args.device != 'cpu' and case[0] * case[1] ** 2 * 50 * 3 >= 2**31:
            left_out |= {MANY_FACES}  # PyTorch3D counts numbers of a batch in 32 bits
        compared = {name: maker for name, maker in theirs.items() if name not in left_out}
        rows.append(compare(record, case, compared, args))
    write_table(record, rows, theirs)
    record.write(args.out)


def write_table(
    record: Record,
    rows: list[tuple[str, str, str, str, dict[str, str]]],
    theirs: dict[str, Maker],
    caption: str = '',
) -> None:
    """Add the table of times for an image to a record."""
    others = [*([QUEUED] if any(QUEUED in row[4] for row in rows) else []), *theirs]
    record.table(
        ['images', 'size', 'vertices', 'ours, an image', *(f'{name}, an image' for name in others)],
        [[*row[:4], *(row[4].get(name, '') for name in others)] for row in rows],
        caption,
    )


def installed(record: Record, device: str) -> dict[str, Maker]:
    """Return the renderers to compare with, by name; note those that do not work here."""
    makers_of: dict[str, dict[str, Maker]] = {'PyTorch3D': {}}
    for name, setting in SETTINGS.items():
        makers_of['PyTorch3D'][name] = partial(PyTorch3DSilhouette, tile_size=None, **setting)
        if device == 'cpu':
            makers_of['PyTorch3D'][IN_TILES.format(name)] = partial(PyTorch3DSilhouette, **setting)
    if device != 'cpu':
        makers_of[NVDIFFRAST] = {NVDIFFRAST: NvdiffrastSilhouette}
    working: dict[str, Maker] = {}
    for library, makers in makers_of.items():
        try:
            draw_a_triangle(next(iter(makers.values())), device)
            record.note(f'Compared with {library} {metadata.version(library.lower())}.')
            working |= makers
        except (ImportError, RuntimeError, OSError) as error:
            record.note(f'Left out: {library}. {str(error).splitlines()[0]}')
    return working


def draw_a_triangle(maker: Maker, device: str) -> None:
    """Check that a renderer works on a device by drawing a triangle.

    Raises:
        ImportError: The renderer is not installed.
        RuntimeError: The renderer does not support the device.
        OSError: A library of the renderer is missing.
    """
    renderer = maker(torch.tensor([[0, 1, 2]]), (8, 8)).to(device)
    corners = torch.tensor([[[0.0, 0, 1], [8, 0, 1], [0, 8, 1]]], device=device)
    step(renderer, corners, PerspectiveCamera([[1.0, 1.0]], [[0.0, 0.0]]).to(corners), 0)()


def compare(
    record: Record, case: tuple[int, int, int], theirs: dict[str, Maker], args: argparse.Namespace
) -> tuple[str, str, str, str, dict[str, str]]:
    """Time one case with every renderer; return its row."""
    batch, size, subdivisions = case
    on_cpu = args.device == 'cpu'
    vertices, faces, camera = random_bodies(batch, size, args.seed)
    for _ in range(subdivisions):
        vertices, faces = subdivided(vertices, faces)
    vertices, camera = vertices.to(args.device), camera.to(args.device, vertices.dtype)
    count = 1 if on_cpu else batch
    ours = ContourSilhouette(faces, (size, size), supersampling=args.supersampling).to(args.device)
    # A single short run after many seconds of the other side finds cold caches.
    repeats = 10 if theirs and on_cpu else 1
    sides = {'ours': repeated(step(ours, vertices, camera, args.seed), repeats)}
    if not on_cpu:
        sides[QUEUED] = queued_step(ours, vertices, camera, args.seed)
    for name, maker in theirs.items():
        renderer = maker(faces, (size, size)).to(args.device)
        check_outline(ours, renderer, vertices[:count], camera[:count])
        sides[name] = step(renderer, vertices[:count], camera[:count], args.seed)
    rounds = args.rounds
    if set(sides) & set(SETTINGS) and on_cpu:
        rounds = max(2, rounds // 2)  # many seconds each
    elif batch * size * size < 2e6:
        rounds *= 4
    timings = interleaved(sides, rounds)
    record.timings(
        f'{batch} images of {size}x{size} ({repeats} times), {vertices.shape[1]} vertices', timings
    )
    per_image = {name: time.median / (batch * repeats if name in ('ours', QUEUED) else count)
                 for name, time in timings.items()}  # fmt: skip
    if case == (BATCH, SIZE, SUBDIVISIONS):
        _targets(record, per_image, on_cpu)
    shown = {name: seconds(value) for name, value in per_image.items()}
    return str(batch), f'{size}x{size}', f'{vertices.shape[1]:,}', shown['ours'], shown


def _targets(record: Record, per_image: dict[str, float], on_cpu: bool) -> None:
    ours = per_image['ours']
    if AUTHORS in per_image:
        ratio, target = per_image[AUTHORS] / ours, MARKS['cpu' if on_cpu else 'cuda']
        record.target(
            "an image, times faster than PyTorch3D's (authors' setting)",
            f'at least {target:,}',
            f'{ratio:,.0f}',
            ratio >= target,
        )
    if on_cpu:
        record.target(
            'an image of 224x224, batch 16', 'at most 2 ms', seconds(ours), ours <= 2e-3
        )  # fmt: skip
    if NVDIFFRAST in per_image:
        ratio = per_image[NVDIFFRAST] / ours
        record.target("times nvdiffrast's speed", '>= 1', f'{ratio:.2f}', ratio >= 1)


def repeated(run: Callable[[], None], times: int) -> Callable[[], None]:
    """Return a function that calls another several times."""

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


def queued_step(
    renderer: SilhouetteRenderer, vertices: Tensor, camera: PerspectiveCamera, seed: int
) -> Callable[[], None]:
    """Return :func:`step` in preallocated buffers, whose size is chosen once."""
    run, queue = step(renderer, vertices, camera, seed), ExitStack()
    all_valid = queue.enter_context(renderer.without_host_sync(vertices, camera))
    run()
    if not all_valid():
        raise AssertionError('the capacity of the buffers is exceeded')
    capacity, checks = renderer._capacity, renderer._deferred
    queue.close()

    def run_queued() -> None:
        renderer._capacity, renderer._deferred = capacity, checks
        run()
        renderer._capacity = renderer._deferred = None

    return run_queued


def check_outline(
    ours: ContourSilhouette,
    theirs: Any,
    vertices: Tensor,
    camera: PerspectiveCamera,
) -> None:
    """Check that both renderers draw the same body.

    The centers of full pixels must be covered, and those of empty ones must not.

    Raises:
        AssertionError: The outlines differ in more than 0.01 % of the covered pixels.
    """
    with torch.no_grad():
        coverage, covered = ours(vertices, camera), theirs.covered(vertices, camera)
    wrong = int((~covered & (coverage > 1 - 1e-4)).sum() + (covered & (coverage < 1e-4)).sum())
    if wrong > 1e-4 * covered.sum():
        raise AssertionError(f'the outlines differ in {wrong} pixels')


def random_bodies(batch: int, size: int, seed: int) -> tuple[Tensor, Tensor, PerspectiveCamera]:
    """Return bodies (B, V, 3) 5 m away, their faces, and cameras of crops like H36M's boxes."""
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
    """Return the camera whose square image holds each body with a margin of 10%."""
    camera = PerspectiveCamera([[1145.0, 1145.0]], [[0.0, 0.0]]).to(vertices)
    pixels = camera.project(vertices)
    low, high = pixels.amin(1), pixels.amax(1)
    half = 0.55 * (high - low).amax(1, keepdim=True)
    middle = (low + high) / 2
    return camera.crop(torch.cat([middle - half, middle + half], 1), (size, size))


def subdivided(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Divide each triangle into four at the middles of its sides."""
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
