"""Person masks by Mask R-CNN of mmdet or torchvision, which are imported only when used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmjrr.lazy_names import lazy_names

if TYPE_CHECKING:
    from mmjrr.segmentation.coco_annotations import write_coco
    from mmjrr.segmentation.mask_comparison import compare_masks, mask_iou
    from mmjrr.segmentation.mask_file import mask_entry, write_mask_file
    from mmjrr.segmentation.mask_generation import generate_masks
    from mmjrr.segmentation.mask_rcnn import MaskRCNN
    from mmjrr.segmentation.mmcv_ops import ensure_mmcv_ops
    from mmjrr.segmentation.person_choice import Choice, choose_person

__all__ = [
    'Choice',
    'MaskRCNN',
    'choose_person',
    'compare_masks',
    'ensure_mmcv_ops',
    'generate_masks',
    'mask_entry',
    'mask_iou',
    'write_coco',
    'write_mask_file',
]

__getattr__, __dir__ = lazy_names(__name__)
