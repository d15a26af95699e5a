"""Person masks by Mask R-CNN: through mmdet or torchvision, which are imported only when used."""

from .coco_annotations import write_coco
from .comparison import compare_masks, mask_iou
from .mask_rcnn import MaskRCNN
from .mask_shards import MaskShards, mask_entry
from .mmcv_ops import ensure_mmcv_ops
from .person_choice import Choice, choose_person

__all__ = [
    'Choice',
    'MaskRCNN',
    'MaskShards',
    'choose_person',
    'compare_masks',
    'ensure_mmcv_ops',
    'mask_entry',
    'mask_iou',
    'write_coco',
]
