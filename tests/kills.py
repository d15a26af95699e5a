"""Kills of resumable jobs at every write and at random, each followed by a resumed run.

    python tests/kills.py                                # each write, and 100 cases at random
    python tests/kills.py --random 20 --seed 7 --job masks
    python tests/kills.py --job calibration --writes 30  # drawn among its writes
    python tests/kills.py --job refinement --case 30 31  # these again; files of failed ones stay

Each job (refinement, refinement that begins with fits to joints and a calibration, person masks,
inference, the generator of the synthetic set, the converter of Human3.6M's release) runs once
undisturbed; its calls of ``os.fsync``, ``os.replace`` and ``os.unlink`` are counted. Then it runs
again, and is killed (SIGKILL) just before or just after one of these calls, or one to three times
at random moments. Each time, the same command resumes it. A case passes if the results are those of
the undisturbed run to the byte, and no temporary file and no unfinished shard is left.

``JOB.json`` in the output folder counts the cases; ``result_pages.py collect`` takes it into
docs/results.

Runs are forks of this process, which has imported what they need; patches of ``os`` exist only in
them.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mmengine.config.config
import torch
from small_jobs import (
    calibration_config,
    inference_files,
    masks_config,
    pictures,
    refinement_config,
    several_views,
    synthetic_set,
)
from small_release import pack, write_release
from tool_modules import load_tool

from mmjrr.cli import infer, masks, train
from mmjrr.cli.options import parse
from mmjrr.datasets.converters.h36m_release.release_conversion import ReleaseConversion
from mmjrr.datasets.synthetic import Settings, generate
from mmjrr.io import versions

ROOT = Path(__file__).resolve().parents[1]
#: Calls that change which files there are or what they hold after a loss of power.
CALLS = ('fsync', 'replace', 'unlink')
#: Seconds by the clock after which a run counts as hanging.
LIMIT = 600.0
JOBS = ('refinement', 'calibration', 'masks', 'inference', 'synthetic_set', 'converter')


@dataclass(frozen=True)
class ResumableJob:
    """A command that is given again to resume it.

    Attributes:
        run: runs the command in a work directory, in this process.
        results: the names of the files in the work directory that it makes, or patterns of them.
        folders: folders of shards; they must be in the end as they are without kills.
    """

    run: Callable[[Path], None]
    results: tuple[str, ...]
    folders: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """Where a job is killed: at a call, or at moments in seconds after each start."""

    call: int | None = None
    after: bool = False
    moments: tuple[float, ...] = ()

    def __str__(self) -> str:
        if self.call is None:
            return 'at ' + ', '.join(f'{moment:.2f} s' for moment in self.moments)
        return f'{"after" if self.after else "before"} call {self.call}'


@dataclass(frozen=True)
class Outcome:
    """Result of a case.

    Attributes:
        kills: how many runs were killed while they ran.
        problem: what differs from the undisturbed run; empty if nothing does.
    """

    kills: int
    problem: str = ''


def make_jobs(folder: Path) -> dict[str, ResumableJob]:
    """Write the inputs of the jobs to a folder, and return the jobs by name."""
    folders = {name: folder / name for name in JOBS}
    for path in folders.values():
        path.mkdir(parents=True)
    refined = refinement_config(
        synthetic_set(folders['refinement'] / 'data'), folders['refinement']
    )
    calibrated = calibration_config(
        several_views(folders['calibration'] / 'data'), folders['calibration']
    )
    segmented = masks_config(pictures(folders['masks'] / 'data', 8), folders['masks'])
    sys.path.insert(0, str(folders['inference']))
    inferred = inference_files(folders['inference'])
    release = write_release(folders['converter'] / 'release', subjects=('S1',))
    archives = pack(release, folders['converter'] / 'archives', subjects=('S1',))

    def refine(work_dir: Path, config: Path = refined) -> None:
        command = [str(config), '--work-dir', str(work_dir), '--resume']
        train.run(parse(train.add_arguments, None, command))

    def segment(work_dir: Path) -> None:
        command = [str(segmented), '--batch-size', '2', '--out', str(work_dir / 'masks.json')]
        masks.run(parse(masks.add_arguments, None, [*command, '--work-dir', str(work_dir)]))

    def estimate(work_dir: Path) -> None:
        command = [str(inferred), str(inferred.with_suffix('.pth')), '--batch-size', '2']
        command += ['--out', str(work_dir / 'fits.npz'), '--work-dir', str(work_dir)]
        infer.run(parse(infer.add_arguments, None, command))

    def make_set(work_dir: Path) -> None:
        settings = Settings(seed=3, subjects=('S1', 'S9'), frames_per_subject=1)
        generate(work_dir, settings, workers=1, progress=False)

    def convert(work_dir: Path) -> None:
        ReleaseConversion(
            archives, work_dir, archives / 'metadata.xml', subjects=('S1',), workers=1
        ).run()

    regressors = [f'{name}.{kind}' for name in ('J_spin', 'J_opt') for kind in ('npy', 'json')]
    refined_files = (*regressors, 'pseudo_gt.npz', 'refinement.json')
    return {
        'refinement': ResumableJob(refine, refined_files, ('pseudo_gt',)),
        'calibration': ResumableJob(
            partial(refine, config=calibrated),
            (*refined_files, 'initial_fits.npz', 'label_offsets.npz'),
            ('initial_fits', 'calibration', 'pseudo_gt'),
        ),
        'masks': ResumableJob(segment, ('masks.json',), ('masks',)),
        'inference': ResumableJob(estimate, ('fits.npz',), ('inference',)),
        'synthetic_set': ResumableJob(
            make_set,
            (
                'annotation_body3d/**/*',
                'fits/*',
                'images/**/*.jpg',
                'masks/*',
                'regressors/*',
                'truth/*',
                'synthetic.json',
            ),
            ('parts',),
        ),
        'converter': ResumableJob(
            convert, ('annotation_body3d/**/*', 'images/**/*.jpg'), ('.h36m_release',)
        ),
    }


# -- one run ---------------------------------------------------------------------------------------


def fork(job: ResumableJob, work_dir: Path, watch: Callable[[], Any] = lambda: None) -> int:
    """Start a job in a fork of this process, and return its process id.

    Args:
        job: the job.
        work_dir: its work directory. What it prints is added to ``work_dir.log``.
        watch: called in the fork, before the job.
    """
    child = os.fork()
    if child:
        return child
    code = 1
    log = os.open(f'{work_dir}.log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        torch.set_num_threads(1)
        watch()
        # Formatting the config for the log takes longer than the rest of a run.
        mmengine.config.config.FormatCode = lambda text, **_: (text, True)
        job.run(work_dir)
        Path(f'{work_dir}.modules').write_text('\n'.join(sys.modules))
        code = 0
    except BaseException:
        os.write(log, traceback.format_exc().encode())
    finally:
        logging.shutdown()
        os._exit(code)


def end_of(child: int) -> int:
    """Wait for a forked process, and return its exit code; negative if a signal ended it."""
    deadline = time.monotonic() + LIMIT
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)


def on_calls(work_dir: Path, act: Callable[[int, str, bool], None]) -> None:
    """Call ``act(number, name, after)`` before and after :data:`CALLS` on a work directory's files.

    The calls of this process are numbered from 0.
    """
    count = 0

    def wrap(name: str) -> None:
        original = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            if not _is_inside(work_dir, args[-1]):
                return original(*args, **kwargs)
            number, count = count, count + 1
            act(number, name, False)
            try:
                return original(*args, **kwargs)
            finally:
                act(number, name, True)

        setattr(os, name, call)

    for name in CALLS:
        wrap(name)


def _is_inside(folder: Path, file: Any) -> bool:
    """Tell whether a file, named or open, is in a folder; a relative name counts as inside."""
    path = os.readlink(f'/proc/self/fd/{file}') if isinstance(file, int) else os.fspath(file)
    return not os.path.isabs(path) or Path(path).is_relative_to(folder)


def record_calls(work_dir: Path, folder: Path) -> None:
    """Write the name of each call of this process to a file, a line each."""
    file = os.open(folder / 'calls.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def act(number: int, name: str, after: bool) -> None:
        if not after:
            os.write(file, f'{name}\n'.encode())

    on_calls(work_dir, act)


def die_at(work_dir: Path, call: int, after: bool) -> None:
    """Kill this process at one of its calls."""

    def act(number: int, name: str, is_after: bool) -> None:
        if (number, is_after) == (call, after):
            os.kill(os.getpid(), signal.SIGKILL)

    on_calls(work_dir, act)


# -- cases -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """An undisturbed run of a job.

    Attributes:
        work_dir: its work directory.
        calls: the names of its calls.
        seconds: how long a second one took.
    """

    work_dir: Path
    calls: tuple[str, ...]
    seconds: float


def undisturbed(job: ResumableJob, folder: Path) -> Reference:
    """Run a job once, in a fork, whose calls are recorded; import here what it imported.

    Raises:
        RuntimeError: the run fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    work_dir = folder / 'undisturbed'
    if end_of(fork(job, work_dir, lambda: record_calls(work_dir, folder))):
        raise RuntimeError(f'{work_dir}.log: the undisturbed run failed')
    for name in Path(f'{work_dir}.modules').read_text().split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # MMEngine's data sets collect garbage, which would visit all imported modules
    start = time.monotonic()
    again = folder / 'undisturbed_again'
    if end_of(fork(job, again)) or difference(job, again, work_dir):
        raise RuntimeError(f'{again}: differs from {work_dir} without a kill')
    seconds = time.monotonic() - start
    return Reference(work_dir, tuple((folder / 'calls.txt').read_text().split()), seconds)


def cases_of(reference: Reference, at_random: int, seed: int) -> list[Case]:
    """Return a case for each side of each call, and cases of kills at random moments."""
    cases = [Case(call, after) for call in range(len(reference.calls)) for after in (False, True)]
    for number in range(at_random):
        rng = random.Random(f'{seed} {number}')
        kills = rng.choice((1, 1, 2, 3))
        cases.append(Case(moments=tuple(rng.uniform(0, reference.seconds) for _ in range(kills))))
    return cases


def run_case(job: ResumableJob, case: Case, reference: Reference, work_dir: Path) -> Outcome:
    """Run a job with the kills of a case, resume it to its end, and compare."""
    kills = 0
    if case.call is not None:
        call, after = case.call, case.after
        code = end_of(fork(job, work_dir, lambda: die_at(work_dir, call, after)))
        kills += code == -signal.SIGKILL
        if code not in (0, -signal.SIGKILL):
            return Outcome(kills, f'the first run ended with {code}')
    for moment in case.moments:
        child = fork(job, work_dir)
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
        code = end_of(child)
        kills += code == -signal.SIGKILL
        if code not in (0, -signal.SIGKILL):
            return Outcome(kills, f'a run ended with {code} before it was killed')
    code = end_of(fork(job, work_dir))
    if code:
        return Outcome(kills, f'the resumed run ended with {code}')
    return Outcome(kills, difference(job, work_dir, reference.work_dir))


def difference(job: ResumableJob, outcome: Path, expected: Path) -> str:
    """Describe how the files of a run differ from those of another; empty if they do not."""
    for pattern in job.results:
        made = {path.relative_to(expected) for path in expected.glob(pattern) if path.is_file()}
        others = {
            path.relative_to(outcome) for path in outcome.glob(pattern) if path.is_file()
        } - made
        if others or not made:
            return f'{pattern}: {sorted(map(str, others)) or "no file"} is made'
        for name in sorted(made):
            if not (outcome / name).is_file():
                return f'{name} is missing'
            if (outcome / name).read_bytes() != (expected / name).read_bytes():
                return f'{name} differs'
    hidden = [path.name for path in outcome.rglob('.*') if path.is_file()]
    if hidden:
        return f'temporary files are left: {hidden}'
    for folder in job.folders:
        names = [
            sorted(path.name for path in (run / folder).rglob('*')) for run in (outcome, expected)
        ]
        if names[0] != names[1]:
            return f'{folder} holds {names[0]}, expected {names[1]}'
    return ''


def run_cases(
    job: ResumableJob, cases: Sequence[tuple[int, Case]], reference: Reference, folder: Path
) -> Iterator[tuple[int, Case, Outcome]]:
    """Run cases one after another; the files of those that fail are kept in the folder."""
    for number, case in cases:
        work_dir = folder / f'case_{number}'
        outcome = run_case(job, case, reference, work_dir)
        yield number, case, outcome
        if not outcome.problem:
            shutil.rmtree(work_dir, ignore_errors=True)
            for suffix in ('log', 'modules'):
                Path(f'{work_dir}.{suffix}').unlink(missing_ok=True)


# -- counts ----------------------------------------------------------------------------------------


@dataclass
class Count:
    """Numbers of cases of a kind that there are and that ran, of kills, and of equal results."""

    cases: int = 0
    run: int = 0
    kills: int = 0
    identical: int = 0


def counts_of(
    reference: Reference, cases: Sequence[Case], results: Sequence[tuple[Case, Outcome]]
) -> dict[str, Count]:
    """Count cases and their outcomes by the call at which the job is killed, or ``'random'``.

    Args:
        reference: the undisturbed run.
        cases: all cases of the job.
        results: the cases that ran.
    """
    counts = {kind: Count() for kind in (*CALLS, 'random')}

    def count_of(case: Case) -> Count:
        return counts['random' if case.call is None else reference.calls[case.call]]

    for case in cases:
        count_of(case).cases += 1
    for case, outcome in results:
        count = count_of(case)
        count.run += 1
        count.kills += outcome.kills
        count.identical += not outcome.problem
    return counts


def drawn(cases: Sequence[tuple[int, Case]], number: int, seed: int) -> list[tuple[int, Case]]:
    """Draw a number of cases of kills at calls, and keep all others."""
    at_calls = [entry for entry in cases if entry[1].call is not None]
    others = [entry for entry in cases if entry[1].call is None]
    chosen = random.Random(seed).sample(range(len(at_calls)), min(number, len(at_calls)))
    return [*(at_calls[place] for place in sorted(chosen)), *others]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--job', choices=JOBS, nargs='+', default=list(JOBS), help='default: all')
    parser.add_argument('--random', type=int, default=100, help='cases at random, over all jobs')
    parser.add_argument('--writes', type=int, help='cases at writes of each job (default: all)')
    parser.add_argument(
        '--seed', type=int, default=0, help='of the random moments, and of the drawn writes'
    )
    parser.add_argument('--case', type=int, nargs='+', help='run these cases of --job alone')
    parser.add_argument('--out', type=Path, default=ROOT / 'work_dirs' / 'kills',
                        help='folder for counts and for the files of failed cases')  # fmt: skip
    args = parser.parse_args()
    for name, least in (('random', 0), ('writes', 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f'--{name} {value}: expected at least {least}')
    if args.case is not None and len(args.job) != 1:
        parser.error('--case: needs one --job')
    args.out.mkdir(parents=True, exist_ok=True)
    result_pages = load_tool('analysis_tools/result_pages.py')
    provenance = result_pages.provenance(result_pages.present_commit())
    provenance['versions'] = versions()
    failed = 0
    with contextlib.ExitStack() as stack:
        inputs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='mmjrr_kills_')))
        jobs = make_jobs(inputs)
        for index, name in enumerate(args.job):
            folder = Path(tempfile.mkdtemp(prefix=f'{name}_', dir=args.out))
            reference = undisturbed(jobs[name], folder)
            share = len(range(index, args.random, len(args.job)))
            cases = cases_of(reference, share, args.seed)
            numbered = list(enumerate(cases))
            if args.case is not None:
                numbered = [numbered[case] for case in args.case]
            elif args.writes is not None:
                numbered = drawn(numbered, args.writes, args.seed)
            calls = {call: reference.calls.count(call) for call in CALLS}
            print(f'{name}: {calls}, {reference.seconds:.1f} s undisturbed', flush=True)
            results: list[tuple[Case, Outcome]] = []
            for number, case, outcome in run_cases(jobs[name], numbered, reference, folder):
                results.append((case, outcome))
                if outcome.problem or args.case is not None:
                    print(f'{name}: case {number}, killed {case}: '
                          f'{outcome.problem or "identical"}', flush=True)  # fmt: skip
                if args.case is None:
                    counts = counts_of(reference, cases, results)
                    record = {kind: vars(count) for kind, count in counts.items()}
                    record |= {**provenance, 'seed': args.seed}
                    (args.out / f'{name}.json').write_text(json.dumps(record, indent=1) + '\n')
            for kind, count in counts_of(reference, cases, results).items():
                print(f'{name}, {kind}: {count.run} of {count.cases} cases, {count.kills} kills, '
                      f'{count.identical} with identical results', flush=True)  # fmt: skip
            problems = sum(bool(outcome.problem) for _, outcome in results)
            if not problems:
                shutil.rmtree(folder)
            failed += problems
    if failed:
        print(f'{failed} cases failed; their files are in {args.out}')
        sys.exit(1)


if __name__ == '__main__':
    main()
