"""The file of ``tools/test.py --out`` is JSON, whatever the metrics are."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from mmjrr.engine import SaveMetricsHook


def refuse(constant: str) -> None:
    raise ValueError(f'{constant} is no JSON')


def test_metrics_that_are_not_finite_are_null(tmp_path: Path) -> None:
    path = tmp_path / 'metrics.json'
    metrics = {'J/paper/MPJPE': 58.5, 'J/spin-p2/MPJPE': float('nan'), 'a': float('inf'), 'n': 3}
    SaveMetricsHook(str(path)).after_test_epoch(SimpleNamespace(rank=0), metrics)
    written = json.loads(path.read_text(), parse_constant=refuse)
    assert written == {'J/paper/MPJPE': 58.5, 'J/spin-p2/MPJPE': None, 'a': None, 'n': 3}
