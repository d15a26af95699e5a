"""Processes wait for one another longer than their process group's timeout."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import time
from datetime import timedelta
import torch.distributed as dist
from mmjrr.jobs import on_all_processes, on_main_process, wait_for_all
from mmjrr.jobs import leave_process_group

dist.init_process_group('gloo', timeout=timedelta(seconds=2))
rank = dist.get_rank()

def slow():
    time.sleep(5)
    return f'of {rank}'

assert on_main_process(slow) == 'of 0'
time.sleep(3 * rank)
wait_for_all()
time.sleep(3 * rank)
assert on_all_processes({'rank': rank}) == [{'rank': 0}, {'rank': 1}]

def fails():
    raise ValueError('no such file')

try:
    on_main_process(fails)
except ValueError as error:
    assert str(error) == 'no such file'
else:
    raise AssertionError
leave_process_group()
print('all is well')
"""
ENDS = """
import os, time
import torch.distributed as dist
from mmjrr.jobs import on_main_process, wait_for_all
from mmjrr.jobs import leave_process_group

dist.init_process_group('gloo')
wait_for_all()
try:
    on_main_process(lambda: (time.sleep(2), os._exit(0)))
except RuntimeError as error:
    print('ended:', error)
leave_process_group()
"""
LEAVE = """
import weakref
import torch
from torch.nn.parallel import DistributedDataParallel
from mmjrr.jobs import wait_for_all
from mmjrr.jobs import leave_process_group


class Runner:
    def __init__(self):
        self.model = DistributedDataParallel(torch.nn.Linear(2, 1))
        self.hook = {'runner': self}  # a circle, which only the garbage collector frees


def run():
    runner = Runner()
    runner.model(torch.ones(1, 2)).sum().backward()
    return weakref.ref(runner.model)


leave_process_group()  # there is none
torch.distributed.init_process_group('gloo')
wait_for_all()
model = run()
leave_process_group()
assert model() is None, 'the wrapper keeps the threads of its group alive'
assert not torch.distributed.is_initialized()
print('left')
"""


def test_processes_wait_longer_than_the_timeout_of_their_group(run_processes) -> None:
    for output in run_processes([sys.executable, '-c', SCRIPT], 2):
        assert 'all is well' in output


def test_a_dead_main_process_ends_the_others_at_once(run_processes) -> None:
    outputs = run_processes([sys.executable, '-c', ENDS], 2, timeout=60)
    assert 'ended:' in outputs[1]


def test_nothing_keeps_the_threads_of_a_process_group_alive(run_processes) -> None:
    for output in run_processes([sys.executable, '-c', LEAVE], 2):
        assert 'left' in output
