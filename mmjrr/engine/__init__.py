"""Loop, sampler and hooks of refinement under MMEngine's Runner, and safe checkpoint loading."""

from .checkpoint import load_safely
from .hooks import (
    RefinementVisualizationHook,
    ResumableCheckpointHook,
    SafeCheckpointHook,
    SaveMetricsHook,
    SMPLPseudoGTHook,
)
from .launch import distribute_on_cpu
from .loops import RefinementLoop
from .samplers import FrameBatchSampler, MomentBatchSampler, ResumableSampler

__all__ = [
    'FrameBatchSampler',
    'MomentBatchSampler',
    'RefinementLoop',
    'RefinementVisualizationHook',
    'ResumableCheckpointHook',
    'ResumableSampler',
    'SMPLPseudoGTHook',
    'SafeCheckpointHook',
    'SaveMetricsHook',
    'distribute_on_cpu',
    'load_safely',
]
