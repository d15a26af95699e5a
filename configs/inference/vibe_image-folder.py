# VIBE on a folder of images, each a sequence of length one.
_base_ = ['../_base_/default_runtime.py', '../_base_/image_folder.py']

model = dict(type='VIBE', pretrained_features='data/spin/model_checkpoint.pt')
test_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImage'),
            # VIBE's own code does not stretch the contrast.
            dict(type='CropPerson', size=224, stretch_contrast=False),
            dict(type='NormalizeImage'),
            dict(type='PackMeshInputs'),
        ],
    ),
)
