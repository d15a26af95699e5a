"""Hooks of MMEngine's Runner, one per file."""

from .checkpoint_hook import ResumableCheckpointHook
from .pseudo_gt_hook import SMPLPseudoGTHook
from .safe_checkpoint_hook import SafeCheckpointHook
from .save_metrics_hook import SaveMetricsHook
from .visualization_hook import RefinementVisualizationHook

__all__ = [
    'RefinementVisualizationHook',
    'ResumableCheckpointHook',
    'SMPLPseudoGTHook',
    'SafeCheckpointHook',
    'SaveMetricsHook',
]
