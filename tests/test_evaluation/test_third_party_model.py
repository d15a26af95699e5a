"""A model of another package, in that package's scope, with its own names for everything.

The package below knows nothing of mmjrr. Its config names ``mmjrr`` in ``custom_imports`` and says
in the metric's ``fields`` what is called what.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mmjrr
from mmjrr.body_models import free_body
from mmjrr.evaluation.evaluate import TEST_ANNOTATION
from mmjrr.regressors import JointRegressor

ROOT = Path(__file__).resolve().parents[2]

PACKAGE = """
import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.registry import DATASETS as ROOT_DATASETS, MODELS as ROOT_MODELS, Registry
from mmengine.structures import BaseDataElement
from torch.utils.data import Dataset

MODELS = Registry('model', parent=ROOT_MODELS, scope='mmpose', locations=['acme_pose'])
DATASETS = Registry('dataset', parent=ROOT_DATASETS, scope='mmpose', locations=['acme_pose'])


@DATASETS.register_module()
class AcmeFrames(Dataset):
    metainfo = dict(dataset_name='acme')

    def __init__(self, file):
        with np.load(file) as content:
            self.names, self.joints = content['imgname'].tolist(), content['S'][..., :3]

    def __len__(self):
        return len(self.names)

    def __getitem__(self, row):
        sample = BaseDataElement(metainfo=dict(img_path='/acme/' + self.names[row]))
        sample.truth = BaseDataElement(joints_mm=torch.from_numpy(1000 * self.joints[row]))
        return dict(inputs=torch.full((1,), float(row)), data_samples=sample)


def turn(angle, axis):
    turned, (a, b) = torch.eye(3), ((0, 1), (1, 2), (2, 0))[axis]
    turned[a, a] = turned[b, b] = torch.cos(angle)
    turned[b, a] = torch.sin(angle)
    turned[a, b] = -torch.sin(angle)
    return turned


@MODELS.register_module()
class AcmeMesh(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, data_samples, mode):
        for row, sample in zip(inputs, data_samples):
            row = row.squeeze()
            sample.smpl = BaseDataElement(
                root=turn(3 + row, 0)[None],
                joints=torch.stack([turn(0.02 * row * j, j % 3) for j in range(23)]),
                shape=torch.linspace(-1, 1, 10) * row / 4,
            )
        return data_samples
"""

CONFIG = """
default_scope = 'mmpose'
custom_imports = dict(imports=['mmjrr', 'acme_pose'], allow_failed_imports=False)
model = dict(type='AcmeMesh')
test_dataloader = dict(
    batch_size=3,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(type='AcmeFrames', file={annotations!r}),
)
test_cfg = dict()
test_evaluator = dict(
    type='mmjrr.JointRegressorMetric',
    regressors=['free_body_h36m'],
    protocol=['paper', 'spin-p2'],
    body_model=dict(type='FreeBody'),
    joint_order='mmpose',
    annotation_unit='mm',
    fields=dict(
        global_orient='smpl.root',
        body_pose='smpl.joints',
        betas='smpl.shape',
        keypoints_3d='truth.joints_mm',
        imgname='img_path',
    ),
    out_file={out!r},
)
"""


@pytest.fixture(scope='module')
def folder(
    tiny_set: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: dict[str, str]
) -> Path:
    """Where the run in the other package's scope left ``runner.json`` and ``dump.pkl``."""
    folder = tmp_path_factory.mktemp('acme')
    (folder / 'acme_pose.py').write_text(PACKAGE)
    text = CONFIG.format(
        annotations=str(tiny_set / TEST_ANNOTATION), out=str(folder / 'runner.json')
    )
    (folder / 'config.py').write_text(text)
    done = subprocess.run(
        [
            sys.executable, str(ROOT / 'tools/test.py'), str(folder / 'config.py'),
            '--work-dir', str(folder / 'work'), '--dump', str(folder / 'dump.pkl'),
        ],
        env={**one_thread, 'PYTHONPATH': os.pathsep.join([str(ROOT), str(folder)])},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_its_numbers_are_the_distances_of_its_bodies(folder: Path, tiny_set: Path) -> None:
    metrics = json.loads((folder / 'runner.json').read_text())['metrics']
    scope: dict = {}
    exec(PACKAGE[PACKAGE.index('def turn') : PACKAGE.index('@MODELS')], {'torch': torch}, scope)
    turn = scope['turn']
    with np.load(tiny_set / TEST_ANNOTATION) as file:
        target = torch.from_numpy(file['S'][..., :3]).double()
    rows = torch.arange(len(target), dtype=torch.float32)
    vertices = free_body()(
        global_orient=torch.stack([turn(3 + row, 0) for row in rows]),
        body_pose=torch.stack(
            [torch.stack([turn(0.02 * row * j, j % 3) for j in range(23)]) for row in rows]
        ),
        betas=torch.linspace(-1, 1, 10) * rows[:, None] / 4,
    ).vertices
    joints = JointRegressor.load('free_body_h36m')(vertices).double()
    error = (joints - joints[:, :1]) - (target - target[:, :1])
    expected = 1000 * error.norm(dim=-1).mean().item()
    assert metrics['free_body_h36m/paper/MPJPE'] == pytest.approx(expected, rel=1e-5)


def test_its_dump_evaluates_to_the_same_numbers(folder: Path, tiny_set: Path) -> None:
    found = mmjrr.evaluate(
        folder / 'dump.pkl',
        tiny_set,
        'free_body_h36m',
        ['paper', 'spin-p2'],
        fields=dict(
            imgname='img_path',
            global_orient='smpl.root',
            body_pose='smpl.joints',
            betas='smpl.shape',
        ),
    )
    runner = json.loads((folder / 'runner.json').read_text())
    assert found.frames == runner['frames'] == 8
    # But for the rounding of the millimetres in its annotation.
    assert found.metrics() == pytest.approx(runner['metrics'], rel=1e-6)
