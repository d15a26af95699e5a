"""Measure whole runs of refinement, beside an earlier version and a plain loop; extrapolate them.

    python tools/benchmarks/large_runs.py [--before CHECKOUT] [--plain SCRIPT --plain-checkout DIR]
    python tools/benchmarks/large_runs.py --parts large_runs --moments 250  # 5,000 frames
    python tools/benchmarks/large_runs.py --parts h36m_options --moments 4  # cells, gate, priors
    python tools/benchmarks/large_runs.py --parts h36m_calibration  # on an idle machine

Times are processor times of one thread, which other work on the machine affects little. Costs of a
command's start are left out by the difference of two runs that differ in iterations or frames only.
``--before`` is a checkout of an earlier version, whose refiner takes turns with this one's on
the same frames. ``--plain`` is a script that refines four views in a plain loop; it is run in the
synchronous synthetic set with ``--iters`` and ``--rounds``, and takes turns with
``contour-4view_5x80it_synthetic.py``, which compares pixels. The parts ``h36m_options`` and
``h36m_large_runs`` have the energy and the offsets of ``contour-4view_5x80it_h36m.py`` beside
pixels. ``h36m_calibration`` runs that config's calibration once, at its full size and on all cores;
its time is the clock's. About half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from common import ROOT, Record, arguments, parse, positive
from mmengine.config import Config
from refinement import H36M_FRAMES

from mmjrr.body_models import free_body
from mmjrr.cli import train
from mmjrr.datasets.synthetic import Settings, generate
from mmjrr.datasets.synthetic.truth import SyntheticTruth
from mmjrr.io import read_npz
from mmjrr.refinement import FitRefiner
from mmjrr.regressors import JointRegressor

#: Targets: hours of two cores for all of Human3.6M, minutes of two cores for a calibration, images
#: a second relative to an earlier version and to the plain loop.
HOURS, MINUTES, TIMES_BEFORE, TIMES_PLAIN = 5.0, 15.0, 2.0, 3.0
CORES = 2
ONE_VIEW = 'configs/refinement/contour_100it_synthetic.py'
FOUR_VIEWS = 'configs/refinement/contour-4view_5x80it_synthetic.py'
FOUR_VIEWS_H36M = 'configs/refinement/contour-4view_5x80it_h36m.py'
#: Of ``contour-4view_5x80it_h36m.py``: moments of the calibration, their views, rounds, iterations.
CALIBRATION = dict(moments=400, views=4, rounds=5, iterations=80)
HOOK = 'custom_hooks.0'
#: Options of a run whose calibration is short, so that it takes most of its time for all frames.
ONE_SHORT_ROUND = [
    f'{HOOK}.calibration.rounds=1',
    f'{HOOK}.calibration.moments=5',
    f'{HOOK}.calibration.refiner.num_iters=1',
]
PARTS = [
    'one_view',
    'four_views',
    'large_runs',
    'h36m_options',
    'h36m_large_runs',
    'h36m_calibration',
]


def main() -> None:
    """Run the benchmark and write its record."""
    parser = arguments(__doc__)
    parser.add_argument('--before', type=Path, help='checkout of an earlier version')
    parser.add_argument('--plain', type=Path, help='script that refines four views in a plain loop')
    parser.add_argument('--plain-checkout', type=Path, help='checkout that the script needs')
    parser.add_argument('--moments', type=positive, default=16, help='of a subject; 4 cameras each')
    parser.add_argument('--iterations', type=positive, default=60, help='of the plain loop')
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS, help='what to measure')
    parser.set_defaults(rounds=3, threads=1)
    args = parse(parser)
    for path in (args.before, args.plain, args.plain_checkout):
        if path is not None and not path.exists():
            parser.error(f'{path}: no such file or folder')
    if (args.plain is None) != (args.plain_checkout is None):
        parser.error('--plain and --plain-checkout: expected both or neither')
    settings = {
        'moments': args.moments, 'iterations': args.iterations, 'rounds': args.rounds
    }  # fmt: skip
    data = _data(args, args.moments)
    parts = {
        'one_view': ('One view beside an earlier version', _against_earlier),
        'four_views': ('Four views beside a plain loop', _four_views),
        'large_runs': ('From files to files', _from_files),
        'h36m_options': ('Four views with the options for Human3.6M', _with_h36m_options),
        'h36m_large_runs': ('The same from files to files', _h36m_from_files),
        'h36m_calibration': ('The calibration of the Human3.6M config', _h36m_calibration),
    }
    for name, (title, measure) in parts.items():
        if name not in args.parts or (name == 'one_view' and not args.before):
            continue
        record = Record(name, title, settings)
        measure(record, args, data)
        record.write(args.out)


def _data(args: argparse.Namespace, moments: int) -> Path:
    folder: Path = args.out / f'synchronous_{moments}'
    settings = Settings(seed=args.seed, frames_per_subject=moments, synchronous=True, images=False)
    generate(folder, settings, 1, progress=False)
    return folder


# -- one view, beside an earlier version -----------------------------------------------------


def _against_earlier(record: Record, args: argparse.Namespace, data: Path) -> None:
    checkouts = {'this version': ROOT, 'before': args.before.resolve()}
    rows = []
    for batch in (16, 64):
        workers = {name: _worker(path, args, data, batch) for name, path in checkouts.items()}
        answers: dict[str, list[dict[str, Any]]] = {name: [] for name in checkouts}
        for _ in range(args.rounds):
            for name, worker in workers.items():
                answers[name].append(_answer(worker))
        for worker in workers.values():
            worker.kill()
            worker.wait()
        record.content['timings'][f'{batch} at once'] = answers
        taken = {
            name: statistics.median(answer['processor'] for answer in each)
            for name, each in answers.items()
        }
        weights = answers['this version'][0]['weights']
        for name, each in answers.items():
            terms = each[-1]['terms']
            energy = sum(weights[term] * terms[term] for term in weights)
            rows.append([
                f'{batch}', name, f'{1000 * taken[name] / batch:.0f} ms',
                f'{batch / taken[name]:.2f}', f'{taken["before"] / taken[name]:.2f}',
                f'{energy:.4f}', f'{each[-1]["iou"]:.4f}',
            ])  # fmt: skip
        if batch == 64:
            ratio = taken['before'] / taken['this version']
            record.target(
                'one view, 64 at once: frames a second / those of the earlier version',
                f'>= {TIMES_BEFORE:g}', f'{ratio:.2f}', ratio >= TIMES_BEFORE,
            )  # fmt: skip
    commit = subprocess.run(
        ['git', 'rev-parse', '--short', 'HEAD'],
        cwd=args.before, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    record.table(
        ['frames at once', 'version', 'a frame', 'frames/s', 'times faster', 'energy', 'IoU'],
        rows,
        f'One view, 100 iterations, all terms, free body; "before" is commit {commit}. Processor '
        'time of one thread. The energy is weighted as in this version.',
    )


def _worker(
    checkout: Path, args: argparse.Namespace, data: Path, batch: int
) -> subprocess.Popen[str]:
    """Start a process that imports the package and the benchmark of a checkout."""
    environment = {**os.environ, 'PYTHONPATH': str(checkout)}
    script = Path(__file__).with_name('serve_refinement.py').resolve()
    out = args.out.resolve() / 'large_runs'
    command = [
        sys.executable,
        str(script),
        str(checkout),
        str(data.resolve()),
        str(batch),
        str(out),
    ]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _answer(worker: subprocess.Popen[str]) -> Any:
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write('\n')
    worker.stdin.flush()
    for line in worker.stdout:
        if line.startswith('answer '):
            return json.loads(line.removeprefix('answer '))
    raise RuntimeError('the process that refines ended')


# -- four views ------------------------------------------------------------------------------


def _four_views(record: Record, args: argparse.Namespace, data: Path) -> None:
    images = 5 * 4 * args.moments
    few, many = args.iterations // 4, args.iterations
    sides: dict[str, Any] = {'this version': lambda n: _calibrate(args, data, n)}
    if args.plain:
        sides['plain loop'] = lambda n: _plain(args, data, n)
    taken: dict[str, list[float]] = {name: [] for name in sides}
    shown: dict[str, dict[str, float]] = {}
    for run in sides.values():
        run(few)  # compiles
    for _ in range(args.rounds):
        for name, run in sides.items():
            short, _ = run(few)
            long, shown[name] = run(many)
            taken[name].append(_positive(long - short) / (many - few) / images)
    record.content['timings']['four views, processor seconds of an image and iteration'] = taken
    rate = {name: 1 / statistics.median(values) for name, values in taken.items()}
    record.table(
        ['', 'images x iterations a second', 'times faster', 'PVE, mm', 'IoU'],
        [
            [
                name, f'{rate[name]:.0f}', f'{rate[name] / rate[list(rate)[-1]]:.2f}',
                f'{shown[name]["pve"]:.1f}', f'{shown[name]["iou"]:.4f}',
            ]
            for name in sides
        ],
        f'Four views of {5 * args.moments} moments, pose and place shared by the views, shape by '
        f'a subject: one round of {many} iterations. Processor time of one thread.',
    )  # fmt: skip
    if args.plain:
        ratio = rate['this version'] / rate['plain loop']
        record.target(
            'four views: images a second / those of a plain loop',
            f'>= {TIMES_PLAIN:g}', f'{ratio:.2f}', ratio >= TIMES_PLAIN,
        )  # fmt: skip
    minutes = _calibration_steps() / rate['this version'] / CORES / 60
    _note_calibration(record)
    record.note("Silhouettes are compared in pixels, not in a mask head's cells.")
    record.target(
        f'minutes for the calibration of Human3.6M on {CORES} cores, from {images} images: pixels',
        f'<= {MINUTES:g}', f'{minutes:.1f}', minutes <= MINUTES,
    )  # fmt: skip


def _calibration_steps() -> int:
    size = CALIBRATION
    return size['moments'] * size['views'] * size['rounds'] * size['iterations']


def _note_calibration(record: Record) -> None:
    record.note(
        f"The calibration of Human3.6M's four views has {CALIBRATION['moments']} moments, "
        f'{CALIBRATION["rounds"]} rounds and {CALIBRATION["iterations"]} iterations: '
        f'{_calibration_steps():,} images x iterations. Its regressor fits, some seconds each, are '
        'not included.'
    )


def _calibrate(args: argparse.Namespace, data: Path, iterations: int) -> Any:
    work_dir = args.out / 'large_runs/calibration'
    seconds = _train(work_dir, FOUR_VIEWS, data, [
        f'{HOOK}.calibration.rounds=1', f'{HOOK}.refiner.num_iters={iterations}',
    ])  # fmt: skip
    fits = read_npz(work_dir / 'pseudo_gt.npz')
    summary = json.loads((work_dir / 'refinement.json').read_text())
    pve = SyntheticTruth(data, free_body()).vertex_error_mm(fits)
    return seconds, {'pve': pve, 'iou': summary['iou']}


def _plain(args: argparse.Namespace, data: Path, iterations: int) -> Any:
    environment = {**os.environ, 'PYTHONPATH': str(args.plain_checkout.resolve())}
    before = _processor_seconds()
    done = subprocess.run(
        [sys.executable, str(args.plain.resolve()), '--data', data.name, '--iters',
         str(iterations), '--rounds', '1'],
        cwd=data.resolve().parent, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    taken = _processor_seconds() - before
    pve = re.findall(r'round 0: PVE ([\d.]+)', done.stdout)[-1]
    iou = re.findall(r'iou ([\d.]+)', done.stdout)[-1]
    return taken, {'pve': float(pve), 'iou': float(iou)}


# -- all frames from files -------------------------------------------------------------------


def _from_files(record: Record, args: argparse.Namespace, data: Path) -> None:
    """Refine all frames of the set from files, once in few and once in many batches."""
    batch = 64
    cases = {
        'one view, 100 iterations': (ONE_VIEW, []),
        'four views, shapes of the calibration, 80 iterations': (FOUR_VIEWS, ONE_SHORT_ROUND),
    }
    _time_frames(record, args, data, cases, batch)


def _time_frames(
    record: Record,
    args: argparse.Namespace,
    data: Path,
    cases: dict[str, tuple[str, list[str]]],
    batch: int,
) -> None:
    """Time the frames after the first batch of each case, a config and its options, in turn."""
    frames = 5 * 4 * args.moments
    seconds_of = {
        name: partial(_frames_seconds, args, config, data, options, batch)
        for name, (config, options) in cases.items()
    }
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for run in seconds_of.values():
        run(1)  # compiles
    for _ in range(min(args.rounds, 2)):
        for name, run in seconds_of.items():
            few, many = run(1), run(frames // batch)
            taken[name].append(_positive(many - few) / (frames - batch))
    rows = []
    for name, values in taken.items():
        record.content['timings'][f'from files: {name}'] = values
        a_frame = statistics.median(values)
        hours = a_frame * H36M_FRAMES / CORES / 3600
        rows.append([name, f'{1000 * a_frame:.0f} ms', f'{hours:.1f}'])
        record.target(
            f'hours for all {H36M_FRAMES:,} training images of Human3.6M on {CORES} cores, half of '
            f'the processor time, from {frames} images: {name}',
            f'<= {HOURS:g}', f'{hours:.1f}', hours <= HOURS,
        )  # fmt: skip
    record.table(
        ['', 'processor time of an image', f'hours on {CORES} cores'],
        rows,
        f'From files to files, {batch} images at once: data loading, refinement and shards. '
        'Processor time of one thread, and half of it.',
    )


def _frames_seconds(
    args: argparse.Namespace,
    config: str,
    data: Path,
    options: list[str],
    batch_size: int,
    batches: int,
) -> float:
    """Refine the first batches from files, and return the processor seconds."""
    sizes = [f'train_dataloader.batch_size={batch_size}', f'train_cfg.max_batches={batches}']
    return _train(args.out / 'large_runs/frames', config, data, [*options, *sizes])


# -- four views with the options for Human3.6M -----------------------------------------------


def h36m_options(out: Path) -> str:
    """Write the four views of the synthetic set with the energy and offsets for Human3.6M."""
    config = Config.fromfile(str(ROOT / FOUR_VIEWS))
    hook = config.custom_hooks[0]
    of_h36m = Config.fromfile(str(ROOT / FOUR_VIEWS_H36M)).custom_hooks[0]
    hook.energy, hook.refiner.share = of_h36m.energy, of_h36m.refiner.share
    hook.calibration.max_ratios = of_h36m.calibration.max_ratios
    path = out.resolve() / 'contour-4view_h36m_options.py'
    path.parent.mkdir(parents=True, exist_ok=True)
    config.dump(str(path))
    return str(path)


class FourViews:
    """The first problem of a calibration, which :meth:`refine` solves as often as needed.

    Args:
        config: Config of four views, or its path in the repository.
        data: The synchronous synthetic set.
        work_dir: Folder of the run that prepares the problem. Its name is used once in a process.
        options: Further options of the config.
    """

    def __init__(
        self, config: str, data: Path, work_dir: Path, options: Sequence[str] = ()
    ) -> None:
        shutil.rmtree(work_dir, ignore_errors=True)
        kept: list[Any] = []

        def keep(*arguments: Any) -> None:
            kept.extend(arguments)
            raise _PreparedError

        with mock.patch.object(FitRefiner, 'refine_jointly', keep), suppress(_PreparedError):
            train.main([
                str(ROOT / config), '--work-dir', str(work_dir), '--cfg-options',
                f'train_dataloader.dataset.data_root={data}/',
                f'{HOOK}.regressor={data}/regressors/J_std.npy',  # which needs no fit
                f'experiment_name={work_dir.name}', f'visualizer.name={work_dir.name}', *options,
            ])  # fmt: skip
        self._refiner, *self._problem, _, _ = kept  # without a start and a report of progress
        self.images = len(self._problem[0]['betas'])

    def refine(self, iterations: int) -> None:
        """Refine from the start, in this thread."""
        self._refiner.num_iters = iterations
        # A profiler sees no other thread.
        with mock.patch.object(FitRefiner, '_pool', return_value=nullcontext(_InThisThread())):
            self._refiner.refine_jointly(*self._problem)


class _PreparedError(Exception):
    """The problem is prepared: the run that prepares it ends."""


class _InThisThread(Executor):
    """An executor that calls functions when they are submitted."""

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*arguments, **options))
        return future


def _with_h36m_options(record: Record, args: argparse.Namespace, data: Path) -> None:
    """Time iterations in pixels and with the options in turn."""
    config = h36m_options(args.out)
    silhouette, share = f'{HOOK}.energy.terms.silhouette', f'{HOOK}.refiner.share'
    cases = {
        'pixels': (FOUR_VIEWS, []),
        'cells and gate': (FOUR_VIEWS, [f'{silhouette}.mask_cells=28', f'{silhouette}.gate=True']),
        'pixels and outline offsets': (FOUR_VIEWS, [f'{share}.part_outline_offset=subject']),
        'all options for Human3.6M': (config, []),
    }
    problems = {
        name: FourViews(config, data, args.out / f'large_runs/problem_{number}', options)
        for number, (name, (config, options)) in enumerate(cases.items())
    }
    few, many = max(args.iterations // 12, 1), max(args.iterations // 3, 2)
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for problem in problems.values():
        problem.refine(1)  # compiles
    for _ in range(args.rounds):
        for name, problem in problems.items():
            seconds = []
            for iterations in (few, many):
                start = time.process_time()
                problem.refine(iterations)
                seconds.append(time.process_time() - start)
            taken[name].append(_positive(seconds[1] - seconds[0]) / (many - few) / problem.images)
    record.content['timings']['processor seconds of an image and iteration'] = taken
    medians = {name: statistics.median(values) for name, values in taken.items()}
    images = problems['pixels'].images
    record.table(
        ['silhouettes, and other options', 'an image and iteration', 'relative to pixels'],
        [
            [name, f'{1000 * value:.2f} ms', f'{value / medians["pixels"]:.2f}']
            for name, value in medians.items()
        ],
        f'Four views of {images // 4} moments as one problem. Processor time of one thread, '
        f'medians of {args.rounds} rounds in turn.',
    )
    _note_calibration(record)
    minutes = _calibration_steps() * medians['all options for Human3.6M'] / CORES / 60
    record.target(
        f'minutes for the calibration of Human3.6M on {CORES} cores, half of the processor time, '
        f'from {images} images: all options for Human3.6M',
        f'<= {MINUTES:g}', f'{minutes:.1f}', minutes <= MINUTES,
    )  # fmt: skip


def _h36m_from_files(record: Record, args: argparse.Namespace, data: Path) -> None:
    """Refine all frames of the set from files, in pixels and with the options in turn."""
    cases = {
        'four views, pixels': (FOUR_VIEWS, ONE_SHORT_ROUND),
        'four views, all options for Human3.6M': (h36m_options(args.out), ONE_SHORT_ROUND),
    }
    _time_frames(record, args, data, cases, batch=64)


def _h36m_calibration(record: Record, args: argparse.Namespace, _: Path) -> None:
    """Run a calibration of the full size on all cores, from the command's start to its end."""
    data = _data(args, CALIBRATION['moments'] // 5)
    work_dir = args.out / 'large_runs/full_calibration'
    start = time.perf_counter()
    processor_seconds = _train(work_dir, h36m_options(args.out), data, [])
    wall_seconds = time.perf_counter() - start
    record.content['timings']['full calibration'] = {
        'seconds': wall_seconds, 'processor seconds': processor_seconds,
    }  # fmt: skip
    truth = SyntheticTruth(data, free_body())
    errors = [
        truth.vertex_error_mm(read_npz(work_dir / 'pseudo_gt.npz')),
        truth.regressor_error_mm(JointRegressor.load(work_dir / 'J_opt.npy')),
        truth.floor_mm(),
    ]
    moments, minutes = CALIBRATION['moments'], wall_seconds / 60
    record.table(
        ['moments', 'images', 'minutes', 'processor minutes', 'PVE, mm', 'J_opt, mm', 'floor, mm'],
        [[
            f'{moments}', f'{moments * CALIBRATION["views"]:,}', f'{minutes:.1f}',
            f'{processor_seconds / 60:.1f}', *(f'{error:.1f}' for error in errors),
        ]],
        f'All options for Human3.6M on the synthetic set, whose masks are exact, on '
        f'{os.cpu_count()} cores: from the start of the command to its end, with the fits of the '
        'regressors. The calibration has all moments, so no frames are refined after it.',
    )  # fmt: skip
    record.target(
        f'minutes from the start to a regressor on {os.cpu_count()} cores, {moments} moments: all '
        'options for Human3.6M',
        f'<= {MINUTES:g}', f'{minutes:.1f}', minutes <= MINUTES,
    )  # fmt: skip


def _positive(seconds: float) -> float:
    """Return the time that a longer run takes more than a shorter one.

    Raises:
        SystemExit: It is not positive, so that the runs' own differences are larger.
    """
    if seconds <= 0:
        sys.exit(
            f'error: a longer run took {-seconds:.1f} s less than a shorter one; measure with more '
            '--moments or --iterations, or on a quieter machine'
        )
    return seconds


def _train(work_dir: Path, config: str, data: Path, options: list[str]) -> float:
    """Run a refinement and return its processor seconds."""
    shutil.rmtree(work_dir, ignore_errors=True)
    before = _processor_seconds()
    subprocess.run(
        [sys.executable, str(ROOT / 'tools/train.py'), str(ROOT / config), '--work-dir',
         str(work_dir), '--cfg-options', f'train_dataloader.dataset.data_root={data}/', *options],
        capture_output=True, check=True,
    )  # fmt: skip
    return _processor_seconds() - before


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == '__main__':
    main()
