# Masks of Human3.6M's training images by mmdet's Mask R-CNN (ResNet-50, FPN), trained on COCO.
_base_ = ['../_base_/default_runtime.py']

model = dict(
    type='MaskRCNN',
    backend='mmdet',
    config='mmdet::mask_rcnn/mask-rcnn_r50_fpn_2x_coco.py',
    checkpoint='data/mask_rcnn_r50_fpn_2x_coco.pth',
)
data_root = 'data/h36m/'
test_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(
        type='H36MFitsDataset',
        data_root=data_root,
        ann_file='annotation_body3d/fps10/h36m_train.npz',
        camera_param_file='annotation_body3d/cameras.pkl',
        data_prefix=dict(img='images/'),
        # The video is missing from the release, so there are no images.
        exclude_sequences=['S11_Directions.54138969'],
        pipeline=[dict(type='LoadImage'), dict(type='PackMeshInputs')],
        test_mode=True,
    ),
)
# Overlap with the annotated person, 0 to 1, below which no instance is taken.
person = dict(min_overlap=0.3)
# A killed run loses at most this many frames.
frames_per_shard = 64
