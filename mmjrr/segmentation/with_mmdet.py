"""Registration of mmdet's components on import, with or without mmcv's compiled operators.

Configs that train or run an mmdet model in a Runner name this module in ``custom_imports``.
"""

from __future__ import annotations

from mmjrr.segmentation.mmcv_ops import INSTALL, ensure_mmcv_ops

ensure_mmcv_ops()
try:
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
except ModuleNotFoundError as error:
    raise ImportError(f'mmdet is not installed: {INSTALL}') from error

register_all_modules(init_default_scope=False)

__all__ = ['MODELS']
