"""Observations with which a batch of fits is compared: annotated joints, cameras and masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from mmjrr.geometry import PerspectiveCamera


@dataclass
class Observations:
    """Annotations and masks that a batch of fits is compared with.

    The image is the crop on which the mask is defined.
    """

    keypoints_3d: Tensor  # (B, J, 3), meters, camera frame
    keypoints_3d_weight: Tensor  # (B, J)
    keypoints_2d: Tensor  # (B, J, 2), pixels of the crop
    keypoints_2d_weight: Tensor  # (B, J)
    camera: PerspectiveCamera  # of the crop
    mask: Tensor | None  # (B, H, W), coverage in [0, 1]
    video: Tensor | None = None  # (B,) int64, equal for frames of one video
    frame: Tensor | None = None  # (B,) int64, number of the frame in its video
    mask_box: Tensor | None = None  # (B, 4): x0, y0, x1, y1 in pixels of the crop; NaN: unknown
    mask_cells: Tensor | None = None  # (B, N, N), a mask head's probabilities in cells of the box
    mask_weight: Tensor | None = None  # (B, H, W), 0 where the mask is not trusted
    initial_rotations: Tensor | None = None  # (B, 24, 3, 3), of the initial fits, camera frame
    #: (B, J, 3), meters: where the labels lie off the joints, in the frames of the parts that carry
    #: them (:mod:`mmjrr.regressors.label_offsets`). None: they do not.
    label_offsets: Tensor | None = None
    #: The observations as energy terms prepared them for themselves, by term. None: none did.
    prepared: Mapping[str, Observations] | None = None

    @property
    def has_foreground(self) -> Tensor:  # (B,) bool
        """Whether masks have a pixel of at least one half. A mask without one shows nobody."""
        assert self.mask is not None
        return self.mask.flatten(1).amax(1) >= 0.5

    def __getitem__(self, rows: slice) -> Observations:
        """Select a part of the batch; fields of batch size 1 apply to all parts."""
        selected = {
            name: value if value is None or len(value) == 1 else value[rows]
            for name, value in vars(self).items()
            if name != 'prepared'
        }
        if self.prepared is not None:
            selected['prepared'] = {name: own[rows] for name, own in self.prepared.items()}
        return Observations(**selected)
