"""What runs refinement under MMEngine's Runner: loop, sampler and hooks."""

from .checkpoint import allow_mmengine_checkpoints
from .hooks import RefinementVisualizationHook, ResumableCheckpointHook, SMPLPseudoGTHook
from .launch import distribute_on_cpu
from .loops import RefinementLoop
from .samplers import ResumableSampler

allow_mmengine_checkpoints()

__all__ = [
    'RefinementLoop',
    'RefinementVisualizationHook',
    'ResumableCheckpointHook',
    'ResumableSampler',
    'SMPLPseudoGTHook',
    'allow_mmengine_checkpoints',
    'distribute_on_cpu',
]
