"""Two nodes, as two ``torchrun`` agents on loopback addresses, one of which is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ('J_spin.npy', 'J_opt.npy', 'pseudo_gt.npz', 'refinement.json')
#: Seconds after which the other node must have noticed, on a machine shared with others.
LIMIT = 200


class Nodes:
    """Two agents with one process each. The process of the first is the main process."""

    def __init__(self, config: Path, work_dir: Path, *arguments: str) -> None:
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = probe.getsockname()[1]
        self.agents = []
        for node in range(2):
            command = [
                sys.executable, '-m', 'torch.distributed.run', '--nnodes', '2',
                '--nproc_per_node', '1', '--node_rank', str(node),
                '--master_addr', '127.0.0.1', '--master_port', str(port),
                '--local_addr', f'127.0.0.{node + 1}', '--max_restarts', '0',
                str(ROOT / 'tools/train.py'), str(config), '--work-dir', str(work_dir),
                '--launcher', 'pytorch', *arguments,
            ]  # fmt: skip
            with open(work_dir.with_name(f'{work_dir.name}_node_{node}.log'), 'a') as log:
                agent = subprocess.Popen(
                    command,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, 'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'},
                    start_new_session=True,  # so that a node is killed with its processes
                )
            self.agents.append(agent)

    def kill(self, node: int) -> None:
        """End all processes of a node at once, as a loss of power does."""
        os.killpg(self.agents[node].pid, signal.SIGKILL)

    def wait(self) -> list[int]:
        """Wait for both agents, and return their exit codes."""
        try:
            return [agent.wait(LIMIT) for agent in self.agents]
        finally:
            self.close()

    def close(self) -> None:
        """End what still runs."""
        for node, agent in enumerate(self.agents):
            if agent.poll() is None:
                self.kill(node)
                agent.wait()


@pytest.fixture(scope='module')
def whole(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work directory of an undisturbed run."""
    work_dir = tmp_path_factory.mktemp('whole') / 'run'
    assert Nodes(tiny_config, work_dir).wait() == [0, 0]
    return work_dir


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="PyTorch 2.2's rendezvous crashes on Python 3.12"
)
@pytest.mark.parametrize('lost', [0, 1], ids=['main node', 'other node'])
def test_a_node_is_lost_the_other_ends_and_both_resume_to_the_same_bytes(
    tiny_config: Path, tmp_path: Path, whole: Path, lost: int
) -> None:
    killed = tmp_path / 'killed'
    nodes = Nodes(tiny_config, killed)
    try:
        deadline = time.monotonic() + LIMIT
        while len(list((killed / 'pseudo_gt').glob('batch_*.npz'))) < 2:
            assert time.monotonic() < deadline and nodes.agents[lost].poll() is None
            time.sleep(0.01)
        nodes.kill(lost)
        assert nodes.agents[1 - lost].wait(LIMIT) != 0
    finally:
        nodes.close()
    assert not (killed / 'J_opt.npy').exists()
    assert Nodes(tiny_config, killed, '--resume').wait() == [0, 0]
    for name in RESULTS:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
