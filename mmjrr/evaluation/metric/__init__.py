"""The metric of MMEngine configs: the metric, a sample's fields, and merging over processes."""

from .joint_regressor_metric import JointRegressorMetric
from .sample_fields import DEFAULT_FIELDS

__all__ = ['DEFAULT_FIELDS', 'JointRegressorMetric']
