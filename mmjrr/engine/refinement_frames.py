"""Frames of a data set in the form that refinement takes: initial fits, observations, groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor

from mmjrr.array_types import Array
from mmjrr.datasets.image_names import ImageName, parse_image_name
from mmjrr.datasets.sequences import moment_index
from mmjrr.engine.first_sample import NO_MASKS
from mmjrr.errors import DataError
from mmjrr.geometry import PerspectiveCamera, axis_angle_to_matrix
from mmjrr.refinement import Observations, RefinedFits
from mmjrr.refinement.regressor_fit import PARAMETERS
from mmjrr.refinement.variables import FrameGroups, Sharing
from mmjrr.regressors import LabelOffsets

#: Largest accepted distance in meters between a joint's positions in the world that two cameras of
#: a moment annotate, as the mean over joints. Human3.6M's agree to a fraction of a millimeter.
VIEW_TOLERANCE = 0.05
_POSE_OF_CAMERA = ('camera_rotation', 'camera_position')


@dataclass
class RefinementFrames:
    """Frames to refine.

    Attributes:
        samples: The data samples.
        init: Initial fits, with one row per frame.
        observed: Annotations with which fits are compared. The camera has a pose if the samples do.
        groups: Moment, subject and camera of each frame.
        subjects: Name of each subject of ``groups``, such as ``'S1'``.
        cameras: Name of each camera of ``groups``, such as ``'S1 54138969'``.
    """

    samples: Sequence[Any]
    init: dict[str, Tensor]
    observed: Observations
    groups: FrameGroups
    subjects: list[str]
    cameras: list[str]

    @classmethod
    def of_batch(
        cls,
        batch: dict[str, Any],
        image_size: tuple[int, int],
        device: torch.device,
        needs_masks: bool = True,
    ) -> RefinementFrames:
        """Unpack a collated batch of samples.

        Args:
            batch: ``data_samples``, and ``inputs`` with ``mask``.
            image_size: Height and width of the crops.
            device: Device of the tensors.
            needs_masks: Whether a batch without masks is an error. Default: True.

        Raises:
            ValueError: Masks are needed, and there are none.
        """
        samples = batch['data_samples']

        def stacked(name: str) -> Tensor:
            return torch.stack([getattr(sample, name) for sample in samples]).to(device)

        box = torch.tensor(
            np.stack([np.asarray(sample.box, dtype=np.float32) for sample in samples])
        ).to(device)
        rotation = position = None
        if all(name in sample for sample in samples for name in _POSE_OF_CAMERA):
            rotation, position = stacked('camera_rotation'), stacked('camera_position')
        camera = PerspectiveCamera(
            stacked('focal_length'),
            stacked('principal_point'),
            stacked('distortion'),
            rotation=rotation,
            position=position,
        ).crop(box, image_size)
        height, width = image_size
        scale = torch.stack(
            [width / (box[:, 2] - box[:, 0]), height / (box[:, 3] - box[:, 1])], dim=1
        )
        inputs = batch.get('inputs') or {}
        mask, mask_box, mask_cells = (
            _stacked_or_none(inputs.get(name), device)
            for name in ('mask', 'mask_box', 'mask_cells')
        )
        if mask_box is not None:
            mask_box = (mask_box - box[:, [0, 1, 0, 1]]) * scale[:, [0, 1, 0, 1]]
        if mask is None and needs_masks:
            raise ValueError(NO_MASKS)
        names = [parse_image_name(sample.imgname) for sample in samples]
        subjects, subject = _numbered([name.subject for name in names])
        cameras, of_camera = _numbered([_camera_of(name) for name in names])
        _, video = _numbered([f'{name.sequence}.{name.camera}' for name in names])
        init = {name: stacked(name) for name in PARAMETERS}
        observed = Observations(
            keypoints_3d=stacked('keypoints_3d'),
            keypoints_3d_weight=stacked('keypoints_3d_weight'),
            keypoints_2d=(stacked('keypoints_2d') - box[:, None, :2]) * scale[:, None],
            keypoints_2d_weight=stacked('keypoints_2d_weight'),
            camera=camera,
            mask=mask,
            mask_box=mask_box,
            mask_cells=mask_cells,
            initial_rotations=axis_angle_to_matrix(
                torch.cat([init['global_orient'], init['body_pose']], 1).unflatten(1, (-1, 3))
            ),
            video=video.to(device),
            frame=torch.tensor([name.frame for name in names], device=device),
        )
        groups = FrameGroups(torch.from_numpy(moment_index(names)), subject, of_camera)
        return cls(
            samples=samples,
            init=init,
            observed=observed,
            groups=groups.to(device),
            subjects=subjects,
            cameras=cameras,
        )

    @classmethod
    def of_dataset(cls, dataset: Any, indices: Sequence[int], **options: Any) -> RefinementFrames:
        """Read samples of a data set; options are those of :meth:`of_batch`."""
        return cls.of_batch(pseudo_collate([dataset[index] for index in indices]), **options)

    def groups_at(self, level: str) -> tuple[list[str], Tensor]:
        """Return the names of the groups of a level that moments share, and each frame's number."""
        by_level = dict(
            subject=(self.subjects, self.groups.subject),
            camera=(self.cameras, self.groups.camera),
            all=(['all'], self.groups.all),
        )
        return by_level[level]

    def check_views(self) -> None:
        """Check that moments have several views, which annotate the same joints in the world.

        Raises:
            DataError: No moment has more than one view; or its views do not agree, as if they were
                of different instants, or the cameras' poses in another convention.
        """
        if int(torch.bincount(self.groups.moment).max()) < 2:
            raise DataError(
                f'{self.samples[0].imgname}: found one view of this moment, and of all '
                f"{len(self.samples)} that were looked at; with share=dict(pose='moment'), "
                'expected several cameras that show the same frame numbers. The synthetic set has '
                "them if it is made with --synchronous; for one camera, use pose='frame'"
            )
        camera = self.observed.camera
        if camera.rotation is None or camera.position is None:
            return
        joints = self.observed.keypoints_3d @ camera.rotation + camera.position[:, None]
        weight = (self.observed.keypoints_3d_weight > 0).to(joints)
        index = self.groups.moment
        count = int(index.max()) + 1
        total = weight.new_zeros(count, weight.shape[1]).index_add_(0, index, weight)
        sums = joints.new_zeros(count, *joints.shape[1:])
        sums.index_add_(0, index, joints * weight[..., None])
        mean = (sums / total.clamp_min(1)[..., None])[index]
        distance = ((joints - mean).norm(dim=-1) * weight).sum(1) / weight.sum(1).clamp_min(1)
        worst = int(distance.argmax())
        if float(distance[worst]) > VIEW_TOLERANCE:
            raise DataError(
                f'{self.samples[worst].imgname}: keypoints_3d: found '
                f'{1000 * float(distance[worst]):.0f} mm, in the world, from the mean of the '
                f'cameras that see this moment, expected at most {1000 * VIEW_TOLERANCE:.0f}: the '
                'cameras are not synchronized, or camera_param_file has other poses; without '
                "several views, use share=dict(pose='frame')"
            )

    def check_shared(self, dataset: Any, sharing: Sharing) -> None:
        """Check that these frames show all subjects and cameras that have a variable of their own.

        Args:
            dataset: The data set from which the frames are chosen.
            sharing: Level of each variable.

        Raises:
            ValueError: A subject's shape or outline, or the correction of a camera, could not be
                fitted to these frames.
        """
        if not sharing.couples_moments:
            return
        levels = set(vars(sharing).values())
        names = [parse_image_name(dataset.imgname(index)) for index in range(len(dataset))]
        missing: set[str] = set()
        if 'subject' in levels:
            missing |= {name.subject for name in names} - set(self.subjects)
        if 'camera' in levels:
            missing |= {_camera_of(name) for name in names} - set(self.cameras)
        if missing:
            raise ValueError(
                f'calibration: moments: the {int(self.groups.moment.max()) + 1} that were chosen '
                f'show none of {sorted(missing)}, whose frames could not be refined; choose more '
                'moments'
            )

    def with_label_offsets(self, offsets: LabelOffsets) -> RefinementFrames:
        """Return frames whose observations contain the subjects' label offsets."""
        names = [self.subjects[number] for number in self.groups.subject.tolist()]
        of_frames = offsets.of_frames(offsets.index_of(names))
        return replace(
            self,
            observed=replace(self.observed, label_offsets=of_frames.to(self.observed.keypoints_3d)),
        )

    def annotations(self) -> dict[str, Array]:
        """Return the arrays that are stored for all frames, refined or not."""
        observed = self.observed
        return {
            'sample_idx': np.array([sample.sample_idx for sample in self.samples]),
            'imgname': np.array([sample.imgname for sample in self.samples]),
            'keypoints_3d': observed.keypoints_3d.cpu().numpy(),
            'keypoints_3d_weight': observed.keypoints_3d_weight.cpu().numpy(),
            'keypoints_2d': np.stack([sample.keypoints_2d.numpy() for sample in self.samples]),
            'box': np.stack([np.asarray(sample.box, dtype=np.float32) for sample in self.samples]),
        }

    def arrays(self, result: RefinedFits) -> dict[str, Array]:
        """Return the arrays that are stored for refined frames."""
        arrays = self.annotations()
        for name in PARAMETERS:
            arrays[name] = result.refined[name].cpu().numpy()
            arrays[f'init_{name}'] = result.init[name].cpu().numpy()
        for name, value in result.terms_refined.items():
            arrays[f'energy_{name}'] = value.cpu().numpy()
            arrays[f'init_energy_{name}'] = result.terms_init[name].cpu().numpy()
        if result.iou_refined is not None and result.iou_init is not None:
            arrays['iou'] = result.iou_refined.cpu().numpy()
            arrays['init_iou'] = result.iou_init.cpu().numpy()
        return arrays

    def arrays_without_rows(self, terms: Sequence[str], overlap: bool) -> dict[str, Array]:
        """Return the arrays of refined frames if none of the frames can be refined.

        Args:
            terms: Names of the energy's terms.
            overlap: Whether silhouettes are compared with masks.

        Returns:
            The arrays of :meth:`arrays` with a first axis of length 0, without those of
            :meth:`annotations`.
        """
        columns = [f'energy_{name}' for name in terms] + (['iou'] if overlap else [])
        shapes: dict[str, tuple[int, ...]] = {name: (0,) for name in columns}
        shapes |= {name: (0, *self.init[name].shape[1:]) for name in PARAMETERS}
        return {
            f'{prefix}{name}': np.empty(shape, np.float32)
            for name, shape in shapes.items()
            for prefix in ('', 'init_')
        }


def choose_frames(dataset: Any, count: int, seed: int, by_moment: bool) -> list[int]:
    """Draw about ``count`` frames at random.

    Args:
        dataset: A data set, with ``moments()`` if ``by_moment``.
        count: Number of frames.
        seed: Seed of the choice.
        by_moment: Whether to take all views of a frame's moment.
    """
    numbers = np.asarray(dataset.moments()) if by_moment else np.arange(len(dataset))
    order = np.random.default_rng(seed).permutation(int(numbers.max()) + 1)
    views = np.bincount(numbers)[order]
    drawn = order[: 1 + int(np.searchsorted(np.cumsum(views), count))]
    frames = np.argsort(numbers, kind='stable')
    return frames[np.isin(numbers[frames], drawn)].tolist()


def choose_moments(dataset: Any, count: int | None, seed: int) -> list[int]:
    """Choose moments that are spread over poses, the same number of each subject.

    Within a subject, moments are drawn one by one with a probability proportional to the squared
    distance of their initial body pose from the nearest one drawn before (k-means++).

    Args:
        dataset: A data set with ``moments()``, ``imgname(index)`` and ``fit_sample(index)``.
        count: Number of moments. None, or at least their number: all of them.
        seed: Seed of the choice.

    Returns:
        Indices of all samples of these moments, those of a moment next to each other.
    """
    moments = np.asarray(dataset.moments())
    order = np.argsort(moments, kind='stable')
    starts = np.flatnonzero(np.diff(moments[order], prepend=-1))
    frames = np.split(order, starts[1:])
    if count is None or count >= len(frames):
        return order.tolist()
    subjects: dict[str, list[int]] = {}
    for number, views in enumerate(frames):
        name = parse_image_name(dataset.imgname(int(views[0]))).subject
        subjects.setdefault(name, []).append(number)
    chosen: list[int] = []
    left = count
    # The smallest first: if a subject has too few moments, the others get more.
    for rank, (name, numbers) in enumerate(
        sorted(subjects.items(), key=lambda item: (len(item[1]), item[0]))
    ):
        share = min(left // (len(subjects) - rank), len(numbers))
        poses = np.stack(
            [
                np.asarray(dataset.fit_sample(int(frames[number][0]))['body_pose'])
                for number in numbers
            ]
        )
        random = np.random.default_rng([seed, *name.encode()])
        chosen += [numbers[row] for row in spread_rows(poses, share, random)]
        left -= share
    return [index for number in sorted(chosen) for index in frames[number].tolist()]


def spread_rows(points: Array, count: int, random: np.random.Generator) -> list[int]:  # (N, D)
    """Draw different rows, each with a probability proportional to its squared distance from them.

    The first row is drawn uniformly. If all rows left equal drawn ones, the rest is uniform.
    """
    rows: list[int] = []
    distance = np.ones(len(points))
    for _ in range(min(count, len(points))):
        free = np.ones(len(points), dtype=bool)
        free[rows] = False
        chance = np.where(free, distance, 0)
        chance = chance if chance.sum() > 0 else free.astype(float)
        row = int(random.choice(len(points), p=chance / chance.sum()))
        squares = np.square(points - points[row]).sum(1, dtype=np.float64)
        distance = squares if not rows else np.minimum(distance, squares)
        rows.append(row)
    return rows


def _stacked_or_none(values: Sequence[Any] | None, device: torch.device) -> Tensor | None:
    """Stack the frames' values; None if a frame has none."""
    if values is None or any(value is None for value in values):
        return None
    # Stacked on the device: masks in pinned memory are copied there while the host goes on.
    return torch.stack([torch.as_tensor(value).to(device, non_blocking=True) for value in values])


def _camera_of(name: ImageName) -> str:
    """Return the name of a camera of a subject."""
    return f'{name.subject} {name.camera}'


def _numbered(names: Sequence[str]) -> tuple[list[str], Tensor]:
    """Return the distinct names in alphabetical order, and the number of each name."""
    distinct, numbers = np.unique(np.array(names), return_inverse=True)
    return distinct.tolist(), torch.from_numpy(numbers.reshape(-1))
