"""Person masks by Mask R-CNN: through mmdet or torchvision, which are imported only when used."""

from .coco_annotations import write_coco
from .comparison import compare_masks, mask_iou
from .mask_file import mask_entry, write_mask_file
from .mask_generation import generate_masks
from .mask_rcnn import MaskRCNN
from .mmcv_ops import ensure_mmcv_ops
from .person_choice import Choice, choose_person

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
