"""Refined fits and labels, to which a regressor and label offsets are fitted."""

from __future__ import annotations

import numpy as np
import torch

from mmjrr.body_models import free_body
from mmjrr.engine.labeled_fits import GroupedFits


def test_labels_of_small_weights_do_not_enter_the_fit_with_offsets() -> None:
    batch = dict(
        imgname=np.array(
            [f'S1/S1_Walking_1.54138969/S1_Walking_1.54138969_{n:06d}.jpg' for n in range(3)]
        ),
        keypoints_3d=np.ones((3, 17, 3), np.float32),
        keypoints_3d_weight=np.ones((3, 17), np.float32),
        global_orient=np.zeros((3, 3), np.float32),
        body_pose=np.zeros((3, 69), np.float32),
        betas=np.zeros((3, 10), np.float32),
        transl=np.zeros((3, 3), np.float32),
    )
    batch['keypoints_3d_weight'][1, 4] = 0.02
    (grouped,) = GroupedFits(lambda: iter([batch]), free_body())
    assert torch.isnan(grouped.joints).all(-1).nonzero().tolist() == [[1, 4]]
