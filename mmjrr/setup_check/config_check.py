"""Check of all components of a config, and the summary of its findings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from mmjrr.setup_check.config_findings import ConfigFindings
from mmjrr.setup_check.finding import MISSING, OPTIONAL, WRONG, Finding, look_up
from mmjrr.setup_check.model_checks import check_weights
from mmjrr.setup_check.package_checks import check_gpu, check_packages, import_version
from mmjrr.setup_check.refinement_checks import check_components
from mmjrr.setup_check.registration import CHECKS, short_name

#: Keys of a config that the Runner and the tools build; other keys are variables of the config.
PARTS = (
    'train_dataloader', 'val_dataloader', 'test_dataloader', 'model', 'val_evaluator',
    'test_evaluator', 'default_hooks', 'custom_hooks', 'visualizer',
)  # fmt: skip
#: Kinds of findings on the files of a data set that a refinement's frames are read from.
_KINDS_OF_FRAMES = ('config', 'annotation', 'cameras', 'fits')


def check_setup(
    cfg: Mapping[str, Any],
    checkpoint: str | Path | None = None,
    gpu: bool = False,
    told: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[Finding]:
    """Check everything that a config needs, and yield each finding as soon as it is known.

    A component that occurs several times is checked once. Problems are findings, not exceptions.

    Args:
        cfg: The config.
        checkpoint: File of the weights from the command line. Default: None.
        gpu: Whether to check that PyTorch can use a GPU. Default: False.
        told: Returns a context that turns errors of the config into a ``ValueError`` that says
            where it is wrong. Default: no such context.
    """
    errors = ConfigFindings(told, cfg.get('default_scope'))
    yield from check_packages()
    for name in (cfg.get('custom_imports') or {}).get('imports', ()):
        yield look_up('package', name, partial(import_version, name), fix='install it')
    if gpu:
        yield check_gpu()
    seen: set[str] = set()
    files_are_right = True
    for part in _components([cfg.get(name) for name in PARTS]):
        check = CHECKS.get(short_name(part['type']))
        identity = json.dumps(part, sort_keys=True, default=str)
        if check is not None and identity not in seen:
            seen.add(identity)
            for finding in errors.caught(part['type'], check(part)):
                key = f'{finding.kind} {finding.name}'
                if key not in seen:
                    seen.add(key)
                    files_are_right &= not (finding.bad and finding.kind in _KINDS_OF_FRAMES)
                    yield finding
    yield from errors.caught('model', check_weights(cfg, checkpoint))
    yield from check_components(cfg, errors, files_are_right)


def _components(part: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all dicts with a type, each before the dicts that it contains."""
    if isinstance(part, Mapping):
        if isinstance(part.get('type'), str):
            yield part
        for value in part.values():
            yield from _components(value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            yield from _components(value)


def overview(findings: Sequence[Finding]) -> str:
    """Summarize findings: how to fix what is missing or wrong, and a count of each state."""
    bad = [finding for finding in findings if finding.bad]
    optional = sum(finding.state == OPTIONAL for finding in findings)
    lines = []
    for finding in bad:
        fix = finding.fix or finding.detail
        if finding.state == WRONG and fix.startswith('python tools/download.py'):
            fix = f'move it away, then {fix}'  # downloads do not overwrite
        lines += [f'{finding.name}: {finding.state}', f'    {fix}']
    total = f'{len(findings) - len(bad) - optional} found'
    for state in (MISSING, WRONG):
        count = sum(finding.state == state for finding in findings)
        total += f', {count} {state}' if count else ''
    if optional:
        total += f', {optional} optional missing'
    return '\n'.join([*lines, total])
