# VIBE, whose features are SPIN's, and its crops.
model = dict(type='VIBE', pretrained_features='data/spin/model_checkpoint.pt')
vibe_pipeline = [
    dict(type='LoadImage'),
    # VIBE's own code does not stretch the contrast.
    dict(type='CropPerson', size=224, stretch_contrast=False),
    dict(type='NormalizeImage'),
    dict(type='PackMeshInputs'),
]
