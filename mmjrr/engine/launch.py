"""Set-up of processes before a run: distribution without GPUs, and the limit on open files."""

from __future__ import annotations

import os
import subprocess

import torch
import torch.multiprocessing
from mmengine.config import Config


def distribute_on_cpu(cfg: Config) -> None:
    """Initialize distributed processes without GPUs, as ``--launcher`` does with GPUs.

    MMEngine's launchers select a GPU for each process and fail if there is none. Call this function
    before the runner is built. It does nothing unless ``cfg.launcher`` is ``'pytorch'`` or
    ``'slurm'`` and there is no GPU. It sets ``cfg.model_wrapper_cfg`` if the config does not.
    """
    launcher = cfg.get('launcher')
    if launcher not in ('pytorch', 'slurm') or torch.cuda.is_available():
        return
    if launcher == 'slurm':
        os.environ.update(slurm_environment())
    torch.distributed.init_process_group('gloo')
    cfg.setdefault(
        'model_wrapper_cfg', dict(type='mmengine.MMDistributedDataParallel', device_ids=None)
    )


def allow_open_files(count: int = 65536) -> None:
    """Let worker processes of data loaders pass large batches.

    PyTorch passes each tensor as an open file: a batch of 512 fits has about 7,700, where most
    systems allow a process 1,024. The function raises this limit to ``count``. Where the system
    forbids that, tensors are passed as named files in shared memory, which a killed process leaves
    behind.

    Args:
        count: Number of files that may be open at once.
    """
    try:
        import resource
    except ImportError:  # Windows, which passes no files
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= count:
        return
    if hard == unlimited or hard >= count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    else:
        torch.multiprocessing.set_sharing_strategy('file_system')


def slurm_environment() -> dict[str, str]:
    """Return the variables by which PyTorch's processes meet, from those that ``srun`` sets.

    As in MMEngine, the first node of the job is the meeting point, at port 29500, unless
    ``MASTER_ADDR`` and ``MASTER_PORT`` are set.

    Raises:
        RuntimeError: The process was not started by ``srun``.
    """
    try:
        rank, count = os.environ['SLURM_PROCID'], os.environ['SLURM_NTASKS']
        nodes = os.environ['SLURM_NODELIST']
    except KeyError as error:
        raise RuntimeError(
            f'--launcher slurm: {error} is not set; start the command with srun, as '
            'tools/slurm_train.sh does'
        ) from error
    address = os.environ.get('MASTER_ADDR')
    if address is None:
        hosts = subprocess.run(
            ['scontrol', 'show', 'hostnames', nodes], check=True, capture_output=True, text=True
        )
        address = hosts.stdout.split()[0]
    return {
        'MASTER_ADDR': address,
        'MASTER_PORT': os.environ.get('MASTER_PORT', '29500'),
        'RANK': rank,
        'WORLD_SIZE': count,
        'LOCAL_RANK': os.environ.get('SLURM_LOCALID', '0'),
    }
