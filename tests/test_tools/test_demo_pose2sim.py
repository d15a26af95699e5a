"""The demo on real photographs: its downloads, and the complete run where they are available."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmjrr.cli import demo_pose2sim
from mmjrr.errors import DataError

ROOT = Path(__file__).resolve().parents[2]


def test_a_wrong_download_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / 'pose2sim-0.10.49-py3-none-any.whl').write_bytes(b'something else')
    with pytest.raises(DataError, match=r'whl: sha256: found .* remove the file, and give the'):
        demo_pose2sim.fetch_recording(tmp_path)


def test_a_missing_index_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(tmp_path))
    with pytest.raises(OSError, match=r'pose2sim==0\.10\.49: cannot be fetched through pip \(No m'):
        demo_pose2sim.fetch_recording(tmp_path / 'downloads')


def test_a_step_out_of_range_is_refused_before_any_download(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, 'tools/demo_pose2sim.py', '--out', str(tmp_path / 'd'), '--step', '0'],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and '--step 0: expected 1 to 50' in done.stderr
    assert not (tmp_path / 'd').exists()


@pytest.mark.slow
def test_the_whole_on_a_few_moments(tmp_path: Path, one_thread: dict[str, str]) -> None:
    try:
        demo_pose2sim.fetch_recording(tmp_path / 'd/downloads')
        demo_pose2sim.make_environment(demo_pose2sim.detector_python(), tmp_path / 'd/mediapipe')
    except (OSError, ValueError) as error:
        pytest.skip(f'the recording or its detector cannot be fetched: {error}')
    command = [
        sys.executable, 'tools/demo_pose2sim.py', '--out', str(tmp_path / 'd'), '--step', '30',
        '--left-out', '02',
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=one_thread)
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads((tmp_path / 'd/summary.json').read_text())
    assert summary['recording']['offsets'] == {'01': 0, '02': 0, '03': 3, '04': 0}
    assert min(row['seen'] for row in summary['iou'].values()) > 0.7
    assert summary['iou']['02']['left_out'] > 0.6 and summary['iou']['01']['left_out'] is None
    # The fit that three views start from is not that of four.
    assert 0.4 < summary['iou']['02']['left_out_initial'] != summary['iou']['02']['initial']
    assert summary['iou']['01']['left_out_initial'] is None
    assert list((tmp_path / 'd/overlays').glob('*.jpg'))
