"""Test a model that does nothing, on one sample, with MMEngine's Runner and nothing of mmjrr.

The time that it takes is the part of ``mmjrr test`` that is MMEngine's and PyTorch's.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader


class Nothing(BaseModel):
    """Model that returns its input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: torch.Tensor, mode: str = 'tensor') -> list[torch.Tensor]:
        """Return the input."""
        return [inputs]


class Zero(BaseMetric):
    """Metric whose value is zero."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Keep an entry of each batch."""
        self.results.append(0)

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Return zero."""
        return {'zero': 0.0}


if __name__ == '__main__':
    Runner(
        Nothing(),
        work_dir=sys.argv[1],
        test_dataloader=DataLoader([{'inputs': torch.zeros(1)}]),
        test_cfg={},
        test_evaluator=Zero(),
    ).test()
