"""Check and time every path on one device, in a few minutes, into one JSON file.

    bash tools/benchmarks/gpu.sh [--wheels DIR]                # on a GPU
    python tools/benchmarks/gpu.py --device cpu                # rehearsal with small sizes
    python tools/benchmarks/gpu.py --sections correctness iteration --minutes 2

Correctness: values and gradients of silhouettes, body and energy against float64 on the CPU; the
refiner and the regressor fit against the same on the CPU. Times: silhouettes beside PyTorch3D and
nvdiffrast where they are installed, iterations of several batch sizes, data loading, refinement of
many frames from file to result, and evaluation (which runs on the CPU).

The file is written after each section. A section that fails leaves one line in it, and the next one
runs; after an error that a CUDA context does not survive, in a new process.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from common import ROOT, Record, arguments, interleaved, parse, positive, seconds, synthetic_data
from evaluation import evaluate, repeated_frames, three_regressors
from mmengine.dataset import pseudo_collate
from refinement import (
    H36M_FRAMES,
    H36M_MINUTES,
    Case,
    smplx_forward_and_backward,
)
from silhouette import BATCH, SIZE, compare, installed, random_bodies, write_table
from smplx_body import body_file
from solver import Fits
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmjrr.body_models import SMPL, free_body
from mmjrr.engine.launch import allow_open_files
from mmjrr.engine.refinement_frames import RefinementFrames
from mmjrr.geometry import axis_angle_to_matrix
from mmjrr.refinement import FitRefiner, Observations, RefinedFits
from mmjrr.refinement.terms import PosedBodies
from mmjrr.regressors import fit_joint_regressor
from mmjrr.rendering import ContourSilhouette

#: Smallest time in seconds in which a section is begun.
SMALLEST_REST = 15
#: Sizes on a GPU and in a rehearsal on a CPU.
SIZES: dict[str, dict[str, Any]] = {
    'gpu': dict(frames=20_000, batches=[64, 256, 1024], many=1024, fit=5000, data=16, checked=16),
    'cpu': dict(frames=32, batches=[8], many=16, fit=100, data=4, checked=4),
}


def main() -> None:
    """Run the benchmark and write its record."""
    parser = arguments(__doc__, on_gpu_too=True)
    parser.add_argument('--sections', nargs='+', choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument('--minutes', type=float, default=6, help='no section begins later')
    parser.add_argument('--frames', type=positive, help='frames to refine and to evaluate')
    parser.add_argument('--batches', type=positive, nargs='+', help='batch sizes to time')
    parser.add_argument('--many', type=positive, help='batch size for --frames')
    parser.add_argument('--results', type=Path, help='folder of the results; default: --out')
    parser.add_argument('--commit', help="commit of the code; default: git's")
    parser.add_argument('--began', type=float, default=time.time(), help=argparse.SUPPRESS)
    parser.set_defaults(device='cuda', supersampling=2, iterations=100)
    args = parse(parser)
    args.results = args.results or args.out
    for name, value in SIZES['cpu' if args.device == 'cpu' else 'gpu'].items():
        if getattr(args, name, None) is None:
            setattr(args, name, value)
    allow_open_files()
    faulthandler.dump_traceback_later(max(60 * args.minutes - _elapsed(args) + 30, 60), exit=True)
    run_sections(_record(args), args)
    faulthandler.cancel_dump_traceback_later()


def _record(args: argparse.Namespace) -> Record:
    settings = {k: v for k, v in vars(args).items() if k not in ('out', 'results', 'began')}
    record = Record('device', 'Every path on one device', settings, args.device)
    record.content['commit'] = args.commit or _commit()
    path = args.results / f'{record.content["name"]}.json'
    if path.is_file() and json.loads(path.read_text()).get('began') == args.began:
        record.content = json.loads(path.read_text())  # this run's, continued in a new process
    record.content.setdefault('began', args.began)
    record.content.setdefault('sections', {})
    return record


def run_sections(record: Record, args: argparse.Namespace) -> None:
    """Run the sections in turn; note those that fail or for which no time is left."""
    for position, name in enumerate(args.sections):
        rest = 60 * args.minutes - _elapsed(args)
        if rest < SMALLEST_REST:
            record.note(f'Left out: {name}, no time.')
            record.write(args.results)
            continue
        print(f'\n-- {name} ({_elapsed(args):.0f} s)', flush=True)
        start, survives = time.perf_counter(), True
        try:
            SECTIONS[name](record, args)
        except Exception as error:  # whatever fails, the other sections run
            lines = str(error).strip().splitlines() or ['']
            record.note(f'Failed: {name}. {type(error).__name__}: {lines[0]}')
            traceback.print_exception(error)
            survives = _device_works(args.device)
        record.content['sections'][name] = round(time.perf_counter() - start, 1)
        record.write(args.results)
        if args.device != 'cpu' and survives:
            torch.cuda.empty_cache()
        if not survives:
            _continue_in_new_process(args, args.sections[position + 1 :])


def _device_works(device: str) -> bool:
    try:
        return float(torch.ones(1, device=device).sum()) == 1
    except RuntimeError:
        return False


def _continue_in_new_process(args: argparse.Namespace, sections: list[str]) -> None:
    """Run the remaining sections in a process whose CUDA context is intact."""
    if not sections:
        return
    options = [sys.executable, __file__, '--sections', *sections, '--began', repr(args.began)]
    for name in (
        'out',
        'results',
        'device',
        'minutes',
        'frames',
        'many',
        'seed',
        'rounds',
        'threads',
    ):
        options += [f'--{name}', str(getattr(args, name))]
    options += ['--batches', *map(str, args.batches), '--commit', args.commit or _commit()]
    sys.stdout.flush()
    os.execv(sys.executable, options)


def _elapsed(args: argparse.Namespace) -> float:
    return time.time() - args.began


def _commit() -> str:
    done = subprocess.run(
        ['git', 'describe', '--always', '--dirty'], cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout.strip() or 'unknown'


def _data(args: argparse.Namespace) -> Path:
    return synthetic_data(args.out, args.seed, args.data, workers=os.cpu_count() or 1)


def _make_data(record: Record, args: argparse.Namespace) -> None:
    start = time.perf_counter()
    case = Case(args, 1, False, _data(args))
    record.content['distinct frames'] = len(case.dataset)
    record.note(
        f'Synthetic frames: {len(case.dataset):,}, made in {time.perf_counter() - start:.0f} s by '
        f'{os.cpu_count()} processes; larger numbers of frames repeat them.'
    )


# -- correctness -----------------------------------------------------------------------------------


class Agreement:
    """Relative errors of quantities, with their limits: a table and one target.

    An error is the norm of the difference over the norm of the expected values, in float64.
    """

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self.outside: list[str] = []

    def add(self, what: str, actual: Tensor, expected: Tensor, limit: float) -> None:
        """Add the relative error of a quantity."""
        error, dtype = relative_error(actual, expected), str(actual.dtype)[6:]
        self.rows.append([what, dtype, f'{error:.1e}', f'{limit:.0e}'])
        if not error <= limit:
            self.outside.append(f'{what}, {dtype}')

    def write(self, record: Record, where: str) -> None:
        """Write the table and the target to a record."""
        record.table(
            ['quantity', 'type', 'relative error', 'limit'], self.rows,
            f'{where}, against float64 on the CPU.',
        )  # fmt: skip
        agreeing = f'{len(self.rows) - len(self.outside)} of {len(self.rows)}'
        record.target(
            'values and gradients that agree with float64 on the CPU', 'all',
            agreeing + ''.join(f'; not {what}' for what in self.outside), not self.outside,
        )  # fmt: skip


def _correctness(record: Record, args: argparse.Namespace) -> None:
    agreement = Agreement()
    try:
        for check in (_silhouettes_agree, _bodies_agree, _energies_agree):
            check(agreement, args)
    finally:
        if agreement.rows:
            agreement.write(record, str(record.content['machine']['gpu'] or 'CPU'))
            record.write(args.results)
    _refiners_agree(record, args)
    _fits_agree(record, args)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference over that of the expected values, in float64."""
    expected = expected.detach().double().cpu()
    return float((actual.detach().double().cpu() - expected).norm() / expected.norm())


def _silhouettes_agree(agreement: Agreement, args: argparse.Namespace) -> None:
    """Compare PyTorch's operations on the device with the compiled loops in float64."""
    vertices, faces, camera = random_bodies(args.checked, SIZE, args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    upstream = torch.rand(len(vertices), SIZE, SIZE, generator=generator, dtype=torch.float64)

    def drawn(
        renderer: ContourSilhouette, dtype: torch.dtype, queued: bool
    ) -> tuple[Tensor, Tensor]:
        device = renderer.faces.device
        bodies = vertices.to(device, dtype).requires_grad_()
        cameras = camera.to(device, dtype)
        if queued:
            with renderer.without_host_sync(bodies.detach(), cameras) as all_valid:
                image = renderer(bodies, cameras)
                grad = torch.autograd.grad(image, bodies, upstream.to(image))[0]
            if not all_valid():
                raise AssertionError('the capacity of the buffers is exceeded')
        else:
            image = renderer(bodies, cameras)
            grad = torch.autograd.grad(image, bodies, upstream.to(image))[0]
        return image, grad

    expected = drawn(ContourSilhouette(faces, (SIZE, SIZE)), torch.float64, False)
    on_device = ContourSilhouette(faces, (SIZE, SIZE), compiled=False).to(args.device)
    for dtype, limits in ((torch.float64, (1e-9, 1e-9)), (torch.float32, (1e-4, 1e-2))):
        for queued in (False, True):
            way = ' without host sync' if queued else ''
            for what, actual, reference, limit in zip(
                ('silhouette', "silhouette's gradient"),
                drawn(on_device, dtype, queued),
                expected,
                limits,
                strict=True,
            ):
                agreement.add(what + way, actual, reference, limit)


def _bodies_agree(agreement: Agreement, args: argparse.Namespace) -> None:
    path = body_file(args.out, True, args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    values = [
        axis_angle_to_matrix(0.3 * torch.randn(args.checked, 24, 3, generator=generator)),
        torch.randn(args.checked, 10, generator=generator),
        torch.randn(args.checked, 3, generator=generator),
    ]
    upstream = torch.randn(args.checked, 6890, 3, generator=generator)

    def posed(device: str, dtype: torch.dtype) -> list[Tensor]:
        body = SMPL(path).to(device, dtype)
        inputs = [value.to(device, dtype).requires_grad_() for value in values]
        rotations, betas, transl = inputs
        vertices = body(
            global_orient=rotations[:, :1], body_pose=rotations[:, 1:], betas=betas, transl=transl
        ).vertices
        return [vertices, *torch.autograd.grad(vertices, inputs, upstream.to(vertices))]

    expected = posed('cpu', torch.float64)
    names = ('vertices', 'gradient of rotations', 'gradient of betas', 'gradient of transl')
    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        for name, actual, reference in zip(names, posed(args.device, dtype), expected, strict=True):
            agreement.add(f'body, {name}', actual, reference, limit)


def _energies_agree(agreement: Agreement, args: argparse.Namespace) -> None:
    exact = Case(_on_cpu(args), args.checked, True, _data(args))
    refiner = exact.refiner
    for module in (refiner.body, refiner.regressor, refiner.discriminator):
        module.double()
    init = {name: value.double() for name, value in exact.init.items()}
    exact_values = energy_and_gradients(refiner, init, in_double(exact.observed))
    case = Case(args, args.checked, True, _data(args))
    values = energy_and_gradients(case.refiner, case.init, case.observed)
    for (name, value), expected in zip(values.items(), exact_values.values(), strict=True):
        limit = 2e-2 if name.startswith('gradient') else 1e-3
        agreement.add(f'energy, {name}', value, expected, limit)


def energy_and_gradients(
    refiner: FitRefiner, init: dict[str, Tensor], observed: Observations
) -> dict[str, Tensor]:
    """Return the terms (B,) at initial fits and the gradients of their sums, by name."""
    pose = torch.cat([init['global_orient'], init['body_pose']], 1).unflatten(1, (-1, 3))
    inputs = {
        'rotations': axis_angle_to_matrix(pose).requires_grad_(),
        'betas': init['betas'].clone().requires_grad_(),
        'transl': init['transl'].clone().requires_grad_(),
    }
    rotations = inputs['rotations']
    vertices = refiner.body(
        global_orient=rotations[:, :1],
        body_pose=rotations[:, 1:],
        betas=inputs['betas'],
        transl=inputs['transl'],
    ).vertices
    observed = refiner.energy.prepare(observed)
    terms = refiner.energy(
        PosedBodies(
            rotations,
            inputs['betas'],
            inputs['transl'],
            vertices,
            observed.camera,
            refiner.renderer.image_size,
            refiner.regressor,
            refiner.renderer,
            refiner.discriminator,
        ),
        observed,
    ).values
    values = {name: value.detach() for name, value in terms.items()}
    for name, value in terms.items():
        gradients = torch.autograd.grad(
            value.sum(), list(inputs.values()), retain_graph=True, materialize_grads=True
        )
        # Together, since some are exactly zero.
        values[f'gradient of {name}'] = torch.cat([gradient.flatten() for gradient in gradients])
    return values


def in_double(observed: Observations) -> Observations:
    """Return the observations in float64."""
    return Observations(
        **{
            name: value
            if value is None or (isinstance(value, Tensor) and not value.is_floating_point())
            else value.to(torch.float64)
            for name, value in vars(observed).items()
        }
    )


def _refiners_agree(record: Record, args: argparse.Namespace) -> None:
    """Compare refinements of the same fits: the energy reached, and the vertices."""
    iterations = 30 if args.device != 'cpu' else 5
    refined = {}
    for name, some, cuda_graph in (
        ('CPU', _on_cpu(args), False), ('device', args, True), ('device, no graph', args, False),
    ):  # fmt: skip
        case = Case(some, args.checked, False, _data(args))
        case.refiner.cuda_graph = cuda_graph
        refined[name] = case.refine(iterations)
    energies = {name: _energy(refined['CPU'].weights, fits) for name, fits in refined.items()}
    body, truth = free_body(), refined['CPU']
    for name, fits in refined.items():
        if fits is truth:
            continue
        ratio = energies[name] / energies['CPU']
        record.target(
            f"energy after {iterations} iterations over the CPU's, {name}", '0.98 to 1.02',
            f'{ratio:.4f}', 0.98 <= ratio <= 1.02,
        )  # fmt: skip
        difference = 1000 * (_vertices(body, fits) - _vertices(body, truth)).norm(dim=-1).mean()
        assert fits.iou_refined is not None and truth.iou_refined is not None
        record.note(
            f'Refinement of {args.checked} frames, {iterations} iterations, {name}: vertices '
            f"{difference:.2f} mm from the CPU's, IoU {fits.iou_refined.mean():.4f} "
            f'({truth.iou_refined.mean():.4f}).'
        )


def _energy(weights: dict[str, float], fits: RefinedFits) -> float:
    terms = fits.terms_refined.items()
    return sum(float(weights[name] * value.double().mean()) for name, value in terms)


@torch.no_grad()
def _vertices(body: SMPL, fits: RefinedFits) -> Tensor:
    return body(**{name: value.cpu() for name, value in fits.refined.items()}).vertices


def _fits_agree(record: Record, args: argparse.Namespace) -> None:
    regressors, taken = {}, {}
    for device in dict.fromkeys(('cpu', args.device)):
        fits = Fits(args.fit, args.seed, 256, device)
        start = time.perf_counter()
        fit = fit_joint_regressor(fits, fits.truth.joint_names, 'mean', body_model='free_body')
        taken[device] = time.perf_counter() - start
        regressors[device] = fit.regressor
        record.target(
            f'gap of the regressor fit to {args.fit:,} frames, {device}', '<= 1e-06',
            f'{fit.dual_gap:.1e}', fit.dual_gap <= 1e-6,
        )  # fmt: skip
    held_out = next(iter(Fits(64, args.seed + 1)))[0].of()
    joints = [regressor.cpu()(held_out) for regressor in regressors.values()]
    distance = 1000 * float((joints[0] - joints[-1]).norm(dim=-1).max())
    record.target(
        "regressor fit: device's joints from the CPU's", '<= 0.1 mm', f'{distance:.4f} mm',
        distance <= 0.1,
    )  # fmt: skip
    times = ', '.join(f'{seconds(value)} ({device})' for device, value in taken.items())
    record.note(f'Regressor fit to {args.fit:,} frames: {times}.')


def _on_cpu(args: argparse.Namespace) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(args), 'device': 'cpu'})


# -- times -----------------------------------------------------------------------------------------


def _silhouette(record: Record, args: argparse.Namespace) -> None:
    theirs = installed(record, args.device)
    batches = (BATCH, 256) if args.device != 'cpu' else (BATCH,)
    rows = [compare(record, (batch, SIZE, 0), theirs, args) for batch in batches]
    for library, target in (('PyTorch3D', '10 times its speed'), ('nvdiffrast', 'its speed')):
        if not any(library in name for name in theirs):
            record.note(f'{library}: not compared (target: {target}).')
    caption = 'Silhouettes, forward and backward; each timing waits for the device.'
    write_table(record, rows, theirs, caption)


def _iterations(record: Record, args: argparse.Namespace) -> None:
    """Time a whole refinement of several batch sizes, with and without a CUDA graph."""
    rows = []
    on_gpu = args.device != 'cpu'
    iterations = args.iterations if on_gpu else 5
    for batch in args.batches:
        case = Case(args, batch, True, _data(args))

        def refine(cuda_graph: bool, case: Case = case) -> None:
            case.refiner.cuda_graph = cuda_graph
            case.refine(iterations)

        refine(True)
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
            refine(True)
        peak = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0
        sides = {'graph': lambda refine=refine: refine(True)}
        if on_gpu:
            sides['calls'] = lambda refine=refine: refine(False)
        timings = interleaved(sides, 2, warm_up=0)
        record.timings(f'{iterations} iterations, batch {batch}', timings)
        taken = timings['graph'].median
        rows.append([
            str(batch), seconds(taken), seconds(timings['calls'].median) if on_gpu else '',
            f'{batch / taken:.0f}', f'{H36M_FRAMES / (batch / taken) / 60:.1f}',
            f'{peak:.2f} GiB' if on_gpu else '',
        ])  # fmt: skip
        if batch == args.batches[-1]:
            alone = interleaved({'smplx.lbs': smplx_forward_and_backward(case)}, 3)
            theirs = alone['smplx.lbs'].median
            record.note(
                f'Refinement of {batch} frames, per iteration / smplx.lbs forward and backward: '
                f'{taken / iterations / theirs:.2f}.'
            )
        del case
    record.table(
        ['batch', 'replayed', 'called', 'frames/s', 'minutes for Human3.6M', 'peak memory'],
        rows,
        f'Refinement by {iterations} iterations, all terms, pose blend shapes, 224x224, data in '
        'memory: iterations replayed as a CUDA graph, and called one by one.',
    )


def _profile(record: Record, args: argparse.Namespace) -> None:
    """Count operations and kernels of one iteration; write the tables of the profiler."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU]
    if args.device != 'cpu':
        activities.append(ProfilerActivity.CUDA)
    args.results.mkdir(parents=True, exist_ok=True)
    for batch in (args.batches[0], args.many):
        case = Case(args, batch, True, _data(args))
        case.refine(3)
        averages = {}
        for iterations in (1, 6):
            with profile(activities=activities) as profiled:
                case.refine(iterations)
                if args.device != 'cpu':
                    torch.cuda.synchronize()
            averages[iterations] = profiled.key_averages()
        counts = {n: _counts(average) for n, average in averages.items()}
        operations, kernels, on_device = (
            (after - before) / 5 for before, after in zip(counts[1], counts[6], strict=True)
        )
        record.note(
            f'One iteration of {batch} frames: {operations:.0f} operations, {kernels:.0f} kernels, '
            f'{seconds(on_device / 1e6)} of the device.'
        )
        key = 'self_cpu_time_total' if args.device == 'cpu' else 'self_device_time_total'
        table = averages[6].table(sort_by=key, row_limit=60, max_name_column_width=70)
        (args.results / f'profile_{batch}.txt').write_text(table)
        del case


def _counts(averages: Any) -> tuple[int, int, float]:
    """Return the number of operations, of kernels, and the device's microseconds."""
    on_device = [event for event in averages if str(event.device_type).endswith('CUDA')]
    operations = sum(event.count for event in averages if event.key.startswith('aten::'))
    return (
        operations,
        sum(event.count for event in on_device),
        sum(event.self_device_time_total for event in on_device),
    )


class Repeated(Dataset[Any]):
    """Frames of a data set, repeated up to a number."""

    def __init__(self, dataset: Any, count: int) -> None:
        self.dataset, self.count = dataset, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Any:
        if number >= self.count:
            raise IndexError(number)
        return self.dataset[number % len(self.dataset)]


def _batches(args: argparse.Namespace, case: Case) -> Iterator[Any]:
    workers = max((os.cpu_count() or 1) - 1, 1) if args.device != 'cpu' else 0
    return iter(
        DataLoader(
            Repeated(case.dataset, args.frames),
            batch_size=args.many,
            num_workers=workers,
            collate_fn=pseudo_collate,
            pin_memory=args.device != 'cpu',  # in a thread, while the GPU computes
            timeout=60 if workers else 0,
        )
    )


def _loading(record: Record, args: argparse.Namespace) -> None:
    case = Case(args, 1, False, _data(args))
    start, count = time.perf_counter(), 0
    for batch in _batches(args, case):  # the first batches come late, and together
        count += len(batch['data_samples'])
        if _elapsed(args) > 60 * args.minutes or time.perf_counter() - start > 40:
            break
    taken = time.perf_counter() - start
    speed = count / taken
    record.content['timings']['loading'] = {'frames': count, 'seconds': taken}
    record.target(
        f'frames loaded a second, {os.cpu_count()} cores, start of the workers included',
        f'>= {H36M_FRAMES / H36M_MINUTES / 60:.0f}',
        f'{speed:.0f}',
        speed >= H36M_FRAMES / H36M_MINUTES / 60,
    )


def _refinement(record: Record, args: argparse.Namespace) -> None:
    """Refine many frames: load them in worker processes, refine, and copy the fits back."""
    case = Case(args, args.many, True, _data(args))
    case.refine(3)
    device, image_size = torch.device(args.device), case.refiner.renderer.image_size
    case.refiner.num_iters = 100 if args.device != 'cpu' else 5
    start, done = time.perf_counter(), 0
    first = waited = moved = 0.0
    batches = _batches(args, case)
    while True:
        began = time.perf_counter()
        batch = next(batches, None)
        waited += time.perf_counter() - began
        first = first or waited
        if batch is None or _elapsed(args) > 60 * args.minutes:
            break
        began = time.perf_counter()
        frames = RefinementFrames.of_batch(batch, image_size, device)
        moved += time.perf_counter() - began
        refined = case.refiner.refine(frames.init, frames.observed)
        {name: value.cpu() for name, value in refined.refined.items()}
        done += len(frames.samples)
    taken = time.perf_counter() - start
    if not done:
        raise TimeoutError('no batch was refined in time')
    minutes = (first + (taken - first) / done * H36M_FRAMES) / 60  # a run waits for it once
    record.content['timings']['refinement'] = {
        'frames': done, 'seconds': taken, 'waited for data': waited, 'unpacked': moved,
        'waited for the first batch': first,
    }  # fmt: skip
    record.target(
        f'minutes for all {H36M_FRAMES:,} training images of Human3.6M, from {done:,} refined in '
        f'batches of {args.many}, data loading included',
        f'<= {H36M_MINUTES}',
        f'{minutes:.1f}',
        minutes <= H36M_MINUTES,
    )
    record.note(
        f'Refinement of {done:,} frames with {case.refiner.num_iters} iterations: '
        f'{done / taken:.0f} frames a second; {waited / taken:.1%} of the time waits for data '
        f'({first / taken:.1%} for the first batch), {moved / taken:.1%} unpacks it.'
    )


def _evaluation(record: Record, args: argparse.Namespace) -> None:
    data = _data(args)
    annotation, fits = repeated_frames(data, args.out / 'evaluation', args.frames)
    regressors = three_regressors(data, args.seed)
    start = time.perf_counter()
    evaluate(annotation, fits, regressors)
    taken = time.perf_counter() - start
    record.content['timings']['evaluation'] = {'frames': args.frames, 'seconds': taken}
    record.note(
        f'Evaluation of {args.frames:,} frames under three regressors, on the CPU '
        f'({torch.get_num_threads()} threads): {args.frames / taken:.0f} frames a second.'
    )


SECTIONS: dict[str, Callable[[Record, argparse.Namespace], None]] = {
    'data': _make_data,
    'correctness': _correctness,
    'silhouette': _silhouette,
    'iteration': _iterations,
    'refinement': _refinement,
    'loading': _loading,
    'evaluation': _evaluation,
    'profile': _profile,
}


if __name__ == '__main__':
    main()
