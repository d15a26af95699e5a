# Masks of Human3.6M's training images by torchvision's Mask R-CNN, which the paper's authors used.
_base_ = ['./mask-rcnn_r50_fpn_h36m.py']

model = dict(
    _delete_=True,
    type='MaskRCNN',
    backend='torchvision',
    checkpoint='data/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth',
)
