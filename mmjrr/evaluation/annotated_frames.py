"""The annotated frames on which stored predictions are evaluated."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mmengine.logging import MMLogger

from mmjrr.array_types import Array
from mmjrr.datasets.annotations import Annotations
from mmjrr.datasets.fits import image_names
from mmjrr.datasets.image_names import frame_key, parse_image_name
from mmjrr.io import read_npz
from mmjrr.io.mapped import pieces, release, take, working_array
from mmjrr.io.texts import sorted_rows, take_texts, texts_of
from mmjrr.joints import H36M_JOINTS_MMPOSE, reorder_index

from .annotation_plausibility import check_annotated_joints
from .core import check_annotation, count_left_out, is_counted
from .protocols import FrameLabels, Protocol
from .regressed_frames import frame_labels

if TYPE_CHECKING:
    from mmjrr.datasets.h36m import H36MFitsDataset

#: Number of frames whose annotation is checked.
_SAMPLE = 200
#: Path of the annotation file in a folder of MMPose's layout.
TEST_ANNOTATION = 'annotation_body3d/fps10/h36m_test.npz'


class AnnotatedFrames:
    """The N frames of an annotated data set, and which of them the protocols count.

    Args:
        annotations: A path or a data set, as in :func:`~mmjrr.evaluation.evaluate`.
        protocols: Protocols by name. A frame counts if any of them counts it.

    Attributes:
        path: The data set's annotation file.
        names: Image names of the data set's frames.
        labels: Subject, action, sequence and camera of each frame.
        counted: Whether each frame counts, (N,) bool.
        listed: Image names of all frames in the annotation file, which can be more than N.
        absolute: Whether a protocol compares absolute positions.
        left_out: :func:`~mmjrr.datasets.image_names.frame_key` of the listed frames that do not
            count.

    Raises:
        FileNotFoundError: The annotation file does not exist.
        DataError: The annotation file is broken.
        ValueError: A protocol counts none of the frames, and the message names their subjects; or
            it names a subject, camera or sequence of which there is no frame.
    """

    def __init__(
        self, annotations: str | Path | H36MFitsDataset, protocols: Mapping[str, Protocol]
    ) -> None:
        self._dataset: H36MFitsDataset | None = None
        self.names: Sequence[str]
        self.listed: Sequence[str]
        if isinstance(annotations, (str, Path)):
            self._read(Path(annotations))
        else:
            self._take(annotations)
        self.labels = list(_labels_of(self.names))
        self.absolute = any(protocol.root is None for protocol in protocols.values())
        count_left_out(self.labels, protocols)  # raises if a protocol counts no frame
        for protocol in protocols.values():
            for sentence in protocol.unmatched_choices(self._listed_labels()):
                raise ValueError(sentence)
        self.counted = np.fromiter(
            (is_counted(labels, protocols) for labels in self.labels), bool, len(self.labels)
        )
        self.left_out = {frame_key(name) for name in self._names_left_out()}

    def _read(self, path: Path) -> None:
        self.path = path / TEST_ANNOTATION if path.is_dir() else path
        table = Annotations.load(self.path, mapped=True)
        self.names = self.listed = texts_of(table.imgname)
        self._joint_names = H36M_JOINTS_MMPOSE
        self._joints, self._row_of = table.S, np.arange(len(table))
        self._part = table.part

    def _take(self, dataset: H36MFitsDataset) -> None:
        from mmjrr.datasets.h36m import H36MFitsDataset

        if not isinstance(dataset, H36MFitsDataset):
            raise ValueError(
                f'annotations: found {type(dataset).__name__}, expected a path or a H36MFitsDataset'
            )
        self._dataset, self.path = dataset, Path(dataset.ann_file)
        self.names = [dataset.imgname(row) for row in range(len(dataset))]
        self._joints = dataset.annotations.S
        self._part = dataset.annotations.part
        self._joint_names = tuple(dataset.metainfo['joint_names'])
        row_of = {str(name): row for row, name in enumerate(dataset.annotations.imgname)}
        self._row_of = np.array([row_of[name] for name in self.names])
        self.listed = image_names(self.path, read_npz(self.path)['imgname']).tolist()

    def _listed_labels(self) -> Iterable[FrameLabels]:
        return self.labels if self.listed is self.names else _labels_of(self.listed)

    def _names_left_out(self) -> Sequence[str]:
        if self.listed is self.names:
            return take_texts(self.names, np.flatnonzero(~self.counted))
        counted = {self.names[row] for row in np.flatnonzero(self.counted)}
        return [name for name in self.listed if name not in counted]

    def sorted(self, chosen: Array) -> Array:  # chosen: (N,) bool
        """Sort the chosen frames by image name, the order in which the metric adds errors."""
        return sorted_rows(self.names, np.flatnonzero(chosen))

    def check(self) -> tuple[str, ...]:
        """Check a sample of the counted frames; return a sentence for each implausible finding.

        Raises:
            DataError: The joints are in another order.
        """
        rows = self.sample()
        joints, weight = self.joints(rows, self._joint_names)
        part = np.asarray(self._part[self._row_of[rows]], dtype=np.float64)
        has_2d = (part[..., 2] > 0)[..., None]
        keypoints_2d = np.where(has_2d, part[..., :2], np.nan)
        release(self._part, self._joints)
        return check_annotated_joints(
            str(self.path), joints, weight, self._joint_names, keypoints_2d
        )

    def sample(self) -> list[int]:
        """Return evenly spaced counted frames, at most :data:`_SAMPLE`."""
        counted = np.flatnonzero(self.counted)
        return counted[np.unique(np.linspace(0, len(counted) - 1, _SAMPLE).astype(int))].tolist()

    def bodies(self, rows: Sequence[int]) -> dict[str, Array] | None:
        """Return the annotated bodies of frames, which SPIN's files have besides the joints.

        Returns:
            ``global_orient`` (n, 1, 3), ``body_pose`` (n, 23, 3) and ``betas`` (n, K); None if the
            file has none.
        """
        arrays = read_npz(
            self.path, select=lambda name: name in ('pose', 'shape', 'betas'), mapped=True
        )
        pose, betas = arrays.get('pose'), arrays.get('shape', arrays.get('betas'))
        count = len(self.listed)
        if pose is None or betas is None or pose.shape != (count, 72) or len(betas) != count:
            return None
        index = self._row_of[list(rows)]
        chosen = np.asarray(pose[index], np.float64).reshape(-1, 24, 3)
        return {
            'global_orient': chosen[:, :1],
            'body_pose': chosen[:, 1:],
            'betas': np.asarray(betas[index], np.float64),
        }

    def joints(
        self, rows: Sequence[int] | Array, joint_names: Sequence[str]
    ) -> tuple[Array, Array]:
        """Return annotated joints (n, J, 3) in meters, camera frame, and their weights (n, J).

        Args:
            rows: n frames of the data set.
            joint_names: Names of the J joints, in the order to return.

        Raises:
            ValueError: A joint is not finite or not in meters, or a weight is negative.
        """
        order = reorder_index(self._joint_names, joint_names)
        indices = np.asarray(rows, dtype=np.int64)
        joints = working_array((len(rows), len(order), 3))
        weight = working_array((len(rows), len(order)))
        for piece in pieces(joints, weight):
            points = take(self._joints, self._row_of[indices[piece]])[:, order].astype(np.float64)
            weight[piece] = points[..., 3]
            for place, row in enumerate(indices[piece].tolist()):
                joints[piece.start + place] = check_annotation(
                    f'{self.names[row]}: S',
                    points[place, :, :3],
                    points[place, :, 3],
                    'expected meters',
                )
        return joints, weight

    @property
    def dataset(self) -> H36MFitsDataset:
        """The data set; built on first use if the annotations were given as a path."""
        if self._dataset is None:
            from mmjrr.datasets.h36m import H36MFitsDataset

            with _quiet():
                self._dataset = H36MFitsDataset(
                    ann_file=str(self.path),
                    camera_param_file=None,
                    exclude_sequences=None,
                    test_mode=True,
                )
        return self._dataset


def _labels_of(names: Sequence[str]) -> Iterator[FrameLabels]:
    for parsed in map(parse_image_name, names):
        yield frame_labels(parsed.subject, parsed.action, parsed.sequence, parsed.camera)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let MMEngine's logger pass warnings and errors only."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
