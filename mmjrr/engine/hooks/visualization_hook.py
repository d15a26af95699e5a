"""Hook that draws fits before and after refinement."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, Runner
from torch import Tensor

from mmjrr.array_types import Array
from mmjrr.engine.bad_frames import ERRORS
from mmjrr.geometry import PerspectiveCamera
from mmjrr.refinement.left_out import LEFT_OUT
from mmjrr.refinement.regressor_fit import PARAMETERS
from mmjrr.registry import HOOKS
from mmjrr.visualization import draw_fit

from .pseudo_gt_hook import SMPLPseudoGTHook


@HOOKS.register_module()
class RefinementVisualizationHook(Hook):
    """Hook that draws fits before and after refinement side by side into the visualizer.

    White: outline of the mask. Orange: silhouette of the mesh. Green circles: annotated joints.
    Red crosses: joints of the fit under the regressor used during refinement. Of a fit that cannot
    be rendered, such as an initial one behind the camera, the picture shows neither mesh nor
    joints. In a distributed run, only frames that the main process refines are drawn.

    Args:
        samples: Indices in the dataset (``sample_idx``) or image names to draw. Those that the data
            set does not have are logged.
        interval: Also draw the first sample of every ``interval``-th batch; 0 draws none.
            Default: 0.
        size: Side of each half of the picture in pixels. Default: 512.
        enable: Whether to draw. Default: True.

    Raises:
        ValueError: ``interval`` is negative, or ``size`` is less than 32.
    """

    priority = 'LOW'

    def __init__(
        self,
        samples: Sequence[int | str] = (),
        interval: int = 0,
        size: int = 512,
        enable: bool = True,
    ) -> None:
        for name, value, smallest in (('interval', interval, 0), ('size', size, 32)):
            if value < smallest:
                raise ValueError(
                    f'RefinementVisualizationHook: {name}: found {value}, expected at least '
                    f'{smallest}'
                )
        self.samples = set(samples)
        self.interval = interval
        self.size = size
        self.enable = enable

    def before_run(self, runner: Runner) -> None:
        """Warn of samples that the data set of a training does not have."""
        if not (self.enable and self.samples and isinstance(runner._train_loop, BaseLoop)):
            return
        dataset = runner.train_dataloader.dataset
        known: set[int | str] = set(range(len(dataset)))
        if hasattr(dataset, 'imgname'):
            known |= {dataset.imgname(index) for index in range(len(dataset))}
        else:  # whose names are not known
            known |= {sample for sample in self.samples if isinstance(sample, str)}
        unknown = sorted(self.samples - known, key=str)
        if unknown:
            _warn(
                f'RefinementVisualizationHook: samples: found {len(unknown)} that the data set of '
                f'{len(dataset)} samples does not have, such as {unknown[0]!r}, expected indices '
                'or image names as in ann_file'
            )

    def before_train(self, runner: Runner) -> None:
        """Find the runner's ``SMPLPseudoGTHook``, whose body, regressor and renderer draw."""
        refining = [hook for hook in runner.hooks if isinstance(hook, SMPLPseudoGTHook)]
        if self.enable and not refining:
            raise ValueError(
                'RefinementVisualizationHook: found no SMPLPseudoGTHook, whose fits are drawn'
            )
        if refining:
            self.refining = refining[0]
            self.renderer = copy.deepcopy(self.refining.renderer)
            self.renderer.image_size = (self.size, self.size)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any] | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Draw the selected samples of the batch."""
        if not self.enable or data_batch is None or not is_main_process():
            return
        left_out = self.refining.stored.get(LEFT_OUT)
        for index, sample in enumerate(data_batch['data_samples']):
            if left_out is not None and left_out[index]:
                continue
            due = self.interval and batch_idx % self.interval == 0 and index == 0
            if due or sample.sample_idx in self.samples or sample.imgname in self.samples:
                self._draw(runner, batch_idx, data_batch, index)

    def _draw(self, runner: Runner, batch_idx: int, data_batch: dict[str, Any], index: int) -> None:
        sample = data_batch['data_samples'][index]
        box = torch.as_tensor(np.asarray(sample.box, dtype=np.float32))[None]
        size = (self.size, self.size)
        device = self.refining.device
        camera = (
            PerspectiveCamera(
                sample.focal_length[None], sample.principal_point[None], sample.distortion[None]
            )
            .crop(box, size)
            .to(device)
        )
        image = self._image(sample.img_path, box[0])
        mask = (data_batch.get('inputs') or {}).get('mask')
        mask = None if mask is None else self._enlarged(torch.as_tensor(mask[index]))
        labels = (sample.keypoints_2d - box[:, :2]) * self.size / (box[:, 2:] - box[:, :2])
        halves = []
        for title in ('init', 'refined'):
            prefix = 'init_' if title == 'init' else ''
            fits = {
                name: torch.from_numpy(self.refining.stored[f'{prefix}{name}'][index : index + 1])
                for name in PARAMETERS
            }
            fits = {name: value.to(device) for name, value in fits.items()}
            alpha, joints = np.zeros(size, np.float32), None
            try:
                with torch.no_grad():
                    vertices = self.refining.body(**fits).vertices
                    alpha = self.renderer(vertices, camera)[0].cpu().numpy()
                    regressed = self.refining.joint_regressor(vertices)
                    joints = camera.project(regressed)[0].cpu().numpy()
            except ERRORS as error:
                _warn(f'{sample.imgname}: the {title} fit is not drawn: {error}')
            halves.append(
                draw_fit(
                    image,
                    alpha,
                    mask,
                    joints,
                    labels.numpy(),
                    title=f'{title}  {sample.imgname.rsplit("/", 1)[-1]}',
                )
            )
        name = sample.imgname.rsplit('/', 1)[-1].rsplit('.', 1)[0]
        runner.visualizer.add_image(f'refinement_{name}', np.concatenate(halves, 1), step=batch_idx)

    def _image(self, path: str, box: Tensor) -> Array:
        """Return the crop (size, size, 3) uint8 RGB of the image; gray if the file is missing."""
        import cv2

        image = cv2.imread(path) if Path(path).is_file() else None
        if image is None:
            return np.full((self.size, self.size, 3), 96, dtype=np.uint8)
        x0, y0, x1, y1 = box.tolist()
        scale_x, scale_y = self.size / (x1 - x0), self.size / (y1 - y0)
        # The matrix maps pixel centers. The first is at 0 in OpenCV and at 0.5 in the camera.
        matrix = np.array(
            [
                [scale_x, 0, (0.5 - x0) * scale_x - 0.5],
                [0, scale_y, (0.5 - y0) * scale_y - 0.5],
            ]
        )
        crop = cv2.warpAffine(image, matrix, (self.size, self.size), flags=cv2.INTER_LINEAR)
        return cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)

    def _enlarged(self, mask: Tensor) -> Array:
        return torch.nn.functional.interpolate(
            mask[None, None].float(), (self.size, self.size), mode='bilinear', align_corners=False
        )[0, 0].numpy()


def _warn(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)
