"""Steps that are repeated by calls on a CPU, and replayed from a CUDA graph on a GPU."""

from __future__ import annotations

import pytest
import torch

from mmjrr.refinement.repeated_step import WARM_UP, WORTHWHILE, repeat_step

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')


@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=needs_gpu)])
@pytest.mark.parametrize('count', [0, 1, WARM_UP + WORTHWHILE + 4])
def test_each_step_follows_its_preparation(device: str, count: int) -> None:
    total, rate = (torch.zeros((), device=device) for _ in range(2))
    repeat_step(lambda: total.mul_(2).add_(rate), count, rate.fill_, torch.device(device))
    expected = 0
    for number in range(count):
        expected = 2 * expected + number
    assert total.item() == expected


@needs_gpu
def test_a_step_that_waits_for_the_gpu_is_called_each_time() -> None:
    calls: list[float] = []
    total = torch.zeros((), device='cuda')

    def step() -> None:
        total.add_(1)
        calls.append(total.item())

    count = WARM_UP + WORTHWHILE
    repeat_step(step, count, lambda number: None, total.device)
    assert calls == list(range(1, count + 1))


@needs_gpu
def test_the_memory_of_one_recorded_step_serves_the_next() -> None:
    device = torch.device('cuda')
    reserved = []
    for _ in range(4):
        values = torch.zeros(2**22, device=device)
        repeat_step(
            lambda values=values: values.add_(torch.ones_like(values)),
            WARM_UP + WORTHWHILE,
            lambda number: None,
            device,
        )
        assert (values == WARM_UP + WORTHWHILE).all()
        reserved.append(torch.cuda.memory_reserved())
    assert reserved[3] == reserved[1]
