# VIBE itself, frame by frame as the paper used it; needs its checkpoint on the command line.
_base_ = ['./spin_h36m.py']

model = dict(type='VIBE', pretrained_features='data/spin/model_checkpoint.pt')
test_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImage'),
            # VIBE's own crops keep their contrast.
            dict(type='CropPerson', size=224, stretch_contrast=False),
            dict(type='NormalizeImage'),
            dict(type='PackMeshInputs'),
        ],
    ),
)
test_evaluator = dict(title='VIBE')
