"""Dataset of Human3.6M in MMPose's layout, with SMPL fits and masks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset, force_full_init
from mmengine.logging import print_log

from mmjrr.array_types import Array, IndexArray
from mmjrr.datasets.annotations import Annotations, parse_names
from mmjrr.datasets.area_crop import area_average_crop
from mmjrr.datasets.frame_selection import FrameSelection
from mmjrr.datasets.h36m_metainfo import h36m_metainfo
from mmjrr.datasets.image_names import parse_image_name
from mmjrr.datasets.initial_fits import InitialFits
from mmjrr.datasets.masks import Masks
from mmjrr.datasets.projection import check_projection, rows_by_camera
from mmjrr.datasets.sequences import consecutive, moment_index
from mmjrr.datasets.transforms import PackMeshInputs, build_pipeline, is_size
from mmjrr.datasets.triangulated_joints import labeled_trunk_joints, triangulated_joints
from mmjrr.errors import DataError
from mmjrr.geometry import (
    PIXELS_PER_SCALE,
    PerspectiveCamera,
    camera_to_fields,
    load_cameras,
)
from mmjrr.registry import DATASETS

#: Metainfo that MMPose's transforms read from a sample.
_METAINFO_OF_SAMPLES = (
    'dataset_name', 'upper_body_ids', 'lower_body_ids', 'flip_pairs', 'flip_indices',
    'dataset_keypoint_weights', 'skeleton_links',
)  # fmt: skip


#: Smallest number of the trunk's joints in 3D of a sample, which give its orientation.
_MIN_TRUNK_JOINTS = 3
#: Attribute of the full-image camera by field of a sample.
_CAMERA_FIELDS = dict(
    focal_length='focal_length',
    principal_point='principal_point',
    distortion='distortion',
    camera_rotation='rotation',
    camera_position='position',
)


@DATASETS.register_module()
class H36MFitsDataset(BaseDataset):
    """Frames of Human3.6M with joints, camera, and optionally SMPL fits and masks.

    Files are matched by image name, ignoring folders and extension. Joints are in MMPose's order.
    A sample is a dict that the pipeline transforms. It has the keys that :class:`PackMeshInputs`
    packs, and those of MMPose's transforms, whose arrays have a first axis of length 1 for the one
    instance: ``img_path``,
    ``bbox`` (the annotated box), ``keypoints`` (pixels of the full image), ``keypoints_visible``,
    ``keypoints_3d`` (meters, camera frame), ``keypoints_3d_visible``, ``lifting_target``,
    ``lifting_target_visible``, ``camera_param`` (MMPose's dict of one camera), and metainfo such
    as ``flip_indices``.

    Args:
        ann_file: Annotation npz of MMPose's layout (``imgname``, ``center``, ``scale``, ``part``,
            ``S``). All files are relative to ``data_root``.
        data_root: Folder of the data. Default: ''.
        camera_param_file: MMPose's ``cameras.pkl``, or None. Default:
            ``'annotation_body3d/cameras.pkl'``.
        fits_file: Results file with SMPL fits of any layout that evaluation reads, such as an npz
            in SPIN's layout, or None: evaluation needs none, and refinement makes them from the 3D
            joints. If it has no ``transl``, translations are computed from SPIN's weak-perspective
            camera, the box and the intrinsics. Default: None.
        fits_reading: Arguments of :func:`~mmjrr.datasets.fits.load_fits` for ``fits_file``, such as
            ``dict(name_format='S1_Walking.60457274_{number:06d}')`` for results that number the
            frames of a video, or ``dict(gender='neutral')``, in place of the genders that the file
            states. Default: None.
        mask_file: JSON file of COCO run-length codes, or several, as a list or a glob pattern.
            Default: None.
        data_prefix: Folder of the images. Default: ``dict(img='images/')``.
        subjects: Subjects to keep, such as ``['S9', 'S11']``. Default: None, all.
        actions: Actions to keep, such as ``['Walking']``. Default: None, all.
        cameras: Cameras to keep, such as ``['60457274']``. Default: None, all.
        frame_step: Keep every n-th annotated frame of each video. Default: 1.
        exclude_sequences: Sequences to exclude, such as ``['S9_Greeting']`` (all cameras) or
            ``['S11_Directions.54138969']``; ``'known_bad'`` stands for
            :data:`~mmjrr.datasets.image_names.KNOWN_BAD_SEQUENCES`; None excludes none. Default:
            ``'known_bad'``.
        load_mask: Whether samples have ``mask``, the crop of the mask, ``mask_box``, the detector's
            box in pixels of the full image (NaN if unknown), and, if all masks of the files have
            as many, ``mask_cells``, a mask head's probabilities in the cells of the box. Default:
            False.
        crop_size: Height and width of the crop. Default: (224, 224).
        bbox_padding: Factor on the side of the annotated box. Default: 1.0.
        triangulate: Whether joints without a 3D label are triangulated from the 2D joints of the
            kept cameras (:func:`~mmjrr.datasets.triangulated_joints.triangulated_joints`). Samples
            with fewer than three joints of the trunk in 3D are then dropped, counted and logged.
            Default: False.
        require: List of ``'fit'`` and ``'mask'``: samples that lack one of the listed items are
            dropped, counted and logged. Default: None, which requires a fit if ``fits_file`` is
            set and a mask if ``mask_file`` is, and nothing in test mode.
        pipeline: Transforms (configs or callables). Default: None, only :class:`PackMeshInputs`.
            An empty list leaves samples unchanged.
        metainfo: Values that replace those of :func:`~mmjrr.datasets.h36m_metainfo.h36m_metainfo`.
            Default: None.
        filter_cfg: ``subjects``, ``actions``, ``cameras``, ``frame_step`` and
            ``exclude_sequences`` as a dict. Default: None.
        indices: Indices of the samples to keep, or the number of first samples to keep. Default:
            None, all.
        serialize_data: Whether to keep the list of samples as bytes, which worker processes share.
            Default: True.
        test_mode: Whether the dataset is for validation or test, where no sample may be replaced.
            Default: False.
        lazy_init: Whether to read the files on first use instead of in the constructor. Default:
            False.
        max_refetch: Number of other samples to try if the pipeline returns None for one. Default:
            0, which makes such a sample an error.

    Attributes:
        annotations: Rows of the kept samples.
        cameras: Full-image cameras by subject and camera name.
        masks: The masks, or None without ``mask_file``.
        fits_file: Path of the file of fits, or None.
        report: Number of samples that are annotated, kept, and dropped for each reason, and with
            ``triangulate`` the numbers of joints that
            :func:`~mmjrr.datasets.triangulated_joints.triangulated_joints` counts.

    Raises:
        FileNotFoundError: A file is missing.
        DataError: A file is damaged, or the files do not match.
        ValueError: An argument is out of range, or arguments contradict each other.
    """

    METAINFO: dict[str, Any] = h36m_metainfo()

    def __init__(
        self,
        ann_file: str = 'annotation_body3d/fps10/h36m_train.npz',
        data_root: str = '',
        camera_param_file: str | None = 'annotation_body3d/cameras.pkl',
        fits_file: str | None = None,
        fits_reading: Mapping[str, Any] | None = None,
        mask_file: str | Sequence[str] | None = None,
        data_prefix: dict[str, str] | None = None,
        subjects: Sequence[str] | None = None,
        actions: Sequence[str] | None = None,
        cameras: Sequence[str] | None = None,
        frame_step: int = 1,
        exclude_sequences: str | Sequence[str] | None = 'known_bad',
        load_mask: bool = False,
        crop_size: tuple[int, int] = (224, 224),
        bbox_padding: float = 1.0,
        triangulate: bool = False,
        require: Sequence[str] | None = None,
        pipeline: Sequence[dict[str, Any] | Callable[..., Any]] | None = None,
        metainfo: Mapping[str, Any] | None = None,
        filter_cfg: dict[str, Any] | None = None,
        indices: int | Sequence[int] | None = None,
        serialize_data: bool = True,
        test_mode: bool = False,
        lazy_init: bool = False,
        max_refetch: int = 0,
    ) -> None:
        if len(crop_size) != 2 or min(crop_size) < 1:
            raise ValueError(f'crop_size: found {crop_size}, expected a positive (height, width)')
        if not bbox_padding > 0:
            raise ValueError(f'bbox_padding: found {bbox_padding}, expected a positive factor')
        if triangulate and camera_param_file is None:
            raise ValueError('camera_param_file: found None, which triangulate needs')
        if load_mask and mask_file is None:
            raise ValueError('mask_file: found None, but load_mask is set')
        self.selection = FrameSelection.from_config(
            filter_cfg,
            subjects=subjects,
            actions=actions,
            cameras=cameras,
            frame_step=frame_step,
            exclude_sequences=exclude_sequences,
        )
        self.crop_size = int(crop_size[0]), int(crop_size[1])
        self.bbox_padding = bbox_padding
        self.load_mask = load_mask
        self.triangulate = triangulate
        self.require = _requirements(require, fits_file, mask_file, test_mode)
        root = Path(data_root)
        self._camera_file = None if camera_param_file is None else root / camera_param_file
        self.fits_file = None if fits_file is None else root / fits_file
        self._fits_reading = dict(fits_reading or {})
        if isinstance(mask_file, str):
            mask_file = [mask_file]
        self._mask_files = None if mask_file is None else [str(root / file) for file in mask_file]
        self.report: dict[str, int] = {}
        self.annotations: Annotations
        self.cameras: dict[tuple[str, str], PerspectiveCamera] = {}
        self.masks: Masks | None = None
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_root=str(data_root),
            data_prefix=dict(data_prefix or dict(img='images/')),
            filter_cfg=filter_cfg,
            indices=indices,
            serialize_data=serialize_data,
            pipeline=[PackMeshInputs()] if pipeline is None else build_pipeline(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
        )

    # ------------------------------------------------------------------ samples

    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(self._checked_index(index))

    @force_full_init
    def get_data_info(self, index: int) -> dict[str, Any]:
        """Return a sample before the pipeline, without reading its image or mask."""
        info = super().get_data_info(self._checked_index(index))
        row = info.pop('row')
        imgname = str(self.annotations.imgname[row])
        name = parse_image_name(imgname)
        path = str(self._image_root / imgname)
        info.update(
            imgname=imgname,
            img_path=path,
            target_img_path=path,
            id=row,
            img_id=row,
            category_id=1,
            subject=name.subject,
            action=name.action,
            camera=name.camera,
            frame=name.frame,
        )
        info.update(_copied({key: self._metainfo[key] for key in _METAINFO_OF_SAMPLES}))
        self._add_joints(info, row)
        self._add_boxes(info, row)
        camera = (name.subject, name.camera)
        if self.masks is not None and self._mask_rows[row] >= 0:
            info['img_shape'] = tuple(self.masks.sizes[self._mask_rows[row]].tolist())
        elif camera in self.cameras:
            info['img_shape'] = self.cameras[camera].image_shape()
        if camera in self.cameras:
            info.update(_copied(self._camera_fields[camera]))
            info['camera_param'] = _copied(self._camera_params[camera])
        info.update(_copied(self._fit(row)))
        return info

    def prepare_data(self, index: int) -> Any:
        """Return a sample after the pipeline.

        Raises:
            ValueError: The pipeline returns None, and no other sample may replace this one.
        """
        info = self.get_data_info(index)
        name = info['imgname']
        if self.load_mask:
            assert self.masks is not None
            mask_row = int(self._mask_rows[self._row(index)])
            mask = self.masks.decode(mask_row)
            info['mask_box'] = self.masks.boxes[mask_row].copy()
            if self.masks.has_cells:
                info['mask_cells'] = self.masks.cells(mask_row)
            rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
            if len(rows):
                info['mask_extent'] = np.array(
                    [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32
                )
            info['mask'] = area_average_crop(mask, info['box'], self.crop_size)
        sample = self.pipeline(info)
        if sample is None and (self.test_mode or self.max_refetch == 0):
            raise ValueError(f'{name}: the pipeline returned None, expected a sample')
        return sample

    @force_full_init
    def imgname(self, index: int) -> str:
        """Return the image name of a sample, as in the annotation file."""
        return str(self.annotations.imgname[self._row(index)])

    def sequences(self, seq_len: int) -> list[list[int]]:
        """Group samples into consecutive frames of one video, at most ``seq_len`` each.

        :func:`mmjrr.datasets.sequences.consecutive` says where a group ends.
        """
        names = [parse_image_name(self.imgname(index)) for index in range(len(self))]
        return consecutive(
            [f'{name.sequence}.{name.camera}' for name in names],
            [name.frame for name in names],
            seq_len,
        )

    @force_full_init
    def moments(self) -> IndexArray:  # (N,)
        """Return the number of each sample's moment (:func:`~.sequences.moment_index`)."""
        return moment_index([parse_image_name(self.imgname(index)) for index in range(len(self))])

    @force_full_init
    def fit_sample(self, index: int) -> dict[str, Array]:
        """Return the initial fit and the 3D joints of a sample, without reading image or mask.

        Returns:
            float32 arrays: ``global_orient`` (3,), ``body_pose`` (69,), ``betas`` (K,),
            ``transl`` (3,) and ``keypoints_3d`` (17, 3), both in meters in the camera frame, and
            ``keypoints_3d_weight`` (17,).

        Raises:
            DataError: The sample has no fit.
        """
        row = self._row(index)
        fit = self._fit(row)
        if not fit:
            raise DataError(f'{self.imgname(index)}: found no fit')
        joints = self.annotations.S[row]
        return {**fit, 'keypoints_3d': joints[:, :3], 'keypoints_3d_weight': joints[:, 3]}

    @property
    def has_fits(self) -> bool:
        """Whether the samples have initial fits."""
        self.full_init()
        return bool((self._fit_rows >= 0).any())

    @force_full_init
    def fit_genders(self) -> list[str] | None:
        """Return the genders of the samples' fits; None if the file of fits states none."""
        return self._fit_genders

    @force_full_init
    def labeled_joints(self, indices: Sequence[int]) -> Array:  # (N, 17, 4)
        """Return the 3D joints of samples, meters in the camera frame, and their weights."""
        joints: Array = self.annotations.S[[self._row(index) for index in indices]]
        return joints

    @force_full_init
    def read_fits(self, path: str | Path) -> None:
        """Read initial fits of all samples, as from ``fits_file``.

        Rows of the annotation that ``indices`` does not keep need no fit.

        Raises:
            FileNotFoundError: The file does not exist.
            DataError: The file is damaged, or has no fit of a sample.
        """
        fits = InitialFits(path)
        rows = fits.match(self.annotations.imgname.tolist())
        missing = [index for index in range(len(self)) if rows[self._row(index)] < 0]
        if missing:
            raise DataError(
                f'{path}: found no fit of {self.imgname(missing[0])} and {len(missing) - 1} more'
            )
        self._set_fits(fits, rows)

    @force_full_init
    def check_projection(self, tolerance: float | None = None) -> dict[str, dict[str, float]]:
        """Measure the distance between projected 3D joints and 2D joints by subject and camera.

        Args:
            tolerance: Largest mean distance in pixels; a larger one raises. Default: None, only
                measure.

        Returns:
            ``{'S1 54138969': {'mean_px': ..., 'max_px': ..., 'frames': ...}}``.

        Raises:
            ValueError: The dataset has no cameras.
            DataError: All joints or only the legs (as in SPIN's order) are swapped left and right
                between ``S`` and ``part``, or a mean distance is above the tolerance or NaN.
        """
        if not self.cameras:
            raise ValueError('camera_param_file: found None, which check_projection needs')
        rows = np.array([self._row(index) for index in range(len(self))], dtype=np.int64)
        return check_projection(
            self.annotations.keep(rows), self.cameras, tolerance, where=str(self.ann_file)
        )

    # ------------------------------------------------------------------ loading

    def load_data_list(self) -> list[dict[str, int]]:
        """Read the files and match them by image name.

        Returns:
            For each kept sample a dict of its ``row`` in :attr:`annotations` and in the tables of
            fits and masks.
        """
        table = Annotations.load(self.ann_file)
        self.report = dict(annotated=len(table))
        names = parse_names(self.ann_file, table.imgname.tolist())
        keep, removed = self.selection.select(names)
        self.report.update(removed)
        if not keep.any():
            raise DataError(
                f'{self.ann_file}: no sample of {len(table)} is left: {self.report}; it has '
                f'subjects {sorted({n.subject for n in names})}, cameras '
                f'{sorted({n.camera for n in names})}, actions {sorted({n.action for n in names})}'
            )
        table = table.keep(keep)
        rows_of = rows_by_camera(table)
        self._load_cameras(table, rows_of)
        if self.triangulate:
            table = triangulated_joints(table, self.cameras, report=self.report)
        fit_rows = mask_rows = np.full(len(table), -1)
        fits = None
        if self.fits_file is not None:
            fits = InitialFits(self.fits_file, **self._fits_reading)
            fit_rows = fits.match(table.imgname.tolist())
        if self._mask_files is not None:
            self.masks = Masks(self._mask_files)
            mask_rows = np.array([self.masks.row(name) for name in table.imgname.tolist()])
            self._check_mask_sizes(table, rows_of, mask_rows)
            if self.load_mask and self.masks.unused_cells:
                _log(self.masks.unused_cells, logging.WARNING)
        keep = self._required(table, fit_rows, mask_rows)
        table, fit_rows = table.keep(keep), fit_rows[keep]
        self._mask_rows = mask_rows[keep]
        self.annotations = table
        self._set_fits(fits, fit_rows)
        self._image_root = Path(self.data_prefix.get('img', ''))
        self._log_report()
        return [dict(row=row) for row in range(len(table))]

    def _set_fits(self, fits: InitialFits | None, fit_rows: Array) -> None:  # (N,)
        """Set the fits of the kept samples; rows of -1 have none."""
        self._fits: dict[str, Array] = {}
        self._fit_genders: list[str] | None = None
        has_fit = fit_rows >= 0
        self._fit_rows = np.where(has_fit, np.cumsum(has_fit) - 1, -1)
        if fits is not None:
            fitted = self.annotations.keep(has_fit)
            self._fits = fits.parameters(fit_rows[has_fit], fitted, self._camera_batch(fitted))
            self._fit_genders = fits.genders(fit_rows[has_fit])

    def _load_cameras(self, table: Annotations, rows_of: Mapping[tuple[str, str], Array]) -> None:
        self.cameras, self._camera_fields, self._camera_params = {}, {}, {}
        if self._camera_file is None:
            return
        cameras = load_cameras(self._camera_file)
        for key, rows in rows_of.items():
            if key not in cameras:
                raise DataError(
                    f'{self._camera_file}: found no camera {key}, which shows '
                    f'{table.imgname[rows[0]]} and {len(rows) - 1} more; it has subjects '
                    f'{sorted({s for s, _ in cameras})} and cameras '
                    f'{sorted({c for _, c in cameras})}'
                )
            camera = self.cameras[key] = cameras[key]
            self._camera_fields[key] = {
                field: getattr(camera, name)[0].numpy()
                for field, name in _CAMERA_FIELDS.items()
                if getattr(camera, name) is not None
            }
            self._camera_params[key] = camera_to_fields(key[1], camera)

    def _check_mask_sizes(
        self,
        table: Annotations,
        rows_of: Mapping[tuple[str, str], Array],
        mask_rows: Array,
    ) -> None:
        assert self.masks is not None
        for key, camera in self.cameras.items():
            rows = rows_of[key][mask_rows[rows_of[key]] >= 0]
            sizes = self.masks.sizes[mask_rows[rows]].tolist()
            expected = camera.image_shape()
            for row, size in zip(rows, sizes, strict=True):
                if not is_size(size, expected):
                    raise DataError(
                        f'{self.masks.paths[0]}: mask of {table.imgname[row]}: size: found '
                        f'{tuple(size)}, expected {expected} (h, w), the image size of camera {key}'
                    )

    def _required(
        self, table: Annotations, fit_rows: Array, mask_rows: Array
    ) -> Array:  # (N,) bool
        """Return which samples have all that ``require`` lists, and add counts to the report."""
        keep = np.ones(len(table), dtype=bool)
        examples = {}
        for item, rows in (('fit', fit_rows), ('mask', mask_rows)):
            missing = rows < 0
            self.report[f'without_{item}'] = int(missing.sum())
            if item in self.require:
                keep &= ~missing
                if missing.any():
                    examples[item] = str(table.imgname[np.argmax(missing)])
        if self.triangulate:
            missing = labeled_trunk_joints(table) < _MIN_TRUNK_JOINTS
            self.report['without_joints'] = int(missing.sum())
            keep &= ~missing
            if missing.any():
                examples['joints'] = str(table.imgname[np.argmax(missing)])
        without_mask = int((mask_rows[keep] < 0).sum())
        if self.load_mask and without_mask:
            raise ValueError(
                f"load_mask is set, but {without_mask} samples have no mask: add 'mask' to require"
            )
        if not keep.any():
            raise DataError(
                f'{self.ann_file}: found no sample with all that is required; the first samples '
                f'without: {examples}'
            )
        self.report.update(dropped=int((~keep).sum()), kept=int(keep.sum()))
        return keep

    def _camera_batch(self, table: Annotations) -> PerspectiveCamera | None:
        """Return the full-image camera of each frame, float64; None without a camera file."""
        if not self.cameras or not len(table):
            return None
        order = {key: i for i, key in enumerate(self.cameras)}
        index = np.empty(len(table), dtype=np.int64)
        for key, rows in rows_by_camera(table).items():
            index[rows] = order[key]
        return PerspectiveCamera.cat(list(self.cameras.values()))[index]

    def _log_report(self) -> None:
        kept = f'{self.report["kept"]} of {self.report["annotated"]} samples of {self.ann_file}'
        not_selected = {
            name: count
            for name, count in self.report.items()
            if count
            and name not in ('annotated', 'kept', 'dropped')
            and not name.startswith(('without_', 'joints_'))
        }
        remarks = [f'not selected: {not_selected}'] if not_selected else []
        remarks += filter(None, map(self._about_missing, ('fit', 'mask', 'joints')))
        _log(
            f'{type(self).__name__}: {"; ".join([kept, *remarks])}',
            logging.WARNING if self.report['dropped'] else logging.INFO,
        )

    def _about_missing(self, item: str) -> str:
        """Say what becomes of the samples without an item; '' if none is without."""
        count = self.report.get(f'without_{item}', 0)
        file, path = {
            'fit': ('fits_file', self.fits_file),
            'mask': ('mask_file', self._mask_files),
        }.get(item, ('', ''))
        if not count or (path is None and self.test_mode):
            return ''
        if path is None:
            return f'{file} is not set, so no sample has a {item}'
        if item == 'joints':
            return f'{count} dropped, with fewer than {_MIN_TRUNK_JOINTS} joints of the trunk in 3D'
        return f'{count} {"dropped, " if item in self.require else ""}without a {item}'

    # ------------------------------------------------------------------ one sample

    def _checked_index(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f'sample {index} of {len(self)}')
        return int(index) % len(self)

    def _row(self, index: int) -> int:
        return super().get_data_info(self._checked_index(index))['row']

    def _add_joints(self, info: dict[str, Any], row: int) -> None:
        part = self.annotations.part[row : row + 1].copy()
        joints = self.annotations.S[row : row + 1].copy()
        info.update(
            num_keypoints=part.shape[1],
            keypoints=part[..., :2],
            keypoints_visible=part[..., 2],
            keypoints_3d=joints[..., :3],
            keypoints_3d_visible=joints[..., 3],
            lifting_target=joints[..., :3].copy(),
            lifting_target_visible=joints[..., 3].copy(),
        )

    def _add_boxes(self, info: dict[str, Any], row: int) -> None:
        """Add the annotated square ``bbox``, and ``box``, which has the aspect of the crop."""
        center = self.annotations.center[row]
        side = self.annotations.scale[row] * PIXELS_PER_SCALE
        height, width = self.crop_size
        extent = side * self.bbox_padding * np.array([max(width / height, 1.0),
                                                      max(height / width, 1.0)])  # fmt: skip
        square = np.concatenate([center - side / 2, center + side / 2])
        info.update(
            box=(*(center - extent / 2).tolist(), *(center + extent / 2).tolist()),
            bbox=square[None].astype(np.float32),
            bbox_score=np.ones(1, dtype=np.float32),
        )

    def _copy_without_annotation(self, memo: dict[int, Any] | None = None) -> H36MFitsDataset:
        """Copy all but the list of samples; share the tables, which are never written to."""
        shared = (self.annotations, self._fits, self._fit_rows, self._mask_rows, self.masks)
        return super()._copy_without_annotation({id(value): value for value in shared})

    def _fit(self, row: int) -> dict[str, Array]:
        fit_row = self._fit_rows[row]
        return {} if fit_row < 0 else {name: v[fit_row] for name, v in self._fits.items()}


def _log(text: str, level: int) -> None:
    print_log(text, logger='current', level=level)


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the arrays, since transforms may change them in place."""
    return {
        name: value.copy() if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


def _requirements(
    require: Sequence[str] | None, fits_file: Any, mask_file: Any, test_mode: bool
) -> tuple[str, ...]:
    """Return the items that a sample must have; see ``require`` of the dataset.

    Raises:
        ValueError: ``require`` lists something else, or an item whose file is not set.
    """
    files = dict(fit=fits_file, mask=mask_file)
    if require is None:
        return () if test_mode else tuple(item for item, file in files.items() if file is not None)
    unknown = [item for item in require if item not in files]
    if isinstance(require, str) or unknown:
        raise ValueError(f"require: found {require!r}, expected a list of 'fit' and 'mask'")
    for item in require:
        if files[item] is None:
            name = 'fits_file' if item == 'fit' else 'mask_file'
            raise ValueError(f'{name}: found None, but require names {item!r}')
    return tuple(require)
