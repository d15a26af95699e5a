"""What runs refinement under MMEngine's Runner: loop, sampler and hooks."""

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
from .samplers import ResumableSampler

__all__ = [
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
