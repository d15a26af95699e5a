"""Shim for mmcv's operators that Mask R-CNN needs, for an mmcv without compiled operators.

``mmcv-lite`` (and any mmcv whose build was skipped) has the Python side of ``mmcv.ops`` but not the
compiled module ``mmcv._ext`` behind it. A module of that name whose ``nms`` and ``roi_align`` call
torchvision's operators is enough for Mask R-CNN, in testing and in training.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

#: Command that installs the requirements of this package.
INSTALL = 'pip install --no-deps -r requirements/segmentation.txt'
_NAME = 'mmcv._ext'


def ensure_mmcv_ops() -> str:
    """Make ``mmcv.ops`` importable; call this before importing mmdet.

    Without compiled operators, the shim replaces them for the rest of the process and logs a
    warning once.

    Returns:
        The origin of the operators: ``'mmcv 2.1.0'``, or ``'torchvision 0.16.2 for mmcv-lite
        2.1.0'``.

    Raises:
        ModuleNotFoundError: mmcv or torchvision is missing.
        ImportError: The compiled operators do not load.
    """
    try:
        import mmcv
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'mmcv is not installed: {INSTALL}') from error
    loaded = sys.modules.get(_NAME)
    if isinstance(loaded, OperatorShim):
        return loaded.origin
    if loaded is not None or importlib.util.find_spec(_NAME) is not None:
        _load_compiled(mmcv.__version__)
        return f'mmcv {mmcv.__version__}'
    try:
        import torchvision
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'mmcv {mmcv.__version__} has no compiled operators, and torchvision, which could '
            f'replace them, is not installed: {INSTALL}'
        ) from error
    module = OperatorShim(f'torchvision {torchvision.__version__} for mmcv-lite {mmcv.__version__}')
    sys.modules[_NAME] = module
    mmcv._ext = module
    print_log(
        f'mmcv {mmcv.__version__} has no compiled operators: {", ".join(sorted(_OPERATORS))} of '
        f'torchvision {torchvision.__version__} replace them; other operators raise when called',
        logger='current',
        level=logging.WARNING,
    )
    return module.origin


class OperatorShim(ModuleType):
    """Shim for the module ``mmcv._ext``; missing operators raise with their name when called.

    ``mmcv.ops`` looks up every operator on import, so all of them must exist.

    Args:
        origin: Versions of the operators, for the provenance of files.
    """

    def __init__(self, origin: str) -> None:
        super().__init__(_NAME, 'Operators of torchvision under the names of mmcv.')
        self.__spec__ = ModuleSpec(_NAME, loader=None)
        self.origin = origin

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith('__'):
            raise AttributeError(f'module {_NAME!r} has no attribute {name!r}')
        return _OPERATORS.get(name) or _missing_operator(name)


def _missing_operator(name: str) -> Callable[..., Any]:
    def operator(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            f'mmcv operator {name!r}: mmcv is installed without compiled operators, and the '
            f'shim has only {", ".join(sorted(_OPERATORS))}; install an mmcv built for '
            f'torch {torch.__version__}'
        )

    operator.__name__ = name
    return operator


def _load_compiled(version: str) -> None:
    try:
        importlib.import_module(_NAME)
    except ImportError as error:
        raise ImportError(
            f'mmcv {version}: its compiled operators do not load ({error}); install an mmcv built '
            f'for torch {torch.__version__}, or mmcv-lite instead of it'
        ) from error


def nms(
    boxes: Tensor,  # (N, 4): x0, y0, x1, y1
    scores: Tensor,  # (N,)
    iou_threshold: float,
    offset: int,
) -> Tensor:  # (M,) int64 indices, by decreasing score
    """Apply non-maximum suppression; with ``offset`` 1 a box's width is x1 - x0 + 1."""
    from torchvision.ops import nms

    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return nms(boxes, scores, iou_threshold)


def roi_align_forward(
    input: Tensor,  # (B, C, h, w)
    rois: Tensor,  # (N, 5): index in the batch, x0, y0, x1, y1
    output: Tensor,  # (N, C, aligned_height, aligned_width), written to
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the averages of bilinear samples in each cell of each region to ``output``."""
    from torchvision.ops import roi_align

    _check_mode('roi_align_forward', pool_mode)
    size = (aligned_height, aligned_width)
    output.copy_(roi_align(input, rois, size, spatial_scale, sampling_ratio, aligned))


def roi_align_backward(
    grad_output: Tensor,  # (N, C, aligned_height, aligned_width)
    rois: Tensor,  # (N, 5)
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,  # (B, C, h, w), added to
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Add the gradient of :func:`roi_align_forward` by its input to ``grad_input``."""
    import torchvision  # noqa: F401  registers the operator

    _check_mode('roi_align_backward', pool_mode)
    grad_input += torch.ops.torchvision._roi_align_backward(
        grad_output, rois, spatial_scale, aligned_height, aligned_width, *grad_input.shape,
        sampling_ratio, aligned,
    )  # fmt: skip


def _check_mode(name: str, pool_mode: int) -> None:
    if pool_mode != 1:
        raise NotImplementedError(
            f"mmcv operator {name!r} with pool_mode='max': the shim has only 'avg'"
        )


_OPERATORS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (nms, roi_align_forward, roi_align_backward)
}
