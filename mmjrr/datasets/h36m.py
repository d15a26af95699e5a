"""Human3.6M in MMPose's layout, with SMPL fits and masks beside it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from torch.utils.data import Dataset

from mmjrr.datasets.area_crop import area_average_crop
from mmjrr.datasets.fits import image_names, load_fits
from mmjrr.datasets.image_names import (
    ACTION_ALIASES,
    KNOWN_BAD_SEQUENCES,
    image_key,
    is_listed,
    parse_image_name,
)
from mmjrr.datasets.masks import Masks
from mmjrr.datasets.predictions import match_names
from mmjrr.datasets.sequences import consecutive
from mmjrr.datasets.transforms import ROWS_SLACK
from mmjrr.errors import DataError
from mmjrr.geometry import (
    MAX_DISTANCE,
    MAX_PIXEL,
    PIXELS_PER_SCALE,
    PerspectiveCamera,
    crop_weak_perspective_to_transl,
    load_cameras,
    projection_errors,
)
from mmjrr.io import read_npz
from mmjrr.io.paths import check_inside
from mmjrr.joints import H36M_BONES, H36M_JOINTS_MMPOSE
from mmjrr.registry import DATASETS, TRANSFORMS

_PARAMETERS = ('global_orient', 'body_pose', 'betas', 'transl')
#: Attributes with a row for each sample.
_PER_SAMPLE = (
    '_imgname', '_subject', '_action', '_camera', '_frame', '_center', '_scale', '_keypoints_2d',
    '_keypoints_2d_weight', '_keypoints_3d', '_keypoints_3d_weight', '_fit_row', '_mask_row',
)  # fmt: skip


@DATASETS.register_module()
class H36MFitsDataset(Dataset):
    """Frames of Human3.6M: joints, camera, and, where files are given, SMPL fits and masks.

    Files are matched by image name, without folders and extension. An item is::

        dict(inputs=dict(mask=(H, W) float32 coverage of the crop, img=(3, H, W) uint8 BGR),
             data_samples=BaseDataElement)

    The data sample's metainfo: ``imgname``, ``img_path``, ``subject``, ``action``, ``camera``,
    ``frame``, ``sample_idx``, ``box`` (x0, y0, x1, y1) and ``img_shape`` (h, w) (of the mask, else
    of the camera file, which can be off by two rows). Its fields, float32: ``keypoints_3d``
    (17, 3) metres in the camera frame, ``keypoints_3d_weight`` (17,), ``keypoints_2d`` (17, 2)
    full-image pixels, ``keypoints_2d_weight`` (17,); with a camera file ``focal_length`` (2,),
    ``principal_point`` (2,), ``distortion`` (5,) of the full image; with fits ``global_orient``
    (3,), ``body_pose`` (69,), ``betas`` (10,), ``transl`` (3,) metres. Joints are in MMPose's
    order.

    Args:
        ann_file: Annotation npz of MMPose's layout (``imgname``, ``center``, ``scale``, ``part``,
            ``S``), like all files relative to ``data_root``.
        data_root: Folder of the data. Defaults to ''.
        camera_param_file: MMPose's ``cameras.pkl``, or None. Defaults to
            ``'annotation_body3d/cameras.pkl'``.
        fits_file: SMPL fits in SPIN's npz layout, or None (evaluation). Without ``transl`` in it,
            translations come from SPIN's weak-perspective camera, the box and the intrinsics.
        mask_file: JSON file of COCO run-length codes; or several, as a list or a glob. Default
            None.
        data_prefix: Folder of the images. Defaults to ``dict(img='images/')``.
        subjects: Subjects to keep, e.g. ``['S9', 'S11']``. Defaults to None: all.
        actions: Actions to keep, e.g. ``['Walking']``. Defaults to None: all.
        cameras: Cameras to keep, e.g. ``['60457274']``. Defaults to None: all.
        frame_step: Keep every n-th annotated frame of each video. Defaults to 1.
        exclude_sequences: Sequences to leave out, e.g. ``['S9_Greeting']`` (all cameras) or
            ``['S11_Directions.54138969']``; ``'known_bad'`` stands for
            :data:`~mmjrr.datasets.image_names.KNOWN_BAD_SEQUENCES`; None for none. Default
            ``'known_bad'``.
        load_image: Whether items hold the image's crop. Defaults to False.
        load_mask: Whether items hold the mask's crop. Defaults to False.
        crop_size: Height and width of crops. Defaults to (224, 224).
        bbox_padding: Factor on the box's side. Defaults to 1.0.
        pipeline: Transforms (configs or callables) of an item's dict, such as those of
            :mod:`mmjrr.datasets.transforms`, which load and crop images themselves. Defaults to ().
        require: What a sample must have, of ``'fit'`` and ``'mask'``; samples without are dropped,
            counted, logged and reported. Defaults to None: whatever a file is given for, and
            nothing in test mode.
        test_mode: Whether the data set is for validation or test, which must not lose samples.
            Defaults to False.

    Attributes:
        report: What was found and left out, by reason (dict of counts).

    Raises:
        FileNotFoundError: a file is not there.
        DataError: a file is broken, or the files do not fit together.
        ValueError: an argument is wrong.
    """

    METAINFO: dict[str, Any] = dict(
        dataset_name='h36m',
        joint_order='mmpose',
        joint_names=H36M_JOINTS_MMPOSE,
        bones=H36M_BONES,
        num_keypoints=len(H36M_JOINTS_MMPOSE),
    )

    def __init__(
        self,
        ann_file: str = 'annotation_body3d/fps10/h36m_train.npz',
        data_root: str = '',
        camera_param_file: str | None = 'annotation_body3d/cameras.pkl',
        fits_file: str | None = None,
        mask_file: str | Sequence[str] | None = None,
        data_prefix: dict[str, str] | None = None,
        subjects: Sequence[str] | None = None,
        actions: Sequence[str] | None = None,
        cameras: Sequence[str] | None = None,
        frame_step: int = 1,
        exclude_sequences: str | Sequence[str] | None = 'known_bad',
        load_image: bool = False,
        load_mask: bool = False,
        crop_size: tuple[int, int] = (224, 224),
        bbox_padding: float = 1.0,
        pipeline: Sequence[dict | Callable] = (),
        require: Sequence[str] | None = None,
        test_mode: bool = False,
    ) -> None:
        self.data_root = Path(data_root)
        self.ann_file = self.data_root / ann_file
        self.image_root = self.data_root / (data_prefix or dict(img='images/')).get('img', '')
        self.load_image = load_image
        self.load_mask = load_mask
        self.crop_size = _size(crop_size)
        self.test_mode = test_mode
        if frame_step < 1:
            raise ValueError(f'frame_step: found {frame_step}, expected at least 1')
        if not bbox_padding > 0:
            raise ValueError(f'bbox_padding: found {bbox_padding}, expected a positive factor')
        if load_mask and mask_file is None:
            raise ValueError('load_mask is set, but mask_file is None')
        files = dict(fit=fits_file, mask=mask_file)
        self.require = _requirements(require, files, test_mode)
        self.report: dict[str, int] = {}
        self.pipeline = [
            TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline
        ]

        self._load_annotations(self.ann_file)
        selected = self._select(subjects, actions, cameras, frame_step, exclude_sequences)
        self._keep(selected)
        self.cameras: dict[tuple[str, str], PerspectiveCamera] = {}
        if camera_param_file is not None:
            self._load_cameras(self.data_root / camera_param_file)
        self._fit_row = np.full(len(self), -1)
        self._mask_row = np.full(len(self), -1)
        fits = None
        if fits_file is not None:
            fits = load_fits(self.data_root / fits_file)
            self._match_fits(self.data_root / fits_file, fits)
        self.masks: Masks | None = None
        if mask_file is not None:
            self.masks = Masks(_under(self.data_root, mask_file))
            self._match_masks()
        self._require()
        del self._parsed  # 300,000 tuples
        self._fits: dict[str, np.ndarray] = {}
        if fits is not None:
            self._take_fits(self.data_root / str(fits_file), fits)
        self._boxes = _boxes(self._center, self._scale, bbox_padding, self.crop_size)
        self._log_report()

    # ------------------------------------------------------------------ what a Runner needs

    @property
    def metainfo(self) -> dict[str, Any]:
        """Joint names and order, for metrics and visualisers."""
        return dict(self.METAINFO)

    def __len__(self) -> int:
        return len(self._imgname)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = self._checked_index(index)
        sample = BaseDataElement(metainfo=self._metainfo_of(index))
        for name, value in self._fields_of(index).items():
            sample.set_field(torch.from_numpy(np.array(value, dtype=np.float32)), name)
        inputs: dict[str, torch.Tensor] = {}
        if self.load_mask:
            inputs['mask'] = torch.from_numpy(self._mask_crop(index))
        if self.load_image:
            inputs['img'] = torch.from_numpy(self._image_crop(index))
        item: dict[str, Any] = dict(inputs=inputs, data_samples=sample)
        for step in self.pipeline:
            item = step(item)
            if item is None:
                raise ValueError(f'{step!r} gave None for {self.imgname(index)}')
        return item

    def imgname(self, index: int) -> str:
        """Image name of a sample, as the annotation has it."""
        return self._imgname[index].decode()

    def sequences(self, seq_len: int) -> list[list[int]]:
        """Samples of consecutive frames of one video, at most ``seq_len`` at once.

        :func:`mmjrr.datasets.sequences.consecutive` says where one ends.
        """
        names = [parse_image_name(self.imgname(index)) for index in range(len(self))]
        return consecutive(
            [f'{name.sequence}.{name.camera}' for name in names],
            [name.frame for name in names],
            seq_len,
        )

    def fit_sample(self, index: int) -> dict[str, np.ndarray]:
        """Initial fit and 3D joints of a sample as float32 arrays; reads no image and no mask.

        Raises:
            DataError: the sample has no fit.
        """
        index = self._checked_index(index)
        if self._fit_row[index] < 0:
            raise DataError(f'{self.imgname(index)}: has no fit')
        return {
            **self._fit_fields(index),
            'keypoints_3d': self._keypoints_3d[index],
            'keypoints_3d_weight': self._keypoints_3d_weight[index],
        }

    def check_projection(self, tolerance: float | None = None) -> dict[str, dict[str, float]]:
        """Distance between projected 3D joints and 2D joints, by subject and camera.

        Args:
            tolerance: Mean distance in pixels above which to raise. Default None: only report.

        Returns:
            ``{'S1 54138969': {'mean_px': ..., 'max_px': ..., 'frames': ...}}``.

        Raises:
            DataError: left and right, or the legs alone (as in SPIN's order), are swapped between
                ``S`` and ``part``, or a mean distance is above the tolerance or no number.
        """
        if not self.cameras:
            raise ValueError('check_projection needs camera_param_file')
        found = {}
        for (subject, camera), rows in self._rows_by_camera():
            used = (self._keypoints_3d_weight[rows] > 0) & (self._keypoints_2d_weight[rows] > 0)
            if not used.any():
                continue
            errors = projection_errors(
                self.cameras[subject, camera],
                self._keypoints_3d[rows],
                self._keypoints_2d[rows],
                used,
            )
            name = f'{subject} {camera}'
            if (swap := errors.find_swap()) is not None:
                raise DataError(
                    f'{self.ann_file}: {name}: {swap[0]} are swapped between S and part: '
                    f'projected joints are {errors.mean:.1f} px from part, '
                    f'{swap[1]:.1f} px when swapped back'
                )
            if tolerance is not None and not errors.mean <= tolerance:
                raise DataError(
                    f'{self.ann_file}: {name}: projected S is {errors.mean:.1f} px from part, '
                    f'expected at most {tolerance}'
                )
            found[name] = dict(mean_px=errors.mean, max_px=errors.max, frames=len(rows))
        return found

    # ------------------------------------------------------------------ loading

    def _load_annotations(self, path: Path) -> None:
        raw = read_npz(path)
        missing = [name for name in ('imgname', 'center', 'scale', 'part', 'S') if name not in raw]
        if missing:
            raise DataError(f'{path}: lacks {missing}, found {sorted(raw)}')
        names = image_names(path, raw['imgname']).tolist()
        check_inside(f'{path}: imgname', names)
        self._check_shapes(path, raw, len(names))
        twice = [name for name, n in Counter(map(image_key, names)).items() if n > 1]
        if twice:
            raise DataError(
                f'{path}: imgname: {len(twice)} images are listed more than once, such as '
                f'{twice[0]!r}'
            )
        try:
            parsed = [parse_image_name(name) for name in names]
        except DataError as error:
            raise DataError(f'{path}: imgname: {error}') from error
        self._imgname = np.array([name.encode() for name in names], dtype=np.bytes_)
        self._subject = np.array([name.subject for name in parsed])
        self._action = np.array([name.action for name in parsed])
        self._camera = np.array([name.camera for name in parsed])
        self._frame = np.array([name.frame for name in parsed], dtype=np.int64)
        self._parsed = parsed
        self._center = raw['center'].astype(np.float64)
        self._scale = raw['scale'].astype(np.float64).reshape(-1)
        part, joints = raw['part'], raw['S']
        weight = part[..., 2] if part.shape[-1] == 3 else np.ones(part.shape[:2])
        self._keypoints_2d, self._keypoints_2d_weight = _weighted(part[..., :2], weight)
        self._keypoints_3d, self._keypoints_3d_weight = _weighted(joints[..., :3], joints[..., 3])
        self._check_values(path)
        self.report['annotated'] = len(names)

    @staticmethod
    def _check_shapes(path: Path, raw: dict[str, np.ndarray], count: int) -> None:
        joints = len(H36M_JOINTS_MMPOSE)
        expected: dict[str, tuple[tuple[int, ...], ...]] = {
            'center': ((count, 2),),
            'scale': ((count,), (count, 1)),
            'part': ((count, joints, 3), (count, joints, 2)),
            'S': ((count, joints, 4),),
        }
        for name, shapes in expected.items():
            if raw[name].shape not in shapes:
                wanted = ' or '.join(map(str, shapes))
                raise DataError(
                    f'{path}: {name}: found shape {raw[name].shape}, expected {wanted} for '
                    f'{count} image names and the 17 joints of H36M'
                )
            if raw[name].dtype.kind not in 'fiu':
                raise DataError(f'{path}: {name}: found {raw[name].dtype}, expected numbers')

    def _check_values(self, path: Path) -> None:
        for name, value in dict(
            center=self._center,
            scale=self._scale,
            part=self._keypoints_2d,
            S=self._keypoints_3d,
            part_weight=self._keypoints_2d_weight,
            S_weight=self._keypoints_3d_weight,
        ).items():
            finite = np.isfinite(value.reshape(len(self), -1)).all(1)
            if not finite.all():
                raise DataError(
                    f'{path}: {name}: {int((~finite).sum())} of {len(self)} rows are not finite, '
                    f'the first is {self.imgname(int(np.argmin(finite)))}'
                )
        if not (self._scale > 0).all():
            raise DataError(
                f'{path}: scale: found {self._scale.min()} at '
                f'{self.imgname(int(np.argmin(self._scale)))}, expected positive numbers'
            )
        for name, value in dict(center=self._center, scale=self._scale * PIXELS_PER_SCALE).items():
            if np.abs(value).max(initial=0) > MAX_PIXEL:
                raise DataError(
                    f'{path}: {name}: found {np.abs(value).max():.3g} pixels, expected at most '
                    f'{MAX_PIXEL:.0f}'
                )
        depth = np.where(self._keypoints_3d_weight[:, 0] > 0, self._keypoints_3d[:, 0, 2], 0)
        if np.abs(depth).max(initial=0) > MAX_DISTANCE:
            row = int(np.argmax(np.abs(depth)))
            raise DataError(
                f'{path}: S: the pelvis of {self.imgname(row)} has depth {depth[row]:.0f}, '
                f'expected metres, below {MAX_DISTANCE:.0f}; these look like millimetres'
            )

    def _select(
        self,
        subjects: Sequence[str] | None,
        actions: Sequence[str] | None,
        cameras: Sequence[str] | None,
        frame_step: int,
        exclude_sequences: str | Sequence[str] | None,
    ) -> np.ndarray:  # (N,) bool
        keep = np.ones(len(self), dtype=bool)

        def drop(reason: str, wanted: np.ndarray) -> None:
            self.report[reason] = int((keep & ~wanted).sum())
            keep[~wanted] = False

        chosen_actions = None if actions is None else [ACTION_ALIASES.get(a, a) for a in actions]
        for reason, values, chosen in (
            ('other_subject', self._subject, subjects),
            ('other_action', self._action, chosen_actions),
            ('other_camera', self._camera, cameras),
        ):
            if isinstance(chosen, str):
                raise ValueError(f'{reason[6:]}s: found {chosen!r}, expected a list')
            if chosen is not None:
                drop(reason, np.isin(values, np.array(list(chosen), dtype=np.str_)))
        excluded = _excluded(exclude_sequences)
        drop('excluded_sequence', np.array([not is_listed(n, excluded) for n in self._parsed]))
        if frame_step > 1:
            drop('frame_step', self._every(frame_step, keep))
        if not keep.any():
            raise DataError(
                f'{self.ann_file}: no sample is left of {len(self)}: {self.report}; it has '
                f'subjects {sorted(set(self._subject.tolist()))}, cameras '
                f'{sorted(set(self._camera.tolist()))}, actions '
                f'{sorted(set(self._action.tolist()))}'
            )
        return keep

    def _every(self, step: int, keep: np.ndarray) -> np.ndarray:  # (N,) bool
        """Every n-th of the kept frames of each video, by frame number."""
        wanted = np.zeros(len(self), dtype=bool)
        videos: dict[tuple[str, str], list[int]] = {}
        for row in np.flatnonzero(keep).tolist():
            name = self._parsed[row]
            videos.setdefault((name.sequence, name.camera), []).append(row)
        for rows in videos.values():
            wanted[sorted(rows, key=lambda row: self._frame[row])[::step]] = True
        return wanted

    def _load_cameras(self, path: Path) -> None:
        cameras = load_cameras(path)
        for key, rows in self._rows_by_camera():
            if key not in cameras:
                raise DataError(
                    f'{path}: lacks the camera {key} of {self.imgname(int(rows[0]))} and '
                    f'{len(rows) - 1} more; it has subjects {sorted({s for s, _ in cameras})} and '
                    f'cameras {sorted({c for _, c in cameras})}'
                )
            self.cameras[key] = cameras[key]

    def _match_fits(self, path: Path, fits: dict[str, Any]) -> None:
        names = [self.imgname(index) for index in range(len(self))]
        rows = match_names(fits['imgname'].tolist(), names, str(path))
        valid = fits.get('valid')
        if valid is not None:
            rows = np.where(valid[rows], rows, -1)
        self._fit_row = rows

    def _match_masks(self) -> None:
        assert self.masks is not None
        self._mask_row = np.array([self.masks.row(key) for key in self._keys()])
        for key, rows in self._rows_by_camera():
            if key not in self.cameras:
                continue
            rows = rows[self._mask_row[rows] >= 0]
            sizes = self.masks.sizes[self._mask_row[rows]]
            expected = self.cameras[key].image_shape()
            wrong = np.flatnonzero((np.abs(sizes - expected) > (ROWS_SLACK, 0)).any(1))
            if len(wrong):
                raise DataError(
                    f'{self.masks.paths[0]}: size of the mask of '
                    f'{self.imgname(int(rows[wrong[0]]))}: found '
                    f'{tuple(sizes[wrong[0]].tolist())}, expected the image size {expected} '
                    f'(h, w) of camera {key}'
                )

    def _require(self) -> None:
        keep = np.ones(len(self), dtype=bool)
        examples = {}
        for what, rows in (('fit', self._fit_row), ('mask', self._mask_row)):
            lacking = rows < 0
            self.report[f'without_{what}'] = int(lacking.sum())
            if what in self.require:
                keep &= ~lacking
                if lacking.any():
                    examples[what] = self.imgname(int(np.argmax(lacking)))
        if self.load_mask and (self._mask_row[keep] < 0).any():
            raise ValueError(
                f'load_mask is set, but {int((self._mask_row[keep] < 0).sum())} samples have no '
                "mask: add 'mask' to require"
            )
        if not keep.any():
            raise DataError(f'{self.ann_file}: no sample has {self.require}; such as {examples}')
        self.report['dropped'] = int((~keep).sum())
        self._keep(keep)
        self.report['kept'] = len(self)

    def _take_fits(self, path: Path, fits: dict[str, Any]) -> None:
        """Copy what the kept samples need, so that the file's arrays can go."""
        rows = self._fit_row
        has = rows >= 0
        transl = fits.get('transl')
        if transl is None:
            if 'camera' not in fits:
                raise DataError(f"{path}: has neither 'transl' nor 'camera', expected one")
            transl = self._transl_of_weak_perspective(path, fits, np.flatnonzero(has))
        else:
            transl = transl[rows[has]]
        behind = transl[:, 2] <= 0
        if behind.any():
            first = self.imgname(int(np.flatnonzero(has)[np.argmax(behind)]))
            raise DataError(f'{path}: transl: {first} and others lie behind the camera')
        if (np.abs(transl) > MAX_DISTANCE).any():
            raise DataError(
                f'{path}: transl: found {np.abs(transl).max():.0f}, expected metres, below '
                f'{MAX_DISTANCE:.0f}'
            )
        self._fits = dict(pose=fits['pose'][rows[has]], betas=fits['betas'][rows[has]])
        self._fits['transl'] = np.asarray(transl, dtype=np.float32)
        self._fit_row = np.where(has, np.cumsum(has) - 1, -1)

    def _transl_of_weak_perspective(
        self, path: Path, fits: dict[str, Any], indices: np.ndarray
    ) -> np.ndarray:  # (M, 3)
        if not self.cameras:
            raise DataError(f"{path}: has no 'transl', so camera_param_file is needed")
        rows = self._fit_row[indices]
        center = fits['center'][rows] if 'center' in fits else self._center[indices]
        scale = fits['scale'][rows] if 'scale' in fits else self._scale[indices]
        try:
            return crop_weak_perspective_to_transl(
                _tensor(fits['camera'][rows]),
                _tensor(center),
                _tensor(scale) * PIXELS_PER_SCALE,
                self._intrinsics(indices),
            ).numpy()
        except ValueError as error:
            raise DataError(f'{path}: camera: {error}') from error

    def _log_report(self) -> None:
        lost = {
            name: count
            for name, count in self.report.items()
            if count and name not in ('annotated', 'kept')
        }
        print_log(
            f'{type(self).__name__}: {self.report["kept"]} of {self.report["annotated"]} samples '
            f'of {self.ann_file}' + (f'; left out or lacking: {lost}' if lost else ''),
            logger='current',
            level=logging.WARNING if self.report['dropped'] else logging.INFO,
        )

    def _keep(self, keep: np.ndarray) -> None:
        for name in _PER_SAMPLE:
            if hasattr(self, name):
                setattr(self, name, getattr(self, name)[keep])
        self._parsed = [self._parsed[row] for row in np.flatnonzero(keep).tolist()]

    # ------------------------------------------------------------------ one sample

    def _checked_index(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f'sample {index} of {len(self)}')
        return int(index) % len(self)

    def _metainfo_of(self, index: int) -> dict[str, Any]:
        imgname = self.imgname(index)
        info = dict(
            imgname=imgname,
            img_path=str(self.image_root / imgname),
            subject=str(self._subject[index]),
            action=str(self._action[index]),
            camera=str(self._camera[index]),
            frame=int(self._frame[index]),
            sample_idx=index,
            box=tuple(self._boxes[index].tolist()),
        )
        camera = self.cameras.get((str(info['subject']), str(info['camera'])))
        if self.masks is not None and self._mask_row[index] >= 0:
            info['img_shape'] = tuple(self.masks.sizes[self._mask_row[index]].tolist())
        elif camera is not None:
            info['img_shape'] = camera.image_shape()
        return info

    def _fields_of(self, index: int) -> dict[str, np.ndarray]:
        fields = dict(
            keypoints_3d=self._keypoints_3d[index],
            keypoints_3d_weight=self._keypoints_3d_weight[index],
            keypoints_2d=self._keypoints_2d[index],
            keypoints_2d_weight=self._keypoints_2d_weight[index],
        )
        camera = self.cameras.get((str(self._subject[index]), str(self._camera[index])))
        if camera is not None:
            for name in ('focal_length', 'principal_point', 'distortion'):
                fields[name] = getattr(camera, name)[0].numpy()
        if self._fit_row[index] >= 0:
            fields.update(self._fit_fields(index))
        return fields

    def _fit_fields(self, index: int) -> dict[str, np.ndarray]:
        row = self._fit_row[index]
        pose = self._fits['pose'][row]
        values = (pose[:3], pose[3:], self._fits['betas'][row], self._fits['transl'][row])
        return dict(zip(_PARAMETERS, values, strict=True))

    def _mask_crop(self, index: int) -> np.ndarray:  # (H, W) float32
        assert self.masks is not None
        mask = self.masks.decode(int(self._mask_row[index]))
        return area_average_crop(mask, self._boxes[index], self.crop_size)

    def _image_crop(self, index: int) -> np.ndarray:  # (3, H, W) uint8, BGR
        import cv2

        path = self.image_root / self.imgname(index)
        if not path.is_file():
            raise FileNotFoundError(f'{path}: no such image')
        image = cv2.imread(str(path))
        if image is None:
            raise DataError(f'{path}: not a readable image')
        expected = self._metainfo_of(index).get('img_shape', image.shape[:2])
        slack = 0 if self._mask_row[index] >= 0 else ROWS_SLACK
        if abs(image.shape[0] - expected[0]) > slack or image.shape[1] != expected[1]:
            source = 'mask' if self._mask_row[index] >= 0 else 'camera file'
            raise DataError(
                f'{path}: found size {image.shape[:2]}, expected {expected} (h, w) of the {source}'
            )
        x0, y0, x1, y1 = self._boxes[index].tolist()
        height, width = self.crop_size
        # Output pixel (u, v), centre at u + 0.5, shows the box at that fraction; OpenCV counts
        # from pixel centres on both sides.
        step_x, step_y = (x1 - x0) / width, (y1 - y0) / height
        to_image = np.array(
            [[step_x, 0, x0 + step_x / 2 - 0.5], [0, step_y, y0 + step_y / 2 - 0.5]]
        )
        crop = cv2.warpAffine(
            image, to_image, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        return np.ascontiguousarray(crop.transpose(2, 0, 1))

    # ------------------------------------------------------------------ all samples

    def _keys(self) -> list[str]:
        return [image_key(name.decode()) for name in self._imgname.tolist()]

    def _rows_by_camera(self) -> list[tuple[tuple[str, str], np.ndarray]]:
        names = np.char.add(np.char.add(self._subject, ' '), self._camera)
        groups = []
        for name in np.unique(names).tolist():
            subject, camera = name.split(' ')
            groups.append(((subject, camera), np.flatnonzero(names == name)))
        return groups

    def _intrinsics(self, rows: np.ndarray) -> PerspectiveCamera:
        """Full-image cameras of samples, float64."""
        cameras = [
            self.cameras[key]
            for key in zip(self._subject[rows].tolist(), self._camera[rows].tolist(), strict=True)
        ]
        return PerspectiveCamera.cat(cameras)


def _weighted(points: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Float32 points and weights; what a point of weight 0 holds (NaN, often) becomes 0."""
    points = np.where((weight == 0)[..., None], 0, points)
    return points.astype(np.float32), weight.astype(np.float32)


def _boxes(
    center: np.ndarray, scale: np.ndarray, padding: float, crop_size: tuple[int, int]
) -> np.ndarray:  # (N, 4), x0, y0, x1, y1
    """The annotation's square boxes, widened to the crop's aspect ratio."""
    height, width = crop_size
    side = (scale * PIXELS_PER_SCALE * padding)[:, None]
    extent = side * np.array([max(width / height, 1.0), max(height / width, 1.0)])
    return np.concatenate([center - extent / 2, center + extent / 2], 1)


def _requirements(
    require: Sequence[str] | None, files: dict[str, Any], test_mode: bool
) -> tuple[str, ...]:
    if require is None:
        given = tuple(what for what, file in files.items() if file is not None)
        return () if test_mode else given
    unknown = [what for what in require if what not in files]
    if isinstance(require, str) or unknown:
        raise ValueError(f"require: found {require!r}, expected a list of 'fit' and 'mask'")
    for what in require:
        if files[what] is None:
            raise ValueError(
                f'require names {what!r}, but {"fits_file" if what == "fit" else "mask_file"} '
                'is None'
            )
    return tuple(require)


def _excluded(sequences: str | Sequence[str] | None) -> frozenset[str]:
    if sequences is None:
        return frozenset()
    if sequences == 'known_bad':
        return frozenset(KNOWN_BAD_SEQUENCES)
    if isinstance(sequences, str):
        raise ValueError(
            f"exclude_sequences: found {sequences!r}, expected 'known_bad', a list, or None"
        )
    listed = set(sequences)
    if 'known_bad' in listed:
        listed = (listed - {'known_bad'}) | set(KNOWN_BAD_SEQUENCES)
    return frozenset(listed)


def _size(size: Sequence[int]) -> tuple[int, int]:
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f'crop_size: found {size}, expected a positive (height, width)')
    return int(size[0]), int(size[1])


def _under(root: Path, path: str | Sequence[str]) -> list[str]:
    return [str(root / part) for part in ([path] if isinstance(path, str) else path)]


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float64))
