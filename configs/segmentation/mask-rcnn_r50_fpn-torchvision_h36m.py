# The same by torchvision's Mask R-CNN, the network that the paper's authors took.
_base_ = ['./mask-rcnn_r50_fpn_h36m.py']

model = dict(
    _delete_=True,
    type='MaskRCNN',
    backend='torchvision',
    checkpoint='data/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth',
)
