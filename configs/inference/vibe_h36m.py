# VIBE on the images of Human3.6M, frame by frame as in the paper. Set seq_len=16 for sequences.
_base_ = ['../_base_/default_runtime.py', '../_base_/h36m_images.py']

model = dict(
    type='VIBE',
    pretrained_features='data/spin/model_checkpoint.pt',
)
# VIBE's own code does not stretch the contrast.
test_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImage'),
            dict(type='CropPerson', size=224, stretch_contrast=False),
            dict(type='NormalizeImage'),
            dict(type='PackMeshInputs'),
        ],
    ),
)
