# Run VIBE on the images of S9 and S11, frame by frame as in the paper. Its checkpoint is given on
# the command line.
_base_ = ['./spin_h36m.py']

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
test_evaluator = dict(title='VIBE')
