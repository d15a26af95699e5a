# Masks of the synthetic set's images by the network that mask-rcnn_small_synthetic.py trains.
_base_ = ['./mask-rcnn_r50_fpn_h36m.py']

model = dict(
    config='{{fileDirname}}/mask-rcnn_small_synthetic.py',
    checkpoint='work_dirs/mask-rcnn_small_synthetic/weights.pth',
)
data_root = 'data/synthetic_h36m/'
test_dataloader = dict(dataset=dict(data_root=data_root, exclude_sequences=None))
