# Masks of the synthetic set's images by the network that mask-rcnn_small_20x_synthetic.py trains.
_base_ = ['./mask-rcnn_small_synthetic_masks.py']

model = dict(
    config='{{fileDirname}}/mask-rcnn_small_20x_synthetic.py',
    checkpoint='work_dirs/mask-rcnn_small_20x_synthetic/weights.pth',
)
