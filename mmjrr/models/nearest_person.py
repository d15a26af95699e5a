"""Choice of the predicted person whose joints are nearest to a sample's annotation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement

from mmjrr.datasets.predictions import Predictions
from mmjrr.errors import DataError
from mmjrr.evaluation.evaluate_predictions import regressors_and_body
from mmjrr.evaluation.metric.sample_fields import Sample, merge_fields
from mmjrr.evaluation.plausibility import root_aligned_error
from mmjrr.evaluation.predicted_joints import PredictedJoints
from mmjrr.evaluation.regressed_joints import RegressedJoints, RegressorLike, load_regressors
from mmjrr.joints import joint_names_of


class NearestPerson:
    """Choice of the predicted person whose joints are nearest to a sample's annotated joints.

    Args:
        regressor: The regressor that computes the persons' joints, as in
            :func:`~mmjrr.evaluation.load_regressors`.
        body_model: Config of the body of predicted parameters. Default: None, the body that the
            regressor is for.
        mapping: File of the mapping to the regressor's mesh, as in :func:`mmjrr.evaluate`.
            Default: None.
        joint_order: Order of the annotated joints: 'mmpose', 'spin', or joint names. Default:
            'mmpose'.

    Raises:
        FileNotFoundError, DataError, ValueError: The regressor or the mapping is wrong.
    """

    def __init__(
        self,
        regressor: RegressorLike,
        body_model: dict[str, Any] | None = None,
        mapping: str | None = None,
        joint_order: str | Sequence[str] = 'mmpose',
    ) -> None:
        self.regressors = load_regressors([regressor])
        self.body_model, self.mapping = body_model, mapping
        self.joint_names = joint_names_of(joint_order)
        self._joints: RegressedJoints | None = None

    def choose(self, part: Predictions, rows: Sequence[int], sample: BaseDataElement) -> int:
        """Return the row of the nearest person.

        Args:
            part: The predictions.
            rows: Rows of the persons in the sample's image.
            sample: The data sample, with its annotated joints in the camera frame, meters.

        Raises:
            DataError: The sample has no annotated joints, or a body does not fit the regressor.
            ValueError: A value is not finite.
        """
        fields = Sample(merge_fields(None), sample)
        if fields.get('keypoints_3d') is None:
            raise DataError(
                f"{fields.name}: keypoints_3d: missing, and person='nearest' compares persons with "
                "annotated joints; take person='largest' or a track"
            )
        count = len(self.joint_names)
        target = fields.array('keypoints_3d', (count, 3))[None]
        weight = fields.keypoint_weight(count)[None]
        if self._joints is None:
            regressors, body = regressors_and_body(
                part, self.regressors, self.body_model, mapping=self.mapping
            )
            self._joints = RegressedJoints(regressors, self.joint_names, body)
        predicted = PredictedJoints(self._joints, 'm')
        order = np.arange(len(rows))
        predicted.add(part, np.array(rows), order, [fields.name] * len(rows))
        errors = root_aligned_error(
            predicted.compute(order.tolist())[:, 0],
            np.repeat(target, len(rows), 0),
            np.repeat(weight, len(rows), 0),
            self.joint_names,
        )
        return int(rows[int(np.nan_to_num(errors, nan=np.inf).argmin())])
