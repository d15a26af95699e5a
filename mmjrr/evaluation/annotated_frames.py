"""The annotated frames on which stored predictions are evaluated."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from mmengine.logging import MMLogger

from mmjrr.array_types import Array
from mmjrr.datasets.fits import image_names
from mmjrr.datasets.h36m import H36MFitsDataset
from mmjrr.datasets.image_names import frame_key, parse_image_name
from mmjrr.io import read_npz
from mmjrr.joints import reorder_index

from .core import check_annotation, count_left_out, frame_labels, is_counted
from .protocols import Protocol

#: Path of the annotation file in a folder of MMPose's layout.
TEST_ANNOTATION = 'annotation_body3d/fps10/h36m_test.npz'


class AnnotatedFrames:
    """The N frames of an annotated data set, and which of them the protocols count.

    Args:
        annotations: a path or a data set, as in :func:`~mmjrr.evaluation.evaluate`.
        protocols: protocols by name. A frame counts if any of them counts it.

    Attributes:
        dataset: the data set.
        path: the data set's annotation file.
        names: image names of the data set's frames.
        labels: subject, action, sequence and camera of each frame.
        counted: whether each frame counts, (N,) bool.
        listed: image names of all frames in the annotation file, which can be more than N.
        absolute: whether a protocol compares absolute positions.
        left_out: :func:`~mmjrr.datasets.image_names.frame_key` of the listed frames that do not
            count.

    Raises:
        FileNotFoundError: the annotation file does not exist.
        DataError: the annotation file is broken.
        ValueError: a protocol counts none of the frames; the message names their subjects.
    """

    def __init__(
        self, annotations: str | Path | H36MFitsDataset, protocols: Mapping[str, Protocol]
    ) -> None:
        if isinstance(annotations, H36MFitsDataset):
            self.dataset, self.path = annotations, Path(annotations.ann_file)
        elif isinstance(annotations, (str, Path)):
            self.path = Path(annotations)
            if self.path.is_dir():
                self.path = self.path / TEST_ANNOTATION
            with _quiet():
                self.dataset = H36MFitsDataset(
                    ann_file=str(self.path),
                    camera_param_file=None,
                    exclude_sequences=None,
                    test_mode=True,
                )
        else:
            raise ValueError(
                f'annotations: found {type(annotations).__name__}, expected a path or a '
                'H36MFitsDataset'
            )
        self.names = [self.dataset.imgname(row) for row in range(len(self.dataset))]
        self.labels = [
            frame_labels(parsed.subject, parsed.action, parsed.sequence, parsed.camera)
            for parsed in map(parse_image_name, self.names)
        ]
        self.absolute = any(protocol.root is None for protocol in protocols.values())
        count_left_out(self.labels, protocols)  # raises if a protocol counts no frame
        self.counted = np.array([is_counted(labels, protocols) for labels in self.labels])
        self.listed = image_names(self.path, read_npz(self.path)['imgname']).tolist()
        counted = {frame_key(self.names[row]) for row in np.flatnonzero(self.counted)}
        self.left_out = set(map(frame_key, self.listed)) - counted

    def sorted(self, chosen: Array) -> list[int]:  # chosen: (N,) bool
        """Sort the chosen frames by image name, the order in which the metric adds errors."""
        return sorted(np.flatnonzero(chosen).tolist(), key=lambda row: (self.names[row], row))

    def joints(self, rows: Sequence[int], joint_names: Sequence[str]) -> tuple[Array, Array]:
        """Return annotated joints (n, J, 3) in meters, camera frame, and their weights (n, J).

        Args:
            rows: n frames of the data set.
            joint_names: names of the J joints, in the order to return.

        Raises:
            ValueError: a joint is not finite or not in meters, or a weight is negative.
        """
        order = reorder_index(self.dataset.metainfo['joint_names'], joint_names)
        annotations = self.dataset.annotations
        row_of = {str(name): row for row, name in enumerate(annotations.imgname)}
        points = annotations.S[[row_of[self.names[row]] for row in rows]][:, order]
        joints, weight = points[..., :3].astype(np.float64), points[..., 3].astype(np.float64)
        checked = [
            check_annotation(f'{self.names[row]}: S', points, weights, 'expected meters')
            for row, points, weights in zip(rows, joints, weight, strict=True)
        ]
        return np.stack(checked), weight


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
