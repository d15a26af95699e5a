"""Start of distributed runs on machines without a GPU."""

from __future__ import annotations

import torch
from mmengine.config import Config


def distribute_on_cpu(cfg: Config) -> None:
    """Initialize distributed processes without GPUs, as ``--launcher pytorch`` does with GPUs.

    MMEngine's launchers select a GPU for each process and fail if there is none. Call this function
    before the runner is built. It does nothing unless ``cfg.launcher`` is ``'pytorch'`` and there
    is no GPU. It sets ``cfg.model_wrapper_cfg`` if the config does not.
    """
    if cfg.get('launcher') != 'pytorch' or torch.cuda.is_available():
        return
    torch.distributed.init_process_group('gloo')
    cfg.setdefault(
        'model_wrapper_cfg', dict(type='mmengine.MMDistributedDataParallel', device_ids=None)
    )
