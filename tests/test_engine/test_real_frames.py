"""The four real frames, through the converter, the shipped config and the Runner."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmjrr.datasets.converters.mmpose_test_frames import convert_test_frames
from mmjrr.engine.fit_agreement import WARNED_ABOVE
from mmjrr.engine.mask_agreement import WARNED_BELOW

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_refinement_covers_the_people_without_losing_the_joints(
    shared_data: Path, tmp_path: Path
) -> None:
    convert_test_frames(shared_data / 'h36m_mini', tmp_path / 'data')
    cfg = Config.fromfile(str(ROOT / 'configs/refinement/contour_100it_h36m-mini.py'))
    cfg.work_dir = str(tmp_path / 'run')
    cfg.train_dataloader.dataset.data_root = str(tmp_path / 'data')
    cfg.visualizer.name = 'real_frames'
    Runner.from_cfg(cfg).train()

    with np.load(next((tmp_path / 'run' / 'pseudo_gt').glob('*.npz'))) as shard:
        init = {name: shard[f'init_{name}'] for name in ('iou', 'energy_joint_3d')}
        refined = {name: shard[name] for name in ('iou', 'energy_joint_3d')}
    assert len(refined['iou']) == 4
    assert init['iou'].mean() < 0.8
    assert refined['iou'].mean() >= 0.88
    assert (refined['energy_joint_3d'] <= init['energy_joint_3d']).all()
    assert len(list((tmp_path / 'run').glob('*/vis_data/vis_image/*.png'))) == 4
    (log,) = (tmp_path / 'run').glob('*/*.log')
    assert '4 frames are too few for a regressor' in log.read_text()
    assert (tmp_path / 'run' / 'J_opt.npy').is_file()
    summary = json.loads((tmp_path / 'run' / 'refinement.json').read_text())
    assert summary['frames'] == 4
    agreement = summary['input_agreement']
    assert max(one['error_mm'] for one in agreement['fits']['groups']) < WARNED_ABOVE
    assert min(one['share'] for one in agreement['masks']['groups']) > WARNED_BELOW
    assert agreement['fits']['reason'] == agreement['masks']['reason'] == ''
    print(agreement)
