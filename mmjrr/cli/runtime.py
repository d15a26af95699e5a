"""Config and process set-up of the commands that build data sets and models from a config."""

from __future__ import annotations

import argparse
import inspect
import os.path as osp
from collections.abc import Iterable
from typing import Any

from mmengine.config import Config

from mmjrr.cli.config_errors import similar_names
from mmjrr.cli.options import OptionError
from mmjrr.cli.shipped import no_such_config

#: Settings that a config need not have: those that MMEngine's Runner reads besides its arguments,
#: and ``person`` of ``mmjrr masks``.
_OPTIONAL_SETTINGS = (
    'model_wrapper_cfg', 'sync_bn', 'find_unused_parameters', 'compile', 'activation_checkpointing',
    'efficient_conv_bn_eval', 'person',
)  # fmt: skip


def read_config(args: argparse.Namespace) -> Config:
    """Read ``args.config`` and apply ``--cfg-options``, ``--launcher`` and ``--work-dir``.

    Raises:
        FileNotFoundError: There is no such config.
        OptionError: ``--cfg-options`` do not fit the config.
    """
    if not osp.isfile(args.config):
        raise FileNotFoundError(no_such_config(args.config))
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        _check_first_keys(args.config, cfg, args.cfg_options)
        try:
            cfg.merge_from_dict(args.cfg_options)
        except (TypeError, KeyError, IndexError) as error:  # what MMEngine raises for wrong keys
            raise OptionError(f'--cfg-options: {args.config}: {error}') from error
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', config_name(args))
    return cfg


def _check_first_keys(config: str, cfg: Config, options: Iterable[str]) -> None:
    """Refuse options that change nothing.

    Raises:
        OptionError: An option begins with a setting that neither the config nor MMEngine's Runner
            has.
    """
    from mmengine.runner import Runner

    of_runner = [name for name in inspect.signature(Runner).parameters if name != 'cfg']
    known = {*cfg, *of_runner, *_OPTIONAL_SETTINGS}
    for option in options:
        key = option.split('.')[0]
        if key not in known:
            raise OptionError(
                f'--cfg-options: {option}: {config} has no setting {key!r}'
                f'{similar_names(key, sorted(known))}'
            )


def config_name(args: argparse.Namespace) -> str:
    """Return the config file's name without folder and suffix."""
    return osp.splitext(osp.basename(args.config))[0]


def set_up(cfg: Config, seed: bool = True) -> Any:
    """Set up logging, scope, processes and seed as MMEngine's Runner does; return the logger.

    Args:
        cfg: The config.
        seed: Whether to apply the config's ``randomness``. It can request deterministic
            algorithms, which some networks do not support.
    """
    import torch
    from mmengine.dist import init_dist
    from mmengine.logging import MMLogger
    from mmengine.registry import init_default_scope
    from mmengine.runner import set_random_seed
    from mmengine.utils.dl_utils import set_multi_processing

    from mmjrr.engine import distribute_on_cpu

    logger = MMLogger.get_instance('mmjrr', log_level=cfg.get('log_level', 'INFO'))
    init_default_scope(cfg.get('default_scope', 'mmjrr'))
    env = cfg.get('env_cfg', {})
    distribute_on_cpu(cfg)
    if cfg.launcher != 'none' and not torch.distributed.is_initialized():
        init_dist(cfg.launcher, **env.get('dist_cfg', {}))
    set_multi_processing(**env.get('mp_cfg', {}), distributed=cfg.launcher != 'none')
    if seed:
        set_random_seed(**cfg.get('randomness', dict(seed=0)))
    return logger
