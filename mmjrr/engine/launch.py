"""Starting several processes where MMEngine's launchers do not reach."""

from __future__ import annotations

import torch
from mmengine.config import Config


def distribute_on_cpu(cfg: Config) -> None:
    """Several processes without a GPU: what ``--launcher pytorch`` does on machines with GPUs.

    MMEngine's launchers pick a GPU for each process and fail where there is none. Call it before
    the runner is built; it does nothing unless ``cfg.launcher`` is ``'pytorch'`` and there is no
    GPU.
    """
    if cfg.get('launcher') != 'pytorch' or torch.cuda.is_available():
        return
    torch.distributed.init_process_group('gloo')
    cfg.setdefault(
        'model_wrapper_cfg', dict(type='mmengine.MMDistributedDataParallel', device_ids=None)
    )
