"""The metric for MMEngine configs, with the lookup of sample fields and the merge of processes."""

from .joint_regressor_metric import JointRegressorMetric
from .sample_fields import DEFAULT_FIELDS

__all__ = ['DEFAULT_FIELDS', 'JointRegressorMetric']
