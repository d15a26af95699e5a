"""Kills of resumable jobs, and the harness that makes them."""

from __future__ import annotations

import os
from pathlib import Path

import kills
import pytest

from mmjrr.segmentation.mmcv_ops import INSTALL


def toy(keeps_promise: bool) -> kills.ResumableJob:
    """Return a job that writes a file atomically, or in two steps under its final name."""

    def run(work_dir: Path) -> None:
        work_dir.mkdir(parents=True, exist_ok=True)
        out = work_dir / 'out.txt'
        if out.exists():
            return
        part = work_dir / 'part.txt' if keeps_promise else out
        with open(part, 'w') as file:
            for _ in range(2):
                file.write('half')
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, out)

    return kills.ResumableJob(run, ('out.txt',), ('shards',))


def outcomes(job: kills.ResumableJob, folder: Path) -> list[kills.Outcome]:
    reference = kills.undisturbed(job, folder)
    assert reference.calls == ('fsync', 'fsync', 'replace')
    cases = list(enumerate(kills.cases_of(reference, 0, 0)))
    return [outcome for _, _, outcome in kills.run_cases(job, cases, reference, folder)]


def test_a_job_that_keeps_its_promise_passes_all_cases(tmp_path: Path) -> None:
    cases = outcomes(toy(keeps_promise=True), tmp_path)
    assert cases == [kills.Outcome(kills=1)] * 6
    assert sorted(path.name for path in tmp_path.glob('case_*')) == []


def test_a_job_that_writes_under_the_final_name_is_found_out(tmp_path: Path) -> None:
    cases = outcomes(toy(keeps_promise=False), tmp_path)
    problems = [outcome.problem for outcome in cases]
    assert problems == ['out.txt differs'] * 2 + [''] * 4
    assert (tmp_path / 'case_0/out.txt').read_text() == 'half'  # kept, to look at


def test_moments_of_a_case_depend_on_the_seed_and_its_number_only(tmp_path: Path) -> None:
    reference = kills.Reference(tmp_path, ('fsync',), 2.0)
    few, many = (kills.cases_of(reference, count, 7) for count in (3, 9))
    assert few == many[:5] and len(many) == 2 + 9
    assert all(0 <= moment <= 2 for case in many for moment in case.moments)
    assert kills.cases_of(reference, 3, 8) != few


def test_counts_are_those_of_the_call_at_which_a_job_is_killed(tmp_path: Path) -> None:
    reference = kills.Reference(tmp_path, ('fsync', 'fsync', 'replace'), 2.0)
    cases = kills.cases_of(reference, 2, 7)
    chosen = kills.drawn(list(enumerate(cases)), 6, 7)
    assert chosen == list(enumerate(cases))
    results = [(case, kills.Outcome(1, '' if number != 4 else 'x')) for number, case in chosen[1:]]
    assert kills.counts_of(reference, cases, results) == {
        'fsync': kills.Count(cases=4, run=3, kills=3, identical=3),
        'replace': kills.Count(cases=2, run=2, kills=2, identical=1),
        'unlink': kills.Count(),
        'random': kills.Count(cases=2, run=2, kills=2, identical=2),
    }
    assert len(kills.drawn(chosen, 3, 7)) == 3 + 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'at_writes', 'at_random'),
    [
        ('refinement', 4, 2), ('calibration', 2, 0), ('masks', 4, 2), ('inference', 4, 2),
        ('synthetic_set', 4, 2), ('converter', 4, 2),
    ],
)  # fmt: skip
def test_killed_at_a_write_or_at_random_and_resumed_it_ends_in_the_same_bytes(
    name: str, at_writes: int, at_random: int, tmp_path: Path
) -> None:
    pytest.importorskip('torchvision', reason=f'torchvision is not installed: {INSTALL}')
    job = kills.make_jobs(tmp_path / 'inputs')[name]
    reference = kills.undisturbed(job, tmp_path / 'runs')
    cases = list(enumerate(kills.cases_of(reference, at_random, seed=0)))
    writes = len(cases) - at_random
    step = writes // at_writes
    chosen = [*cases[step // 2 : writes : step], *cases[writes:]]
    results = list(kills.run_cases(job, chosen, reference, tmp_path / 'runs'))
    assert not {str(case): outcome.problem for _, case, outcome in results if outcome.problem}
    assert sum(outcome.kills for _, _, outcome in results) >= at_writes
