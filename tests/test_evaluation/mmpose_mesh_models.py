"""Components that a user of MMPose would write, imported by the configs of test_in_mmpose.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from mmpose.datasets.transforms import PackPoseInputs
from mmpose.registry import MODELS, TRANSFORMS
from torch import Tensor, nn

from mmjrr.body_models import free_body
from mmjrr.regressors import JointRegressor


@TRANSFORMS.register_module()
class FrameOfVideo(BaseTransform):
    """Give a frame of Human36mDataset what a top-down pipeline needs, and keep its joints."""

    def __init__(self, image_root: str) -> None:
        self.image_root = Path(image_root)

    def transform(self, results: dict) -> dict:
        results['img_path'] = str(self.image_root / results['target_img_path'][0])
        results['bbox_center'] = results['center']
        results['bbox_scale'] = np.full((1, 2), 200 * results['scale'], dtype=np.float32)
        results['instance_mapping_table'] = {
            **PackPoseInputs.instance_mapping_table,
            'keypoints_3d': 'keypoints_3d',
        }
        return results


@MODELS.register_module()
class StoredMesh(BaseModel):
    """A mesh model whose answers are known: bodies of a file, by the image's name.

    Args:
        bodies: npz with ``imgname``, ``pose`` and ``betas``.
        output: 'vertices' (in ``pred_instances``), 'parameters' (there, with a batch axis), or
            'top' (parameters at the top level of the data sample).
        data_preprocessor: as in MMEngine.
    """

    def __init__(self, bodies: str, output: str, data_preprocessor: dict | None = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.output = output
        with np.load(bodies) as file:
            names = [Path(name).name for name in file['imgname'].tolist()]
            self.row = {name: row for row, name in enumerate(names)}
            pose = torch.from_numpy(file['pose'])
            betas = torch.from_numpy(file['betas'])
        self.parameters_ = dict(global_orient=pose[:, :3], body_pose=pose[:, 3:], betas=betas)
        self.vertices = free_body()(**self.parameters_).vertices
        self.joints = JointRegressor.load('free_body_h36m', dtype=torch.float64).reorder('mmpose')(
            self.vertices.double()
        )
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: Tensor, data_samples: list, mode: str = 'tensor') -> list:
        for sample in data_samples:
            path = sample.get('img_path') or sample.target_img_path[0]
            row = self.row[Path(path).name]
            if self.output == 'vertices':
                sample.pred_instances = InstanceData(vertices=self.vertices[row][None])
            elif self.output == 'parameters':
                fields = {name: value[row][None] for name, value in self.parameters_.items()}
                sample.pred_instances = InstanceData(**fields)
            else:
                sample.pred_instances = InstanceData()
                for name, value in self.parameters_.items():
                    sample.set_field(value[row], f'pred_{name}')
            if 'lifting_target' in sample.gt_instances:  # what MMPose's own metric takes
                target = torch.as_tensor(sample.gt_instances.lifting_target)[0].double()
                joints = self.joints[row]
                sample.pred_instances.keypoints = (joints - joints[:1] + target[:1])[None].numpy()
        return data_samples


@MODELS.register_module()
class LiftingMesh(BaseModel):
    """A mesh model that learns: SMPL parameters from 2D joints, through one linear layer."""

    def __init__(self, data_preprocessor: dict | None = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.layer = nn.Linear(34, 82)
        nn.init.normal_(self.layer.weight, std=1e-3)
        with torch.no_grad():
            self.layer.bias.zero_()[0] = torch.pi  # upright, y down
        self.body = free_body()
        self.regressor = JointRegressor.load('free_body_h36m').reorder('mmpose')

    def forward(self, inputs: Tensor | list, data_samples: list, mode: str = 'tensor'):
        points = inputs if isinstance(inputs, Tensor) else torch.stack(list(inputs))
        output = self.layer(points.reshape(len(points), 34).float() / 500 - 1)
        fields = dict(global_orient=output[:, :3], body_pose=output[:, 3:72], betas=output[:, 72:])
        if mode == 'loss':
            joints = self.regressor(self.body(**fields).vertices)
            target = torch.stack(
                [torch.as_tensor(s.gt_instances.lifting_target)[0] for s in data_samples]
            )
            error = (joints - joints[:, :1]) - (target - target[:, :1])
            return dict(loss=error.norm(dim=-1).mean())
        for row, sample in enumerate(data_samples):
            sample.pred_instances = InstanceData(**{k: v[row][None] for k, v in fields.items()})
        return data_samples
