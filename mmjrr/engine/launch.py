"""Start of distributed runs on machines without a GPU."""

from __future__ import annotations

import os
import subprocess

import torch
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
